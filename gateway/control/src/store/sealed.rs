//! Entries and states as they leave the machine: sealed with the key that all edges have, each bound to the
//! fleet and to its place. Who keeps the log can hold them back. They cannot read them, change them, or
//! put one in the place of another. And each is bound to the format of the store that made it: an edge of another
//! format cannot even open it, whatever it believes of the fleet.

use crate::model::hex::hex;
use crate::store::ledger::Mark;
use crate::store::seal::{Seal, SealError};
use crate::store::transaction::Transaction;
use crate::store::{FORMAT, StoreError};

/// What an entry is sealed for: the place that it follows.
fn entry_purpose(fleet: &str, after: Mark) -> String {
    format!(
        "fleet/{fleet}/format/{FORMAT}/entry/{}/{}",
        after.revision,
        hex(&after.digest)
    )
}

/// What a part of a state is sealed for; the last one says so, so that none is missing.
fn part_purpose(fleet: &str, mark: Mark, number: usize, is_last: bool) -> String {
    let place = if is_last { "last" } else { "more" };
    let (revision, digest) = (mark.revision, hex(&mark.digest));
    format!("fleet/{fleet}/format/{FORMAT}/state/{revision}/{digest}/{number}/{place}")
}

/// What the proof of the key is sealed for.
fn proof_purpose(fleet: &str) -> String {
    format!("fleet/{fleet}/proof")
}

fn unreadable(what: &str) -> StoreError {
    StoreError::Corrupt(format!(
        "{what} in the fleet's log cannot be opened with this edge's key: it was made with another key, by a \
         version whose store has another format than {FORMAT}, or changed by something else"
    ))
}

/// Seals a transaction as the entry behind `after`.
pub(crate) fn seal_entry(
    seal: &Seal,
    fleet: &str,
    after: Mark,
    transaction: &Transaction,
) -> Result<Vec<u8>, SealError> {
    seal.seal_bytes(&entry_purpose(fleet, after), &transaction.encode())
}

/// Opens the entry behind `after`.
pub(crate) fn open_entry(
    seal: &Seal,
    fleet: &str,
    after: Mark,
    bytes: &[u8],
) -> Result<Transaction, StoreError> {
    let opened = seal.open_bytes(&entry_purpose(fleet, after), bytes);
    let opened = opened.map_err(|_wrong| unreadable("an entry"))?;
    let transaction = Transaction::decode(opened.reveal())
        .map_err(|why| StoreError::Corrupt(format!("an entry of the fleet's log: {why}")))?;
    if Some(transaction.revision) != after.revision.checked_add(1) {
        return Err(unreadable("an entry"));
    }
    Ok(transaction)
}

/// Seals the parts of a state.
pub(crate) fn seal_parts(
    seal: &Seal,
    fleet: &str,
    mark: Mark,
    parts: &[Transaction],
) -> Result<Vec<Vec<u8>>, SealError> {
    let last = parts.len().saturating_sub(1);
    let sealed = parts.iter().enumerate().map(|(number, part)| {
        let purpose = part_purpose(fleet, mark, number, number == last);
        seal.seal_bytes(&purpose, &part.encode())
    });
    sealed.collect()
}

/// Opens the parts of a state.
pub(crate) fn open_parts(
    seal: &Seal,
    fleet: &str,
    mark: Mark,
    parts: &[Vec<u8>],
) -> Result<Vec<Transaction>, StoreError> {
    let last = parts.len().saturating_sub(1);
    let opened = parts.iter().enumerate().map(|(number, part)| {
        let purpose = part_purpose(fleet, mark, number, number == last);
        let opened = seal.open_bytes(&purpose, part);
        let opened = opened.map_err(|_wrong| unreadable("a part of the state"))?;
        let part = Transaction::decode(opened.reveal());
        let part = part.map_err(|why| StoreError::Corrupt(format!("the fleet's state: {why}")))?;
        if part.revision == mark.revision {
            Ok(part)
        } else {
            Err(unreadable("a part of the state"))
        }
    });
    opened.collect()
}

/// What shows that an edge has the fleet's key.
pub(crate) fn seal_proof(seal: &Seal, fleet: &str) -> Result<Vec<u8>, SealError> {
    seal.seal_bytes(&proof_purpose(fleet), fleet.as_bytes())
}

/// Whether the key is the one that made the proof.
pub(crate) fn proves(seal: &Seal, fleet: &str, proof: &[u8]) -> bool {
    let opened = seal.open_bytes(&proof_purpose(fleet), proof);
    opened.is_ok_and(|opened| opened.reveal() == fleet.as_bytes())
}
