//! A cache in a directory: an OCI layout whose index names one manifest, with the cache's index as config.
//!
//! Writers take turns by a lock file; whoever reads sees whole files only, since all are renamed into place.
//! What nothing names any more is removed when an index is written.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rbuild_oci::media_type::{OCI_INDEX, OCI_MANIFEST};
use rbuild_oci::{Descriptor, Digest, VerifyReader};
use rbuild_progress::{CancelReader, CancelToken};
use rbuild_store::Store;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::{Backend, INDEX_TYPE, IndexDocument, NewIndex};
use crate::{Attrs, Error, Result};

/// Annotation of the layout's index that holds a tag.
const TAG: &str = "org.opencontainers.image.ref.name";

/// Largest index or manifest of a layout that is read.
const MAX_DOCUMENT: u64 = 32 << 20;

/// How old a file that nothing names must be to be removed: younger ones may be on their way into an index.
const YOUNG: std::time::Duration = std::time::Duration::from_secs(3600);

/// Where a cache lies in the file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalPlace {
    /// The directory; absolute.
    pub dir: PathBuf,
    /// Which of several caches in it.
    pub tag: String,
    /// Whether what nothing names goes at once, and not only after an hour: other writers may be about to
    /// name it.
    pub reset: bool,
}

/// Whether a cache is read or written: the attributes are called differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `--cache-from`.
    From,
    /// `--cache-to`.
    To,
}

impl LocalPlace {
    /// Takes `src` or `dest`, `tag` and `reset`.
    pub fn parse(attrs: &mut Attrs, direction: Direction) -> Result<Self> {
        let dir = match direction {
            Direction::From => attrs.require("src")?,
            Direction::To => attrs.require("dest")?,
        };
        let tag = attrs.take("tag").unwrap_or_else(|| "latest".to_owned());
        let reset = direction == Direction::To && attrs.switch("reset", false)?;
        let dir = std::path::absolute(&dir).map_err(Error::at("find", Path::new(&dir)))?;
        Ok(Self { dir, tag, reset })
    }
}

/// A cache in a directory.
pub struct LocalBackend {
    place: LocalPlace,
    name: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layout {
    schema_version: u32,
    media_type: String,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: String,
    config: Descriptor,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

impl LocalBackend {
    /// The cache at `place`. Does no I/O.
    pub fn new(place: LocalPlace) -> Self {
        let name = match place.tag.as_str() {
            "latest" => format!("local {}", place.dir.display()),
            tag => format!("local {}:{tag}", place.dir.display()),
        };
        Self { place, name }
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        let dir = self
            .place
            .dir
            .join("blobs")
            .join(digest.algorithm().as_str());
        dir.join(digest.hex())
    }

    fn broken(&self, what: &'static str, reason: impl ToString) -> Error {
        Error::Document {
            place: self.name.clone(),
            what,
            reason: reason.to_string(),
        }
    }

    /// Reads a file of the layout whole; `None` if there is none.
    fn read(&self, path: &Path, what: &'static str, limit: u64) -> Result<Option<Vec<u8>>> {
        let file = match open_regular(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Error::at("open", path))?,
        };
        let mut bytes = Vec::new();
        let read = file.take(limit + 1).read_to_end(&mut bytes);
        if read.map_err(Error::at("read", path))? as u64 > limit {
            return Err(Error::TooLarge {
                place: self.name.clone(),
                what,
                limit,
            });
        }
        Ok(Some(bytes))
    }

    /// Reads a blob that a document names, which must be what it is called.
    fn document(&self, named: &Descriptor, what: &'static str, limit: u64) -> Result<Vec<u8>> {
        let bytes = self.read(&self.blob_path(&named.digest), what, limit)?;
        let bytes = bytes.ok_or_else(|| self.gone(&named.digest))?;
        if Digest::sha256_of(&bytes) != named.digest {
            return Err(self.broken(what, format!("it is not {}", named.digest)));
        }
        Ok(bytes)
    }

    fn layout(&self) -> Result<Layout> {
        let path = self.place.dir.join("index.json");
        match self.read(&path, "index.json", MAX_DOCUMENT)? {
            None => Ok(Layout {
                schema_version: 2,
                media_type: OCI_INDEX.to_owned(),
                manifests: Vec::new(),
            }),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|e| self.broken("index.json", e)),
        }
    }

    fn manifest(&self, named: &Descriptor) -> Result<Manifest> {
        let bytes = self.document(named, "manifest", MAX_DOCUMENT)?;
        serde_json::from_slice(&bytes).map_err(|e| self.broken("manifest", e))
    }

    fn is_tagged(&self, manifest: &Descriptor) -> bool {
        manifest.annotations.get(TAG) == Some(&self.place.tag)
    }

    fn gone(&self, digest: &Digest) -> Error {
        Error::Gone {
            place: self.name.clone(),
            digest: digest.clone(),
        }
    }

    /// Puts a file in place, whole or not at all.
    fn put(&self, path: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
        let dir = path.parent().unwrap_or(&self.place.dir);
        fs::create_dir_all(dir).map_err(Error::at("create", dir))?;
        let staged = self.place.dir.join(format!(".new-{}", unique()));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&staged);
        let mut file = file.map_err(Error::at("create", &staged))?;
        let done = write(&mut file)
            .and_then(|()| fs::rename(&staged, path).map_err(Error::at("rename", &staged)));
        if done.is_err() {
            // The first failure is the one that counts.
            fs::remove_file(&staged).ok();
        }
        done
    }

    fn put_bytes(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.put(path, |file| {
            file.write_all(bytes).map_err(Error::at("write", path))
        })
    }

    /// Keeps other writers out until what is returned is dropped.
    fn lock(&self, cancel: &CancelToken) -> Result<File> {
        let path = self.place.dir.join(".lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::at("open", &path))?;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    cancel.wait(std::time::Duration::from_millis(20))?;
                }
                Err(error) => return Err(Error::at("lock", &path)(error.into())),
            }
        }
    }

    /// Removes blobs that nothing in the layout names, and half-written files of writers that are gone.
    fn remove_unnamed(&self, layout: &Layout) -> Result<()> {
        let mut named = BTreeSet::new();
        for entry in &layout.manifests {
            named.insert(entry.digest.hex().to_owned());
            // What cannot be read names nothing that could be used.
            if let Ok(manifest) = self.manifest(entry) {
                named.insert(manifest.config.digest.hex().to_owned());
                let layers = manifest.layers.iter();
                named.extend(layers.map(|layer| layer.digest.hex().to_owned()));
            }
        }
        let blobs = self.place.dir.join("blobs/sha256");
        for (dir, prefix) in [(&blobs, ""), (&self.place.dir, ".new-")] {
            for entry in fs::read_dir(dir).map_err(Error::at("list", dir))? {
                let entry = entry.map_err(Error::at("list", dir))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let is_ours = name.starts_with(prefix) && !named.contains(&name);
                if is_ours && (self.place.reset || is_old(&entry)) {
                    // Another writer may have been faster.
                    fs::remove_file(entry.path()).ok();
                }
            }
        }
        Ok(())
    }
}

impl Backend for LocalBackend {
    fn name(&self) -> &str {
        &self.name
    }

    fn read_indexes(&self, cancel: &CancelToken) -> Result<Vec<IndexDocument>> {
        cancel.check()?;
        let layout = self.layout()?;
        let Some(entry) = layout.manifests.iter().find(|entry| self.is_tagged(entry)) else {
            return Ok(Vec::new());
        };
        let manifest = self.manifest(entry)?;
        if manifest.config.media_type != INDEX_TYPE {
            let found = &manifest.config.media_type;
            return Err(self.broken("manifest", format!("it is one of {found}")));
        }
        let bytes = self.document(&manifest.config, "index", IndexDocument::MAX_BYTES)?;
        Ok(vec![IndexDocument {
            name: manifest.config.digest.to_string(),
            bytes,
        }])
    }

    fn write_index(&self, index: &NewIndex<'_>, cancel: &CancelToken) -> Result<()> {
        cancel.check()?;
        let dir = &self.place.dir;
        fs::create_dir_all(dir).map_err(Error::at("create", dir))?;
        let _alone = self.lock(cancel)?;
        let mut layout = self.layout().unwrap_or(Layout {
            schema_version: 2,
            media_type: OCI_INDEX.to_owned(),
            manifests: Vec::new(),
        });
        let here = layout.manifests.iter().find(|entry| self.is_tagged(entry));
        // One that cannot be read is no loss.
        let config = here.and_then(|entry| {
            let config = self.manifest(entry).ok()?.config;
            self.document(&config, "index", IndexDocument::MAX_BYTES)
                .ok()?;
            Some(config.digest.to_string())
        });
        if config.is_some_and(|config| !index.merged.contains(&config)) {
            return Err(Error::Moved {
                place: self.name.clone(),
            });
        }
        let config = Descriptor::of(INDEX_TYPE, index.bytes);
        self.put_bytes(&self.blob_path(&config.digest), index.bytes)?;
        let manifest = Manifest {
            schema_version: 2,
            media_type: OCI_MANIFEST.to_owned(),
            config,
            layers: index.blobs.to_vec(),
        };
        let bytes = serde_json::to_vec(&manifest).map_err(|e| self.broken("manifest", e))?;
        let mut entry = Descriptor::of(OCI_MANIFEST, &bytes);
        self.put_bytes(&self.blob_path(&entry.digest), &bytes)?;
        entry
            .annotations
            .insert(TAG.to_owned(), self.place.tag.clone());
        layout.manifests.retain(|other| !self.is_tagged(other));
        layout.manifests.push(entry);
        let marker = dir.join("oci-layout");
        if !marker.exists() {
            self.put_bytes(&marker, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        let bytes = serde_json::to_vec(&layout).map_err(|e| self.broken("index.json", e))?;
        self.put_bytes(&dir.join("index.json"), &bytes)?;
        self.remove_unnamed(&layout)
    }

    fn present(&self, blobs: &[Descriptor], cancel: &CancelToken) -> Result<BTreeSet<Digest>> {
        cancel.check()?;
        let is_here = |blob: &&Descriptor| {
            let found = fs::metadata(self.blob_path(&blob.digest));
            found.is_ok_and(|found| found.is_file() && found.len() == blob.size)
        };
        let here = blobs.iter().filter(is_here);
        Ok(here.map(|blob| blob.digest.clone()).collect())
    }

    fn fetch(
        &self,
        blob: &Descriptor,
        store: &Store,
        progress: &dyn Fn(u64),
        cancel: &CancelToken,
    ) -> Result<()> {
        cancel.check()?;
        let path = self.blob_path(&blob.digest);
        let file = open_regular(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => self.gone(&blob.digest),
            _ => Error::at("open", &path)(error),
        })?;
        let corrupt = |reason: String| Error::Corrupt {
            place: self.name.clone(),
            digest: blob.digest.clone(),
            reason,
        };
        let size = file.metadata().map_err(Error::at("look at", &path))?.len();
        if size != blob.size {
            return Err(corrupt(format!(
                "it has {size} bytes instead of {}",
                blob.size
            )));
        }
        let mut staged = store.ingest()?;
        let mut input = VerifyReader::new(
            CancelReader::new(file, cancel),
            blob.digest.clone(),
            Some(blob.size),
        );
        let copied = io::copy(&mut input, &mut staged);
        cancel.check()?;
        copied.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => corrupt(error.to_string()),
            _ => Error::at("read", &path)(error),
        })?;
        staged.commit(Some(&blob.digest))?;
        progress(blob.size);
        Ok(())
    }

    fn send(&self, blob: &Descriptor, store: &Store, cancel: &CancelToken) -> Result<()> {
        cancel.check()?;
        let path = self.blob_path(&blob.digest);
        let found = fs::metadata(&path);
        if found.is_ok_and(|found| found.len() == blob.size) {
            // Young again: it must outlive the writing of the index that will name it.
            if let Ok(file) = OpenOptions::new().write(true).open(&path) {
                file.set_modified(std::time::SystemTime::now()).ok();
            }
            return Ok(());
        }
        let input = store.open_blob(&blob.digest)?;
        self.put(&path, |file| {
            let copied = io::copy(&mut CancelReader::new(input, cancel), file);
            cancel.check()?;
            copied.map(drop).map_err(Error::at("write", &path))
        })
    }
}

/// Opens a file that must be a regular one: whoever else can write here may have put a pipe in its place.
fn open_regular(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(file)
}

fn is_old(entry: &fs::DirEntry) -> bool {
    let modified = entry.metadata().and_then(|found| found.modified());
    let age = modified.ok().and_then(|at| at.elapsed().ok());
    age.is_some_and(|age| age > YOUNG)
}

/// A name that no other writer takes.
fn unique() -> String {
    let id = rbuild_layer::LayerId::random();
    id.map_or_else(|_| std::process::id().to_string(), |id| id.to_string())
}

#[cfg(test)]
mod tests;
