//! The closed set of ops, and two of the sources: images and local directories.
//!
//! An op names its inputs by position in the vertex's list of inputs, never by vertex, so that its
//! own bytes do not depend on the graph that it stands in.

use rbuild_oci::{DiffId, Digest, Platform};
use serde::{Deserialize, Serialize};

use crate::{ExecMountKind, ExecOp, FileAction, FileOp, GitOp, HttpOp};

/// What one vertex does.
///
/// Each op yields exactly one result: a stack of layers, or for [`LocalOp`] and [`HttpOp`] a
/// directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// The layers of an image that already exists.
    Image(ImageOp),
    /// A directory of the user's.
    Local(LocalOp),
    /// A file in the network.
    Http(HttpOp),
    /// A tree of a git repository.
    Git(GitOp),
    /// One process over a root file system.
    Exec(ExecOp),
    /// File operations over a root file system.
    File(FileOp),
}

/// The layers of an image, pinned to a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageOp {
    /// Canonical reference, for people and for fetching; in no key.
    pub reference: String,
    /// Digest of the manifest that the reference resolved to for `platform`.
    pub manifest: Digest,
    /// The platform that was asked for.
    pub platform: Platform,
    /// Diff ids of the image's layers, base first; may be empty.
    pub diff_ids: Vec<DiffId>,
    /// Where its blobs can be had.
    pub origin: ImageOrigin,
}

/// Where the blobs of an image can be had.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum ImageOrigin {
    /// In the registry that the reference names.
    Registry,
    /// In the local store.
    Store {
        /// Id of the image (digest of its config).
        image_id: String,
    },
    /// In an OCI layout directory.
    Layout {
        /// Path of the directory.
        dir: String,
    },
}

/// A directory of the user's: the build context or a named one.
///
/// Which of its files are read is decided by the vertices that use it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LocalOp {
    /// `context`, or the name of a named context.
    pub name: String,
}

/// How an input takes part in the cache key of the vertex that uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InputUse {
    /// As a root file system: by its own key.
    Chain,
    /// Through the files that the op selects: by their content, or by its own key.
    Files,
    /// Not at all: the base of a linked copy, which is only stacked below the result.
    Unkeyed,
}

impl Op {
    /// Whether the op only names something that exists already, here or elsewhere.
    pub fn is_source(&self) -> bool {
        matches!(self, Op::Image(_) | Op::Local(_)) || self.is_remote()
    }

    /// Whether the network must be asked what the op stands for.
    pub fn is_remote(&self) -> bool {
        matches!(self, Op::Http(_) | Op::Git(_))
    }

    /// How the op uses input number `input`.
    ///
    /// An input that is both root and source of files is a [`InputUse::Chain`]; one that the op
    /// does not mention counts as [`InputUse::Chain`] too, the careful answer.
    pub fn input_use(&self, input: usize) -> InputUse {
        match self {
            Op::Image(_) | Op::Local(_) | Op::Http(_) | Op::Git(_) => InputUse::Chain,
            Op::Exec(exec) if exec.base == Some(input) => InputUse::Chain,
            Op::Exec(exec) => files_if(
                exec.mounts
                    .iter()
                    .any(|m| mount_input(&m.kind) == Some(input)),
            ),
            Op::File(file) if file.base == Some(input) => base_use(file, input),
            Op::File(file) => files_if(file.actions.iter().any(|a| action_input(a) == Some(input))),
        }
    }
}

fn base_use(file: &FileOp, input: usize) -> InputUse {
    let read = file.actions.iter().any(|a| action_input(a) == Some(input));
    match (file.link, read) {
        (true, false) => InputUse::Unkeyed,
        (true, true) => InputUse::Files,
        (false, _) => InputUse::Chain,
    }
}

fn files_if(mentioned: bool) -> InputUse {
    if mentioned {
        InputUse::Files
    } else {
        InputUse::Chain
    }
}

fn mount_input(kind: &ExecMountKind) -> Option<usize> {
    match kind {
        ExecMountKind::Bind { input, .. } => Some(*input),
        ExecMountKind::Cache { input, .. } => *input,
        _ => None,
    }
}

fn action_input(action: &FileAction) -> Option<usize> {
    match action {
        FileAction::Copy(copy) => Some(copy.input),
        FileAction::Mkdir(_) | FileAction::Write(_) => None,
    }
}
