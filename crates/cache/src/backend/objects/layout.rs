//! What lies where in the bucket.

use std::time::{SystemTime, UNIX_EPOCH};

use object_store::path::Path;
use rbuild_oci::{Algorithm, Digest};

use super::Folders;
use crate::{Error, Result};

/// End of the name of every index.
const INDEX: &str = ".idx";

/// Keys of objects.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// The folder of blobs, sha256 ones.
    blobs: Path,
    /// A folder of indexes for each name.
    indexes: Vec<Path>,
}

impl Layout {
    pub(super) fn of(folders: &Folders) -> Result<Self> {
        let blobs = join(&[&folders.prefix, &folders.blobs, Algorithm::Sha256.as_str()])?;
        let folder = |name: &String| join(&[&folders.prefix, &folders.manifests, name]);
        let indexes = folders.names.iter().map(folder).collect::<Result<_>>()?;
        Ok(Self { blobs, indexes })
    }

    /// The folder of all blobs of sha256.
    pub(super) fn blobs(&self) -> &Path {
        &self.blobs
    }

    /// A blob's key.
    pub(super) fn blob(&self, digest: &Digest) -> Path {
        match digest.algorithm() {
            Algorithm::Sha256 => self.blobs.clone().join(digest.hex()),
            // Beside the folder that is listed: they are rare, and looked for one by one.
            other => {
                let name = format!("{}-{}", other.as_str(), digest.hex());
                self.blobs.clone().join(name)
            }
        }
    }

    /// The sha256 digest that a key in the folder of blobs is the name of.
    pub(super) fn digest_of(&self, key: &Path) -> Option<Digest> {
        Digest::parse(&format!("sha256:{}", key.filename()?)).ok()
    }

    /// The folders of indexes.
    pub(super) fn folders(&self) -> &[Path] {
        &self.indexes
    }

    /// Keys of a new index, one below each name, all with the same file name.
    pub(super) fn new_index(&self) -> Result<Vec<Path>> {
        let file = format!("{:016}-{:016x}{INDEX}", now(), random()?);
        let keys = self
            .indexes
            .iter()
            .map(|folder| folder.clone().join(file.as_str()));
        Ok(keys.collect())
    }

    /// All keys under which an index was written that was read under this one; none for what is no index.
    pub(super) fn index_keys(&self, name: &str) -> Vec<Path> {
        let Ok(key) = Path::parse(name) else {
            return Vec::new();
        };
        let Some(file) = key.filename().filter(|file| is_index(file)) else {
            return Vec::new();
        };
        let all = self.indexes.iter().map(|folder| folder.clone().join(file));
        let all: Vec<Path> = all.collect();
        match all.contains(&key) {
            true => all,
            false => Vec::new(),
        }
    }
}

/// Whether a file name is an index's.
pub(super) fn is_index(file: &str) -> bool {
    file.ends_with(INDEX)
}

fn join(parts: &[&str]) -> Result<Path> {
    let parts: Vec<&str> = parts
        .iter()
        .copied()
        .filter(|part| !part.is_empty())
        .collect();
    let text = parts.join("/");
    Path::parse(&text).map_err(|error| Error::Spec(format!("{text}: {error}")))
}

/// Microseconds since 1970; it only helps to tell the newest index.
fn now() -> u64 {
    let age = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(age.as_micros()).unwrap_or(u64::MAX)
}

fn random() -> Result<u64> {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0; 8];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Error::Spec("the system has no random numbers".to_owned()))?;
    Ok(u64::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Attrs;

    fn layout(words: &[(&str, &str)]) -> Layout {
        let pairs = words
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let mut attrs = Attrs::new("s3", pairs).unwrap();
        Layout::of(&Folders::parse(&mut attrs, None).unwrap()).unwrap()
    }

    #[test]
    fn keys_are_below_the_prefix() {
        let layout = layout(&[("prefix", "team/x"), ("name", "a;b")]);
        let digest = Digest::sha256_of(b"x");
        let key = layout.blob(&digest);
        assert_eq!(
            key.as_ref(),
            format!("team/x/blobs/sha256/{}", digest.hex())
        );
        assert_eq!(layout.digest_of(&key), Some(digest));
        let keys = layout.new_index().unwrap();
        assert!(keys[0].as_ref().starts_with("team/x/manifests/a/"));
        assert_eq!(keys[0].filename(), keys[1].filename());
        assert_eq!(layout.index_keys(keys[1].as_ref()), keys);
    }

    #[test]
    fn only_indexes_of_this_place_are_ever_taken_away() {
        let layout = layout(&[]);
        for name in [
            "manifests/other/1.idx",
            "manifests/rbuild/1",
            "blobs/sha256/1.idx",
            "manifests/rbuild/../x/1.idx",
            "",
        ] {
            assert!(layout.index_keys(name).is_empty(), "{name}");
        }
        assert_eq!(layout.index_keys("manifests/rbuild/1.idx").len(), 1);
    }

    #[test]
    fn later_indexes_sort_behind_and_no_two_are_equal() {
        let layout = layout(&[]);
        let first = layout.new_index().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert!(layout.new_index().unwrap() > first);
    }
}
