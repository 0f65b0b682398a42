//! The result of lowering: the graph, and beside it all that people and exporters need to know.
//!
//! Places in the file, names of steps and stages stand in tables beside the graph, never in it: a
//! new comment must not lose the cache.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_dockerfile::Span;
use rbuild_graph::{Graph, VertexIx};
use rbuild_oci::{DiffId, Digest, History, ImageConfig, Platform};

use crate::{Diagnostic, TargetOutline};

/// Comment of every history entry that a Dockerfile makes; BuildKit's, so that images compare.
pub const HISTORY_COMMENT: &str = "buildkit.dockerfile.v0";

/// What to build, and what to call it.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The ops that the results need, and no others; those of all stages if
    /// [`Extent::All`](crate::Extent) is asked for.
    pub graph: Graph,
    /// One per platform, in the order of the request.
    pub results: Vec<PlanResult>,
    /// Name of each vertex for progress: `[stage i/n] INSTR text`.
    pub names: BTreeMap<VertexIx, String>,
    /// The instructions that produced each vertex, in file order, each once.
    pub origins: BTreeMap<VertexIx, Vec<Span>>,
    /// Names of the stages that each vertex belongs to; a stage without a name is `stage-<index>`.
    pub stages: BTreeMap<VertexIx, BTreeSet<String>>,
    /// Vertices that must not be taken from the cache.
    pub no_cache: BTreeSet<VertexIx>,
    /// Arguments of each exec as error messages show them: joined by blanks, quoted as Go does.
    pub exec_args: BTreeMap<VertexIx, String>,
    /// The time in seconds since 1970 that all new times are to have, if one was given.
    pub source_epoch: Option<i64>,
    /// What the target takes from outside; for several platforms, that of the first.
    pub outline: TargetOutline,
    /// What is doubtful but does not stop the build.
    pub warnings: Vec<Diagnostic>,
}

/// The result for one platform.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanResult {
    /// The platform it is for.
    pub platform: Platform,
    /// The vertex whose layers it has; `None` is an image without layers.
    pub edge: Option<VertexIx>,
    /// The config, with neither layers nor history nor time.
    pub config: ImageConfig,
    /// History of the base image, verbatim; empty for `scratch`.
    pub base_history: Vec<History>,
    /// What the Dockerfile adds to it, in order, also through stages that it builds on.
    pub history: Vec<HistoryItem>,
    /// The image below all stages; `None` for `scratch` and for a directory.
    pub base: Option<BaseImage>,
}

/// A history entry whose time is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryItem {
    /// The instruction in history's own notation.
    pub created_by: String,
    /// Always [`HISTORY_COMMENT`].
    pub comment: String,
    /// The vertex that made its layer; `None` for an entry without a layer.
    pub layer: Option<VertexIx>,
}

/// The image that a result is built on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseImage {
    /// Canonical reference, pinned to a digest where it has one.
    pub reference: String,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// The platform it was resolved for.
    pub platform: Platform,
    /// Diff ids of its layers, base first.
    pub diff_ids: Vec<DiffId>,
    /// Its vertex; `None` when it has no layers.
    pub vertex: Option<VertexIx>,
}

impl Plan {
    /// The graph in the dot language, its vertices named.
    pub fn to_dot(&self) -> String {
        self.graph.to_dot(&self.names)
    }
}
