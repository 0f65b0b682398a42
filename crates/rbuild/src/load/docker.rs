//! Into Docker's engine: over its API, or through its client where only that reaches it.

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rbuild_exporter::{Assembled, Exported};
use rbuild_layer::Compression;
use rbuild_oci::{Digest, Platform};
use rbuild_progress::CancelToken;
use rbuild_registry::{Daemon, DaemonAddress, DaemonInfo, Error as RegistryError, ImageStore};

use super::program::Program;
use super::served::Serving;
use super::telling::Telling;
use super::{ContainerEngine, Job, LoadWay, LoadedInto, Several, program};
use crate::{BuildError, ErrorKind, Result};

/// How long tidying up may take.
const TIDY: Duration = Duration::from_secs(10);

/// An engine at a socket.
pub(crate) struct Docker {
    daemon: Daemon,
    info: DaemonInfo,
}

impl Docker {
    pub(super) fn find(address: &DaemonAddress, cancel: &CancelToken) -> Result<Docker> {
        let daemon = Daemon::new(address.clone());
        let info = daemon
            .info(cancel)
            .map_err(|error| unreachable(error, address))?;
        Ok(Docker { daemon, info })
    }

    /// Plain layers where the engine unpacks and forgets them anyway. containerd's store keeps blobs as
    /// they come and pushes them so: there they are compressed.
    pub(super) fn compression(&self) -> Compression {
        match self.info.images {
            ImageStore::Unpacked if self.is_local() => Compression::None,
            _ => Compression::GZIP,
        }
    }

    pub(super) fn takes(&self) -> (Several, Platform) {
        let several = match self.info.images {
            ImageStore::Unpacked => Several::No,
            ImageStore::Containerd => Several::Yes,
        };
        (several, self.info.platform.clone())
    }

    pub(super) fn load(&self, job: &Job<'_>) -> Result<LoadedInto> {
        let named_by_config = match self.info.images {
            ImageStore::Unpacked => job.config_id(),
            ImageStore::Containerd => None,
        };
        if let Some(id) = &named_by_config
            && self.has(id, job.cancel)?
        {
            return self.named((id.clone(), LoadWay::Present, None), job);
        }
        let assembled = job.assemble_named()?;
        let exported = match named_by_config {
            Some(_) => None,
            None => Some(Exported::of(&assembled, job.names.to_vec())),
        };
        let id = named_by_config.unwrap_or_else(|| assembled.top.digest.clone());
        // Of an index there may be one platform and not the other.
        if exported.is_some() && job.images.len() == 1 && self.has(&id, job.cancel)? {
            return self.named((id, LoadWay::Present, exported), job);
        }
        let way = match self.pull(job, &assembled)? {
            Pulled::Done { blob_bytes } => LoadWay::Pulled { blob_bytes },
            Pulled::Impossible { reason } => self.send(job, reason)?,
        };
        self.loaded((id, way, exported), job)
    }

    fn has(&self, id: &Digest, cancel: &CancelToken) -> Result<bool> {
        let found = self.daemon.image(&id.to_string(), cancel).map_err(failed)?;
        // A name may look like an id.
        Ok(found.is_some_and(|image| image.id == id.to_string()))
    }

    /// Has the engine pull from us, if it can reach us and there is a name to keep the image by.
    fn pull(&self, job: &Job<'_>, assembled: &Assembled) -> Result<Pulled> {
        if !self.is_local() {
            let reason = format!("{} is another machine", self.daemon.address);
            return Ok(Pulled::Impossible { reason });
        }
        if job.names.is_empty() {
            // Without any name the engine would drop it together with the loopback's.
            let reason = "the image has no name".to_owned();
            return Ok(Pulled::Impossible { reason });
        }
        let registry = Serving::start(job, assembled)?;
        let forget = Forget::new(&self.daemon, &registry);
        match self.pull_all(job, assembled, &registry) {
            Ok(()) => {}
            Err(error) if error.is_cancelled() => return Err(BuildError::cancelled()),
            Err(error) if registry.traffic().requests == 0 => {
                let reason = format!("the engine does not reach this machine's loopback: {error}");
                return Ok(Pulled::Impossible { reason });
            }
            Err(error) => return Err(registry.failure().unwrap_or_else(|| failed(error))),
        }
        for name in job.names {
            let tagged = self.daemon.tag(&forget.name, name, job.cancel);
            tagged.map_err(failed)?;
        }
        drop(forget);
        Ok(Pulled::Done {
            blob_bytes: registry.traffic().blob_bytes,
        })
    }

    /// Pulls each platform: of an index an engine takes what it is asked for and no more.
    fn pull_all(
        &self,
        job: &Job<'_>,
        assembled: &Assembled,
        registry: &Serving,
    ) -> Result<(), RegistryError> {
        let platforms: Vec<Option<&Platform>> = match job.images {
            [_] => vec![None],
            several => several.iter().map(|image| Some(&image.platform)).collect(),
        };
        let mut telling = Telling::new(job.sink, job.vertex);
        for platform in platforms {
            let name = registry.name();
            let source = (name.as_str(), &assembled.top.digest);
            let told = &mut |step| telling.hear(&step);
            self.daemon.pull(source, platform, told, job.cancel)?;
        }
        Ok(())
    }

    /// Sends the whole image.
    fn send(&self, job: &Job<'_>, reason: String) -> Result<LoadWay> {
        let archive = job.archive()?;
        let bytes = archive.size_bytes();
        let stream = self.daemon.load(bytes, job.cancel).map_err(failed)?;
        let into = stream.writer().map_err(|error| lost(&error))?;
        let sent = with_hangup(job.cancel, &|| stream.end(), || {
            let name = self.daemon.address.to_string();
            archive.send(into, &name, &job.context())
        });
        job.cancel.check()?;
        // What the engine says about a load that it broke off tells more than a broken pipe.
        stream.finish(&mut |_| {}).map_err(failed)?;
        sent?;
        Ok(LoadWay::Archive { bytes, reason })
    }

    fn named(&self, found: Found, job: &Job<'_>) -> Result<LoadedInto> {
        let id = found.0.to_string();
        for name in job.names {
            self.daemon.tag(&id, name, job.cancel).map_err(failed)?;
        }
        self.loaded(found, job)
    }

    fn loaded(&self, (id, way, exported): Found, job: &Job<'_>) -> Result<LoadedInto> {
        Ok(LoadedInto {
            engine: ContainerEngine::Docker,
            id,
            names: job.names.to_vec(),
            way,
            exported,
        })
    }

    /// Whether its loopback can be ours.
    fn is_local(&self) -> bool {
        match &self.daemon.address {
            DaemonAddress::Unix(_) => true,
            DaemonAddress::Tcp(host) => ["127.", "localhost:", "[::1]:"]
                .iter()
                .any(|local| host.starts_with(local)),
        }
    }
}

type Found = (Digest, LoadWay, Option<Exported>);

/// What came of a pull.
enum Pulled {
    Done { blob_bytes: u64 },
    Impossible { reason: String },
}

/// Takes the loopback's name from the image, whether it got there or not.
struct Forget {
    daemon: Daemon,
    name: String,
}

impl Forget {
    fn new(daemon: &Daemon, registry: &Serving) -> Self {
        let mut daemon = daemon.clone();
        daemon.silence = TIDY;
        Self {
            daemon,
            name: registry.reference(),
        }
    }
}

impl Drop for Forget {
    fn drop(&mut self) {
        // A token of its own: an interrupted build tidies up too.
        let forgotten = match CancelToken::try_new() {
            Ok(token) => self.daemon.forget(&self.name, &token),
            Err(_) => return,
        };
        if let Err(error) = forgotten {
            tracing::warn!(%error, name = self.name, "a name stays behind");
        }
    }
}

/// Docker's client, for engines behind ssh or TLS.
pub(crate) struct Client {
    program: Program,
    endpoint: String,
}

impl Client {
    pub(super) fn find(
        endpoint: &str,
        program: Option<&Path>,
        cancel: &CancelToken,
    ) -> Result<Client> {
        let Some(program) = program else {
            let message = format!(
                "only Docker's client can reach {endpoint}, and there is no program `docker`"
            );
            return Err(BuildError::new(ErrorKind::Host, message).help(
                "install it (Debian: docker-cli), or use an engine at a socket: DOCKER_HOST",
            ));
        };
        let program = Program {
            path: program.to_owned(),
            without: &[],
        };
        let asked = ["version", "--format", "{{.Server.Version}}"];
        let ran = program::run(&program, &asked, cancel)?;
        if !ran.is_success() {
            let message = format!(
                "cannot connect to the container engine at {endpoint}: {}",
                ran.complaint()
            );
            return Err(BuildError::new(ErrorKind::Host, message));
        }
        Ok(Client {
            program,
            endpoint: endpoint.to_owned(),
        })
    }

    pub(super) fn load(&self, job: &Job<'_>) -> Result<LoadedInto> {
        let id = job.config_id();
        let id = id.ok_or_else(|| BuildError::build("several images in one load"))?;
        let archive = job.archive()?;
        let write = |into| Ok(archive.send(into, &self.endpoint, &job.context())?);
        let ran = program::feed(&self.program, &["load", "--quiet"], write, job.cancel)?;
        if !ran.is_success() {
            return Err(BuildError::build(format!(
                "the container engine at {} could not load: {}",
                self.endpoint,
                ran.complaint()
            )));
        }
        Ok(LoadedInto {
            engine: ContainerEngine::Docker,
            id,
            names: job.names.to_vec(),
            way: LoadWay::Archive {
                bytes: archive.size_bytes(),
                reason: format!("{} is reached by Docker's client only", self.endpoint),
            },
            exported: None,
        })
    }
}

/// Does something that may block in the kernel, while another thread ends it if the token is set.
fn with_hangup<T>(
    cancel: &CancelToken,
    hang_up: &(dyn Fn() + Sync),
    work: impl FnOnce() -> T,
) -> T {
    let Ok(done) = CancelToken::try_new() else {
        return work();
    };
    thread::scope(|scope| {
        let watch = || {
            cancel.wait_either(&done);
            if cancel.is_cancelled() {
                hang_up();
            }
        };
        scope.spawn(watch);
        let result = work();
        done.cancel();
        result
    })
}

fn failed(error: RegistryError) -> BuildError {
    match error.is_cancelled() {
        true => BuildError::cancelled(),
        false => BuildError::caused(ErrorKind::Build, error),
    }
}

fn lost(error: &io::Error) -> BuildError {
    BuildError::build(format!("write to the container engine: {error}"))
}

/// What to do where no engine answers.
fn unreachable(error: RegistryError, address: &DaemonAddress) -> BuildError {
    let denied = matches!(&error, RegistryError::NoDaemon { source, .. }
        if source.kind() == io::ErrorKind::PermissionDenied);
    if error.is_cancelled() {
        return BuildError::cancelled();
    }
    let error = BuildError::caused(ErrorKind::Host, error);
    match address {
        DaemonAddress::Unix(_) if denied => {
            error.help("the socket belongs to root or the group docker: be a member, or use sudo")
        }
        _ => error.help(
            "start Docker, or name another engine with DOCKER_HOST or `docker context use`; \
             `rbuild load-into podman` brings images of the store into Podman; without --load the image \
             stays in the store, where `rbuild run` finds it",
        ),
    }
}
