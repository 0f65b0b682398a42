//! Filling a directory of the store that is no layer.

use std::io::{self, BufWriter, PipeWriter, Write};
use std::os::fd::AsFd;
use std::path::Path;

use rbuild_progress::CancelToken;
use rustix::pipe::fcntl_setpipe_size;

use super::LayerStore;
use super::bytes::rewind;
use super::trees::entry_of;
use crate::job::{Top, TreeJob};
use crate::path::to_path;
use crate::tree::{Amended, encode_amended};
use crate::{Entry, Error, FileView, Kind, Node, NodeKind, Result};

/// Bytes gathered before they go to a job.
const PIPE_BUFFER: usize = 1 << 16;

/// What may lie in the pipe to a job, so that neither side waits for the other at each file.
const PIPE_LENGTH: usize = 1 << 20;

/// Something of a view that is to be written into a directory.
#[derive(Clone, Debug)]
pub struct Filling {
    /// Where it is in the view.
    pub from: Vec<u8>,
    /// Where it goes below the directory; never empty, parents come before what is in them.
    pub to: Vec<u8>,
    /// What it is.
    pub node: Node,
}

impl LayerStore {
    /// Writes parts of a view into an empty directory, with their owners, and gives the directory its
    /// own owner and mode.
    ///
    /// Done where files may have any owner; with one id all of them belong to it. Sockets are left
    /// out. Errors: those of the view and of the job; the directory then holds rubbish.
    pub fn fill(
        &self,
        (dir, top): (&Path, Top),
        view: &dyn FileView,
        parts: &[Filling],
        cancel: &CancelToken,
    ) -> Result<()> {
        let bytes = self.store().stage_file()?;
        let mut items = Vec::with_capacity(parts.len());
        for part in parts {
            cancel.check()?;
            if part.node.kind == NodeKind::Socket {
                continue;
            }
            let mut entry = entry_of(&part.to, part.node.clone())?;
            if let Kind::File { size, .. } = &mut entry.kind {
                let wrap = |source| Error::io("copy", to_path(&part.from), source);
                // The copied bytes count: a local file may have grown since it was looked at.
                *size = io::copy(&mut view.open(&part.from)?, &mut bytes.file()).map_err(wrap)?;
            }
            items.push(Amended { entry });
        }
        rewind(&bytes)?;
        let list = self.list_file(&encode_amended(&items))?;
        let job = TreeJob::Fill {
            root: dir.to_owned(),
            site: self.inner.work.site(),
            top,
        };
        let fds = [list.file().as_fd(), bytes.file().as_fd()];
        self.inner.work.run(&job, &fds, cancel).map(drop)
    }

    /// Makes entries in an empty directory, with everything that they say, and gives the directory its own
    /// owner and mode. Bytes are not kept anywhere on the way.
    ///
    /// Parents come before what is in them, the leaders of links before the links. `write` writes the
    /// bytes of the regular files one after the other. Errors: that of `write`, else that of the job; the
    /// directory then holds rubbish.
    pub fn plant<E: From<Error>>(
        &self,
        (dir, top): (&Path, Top),
        entries: Vec<Entry>,
        write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
        cancel: &CancelToken,
    ) -> Result<(), E> {
        let items: Vec<_> = entries.into_iter().map(|entry| Amended { entry }).collect();
        let list = self.list_file(&encode_amended(&items))?;
        drop(items);
        let job = TreeJob::Fill {
            root: dir.to_owned(),
            site: self.inner.work.site(),
            top,
        };
        let wrap = |source| Error::io("make", "a pipe", source);
        let (output, input) = io::pipe().map_err(wrap)?;
        // A user may have used up what there is for pipes; a short one does as well.
        fcntl_setpipe_size(&input, PIPE_LENGTH).ok();
        let (written, made) = std::thread::scope(|scope| {
            let job = scope.spawn(|| {
                // Closed when the job is done: whoever still writes is told then.
                let output = output;
                let fds = [list.file().as_fd(), output.as_fd()];
                self.inner.work.run(&job, &fds, cancel).map(drop)
            });
            let mut pipe = Pipe {
                writer: BufWriter::with_capacity(PIPE_BUFFER, input),
                is_closed: false,
            };
            let written = write(&mut pipe).and_then(|()| {
                let flushed = pipe.flush();
                flushed.map_err(|source| Error::io("write", "a pipe", source).into())
            });
            let is_closed = pipe.is_closed;
            // The job waits for the end of it; and after a failure nothing more is to be written.
            drop(pipe.writer.into_parts());
            (written.map_err(|error| (error, is_closed)), job.join())
        });
        let made = made.unwrap_or_else(|_| {
            Err(Error::TreeWork {
                reason: "the job ended with a panic".to_owned(),
            })
        });
        match (written, made) {
            // The job went away first, and knows why.
            (Ok(()) | Err((_, true)), Err(error)) => Err(error.into()),
            (Err((error, _)), _) => Err(error),
            (Ok(()), Ok(())) => Ok(()),
        }
    }
}

/// The way of bytes to a job.
struct Pipe {
    writer: BufWriter<PipeWriter>,
    /// Whether nobody reads any more.
    is_closed: bool,
}

impl Pipe {
    fn noted<T>(&mut self, done: io::Result<T>) -> io::Result<T> {
        let is_closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        self.is_closed |= done.as_ref().is_err_and(is_closed);
        done
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let done = self.writer.write(bytes);
        self.noted(done)
    }

    fn flush(&mut self) -> io::Result<()> {
        let done = self.writer.flush();
        self.noted(done)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::sync::Arc;

    use rbuild_store::Store;

    use super::*;
    use crate::{ContentDigest, InPlace, Mtime, NoFetch};

    fn file(path: &str, size: u64) -> Entry {
        let kind = Kind::File {
            size,
            content: ContentDigest::empty(),
        };
        let time = Mtime {
            secs: 1_000,
            nanos: 123_456_789,
        };
        Entry::new(path, kind, 0o640, time)
    }

    fn planted(
        entries: Vec<Entry>,
        write: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> (tempfile::TempDir, Result<()>) {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&dir.path().join("store")).unwrap());
        let layers = LayerStore::new(store, Arc::new(InPlace::root()), Arc::new(NoFetch));
        let target = dir.path().join("target");
        fs::create_dir(&target).unwrap();
        let top = Top {
            mode: 0o1777,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        let done = layers.plant((&target, top), entries, write, &CancelToken::new());
        (dir, done)
    }

    #[test]
    fn links_and_times_are_kept() {
        let own = |mut entry: Entry| {
            entry.uid = rustix::process::geteuid().as_raw();
            entry.gid = rustix::process::getegid().as_raw();
            entry
        };
        let time = Mtime {
            secs: 77,
            nanos: 999_999_999,
        };
        let link = Kind::Hardlink {
            leader: b"d/f".to_vec(),
        };
        let entries = vec![
            own(Entry::new("d", Kind::dir(), 0o750, time)),
            own(file("d/f", 3)),
            own(Entry::new("d/l", link, 0o640, file("", 0).mtime)),
            own(file("e", 0)),
        ];
        let (dir, done) = planted(entries, |out| {
            out.write_all(b"abc")
                .map_err(|e| Error::io("write", "x", e))
        });
        done.unwrap();
        let stat = |path: &str| fs::metadata(dir.path().join("target").join(path)).unwrap();
        assert_eq!(fs::read(dir.path().join("target/d/l")).unwrap(), b"abc");
        assert_eq!(stat("d/l").ino(), stat("d/f").ino());
        assert_eq!(
            (stat("d/f").mtime(), stat("d/f").mtime_nsec()),
            (1_000, 123_456_789)
        );
        assert_eq!(
            (stat("d").mtime(), stat("d").mtime_nsec()),
            (77, 999_999_999)
        );
        assert_eq!(stat("").mode() & 0o7777, 0o1777);
    }

    /// Directories with many small files and a few long ones, and what is in each file.
    fn many() -> (Vec<Entry>, Vec<Vec<u8>>) {
        let (mut entries, mut contents) = (Vec::new(), Vec::new());
        for n in 0..300_usize {
            if n % 50 == 0 {
                let time = Mtime { secs: 9, nanos: 9 };
                entries.push(Entry::new(format!("d{}", n / 50), Kind::dir(), 0o755, time));
            }
            let length = if n % 100 == 7 { 700_000 + n } else { n * 3 };
            let byte = u8::try_from(n % 251).unwrap();
            contents.push(vec![byte; length]);
            let length = u64::try_from(length).unwrap();
            entries.push(file(&format!("d{}/f{n:03}", n / 50), length));
        }
        for entry in &mut entries {
            entry.uid = rustix::process::geteuid().as_raw();
            entry.gid = rustix::process::getegid().as_raw();
        }
        (entries, contents)
    }

    #[test]
    fn small_and_long_files_get_their_own_bytes() {
        let (entries, contents) = many();
        let all = contents.concat();
        let (dir, done) = planted(entries, |out| {
            out.write_all(&all).map_err(|e| Error::io("write", "x", e))
        });
        done.unwrap();
        for (n, content) in contents.iter().enumerate() {
            let path = dir.path().join(format!("target/d{}/f{n:03}", n / 50));
            assert!(fs::read(&path).unwrap() == *content, "{n}");
            let stat = fs::metadata(&path).unwrap();
            assert_eq!(
                (stat.mode() & 0o7777, stat.mtime_nsec()),
                (0o640, 123_456_789)
            );
        }
        let stat = fs::metadata(dir.path().join("target/d3")).unwrap();
        assert_eq!((stat.mtime(), stat.mtime_nsec()), (9, 9));
    }

    #[test]
    fn bytes_that_end_too_early_are_told() {
        let (entries, contents) = many();
        let all = contents.concat();
        for length in [all.len() - 1, all.len() / 2, 0] {
            let (_dir, done) = planted(entries.clone(), |out| {
                let part = &all[..length];
                out.write_all(part).map_err(|e| Error::io("write", "x", e))
            });
            assert!(done.unwrap_err().to_string().starts_with("copy"));
        }
    }

    #[test]
    fn the_first_failure_is_told() {
        let wrong = || Err(Error::Cancelled);
        let (_dir, done) = planted(vec![file("f", 3)], |_| wrong());
        assert!(matches!(done, Err(Error::Cancelled)), "{done:?}");
        let (_dir, done) = planted(vec![file("f", 3)], |_| Ok(()));
        assert!(done.unwrap_err().to_string().starts_with("copy"));
        // The job ends over the second name while bytes for the first still come.
        let many = vec![0; 1 << 20];
        let (_dir, done) = planted(vec![file("f", 1), file("f", 1 << 30)], |out| {
            for _ in 0..64 {
                out.write_all(&many)
                    .map_err(|e| Error::io("write", "x", e))?;
            }
            Ok(())
        });
        assert!(done.unwrap_err().to_string().starts_with("create"));
    }
}
