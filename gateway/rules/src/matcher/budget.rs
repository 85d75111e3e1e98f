//! The work budget: counts what evaluation does, and ends it.
//!
//! A client chooses what rules look at, so every condition and every decision has a bound. One unit
//! is about a nanosecond on a slow core. Work is counted as it is done, at the rate of the worst
//! input that was measured; the bounds are in `limits`. Once one is passed nothing further is
//! evaluated, and there is no decision.

use std::cell::Cell;

use crate::limits;

/// Finding an array's next element and looking at it.
pub(crate) const ELEMENT: usize = 128;
/// Going to the next value of a map's key.
pub(crate) const VALUE: usize = 32;
/// Finding a key in a map.
pub(crate) const LOOK_UP: usize = 64;
/// A header that is passed on the way to the one that is looked for.
pub(crate) const HEADER: usize = 4;
/// One condition, whatever it reads.
pub(crate) const CONDITION: usize = 16;
/// An item of a set that a value is compared with.
pub(crate) const ITEM: usize = 4;
/// A byte of what is decoded: URLs, base64, the names of cookies.
pub(crate) const DECODED_BYTE: usize = 16;
/// A byte of a JSON text.
pub(crate) const JSON_BYTE: usize = 24;
/// A byte that a regular expression reads in a table.
pub(crate) const PATTERN_BYTE: usize = 2;
/// A byte of what a wildcard pattern is looked for in.
pub(crate) const WILDCARD_BYTE: usize = 4;
/// A byte of what an automaton of many texts goes through.
pub(crate) const CONTAINED_BYTE: usize = 4;
/// A byte of a name that is looked for in a list of host names, once for each of its labels.
pub(crate) const LISTED_BYTE: usize = 32;
/// A byte of a lazy automaton's states while they are worked out.
pub(crate) const MADE_STATE_BYTE: usize = 16;
/// A state of a regular expression that is looked at for one byte of a value.
pub(crate) const STATE: usize = 8;

/// What rules may still do with one request: those of all phases, and what is worked out of it to be
/// put into headers or counted by, together.
#[derive(Debug, Clone)]
pub struct Allowance(Cell<usize>);

/// More would have been made of a request than `limits::CONDITION_WORK_MAX` or
/// `limits::DECISION_WORK_MAX` allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rules make more of this request than one decision may")]
pub struct Overworked;

impl Default for Allowance {
    fn default() -> Self {
        Self(Cell::new(limits::DECISION_WORK_MAX))
    }
}

impl Allowance {
    /// What is left.
    pub(crate) fn left(&self) -> usize {
        self.0.get()
    }

    /// So much is left now.
    pub(crate) fn leave(&self, left: usize) {
        self.0.set(left);
    }
}

/// What may still be done.
#[derive(Debug)]
pub(crate) struct Work {
    /// By the condition.
    condition: usize,
    /// By the decision once the condition has done all that it may: one subtraction counts both.
    beyond: usize,
    /// One of them has wanted more.
    spent: bool,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            condition: limits::CONDITION_WORK_MAX,
            beyond: limits::DECISION_WORK_MAX - limits::CONDITION_WORK_MAX,
            spent: false,
        }
    }
}

impl Work {
    /// A condition begins, which may do as much as any other.
    pub(crate) fn begin_condition(&mut self) {
        self.leave(self.left());
    }

    /// Counts what is about to be done, or was; `false` when it is too much.
    #[inline]
    pub(crate) fn count(&mut self, units: usize) -> bool {
        match self.condition.checked_sub(units) {
            Some(left) => self.condition = left,
            None => {
                self.condition = 0;
                self.beyond = 0;
                self.spent = true;
            }
        }
        !self.spent
    }

    /// Whether too much was wanted: what was found since is worth nothing.
    #[inline]
    pub(crate) fn is_spent(&self) -> bool {
        self.spent
    }

    /// What the decision may still do.
    pub(crate) fn left(&self) -> usize {
        self.condition + self.beyond
    }

    /// The decision may do so much and no more: the rest of what another part of it had. A condition
    /// begins.
    pub(crate) fn leave(&mut self, left: usize) {
        self.condition = left.min(limits::CONDITION_WORK_MAX);
        self.beyond = left - self.condition;
    }

    /// What the condition has done, of which it could have done all.
    #[cfg(test)]
    pub(crate) fn of_condition(&self) -> usize {
        limits::CONDITION_WORK_MAX - self.condition
    }
}
