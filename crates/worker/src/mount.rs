//! The extra mounts of a step: what stands behind `RUN --mount`.

mod agent;
mod bind;
mod cache;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;

use rbuild_graph::{ExecMount, ExecMountKind, ExecOp};
use rbuild_sandbox::{MountSource, MountSpec};
use rbuild_solver::OpContext;
use rbuild_store::{MountedCache, StagedDir};

use self::agent::AgentDoor;
pub(crate) use self::agent::socket_of;
pub use self::cache::cache_mounts;
use crate::{Error, LocalWorker, Output, Result};

/// Largest secret, as in BuildKit.
const MAX_SECRET_BYTES: u64 = 500 * 1024;

/// Where a secret's bytes are.
#[derive(Clone)]
pub enum SecretSource {
    /// In a file, read when a step asks for it.
    File(PathBuf),
    /// Here: the value of an environment variable of the caller's.
    Bytes(Arc<[u8]>),
}

impl std::fmt::Debug for SecretSource {
    /// Never shows the bytes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SecretSource::File(path) => f.debug_tuple("File").field(path).finish(),
            SecretSource::Bytes(_) => f.write_str("Bytes"),
        }
    }
}

/// The mounts of one step, and what has to live as long as they do.
#[derive(Default)]
pub(crate) struct StepMounts {
    /// What is mounted, in order.
    pub specs: Vec<MountSpec>,
    /// Environment that comes with them.
    pub env: Vec<(String, String)>,
    agents: Vec<AgentDoor>,
    caches: Vec<MountedCache>,
    scratch: Vec<StagedDir>,
}

impl LocalWorker<'_> {
    /// Prepares the mounts of a step.
    pub(crate) fn mounts(
        &self,
        op: &ExecOp,
        inputs: &[Output],
        cx: &OpContext<'_>,
    ) -> Result<StepMounts> {
        let mut all = StepMounts::default();
        let mut caches = self.caches(&op.mounts, inputs, &mut all, cx)?;
        for (place, mount) in op.mounts.iter().enumerate() {
            cx.cancel.check()?;
            match &mount.kind {
                ExecMountKind::Bind { input, source } => {
                    let input = inputs.get(*input).ok_or(Error::Input)?;
                    self.bind(mount, (input, source), &mut all, cx)?;
                }
                ExecMountKind::Cache { .. } => {
                    let shown = caches.remove(&place).ok_or(Error::Input)?;
                    all.add(mount, shown);
                }
                ExecMountKind::Tmpfs { size } => all.add(
                    mount,
                    MountSource::Tmpfs {
                        size: *size,
                        mode: 0o1777,
                    },
                ),
                ExecMountKind::Secret { .. } => self.secret(mount, &mut all)?,
                ExecMountKind::Ssh { .. } => self.ssh(mount, op, &mut all)?,
                ExecMountKind::File { bytes, mode } => all.add(
                    mount,
                    MountSource::File {
                        bytes: bytes.clone(),
                        mode: *mode,
                        uid: 0,
                        gid: 0,
                    },
                ),
            }
        }
        Ok(all)
    }

    fn secret(&self, mount: &ExecMount, all: &mut StepMounts) -> Result<()> {
        let ExecMountKind::Secret {
            id,
            target,
            env,
            required,
            mode,
            uid,
            gid,
        } = &mount.kind
        else {
            return Err(Error::Input);
        };
        let bytes = match self.secrets.get(id) {
            Some(source) => read_secret(source)?,
            None if *required => return Err(Error::NoSecret { id: id.clone() }),
            None => {
                if let Some(name) = env {
                    all.env.push((name.clone(), String::new()));
                }
                return Ok(());
            }
        };
        if let Some(name) = env {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            all.env.push((name.clone(), text));
        }
        if let Some(target) = target {
            all.specs.push(MountSpec {
                target: target.clone(),
                source: MountSource::File {
                    bytes,
                    mode: *mode,
                    uid: *uid,
                    gid: *gid,
                },
                read_only: true,
            });
        }
        Ok(())
    }
}

impl StepMounts {
    /// The locks of cache mounts, each once.
    pub(crate) fn locks(&self) -> Vec<BorrowedFd<'_>> {
        self.caches.iter().map(MountedCache::lock).collect()
    }

    fn add(&mut self, mount: &ExecMount, source: MountSource) {
        self.specs.push(MountSpec {
            target: mount.target.clone(),
            source,
            read_only: mount.read_only,
        });
    }
}

/// The bytes of a secret, for whoever logs in somewhere on behalf of a step; `None` if there is none
/// or it cannot be read: then the server says that it wants one.
pub(crate) fn secret_bytes(secrets: &BTreeMap<String, SecretSource>, id: &str) -> Option<Vec<u8>> {
    read_secret(secrets.get(id)?).ok()
}

fn read_secret(source: &SecretSource) -> Result<Vec<u8>> {
    let path = match source {
        SecretSource::Bytes(bytes) => return Ok(bytes.to_vec()),
        SecretSource::File(path) => path,
    };
    let fail = |e| Error::Io {
        attempt: "read the secret",
        path: path.clone(),
        source: e,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(fail)?
        .take(MAX_SECRET_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    if bytes.len() as u64 > MAX_SECRET_BYTES {
        return Err(fail(std::io::Error::other("a secret is at most 500 KiB")));
    }
    Ok(bytes)
}
