//! Caches elsewhere: results of steps and cache mounts that other machines can take over.
//!
//! A [`Backend`] keeps blobs by digest and a few small *indexes*. An index says which step's key stands
//! for which layer; the blobs are compressed layers and what is known about them. Nothing of a backend is
//! believed without its digest, and no result without a writer that is trusted.
//!
//! What fails here never fails a build: whoever calls turns it into a warning.

mod attrs;
mod backend;
mod clock;
mod entry;
mod error;
mod export;
mod fetch;
mod imports;
mod index;
pub mod inline;
mod mounts;
mod option;
mod place;
mod remote;
mod trust;

pub use attrs::Attrs;
pub use backend::{
    Backend, Direction, Form, IndexDocument, LocalBackend, LocalPlace, NewIndex, RegistryBackend,
    RegistryPlace, azblob, gha, s3,
};
pub use entry::{BlobRef, Entry, LayerEntry, Signature, Signed, StepEntry};
pub use error::{Error, Result};
pub use export::{Exporter, MountSent, Results, Writer, Written};
pub use fetch::{CacheFetch, Loss, LostLayer};
pub use imports::{Imports, Known, KnownMount, Summary, Told};
pub use index::{Index, Keep};
pub use mounts::{
    DEFAULT_MAX_BYTES, MountEntry, Restored, Snapshot, Taking, mount_name, restore, snapshot,
};
pub use option::{CacheFrom, CacheTo, DEFAULT_SCOPE, Mode, Mounts};
pub use place::{Place, PlaceEnv, Places};
pub use remote::{RemoteIndex, Used};
pub use trust::{Doubt, PublicKey, SigningKey, Trust};
