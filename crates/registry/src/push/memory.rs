//! A blob that is in memory to a registry.

use std::io;

use bytes::Bytes;
use rbuild_oci::{Descriptor, Reference};
use rbuild_progress::{CancelToken, Cancelled};
use tokio::sync::mpsc;

use super::upload::{Question, Upload};
use super::{PushBlob, Pushed};
use crate::Result;
use crate::client::Client;
use crate::fetch::Guard;
use crate::outgoing::{Ask, PIECE_BYTES};

impl Client {
    /// Gives a repository a small document that is no manifest, unless it has it.
    ///
    /// Through broken connections, as [`Client::push_blob`]; nothing is remembered for later calls.
    /// Errors: as there.
    pub fn push_bytes(
        &self,
        reference: &Reference,
        (descriptor, bytes): (&Descriptor, &[u8]),
        cancel: &CancelToken,
    ) -> Result<Pushed> {
        let (questions, receiver) = mpsc::unbounded_channel();
        let upload = Upload {
            inner: self.inner.clone(),
            reference: reference.clone(),
            blob: PushBlob {
                descriptor: descriptor.clone(),
                mount_from: Vec::new(),
            },
            remembered: None,
            cancel: cancel.clone(),
            questions,
        };
        cancel.check()?;
        let _guard = Guard(self.runtime()?.spawn(upload.run()));
        answer(receiver, bytes)
    }
}

/// Answers questions until the upload has ended.
fn answer(mut questions: mpsc::UnboundedReceiver<Question>, bytes: &[u8]) -> Result<Pushed> {
    while let Some(question) = questions.blocking_recv() {
        match question {
            Question::Read(ask) => read(&ask, bytes),
            Question::Provide(ready) => {
                ready.send(()).ok();
            }
            Question::Remember(_) | Question::Forget => {}
            Question::End(result) => return result,
        }
    }
    // The task died without a word; nothing else ends it before it has said how it ended.
    Err(Cancelled.into())
}

/// Hands out a part of the bytes, as far as it is wanted.
fn read(ask: &Ask, bytes: &[u8]) {
    let start = usize::try_from(ask.offset).unwrap_or(usize::MAX);
    let length = usize::try_from(ask.length).unwrap_or(usize::MAX);
    let part = bytes.get(start..).unwrap_or_default();
    let part = part.get(..length).unwrap_or(part);
    for piece in part.chunks(PIECE_BYTES) {
        let piece: io::Result<Bytes> = Ok(Bytes::copy_from_slice(piece));
        if ask.pieces.blocking_send(piece).is_err() {
            return;
        }
    }
}
