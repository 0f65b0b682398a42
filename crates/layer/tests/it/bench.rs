//! A store in a temporary directory and layers in it, with work done in place or as if forked.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rbuild_layer::{
    Compression, ContentDigest, Entry, FileView, Forked, Ids, InPlace, Kind, LayerId, LayerStore,
    Mtime, NewEntry, NewLayer, NoFetch, NodeKind, OverlayNamespace, PulledLayer, Site, TreeWork,
    View, path, run_tree_job,
};
use rbuild_oci::{ChainId, Descriptor, DiffId, Digest};
use rbuild_progress::CancelToken;
use rbuild_store::Store;
use rbuild_testkit::TempDir;

/// Where jobs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    InPlace,
    /// Through encoded messages and copies of the descriptors, marked as in a user namespace.
    Forked,
}

pub struct Bench {
    pub layers: LayerStore,
    pub cancel: CancelToken,
    pub dir: TempDir,
    /// How many jobs were forked.
    pub jobs: Arc<AtomicUsize>,
}

/// Who does the work on trees.
///
/// `jobs` counts the forked ones.
pub fn work(way: Way, jobs: &Arc<AtomicUsize>) -> Arc<dyn TreeWork> {
    match way {
        Way::InPlace => Arc::new(InPlace::root()),
        Way::Forked => {
            let site = Site {
                namespace: OverlayNamespace::User,
                ids: Ids::All,
            };
            let count = Arc::clone(jobs);
            Arc::new(Forked::new(site, move |request, fds, _| {
                count.fetch_add(1, Ordering::Relaxed);
                let fds = fds.iter().map(|fd| fd.try_clone_to_owned().unwrap());
                Ok(run_tree_job(request, fds.collect()))
            }))
        }
    }
}

impl Bench {
    pub fn new(way: Way) -> Self {
        let dir = TempDir::new();
        let store = Arc::new(Store::open(&dir.path().join("store")).unwrap());
        let jobs = Arc::new(AtomicUsize::new(0));
        Self {
            layers: LayerStore::new(store, work(way, &jobs), Arc::new(NoFetch)),
            cancel: CancelToken::new(),
            dir,
            jobs,
        }
    }

    pub fn commit(&self, entries: Vec<NewEntry>) -> LayerId {
        let layer = NewLayer { entries };
        self.layers.commit_files(layer, &self.cancel).unwrap()
    }

    /// Registers a layer whose blob is put into the store first.
    pub fn pull(&self, below: Option<ChainId>, tar: &[u8], compression: Compression) -> Pulled {
        let blob = match compression {
            Compression::None => tar.to_vec(),
            Compression::Gzip { .. } => gzip(tar),
            Compression::Zstd { .. } => zstd::encode_all(tar, 1).unwrap(),
        };
        let digest = self.layers.store().put_blob(&blob).unwrap();
        let layer = PulledLayer {
            parent: below,
            diff_id: DiffId(Digest::sha256_of(tar)),
            descriptor: Descriptor::new(compression.media_type(), digest, blob.len() as u64),
            origin: "test".to_owned(),
        };
        Pulled {
            id: self.layers.pulled(&layer, &self.cancel).unwrap(),
            chain: layer.chain(),
        }
    }

    pub fn view(&self, stack: &[LayerId]) -> View {
        self.layers.view(stack, &self.cancel)
    }

    /// The tar of a layer.
    pub fn tar(&self, layer: &LayerId) -> Vec<u8> {
        let mut out = Vec::new();
        self.layers
            .write_tar(layer, &mut out, &self.cancel)
            .unwrap();
        out
    }
}

pub struct Pulled {
    pub id: LayerId,
    pub chain: ChainId,
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn entry(path: &str, kind: Kind, mode: u32) -> Entry {
    Entry::new(path, kind, mode, Mtime::from_secs(1_700_000_000))
}

pub fn file(path: &str, content: &str) -> NewEntry {
    let kind = Kind::File {
        size: 0,
        content: ContentDigest::empty(),
    };
    NewEntry::inline(entry(path, kind, 0o644), content.as_bytes())
}

pub fn dir(path: &str, mode: u32) -> NewEntry {
    NewEntry::plain(entry(path, Kind::dir(), mode))
}

pub fn symlink(path: &str, target: &str) -> NewEntry {
    let target = target.into();
    NewEntry::plain(entry(path, Kind::Symlink { target }, 0o777))
}

pub fn hardlink(path: &str, leader: &str) -> NewEntry {
    let leader = leader.into();
    NewEntry::plain(entry(path, Kind::Hardlink { leader }, 0o644))
}

pub fn whiteout(path: &str) -> NewEntry {
    NewEntry::plain(Entry::whiteout(path, Mtime::from_secs(1_700_000_000)))
}

/// An archive made by the `tar` crate: nothing of the code under test.
#[derive(Default)]
pub struct TarMaker(Vec<u8>);

impl TarMaker {
    /// Adds an entry whose names are written as they are, however hostile.
    pub fn raw(mut self, kind: tar::EntryType, name: &str, link: &str, body: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(body.len() as u64);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_mtime(1_600_000_000);
        header.set_uid(0);
        header.set_gid(0);
        let bytes = header.as_mut_bytes();
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        bytes[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(body);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, body: &str) -> Self {
        self.raw(tar::EntryType::Regular, name, "", body.as_bytes())
    }

    pub fn dir(self, name: &str) -> Self {
        self.raw(tar::EntryType::Directory, name, "", b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.raw(tar::EntryType::Symlink, name, target, b"")
    }

    pub fn hardlink(self, name: &str, target: &str) -> Self {
        self.raw(tar::EntryType::Link, name, target, b"")
    }

    /// Changes mode and owner of the entry added last.
    pub fn owned(mut self, mode: u32, uid: u64, gid: u64) -> Self {
        let last = self.0.len() - 512;
        let mut header = tar::Header::from_byte_slice(&self.0[last..]).clone();
        header.set_mode(mode);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_cksum();
        self.0[last..].copy_from_slice(header.as_bytes());
        self
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// A tar as text: type, mode, owner, time, size, name and link of each entry, read by the `tar`
/// crate.
pub fn list_tar(bytes: &[u8]) -> String {
    let mut archive = tar::Archive::new(bytes);
    let mut lines = String::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header().clone();
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let link = entry.link_name_bytes().map_or(String::new(), |link| {
            format!(" -> {}", String::from_utf8_lossy(&link))
        });
        let mut records = String::new();
        if let Some(extensions) = entry.pax_extensions().unwrap() {
            for record in extensions {
                let record = record.unwrap();
                let value = String::from_utf8_lossy(record.value_bytes());
                records.push_str(&format!(" [{}={value}]", record.key().unwrap()));
            }
        }
        let mut body = String::new();
        entry.read_to_string(&mut body).unwrap();
        lines.push_str(&format!(
            "{} {:04o} {}:{} {} {} {path}{link}{records} {body}",
            char::from(header.entry_type().as_byte()),
            header.mode().unwrap(),
            header.uid().unwrap(),
            header.gid().unwrap(),
            header.mtime().unwrap(),
            header.size().unwrap(),
        ));
        lines.truncate(lines.trim_end().len());
        lines.push('\n');
    }
    lines
}

/// A view as text: kind, mode, owner, path and content of everything.
pub fn list_view(view: &dyn FileView) -> String {
    let mut lines = String::new();
    list_below(view, b"", &mut lines);
    lines
}

fn list_below(view: &dyn FileView, dir: &[u8], lines: &mut String) {
    for name in view.read_dir(dir).unwrap() {
        let at = path::join(dir, &name);
        let node = view.lstat(&at).unwrap().unwrap();
        let kind = match &node.kind {
            NodeKind::Dir => "d".to_owned(),
            NodeKind::File { .. } => {
                let mut text = String::new();
                view.open(&at).unwrap().read_to_string(&mut text).unwrap();
                assert_eq!(
                    view.content(&at).unwrap(),
                    ContentDigest::of(text.as_bytes())
                );
                format!("f={text}")
            }
            NodeKind::Symlink { target } => format!("l={}", String::from_utf8_lossy(target)),
            other => format!("{other:?}"),
        };
        lines.push_str(&format!(
            "{} {:04o} {}:{} {kind}\n",
            String::from_utf8_lossy(&at),
            node.mode,
            node.uid,
            node.gid
        ));
        if node.is_dir() {
            list_below(view, &at, lines);
        }
    }
}

/// Compares with a file of `testdata/layer`; with `RBUILD_UPDATE=1` writes it.
#[track_caller]
pub fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata/layer")
        .join(name);
    if std::env::var("RBUILD_UPDATE").is_ok_and(|value| value == "1") {
        File::create(&path)
            .unwrap()
            .write_all(found.as_bytes())
            .unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "{}", path.display());
}
