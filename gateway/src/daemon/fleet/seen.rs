//! When the store had all that its fleet has: measured by a clock that nobody sets. Only what came before this
//! process is known by the machine's clock.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use admin::age_of;
use control::Moment;
use vocabulary::clock::now_sec;

/// How old what this edge has is at the most.
pub(super) struct Seen(Mutex<Aged>);

/// It was so old, at that time.
struct Aged {
    age: Duration,
    at: Instant,
}

impl Aged {
    /// By the machine's clock, of which whole seconds are known: never too young.
    fn since(at: Moment) -> Self {
        Self {
            age: Duration::from_secs_f64(age_of(at.seconds()) + 1.0),
            at: Instant::now(),
        }
    }
}

impl Seen {
    /// As the store knows it; an edge that was never a member's has all there is.
    pub(super) fn since(last: Option<Moment>) -> Self {
        Self(Mutex::new(match last {
            Some(last) => Aged::since(last),
            None => Aged {
                age: Duration::ZERO,
                at: Instant::now(),
            },
        }))
    }

    /// It begins with all that the fleet had at this time, whatever was before.
    pub(super) fn begin(&self, at: Instant) {
        let age = Duration::ZERO;
        *self.aged() = Aged { age, at };
    }

    fn aged(&self) -> MutexGuard<'_, Aged> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn age(&self) -> Duration {
        let aged = self.aged();
        aged.age + aged.at.elapsed()
    }

    /// Everything was there that the fleet had at that time.
    pub(super) fn had_all(&self, at: Instant) {
        let mut aged = self.aged();
        if at.elapsed() < aged.age + aged.at.elapsed() {
            *aged = Aged {
                age: Duration::ZERO,
                at,
            };
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
        let Some(before) = Instant::now().checked_sub(Duration::from_secs(50)) else {
            return;
        };
        seen.had_all(before);
        assert!((50..100).contains(&seen.age().as_secs()));
        let Some(earlier) = before.checked_sub(Duration::from_secs(20)) else {
            return;
        };
        seen.had_all(earlier);
        assert!((50..69).contains(&seen.age().as_secs()));
        // A clock that was set back says nothing of before.
        let seen = Seen::since(Some(Moment::from_seconds(now_sec() + 3_600)));
        assert!(seen.age().as_secs() <= 1);
    }
}
