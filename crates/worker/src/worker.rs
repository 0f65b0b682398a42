//! The worker: which op goes where, and what it shares between ops.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rbuild_graph::{CopyAction, ExecMountKind, ExecOp, FileAction, FileOp, Op, Vertex, VertexId};
use rbuild_layer::{FileView, LayerId, LayerStore};
use rbuild_oci::Digest;
use rbuild_progress::CancelToken;
use rbuild_sandbox::Nursery;
use rbuild_solver::{OpContext, Presence, Supplied, Worker};
use rbuild_source::{
    AgentSocket, GitSource, HttpSource, Keyring, LocalContext, RemoteContext, RemoteLimits,
    Selection,
};
use rbuild_store::{HostDir, Lease, Store};

use crate::mount::{SecretSource, secret_bytes, socket_of};
use crate::ssh::SshAgent;
use crate::{Ahead, Error, LayerUse, MadeAs, Output, Result};

/// First bytes of what several selections of one input are digested to.
const CONTENT_VERSION: &[u8] = b"rbuild-input-content 1\n";

/// Starts the nursery with the first step that needs it.
pub trait StartNursery: Send + Sync {
    /// Returns the build's nursery, started if it is not running yet.
    fn nursery(&self) -> Result<Nursery, rbuild_sandbox::Error>;
}

/// Sees to something before a step writes.
pub trait BeforeStep: Send + Sync {
    /// Is called by the thread that makes a layer, before it begins.
    fn before_step(&self, cancel: &CancelToken);
}

/// Cache mounts of other machines.
///
/// `name` is what the store calls a mount: id, shape and what fills it; `id` what the Dockerfile calls it.
pub trait MountsElsewhere: Send + Sync {
    /// Hears that a step is given a mount. Those that lie in directories of the host are not told.
    fn used(&self, name: &str, id: &str);

    /// Fills a directory of a mount that is new in this store; tells whether it did.
    ///
    /// `dir` is empty, mode 0755 and ours, and must be so again if it is not filled. Called before the step
    /// runs, which waits for it, with the mount locked; for several mounts at once, and once more for one that
    /// failed. Whoever implements it tells people what went wrong.
    /// Errors: the build was cancelled, or the directory is not empty any more; it is then filled anew by
    /// whoever mounts it next.
    fn restore(&self, name: &str, id: &str, dir: &Path, cancel: &CancelToken) -> io::Result<bool>;
}

/// What every step gets that its op does not say.
#[derive(Debug, Clone, Default)]
pub struct StepDefaults {
    /// Where logs of steps lie.
    pub log_dir: PathBuf,
    /// Sets `no_new_privs` in every step (`--security-opt no-new-privileges`).
    pub no_new_privileges: bool,
}

/// What a worker is made of.
pub struct WorkerParts<'a> {
    /// Where everything is kept.
    pub store: Arc<Store>,
    /// The layers in it.
    pub layers: LayerStore,
    /// Layers of the images that the graph names, by manifest digest, lowest first. They are held since
    /// they were looked up.
    pub images: BTreeMap<Digest, Vec<LayerId>>,
    /// The local directories that the graph names.
    pub locals: BTreeMap<String, LocalContext>,
    /// Fetches files behind URLs.
    pub http: HttpSource,
    /// Fetches trees of git repositories.
    pub git: GitSource,
    /// What an archive may unpack to at most.
    pub limits: RemoteLimits,
    /// Secrets by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Agents by id.
    pub agents: BTreeMap<String, SshAgent>,
    /// Directories of the host that stand for cache mounts, by id.
    pub cache_dirs: BTreeMap<String, HostDir>,
    /// Where new cache mounts may come from.
    pub mounts_elsewhere: Option<&'a dyn MountsElsewhere>,
    /// Starts the nursery.
    pub nursery: Arc<dyn StartNursery>,
    /// What every step gets.
    pub steps: StepDefaults,
    /// What will be done with the layers of steps; a step that is not in it makes a plain tar.
    pub uses: BTreeMap<VertexId, LayerUse>,
    /// Does what outputs will ask for while steps run.
    pub ahead: Arc<Ahead>,
    /// Keeps layers that were found from collection while the build goes on.
    pub lease: Arc<Lease>,
    /// Called before each step that is made.
    pub before_step: Option<Arc<dyn BeforeStep>>,
}

/// Carries out ops on this machine.
pub struct LocalWorker<'a> {
    pub(crate) store: Arc<Store>,
    pub(crate) layers: LayerStore,
    images: BTreeMap<Digest, Vec<LayerId>>,
    locals: BTreeMap<String, LocalContext>,
    http: HttpSource,
    git: GitSource,
    pub(crate) limits: RemoteLimits,
    pub(crate) secrets: BTreeMap<String, SecretSource>,
    pub(crate) agents: BTreeMap<String, SshAgent>,
    pub(crate) cache_dirs: BTreeMap<String, HostDir>,
    pub(crate) mounts_elsewhere: Option<&'a dyn MountsElsewhere>,
    pub(crate) nursery: Arc<dyn StartNursery>,
    pub(crate) steps: StepDefaults,
    uses: BTreeMap<VertexId, LayerUse>,
    ahead: Arc<Ahead>,
    pub(crate) lease: Arc<Lease>,
    before_step: Option<Arc<dyn BeforeStep>>,
    /// What was selected to make a key is what gets copied: by vertex and action.
    selections: Mutex<HashMap<(String, usize), Arc<Selection>>>,
}

/// One action of one vertex, and the input that it reads.
pub(crate) struct Source<'a> {
    pub vertex: &'a Vertex,
    pub at: usize,
    pub action: &'a CopyAction,
    pub input: &'a Output,
}

impl<'a> LocalWorker<'a> {
    /// Makes a worker.
    pub fn new(parts: WorkerParts<'a>) -> Self {
        Self {
            store: parts.store,
            layers: parts.layers,
            images: parts.images,
            locals: parts.locals,
            http: parts.http,
            git: parts.git,
            limits: parts.limits,
            secrets: parts.secrets,
            agents: parts.agents,
            cache_dirs: parts.cache_dirs,
            mounts_elsewhere: parts.mounts_elsewhere,
            nursery: parts.nursery,
            steps: parts.steps,
            uses: parts.uses,
            ahead: parts.ahead,
            lease: parts.lease,
            before_step: parts.before_step,
            selections: Mutex::default(),
        }
    }

    /// The form in which a file op's layer is made.
    pub(crate) fn form_of(&self, vertex: &Vertex) -> MadeAs {
        self.uses
            .get(&vertex.id)
            .map(|uses| uses.form)
            .unwrap_or_default()
    }

    /// Lets what is asked of finished layers be made beside the step that begins now.
    fn begin_ahead(&self) {
        if self.uses.values().any(|uses| uses.early.is_some()) {
            self.ahead.begin();
        }
    }

    fn note_ahead(&self, vertex: &Vertex, layer: LayerId) {
        if let Some(early) = self
            .uses
            .get(&vertex.id)
            .and_then(|uses| uses.early.as_ref())
        {
            self.ahead.note(layer, early);
        }
    }

    /// Makes a layer and notes how long that took.
    fn timed(
        &self,
        cancel: &CancelToken,
        make: impl FnOnce() -> Result<LayerId>,
    ) -> Result<LayerId> {
        if let Some(before) = &self.before_step {
            before.before_step(cancel);
        }
        let begun = Instant::now();
        let layer = make()?;
        self.store.note_made(&layer.to_string(), begun.elapsed());
        Ok(layer)
    }

    /// What an input looks like to those who read files of it.
    pub(crate) fn view_of(&self, input: &Output, cx: &OpContext<'_>) -> Result<Box<dyn FileView>> {
        match input {
            Output::Local(local) => Ok(Box::new(local.clone())),
            Output::Layers(stack) => Ok(Box::new(self.layers.view(stack, cx.cancel))),
            Output::Web(file) => Ok(Box::new(file.ready(&self.remote(cx))?)),
        }
    }

    /// What fetching for a step may use.
    fn remote<'c>(&'c self, cx: &'c OpContext<'c>) -> RemoteContext<'c> {
        RemoteContext {
            keyring: self,
            lease: &self.lease,
            sink: cx.sink,
            vertex: &cx.key,
            cancel: cx.cancel,
        }
    }

    /// What a copy action means; the same answer for its key and for its work.
    pub(crate) fn selection(
        &self,
        source: &Source<'_>,
        cx: &OpContext<'_>,
    ) -> Result<Arc<Selection>> {
        let name = (source.vertex.id.to_string(), source.at);
        if let Some(known) = self.memo().get(&name) {
            return Ok(Arc::clone(known));
        }
        let view = self.view_of(source.input, cx)?;
        let selected = rbuild_source::select(view.as_ref(), source.action, cx.cancel);
        let selection = match (selected, source.input) {
            (Err(e), Output::Local(local)) => return Err(explain(e, local).into()),
            (other, _) => Arc::new(other?),
        };
        if let Output::Local(local) = source.input {
            rbuild_source::read_ahead(local, &selection, cx.cancel)?;
        }
        self.memo().insert(name, Arc::clone(&selection));
        Ok(selection)
    }

    fn memo(&self) -> std::sync::MutexGuard<'_, HashMap<(String, usize), Arc<Selection>>> {
        self.selections.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn file_content(
        &self,
        (op, vertex): (&FileOp, &Vertex),
        (input, from): (usize, &Output),
        cx: &OpContext<'_>,
    ) -> Result<Vec<Digest>> {
        let mut digests = Vec::new();
        for (at, action) in op.actions.iter().enumerate() {
            let FileAction::Copy(action) = action else {
                continue;
            };
            if action.input != input {
                continue;
            }
            let source = Source {
                vertex,
                at,
                action,
                input: from,
            };
            let selection = self.selection(&source, cx)?;
            let view = self.view_of(from, cx)?;
            digests.push(rbuild_source::content_of(
                view.as_ref(),
                &selection,
                cx.cancel,
            )?);
        }
        Ok(digests)
    }

    fn mount_content(
        &self,
        op: &ExecOp,
        (input, from): (usize, &Output),
        cx: &OpContext<'_>,
    ) -> Result<Vec<Digest>> {
        let mut digests = Vec::new();
        for source in mounted(op, input) {
            let view = self.view_of(from, cx)?;
            let digest = rbuild_source::tree_content(view.as_ref(), source, cx.cancel);
            digests.push(match (digest, from) {
                (Err(e), Output::Local(local)) => return Err(explain(e, local).into()),
                (other, _) => other?,
            });
        }
        Ok(digests)
    }
}

/// The paths of an input that an exec mounts.
pub(crate) fn mounted(op: &ExecOp, input: usize) -> impl Iterator<Item = &str> {
    op.mounts.iter().filter_map(move |mount| match &mount.kind {
        ExecMountKind::Bind { input: at, source } if *at == input => Some(source.as_str()),
        ExecMountKind::Cache {
            input: Some(at),
            source,
            ..
        } if *at == input => Some(source.as_str()),
        _ => None,
    })
}

impl Keyring for LocalWorker<'_> {
    fn secret(&self, id: &str) -> Option<Vec<u8>> {
        secret_bytes(&self.secrets, id)
    }

    fn agent(&self, id: &str) -> rbuild_source::Result<Option<Box<dyn AgentSocket>>> {
        let agent = self.agents.get(id);
        let socket = agent.map(|agent| socket_of(agent, &self.store)).transpose();
        socket.map_err(|e| rbuild_source::Error::Agent {
            id: id.to_owned(),
            source: Box::new(e),
        })
    }
}

/// Adds to "not found" which ignore rule hides the file, if one does.
fn explain(e: rbuild_source::Error, local: &LocalContext) -> rbuild_source::Error {
    match e {
        rbuild_source::Error::NotFound { path, .. } => {
            let hidden = local.hidden_by(path.trim_start_matches('/').as_bytes());
            rbuild_source::Error::NotFound { path, hidden }
        }
        other => other,
    }
}

impl Worker for LocalWorker<'_> {
    type Output = Output;
    type Error = Error;

    fn content(
        &self,
        vertex: &Vertex,
        input: usize,
        from: &Output,
        cx: &OpContext<'_>,
    ) -> Result<Option<Digest>> {
        // It counts by its whole content, which is its identity: nothing is to be selected there.
        if let Output::Web(_) = from {
            return Ok(None);
        }
        let digests = match &vertex.op {
            Op::File(op) => self.file_content((op, vertex), (input, from), cx)?,
            Op::Exec(op) => self.mount_content(op, (input, from), cx)?,
            _ => return Ok(None),
        };
        let mut bytes = CONTENT_VERSION.to_vec();
        for digest in digests {
            bytes.extend_from_slice(digest.to_string().as_bytes());
            bytes.push(b'\n');
        }
        Ok(Some(Digest::sha256_of(&bytes)))
    }

    fn list_files(
        &self,
        vertex: &Vertex,
        input: usize,
        from: &Output,
        cx: &OpContext<'_>,
    ) -> Result<Option<Digest>> {
        self.keep_listing((vertex, input), from, cx).map(Some)
    }

    fn supply(&self, vertex: &Vertex, cx: &OpContext<'_>) -> Result<Supplied<Output>> {
        match &vertex.op {
            Op::Image(image) => {
                let layers = self.images.get(&image.manifest).ok_or(Error::Input)?;
                let mut presence = Presence::Kept;
                for layer in layers {
                    self.store.note_use(&layer.to_string());
                    if !self.layers.is_here(layer)? {
                        presence = Presence::Fresh;
                    }
                }
                let text = format!("image {} {}", image.manifest, image.platform);
                Ok(Supplied {
                    output: Output::Layers(layers.as_slice().into()),
                    key: Some(Digest::sha256_of(text.as_bytes())),
                    presence,
                })
            }
            Op::Local(local) => {
                let found = self.locals.get(&local.name).ok_or(Error::Input)?;
                Ok(Supplied {
                    output: Output::Local(found.clone()),
                    key: None,
                    presence: Presence::Fresh,
                })
            }
            Op::Http(http) => {
                let (file, key) = self.http.supply(http, &self.remote(cx))?;
                Ok(Supplied {
                    output: Output::Web(file),
                    key: Some(key),
                    presence: Presence::Fresh,
                })
            }
            Op::Git(git) => {
                let tree = self.git.supply(git, &self.remote(cx))?;
                Ok(Supplied {
                    output: Output::Layers([tree.layer].as_slice().into()),
                    key: Some(tree.key),
                    presence: Presence::Fresh,
                })
            }
            Op::File(_) | Op::Exec(_) => Err(Error::Input),
        }
    }

    fn run(&self, vertex: &Vertex, inputs: &[Output], cx: &OpContext<'_>) -> Result<Output> {
        match &vertex.op {
            Op::File(op) => {
                self.begin_ahead();
                let layer = self.timed(cx.cancel, || self.file_op((op, vertex), inputs, cx))?;
                self.note_ahead(vertex, layer);
                Ok(Output::with(base(op.base, inputs), layer))
            }
            Op::Exec(op) => {
                self.begin_ahead();
                let layer = self.timed(cx.cancel, || self.exec_op(op, inputs, cx))?;
                self.note_ahead(vertex, layer);
                Ok(Output::with(base(op.base, inputs), layer))
            }
            _ => Err(Error::Input),
        }
    }

    fn save(&self, output: &Output) -> Result<Vec<u8>> {
        let layer = output.layers().last().ok_or(Error::Input)?;
        Ok(layer.to_string().into_bytes())
    }

    fn load(&self, vertex: &Vertex, saved: &[u8], base: Option<&Output>) -> Result<Option<Output>> {
        let Some(layer) = layer_in(saved) else {
            return Ok(None);
        };
        if !self.layers.hold(&layer, &self.lease)? {
            return Ok(None);
        }
        self.store.note_use(&layer.to_string());
        self.note_ahead(vertex, layer);
        Ok(Some(Output::with(base, layer)))
    }

    fn is_kept(&self, saved: &[u8]) -> bool {
        layer_in(saved).is_some_and(|layer| self.layers.is_usable(&layer).unwrap_or(false))
    }
}

/// The layer that a record keeps.
fn layer_in(saved: &[u8]) -> Option<LayerId> {
    std::str::from_utf8(saved).ok()?.parse().ok()
}

fn base(at: Option<usize>, inputs: &[Output]) -> Option<&Output> {
    at.and_then(|at| inputs.get(at))
}
