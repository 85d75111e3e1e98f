//! Rate limits of the API: requests per token, and failed authentications in all.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::limits::{TOKEN_FAILURES_PER_SECOND, TOKEN_REQUESTS_BURST, TOKEN_REQUESTS_PER_SECOND};
use control::Id;
use control::limits::TOKENS_MAX;

/// Counts requests against a rate; one place that refills with time.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    fn full(capacity: u32, now: Instant) -> Self {
        Self {
            tokens: f64::from(capacity),
            filled: now,
        }
    }

    fn take(&mut self, rate: u32, capacity: u32, now: Instant) -> bool {
        let refill = now.saturating_duration_since(self.filled).as_secs_f64() * f64::from(rate);
        self.tokens = (self.tokens + refill).min(f64::from(capacity));
        self.filled = now;
        let granted = self.tokens >= 1.0;
        if granted {
            self.tokens -= 1.0;
        }
        granted
    }
}

/// The bounds on attempts.
#[derive(Debug)]
pub(crate) struct Rates {
    by_token: Mutex<HashMap<Id, Bucket>>,
    failures: Mutex<Bucket>,
}

impl Rates {
    pub(crate) fn new() -> Self {
        let failures = Bucket::full(TOKEN_FAILURES_PER_SECOND, Instant::now());
        Self {
            by_token: Mutex::default(),
            failures: Mutex::new(failures),
        }
    }

    pub(crate) fn token(&self, id: Id, now: Instant) -> bool {
        let mut all = self.by_token.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() > TOKENS_MAX {
            // Only ended tokens can make it so large; the living ones begin anew.
            all.clear();
        }
        let bucket = all
            .entry(id)
            .or_insert_with(|| Bucket::full(TOKEN_REQUESTS_BURST, now));
        bucket.take(TOKEN_REQUESTS_PER_SECOND, TOKEN_REQUESTS_BURST, now)
    }

    /// Whether another look at an unknown token may be had.
    pub(crate) fn failure(&self, now: Instant) -> bool {
        let mut bucket = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.take(TOKEN_FAILURES_PER_SECOND, TOKEN_FAILURES_PER_SECOND, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn attempts_are_bounded() {
        let now = Instant::now();
        let rates = Rates::new();
        let granted = (0..100).filter(|_| rates.failure(now)).count();
        assert_eq!(granted, usize::try_from(TOKEN_FAILURES_PER_SECOND).unwrap());
        let later = now + Duration::from_secs(1);
        assert!(rates.failure(later));
        let id = Id::random();
        let granted = (0..1000).filter(|_| rates.token(id, now)).count();
        assert_eq!(granted, usize::try_from(TOKEN_REQUESTS_BURST).unwrap());
        assert!(
            rates.token(Id::random(), now),
            "another token is another matter"
        );
    }
}
