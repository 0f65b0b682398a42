//! Images into the container engines of this machine: Docker and Podman.
//!
//! The engine pulls from a registry on a loopback port that lives for the command, so that it moves only
//! the layers that it lacks. Where it cannot reach us it gets the whole image as an archive. What was
//! pulled is given the build's names and then loses the loopback's, also after a failure.

mod docker;
mod podman;
mod program;
mod served;
mod telling;

use std::fmt;
use std::path::PathBuf;

use rbuild_exporter::{
    Dest, EngineArchive, Export, ExportSpec, Exported, ImageOptions, ImageToExport, Platforms,
};
use rbuild_layer::Compression;
use rbuild_oci::{Address, Digest, Platform, Reference};
use rbuild_progress::{CancelToken, Event, Sink, VertexKey, WarningNote};
use rbuild_registry::DaemonAddress;

use crate::engine::Engine;
use crate::step::announced;
use crate::{BuildError, BuildRequest, ErrorKind, Result};

/// An engine that runs containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerEngine {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
}

/// Where the container engines of this machine are. Found out by the caller, never here.
#[derive(Debug, Clone)]
pub struct ContainerEngines {
    /// Docker's.
    pub docker: DockerPlace,
    /// The program of Podman; `None` if there is none.
    pub podman: Option<PathBuf>,
}

impl Default for ContainerEngines {
    fn default() -> Self {
        ContainerEngines {
            docker: DockerPlace::Socket(DaemonAddress::Unix("/var/run/docker.sock".into())),
            podman: None,
        }
    }
}

/// How Docker's engine is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerPlace {
    /// At a socket.
    Socket(DaemonAddress),
    /// Only through Docker's client, since it is behind ssh or TLS.
    Client {
        /// What the client connects to, for messages.
        endpoint: String,
        /// The client; `None` if there is none.
        program: Option<PathBuf>,
    },
    /// The settings that say so cannot be used.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// What was loaded.
#[derive(Debug, Clone)]
pub struct LoadedInto {
    /// Into which engine.
    pub engine: ContainerEngine,
    /// What the engine names the image by.
    pub id: Digest,
    /// The names that it has there now.
    pub names: Vec<Reference>,
    /// How it came there.
    pub way: LoadWay,
    /// Manifest or index, where the engine keeps one.
    pub(crate) exported: Option<Exported>,
}

/// How an image came into an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadWay {
    /// It was there already.
    Present,
    /// The engine pulled what it lacked.
    Pulled {
        /// Bytes of layers and configs that it took.
        blob_bytes: u64,
    },
    /// As an archive of everything.
    Archive {
        /// Its length in bytes.
        bytes: u64,
        /// Why it was not pulled.
        reason: String,
    },
}

impl fmt::Display for LoadWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadWay::Present => f.write_str("the engine has the image already"),
            LoadWay::Pulled { blob_bytes } => write!(f, "the engine pulled {blob_bytes} bytes"),
            LoadWay::Archive { bytes, reason } => {
                write!(
                    f,
                    "the engine got an archive of {bytes} bytes, since {reason}"
                )
            }
        }
    }
}

/// An engine that was found and answers.
pub(crate) enum Loader {
    Docker(docker::Docker),
    Client(docker::Client),
    Podman(podman::Podman),
}

/// What is to be loaded, and with what.
pub(crate) struct Job<'a> {
    pub engine: &'a Engine,
    pub images: &'a [ImageToExport],
    pub options: &'a ImageOptions,
    pub names: &'a [Reference],
    pub sink: &'a dyn Sink,
    pub vertex: &'a VertexKey,
    pub cancel: &'a CancelToken,
}

impl Loader {
    /// Looks for an engine and asks what it is.
    ///
    /// Errors: of kind `Host` if it is not there or does not answer.
    pub(crate) fn find(
        engine: ContainerEngine,
        engines: &ContainerEngines,
        cancel: &CancelToken,
    ) -> Result<Loader> {
        match (engine, &engines.docker) {
            (ContainerEngine::Podman, _) => {
                podman::Podman::find(engines.podman.as_deref(), cancel).map(Loader::Podman)
            }
            (ContainerEngine::Docker, DockerPlace::Socket(address)) => {
                docker::Docker::find(address, cancel).map(Loader::Docker)
            }
            (ContainerEngine::Docker, DockerPlace::Client { endpoint, program }) => {
                docker::Client::find(endpoint, program.as_deref(), cancel).map(Loader::Client)
            }
            (ContainerEngine::Docker, DockerPlace::Unknown { reason }) => {
                Err(BuildError::new(ErrorKind::Usage, reason.clone()))
            }
        }
    }

    /// The form that the engine takes new layers in at the least cost.
    fn compression(&self) -> Compression {
        match self {
            Loader::Docker(docker) => docker.compression(),
            Loader::Client(_) => Compression::GZIP,
            Loader::Podman(_) => Compression::None,
        }
    }

    /// The images that the engine can keep under one name, and the one that it runs.
    fn takes(&self) -> (Several, Platform) {
        match self {
            Loader::Docker(docker) => docker.takes(),
            Loader::Client(_) | Loader::Podman(_) => (Several::No, Platform::host()),
        }
    }

    /// Loads an image of one platform, or of several where the engine can.
    fn load(&self, job: &Job<'_>) -> Result<LoadedInto> {
        let (several, native) = self.takes();
        let chosen;
        let mut job = Job { ..*job };
        if job.images.len() > 1 && several == Several::No {
            chosen = [choose(job.images, &native, job.sink)?];
            job.images = &chosen;
        }
        match self {
            Loader::Docker(docker) => docker.load(&job),
            Loader::Client(client) => client.load(&job),
            Loader::Podman(podman) => podman.load(&job),
        }
    }
}

/// Whether a name can stand for images of several platforms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Several {
    Yes,
    No,
}

/// The image that an engine of one platform gets, with a warning about the others.
fn choose(images: &[ImageToExport], native: &Platform, sink: &dyn Sink) -> Result<ImageToExport> {
    let found = images.iter().find(|image| native.matches(&image.platform));
    let chosen = found.or(images.first()).cloned();
    let chosen = chosen.ok_or_else(|| BuildError::build("there is no image to load"))?;
    sink.send(Event::Warning(WarningNote {
        vertex: None,
        short: format!(
            "LoadOnePlatform: the engine keeps one platform under a name: only {} is loaded",
            chosen.platform
        ),
        detail: vec![
            "Docker keeps several with the containerd image store (\"features\": \
             {\"containerd-snapshotter\": true} in daemon.json). An archive of all is written with \
             -o type=oci,dest=FILE."
                .to_owned(),
        ],
        url: None,
        file: None,
        line: None,
        end_line: None,
    }));
    Ok(chosen)
}

/// Finds the engine that outputs of a request go to, before anything is built in vain, and returns the
/// request with what that engine wants; `None` if no output goes to one.
pub(crate) fn prepare(
    engine: &Engine,
    request: &BuildRequest,
    cancel: &CancelToken,
) -> Result<Option<(Loader, BuildRequest)>> {
    if !request.outputs.iter().any(is_load) {
        return Ok(None);
    }
    let loader = Loader::find(ContainerEngine::Docker, engine.container_engines(), cancel)?;
    let mut request = request.clone();
    for spec in request.outputs.iter_mut().filter(|spec| is_load(spec)) {
        let own = loader.compression();
        spec.image.compression.get_or_insert(own);
    }
    Ok(Some((loader, request)))
}

/// Whether an output goes into a container engine.
pub(crate) fn is_load(spec: &ExportSpec) -> bool {
    matches!(spec.export, Export::DockerArchive { dest: Dest::Engine })
}

/// Loads images, as a step of its own in the progress.
pub(crate) fn deliver(
    loader: &Loader,
    (images, spec): (&[ImageToExport], &ExportSpec),
    (engine, sink, cancel): (&Engine, &dyn Sink, &CancelToken),
) -> Result<LoadedInto> {
    let name = match loader {
        Loader::Podman(_) => "importing to podman",
        _ => "importing to docker",
    };
    let own = images.first().map(|image| image.names.as_slice());
    let names = match spec.image.names.as_slice() {
        [] => own.unwrap_or_default(),
        names => names,
    };
    announced(sink, name, |vertex| {
        let loaded = loader.load(&Job {
            engine,
            images,
            options: &spec.image,
            names,
            sink,
            vertex,
            cancel,
        })?;
        telling::Telling::new(sink, vertex).note(&loaded.way.to_string());
        Ok(loaded)
    })
}

impl Engine {
    /// Brings an image of the store, or from any other address, into a container engine of this machine,
    /// with the name that it is asked for by; by an id with the names that it has here.
    ///
    /// Errors: of kind `Host` if the engine is not there; as [`Engine::open_image`].
    pub fn load_into(
        &self,
        container_engine: ContainerEngine,
        address: &Address,
        sink: &dyn Sink,
        cancel: &CancelToken,
    ) -> Result<LoadedInto> {
        let loader = Loader::find(container_engine, self.container_engines(), cancel)?;
        let _running = self.running();
        self.recover((sink, cancel))?;
        let stored = self.open_image(address, &Platforms::All, (sink, cancel))?;
        let _lease = self.lease_layers(stored.images.iter().flat_map(|image| &image.layers))?;
        let asked = match address {
            Address::Name(name) => Reference::parse(name).ok(),
            _ => None,
        };
        let known = &stored.summary.names;
        let names = match asked.filter(|name| known.contains(name)) {
            Some(name) => vec![name],
            None => known.clone(),
        };
        let images: Vec<ImageToExport> = stored
            .images
            .into_iter()
            .map(|image| ImageToExport {
                config: image.config_bytes,
                layers: image.layers,
                names: names.clone(),
                platform: image.platform,
            })
            .collect();
        let options = ImageOptions {
            compression: Some(loader.compression()),
            ..ImageOptions::default()
        };
        let spec = ExportSpec {
            export: Export::DockerArchive { dest: Dest::Engine },
            image: options,
            epoch: None,
            other: Default::default(),
        };
        deliver(&loader, (&images, &spec), (self, sink, cancel))
    }
}

impl Job<'_> {
    fn context(&self) -> rbuild_exporter::Context<'_> {
        self.engine.context((self.sink, self.vertex, self.cancel))
    }

    /// The documents; layers of a base may still be where they came from.
    fn assemble_named(&self) -> Result<rbuild_exporter::Assembled> {
        let cx = self.context();
        let assembled = rbuild_exporter::assemble_named(self.images, self.options, &cx)?;
        Ok(assembled)
    }

    /// The whole image, with all its layers.
    fn archive(&self) -> Result<EngineArchive> {
        let cx = self.context();
        let assembled = rbuild_exporter::assemble(self.images, self.options, &cx)?;
        Ok(EngineArchive::of(&assembled, self.names))
    }

    /// The id of a single image in stores that name images by their config.
    fn config_id(&self) -> Option<Digest> {
        match self.images {
            [image] => Some(Digest::sha256_of(&image.config)),
            _ => None,
        }
    }
}
