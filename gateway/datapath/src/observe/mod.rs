//! Observability: the statistics of workers, and the access log.
//!
//! Owns the statistics that a worker keeps for itself ([`WorkerStats`]), their sum, and the access
//! log ([`AccessLog`]), and the queues of recent events ([`Events`]). Statistics read no clock: times come from the caller. [`Workers`] is how
//! they are collected from the threads. Does not render metrics (`admin::metrics`).
#![forbid(unsafe_code)]

#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the writer has a thread of its own, and the lock is the writer's handle"
)]
mod access_log;
mod client_cert;
mod common;
mod events;
pub mod exemplars;
pub mod histogram;
mod json;
mod line;
mod record;
pub mod spans;
pub mod stats;
mod steering;
pub mod tally;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

pub use access_log::{AccessLog, AccessLogError};
pub use events::{Event, EventCounts, EventKind, Events, Recorder, Wanted};
pub use record::{
    CertificateEvent, CertificateRecord, ConnectionRecord, HandshakeRecord, RequestRecord, RuleHit,
};
pub use stats::{HostSlot, WorkerStats};
pub use steering::{
    HostLoad, Steered, SteeredHost, SteeringStatus, TracedConnection, host_reasons, reasons,
};
pub use tally::RuleAction;

vocabulary::words! {
    /// A stretch of a connection's or request's life that is timed.
    pub enum Stage("a stage", without serde) {
        /// From the accepted connection to its first turn on the worker.
        AcceptWait = "accept_wait",
        /// From the accepted connection to the complete ClientHello.
        ClientHello = "client_hello",
        /// From the complete ClientHello to the end of a full handshake.
        HandshakeFull = "handshake_full",
        /// The same of a resumed one.
        HandshakeResumed = "handshake_resumed",
        /// Evaluating the rules for one request.
        Rules = "rules",
        /// A new connection to the origin, its TLS handshake included.
        OriginConnect = "origin_connect",
        /// From the request sent to the head of the origin's response.
        OriginFirstByte = "origin_first_byte",
        /// From the change of trust, or the end of a certificate, to the end of a live connection that
        /// rested on it.
        CertificateLost = "certificate_lost",
        /// From the complete head of a request to the last byte of its response.
        Total = "total",
    }
}

/// How long the stages of one request took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StageTimes([Option<Duration>; Stage::ALL.len()]);

impl StageTimes {
    /// Notes a stage; a second time of the same stage replaces the first.
    pub fn set(&mut self, stage: Stage, time: Duration) {
        if let Some(slot) = self.0.get_mut(stage as usize) {
            *slot = Some(time);
        }
    }

    /// The time of a stage that there was.
    #[must_use]
    pub fn get(&self, stage: Stage) -> Option<Duration> {
        self.0.get(stage as usize).copied().flatten()
    }
}

/// How a TLS handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeResult {
    /// With a full handshake.
    Full,
    /// With a resumed session.
    Resumed,
    /// Not; the word is the label of the connection's stop.
    Failed(&'static str),
}

/// How the workers are as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkersStatus {
    /// Workers that run.
    pub workers: usize,
    /// Stopping: finishing requests, taking none.
    pub draining: bool,
}

/// All workers, as those who observe see them.
pub trait Workers: Send + Sync {
    /// Asks each worker for a copy of its statistics; one that does not answer within
    /// [`crate::limits::COLLECT_TIMEOUT`] is left out.
    fn collect(&self) -> Pin<Box<dyn Future<Output = Vec<WorkerStats>> + Send + '_>>;

    /// Whether new connections are welcome: all workers listen and none drains.
    fn ready(&self) -> bool;

    /// How they are as a whole.
    fn status(&self) -> WorkersStatus {
        WorkersStatus::default()
    }

    /// Who steers, and who owns what.
    fn steering(&self) -> SteeringStatus {
        SteeringStatus::default()
    }

    /// Decisions of the kernel since the last call, one of `every`; with 0 no more are noted.
    /// `None` when the kernel does not steer.
    fn traced(&self, every: u32) -> Option<Vec<TracedConnection>> {
        let _ = every;
        None
    }
}
