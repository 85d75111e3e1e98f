//! What rules are judged on: plain data that the connection fills in, and whom to ask for what is
//! seldom wanted.

use std::cell::OnceCell;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use crate::geo::Geo;
use crate::matcher::budget::Allowance;
use vocabulary::client_auth::ClientAuth;

/// What holds for a connection as long as its judgement does.
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
    /// HTTP/2's `:authority` as it was sent, where there is no `Host`: rules read it as that, so
    /// that none of them is got around by another version of the protocol.
    pub authority: Option<&'a str>,
    /// All headers; values are bytes.
    pub headers: &'a HeaderMap,
    /// When the head was complete, milliseconds since the epoch.
    pub received_msec: i64,
    /// The request id.
    pub ray_id: &'a str,
    /// What rules may still do with it.
    pub allowance: Allowance,
    /// How long a segment to the client and its acknowledgement take.
    pub round_trip: RoundTrip<'a>,
}

/// Who knows how long a segment to the client and its acknowledgement take.
pub trait Timed: fmt::Debug {
    /// The time, smoothed. `None` as long as nobody knows.
    fn round_trip(&self) -> Option<Duration>;
}

/// The time that a segment to the client and its acknowledgement take: asked for by the first rule
/// that wants it, and then the same for all of them. Zero where it is not known.
#[derive(Debug, Clone, Default)]
pub struct RoundTrip<'a> {
    by: Option<&'a dyn Timed>,
    known: OnceCell<Duration>,
}

impl<'a> RoundTrip<'a> {
    /// As somebody knows it.
    #[must_use]
    pub fn of(by: &'a dyn Timed) -> Self {
        Self {
            by: Some(by),
            known: OnceCell::new(),
        }
    }

    /// As it is known already.
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
