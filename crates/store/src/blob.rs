//! Content named by its digest: look, open, list.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use rbuild_oci::{Algorithm, Digest};

use crate::store::Store;
use crate::{Error, Result};

/// The algorithms that have a directory.
pub(crate) const ALGORITHMS: [Algorithm; 3] =
    [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512];

impl Store {
    /// Tells whether the store has the content.
    ///
    /// To rely on it afterwards, lease it: a collector in another process may be at work.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.has_own_blob(digest) || self.lower_blob(digest).is_some()
    }

    /// Opens content for reading.
    ///
    /// Errors: [`Error::MissingBlob`].
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        let path = self.layout.blob(digest);
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = match self.rescue_blob(digest)? {
                    true => path,
                    false => self.lower_blob(digest).ok_or_else(|| Error::MissingBlob {
                        digest: digest.clone(),
                    })?,
                };
                File::open(&path).map_err(Error::at("open", &path))
            }
            other => other.map_err(Error::at("open", &path)),
        }
    }

    /// Reads content whole, which may be at most `limit` bytes long.
    ///
    /// Errors: [`Error::MissingBlob`]; [`Error::Io`] when it is longer.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        use std::io::Read;

        let mut bytes = Vec::new();
        let path = self.layout.blob(digest);
        let read = self
            .open_blob(digest)?
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes);
        read.map_err(Error::at("read", &path))?;
        if bytes.len() as u64 > limit {
            let source = io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("longer than {limit} bytes"),
            );
            return Err(Error::io("read", &path, source));
        }
        Ok(bytes)
    }

    /// Where the content lies, or would; call [`Store::has_blob`] first.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        let own = self.layout.blob(digest);
        match &self.lower {
            Some(lower) if !own.exists() => lower.blob(digest).unwrap_or(own),
            _ => own,
        }
    }

    fn has_own_blob(&self, digest: &Digest) -> bool {
        self.layout.blob(digest).exists() || self.rescue_blob(digest).unwrap_or(false)
    }

    /// Where a blob lies in the store below.
    fn lower_blob(&self, digest: &Digest) -> Option<PathBuf> {
        self.lower.as_ref()?.blob(digest)
    }

    /// Length of the content in bytes.
    ///
    /// Errors: [`Error::MissingBlob`].
    pub fn blob_size(&self, digest: &Digest) -> Result<u64> {
        let file = self.open_blob(digest)?;
        let meta = file
            .metadata()
            .map_err(Error::at("stat", &self.layout.blob(digest)))?;
        Ok(meta.len())
    }

    /// Lists the digests of all content of its own, sorted.
    ///
    /// Names that are no digests are left out; [`Store::verify`] reports them.
    pub fn blobs(&self) -> Result<Vec<Digest>> {
        let mut all = Vec::new();
        for algorithm in ALGORITHMS {
            let dir = self.layout.blobs(algorithm);
            for entry in fs::read_dir(&dir).map_err(Error::at("list", &dir))? {
                let name = entry.map_err(Error::at("list", &dir))?.file_name();
                let text = format!("{}:{}", algorithm.as_str(), name.to_string_lossy());
                all.extend(Digest::parse(&text));
            }
        }
        all.sort();
        Ok(all)
    }
}
