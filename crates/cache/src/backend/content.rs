//! Content on its way: read in parts to be sent, taken in pieces to be verified.

use std::fs::File;
use std::io::{self, Read, Write};

use bytes::Bytes;
use rbuild_oci::Descriptor;
use rbuild_store::{Ingest, Store};

use crate::{Error, Result};

/// What is sent, read from its beginning to its end.
pub(super) enum Content {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A blob of the store.
    File {
        /// At its beginning.
        file: File,
        /// In bytes.
        length: u64,
    },
}

impl Content {
    /// A blob of the store. Errors: [`Error::Store`] if it is not there.
    pub(super) fn of(blob: &Descriptor, store: &Store) -> Result<Self> {
        Ok(Self::File {
            file: store.open_blob(&blob.digest)?,
            length: store.blob_size(&blob.digest)?,
        })
    }

    /// Bytes that are left in memory, or all of the blob.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }

    /// The next bytes, `length` of them; `what` is what an error is about.
    pub(super) fn next(&mut self, length: u64, what: &str) -> Result<Bytes> {
        self.read(length).map_err(|source| Error::Io {
            attempt: "read",
            path: what.into(),
            source,
        })
    }

    fn read(&mut self, length: u64) -> io::Result<Bytes> {
        let wanted = usize::try_from(length).map_err(io::Error::other)?;
        match self {
            Self::Bytes(bytes) if wanted <= bytes.len() => Ok(bytes.split_to(wanted)),
            Self::Bytes(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Self::File { file, .. } => {
                let mut part = vec![0; wanted];
                file.read_exact(&mut part)?;
                Ok(part.into())
            }
        }
    }
}

/// A blob that is coming. Nothing of it is left if it is dropped.
#[must_use = "dropping it discards the content"]
pub(super) struct Arrival<'a> {
    pub(super) blob: &'a Descriptor,
    ingest: Ingest<'a>,
    progress: &'a dyn Fn(u64),
}

/// Why a blob is not what was asked for, or could not be kept.
pub(super) enum Refused {
    /// It cannot be what was asked for, and why.
    Wrong(String),
    /// It could not be kept.
    Store(Error),
}

impl Refused {
    /// As an error of this place.
    pub(super) fn at(self, place: &str, blob: &Descriptor) -> Error {
        match self {
            Self::Store(error) => error,
            Self::Wrong(reason) => Error::Corrupt {
                place: place.to_owned(),
                digest: blob.digest.clone(),
                reason,
            },
        }
    }
}

impl<'a> Arrival<'a> {
    /// Begins to take in a blob; `progress` hears how many bytes came.
    pub(super) fn new(
        blob: &'a Descriptor,
        store: &'a Store,
        progress: &'a dyn Fn(u64),
    ) -> Result<Self> {
        Ok(Self {
            blob,
            ingest: store.ingest()?,
            progress,
        })
    }

    /// Bytes that came so far.
    pub(super) fn position(&self) -> u64 {
        self.ingest.size_bytes()
    }

    /// Looks at the whole size that the place states.
    pub(super) fn check_size(&self, stated: u64) -> Result<(), Refused> {
        let wanted = self.blob.size;
        match stated == wanted {
            true => Ok(()),
            false => Err(Refused::Wrong(format!(
                "it has {stated} bytes, not {wanted}"
            ))),
        }
    }

    /// Takes the next bytes.
    pub(super) fn take(&mut self, piece: &[u8]) -> Result<(), Refused> {
        let (after, wanted) = (
            self.position().saturating_add(piece.len() as u64),
            self.blob.size,
        );
        if after > wanted {
            return Err(Refused::Wrong(format!("it has more than {wanted} bytes")));
        }
        let written = self.ingest.write_all(piece);
        written.map_err(|source| {
            Refused::Store(Error::Io {
                attempt: "write",
                path: self.blob.digest.as_str().into(),
                source,
            })
        })?;
        (self.progress)(after);
        Ok(())
    }

    /// Puts what came into the store if it is what was asked for.
    pub(super) fn finish(self) -> Result<(), Refused> {
        let (came, wanted) = (self.position(), self.blob.size);
        if came != wanted {
            return Err(Refused::Wrong(format!(
                "it ended after {came} of {wanted} bytes"
            )));
        }
        match self.ingest.commit(Some(&self.blob.digest)) {
            Ok(_) => Ok(()),
            Err(rbuild_store::Error::DigestMismatch { found, .. }) => {
                Err(Refused::Wrong(format!("its content is {found}")))
            }
            Err(error) => Err(Refused::Store(error.into())),
        }
    }
}

/// One line of bounded length without control characters: what a service says may be shown on a terminal.
pub(super) fn one_line(text: &str) -> String {
    /// In characters.
    const MOST: usize = 300;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown = line.chars().filter(|c| !c.is_control());
    shown.take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_content_is_no_part() {
        let mut bytes = Content::Bytes(Bytes::from_static(b"abc"));
        assert_eq!(bytes.next(2, "x").unwrap(), "ab");
        assert_eq!(bytes.length(), 1);
        assert!(
            bytes
                .next(2, "x")
                .unwrap_err()
                .to_string()
                .contains("read x")
        );
    }

    #[test]
    fn what_a_service_says_is_one_line() {
        assert_eq!(one_line("a\n\t b\u{1b}[31mc"), "a b[31mc");
        assert_eq!(one_line(&"x".repeat(1000)).len(), 300);
    }
}
