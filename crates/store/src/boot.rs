//! What a restart means for the objects.
//!
//! Objects are renamed into place without a sync, so after a power cut a name may stand for content
//! that never reached the disk. Nothing tells a clean restart from another. So the id of the kernel's
//! boot is on record, and at the first opening after a change of it:
//!
//! - blobs committed since the last boot began using the store are set aside as *suspects*. Whoever
//!   asks for one gets it hashed first; it returns to its place, or goes;
//! - trees cannot be checked here. Those committed in the last minutes before the last sign of life
//!   are set aside and count as gone, unless the layer crate vouches for them. What is older was
//!   written out by the kernel long before (by default dirty pages are 30 s old at most).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use rbuild_oci::{Algorithm, Digest, VerifyReader};

use crate::layout::{Layout, write_replacing};
use crate::lock::{self, Mode};
use crate::store::Store;
use crate::{Error, Object, Result, stage};

/// How long before the last sign of life a tree must have been committed to be trusted, in seconds.
const SETTLE_SECS: i64 = 300;

/// How much coarser than a second a file system's times may be, in seconds.
const COARSE_SECS: i64 = 2;

/// Returns the kernel's id of this boot; empty where /proc does not tell.
pub(crate) fn current_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        text.trim().to_owned()
    })
}

/// Notes that this boot uses the store; tells whether there are suspects.
pub(crate) fn note(layout: &Layout) -> Result<bool> {
    note_as(layout, current_id())
}

fn note_as(layout: &Layout, id: &str) -> Result<bool> {
    if id.is_empty() {
        // Without /proc nothing can be told; what is set aside already stays so.
        return Ok(!stage::is_empty(&layout.suspects())?);
    }
    if Noted::read(layout)?.is_none_or(|noted| noted.id != id) {
        let _alone = lock::brief(&layout.locks().join("boot"), Mode::Exclusive)?;
        let noted = Noted::read(layout)?;
        if noted.as_ref().is_none_or(|noted| noted.id != id) {
            if let Some(noted) = noted {
                set_aside(layout, &noted)?;
            }
            // Last: if we die before, the next process sets aside the rest.
            write_replacing(&layout.boot(), format!("{id} {}\n", now_secs()).as_bytes())?;
        }
    } else {
        touch(&layout.boot());
    }
    Ok(!stage::is_empty(&layout.suspects())?)
}

/// The content of the boot file.
struct Noted {
    id: String,
    /// When that boot began to use the store, in seconds since 1970.
    since_secs: i64,
    /// When the store was last opened, likewise.
    last_open_secs: i64,
}

impl Noted {
    fn read(layout: &Layout) -> Result<Option<Self>> {
        let path = layout.boot();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        let meta = fs::metadata(&path).map_err(Error::at("stat", &path))?;
        // After a power cut this file may be empty too: then everything is suspect.
        let (id, since) = text.trim().split_once(' ').unwrap_or(("?", "0"));
        Ok(Some(Self {
            id: id.to_owned(),
            since_secs: since.parse().unwrap_or(0),
            last_open_secs: meta.mtime(),
        }))
    }
}

fn set_aside(layout: &Layout, noted: &Noted) -> Result<()> {
    let since = noted.since_secs - COARSE_SECS;
    for algorithm in crate::blob::ALGORITHMS {
        for (name, changed) in changes(&layout.blobs(algorithm))? {
            if changed >= since {
                let to = layout.suspects().join(blob_name(algorithm, &name));
                move_away(&layout.blobs(algorithm).join(&name), &to)?;
            }
        }
    }
    let trees = changes(&layout.trees())?;
    let newest = trees.iter().map(|(_, changed)| *changed).max().unwrap_or(0);
    let wal = layout.database().with_extension("sqlite-wal");
    let written = fs::metadata(wal).map_or(0, |meta| meta.mtime());
    let last_sign = newest.max(written).max(noted.last_open_secs);
    for (name, changed) in trees {
        if changed >= since && changed >= last_sign - SETTLE_SECS {
            move_away(&layout.tree(&name), &suspect_tree(layout, &name))?;
        }
    }
    Ok(())
}

/// Lists a directory as names and times of last change in seconds.
///
/// The change time, not that of the content: the rename into place sets it.
fn changes(dir: &Path) -> Result<Vec<(String, i64)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::at("list", dir))? {
        let entry = entry.map_err(Error::at("list", dir))?;
        let meta = entry.metadata().map_err(Error::at("stat", &entry.path()))?;
        if let Ok(name) = entry.file_name().into_string() {
            all.push((name, meta.ctime()));
        }
    }
    Ok(all)
}

fn move_away(from: &Path, to: &Path) -> Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("set aside", from, error))
        }
        _ => Ok(()),
    }
}

fn blob_name(algorithm: Algorithm, hex: &str) -> String {
    format!("blob-{}-{hex}", algorithm.as_str())
}

/// Where a blob lies that nobody has looked at since the restart.
pub(crate) fn suspect_blob(layout: &Layout, digest: &Digest) -> PathBuf {
    layout
        .suspects()
        .join(blob_name(digest.algorithm(), digest.hex()))
}

/// Where a tree lies that nobody has looked at since the restart.
pub(crate) fn suspect_tree(layout: &Layout, id: &str) -> PathBuf {
    layout.suspects().join(format!("tree-{id}"))
}

/// Lists what is set aside, sorted.
pub(crate) fn suspects(layout: &Layout) -> Result<Vec<Object>> {
    let names = changes(&layout.suspects())?;
    let mut all: Vec<Object> = names
        .iter()
        .filter_map(|(name, _)| suspect_of(name))
        .collect();
    all.sort();
    Ok(all)
}

fn suspect_of(name: &str) -> Option<Object> {
    if let Some(id) = name.strip_prefix("tree-") {
        return Some(Object::Tree(id.to_owned()));
    }
    let (algorithm, hex) = name.strip_prefix("blob-")?.split_once('-')?;
    Digest::parse(&format!("{algorithm}:{hex}"))
        .ok()
        .map(Object::Blob)
}

impl Store {
    /// Hashes a suspect blob and puts it back or removes it; tells whether the blob is there now.
    pub(crate) fn rescue_blob(&self, digest: &Digest) -> Result<bool> {
        if !self.has_suspects.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let (from, to) = (suspect_blob(&self.layout, digest), self.layout.blob(digest));
        let file = match File::open(&from) {
            Ok(file) => file,
            // Another process may have put it back since the caller looked.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(to.exists()),
            Err(error) => return Err(Error::io("open", &from, error)),
        };
        let read = io::copy(
            &mut VerifyReader::new(file, digest.clone(), None),
            &mut io::sink(),
        );
        if read.is_err() {
            fs::remove_file(&from).ok();
            return Ok(to.exists());
        }
        self.commit_leased(Object::Blob(digest.clone()), || move_away(&from, &to))?;
        Ok(to.exists())
    }

    /// Puts a suspect tree back if `check` finds it whole; tells whether the tree is there now.
    ///
    /// If not, it is deleted. Where `check` fails it stays a suspect.
    ///
    /// Errors: [`Error::TreeId`], and what `check` returns.
    pub fn recover_tree<E: From<Error>>(
        &self,
        id: &str,
        check: impl FnOnce(&Path) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let to = self.checked_tree(id)?;
        let from = suspect_tree(&self.layout, id);
        if from.exists() {
            if check(&from)? {
                self.commit_leased(Object::Tree(id.to_owned()), || move_away(&from, &to))?;
            } else {
                self.deleter
                    .delete(&from)
                    .map_err(Error::at("delete", &from))?;
            }
        }
        Ok(to.exists())
    }
}

fn now_secs() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Leaves a sign of life.
fn touch(path: &Path) {
    // Only widens what is trusted, so failing is harmless.
    if let Ok(file) = File::open(path) {
        file.set_modified(SystemTime::now()).ok();
    }
}

#[cfg(test)]
mod tests;
