//! Files of trees that only jobs may read: one job opens them all, as they are asked for.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rbuild_progress::CancelToken;

use super::lock;
use crate::job::{TreeJob, TreeWork};
use crate::tree::{ask, serving_socket};
use crate::{Error, Result};

/// Opens files through a job that is started with the first one and ends with this.
///
/// A job for each file would take a hundred times as long as opening it.
#[derive(Default)]
pub(super) struct FarFiles {
    running: Mutex<Option<Serving>>,
}

/// A job that serves.
struct Serving {
    /// `None` only while it ends.
    socket: Option<OwnedFd>,
    job: Option<JoinHandle<Result<()>>>,
}

impl FarFiles {
    /// Opens a regular file of a tree.
    pub(super) fn open(&self, work: &Arc<dyn TreeWork>, tree: &Path, path: &[u8]) -> Result<File> {
        let mut running = lock(&self.running);
        let serving = match running.take() {
            Some(serving) => serving,
            None => Serving::start(work)?,
        };
        let answer = serving
            .socket
            .as_ref()
            .and_then(|socket| ask(socket, tree, path));
        match answer {
            Some(answer) => {
                *running = Some(serving);
                answer
            }
            None => Err(serving.why()),
        }
    }
}

impl Serving {
    fn start(work: &Arc<dyn TreeWork>) -> Result<Self> {
        let (ours, theirs) = serving_socket()?;
        // Each request is brief; what ends the job is that nobody can ask any more.
        let cancel =
            CancelToken::try_new().map_err(|source| Error::io("make", "eventfd", source))?;
        let work = Arc::clone(work);
        let job = std::thread::spawn(move || {
            work.run(&TreeJob::Serve, &[theirs.as_fd()], &cancel)
                .map(drop)
        });
        Ok(Self {
            socket: Some(ours),
            job: Some(job),
        })
    }

    /// Ends a job that does not answer, and says why it does not.
    fn why(mut self) -> Error {
        let gone = || Error::TreeWork {
            reason: "the job that opens files has ended".to_owned(),
        };
        match self.end() {
            Ok(()) => gone(),
            Err(error) => error,
        }
    }

    fn end(&mut self) -> Result<()> {
        // First: the job ends when the other end of its socket does.
        self.socket = None;
        match self.job.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) | None => Ok(()),
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Whatever it says: nobody has asked it for anything that is still open.
        self.end().ok();
    }
}
