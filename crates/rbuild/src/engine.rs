//! The engine: a store, and everything that can be done with it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rbuild_cache::{CacheFetch, Places};
use rbuild_exporter::LayoutFetch;
use rbuild_layer::LayerStore;
use rbuild_oci::Platform;
use rbuild_progress::{CancelToken, Sink};
use rbuild_registry::{
    Client, ClientConfig, CredentialError, CredentialFiles, HostConfig, LazyClient, Scheme,
};
use rbuild_sandbox::NurseryMode;
use rbuild_source::{
    GitSource, HttpSource, RegistryFetch, RegistryImages, RemoteLimits, TagMemory,
};
use rbuild_store::Store;

use crate::elsewhere::Fetching;
use crate::images::Images;
use crate::nursery::{LazyNursery, tree_work};
use crate::step::announced;
use crate::workers::Agents;
use crate::{
    BuildError, BuildRequest, CheckReport, ContainerEngines, DiskUsage, EngineConfig, ErrorKind,
    ImageDetails, ImageSummary, LockReport, LockRequest, Outcome, OutlineReport, PruneRequest,
    Pruned, Removed, Result, StoredImage, TargetsReport, VerifySummary, call, check, collect, lock,
    lower, pipeline,
};

/// A store, and everything that can be done with it. Used from many threads, and beside other
/// engines and processes on the same store.
pub struct Engine {
    store: Arc<Store>,
    layers: LayerStore,
    nursery: Arc<LazyNursery>,
    registry: RegistryImages,
    client: Arc<LazyClient>,
    /// Caches elsewhere, as they are opened.
    places: Arc<Places>,
    /// Clients for registries that an output calls insecure, by host.
    insecure: Mutex<BTreeMap<String, Client>>,
    http: HttpSource,
    git: GitSource,
    limits: RemoteLimits,
    cap: Option<Arc<collect::Cap>>,
    container_engines: ContainerEngines,
    /// How many builds go on. What they commit is kept from collection until the last one ends: the
    /// store cannot tell whose is whose.
    at_work: Mutex<usize>,
}

/// A build, or another piece of work that commits objects, going on in an engine.
#[must_use = "dropping it ends the work"]
pub(crate) struct Running<'a>(&'a Engine);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Held while releasing: a build that begins now commits afterwards.
        let mut at_work = guard(&self.0.at_work);
        *at_work -= 1;
        if *at_work == 0 {
            self.0.store.release_committed();
        }
    }
}

fn guard(count: &Mutex<usize>) -> MutexGuard<'_, usize> {
    count.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// Opens the store, which is made if it is missing. Starts no thread, and no child but for what a
    /// killed build of an ordinary user left behind.
    ///
    /// Errors: the directory cannot be used, or belongs to a later version.
    pub fn open(config: EngineConfig) -> Result<Engine> {
        let nursery = LazyNursery::new(config.helper.clone());
        let store = Arc::new(lower::open(&config, &nursery)?);
        let limits = config.limits;
        let cache_max = config.cache_max;
        let place_env = config.cache_places.clone();
        let reach = config.reach;
        let memory = TagMemory {
            age: config.tag_age,
            reach,
        };
        let git = (config.git.clone(), config.proxy.clone(), reach);
        let container_engines = config.container_engines.clone();
        let client = LazyClient::new(move || client_config(&config));
        let fetch = RegistryFetch::new(Arc::clone(&store), Arc::clone(&client));
        let fetch = LayoutFetch::new(Arc::clone(&store), Arc::new(fetch));
        let places = Arc::new(Places::new(Arc::clone(&client), place_env));
        let fetch = CacheFetch::new(Arc::clone(&store), Arc::clone(&places), Arc::new(fetch));
        let work = tree_work(&nursery);
        let layers = LayerStore::new(Arc::clone(&store), work, Arc::new(fetch));
        // The store has removed what this process may remove; the rest it can remove from now on.
        store.sweep()?;
        let http = HttpSource::new(Arc::clone(&store), (Arc::clone(&client), reach), limits);
        let git = GitSource::new(Arc::clone(&store), layers.clone(), git, limits);
        let registry = RegistryImages::new(Arc::clone(&store), Arc::clone(&client), memory);
        let cap = cache_max.map(|max| Arc::new(collect::Cap::new(Arc::clone(&store), max)));
        Ok(Engine {
            store,
            layers,
            nursery,
            registry,
            client,
            places,
            insecure: Mutex::default(),
            http,
            git,
            limits,
            cap,
            container_engines,
            at_work: Mutex::default(),
        })
    }

    /// The store's directory.
    pub fn root(&self) -> &Path {
        self.store.root()
    }

    /// Builds an image.
    ///
    /// Events go to `sink` while it runs. Errors carry their place in the Dockerfile; nothing
    /// half-made stays behind. Once `cancel` is set it ends within a second, with
    /// [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled).
    pub fn build(
        &self,
        request: &BuildRequest,
        sink: &dyn Sink,
        cancel: &CancelToken,
    ) -> Result<Outcome> {
        self.keep_cap((sink, cancel));
        let running = self.running();
        self.recover((sink, cancel))?;
        let built = pipeline::build(self, request, sink, cancel);
        if let Err(error) = self.store.flush_uses() {
            tracing::debug!(%error, "what was used is not written down");
        }
        lower::warn_of_damage(&self.store, sink);
        // What was built is as good as any other from here on, if the limit demands it.
        drop(running);
        self.keep_cap((sink, cancel));
        built
    }

    fn keep_cap(&self, reporting: (&dyn Sink, &CancelToken)) {
        if let Some(cap) = &self.cap {
            cap.enforce(reporting);
        }
    }

    /// Makes, completes, renews or checks the lock of a Dockerfile: what everything stands for that a build
    /// would ask the network for.
    ///
    /// Files are downloaded to know their digest; layers and repositories are not. A lock that is only
    /// checked is not written, and nobody is asked: what it lacks is in the report.
    ///
    /// Errors: those of a build up to its first step; the source of those about the lock itself is a
    /// [`LockProblem`](crate::LockProblem).
    pub fn lock(
        &self,
        request: &LockRequest,
        sink: &dyn Sink,
        cancel: &CancelToken,
    ) -> Result<LockReport> {
        let _running = self.running();
        lock::lock(self, request, sink, cancel)
    }

    /// The limit of the store, if it has one.
    pub(crate) fn cap(&self) -> Option<&Arc<collect::Cap>> {
        self.cap.as_ref()
    }

    /// Checks the Dockerfile of a request without building it: the stages that its target needs, or
    /// without one all of them.
    ///
    /// Images are looked up as in a build. Where that fails the check goes on as if there were one
    /// without surprises, and the failure is in the report.
    ///
    /// Errors: there is no Dockerfile or context, or `cancel` is set.
    pub fn check(
        &self,
        request: &BuildRequest,
        sink: &dyn Sink,
        cancel: &CancelToken,
    ) -> Result<CheckReport> {
        check::check(self, request, sink, cancel)
    }

    /// What the target of a request takes from outside. No image is looked up.
    ///
    /// Errors: the Dockerfile cannot be read or is wrong.
    pub fn outline(
        &self,
        request: &BuildRequest,
        sink: &dyn Sink,
        cancel: &CancelToken,
    ) -> Result<OutlineReport> {
        let lease = Arc::new(self.store.lease(&[])?.0);
        call::outline(&Fetching {
            engine: self,
            request,
            agents: &Agents::of(request),
            lease: &lease,
            sink,
            cancel,
        })
    }

    /// The stages of the Dockerfile of a request.
    ///
    /// Errors: the Dockerfile cannot be read or is wrong.
    pub fn targets(
        &self,
        request: &BuildRequest,
        sink: &dyn Sink,
        cancel: &CancelToken,
    ) -> Result<TargetsReport> {
        let lease = Arc::new(self.store.lease(&[])?.0);
        call::targets(&Fetching {
            engine: self,
            request,
            agents: &Agents::of(request),
            lease: &lease,
            sink,
            cancel,
        })
    }

    /// The graph of a build in the dot language; its images are looked up as in a build.
    pub fn graph_dot(
        &self,
        request: &BuildRequest,
        sink: &dyn Sink,
        cancel: &CancelToken,
    ) -> Result<String> {
        pipeline::graph_dot(self, request, sink, cancel)
    }

    /// All images, newest first.
    pub fn images(&self) -> Result<Vec<ImageSummary>> {
        self.image_table().all()
    }

    /// What a name, an id, or the beginning of an id or of a manifest's digest stands for.
    pub fn stored(&self, what: &str) -> Result<StoredImage> {
        self.image_table().stored(what)
    }

    /// The image of one platform that a name, an id, or its beginning stands for: of several platforms
    /// the one asked for, else this machine's.
    pub fn image(&self, what: &str, platform: Option<&Platform>) -> Result<ImageDetails> {
        self.stored(what)?.pick(what, platform).cloned()
    }

    /// Takes a name from an image, or all of them; the image goes with its last name.
    pub fn remove_image(&self, what: &str, removal: Removal) -> Result<Removed> {
        self.image_table().remove(what, removal == Removal::Forced)
    }

    /// Checks everything in the store against its digests and records.
    pub fn verify(&self, cancel: &CancelToken) -> Result<VerifySummary> {
        crate::verify::verify(&self.store, &self.layers, cancel)
    }

    /// What takes the disk space of the store. Walks what was never measured, and cache mounts used since.
    pub fn disk_usage(&self, cancel: &CancelToken) -> Result<DiskUsage> {
        collect::disk_usage(&self.store, cancel)
    }

    /// Removes what is asked for from the cache, and whatever nothing leads to any more; never what a
    /// running build uses, or what an image with a name consists of.
    ///
    /// Safe beside any number of builds, which wait for moments. What is removed is made again when a
    /// build needs it.
    pub fn prune(&self, request: &PruneRequest, cancel: &CancelToken) -> Result<Pruned> {
        collect::prune(&self.store, request, cancel)
    }

    /// Marks the engine as at work, until what is returned is dropped.
    pub(crate) fn running(&self) -> Running<'_> {
        *guard(&self.at_work) += 1;
        Running(self)
    }

    /// Looks at the trees that a restart of the machine left in doubt, if there are any.
    pub(crate) fn recover(&self, (sink, cancel): (&dyn Sink, &CancelToken)) -> Result<()> {
        let trees = self.layers.trees_in_doubt()?;
        if trees.is_empty() {
            return Ok(());
        }
        announced(sink, "[internal] check the store after a restart", |_| {
            self.layers.recover_trees(&trees, cancel)
        })?;
        Ok(())
    }

    /// Finishes the store, so that others can take from it as it is ([`EngineConfig::store_from`]). All of
    /// it is on the disk then; the engine is of no use afterwards.
    ///
    /// Errors: a build is running in it; nothing is changed then.
    pub fn seal_store(&self, cancel: &CancelToken) -> Result<()> {
        self.recover((&rbuild_progress::NullSink, cancel))?;
        lower::seal(&self.store, &self.nursery, cancel)
    }

    /// Makes a finished store at `root` one to work in again.
    ///
    /// Errors: there is no store, or somebody on this machine takes from it.
    pub fn unseal_store(root: &Path) -> Result<()> {
        Ok(Store::unseal(root)?)
    }

    /// Deletes the store with all that is in it, files of other users included, which their owner cannot
    /// delete by other means; the engine is of no use afterwards.
    ///
    /// Errors: a build is running in it; nothing is deleted then.
    pub fn delete_store(&self) -> Result<()> {
        Ok(self.store.delete_all()?)
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    pub(crate) fn layers(&self) -> &LayerStore {
        &self.layers
    }

    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    pub(crate) fn nursery(&self) -> &Arc<LazyNursery> {
        &self.nursery
    }

    /// What tells results of this rung of the privilege ladder from others; empty for the full ones.
    pub(crate) fn rung(&self) -> &'static str {
        match self.nursery.mode() {
            Ok(NurseryMode::SingleId) => "single-id ",
            // Where nothing can run, what ran with all ids is as good.
            Ok(_) | Err(_) => "",
        }
    }

    /// Why steps cannot be isolated on this host at all, if they cannot.
    pub(crate) fn host_refusal(&self) -> Option<rbuild_sandbox::Error> {
        self.nursery.mode().err()
    }

    pub(crate) fn registry_images(&self) -> &RegistryImages {
        &self.registry
    }

    pub(crate) fn client(&self) -> Result<&Client> {
        let client = self.client.get();
        client.map_err(|error| BuildError::caused(ErrorKind::Build, error))
    }

    /// A client that trusts a registry blindly.
    pub(crate) fn insecure_client(&self, host: &str) -> Result<Client> {
        let client = self.client()?;
        let mut insecure = self.insecure.lock().unwrap_or_else(PoisonError::into_inner);
        let known = insecure.entry(host.to_owned());
        Ok(known.or_insert_with(|| client.with_insecure(host)).clone())
    }

    pub(crate) fn http(&self) -> &HttpSource {
        &self.http
    }

    pub(crate) fn git(&self) -> &GitSource {
        &self.git
    }

    pub(crate) fn limits(&self) -> RemoteLimits {
        self.limits
    }

    pub(crate) fn container_engines(&self) -> &ContainerEngines {
        &self.container_engines
    }

    pub(crate) fn image_table(&self) -> Images<'_> {
        Images {
            store: &self.store,
            layers: &self.layers,
        }
    }
}

/// Whether an image with several names may be removed by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// No.
    Careful,
    /// Yes, with all of them.
    Forced,
}

pub(crate) fn client_config(config: &EngineConfig) -> Result<ClientConfig, CredentialError> {
    let mut client = ClientConfig {
        proxy: config.proxy.clone(),
        host_files: config.host_files.clone(),
        reach: config.reach,
        ..ClientConfig::default()
    };
    let credentials = CredentialFiles::load(&config.credentials, config.helper_limit)?;
    client.credentials = Arc::new(credentials);
    for host in &config.insecure_registries {
        client.hosts.insert(
            host.clone(),
            HostConfig {
                scheme: Scheme::Insecure,
                mirrors: Vec::new(),
            },
        );
    }
    Ok(client)
}

#[cfg(test)]
mod tests;
