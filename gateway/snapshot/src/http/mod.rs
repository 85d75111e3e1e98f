//! The pure half of HTTP: the meaning of a request head, and the head that an origin gets.
//!
//! Does no I/O and reads no clock, so that the data path and the dry run can share it.
//!
//! | file | owns |
//! |---|---|
//! | `request_head` | what of a request is together on its way |
//! | `authority` | which host a request is for |
//! | `client_address` | who the client is, by what proxies in front say |
//! | `path` | the one normalised path that is matched, and the target made of it |
//! | `headers`, `certificate` | which headers cross the gateway, and the certificate headers |
//! | `names` | which names of headers are whose |
//! | `trace_context` | which trace a request is part of |
//! | `proxy_header` | what an origin is told of a client before the first byte |
//! | `origin`, `reach` | where permitted requests go, and where a tenant's do not |

pub mod authority;
mod certificate;
pub mod client_address;
pub mod headers;
pub mod names;
pub mod origin;
pub mod path;
pub mod proxy_header;
pub mod reach;
pub mod request_head;
pub mod trace_context;
