//! What a handle of the control plane may do: read, change, or both.
//!
//! Owns the words for it. A handle that changes cannot read the model: whatever a change rests on is
//! read from its draft, where no other change can come in between.

/// Reads and changes: for the process itself, and for tests.
#[derive(Debug, Clone, Copy)]
pub enum Full {}

/// Reads the model as it is now, and changes nothing.
#[derive(Debug, Clone, Copy)]
pub enum ReadOnly {}

/// Makes changes, and reads nothing but their drafts.
#[derive(Debug, Clone, Copy)]
pub enum ChangeOnly {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Full {}
    impl Sealed for super::ReadOnly {}
    impl Sealed for super::ChangeOnly {}
}

/// A handle that may read the model.
pub trait Reads: sealed::Sealed {}
impl Reads for Full {}
impl Reads for ReadOnly {}

/// A handle that may make changes.
pub trait Changes: sealed::Sealed {}
impl Changes for Full {}
impl Changes for ChangeOnly {}
