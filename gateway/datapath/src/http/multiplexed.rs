//! HTTP/2 connections to an origin: which has room for a further request.
//!
//! Owns the account of streams of one connection, and the wait for one that is being opened. Does
//! not open connections and does not keep them (`upstream`).

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use hyper::client::conn::http2::{self, SendRequest};
use tokio::sync::Notify;

use super::body::RequestBody;
use super::connect::{LocalExecutor, OriginStream};
use crate::clock;
use crate::limits::H2_ORIGIN_STREAMS_MAX;

type Connection = http2::Connection<OriginStream, RequestBody, LocalExecutor>;

/// What an origin says in its SETTINGS, for as long as its connection lives.
pub(super) struct Settings(Weak<RefCell<Connection>>);

impl Settings {
    /// Streams that it takes at once; none as long as it has not said so, or when it is gone.
    pub(super) fn streams_max(&self) -> usize {
        self.0
            .upgrade()
            .map_or(0, |driven| driven.borrow().current_max_send_streams())
    }
}

/// A connection to be driven, and its settings to be looked at meanwhile. The driver owns it: what
/// waits in its queue has to go with it.
pub(super) fn shared(
    connection: Connection,
) -> (impl Future<Output = Result<(), hyper::Error>>, Settings) {
    let connection = Rc::new(RefCell::new(connection));
    let settings = Settings(Rc::downgrade(&connection));
    let driven = std::future::poll_fn(move |cx| Pin::new(&mut *connection.borrow_mut()).poll(cx));
    (driven, settings)
}

/// An HTTP/2 connection that requests share.
pub(super) struct Multiplexed {
    sender: SendRequest<RequestBody>,
    settings: Settings,
    /// Requests that are not over in both directions.
    streams: Cell<usize>,
    /// As many as it took when it refused one.
    refused_at: Cell<Option<usize>>,
    /// No further request goes out on it.
    retired: Cell<bool>,
    /// Since when it has no stream.
    idle_since: Cell<Instant>,
}

impl Multiplexed {
    pub(super) fn new(sender: SendRequest<RequestBody>, settings: Settings) -> Rc<Self> {
        Rc::new(Self {
            sender,
            settings,
            streams: Cell::new(0),
            refused_at: Cell::new(None),
            retired: Cell::new(false),
            idle_since: Cell::new(clock::now()),
        })
    }

    /// Whether requests may go out on it at all.
    pub(super) fn is_alive(&self) -> bool {
        !self.retired.get() && !self.sender.is_closed()
    }

    /// Whether a further request would be served at once.
    pub(super) fn has_room(&self) -> bool {
        let origins = self.settings.streams_max();
        let refused_at = self.refused_at.get().unwrap_or(usize::MAX);
        self.streams.get() < origins.min(refused_at).min(H2_ORIGIN_STREAMS_MAX)
    }

    /// Requests on it.
    pub(super) fn streams(&self) -> usize {
        self.streams.get()
    }

    /// Whether it can be let go of. Requests that are under way end in peace.
    pub(super) fn is_over(&self, now: Instant, idle_timeout: Duration) -> bool {
        let unused =
            self.streams.get() == 0 && now.duration_since(self.idle_since.get()) >= idle_timeout;
        unused || !self.is_alive()
    }
}

/// One request's place on an HTTP/2 connection; given back when the bodies of both directions are
/// over, which each hold it.
pub(super) struct Stream(Rc<Multiplexed>);

impl Stream {
    pub(super) fn on(connection: &Rc<Multiplexed>) -> Rc<Self> {
        connection.streams.set(connection.streams.get() + 1);
        Rc::new(Self(connection.clone()))
    }

    /// To send the request with.
    pub(super) fn sender(&self) -> SendRequest<RequestBody> {
        self.0.sender.clone()
    }

    /// The origin refused the request for want of streams: it gets no more than it has now until
    /// some of them are over.
    pub(super) fn was_refused(&self) {
        let others = self.0.streams.get().saturating_sub(1);
        self.0.refused_at.set(Some(others.max(1)));
    }

    /// The connection ends: no further request goes out on it.
    pub(super) fn retire(&self) {
        self.0.retired.set(true);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let left = self.0.streams.get().saturating_sub(1);
        self.0.streams.set(left);
        if left == 0 {
            self.0.refused_at.set(None);
            self.0.idle_since.set(clock::now());
        }
    }
}

/// A connection that is being opened, and how many wait for it.
pub(super) struct Opening {
    waiting: Cell<usize>,
    /// Whether it succeeded, once it is over.
    outcome: Cell<Option<bool>>,
    notify: Notify,
}

impl Opening {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            waiting: Cell::new(0),
            outcome: Cell::new(None),
            notify: Notify::new(),
        })
    }

    /// Whether one more request may count on it, which then does.
    pub(super) fn join(&self) -> bool {
        let waiting = self.waiting.get() + 1;
        let room = waiting < H2_ORIGIN_STREAMS_MAX && self.outcome.get().is_none();
        if room {
            self.waiting.set(waiting);
        }
        room
    }

    /// Waits for the outcome.
    pub(super) async fn over(&self) -> bool {
        loop {
            let notified = self.notify.notified();
            match self.outcome.get() {
                Some(outcome) => return outcome,
                None => notified.await,
            }
        }
    }

    pub(super) fn end(&self, outcome: bool) {
        self.outcome.set(Some(outcome));
        self.notify.notify_waiters();
    }
}
