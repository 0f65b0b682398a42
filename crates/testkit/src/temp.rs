//! Temporary directories that vanish whatever their modes are.

use std::fs;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A private directory, removed with all it holds on `Drop`.
///
/// Unlike [`tempfile::TempDir`] it also removes directories without write permission, which trees made
/// for permission tests leave behind when the test is not run as root.
#[derive(Debug)]
pub struct TempDir {
    inner: Option<tempfile::TempDir>,
    path: PathBuf,
}

impl TempDir {
    /// Makes a new directory in the system's place for temporary files.
    #[allow(clippy::new_without_default, reason = "it touches the disk")]
    pub fn new() -> Self {
        Self::wrap(tempfile::Builder::new().prefix("rbuild-test-").tempdir())
    }

    /// Makes a new directory in `parent`, for tests that need a certain file system.
    pub fn new_in(parent: &Path) -> Self {
        Self::wrap(
            tempfile::Builder::new()
                .prefix("rbuild-test-")
                .tempdir_in(parent),
        )
    }

    fn wrap(made: std::io::Result<tempfile::TempDir>) -> Self {
        let inner = made.unwrap_or_else(|error| panic!("make a temporary directory: {error}"));
        let path = inner.path().to_path_buf();
        Self {
            inner: Some(inner),
            path,
        }
    }

    /// Returns the directory's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the directory where it is, for somebody to look into.
    pub fn keep(mut self) -> PathBuf {
        let kept = self.inner.take().map(tempfile::TempDir::keep);
        kept.unwrap_or_else(|| self.path.clone())
    }
}

impl Deref for TempDir {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl AsRef<Path> for TempDir {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            make_writable(&self.path);
            // A test that failed half-way may hold a mount below; the next run is not disturbed by it.
            let _ = inner.close();
        }
    }
}

/// Gives every directory below `dir` back its owner's permissions. Best effort.
fn make_writable(dir: &Path) {
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_writable(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_removes_unwritable_directories() {
        let dir = TempDir::new();
        let path = dir.path().to_path_buf();
        fs::create_dir(path.join("closed")).expect("make a directory");
        fs::write(path.join("closed/file"), "x").expect("write a file");
        fs::set_permissions(path.join("closed"), fs::Permissions::from_mode(0o500))
            .expect("close the directory");
        drop(dir);
        assert!(!path.exists());
    }
}
