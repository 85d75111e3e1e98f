//! What a health check asks an address, and how many answers decide.
//!
//! Asks nothing: that is `fetch`'s, from one place for all workers.

use std::time::Duration;

/// How the addresses of an origin are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub asks: Asks,
    /// From one check of an address to the next.
    pub interval: Duration,
    /// For all of one check.
    pub timeout: Duration,
    /// So many good answers in a row make an unhealthy address healthy.
    pub healthy: u32,
    /// So many bad ones in a row make it unhealthy.
    pub unhealthy: u32,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asks {
    /// Whether it takes connections.
    Tcp,
    /// A GET of a path.
    Http {
        /// The path, and a query if need be.
        path: Box<str>,
        /// The `Host`; the address's own when absent.
        host: Option<Box<str>>,
        /// The status of a good answer; any of 200 to 299 when absent.
        status: Option<u16>,
    },
    /// `grpc.health.v1.Health/Check`: whether this service is served; the server as a whole when it has
    /// no name.
    Grpc {
        /// The service.
        service: Box<str>,
        /// The authority; the address's own when absent.
        host: Option<Box<str>>,
    },
}
