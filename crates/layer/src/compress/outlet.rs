//! Where compressed blocks go: one after the other, by a thread of their own once there are several.
//!
//! Whoever fills blocks has enough to do with reading them; hashing and writing what comes out would
//! make it the slowest of all.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rbuild_progress::CancelToken;

use super::codec::{Done, Kit};

/// Longest wait before it is seen that the build was cancelled.
const LOOK: Duration = Duration::from_millis(50);

/// A block that is being compressed.
pub(super) type Coming = Receiver<io::Result<Done>>;

/// What was written so far.
pub(super) struct Stream<W> {
    pub(super) out: W,
    /// Checksum and number of the uncompressed bytes.
    pub(super) crc: crc32fast::Hasher,
    pub(super) length: u64,
}

impl<W: Write> Stream<W> {
    /// Writes a block; gives back what it was made with.
    pub(super) fn write(&mut self, done: Done) -> io::Result<Kit> {
        self.out.write_all(done.bytes())?;
        self.crc.combine(&done.crc);
        self.length += done.length;
        Ok(done.kit)
    }
}

/// The thread that writes blocks.
pub(super) struct Outlet<W> {
    blocks: Sender<Coming>,
    spare: Receiver<Kit>,
    /// Kits that were not made yet.
    unmade: usize,
    thread: JoinHandle<io::Result<Stream<W>>>,
}

impl<W: Write + Send + 'static> Outlet<W> {
    /// Starts the thread; at most `kits` blocks are on their way at once.
    pub(super) fn start(
        mut stream: Stream<W>,
        kits: usize,
        cancel: &CancelToken,
    ) -> io::Result<Self> {
        let (blocks, coming) = channel::<Coming>();
        let (give_back, spare) = channel();
        let cancel = cancel.clone();
        let work = move || {
            for block in coming {
                let kit = stream.write(wait(&block, &cancel)??)?;
                // Nobody takes it back once the last block is on its way.
                give_back.send(kit).ok();
            }
            Ok(stream)
        };
        Ok(Self {
            blocks,
            spare,
            unmade: kits,
            thread: std::thread::Builder::new()
                .name("compressed".to_owned())
                .spawn(work)?,
        })
    }

    /// What the next block can be made with; waits for one to be written when too many are under way.
    /// `None`: the thread has given up.
    pub(super) fn kit(&mut self, cancel: &CancelToken) -> io::Result<Option<Kit>> {
        if let Some(left) = self.unmade.checked_sub(1) {
            self.unmade = left;
            return Ok(Some(Kit::default()));
        }
        match wait(&self.spare, cancel) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(None),
            other => other.map(Some),
        }
    }

    /// Lets a block follow those before it. `false`: the thread has given up.
    pub(super) fn push(&self, block: Coming) -> bool {
        self.blocks.send(block).is_ok()
    }

    /// Waits until everything is written. Errors: what made the thread give up.
    pub(super) fn finish(self) -> io::Result<Stream<W>> {
        drop(self.blocks);
        self.thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread that writes blocks panicked")))
    }
}

/// Waits for a message. Errors: cancelled, `BrokenPipe` when the other end is gone.
fn wait<T>(from: &Receiver<T>, cancel: &CancelToken) -> io::Result<T> {
    loop {
        // A channel cannot be polled beside a token, and one block takes seconds at high levels.
        cancel.check().map_err(io::Error::other)?;
        match from.recv_timeout(LOOK) {
            Ok(message) => return Ok(message),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::new(
                    io::ErrorKind::BrokenPipe,
                    "the compressing thread is gone",
                ));
            }
        }
    }
}
