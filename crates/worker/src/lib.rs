//! Carries out the ops of a graph on this machine.
//!
//! [`LocalWorker`] is the solver's [`Worker`](rbuild_solver::Worker): images and local directories
//! are looked up, file ops are computed on merged views ([`file`](self) needs no privilege), exec
//! ops run in the sandbox over an overlay of trees. [`StoreIndex`] is its
//! [`CacheIndex`](rbuild_solver::CacheIndex) over the store.
//!
//! What does not live here: order, keys and parallelism (the solver), what an instruction means
//! (the frontend), bytes of layers (the layer crate).

mod ahead;
mod emulation;
mod error;
mod exec;
mod file;
mod index;
mod listing;
mod log;
mod mount;
mod output;
mod ssh;
mod uses;
mod worker;

pub use ahead::{Ahead, Made};
pub use error::{Error, Result};
pub use index::StoreIndex;
pub use mount::{SecretSource, cache_mounts};
pub use output::Output;
pub use ssh::{Keyring, SshAgent};
pub use uses::{Asked, Cached, Early, FilesAsked, ImageAsked, LayerUse, MadeAs, layer_uses};
pub use worker::{
    BeforeStep, LocalWorker, MountsElsewhere, StartNursery, StepDefaults, WorkerParts,
};
