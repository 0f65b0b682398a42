//! The worker of a build, made of the engine's parts and of what the request gives to its steps.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use rbuild_graph::VertexId;
use rbuild_layer::LayerId;
use rbuild_oci::Digest;
use rbuild_source::{LocalContext, Pins};
use rbuild_store::{HostDir, Lease};
use rbuild_worker::{
    Ahead, BeforeStep, LayerUse, LocalWorker, MountsElsewhere, SshAgent, StepDefaults, WorkerParts,
};

use crate::engine::Engine;
use crate::{BuildError, BuildRequest, NewPrivileges, Result};

/// What a worker is given besides.
pub(crate) struct Given<'a> {
    /// Layers of images, by manifest.
    pub images: BTreeMap<Digest, Vec<LayerId>>,
    /// Local directories, by name.
    pub locals: BTreeMap<String, LocalContext>,
    /// Who answers behind the ssh mounts.
    pub agents: BTreeMap<String, SshAgent>,
    /// Directories of the host that stand for cache mounts, by id.
    pub cache_dirs: BTreeMap<String, HostDir>,
    /// Where new cache mounts may come from.
    pub mounts_elsewhere: Option<&'a dyn MountsElsewhere>,
    /// What will be done with layers.
    pub uses: BTreeMap<VertexId, LayerUse>,
    /// What is made while steps run.
    pub ahead: Arc<Ahead>,
    /// What keeps objects from collection.
    pub lease: Arc<Lease>,
    /// What sources go by, where the build goes by a lock.
    pub pins: Option<Arc<Pins>>,
}

impl Given<'_> {
    /// Agents and a lease: for a graph without images, directories and outputs.
    pub(crate) fn only(engine: &Engine, agents: &Agents<'_>, lease: &Arc<Lease>) -> Result<Self> {
        let ahead = Ahead::new(engine.layers().clone())
            .map_err(|e| BuildError::caused(crate::ErrorKind::Host, e))?;
        Ok(Self {
            images: BTreeMap::new(),
            locals: BTreeMap::new(),
            agents: agents.open()?.clone(),
            cache_dirs: BTreeMap::new(),
            mounts_elsewhere: None,
            uses: BTreeMap::new(),
            ahead: Arc::new(ahead),
            lease: Arc::clone(lease),
            pins: None,
        })
    }
}

/// Makes a worker.
pub(crate) fn worker<'a>(
    engine: &Engine,
    request: &BuildRequest,
    given: Given<'a>,
) -> LocalWorker<'a> {
    let pins = given.pins.unwrap_or_default();
    LocalWorker::new(WorkerParts {
        store: Arc::clone(engine.store()),
        layers: engine.layers().clone(),
        images: given.images,
        locals: given.locals,
        http: engine.http().pinned(Arc::clone(&pins)),
        git: engine.git().pinned(pins),
        limits: engine.limits(),
        secrets: request
            .secrets
            .iter()
            .map(|secret| (secret.id.clone(), secret.source.clone().into()))
            .collect(),
        agents: given.agents,
        cache_dirs: given.cache_dirs,
        mounts_elsewhere: given.mounts_elsewhere,
        nursery: engine.nursery().clone(),
        steps: StepDefaults {
            log_dir: engine.root().join("logs"),
            no_new_privileges: request.new_privileges == NewPrivileges::Forbidden,
        },
        uses: given.uses,
        ahead: given.ahead,
        lease: given.lease,
        before_step: engine
            .cap()
            .map(|cap| Arc::clone(cap) as Arc<dyn BeforeStep>),
    })
}

/// What answers behind ssh mounts and for git; keys in files are read once, when it is first asked for.
pub(crate) struct Agents<'a> {
    request: &'a BuildRequest,
    opened: OnceLock<BTreeMap<String, SshAgent>>,
}

impl<'a> Agents<'a> {
    /// Of a request; nothing is read yet.
    pub(crate) fn of(request: &'a BuildRequest) -> Self {
        Self {
            request,
            opened: OnceLock::new(),
        }
    }

    /// By id. A build asks at its beginning, so that a wrong key stops nothing halfway.
    pub(crate) fn open(&self) -> Result<&BTreeMap<String, SshAgent>> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let agents = self.request.agents.iter();
        let agents = agents.map(|(id, paths)| Ok((id.clone(), SshAgent::at(paths)?)));
        let agents = agents.collect::<Result<_>>()?;
        Ok(self.opened.get_or_init(|| agents))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;
    use crate::ContextInput;

    #[test]
    fn keys_in_files_are_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        let mut keygen = Command::new(rbuild_testkit::need_tool("ssh-keygen"));
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]);
        assert!(keygen.arg(&key).status().unwrap().success());
        let mut request = BuildRequest::new(ContextInput::Empty);
        request
            .agents
            .insert("default".to_owned(), vec![key.clone()]);
        let agents = Agents::of(&request);
        assert_eq!(agents.open().unwrap().len(), 1);
        fs::remove_file(&key).unwrap();
        assert_eq!(agents.open().unwrap().len(), 1);
        assert!(Agents::of(&request).open().is_err());
    }
}
