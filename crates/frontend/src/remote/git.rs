//! Git addresses: `REPOSITORY[?QUERY][#REF[:SUBDIR]]`.

use rbuild_graph::{GitOp, GitTake, GitTimes};

use super::url::{decoded, pairs};
use crate::path;

/// A tree of a git repository as an address names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitRef {
    /// What it comes to.
    pub op: GitOp,
    /// Whether the query says that `.git` is kept.
    pub keep_git_dir: Option<bool>,
}

/// What the parts of a query have said so far.
#[derive(Default)]
struct Query {
    tag: Option<String>,
    branch: Option<String>,
    by_commit: bool,
    seen: Vec<String>,
}

impl GitRef {
    /// Reads a git address; `None` if `text` is none.
    ///
    /// Errors: what is wrong with its query.
    pub fn parse(text: &str) -> Option<Result<GitRef, String>> {
        if text.starts_with("git://") || text.starts_with("ssh://") {
            return Some(GitRef::of_url(text));
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            let path = text.split(['?', '#']).next().unwrap_or(text);
            return path.ends_with(".git").then(|| GitRef::of_url(text));
        }
        is_scp_like(text).then(|| GitRef::of_parts(text, str::to_owned))
    }

    pub(super) fn of_url(text: &str) -> Result<GitRef, String> {
        GitRef::of_parts(text, decoded)
    }

    fn of_parts(text: &str, fragment_text: fn(&str) -> String) -> Result<GitRef, String> {
        let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (remote, query) = rest.split_once('?').unwrap_or((rest, ""));
        let fragment = fragment_text(fragment);
        let (reference, subdir) = fragment.split_once(':').unwrap_or((&fragment, ""));
        let mut found = GitRef {
            op: GitOp {
                remote: remote.to_owned(),
                reference: reference.to_owned(),
                commit: None,
                subdir: subdir.to_owned(),
                checksum: None,
                take: GitTake {
                    git_dir: false,
                    submodules: true,
                },
                times: GitTimes::Checkout,
            },
            keep_git_dir: None,
        };
        found.load(query)?;
        let subdir = path::absolute(&found.op.subdir);
        found.op.subdir = subdir.trim_matches('/').to_owned();
        Ok(found)
    }

    fn load(&mut self, query: &str) -> Result<(), String> {
        let mut all = Query::default();
        for (key, value) in pairs(query) {
            if all.seen.contains(&key) {
                return Err(format!("query {key:?} has multiple values"));
            }
            self.take(&key, &value, &mut all)?;
            all.seen.push(key);
        }
        let tag = all.tag.map(|tag| full("refs/tags/", tag));
        let branch = all.branch.map(|branch| full("refs/heads/", branch));
        if tag.is_some() && branch.is_some() {
            return Err("branch conflicts with tag".to_owned());
        }
        if let Some(wanted) = tag.or(branch) {
            self.agree_on(wanted)?;
        }
        match &self.op.checksum {
            Some(commit) if self.op.reference.is_empty() => self.op.reference = commit.clone(),
            None if all.by_commit => {
                return Err("fetch-by-commit requires a commit".to_owned());
            }
            Some(commit) if all.by_commit => self.op.reference = commit.clone(),
            _ => {}
        }
        Ok(())
    }

    fn take(&mut self, key: &str, value: &str, all: &mut Query) -> Result<(), String> {
        const SWITCHES: [&str; 3] = ["keep-git-dir", "submodules", "fetch-by-commit"];
        if value.is_empty() && !SWITCHES.contains(&key) {
            return Err(match key {
                "ref" | "tag" | "branch" | "subdir" | "checksum" | "commit" | "mtime" => {
                    format!("query {key:?} has no value")
                }
                _ => format!("unexpected query {key:?}"),
            });
        }
        let switch = || truth(value).ok_or_else(|| format!("invalid {key} value: {value:?}"));
        match key {
            "ref" => self.agree_on(value.to_owned())?,
            "tag" => all.tag = Some(value.to_owned()),
            "branch" => all.branch = Some(value.to_owned()),
            "subdir" if !self.op.subdir.is_empty() && self.op.subdir != value => {
                return Err(format!(
                    "subdir conflicts: {:?} vs {value:?}",
                    self.op.subdir
                ));
            }
            "subdir" => self.op.subdir = value.to_owned(),
            "checksum" | "commit" => self.op.checksum = Some(commit(value)?),
            "keep-git-dir" => {
                let keep = switch()?;
                self.keep_git_dir = Some(keep);
                self.op.take.git_dir = keep;
            }
            "submodules" => self.op.take.submodules = switch()?,
            "fetch-by-commit" => all.by_commit = switch()?,
            "mtime" => {
                self.op.times = match value {
                    "checkout" => GitTimes::Checkout,
                    "commit" => GitTimes::Commit,
                    _ => return Err(format!("invalid mtime value: {value:?}")),
                };
            }
            _ => return Err(format!("unexpected query {key:?}")),
        }
        Ok(())
    }

    fn agree_on(&mut self, wanted: String) -> Result<(), String> {
        let known = &self.op.reference;
        if !known.is_empty() && *known != wanted {
            return Err(format!("ref conflicts: {known:?} vs {wanted:?}"));
        }
        self.op.reference = wanted;
        Ok(())
    }
}

fn full(prefix: &str, name: String) -> String {
    match name.starts_with(prefix) {
        true => name,
        false => format!("{prefix}{name}"),
    }
}

/// Reads the beginning of a commit's name.
pub(super) fn commit(text: &str) -> Result<String, String> {
    const SHORTEST: usize = 7;
    const LONGEST: usize = 64;
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex || !(SHORTEST..=LONGEST).contains(&text.len()) {
        return Err(format!(
            "invalid checksum {text:?}, expected hex commit hash"
        ));
    }
    Ok(text.to_ascii_lowercase())
}

/// Truth values as Go reads them; a switch alone is on.
fn truth(text: &str) -> Option<bool> {
    match text {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// `user@host:path`.
fn is_scp_like(source: &str) -> bool {
    let word = |text: &str, more: &[char]| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || more.contains(&c))
    };
    let Some((user, rest)) = source.split_once('@') else {
        return false;
    };
    let host = rest.split_once(':').map(|(host, _)| host);
    word(user, &['-', '_']) && host.is_some_and(|host| word(host, &['-', '.']))
}
