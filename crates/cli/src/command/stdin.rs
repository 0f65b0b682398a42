//! What a build takes from standard input: a Dockerfile or an archive of the context.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::Arc;

use rbuild::ArchiveInput;
use rbuild::progress::{CancelToken, Cancelled};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::CommandError;

/// Most bytes taken as a Dockerfile: far above any.
const LIMIT: u64 = 16 << 20;
/// Bytes that tell an archive from a Dockerfile.
const HEAD: u64 = 1024;

/// What was handed in.
pub enum Piped {
    /// The files of a context, most of them not read yet.
    Archive(ArchiveInput),
    /// A Dockerfile.
    Text(Vec<u8>),
}

/// Reads as much as tells an archive from a Dockerfile, and of the latter the rest.
pub fn context(cancel: &CancelToken) -> Result<Piped, CommandError> {
    let mut input = Stdin::new(cancel)?;
    let mut head = Vec::new();
    (&mut input)
        .take(HEAD)
        .read_to_end(&mut head)
        .map_err(unreadable)?;
    match is_archive(&head) {
        true => Ok(Piped::Archive(ArchiveInput {
            head: head.into(),
            rest: Arc::new(input.file),
        })),
        false => Ok(Piped::Text(whole(head, input)?)),
    }
}

/// Reads a Dockerfile.
pub fn text(cancel: &CancelToken) -> Result<Vec<u8>, CommandError> {
    whole(Vec::new(), Stdin::new(cancel)?)
}

/// What is on standard input behind `head`, as a whole.
fn whole(head: Vec<u8>, input: Stdin) -> Result<Vec<u8>, CommandError> {
    let mut bytes = head;
    input
        .take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > LIMIT {
        return Err(CommandError::Usage(
            "standard input is larger than 16 MiB".to_owned(),
        ));
    }
    Ok(bytes)
}

fn unreadable(error: io::Error) -> CommandError {
    match Cancelled::caused(&error) {
        true => CommandError::Engine(Cancelled.into()),
        false => anyhow::Error::from(error)
            .context("read standard input")
            .into(),
    }
}

/// Standard input without a buffer, so that nothing of it is lost between two readers; a wait for more ends
/// when the token is set.
struct Stdin {
    file: File,
    cancel: CancelToken,
    has_ended: bool,
}

impl Stdin {
    fn new(cancel: &CancelToken) -> Result<Self, CommandError> {
        let own = io::stdin().as_fd().try_clone_to_owned();
        Ok(Self {
            file: own.map(File::from).map_err(unreadable)?,
            cancel: cancel.clone(),
            has_ended: false,
        })
    }

    /// Waits until there is something to read.
    fn wait(&self) -> io::Result<()> {
        loop {
            let mut fds = [
                PollFd::new(&self.file, PollFlags::IN),
                PollFd::from_borrowed_fd(self.cancel.as_fd(), PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(self.cancel.check()?)
    }
}

impl Read for Stdin {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // A terminal says but once that its user has ended the input.
        if self.has_ended || buf.is_empty() {
            return Ok(0);
        }
        self.wait()?;
        let n = self.file.read(buf)?;
        self.has_ended = n == 0;
        Ok(n)
    }
}

/// Tells an archive from a Dockerfile by its first bytes: gzip, bzip2, xz, zstd or tar.
fn is_archive(bytes: &[u8]) -> bool {
    const MAGIC: [&[u8]; 4] = [
        b"\x1f\x8b\x08",
        b"BZh",
        b"\xfd7zXZ\x00",
        b"\x28\xb5\x2f\xfd",
    ];
    MAGIC.iter().any(|magic| bytes.starts_with(magic)) || is_tar(bytes)
}

/// Whether a tar header begins here: old ones have no magic, but all have a checksum.
fn is_tar(bytes: &[u8]) -> bool {
    const SUM: std::ops::Range<usize> = 148..156;
    let Some(header) = bytes.get(..512) else {
        return false;
    };
    let stated = String::from_utf8_lossy(&header[SUM]);
    let stated = stated.trim_matches([' ', '\0']);
    let found: u32 = (0..)
        .zip(header)
        .map(|(at, byte)| {
            if SUM.contains(&at) {
                32
            } else {
                u32::from(*byte)
            }
        })
        .sum();
    u32::from_str_radix(stated, 8).is_ok_and(|stated| stated == found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_told_from_dockerfiles() {
        assert!(is_archive(b"\x1f\x8b\x08\x00"));
        let mut tar = vec![0; 512];
        tar[0] = b'a';
        assert!(!is_archive(&tar));
        let sum = format!("{:06o}\0 ", 8 * 32 + u32::from(b'a'));
        tar[148..156].copy_from_slice(sum.as_bytes());
        assert!(is_archive(&tar));
        assert!(!is_archive(b"FROM scratch\n"));
        assert!(!is_archive(b""));
    }
}
