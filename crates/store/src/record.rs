//! Ordered tables from text to opaque bytes, in one SQLite file.
//!
//! Write-ahead log with `synchronous=NORMAL`: a crash of the machine may lose the last commits but
//! never damages the file, which a cache can bear. Tags are what a user names: writing one syncs.
//! Nothing but SQLite opens the files, and a connection must not live across a fork: children of the
//! build are made by exec, which closes it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{
    Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params,
};

use crate::layout::Layout;
use crate::lock::{self, Mode};
use crate::store::Store;
use crate::{Error, Result};

/// How long a writer waits for others; they hold the lock for microseconds.
const BUSY: Duration = Duration::from_secs(30);

/// Length at which the log is folded into the database, in pages: reading the log is most of the cost
/// of opening.
const LOG_PAGES: u32 = 128;

/// Version of the schema, kept in the file.
pub(crate) const SCHEMA: u32 = 1;

/// Says which table; the discriminants are on disk and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    /// Facts about the store itself.
    Meta = 0,
    /// Layer id to its attributes.
    Layers = 1,
    /// Chain id to layer.
    Chains = 2,
    /// Diff id to layer.
    DiffIds = 3,
    /// Blob digest to layer.
    BlobLayers = 4,
    /// Layer and compression to descriptor.
    Twins = 5,
    /// Layer id to its encoded index, or where that lies.
    Indexes = 6,
    /// Cache key to record.
    Records = 7,
    /// Op key to anything: whether some record has it.
    OpKeys = 8,
    /// Vertex and step facts, such as what a key was made of.
    Steps = 9,
    /// Image name to image; written to disk at once.
    Tags = 10,
    /// Image id to image facts.
    Images = 11,
    /// File identity to content digest.
    StatCache = 12,
    /// Content digests of selections.
    Contents = 13,
    /// What registries and servers said, with validators.
    Remotes = 14,
    /// Builds done.
    History = 15,
    /// When layers, files and cache mounts were used, and what making them took.
    Uses = 16,
    /// What objects and cache mounts take on the disk, as measured.
    Sizes = 17,
    /// Cache key to when and why its record was removed.
    Evicted = 18,
    /// Digest to a list of the files that a step read.
    Listings = 19,
    /// What the files of cache mounts were cut into when they were last sent elsewhere.
    Snapshots = 20,
}

/// One change in a transaction.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// Sets the value of a key.
    Put(Table, &'a str, &'a [u8]),
    /// Removes a key, if it is there.
    Delete(Table, &'a str),
}

/// The database of a store, opened with the first use.
pub(crate) struct Records {
    path: PathBuf,
    creation_lock: PathBuf,
    connection: Mutex<Option<Connection>>,
}

impl Records {
    pub(crate) fn new(layout: &Layout) -> Self {
        let creation_lock = layout.locks().join("db");
        Self {
            path: layout.database(),
            creation_lock,
            connection: Mutex::default(),
        }
    }

    /// Runs `work` on the connection.
    pub(crate) fn with<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let connection = match &mut *connection {
            Some(connection) => connection,
            none => none.insert(self.open()?),
        };
        work(connection).map_err(|source| Error::database(action, &self.path, source))
    }

    fn open(&self) -> Result<Connection> {
        let fail = |source| Error::database("open", &self.path, source);
        let connection = self.connect().map_err(fail)?;
        if schema_of(&connection).map_err(fail)? == 0 {
            // Switching to the log is not covered by the busy time-out.
            let _alone = lock::brief(&self.creation_lock, Mode::Exclusive)?;
            create(&connection).map_err(fail)?;
        }
        Ok(connection)
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY)?;
        // Folding the log in at the end would sync, in a build that wrote nothing.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.execute_batch(&format!(
            "PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint={LOG_PAGES};"
        ))?;
        Ok(connection)
    }
}

pub(crate) fn schema_of(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    if schema_of(connection)? != 0 {
        return Ok(());
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE;
         CREATE TABLE record (
             tab   INTEGER NOT NULL,
             key   TEXT NOT NULL,
             value BLOB NOT NULL,
             PRIMARY KEY (tab, key)
         ) WITHOUT ROWID;
         PRAGMA user_version={SCHEMA};
         COMMIT;"
    ))
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

const SELECT: &str = "SELECT value FROM record WHERE tab=?1 AND key=?2";
const UPSERT: &str = "INSERT INTO record (tab, key, value) VALUES (?1, ?2, ?3)
                      ON CONFLICT DO UPDATE SET value=excluded.value";
const INSERT: &str =
    "INSERT INTO record (tab, key, value) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
const DELETE: &str = "DELETE FROM record WHERE tab=?1 AND key=?2";
const KEYS: &str = "SELECT key FROM record WHERE tab=?1 AND key>=?2 AND key<?3 ORDER BY key";
const RANGE: &str =
    "SELECT key, value FROM record WHERE tab=?1 AND key>=?2 AND key<?3 ORDER BY key";

pub(crate) fn select(
    connection: &Connection,
    table: Table,
    key: &str,
) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut statement = connection.prepare_cached(SELECT)?;
    statement
        .query_row(params![table as u8, key], |row| row.get(0))
        .optional()
}

/// Rows of a table whose keys begin with `prefix`, sorted.
pub(crate) fn list_rows(
    connection: &Connection,
    table: Table,
    prefix: &str,
) -> rusqlite::Result<Vec<(String, Vec<u8>)>> {
    let end = format!("{prefix}\u{10ffff}");
    let mut statement = connection.prepare_cached(RANGE)?;
    let rows = statement.query_map(params![table as u8, prefix, end], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    rows.collect()
}

/// Tells whether a change would change anything.
fn has_effect(connection: &Connection, change: &Change<'_>) -> rusqlite::Result<bool> {
    Ok(match *change {
        Change::Put(table, key, value) => select(connection, table, key)?.as_deref() != Some(value),
        Change::Delete(table, key) => select(connection, table, key)?.is_some(),
    })
}

fn apply(transaction: &Transaction<'_>, change: &Change<'_>) -> rusqlite::Result<()> {
    match *change {
        Change::Put(table, key, value) => {
            transaction
                .prepare_cached(UPSERT)?
                .execute(params![table as u8, key, value])?;
        }
        Change::Delete(table, key) => {
            transaction
                .prepare_cached(DELETE)?
                .execute(params![table as u8, key])?;
        }
    }
    Ok(())
}

fn transact(connection: &mut Connection, changes: &[Change<'_>]) -> rusqlite::Result<()> {
    // Looked at first, so that a build that changes nothing writes nothing.
    let mut effective = Vec::with_capacity(changes.len());
    for change in changes {
        if has_effect(connection, change)? || changes.len() > 1 && repeats(changes, change) {
            effective.push(*change);
        }
    }
    if effective.is_empty() {
        return Ok(());
    }
    let named_by_user = effective.iter().any(|change| {
        matches!(
            change,
            Change::Put(Table::Tags, ..) | Change::Delete(Table::Tags, _)
        )
    });
    if named_by_user {
        connection.execute_batch("PRAGMA synchronous=FULL")?;
    }
    let committed = commit(connection, &effective);
    if named_by_user {
        connection.execute_batch("PRAGMA synchronous=NORMAL")?;
    }
    committed
}

/// Tells whether a list changes one key more than once, which makes the order count.
fn repeats(changes: &[Change<'_>], change: &Change<'_>) -> bool {
    let place = |change: &Change<'_>| match *change {
        Change::Put(table, key, _) | Change::Delete(table, key) => (table, key.to_owned()),
    };
    let wanted = place(change);
    changes
        .iter()
        .filter(|other| place(other) == wanted)
        .nth(1)
        .is_some()
}

fn commit(connection: &mut Connection, changes: &[Change<'_>]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for change in changes {
        apply(&transaction, change)?;
    }
    transaction.commit()
}

impl Store {
    /// Reads the value of a key; what this store lacks comes from the one below.
    pub fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>> {
        let own = self.get_own(table, key)?;
        let lower = || self.lower()?.get(table, key);
        Ok(own.or_else(lower))
    }

    /// As [`Store::get`], of this store alone.
    pub fn get_own(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>> {
        self.records
            .with("read", |connection| select(connection, table, key))
    }

    /// Reads the values of several keys, in their order, all of one moment; of this store alone.
    pub fn get_many(&self, table: Table, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>> {
        self.records.with("read", |connection| {
            let snapshot = connection.transaction()?;
            keys.iter()
                .map(|key| select(&snapshot, table, key))
                .collect()
        })
    }

    /// Lists the keys that begin with `prefix` and their values, sorted by the bytes of the key; of this
    /// store alone.
    ///
    /// Keys with U+10FFFF right after the prefix are not found.
    pub fn list(&self, table: Table, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        self.records
            .with("list", |connection| list_rows(connection, table, prefix))
    }

    /// As [`Store::list`], with what only the store below has.
    pub fn list_all(&self, table: Table, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let own = self.list(table, prefix)?;
        let Some(lower) = self.lower() else {
            return Ok(own);
        };
        let mut all: BTreeMap<String, Vec<u8>> = lower.list(table, prefix).into_iter().collect();
        all.extend(own);
        Ok(all.into_iter().collect())
    }

    /// Lists the keys that begin with `prefix`, as [`Store::list`] does, without reading values.
    pub fn keys(&self, table: Table, prefix: &str) -> Result<Vec<String>> {
        self.records.with("list", |connection| {
            let end = format!("{prefix}\u{10ffff}");
            let mut statement = connection.prepare_cached(KEYS)?;
            let rows = statement.query_map(params![table as u8, prefix, end], |row| row.get(0))?;
            rows.collect()
        })
    }

    /// Sets the value of a key.
    pub fn put(&self, table: Table, key: &str, value: &[u8]) -> Result<()> {
        self.transact(&[Change::Put(table, key, value)])
    }

    /// Sets several values in one transaction.
    pub fn put_many(&self, entries: &[(Table, &str, &[u8])]) -> Result<()> {
        let changes: Vec<Change<'_>> = entries
            .iter()
            .map(|(table, key, value)| Change::Put(*table, key, value))
            .collect();
        self.transact(&changes)
    }

    /// Sets the value of a key that has none; otherwise returns the one it has.
    pub fn put_new(&self, table: Table, key: &str, value: &[u8]) -> Result<Option<Vec<u8>>> {
        self.records.with("write", |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let before = select(&transaction, table, key)?;
            if before.is_none() {
                transaction
                    .prepare_cached(INSERT)?
                    .execute(params![table as u8, key, value])?;
            }
            transaction.commit()?;
            Ok(before)
        })
    }

    /// Removes a key, if it is there.
    pub fn delete(&self, table: Table, key: &str) -> Result<()> {
        self.transact(&[Change::Delete(table, key)])
    }

    /// Makes many changes, all of them, in one transaction.
    pub(crate) fn change_in_order(&self, changes: &[Change<'_>]) -> Result<()> {
        self.records
            .with("write", |connection| commit(connection, changes))
    }

    /// Folds the log into the database; tells whether nobody stood in the way.
    pub(crate) fn fold_log(&self) -> Result<bool> {
        self.records.with("fold the log into", |connection| {
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
                Ok(row.get::<_, i64>(0)? == 0)
            })
        })
    }

    /// Makes several changes in order, in one transaction, on disk at once if a tag is among them.
    ///
    /// Nothing is written when nothing would change.
    pub fn transact(&self, changes: &[Change<'_>]) -> Result<()> {
        self.records
            .with("write", |connection| transact(connection, changes))
    }
}

#[cfg(test)]
mod tests;
