//! HTTP on the wire: bodies, origin connections, and the way there and back.
//!
//! Framing is [`http1`]'s for HTTP/1.1 and h2's for HTTP/2 (RFC 9112, RFC 9113); what a head means is
//! `snapshot::http`'s.
//!
//! | file | owns |
//! |---|---|
//! | `answer` | the answers that Postern gives itself |
//! | `balance` | which of an origin's addresses a request goes to |
//! | `body` | bodies on their way through |
//! | `client_body` | a request's body as it leaves the client, and its bounds |
//! | `client_wire` | the bytes of a client's connection that speaks HTTP/1.1 |
//! | `incoming` | a request's body as it comes from the client |
//! | `outbox` | what waits to go out on an HTTP/1.1 connection |
//! | `outgoing` | a body on its way onto an HTTP/2 stream |
//! | `date` | the time at which an answer is given |
//! | `form` | the form in which a client reads what Postern itself has to say |
//! | `frames` | where HTTP/2 frames begin and end, and whether they carry anything |
//! | `hpack` | what is wrong with compressed headers |
//! | `upstream`, `connect` | a worker's own pool of origin connections |
//! | `exclusive` | HTTP/1.1 connections to origins, driven by the requests that have them |
//! | `multiplexed` | HTTP/2 connections to origins, and which has room |
//! | `duplex` | answers that begin before their request is sent |
//! | `origin_body` | what an answer's body holds of its connection |
//! | `queue` | the wait at an origin's gates |
//! | `repeat` | when a request is sent a second time |
//! | `replay` | the beginning of its body, kept for that |
//! | `forward` | relays a request, given a [`rules::Permit`] |
//! | `request_id` | the id by which a request is found again |
//! | `response` | an answer on its way to a client |
//! | `spare_heads` | heads that are used again |
//! | `wait` | patience with what stands still |
//! | `upgrade` | relays a request that asks for a WebSocket |
//! | `websocket` | what a WebSocket is over one protocol and over the other |
//! | `telling` | what the operator is told of origins |
//! | `tunnel` | the tunnel that a request becomes |
//! | `stream_end` | an HTTP/2 stream as the end of a tunnel |
#![forbid(unsafe_code)]

pub mod answer;
pub mod balance;
pub mod body;
mod client_body;
pub mod client_wire;
mod connect;
pub mod date;
mod duplex;
mod exclusive;
pub mod form;
pub mod forward;
pub mod frames;
pub mod hpack;
pub mod incoming;
mod multiplexed;
mod origin_body;
mod outbox;
pub mod outgoing;
pub mod queue;
mod repeat;
mod replay;
pub mod request_id;
pub mod response;
pub mod spare_heads;
pub mod stream_end;
mod telling;
pub mod tunnel;
pub mod upgrade;
pub mod upstream;
mod wait;
pub mod websocket;

pub use connect::OriginError;
