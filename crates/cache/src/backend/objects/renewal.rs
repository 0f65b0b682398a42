//! Renewing the age of blobs that are used, for buckets that delete what is old.

use futures_util::{StreamExt, stream};
use rbuild_oci::Descriptor;

use super::{Objects, Sighting};

/// Largest object that can be renewed in one request.
const LARGEST: u64 = 5 << 30;
/// Renewals at the same time.
const RENEWALS: usize = 8;

impl Objects {
    /// Renews the age of those that were seen to be old. What cannot be renewed stays as it is.
    pub(super) async fn renew(&self, blobs: &[Descriptor]) {
        let old: Vec<&Descriptor> = {
            let seen = self.seen();
            let is_old = |blob: &&Descriptor| {
                blob.size < LARGEST && seen.get(&blob.digest) == Some(&Sighting::Stale)
            };
            blobs.iter().filter(is_old).collect()
        };
        let renewals = old.into_iter().map(|blob| async move {
            match self.bucket.renew(&self.layout.blob(&blob.digest)).await {
                Ok(()) => drop(self.seen().insert(blob.digest.clone(), Sighting::Fresh)),
                Err(error) => tracing::debug!(digest = %blob.digest, error, "its age stays"),
            }
        });
        let renewals = stream::iter(renewals).buffer_unordered(RENEWALS);
        renewals.for_each(|()| async {}).await;
    }
}
