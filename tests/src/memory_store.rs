//! A store in memory, to fill one in seconds: no change waits for a disk.
//!
//! Owns the copy into a real store at the end. Is not for gateways: nothing of it is durable.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use control::{Look, RedbStore, Store, StoreError, Table, Visit, Write};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Default)]
struct Held {
    revision: u64,
    tables: Vec<(Table, Rows)>,
}

impl Held {
    fn rows(&mut self, table: Table) -> &mut Rows {
        let place = match self.tables.iter().position(|(known, _)| *known == table) {
            Some(place) => place,
            None => {
                self.tables.push((table, Rows::new()));
                self.tables.len() - 1
            }
        };
        &mut self.tables[place].1
    }
}

/// The store; clones share what they hold.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Held>>);

impl MemoryStore {
    fn held<T>(&self, work: impl FnOnce(&mut Held) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes everything to a new store, as one change, but for the audit log, whose revisions are not
    /// those of the new store.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub fn write(&self, path: &Path) -> Result<(), StoreError> {
        let store = RedbStore::open(path).map_err(|why| StoreError::Io(why.to_string()))?;
        let writes = self.held(|held| {
            let mut writes = Vec::new();
            let tables = held.tables.iter();
            for (table, rows) in tables.filter(|(table, _)| *table != Table::Audit) {
                for (key, value) in rows {
                    writes.push(Write {
                        table: *table,
                        key: key.clone(),
                        value: Some(value.clone()),
                    });
                }
            }
            writes
        });
        store.commit(0, &writes)
    }
}

impl Store for MemoryStore {
    fn revision(&self) -> Result<u64, StoreError> {
        Ok(self.held(|held| held.revision))
    }

    fn commit_as(&self, _expected: u64, next: u64, writes: &[Write]) -> Result<(), StoreError> {
        self.held(|held| {
            for write in writes {
                let rows = held.rows(write.table);
                match &write.value {
                    Some(value) => drop(rows.insert(write.key.clone(), value.clone())),
                    None => drop(rows.remove(&write.key)),
                }
            }
            held.revision = next;
        });
        Ok(())
    }

    fn value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.held(|held| held.rows(table).get(key).cloned()))
    }

    fn scan(&self, table: Table, prefix: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        let found: Vec<(Vec<u8>, Vec<u8>)> = self.held(|held| {
            let rows = held.rows(table).range(prefix.to_vec()..);
            let rows = rows.take_while(|(key, _)| key.starts_with(prefix));
            rows.map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        });
        found.iter().try_for_each(|(key, value)| visit(key, value))
    }

    fn at_once(&self, look: Look<'_>) -> Result<(), StoreError> {
        let copy = self.held(|held| held.clone());
        look(&Self(Arc::new(Mutex::new(copy))))
    }

    fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.write(to)
    }
}
