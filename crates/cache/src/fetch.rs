//! Bytes of layers that lie in caches.

use std::error::Error as StdError;
use std::sync::Arc;

use rbuild_layer::{Fetch, Misfit};
use rbuild_oci::{Descriptor, Digest};
use rbuild_progress::CancelToken;
use rbuild_store::Store;

use crate::place::Places;
use crate::remote::ORIGIN;
use crate::{Error, Result};

/// Fetches layers from caches, and all others by other means.
pub struct CacheFetch {
    store: Arc<Store>,
    places: Arc<Places>,
    next: Arc<dyn Fetch>,
}

impl CacheFetch {
    /// Blobs go to `store`; `next` is asked for what lies in no cache.
    pub fn new(store: Arc<Store>, places: Arc<Places>, next: Arc<dyn Fetch>) -> Self {
        Self {
            store,
            places,
            next,
        }
    }
}

impl Fetch for CacheFetch {
    fn fetch(
        &self,
        descriptor: &Descriptor,
        origin: &str,
        progress: &dyn Fn(u64),
        cancel: &CancelToken,
    ) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let Some(place) = origin.strip_prefix(ORIGIN) else {
            return self.next.fetch(descriptor, origin, progress, cancel);
        };
        let fetched = self
            .places
            .reopen(place)
            .and_then(|backend| backend.fetch(descriptor, &self.store, progress, cancel));
        Ok(fetched.map_err(|source| LostLayer {
            place: place.to_owned(),
            digest: descriptor.digest.clone(),
            source,
        })?)
    }
}

/// A layer that was counted on is not to be had: what it holds has to be made.
#[derive(Debug, thiserror::Error)]
#[error("take a layer from a cache")]
pub struct LostLayer {
    /// The text of the place.
    pub place: String,
    /// The blob.
    pub digest: Digest,
    /// Why not.
    pub source: Error,
}

/// What of a cache was counted on in vain, as an error says.
#[derive(Debug, Clone, Copy)]
pub struct Loss<'e> {
    /// The text of the place.
    pub place: &'e str,
    /// The blob.
    pub digest: &'e Digest,
    /// Why.
    pub error: &'e (dyn StdError + 'static),
    /// Whether the whole place is of no use, or this blob only.
    pub is_whole_place: bool,
    /// Whether the blob is here, and not what the cache says of it.
    pub is_bad: bool,
}

impl<'e> Loss<'e> {
    /// Finds one among the causes of an error.
    pub fn among(error: &'e (dyn StdError + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(lost) = error.downcast_ref::<LostLayer>() {
                return Some(Self {
                    place: &lost.place,
                    digest: &lost.digest,
                    error: &lost.source,
                    is_whole_place: lost.source.is_of_place(),
                    is_bad: false,
                });
            }
            if let Some(misfit) = error.downcast_ref::<Misfit>()
                && let Some(place) = misfit.origin.strip_prefix(ORIGIN)
            {
                return Some(Self {
                    place,
                    digest: &misfit.digest,
                    error,
                    // Where one thing is not true, nothing is taken for granted any more.
                    is_whole_place: true,
                    is_bad: true,
                });
            }
            next = error.source();
        }
        None
    }

    /// Whether a layer with this origin lies in the same place.
    pub fn is_same_place(&self, origin: &str) -> bool {
        origin.strip_prefix(ORIGIN) == Some(self.place)
    }

    /// Whether a layer that was registered with this blob and origin is concerned.
    pub fn concerns(&self, blob: &Digest, origin: &str) -> bool {
        self.is_same_place(origin) && (self.is_whole_place || blob == self.digest)
    }
}
