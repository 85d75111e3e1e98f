//! What a fleet is: a record that is written when it is founded, and that an edge reads before it joins.
//!
//! Nothing is refused here because of what the record says: that is the caller's, who can say more.

use etcd_client::{Compare, CompareOp, DeleteOptions, Txn, TxnOp};
use serde::{Deserialize, Serialize};

use crate::log::{Log, LogError, now};
use crate::record::{FORMAT, RecordError, digits};

/// What whoever founds a fleet says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founding {
    /// The form of the entries' bytes.
    pub store_format: u32,
    /// Lets an edge find out whether it can open what travels sealed.
    pub proof: Vec<u8>,
}

/// What a fleet is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetRecord {
    /// The form of what this crate writes.
    pub format: u32,
    /// The form of the entries' bytes.
    pub store_format: u32,
    /// As it was given when it was founded.
    #[serde(with = "digits")]
    pub proof: Vec<u8>,
    /// When, in milliseconds since 1970, by the clock of the edge that founded it.
    pub founded_at: u64,
    /// Which edge founded it.
    pub by: String,
}

impl FleetRecord {
    /// Whether this version understands what is written of the fleet.
    #[must_use]
    pub const fn is_understood(&self) -> bool {
        self.format == FORMAT
    }
}

impl Log {
    /// What the fleet is; nothing when there is none of this name.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn record(&self) -> Result<Option<FleetRecord>, LogError> {
        let key = self.names().record();
        let answer = self.values().await?.get(key.clone(), None).await?;
        let Some(stored) = answer.kvs().first() else {
            return Ok(None);
        };
        let read = serde_json::from_slice(stored.value());
        Ok(Some(read.map_err(|why| RecordError::malformed(&key, why))?))
    }
}

impl Log {
    /// Removes the fleet, for another to be founded in its place: its record, its log and its state, at once.
    /// What edges say of themselves stays. Only when `may` says so of the record that is removed; whether it
    /// did. Edges that still follow are stuck from then on.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn remove_fleet(&self, may: impl Fn(&FleetRecord) -> bool) -> Result<bool, LogError> {
        let names = self.names();
        let key = names.record();
        let there = self.values().await?.get(key.clone(), None).await?;
        let Some(stored) = there.kvs().first() else {
            return Ok(true);
        };
        let record = serde_json::from_slice(stored.value());
        if !may(&record.map_err(|why| RecordError::malformed(&key, why))?) {
            return Ok(false);
        }
        let is_same = Compare::mod_revision(key.clone(), CompareOp::Equal, stored.mod_revision());
        let below = || Some(DeleteOptions::new().with_prefix());
        let removed = [
            TxnOp::delete(key, None),
            TxnOp::delete(names.head(), None),
            TxnOp::delete(names.snapshot(), None),
            TxnOp::delete(names.entries(), below()),
            TxnOp::delete(names.parts(), below()),
            TxnOp::delete(names.snapshots(), below()),
            TxnOp::delete(names.pasts(), below()),
        ];
        let txn = Txn::new().when([is_same]).and_then(removed);
        Ok(self.values().await?.txn(txn).await?.succeeded())
    }
}

pub(crate) fn write_record(founding: &Founding, by: &str) -> Vec<u8> {
    let record = FleetRecord {
        format: FORMAT,
        store_format: founding.store_format,
        proof: founding.proof.clone(),
        founded_at: now(),
        by: by.to_owned(),
    };
    serde_json::to_vec(&record).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_a_later_version_is_read_as_far_as_it_goes() {
        let founding = Founding {
            store_format: 3,
            proof: vec![0, 255, 7],
        };
        let text = String::from_utf8(write_record(&founding, "a")).unwrap();
        let later = text.replace("\"format\":1", "\"format\":2,\"more\":[]");
        let record: FleetRecord = serde_json::from_str(&later).unwrap();
        assert!(!record.is_understood());
        assert_eq!((record.store_format, record.proof), (3, vec![0, 255, 7]));
    }
}
