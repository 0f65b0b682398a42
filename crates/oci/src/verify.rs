//! Hashing on the way through: a writer that takes a digest, a reader that checks one.

use std::io::{self, Read, Write};

use crate::digest::Hasher;
use crate::{Algorithm, Digest, Error};

/// A writer that hashes and counts what it passes on.
pub struct DigestWriter<W> {
    inner: W,
    hasher: Hasher,
    size_bytes: u64,
}

impl<W: Write> DigestWriter<W> {
    /// Wraps `inner`; nothing is written or hashed yet. The hash is SHA-256.
    pub fn new(inner: W) -> Self {
        Self::with(Algorithm::Sha256, inner)
    }

    /// As [`new`](Self::new), with another hash.
    pub fn with(algorithm: Algorithm, inner: W) -> Self {
        Self {
            inner,
            hasher: Hasher::new(algorithm),
            size_bytes: 0,
        }
    }

    /// Bytes passed on so far.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Gives back the inner writer, the digest and the number of bytes. Does not flush.
    pub fn finish(self) -> (W, Digest, u64) {
        (self.inner, self.hasher.finish(), self.size_bytes)
    }
}

impl<W: Write> Write for DigestWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        // Only what the inner writer took counts: a short write is offered again by the caller.
        let written = self.inner.write(buf)?;
        self.hasher.update(&buf[..written]);
        self.size_bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A reader that fails unless the bytes have the expected digest and size.
///
/// The check is made where the inner reader ends, and as soon as there are too many bytes; until
/// then bytes are handed out unverified, so a consumer must read to the end before it believes
/// them. Errors are `io::ErrorKind::InvalidData` around [`Error::DigestMismatch`] or
/// [`Error::SizeMismatch`].
pub struct VerifyReader<R> {
    inner: R,
    hasher: Option<Hasher>,
    expected: Digest,
    expected_size: Option<u64>,
    seen: u64,
}

impl<R: Read> VerifyReader<R> {
    /// Wraps `inner`. `size` is in bytes; `None` leaves the size unchecked.
    pub fn new(inner: R, expected: Digest, size: Option<u64>) -> Self {
        let hasher = Some(Hasher::new(expected.algorithm()));
        Self {
            inner,
            hasher,
            expected,
            expected_size: size,
            seen: 0,
        }
    }

    fn wrong_size(&self) -> io::Error {
        invalid(Error::SizeMismatch {
            digest: self.expected.clone(),
            expected: self.expected_size.unwrap_or(0),
            found: self.seen,
        })
    }

    fn check_end(&mut self) -> io::Result<()> {
        // A second read at the end finds no hasher: the verdict has been given.
        let Some(hasher) = self.hasher.take() else {
            return Ok(());
        };
        if self.expected_size.is_some_and(|size| size != self.seen) {
            return Err(self.wrong_size());
        }
        let found = hasher.finish();
        if found != self.expected {
            return Err(invalid(Error::DigestMismatch {
                expected: self.expected.clone(),
                found,
            }));
        }
        Ok(())
    }
}

impl<R: Read> Read for VerifyReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let got = self.inner.read(buf)?;
        if got == 0 {
            return self.check_end().map(|()| 0);
        }
        self.seen += got as u64;
        if self.expected_size.is_some_and(|size| self.seen > size) {
            return Err(self.wrong_size());
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buf[..got]);
        }
        Ok(got)
    }
}

fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(bytes: &[u8], digest: Digest, size: Option<u64>) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        VerifyReader::new(bytes, digest, size).read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn writer_digests_and_counts() {
        let mut writer = DigestWriter::new(Vec::new());
        writer.write_all(b"hello ").unwrap();
        writer.write_all(b"world").unwrap();
        let (bytes, digest, size) = writer.finish();
        assert_eq!((digest, size), (Digest::sha256_of(&bytes), 11));
    }

    #[test]
    fn reader_passes_good_content() {
        let digest = Digest::sha256_of(b"good");
        assert_eq!(read_all(b"good", digest.clone(), Some(4)).unwrap(), b"good");
        assert_eq!(read_all(b"good", digest, None).unwrap(), b"good");
    }

    #[test]
    fn reader_refuses_other_content_short_content_and_long_content() {
        let digest = Digest::sha256_of(b"good");
        let check = |bytes: &[u8], wanted: &str| {
            let error = read_all(bytes, digest.clone(), Some(4)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().contains(wanted), "{error}");
        };
        check(b"evil", "content has digest sha256:");
        check(b"goo", "has 3 bytes, expected 4");
        check(b"goodbye", "has 7 bytes, expected 4");
    }
}
