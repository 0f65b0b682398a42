//! The solver's cache index over the store.

use rbuild_progress::CancelToken;
use rbuild_solver::{CacheError, CacheIndex, CacheKey, KeyInputs};
use rbuild_store::{Change, Store, Table};
use std::sync::Arc;

/// Records in the store's database; work locks between processes.
pub struct StoreIndex {
    store: Arc<Store>,
    rung: &'static str,
}

impl StoreIndex {
    /// Returns the index of a store. `rung` goes before every key: results that were made without
    /// the right to give files owners must not be taken for whole ones.
    pub fn new(store: Arc<Store>, rung: &'static str) -> StoreIndex {
        StoreIndex { store, rung }
    }

    fn name(&self, key: &CacheKey) -> String {
        format!("{}{key}", self.rung)
    }
}

fn failed(action: &'static str) -> impl FnOnce(rbuild_store::Error) -> CacheError {
    move |e| match e {
        rbuild_store::Error::Cancelled(_) => CacheError::Cancelled,
        other => CacheError::Index {
            action,
            source: Box::new(other),
        },
    }
}

impl CacheIndex for StoreIndex {
    fn lookup(&self, key: &CacheKey) -> Result<Option<Vec<u8>>, CacheError> {
        self.store
            .get(Table::Records, &self.name(key))
            .map_err(failed("look up"))
    }

    fn record(
        &self,
        keys: &[CacheKey],
        bytes: &[u8],
        inputs: &KeyInputs,
    ) -> Result<(), CacheError> {
        let names: Vec<String> = keys.iter().map(|key| self.name(key)).collect();
        let notes = serde_json::to_vec(inputs).map_err(|e| CacheError::Index {
            action: "record",
            source: Box::new(e),
        })?;
        let mut changes = Vec::with_capacity(3 * names.len());
        for name in &names {
            changes.push(Change::Put(Table::Records, name, bytes));
            changes.push(Change::Put(Table::Steps, name, &notes));
            changes.push(Change::Delete(Table::Evicted, name));
        }
        self.store.transact(&changes).map_err(failed("record"))
    }

    fn lock(&self, key: &CacheKey, cancel: &CancelToken) -> Result<Box<dyn Send>, CacheError> {
        let lock = self
            .store
            .work_lock(&self.name(key), cancel)
            .map_err(failed("lock"))?;
        Ok(Box::new(lock))
    }
}
