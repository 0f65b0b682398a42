//! A directory of the user's, read in place: the build context or a named one.
//!
//! Nothing is copied and nothing is walked ahead of time. Every path is reached by descriptor below
//! the context directory, without following symbolic links (the caller resolves those inside the
//! view, one component at a time). Owners read as 0:0, as BuildKit sends them. What the ignore file
//! excludes is not there.
//!
//! What does not live here: which files a COPY selects (`select.rs`).

mod read;
mod walk;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rbuild_layer::{ByteSource, ContentDigest, FileView, Node, NodeKind, path};
use rbuild_pattern::{EntryKind, IgnoreSet, Step, Verdict};
use rbuild_store::Store;

use crate::stat_cache::{FileStamp, Slack, StatCache};
use crate::{Error, Result};

/// A local directory as a file view; a handle that is cheap to clone.
#[derive(Clone)]
pub struct LocalContext {
    inner: Arc<Inner>,
}

struct Inner {
    root: OwnedFd,
    path: PathBuf,
    ignore: IgnoreSet,
    ignore_name: String,
    stats: StatCache,
    slack: Slack,
    memo: Mutex<Memo>,
}

/// What was seen in this build; the context is taken to stand still while it runs.
#[derive(Default)]
struct Memo {
    nodes: HashMap<Vec<u8>, Option<Seen>>,
    listings: HashMap<Vec<u8>, Arc<Vec<Vec<u8>>>>,
    contents: HashMap<Vec<u8>, ContentDigest>,
}

#[derive(Clone)]
struct Seen {
    node: Node,
    stamp: FileStamp,
}

/// The ignore rules of a context and what to call their file in messages.
pub struct Ignore {
    /// The rules.
    pub set: IgnoreSet,
    /// `.dockerignore`, or the name of the Dockerfile's own ignore file.
    pub name: String,
}

impl LocalContext {
    /// Opens `dir` with the given ignore rules and what earlier builds learned of its files.
    ///
    /// Errors: [`Error::Context`] if it is no directory or cannot be opened, [`Error::Store`].
    pub fn open(dir: &Path, ignore: Ignore, store: &Store) -> Result<LocalContext> {
        let context = |source| Error::Context {
            path: dir.to_owned(),
            source,
        };
        let root = read::open_root(dir).map_err(|e| context(e.into()))?;
        let slack = read::slack(&root).map_err(|e| context(e.into()))?;
        let path = std::fs::canonicalize(dir).map_err(context)?;
        let stats = StatCache::load(store, &cache_key(&path))?;
        Ok(LocalContext {
            inner: Arc::new(Inner {
                root,
                path,
                ignore: ignore.set,
                ignore_name: ignore.name,
                stats,
                slack,
                memo: Mutex::default(),
            }),
        })
    }

    /// Keeps what was learned of the files for later builds.
    pub fn save(&self, store: &Store) -> Result<()> {
        self.inner.stats.save(store, &cache_key(&self.inner.path))
    }

    /// The directory, absolute and free of symbolic links.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Says which ignore rule hides `path`, if the path is there and a rule does.
    pub fn hidden_by(&self, file: &[u8]) -> Option<String> {
        let there = self.inner.stat(file).ok().flatten().is_some();
        match self.inner.ignore.verdict(file) {
            Verdict::Excluded { line, text, .. } if there => Some(format!(
                "it exists, but line {line} of {} hides it: {text}",
                self.inner.ignore_name
            )),
            _ => None,
        }
    }

    /// Reads the digests of these regular files, on several threads when there is much to read.
    pub fn digest_all(
        &self,
        files: &[Vec<u8>],
        cancel: &rbuild_progress::CancelToken,
    ) -> Result<()> {
        walk::digest_all(&self.inner, files, cancel)
    }

    /// Lists everything below `dir`, on several threads when there is much to list.
    pub fn prefetch(&self, dir: &[u8], cancel: &rbuild_progress::CancelToken) -> Result<()> {
        walk::prefetch(&self.inner, dir, cancel)
    }
}

impl Inner {
    fn memo(&self) -> MutexGuard<'_, Memo> {
        self.memo.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// What is at `file`, whether the ignore rules show it or not.
    fn stat(&self, file: &[u8]) -> Result<Option<Seen>> {
        if let Some(seen) = self.memo().nodes.get(file) {
            return Ok(seen.clone());
        }
        let seen = read::stat(&self.root, file, &self.stats, self.slack)
            .map_err(|e| read_error("look at", file, e))?;
        self.memo().nodes.insert(file.to_vec(), seen.clone());
        Ok(seen)
    }

    /// What is at `file` as far as the ignore rules show it.
    fn visible(&self, file: &[u8]) -> Result<Option<Seen>> {
        let Some(seen) = self.stat(file)? else {
            return Ok(None);
        };
        let shows = file.is_empty() || self.shows(file, seen.node.is_dir())?;
        Ok(shows.then_some(seen))
    }

    fn shows(&self, file: &[u8], is_dir: bool) -> Result<bool> {
        if self.ignore.is_empty() {
            return Ok(true);
        }
        let kind = if is_dir {
            EntryKind::Directory
        } else {
            EntryKind::Other
        };
        match self.ignore.step(file, kind) {
            Step::Take => Ok(true),
            Step::Skip => Ok(false),
            // An excluded directory shows for the sake of what is included again below it.
            Step::Probe => Ok(!self.list(file)?.is_empty()),
        }
    }

    /// The names that show in a directory, sorted.
    fn list(&self, dir: &[u8]) -> Result<Arc<Vec<Vec<u8>>>> {
        if let Some(names) = self.memo().listings.get(dir) {
            return Ok(Arc::clone(names));
        }
        let all = read::list(&self.root, dir, &self.stats, self.slack)
            .map_err(|e| read_error("list", dir, e))?;
        let mut names = Vec::with_capacity(all.len());
        {
            let mut memo = self.memo();
            for (name, seen) in &all {
                let file = path::join(dir, name);
                memo.nodes.insert(file, Some(seen.clone()));
            }
        }
        for (name, seen) in all {
            if self.shows(&path::join(dir, &name), seen.node.is_dir())? {
                names.push(name);
            }
        }
        let names = Arc::new(names);
        self.memo()
            .listings
            .insert(dir.to_vec(), Arc::clone(&names));
        Ok(names)
    }

    fn digest(&self, file: &[u8]) -> Result<ContentDigest> {
        if let Some(content) = self.memo().contents.get(file) {
            return Ok(*content);
        }
        let seen = self.visible(file)?.ok_or_else(|| not_found(file))?;
        if !matches!(seen.node.kind, NodeKind::File { .. }) {
            return Err(Error::Layer(rbuild_layer::Error::NotAFile {
                path: path::to_path(file),
            }));
        }
        let known = self.stats.lookup(&seen.stamp).and_then(|k| k.content);
        let content = match known {
            Some(bytes) => ContentDigest::from_bytes(bytes),
            None => read::digest(&self.root, file, &seen, &self.stats, self.slack)?,
        };
        self.memo().contents.insert(file.to_vec(), content);
        Ok(content)
    }

    fn open_file(&self, file: &[u8]) -> Result<Box<dyn Read + Send>> {
        let seen = self.visible(file)?.ok_or_else(|| not_found(file))?;
        let file = read::open_same(&self.root, file, &seen.stamp)?;
        Ok(Box::new(file))
    }
}

impl FileView for LocalContext {
    fn lstat(&self, file: &[u8]) -> rbuild_layer::Result<Option<Node>> {
        let seen = self.inner.visible(file).map_err(|e| view_error(file, e))?;
        Ok(seen.map(|seen| seen.node))
    }

    fn read_dir(&self, dir: &[u8]) -> rbuild_layer::Result<Vec<Vec<u8>>> {
        let seen = self.inner.visible(dir).map_err(|e| view_error(dir, e))?;
        match seen {
            None => Err(rbuild_layer::Error::NotFound {
                path: path::to_path(dir),
            }),
            Some(seen) if !seen.node.is_dir() => Err(rbuild_layer::Error::NotADirectory {
                path: path::to_path(dir),
            }),
            Some(_) => {
                let names = self.inner.list(dir).map_err(|e| view_error(dir, e))?;
                Ok(names.as_ref().clone())
            }
        }
    }

    fn content(&self, file: &[u8]) -> rbuild_layer::Result<ContentDigest> {
        self.inner.digest(file).map_err(|e| view_error(file, e))
    }

    fn open(&self, file: &[u8]) -> rbuild_layer::Result<Box<dyn Read + Send>> {
        self.inner.open_file(file).map_err(|e| view_error(file, e))
    }

    fn bytes(&self, file: &[u8]) -> rbuild_layer::Result<ByteSource> {
        let inner = Arc::clone(&self.inner);
        let file = file.to_vec();
        Ok(ByteSource::Open(Arc::new(move || {
            inner.open_file(&file).map_err(|e| view_error(&file, e))
        })))
    }
}

/// Names the record in which the stamps of a directory are kept.
fn cache_key(dir: &Path) -> String {
    blake3::hash(dir.as_os_str().as_bytes())
        .to_hex()
        .to_string()
}

fn read_error(attempt: &'static str, file: &[u8], e: rustix::io::Errno) -> Error {
    Error::Read {
        attempt,
        path: PathBuf::from(OsStr::from_bytes(file)),
        source: e.into(),
    }
}

fn not_found(file: &[u8]) -> Error {
    Error::Layer(rbuild_layer::Error::NotFound {
        path: path::to_path(file),
    })
}

/// Hands an error through the trait: the layer crate's own ones as they are, others wrapped.
fn view_error(file: &[u8], e: Error) -> rbuild_layer::Error {
    match e {
        Error::Layer(inner) => inner,
        Error::Cancelled => rbuild_layer::Error::Cancelled,
        other => rbuild_layer::Error::View {
            path: path::to_path(file),
            source: Box::new(other),
        },
    }
}

#[cfg(test)]
mod tests;
