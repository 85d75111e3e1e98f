//! What a connection waits for, since when, and until when.
//!
//! Owns the counts and moments that requests leave behind. Does not wait: `drive` asks when to look
//! again.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::Stop;
use crate::io::Activity;
use crate::limits::PARK_AFTER;
use config::Tunables;

/// A count, and since when it has been this one while something waited for it to move.
type Watched = Cell<(u64, Option<Instant>)>;

/// The clocks of one connection.
pub(super) struct Clocks {
    requests_open: Cell<usize>,
    requests_total: Cell<usize>,
    /// When the last request ended, or the connection began.
    idle_since: Cell<Instant>,
    /// Bytes that the client had taken at the last look.
    taken: Watched,
    /// Responses of which something waits for the client to ask for it. On HTTP/2 a client can
    /// leave them there with a window of nothing, and go on taking answers to its PINGs.
    offers: Cell<usize>,
    /// Bytes of responses that the client has asked for.
    asked: Cell<u64>,
    /// `asked` at the last look.
    fetched: Watched,
}

impl Clocks {
    /// Of a connection that is idle from now on.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            requests_open: Cell::new(0),
            requests_total: Cell::new(0),
            idle_since: Cell::new(now),
            taken: Cell::default(),
            offers: Cell::new(0),
            asked: Cell::new(0),
            fetched: Cell::default(),
        }
    }

    /// A request begins. Answers whether it is the only open one, and how many there have been.
    pub(super) fn request_begins(&self) -> (bool, usize) {
        let open = self.requests_open.get();
        self.requests_open.set(open + 1);
        self.requests_total.set(self.requests_total.get() + 1);
        (open == 0, self.requests_total.get())
    }

    /// A request is over. Answers whether it was the last open one.
    pub(super) fn request_ends(&self, now: Instant) -> bool {
        let open = self.requests_open.get().saturating_sub(1);
        self.requests_open.set(open);
        if open == 0 {
            self.idle_since.set(now);
        }
        open == 0
    }

    /// When the last request ended, or the connection began.
    pub(super) fn idle_since(&self) -> Instant {
        self.idle_since.get()
    }

    /// What is left of a request that was answered made progress until then.
    pub(super) fn goes_on(&self, until: Instant) {
        self.idle_since.set(self.idle_since.get().max(until));
    }

    /// Something of one more response waits for the client.
    pub(super) fn offer(&self) {
        self.offers.set(self.offers.get() + 1);
    }

    /// Nothing of one of these responses waits any more.
    pub(super) fn withdraw_offer(&self) {
        self.offers.set(self.offers.get().saturating_sub(1));
    }

    /// The client asked for so many bytes of a response.
    pub(super) fn client_asked(&self, bytes: usize) {
        self.asked.set(self.asked.get().wrapping_add(bytes as u64));
    }

    /// When to look at the clocks again, or why the time is up.
    pub(super) fn due(
        &self,
        activity: &Activity,
        tunables: &Tunables,
        http2: bool,
        now: Instant,
    ) -> Result<Instant, Stop> {
        let idle = tunables.idle_timeout;
        let header = tunables.header_timeout;
        // Never later: the request that is open now may be over in a moment, and the connection
        // idle from then on.
        let next_look = now + PARK_AFTER.min(header).min(idle);
        // Whatever else it does: a client has to take what it asked for.
        let sending = activity.sending.get();
        let offers = http2 && self.offers.get() > 0;
        let patience = (idle, tunables.body_rate);
        let taken = stuck_until(
            sending,
            activity.bytes_out.get(),
            &self.taken,
            now,
            patience,
        );
        let fetched = stuck_until(offers, self.asked.get(), &self.fetched, now, patience);
        if let Some(due) = taken.into_iter().chain(fetched).min() {
            return if due <= now {
                Err(Stop::SlowReader)
            } else {
                Ok(due.min(next_look))
            };
        }
        if self.requests_open.get() > 0 {
            // The exchange with the origin has timeouts of its own.
            return Ok(next_look);
        }
        // The first bytes after a silence begin a head. On HTTP/2 they may be a PING, which
        // begins nothing.
        let (due, stop) = match activity.first_received.get() {
            Some(first) if !http2 => (first + header, Stop::HeaderTimeout),
            _ => (self.idle_since.get() + idle, Stop::IdleTimeout),
        };
        if due <= now {
            Err(stop)
        } else {
            Ok(due.min(next_look))
        }
    }

    /// Whether an HTTP/1.1 connection has been between two requests for so long that its buffers may be
    /// given back.
    pub(super) fn is_quiet(&self, activity: &Activity, now: Instant) -> bool {
        self.requests_total.get() > 0
            && self.requests_open.get() == 0
            && !activity.sending.get()
            && activity.first_received.get().is_none()
            && now.duration_since(self.idle_since.get()) >= PARK_AFTER
    }
}

/// When the client's time is over, if something `waits` for it and `count` bytes were taken in all:
/// `seen` remembers how many at the last look.
fn stuck_until(
    waits: bool,
    count: u64,
    seen: &Watched,
    now: Instant,
    (patience, rate): (Duration, usize),
) -> Option<Instant> {
    let since = match seen.get() {
        (before, Some(since)) => progress(since, count.wrapping_sub(before), rate, now),
        _ => now,
    };
    seen.set((count, waits.then_some(since)));
    waits.then(|| since + patience)
}

/// What so many bytes are worth to one who has to send or take them at `rate` bytes a second: until
/// when there was progress, if it was `since`. Without a rate every byte is worth all the time.
pub(super) fn progress(since: Instant, bytes: u64, rate: usize, now: Instant) -> Instant {
    match (bytes, rate as u64) {
        (0, _) => since,
        (_, 0) => now,
        (bytes, rate) => {
            let worth = Duration::from_micros(bytes.saturating_mul(1_000_000) / rate);
            // What would be beyond all time is beyond now.
            since.checked_add(worth).map_or(now, |until| until.min(now))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_worth_the_time_that_they_may_take() {
        let begun = clock_now();
        let second = Duration::from_secs(1);
        let now = begun + 60 * second;
        for (bytes, rate, seconds) in [
            (0, 64, 0),
            (64, 64, 1),
            (640, 64, 10),
            (64 * 60, 64, 60),
            (u64::MAX, 64, 60),
            (u64::MAX, 1, 60),
            (1, 0, 60),
            (0, 0, 0),
        ] {
            let until = progress(begun, bytes, rate, now);
            assert_eq!(
                until.duration_since(begun),
                seconds * second,
                "{bytes} at {rate}"
            );
        }
    }

    /// How many seconds a client is let be that takes so many bytes a second.
    fn seconds(bytes: u64, rate: usize) -> u64 {
        let (begun, seen) = (clock_now(), Watched::default());
        (0..1_000)
            .take_while(|second| {
                let now = begun + Duration::from_secs(*second);
                let patience = (Duration::from_secs(75), rate);
                let due = stuck_until(true, second * bytes, &seen, now, patience);
                due.is_some_and(|due| due > now)
            })
            .count() as u64
    }

    #[test]
    fn who_takes_less_than_the_rate_is_let_be_for_so_much_longer() {
        assert_eq!(seconds(0, 64), 75);
        assert_eq!(seconds(0, 0), 75);
        assert_eq!(seconds(1, 64), 77);
        assert_eq!(seconds(32, 64), 150);
        assert_eq!(seconds(64, 64), 1_000);
        assert_eq!(seconds(1, 0), 1_000);
    }

    fn clock_now() -> Instant {
        crate::clock::now()
    }
}
