//! What addresses stand for where that is written down: the bytes of files, the commits of references,
//! the manifests of images. Sources with pins ask nobody what an address stands for.
//!
//! Where the pins come from (a lock file) is no concern of this crate.

use std::collections::BTreeMap;

use rbuild_graph::{GitOp, HttpOp};
use rbuild_oci::Digest;
use rbuild_registry::without_credentials;

use crate::{Error, Result};

/// What takes the place of a secret in a query.
const HIDDEN: &str = "***";

/// Parameters of a query that let somebody in, in lower case, with `_` for `-`.
const SECRET_PARAMETERS: [&str; 22] = [
    "access_key",
    "access_token",
    "accesskey",
    "api_key",
    "apikey",
    "auth",
    "auth_token",
    "authorization",
    "awsaccesskeyid",
    "client_secret",
    "credential",
    "job_token",
    "key",
    "passwd",
    "password",
    "private_token",
    "pwd",
    "secret",
    "sig",
    "signature",
    "token",
    "user_token",
];

/// Beginnings, in the same way, of parameters that signed addresses have; they change each time.
const SIGNED: [&str; 2] = ["x_amz_", "x_goog_"];

/// What addresses stand for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    /// Files, by [`file_name`].
    pub files: BTreeMap<String, FilePin>,
    /// References of repositories, by [`git_name`].
    pub commits: BTreeMap<String, CommitPin>,
    /// What becomes of addresses that are in neither.
    pub others: Others,
}

/// What becomes of an address without a pin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Others {
    /// Its server is asked.
    #[default]
    Asked,
    /// It is refused.
    Refused,
}

/// The bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePin {
    /// Their digest.
    pub blob: Digest,
    /// When the file was last modified, in seconds since 1970, if its server said so.
    pub modified: Option<i64>,
}

/// What a reference of a repository stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitPin {
    /// Full name of the commit.
    pub commit: String,
    /// Full name of the annotated tag object, if there is one.
    pub tag: Option<String>,
    /// The full ref; what `.git` calls it where that is kept.
    pub full_ref: Option<String>,
}

/// What the name of an image stands for, for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePin {
    /// What the name itself stands for: an index, or the manifest.
    pub root: Digest,
    /// The manifest for the platform.
    pub manifest: Digest,
}

impl Pins {
    /// The pin of a file whose op has no checksum; `None` if its server is to be asked.
    pub(crate) fn file(&self, op: &HttpOp) -> Result<Option<FilePin>> {
        let Some(url) = op.url.as_ref().filter(|_| op.checksum.is_none()) else {
            return Ok(None);
        };
        self.found(&self.files, file_name(url))
    }

    /// The pin of a reference.
    pub(crate) fn commit(&self, op: &GitOp) -> Result<Option<CommitPin>> {
        self.found(&self.commits, git_name(op))
    }

    fn found<P: Clone>(&self, pins: &BTreeMap<String, P>, name: String) -> Result<Option<P>> {
        match (pins.get(&name), self.others) {
            (None, Others::Refused) => Err(Error::Unpinned { what: name }),
            (found, _) => Ok(found.cloned()),
        }
    }
}

/// What a file behind a URL is pinned by: its address without user, password, and what in its query lets
/// somebody in, so that one with another login is the same.
pub fn file_name(url: &str) -> String {
    let url = without_credentials(url);
    let (url, fragment) = match url.split_once('#') {
        Some((url, fragment)) => (url, format!("#{fragment}")),
        None => (url.as_str(), String::new()),
    };
    let Some((path, query)) = url.split_once('?') else {
        return format!("{url}{fragment}");
    };
    let shown: Vec<String> = query.split('&').map(shown).collect();
    format!("{path}?{}{fragment}", shown.join("&"))
}

/// What the reference of a repository is pinned by: `REMOTE#REFERENCE`, or `REMOTE` alone for its HEAD;
/// without user and password.
pub fn git_name(op: &GitOp) -> String {
    let remote = file_name(&op.remote);
    match op.reference.as_str() {
        "" => remote,
        reference => format!("{remote}#{reference}"),
    }
}

/// A parameter of a query without what is secret in it.
fn shown(parameter: &str) -> String {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    let lower = name.to_ascii_lowercase().replace('-', "_");
    let signed = || SIGNED.iter().any(|beginning| lower.starts_with(beginning));
    match !value.is_empty() && (SECRET_PARAMETERS.contains(&lower.as_str()) || signed()) {
        true => format!("{name}={HIDDEN}"),
        false => parameter.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_let_nobody_in() {
        let check = |url, name| assert_eq!(file_name(url), name);
        check("https://u:p@h/x?a=b", "https://h/x?a=b");
        check(
            "https://h/x?v=1&Token=abc&private-token=z#f",
            "https://h/x?v=1&Token=***&private-token=***#f",
        );
        check(
            "https://h/x?X-Amz-Signature=abc&X-Amz-Date=d",
            "https://h/x?X-Amz-Signature=***&X-Amz-Date=***",
        );
        check("https://h/x?token=", "https://h/x?token=");
        check("https://h/monkey=1", "https://h/monkey=1");
    }

    #[test]
    fn what_has_no_pin_is_asked_for_or_refused() {
        let op = HttpOp {
            url: Some("http://u:p@h/x".to_owned()),
            name: "x".to_owned(),
            checksum: None,
        };
        let mut pins = Pins::default();
        assert_eq!(pins.file(&op).unwrap(), None);
        pins.others = Others::Refused;
        let error = pins.file(&op).unwrap_err();
        assert!(matches!(&error, Error::Unpinned { what } if what == "http://h/x"));
        let pinned = HttpOp {
            checksum: Some(Digest::sha256_of(b"")),
            ..op
        };
        assert_eq!(pins.file(&pinned).unwrap(), None);
    }
}
