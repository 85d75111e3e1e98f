//! All of a store: in parts, so that another store can be made equal to it; as a digest, so that two stores
//! can be compared.
//!
//! Not of it is what is a store's own: its format, its revision, its membership of a fleet; and of the audit
//! log what is older than its last part.

use std::collections::BTreeMap;

use boring::sha::Sha256;

use crate::limits::{STATE_AUDIT_REVISIONS, STATE_PART_BYTES};
use crate::store::ledger::DIGEST_BYTES;
use crate::store::membership;
use crate::store::transaction::Transaction;
use crate::store::{FORMAT, Store, StoreError, Table, Write};

/// Single values that say something of the file, and nothing of what is in it.
const OF_THE_FILE: [&[u8]; 2] = [b"format", b"revision"];

fn is_own(table: Table, key: &[u8]) -> bool {
    table == Table::Meta && (key.starts_with(membership::KEY) || OF_THE_FILE.contains(&key))
}

/// Whether it is of the audit log, and of long before `revision`.
fn is_old(table: Table, key: &[u8], revision: u64) -> bool {
    let of = || key.try_into().map(u64::from_be_bytes).ok();
    table == Table::Audit
        && of().is_some_and(|of| of.saturating_add(STATE_AUDIT_REVISIONS) <= revision)
}

/// A table by its name, and a key of it.
type Place = (&'static str, Vec<u8>);

/// Visits all that is of the state.
fn visit(
    store: &dyn Store,
    revision: u64,
    mut each: impl FnMut(Table, &[u8], &[u8]),
) -> Result<(), StoreError> {
    for table in Table::ALL {
        store.scan(table, b"", &mut |key, value| {
            if !is_own(table, key) && !is_old(table, key, revision) {
                each(table, key, value);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// The state of a store in parts, each a transaction that sets some of it. There is one at least.
pub(crate) fn read(store: &dyn Store, revision: u64) -> Result<Vec<Transaction>, StoreError> {
    let (mut parts, mut writes, mut size) = (Vec::new(), Vec::new(), 0);
    visit(store, revision, |table, key, value| {
        size += key.len() + value.len() + 32;
        writes.push(Write {
            table,
            key: key.to_vec(),
            value: Some(value.to_vec()),
        });
        if size >= STATE_PART_BYTES {
            size = 0;
            let writes = std::mem::take(&mut writes);
            parts.push(Transaction { revision, writes });
        }
    })?;
    if !writes.is_empty() || parts.is_empty() {
        parts.push(Transaction { revision, writes });
    }
    Ok(parts)
}

/// A digest of the state. Stores that are equal have the same, whatever became of them before; those of another
/// format have another.
pub(crate) fn digest(store: &dyn Store, revision: u64) -> Result<[u8; DIGEST_BYTES], StoreError> {
    let mut hash = Sha256::new();
    let mut put = |bytes: &[u8]| {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        hash.update(&length.to_be_bytes());
        hash.update(bytes);
    };
    put(&FORMAT.to_be_bytes());
    visit(store, revision, |table, key, value| {
        put(table.name().as_bytes());
        put(key);
        put(value);
    })?;
    Ok(hash.finish())
}

/// What older entries of the audit log become where another state is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OldAudit {
    /// They are of the same fleet.
    Stays,
    /// They are of something else.
    Goes,
}

/// What has to be written to a store so that it has the state that `parts` lead to one after the other, at
/// `revision`, and nothing else.
pub(crate) fn difference(
    store: &dyn Store,
    revision: u64,
    parts: Vec<Transaction>,
    old_audit: OldAudit,
) -> Result<Vec<Write>, StoreError> {
    let mut wanted: BTreeMap<Place, (Table, Vec<u8>)> = BTreeMap::new();
    for write in parts.into_iter().flat_map(|part| part.writes) {
        if is_own(write.table, &write.key) {
            continue;
        }
        let place = (write.table.name(), write.key);
        match write.value {
            Some(value) => drop(wanted.insert(place, (write.table, value))),
            None => drop(wanted.remove(&place)),
        }
    }
    let mut writes = Vec::new();
    let revision = match old_audit {
        OldAudit::Stays => revision,
        OldAudit::Goes => 0,
    };
    visit(store, revision, |table, key, value| {
        let place = (table.name(), key.to_vec());
        match wanted.get(&place) {
            Some((_, same)) if same == value => drop(wanted.remove(&place)),
            Some(_) => {}
            None => writes.push(Write {
                table,
                key: place.1,
                value: None,
            }),
        }
    })?;
    writes.extend(wanted.into_iter().map(|((_, key), (table, value))| Write {
        table,
        key,
        value: Some(value),
    }));
    Ok(writes)
}
