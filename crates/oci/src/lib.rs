//! OCI nouns as plain data: digest, descriptor, manifest, index, config, platform, reference.
//!
//! Everything here is a value: nothing opens a file, a socket or the environment. Documents read
//! from outside keep the keys this crate does not know, and documents written from here have one
//! spelling only, so that equal values give equal digests.
//!
//! The serde structs are our own rather than those of `oci-spec`: that crate keeps labels, ports
//! and annotations in hash maps, so the bytes (and with them the digest) of a config differ from
//! one run to the next, and it drops `Healthcheck`, `OnBuild` and `Shell`. Here every map is
//! ordered, and [`json`] is the only encoder.
//!
//! ```
//! use rbuild_oci::{Platform, Reference};
//! let image = Reference::parse("alpine:3.20")?;
//! assert_eq!(image.to_string(), "docker.io/library/alpine:3.20");
//! assert_eq!(Platform::parse("linux/aarch64")?.to_string(), "linux/arm64");
//! # Ok::<(), rbuild_oci::Error>(())
//! ```

mod address;
mod chain;
mod config;
mod descriptor;
mod digest;
mod error;
mod healthcheck;
pub mod json;
mod manifest;
pub mod media_type;
mod platform;
mod reference;
mod run_config;
mod verify;

pub use address::{Address, Pick, Place};
pub use chain::{ChainId, DiffId, chain_id, chain_ids};
pub use config::{History, ImageConfig, RootFs};
pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest};
pub use error::{Error, Result};
pub use healthcheck::Healthcheck;
pub use manifest::{Index, Manifest};
pub use media_type::{Compression, MediaType};
pub use platform::Platform;
pub use reference::Reference;
pub use run_config::RunConfig;
pub use verify::{DigestWriter, VerifyReader};
