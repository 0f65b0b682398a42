//! The calling thread's part of a push: it reads, fetches and remembers, while the network thread sends.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use bytes::Bytes;
use rbuild_oci::{Digest, Reference};
use rbuild_progress::{Cancelled, Meter};
use rbuild_store::Table;
use reqwest::Url;
use tokio::sync::mpsc;

use super::upload::{Question, Upload};
use super::{PushBlob, PushContext, Pushed};
use crate::client::Client;
use crate::fetch::Guard;
use crate::homes::{blob_homes, note_blob_homes};
use crate::outgoing::{Ask, PIECE_BYTES};
use crate::{Error, Result};

/// One blob as the calling thread sees it.
struct Reading<'a> {
    reference: &'a Reference,
    blob: &'a PushBlob,
    cx: &'a PushContext<'a>,
    /// Begins with the first byte.
    meter: Option<Meter<'a>>,
    /// Bytes that the meter has counted; what is sent again does not count.
    counted: u64,
}

impl Client {
    /// Pushes one blob.
    pub(super) fn push(
        &self,
        reference: &Reference,
        blob: &PushBlob,
        cx: &PushContext<'_>,
    ) -> Result<Pushed> {
        let digest = &blob.descriptor.digest;
        // For the whole registry: what goes to another of its repositories can be taken over from there.
        let lock = format!("push {} {digest}", reference.domain());
        let _alone = cx
            .store
            .work_lock(&lock, cx.cancel)
            .map_err(|source| refused(digest, source))?;
        let blob = &with_homes(reference, blob, cx)?;
        let mut reading = Reading {
            reference,
            blob,
            cx,
            meter: None,
            counted: 0,
        };
        let (questions, receiver) = mpsc::unbounded_channel();
        let upload = Upload {
            inner: self.inner.clone(),
            reference: reference.clone(),
            blob: blob.clone(),
            remembered: reading.remembered()?,
            cancel: cx.cancel.clone(),
            questions,
        };
        cx.cancel.check()?;
        let _guard = Guard(self.runtime()?.spawn(upload.run()));
        let pushed = reading.answer(receiver)?;
        note_blob_homes(cx.store, reference, [digest].into_iter())
            .map_err(|source| refused(digest, source))?;
        Ok(pushed)
    }
}

/// The blob with all repositories that are known to have it.
fn with_homes(reference: &Reference, blob: &PushBlob, cx: &PushContext<'_>) -> Result<PushBlob> {
    let digest = &blob.descriptor.digest;
    let known = blob_homes(cx.store, reference, digest);
    let mut with = blob.clone();
    for home in known.map_err(|source| refused(digest, source))? {
        if home != reference.path() && !with.mount_from.contains(&home) {
            with.mount_from.push(home);
        }
    }
    Ok(with)
}

impl Reading<'_> {
    /// Answers questions until the upload has ended.
    fn answer(&mut self, mut questions: mpsc::UnboundedReceiver<Question>) -> Result<Pushed> {
        while let Some(question) = questions.blocking_recv() {
            match question {
                Question::Read(ask) => self.read(&ask)?,
                Question::Provide(ready) => {
                    self.provide()?;
                    ready.send(()).ok();
                }
                Question::Remember(location) => self.remember(&location)?,
                Question::Forget => self.forget()?,
                Question::End(result) => return result,
            }
        }
        // The task died without a word; nothing else ends it before it has said how it ended.
        Err(Cancelled.into())
    }

    fn digest(&self) -> &Digest {
        &self.blob.descriptor.digest
    }

    fn provide(&self) -> Result<()> {
        let provided = self
            .cx
            .supply
            .provide(&self.blob.descriptor, self.cx.cancel);
        self.cx.cancel.check()?;
        provided.map_err(|source| self.unavailable(source))?;
        let found = self.cx.store.blob_size(self.digest());
        let found = found.map_err(|source| refused(self.digest(), source))?;
        let stated = self.blob.descriptor.size;
        if found == stated {
            return Ok(());
        }
        Err(self.unavailable(format!("it has {found} bytes, not {stated}").into()))
    }

    fn unavailable(&self, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
        Error::Supply {
            digest: self.digest().clone(),
            source,
        }
    }

    /// Hands out a part of the blob, as far as it is wanted.
    fn read(&mut self, ask: &Ask) -> Result<()> {
        let mut file = self.open(ask.offset)?;
        if self.meter.is_none() {
            let name = format!("pushing {}", self.digest());
            let total = Some(self.blob.descriptor.size);
            self.meter = Some(Meter::new(self.cx.sink, self.cx.vertex, name, total));
            // What an earlier push has sent is no work of this one, and done all the same.
            self.count(ask.offset);
        }
        let (mut position, end) = (ask.offset, ask.offset.saturating_add(ask.length));
        while position < end {
            let piece = piece(&mut file, end - position);
            let piece = piece.map_err(|source| self.unavailable(Box::new(source)))?;
            position += piece.len() as u64;
            if ask.pieces.blocking_send(Ok(piece)).is_err() {
                return Ok(());
            }
            self.count(position);
        }
        Ok(())
    }

    fn open(&self, offset: u64) -> Result<File> {
        let file = self.cx.store.open_blob(self.digest());
        let mut file = file.map_err(|source| refused(self.digest(), source))?;
        file.seek(SeekFrom::Start(offset))
            .map_err(|source| self.unavailable(Box::new(source)))?;
        Ok(file)
    }

    fn count(&mut self, position: u64) {
        let fresh = position.saturating_sub(self.counted);
        self.counted += fresh;
        if let Some(meter) = &self.meter {
            meter.add(fresh);
        }
    }

    /// Where the upload's session is remembered.
    fn key(&self) -> String {
        format!("upload {} {}", self.reference.name(), self.digest())
    }

    fn remembered(&self) -> Result<Option<Url>> {
        let text = self.cx.store.get(Table::Remotes, &self.key());
        let text = text.map_err(|source| refused(self.digest(), source))?;
        let text = text.and_then(|text| String::from_utf8(text).ok());
        Ok(text.and_then(|text| Url::parse(&text).ok()))
    }

    fn remember(&self, location: &str) -> Result<()> {
        let put = self
            .cx
            .store
            .put(Table::Remotes, &self.key(), location.as_bytes());
        put.map_err(|source| refused(self.digest(), source))
    }

    fn forget(&self) -> Result<()> {
        let deleted = self.cx.store.delete(Table::Remotes, &self.key());
        deleted
            .map(drop)
            .map_err(|source| refused(self.digest(), source))
    }
}

fn refused(digest: &Digest, source: rbuild_store::Error) -> Error {
    Error::Store {
        digest: digest.clone(),
        source,
    }
}

/// The next bytes, at most `left` of them and never none.
fn piece(file: &mut File, left: u64) -> io::Result<Bytes> {
    let length = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
    let mut bytes = vec![0; length];
    file.read_exact(&mut bytes)?;
    Ok(bytes.into())
}
