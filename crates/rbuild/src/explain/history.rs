//! Builds that were carried out, in the store: bounded, by project, the latest first.
//!
//! Rows are `run/PROJECT/ID`; `seen/PROJECT` says what the last one came to, so that a build that finds
//! all of it again writes nothing.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rbuild_oci::Digest;
use rbuild_store::{Change, Store, Table};

use super::run::{RUN_FORM, Run};
use crate::{BuildError, BuildRequest, ContextInput, DockerfileInput, Result};

/// Most runs that are kept of one project.
const OF_PROJECT: usize = 50;
/// Most runs that are kept.
const OF_ALL: usize = 500;

/// What builds are compared with each other: those of one Dockerfile and context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Project {
    pub dockerfile: String,
    pub context: String,
}

impl Project {
    /// Of a request.
    pub(super) fn of(request: &BuildRequest) -> Project {
        let context = match &request.context {
            ContextInput::Directory(dir) => absolute(dir),
            ContextInput::Empty => String::new(),
            ContextInput::Archive(_) => "-".to_owned(),
            ContextInput::Remote(address) => rbuild_solver::bare_address(address),
        };
        let dockerfile = match (&request.dockerfile, &request.context) {
            (DockerfileInput::File(path), ContextInput::Directory(_)) => absolute(path),
            (DockerfileInput::File(path), _) => path.to_string_lossy().into_owned(),
            (DockerfileInput::Default, ContextInput::Directory(dir)) => {
                absolute(&dir.join("Dockerfile"))
            }
            (DockerfileInput::Default, _) => "Dockerfile".to_owned(),
            (DockerfileInput::Text(_), _) => "-".to_owned(),
        };
        Project {
            dockerfile,
            context,
        }
    }

    /// Whether the Dockerfile is one that can change: not text that was handed in.
    pub(super) fn has_place(&self) -> bool {
        self.dockerfile != "-"
    }

    fn key(&self) -> String {
        let text = format!("{}\0{}", self.dockerfile, self.context);
        let digest = Digest::sha256_of(text.as_bytes());
        digest.hex().chars().take(16).collect()
    }
}

fn absolute(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // `.` at the end of what was typed.
    let plain: std::path::PathBuf = absolute.components().collect();
    plain.to_string_lossy().into_owned()
}

/// A name for a run that ends now, and when that is in milliseconds since 1970.
pub(super) fn new_id() -> (String, u64) {
    let now = SystemTime::now();
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let ended_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let time = jiff::Timestamp::try_from(now).unwrap_or_default();
    // Two builds end in one millisecond in two processes, or hardly.
    let odd = (std::process::id() ^ since.subsec_nanos()) & 0xffff;
    let id = format!(
        "{}{:03}-{odd:04x}",
        time.strftime("%Y%m%dT%H%M%S"),
        ended_ms % 1000
    );
    (id, ended_ms)
}

/// Whether the last run of a project came to just this.
pub(super) fn is_seen(store: &Store, project: &Project, seen: &Digest) -> Result<bool> {
    let row = store.get(Table::History, &format!("seen/{}", project.key()))?;
    Ok(row.as_deref() == Some(seen.as_str().as_bytes()))
}

/// Keeps a run, and drops those that are too many.
pub(super) fn save(store: &Store, project: &Project, run: &Run, seen: &Digest) -> Result<()> {
    let own = project.key();
    let name = format!("run/{own}/{}", run.id);
    let bytes = serde_json::to_vec(run).map_err(BuildError::encode)?;
    let last = format!("seen/{own}");
    let gone = too_many(store, &own)?;
    let mut changes = vec![
        Change::Put(Table::History, &name, &bytes),
        Change::Put(Table::History, &last, seen.as_str().as_bytes()),
    ];
    changes.extend(gone.iter().map(|key| Change::Delete(Table::History, key)));
    Ok(store.transact(&changes)?)
}

/// The rows that go when one more is kept of the project `own`: the oldest.
fn too_many(store: &Store, own: &str) -> Result<Vec<String>> {
    let mut keys = run_keys(store, "run/")?;
    let prefix = format!("run/{own}/");
    let (ours, others): (Vec<_>, Vec<_>) = keys.drain(..).partition(|key| key.starts_with(&prefix));
    let excess = (ours.len() + 1).saturating_sub(OF_PROJECT);
    let mut gone: Vec<String> = ours.iter().rev().take(excess).cloned().collect();
    let mut left: Vec<String> = ours.into_iter().rev().skip(excess).chain(others).collect();
    left.sort_by(|a, b| id_of(a).cmp(id_of(b)));
    let excess = (left.len() + 1).saturating_sub(OF_ALL);
    gone.extend(left.into_iter().take(excess));
    Ok(gone)
}

/// Names of rows of runs, the latest first.
fn run_keys(store: &Store, prefix: &str) -> Result<Vec<String>> {
    let mut keys = store.keys(Table::History, prefix)?;
    keys.sort_by(|a, b| id_of(b).cmp(id_of(a)));
    Ok(keys)
}

fn id_of(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}

/// The last runs, the latest first; of one project, or of all.
pub(super) fn last_runs(store: &Store, project: Option<&Project>, most: usize) -> Result<Vec<Run>> {
    let prefix = match project {
        Some(project) => format!("run/{}/", project.key()),
        None => "run/".to_owned(),
    };
    let keys = run_keys(store, &prefix)?;
    let keys: Vec<&str> = keys.iter().take(most).map(String::as_str).collect();
    let rows = store.get_many(Table::History, &keys)?;
    Ok(rows
        .into_iter()
        .flatten()
        .filter_map(|row| read(&row))
        .collect())
}

/// Reads a run; `None` if it is of another layout.
pub(super) fn read(row: &[u8]) -> Option<Run> {
    let run: Run = serde_json::from_slice(row).ok()?;
    (run.form == RUN_FORM).then_some(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(name: &str) -> Project {
        Project {
            dockerfile: format!("/{name}/Dockerfile"),
            context: format!("/{name}"),
        }
    }

    fn run(id: &str) -> Run {
        Run {
            id: id.to_owned(),
            ..Run::elsewhere(Vec::new())
        }
    }

    #[test]
    fn runs_are_bounded_by_project_and_in_all() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let seen = Digest::sha256_of(b"x");
        let first = project("first");
        for n in 0..OF_PROJECT + 5 {
            save(&store, &first, &run(&format!("a{n:04}")), &seen).unwrap();
        }
        let kept = last_runs(&store, Some(&first), usize::MAX).unwrap();
        assert_eq!(kept.len(), OF_PROJECT);
        assert_eq!(
            (kept[0].id.as_str(), kept[49].id.as_str()),
            ("a0054", "a0005")
        );
        for n in 0..OF_ALL {
            let other = project(&format!("p{}", n % 20));
            save(&store, &other, &run(&format!("b{n:04}")), &seen).unwrap();
        }
        let kept = last_runs(&store, None, usize::MAX).unwrap();
        assert_eq!(kept.len(), OF_ALL);
        assert!(kept.iter().all(|run| run.id.starts_with('b')));
        assert!(is_seen(&store, &first, &seen).unwrap());
        assert!(!is_seen(&store, &first, &Digest::sha256_of(b"y")).unwrap());
        assert!(!is_seen(&store, &project("none"), &seen).unwrap());
    }

    #[test]
    fn runs_of_another_form_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let other = Run {
            form: RUN_FORM + 1,
            ..run("a")
        };
        let one = project("one");
        save(&store, &one, &other, &Digest::sha256_of(b"x")).unwrap();
        store.put(Table::History, "run/x/b", b"{}").unwrap();
        assert!(last_runs(&store, None, 9).unwrap().is_empty());
    }

    #[test]
    fn names_sort_by_time() {
        let (first, at) = new_id();
        std::thread::sleep(std::time::Duration::from_millis(2));
        let (second, later) = new_id();
        assert!(first < second && at < later, "{first} {second}");
    }
}
