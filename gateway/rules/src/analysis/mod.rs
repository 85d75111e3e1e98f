//! Everything that is for people: explanations, dry runs, lints, the builder's form.
//!
//! Never on the data path: it allocates as it likes.

pub(crate) mod blocked_networks;
pub(crate) mod dry_run;
pub(crate) mod enforcement;
pub(crate) mod explain;
pub(crate) mod form;
pub(crate) mod lint;
mod partial_eval;
