//! A store as it is at one moment: what changes meanwhile is not seen, and does not wait.

use std::path::Path;

use redb::{Database, ReadTransaction, ReadableDatabase as _};

use super::{Attempt, REVISION_KEY, definition, found_revision};
use crate::store::{Look, Store, StoreError, Table, Visit, Write};

/// A moment of a store.
pub(super) struct View(ReadTransaction);

impl View {
    /// This moment.
    pub(super) fn of(database: &Database) -> Result<Self, Attempt> {
        Ok(Self(database.begin_read()?))
    }

    /// The number of the last change.
    pub(super) fn last(&self) -> Result<u64, Attempt> {
        let meta = self.0.open_table(definition(Table::Meta))?;
        let value = meta.get(REVISION_KEY)?;
        found_revision(value.as_ref().map(redb::AccessGuard::value))
    }

    /// One value.
    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Attempt> {
        let table = self.0.open_table(definition(table))?;
        Ok(table.get(key)?.map(|value| value.value().to_vec()))
    }

    /// Visits the keys that begin with `prefix`, in their order.
    pub(super) fn range(
        &self,
        table: Table,
        prefix: &[u8],
        visit: Visit<'_>,
    ) -> Result<(), Attempt> {
        let table = self.0.open_table(definition(table))?;
        for entry in table.range(prefix..)? {
            let (key, value) = entry?;
            if !key.value().starts_with(prefix) {
                break;
            }
            visit(key.value(), value.value()).map_err(Attempt::Failed)?;
        }
        Ok(())
    }
}

/// A view is not begun again: what comes would be of another moment.
fn told(attempt: Attempt) -> StoreError {
    match attempt {
        Attempt::Failed(error) => error,
        Attempt::Reopen(why) => StoreError::Io(why),
    }
}

fn only_read() -> StoreError {
    StoreError::Io("a moment of a store is only read".into())
}

impl Store for View {
    fn revision(&self) -> Result<u64, StoreError> {
        self.last().map_err(told)
    }

    fn commit_as(&self, _expected: u64, _next: u64, _writes: &[Write]) -> Result<(), StoreError> {
        Err(only_read())
    }

    fn value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.get(table, key).map_err(told)
    }

    fn scan(&self, table: Table, prefix: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        self.range(table, prefix, visit).map_err(told)
    }

    fn at_once(&self, look: Look<'_>) -> Result<(), StoreError> {
        look(self)
    }

    fn backup(&self, _to: &Path) -> Result<(), StoreError> {
        Err(only_read())
    }
}
