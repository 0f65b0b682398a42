//! One file in the store, seen as a directory that holds nothing else.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rbuild_graph::HttpOp;
use rbuild_layer::{
    Archive, ByteSource, ContentDigest, Error as ViewError, FileView, Mtime, Node, NodeKind, path,
    uncompressed,
};
use rbuild_oci::Digest;
use rbuild_store::Store;

use super::{Found, HttpSource, RemoteContext};
use crate::Result;
use crate::pins::FilePin;

/// Mode of a file that came over the network.
const MODE: u32 = 0o600;

/// A file behind a URL, fetched when it is first read; a handle that is cheap to clone.
#[derive(Clone)]
pub struct WebFile {
    inner: Arc<Inner>,
}

struct Inner {
    op: HttpOp,
    pin: Option<FilePin>,
    source: HttpSource,
    ready: OnceLock<RemoteFile>,
    /// Held while it is fetched, so that it is fetched once.
    fetching: Mutex<()>,
}

impl WebFile {
    pub(super) fn new(op: HttpOp, source: HttpSource) -> WebFile {
        Self::made(op, None, source)
    }

    /// A file that must have the bytes that a pin says.
    pub(super) fn pinned(op: &HttpOp, pin: FilePin, source: HttpSource) -> WebFile {
        let op = HttpOp {
            checksum: Some(pin.blob.clone()),
            ..op.clone()
        };
        Self::made(op, Some(pin), source)
    }

    fn made(op: HttpOp, pin: Option<FilePin>, source: HttpSource) -> WebFile {
        WebFile {
            inner: Arc::new(Inner {
                op,
                pin,
                source,
                ready: OnceLock::new(),
                fetching: Mutex::default(),
            }),
        }
    }

    /// The file itself, fetched now if it was not before.
    ///
    /// Errors: as [`HttpSource::supply`].
    pub fn ready(&self, cx: &RemoteContext<'_>) -> Result<RemoteFile> {
        let inner = &*self.inner;
        let _alone = inner
            .fetching
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = inner.ready.get() {
            return Ok(file.clone());
        }
        let found = match &inner.pin {
            Some(pin) => inner.source.find_pinned(&inner.op, pin, cx)?,
            None => inner.source.find(&inner.op, cx)?,
        };
        let file = RemoteFile::new(&inner.source.store, &inner.op.name, found);
        Ok(inner.ready.get_or_init(|| file).clone())
    }
}

impl fmt::Debug for WebFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebFile")
            .field("name", &self.inner.op.name)
            .finish_non_exhaustive()
    }
}

/// One file in the store, as the only one of a file view.
#[derive(Clone)]
pub struct RemoteFile {
    store: Arc<Store>,
    name: Arc<[u8]>,
    blob: Digest,
    size: u64,
    content: ContentDigest,
    modified: Option<i64>,
}

impl RemoteFile {
    fn new(store: &Arc<Store>, name: &str, found: Found) -> RemoteFile {
        RemoteFile {
            store: Arc::clone(store),
            name: name.as_bytes().into(),
            blob: found.kept.blob,
            size: found.kept.size,
            content: ContentDigest::from_bytes(found.kept.content),
            modified: found.modified,
        }
    }

    /// The blob that holds its bytes.
    pub fn blob(&self) -> &Digest {
        &self.blob
    }

    /// When the server says that it was last modified, in seconds since 1970.
    pub fn modified_secs(&self) -> Option<i64> {
        self.modified
    }

    /// Whether it is a tar archive, plain or compressed: whether its first header is one.
    pub fn is_archive(&self) -> bool {
        let opened = self.store.open_blob(&self.blob);
        let stream = opened.ok().and_then(|file| uncompressed(file).ok());
        stream.is_some_and(|stream| matches!(Archive::new(stream).next(), Ok(Some(_))))
    }

    fn check(&self, file: &[u8]) -> rbuild_layer::Result<()> {
        match file {
            b"" => Err(ViewError::NotAFile {
                path: path::to_path(file),
            }),
            name if *name == *self.name => Ok(()),
            _ => Err(ViewError::NotFound {
                path: path::to_path(file),
            }),
        }
    }
}

impl FileView for RemoteFile {
    fn lstat(&self, file: &[u8]) -> rbuild_layer::Result<Option<Node>> {
        let mtime = Mtime {
            secs: self.modified.unwrap_or(0),
            nanos: 0,
        };
        if file.is_empty() {
            return Ok(Some(Node {
                mtime,
                ..Node::root()
            }));
        }
        Ok((*file == *self.name).then(|| Node {
            kind: NodeKind::File { size: self.size },
            mode: MODE,
            mtime,
            ..Node::root()
        }))
    }

    fn read_dir(&self, dir: &[u8]) -> rbuild_layer::Result<Vec<Vec<u8>>> {
        if dir.is_empty() {
            return Ok(vec![self.name.to_vec()]);
        }
        self.check(dir)?;
        Err(ViewError::NotADirectory {
            path: path::to_path(dir),
        })
    }

    fn content(&self, file: &[u8]) -> rbuild_layer::Result<ContentDigest> {
        self.check(file)?;
        Ok(self.content)
    }

    fn open(&self, file: &[u8]) -> rbuild_layer::Result<Box<dyn Read + Send>> {
        self.check(file)?;
        let file: File = self.store.open_blob(&self.blob)?;
        Ok(Box::new(file))
    }

    fn bytes(&self, file: &[u8]) -> rbuild_layer::Result<ByteSource> {
        self.check(file)?;
        let (store, blob) = (Arc::clone(&self.store), self.blob.clone());
        Ok(ByteSource::Open(Arc::new(move || {
            let file: Box<dyn Read + Send> = Box::new(store.open_blob(&blob)?);
            Ok(file)
        })))
    }
}
