//! The orders to close that a connection gets.
//!
//! Owns whether a further request is wanted, and the order to be over by a moment. Does not close:
//! `drive` obeys, politely at first.

use std::cell::{Cell, RefCell};
use std::task::Waker;
use std::time::Instant;

use super::revoker::Cut;

/// Whether, and how urgently, one connection has to close.
#[derive(Default)]
pub(super) struct Closing {
    /// No further request is wanted on it.
    retired: Cell<bool>,
    /// Its certificate is no longer good, or it is not let in without one.
    cut: RefCell<Option<Cut>>,
    /// Wakes the task that drives it.
    waker: RefCell<Option<Waker>>,
}

impl Closing {
    /// No further request is wanted.
    pub(super) fn retire(&self) {
        self.retired.set(true);
    }

    /// Whether no further request is wanted.
    pub(super) fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// Orders the connection to close. The first order stands.
    pub(super) fn cut(&self, order: impl FnOnce() -> Cut) {
        if self.cut.borrow().is_some() {
            return;
        }
        self.cut.replace(Some(order()));
        self.retire();
        self.wake();
    }

    /// Wakes the task that drives the connection.
    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// When the connection has to be over, if it was cut.
    pub(super) fn cut_due(&self) -> Option<Instant> {
        self.cut.borrow().as_ref().map(|cut| cut.due)
    }

    /// The order, for the record that it was obeyed.
    pub(super) fn take_cut(&mut self) -> Option<Cut> {
        self.cut.take()
    }

    /// Remembers the task that drives the connection, to wake it when it is cut.
    pub(super) fn woken_by(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }
}
