//! The state of a stage while its instructions are lowered one after the other.

use rbuild_graph::VertexIx;
use rbuild_oci::{History, ImageConfig, Platform, RunConfig};

use crate::params::Params;
use crate::path;
use crate::plan::{BaseImage, HISTORY_COMMENT, HistoryItem};
use crate::scope::Scope;

/// What a stage has become so far; what a child of it starts from.
#[derive(Debug, Clone)]
pub(crate) struct StageState {
    /// The config so far, without layers, history and times.
    pub(crate) config: ImageConfig,
    /// The environment that expansions and RUN see: ENV and ARG together.
    pub(crate) scope: Scope,
    /// Arguments declared in this stage and in those it is built on, each as often as declared.
    pub(crate) args: Vec<DeclaredArg>,
    /// The files so far.
    pub(crate) root: Root,
    /// Where the history begins and what was added to it.
    pub(crate) lineage: Lineage,
    /// The platform of the stage's steps.
    pub(crate) platform: Platform,
    /// What it takes from outside.
    pub(crate) params: Params,
    /// Whether a WORKDIR was seen, here or in a stage below.
    pub(crate) workdir_seen: bool,
}

/// An ARG with the value that it had where it was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeclaredArg {
    /// Its name.
    pub(crate) name: String,
    /// Its value, if it had one.
    pub(crate) value: Option<String>,
}

/// The files of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    /// None.
    Empty,
    /// Layers.
    Layers(VertexIx),
    /// A directory of the user's, not copied into a layer yet.
    Directory(VertexIx),
}

/// Where an image comes from and what was added.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lineage {
    /// The image below all stages.
    pub(crate) base: Option<BaseImage>,
    /// Its history.
    pub(crate) base_history: Vec<History>,
    /// What the file adds.
    pub(crate) added: Vec<HistoryItem>,
}

impl StageState {
    /// An empty stage, as `FROM scratch` starts it.
    pub(crate) fn scratch(platform: &Platform) -> Self {
        let mut config = ImageConfig::new(platform);
        config.config.working_dir = "/".to_owned();
        config.config.env.push(format!("PATH={DEFAULT_PATH}"));
        Self {
            config,
            scope: Scope::default(),
            args: Vec::new(),
            root: Root::Empty,
            lineage: Lineage::default(),
            platform: platform.clone(),
            params: Params::default(),
            workdir_seen: false,
        }
    }

    /// The settings of a container.
    pub(crate) fn run_config(&mut self) -> &mut RunConfig {
        &mut self.config.config
    }

    /// The working directory, absolute and cleaned; the config may hold a slash at the end.
    pub(crate) fn workdir(&self) -> String {
        path::absolute(&self.config.config.working_dir)
    }

    /// Adds a history entry without a layer.
    pub(crate) fn note(&mut self, created_by: String) {
        self.push_history(created_by, None);
    }

    /// Adds a history entry with the layer of `vertex`, which becomes the stage's root.
    pub(crate) fn commit(&mut self, created_by: String, vertex: VertexIx) {
        self.root = Root::Layers(vertex);
        self.push_history(created_by, Some(vertex));
    }

    fn push_history(&mut self, created_by: String, layer: Option<VertexIx>) {
        self.lineage.added.push(HistoryItem {
            created_by,
            comment: HISTORY_COMMENT.to_owned(),
            layer,
        });
    }

    /// Puts the config's environment into the scope, with a PATH if there is none.
    pub(crate) fn start_scope(&mut self) {
        let has_path = self
            .config
            .config
            .env
            .iter()
            .any(|pair| pair.split_once('=').is_some_and(|(name, _)| name == "PATH"));
        // Windows finds its programs without.
        if !has_path && self.platform.os != "windows" {
            self.config.config.env.push(format!("PATH={DEFAULT_PATH}"));
        }
        for pair in &self.config.config.env {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.scope.set(name, value);
        }
    }
}

/// PATH of an image that has none.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
