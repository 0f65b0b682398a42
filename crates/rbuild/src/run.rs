//! Running an image to try it: one process over a layer that is thrown away.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rbuild_graph::NetworkMode;
use rbuild_oci::{Address, Platform, RunConfig};
use rbuild_progress::{CancelToken, NullSink};
use rbuild_sandbox::{
    Limits, MountSource, MountSpec, Network, RootSpec, Security, StepIo, StepSpec,
};
use rbuild_worker::StartNursery;

use crate::engine::Engine;
use crate::transfer::native_or;
use crate::{BuildError, ErrorKind, Result};

/// What a process in an image sees as its host's name unless told otherwise.
const HOSTNAME: &str = "rbuild";

/// A process in an image.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// The image: a name, an id, the beginning of an id, or where it is.
    pub image: Address,
    /// Which of several platforms; `None` is this machine's.
    pub platform: Option<Platform>,
    /// Replaces CMD unless it is empty.
    pub command: Vec<String>,
    /// Replaces ENTRYPOINT, and drops CMD.
    pub entrypoint: Option<Vec<String>>,
    /// Environment on top of the image's.
    pub env: Vec<(String, String)>,
    /// Directories and files of the host.
    pub volumes: Vec<Volume>,
    /// Replaces WORKDIR.
    pub workdir: Option<String>,
    /// Replaces USER.
    pub user: Option<String>,
    /// Which network it sees.
    pub network: NetworkMode,
    /// Host name.
    pub hostname: Option<String>,
}

/// A directory or file of the host, mounted.
#[derive(Debug, Clone)]
pub struct Volume {
    /// Path on the host.
    pub source: PathBuf,
    /// Absolute path in the image.
    pub target: String,
    /// Whether writes fail.
    pub read_only: bool,
}

/// What a process in an image is connected to.
pub enum RunIo<'a> {
    /// Open files.
    Inherit {
        /// Standard input.
        stdin: BorrowedFd<'a>,
        /// Standard output.
        stdout: BorrowedFd<'a>,
        /// Standard error.
        stderr: BorrowedFd<'a>,
    },
    /// A terminal of its own, which is its controlling one.
    Terminal {
        /// Called once, before the process runs, with the other side of the terminal: the place to set
        /// its size. Must not wait for the process.
        on_open: &'a mut dyn FnMut(OwnedFd),
    },
}

impl Engine {
    /// Runs a process in an image until it ends; returns its exit code, 128 + n after signal n.
    ///
    /// What it writes is thrown away. Errors: the image is not in the store, there is nothing to run,
    /// the process could not be started.
    pub fn run(&self, request: &RunRequest, io: RunIo<'_>, cancel: &CancelToken) -> Result<u8> {
        let _running = self.running();
        self.recover((&NullSink, cancel))?;
        let wanted = native_or(request.platform.as_ref());
        let stored = self.open_image(&request.image, &wanted, (&NullSink, cancel))?;
        let image = stored.pick(&request.image.to_string(), request.platform.as_ref())?;
        let _lease = self.lease_layers(&image.layers)?;
        let config = &image.config.config;
        let lowers = self.layers().lowers(&image.layers, cancel)?;
        let active = self.layers().prepare()?;
        let root = RootSpec {
            lowers,
            upper: active.upper().to_owned(),
            work: active.work().to_owned(),
        };
        let spec = step(request, config, root)?;
        let io = match io {
            RunIo::Inherit {
                stdin,
                stdout,
                stderr,
            } => StepIo::Inherit {
                stdin,
                stdout,
                stderr,
            },
            RunIo::Terminal { on_open } => StepIo::Terminal { on_open },
        };
        let nursery = self.nursery().nursery()?;
        let exit = nursery.run_step(&spec, io, cancel)?;
        Ok(u8::try_from(exit.code()).unwrap_or(u8::MAX))
    }
}

fn step(request: &RunRequest, config: &RunConfig, root: RootSpec) -> Result<StepSpec> {
    let args = arguments(request, config);
    if args.is_empty() {
        return Err(BuildError::new(
            ErrorKind::Usage,
            format!("{} has neither CMD nor ENTRYPOINT", request.image),
        )
        .help("say what to run after the image's name"));
    }
    let mut env: Vec<(String, String)> = config
        .env
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    env.extend(request.env.iter().cloned());
    let workdir = request.workdir.clone();
    let workdir = workdir.unwrap_or_else(|| config.working_dir.clone());
    let mounts = request.volumes.iter().map(|volume| MountSpec {
        target: volume.target.clone(),
        source: MountSource::Dir(volume.source.clone()),
        read_only: volume.read_only,
    });
    Ok(StepSpec {
        args,
        env,
        cwd: if workdir.is_empty() {
            "/".to_owned()
        } else {
            workdir
        },
        user: request.user.clone().unwrap_or_else(|| config.user.clone()),
        hostname: request
            .hostname
            .clone()
            .unwrap_or_else(|| HOSTNAME.to_owned()),
        network: match request.network {
            NetworkMode::Default => Network::Default,
            NetworkMode::None => Network::None,
            NetworkMode::Host => Network::Host,
        },
        security: Security::Sandbox,
        root,
        mounts: mounts.collect(),
        hosts: Vec::new(),
        shm_size: 0,
        ulimits: Vec::new(),
        no_new_privileges: false,
        limits: Limits::default(),
    })
}

fn arguments(request: &RunRequest, config: &RunConfig) -> Vec<String> {
    let entrypoint = match &request.entrypoint {
        Some(own) => own.clone(),
        None => config.entrypoint.clone().unwrap_or_default(),
    };
    let command = match (&request.command, &request.entrypoint) {
        (command, _) if !command.is_empty() => command.clone(),
        (_, Some(_)) => Vec::new(),
        (_, None) => config.cmd.clone().unwrap_or_default(),
    };
    entrypoint.into_iter().chain(command).collect()
}
