//! Objects on their way there: small ones in one request, large ones in parts at the same time.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use rbuild_oci::Descriptor;
use rbuild_progress::CancelToken;
use rbuild_store::Store;

use super::{Objects, Sighting};
use crate::Result;
use crate::backend::content::Content;

const ACTION: &str = "send a blob";
/// Length of a part in bytes; what is not longer goes in one request. At least 5 MiB, by the protocol.
const PART: u64 = 8 << 20;
/// Most parts of an object, by the protocol.
const MOST_PARTS: u64 = 10_000;
/// What is smaller costs less to send again than to ask for.
const SMALL: u64 = 64 * 1024;
/// Time to tell the service that a broken upload will not go on.
const FAREWELL: Duration = Duration::from_millis(600);

/// An object that is being sent.
struct Sending<'a> {
    action: &'static str,
    key: &'a Path,
    content: Content,
    upload: Option<Box<dyn MultipartUpload>>,
}

impl Sending<'_> {
    fn next(&mut self, length: u64) -> Result<PutPayload> {
        let bytes = self.content.next(length, self.key.as_ref())?;
        Ok(bytes.into())
    }
}

impl Objects {
    /// Sends a blob unless it is there.
    pub(super) fn send_blob(
        &self,
        blob: &Descriptor,
        store: &Store,
        cancel: &CancelToken,
    ) -> Result<()> {
        cancel.check()?;
        let content = Content::of(blob, store)?;
        if self.ask(ACTION, cancel, self.is_there(blob))? {
            return Ok(());
        }
        let key = self.layout.blob(&blob.digest);
        self.send(ACTION, &key, content, cancel)?;
        self.seen().insert(blob.digest.clone(), Sighting::Fresh);
        Ok(())
    }

    async fn is_there(&self, blob: &Descriptor) -> Result<bool> {
        let seen = self.seen().get(&blob.digest).copied();
        match seen {
            Some(Sighting::Fresh | Sighting::Stale) => Ok(true),
            Some(Sighting::Absent) => Ok(false),
            None if blob.size < SMALL => Ok(false),
            None => Ok(self.look_at(&blob.digest).await?.is_some()),
        }
    }

    /// Sends bytes in memory.
    pub(super) fn send_bytes(
        &self,
        action: &'static str,
        key: &Path,
        bytes: Bytes,
        cancel: &CancelToken,
    ) -> Result<()> {
        self.send(action, key, Content::Bytes(bytes), cancel)
    }

    fn send(
        &self,
        action: &'static str,
        key: &Path,
        content: Content,
        cancel: &CancelToken,
    ) -> Result<()> {
        let mut sending = Sending {
            action,
            key,
            content,
            upload: None,
        };
        let sent = self.ask(action, cancel, self.whole_or_parts(&mut sending));
        if let (Err(_), Some(upload)) = (&sent, &mut sending.upload) {
            self.abandon(upload);
        }
        sent
    }

    async fn whole_or_parts(&self, sending: &mut Sending<'_>) -> Result<()> {
        self.ensure_bucket(sending.action).await?;
        let length = sending.content.length();
        if length <= PART {
            let _permit = self.parts.acquire().await;
            let payload = sending.next(length)?;
            let put = self.store().put(sending.key, payload).await;
            return put.map(drop).map_err(self.failed(sending.action));
        }
        let upload = self.store().put_multipart(sending.key).await;
        let upload = upload.map_err(self.failed(sending.action))?;
        sending.upload = Some(upload);
        self.all_parts(sending, length).await?;
        if let Some(upload) = &mut sending.upload {
            let done = upload.complete().await;
            done.map_err(self.failed(sending.action))?;
        }
        Ok(())
    }

    /// Sends all parts, several at the same time and no more than there are permits for.
    async fn all_parts(&self, sending: &mut Sending<'_>, length: u64) -> Result<()> {
        let size = part_size(length);
        let mut left = length;
        let mut on_the_way = FuturesUnordered::new();
        while left > 0 {
            let permit = loop {
                // Parts that end give their permit back, so one of the two always comes.
                tokio::select! {
                    biased;
                    Some(sent) = on_the_way.next() => finished(sent).map_err(self.failed(sending.action))?,
                    permit = self.parts.acquire() => break permit,
                }
            };
            let payload = sending.next(size.min(left))?;
            left -= payload.content_length() as u64;
            if let Some(upload) = &mut sending.upload {
                let part = upload.put_part(payload);
                on_the_way.push(part.map(move |sent| (permit, sent)));
            }
        }
        while let Some(sent) = on_the_way.next().await {
            finished(sent).map_err(self.failed(sending.action))?;
        }
        Ok(())
    }

    /// Tells the service to drop the parts that came; those that it keeps cost money.
    fn abandon(&self, upload: &mut Box<dyn MultipartUpload>) {
        let Ok(unset) = CancelToken::try_new() else {
            return;
        };
        let goodbye = farewell(upload);
        if let Err(error) = self.client.run(&unset, goodbye) {
            tracing::debug!(%error, "parts of an upload stay");
        }
    }
}

async fn farewell(upload: &mut Box<dyn MultipartUpload>) {
    if !matches!(
        tokio::time::timeout(FAREWELL, upload.abort()).await,
        Ok(Ok(()))
    ) {
        tracing::debug!("parts of an upload stay");
    }
}

fn finished<P>((_, sent): (P, object_store::Result<()>)) -> object_store::Result<()> {
    sent
}

/// All parts but the last are equally long: some stores insist.
fn part_size(length: u64) -> u64 {
    length.div_ceil(MOST_PARTS).max(PART)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_too_many_parts() {
        assert_eq!(part_size(PART + 1), PART);
        let huge = 5 << 40;
        assert!(huge / part_size(huge) <= MOST_PARTS);
        assert!(part_size(huge) > PART);
    }
}
