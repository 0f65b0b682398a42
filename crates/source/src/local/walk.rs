//! Listing and digesting much at once: on this thread while it is little, on all cores beyond that.
//!
//! The threads of the pool cost more to start than a small context costs to read, and a build whose
//! steps are all cached should not start them.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use rbuild_layer::path;
use rbuild_progress::CancelToken;

use super::Inner;
use crate::Result;

/// Up to so many entries are listed on one thread.
const FEW_ENTRIES: usize = 1500;

/// Up to so many bytes are read on one thread.
const FEW_BYTES: u64 = 8 << 20;

/// Lists everything below `dir` into the memo.
pub(super) fn prefetch(inner: &Inner, dir: &[u8], cancel: &CancelToken) -> Result<()> {
    visit(inner, dir, &AtomicUsize::new(0), cancel)
}

fn visit(inner: &Inner, dir: &[u8], met: &AtomicUsize, cancel: &CancelToken) -> Result<()> {
    cancel.check()?;
    let names = inner.list(dir)?;
    let so_far = met.fetch_add(names.len(), Ordering::Relaxed) + names.len();
    let mut dirs = Vec::new();
    for name in names.iter() {
        let file = path::join(dir, name);
        if inner.stat(&file)?.is_some_and(|seen| seen.node.is_dir()) {
            dirs.push(file);
        }
    }
    if so_far < FEW_ENTRIES {
        return dirs
            .iter()
            .try_for_each(|sub| visit(inner, sub, met, cancel));
    }
    dirs.par_iter()
        .try_for_each(|sub| visit(inner, sub, met, cancel))
}

/// Digests these regular files into the memo.
pub(super) fn digest_all(inner: &Inner, files: &[Vec<u8>], cancel: &CancelToken) -> Result<()> {
    let mut unread = Vec::new();
    let mut bytes = 0u64;
    for file in files {
        cancel.check()?;
        let Some(seen) = inner.stat(file)? else {
            continue;
        };
        if inner
            .stats
            .lookup(&seen.stamp)
            .and_then(|k| k.content)
            .is_none()
        {
            // A small file costs its system calls.
            bytes = bytes.saturating_add(seen.stamp.size.max(16 * 1024));
            unread.push(file);
        }
    }
    let digest = |file: &&Vec<u8>| {
        cancel.check()?;
        inner.digest(file).map(drop)
    };
    if bytes <= FEW_BYTES {
        return unread.iter().try_for_each(digest);
    }
    unread.par_iter().try_for_each(digest)
}
