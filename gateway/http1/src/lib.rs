//! HTTP/1.1, server and client side, without I/O: bytes in, events out, bytes to send.
//!
//! The caller owns sockets, clocks and buffers. It hands in what has come, is told how much of it was
//! understood and where in it the data lies, and sends what was written into its buffer. Nothing here
//! reads a clock, takes a lock or copies a body; a request in steady state allocates nothing.
//!
//! Owns what RFC 9112 says: heads, the length of bodies, chunks, and whether a connection may serve
//! again. What could be understood in two ways is refused, each way with a word of its own. Does not
//! own what a head *means*: authority, path, rules and what is forwarded are the callers'.
//!
//! | module | owns |
//! |---|---|
//! | `head` | heads as spans of the buffer they came in; writing heads |
//! | `framing` | how long a body is, and what a head says of its connection |
//! | `body` | bodies read and written |
//! | `client` | a connection to an origin, as states |
//! | `server` | a client's connection, as states |
//! | `headers` | headers on their way, as spans or as the map that HTTP/2 brought |
//! | `convert` | fields to and from the types of the crate `http` |
//! | `names` | names of fields that have come before |
//! | `limits` | every bound |
//!
//! ```
//! use http1::{BodyLength, Event, Head, Idle, Limits};
//!
//! let (mut out, mut head) = (Vec::new(), Head::default());
//! let get = http1::Asked::new("GET", "/");
//! let mut host = http::HeaderMap::new();
//! host.insert("host", http::HeaderValue::from_static("a.example"));
//! let (upload, mut answer) = Idle::new().ask(get, &host, BodyLength::None, &mut out)?;
//! assert_eq!(out, b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n");
//!
//! let came = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
//! let limits = Limits::default();
//! let step = answer.receive(came, &limits, &mut head)?;
//! assert_eq!(step.event, Event::Answer(BodyLength::Exactly(2)));
//! assert_eq!((head.status(), head.fields(came).first("content-length")), (200, Some(&b"2"[..])));
//!
//! let rest = &came[step.consumed..];
//! let step = answer.receive(rest, &limits, &mut head)?;
//! assert_eq!(step.event, Event::Data(0..2));
//! assert_eq!(answer.receive(&rest[2..], &limits, &mut head)?.event, Event::End);
//! let idle = answer.over(&upload, b"").expect("the connection may be used again");
//! # drop(idle);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod body;
pub mod client;
mod convert;
pub mod framing;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod head;
pub mod headers;
pub mod limits;
mod names;
mod not_kept;
pub mod server;

pub use body::{BodyError, Decoder, Encoder, Frame, Piece, SendError};
pub use client::{Answer, Asked, ClientError, Event, Idle, Step, Upload};
pub use framing::{BodyLength, FramingError, Said};
pub use head::{Field, Fields, Head, HeadError, Known, Scan, Unwritable, Writer};
pub use headers::{Headers, Written};
pub use limits::Limits;
pub use names::Names;
pub use not_kept::NotKept;
pub use server::{Incoming, Next, Refused, Reply, Request, Sending, ServerError, Waiting};
