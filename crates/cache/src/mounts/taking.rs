//! What a snapshot of a cache mount is asked for with.

use rbuild_layer::LayerStore;

use super::entry::MountEntry;
use crate::backend::Backend;

/// Of what a snapshot is taken, and for which place.
pub struct Taking<'a> {
    /// The store.
    pub layers: &'a LayerStore,
    /// What the store calls the mount.
    pub name: &'a str,
    /// What goes before its name elsewhere: with which rights files are made here.
    pub rung: &'a str,
    /// The snapshots of it in the place, those that are trusted, the best first: what they have is not
    /// packed again.
    pub previous: &'a [MountEntry],
    /// The place.
    pub backend: &'a dyn Backend,
    /// For which of several parties that share the place.
    pub scope: &'a str,
    /// Who takes it.
    pub writer: &'a str,
    /// When, in seconds since 1970.
    pub now: u64,
    /// What the files may hold, in bytes.
    pub max_bytes: u64,
}
