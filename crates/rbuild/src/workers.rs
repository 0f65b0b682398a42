//! The worker of a build, made of the engine's parts and of what the request gives to its steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use rbuild_graph::VertexId;
use rbuild_layer::LayerId;
use rbuild_oci::Digest;
use rbuild_source::LocalContext;
use rbuild_store::Lease;
use rbuild_worker::{Ahead, LayerUse, LocalWorker, SshAgent, StepDefaults, WorkerParts};

use crate::engine::Engine;
use crate::{BuildError, BuildRequest, NewPrivileges, Result};

/// What a worker is given besides.
pub(crate) struct Given {
    /// Layers of images, by manifest.
    pub images: BTreeMap<Digest, Vec<LayerId>>,
    /// Local directories, by name.
    pub locals: BTreeMap<String, LocalContext>,
    /// Who answers behind the ssh mounts.
    pub agents: BTreeMap<String, SshAgent>,
    /// What will be done with layers.
    pub uses: BTreeMap<VertexId, LayerUse>,
    /// What is made while steps run.
    pub ahead: Arc<Ahead>,
    /// What keeps objects from collection.
    pub lease: Arc<Lease>,
}

impl Given {
    /// Agents and a lease: for a graph without images, directories and outputs.
    pub(crate) fn only(
        engine: &Engine,
        request: &BuildRequest,
        lease: &Arc<Lease>,
    ) -> Result<Given> {
        let ahead = Ahead::new(engine.layers().clone())
            .map_err(|e| BuildError::caused(crate::ErrorKind::Host, e))?;
        Ok(Given {
            images: BTreeMap::new(),
            locals: BTreeMap::new(),
            agents: agents(request)?,
            uses: BTreeMap::new(),
            ahead: Arc::new(ahead),
            lease: Arc::clone(lease),
        })
    }
}

/// Makes a worker.
pub(crate) fn worker(engine: &Engine, request: &BuildRequest, given: Given) -> LocalWorker {
    LocalWorker::new(WorkerParts {
        store: Arc::clone(engine.store()),
        layers: engine.layers().clone(),
        images: given.images,
        locals: given.locals,
        http: engine.http().clone(),
        git: engine.git().clone(),
        limits: engine.limits(),
        secrets: request
            .secrets
            .iter()
            .map(|secret| (secret.id.clone(), secret.source.clone().into()))
            .collect(),
        agents: given.agents,
        nursery: engine.nursery().clone(),
        steps: StepDefaults {
            log_dir: engine.root().join("logs"),
            no_new_privileges: request.new_privileges == NewPrivileges::Forbidden,
        },
        uses: given.uses,
        ahead: given.ahead,
        lease: given.lease,
    })
}

/// Opens what answers behind ssh mounts; keys are read now, so that a wrong one stops nothing halfway.
pub(crate) fn agents(request: &BuildRequest) -> Result<BTreeMap<String, SshAgent>> {
    let agents = request.agents.iter();
    agents
        .map(|(id, paths)| Ok((id.clone(), SshAgent::at(paths)?)))
        .collect()
}
