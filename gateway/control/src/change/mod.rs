//! How a change goes: drafted, noted for the audit log, compiled, committed, published. What every
//! change passes through belongs here; what one kind of change does belongs in
//! [`operations`](crate::operations).

pub(crate) mod access;
pub(crate) mod audit;
pub(crate) mod batch;
pub(crate) mod collected;
pub(crate) mod control;
pub(crate) mod draft;
pub(crate) mod error;
pub(crate) mod following;
pub(crate) mod intent;
pub(crate) mod member;
pub(crate) mod revocation_lists;
pub(crate) mod rulesets;

pub(crate) use self::access::{Changes, Reads};
pub use self::control::{Control, Options};
