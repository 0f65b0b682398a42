//! Layers of files straight into a directory: for steps that run on them, where nobody asks for the tar.
//!
//! The tar passes through a pipe to the job that unpacks, which takes every digest on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use rbuild_oci::DiffId;
use rbuild_progress::{CancelReader, CancelToken};
use rbuild_store::StagedFile;

use super::bytes::Feed;
use super::commit::{Sources, open_source, split, wanted};
use super::trees::TREE;
use super::{Activity, LayerStore, new_id};
use crate::job::{Format, TreeJob, TreeReply};
use crate::new_layer::Content;
use crate::path::to_path;
use crate::tar_write::{tar_len, write_tar};
use crate::{ContentDigest, Entry, Error, Kind, LayerId, LayerIndex, LayerInfo, NewLayer, Result};

/// How much the pipe holds, if the kernel allows that: fewer changes between the two ends.
const PIPE_BYTES: usize = 1 << 20;

/// Bytes written to the pipe at once.
const BUFFER: usize = 1 << 18;

impl LayerStore {
    /// Makes a layer of files in tree form over `below`; see [`LayerStore::commit_files_as`].
    pub(super) fn commit_into_tree(
        &self,
        new: NewLayer,
        below: &[LayerId],
        cancel: &CancelToken,
    ) -> Result<LayerId> {
        let (index, sources) = split(new)?;
        let known: BTreeSet<Vec<u8>> = sources
            .iter()
            .filter(|(_, (_, content))| *content == Content::Known)
            .map(|(path, _)| path.clone())
            .collect();
        let mut info = LayerInfo::new(new_id()?);
        let staged = self.stage_tree()?;
        let index_out = self.store().stage_file()?;
        let job = TreeJob::Unpack {
            root: staged.path().join(TREE).join("fs"),
            format: Format::Plain,
            expected: None,
            site: self.inner.work.site(),
        };
        let name = info.id.to_string();
        let diff_id = self.pipe_tar((&index, sources), (&job, &index_out), (&name, cancel))?;
        let index = Arc::new(with_found(index, &known, &read_index(index_out.path())?)?);
        let tree = self.settle_tree((&info.id, &index), staged, below, cancel)?;
        info.trees.insert(self.inner.work.site().kind(), tree);
        info.diff_id = Some(diff_id);
        self.add(info, Arc::unwrap_or_clone(index))
    }

    /// Writes the tar into a pipe that the job reads; returns its digest.
    fn pipe_tar(
        &self,
        (index, sources): (&LayerIndex, Sources),
        (job, index_out): (&TreeJob, &StagedFile),
        (name, cancel): (&str, &CancelToken),
    ) -> Result<DiffId> {
        // A tar has whole seconds only: the times are those of the index.
        let times = self.list_file(&index.encode())?;
        let total = tar_len(index)?;
        let mut feed = self.feed(&wanted(index, &sources), cancel)?;
        let (reader, writer) = io::pipe().map_err(|source| Error::io("make", "a pipe", source))?;
        rustix::pipe::fcntl_setpipe_size(&writer, PIPE_BYTES).ok();
        let (written, done) = std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                // Closed with the job: whoever still writes then is told.
                let reader = reader;
                let fds = [
                    reader.as_fd(),
                    index_out.file().as_fd(),
                    times.file().as_fd(),
                ];
                self.inner.work.run(job, &fds, cancel)
            });
            let mut out = BufWriter::with_capacity(BUFFER, writer);
            let told = |bytes| self.report(Activity::Write, name, bytes, Some(total));
            let written = write_files(index, sources, &mut feed, &mut out, (&told, cancel));
            // The end of the tar, or of the attempt.
            drop(out);
            (written, thread.join())
        });
        let fed = feed.finish();
        let done = done.unwrap_or_else(|_| {
            Err(Error::TreeWork {
                reason: "the thread that did it panicked".to_owned(),
            })
        });
        match (written, fed, done) {
            // Bytes were missing because the job that should have sent them failed.
            (Err(Error::ContentChanged { .. }), Err(cause), _) => Err(cause),
            // Nobody reads a pipe whose job has failed.
            (Err(Error::Io { source, .. }), _, Err(cause))
                if source.kind() == io::ErrorKind::BrokenPipe =>
            {
                Err(cause)
            }
            (Err(error), ..) | (_, Err(error), _) | (_, _, Err(error)) => Err(error),
            (Ok(()), Ok(()), Ok(TreeReply::Unpacked { diff_id, .. })) => {
                self.report(Activity::Write, name, total, Some(total));
                Ok(diff_id)
            }
            (Ok(()), Ok(()), Ok(other)) => Err(Error::TreeWork {
                reason: format!("unpacking was answered by {other:?}"),
            }),
        }
    }
}

fn write_files(
    index: &LayerIndex,
    mut sources: Sources,
    feed: &mut Feed,
    out: &mut BufWriter<PipeWriter>,
    (told, cancel): (&dyn Fn(u64), &CancelToken),
) -> Result<()> {
    let mut current = 0;
    write_tar(index, out, &mut |entry, out| {
        cancel.check()?;
        let (Kind::File { size, .. }, Some((source, _))) =
            (&entry.kind, sources.remove(&entry.path))
        else {
            return Err(Error::NotAFile {
                path: to_path(&entry.path),
            });
        };
        let mut input = CancelReader::new(open_source(source, feed)?, cancel);
        let wrap = |source| Error::io("copy", to_path(&entry.path), source);
        let copied = io::copy(&mut input.by_ref().take(*size), out).map_err(wrap)?;
        // One more byte would mean that the file grew since it was looked at.
        if copied != *size || input.read(&mut [0]).map_err(wrap)? != 0 {
            return Err(changed(entry));
        }
        current += size;
        told(current);
        Ok(())
    })?;
    out.flush()
        .map_err(|source| Error::io("write the tar of a layer", "", source))
}

fn read_index(path: &Path) -> Result<LayerIndex> {
    let bytes = std::fs::read(path).map_err(|source| Error::io("read", path, source))?;
    LayerIndex::decode(&bytes)
}

/// The index with the contents that were found, which must be those that were `known` before.
fn with_found(
    mut index: LayerIndex,
    known: &BTreeSet<Vec<u8>>,
    found: &LayerIndex,
) -> Result<LayerIndex> {
    let mut contents: BTreeMap<Vec<u8>, ContentDigest> = BTreeMap::new();
    for entry in index.entries() {
        let Kind::File { content, .. } = entry.kind else {
            continue;
        };
        match found.get(&entry.path).map(|found| &found.kind) {
            Some(Kind::File { content: made, .. })
                if *made == content || !known.contains(&entry.path) =>
            {
                contents.insert(entry.path.clone(), *made);
            }
            _ => return Err(changed(entry)),
        }
    }
    index.set_contents(&contents);
    for (path, bytes) in found.inline_files() {
        index = index.with_inline(path, Arc::clone(bytes));
    }
    Ok(index)
}

fn changed(entry: &Entry) -> Error {
    Error::ContentChanged {
        path: to_path(&entry.path),
    }
}
