//! What the machine's own files say about registries: those of Podman, containerd and Docker.
//!
//! One file per family turns text into plain data; [`rules`] reads the files and puts the data
//! together into [`Site`]s, the places to ask for a repository. Where the files are is handed in with
//! [`HostFiles`]; nothing here knows a default path.
//!
//! Of each kind of setting (which places to ask; whether TLS may be left out) the first that says
//! anything about a registry decides: the caller's own settings, Podman's, containerd's, Docker's.
//! Authorities add up: what any of them trusts for a host is trusted for it, and for no other.

mod address;
mod certs;
mod containerd;
mod docker;
mod files;
mod network;
mod podman;
mod rules;
mod site;
mod tls;

pub use files::{DockerFiles, HostFiles, PodmanFiles};
pub(crate) use rules::{Rules, Wanted};
pub(crate) use site::{Role, Site, Speech};
pub(crate) use tls::{Tls, Verify};
