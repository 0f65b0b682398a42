//! The bucket itself, where one that is not there can be made.

use std::sync::PoisonError;

use futures_util::{StreamExt, TryStreamExt};

use super::Objects;
use crate::{Error, Result};

impl Objects {
    /// Keeps in mind whether the bucket is there.
    pub(super) fn note_bucket(&self, is_there: bool) {
        let mut known = self.is_made.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(is_there);
    }

    /// Makes the bucket if it is not there and can be made.
    pub(super) async fn ensure_bucket(&self, action: &'static str) -> Result<()> {
        let known = *self.is_made.lock().unwrap_or_else(PoisonError::into_inner);
        let is_there = match known {
            Some(is_there) => is_there,
            None => self.is_bucket_there(action).await?,
        };
        if !is_there {
            let made = self.bucket.make().await;
            made.map_err(|error| Error::place(&self.name, action, error.to_string()))?;
        }
        self.note_bucket(true);
        Ok(())
    }

    async fn is_bucket_there(&self, action: &'static str) -> Result<bool> {
        if !self.bucket.can_be_made() {
            return Ok(true);
        }
        let mut objects = self.store().list(self.layout.folders().first()).take(1);
        match objects.try_next().await {
            Err(error) if self.bucket.is_unmade(&error) => Ok(false),
            Err(error) => Err(self.failed(action)(error)),
            Ok(_) => Ok(true),
        }
    }
}
