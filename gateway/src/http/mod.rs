//! HTTP: what a request head means, what an origin is told, and the way there and back.
//!
//! hyper owns framing (RFC 9112, RFC 9113), because framing bugs are security bugs and it is
//! maintained; this room owns meaning. `authority`, `path` and `headers` never do I/O.
//!
//! | file | owns |
//! |---|---|
//! | `authority` | which host a request is for |
//! | `path` | the one normalised path that is matched and forwarded |
//! | `headers` | hop-by-hop removal, certificate headers, what the origin is told |
//! | `origin` | where permitted requests go |
//! | `answer` | the answers that Postern gives itself |
//! | `body` | bodies on their way through |
//! | `upstream`, `connect` | a worker's own pool of origin connections |
//! | `forward` | relays a request, given a [`crate::rules::Permit`] |
//! | `request_id` | the id by which a request is found again |
//! | `tunnel` | what follows a 101: bytes both ways |

pub mod answer;
pub mod authority;
pub mod body;
mod certificate;
mod connect;
pub mod forward;
pub mod headers;
pub mod origin;
pub mod path;
pub mod request_id;
pub mod tunnel;
pub mod upstream;

pub use connect::{LocalExecutor, OriginError};
