//! Caches elsewhere: results of steps and cache mounts that other machines can take over.
//!
//! A [`Backend`] keeps blobs by digest and a few small *indexes*. An index says which step's key stands
//! for which layer; the blobs are compressed layers and what is known about them. Nothing of a backend is
//! believed without its digest, and no result without a writer that is trusted.
//!
//! What fails here never fails a build: whoever calls turns it into a warning.

mod attrs;
mod backend;
mod error;

pub use attrs::Attrs;
pub use backend::{Backend, IndexDocument, NewIndex};
pub use error::{Error, Result};
