//! Waiting for a cancel token inside async code.

use std::future::Future;
use std::os::fd::OwnedFd;

use rbuild_progress::{CancelToken, Cancelled};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::{Error, Result};

/// Runs `work` until it is done or the token is set, whichever comes first.
pub(crate) async fn until<T>(
    cancel: &CancelToken,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    cancel.check()?;
    // A descriptor of its own: one may be registered only once, and builds wait in many places.
    let fd = cancel.as_fd().try_clone_to_owned().map_err(setup)?;
    let fd = register(fd).map_err(setup)?;
    tokio::select! {
        biased;
        _ = fd.readable() => Err(Cancelled.into()),
        outcome = work => outcome,
    }
}

#[expect(
    deprecated,
    reason = "an owned descriptor upholds what the unsafe replacement asks of its caller, and this \
              crate has no unsafe code"
)]
fn register(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}

fn setup(source: std::io::Error) -> Error {
    Error::Setup {
        reason: "watch for cancellation",
        source: Box::new(source),
    }
}
