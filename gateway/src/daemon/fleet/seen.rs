//! When the store had all that its fleet has: measured by a clock that nobody sets. Only what came before this
//! process is known by the machine's clock.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::fleet::Moment as Point;
use admin::age_of;
use control::Moment;
use vocabulary::clock::now_sec;

/// How old what this edge has is at the most.
pub(super) struct Seen(Mutex<Aged>);

/// It was so old, at that time: by the clocks of when etcd was asked, not of when this edge was told of it. The machine
/// may have been suspended in between.
struct Aged {
    age: Duration,
    at: Point,
}

impl Aged {
    /// All was there then.
    const fn all_at(at: Point) -> Self {
        Self {
            age: Duration::ZERO,
            at,
        }
    }

    fn now(&self) -> Duration {
        self.age + self.at.elapsed()
    }

    /// By the machine's clock, of which whole seconds are known: never too young.
    fn since(at: Moment) -> Self {
        let age = Duration::from_secs_f64(age_of(at.seconds()) + 1.0);
        Self {
            age,
            at: Point::now(),
        }
    }
}

impl Seen {
    /// As the store knows it; an edge that was never a member's has all there is.
    pub(super) fn since(last: Option<Moment>) -> Self {
        Self(Mutex::new(match last {
            Some(last) => Aged::since(last),
            None => Aged::all_at(Point::now()),
        }))
    }

    /// It begins with all that the fleet had at this time, whatever was before.
    pub(super) fn begin(&self, at: Point) {
        *self.aged() = Aged::all_at(at);
    }

    fn aged(&self) -> MutexGuard<'_, Aged> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn age(&self) -> Duration {
        self.aged().now()
    }

    /// Everything was there that the fleet had at that time.
    pub(super) fn had_all(&self, at: Point) {
        let mut aged = self.aged();
        // The same answer is told again and again; what a suspended machine has missed stays missed.
        if at > aged.at {
            *aged = Aged::all_at(at);
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
        let before = Point::now();
        seen.had_all(before);
        assert!(seen.age().as_secs() < 100);
        let young = seen.age();
        if let Some(earlier) = before.at.checked_sub(Duration::from_secs(50)) {
            seen.had_all(Point {
                at: earlier,
                ..before
            });
        }
        seen.had_all(before);
        assert!((young..Duration::from_secs(40)).contains(&seen.age()));
        // A clock that was set back says nothing of before.
        let seen = Seen::since(Some(Moment::from_seconds(now_sec() + 3_600)));
        assert!(seen.age().as_secs() <= 1);
    }
    #[test]
    fn what_was_asked_before_the_machine_was_suspended_is_as_old_as_that() {
        let seen = Seen::since(None);
        let now = Point::now();
        // One of the clocks stood still, and the answer is told afterwards.
        let suspended = now.booted / 2;
        seen.had_all(Point {
            booted: now.booted - suspended,
            ..now
        });
        assert!(seen.age() >= suspended);
        seen.had_all(Point::now());
        assert!(seen.age() < suspended);
    }
}
