//! When a request is sent a second time.
//!
//! Owns what the end of a connection says about the request on it, which requests may be repeated,
//! and the budget for it. Does not send (`forward`).

use http::Method;
use http1::ClientError;

use super::connect::AnswerError;
use crate::limits::REPEATS_RESERVED;

/// What became of a request that got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The origin says that it has not processed it, and will take it again (RFC 9113 §8.7).
    Refused,
    /// The same, and the connection ends: it was above the last stream of a GOAWAY.
    Unprocessed,
    /// The connection ended; it may or may not have been processed.
    Died,
    /// The origin's answer is broken.
    Answered,
}

impl Fate {
    pub(super) fn of(error: &AnswerError) -> Self {
        match error {
            AnswerError::Http1(ClientError::Closed | ClientError::HeadCut) | AnswerError::Io(_) => {
                Self::Died
            }
            AnswerError::Http2(error) => Self::of_http2(error),
            _ => Self::Answered,
        }
    }

    fn of_http2(error: &h2::Error) -> Self {
        if error.is_reset() && error.is_remote() {
            if error.reason() == Some(h2::Reason::REFUSED_STREAM) {
                Self::Refused
            } else {
                Self::Answered
            }
        } else if error.is_go_away() && error.is_remote() {
            // h2 ends only those streams with it that are above the last one, and those that were never
            // opened.
            Self::Unprocessed
        } else if error.is_io() {
            Self::Died
        } else {
            Self::Answered
        }
    }
}

/// A second attempt does no more than the first: the method is idempotent (RFC 9110 §9.2.2).
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// How many requests may still be repeated: a share of those that came, so that an origin in
/// trouble does not get twice its load, and a reserve for the moment of its restart, when every
/// connection ends at once.
#[derive(Debug)]
pub(super) struct Budget {
    /// In hundredths of a request.
    left: usize,
}

const FULL: usize = REPEATS_RESERVED * 100;

impl Default for Budget {
    fn default() -> Self {
        Self { left: FULL }
    }
}

impl Budget {
    pub(super) fn earn(&mut self, percent: usize) {
        self.left = (self.left + percent).min(FULL);
    }

    pub(super) fn spend(&mut self) -> bool {
        match self.left.checked_sub(100) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.left == FULL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_ten_requests_may_be_repeated_once_the_reserve_is_gone() {
        let mut budget = Budget::default();
        let reserve = (0..).take_while(|_| budget.spend()).count();
        assert_eq!(reserve, REPEATS_RESERVED);
        let repeated = (0..1_000).filter(|_| {
            budget.earn(10);
            budget.spend()
        });
        assert_eq!(repeated.count(), 100);
        assert!(!budget.is_full());
    }

    #[test]
    fn only_what_does_no_more_twice_than_once_is_repeated() {
        for (method, repeated) in [
            (Method::GET, true),
            (Method::HEAD, true),
            (Method::PUT, true),
            (Method::DELETE, true),
            (Method::OPTIONS, true),
            (Method::POST, false),
            (Method::PATCH, false),
            (Method::CONNECT, false),
            (Method::from_bytes(b"PURGE").unwrap(), false),
        ] {
            assert_eq!(is_idempotent(&method), repeated, "{method}");
        }
    }
}
