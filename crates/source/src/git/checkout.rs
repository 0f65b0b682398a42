//! From a commit to files in a directory.

use std::fs;
use std::path::{Path, PathBuf};

use rbuild_graph::GitOp;
use rbuild_registry::without_credentials;

use super::command::{Failed, Git};
use super::failed;
use super::refs::{Resolved, is_commit};
use crate::{Error, Result};

/// The ref under which the wanted commit is kept while it is checked out.
const WANTED: &str = "refs/rbuild/wanted";

/// Fetches one commit and puts its files into `work`, which is made; returns the time of the commit in
/// seconds since 1970.
pub(super) fn checkout(
    git: &Git<'_>,
    op: &GitOp,
    wanted: &Resolved,
    work: &Path,
) -> Result<Option<i64>> {
    fs::create_dir(work).map_err(|source| Error::GitStart { source })?;
    let run = |attempt, words: &[&str]| {
        git.run(words, Some(work))
            .map_err(|e| e.named(|said| failed(op, attempt, said)))
    };
    let format = match wanted.commit.len() {
        64 => "--object-format=sha256",
        _ => "--object-format=sha1",
    };
    run("failed to init repo for", &["init", "-q", format])?;
    run(
        "failed to add remote",
        &["remote", "add", "--", "origin", &op.remote],
    )?;
    fetch(git, op, wanted, work)?;
    let peeled = format!("{WANTED}^{{commit}}");
    let found = run("failed to read", &["rev-parse", "--verify", &peeled])?;
    if found.trim() != wanted.commit || !is_commit(found.trim()) {
        return Err(failed(
            op,
            "failed to fetch remote",
            "the server sent another commit than it announced",
        ));
    }
    let commit = wanted.commit.as_str();
    run(
        "failed to checkout remote",
        &["checkout", "-q", "--detach", commit],
    )?;
    if op.take.submodules && work.join(".gitmodules").exists() {
        let words = [
            "submodule",
            "update",
            "--quiet",
            "--init",
            "--recursive",
            "--depth=1",
        ];
        run("failed to update submodules of", &words)?;
    }
    let time = run("failed to read", &["log", "-1", "--format=%ct", commit])?;
    if op.take.git_dir {
        tidy(git, op, wanted, work)?;
    }
    Ok(time.trim().parse().ok())
}

/// Brings the one commit; where the server gives only what it advertises, by its ref, and where that
/// has moved on or is not known, with everything. A ref that was not asked for just now is believed last, unless
/// it leads to a tag object, which comes by no other name.
fn fetch(git: &Git<'_>, op: &GitOp, wanted: &Resolved, work: &Path) -> Result<()> {
    let one = |source: &str| {
        let spec = format!("+{source}:{WANTED}");
        let words = [
            "fetch",
            "-q",
            "--depth=1",
            "--no-tags",
            "--no-recurse-submodules",
            "origin",
            &spec,
        ];
        git.run(&words, Some(work))
    };
    let has_wanted = || {
        let object = format!("{}^{{commit}}", wanted.commit);
        git.run(&["cat-file", "-e", &object], Some(work)).is_ok()
    };
    let by_ref = |full_ref: &str| match one(full_ref) {
        Ok(_) => Ok(has_wanted()),
        Err(Failed::Said(_)) if wanted.is_old => Ok(false),
        Err(e) => Err(e.named(|said| failed(op, "failed to fetch remote", said))),
    };
    let comes_first = !wanted.is_old || wanted.tag.is_some();
    let full_ref = wanted.full_ref.as_deref();
    if let Some(full_ref) = full_ref.filter(|_| comes_first)
        && by_ref(full_ref)?
    {
        return keep(git, op, wanted, work);
    }
    match one(&wanted.commit) {
        Ok(_) => return Ok(()),
        Err(Failed::Other(error)) => return Err(error),
        Err(Failed::Said(_)) => {}
    }
    if let Some(full_ref) = full_ref.filter(|_| !comes_first)
        && by_ref(full_ref)?
    {
        return keep(git, op, wanted, work);
    }
    let words = [
        "fetch",
        "-q",
        "--no-recurse-submodules",
        "--tags",
        "origin",
        "+refs/heads/*:refs/remotes/origin/*",
    ];
    git.run(&words, Some(work))
        .map_err(|e| e.named(|said| failed(op, "failed to fetch remote", said)))?;
    if !has_wanted() {
        return Err(Error::GitNoRef {
            reference: wanted.commit.clone(),
            remote: without_credentials(&op.remote),
        });
    }
    keep(git, op, wanted, work)
}

/// Makes the wanted commit the kept ref, whatever was fetched under it.
fn keep(git: &Git<'_>, op: &GitOp, wanted: &Resolved, work: &Path) -> Result<()> {
    let words = ["update-ref", WANTED, &wanted.commit];
    git.run(&words, Some(work))
        .map_err(|e| e.named(|said| failed(op, "failed to keep", said)))?;
    Ok(())
}

/// Leaves in `.git` what a clone would have: the ref under its own name, the address without a
/// password, and no trace of how it got there.
fn tidy(git: &Git<'_>, op: &GitOp, wanted: &Resolved, work: &Path) -> Result<()> {
    let run = |words: &[&str]| {
        git.run(words, Some(work))
            .map_err(|e| e.named(|said| failed(op, "failed to tidy up", said)))
    };
    let named = |name: &&String| name.starts_with("refs/heads/") || name.starts_with("refs/tags/");
    if let Some(full_ref) = wanted.full_ref.as_ref().filter(named) {
        // The tag object may be gone since it was written down.
        let is_here = |tag: &&String| git.run(&["cat-file", "-e", tag], Some(work)).is_ok();
        let tag = wanted.tag.as_ref().filter(is_here);
        run(&["update-ref", full_ref, tag.unwrap_or(&wanted.commit)])?;
    }
    run(&["update-ref", "-d", WANTED])?;
    let shown = without_credentials(&op.remote);
    run(&["remote", "set-url", "origin", &shown])?;
    for name in ["FETCH_HEAD", "ORIG_HEAD"] {
        // It is there, or it is not.
        fs::remove_file(work.join(".git").join(name)).ok();
    }
    Ok(())
}

/// The directory whose content is taken; every part of its path must be a real directory.
pub(super) fn subdirectory(op: &GitOp, work: &Path) -> Result<PathBuf> {
    let mut at = work.to_owned();
    for name in op.subdir.split('/').filter(|name| !name.is_empty()) {
        at.push(name);
        let is_dir = fs::symlink_metadata(&at).is_ok_and(|meta| meta.is_dir());
        if !is_dir || name == ".." || name == ".git" {
            return Err(Error::GitSubdir {
                subdir: op.subdir.clone(),
                remote: without_credentials(&op.remote),
            });
        }
    }
    Ok(at)
}
