//! A layer's tar and its compressed twins: diff id, blobs for export, streams.

use std::fs::File;
use std::io::{BufWriter, Read, Write};

use rbuild_oci::{Descriptor, DiffId, Digest, DigestWriter};
use rbuild_progress::{CancelReader, CancelToken};
use rbuild_store::StagedFile;

use super::bytes::Wanted;
use super::{Activity, LayerStore};
use crate::chunks::{ChunkWriter, hashed};
use crate::compress::{Compressor, compressor};
use crate::path::to_path;
use crate::tar_write::{tar_len, write_tar};
use crate::{Compression, Error, Kind, LayerId, LayerInfo, Result, decompress};

impl LayerStore {
    /// The digest of a layer's uncompressed tar; taken now if it never was, without storing the tar.
    pub fn diff_id(&self, layer: &LayerId, cancel: &CancelToken) -> Result<DiffId> {
        if let Some(diff_id) = self.info(layer)?.diff_id {
            return Ok(diff_id);
        }
        let _alone = self
            .store()
            .work_lock(&format!("layer-tar {layer}"), cancel)?;
        if let Some(diff_id) = self.info(layer)?.diff_id {
            return Ok(diff_id);
        }
        let (diff_id, _) = self.stream(layer, Activity::Write, &mut std::io::sink(), cancel)?;
        self.note_diff_id(layer, &diff_id, cancel)?;
        Ok(diff_id)
    }

    /// Writes a layer's uncompressed tar.
    ///
    /// A pulled layer's is that of its blob, all others are written from the index. Errors: `Io`
    /// when `out` fails.
    pub fn write_tar(
        &self,
        layer: &LayerId,
        out: &mut dyn Write,
        cancel: &CancelToken,
    ) -> Result<()> {
        let info = self.info(layer)?;
        if let Some(blob) = info
            .blob
            .as_ref()
            .filter(|blob| self.store().has_blob(blob))
        {
            return self.copy_blob(blob, Activity::Write, out, cancel);
        }
        let (diff_id, _) = self.stream(layer, Activity::Write, out, cancel)?;
        if info.diff_id.is_none() {
            self.note_diff_id(layer, &diff_id, cancel)?;
        }
        Ok(())
    }

    /// A blob of the layer for export, in the store.
    ///
    /// A pulled layer is sent as it came, however it is compressed, and fetched now if it must be;
    /// `recompressed` insists. Others are compressed once and remembered.
    pub fn compressed(
        &self,
        layer: &LayerId,
        compression: Compression,
        cancel: &CancelToken,
    ) -> Result<Descriptor> {
        if self.info(layer)?.original.is_some() {
            return self.fetch_original(layer, cancel);
        }
        self.recompressed(layer, compression, cancel)
    }

    /// As `compressed`, and a pulled layer is compressed anew if it came in another format.
    pub fn recompressed(
        &self,
        layer: &LayerId,
        compression: Compression,
        cancel: &CancelToken,
    ) -> Result<Descriptor> {
        let info = self.info(layer)?;
        if let Some(original) = &info.original
            && original.descriptor.kind().compression() == Some(compression.format())
        {
            return self.fetch_original(layer, cancel);
        }
        if let Some(twin) = self.present_twin(&info, compression) {
            return Ok(twin);
        }
        let key = format!("layer-twin {layer} {compression}");
        let _alone = self.store().work_lock(&key, cancel)?;
        if let Some(twin) = self.present_twin(&self.info(layer)?, compression) {
            return Ok(twin);
        }
        self.make_twin(layer, compression, cancel)
    }

    fn present_twin(&self, info: &LayerInfo, compression: Compression) -> Option<Descriptor> {
        if compression == Compression::None
            && let (Some(blob), Some(_)) = (&info.blob, &info.diff_id)
            && let Ok(size) = self.store().blob_size(blob)
        {
            return Some(Descriptor::new(
                compression.media_type(),
                blob.clone(),
                size,
            ));
        }
        let twin = info.twins.get(&compression)?;
        self.store().has_blob(&twin.digest).then(|| twin.clone())
    }

    fn make_twin(
        &self,
        layer: &LayerId,
        compression: Compression,
        cancel: &CancelToken,
    ) -> Result<Descriptor> {
        // Its diff id is taken in the same pass: whoever wants it waits instead of reading it all too.
        let _alone = match self.info(layer)?.diff_id {
            Some(_) => None,
            None => Some(
                self.store()
                    .work_lock(&format!("layer-tar {layer}"), cancel)?,
            ),
        };
        let mut new = NewTwin::start(self, compression, cancel)?;
        let diff_id = self.feed_compressor(layer, &mut new, cancel)?;
        let (_, twin) = new.commit(self)?;
        self.update(layer, cancel, |info| {
            info.diff_id.get_or_insert(diff_id);
            info.twins.insert(compression, twin.clone());
        })?;
        Ok(twin)
    }

    /// Writes the tar of a layer to a compressor; returns its digest.
    fn feed_compressor(
        &self,
        layer: &LayerId,
        out: &mut dyn Write,
        cancel: &CancelToken,
    ) -> Result<DiffId> {
        let info = self.info(layer)?;
        // A stored tar was hashed when it came in, and compressing takes the time of both cores.
        if let (Some(diff_id), Some(blob)) = (info.diff_id, &info.blob)
            && self.store().has_blob(blob)
        {
            self.copy_blob(blob, Activity::Compress, out, cancel)?;
            return Ok(diff_id);
        }
        let (diff_id, _) = self.stream(layer, Activity::Compress, out, cancel)?;
        Ok(diff_id)
    }

    /// Copies a stored tar as it is.
    fn copy_blob(
        &self,
        blob: &Digest,
        activity: Activity,
        out: &mut dyn Write,
        cancel: &CancelToken,
    ) -> Result<()> {
        let total = self.store().blob_size(blob)?;
        let mut input = self.store().open_blob(blob)?;
        let name = blob.to_string();
        let wrap = |source| Error::io("copy", self.store().blob_path(blob), source);
        let mut buffer = vec![0; 1 << 18];
        let mut current = 0;
        loop {
            cancel.check()?;
            let count = input.read(&mut buffer).map_err(wrap)?;
            out.write_all(buffer.get(..count).unwrap_or_default())
                .map_err(wrap)?;
            current += count as u64;
            self.report(activity, &name, current, Some(total));
            if count == 0 {
                return Ok(());
            }
        }
    }

    fn note_diff_id(&self, layer: &LayerId, diff_id: &DiffId, cancel: &CancelToken) -> Result<()> {
        self.update(layer, cancel, |info| info.diff_id = Some(diff_id.clone()))?;
        Ok(())
    }

    /// Writes the tar to nowhere. Errors: `DiffId` when it is not what it was.
    pub(super) fn stream_anew(&self, layer: &LayerId, cancel: &CancelToken) -> Result<()> {
        self.stream(layer, Activity::Write, &mut std::io::sink(), cancel)
            .map(drop)
    }

    /// Streams a layer's tar; returns its digest and length.
    ///
    /// Errors: `DiffId` when a tar written again is not what it was before.
    fn stream(
        &self,
        layer: &LayerId,
        activity: Activity,
        out: &mut dyn Write,
        cancel: &CancelToken,
    ) -> Result<(DiffId, u64)> {
        let info = self.info(layer)?;
        let written = if info.original.is_some() {
            self.stream_original(layer, out, cancel)
                .map_err(|error| self.blame(layer, error, cancel))?
        } else if let Some(blob) = info
            .blob
            .as_ref()
            .filter(|blob| self.store().has_blob(blob))
        {
            let file = self.store().open_blob(blob)?;
            let size = self.store().blob_size(blob)?;
            copy_hashed(&mut CancelReader::new(file, cancel), size, out, cancel)?
        } else {
            self.stream_index(layer, activity, out, cancel)?
        };
        match info.diff_id {
            Some(expected) if expected != written.0 => {
                let error = Error::DiffId {
                    expected,
                    actual: written.0,
                };
                Err(self.blame(layer, error, cancel))
            }
            _ => Ok(written),
        }
    }

    fn stream_original(
        &self,
        layer: &LayerId,
        out: &mut dyn Write,
        cancel: &CancelToken,
    ) -> Result<(DiffId, u64)> {
        let descriptor = self.fetch_original(layer, cancel)?;
        let blob = self.store().open_blob(&descriptor.digest)?;
        let mut input = decompress::detect(CancelReader::new(blob, cancel)).map_err(|source| {
            Error::io("read", self.store().blob_path(&descriptor.digest), source)
        })?;
        copy_hashed(&mut *input, u64::MAX, out, cancel)
    }

    /// Writes the tar of a layer that has only a tree.
    fn stream_index(
        &self,
        layer: &LayerId,
        activity: Activity,
        out: &mut dyn Write,
        cancel: &CancelToken,
    ) -> Result<(DiffId, u64)> {
        let index = self.index(layer, cancel)?;
        let total = tar_len(&index)?;
        let name = layer.to_string();
        let wanted: Vec<Wanted> = index
            .entries()
            .iter()
            .filter_map(|entry| match entry.kind {
                Kind::File {
                    size: size @ 1.., ..
                } => Some(Wanted {
                    layer: *layer,
                    path: entry.path.clone(),
                    size,
                }),
                _ => None,
            })
            .collect();
        let mut feed = self.feed(&wanted, cancel)?;
        let written = hashed(out, total, cancel, |writer| {
            write_tar(
                &index,
                writer,
                &mut |entry, writer: &mut ChunkWriter<'_>| {
                    let mut input = feed.open(layer, &entry.path)?;
                    let Kind::File { size, .. } = entry.kind else {
                        return Ok(());
                    };
                    let copied = writer
                        .read_from(&mut *input, size, &mut |_| {})
                        .map_err(|source| Error::io("copy", to_path(&entry.path), source))?;
                    self.report(activity, &name, writer.size_bytes(), Some(total));
                    match copied == size {
                        true => Ok(()),
                        false => Err(Error::ContentChanged {
                            path: to_path(&entry.path),
                        }),
                    }
                },
            )
        });
        let fed = feed.finish();
        match (written, fed) {
            (Ok(written), fed) => {
                fed?;
                self.report(activity, &name, total, Some(total));
                Ok((DiffId(written.digest), written.size_bytes))
            }
            (Err(Error::ContentChanged { .. }), Err(cause)) => Err(cause),
            (Err(error), _) => Err(error),
        }
    }
}

/// A compressed form in the making: takes the tar.
pub(super) struct NewTwin {
    compression: Compression,
    staged: StagedFile,
    compressor: Compressor<DigestWriter<BufWriter<File>>>,
}

impl NewTwin {
    /// Nothing is written yet.
    pub(super) fn start(
        layers: &LayerStore,
        compression: Compression,
        cancel: &CancelToken,
    ) -> Result<Self> {
        let staged = layers.store().stage_file()?;
        let file = staged.file().try_clone();
        let file = file.map_err(|source| Error::io("open", staged.path(), source))?;
        let file = DigestWriter::new(BufWriter::with_capacity(1 << 18, file));
        Ok(Self {
            compression,
            staged,
            compressor: compressor(compression, file, cancel)?,
        })
    }

    /// Puts it into the store, when the whole tar is in it.
    pub(super) fn commit(self, layers: &LayerStore) -> Result<(Compression, Descriptor)> {
        let wrap = |source| Error::io("write", self.staged.path(), source);
        let (mut file, digest, size) = self.compressor.finish().map_err(wrap)?.finish();
        file.flush().map_err(wrap)?;
        drop(file);
        layers.store().commit_blob(self.staged, &digest)?;
        let media_type = self.compression.media_type();
        Ok((self.compression, Descriptor::new(media_type, digest, size)))
    }
}

impl Write for NewTwin {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.compressor.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn copy_hashed(
    input: &mut dyn std::io::Read,
    expected_bytes: u64,
    out: &mut dyn Write,
    cancel: &CancelToken,
) -> Result<(DiffId, u64)> {
    let hashed = hashed(out, expected_bytes, cancel, |writer| {
        writer
            .read_from(input, u64::MAX, &mut |_| {})
            .map(drop)
            .map_err(|source| Error::io("read", "a layer blob", source))
    })?;
    Ok((DiffId(hashed.digest), hashed.size_bytes))
}
