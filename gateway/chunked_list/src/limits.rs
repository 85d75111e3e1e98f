//! Bounds of this crate: value, unit, reason, and what happens at the limit.
//!
//! Owns the numbers and the relations between them, which the compiler checks. Does not enforce
//! anything: the code that owns a queue, a loop or a buffer does.

/// Elements that a diff looks ahead, where two lists differ, for where they are the same again.
/// Each such place costs the square of it in comparisons.
pub const DIFF_LOOK_AHEAD: usize = 8;
/// Elements of a chunk, which copies of a list share: a change copies one or two chunks.
pub const CHUNK_ELEMENTS_MAX: usize = 512;
