//! The orders of rulesets in memory: all that a follower needs of a store that another process has.
//!
//! A new version of a ruleset names pages of the version before it, which are in no transaction. Holds
//! those of the current versions, and takes what transactions write. Everything else of the store is
//! the other process's.

use std::collections::BTreeMap;
use std::path::Path;

use crate::model::Model;
use crate::store::order::{self, version_key};
use crate::store::{Look, Store, StoreError, Table, Visit, Write};

/// The records of current versions, and their pages.
#[derive(Debug, Default)]
pub(crate) struct Orders(BTreeMap<(&'static str, Vec<u8>), Vec<u8>>);

impl Orders {
    /// Reads those of a model's rulesets.
    pub(crate) fn read(store: &dyn Store, model: &Model) -> Result<Self, StoreError> {
        let mut orders = Self::default();
        for ruleset in model.rulesets.values() {
            let key = version_key(ruleset.id, ruleset.version);
            let record = order::record(store, ruleset.id, ruleset.version)?;
            let pages = record.pages.iter().map(|page| page.key(ruleset.id));
            let pages = pages.map(|key| (Table::RulesetPages, key));
            for (table, key) in pages.chain([(Table::RulesetVersions, key)]) {
                if let Some(value) = store.value(table, &key)? {
                    orders.0.insert((table.name(), key), value);
                }
            }
        }
        Ok(orders)
    }

    /// Takes over what a transaction writes of them.
    pub(crate) fn apply(&mut self, writes: &[Write]) {
        for write in writes {
            if !is_kept(write.table) {
                continue;
            }
            let key = (write.table.name(), write.key.clone());
            match &write.value {
                Some(value) => drop(self.0.insert(key, value.clone())),
                None => drop(self.0.remove(&key)),
            }
        }
    }
}

fn is_kept(table: Table) -> bool {
    matches!(table, Table::RulesetVersions | Table::RulesetPages)
}

impl Store for Orders {
    fn revision(&self) -> Result<u64, StoreError> {
        Err(StoreError::HandedOver)
    }

    fn commit_as(&self, _expected: u64, _next: u64, _writes: &[Write]) -> Result<(), StoreError> {
        Err(StoreError::HandedOver)
    }

    fn value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if !is_kept(table) {
            return Err(StoreError::HandedOver);
        }
        Ok(self.0.get(&(table.name(), key.to_vec())).cloned())
    }

    fn scan(&self, _table: Table, _prefix: &[u8], _visit: Visit<'_>) -> Result<(), StoreError> {
        Err(StoreError::HandedOver)
    }

    fn at_once(&self, _look: Look<'_>) -> Result<(), StoreError> {
        Err(StoreError::HandedOver)
    }

    fn backup(&self, _to: &Path) -> Result<(), StoreError> {
        Err(StoreError::HandedOver)
    }
}
