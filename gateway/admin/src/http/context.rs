//! The context of every handler: the parts of the gateway that the API speaks about, the actor of a
//! request, and the way of work of the control plane off the async threads.
//!
//! Owns which handle of the control plane a handler has: handlers that read get one that cannot
//! change anything, handlers that change get one that cannot read ([`super::scope`]).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::http::StatusCode;

use super::auth::Peer;
use super::fault::Fault;
use super::listener::Bound;
use super::memory::Pool;
use super::rates::Rates;
use super::sessions::Sessions;
use super::tls::AdminTls;
use crate::events::History;
use crate::fleet::Fleet;
use crate::latency::Series;
use crate::upgrades::Upgrades;
use config::Live;
use control::{ChangeError, ChangeOnly, Control, Grant, Id, Intent, ReadOnly};
use datapath::observe::spans::Spans;
use datapath::observe::{AccessLog, Events, Workers};
use datapath::plain;
use fetch::{AcmeClient, CrlFetcher, HealthChecker, NameWatch, OcspClient, Stapler};
use snapshot::Published;

/// What the API speaks about.
#[derive(Clone)]
pub struct State {
    /// Zones, hosts, certificates, rules.
    pub control: Arc<Control>,
    /// Revocation lists that are fetched.
    pub lists: Arc<CrlFetcher>,
    /// Responders that are asked about clients.
    pub responders: Arc<OcspClient>,
    /// Answers that are stapled to server certificates.
    pub stapler: Arc<Stapler>,
    /// Certificates that an ACME server brings.
    pub acme: Arc<AcmeClient>,
    /// How addresses of origins are checked.
    pub health: Arc<HealthChecker>,
    /// What names of origins mean.
    pub names: Arc<NameWatch>,
    /// What the data path runs on now.
    pub published: Arc<Published>,
    /// The workers.
    pub workers: Arc<dyn Workers>,
    /// What can be tuned.
    pub live: Arc<Live>,
    /// For its count of dropped lines.
    pub access_log: AccessLog,
    /// For their counts.
    pub spans: Arc<Spans>,
    /// What became of plain connections.
    pub plain: Arc<plain::Counts>,
    /// Where workers put what happens.
    pub events: Arc<Events>,
    /// Upgrades that are asked for, and the last one.
    pub upgrades: Arc<Upgrades>,
    /// The other edges.
    pub fleet: Arc<dyn Fleet>,
    /// When the process started, for people.
    pub started: SystemTime,
    /// The same, by a clock that nobody sets.
    pub begun: Instant,
}

/// Who makes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Actor {
    /// For the audit log.
    pub(crate) name: String,
    /// The zones that its token is for, when it is not for all: it is a tenant then.
    pub(crate) zones: BTreeSet<Id>,
    /// What its token gives it; nothing where none is needed.
    pub(crate) grant: Option<Grant>,
}

impl From<String> for Actor {
    fn from(name: String) -> Self {
        Self {
            name,
            zones: BTreeSet::new(),
            grant: None,
        }
    }
}

impl Actor {
    /// Whether it is a token of some zones only.
    pub(crate) fn is_tenant(&self) -> bool {
        !self.zones.is_empty()
    }

    /// Whether it may know of this zone.
    pub(crate) fn sees(&self, zone: Id) -> bool {
        !self.is_tenant() || self.zones.contains(&zone)
    }
}

/// The state of the API itself. What handlers may have of the gateway, they have by a method.
pub(crate) struct Context {
    state: State,
    reader: Control<ReadOnly>,
    pub(super) rates: Rates,
    /// Who is signed in at the dashboard.
    pub(crate) sessions: Sessions,
    /// What has happened lately.
    pub(crate) history: Arc<History>,
    /// How long everything took lately.
    pub(crate) series: Arc<Series>,
    over_unix: Pool,
    over_tcp: Pool,
    /// What the TCP listener is called, when it speaks TLS.
    pub(crate) tls: Option<Arc<AdminTls>>,
    tcp: Option<SocketAddr>,
}

pub(crate) type Shared = axum::extract::State<Arc<Context>>;

impl Context {
    pub(crate) fn new(state: State, bound: &Bound) -> Self {
        Self {
            reader: state.control.reader(),
            state,
            rates: Rates::new(),
            sessions: Sessions::default(),
            history: Arc::default(),
            series: Arc::default(),
            tls: bound.tls.clone(),
            tcp: bound.tcp_address(),
            over_unix: Pool::default(),
            over_tcp: Pool::default(),
        }
    }

    /// The memory for requests that come so.
    pub(super) fn memory_of(&self, peer: Peer) -> &Pool {
        match peer {
            Peer::Unix { .. } => &self.over_unix,
            Peer::Tcp => &self.over_tcp,
        }
    }

    /// The control plane, for reading.
    pub(crate) fn reader(&self) -> &Control<ReadOnly> {
        &self.reader
    }

    /// The control plane, for changing. Only [`super::scope`] gives it to handlers.
    pub(super) fn changer(&self, intent: Intent) -> Control<ChangeOnly> {
        self.state.control.changer(intent)
    }

    /// Revocation lists that are fetched.
    pub(crate) fn lists(&self) -> &Arc<CrlFetcher> {
        &self.state.lists
    }

    /// Responders that are asked about clients.
    pub(crate) fn responders(&self) -> &OcspClient {
        &self.state.responders
    }

    /// Answers that are stapled to server certificates.
    pub(crate) fn stapler(&self) -> &Stapler {
        &self.state.stapler
    }

    /// Certificates that an ACME server brings.
    pub(crate) fn acme(&self) -> &AcmeClient {
        &self.state.acme
    }

    /// How addresses of origins are checked.
    pub(crate) fn health(&self) -> &HealthChecker {
        &self.state.health
    }

    /// What names of origins mean.
    pub(crate) fn names(&self) -> &NameWatch {
        &self.state.names
    }

    /// What the data path runs on now.
    pub(crate) fn published(&self) -> &Published {
        &self.state.published
    }

    /// The workers.
    pub(crate) fn workers(&self) -> &dyn Workers {
        &*self.state.workers
    }

    /// What can be tuned.
    pub(crate) fn live(&self) -> &Live {
        &self.state.live
    }

    /// The access log.
    pub(crate) fn plain(&self) -> &plain::Counts {
        &self.state.plain
    }

    pub(crate) fn spans(&self) -> &Spans {
        &self.state.spans
    }

    pub(crate) fn access_log(&self) -> &AccessLog {
        &self.state.access_log
    }

    /// Upgrades of this process.
    pub(crate) fn upgrades(&self) -> &Upgrades {
        &self.state.upgrades
    }

    /// The other edges.
    pub(crate) fn fleet(&self) -> &Arc<dyn Fleet> {
        &self.state.fleet
    }

    /// When the process started.
    pub(crate) fn started(&self) -> SystemTime {
        self.state.started
    }

    /// For how long the process has run.
    pub(crate) fn uptime(&self) -> Duration {
        self.state.begun.elapsed()
    }

    /// Where a browser on this machine finds the dashboard: nowhere without a TCP listener.
    pub(crate) fn address(&self) -> Option<String> {
        let tcp = self.tcp?;
        let Some(tls) = &self.tls else {
            return Some(format!("http://{tcp}"));
        };
        let name = tls.name().unwrap_or_else(|| "localhost".into());
        Some(format!("https://{name}:{}", tcp.port()))
    }

    /// Whether another look at something that is to prove who one is may be had.
    pub(crate) fn failure(&self, now: Instant) -> bool {
        self.rates.failure(now)
    }

    /// Checks an account id: there is one account.
    pub(crate) fn account(&self, id: &str) -> Result<Id, Fault> {
        let id: Id = id.parse()?;
        if id == self.reader.model().account {
            return Ok(id);
        }
        let message = format!("There is no account `{id}`; zones answer the one there is");
        Err(Fault::new(StatusCode::NOT_FOUND, 7003, message))
    }

    /// The id of a zone that exists.
    pub(crate) fn zone(&self, id: &str) -> Result<Id, Fault> {
        let id: Id = id.parse()?;
        if self.reader.model().zones.contains_key(&id) {
            return Ok(id);
        }
        let message = format!("Invalid zone identifier: there is no zone `{id}`");
        Err(Fault::new(StatusCode::NOT_FOUND, 1001, message))
    }
}

/// Runs work of the control plane where it may wait for the disk. It is finished even when the
/// client is gone by then.
pub(super) async fn off_thread<A: 'static, T: Send + 'static>(
    control: Control<A>,
    work: impl FnOnce(&Control<A>) -> Result<T, ChangeError> + Send + 'static,
) -> Result<T, Fault> {
    let done = tokio::task::spawn_blocking(move || work(&control)).await;
    match done {
        Ok(answer) => Ok(answer?),
        Err(_panicked) => {
            let message = "The change failed inside; nothing was changed. The log has the reason";
            Err(Fault::new(StatusCode::INTERNAL_SERVER_ERROR, 1000, message))
        }
    }
}
