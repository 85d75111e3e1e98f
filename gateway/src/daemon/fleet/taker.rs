//! Takes what the others change, and measures how long that took.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::Histogram;

use super::Lately;
use super::ledger::{NOT_CHECKED, mark, unframed};
use crate::limits::FLEET_IN_FORCE_MAX;
use ::fleet::{Entry, SnapshotHead, Take, Taken};
use admin::InForce;
use control::{ChangeError, Control, FollowError, StoreError};
use tls::limits::CLOCK_SKEW;
use vocabulary::clock::now_usec;

/// How long changes of others took until they were in force here.
#[derive(Clone)]
pub(super) struct Times(Arc<Mutex<Histogram<u64>>>);

impl Times {
    pub(super) fn new() -> Option<Self> {
        let most = u64::try_from(FLEET_IN_FORCE_MAX.as_millis()).ok()?;
        let histogram = Histogram::new_with_max(most, 2).ok()?;
        Some(Self(Arc::new(Mutex::new(histogram))))
    }

    fn note(&self, milliseconds: u64) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.saturating_record(milliseconds);
    }

    pub(super) fn shown(&self) -> InForce {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        InForce {
            changes: held.len(),
            p50_ms: held.value_at_quantile(0.5),
            p99_ms: held.value_at_quantile(0.99),
            max_ms: held.max(),
        }
    }
}

/// Puts entries into force.
pub(super) struct Taker {
    pub(super) control: Arc<Control>,
    pub(super) times: Option<Times>,
    /// When it began to follow, in milliseconds since 1970: what was changed before says nothing of how fast
    /// changes come.
    pub(super) begun_ms: u64,
    /// Whether the fleet's stores are known to have this version's format.
    pub(super) checked: Arc<AtomicBool>,
    /// Saying that clocks differ.
    pub(super) clocks: Lately,
}

/// Now, in milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    u64::try_from(now_usec() / 1000).unwrap_or_default()
}

fn is_handed_over(error: &StoreError) -> bool {
    matches!(error, StoreError::HandedOver)
}

/// Runs `work`; a panic in it is a reason, so that it is tried again and seen.
fn caught(work: impl FnOnce() -> Result<Taken, String>) -> Result<Taken, String> {
    // A change that panics leaves everything as it was.
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_panic| Err("taking it failed: the gateway's log says more".into()))
}

impl Take for Taker {
    fn take(&mut self, entry: &Entry) -> Result<Taken, String> {
        caught(|| self.take_entry(entry))
    }

    fn take_snapshot(
        &mut self,
        snapshot: &SnapshotHead,
        parts: &mut dyn Iterator<Item = Result<Bytes, String>>,
    ) -> Result<Taken, String> {
        caught(|| self.take_state(snapshot, parts))
    }
}

impl Taker {
    fn check(&self) -> Result<(), String> {
        if self.checked.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err(NOT_CHECKED.into())
        }
    }

    fn take_entry(&self, entry: &Entry) -> Result<Taken, String> {
        self.check()?;
        let known = self.control.model().revision;
        match self.control.take(mark(&entry.head), &entry.bytes) {
            Ok(()) => {}
            // The other process follows.
            Err(FollowError::Store(error)) if is_handed_over(&error) => {
                return Err("an upgrade is going on".into());
            }
            Err(error) => return Err(error.to_string()),
        }
        self.look_at_clocks(entry);
        if entry.head.revision > known
            && entry.at >= self.begun_ms
            && let Some(times) = &self.times
        {
            times.note(now_ms().saturating_sub(entry.at));
        }
        Ok(Taken::Done)
    }

    /// Says now and then that the clock of another edge is ahead of this one's: what one issues is not valid yet at
    /// the other.
    fn look_at_clocks(&self, entry: &Entry) {
        let ahead = Duration::from_millis(entry.at.saturating_sub(now_ms()));
        if ahead <= CLOCK_SKEW || self.clocks.is_recent() {
            return;
        }
        self.clocks.note();
        tracing::warn!(
            edge = entry.edge,
            ahead_seconds = ahead.as_secs(),
            "the clock of another edge is ahead of this one's: certificates that it issues are not valid here yet; \
             set both by NTP"
        );
    }

    fn take_state(
        &self,
        snapshot: &SnapshotHead,
        parts: &mut dyn Iterator<Item = Result<Bytes, String>>,
    ) -> Result<Taken, String> {
        self.check()?;
        let mut all = Vec::new();
        for part in parts {
            all.extend_from_slice(&part?);
        }
        let state = unframed(mark(&snapshot.head), &all)?;
        drop(all);
        match self.control.take_state(&state) {
            Ok(()) => Ok(Taken::Done),
            Err(ChangeError::Store(error)) if is_handed_over(&error) => {
                Err("an upgrade is going on".into())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}
