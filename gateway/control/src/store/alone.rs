//! The record of what holds on one edge of a fleet alone.

use crate::model::alone::{Alone, AloneEntry, AloneWhat};
use crate::model::hex::unhex_any;
use crate::store::keys::{corrupt, decode, encode};
use crate::store::{Store, StoreError, Table, Write};

/// In the table of single values: what holds here alone. Begins as the membership's key does, so that it is
/// this edge's own.
const KEY: &[u8] = b"fleet_alone";

/// What a store has of it.
pub(crate) fn read(store: &dyn Store) -> Result<Alone, StoreError> {
    let value = store.value(Table::Meta, KEY)?;
    let entries: Vec<AloneEntry> = match value {
        Some(value) => decode(Table::Meta, KEY, &value)?,
        None => Vec::new(),
    };
    // What cannot be read back must not be forgotten.
    for entry in &entries {
        if let AloneWhat::Revoked { serial, .. } = &entry.what
            && unhex_any(serial).is_none()
        {
            return Err(corrupt(Table::Meta, KEY, "a serial number is none"));
        }
    }
    Ok(Alone::of(entries))
}

/// What is written of it.
pub(crate) fn write(alone: &Alone) -> Write {
    Write {
        table: Table::Meta,
        key: KEY.to_vec(),
        value: (!alone.entries.is_empty()).then(|| encode(&alone.entries)),
    }
}
