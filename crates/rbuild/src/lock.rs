//! The lock of a Dockerfile: what everything stands for that its build would ask the network for.
//!
//! `rbuild lock` writes it, `rbuild build --locked` takes nothing else. It holds names as they are when
//! variables are expanded, so that it needs no understanding of the Dockerfile to be read, and none of what
//! lets somebody in.

mod entries;
mod error;
mod file;
mod filling;
mod force;
mod images;
mod make;
mod needs;
mod report;
mod sources;
mod stale;
mod text;
mod update;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild_oci::{Digest, Platform, Reference};
use rbuild_source::{CommitPin, FilePin, ImagePin, Others, Pins};

use crate::Result;

pub use self::error::LockProblem;
pub(crate) use self::force::{InForce, context_pins, in_force};
pub(crate) use self::make::lock;
pub use self::report::{LockChange, LockEntry, LockReport, What};

/// What a Dockerfile's names stand for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// Images, by the name that is built on.
    pub images: BTreeMap<Reference, LockedImage>,
    /// Files behind URLs, by address without what lets somebody in.
    pub files: BTreeMap<String, LockedFile>,
    /// References of git repositories, by `ADDRESS#REFERENCE`, or `ADDRESS` alone for its HEAD.
    pub commits: BTreeMap<String, LockedCommit>,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedImage {
    /// What it is, and where.
    pub place: LockedPlace,
    /// Whether no instruction names it: it came by a named context, or by a trigger of a base.
    pub indirect: bool,
}

/// What an image is, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockedPlace {
    /// In its registry.
    Registry {
        /// What the name itself stands for: an index, or the manifest.
        root: Digest,
        /// The manifests for platforms; never empty.
        platforms: BTreeMap<Platform, Digest>,
    },
    /// In the store of this machine, by the id of the image for each platform; never empty.
    Store(BTreeMap<Platform, Digest>),
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedFile {
    /// Its bytes.
    pub pin: FilePin,
    /// Whether no instruction names it: it came by a named context, or by a trigger of a base.
    pub indirect: bool,
}

/// A reference of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedCommit {
    /// Its commit.
    pub pin: CommitPin,
    /// Whether no instruction names it: it came by a named context, or by a trigger of a base.
    pub indirect: bool,
}

/// What a build makes of a lock.
#[derive(Debug, Clone, Default)]
pub struct LockUse {
    /// Whether it counts.
    pub policy: LockPolicy,
    /// Where it is; `None` is beside the Dockerfile.
    pub file: Option<PathBuf>,
    /// What the main context stands for while a lock is made.
    pub(crate) context: Option<Arc<Pins>>,
}

/// Whether a lock counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LockPolicy {
    /// It is not even read.
    #[default]
    Ignored,
    /// If there is one, images are first looked for under the digests in it, in the store; for builds that may
    /// ask nobody.
    Names,
    /// Everything comes from it, and what is not in it is refused.
    Required,
}

impl LockUse {
    /// A use of the lock in `file`, or beside the Dockerfile.
    pub fn new(policy: LockPolicy, file: Option<PathBuf>) -> LockUse {
        LockUse {
            policy,
            file,
            context: None,
        }
    }
}

impl Lock {
    /// Reads the lock in a file.
    ///
    /// Errors: the source of all of them is a [`LockProblem`]; those about its text have the line.
    pub fn read(path: &Path) -> Result<Lock> {
        file::read(path)
    }

    /// The text of its file: JSON, sorted, the same for equal locks.
    ///
    /// Errors: it cannot be written as JSON, which no lock that was read or made is.
    pub fn text(&self) -> Result<String> {
        text::print(self)
    }

    /// What sources go by.
    pub(crate) fn pins(&self, others: Others) -> Pins {
        let files = self.files.iter();
        let commits = self.commits.iter();
        Pins {
            files: files
                .map(|(name, file)| (name.clone(), file.pin.clone()))
                .collect(),
            commits: commits
                .map(|(name, commit)| (name.clone(), commit.pin.clone()))
                .collect(),
            others,
        }
    }
}

impl LockedImage {
    /// What it is for a platform; `None` if it is not locked for that.
    pub(crate) fn pin(&self, platform: &Platform) -> Option<Pinned> {
        let platform = &platform.normalized();
        match &self.place {
            LockedPlace::Registry { root, platforms } => {
                let manifest = platforms.get(platform)?.clone();
                let root = root.clone();
                Some(Pinned::Registry(ImagePin { root, manifest }))
            }
            LockedPlace::Store(platforms) => Some(Pinned::Store(platforms.get(platform)?.clone())),
        }
    }

    /// The platforms that it is locked for.
    pub fn platforms(&self) -> Vec<&Platform> {
        match &self.place {
            LockedPlace::Registry { platforms, .. } | LockedPlace::Store(platforms) => {
                platforms.keys().collect()
            }
        }
    }
}

/// An image for one platform.
pub(crate) enum Pinned {
    /// In its registry.
    Registry(ImagePin),
    /// In the store, by its id.
    Store(Digest),
}

/// A lock to be made or looked after.
#[derive(Debug, Clone)]
pub struct LockRequest {
    /// The build that it is for. Without a target all stages are locked.
    pub build: crate::BuildRequest,
    /// Which entries are made anew.
    pub update: LockUpdate,
    /// What becomes of entries that this build does not need, though another could.
    pub others: OtherEntries,
    /// Whether it is written.
    pub writing: LockWriting,
}

/// Which entries are made anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LockUpdate {
    /// None: what is there stays, what is missing is added.
    #[default]
    Missing,
    /// All that the build needs.
    All,
    /// These, by name.
    These(Vec<String>),
}

/// What becomes of entries that a build does not need, though one with other arguments could.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OtherEntries {
    /// They stay.
    #[default]
    Kept,
    /// They go.
    Removed,
}

/// Whether a lock is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LockWriting {
    /// It is.
    #[default]
    Written,
    /// It is only looked at. Nobody is asked.
    Checked,
}
