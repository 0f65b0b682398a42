//! Into Podman, by its command: its own storage has no server, and its socket is seldom on.

use std::path::Path;

use rbuild_oci::{Digest, Reference};
use rbuild_progress::CancelToken;

use super::program::{self, Program, Ran};
use super::served::Serving;
use super::{ContainerEngine, Job, LoadWay, LoadedInto};
use crate::{BuildError, ErrorKind, Result};

/// The program.
pub(crate) struct Podman {
    program: Program,
}

impl Podman {
    pub(super) fn find(program: Option<&Path>, cancel: &CancelToken) -> Result<Podman> {
        let Some(program) = program else {
            return Err(
                BuildError::new(ErrorKind::Host, "there is no program `podman`")
                    .help("install it (Debian: podman), or use `rbuild load-into docker`"),
            );
        };
        let podman = Podman {
            program: Program {
                path: program.to_owned(),
                // Where no `config.json` is in it Podman 4 gives up; nothing here needs a login.
                without: &["DOCKER_CONFIG"],
            },
        };
        // Opens its storage, which is what fails on a machine that is not set up for it.
        let ran = podman.run(&["image", "exists", "rbuild-asks:nothing"], cancel)?;
        match ran.code {
            Some(0 | 1) => Ok(podman),
            _ => {
                let message = format!("podman does not work here: {}", ran.complaint());
                Err(BuildError::new(ErrorKind::Host, message))
            }
        }
    }

    pub(super) fn load(&self, job: &Job<'_>) -> Result<LoadedInto> {
        let id = job.config_id();
        let id = id.ok_or_else(|| BuildError::build("several images in one load"))?;
        let way = match self.has(&id, job.cancel)? {
            true => LoadWay::Present,
            false => self.bring(job, &id)?,
        };
        self.tag(&id, job.names, job.cancel)?;
        Ok(LoadedInto {
            engine: ContainerEngine::Podman,
            id,
            names: job.names.to_vec(),
            way,
            exported: None,
        })
    }

    fn has(&self, id: &Digest, cancel: &CancelToken) -> Result<bool> {
        Ok(self
            .run(&["image", "exists", id.hex()], cancel)?
            .is_success())
    }

    /// Pulls from a loopback registry; the whole image as an archive where that is not reached.
    fn bring(&self, job: &Job<'_>, id: &Digest) -> Result<LoadWay> {
        let registry = Serving::start(job, &job.assemble_named()?)?;
        let name = registry.reference();
        let _untag = Untag {
            podman: self,
            id: id.hex(),
            name: &name,
        };
        let ran = self.run(
            &["pull", "--quiet", "--tls-verify=false", &name],
            job.cancel,
        )?;
        let traffic = registry.traffic();
        if ran.is_success() {
            return Ok(LoadWay::Pulled {
                blob_bytes: traffic.blob_bytes,
            });
        }
        if traffic.requests > 0 {
            return Err(registry.failure().unwrap_or_else(|| refused("pull", &ran)));
        }
        let reason = format!(
            "podman does not reach this machine's loopback: {}",
            ran.complaint()
        );
        self.send(job, reason)
    }

    fn send(&self, job: &Job<'_>, reason: String) -> Result<LoadWay> {
        let archive = job.archive()?;
        let write = |into| Ok(archive.send(into, "podman load", &job.context())?);
        let ran = program::feed(&self.program, &["load", "--quiet"], write, job.cancel)?;
        match ran.is_success() {
            true => Ok(LoadWay::Archive {
                bytes: archive.size_bytes(),
                reason,
            }),
            false => Err(refused("load", &ran)),
        }
    }

    fn tag(&self, id: &Digest, names: &[Reference], cancel: &CancelToken) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut args = vec!["tag", id.hex()];
        args.extend(names.iter().map(String::as_str));
        let ran = self.run(&args, cancel)?;
        match ran.is_success() {
            true => Ok(()),
            false => Err(refused("tag", &ran)),
        }
    }

    fn run(&self, args: &[&str], cancel: &CancelToken) -> Result<Ran> {
        program::run(&self.program, args, cancel)
    }
}

/// Takes the loopback's name from the image, whether it got there or not.
struct Untag<'a> {
    podman: &'a Podman,
    id: &'a str,
    name: &'a str,
}

impl Drop for Untag<'_> {
    fn drop(&mut self) {
        // A token of its own: an interrupted build tidies up too.
        let Ok(token) = CancelToken::try_new() else {
            return;
        };
        // Fails where the pull did not come so far.
        let ran = self.podman.run(&["untag", self.id, self.name], &token);
        tracing::debug!(?ran, name = self.name, "untag");
    }
}

fn refused(attempt: &str, ran: &Ran) -> BuildError {
    BuildError::build(format!("podman could not {attempt}: {}", ran.complaint()))
}
