//! Memory for what requests bring: bodies as they come, and what they are when they are read.
//!
//! Owns the bound over all requests together (a [`Pool`] for each listener, so that clients over TCP
//! take nothing from an administrator on the unix socket), the part of one request ([`Share`]), and
//! the bound of what one body may become ([`Budget`]): JSON of a few bytes can be hundreds in
//! memory. Does not own how large a route's body may be: the table of routes does.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::{
    ADMIN_ALL_BODIES_BYTES_MAX, ADMIN_READ_BODY_BYTES_MIN, ADMIN_READ_BODY_FACTOR,
};

/// How much a budget takes from the share at once.
const STEP: usize = 64 << 10;

/// Memory for all requests of one listener.
#[derive(Debug, Clone)]
pub(crate) struct Pool(Arc<AtomicUsize>);

impl Default for Pool {
    fn default() -> Self {
        Self::of(ADMIN_ALL_BODIES_BYTES_MAX)
    }
}

impl Pool {
    fn of(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// A share that has nothing yet.
    pub(crate) fn share(&self) -> Share {
        Share(Arc::new(Held {
            pool: self.clone(),
            bytes: AtomicUsize::new(0),
        }))
    }
}

/// What one request has taken. It goes back when the last copy goes: with the request, or with the
/// work of its that outlives it.
#[derive(Debug, Clone)]
pub(crate) struct Share(Arc<Held>);

#[derive(Debug)]
struct Held {
    pool: Pool,
    bytes: AtomicUsize,
}

impl Drop for Held {
    fn drop(&mut self) {
        let bytes = self.bytes.load(Ordering::Relaxed);
        self.pool.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Share {
    /// Takes so many bytes more, when there are so many left for all.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let left = &self.0.pool.0;
        let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(bytes)
        });
        if taken.is_ok() {
            self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        taken.is_ok()
    }
}

/// Why there is no memory for a part of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spent {
    /// The body has more parts than its size allows for.
    Parts,
    /// Other requests have taken what there is for all.
    Pool,
}

/// What one body may still become.
#[derive(Debug)]
pub(crate) struct Budget<'s> {
    share: &'s Share,
    left: Cell<usize>,
    /// Taken from the share and not spent yet.
    ahead: Cell<usize>,
    spent: Cell<Option<Spent>>,
}

impl<'s> Budget<'s> {
    /// For a body of so many bytes. Its texts are no part of it: they are never longer than the
    /// body.
    pub(crate) fn of(body_bytes: usize, share: &'s Share) -> Self {
        let most = body_bytes
            .saturating_mul(ADMIN_READ_BODY_FACTOR)
            .max(ADMIN_READ_BODY_BYTES_MIN);
        Self {
            share,
            left: Cell::new(most),
            ahead: Cell::new(0),
            spent: Cell::new(None),
        }
    }

    /// Counts a part before it is read. An error is for the one who reads: the part must not be
    /// kept.
    pub(crate) fn count<E: serde::de::Error>(&self, bytes: usize) -> Result<(), E> {
        let Some(left) = self.left.get().checked_sub(bytes) else {
            self.spent.set(Some(Spent::Parts));
            return Err(E::custom("it has too many parts for its size"));
        };
        if self.ahead.get() < bytes {
            let more = bytes.max(STEP);
            if !self.share.take(more) {
                self.spent.set(Some(Spent::Pool));
                return Err(E::custom("there is no memory for it now"));
            }
            self.ahead.set(self.ahead.get().saturating_add(more));
        }
        self.ahead.set(self.ahead.get().saturating_sub(bytes));
        self.left.set(left);
        Ok(())
    }

    /// Why reading had to end, if it had to.
    pub(crate) fn spent(&self) -> Option<Spent> {
        self.spent.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Error = serde::de::value::Error;

    #[test]
    fn what_a_request_took_goes_back_with_its_last_copy() {
        let pool = Pool::of(100);
        let (first, second) = (pool.share(), pool.share());
        assert!(first.take(60) && !second.take(60) && second.take(40));
        let copy = first.clone();
        drop(first);
        assert!(!second.take(1), "a copy is left");
        drop(copy);
        assert!(second.take(60) && !second.take(1));
    }

    #[test]
    fn a_body_becomes_no_more_than_its_size_allows_nor_than_there_is() {
        let pool = Pool::of(ADMIN_READ_BODY_BYTES_MIN * 4);
        let share = pool.share();
        let small = Budget::of(1, &share);
        small.count::<Error>(ADMIN_READ_BODY_BYTES_MIN).unwrap();
        assert_eq!(small.spent(), None);
        small.count::<Error>(1).unwrap_err();
        assert_eq!(small.spent(), Some(Spent::Parts));
        let large = Budget::of(ADMIN_READ_BODY_BYTES_MIN, &share);
        large.count::<Error>(ADMIN_READ_BODY_BYTES_MIN * 3).unwrap();
        large.count::<Error>(1).unwrap_err();
        assert_eq!(large.spent(), Some(Spent::Pool));
    }
}
