//! A build context that is no local directory: fetched, or read from a descriptor, before the
//! Dockerfile in it can be read.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use rbuild_frontend::{GitRef, Remote, RemoteTree, context_graph};
use rbuild_graph::{GitTimes, HttpOp};
use rbuild_layer::{FileView, Follow, LayerId, NodeKind, resolve};
use rbuild_oci::Digest;
use rbuild_progress::{CancelToken, Sink, VertexKey};
use rbuild_solver::{SolveError, SolveRequest, solve};
use rbuild_source::{GitSource, HttpSource, Pins, RemoteContext};
use rbuild_store::Lease;
use rbuild_worker::{LocalWorker, StoreIndex};
use rustix::event::{PollFd, PollFlags, poll};

use crate::engine::Engine;
use crate::step::announced;
use crate::workers::{self, Agents, Given};
use crate::{ArchiveInput, BuildError, BuildRequest, ContextInput, Result, lock};

/// What the file of a context is called that is fetched or handed over, as in BuildKit.
const NAME: &str = "context";

/// Files of a context, in layers.
pub(crate) struct Elsewhere {
    /// What the plan says about them, pinned to what was found.
    pub tree: RemoteTree,
    /// Its time in seconds since 1970: of the commit, as the server says, or of the newest file.
    pub epoch: Option<i64>,
    stack: Vec<LayerId>,
}

/// What fetching shares with the build.
pub(crate) struct Fetching<'a> {
    pub engine: &'a Engine,
    pub request: &'a BuildRequest,
    pub agents: &'a Agents<'a>,
    pub lease: &'a Arc<Lease>,
    pub sink: &'a dyn Sink,
    pub cancel: &'a CancelToken,
}

/// Brings the context of a request; `None` if it is a directory or none at all.
pub(crate) fn context(fetching: &Fetching<'_>) -> Result<Option<Elsewhere>> {
    let step = "[internal] load remote build context";
    match &fetching.request.context {
        ContextInput::Directory(_) | ContextInput::Empty => Ok(None),
        ContextInput::Archive(input) => {
            let worker = fetching.worker()?;
            let found = announced(fetching.sink, step, |key| {
                fetching.taken_in(input, (&worker, key))
            })?;
            Ok(Some(
                fetching.unpacked((RemoteTree::Archive(found), None), &worker)?,
            ))
        }
        ContextInput::Remote(address) => {
            let worker = fetching.worker()?;
            let found = announced(fetching.sink, step, |key| {
                fetching.found(address, (&worker, key))
            })?;
            Ok(Some(match found {
                Found::Layers(found) => found,
                Found::File(tree, time) => fetching.unpacked((tree, time), &worker)?,
            }))
        }
    }
}

/// What a named context from elsewhere stands for; nothing is fetched yet.
pub(crate) fn named(address: &str) -> Result<RemoteTree> {
    match remote(address)? {
        Remote::Git(git) => Ok(RemoteTree::Git(git.op)),
        Remote::Http(url) => Ok(RemoteTree::File(file(Some(url), None))),
    }
}

/// The time of a source in seconds since 1970: of the commit, as the server says, or of the newest file if it is
/// an archive; `None` if it has none.
pub(crate) fn time_of(
    tree: &RemoteTree,
    (fetching, pins): (&Fetching<'_>, &Arc<Pins>),
) -> Result<Option<i64>> {
    let worker = fetching.worker()?;
    let (http, git) = fetching.pinned(pins);
    let step = "[internal] resolve the time of a source";
    let (archive, time) = announced(fetching.sink, step, |key| {
        let cx = fetching.remote((&worker, key));
        match tree {
            RemoteTree::Git(op) => Ok((None, git.supply(op, &cx)?.time)),
            RemoteTree::Archive(op) | RemoteTree::File(op) => {
                let found = http.supply(op, &cx)?.0.ready(&cx)?;
                let time = found.modified_secs();
                let packed = time.is_none() && found.is_archive();
                Ok::<_, BuildError>((packed.then(|| op.clone()), time))
            }
        }
    })?;
    match archive {
        Some(op) => {
            let packed = (RemoteTree::Archive(op), None);
            Ok(fetching.unpacked(packed, &worker)?.epoch)
        }
        None => Ok(time),
    }
}

/// Whether a text names a context in the network, as [`ContextInput::Remote`] takes it; `None` if it is
/// a path. Errors: what is wrong with the query of a git address.
pub fn is_remote_context(text: &str) -> Option<Result<(), String>> {
    Remote::parse_context(text).map(|parsed| parsed.map(|_| ()))
}

/// Whether a text names a git repository that is reached over ssh.
pub fn is_ssh_context(text: &str) -> bool {
    let plain = |remote: &str| {
        let schemes = ["http://", "https://", "git://"];
        schemes.iter().any(|scheme| remote.starts_with(scheme))
    };
    matches!(Remote::parse_context(text), Some(Ok(Remote::Git(git))) if !plain(&git.op.remote))
}

enum Found {
    Layers(Elsewhere),
    File(RemoteTree, Option<i64>),
}

impl Fetching<'_> {
    /// The sources of a build that goes by pins.
    fn pinned(&self, pins: &Arc<Pins>) -> (HttpSource, GitSource) {
        let (http, git) = (self.engine.http(), self.engine.git());
        (http.pinned(Arc::clone(pins)), git.pinned(Arc::clone(pins)))
    }

    pub(crate) fn worker(&self) -> Result<LocalWorker<'_>> {
        let given = Given::only(self.engine, self.agents, self.lease)?;
        Ok(workers::worker(self.engine, self.request, given))
    }

    pub(crate) fn remote<'c>(
        &'c self,
        (worker, vertex): (&'c LocalWorker<'c>, &'c VertexKey),
    ) -> RemoteContext<'c> {
        RemoteContext {
            keyring: worker,
            lease: self.lease,
            sink: self.sink,
            vertex,
            cancel: self.cancel,
        }
    }

    fn found(&self, address: &str, from: (&LocalWorker<'_>, &VertexKey)) -> Result<Found> {
        let cx = self.remote(from);
        let (http, git_source) = self.pinned(&lock::context_pins(self.request)?);
        match remote(address)? {
            Remote::Git(git) => {
                let mut op = self.with_git_dir(git);
                if self.request.build_args.contains_key("SOURCE_DATE_EPOCH") {
                    op.times = GitTimes::Commit;
                }
                let tree = git_source.supply(&op, &cx)?;
                op.commit = Some(tree.commit);
                Ok(Found::Layers(Elsewhere {
                    tree: RemoteTree::Git(op),
                    epoch: tree.time,
                    stack: vec![tree.layer],
                }))
            }
            Remote::Http(url) => {
                let (web, _) = http.supply(&file(Some(url.clone()), None), &cx)?;
                let found = web.ready(&cx)?;
                let op = file(Some(url), Some(found.blob().clone()));
                let tree = match found.is_archive() {
                    true => RemoteTree::Archive(op),
                    false => RemoteTree::File(op),
                };
                Ok(Found::File(tree, found.modified_secs()))
            }
        }
    }

    fn with_git_dir(&self, git: GitRef) -> rbuild_graph::GitOp {
        let mut op = git.op;
        let wanted = self.request.build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR");
        if let (None, Some(text)) = (git.keep_git_dir, wanted) {
            op.take.git_dir = matches!(text.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True");
        }
        op
    }

    /// Puts an archive into the store, as it comes.
    fn taken_in(
        &self,
        input: &ArchiveInput,
        from: (&LocalWorker<'_>, &VertexKey),
    ) -> Result<HttpOp> {
        let limit = self.engine.limits().file_bytes;
        let mut ingest = self.engine.store().ingest()?;
        let failed = |e: io::Error| {
            BuildError::read(
                "read the build context from",
                Path::new("standard input"),
                e,
            )
        };
        ingest.write_all(&input.head).map_err(failed)?;
        let mut buffer = vec![0; 1 << 18];
        loop {
            wait_readable(&input.rest, self.cancel)?;
            let n = (&*input.rest).read(&mut buffer).map_err(failed)?;
            let Some(bytes) = buffer.get(..n).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            ingest.write_all(bytes).map_err(failed)?;
            if ingest.size_bytes() > limit {
                return Err(rbuild_source::Error::TooLarge {
                    what: "the build context".to_owned(),
                    limit,
                }
                .into());
            }
        }
        let (digest, _) = ingest.commit(None)?;
        let op = file(None, Some(digest));
        let cx = self.remote(from);
        let (web, _) = self.engine.http().supply(&op, &cx)?;
        match web.ready(&cx)?.is_archive() {
            true => Ok(op),
            false => Err(BuildError::build(
                "read the build context from standard input: it is no tar archive",
            )),
        }
    }

    /// The files of a context as layers, made by the ops that the build will find done.
    ///
    /// `time` is what the server says; without it the newest file of an archive counts.
    fn unpacked(
        &self,
        (tree, time): (RemoteTree, Option<i64>),
        worker: &LocalWorker<'_>,
    ) -> Result<Elsewhere> {
        let (graph, target, names) = context_graph(&tree);
        let cache = StoreIndex::new(Arc::clone(self.engine.store()), self.engine.rung());
        let wanted = SolveRequest {
            graph: &graph,
            targets: &[target],
            names: &names,
            no_cache: &BTreeSet::new(),
            parallelism: NonZeroUsize::MIN,
            witness: None,
        };
        let solved = solve(&wanted, worker, &cache, self.sink, self.cancel);
        let solved = solved.map_err(|e| match e {
            SolveError::Cancelled => BuildError::cancelled(),
            SolveError::Vertex { source, .. } => source.into(),
            other => BuildError::caused(crate::ErrorKind::Build, other),
        })?;
        let output = solved.output(target);
        let stack = output.map_or(&[][..], rbuild_worker::Output::layers);
        let epoch = match (&tree, time) {
            (RemoteTree::Archive(_), None) => self.newest(stack)?,
            _ => time,
        };
        Ok(Elsewhere {
            tree,
            epoch,
            stack: stack.to_vec(),
        })
    }

    /// The time of the newest file in some layers.
    fn newest(&self, stack: &[LayerId]) -> Result<Option<i64>> {
        let mut newest = None;
        for layer in stack {
            let index = self.engine.layers().index(layer, self.cancel)?;
            let files = index.entries().iter().filter(|entry| !entry.kind.is_dir());
            newest = newest.max(files.map(|entry| entry.mtime.secs).max());
        }
        Ok(newest)
    }
}

impl Elsewhere {
    /// The names that the Dockerfile may have, the likeliest first.
    pub(crate) fn dockerfile_names(&self) -> &'static [&'static str] {
        match self.tree {
            RemoteTree::File(_) => &[NAME],
            RemoteTree::Git(_) | RemoteTree::Archive(_) => &["Dockerfile", "dockerfile"],
        }
    }

    /// Reads a whole file; `None` if there is none of that name.
    ///
    /// Links are followed inside the context. Errors: it is no regular file, or larger than `limit`
    /// bytes.
    pub(crate) fn read(
        &self,
        engine: &Engine,
        name: &str,
        (limit, cancel): (u64, &CancelToken),
    ) -> Result<Option<Vec<u8>>> {
        let view = engine.layers().view(&self.stack, cancel);
        let found = match resolve(&view, name.as_bytes(), Follow::Last) {
            Err(rbuild_layer::Error::NotADirectory { .. }) => return Ok(None),
            other => other?,
        };
        if !found.exists() {
            return Ok(None);
        }
        let fail = |text: String| BuildError::read("read", Path::new(name), io::Error::other(text));
        match found.node.kind {
            NodeKind::File { size } if size <= limit => {}
            NodeKind::File { .. } => return Err(fail(format!("it is larger than {limit} bytes"))),
            _ => return Err(fail("it is no regular file".to_owned())),
        }
        let mut bytes = Vec::new();
        let file = view.open(&found.path)?;
        file.take(limit)
            .read_to_end(&mut bytes)
            .map_err(|e| fail(e.to_string()))?;
        Ok(Some(bytes))
    }
}

fn remote(address: &str) -> Result<Remote> {
    match Remote::parse_context(address) {
        Some(Ok(remote)) => Ok(remote),
        Some(Err(message)) => Err(BuildError::build(message)),
        None => Err(BuildError::build(format!("{address} is no address"))),
    }
}

fn file(url: Option<String>, checksum: Option<Digest>) -> HttpOp {
    HttpOp {
        url,
        name: NAME.to_owned(),
        checksum,
    }
}

/// Waits until there is something to read, or the build is cancelled.
fn wait_readable(file: &impl AsFd, cancel: &CancelToken) -> Result<()> {
    loop {
        cancel.check()?;
        let mut fds = [
            PollFd::new(file, PollFlags::IN),
            PollFd::new(cancel, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => {
                let e = io::Error::from(e);
                return Err(BuildError::read("wait for", Path::new("standard input"), e));
            }
            Ok(_) if fds[0].revents().is_empty() => {}
            Ok(_) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
