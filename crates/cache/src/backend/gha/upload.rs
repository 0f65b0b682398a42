//! An entry's bytes on their way there: small ones in one request, large ones in parts at the same time.

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};

use super::failure::Fault;
use super::service::Slot;
use super::{Gha, PARALLEL, v1, v2};
use crate::backend::content::Content;
use crate::{Error, Result};

/// Length of a part in bytes.
const PART: u64 = 8 << 20;
/// Most parts of an entry, by the storage.
const MOST_PARTS: u64 = 50_000;

/// What is sent.
pub(super) struct Upload<'a> {
    /// What an error is about.
    pub(super) what: &'a str,
    pub(super) length: u64,
    pub(super) content: &'a mut Content,
}

impl Gha {
    /// Sends all bytes.
    pub(super) async fn upload(
        &self,
        slot: &Slot,
        upload: Upload<'_>,
        failed: &impl Fn(Fault) -> Error,
    ) -> Result<()> {
        if let Slot::V2(url) = slot
            && upload.length <= PART
        {
            let bytes = upload.content.next(upload.length, upload.what)?;
            let sent = v2::put_whole(&self.requests, url, bytes).await;
            return sent.map_err(failed);
        }
        let size = upload.length.div_ceil(MOST_PARTS).max(PART);
        let mut on_the_way = FuturesUnordered::new();
        let (mut number, mut offset) = (0, 0);
        while offset < upload.length {
            if on_the_way.len() >= PARALLEL {
                on_the_way.next().await.unwrap_or(Ok(())).map_err(failed)?;
            }
            let bytes = upload
                .content
                .next(size.min(upload.length - offset), upload.what)?;
            let length = bytes.len() as u64;
            on_the_way.push(match slot {
                Slot::V1(slot) => {
                    v1::send_chunk(&self.requests, &self.place, (*slot, offset), bytes)
                        .left_future()
                }
                Slot::V2(url) => v2::put_block(&self.requests, url, (number, bytes)).right_future(),
            });
            (number, offset) = (number + 1, offset + length);
        }
        while let Some(sent) = on_the_way.next().await {
            sent.map_err(failed)?;
        }
        match slot {
            Slot::V1(_) => Ok(()),
            Slot::V2(url) => v2::put_list(&self.requests, url, number)
                .await
                .map_err(failed),
        }
    }
}
