//! A fleet's whole state in etcd, for edges that are too far behind to follow the log, and new ones.
//!
//! Its parts are written under an id of its own, and nobody sees them until one key, the manifest, names
//! the id: two that write at once do not mix. While one is being written a mark under a lease says so, and
//! the manifest is put only as long as the mark is there; so what has neither mark nor manifest is of
//! nobody, for ever, and is removed.

use std::collections::BTreeSet;

use bytes::Bytes;
use etcd_client::{
    Compare, CompareOp, GetOptions, KeyValue, PutOptions, Txn, TxnOp, TxnOpResponse,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};

use crate::founding::{Founding, write_record};
use crate::lease::{Lease, Signed};
use crate::limits::{
    PAGE_PARTS, PART_TIMEOUT, PART_TRY_TIMEOUT, QUESTION_TIMEOUT, RETRY, SNAPSHOT_BYTES_MAX,
    SNAPSHOT_SIGN_PARTS, SNAPSHOT_WRITER_TTL_SEC, VALUE_BYTES_MAX,
};
use crate::log::{Log, LogError, answers, new_id, now};
use crate::past::write_past;
use crate::record::{FORMAT, Head, RecordError, check_form, hex, write_head};

/// Which snapshot there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotHead {
    /// Where in the log it stands: what follows is behind this head.
    pub head: Head,
    /// Which edge wrote it.
    pub edge: String,
    /// When, in milliseconds since 1970, by that edge's clock.
    pub at: u64,
    /// How large it is.
    pub bytes: u64,
    /// How many parts it has.
    pub parts: u64,
    /// SHA-256 of all its bytes, in hexadecimal digits.
    pub sha256: String,
    /// Tells it from every other one.
    id: String,
}

/// Why a snapshot was not written, or not read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// etcd cannot be asked.
    #[error(transparent)]
    Log(#[from] LogError),
    /// It would be too large.
    #[error("the state is larger than {SNAPSHOT_BYTES_MAX} bytes, and a fleet takes no more")]
    TooLarge,
    /// Whoever gave its bytes, or took them, could not go on.
    #[error("{0}")]
    Caller(String),
    /// There is one already of this revision, or of a later one.
    #[error("etcd has a snapshot of revision {0} already")]
    Older(u64),
    /// It took so long that etcd believes the writer to be dead.
    #[error("the snapshot took too long to write")]
    TooSlow,
    /// A newer one has taken its place while it was read. What was read of it is worth nothing.
    #[error("the snapshot was replaced while it was read")]
    Replaced,
    /// Its bytes are not the ones that were written.
    #[error("the snapshot in etcd is damaged: {0}")]
    Damaged(String),
    /// The fleet is founded already.
    #[error("etcd has a fleet of this name already")]
    Founded,
}

impl From<etcd_client::Error> for SnapshotError {
    fn from(error: etcd_client::Error) -> Self {
        Self::Log(error.into())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    id: String,
    revision: u64,
    digest: crate::record::Digest,
    edge: String,
    at: u64,
    bytes: u64,
    parts: u64,
    sha256: String,
}

fn read_manifest(key: &str, value: &[u8]) -> Result<SnapshotHead, RecordError> {
    check_form(key, value)?;
    let stored: Stored =
        serde_json::from_slice(value).map_err(|why| RecordError::malformed(key, why))?;
    if stored.bytes > SNAPSHOT_BYTES_MAX {
        let why = "it is larger than any snapshot may be";
        return Err(RecordError::malformed(key, why));
    }
    Ok(SnapshotHead {
        head: Head {
            revision: stored.revision,
            digest: stored.digest,
        },
        edge: stored.edge,
        at: stored.at,
        bytes: stored.bytes,
        parts: stored.parts,
        sha256: stored.sha256,
        id: stored.id,
    })
}

fn write_manifest(head: &SnapshotHead) -> Vec<u8> {
    let stored = Stored {
        format: FORMAT,
        id: head.id.clone(),
        revision: head.head.revision,
        digest: head.head.digest,
        edge: head.edge.clone(),
        at: head.at,
        bytes: head.bytes,
        parts: head.parts,
        sha256: head.sha256.clone(),
    };
    serde_json::to_vec(&stored).unwrap_or_default()
}

impl Log {
    /// The snapshot that there is.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn snapshot(&self) -> Result<Option<SnapshotHead>, LogError> {
        let key = self.names().snapshot();
        let answer = self.values().await?.get(key.clone(), None).await?;
        let read = |stored: &KeyValue| read_manifest(&key, stored.value());
        Ok(answer.kvs().first().map(read).transpose()?)
    }

    /// Writes a snapshot of the state at `head`. The one that it replaces is removed.
    ///
    /// # Errors
    /// See [`SnapshotError`]; nothing is seen of it then.
    pub async fn put_snapshot(
        &self,
        head: &Head,
        parts: impl IntoIterator<Item = Result<Bytes, String>>,
    ) -> Result<SnapshotHead, SnapshotError> {
        let mut writing = self.write_snapshot(head).await?;
        writing.add_all(parts).await?;
        writing.finish().await
    }

    /// Founds a fleet whose state is `parts` at `head`. An edge sees all of it or nothing: the snapshot, the
    /// record and the head are there at once, unless there is a head already.
    ///
    /// # Errors
    /// [`SnapshotError::Founded`] when there is a fleet of this name; see [`SnapshotError`].
    pub async fn found(
        &self,
        head: &Head,
        founding: &Founding,
        parts: impl IntoIterator<Item = Result<Bytes, String>>,
    ) -> Result<(), SnapshotError> {
        let mut writing = self.write_snapshot(head).await?;
        writing.add_all(parts).await?;
        writing.found(founding).await
    }

    /// Begins to write a snapshot.
    pub(crate) async fn write_snapshot(&self, head: &Head) -> Result<Writing, SnapshotError> {
        let end = Instant::now() + QUESTION_TIMEOUT;
        let grant = async |log: Self| Lease::grant(&log, SNAPSHOT_WRITER_TTL_SEC).await;
        let lease = self.until(end, grant).await?;
        let id = new_id().map_err(LogError::from)?;
        let mark = self.names().snapshot_writer(&id);
        let put = async |log: Self| {
            let options = PutOptions::new().with_lease(lease.id);
            let mut values = log.values().await?;
            values
                .put(mark.clone(), log.edge(), Some(options))
                .await
                .map(drop)?;
            Ok(())
        };
        self.until(end, put).await?;
        Ok(Writing {
            log: self.clone(),
            lease,
            rest: Vec::new(),
            hash: Sha256::new(),
            written: SnapshotHead {
                head: *head,
                edge: self.edge().to_owned(),
                at: now(),
                bytes: 0,
                parts: 0,
                sha256: String::new(),
                id,
            },
        })
    }

    /// Reads a snapshot, part after part. What `each` was given is to be believed only when this is well.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub async fn read_snapshot(
        &self,
        head: &SnapshotHead,
        mut each: impl FnMut(Bytes) -> Result<(), String>,
    ) -> Result<(), SnapshotError> {
        let mut reading = Reading::of(self, head);
        while let Some(page) = reading.next().await? {
            for part in page {
                each(part).map_err(SnapshotError::Caller)?;
            }
        }
        Ok(())
    }

    /// Removes the parts of snapshots that are of nobody: replaced, or of an edge that died while it wrote.
    /// Answers of how many.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn sweep_snapshots(&self) -> Result<usize, LogError> {
        let mut found = BTreeSet::new();
        let mut first = self.names().snapshots();
        // '0' follows '/'.
        let end = format!("{}0", first.trim_end_matches('/'));
        loop {
            let range = GetOptions::new().with_range(end.clone());
            let one = range.with_limit(1).with_keys_only();
            let answer = self.values().await?.get(first, Some(one)).await?;
            let Some(part) = answer.kvs().first() else {
                break;
            };
            let Some(id) = self.names().snapshot_owner(part.key()) else {
                break;
            };
            let next = self.names().snapshot_parts(id);
            first = format!("{}0", next.trim_end_matches('/'));
            found.insert(id.to_owned());
        }
        let mut removed = 0;
        for id in found {
            // Asked after its parts were seen: its mark was there before them.
            let ops = [
                TxnOp::get(self.names().snapshot(), None),
                TxnOp::get(self.names().snapshot_writer(&id), None),
            ];
            let mut values = self.values().await?;
            let answer = values.txn(Txn::new().and_then(ops)).await?;
            let [manifest, mark] = answers(&answer)?;
            let key = self.names().snapshot();
            let is_named = match manifest.kvs().first() {
                Some(manifest) => read_manifest(&key, manifest.value())?.id == id,
                None => false,
            };
            if !is_named && mark.kvs().is_empty() {
                self.remove_all(self.names().snapshot_parts(&id)).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// A snapshot that is being written.
pub(crate) struct Writing {
    log: Log,
    lease: Lease,
    /// What does not fill a part yet.
    rest: Vec<u8>,
    hash: Sha256,
    written: SnapshotHead,
}

impl Writing {
    async fn add_all(
        &mut self,
        parts: impl IntoIterator<Item = Result<Bytes, String>>,
    ) -> Result<(), SnapshotError> {
        for part in parts {
            match part {
                Ok(bytes) => self.add(&bytes).await?,
                Err(why) => {
                    self.forget().await;
                    return Err(SnapshotError::Caller(why));
                }
            }
        }
        Ok(())
    }

    /// Writes more of it.
    pub(crate) async fn add(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.hash.update(bytes);
        self.written.bytes += bytes.len() as u64;
        if self.written.bytes > SNAPSHOT_BYTES_MAX {
            self.forget().await;
            return Err(SnapshotError::TooLarge);
        }
        self.rest.extend_from_slice(bytes);
        while self.rest.len() >= VALUE_BYTES_MAX {
            let after = self.rest.split_off(VALUE_BYTES_MAX);
            let part = std::mem::replace(&mut self.rest, after);
            self.put(&part).await?;
        }
        Ok(())
    }

    async fn put(&mut self, part: &[u8]) -> Result<(), SnapshotError> {
        let number = self.written.parts;
        if number > 0 && number.is_multiple_of(SNAPSHOT_SIGN_PARTS) {
            let asked = self.log.asks();
            match self.lease.sign(&self.log).await {
                Signed::Kept => {}
                Signed::Gone => return Err(SnapshotError::TooSlow),
                // There is time for others, and the mark is looked for at the end.
                Signed::Failed(_) => self.log.move_on_from(asked).await,
            }
        }
        let key = self.log.names().snapshot_part(&self.written.id, number);
        let end = Instant::now() + QUESTION_TIMEOUT.max(PART_TIMEOUT);
        self.log.put_until(end, &key, part).await?;
        self.written.parts += 1;
        Ok(())
    }

    async fn last(&mut self) -> Result<(), SnapshotError> {
        let part = std::mem::take(&mut self.rest);
        if !part.is_empty() {
            self.put(&part).await?;
        }
        self.written.sha256 = hex(&self.hash.clone().finalize());
        Ok(())
    }

    /// Makes it the snapshot that there is, unless there is one as new.
    pub(crate) async fn finish(mut self) -> Result<SnapshotHead, SnapshotError> {
        self.last().await?;
        let key = self.log.names().snapshot();
        let mark = self.log.names().snapshot_writer(&self.written.id);
        let manifest = write_manifest(&self.written);
        let end = Instant::now() + QUESTION_TIMEOUT;
        loop {
            let get = async |log: Log| Ok(log.values().await?.get(key.clone(), None).await?);
            let answer = self.log.until(end, get).await?;
            let (mut changed, mut known) = (0, None);
            if let Some(stored) = answer.kvs().first() {
                changed = stored.mod_revision();
                known = Some(read_manifest(&key, stored.value()).map_err(LogError::from)?);
            }
            match known {
                // The answer to the last try was lost.
                Some(known) if known.id == self.written.id => break,
                Some(known) if known.head.revision >= self.written.head.revision => {
                    self.forget().await;
                    return Err(SnapshotError::Older(known.head.revision));
                }
                _ => {}
            }
            let txn = Txn::new()
                .when([
                    Compare::mod_revision(key.clone(), CompareOp::Equal, changed),
                    Compare::create_revision(mark.clone(), CompareOp::Greater, 0),
                ])
                .and_then([
                    TxnOp::put(key.clone(), manifest.clone(), None),
                    TxnOp::delete(mark.clone(), None),
                ])
                .or_else([TxnOp::get(mark.clone(), None)]);
            let asked = self.log.asks();
            let commit = async { Ok::<_, LogError>(self.log.values().await?.txn(txn).await?) };
            let answer = match commit.await {
                Ok(answer) => answer,
                Err(error) if error.is_no_space() && self.is_there(end).await => break,
                // Whether it was done is seen by what there is.
                Err(error) if error.may_pass() && Instant::now() < end => {
                    self.log.move_on_from(asked).await;
                    sleep(RETRY.0).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if answer.succeeded() {
                break;
            }
            self.check_mark(&answer.op_responses())?;
        }
        self.end().await;
        if let Err(error) = self.log.sweep_snapshots().await {
            tracing::debug!(%error, "the snapshot that was replaced is left for the next sweep");
        }
        Ok(self.written)
    }

    /// Makes it the beginning of a fleet.
    pub(crate) async fn found(mut self, founding: &Founding) -> Result<(), SnapshotError> {
        self.last().await?;
        let names = self.log.names();
        let (head, mark) = (names.head(), names.snapshot_writer(&self.written.id));
        let record = write_record(founding, self.log.edge());
        let past = names.past(self.written.head.revision);
        let txn = Txn::new()
            .when([
                Compare::create_revision(head.clone(), CompareOp::Equal, 0),
                Compare::create_revision(mark.clone(), CompareOp::Greater, 0),
            ])
            .and_then([
                TxnOp::put(names.snapshot(), write_manifest(&self.written), None),
                TxnOp::put(names.record(), record, None),
                TxnOp::put(head, write_head(&self.written.head), None),
                TxnOp::put(past, write_past(&[self.written.head.digest]), None),
                TxnOp::delete(mark.clone(), None),
            ])
            .or_else([
                TxnOp::get(mark.clone(), None),
                TxnOp::get(names.snapshot(), None),
            ]);
        let txn = &txn;
        let ask = |log: Log| async move { Ok(log.values().await?.txn(txn.clone()).await?) };
        let end = Instant::now() + QUESTION_TIMEOUT;
        match self.log.until(end, ask).await {
            Ok(answer) if answer.succeeded() || self.is_named(&answer.op_responses()) => {}
            Ok(answer) => {
                self.check_mark(&answer.op_responses())?;
                self.forget().await;
                return Err(SnapshotError::Founded);
            }
            Err(error) if error.is_no_space() && self.is_there(end).await => {}
            Err(error) => return Err(error.into()),
        }
        self.end().await;
        Ok(())
    }

    /// Whether it is the snapshot that etcd has: then an answer was lost, and it was done.
    fn is_named(&self, ops: &[TxnOpResponse]) -> bool {
        let key = self.log.names().snapshot();
        ops.iter().any(|op| match op {
            TxnOpResponse::Get(found) => found.kvs().first().is_some_and(|stored| {
                stored.key() == key.as_bytes()
                    && read_manifest(&key, stored.value())
                        .is_ok_and(|known| known.id == self.written.id)
            }),
            _ => false,
        })
    }

    /// The same, asked: an etcd whose space is used up says so of what it has done, too.
    async fn is_there(&self, end: Instant) -> bool {
        let look = async |log: Log| log.snapshot().await;
        let there = self.log.until(end, look).await;
        matches!(there, Ok(Some(known)) if known.id == self.written.id)
    }

    /// Whether etcd knows that this is being written.
    fn check_mark(&self, ops: &[TxnOpResponse]) -> Result<(), SnapshotError> {
        let mark = self.log.names().snapshot_writer(&self.written.id);
        let is_there = ops.iter().any(|op| match op {
            TxnOpResponse::Get(found) => found
                .kvs()
                .iter()
                .any(|stored| stored.key() == mark.as_bytes()),
            _ => false,
        });
        if is_there {
            Ok(())
        } else {
            Err(SnapshotError::TooSlow)
        }
    }

    /// Removes what was written of it.
    pub(crate) async fn forget(&self) {
        let parts = self.log.names().snapshot_parts(&self.written.id);
        self.log.remove_unneeded(parts).await;
        self.end().await;
    }

    /// The mark is no longer needed.
    async fn end(&self) {
        // If that fails, the lease ends by itself.
        let _ends_later = self.lease.revoke(&self.log).await;
    }
}

/// A snapshot that is being read.
pub(crate) struct Reading {
    log: Log,
    head: SnapshotHead,
    hash: Sha256,
    bytes: u64,
    parts: u64,
    is_over: bool,
}

impl Reading {
    pub(crate) fn of(log: &Log, head: &SnapshotHead) -> Self {
        Self {
            log: log.clone(),
            head: head.clone(),
            hash: Sha256::new(),
            bytes: 0,
            parts: 0,
            is_over: false,
        }
    }

    /// More of it; nothing when there is no more, and what came is what was written.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Bytes>>, SnapshotError> {
        if self.is_over {
            return Ok(None);
        }
        if self.parts == self.head.parts {
            self.is_over = true;
            let digest = hex(&self.hash.clone().finalize());
            if (self.bytes, &digest) != (self.head.bytes, &self.head.sha256) {
                let why = format!("{} bytes with the digest {digest}", self.bytes);
                return Err(SnapshotError::Damaged(why));
            }
            return Ok(None);
        }
        let names = self.log.names();
        let first = names.snapshot_part(&self.head.id, self.parts);
        let end = names.snapshot_part(&self.head.id, self.head.parts);
        let (first, end) = (&first, &end);
        let ask = |log: Log| async move {
            let range = GetOptions::new().with_range(end.as_str());
            let page = range.with_limit(PAGE_PARTS);
            let mut values = log.values().await?;
            Ok(values.get(first.as_str(), Some(page)).await?)
        };
        let until = Instant::now() + QUESTION_TIMEOUT;
        let answer = self.log.within(PART_TRY_TIMEOUT, until, ask).await?;
        let mut page = Vec::new();
        for stored in answer.kvs() {
            let wanted = self.log.names().snapshot_part(&self.head.id, self.parts);
            if stored.key() != wanted.as_bytes() {
                return Err(self.missing().await);
            }
            let part = Bytes::copy_from_slice(stored.value());
            self.parts += 1;
            self.bytes += part.len() as u64;
            if self.bytes > self.head.bytes {
                return Err(SnapshotError::Damaged(
                    "it has more bytes than it says".into(),
                ));
            }
            self.hash.update(&part);
            page.push(part);
        }
        if page.is_empty() {
            return Err(self.missing().await);
        }
        Ok(Some(page))
    }

    /// A part is not there.
    async fn missing(&self) -> SnapshotError {
        match self.log.snapshot().await {
            Ok(Some(known)) if known.id == self.head.id => {
                SnapshotError::Damaged(format!("part {} is missing", self.parts))
            }
            Ok(_) => SnapshotError::Replaced,
            Err(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Digest;

    #[test]
    fn manifests_are_read_back_and_nothing_else_is() {
        let head = SnapshotHead {
            head: Head {
                revision: 7,
                digest: Digest::NONE.then(7, b"x"),
            },
            edge: "a".into(),
            at: 1,
            bytes: 3,
            parts: 1,
            sha256: hex(&[7; 32]),
            id: "i".into(),
        };
        let value = write_manifest(&head);
        assert_eq!(read_manifest("k", &value), Ok(head.clone()));
        for length in 0..value.len() {
            assert!(read_manifest("k", &value[..length]).is_err(), "{length}");
        }
        let large = SnapshotHead {
            bytes: SNAPSHOT_BYTES_MAX + 1,
            ..head
        };
        assert!(read_manifest("k", &write_manifest(&large)).is_err());
    }
}
