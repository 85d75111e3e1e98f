//! The log in etcd, as the control plane wants it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::fleet::{
    AppendError, Digest, Fleet as Etcd, Founding, Head, LogError, Page, SnapshotError, Standing,
    State,
};
use bytes::Bytes;
use control::{FleetState, Ledger, LedgerError, Mark, News};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::limits::{FLEET_AWAY, FLEET_TURN_AFTER, FLEET_TURN_LOOK, FLEET_TURN_WAIT};

/// Why nothing is taken or changed before the fleet's format was seen.
pub(super) const NOT_CHECKED: &str = "the format of the fleet's stores was not seen yet";

/// The log of a fleet.
pub(super) struct EtcdLedger {
    pub(super) etcd: Arc<Etcd>,
    /// How the follower stands, who asks etcd all the time.
    pub(super) standing: watch::Receiver<Standing>,
    /// Whether the fleet's stores are known to have this version's format.
    pub(super) checked: Arc<AtomicBool>,
    /// How often another edge was first since this one was.
    pub(super) lost: AtomicU32,
    /// Entries that were left when it read last.
    pub(super) behind: AtomicU64,
    /// Since when its next change waits for that of another edge.
    pub(super) waits: Mutex<Option<Instant>>,
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

impl EtcdLedger {
    /// Has the others let this edge go first when it has lost too often, and go on when it was first, or has given
    /// up.
    fn count(&self, added: &Result<Head, AppendError>, is_large: bool) {
        *self.waits() = None;
        match added {
            // While a large one is written, others are always faster.
            Err(AppendError::Moved) if is_large => self.lose(FLEET_TURN_AFTER),
            Err(AppendError::Moved) => self.lose(1),
            _ if self.lost.swap(0, Ordering::Relaxed) >= FLEET_TURN_AFTER => self.etcd.end_turn(),
            _ => {}
        }
    }

    fn lose(&self, races: u32) {
        let before = self.lost.fetch_add(races, Ordering::Relaxed);
        if before / FLEET_TURN_AFTER != (before + races) / FLEET_TURN_AFTER {
            self.etcd.take_turn();
        }
    }

    /// Notes how far behind this edge is. What grows may never end: others change faster than it reads.
    fn look_at(&self, page: &Page) {
        let last = page.entries.last().map(|entry| entry.head.revision);
        let behind = last.map_or(0, |last| page.head.revision.saturating_sub(last));
        let before = self.behind.swap(behind, Ordering::Relaxed);
        if before > 0 && behind >= before {
            self.lose(1);
        }
    }

    /// Since when the next change waits for that of another edge.
    fn waits(&self) -> MutexGuard<'_, Option<Instant>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.count(&added, bytes > ::fleet::limits::VALUE_BYTES_MAX);
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
        let page = loop {
            let page = self.etcd.after(&head(known)).map_err(of_log)?;
            // What others have changed is put into force before anything is waited for.
            let goes_first = page.turn.as_ref().filter(|_| page.entries.is_empty());
            let Some(edge) = goes_first else {
                break page;
            };
            let begun = *self.waits().get_or_insert_with(Instant::now);
            if begun.elapsed() >= FLEET_TURN_WAIT {
                break page;
            }
            tracing::debug!(edge, "another edge goes first");
            std::thread::sleep(FLEET_TURN_LOOK);
        };
        self.look_at(&page);
        let entries = page.entries.into_iter();
        Ok(News {
            entries: entries
                .map(|entry| (mark(&entry.head), entry.bytes.to_vec()))
                .collect(),
            head: mark(&page.head),
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
pub(super) fn state(etcd: &Etcd) -> Result<(FleetState, std::time::Instant), String> {
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
        let asked = std::time::Instant::now();
        let page = etcd.after(&known).map_err(|error| error.to_string())?;
        for entry in page.entries {
            known = entry.head;
            state.entries.push((mark(&known), entry.bytes.to_vec()));
        }
        if known == page.head {
            return Ok((state, asked));
        }
    }
}
