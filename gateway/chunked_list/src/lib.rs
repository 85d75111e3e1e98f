//! Long lists of which a changed copy shares what is the same, and where two of them differ.
#![forbid(unsafe_code)]

pub mod difference;
pub mod limits;
pub mod sequence;
