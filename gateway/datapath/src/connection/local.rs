//! The state that connections find on their thread.
//!
//! Owns what the connections of one worker use together ([`Local`]) and what those of all workers
//! use ([`Shared`]). Does not know the thread itself: its listeners, messages and hand-overs are
//! `worker`'s.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use super::Clients;
use crate::http::request_id::RequestIds;
use crate::http::upstream::Pool;
use crate::observe::spans::Spans;
use crate::observe::{AccessLog, Events, Recorder, WorkerStats};
use crate::shares::Shares;
use config::{Live, LogStyle};
use rules::geo::Geo;
use snapshot::Published;
use snapshot::phases::Buckets;
use snapshot::questions::OcspQueue;
use tls::Acceptor;

/// What the connections of all workers use: immutable or lock-free.
pub struct Shared {
    /// Where TLS connections start.
    pub acceptor: Acceptor,
    /// The current snapshot.
    pub published: Arc<Published>,
    /// What can be tuned.
    pub live: Arc<Live>,
    /// Where addresses are; replaced whole at SIGHUP, for connections that begin after it.
    pub geo: ArcSwapOption<Geo>,
    /// Where requests are written down.
    pub access_log: AccessLog,
    /// Where what happens can be looked at.
    pub events: Arc<Events>,
    /// Where spans of requests go.
    pub spans: Arc<Spans>,
    /// What responders are to be asked about clients.
    pub questions: Arc<OcspQueue>,
    /// How many requests have come, for rate limits.
    pub buckets: Buckets,
    /// What clients hold.
    pub shares: Arc<Shares>,
}

/// What the connections of one worker use.
pub struct Local {
    /// The worker's number, counted from 0.
    pub index: usize,
    /// What they share with those of other workers.
    pub shared: Arc<Shared>,
    /// The worker's statistics; never borrowed across an await.
    pub stats: RefCell<WorkerStats>,
    /// What it keeps of what happens, for those who look.
    pub recorder: Recorder,
    /// Its connections by client certificate.
    pub clients: Clients,
    /// Its origin connections.
    pub pool: Rc<Pool>,
    /// Its request ids.
    pub request_ids: RequestIds,
    /// Whether it is stopping.
    pub drain: Drain,
    /// Its connections with a request in progress.
    pub busy: Cell<usize>,
    /// Its connections that hold no buffers, because no request is in progress.
    parked: Cell<usize>,
    /// Connections that went quiet or ended since [`Local::take_quieted`] last answered.
    quieted: Cell<usize>,
    /// Connections that have begun.
    numbered: Cell<u64>,
}

impl Local {
    /// The state of worker `index` before its first connection.
    #[must_use]
    pub fn new(index: usize, shared: Arc<Shared>, request_ids: RequestIds) -> Self {
        Self {
            index,
            recorder: Recorder::new(shared.events.clone(), index),
            pool: Pool::new(&shared.live.load(), shared.published.names()),
            shared,
            stats: RefCell::new(WorkerStats::new(index)),
            clients: Clients::default(),
            request_ids,
            drain: Drain::default(),
            busy: Cell::new(0),
            parked: Cell::new(0),
            quieted: Cell::new(0),
            numbered: Cell::new(0),
        }
    }

    /// Tells a connection from all others of this worker.
    pub(super) fn next_number(&self) -> u64 {
        let number = self.numbered.get() + 1;
        self.numbered.set(number);
        number
    }

    /// How lines of the access log are written now.
    #[must_use]
    pub fn log_style(&self) -> LogStyle {
        self.shared.live.load().access_log
    }

    /// A connection has given its buffers back and waits for the next request.
    pub fn park(&self) -> Parked<'_> {
        self.parked.set(self.parked.get() + 1);
        self.quiets();
        Parked(self)
    }

    /// Connections that are parked.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.parked.get()
    }

    /// A connection went quiet or ended: memory became free.
    pub fn quiets(&self) {
        self.quieted.set(self.quieted.get() + 1);
    }

    /// Whether `enough` connections went quiet or ended since this was last the case.
    pub fn take_quieted(&self, enough: usize) -> bool {
        let reached = self.quieted.get() >= enough;
        if reached {
            self.quieted.set(0);
        }
        reached
    }
}

/// Counts a connection as parked for as long as it lives.
pub struct Parked<'l>(&'l Local);

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.parked.set(self.0.parked.get() - 1);
    }
}

/// Tells a worker's connections that it is stopping.
#[derive(Default)]
pub struct Drain {
    begun: Cell<bool>,
    /// Those on which nothing is under way are to end too.
    presses: Cell<bool>,
    notify: Notify,
    /// For those that look at nothing by themselves.
    resting: Notify,
}

impl Drain {
    /// Whether the worker is stopping.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.get()
    }

    /// Whether connections on which nothing is under way are to end, and not to wait for a last
    /// request.
    #[must_use]
    pub fn presses(&self) -> bool {
        self.presses.get()
    }

    /// Waits until it is stopping.
    pub async fn begun(&self) {
        while !self.begun.get() {
            self.notify.notified().await;
        }
    }

    /// Waits until connections that rest are to end: [`Self::stir`] has their tasks polled meanwhile.
    pub async fn pressing(&self) {
        while !self.presses.get() {
            self.resting.notified().await;
        }
    }

    /// Has those that rest look at whatever else may end them.
    pub fn stir(&self) {
        self.resting.notify_waiters();
    }

    /// The worker is stopping from now on.
    pub fn begin(&self) {
        self.begin_gently();
        self.presses.set(true);
        self.resting.notify_waiters();
    }

    /// The same, but connections that rest may have one more request: another process takes the new
    /// ones, and nothing is in a hurry.
    pub fn begin_gently(&self) {
        self.begun.set(true);
        self.notify.notify_waiters();
    }
}
