//! When the store had all that its fleet has: measured by a clock that nobody sets. Only what came before this
//! process is known by the machine's clock.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use admin::age_of;
use control::Moment;
use rustix::time::{ClockId, clock_gettime};
use vocabulary::clock::now_sec;

/// How old what this edge has is at the most.
pub(super) struct Seen(Mutex<Aged>);

/// It was so old, at that time.
struct Aged {
    age: Duration,
    at: Instant,
    /// The same time by the clock that goes on while a machine is suspended.
    booted: Duration,
}

/// How long the machine has been there, with the time that it was suspended.
fn booted() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let (seconds, nanoseconds) = (now.tv_sec, now.tv_nsec);
    Duration::new(
        u64::try_from(seconds).unwrap_or_default(),
        u32::try_from(nanoseconds).unwrap_or_default(),
    )
}

impl Aged {
    /// So old, at a time that is not long ago.
    fn new(age: Duration, at: Instant) -> Self {
        Self {
            age,
            at,
            booted: booted().saturating_sub(at.elapsed()),
        }
    }

    fn now(&self) -> Duration {
        let since = booted().saturating_sub(self.booted);
        self.age + since.max(self.at.elapsed())
    }

    /// By the machine's clock, of which whole seconds are known: never too young.
    fn since(at: Moment) -> Self {
        let age = Duration::from_secs_f64(age_of(at.seconds()) + 1.0);
        Self::new(age, Instant::now())
    }
}

impl Seen {
    /// As the store knows it; an edge that was never a member's has all there is.
    pub(super) fn since(last: Option<Moment>) -> Self {
        Self(Mutex::new(match last {
            Some(last) => Aged::since(last),
            None => Aged::new(Duration::ZERO, Instant::now()),
        }))
    }

    /// It begins with all that the fleet had at this time, whatever was before.
    pub(super) fn begin(&self, at: Instant) {
        *self.aged() = Aged::new(Duration::ZERO, at);
    }

    fn aged(&self) -> MutexGuard<'_, Aged> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn age(&self) -> Duration {
        self.aged().now()
    }

    /// Everything was there that the fleet had at that time.
    pub(super) fn had_all(&self, at: Instant) {
        let mut aged = self.aged();
        // The same answer is told again and again; what a suspended machine has missed stays missed.
        if at > aged.at {
            *aged = Aged::new(Duration::ZERO, at);
        }
    }

    /// The same in seconds since 1970, by the machine's clock of now: for the next process.
    pub(super) fn moment(&self) -> Moment {
        let age = i64::try_from(self.age().as_secs()).unwrap_or(i64::MAX - 1) + 1;
        Moment::from_seconds(now_sec().saturating_sub(age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_grows_no_younger_by_what_is_older() {
        let seen = Seen::since(Some(Moment::from_seconds(now_sec() - 100)));
        assert!((100..200).contains(&seen.age().as_secs()));
        assert!((now_sec() - 200..now_sec() - 100).contains(&seen.moment().seconds()));
        let before = Instant::now();
        seen.had_all(before);
        assert!(seen.age().as_secs() < 100);
        let young = seen.age();
        if let Some(earlier) = before.checked_sub(Duration::from_secs(50)) {
            seen.had_all(earlier);
        }
        seen.had_all(before);
        assert!((young..Duration::from_secs(40)).contains(&seen.age()));
        // A clock that was set back says nothing of before.
        let seen = Seen::since(Some(Moment::from_seconds(now_sec() + 3_600)));
        assert!(seen.age().as_secs() <= 1);
    }
}
