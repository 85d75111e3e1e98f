//! What is known of an origin's addresses: a table of atomics, shared by all workers and the health
//! checks, and taken over from one snapshot to the next.
//!
//! Nothing here waits, and nothing has to be exact: a request more or less to an address that has
//! just failed is no harm. What has to hold (how many addresses may be out) is decided by one at a
//! time ([`super::ejection`]).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A share is so much when it is whole; see [`AddressState::share`].
pub const WHOLE_SHARE: u64 = 256;
/// The least share of an address that is back: one request in ten of what it would get.
const LEAST_SHARE: u64 = WHOLE_SHARE / 10;

/// What is known of an origin as a whole.
#[derive(Debug)]
pub struct OriginState {
    /// Tells origins apart where workers keep something for each; never used twice.
    pub id: u64,
    /// Somebody decides whether an address may be ejected.
    pub(super) deciding: AtomicBool,
}

impl Default for OriginState {
    fn default() -> Self {
        static IDS: AtomicU64 = AtomicU64::new(1);
        Self {
            id: IDS.fetch_add(1, Relaxed),
            deciding: AtomicBool::new(false),
        }
    }
}

vocabulary::words! {
    /// What went wrong with a request to an address.
    pub enum Failure("a failure of an address", without serde) {
        /// It did not take the connection.
        Connect = "connect",
        /// It took too long to.
        ConnectTimeout = "connect_timeout",
        /// TLS failed.
        Tls = "tls",
        /// It closed the connection, or sent no HTTP.
        Response = "response",
        /// It did not answer in time.
        ResponseTimeout = "response_timeout",
        /// It answered 502, 503 or 504.
        Status = "status",
        /// It broke its answer off, or stopped in the middle.
        Cut = "cut",
    }
}

vocabulary::words! {
    /// What the health checks say of an address.
    #[derive(Default)]
    pub enum Health("a health of an address", without serde) {
        /// It was not checked, or not often enough yet.
        #[default]
        Unknown = "unknown",
        /// The checks succeed.
        Healthy = "healthy",
        /// They fail: it gets no requests.
        Unhealthy = "unhealthy",
    }
}

/// What is known of one address.
#[derive(Debug, Default)]
pub struct AddressState {
    /// Requests that are open.
    open: AtomicU32,
    /// Requests that were sent to it.
    requests: AtomicU64,
    /// Requests that failed, in a row.
    failures: AtomicU32,
    /// Answers that broke off, in a row: a head that is good says nothing of what follows.
    cuts: AtomicU32,
    /// Requests that failed, in all.
    failed: AtomicU64,
    /// The last failure, by its place in [`Failure::ALL`] and counted from 1; 0 for none.
    last_failure: AtomicU8,
    /// Until when it is out, in milliseconds of [`millis`]; 0 when it never was.
    out_until: AtomicU64,
    /// How often it was out without having served well in between.
    in_a_row: AtomicU32,
    /// How often it was out.
    ejections: AtomicU64,
    /// Since when it is back, likewise.
    back_since: AtomicU64,
    /// By its place in [`Health::ALL`].
    health: AtomicU8,
}

/// A request that is open at an address, for as long as this lives.
#[derive(Debug)]
pub struct OpenRequest(std::sync::Arc<AddressState>);

impl OpenRequest {
    /// One more.
    #[must_use]
    pub fn at(state: &std::sync::Arc<AddressState>) -> Self {
        state.open.fetch_add(1, Relaxed);
        state.requests.fetch_add(1, Relaxed);
        Self(state.clone())
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

/// Milliseconds since the first time that anybody told; at least 1.
fn millis(now: Instant) -> u64 {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let first = *FIRST.get_or_init(|| now);
    u64::try_from(now.saturating_duration_since(first).as_millis())
        .unwrap_or(u64::MAX)
        .saturating_add(1)
}

impl AddressState {
    /// Whether it may get requests.
    #[must_use]
    pub fn is_good(&self, now: Instant) -> bool {
        self.health() != Health::Unhealthy && !self.is_out(now)
    }

    /// Whether it gets none because it failed.
    #[must_use]
    pub fn is_out(&self, now: Instant) -> bool {
        let until = self.out_until.load(Relaxed);
        // Most never were: no look at the time.
        until != 0 && until > millis(now)
    }

    /// For how much longer it is out.
    #[must_use]
    pub fn out_for(&self, now: Instant) -> Option<Duration> {
        let left = self.out_until.load(Relaxed).checked_sub(millis(now))?;
        Some(Duration::from_millis(left)).filter(|left| !left.is_zero())
    }

    /// What the health checks say.
    #[must_use]
    pub fn health(&self) -> Health {
        let place = usize::from(self.health.load(Relaxed));
        Health::ALL.get(place).copied().unwrap_or_default()
    }

    /// The health checks say so from now on. Whether that is new.
    pub fn set_health(&self, health: Health, now: Instant) -> bool {
        let place = Health::ALL.iter().position(|one| *one == health);
        let place = u8::try_from(place.unwrap_or_default()).unwrap_or_default();
        let before = self.health();
        if before == Health::Unhealthy && health == Health::Healthy {
            // What it is out for by itself may go on for longer.
            self.back_since.fetch_max(millis(now), Relaxed);
            self.failures.store(0, Relaxed);
            self.cuts.store(0, Relaxed);
        }
        self.health.store(place, Relaxed);
        before != health
    }

    /// Its share of what it would get, of [`WHOLE_SHARE`]: it grows for `slow_start` after the
    /// address was out.
    #[must_use]
    pub fn share(&self, slow_start: Duration, now: Instant) -> u64 {
        let since = self.back_since.load(Relaxed);
        if since == 0 || slow_start.is_zero() {
            return WHOLE_SHARE;
        }
        let whole = u64::try_from(slow_start.as_millis()).unwrap_or(u64::MAX);
        let back_for = millis(now).saturating_sub(since);
        if back_for >= whole {
            return WHOLE_SHARE;
        }
        (WHOLE_SHARE.saturating_mul(back_for) / whole.max(1)).max(LEAST_SHARE)
    }

    /// Requests that are open.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    /// Requests that were sent to it, and those of them that failed.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.requests.load(Relaxed), self.failed.load(Relaxed))
    }

    /// How often it was out.
    #[must_use]
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Relaxed)
    }

    /// The last failure, if there was any.
    #[must_use]
    pub fn last_failure(&self) -> Option<Failure> {
        let place = usize::from(self.last_failure.load(Relaxed)).checked_sub(1)?;
        Failure::ALL.get(place).copied()
    }

    /// A request failed. How many did in a row.
    pub(super) fn fails(&self, why: Failure) -> u32 {
        let place = Failure::ALL.iter().position(|one| *one == why);
        let place = u8::try_from(place.unwrap_or_default() + 1).unwrap_or_default();
        self.last_failure.store(place, Relaxed);
        self.failed.fetch_add(1, Relaxed);
        let in_a_row = match why {
            Failure::Cut => &self.cuts,
            _ => &self.failures,
        };
        in_a_row.fetch_add(1, Relaxed).saturating_add(1)
    }

    /// An answer came to its end.
    pub fn ended_well(&self, now: Instant) {
        if self.cuts.load(Relaxed) != 0 {
            self.cuts.store(0, Relaxed);
        }
        self.is_well(now);
    }

    /// A request was answered. Reads only while all is well: no cache line wanders.
    pub fn served(&self, now: Instant) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
        // Where answers broke off, their ends have to come.
        if self.last_failure() != Some(Failure::Cut) {
            self.is_well(now);
        }
    }

    /// Whatever it was out for is over.
    fn is_well(&self, now: Instant) {
        let since = self.back_since.load(Relaxed);
        // What was sent before it was out says nothing of what it is now.
        if self.in_a_row.load(Relaxed) != 0 && millis(now) > since {
            self.in_a_row.store(0, Relaxed);
        }
    }

    /// It is out for this long from now on.
    pub(super) fn leave(&self, time: Duration, now: Instant) {
        let until = millis(now).saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self.failures.store(0, Relaxed);
        self.cuts.store(0, Relaxed);
        self.in_a_row.fetch_add(1, Relaxed);
        self.ejections.fetch_add(1, Relaxed);
        self.back_since.store(until, Relaxed);
        self.out_until.store(until, Relaxed);
    }

    /// How often it was out without having served well in between.
    pub(super) fn in_a_row(&self) -> u32 {
        self.in_a_row.load(Relaxed)
    }
}
