//! Facts: what rules may know of a connection and of a request.
//!
//! Plain data that the connection fills in; only the round-trip time is asked for when a rule reads
//! it, through [`Timed`].

use std::cell::OnceCell;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http1::Headers;

use crate::geo::Geo;
use crate::matcher::budget::Allowance;
use vocabulary::client_auth::ClientAuth;

/// What holds for a connection until its certificate is verified again.
#[derive(Debug, Clone)]
pub struct ConnectionFacts {
    /// The client.
    pub source: SocketAddr,
    /// Our side of the connection.
    pub local: SocketAddr,
    /// Canonical SNI; empty when none was sent.
    pub sni: Arc<str>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub tls_version: &'static str,
    /// OpenSSL-style name, `AEAD-AES128-GCM-SHA256`.
    pub tls_cipher: &'static str,
    /// The ClientHello handshake message (RFC 8446 §4.1.2) without its 4-byte header.
    pub client_hello: bytes::Bytes,
    /// Where addresses are, when there is a database.
    pub geo: Option<Arc<Geo>>,
    /// The client's certificate and what was found of it.
    pub client: Arc<ClientAuth>,
}

/// What holds for one request.
#[derive(Debug, Clone)]
pub struct RequestFacts<'a> {
    /// `GET`.
    pub method: &'a str,
    /// `HTTP/1.1`, `HTTP/2`.
    pub version: &'static str,
    /// Authority without port, canonical.
    pub host: &'a str,
    /// Normalised path: the very bytes that are forwarded.
    pub path: &'a str,
    /// Path as sent.
    pub raw_path: &'a str,
    /// Without `?`; empty when there is none.
    pub query: &'a str,
    /// HTTP/2's `:authority` as it was sent, where there is no `Host`. Rules read it as that header,
    /// so that no rule is evaded by another version of the protocol.
    pub authority: Option<&'a str>,
    /// All headers; values are bytes.
    pub headers: &'a Headers,
    /// When the head was complete, milliseconds since the epoch.
    pub received_msec: i64,
    /// The request id.
    pub ray_id: &'a str,
    /// The work that rules may still do for it.
    pub allowance: Allowance,
    /// The round-trip time to the client.
    pub round_trip: RoundTrip<'a>,
}

/// Measures the round trip to the client: how long a segment and its acknowledgement take.
pub trait Timed: fmt::Debug {
    /// The smoothed time. `None` while it is not known.
    fn round_trip(&self) -> Option<Duration>;
}

/// The round-trip time to the client. The first rule that reads it asks for it, and all rules see the
/// same value. Zero where it is not known.
#[derive(Debug, Clone, Default)]
pub struct RoundTrip<'a> {
    by: Option<&'a dyn Timed>,
    known: OnceCell<Duration>,
}

impl<'a> RoundTrip<'a> {
    /// To be asked of `by`.
    #[must_use]
    pub fn of(by: &'a dyn Timed) -> Self {
        Self {
            by: Some(by),
            known: OnceCell::new(),
        }
    }

    /// Known already.
    #[must_use]
    pub fn known(time: Duration) -> Self {
        Self {
            by: None,
            known: time.into(),
        }
    }

    /// Whole milliseconds.
    pub(crate) fn msec(&self) -> i64 {
        let ask = || self.by.and_then(Timed::round_trip).unwrap_or_default();
        let time = self.known.get_or_init(ask).as_millis();
        i64::try_from(time).unwrap_or(i64::MAX)
    }
}
