//! Bounds of this crate: value, unit, reason, and what happens at the limit.
//!
//! Owns the numbers and the relations between them, which the compiler checks. Does not enforce
//! anything: the code that owns a queue, a loop or a buffer does.

/// How far to look, where two orders of rules differ, for where they are the same again: a square
/// of so many comparisons at each such place.
pub const DIFFERENCE_LOOK_AHEAD: usize = 8;
/// Elements of a stretch that copies of a long list share: what is copied where a change is.
pub const SEQUENCE_STRETCH_MAX: usize = 512;
