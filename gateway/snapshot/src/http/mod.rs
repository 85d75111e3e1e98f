//! The pure half of HTTP: what a request head means, and what an origin is told.
//!
//! Does no I/O and reads no clock, so that the data path and the dry run can share it.
//!
//! | file | owns |
//! |---|---|
//! | `authority` | which host a request is for |
//! | `path` | the one normalised path that is matched, and the target made of it |
//! | `headers`, `certificate` | hop-by-hop removal, certificate headers, what the origin is told |
//! | `origin` | where permitted requests go |

pub mod authority;
mod certificate;
pub mod headers;
pub mod origin;
pub mod path;
