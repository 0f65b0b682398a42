//! How TLS is spoken with one host.

use std::fmt;
use std::path::PathBuf;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Whom we trust there, and who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tls {
    /// Authorities to trust beside the system's, each a PEM file.
    pub(crate) roots: Vec<Vec<u8>>,
    /// The files that they come from.
    pub(crate) root_files: Vec<PathBuf>,
    /// Our own certificate and its key.
    pub(crate) identity: Option<Identity>,
    /// Whether the other side must prove who it is.
    pub(crate) verify: Verify,
}

/// Whether the other side must prove who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verify {
    /// Yes.
    #[default]
    Yes,
    /// No: the settings say so.
    No,
}

/// A client certificate. No text in debug output: it holds a private key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    /// Certificate and key, PEM, one behind the other.
    pub(crate) pem: Vec<u8>,
    /// The file with the certificate.
    pub(crate) file: PathBuf,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.file).finish()
    }
}

impl Tls {
    /// Whether nothing is said about the host.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what others say: their authorities, and their certificate if there is none yet.
    pub(crate) fn add(&mut self, other: Tls) {
        for (root, file) in other.roots.into_iter().zip(other.root_files) {
            if !self.roots.contains(&root) {
                self.roots.push(root);
                self.root_files.push(file);
            }
        }
        if self.identity.is_none() {
            self.identity = other.identity;
        }
    }

    /// The same authorities, but nothing of what is meant for one host only.
    pub(crate) fn authorities(&self) -> Tls {
        Tls {
            roots: self.roots.clone(),
            root_files: self.root_files.clone(),
            ..Tls::default()
        }
    }
}

/// Whether a file holds certificates, and nothing broken. Errors are texts.
pub(super) fn check_certificates(pem: &[u8]) -> Result<(), &'static str> {
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        certificate.map_err(|_| "a certificate in it is damaged")?;
        count += 1;
    }
    match count {
        0 => Err("it holds no certificate in PEM form"),
        _ => Ok(()),
    }
}

/// Whether a file holds a private key. Errors are texts.
pub(super) fn check_key(pem: &[u8]) -> Result<(), &'static str> {
    PrivateKeyDer::from_pem_slice(pem)
        .map(drop)
        .map_err(|_| "it holds no private key in PEM form, or one with a passphrase")
}
