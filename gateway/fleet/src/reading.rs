//! What follows a place in the log, read.

use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use etcd_client::{GetOptions, Txn, TxnOp, TxnResponse};
use tokio::time::{Instant, timeout};

use crate::limits::{
    PAGE_BYTES_MAX, PAGE_ENTRIES, PAGE_PARTS, PAGE_SMALL_ENTRIES, PART_TRY_TIMEOUT,
    SMALL_ENTRY_BYTES,
};
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
    pub turn: Option<Turn>,
}

/// That an edge asks to go first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Its name.
    pub edge: String,
    /// Tells this time from every other one.
    pub number: i64,
}

impl Log {
    /// The entries behind `known`, as many as are read at once. None when there are none. One in parts is in a page
    /// with none before it. It may take as long as the link has to: each request has a time of its own.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn after(&self, known: &Head) -> Result<Page, LogError> {
        let begun = timeout(PART_TRY_TIMEOUT, self.begun(known)).await;
        self.page(known, &begun.unwrap_or(Err(LogError::Late))?)
            .await
    }

    /// The same, where member after member is asked for the beginning of the page.
    pub(crate) async fn after_until(&self, end: Instant, known: Head) -> Result<Page, LogError> {
        let begun = self.until(end, |log| async move { log.begun(&known).await });
        self.page(&known, &begun.await?).await
    }

    /// What there is behind `known`, without what is in parts, and the end of the log: the answer to one request.
    async fn begun(&self, known: &Head) -> Result<TxnResponse, LogError> {
        let at_once = &self.link.at_once;
        let limit = at_once.load(Ordering::Relaxed);
        let range = GetOptions::new()
            .with_range(self.names().entries_end())
            .with_limit(limit);
        // In one transaction, so that the head is the one of the same moment.
        let ops = [
            TxnOp::get(self.names().head(), None),
            TxnOp::get(self.names().entry(known.revision + 1), Some(range)),
            TxnOp::get(self.names().turn(), None),
        ];
        let mut values = self.values().await?;
        // Should they not come in time.
        at_once.store((limit / 4).max(1), Ordering::Relaxed);
        let answer = values.txn(Txn::new().and_then(ops)).await;
        at_once.store(limit, Ordering::Relaxed);
        Ok(answer?)
    }

    /// The page that this answer is.
    async fn page(&self, known: &Head, answer: &TxnResponse) -> Result<Page, LogError> {
        let head_key = self.names().head();
        let seen = answer.header().map_or(0, |header| header.revision());
        let [stored, following, turn] = answers(answer)?;
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
            let is_in_parts = read_entry(&key, stored.value())?.0.parts > 0;
            // It may take long. What comes before is given on first.
            if is_in_parts && !entries.is_empty() {
                break;
            }
            let entry = self.entry(&key, stored.value(), &last).await?;
            let entry = entry.ok_or_else(|| another_than(&head, known))?;
            last = entry.head;
            bytes += entry.bytes.len();
            entries.push(entry);
        }
        let is_small = |entry: &Entry| entry.bytes.len() <= SMALL_ENTRY_BYTES;
        let are_small = !entries.is_empty() && entries.iter().all(is_small);
        let at_once = &self.link.at_once;
        let limit = at_once.load(Ordering::Relaxed);
        let next = if limit < PAGE_ENTRIES {
            (2 * limit).min(PAGE_ENTRIES)
        } else if are_small {
            PAGE_SMALL_ENTRIES
        } else {
            PAGE_ENTRIES
        };
        at_once.store(next, Ordering::Relaxed);
        if entries.is_empty() && head.revision > known.revision {
            return Err(LogError::Trimmed(known.revision + 1));
        }
        if last.revision == head.revision && last != head {
            return Err(another_than(&head, known));
        }
        let turn = turn.kvs().first().and_then(|turn| {
            Some(Turn {
                edge: turn.value_str().ok()?.to_owned(),
                number: turn.mod_revision(),
            })
        });
        let turn = turn.filter(|turn| *turn.edge != *self.edge());
        Ok(Page {
            entries,
            head,
            seen,
            turn,
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
            let (from, to) = (first.as_str(), end.as_str());
            let ask = |log: Self| async move {
                let range = GetOptions::new().with_range(to).with_limit(PAGE_PARTS);
                let mut values = log.values().await?;
                Ok(values.get(from, Some(range)).await?)
            };
            // What came so far is kept when another member has to be asked.
            let until = Instant::now() + PART_TRY_TIMEOUT;
            let answer = self.within(PART_TRY_TIMEOUT, until, ask).await?;
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

pub(crate) fn another_than(head: &Head, known: &Head) -> LogError {
    LogError::Another {
        found: head.revision,
        known: known.revision,
    }
}
