//! The one reason for which a connection ended.

use tls::Refusal;
use vocabulary::side::Side;

/// Why a connection ended. Each ends with exactly one.
///
/// ```
/// use datapath::connection::Stop;
/// use vocabulary::side::Side;
///
/// assert_eq!(Stop::TooMany.as_str(), "too_many_connections");
/// assert_eq!(Stop::TooMany.side(), Some(Side::Us));
/// assert_eq!(Stop::Drained.side(), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The client closed, or we did after its last request.
    Closed,
    /// The handshake was refused.
    Handshake(Refusal),
    /// The handshake was not over within `timeout.handshake`.
    HandshakeTimeout,
    /// A request head was not whole within `timeout.header`.
    HeaderTimeout,
    /// No request within `timeout.idle`.
    IdleTimeout,
    /// The client took none of our bytes for `timeout.idle`, or fell so far behind
    /// `limit.body_rate`.
    SlowReader,
    /// More frames that carry nothing, or more requests taken back, than
    /// `limit.h2_control_frames` allows.
    Flood,
    /// What came is not HTTP.
    BadHttp,
    /// The socket broke, or a TLS record was bad.
    Broken,
    /// The process stops, or was replaced.
    Drained,
    /// The client's certificate is no longer good: revoked, expired, or its CA removed.
    CertificateLost,
    /// It became a tunnel, and the tunnel ended.
    Tunnel,
    /// `limit.connections` was reached.
    TooMany,
    /// Its client has the connections that `limit.client_connections` allows, or descriptors run
    /// short and it has many.
    ClientShare,
    /// Descriptors or memory ran short, and its client held the most.
    Shed,
    /// An ACME server has checked the name of a host (TLS-ALPN-01).
    AcmeChallenge,
    /// It came from `proxy.protocol_from` and did not begin with a PROXY protocol header.
    ProxyHeader,
}

impl Stop {
    /// Whose fault it is that the connection ended, if it is a fault.
    #[must_use]
    pub fn side(self) -> Option<Side> {
        match self {
            Self::Closed
            | Self::IdleTimeout
            | Self::Drained
            | Self::CertificateLost
            | Self::AcmeChallenge
            | Self::Tunnel => None,
            Self::Handshake(_)
            | Self::HandshakeTimeout
            | Self::HeaderTimeout
            | Self::SlowReader
            | Self::Flood
            | Self::ClientShare
            | Self::Shed
            | Self::ProxyHeader
            | Self::BadHttp
            | Self::Broken => Some(Side::Client),
            Self::TooMany => Some(Side::Us),
        }
    }

    /// The stable snake_case text for logs and metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Handshake(_) => "handshake",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::HeaderTimeout => "header_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::SlowReader => "slow_reader",
            Self::Flood => "flood",
            Self::BadHttp => "bad_http",
            Self::Broken => "broken",
            Self::Drained => "drained",
            Self::CertificateLost => "certificate_lost",
            Self::Tunnel => "tunnel",
            Self::TooMany => "too_many_connections",
            Self::ClientShare => "client_share",
            Self::Shed => "shed",
            Self::AcmeChallenge => "acme_challenge",
            Self::ProxyHeader => "proxy_header",
        }
    }
}
