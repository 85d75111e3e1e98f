//! The log in etcd, as the control plane wants it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::fleet::{
    AppendError, Digest, Fleet as Etcd, Founding, Head, LogError, Moment, SnapshotError, Standing,
    State,
};
use bytes::Bytes;
use control::{FleetState, Ledger, LedgerError, Mark, News};
use tokio::sync::watch;
use tokio::time::Instant;

use super::turns::Turns;
use crate::limits::{FLEET_AWAY, FLEET_TURN_LOOK};

/// Why nothing is taken or changed before the fleet's format was seen.
pub(super) const NOT_CHECKED: &str = "the format of the fleet's stores was not seen yet";

/// The log of a fleet.
pub(super) struct EtcdLedger {
    pub(super) etcd: Arc<Etcd>,
    /// How the follower stands, who asks etcd all the time.
    pub(super) standing: watch::Receiver<Standing>,
    /// Whether the fleet's stores are known to have this version's format.
    pub(super) checked: Arc<AtomicBool>,
    pub(super) turns: Turns,
}

impl EtcdLedger {
    /// Refuses at once while etcd does not answer: a change that waited for it would hold up all others,
    /// those that are made on this edge alone among them. That one of its members does not is no matter.
    fn check(&self) -> Result<(), LedgerError> {
        let standing = self.standing.borrow();
        let is_fresh = |contact: Instant| contact.elapsed() < FLEET_AWAY;
        match &standing.state {
            State::Away { why } if !standing.contact.is_some_and(is_fresh) => {
                Err(LedgerError::Away(why.clone()))
            }
            _ if !self.checked.load(Ordering::Relaxed) => {
                Err(LedgerError::Away(NOT_CHECKED.into()))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn mark(head: &Head) -> Mark {
    Mark {
        revision: head.revision,
        digest: *head.digest.as_bytes(),
    }
}

pub(super) fn head(mark: Mark) -> Head {
    Head {
        revision: mark.revision,
        digest: Digest::from(mark.digest),
    }
}

fn of_log(error: LogError) -> LedgerError {
    match error {
        LogError::Trimmed(_) => LedgerError::Behind,
        LogError::Another { .. } | LogError::None | LogError::Record(_) => {
            LedgerError::Another(error.to_string())
        }
        other => LedgerError::Away(other.to_string()),
    }
}

impl Ledger for EtcdLedger {
    fn append(&self, after: Mark, entry: Vec<u8>) -> Result<Mark, LedgerError> {
        let bytes = entry.len();
        let added = self.etcd.append(&head(after), Bytes::from(entry));
        if matches!(added, Err(AppendError::Moved)) {
            if self.turns.lost(bytes > ::fleet::limits::VALUE_BYTES_MAX) {
                self.etcd.take_turn();
            }
        } else if self.turns.over() {
            self.etcd.end_turn();
        }
        added.map(|head| mark(&head)).map_err(|error| match error {
            AppendError::Moved => LedgerError::Moved,
            AppendError::TooLarge(_) => LedgerError::TooLarge {
                bytes,
                max: ::fleet::limits::ENTRY_BYTES_MAX,
            },
            AppendError::Unknown(error) => LedgerError::Unknown(error.to_string()),
            AppendError::Log(error) => of_log(error),
        })
    }

    fn after(&self, known: Mark) -> Result<News, LedgerError> {
        self.check()?;
        let (page, turn) = loop {
            let page = self.etcd.after(&head(known)).map_err(of_log)?;
            let number = page.turn.as_ref().map(|turn| turn.number);
            let waits = self.turns.waits_for(number, Instant::now());
            // What others have changed is put into force before anything is waited for; then this is asked again.
            if !page.entries.is_empty() || !waits {
                break (page, waits);
            }
            tracing::debug!(turn = ?page.turn, "another edge goes first");
            std::thread::sleep(FLEET_TURN_LOOK);
        };
        let last = page.entries.last().map(|entry| entry.head.revision);
        let left = last.map_or(0, |last| page.head.revision.saturating_sub(last));
        if self.turns.behind(left) {
            self.etcd.take_turn();
        }
        let entries = page.entries.into_iter();
        Ok(News {
            entries: entries
                .map(|entry| (mark(&entry.head), entry.bytes.to_vec()))
                .collect(),
            head: mark(&page.head),
            turn,
        })
    }
}

/// Puts a state into etcd and has the log begin there.
pub(super) fn found(
    etcd: &Etcd,
    founding: &Founding,
    state: &FleetState,
) -> Result<(), LedgerError> {
    let parts = framed(state.parts.clone());
    let founded = etcd.found(&head(state.mark), founding, parts);
    founded.map_err(|error| match error {
        SnapshotError::Log(error) => of_log(error),
        SnapshotError::Founded => LedgerError::Another(format!(
            "{error}: join it (`postern fleet join`), or give this one another `fleet.name`"
        )),
        other => LedgerError::Another(other.to_string()),
    })
}

/// The parts of a state, each behind its length: etcd cuts them anywhere.
pub(super) fn framed(parts: Vec<Vec<u8>>) -> impl Iterator<Item = Result<Bytes, String>> {
    parts.into_iter().map(|part| {
        let length = u32::try_from(part.len()).map_err(|_too_long| "a part is too long")?;
        Ok(Bytes::from(
            [&length.to_be_bytes(), part.as_slice()].concat(),
        ))
    })
}

/// The state whose framed parts these are.
pub(super) fn unframed(mark: Mark, mut all: &[u8]) -> Result<FleetState, String> {
    let mut parts = Vec::new();
    let cut = || "the state in etcd is cut short".to_owned();
    while !all.is_empty() {
        let (length, rest) = all.split_first_chunk().ok_or_else(cut)?;
        let length = u32::from_be_bytes(*length);
        let length = usize::try_from(length).map_err(|_too_long| cut())?;
        let (part, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        parts.push(part.to_vec());
        all = rest;
    }
    Ok(FleetState {
        mark,
        parts,
        entries: Vec::new(),
    })
}

/// What etcd has: a state, and all that was changed since. With the time when that was all.
pub(super) fn state(etcd: &Etcd) -> Result<(FleetState, Moment), String> {
    let snapshot = etcd.snapshot().map_err(|error| error.to_string())?;
    let snapshot = snapshot.ok_or("etcd has no state of the fleet")?;
    let mut all = Vec::new();
    let read = etcd.read_snapshot(&snapshot, |part| {
        all.extend_from_slice(&part);
        Ok(())
    });
    read.map_err(|error: SnapshotError| error.to_string())?;
    let mut state = unframed(mark(&snapshot.head), &all)?;
    drop(all);
    let mut known = snapshot.head;
    loop {
        let asked = Moment::now();
        let page = etcd.read_after(&known).map_err(|error| error.to_string())?;
        for entry in page.entries {
            known = entry.head;
            state.entries.push((mark(&known), entry.bytes.to_vec()));
        }
        if known == page.head {
            return Ok((state, asked));
        }
    }
}
