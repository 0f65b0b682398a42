//! Bytes on their way into a file, hashed as they pass; large amounts by a second thread.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use rbuild_oci::Digest;
use rbuild_progress::CancelToken;
use sha2::{Digest as _, Sha256};

use crate::Result;

/// Bytes gathered before they are hashed and written.
const CHUNK: usize = 1 << 20;
/// Chunks on their way at once.
const CHUNKS: usize = 4;
/// Below this many bytes a thread costs more than it saves.
const THREAD_FROM_BYTES: u64 = 2 << 20;

/// What came out of `hashed`.
pub(crate) struct Hashed {
    pub(crate) digest: Digest,
    pub(crate) size_bytes: u64,
}

/// Runs `write` with a writer to `out` and returns the SHA-256 of all that went through it.
///
/// `expected_bytes` decides whether hashing gets a thread of its own. Errors: what `write` returns,
/// `Io` when `out` fails, `Cancelled`, which is looked at once per chunk.
pub(crate) fn hashed(
    out: &mut dyn Write,
    expected_bytes: u64,
    cancel: &CancelToken,
    write: impl FnOnce(&mut ChunkWriter<'_>) -> Result<()>,
) -> Result<Hashed> {
    if expected_bytes < THREAD_FROM_BYTES {
        let room = usize::try_from(expected_bytes)
            .unwrap_or(CHUNK)
            .clamp(4096, CHUNK);
        let mut writer = ChunkWriter::new(out, room, cancel, Hasher::Here(Sha256::new()));
        write(&mut writer)?;
        return writer.finish();
    }
    std::thread::scope(|scope| {
        let (full, incoming) = sync_channel::<Arc<Vec<u8>>>(CHUNKS);
        let (done, free) = channel();
        let thread = scope.spawn(move || hash_all(&incoming, &done));
        let hasher = Hasher::There {
            full,
            free,
            spare: CHUNKS - 1,
        };
        let mut writer = ChunkWriter::new(out, CHUNK, cancel, hasher);
        write(&mut writer)?;
        let mut hashed = writer.finish()?;
        hashed.digest = thread.join().map_err(|_| gone())?;
        Ok(hashed)
    })
}

fn hash_all(incoming: &Receiver<Arc<Vec<u8>>>, done: &Sender<Arc<Vec<u8>>>) -> Digest {
    let mut hasher = Sha256::new();
    for chunk in incoming {
        hasher.update(&*chunk);
        // Nobody takes it back once the last chunk is on its way.
        done.send(chunk).ok();
    }
    Digest::from_sha256(hasher.finalize().into())
}

enum Hasher {
    Here(Sha256),
    There {
        full: SyncSender<Arc<Vec<u8>>>,
        free: Receiver<Arc<Vec<u8>>>,
        /// Chunks that were not yet allocated.
        spare: usize,
    },
}

/// Gathers chunks, hashes and writes them.
pub(crate) struct ChunkWriter<'a> {
    out: &'a mut dyn Write,
    chunk: Vec<u8>,
    used: usize,
    size_bytes: u64,
    cancel: &'a CancelToken,
    hasher: Hasher,
}

impl<'a> ChunkWriter<'a> {
    fn new(out: &'a mut dyn Write, room: usize, cancel: &'a CancelToken, hasher: Hasher) -> Self {
        Self {
            out,
            chunk: vec![0; room],
            used: 0,
            size_bytes: 0,
            cancel,
            hasher,
        }
    }

    /// Bytes that went through so far.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes + self.used as u64
    }

    /// Reads from `input` straight into the chunk until its end or `most` bytes; `seen` is shown
    /// each piece. Returns how many bytes came.
    pub(crate) fn read_from(
        &mut self,
        input: &mut dyn Read,
        most: u64,
        seen: &mut dyn FnMut(&[u8]),
    ) -> io::Result<u64> {
        let mut count = 0;
        while count < most {
            if self.used == self.chunk.len() {
                self.pass_on()?;
            }
            let wanted = usize::try_from(most - count).unwrap_or(usize::MAX);
            let end = self.chunk.len().min(self.used.saturating_add(wanted));
            let Some(room) = self.chunk.get_mut(self.used..end) else {
                break;
            };
            let got = match input.read(room) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            seen(room.get(..got).unwrap_or_default());
            self.used += got;
            count += got as u64;
        }
        Ok(count)
    }

    /// Hashes and writes what was gathered.
    fn pass_on(&mut self) -> io::Result<()> {
        self.cancel.check().map_err(io::Error::other)?;
        self.size_bytes += self.used as u64;
        match &mut self.hasher {
            Hasher::Here(hasher) => {
                let bytes = self.chunk.get(..self.used).unwrap_or_default();
                hasher.update(bytes);
                self.out.write_all(bytes)?;
            }
            Hasher::There { full, free, spare } => {
                self.chunk.truncate(self.used);
                let chunk = Arc::new(std::mem::take(&mut self.chunk));
                full.send(Arc::clone(&chunk)).map_err(|_| gone_io())?;
                self.out.write_all(&chunk)?;
                drop(chunk);
                self.chunk = match spare.checked_sub(1) {
                    Some(left) => {
                        *spare = left;
                        Vec::new()
                    }
                    None => {
                        let chunk = free.recv().map_err(|_| gone_io())?;
                        Arc::try_unwrap(chunk).unwrap_or_default()
                    }
                };
                self.chunk.resize(CHUNK, 0);
            }
        }
        self.used = 0;
        Ok(())
    }

    fn finish(mut self) -> Result<Hashed> {
        self.pass_on()
            .map_err(|source| crate::Error::io("write", "", source))?;
        let digest = match self.hasher {
            Hasher::Here(hasher) => Digest::from_sha256(hasher.finalize().into()),
            // The caller has the thread and puts the real one here.
            Hasher::There { .. } => Digest::sha256_of(&[]),
        };
        Ok(Hashed {
            digest,
            size_bytes: self.size_bytes,
        })
    }
}

impl Write for ChunkWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut input = bytes;
        let count = self.read_from(&mut input, bytes.len() as u64, &mut |_| {})?;
        Ok(count as usize)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gone_io() -> io::Error {
    io::Error::other("the hashing thread is gone")
}

fn gone() -> crate::Error {
    crate::Error::io("hash", "", gone_io())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(size: usize, announced: u64) {
        let bytes: Vec<u8> = (0..size).map(|at| (at * 7 % 251) as u8).collect();
        let mut out = Vec::new();
        let cancel = CancelToken::new();
        let hashed = hashed(&mut out, announced, &cancel, |writer| {
            let (head, tail) = bytes.split_at(size / 3);
            writer.write_all(head).unwrap();
            let mut seen = 0;
            let mut input = tail;
            let most = tail.len() as u64;
            let count = writer.read_from(&mut input, most, &mut |piece| seen += piece.len());
            assert_eq!(count.unwrap(), seen as u64);
            Ok(())
        });
        let hashed = hashed.unwrap();
        assert_eq!(hashed.digest, Digest::sha256_of(&bytes));
        assert_eq!(hashed.size_bytes, size as u64);
        assert!(out == bytes);
    }

    #[test]
    fn bytes_and_digest_do_not_depend_on_the_way() {
        for size in [0, 1, CHUNK - 1, CHUNK, 9 * CHUNK + 17] {
            check(size, 0);
            check(size, u64::MAX);
        }
    }

    #[test]
    fn cancellation_stops_both_ways() {
        let cancel = CancelToken::new();
        cancel.cancel();
        for announced in [0, u64::MAX] {
            let result = hashed(&mut Vec::new(), announced, &cancel, |_| Ok(()));
            assert!(matches!(result, Err(crate::Error::Cancelled)));
        }
    }

    #[test]
    fn a_failing_output_is_reported() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let cancel = CancelToken::new();
        let result = hashed(&mut Full, u64::MAX, &cancel, |writer| {
            let wrote = writer.write_all(&vec![0; 3 * CHUNK]);
            wrote.map_err(|source| crate::Error::io("write", "x", source))
        });
        assert!(matches!(result, Err(crate::Error::Io { .. })));
    }
}
