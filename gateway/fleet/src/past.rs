//! What is kept of entries that were trimmed: their revisions' digests, shortened, so that an edge that was
//! away can tell whether what it has led to what is there now. Without them an edge would take the whole state
//! of a log that was restored from a backup, and lose what it alone still has, without a word.
//!
//! What an edge finds there guards against accidents. Who can write etcd can write this, too.

use etcd_client::{
    Compare, CompareOp, DeleteOptions, GetOptions, SortOrder, SortTarget, Txn, TxnOp,
};
use serde::{Deserialize, Serialize};

use crate::limits::{PAST_DIGEST_BYTES, PAST_PER_VALUE, PAST_REVISIONS};
use crate::log::{Log, LogError};
use crate::record::{Digest, FORMAT, Head, RecordError, check_form};

/// A digest's first bytes: they tell two histories apart, and are not compared for anything else.
type Short = [u8; PAST_DIGEST_BYTES];

/// What is said before the digests.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    count: usize,
}

/// Whether a head is one that the log had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// It is: what is in etcd came after it.
    Had,
    /// The log had another one at that revision.
    Other,
    /// That was too long ago.
    Unknown,
}

fn short(digest: &Digest) -> Short {
    digest.as_bytes().first_chunk().copied().unwrap_or_default()
}

/// Digests of revisions that follow each other, as a value.
pub(crate) fn write_past(digests: &[Digest]) -> Vec<u8> {
    let stored = Stored {
        format: FORMAT,
        count: digests.len(),
    };
    let mut value = serde_json::to_vec(&stored).unwrap_or_default();
    value.push(b'\n');
    value.extend(digests.iter().flat_map(short));
    value
}

/// The digest of the revision that is so far behind the value's first one, if it is among them.
fn read_past(key: &str, value: &[u8], behind: u64) -> Result<Option<Short>, RecordError> {
    let malformed = |why: &str| RecordError::malformed(key, why);
    let end = value.iter().position(|byte| *byte == b'\n');
    let (line, digests) = end
        .and_then(|end| value.split_at_checked(end))
        .ok_or_else(|| malformed("its line does not end"))?;
    check_form(key, line)?;
    let stored: Stored = serde_json::from_slice(line).map_err(|why| malformed(&why.to_string()))?;
    let digests = digests.get(1..).unwrap_or_default();
    let (digests, rest) = digests.as_chunks::<PAST_DIGEST_BYTES>();
    if digests.len() != stored.count || !rest.is_empty() {
        return Err(malformed("it has other digests than it says"));
    }
    let behind = usize::try_from(behind).unwrap_or(usize::MAX);
    Ok(digests.get(behind).copied())
}

impl Log {
    /// Removes these entries, which follow each other and are the oldest, with their parts, and notes what they led
    /// to. Edges that have not read them yet need a whole copy then. Answers of whether it was done: of two edges
    /// that both believe to lead, one does.
    ///
    /// # Errors
    /// See [`LogError`].
    pub(crate) async fn trim(&self, first: u64, digests: &[Digest]) -> Result<bool, LogError> {
        let names = self.names();
        let next = first + digests.len() as u64;
        let below = |first: String, end: String| {
            TxnOp::delete(first, Some(DeleteOptions::new().with_range(end)))
        };
        let removed = [
            below(names.entry(0), names.entry(next)),
            below(names.parts_at(0), names.parts_at(next)),
            below(
                names.past(0),
                names.past(first.saturating_sub(PAST_REVISIONS)),
            ),
        ];
        let noted = TxnOp::put(names.past(first), write_past(digests), None);
        let ops = [noted].into_iter().chain(removed.clone());
        match self.remove(first, ops).await {
            // Then nothing is noted, and room is made all the same: an edge that was away asks a person.
            Err(error) if error.is_no_space() => self.remove(first, removed).await,
            done => done,
        }
    }

    /// Does this if nobody has trimmed from there on.
    async fn remove(
        &self,
        first: u64,
        ops: impl IntoIterator<Item = TxnOp>,
    ) -> Result<bool, LogError> {
        let is_first = Compare::create_revision(self.names().past(first), CompareOp::Equal, 0);
        let ops: Vec<TxnOp> = ops.into_iter().collect();
        let txn = Txn::new().when([is_first]).and_then(ops);
        Ok(self.values().await?.txn(txn).await?.succeeded())
    }

    /// Whether the log once ended with this head, which was trimmed since.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn past(&self, head: &Head) -> Result<Past, LogError> {
        let names = self.names();
        let last = GetOptions::new()
            .with_range(names.past(head.revision.saturating_add(1)))
            .with_sort(SortTarget::Key, SortOrder::Descend)
            .with_limit(1);
        // etcd reads all of a range before it sorts.
        let begin = head.revision.saturating_sub(PAST_PER_VALUE as u64);
        let mut values = self.values().await?;
        let found = values.get(names.past(begin), Some(last)).await?;
        let Some(stored) = found.kvs().first() else {
            return Ok(Past::Unknown);
        };
        let key = String::from_utf8_lossy(stored.key()).into_owned();
        let first = names.past_first(stored.key()).ok_or(LogError::Answer)?;
        let behind = head.revision.saturating_sub(first);
        Ok(match read_past(&key, stored.value(), behind)? {
            Some(found) if found == short(&head.digest) => Past::Had,
            Some(_) => Past::Other,
            None => Past::Unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_found_by_their_place_and_nothing_else_is_read() {
        let digests: Vec<Digest> = (0..5)
            .map(|number| Digest::NONE.then(number, b"x"))
            .collect();
        let value = write_past(&digests);
        for (digest, behind) in digests.iter().zip(0..) {
            assert_eq!(read_past("k", &value, behind), Ok(Some(short(digest))));
        }
        assert_eq!(read_past("k", &value, 5), Ok(None));
        assert_eq!(read_past("k", &value, u64::MAX), Ok(None));
        for length in 0..value.len() {
            let cut = read_past("k", &value[..length], 0);
            assert!(
                matches!(cut, Err(RecordError::Malformed { .. })),
                "{length}"
            );
        }
        let mut longer = value;
        longer.push(0);
        assert!(read_past("k", &longer, 0).is_err());
    }
}
