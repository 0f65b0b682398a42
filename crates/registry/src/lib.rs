//! A distribution-spec client: resolve a name, fetch blobs, push blobs and manifests, authenticate.
//!
//! A [`Client`] is a blocking façade over its own small tokio runtime, which is started, together
//! with the TLS stack, by the first request and not before. Nothing is believed before its digest
//! has been checked, nothing is read without a size limit, and credentials go to the registry they
//! belong to (and the token service it names) and nowhere else. Plain HTTP is spoken to registries on loopback hosts
//! and to those that the configuration names, to no others; what counts as configuration is in [`HostFiles`]. Files behind plain URLs ([`WebRequest`]) go the same way.
//!
//! The other side of the protocol is here too, for one case: a [`LoopbackRegistry`] gives one image of the
//! store to the container engines of this machine, to which a [`Daemon`] speaks.
//!
//! This crate reads no environment and no default paths: settings, credentials and the files they
//! come from are handed in with [`ClientConfig`].

mod auth;
mod body;
mod cancel;
mod challenge;
mod client;
mod config;
mod connections;
mod credential;
mod credential_files;
mod credential_helper;
mod credential_store;
mod daemon;
mod docker_config;
mod doctor;
mod document;
mod download;
mod endpoint;
mod error;
mod failure;
mod fetch;
mod homes;
mod hosts;
mod lazy;
mod login;
mod network;
mod outgoing;
mod parallel;
mod places;
mod present;
mod proxy;
mod push;
mod resolve;
mod retry;
mod secret;
mod serve;
mod telling;
mod transport;
mod web;

pub use client::Client;
pub use config::{ClientConfig, HostConfig, Reach, RetryPolicy, Scheme};
pub use connections::{Flow, network_reason};
pub use credential::{Anonymous, Credential, CredentialError, CredentialSource};
pub use credential_files::{CredentialFiles, CredentialPlace};
pub use credential_store::{CredentialStore, Kept};
pub use daemon::{
    Daemon, DaemonAddress, DaemonImage, DaemonInfo, ImageStore, LoadStream, PullProgress, PullStep,
};
pub use docker_config::DockerConfig;
pub use doctor::{Check, Patient, PlaceReport, PlaceTrust, Step};
pub use error::{Error, Result};
pub use fetch::FetchContext;
pub use homes::{blob_homes, note_blob_homes};
pub use hosts::{DockerFiles, HostFiles, PodmanFiles};
pub use lazy::LazyClient;
pub use login::LoginCheck;
pub use proxy::ProxyConfig;
pub use push::{InStore, PushBlob, PushContext, Pushed, Supply};
pub use resolve::{PlatformManifest, Resolved};
pub use secret::Secret;
pub use serve::{BlobSource, LoopbackRegistry, ServeLimits, ServedDocument, ServedImage, Traffic};
pub use web::{ReadError, WebAnswer, WebRequest, without_credentials};
