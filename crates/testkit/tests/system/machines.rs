//! Machines that share a cache in a directory: each is a store of its own.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use rbuild_testkit::{Finished, TempDir, Tree, run};

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
