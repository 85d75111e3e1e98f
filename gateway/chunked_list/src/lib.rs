//! Long lists that share what is the same with their changed copies, and the diff of two lists.
#![forbid(unsafe_code)]

pub mod diff;
pub mod limits;
mod list;

pub use list::{ChunkedList, Iter};
