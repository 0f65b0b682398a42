use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rbuild_layer::{Entry, InPlace, Kind, LayerIndex, LayerStore, NoFetch};
use rbuild_store::{MountedCache, Sharing, Store};

use super::list::{LIST_TYPE, List};
use super::*;
use crate::backend::memory::MemoryBackend;
use crate::entry::BlobRef;

const NAME: &str = "/root/.cargo";

/// A machine with a store of its own.
struct Machine {
    layers: LayerStore,
    cancel: CancelToken,
    _dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path()).unwrap());
        Self {
            layers: LayerStore::new(store, Arc::new(InPlace::root()), Arc::new(NoFetch)),
            cancel: CancelToken::new(),
            _dir: dir,
        }
    }

    /// Uses the mount, restored from `entry` if it is new.
    fn mounted(&self, from: Option<(&MountEntry, &MemoryBackend)>) -> Result<MountedCache> {
        let mount = self.layers.store().cache_mount(NAME)?;
        let mut failure = None;
        let mounted = mount.mount(Sharing::Shared, &self.cancel, |dir| {
            if let Some((entry, backend)) = from {
                failure = self.restore(entry, backend, dir).err();
                assert!(failure.is_none() || fs::read_dir(dir)?.next().is_none());
            }
            Ok(())
        });
        match failure {
            Some(error) => Err(error),
            None => Ok(mounted?),
        }
    }

    fn restore(&self, entry: &MountEntry, backend: &MemoryBackend, dir: &Path) -> Result<Restored> {
        restore(
            entry,
            (backend, &self.layers),
            (dir, DEFAULT_MAX_BYTES),
            &self.cancel,
        )
    }

    fn snapshot(&self, previous: &[MountEntry], backend: &MemoryBackend) -> Snapshot {
        self.snapshot_of(previous, backend, DEFAULT_MAX_BYTES)
    }

    fn snapshot_of(
        &self,
        previous: &[MountEntry],
        backend: &MemoryBackend,
        max_bytes: u64,
    ) -> Snapshot {
        let taking = Taking {
            layers: &self.layers,
            name: NAME,
            rung: "",
            previous,
            backend,
            scope: "main",
            writer: "a",
            now: 1,
            max_bytes,
        };
        let taken = snapshot(&taking, &self.cancel).unwrap();
        if let Snapshot::New { blobs, .. } = &taken {
            for blob in blobs {
                let store = self.layers.store();
                backend
                    .send(&blob.descriptor(), store, &self.cancel)
                    .unwrap();
            }
        }
        taken
    }

    /// What is in a directory, without what another machine cannot have.
    fn entries(&self, dir: &Path) -> (rbuild_layer::Top, Vec<(Entry, bool)>) {
        let survey = self.layers.survey(dir, &self.cancel).unwrap();
        let found = survey.found.into_iter();
        let found = found.map(|one| (one.entry, one.links.is_some()));
        (survey.top, found.collect())
    }
}

fn new(taken: Snapshot) -> (MountEntry, Vec<BlobRef>) {
    match taken {
        Snapshot::New { entry, blobs } => (entry, blobs),
        other => panic!("{other:?}"),
    }
}

fn sum(blobs: &[BlobRef]) -> u64 {
    blobs.iter().map(|blob| blob.size).sum()
}

/// Bytes that do not compress, others for each seed.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// One of each kind of file, with metadata that is easily lost.
fn all_kinds(dir: &Path) {
    fs::create_dir_all(dir.join("a/deep/dir")).unwrap();
    fs::write(dir.join("a/small"), "small").unwrap();
    fs::write(dir.join("a/empty"), "").unwrap();
    fs::write(dir.join("large"), noise(3_000_000, 7)).unwrap();
    fs::write(dir.join("same"), noise(3_000_000, 7)).unwrap();
    fs::hard_link(dir.join("large"), dir.join("a/other name")).unwrap();
    symlink("../nowhere", dir.join("a/link")).unwrap();
    fs::write(dir.join(std::ffi::OsStr::new("umlaut \u{fc}\n")), "x").unwrap();
    let fifo = dir.join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o640),
        0,
    )
    .unwrap();
    fs::set_permissions(dir.join("a/small"), fs::Permissions::from_mode(0o4751)).unwrap();
    let time = UNIX_EPOCH + Duration::new(1_600_000_000, 123_456_789);
    for path in ["a/small", "large", "a/deep/dir", "a"] {
        let file = fs::File::open(dir.join(path)).unwrap();
        file.set_modified(time).unwrap();
    }
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(dir.join("a/small"), "user.key", b"value", flags).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o1733)).unwrap();
}

#[test]
fn everything_comes_back_and_another_machine_says_the_same() {
    let (a, b, place) = (Machine::new(), Machine::new(), MemoryBackend::new());
    let mount = a.mounted(None).unwrap();
    all_kinds(mount.path());
    let before = a.entries(mount.path());
    drop(mount);
    let (entry, blobs) = new(a.snapshot(&[], &place));
    assert_eq!(entry.name, NAME);
    assert_eq!(entry.bytes, 6_000_006);
    // The second large file costs nothing.
    assert!(sum(&blobs) < 3_100_000, "{}", sum(&blobs));
    let mount = b.mounted(Some((&entry, &place))).unwrap();
    assert_eq!(b.entries(mount.path()), before);
    assert_eq!(
        fs::read(mount.path().join("large")).unwrap(),
        noise(3_000_000, 7)
    );
    drop(mount);
    // Upon it there is nothing to say, and without it the same.
    let previous = [entry.clone()];
    assert_eq!(
        b.snapshot(&previous, &place),
        Snapshot::Unchanged(entry.clone())
    );
    let (again, _) = new(b.snapshot(&[], &MemoryBackend::new()));
    assert_eq!(again, entry);
    assert_eq!(a.snapshot(&previous, &place), Snapshot::Unchanged(entry));
}

#[test]
fn a_change_sends_what_is_new_and_what_is_hardly_used_is_packed_anew() {
    let (a, b, place) = (Machine::new(), Machine::new(), MemoryBackend::new());
    let mount = a.mounted(None).unwrap();
    for n in 0..20 {
        fs::write(mount.path().join(format!("f{n}")), noise(1_000_000, n)).unwrap();
    }
    drop(mount);
    let (first, blobs) = new(a.snapshot(&[], &place));
    assert!(first.packs.len() >= 3 && sum(&blobs) > 20_000_000);
    // A few bytes in the middle of one file.
    let mount = a.mounted(None).unwrap();
    let mut changed = noise(1_000_000, 3);
    changed.splice(500_000..500_000, *b"news");
    fs::write(mount.path().join("f3"), &changed).unwrap();
    drop(mount);
    let (second, blobs) = new(a.snapshot(std::slice::from_ref(&first), &place));
    assert!(sum(&blobs) < 800_000, "{}", sum(&blobs));
    assert_eq!(second.packs.len(), first.packs.len() + 1);
    // One file of twenty is left: no pack of the first snapshot is worth fetching for it.
    let mount = a.mounted(None).unwrap();
    for n in 1..20 {
        fs::remove_file(mount.path().join(format!("f{n}"))).unwrap();
    }
    drop(mount);
    let (third, blobs) = new(a.snapshot(&[second, first], &place));
    assert!(sum(&third.packs) < 1_100_000, "{:?}", third.packs);
    assert_eq!(sum(&blobs), sum(&third.packs) + third.list.size);
    let mount = b.mounted(Some((&third, &place))).unwrap();
    assert_eq!(
        fs::read(mount.path().join("f0")).unwrap(),
        noise(1_000_000, 0)
    );
}

#[test]
fn many_small_packs_become_one() {
    let (a, place) = (Machine::new(), MemoryBackend::new());
    let mut previous: Vec<MountEntry> = Vec::new();
    for n in 0..30 {
        let mount = a.mounted(None).unwrap();
        fs::write(mount.path().join(format!("f{n}")), noise(50_000, n)).unwrap();
        drop(mount);
        let (entry, _) = new(a.snapshot(&previous, &place));
        assert!(entry.packs.len() <= 9, "{}", entry.packs.len());
        previous = vec![entry];
    }
}

#[test]
fn a_place_that_lacks_what_is_remembered_gets_it() {
    let (a, b) = (Machine::new(), Machine::new());
    let (one, other) = (MemoryBackend::new(), MemoryBackend::new());
    let mount = a.mounted(None).unwrap();
    fs::write(mount.path().join("f"), noise(700_000, 1)).unwrap();
    drop(mount);
    let (first, _) = new(a.snapshot(&[], &one));
    // A snapshot of which the place has lost the list is none to build upon.
    let (second, _) = new(a.snapshot(std::slice::from_ref(&first), &other));
    assert_eq!(second.packs, first.packs);
    drop(b.mounted(Some((&second, &other))).unwrap());
}

#[test]
fn what_is_in_use_empty_or_too_large_stays_here() {
    let (a, place) = (Machine::new(), MemoryBackend::new());
    assert_eq!(a.snapshot(&[], &place), Snapshot::Empty);
    let mount = a.mounted(None).unwrap();
    assert_eq!(a.snapshot(&[], &place), Snapshot::InUse);
    drop(mount);
    assert_eq!(a.snapshot(&[], &place), Snapshot::Empty);
    let mount = a.mounted(None).unwrap();
    fs::write(mount.path().join("f"), "12345").unwrap();
    drop(mount);
    let taken = a.snapshot_of(&[], &place, 4);
    assert_eq!(taken, Snapshot::TooLarge { bytes: 5 });
    new(a.snapshot_of(&[], &place, 5));
}

#[test]
fn whatever_fails_leaves_a_new_directory() {
    let (a, place) = (Machine::new(), MemoryBackend::new());
    let mount = a.mounted(None).unwrap();
    for n in 0..20 {
        let dir = mount.path().join(format!("d{n}"));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("f"), noise(1_000_000, n)).unwrap();
    }
    fs::set_permissions(mount.path(), fs::Permissions::from_mode(0o700)).unwrap();
    drop(mount);
    let (entry, _) = new(a.snapshot(&[], &place));
    for fetches in 0..=entry.packs.len() {
        let b = Machine::new();
        place.break_after(fetches);
        let error = b.mounted(Some((&entry, &place))).unwrap_err();
        assert!(matches!(error, Error::Place { .. }), "{fetches}: {error}");
        let mount = b.mounted(None).unwrap();
        let mode = fs::metadata(mount.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755);
    }
    place.break_after(usize::MAX);
    let b = Machine::new();
    b.cancel.cancel();
    let dir = tempfile::tempdir().unwrap();
    let error = b.restore(&entry, &place, dir.path()).unwrap_err();
    assert!(matches!(error, Error::Cancelled));
    let c = Machine::new();
    let few = (dir.path(), 19_999_999);
    let error = restore(&entry, (&place, &c.layers), few, &c.cancel).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    let c = c.mounted(Some((&entry, &place))).unwrap();
    assert_eq!(fs::read_dir(c.path()).unwrap().count(), 20);
}

#[test]
fn a_restore_that_is_cancelled_on_the_way_leaves_a_new_directory() {
    let (a, place) = (Machine::new(), MemoryBackend::new());
    let mount = a.mounted(None).unwrap();
    fs::write(mount.path().join("f"), noise(40_000_000, 1)).unwrap();
    drop(mount);
    let (entry, _) = new(a.snapshot(&[], &place));
    assert!(entry.packs.len() > 4, "{}", entry.packs.len());
    for fetches in 0..=entry.packs.len() {
        let b = Machine::new();
        let dir = tempfile::tempdir().unwrap();
        place.cancel_after(fetches);
        let error = b.restore(&entry, &place, dir.path()).unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{fetches}: {error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn what_is_needed_again_much_later_comes_again() {
    let (a, place) = (Machine::new(), MemoryBackend::new());
    let mount = a.mounted(None).unwrap();
    // Far more frames than are kept, in one order and then in another.
    let bytes = noise(12_000_000, 1);
    let (front, back) = bytes.split_at(5_000_000);
    let turned = [back, front, back].concat();
    for (name, bytes) in [("a", &bytes), ("b", &bytes), ("c", &turned)] {
        fs::write(mount.path().join(name), bytes).unwrap();
    }
    drop(mount);
    let (entry, blobs) = new(a.snapshot(&[], &place));
    assert!(sum(&blobs) < 13_500_000, "{}", sum(&blobs));
    let b = Machine::new();
    let mount = b.mounted(Some((&entry, &place))).unwrap();
    for (name, bytes) in [("a", &bytes), ("b", &bytes), ("c", &turned)] {
        assert!(
            fs::read(mount.path().join(name)).unwrap() == *bytes,
            "{name}"
        );
    }
}

#[test]
fn a_list_that_lies_restores_nothing() {
    let (a, place) = (Machine::new(), MemoryBackend::new());
    let mount = a.mounted(None).unwrap();
    fs::write(mount.path().join("f"), noise(100_000, 1)).unwrap();
    fs::write(mount.path().join("g"), "2").unwrap();
    drop(mount);
    let (entry, blobs) = new(a.snapshot(&[], &place));
    let blob = a
        .layers
        .store()
        .read_blob(&blobs[0].digest, 1 << 20)
        .unwrap();
    let list = List::decode(&blob).unwrap();
    let check = |change: &dyn Fn(&mut List), message: &str| {
        let mut list = list.clone();
        change(&mut list);
        let blob = list.encode().unwrap();
        let mut entry = entry.clone();
        entry.list = BlobRef {
            media_type: LIST_TYPE.to_owned(),
            digest: place.put(&blob),
            size: blob.len() as u64,
        };
        let b = Machine::new();
        let error = b.mounted(Some((&entry, &place))).unwrap_err();
        let text = format!("{error:?}");
        assert!(text.contains(message), "{message}: {text}");
    };
    check(
        &|list| list.chunks[0].id[0] ^= 1,
        "not the one that the list names",
    );
    check(&|list| list.frames[0].raw += 1, "another length");
    check(&|list| list.frames[0].stored -= 1, "Corrupt");
    check(&|list| list.frames[0].offset += 1, "not within its pack");
    check(&|list| list.chunks[0].at = u32::MAX, "not within its frame");
    check(
        &|list| list.frames[0].stored = 2 << 20,
        "not within its pack",
    );
    // Work without end out of few bytes: the same chunk over and over, listed or used.
    let twice = |list: &mut List| {
        let last = *list.chunks.last().unwrap();
        list.chunks.push(last);
    };
    check(&twice, "more chunks than bytes");
    let in_bits = |list: &mut List| {
        let small = u32::try_from(list.chunks.len() - 1).unwrap();
        let mut entries = list.index.entries().to_vec();
        let content = rbuild_layer::ContentDigest::empty();
        let kind = Kind::File { size: 3, content };
        entries.push(Entry::new("h", kind, 0o644, Default::default()));
        list.index = LayerIndex::new(entries).unwrap();
        list.files.push(vec![small; 3]);
    };
    check(&in_bits, "more chunks than its bytes");
    check(&|list| list.packs[0].size += 1, "its entry does not");
    let device = |list: &mut List| {
        let mut entries = list.index.entries().to_vec();
        let kind = Kind::Char { major: 1, minor: 3 };
        entries.push(Entry::new("null", kind, 0o666, Default::default()));
        list.index = LayerIndex::new(entries).unwrap();
    };
    check(&device, "does not travel");
}
