//! A layer's index, merged view, blob form and tree form.
//!
//! A layer has an id of its own and an index, which is the truth about it: every path with its
//! metadata and the digest of its bytes. The bytes lie in one of two forms: a deterministic
//! uncompressed tar in the store (`blob form`), or a directory that serves as a lower of an overlay
//! mount (`tree form`); pulled layers may also have only the compressed blob they came as.
//!
//! What deliberately does not live here: who may be asked for a blob (`Fetch`), in which process
//! trees are touched (`TreeWork`), what a Dockerfile means, and mounting.

mod archive_index;
mod beneath;
mod chunks;
mod coding;
mod compress;
mod compression;
mod decompress;
mod diff;
mod encode;
mod entry;
mod error;
mod file_view;
mod header;
mod id;
mod index;
mod info;
mod job;
mod layer_read;
mod layer_store;
mod new_layer;
pub mod path;
mod pax;
mod raw_header;
mod resolve;
mod tar_read;
mod tar_write;
mod tree;
mod view;
mod whiteout;
mod xattr;

pub use coding::{Coding, uncompressed};
pub use compression::{Compression, NotACompression};
pub use entry::{Entry, Kind, Mtime, Xattrs};
pub use error::{Error, Misfit, Result};
pub use file_view::{ByteSource, FileView, LinkGroup, Node, NodeKind, Opener};
pub use id::{ContentDigest, LayerId, NotAnId};
pub use index::{INLINE_PATHS, LayerIndex, MAX_INLINE_BYTES, OpaqueRoot};
pub use info::{Capped, LayerInfo, Original, Pack};
pub use job::{
    Forked, Format, Ids, InPlace, Reach, Site, Top, TreeJob, TreeKind, TreeReply, TreeWork,
    run_tree_job,
};
pub use layer_store::{
    ActiveLayer, Activity, DirFiles, Fetch, Filling, ImportedLayer, LayerProblem, LayerStore,
    NoFetch, PulledLayer, Recovered, Report, Survey,
};
pub use new_layer::{Form, NewEntry, NewLayer};
pub use resolve::{Follow, MAX_LINKS, Resolved, resolve};
pub use tar_read::{Archive, TarEntry, TarKind, clean_path};
pub use tree::{Stamp, Surveyed};
pub use view::{Found, LayerBytes, LayerIndexes, View, ViewLayer};
pub use xattr::{OverlayNamespace, is_kept};
