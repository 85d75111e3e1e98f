//! The log in etcd: read from a head on, and added to by compare-and-swap of its head.
//!
//! An entry's parts are written before it; nobody sees them until the head names the entry. What a lost
//! race or a crash leaves of them is removed by [`Log::sweep`].

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use boring::rand::rand_bytes;
use bytes::{Bytes, BytesMut};
use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, Error, GetOptions, GetResponse, KvClient, Txn,
    TxnOp, TxnOpResponse, TxnResponse, WatchClient,
};

use crate::engine::{Engine, EngineError};
use crate::limits::{
    ENTRY_BYTES_MAX, MESSAGE_BYTES_MAX, OUTCOME_TRIES, PAGE_ENTRIES, VALUE_BYTES_MAX,
};
use crate::names::{FleetName, Names};
use crate::record::{
    Entry, EntryHead, FORMAT, Head, RecordError, read_entry, read_head, write_entry, write_head,
};

/// Why the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// etcd does not answer, or says no.
    #[error("etcd cannot be asked: {0}")]
    Engine(#[from] EngineError),
    /// The system has no random bytes.
    #[error("there are no random bytes: {0}")]
    Random(#[from] boring::error::ErrorStack),
    /// etcd answers something else than it was asked.
    #[error("etcd answers something else than it was asked")]
    Answer,
    /// Nothing is kept under this name.
    #[error("etcd has no fleet of this name")]
    None,
    /// What is there is not understood.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The entry that follows was removed: too long ago.
    #[error("etcd has no entry {0} any more")]
    Trimmed(u64),
    /// The log is not the one that was followed: another fleet's, or an old copy of it.
    #[error(
        "the log in etcd is at revision {found}, and is not the one that was followed to {known}"
    )]
    Another {
        /// Its last revision.
        found: u64,
        /// The last revision that was taken from the other one.
        known: u64,
    },
}

impl From<Error> for LogError {
    fn from(error: Error) -> Self {
        Self::Engine(error.into())
    }
}

/// Why an entry was not added.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another edge was first. What follows is to be read, and the change to be judged again.
    #[error("another edge has changed the fleet meanwhile")]
    Moved,
    /// It is larger than an entry may be.
    #[error("the change is {0} bytes large, and a fleet takes {ENTRY_BYTES_MAX} at once")]
    TooLarge(usize),
    /// Nothing was added.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The answer was lost, and it could not be found out whether it was added.
    #[error("etcd's answer was lost, and it is not known whether the change was made: {0}")]
    Unknown(LogError),
}

/// Entries, one after the other.
#[derive(Debug)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where the log ended when they were read.
    pub head: Head,
    /// etcd's own number of that moment, from which on changes can be watched.
    pub(crate) seen: i64,
}

/// The log of one fleet.
#[derive(Clone)]
pub struct Log {
    engine: Engine,
    names: Names,
    edge: String,
    client: Client,
}

impl Log {
    /// The log of a fleet, for the edge of this name.
    ///
    /// # Errors
    /// etcd does not take our user, or cannot be asked.
    pub async fn open(engine: Engine, fleet: &FleetName, edge: &str) -> Result<Self, LogError> {
        let client = engine.client().await?;
        Ok(Self {
            engine,
            names: Names::of(fleet),
            edge: edge.to_owned(),
            client,
        })
    }

    /// Asks another member from now on.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn move_on(&mut self) -> Result<(), LogError> {
        self.engine.move_on();
        self.client = self.engine.client().await?;
        Ok(())
    }

    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    pub(crate) fn watcher(&self) -> WatchClient {
        let watcher = self.client.watch_client();
        watcher.max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn values(&self) -> KvClient {
        let values = self.client.kv_client();
        values.max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Begins a log at `head`, unless there is one.
    ///
    /// # Errors
    /// [`AppendError::Moved`] when there is one.
    pub async fn found(&self, head: &Head) -> Result<(), AppendError> {
        let key = self.names.head();
        let is_new = Compare::create_revision(key.clone(), CompareOp::Equal, 0);
        let put = TxnOp::put(key, write_head(head), None);
        let txn = Txn::new().when([is_new]).and_then([put]);
        let answer = self.values().txn(txn).await.map_err(LogError::from)?;
        if answer.succeeded() {
            Ok(())
        } else {
            Err(AppendError::Moved)
        }
    }

    /// Where the log ends.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn head(&self) -> Result<Head, LogError> {
        let key = self.names.head();
        let answer = self.values().get(key.clone(), None).await?;
        let value = answer.kvs().first().ok_or(LogError::None)?;
        Ok(read_head(&key, value.value())?)
    }

    /// Adds an entry behind `head`, and answers the new head.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(&self, head: &Head, bytes: &[u8]) -> Result<Head, AppendError> {
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(AppendError::TooLarge(bytes.len()));
        }
        let next = head.then(bytes);
        let parts = if bytes.len() <= VALUE_BYTES_MAX {
            0
        } else {
            bytes.len().div_ceil(VALUE_BYTES_MAX)
        };
        let entry = EntryHead {
            format: FORMAT,
            edge: self.edge.clone(),
            at: now(),
            id: new_id().map_err(LogError::from)?,
            digest: next.digest,
            bytes: bytes.len(),
            parts,
        };
        if parts > 0 {
            for (number, part) in bytes.chunks(VALUE_BYTES_MAX).enumerate() {
                let key = self.names.part(next.revision, &entry.id, number);
                let mut values = self.values();
                values.put(key, part, None).await.map_err(LogError::from)?;
            }
        }
        let inline = if parts > 0 { &[][..] } else { bytes };
        let value = write_entry(&entry, inline);
        let added = self.swap(head, &next, &value).await;
        if !matches!(added, Ok(_) | Err(AppendError::Unknown(_))) && parts > 0 {
            self.remove(self.names.parts_of(next.revision, &entry.id))
                .await;
        }
        added
    }

    /// Puts `next` in the place of `head`, with its entry. When an answer is lost, asks for the same again:
    /// what was done the first time is found then.
    async fn swap(&self, head: &Head, next: &Head, value: &[u8]) -> Result<Head, AppendError> {
        let head_key = self.names.head();
        let entry_key = self.names.entry(next.revision);
        let txn = Txn::new()
            .when([Compare::value(
                head_key.clone(),
                CompareOp::Equal,
                write_head(head),
            )])
            .and_then([
                TxnOp::put(head_key, write_head(next), None),
                TxnOp::put(entry_key.clone(), value, None),
            ])
            .or_else([TxnOp::get(entry_key, None)]);
        let mut lost = None;
        for _ in 0..OUTCOME_TRIES {
            match self.values().txn(txn.clone()).await {
                Ok(answer) if answer.succeeded() => return Ok(*next),
                Ok(answer) => {
                    let there = answer.op_responses().into_iter().find_map(|op| match op {
                        TxnOpResponse::Get(found) => found.kvs().first().cloned(),
                        _ => None,
                    });
                    return match there {
                        Some(there) if there.value() == value => Ok(*next),
                        _ => Err(AppendError::Moved),
                    };
                }
                // After a lost answer, a refusal does not say that nothing was added.
                Err(error) if lost.is_none() && was_refused(&error) => {
                    return Err(LogError::from(error).into());
                }
                Err(error) => lost = Some(error),
            }
        }
        let lost = lost.unwrap_or_else(|| Error::Internal("it was not asked".into()));
        Err(AppendError::Unknown(lost.into()))
    }

    /// Removes what begins with `prefix`, which nobody needs; if that fails, the sweep does it.
    async fn remove(&self, prefix: String) {
        let options = DeleteOptions::new().with_prefix();
        if let Err(error) = self.values().delete(prefix, Some(options)).await {
            tracing::debug!(%error, "parts of an entry that is not there are left for the sweep");
        }
    }

    /// Removes the entries below `revision`, with their parts. Edges that have not read them yet need a
    /// whole copy then.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn trim(&self, revision: u64) -> Result<(), LogError> {
        let below = |first: String, end: String| {
            TxnOp::delete(first, Some(DeleteOptions::new().with_range(end)))
        };
        let ops = [
            below(self.names.entry(0), self.names.entry(revision)),
            below(self.names.parts_at(0), self.names.parts_at(revision)),
        ];
        self.values().txn(Txn::new().and_then(ops)).await?;
        Ok(())
    }

    /// Removes parts that belong to no entry: of a race that was lost, or of an edge that died. Those of a
    /// revision that is still to come are left alone. Answers of how many entries.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn sweep(&self) -> Result<usize, LogError> {
        let head = self.head().await?;
        let keys = GetOptions::new().with_prefix().with_keys_only();
        let parts = self.values().get(self.names.parts(), Some(keys)).await?;
        let owners = parts.kvs().iter().filter_map(|part| {
            let (revision, id) = self.names.owner(part.key())?;
            (revision <= head.revision).then(|| (revision, id.to_owned()))
        });
        let mut removed = 0;
        for (revision, id) in owners.collect::<BTreeSet<_>>() {
            let key = self.names.entry(revision);
            let entry = self.values().get(key.clone(), None).await?;
            let is_its = match entry.kvs().first() {
                Some(entry) => read_entry(&key, entry.value())?.0.id == id,
                None => false,
            };
            if !is_its {
                self.remove(self.names.parts_of(revision, &id)).await;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// The entries behind `known`, as many as are read at once. None when there are none.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn after(&self, known: &Head) -> Result<Page, LogError> {
        let head_key = self.names.head();
        let first = self.names.entry(known.revision + 1);
        let range = GetOptions::new()
            .with_range(self.names.entries_end())
            .with_limit(PAGE_ENTRIES);
        // In one transaction, so that the head is the one of the same moment.
        let ops = [
            TxnOp::get(head_key.clone(), None),
            TxnOp::get(first, Some(range)),
        ];
        let answer = self.values().txn(Txn::new().and_then(ops)).await?;
        let seen = answer.header().map_or(0, |header| header.revision());
        let [stored, following] = two_answers(&answer)?;
        let head = stored.kvs().first().ok_or(LogError::None)?;
        let head = read_head(&head_key, head.value())?;
        if head.revision < known.revision || head.revision == known.revision && head != *known {
            return Err(another_than(&head, known));
        }
        let mut entries = Vec::new();
        let mut last = *known;
        for stored in following.kvs() {
            let key = String::from_utf8_lossy(stored.key()).into_owned();
            let revision = self.names.revision(stored.key());
            let wanted = last.revision + 1;
            if revision != Some(wanted) {
                return Err(LogError::Trimmed(wanted));
            }
            let entry = self.entry(&key, stored.value(), &last).await?;
            let entry = entry.ok_or_else(|| another_than(&head, known))?;
            last = entry.head;
            entries.push(entry);
        }
        if entries.is_empty() && head.revision > known.revision {
            return Err(LogError::Trimmed(known.revision + 1));
        }
        if last.revision == head.revision && last != head {
            return Err(another_than(&head, known));
        }
        Ok(Page {
            entries,
            head,
            seen,
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
        let mut first = self.names.part(revision, &said.id, 0);
        let end = self.names.part(revision, &said.id, said.parts);
        let mut parts = 0;
        loop {
            let range = GetOptions::new()
                .with_range(end.clone())
                .with_limit(PAGE_ENTRIES);
            let answer = self.values().get(first.clone(), Some(range)).await?;
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
            first = self.names.part(revision, &said.id, parts);
        }
        if (parts, bytes.len()) == (said.parts, said.bytes) {
            Ok(bytes.freeze())
        } else {
            Err(RecordError::malformed(key, "parts of it are missing").into())
        }
    }
}

/// What two gets of one transaction found.
fn two_answers(answer: &TxnResponse) -> Result<[GetResponse; 2], LogError> {
    let gets = answer.op_responses().into_iter().filter_map(|op| match op {
        TxnOpResponse::Get(found) => Some(found),
        _ => None,
    });
    let gets: Vec<GetResponse> = gets.collect();
    gets.try_into().map_err(|_other: Vec<_>| LogError::Answer)
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    u64::try_from(millis).unwrap_or(u64::MAX)
}

fn new_id() -> Result<String, boring::error::ErrorStack> {
    let mut bytes = [0; 16];
    rand_bytes(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn another_than(head: &Head, known: &Head) -> LogError {
    LogError::Another {
        found: head.revision,
        known: known.revision,
    }
}

/// Whether etcd has said no, so that nothing was done.
fn was_refused(error: &Error) -> bool {
    use tonic::Code;
    matches!(
        error,
        Error::GRpcStatus(status) if matches!(
            status.code(),
            Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated
                | Code::FailedPrecondition | Code::ResourceExhausted | Code::OutOfRange
        )
    )
}
