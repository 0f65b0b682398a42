//! A limit of time that work which can be cancelled keeps.

use std::path::Path;
use std::time::{Duration, Instant};

use rbuild_progress::CancelToken;

use crate::{Error, Result};

/// A token that is set when the caller's is, or when time is up.
pub(crate) struct Clock {
    pub token: CancelToken,
    over: CancelToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Clock {
    /// Watches until it is dropped; without a deadline it is the token of the caller.
    pub fn start(deadline: Option<Instant>, cancel: &CancelToken) -> Result<Self> {
        let Some(deadline) = deadline else {
            return Ok(Self {
                token: cancel.clone(),
                over: cancel.clone(),
                thread: None,
            });
        };
        let new = || CancelToken::try_new().map_err(Error::at("watch", Path::new(".")));
        let (token, over) = (new()?, new()?);
        let thread = {
            let (token, over, cancel) = (token.clone(), over.clone(), cancel.clone());
            std::thread::spawn(move || {
                loop {
                    let left = deadline.saturating_duration_since(Instant::now());
                    // Often enough for an interrupt.
                    let step = left.min(Duration::from_millis(100));
                    if over.wait(step).is_err() {
                        return;
                    }
                    if left.is_zero() || cancel.is_cancelled() {
                        token.cancel();
                        return;
                    }
                }
            })
        };
        Ok(Self {
            token,
            over,
            thread: Some(thread),
        })
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.over.cancel();
            thread.join().ok();
        }
    }
}
