//! Machines that share a cache in a directory: each is a store of its own.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rbuild_testkit::{Finished, TempDir, Tree, hex, run};
use sha2::{Digest, Sha256};

use crate::place::{LIMIT, Place};

/// Two stages; each build of it from nothing gives another image.
pub const STEPS: &str = "FROM busybox AS made\n\
    COPY in /in\n\
    RUN head -c 3000000 /dev/urandom > /out && cat /in >> /out\n\
    FROM busybox\n\
    COPY --from=made /out /out\n\
    RUN md5sum /out > /sum\n";

/// A directory that machines share.
pub struct Shared(TempDir);

impl Shared {
    pub fn new() -> Self {
        Self(TempDir::new())
    }

    pub fn dir(&self) -> PathBuf {
        self.0.join("cache")
    }

    /// Words that write it.
    pub fn to(&self, more: &str) -> [String; 2] {
        let text = format!("type=local,dest={}{more}", self.dir().display());
        ["--cache-to".to_owned(), text]
    }

    /// Words that read it.
    pub fn from(&self, more: &str) -> [String; 2] {
        let text = format!("type=local,src={}{more}", self.dir().display());
        ["--cache-from".to_owned(), text]
    }

    /// Its blobs, the largest first.
    pub fn blobs(&self) -> Vec<PathBuf> {
        let dir = self.dir().join("blobs/sha256");
        let blobs = fs::read_dir(dir).expect("list blobs").flatten();
        let mut blobs: Vec<PathBuf> = blobs.map(|entry| entry.path()).collect();
        blobs.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).expect("look").len()));
        blobs
    }

    /// The blob that is the index.
    pub fn index(&self) -> PathBuf {
        let is_index = |path: &&PathBuf| {
            let bytes = fs::read(path).expect("read a blob");
            let text = bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
            let unpacked = run(Command::new("zstd").args(["-dc"]).arg(path), LIMIT);
            text && unpacked.stdout.starts_with("{\"rbuild_cache_index\"")
        };
        let all = self.blobs();
        all.iter()
            .find(is_index)
            .expect("there is an index")
            .clone()
    }
}

impl Shared {
    /// Puts another text in the place of what the index says; all digests are right again.
    pub fn edit_index(&self, edit: impl FnOnce(&str) -> String) {
        let (index, work) = (self.index(), TempDir::new());
        let unpacked = run(Command::new("zstd").arg("-dc").arg(&index), LIMIT).expect_success();
        let edited = edit(&unpacked.stdout);
        assert_ne!(edited, unpacked.stdout, "something is changed");
        let (plain, packed) = (work.join("plain"), work.join("packed"));
        fs::write(&plain, edited).expect("write an index");
        let mut command = Command::new("zstd");
        command.arg("-q").arg(&plain).arg("-o").arg(&packed);
        run(&mut command, LIMIT).expect_success();
        let packed = fs::read(&packed).expect("read an index");
        let name = index.file_name().expect("a name").display().to_string();
        let names_it =
            |path: &&PathBuf| fs::read_to_string(path).is_ok_and(|text| text.contains(&name));
        let all = self.blobs();
        let manifest = all.iter().find(names_it).expect("a manifest");
        let text = instead(manifest, &index, &packed);
        let layout = self.dir().join("index.json");
        let text = instead(&layout, manifest, text.as_bytes());
        fs::write(&layout, text).expect("write a layout");
    }
}

/// Puts a blob beside another one; the text of `document` as it is when it names the new one instead.
pub fn instead(document: &Path, old: &Path, bytes: &[u8]) -> String {
    let name = |path: &Path| {
        let digest = path.file_name().expect("a name").display().to_string();
        let size = fs::metadata(path).expect("look").len();
        format!("sha256:{digest}\",\"size\":{size}")
    };
    let new = old.with_file_name(hex(&Sha256::digest(bytes)));
    fs::write(&new, bytes).expect("write a blob");
    let text = fs::read_to_string(document).expect("read a document");
    let changed = text.replace(&name(old), &name(&new));
    assert_ne!(changed, text, "{} names it", document.display());
    changed
}

/// A machine that has nothing yet.
pub fn machine() -> Place {
    Place::with(STEPS, Tree::new().file("in", "1\n"))
}

/// One list of words.
pub fn words<'a>(lists: &'a [&'a [String]]) -> Vec<&'a str> {
    lists
        .iter()
        .copied()
        .flatten()
        .map(String::as_str)
        .collect()
}

/// Builds `x`, which must succeed.
pub fn build(place: &Place, lists: &[&[String]]) -> Finished {
    let mut all = vec!["-t", "x"];
    all.extend(words(lists));
    place.build(&all).expect_success()
}

/// Words that write all results.
pub fn max(shared: &Shared) -> [String; 2] {
    shared.to(",mode=max")
}

/// The id of the image that a store calls `name`.
pub fn image_id(place: &Place, name: &str) -> String {
    let shown = place.run(&["inspect", name]).expect_success().stdout;
    let at = shown.find("\"Id\"").expect("an id");
    shown[at..].lines().next().expect("a line").to_owned()
}

/// Bytes of all blobs in a store.
pub fn blob_bytes(place: &Place) -> u64 {
    let dir = fs::read_dir(place.store().join("blobs/sha256")).expect("list blobs");
    dir.flatten()
        .map(|entry| entry.metadata().expect("look").size())
        .sum()
}
