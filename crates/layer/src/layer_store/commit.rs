//! Layers made of files: straight into the deterministic tar, hashed on the way.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};

use rbuild_oci::DiffId;
use rbuild_progress::CancelToken;

use super::{Activity, LayerStore, new_id};
use crate::chunks::{ChunkWriter, Hashed, hashed};
use crate::index::{INLINE_PATHS, MAX_INLINE_BYTES};
use crate::layer_store::bytes::{Feed, Wanted};
use crate::layer_store::twins::NewTwin;
use crate::new_layer::Content;
use crate::path::to_path;
use crate::tar_write::{tar_len, write_tar};
use crate::{
    ByteSource, Compression, ContentDigest, Entry, Error, Form, Kind, LayerId, LayerIndex,
    LayerInfo, NewLayer, Result,
};

/// What was learned about the files while they were copied.
#[derive(Debug, Default)]
struct Learned {
    contents: BTreeMap<Vec<u8>, ContentDigest>,
    inline: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Where the bytes of a file come from, and whether their digest is known.
pub(super) type Sources = BTreeMap<Vec<u8>, (ByteSource, Content)>;

impl LayerStore {
    /// Makes a layer of files in blob form; see [`LayerStore::commit_files_as`].
    pub fn commit_files(&self, new: NewLayer, cancel: &CancelToken) -> Result<LayerId> {
        self.commit_files_as(new, Form::Blob, cancel)
    }

    /// Makes a layer of files.
    ///
    /// One pass reads every file once and takes the diff id and the contents' digests on the way;
    /// hashing, compressing and making a directory have threads of their own. Must not be called
    /// from the rayon pool, which compresses. Nothing is left behind on failure.
    /// Errors: `Entry` for what is no layer, `NotAFile` for a file without bytes, `ContentChanged`
    /// when bytes are not those announced, `Cancelled`, and what the byte sources return.
    pub fn commit_files_as(
        &self,
        new: NewLayer,
        form: Form<'_>,
        cancel: &CancelToken,
    ) -> Result<LayerId> {
        match form {
            // A layer without entries has no directory.
            Form::Tree { below } if !new.entries.is_empty() => {
                self.commit_into_tree(new, below, cancel)
            }
            Form::Blob | Form::Compressed(Compression::None) | Form::Tree { .. } => {
                self.commit_blob(split(new)?, None, cancel)
            }
            Form::Compressed(compression) => {
                let twin = NewTwin::start(self, compression, cancel)?;
                self.commit_blob(split(new)?, Some(twin), cancel)
            }
        }
    }

    pub(super) fn commit_blob(
        &self,
        (index, mut sources): (LayerIndex, Sources),
        twin: Option<NewTwin>,
        cancel: &CancelToken,
    ) -> Result<LayerId> {
        let total = tar_len(&index)?;
        let id = new_id()?;
        let name = id.to_string();
        let staged = self.store().stage_file()?;
        let mut out = Tee {
            file: staged.file(),
            twin,
        };
        let mut feed = self.feed(&wanted(&index, &sources), cancel)?;
        let mut learned = Learned::default();
        let written = hashed(&mut out, total, cancel, |writer| {
            write_tar(&index, writer, &mut |entry, writer| {
                let source = sources.remove(&entry.path);
                copy_file(entry, source, &mut feed, writer, &mut learned)?;
                self.report(Activity::Write, &name, writer.size_bytes(), Some(total));
                Ok(())
            })
        });
        let fed = feed.finish();
        let Hashed {
            digest, size_bytes, ..
        } = match (written, fed) {
            (Ok(written), fed) => fed.map(|()| written)?,
            // Bytes were missing because the job that should have sent them failed.
            (Err(Error::ContentChanged { .. }), Err(cause)) => return Err(cause),
            (Err(error), _) => return Err(named(error, staged.path())),
        };
        let Tee { twin, .. } = out;
        self.store().commit_blob(staged, &digest)?;
        let mut info = LayerInfo::new(id);
        if let Some(twin) = twin {
            let (compression, descriptor) = twin.commit(self)?;
            info.twins.insert(compression, descriptor);
        }
        self.report(Activity::Write, &name, size_bytes, Some(size_bytes));
        info.diff_id = Some(DiffId(digest.clone()));
        info.blob = Some(digest);
        self.add(info, learned.into_index(index))
    }
}

/// Writes a tar to its file and to a compressor.
struct Tee<'f> {
    file: &'f File,
    twin: Option<NewTwin>,
}

impl Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        if let Some(twin) = &mut self.twin {
            twin.write_all(bytes.get(..count).unwrap_or_default())?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Entries and byte sources apart.
pub(super) fn split(new: NewLayer) -> Result<(LayerIndex, Sources)> {
    let mut sources = Sources::new();
    let mut entries = Vec::with_capacity(new.entries.len());
    for mut new in new.entries {
        if let Kind::File { size, content } = &mut new.entry.kind {
            match (new.bytes, *size) {
                (_, 0) => *content = ContentDigest::empty(),
                (Some(bytes), _) => {
                    sources.insert(new.entry.path.clone(), (bytes, new.content));
                }
                (None, _) => {
                    return Err(Error::NotAFile {
                        path: to_path(&new.entry.path),
                    });
                }
            }
        }
        entries.push(new.entry);
    }
    Ok((LayerIndex::new(entries)?, sources))
}

/// The files whose bytes lie in layers, in the order in which they will be asked for.
pub(super) fn wanted(index: &LayerIndex, sources: &Sources) -> Vec<Wanted> {
    let entries = index.entries().iter();
    entries
        .filter_map(|entry| {
            let Kind::File { size, .. } = entry.kind else {
                return None;
            };
            match sources.get(&entry.path)? {
                (ByteSource::InLayer { layer, path }, _) => Some(Wanted {
                    layer: *layer,
                    path: path.clone(),
                    size,
                }),
                _ => None,
            }
        })
        .collect()
}

fn copy_file(
    entry: &Entry,
    source: Option<(ByteSource, Content)>,
    feed: &mut Feed,
    writer: &mut ChunkWriter<'_>,
    learned: &mut Learned,
) -> Result<()> {
    let (Kind::File { size, content }, Some((source, known))) = (&entry.kind, source) else {
        return Err(Error::NotAFile {
            path: to_path(&entry.path),
        });
    };
    let mut input = open_source(source, feed)?;
    let wrap = |source| Error::io("copy", to_path(&entry.path), source);
    let changed = || Error::ContentChanged {
        path: to_path(&entry.path),
    };
    let mut inline = is_inline(entry, *size).then(Vec::new);
    let mut hasher = blake3::Hasher::new();
    let copied = writer
        .read_from(&mut *input, *size, &mut |bytes| {
            hasher.update(bytes);
            if let Some(inline) = &mut inline {
                inline.extend_from_slice(bytes);
            }
        })
        .map_err(wrap)?;
    // One more byte would mean that the file grew since it was looked at.
    let more = input.read(&mut [0]).map_err(wrap)?;
    if copied != *size || more != 0 {
        return Err(changed());
    }
    let found = ContentDigest::from(hasher.finalize());
    if known == Content::Known && found != *content {
        return Err(changed());
    }
    learned.contents.insert(entry.path.clone(), found);
    if let Some(inline) = inline {
        learned.inline.insert(entry.path.clone(), inline);
    }
    Ok(())
}

/// Opens the bytes of a file, which are the next ones of the feed if they lie in a layer.
pub(super) fn open_source(source: ByteSource, feed: &mut Feed) -> Result<Box<dyn Read + Send>> {
    match source {
        ByteSource::Inline(bytes) => Ok(Box::new(io::Cursor::new(bytes))),
        ByteSource::Open(open) => open(),
        ByteSource::InLayer { layer, path } => feed.open(&layer, &path),
    }
}

fn is_inline(entry: &Entry, size: u64) -> bool {
    size <= MAX_INLINE_BYTES && INLINE_PATHS.contains(&entry.path.as_slice())
}

impl Learned {
    fn into_index(self, mut index: LayerIndex) -> LayerIndex {
        index.set_contents(&self.contents);
        for (path, bytes) in self.inline {
            index = index.with_inline(&path, bytes.into());
        }
        index
    }
}

/// The writer does not know what it writes to: names the file where no path is named.
fn named(error: Error, path: &std::path::Path) -> Error {
    match error {
        Error::Io {
            attempt,
            path: unnamed,
            source,
        } if unnamed.as_os_str().is_empty() => Error::io(attempt, path, source),
        other => other,
    }
}
