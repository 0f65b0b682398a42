//! Files whose bytes are pinned: from the store, whichever address they came from, else from their server.

use rbuild_graph::HttpOp;
use rbuild_oci::Digest;
use rbuild_store::{Object, Table};

use super::{Found, HttpSource, Kept, Memo, RemoteContext, memo_key};
use crate::pins::{FilePin, file_name};
use crate::{Error, Result};

impl HttpSource {
    /// Finds the file of a pin here or fetches it.
    pub(super) fn find_pinned(
        &self,
        op: &HttpOp,
        pin: &FilePin,
        cx: &RemoteContext<'_>,
    ) -> Result<Found> {
        let url = op.url.as_deref().unwrap_or_default();
        let kept = match self.kept_here(&pin.blob, url, cx)? {
            Some(kept) => kept,
            None => {
                let found = self.find(op, cx).map_err(|e| match e {
                    Error::Checksum { found, expected } => Error::OtherBytes {
                        url: file_name(url),
                        found,
                        locked: expected,
                    },
                    other => other,
                })?;
                self.keep_pinned(url, &found.kept)?;
                found.kept
            }
        };
        Ok(Found {
            kept,
            modified: pin.modified,
        })
    }

    /// A file that is here, whichever address it came from. A row of its own keeps it: that of its address
    /// goes on to what comes next.
    fn kept_here(&self, blob: &Digest, url: &str, cx: &RemoteContext<'_>) -> Result<Option<Kept>> {
        let row = pinned_key(url, blob);
        if let Some(memo) = self.remembered(&row, cx)?
            && memo.kept.blob == *blob
        {
            self.store.note_use(&memo.kept.use_name());
            return Ok(Some(memo.kept));
        }
        if !cx.lease.add(&Object::Blob(blob.clone()))? {
            return Ok(None);
        }
        let kept = self.read_through(blob.clone(), cx)?;
        self.keep_pinned(url, &kept)?;
        Ok(Some(kept))
    }

    fn keep_pinned(&self, url: &str, kept: &Kept) -> Result<()> {
        if let Ok(bytes) = serde_json::to_vec(&Memo::without_validators(kept.clone())) {
            let row = pinned_key(url, &kept.blob);
            self.store.put(Table::Remotes, &row, &bytes)?;
        }
        Ok(())
    }
}

/// What a pinned file is remembered by.
fn pinned_key(url: &str, blob: &Digest) -> String {
    memo_key(&format!("{url} {blob}"), None)
}
