//! The file that holds a lock: where it lies, reading and replacing it.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Lock, LockProblem, text};
use crate::intake::{DockerfileText, read_regular};
use crate::{BuildRequest, Result};

/// Largest lock that is read.
pub(super) const MAX_BYTES: u64 = 16 << 20;

/// Where the lock of a request lies: where it says, else beside the Dockerfile; `None` where that is no file
/// of this machine.
pub(super) fn place(request: &BuildRequest, dockerfile: &DockerfileText) -> Option<PathBuf> {
    let given = request.lock.file.clone();
    given.or_else(|| Some(with_lock(dockerfile.path.as_deref()?)))
}

/// `Dockerfile` to `Dockerfile.lock`.
pub(super) fn with_lock(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".lock");
    name.into()
}

/// What messages call it.
pub(super) fn shown(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// Reads the lock at a path.
pub(super) fn read(path: &Path) -> Result<Lock> {
    let bytes = read_regular(path, MAX_BYTES).map_err(|e| LockProblem::read(path, e))?;
    decode(&shown(path), &bytes)
}

/// Reads a lock that is in memory.
pub(super) fn decode(name: &str, bytes: &[u8]) -> Result<Lock> {
    let text = std::str::from_utf8(bytes).map_err(|_| LockProblem::Syntax {
        file: name.to_owned(),
        reason: "it is no text in UTF-8".to_owned(),
        line: 0,
    })?;
    text::parse(name, text)
}

/// Puts a lock in the place of what is at a path; whoever reads meanwhile reads the one or the other, whole.
pub(super) fn write(path: &Path, lock: &Lock) -> Result<()> {
    let text = text::print(lock)?;
    // What a link leads to is replaced, not the link.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let fail = |source| LockProblem::Write {
        path: path.to_owned(),
        source,
    };
    let mut name = OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    let staged = Staged(target.with_file_name(name));
    staged.fill(text.as_bytes()).map_err(fail)?;
    if let Ok(before) = fs::metadata(&target) {
        fs::set_permissions(&staged.0, before.permissions()).map_err(fail)?;
    }
    fs::rename(&staged.0, &target).map_err(fail)?;
    Ok(())
}

/// A file beside the lock, which goes away unless it takes its place.
struct Staged(PathBuf);

impl Staged {
    fn fill(&self, bytes: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).open(&self.0)?;
        file.write_all(bytes)?;
        file.sync_all()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After the rename it is not there.
        fs::remove_file(&self.0).ok();
    }
}
