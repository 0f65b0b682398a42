//! Keys of entries.

use std::time::{SystemTime, UNIX_EPOCH};

use rbuild_oci::Digest;

use crate::{Error, Result};

/// Before the digest of every blob.
pub(super) const BLOBS: &str = "rbuild-blob-";

/// A blob's key. Digests are equally long, so that none is the beginning of another.
pub(super) fn blob(digest: &Digest) -> String {
    format!("{BLOBS}{digest}")
}

/// The beginning of all keys of a scope's indexes. A scope has no `#`, so that none is another's beginning.
pub(super) fn index_prefix(scope: &str) -> String {
    format!("index-rbuild-{scope}#")
}

/// A key that nobody has yet. Errors: the system has no random numbers.
pub(super) fn new_index(scope: &str) -> Result<String> {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut random = [0; 8];
    let filled = SystemRandom::new().fill(&mut random);
    filled.map_err(|_| Error::Spec("the system has no random numbers".to_owned()))?;
    let age = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let (time, random) = (age.as_micros(), u64::from_ne_bytes(random));
    Ok(format!("{}{time:016}-{random:016x}", index_prefix(scope)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_scope_is_in_another() {
        let key = new_index("main-2").unwrap();
        assert!(key.starts_with(&index_prefix("main-2")));
        assert!(!key.starts_with(&index_prefix("main")));
        assert_ne!(key, new_index("main-2").unwrap());
    }
}
