//! Addresses in the network as Dockerfiles and command lines write them: files and git trees.

mod git;
mod url;

use rbuild_graph::{GitOp, HttpOp};
use rbuild_oci::Digest;

pub use self::git::GitRef;
use self::url::decoded;

/// Name of a downloaded file whose address has none.
const UNNAMED: &str = "__unnamed__";

/// Something that has to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// A tree of a git repository.
    Git(GitRef),
    /// The file behind a URL.
    Http(String),
}

impl Remote {
    /// Reads an address; `None` if `text` is none, but a path.
    ///
    /// Of `http:` and `https:` addresses those are git's whose path ends in `.git`. Errors: what is
    /// wrong with the query of a git address.
    pub fn parse(text: &str) -> Option<Result<Remote, String>> {
        if let Some(git) = GitRef::parse(text) {
            return Some(git.map(Remote::Git));
        }
        let is_http = text.starts_with("http://") || text.starts_with("https://");
        is_http.then(|| Ok(Remote::Http(text.to_owned())))
    }

    /// As [`Self::parse`] for a build context, which may also be `github.com/OWNER/REPOSITORY`.
    pub fn parse_context(text: &str) -> Option<Result<Remote, String>> {
        match text.starts_with("github.com/") {
            true => Remote::parse_github(text),
            false => Remote::parse(text),
        }
    }

    fn parse_github(text: &str) -> Option<Result<Remote, String>> {
        let git = GitRef::of_url(&format!("https://{text}"));
        Some(git.map(Remote::Git))
    }
}

/// The file behind a URL, called as the last part of the address's path.
pub(crate) fn file_op(url: &str, checksum: Option<Digest>) -> HttpOp {
    let (_, rest) = url.split_once("://").unwrap_or_default();
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once('/').map_or("", |(_, path)| path);
    let path = decoded(path);
    let last = path.trim_end_matches('/').rsplit('/').next();
    let name = match last {
        None | Some("" | "." | "..") => UNNAMED,
        Some(name) if name.contains('\0') => UNNAMED,
        Some(name) => name,
    };
    HttpOp {
        url: Some(url.to_owned()),
        name: name.to_owned(),
        checksum,
    }
}

/// Reads `--checksum` of a file.
pub(crate) fn file_checksum(text: &str) -> Result<Digest, String> {
    Digest::parse(text).map_err(|_| {
        let (name, hex) = text.split_once(':').unwrap_or_default();
        let is_hex = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match name {
            "sha256" | "sha384" | "sha512" if is_hex && !hex.is_empty() => {
                "invalid checksum digest length"
            }
            "" | "sha256" | "sha384" | "sha512" => "invalid checksum digest format",
            _ => "unsupported digest algorithm",
        }
        .to_owned()
    })
}

/// An address as people may see it: without user and password.
pub(crate) fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{}", &rest[end..]),
        None => url.to_owned(),
    }
}

impl GitRef {
    /// The op, with what the flags of an ADD say besides.
    ///
    /// Errors: flag and query contradict each other, or the checksum is no commit.
    pub(crate) fn into_op(
        self,
        keep_git_dir: Option<bool>,
        checksum: &str,
    ) -> Result<GitOp, String> {
        let mut op = self.op;
        match (keep_git_dir, self.keep_git_dir) {
            (Some(flag), Some(query)) if flag != query => {
                return Err("inconsistent keep-git-dir configuration".to_owned());
            }
            (Some(flag), _) => op.take.git_dir = flag,
            (None, _) => {}
        }
        if !checksum.is_empty() {
            let wanted = git::commit(checksum)?;
            if op.checksum.as_ref().is_some_and(|query| *query != wanted) {
                return Err("inconsistent checksum configuration".to_owned());
            }
            op.checksum = Some(wanted);
        }
        Ok(op)
    }
}

#[cfg(test)]
mod tests;
