//! Trees of git repositories: what a reference stands for, and its files as a layer.
//!
//! The system's `git` does the work, in the plain process, without the user's configuration, hooks,
//! prompts and transports that reach into this machine. A reference is resolved with one question to
//! the server; the files are fetched only if the store has no layer of that commit.

mod checkout;
mod command;
mod guard;
mod memory;
mod network;
mod refs;
mod tree;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rbuild_graph::{GitOp, GitTimes};
use rbuild_layer::{LayerId, LayerStore};
use rbuild_oci::Digest;
use rbuild_registry::{ProxyConfig, Reach, without_credentials};
use rbuild_store::{Store, Table};

use self::command::Git;
use self::network::Network;
use self::refs::Resolved;
use crate::http::{RemoteContext, RemoteLimits};
use crate::pins::{CommitPin, Pins};
use crate::{Error, Result};

/// How `git` is started.
#[derive(Debug, Clone)]
pub struct GitConfig {
    /// The program; a bare name is looked for in `path`.
    pub program: PathBuf,
    /// `PATH` of git and of what it starts (`ssh`, a shell for submodules); `None` is the usual one.
    pub path: Option<OsString>,
    /// Files with the keys of ssh servers; a server that is in none of them is believed.
    pub known_hosts: Vec<PathBuf>,
}

impl Default for GitConfig {
    fn default() -> Self {
        Self {
            program: PathBuf::from("git"),
            path: None,
            known_hosts: Vec::new(),
        }
    }
}

/// Fetches trees of git repositories into a store.
#[derive(Clone)]
pub struct GitSource {
    store: Arc<Store>,
    layers: LayerStore,
    config: GitConfig,
    proxy: ProxyConfig,
    reach: Reach,
    limits: RemoteLimits,
    pins: Arc<Pins>,
}

/// A tree that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitTree {
    /// Its files.
    pub layer: LayerId,
    /// What it counts for in keys.
    pub key: Digest,
    /// The full name of the commit.
    pub commit: String,
    /// When the commit was made, in seconds since 1970, if it says.
    pub time: Option<i64>,
}

/// What the store remembers of a tree: its layer, and the time of its commit.
type Known = (LayerId, Option<i64>);

impl GitSource {
    /// Layers go to `layers`, which keeps them in `store`; `proxy` is for repositories on the web.
    pub fn new(
        store: Arc<Store>,
        layers: LayerStore,
        (config, proxy, reach): (GitConfig, ProxyConfig, Reach),
        limits: RemoteLimits,
    ) -> GitSource {
        GitSource {
            store,
            layers,
            config,
            proxy,
            reach,
            limits,
            pins: Arc::default(),
        }
    }

    /// The same for whom references stand for what `pins` say.
    pub fn pinned(&self, pins: Arc<Pins>) -> GitSource {
        GitSource {
            pins,
            ..self.clone()
        }
    }

    /// What the reference of `op` stands for. No file is fetched.
    ///
    /// Errors: as [`Self::supply`].
    pub fn pin(&self, op: &GitOp, cx: &RemoteContext<'_>) -> Result<CommitPin> {
        let resolved = self.resolve(op, cx)?;
        Ok(CommitPin {
            commit: resolved.commit,
            tag: resolved.tag,
            full_ref: resolved.full_ref,
        })
    }

    /// Finds the files of `op` here or fetches them.
    ///
    /// Errors: [`Error::Git`] with what git says, [`Error::GitRef`], [`Error::GitNoRef`],
    /// [`Error::GitChecksum`], [`Error::GitSubdir`], [`Error::TooLarge`], [`Error::Unpinned`],
    /// [`Error::Cancelled`].
    pub fn supply(&self, op: &GitOp, cx: &RemoteContext<'_>) -> Result<GitTree> {
        let resolved = match &op.commit {
            Some(commit) => Resolved::of_commit(commit),
            None => self.resolve(op, cx)?,
        };
        let text = key_text(op, &resolved.commit);
        let key = Digest::sha256_of(text.as_bytes());
        let name = format!("git-{}", key.hex());
        // Whoever comes second finds what the first one fetched.
        let _lock = self.store.work_lock(&name, cx.cancel)?;
        let (layer, time) = match self.known(&name, cx)? {
            Some(known) => {
                self.store.note_use(&known.0.to_string());
                known
            }
            None => {
                let begun = Instant::now();
                let (layer, time) = self.fetch(op, &resolved, cx)?;
                let time_text = time.map_or(String::new(), |secs| secs.to_string());
                let text = format!("{layer} {time_text}");
                self.store.put(Table::Remotes, &name, text.as_bytes())?;
                self.store.note_made(&layer.to_string(), begun.elapsed());
                (layer, time)
            }
        };
        Ok(GitTree {
            layer,
            key,
            commit: resolved.commit,
            time,
        })
    }

    fn known(&self, name: &str, cx: &RemoteContext<'_>) -> Result<Option<Known>> {
        let row = self.store.get(Table::Remotes, name)?;
        let Some((layer, time)) = row.as_deref().and_then(decode) else {
            return Ok(None);
        };
        let here = self.layers.hold(&layer, cx.lease)?;
        Ok(here.then_some((layer, time)))
    }

    fn resolve(&self, op: &GitOp, cx: &RemoteContext<'_>) -> Result<Resolved> {
        refs::check_name(&op.reference)?;
        if refs::is_commit(&op.reference) {
            let resolved = Resolved::of_commit(&op.reference);
            refs::check_sum(op.checksum.as_deref(), &resolved)?;
            return Ok(resolved);
        }
        if let Some(pin) = self.pins.commit(op)? {
            let resolved = Resolved::from(pin);
            refs::check_sum(op.checksum.as_deref(), &resolved)?;
            return Ok(resolved);
        }
        let name = memory::name(op);
        if self.reach == Reach::Offline {
            let resolved = memory::recall(&self.store, &name)?.ok_or_else(|| offline(op))?;
            refs::check_sum(op.checksum.as_deref(), &resolved)?;
            return Ok(resolved);
        }
        let home = self.store.stage_dir()?;
        let git = self.git(home.path(), op, cx)?;
        let resolved = refs::ask(&git, op)?;
        memory::keep(&self.store, &name, &resolved)?;
        refs::check_sum(op.checksum.as_deref(), &resolved)?;
        Ok(resolved)
    }

    fn git<'a>(&'a self, dir: &Path, op: &GitOp, cx: &'a RemoteContext<'a>) -> Result<Git<'a>> {
        let network = Network::of(&self.proxy, &op.remote);
        Git::new((&self.config, network), dir, op, cx)
    }

    fn fetch(&self, op: &GitOp, resolved: &Resolved, cx: &RemoteContext<'_>) -> Result<Known> {
        if self.reach == Reach::Offline {
            return Err(offline(op));
        }
        let staged = self.store.stage_dir()?;
        let git = self.git(staged.path(), op, cx)?;
        let work = staged.path().join("tree");
        let made = checkout::checkout(&git, op, resolved, &work)?;
        let root = checkout::subdirectory(op, &work)?;
        let what = tree::What {
            name: without_credentials(&op.remote),
            git_dirs: op.take.git_dir,
            time: made.filter(|_| op.times == GitTimes::Commit),
            limits: self.limits,
        };
        let new = tree::read(&root, &what, (&self.store, cx.cancel))?;
        Ok((self.layers.commit_files(new, cx.cancel)?, made))
    }
}

/// Whether an op says itself which commit it means.
pub fn names_commit(op: &GitOp) -> bool {
    op.commit.is_some() || refs::is_commit(&op.reference)
}

/// Reads a row about a tree.
fn decode(row: &[u8]) -> Option<Known> {
    let text = std::str::from_utf8(row).ok()?;
    let (layer, time) = text.split_once(' ').unwrap_or((text, ""));
    Some((layer.parse().ok()?, time.parse().ok()))
}

/// The layer that a row leads to.
pub(crate) fn layer_of(row: &[u8]) -> Option<LayerId> {
    decode(row).map(|(layer, _)| layer)
}

/// What a tree depends on. Where a commit comes from matters only for what is kept of it in `.git`
/// and for submodules named relative to it.
fn key_text(op: &GitOp, commit: &str) -> String {
    let mut text = format!("git tree {commit}\nsubdir {:?}\n", op.subdir);
    let take = op.take;
    text.push_str(&format!(
        "git-dir {}\nsubmodules {}\n",
        take.git_dir, take.submodules
    ));
    if op.times == GitTimes::Commit {
        text.push_str("times of the commit\n");
    }
    if take.git_dir {
        text.push_str(&format!("remote {:?} {:?}\n", op.remote, op.reference));
    }
    text
}

fn offline(op: &GitOp) -> Error {
    let remote = without_credentials(&op.remote);
    let reference = &op.reference;
    Error::Offline {
        what: match reference.is_empty() {
            true => remote,
            false => format!("{remote}#{reference}"),
        },
    }
}

/// An error that names the repository.
fn failed(op: &GitOp, attempt: &'static str, said: &str) -> Error {
    Error::Git {
        attempt,
        remote: without_credentials(&op.remote),
        said: said.replace(&op.remote, &without_credentials(&op.remote)),
    }
}
