//! Objects and records on one disk root, shared by any number of processes at once.
//!
//! Three kinds of object: *blobs* (bytes named by their digest), *trees* (directories named by an
//! opaque id) and *cache mounts* (directories that RUN steps keep between builds). Beside them one
//! SQLite database of ordered tables from text to opaque bytes; what the bytes mean is the business
//! of the crates above.
//!
//! Nothing enters unverified: content is written into a *staged* file or directory that belongs to
//! the process, hashed on the way, and renamed into place. A process that is killed leaves staged
//! files only; they go at the next [`Store::open`]. Nothing is synced to disk on the way either; what
//! the last boot committed is looked at again after a restart (module `boot`).
//!
//! This crate reads no environment and knows no layers. It deletes trees through [`TreeDelete`], since
//! an unprivileged process may be unable to remove what a step wrote.
//!
//! ```
//! use std::io::{Read, Write};
//! # let dir = std::env::temp_dir().join(format!("rbuild-store-doc-{}", std::process::id()));
//! let store = rbuild_store::Store::open(&dir)?;
//! let mut ingest = store.ingest()?; // dropped here or below: nothing is left behind
//! ingest.write_all(b"hello")?;
//! let (digest, size) = ingest.commit(None)?;
//! let mut text = String::new();
//! store.open_blob(&digest)?.read_to_string(&mut text)?;
//! assert_eq!((text.as_str(), size), ("hello", 5));
//! # drop(store);
//! # std::fs::remove_dir_all(&dir)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod blob;
mod boot;
mod cache_mount;
mod delete;
mod discard;
mod error;
mod gc;
mod host_dir;
mod ingest;
mod layout;
mod lease;
mod lock;
mod object;
mod probe;
mod record;
mod seal;
mod sealed;
mod session;
mod sizes;
mod stage;
mod store;
mod tree;
mod usage;
mod uses;
mod verify;

pub use cache_mount::{CacheMount, ClearedMount, MountUsage, MountedCache, Quiet, Sharing};
pub use discard::Discarded;
pub use error::{Error, Result};
pub use gc::{GcLock, Removal};
pub use host_dir::HostDir;
pub use ingest::Ingest;
pub use lease::Lease;
pub use lock::WorkLock;
pub use object::Object;
pub use record::{Change, Table};
pub use sealed::Sealed;
pub use stage::{StagedDir, StagedFile};
pub use store::Store;
pub use tree::{InPlaceDelete, TreeDelete};
pub use usage::{Amount, ObjectUsage, Usage};
pub use uses::Use;
pub use verify::{Problem, VerifyReport};
