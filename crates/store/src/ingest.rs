//! Content on its way in: staged, hashed, verified, renamed.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::PathBuf;

use rbuild_oci::{Algorithm, Digest, DigestWriter};

use crate::error::explain_full;
use crate::stage::StagedFile;
use crate::store::Store;
use crate::{Error, Object, Result};

/// Bytes gathered before a write to the file.
const BUFFER: usize = 128 * 1024;

/// Content being written.
///
/// Dropped without [`commit`](Ingest::commit), nothing is left behind.
#[must_use = "dropping it discards the content"]
pub struct Ingest<'a> {
    store: &'a Store,
    staged: StagedFile,
    path: PathBuf,
    writer: DigestWriter<BufWriter<File>>,
}

impl<'a> Ingest<'a> {
    pub(crate) fn new(store: &'a Store, staged: StagedFile) -> Result<Self> {
        let path = staged.path().to_path_buf();
        let file = staged
            .file()
            .try_clone()
            .map_err(Error::at("open", &path))?;
        let writer = DigestWriter::new(BufWriter::with_capacity(BUFFER, file));
        Ok(Self {
            store,
            staged,
            path,
            writer,
        })
    }

    /// Bytes written so far.
    pub fn size_bytes(&self) -> u64 {
        self.writer.size_bytes()
    }

    /// Puts the content into the store under its digest; returns digest and size in bytes.
    ///
    /// With `expected`, the content must have that digest and gets that name. Content that the store
    /// has already is dropped. Leased by this store handle until
    /// [`Store::release_committed`](crate::Store::release_committed).
    ///
    /// Errors: [`Error::DigestMismatch`]; nothing is left behind then.
    pub fn commit(self, expected: Option<&Digest>) -> Result<(Digest, u64)> {
        let Self {
            store,
            staged,
            path,
            writer,
        } = self;
        let (mut buffer, digest, size_bytes) = writer.finish();
        buffer.flush().map_err(Error::at("write", &path))?;
        let wanted = expected.map_or(Algorithm::Sha256, Digest::algorithm);
        let found = match wanted {
            Algorithm::Sha256 => digest,
            // Not taken on the way, being rare.
            other => hash_again(&staged, other)?,
        };
        if let Some(expected) = expected.filter(|expected| **expected != found) {
            return Err(Error::DigestMismatch {
                expected: expected.clone(),
                found,
            });
        }
        store.place_blob(staged, &found)?;
        Ok((found, size_bytes))
    }
}

/// Reads the file that was just written.
fn hash_again(staged: &StagedFile, algorithm: Algorithm) -> Result<Digest> {
    let mut file = staged.file();
    file.seek(SeekFrom::Start(0))
        .map_err(Error::at("seek in", staged.path()))?;
    let mut hasher = DigestWriter::with(algorithm, io::sink());
    io::copy(&mut file, &mut hasher).map_err(Error::at("read", staged.path()))?;
    let (_, digest, _) = hasher.finish();
    Ok(digest)
}

impl Write for Ingest<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.writer
            .write(buf)
            .map_err(|error| explain_full(&self.path, error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer
            .flush()
            .map_err(|error| explain_full(&self.path, error))
    }
}

impl fmt::Debug for Ingest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ingest")
            .field("path", &self.path)
            .field("size_bytes", &self.size_bytes())
            .finish()
    }
}

impl Store {
    /// Begins to take in content of an unknown digest.
    pub fn ingest(&self) -> Result<Ingest<'_>> {
        Ingest::new(self, self.stage_file()?)
    }

    /// Puts a staged file into the store as the blob `digest`.
    ///
    /// For content that was hashed while it was written, by this process or by the one that was given
    /// the descriptor: the caller vouches that `digest` is that of exactly the file's bytes.
    pub fn commit_blob(&self, staged: StagedFile, digest: &Digest) -> Result<()> {
        self.place_blob(staged, digest)
    }

    /// Takes in bytes at hand.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::sha256_of(bytes);
        let object = Object::Blob(digest.clone());
        if !self.has_blob(&digest) || !self.lease_committed(object)? {
            let staged = self.stage_file()?;
            staged
                .file()
                .write_all(bytes)
                .map_err(Error::at("write", staged.path()))?;
            self.place_blob(staged, &digest)?;
        }
        Ok(digest)
    }

    fn place_blob(&self, staged: StagedFile, digest: &Digest) -> Result<()> {
        let object = Object::Blob(digest.clone());
        let target = self.layout.blob(digest);
        self.commit_leased(object.clone(), || {
            if target.exists() || self.lower().is_some_and(|lower| lower.has(&object)) {
                Ok(())
            } else {
                staged.rename_to(&target)?;
                self.count_committed(&target)
            }
        })
    }
}
