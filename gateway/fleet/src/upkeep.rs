//! What the leader does from time to time so that etcd does not fill up: a snapshot when the log has become
//! long, the log trimmed behind it, and what nobody needs removed.
//!
//! etcd keeps what was removed until it is compacted. That is etcd's own to do
//! (`--auto-compaction-mode=periodic --auto-compaction-retention=1h`): it concerns whoever else uses the
//! cluster, and a user who is confined to a fleet's keys may not ask for it.

use std::collections::VecDeque;

use etcd_client::{GetOptions, KeyValue};

use crate::limits::{
    KEPT_BYTES_MAX, PAGE_ENTRIES, PAGE_SMALL_ENTRIES, PAST_PER_VALUE, SMALL_ENTRY_BYTES,
    SNAPSHOT_AFTER,
};
use crate::log::{Log, LogError};
use crate::record::{Digest, read_entry};
use crate::snapshot::SnapshotHead;

/// What a leader remembers of the log, so that it need not read all of it each time. A new one reads it
/// once.
#[derive(Debug, Default)]
pub struct Upkeep {
    /// The entries of the log, in their order.
    entries: VecDeque<Measured>,
}

#[derive(Debug, Clone, Copy)]
struct Measured {
    revision: u64,
    bytes: u64,
    /// What it led to.
    digest: Digest,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Whether there is to be another snapshot.
    pub snapshot: bool,
    /// Entries behind the snapshot that there is.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Maintained {
    /// The snapshot that was written.
    pub snapshot: Option<SnapshotHead>,
    /// The first entry that was kept, when some were removed.
    pub trimmed_below: Option<u64>,
    /// Leftovers of entries and snapshots that were removed.
    pub swept: usize,
}

impl Log {
    /// Looks whether there is to be another snapshot.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn due(&self, upkeep: &mut Upkeep) -> Result<Due, LogError> {
        self.measure(upkeep).await?;
        let snapshot = self.snapshot().await?;
        let at = snapshot
            .as_ref()
            .map_or(0, |snapshot| snapshot.head.revision);
        let behind = upkeep.entries.iter().filter(|entry| entry.revision > at);
        let (entries, bytes) =
            behind.fold((0, 0), |(count, sum), entry| (count + 1, sum + entry.bytes));
        Ok(Due {
            snapshot: snapshot.is_none()
                || entries >= SNAPSHOT_AFTER.0
                || bytes >= SNAPSHOT_AFTER.1,
            entries,
            bytes,
        })
    }

    /// Trims the log to `keep` entries before the snapshot, fewer if they are large, and removes leftovers.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn tidy(&self, upkeep: &mut Upkeep, keep: u64) -> Result<Maintained, LogError> {
        let mut done = Maintained::default();
        if let Some(snapshot) = self.snapshot().await? {
            let first = first_kept(&upkeep.entries, snapshot.head.revision, keep);
            if self.trim_below(upkeep, first).await? {
                done.trimmed_below = Some(first);
            }
        }
        done.swept = self.sweep().await? + self.sweep_snapshots().await?;
        Ok(done)
    }

    /// Removes the entries below a revision, as far as they are known. Answers of whether there were any.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn trim_below(&self, upkeep: &mut Upkeep, end: u64) -> Result<bool, LogError> {
        let mut has_trimmed = false;
        loop {
            let Some(oldest) = upkeep.entries.front().filter(|entry| entry.revision < end) else {
                return Ok(has_trimmed);
            };
            // Up to a gap, if there is one.
            let follows = |(entry, revision): &(&Measured, u64)| entry.revision == *revision;
            let following = upkeep.entries.iter().zip(oldest.revision..end);
            let digests: Vec<Digest> = following
                .take(PAST_PER_VALUE)
                .take_while(follows)
                .map(|(entry, _)| entry.digest)
                .collect();
            if !self.trim(oldest.revision, &digests).await? {
                // Another edge has: what is left is looked at anew.
                upkeep.entries.clear();
                return Ok(has_trimmed);
            }
            drop(upkeep.entries.drain(..digests.len()));
            has_trimmed = true;
        }
    }

    /// Learns of the entries that are new.
    async fn measure(&self, upkeep: &mut Upkeep) -> Result<(), LogError> {
        let head = self.head().await?;
        // The log was replaced by an old copy.
        upkeep
            .entries
            .retain(|entry| entry.revision <= head.revision);
        let mut limit = PAGE_ENTRIES;
        loop {
            let next = upkeep.entries.back().map_or(0, |entry| entry.revision + 1);
            let range = GetOptions::new()
                .with_range(self.names().entries_end())
                .with_limit(limit);
            let first = self.names().entry(next);
            let page = self.values().await?.get(first, Some(range)).await?;
            for stored in page.kvs() {
                let key = String::from_utf8_lossy(stored.key()).into_owned();
                let revision = self.names().revision(stored.key());
                let (entry, _inline) = read_entry(&key, stored.value())?;
                upkeep.entries.push_back(Measured {
                    revision: revision.ok_or(LogError::Answer)?,
                    bytes: entry.bytes as u64,
                    digest: entry.digest,
                });
            }
            if !page.more() {
                return Ok(());
            }
            let is_small = |stored: &KeyValue| stored.value().len() <= SMALL_ENTRY_BYTES;
            limit = if page.kvs().iter().all(is_small) {
                PAGE_SMALL_ENTRIES
            } else {
                PAGE_ENTRIES
            };
        }
    }
}

/// Below which of these entries the log is trimmed when there is a snapshot at `at`.
fn first_kept(entries: &VecDeque<Measured>, at: u64, keep: u64) -> u64 {
    let mut first = (at + 1).saturating_sub(keep);
    let mut bytes = 0;
    let before = entries.iter().rev().filter(|entry| entry.revision <= at);
    for entry in before {
        bytes += entry.bytes;
        if bytes > KEPT_BYTES_MAX {
            first = first.max(entry.revision + 1);
            break;
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_kept_and_fewer_when_they_are_large() {
        let sizes = |bytes: u64| {
            let entry = |revision| Measured {
                revision,
                bytes,
                digest: Digest::NONE,
            };
            (5..=20).map(entry).collect()
        };
        assert_eq!(first_kept(&sizes(1), 18, 10), 9);
        assert_eq!(first_kept(&sizes(1), 18, 0), 19);
        assert_eq!(first_kept(&sizes(1), 18, 100), 0);
        let third = KEPT_BYTES_MAX / 3;
        assert_eq!(first_kept(&sizes(third), 18, 10), 16);
        assert_eq!(first_kept(&sizes(KEPT_BYTES_MAX + 1), 18, 10), 19);
    }
}
