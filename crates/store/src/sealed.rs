//! A finished store as a lower level: opened read-only, taken from in place, never written to.
//!
//! Its database is opened immutable, so that nothing needs a lock or a log there; that is safe because
//! sealing folds the log in and keeps writers out (module `seal`). Sealing notes the length of each blob
//! and the name of each tree, and syncs all of it, so neither the boot nor a sweep has a say here: what is
//! there and as long as noted is used, the rest counts as absent and is told.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rbuild_oci::Digest;
use rusqlite::{Connection, OpenFlags};

use crate::layout::{FORMAT, Layout};
use crate::object::is_tree_id;
use crate::record::{SCHEMA, list_rows, schema_of, select};
use crate::seal::{SEALED, length_key};
use crate::{Error, Object, Result, Table, probe};

/// Longest mark worth reading, in bytes.
const MARK_MAX: u64 = 64 << 10;

/// A sealed store, open for taking from it.
pub struct Sealed {
    layout: Layout,
    connection: Mutex<Connection>,
    trees: Trees,
    damage: Mutex<BTreeSet<String>>,
    /// Held shared as long as this lives, so that nobody unseals it meanwhile.
    _mark: File,
}

/// Whether the trees are of use here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trees {
    /// Their files have the owners that they should have.
    Usable,
    /// They were written with another mapping of ids, or lost something on the way.
    Foreign,
}

impl Sealed {
    /// Opens the sealed store at `root`. Writes nothing there.
    ///
    /// `ids` says how ids of files are mapped here, in the words that the store was sealed with; where
    /// they differ its trees are left alone, since their owners would be wrong.
    ///
    /// Errors: [`Error::Lower`], with the reason and what to do.
    pub fn open(root: &Path, ids: &str) -> Result<Self> {
        let refuse = |reason: String| Error::Lower {
            path: root.to_owned(),
            reason,
        };
        let failed = |error: Error| match error {
            Error::NotAStore { .. } => refuse("it is no store".to_owned()),
            Error::Io { source, .. } => refuse(source.to_string()),
            other => other,
        };
        let layout = Layout::at(root)?;
        match layout.format().map_err(failed)? {
            Some(FORMAT) => {}
            Some(found) => {
                return Err(refuse(format!(
                    "it has format {found}, this version knows {FORMAT}; make it anew with this version"
                )));
            }
            None => return Err(refuse("it is no store".to_owned())),
        }
        let (mark, sealed_ids, probed) = match read_mark(&layout) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let reason = format!(
                    "it is not sealed; `rbuild store seal {}` does that when no build runs in it",
                    root.display()
                );
                return Err(refuse(reason));
            }
            Err(error) => return Err(refuse(error.to_string())),
        };
        let connection = connect(&layout).map_err(|error| {
            refuse(format!(
                "its database is damaged ({error}); make the store anew"
            ))
        })?;
        let is_as_sealed = probe::found(&layout.probe()) == probed;
        let sealed = Self {
            layout,
            connection: Mutex::new(connection),
            trees: match sealed_ids == ids && is_as_sealed {
                true => Trees::Usable,
                false => Trees::Foreign,
            },
            damage: Mutex::default(),
            _mark: mark,
        };
        if sealed_ids == ids && !is_as_sealed {
            let what = "trees are not used: it was copied without owners, attributes or devices, or lies on \
                        an overlay, which hides them";
            sealed.note(what.to_owned());
        }
        Ok(sealed)
    }

    /// The root directory, absolute.
    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    /// Where a blob lies, if it is there and whole as far as its length tells.
    pub(crate) fn blob(&self, digest: &Digest) -> Option<PathBuf> {
        let object = Object::Blob(digest.clone());
        let noted = self.noted(&object)?;
        let path = self.layout.blob(digest);
        let found = fs::metadata(&path).map(|meta| meta.len());
        match found {
            Ok(length) if Some(length) == noted.parse().ok() => Some(path),
            Ok(length) => {
                self.note(format!("{object} has {length} bytes instead of {noted}"));
                None
            }
            Err(error) => {
                self.note(format!("{object} cannot be used: {error}"));
                None
            }
        }
    }

    /// Where a tree lies, if it is there and of use here.
    pub(crate) fn tree(&self, id: &str) -> Option<PathBuf> {
        if self.trees == Trees::Foreign || !is_tree_id(id) {
            return None;
        }
        let object = Object::Tree(id.to_owned());
        self.noted(&object)?;
        let path = self.layout.tree(id);
        // Into it: its layer lies in a folder below, and one that may not be entered is of no use.
        match fs::read_dir(&path) {
            Ok(_) => Some(path),
            Err(error) => {
                self.note(format!("{object} cannot be used: {error}"));
                None
            }
        }
    }

    pub(crate) fn has(&self, object: &Object) -> bool {
        match object {
            Object::Blob(digest) => self.blob(digest).is_some(),
            Object::Tree(id) => self.tree(id).is_some(),
        }
    }

    /// Reads a value of a table that is of use to others.
    pub(crate) fn get(&self, table: Table, key: &str) -> Option<Vec<u8>> {
        is_shared(table).then(|| self.read(table, key)).flatten()
    }

    /// Lists such a table.
    pub(crate) fn list(&self, table: Table, prefix: &str) -> Vec<(String, Vec<u8>)> {
        if !is_shared(table) {
            return Vec::new();
        }
        let rows = list_rows(&self.connection(), table, prefix);
        self.believed(rows).unwrap_or_default()
    }

    /// What was found wanting so far, sorted: it counts as absent.
    pub fn damage(&self) -> Vec<String> {
        let damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        damage.iter().cloned().collect()
    }

    /// What sealing noted of an object: the length of a blob.
    fn noted(&self, object: &Object) -> Option<String> {
        let row = self.read(Table::Meta, &length_key(object))?;
        String::from_utf8(row).ok()
    }

    fn read(&self, table: Table, key: &str) -> Option<Vec<u8>> {
        let row = select(&self.connection(), table, key);
        self.believed(row).flatten()
    }

    /// A page that cannot be read is as good as one that is not there, but worth a word.
    fn believed<T>(&self, found: rusqlite::Result<T>) -> Option<T> {
        found
            .inspect_err(|error| self.note(format!("its database: {error}")))
            .ok()
    }

    fn note(&self, what: String) {
        let mut damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        damage.insert(what);
    }

    fn connection(&self) -> std::sync::MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("root", &self.root())
            .field("trees", &self.trees)
            .finish_non_exhaustive()
    }
}

/// Whether a table says things that hold for other stores, too.
///
/// Files of a context are another machine's; uses and sizes are for collecting, which never happens here.
fn is_shared(table: Table) -> bool {
    matches!(
        table,
        Table::Layers
            | Table::Chains
            | Table::DiffIds
            | Table::BlobLayers
            | Table::Twins
            | Table::Indexes
            | Table::Records
            | Table::OpKeys
            | Table::Steps
            | Table::Tags
            | Table::Images
            | Table::Contents
            | Table::Remotes
    )
}

/// Opens and locks the mark; returns it with how ids were mapped, and what the probe was.
fn read_mark(layout: &Layout) -> io::Result<(File, String, String)> {
    let mut file = File::open(layout.sealed())?;
    // Some file systems that cannot be written to have no locks, and nobody to keep out.
    file.try_lock_shared().ok();
    let mut text = String::new();
    file.by_ref().take(MARK_MAX).read_to_string(&mut text)?;
    let ids = text
        .strip_prefix(SEALED)
        .and_then(|rest| rest.strip_prefix('\n'))
        .and_then(|rest| rest.strip_suffix('\n')?.split_once('\n'));
    match ids {
        Some((ids, probe)) => Ok((file, ids.to_owned(), probe.to_owned())),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it was sealed by another version; unseal it with that one, or make it anew",
        )),
    }
}

fn connect(layout: &Layout) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let uri = format!("file:{}?immutable=1", encoded(&layout.database()));
    let connection = Connection::open_with_flags(uri, flags)?;
    match schema_of(&connection)? {
        // Sealed without a single record.
        0 => Ok(connection),
        SCHEMA => {
            select(&connection, Table::Meta, "")?;
            Ok(connection)
        }
        other => Err(rusqlite::Error::InvalidParameterName(format!(
            "its schema is {other}, not {SCHEMA}"
        ))),
    }
}

/// A path as part of a URI. Source: sqlite.org/uri.html.
fn encoded(path: &Path) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
    let bytes = path.as_os_str().as_bytes().iter();
    bytes
        .map(|&byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02x}"),
        })
        .collect()
}

#[cfg(test)]
mod tests;
