//! The two sources in the network: a file behind a URL, a tree of a git repository.

use rbuild_oci::Digest;
use serde::{Deserialize, Serialize};

/// One file that has to be fetched, or that was handed to the build.
///
/// Yields a directory that holds this file alone. What it holds is known when it was fetched, so a
/// consumer's key counts the file's content, not its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpOp {
    /// Its address, `http:` or `https:`; `None` if the store has its bytes already, under
    /// `checksum` (an archive on standard input).
    pub url: Option<String>,
    /// What the file is called: no slash in it, and not `.` or `..`.
    pub name: String,
    /// What its bytes must have as digest.
    pub checksum: Option<Digest>,
}

/// The files of one commit of a git repository.
///
/// Yields one layer: owners 0:0, modes 0644 and 0755.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitOp {
    /// The repository's address, without query and fragment.
    pub remote: String,
    /// Branch, tag, full ref or commit; empty is what the repository's HEAD names.
    pub reference: String,
    /// Full name of the commit that `reference` was resolved to, if it was already.
    pub commit: Option<String>,
    /// Directory whose content is taken, cleaned, no slash at either end; empty is the whole tree.
    pub subdir: String,
    /// What the commit's name (or that of the annotated tag) must begin with, lower-case hex.
    pub checksum: Option<String>,
    /// What is taken besides the files.
    pub take: GitTake,
    /// Modification time of the files.
    pub times: GitTimes,
}

/// What is taken of a repository besides the files of the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitTake {
    /// The `.git` directory is kept.
    pub git_dir: bool,
    /// Submodules are checked out, too.
    pub submodules: bool,
}

/// Modification time of files that come from git.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GitTimes {
    /// When they were checked out.
    #[default]
    Checkout,
    /// When the commit was made.
    Commit,
}
