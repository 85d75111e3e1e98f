//! Which fleet a store belongs to, and how far it has followed. Kept in the store, in the same transaction
//! as what was followed.

use serde::{Deserialize, Serialize};

use crate::model::id::Uuid;
use crate::model::moment::Moment;
use crate::store::keys::{decode, encode};
use crate::store::ledger::{LedgerError, Mark};
use crate::store::{Store, StoreError, Table, Write};

/// In the table of single values: the membership. Own to each edge, as all that begins with it.
pub(crate) const KEY: &[u8] = b"fleet";

/// In the table of single values: when the store had all that the fleet has.
pub(crate) const SEEN_KEY: &[u8] = b"fleet_seen";

/// In the table of single values: the membership that was left last.
const LEFT_KEY: &[u8] = b"fleet_left";

/// What is written when the store has all that the fleet has.
pub(crate) fn seen(now: Moment) -> Write {
    Write {
        table: Table::Meta,
        key: SEEN_KEY.to_vec(),
        value: Some(encode(&now)),
    }
}

/// That a store belongs to a fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// The name of the fleet.
    pub fleet: String,
    /// This edge, whatever its name is.
    pub edge: Uuid,
    /// How far the store has followed.
    pub mark: Mark,
}

impl Membership {
    /// That of a store, if it belongs to a fleet.
    pub(crate) fn read(store: &dyn Store) -> Result<Option<Self>, StoreError> {
        let value = store.value(Table::Meta, KEY)?;
        value
            .map(|value| decode(Table::Meta, KEY, &value))
            .transpose()
    }

    /// Whether the store is as the fleet has left it, at this revision.
    pub(crate) fn check(&self, revision: u64) -> Result<(), LedgerError> {
        let Self { fleet, mark, .. } = self;
        if mark.revision == revision {
            return Ok(());
        }
        Err(LedgerError::Another(format!(
            "the store was changed outside of its fleet `{fleet}` (it is at revision {revision}, and followed the \
             fleet to {}): `postern fleet join --replace` makes it the fleet's again",
            mark.revision
        )))
    }

    /// What a transaction writes of it.
    pub(crate) fn write(&self) -> Write {
        Write {
            table: Table::Meta,
            key: KEY.to_vec(),
            value: Some(encode(self)),
        }
    }

    /// What it writes where an edge begins with all that the fleet has.
    pub(crate) fn begin(&self, now: Moment) -> [Write; 2] {
        [self.write(), seen(now)]
    }

    /// What a transaction writes when there is none any more: which one there was, too.
    pub(crate) fn removal(&self) -> [Write; 3] {
        let left = Some(encode(self));
        [(KEY, None), (SEEN_KEY, None), (LEFT_KEY, left)].map(|(key, value)| Write {
            table: Table::Meta,
            key: key.to_vec(),
            value,
        })
    }

    /// The one that a store has left last.
    pub(crate) fn left(store: &dyn Store) -> Result<Option<Self>, StoreError> {
        let value = store.value(Table::Meta, LEFT_KEY)?;
        value
            .map(|value| decode(Table::Meta, LEFT_KEY, &value))
            .transpose()
    }

    /// The same, further on.
    pub(crate) fn at(&self, mark: Mark) -> Self {
        Self {
            mark,
            ..self.clone()
        }
    }
}
