//! The mark of a living process: a file it holds locked for as long as it lives.
//!
//! Process ids prove nothing (they return, and differ between pid namespaces); the kernel drops a
//! lock when its holder dies, however it dies. The stage and the leases are built on that.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::rand::{GetRandomFlags, getrandom};

use crate::{Error, Result};

/// A locked file; unlocked by the kernel when the process dies, removed on drop.
#[derive(Debug)]
pub(crate) struct LiveFile {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    keep: bool,
}

impl LiveFile {
    /// Makes the file and locks it.
    ///
    /// The caller holds the lock that whoever looks for dead ones takes: between the two steps the
    /// file looks dead.
    pub(crate) fn create(path: PathBuf) -> Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(Error::at("create", &path))?;
        let live = Self {
            file,
            path,
            keep: false,
        };
        live.file.lock().map_err(Error::at("lock", &live.path))?;
        Ok(live)
    }

    /// Takes over the file of a dead process; `None` if it lives or is gone.
    pub(crate) fn take_over(path: &Path) -> Result<Option<Self>> {
        let file = match OpenOptions::new().read(true).append(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", path, error)),
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(Self {
                file,
                path: path.to_path_buf(),
                keep: false,
            })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", path, error)),
        }
    }

    /// Gives up the lock and leaves the file.
    pub(crate) fn abandon(mut self) {
        self.keep = true;
    }
}

impl Drop for LiveFile {
    fn drop(&mut self) {
        if !self.keep {
            fs::remove_file(&self.path).ok();
        }
        // Not left to closing: see `lock::Flock`.
        self.file.unlock().ok();
    }
}

/// Returns `N` random bytes' worth of hexadecimal digits.
pub(crate) fn random_hex<const N: usize>() -> Result<String> {
    let mut bytes = [0u8; N];
    // Short requests are never cut short once the generator is seeded (getrandom(2)).
    getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|errno| Error::io("read random bytes", Path::new("getrandom"), errno.into()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Returns `pid-starttime-boot-random`: unique, and tells a person whose it is.
pub(crate) fn session_name() -> Result<String> {
    let boot: String = crate::boot::current_id().chars().take(8).collect();
    Ok(format!(
        "{}-{}-{boot}-{}",
        std::process::id(),
        start_ticks(),
        random_hex::<6>()?
    ))
}

/// Clock ticks from boot to the start of this process; 0 where /proc does not tell.
fn start_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Field 22; counted from after the command name, which may hold blanks and parentheses.
    stat.rsplit_once(')')
        .and_then(|(_, rest)| rest.split_ascii_whitespace().nth(19))
        .and_then(|field| field.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn living_file_is_not_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let live = LiveFile::create(path.clone()).unwrap();
        assert!(LiveFile::take_over(&path).unwrap().is_none());
        drop(live);
        assert!(!path.exists());
        assert!(LiveFile::take_over(&path).unwrap().is_none());
        fs::write(&path, "").unwrap();
        assert!(LiveFile::take_over(&path).unwrap().is_some());
    }

    #[test]
    fn session_names_differ_and_name_the_process() {
        let (a, b) = (session_name().unwrap(), session_name().unwrap());
        assert_ne!(a, b);
        assert!(a.starts_with(&format!("{}-", std::process::id())));
        assert_ne!(start_ticks(), 0);
    }
}
