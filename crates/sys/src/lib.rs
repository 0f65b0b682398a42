//! The syscall fence: safe calls over the few things rustix does not offer.
//!
//! This is the only crate of rbuild in which `unsafe` compiles. It is refused by default and allowed file by
//! file; each block says which invariant it rests on, who upholds it, and why rustix was not enough
//! (`docs/sandbox.md` lists them all). What rustix does offer is called there directly, not wrapped here.
//!
//! * [`process`] – fork from a single-threaded process, into new namespaces or not; exec; end at once
//! * [`namespace`] – leave namespaces, write id maps
//! * [`mount`] – change the attributes of a mount
//! * [`seccomp`] – install a system call filter
//! * [`network`] – bring the loopback device up
//! * [`probe`] – what this kernel and user may do, found out by doing it
#![deny(unsafe_code)]

pub mod mount;
pub mod namespace;
pub mod network;
pub mod probe;
pub mod process;
pub mod seccomp;

pub use namespace::{IdRange, Namespaces};
pub use probe::Capabilities;
pub use process::{Child, Forked, SingleThreaded};
