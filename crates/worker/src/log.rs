//! The whole output of a step, on disk: what the terminal shows is only its tail.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use rbuild_store::{StagedFile, Store};

use crate::{Error, Result};

/// How many logs of failed steps are kept.
const KEEP: usize = 50;

/// The log of a running step; removed with the guard unless it is kept.
///
/// It lies in the stage, where a killed process leaves nothing for long.
#[must_use = "dropping it removes the log"]
pub(crate) struct StepLog {
    staged: StagedFile,
    path: PathBuf,
}

impl StepLog {
    /// Starts the log of the step named by `key`; it will be kept in `dir`, which is made if it is missing.
    pub(crate) fn create(store: &Store, dir: &Path, key: &str) -> Result<StepLog> {
        fs::create_dir_all(dir).map_err(|source| Error::Io {
            attempt: "make the log directory",
            path: dir.to_owned(),
            source,
        })?;
        let staged = store.stage_file()?;
        let short: String = key.trim_start_matches("sha256:").chars().take(16).collect();
        let path = dir.join(format!("{short}-{}.log", unique(staged.path())));
        Ok(StepLog { staged, path })
    }

    /// Adds output.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.staged
            .file()
            .write_all(bytes)
            .map_err(|source| Error::Io {
                attempt: "write the log",
                path: self.staged.path().to_owned(),
                source,
            })
    }

    /// Keeps the log of a failed step; returns where it lies. Older ones make room.
    pub(crate) fn keep(self) -> Result<PathBuf> {
        self.staged.keep_at(&self.path)?;
        if let Some(dir) = self.path.parent() {
            drop_oldest(dir);
        }
        Ok(self.path)
    }
}

/// What no other staged file of any process is called: the random end of the session's name, and the file's.
fn unique(staged: &Path) -> String {
    let name = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let session = staged.parent().map(name).unwrap_or_default();
    let random = session.rsplit('-').next().unwrap_or_default();
    format!("{random}{}", name(staged))
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
