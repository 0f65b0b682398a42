//! The whole output of a step, on disk: what the terminal shows is only its tail.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// How many logs of failed steps are kept.
const KEEP: usize = 50;

/// The log of a running step; removed with the guard unless it is kept.
#[must_use = "dropping it removes the log"]
pub(crate) struct StepLog {
    path: PathBuf,
    file: File,
    keep: bool,
}

impl StepLog {
    /// Starts the log of the step named by `key` in `dir`, which is made if it is missing.
    pub(crate) fn create(dir: &Path, key: &str) -> Result<StepLog> {
        let fail = |attempt, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io {
                attempt,
                path,
                source,
            }
        };
        fs::create_dir_all(dir).map_err(fail("make the log directory", dir))?;
        let short: String = key.trim_start_matches("sha256:").chars().take(16).collect();
        let path = dir.join(format!("{short}-{}.log", std::process::id()));
        let file = File::create(&path).map_err(fail("create", &path))?;
        Ok(StepLog {
            path,
            file,
            keep: false,
        })
    }

    /// Adds output.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|source| Error::Io {
            attempt: "write the log",
            path: self.path.clone(),
            source,
        })
    }

    /// Keeps the log of a failed step; returns where it lies. Older ones make room.
    pub(crate) fn keep(mut self) -> PathBuf {
        self.keep = true;
        if let Some(dir) = self.path.parent() {
            drop_oldest(dir);
        }
        self.path.clone()
    }
}

impl Drop for StepLog {
    fn drop(&mut self) {
        if !self.keep {
            // The step went well or was cancelled: nobody will ask for it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Best effort: a log too many harms nobody.
fn drop_oldest(dir: &Path) {
    let Ok(list) = fs::read_dir(dir) else { return };
    let mut logs: Vec<_> = list
        .flatten()
        .filter_map(|item| Some((item.metadata().ok()?.modified().ok()?, item.path())))
        .collect();
    logs.sort();
    let surplus = logs.len().saturating_sub(KEEP);
    for (_, path) in logs.into_iter().take(surplus) {
        let _ = fs::remove_file(path);
    }
}
