//! Where permitted requests of a host go.
//!
//! Owns the compiled form of an origin. Does not connect to it (`datapath::http::upstream`).

use std::net::SocketAddr;
use std::sync::Arc;

use super::reach::Reach;
use tls::OriginTls;
use vocabulary::settings::OriginProtocol;

/// Where permitted requests of a host go.
#[derive(Debug)]
pub struct Origin {
    /// Identifies equal origins: the key of a worker's pool.
    pub key: u64,
    /// As configured: `http://127.0.0.1:9000`.
    pub url: Box<str>,
    /// Name or address to connect to, without brackets.
    pub host: Box<str>,
    /// TCP port to connect to.
    pub port: u16,
    /// Addresses to try in order; empty when `host` has to be resolved at connect time.
    pub addresses: Vec<SocketAddr>,
    /// HTTP version to speak.
    pub protocol: OriginProtocol,
    /// How to speak TLS to it, `None` for `http://`.
    pub tls: Option<OriginTls>,
    /// What it may not be connected to, when a token of a zone set it.
    pub reach: Option<Arc<Reach>>,
    /// Replaces the `Host` that the client sent; `None` passes the client's on.
    pub host_header: Option<http::HeaderValue>,
}
