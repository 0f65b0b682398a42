//! Which blobs are there, in few requests: a look at each, or pages of a list.

use std::collections::BTreeSet;
use std::time::SystemTime;

use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::list::PaginatedListOptions;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};
use rbuild_oci::{Algorithm, Descriptor, Digest};

use super::{Objects, Sighting, is_denied, is_missing};
use crate::Result;

const ACTION: &str = "look for blobs";
/// Blobs up to this many are looked at one by one, at the same time.
const FEW: usize = 8;
/// Most pages that are read; what they do not decide is looked at.
const MOST_PAGES: u64 = 2000;
/// Looks at the same time.
const LOOKS: usize = 16;

impl Objects {
    /// Those of the blobs that are there.
    pub(super) async fn which(&self, blobs: &[Descriptor]) -> Result<BTreeSet<Digest>> {
        let wanted: BTreeSet<Digest> = blobs.iter().map(|blob| blob.digest.clone()).collect();
        let is_listed = |digest: &&Digest| digest.algorithm() == Algorithm::Sha256;
        let mut left: BTreeSet<Digest> = wanted.iter().filter(is_listed).cloned().collect();
        let mut found = BTreeSet::new();
        if left.len() > FEW {
            self.list(&mut left, &mut found).await?;
        }
        left.extend(wanted.iter().filter(|digest| !is_listed(digest)).cloned());
        self.look(left, &mut found).await?;
        let mut seen = self.seen();
        for digest in wanted {
            if !found.contains(&digest) {
                seen.insert(digest, Sighting::Absent);
            }
        }
        Ok(found)
    }

    /// Reads the list of blobs until all of `left` are decided, or looking at the rest is less work.
    async fn list(&self, left: &mut BTreeSet<Digest>, found: &mut BTreeSet<Digest>) -> Result<()> {
        let prefix = format!("{}/", self.layout.blobs());
        let mut pages = 0;
        let mut options = PaginatedListOptions::default();
        if let Some(first) = left.first() {
            options.offset = Some(just_before(self.layout.blob(first)));
        }
        let start = left.first().map_or(0, position);
        while !left.is_empty() {
            let page = match self
                .bucket
                .pages()
                .list_paginated(Some(&prefix), options)
                .await
            {
                Ok(page) => page,
                // Who may not list may still look.
                Err(error) if is_denied(&error) => return Ok(()),
                Err(error) if self.bucket.is_unmade(&error) => {
                    left.clear();
                    return Ok(());
                }
                Err(error) => return Err(self.failed(ACTION)(error)),
            };
            pages += 1;
            let mut last = None;
            for object in page.result.objects {
                let Some(digest) = self.layout.digest_of(&object.location) else {
                    continue;
                };
                if left.remove(&digest) {
                    self.sighted(&digest, &object);
                    found.insert(digest.clone());
                }
                last = last.max(Some(digest));
            }
            let Some(token) = page.page_token else {
                left.clear();
                break;
            };
            if pages >= MOST_PAGES {
                break;
            }
            if let Some(last) = last {
                // The list is in order: what should have come by now is not there.
                *left = left.split_off(&last);
                let end = left.last().map_or(0, position);
                if pages_left(pages, (start, position(&last), end)) > left.len() as u64 {
                    break;
                }
            }
            options = PaginatedListOptions {
                page_token: Some(token),
                ..PaginatedListOptions::default()
            };
        }
        Ok(())
    }

    /// Looks at each blob.
    async fn look(&self, left: BTreeSet<Digest>, found: &mut BTreeSet<Digest>) -> Result<()> {
        let looks = left.into_iter().map(|digest| async move {
            let object = self.look_at(&digest).await?;
            Ok::<_, crate::Error>(object.is_some().then_some(digest))
        });
        let mut there = stream::iter(looks).buffer_unordered(LOOKS);
        while let Some(one) = there.try_next().await? {
            found.extend(one);
        }
        Ok(())
    }

    /// Looks at one blob; `None` if it is not there.
    pub(super) async fn look_at(&self, digest: &Digest) -> Result<Option<ObjectMeta>> {
        match self.store().head(&self.layout.blob(digest)).await {
            Ok(object) => {
                self.sighted(digest, &object);
                Ok(Some(object))
            }
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(self.failed(ACTION)(error)),
        }
    }

    /// Keeps in mind that a blob is there, and whether it has grown old.
    fn sighted(&self, digest: &Digest, object: &ObjectMeta) {
        let age = SystemTime::now().duration_since(object.last_modified.into());
        let oldest = self.bucket.oldest();
        let sighting = match age.is_ok_and(|age| oldest.is_some_and(|oldest| age > oldest)) {
            true => Sighting::Stale,
            false => Sighting::Fresh,
        };
        self.seen().insert(digest.clone(), sighting);
    }
}

/// A key that sorts before this one and after whatever else does.
fn just_before(key: Path) -> String {
    let mut text = key.to_string();
    text.pop();
    text
}

/// Where in the order of all digests one is: digests are spread evenly.
fn position(digest: &Digest) -> u64 {
    u64::from_str_radix(digest.hex().get(..8).unwrap_or("0"), 16).unwrap_or(0)
}

/// How many more pages to expect until `end`, having come from `start` to `now` in `pages`.
fn pages_left(pages: u64, (start, now, end): (u64, u64, u64)) -> u64 {
    let done = now.saturating_sub(start).max(1);
    (pages * end.saturating_sub(now)).div_ceil(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_expected_in_proportion() {
        assert_eq!(pages_left(1, (0, 10, 10)), 0);
        assert_eq!(pages_left(1, (0, 10, 100)), 9);
        assert_eq!(pages_left(4, (100, 200, 250)), 2);
        // One page that hardly moved: there are very many blobs.
        assert!(pages_left(1, (0, 1, 1 << 31)) > 1 << 30);
        assert!(pages_left(1, (0, 0, 1 << 31)) > 1 << 30);
    }

    #[test]
    fn the_key_before_is_before() {
        let key = Path::from("blobs/sha256/abc");
        assert!(just_before(key.clone()).as_str() < key.as_ref());
    }
}
