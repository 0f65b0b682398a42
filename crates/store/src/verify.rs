//! Looking at everything: is each object what its name says, and is what is referred to there?
//!
//! Only what this crate knows. Whether a tree is the layer it claims to be is for the layer crate.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rbuild_oci::{Algorithm, Digest, DigestWriter};
use rbuild_progress::{CancelReader, CancelToken, Cancelled};

use crate::object::is_tree_id;
use crate::store::Store;
use crate::{Error, Object, Result, blob, lease};

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Problem {
    /// A blob's bytes do not have the digest it is named by.
    BlobContent {
        /// The name.
        digest: Digest,
        /// The digest of the bytes.
        found: Digest,
    },
    /// A blob or tree could not be read.
    Unreadable {
        /// Where it lies.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Something that has no place here.
    Stray {
        /// Where it lies.
        path: PathBuf,
    },
    /// Something refers to an object that is not there.
    Missing {
        /// The object.
        object: Object,
        /// What refers to it.
        referrer: String,
    },
    /// The database is damaged.
    Database {
        /// What its own check says.
        message: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlobContent { digest, found } => {
                write!(f, "blob {digest} has content with digest {found}")
            }
            Self::Unreadable { path, reason } => write!(f, "cannot read {path:?}: {reason}"),
            Self::Stray { path } => write!(f, "{path:?} does not belong in a store"),
            Self::Missing { object, referrer } => {
                write!(f, "{referrer} refers to {object}, which is missing")
            }
            Self::Database { message } => write!(f, "database: {message}"),
        }
    }
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Blobs hashed.
    pub blobs: u64,
    /// Bytes hashed.
    pub bytes: u64,
    /// Trees looked at.
    pub trees: u64,
    /// What is wrong, sorted; empty when all is well.
    pub problems: Vec<Problem>,
}

impl Store {
    /// Hashes every blob, looks at the top of every tree and has the database check itself.
    ///
    /// Others may go on using the store; what they remove meanwhile is no problem.
    pub fn verify(&self, cancel: &CancelToken) -> Result<VerifyReport> {
        let mut report = VerifyReport::default();
        let mut names = Vec::new();
        for algorithm in blob::ALGORITHMS {
            self.check_blob_names(algorithm, &mut names, &mut report)?;
        }
        names.sort();
        self.hash_all(&names, cancel, &mut report)?;
        self.check_trees(&mut report)?;
        self.check_leased(&mut report)?;
        report.problems.extend(self.check_database()?);
        report.problems.sort();
        Ok(report)
    }

    /// Looks for objects that are referred to but missing; each comes with what refers to it.
    ///
    /// For the crates above, which know what records mean.
    pub fn missing(&self, references: impl IntoIterator<Item = (String, Object)>) -> Vec<Problem> {
        let absent = |object: &Object| match object {
            Object::Blob(digest) => !self.has_blob(digest),
            Object::Tree(id) => !self.has_tree(id),
        };
        let references = references.into_iter().filter(|(_, object)| absent(object));
        references
            .map(|(referrer, object)| Problem::Missing { object, referrer })
            .collect()
    }

    fn check_blob_names(
        &self,
        algorithm: Algorithm,
        names: &mut Vec<Digest>,
        report: &mut VerifyReport,
    ) -> Result<()> {
        let dir = self.layout.blobs(algorithm);
        for entry in fs::read_dir(&dir).map_err(Error::at("list", &dir))? {
            let entry = entry.map_err(Error::at("list", &dir))?;
            let text = format!(
                "{}:{}",
                algorithm.as_str(),
                entry.file_name().to_string_lossy()
            );
            match Digest::parse(&text) {
                Ok(digest) if entry.file_type().is_ok_and(|kind| kind.is_file()) => {
                    names.push(digest)
                }
                _ => report.problems.push(Problem::Stray { path: entry.path() }),
            }
        }
        Ok(())
    }

    /// Hashes the blobs with as many threads as there are processors.
    fn hash_all(
        &self,
        names: &[Digest],
        cancel: &CancelToken,
        report: &mut VerifyReport,
    ) -> Result<()> {
        let next = AtomicUsize::new(0);
        let shared = Mutex::new(report);
        let work = || -> Result<(), Cancelled> {
            while let Some(digest) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                let outcome = self.hash_one(digest, cancel)?;
                let mut report = shared.lock().unwrap_or_else(PoisonError::into_inner);
                match outcome {
                    Hashed::Good(bytes) => {
                        report.blobs += 1;
                        report.bytes += bytes;
                    }
                    Hashed::Gone => {}
                    Hashed::Bad(problem) => report.problems.push(problem),
                }
            }
            Ok(())
        };
        let threads = std::thread::available_parallelism()
            .map_or(1, NonZero::get)
            .min(names.len());
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            // A panic in a worker goes on here, as it would without threads.
            let joined = workers.into_iter().map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            joined.collect::<Result<(), Cancelled>>()
        })?;
        Ok(())
    }

    fn hash_one(&self, digest: &Digest, cancel: &CancelToken) -> Result<Hashed, Cancelled> {
        let path = self.layout.blob(digest);
        let unreadable = |error: io::Error| {
            Hashed::Bad(Problem::Unreadable {
                path: path.clone(),
                reason: error.to_string(),
            })
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Hashed::Gone),
            Err(error) => return Ok(unreadable(error)),
        };
        let mut reader = CancelReader::new(file, cancel);
        let mut hasher = DigestWriter::with(digest.algorithm(), io::sink());
        let copied = io::copy(&mut reader, &mut hasher);
        cancel.check()?;
        Ok(match (copied, hasher.finish()) {
            (Err(error), _) => unreadable(error),
            (Ok(bytes), (_, found, _)) if found == *digest => Hashed::Good(bytes),
            (Ok(_), (_, found, _)) => Hashed::Bad(Problem::BlobContent {
                digest: digest.clone(),
                found,
            }),
        })
    }

    fn check_trees(&self, report: &mut VerifyReport) -> Result<()> {
        let dir = self.layout.trees();
        for entry in fs::read_dir(&dir).map_err(Error::at("list", &dir))? {
            let entry = entry.map_err(Error::at("list", &dir))?;
            let named = entry.file_name().to_str().is_some_and(is_tree_id);
            if named && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                report.trees += 1;
            } else {
                report.problems.push(Problem::Stray { path: entry.path() });
            }
        }
        Ok(())
    }

    /// Nothing that a living process has leased may be missing, unless it never was there.
    fn check_leased(&self, report: &mut VerifyReport) -> Result<()> {
        let _no_one_commits =
            crate::lock::brief(&lease::gc_lock(&self.layout), crate::lock::Mode::Exclusive)?;
        let leased = lease::leased(&self.layout)?;
        let committed = leased
            .into_iter()
            .map(|object| ("a running build".to_owned(), object));
        // A lease may name what its holder has yet to fetch; trees are leased only when they exist.
        let trees = committed.filter(|(_, object)| matches!(object, Object::Tree(_)));
        report.problems.extend(self.missing(trees));
        Ok(())
    }

    fn check_database(&self) -> Result<Vec<Problem>> {
        let lines = self.records.with("check", |connection| {
            let mut statement = connection.prepare("PRAGMA quick_check")?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            rows.collect::<rusqlite::Result<Vec<String>>>()
        });
        let lines = match lines {
            Err(Error::Database { source, .. }) => vec![source.to_string()],
            other => other?,
        };
        let problems = lines.into_iter().filter(|line| line != "ok");
        Ok(problems
            .map(|message| Problem::Database { message })
            .collect())
    }
}

enum Hashed {
    Good(u64),
    Gone,
    Bad(Problem),
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::Table;

    #[test]
    fn sound_store_has_no_problems() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        for byte in 0..20 {
            store.put_blob(&[byte; 1000]).unwrap();
        }
        store.put(Table::Tags, "a", b"b").unwrap();
        let report = store.verify(&CancelToken::new()).unwrap();
        assert_eq!(
            report,
            VerifyReport {
                blobs: 20,
                bytes: 20_000,
                trees: 0,
                problems: vec![]
            }
        );
    }

    #[test]
    fn every_kind_of_damage_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let digest = store.put_blob(b"right").unwrap();
        let path = store.blob_path(&digest);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&path, "wrong").unwrap();
        let stray = dir.path().join("blobs/sha256/readme");
        fs::write(&stray, "").unwrap();
        let file = dir.path().join("trees/0a");
        fs::write(&file, "").unwrap();
        fs::write(
            dir.path().join("db/store.sqlite"),
            "this is not a database at all",
        )
        .unwrap();

        let report = store.verify(&CancelToken::new()).unwrap();
        let found = Digest::sha256_of(b"wrong");
        assert!(
            report
                .problems
                .contains(&Problem::BlobContent { digest, found })
        );
        assert!(report.problems.contains(&Problem::Stray { path: stray }));
        assert!(report.problems.contains(&Problem::Stray { path: file }));
        assert!(
            report
                .problems
                .iter()
                .any(|problem| matches!(problem, Problem::Database { .. }))
        );
        assert_eq!(report.problems.len(), 4);
    }

    #[test]
    fn missing_names_the_referrer() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let there = Object::Blob(store.put_blob(b"x").unwrap());
        let gone = Object::Tree("gone".into());
        let problems = store.missing([("tag a".into(), there), ("tag b".into(), gone)]);
        assert_eq!(problems.len(), 1);
        assert_eq!(
            problems[0].to_string(),
            "tag b refers to tree gone, which is missing"
        );
    }
}
