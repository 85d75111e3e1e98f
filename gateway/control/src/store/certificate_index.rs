//! The index of client certificates in memory: 72 bytes each, enough for filtered, paged lists.
//!
//! Owns the form of its rows in the store, and their order. The certificates themselves are read
//! from the store when asked for.

use std::collections::{BTreeSet, HashMap};

use crate::model::client_certificate::Status;
use crate::model::id::{ID_BYTES, Id, Uuid};
use crate::store::keys::part;
use crate::store::{Store, StoreError, Table};

/// What memory holds of one certificate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CertificateEntry {
    pub(crate) sequence: u64,
    pub(crate) id: Uuid,
    pub(crate) authority: Uuid,
    pub(crate) status: Status,
    pub(crate) status_since: i64,
    pub(crate) not_after: i64,
}

/// All certificates of all zones, each zone's in the order of issue.
#[derive(Debug, Default)]
pub(crate) struct Index(pub(crate) HashMap<Id, Vec<CertificateEntry>>);

/// What a change does to the index, once it is durable.
#[derive(Debug, Clone)]
pub(crate) enum IndexChange {
    Put(Id, CertificateEntry),
    RemoveZone(Id),
    Remove(Id, BTreeSet<u64>),
}

const ENTRY_BYTES: usize = 1 + 8 + 8 + 2 * ID_BYTES;

impl CertificateEntry {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let status = match self.status {
            Status::Active => 0,
            Status::Revoked => 1,
        };
        [
            [status].as_slice(),
            &self.status_since.to_be_bytes(),
            &self.not_after.to_be_bytes(),
            self.id.as_bytes(),
            self.authority.as_bytes(),
        ]
        .concat()
    }

    /// A row of the store.
    pub(crate) fn read(sequence: u64, bytes: &[u8]) -> Result<Self, StoreError> {
        Self::decode(sequence, bytes).ok_or_else(unreadable)
    }

    fn decode(sequence: u64, bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; ENTRY_BYTES] = bytes.try_into().ok()?;
        let (status, rest) = bytes.split_first()?;
        let (since, rest) = rest.split_first_chunk()?;
        let (not_after, rest) = rest.split_first_chunk()?;
        let (id, rest) = rest.split_first_chunk()?;
        Some(Self {
            sequence,
            id: Uuid::from_bytes(*id),
            authority: Uuid::from_bytes(rest.try_into().ok()?),
            status: match status {
                0 => Status::Active,
                1 => Status::Revoked,
                _ => return None,
            },
            status_since: i64::from_be_bytes(*since),
            not_after: i64::from_be_bytes(*not_after),
        })
    }
}

impl Index {
    pub(crate) fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let table = Table::CertificateIndex;
        let mut index: HashMap<Id, Vec<CertificateEntry>> = HashMap::new();
        store.scan(table, b"", &mut |key, value| {
            let (zone, sequence) = place(key)?;
            let entry = CertificateEntry::read(sequence, value)?;
            index.entry(zone).or_default().push(entry);
            Ok(())
        })?;
        Ok(Self(index))
    }

    pub(crate) fn apply(&mut self, changes: Vec<IndexChange>) {
        for change in changes {
            match change {
                IndexChange::RemoveZone(zone) => drop(self.0.remove(&zone)),
                IndexChange::Remove(zone, sequences) => {
                    if let Some(entries) = self.0.get_mut(&zone) {
                        entries.retain(|entry| !sequences.contains(&entry.sequence));
                        if entries.is_empty() {
                            self.0.remove(&zone);
                        }
                    }
                }
                IndexChange::Put(zone, entry) => {
                    let entries = self.0.entry(zone).or_default();
                    match entries.binary_search_by_key(&entry.sequence, |known| known.sequence) {
                        Ok(place) => {
                            if let Some(known) = entries.get_mut(place) {
                                *known = entry;
                            }
                        }
                        Err(place) => entries.insert(place, entry),
                    }
                }
            }
        }
    }

    pub(crate) fn of(&self, zone: Id) -> &[CertificateEntry] {
        self.0.get(&zone).map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn entry(&self, zone: Id, sequence: u64) -> Option<CertificateEntry> {
        let entries = self.of(zone);
        let place = entries
            .binary_search_by_key(&sequence, |entry| entry.sequence)
            .ok()?;
        entries.get(place).copied()
    }
}

fn unreadable() -> StoreError {
    StoreError::Corrupt("a record of certificate_index cannot be read".into())
}

/// Zone and sequence of a row's key.
pub(crate) fn place(key: &[u8]) -> Result<(Id, u64), StoreError> {
    let (zone, rest) = part(Table::CertificateIndex, key)?;
    let sequence = rest.try_into().map_err(|_other_length| unreadable())?;
    Ok((Id::from_bytes(zone), u64::from_be_bytes(sequence)))
}

pub(crate) fn row_key(zone: Id, sequence: u64) -> Vec<u8> {
    [zone.as_bytes().as_slice(), &sequence.to_be_bytes()].concat()
}
