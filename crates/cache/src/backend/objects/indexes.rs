//! Indexes: objects that are written once, read in bulk, and deleted when others hold what they say.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};
use rbuild_progress::CancelToken;

use super::{Objects, is_missing, layout};
use crate::backend::{IndexDocument, NewIndex};
use crate::{Error, Result};

const READ: &str = "read the indexes";
const WRITE: &str = "write an index";
/// Most indexes that are read, the newest; older ones are left from writers that could not delete.
const MOST: usize = 32;
/// Most bytes of indexes that are read in all.
const MOST_BYTES: u64 = 4 * IndexDocument::MAX_BYTES;
/// Most objects that are looked at.
const MOST_OBJECTS: usize = 20_000;
/// How long listing them may take, whatever the pages are.
const LISTING: Duration = Duration::from_secs(120);
/// Indexes on their way at the same time.
const READERS: usize = 8;

impl Objects {
    /// The newest indexes, newest first.
    pub(super) async fn all_indexes(&self) -> Result<Vec<IndexDocument>> {
        let mut listed = Vec::new();
        for folder in self.layout.folders() {
            let objects = self.store().list(Some(folder)).take(MOST_OBJECTS);
            let listed_here = tokio::time::timeout(LISTING, objects.try_collect::<Vec<_>>());
            let Ok(listed_here) = listed_here.await else {
                let secs = LISTING.as_secs();
                let reason = format!("the list of indexes has no end after {secs} s");
                return Err(Error::place(&self.name, READ, reason));
            };
            match listed_here {
                Ok(objects) => listed.extend(objects),
                // It is made with the first object.
                Err(error) if self.bucket.is_unmade(&error) => {
                    self.note_bucket(false);
                    return Ok(Vec::new());
                }
                Err(error) => return Err(self.failed(READ)(error)),
            }
        }
        self.note_bucket(true);
        let wanted = newest(listed);
        let reads = wanted.into_iter().map(|object| self.read_index(object));
        let all: Vec<_> = stream::iter(reads).buffered(READERS).try_collect().await?;
        Ok(all.into_iter().flatten().collect())
    }

    /// Reads an index; `None` if it was merged into another by now.
    async fn read_index(&self, object: ObjectMeta) -> Result<Option<IndexDocument>> {
        let limit = IndexDocument::MAX_BYTES;
        let too_large = || Error::TooLarge {
            place: self.name.clone(),
            what: "index",
            limit,
        };
        if object.size > limit {
            return Err(too_large());
        }
        let answer = match self.store().get(&object.location).await {
            Ok(answer) => answer,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(self.failed(READ)(error)),
        };
        let mut body = answer.into_stream();
        let mut bytes = Vec::new();
        while let Some(piece) = body.try_next().await.map_err(self.failed(READ))? {
            if (bytes.len() + piece.len()) as u64 > limit {
                return Err(too_large());
            }
            bytes.extend_from_slice(&piece);
        }
        let name = object.location.to_string();
        Ok(Some(IndexDocument { name, bytes }))
    }

    /// Writes an index, then deletes those that were merged into it.
    pub(super) fn add_index(&self, index: &NewIndex<'_>, cancel: &CancelToken) -> Result<()> {
        let bytes = Bytes::copy_from_slice(index.bytes);
        for key in self.layout.new_index()? {
            self.send_bytes(WRITE, &key, bytes.clone(), cancel)?;
        }
        let merged = index.merged.iter();
        let merged: BTreeSet<Path> = merged
            .flat_map(|name| self.layout.index_keys(name))
            .collect();
        self.ask(WRITE, cancel, async {
            self.renew(index.blobs).await;
            let deletions = merged.into_iter().map(|key| self.delete_index(key));
            let deletions = stream::iter(deletions).buffer_unordered(READERS);
            deletions.for_each(|()| async {}).await;
            Ok(())
        })
    }

    /// Deletes an index. One that stays is read again and merged again, and no harm is done: writers often
    /// have no leave to delete.
    async fn delete_index(&self, key: Path) {
        if let Err(error) = self.bucket.delete(&key).await {
            tracing::debug!(%key, error, "an index stays");
        }
    }
}

/// Those to read, newest first by the service's clock, in seconds, then by the writer's.
fn newest(mut listed: Vec<ObjectMeta>) -> Vec<ObjectMeta> {
    listed.retain(|object| object.location.filename().is_some_and(layout::is_index));
    let file = |object: &ObjectMeta| object.location.filename().map(str::to_owned);
    listed.sort_by_cached_key(|object| {
        std::cmp::Reverse((object.last_modified.timestamp(), file(object)))
    });
    // What was written under several names is one index.
    let mut files = BTreeSet::new();
    listed.retain(|object| files.insert(file(object)));
    listed.truncate(MOST);
    let mut total = 0u64;
    listed.retain(|object| {
        total = total.saturating_add(object.size);
        total <= MOST_BYTES
    });
    listed
}
