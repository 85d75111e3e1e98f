//! What follows a place in the log, read.

use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use etcd_client::{GetOptions, Txn, TxnOp};

use crate::limits::{PAGE_BYTES_MAX, PAGE_ENTRIES, PAGE_SMALL_ENTRIES, SMALL_ENTRY_BYTES};
use crate::log::{Log, LogError, answers};
use crate::record::{Entry, EntryHead, Head, RecordError, read_entry, read_head};

/// Entries, one after the other.
#[derive(Debug)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where the log ended when they were read.
    pub head: Head,
    /// etcd's own number of that moment, from which on changes can be watched.
    pub(crate) seen: i64,
    /// Another edge that asks to go first with its next change.
    pub turn: Option<String>,
}

impl Log {
    /// The entries behind `known`, as many as are read at once. None when there are none.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn after(&self, known: &Head) -> Result<Page, LogError> {
        let head_key = self.names().head();
        let first = self.names().entry(known.revision + 1);
        // Unless this page comes in time, the next one is small.
        let are_small = self.link.are_small.swap(false, Ordering::Relaxed);
        let limit = if are_small {
            PAGE_SMALL_ENTRIES
        } else {
            PAGE_ENTRIES
        };
        let range = GetOptions::new()
            .with_range(self.names().entries_end())
            .with_limit(limit);
        // In one transaction, so that the head is the one of the same moment.
        let ops = [
            TxnOp::get(head_key.clone(), None),
            TxnOp::get(first, Some(range)),
            TxnOp::get(self.names().turn(), None),
        ];
        let mut values = self.values().await?;
        let answer = values.txn(Txn::new().and_then(ops)).await?;
        let seen = answer.header().map_or(0, |header| header.revision());
        let [stored, following, turn] = answers(&answer)?;
        let head = stored.kvs().first().ok_or(LogError::None)?;
        let head = read_head(&head_key, head.value())?;
        if head.revision < known.revision || head.revision == known.revision && head != *known {
            return Err(another_than(&head, known));
        }
        let mut entries: Vec<Entry> = Vec::new();
        let mut last = *known;
        let mut bytes = 0;
        for stored in following.kvs() {
            if bytes > PAGE_BYTES_MAX {
                break;
            }
            let key = String::from_utf8_lossy(stored.key()).into_owned();
            let revision = self.names().revision(stored.key());
            let wanted = last.revision + 1;
            if revision != Some(wanted) {
                return Err(LogError::Trimmed(wanted));
            }
            let entry = self.entry(&key, stored.value(), &last).await?;
            let entry = entry.ok_or_else(|| another_than(&head, known))?;
            last = entry.head;
            bytes += entry.bytes.len();
            entries.push(entry);
        }
        let is_small = |entry: &Entry| entry.bytes.len() <= SMALL_ENTRY_BYTES;
        let are_small = !entries.is_empty() && entries.iter().all(is_small);
        self.link.are_small.store(are_small, Ordering::Relaxed);
        if entries.is_empty() && head.revision > known.revision {
            return Err(LogError::Trimmed(known.revision + 1));
        }
        if last.revision == head.revision && last != head {
            return Err(another_than(&head, known));
        }
        let turn = turn.kvs().first().and_then(|turn| turn.value_str().ok());
        let turn = turn.filter(|edge| **edge != *self.edge());
        Ok(Page {
            entries,
            head,
            seen,
            turn: turn.map(str::to_owned),
        })
    }

    /// The entry that a value is, behind `last`; nothing when it does not lead on from there.
    pub(crate) async fn entry(
        &self,
        key: &str,
        value: &[u8],
        last: &Head,
    ) -> Result<Option<Entry>, LogError> {
        let (said, inline) = read_entry(key, value)?;
        let bytes = if said.parts == 0 {
            Bytes::copy_from_slice(inline)
        } else {
            self.gathered(key, last.revision + 1, &said).await?
        };
        let head = last.then(&bytes);
        Ok((head.digest == said.digest).then_some(Entry {
            edge: said.edge,
            at: said.at,
            head,
            bytes,
        }))
    }

    /// The bytes of an entry that is in parts.
    async fn gathered(
        &self,
        key: &str,
        revision: u64,
        said: &EntryHead,
    ) -> Result<Bytes, LogError> {
        let mut bytes = BytesMut::new();
        let mut first = self.names().part(revision, &said.id, 0);
        let end = self.names().part(revision, &said.id, said.parts);
        let mut parts = 0;
        loop {
            let range = GetOptions::new()
                .with_range(end.clone())
                .with_limit(PAGE_ENTRIES);
            let mut values = self.values().await?;
            let answer = values.get(first.clone(), Some(range)).await?;
            for part in answer.kvs() {
                parts += 1;
                if bytes.len() + part.value().len() > said.bytes {
                    return Err(RecordError::malformed(key, "its parts have too much").into());
                }
                bytes.extend_from_slice(part.value());
            }
            if !answer.more() || answer.kvs().is_empty() {
                break;
            }
            first = self.names().part(revision, &said.id, parts);
        }
        if (parts, bytes.len()) == (said.parts, said.bytes) {
            Ok(bytes.freeze())
        } else {
            Err(RecordError::malformed(key, "parts of it are missing").into())
        }
    }
}

fn another_than(head: &Head, known: &Head) -> LogError {
    LogError::Another {
        found: head.revision,
        known: known.revision,
    }
}
