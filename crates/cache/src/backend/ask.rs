//! Asking a service to do something, until it is done or the build is cancelled.

use std::future::Future;

use rbuild_progress::CancelToken;
use rbuild_registry::Client;

use crate::{Error, Result};

/// Runs `work` at the place of this name; `action` is a verb and an object, for what fails on the way.
pub(super) fn ask<T>(
    client: &Client,
    (name, action): (&str, &'static str),
    cancel: &CancelToken,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    cancel.check()?;
    match client.run(cancel, work) {
        Ok(outcome) => outcome,
        Err(error) if error.is_cancelled() => Err(Error::Cancelled),
        Err(error) => Err(Error::place(name, action, error)),
    }
}
