//! The nursery, and one isolated process over a mounted root.
//!
//! A build that must run something, or touch a tree of foreign ids, starts one [`Nursery`]: the binary
//! re-executed, single-threaded, process 1 of its own pid namespace, in a user namespace when not root. It
//! forks a child per piece of work: a *step* ([`StepSpec`], a `RUN`) in nested namespaces, or a *job*, bytes
//! in and bytes out, whose meaning is up to the [`Duties`] that the program hands to [`nursery_main`]. When
//! the process that holds the nursery dies, even by SIGKILL, the kernel kills everything in it.
//!
//! ```no_run
//! use rbuild_progress::CancelToken;
//! use rbuild_sandbox::{Duties, Nursery, NurseryConfig, NurseryMode, nursery_main};
//!
//! struct Upper;
//! impl Duties for Upper {
//!     fn job(&self, request: &[u8], _fds: Vec<std::os::fd::OwnedFd>) -> Vec<u8> {
//!         request.to_ascii_uppercase()
//!     }
//! }
//!
//! fn main() -> Result<(), rbuild_sandbox::Error> {
//!     nursery_main(&Upper); // returns at once, except in the nursery
//!     let config = NurseryConfig { helper: "/proc/self/exe".into(), mode: NurseryMode::probe()? };
//!     let nursery = Nursery::start(&config)?;
//!     assert_eq!(nursery.run_job(b"abc", &[], &CancelToken::new())?, b"ABC");
//!     Ok(())
//! }
//! ```
//!
//! What the barriers are and what they do not promise: `docs/sandbox.md`.

mod attach;
mod cgroup;
mod device;
mod error;
mod failure;
mod identity;
mod memory;
mod mode;
mod network;
mod nursery;
mod nursery_main;
mod overlay;
mod own_binary;
mod place;
mod program;
mod rlimit;
mod role;
mod rootfs;
mod seccomp;
mod spec;
mod stdio;
mod stem;
mod step;
mod stub;
mod system;
mod task;
mod terminal;
mod user;
mod wire;

pub use error::{Error, Result};
pub use mode::NurseryMode;
pub use nursery::{Nursery, NurseryConfig};
pub use nursery_main::{Duties, nursery_main};
pub use rbuild_sys::IdRange;
pub use spec::{
    Limits, MountSource, MountSpec, Network, RootSpec, Security, StepExit, StepSpec, Ulimit,
};
pub use stdio::StepIo;
