//! What can go wrong between us and a registry.

use std::path::PathBuf;
use std::time::Duration;

use rbuild_oci::{Digest, Platform};
use rbuild_progress::Cancelled;

use crate::credential::CredentialError;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A pull or push that did not work. `message` is what the registry said, empty if it said nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Asking is forbidden.
    #[error("it is not here, and {host} may not be asked: offline")]
    Offline {
        /// Host and port.
        host: String,
    },
    /// No connection: refused, name unknown, timed out.
    #[error("cannot reach {host}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// What the network said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A connection stands, and nothing comes.
    #[error("{host} sent nothing for {} s", .limit.as_secs_f32())]
    Stalled {
        /// Host and port.
        host: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The TLS handshake failed: unknown authority, wrong name, or no TLS spoken at all.
    #[error("no trusted TLS connection to {host}")]
    Tls {
        /// Host and port.
        host: String,
        /// What the TLS stack said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Plain HTTP would be needed for a host that is neither loopback nor configured for it.
    #[error(
        "refused to speak plain HTTP to {host}: neither a loopback host nor configured as insecure"
    )]
    PlainHttp {
        /// Host and port.
        host: String,
    },
    /// A file with settings for registries makes no sense.
    #[error("registry settings in {}: {reason}", path.display())]
    HostFile {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where in it.
        reason: String,
    },
    /// Settings of this machine forbid to pull.
    #[error("{name} is blocked by {}", path.display())]
    Blocked {
        /// Registry and repository.
        name: String,
        /// The file that says so.
        path: PathBuf,
    },
    /// The registry wants a login that we lack, or refuses the one that we have.
    #[error("pull access denied for {name}: the repository does not exist or may require authorization{}", said(.message))]
    Denied {
        /// Registry and repository.
        name: String,
        /// The registry's words.
        message: String,
    },
    /// As `Denied`, for writing.
    #[error("push access denied for {name}: the repository does not exist or may require authorization{}", said(.message))]
    PushDenied {
        /// Registry and repository.
        name: String,
        /// The registry's words.
        message: String,
    },
    /// The registry refuses a blob or manifest: too large, invalid, not allowed.
    #[error("{name} does not take {what}: status {status}{}", said(.message))]
    Refused {
        /// Registry and repository.
        name: String,
        /// `blob sha256:…`, `manifest 1.0`.
        what: String,
        /// HTTP status.
        status: u16,
        /// The registry's words.
        message: String,
    },
    /// The registry says that it now has other content than was sent.
    #[error("{name} was sent {expected} and says it took {found}")]
    TookOther {
        /// Registry and repository.
        name: String,
        /// What was sent.
        expected: Digest,
        /// What the registry says.
        found: Digest,
    },
    /// A blob did not get through, also after resuming.
    #[error("{name} took only {sent} of {expected} bytes of {digest}")]
    Unsent {
        /// Registry and repository.
        name: String,
        /// The blob.
        digest: Digest,
        /// Its size in bytes.
        expected: u64,
        /// Bytes that the registry is known to have.
        sent: u64,
        /// What the last attempt ended with.
        source: Box<Error>,
    },
    /// The content to send cannot be had.
    #[error("get blob {digest} to send it")]
    Supply {
        /// The blob.
        digest: Digest,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The registry does not take a user name and password.
    #[error("{host} refuses the login{}", said(.message))]
    LoginRefused {
        /// Host and port.
        host: String,
        /// The registry's words.
        message: String,
    },
    /// The registry has no such repository.
    #[error("repository {name} not found{}", said(.message))]
    UnknownRepository {
        /// Registry and repository.
        name: String,
        /// The registry's words.
        message: String,
    },
    /// The repository has no such tag or manifest.
    #[error("{reference} not found{}", said(.message))]
    UnknownManifest {
        /// The reference asked for.
        reference: String,
        /// The registry's words.
        message: String,
    },
    /// The repository has no such blob.
    #[error("blob {digest} not found in {name}{}", said(.message))]
    UnknownBlob {
        /// Registry and repository.
        name: String,
        /// The blob asked for.
        digest: Digest,
        /// The registry's words.
        message: String,
    },
    /// The registry limits how much we may ask, and patience ran out.
    #[error("the registry {host} limits requests{}{}", until(.asked), said(.message))]
    RateLimited {
        /// Host and port.
        host: String,
        /// How long it asks to wait.
        asked: Option<Duration>,
        /// The registry's words.
        message: String,
    },
    /// Any other answer that is not a success.
    #[error("unexpected status {status} from {host}{}", said(.message))]
    Status {
        /// Host and port.
        host: String,
        /// HTTP status.
        status: u16,
        /// The registry's words.
        message: String,
    },
    /// Content is not what its digest says.
    #[error("{name} delivered content with digest {found} for {expected}")]
    WrongDigest {
        /// Registry and repository.
        name: String,
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// There is more content than the descriptor states.
    #[error("{name} delivered more than the {expected} bytes stated for {digest}")]
    TooLong {
        /// Registry and repository.
        name: String,
        /// The content asked for.
        digest: Digest,
        /// Stated size in bytes.
        expected: u64,
    },
    /// Content kept ending before its stated size, also after resuming.
    #[error("{name} delivered only {found} of {expected} bytes of {digest}")]
    Truncated {
        /// Registry and repository.
        name: String,
        /// The content asked for.
        digest: Digest,
        /// Stated size in bytes.
        expected: u64,
        /// Bytes that came.
        found: u64,
        /// How the last connection broke, if it did.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A document is larger than we read into memory.
    #[error("{what} of {name} is larger than {limit} bytes")]
    TooLarge {
        /// `the manifest`, `the config`.
        what: &'static str,
        /// Registry and repository.
        name: String,
        /// Limit in bytes.
        limit: u64,
    },
    /// An image exists, but not for the platform.
    #[error("{reference} has no image for {wanted}; it offers {}", list(.offered))]
    NoPlatform {
        /// The reference asked for.
        reference: String,
        /// The platform asked for.
        wanted: Box<Platform>,
        /// What the index offers, in its order.
        offered: Vec<Platform>,
    },
    /// The document is neither an index nor a manifest that we know.
    #[error("{reference} is not an image: {reason}")]
    NotAnImage {
        /// The reference asked for.
        reference: String,
        /// What it is instead.
        reason: String,
    },
    /// The answer breaks the protocol.
    #[error("answer of {host} makes no sense: {reason}")]
    Protocol {
        /// Host and port.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// A document cannot be read.
    #[error("read what {name} delivered")]
    Document {
        /// Registry and repository.
        name: String,
        /// What is wrong.
        source: rbuild_oci::Error,
    },
    /// Credentials could not be looked up.
    #[error("look up credentials for {host}")]
    Credentials {
        /// Host and port.
        host: String,
        /// What went wrong.
        source: CredentialError,
    },
    /// The store refused.
    #[error("store blob {digest}")]
    Store {
        /// The blob.
        digest: Digest,
        /// What went wrong.
        source: rbuild_store::Error,
    },
    /// The blob cannot be written: a full disk, mostly.
    #[error("write blob {digest} into the store")]
    Write {
        /// The blob.
        digest: Digest,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The address of a proxy is none.
    #[error("the proxy for {scheme} addresses is no address like http://HOST:PORT")]
    Proxy {
        /// `http` or `https`.
        scheme: String,
    },
    /// The client could not be set up: runtime, TLS roots, certificates.
    #[error("set up the HTTP client: {reason}")]
    Setup {
        /// What was attempted.
        reason: &'static str,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The registry for an engine of this machine could not be started.
    #[error("start a registry on a loopback port")]
    Loopback {
        /// What went wrong.
        source: std::io::Error,
    },
    /// No container engine listens at an address.
    #[error("cannot connect to the container engine at {address}")]
    NoDaemon {
        /// Such as `unix:///var/run/docker.sock`.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A container engine failed to do what it was asked for, or refused.
    #[error("the container engine at {address} could not {attempt}: {message}")]
    DaemonRefused {
        /// Such as `unix:///var/run/docker.sock`.
        address: String,
        /// Such as `pull`.
        attempt: &'static str,
        /// HTTP status; 200 for a failure that came later.
        status: u16,
        /// The engine's words.
        message: String,
    },
    /// A container engine stopped talking, or makes no sense.
    #[error("the container engine at {address} broke off a request to {attempt}")]
    DaemonBroken {
        /// Such as `unix:///var/run/docker.sock`.
        address: String,
        /// Such as `pull`.
        attempt: &'static str,
        /// What happened.
        source: std::io::Error,
    },
    /// The build was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Error {
    /// Whether the build was cancelled, rather than something broken.
    pub fn is_cancelled(&self) -> bool {
        matches!(
            self,
            Self::Cancelled(_)
                | Self::Store {
                    source: rbuild_store::Error::Cancelled(_),
                    ..
                }
                | Self::Credentials {
                    source: CredentialError::Cancelled(_),
                    ..
                }
        )
    }
}

fn said(message: &str) -> String {
    match message {
        "" => String::new(),
        message => format!(" (the registry says: {message})"),
    }
}

fn until(asked: &Option<Duration>) -> String {
    match asked.map(|asked| asked.as_secs()) {
        None => String::new(),
        Some(secs) if secs < 120 => format!(" for {secs} s more"),
        Some(secs) => format!(" for {} min more", secs.div_ceil(60)),
    }
}

fn list(offered: &[Platform]) -> String {
    match offered {
        [] => "none".to_owned(),
        offered => offered
            .iter()
            .map(Platform::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    }
}
