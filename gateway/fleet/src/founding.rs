//! What a fleet is: a record that is written when it is founded, and that an edge reads before it joins.
//!
//! Nothing is refused here because of what the record says: that is the caller's, who can say more.

use etcd_client::{Compare, CompareOp, DeleteOptions, KeyValue, Txn, TxnOp};
use serde::{Deserialize, Serialize};

use crate::log::{Log, LogError, answers, now};
use crate::record::{FORMAT, Head, RecordError, digits, read_head};

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
    /// What edges say of themselves stays. `why_not` is asked with the record, and with the end of the log where
    /// that is there and understood; what it answers is the answer, and nothing is removed then. What it was not
    /// asked about is not removed: when the fleet is changed meanwhile, it is asked again. Edges that still follow
    /// are stuck from then on.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn remove_fleet<W>(
        &self,
        why_not: impl Fn(&FleetRecord, Option<&Head>) -> Option<W>,
    ) -> Result<Option<W>, LogError> {
        let names = self.names();
        let (key, head_key) = (names.record(), names.head());
        loop {
            let both = [
                TxnOp::get(key.clone(), None),
                TxnOp::get(head_key.clone(), None),
            ];
            let there = self.values().await?.txn(Txn::new().and_then(both)).await?;
            let [record, head] = answers(&there)?;
            let Some(stored) = record.kvs().first() else {
                return Ok(None);
            };
            let record = serde_json::from_slice(stored.value());
            let record = record.map_err(|why| RecordError::malformed(&key, why))?;
            let head = head.kvs().first();
            // One of another form is older or newer, and says nothing.
            let known = head.and_then(|head| read_head(&head_key, head.value()).ok());
            if let Some(why) = why_not(&record, known.as_ref()) {
                return Ok(Some(why));
            }
            // etcd takes what is not there to be of revision 0.
            let head_at = head.map_or(0, KeyValue::mod_revision);
            let are_same = [
                Compare::mod_revision(key.clone(), CompareOp::Equal, stored.mod_revision()),
                Compare::mod_revision(head_key.clone(), CompareOp::Equal, head_at),
            ];
            let below = || Some(DeleteOptions::new().with_prefix());
            let removed = [
                TxnOp::delete(key.clone(), None),
                TxnOp::delete(head_key.clone(), None),
                TxnOp::delete(names.snapshot(), None),
                TxnOp::delete(names.entries(), below()),
                TxnOp::delete(names.parts(), below()),
                TxnOp::delete(names.snapshots(), below()),
                TxnOp::delete(names.pasts(), below()),
            ];
            let txn = Txn::new().when(are_same).and_then(removed);
            if self.values().await?.txn(txn).await?.succeeded() {
                return Ok(None);
            }
        }
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
