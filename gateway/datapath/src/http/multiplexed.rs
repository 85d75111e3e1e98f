//! HTTP/2 connections to an origin: which has room for a further request.
//!
//! Owns the start of such a connection and the task that drives it, the account of its streams, and the
//! wait for one that is being opened. Does not connect and does not keep connections (`upstream`).

use std::cell::{Cell, OnceCell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::{Ping, PingPong};
use tokio::sync::{Notify, oneshot};

use super::connect::OriginStream;
use super::exclusive::Open;
use super::upstream::{HeadBounds, Own, Pool};
use crate::clock;
use crate::io::Activity;
use crate::limits::{
    H2_ORIGIN_STREAMS_MAX, H2_PING_INTERVAL, H2_PONG_TIMEOUT, H2_SEND_BUFFER, H2_SILENCE_MIN,
    H2_WINDOW_ORIGIN, H2_WINDOW_STREAM, ORIGIN_CLOSE_TIMEOUT, ORIGIN_CLOSE_TIMES_MAX,
};

/// What is known of a connection by the task that drives it.
#[derive(Default)]
struct Driven {
    /// Streams that the origin takes at once; none as long as it has not said so.
    streams_max: Cell<usize>,
    over: Cell<bool>,
    /// One of these has changed for the first time.
    changed: Notify,
    /// Nothing has come for longer than answers may take: it is to be found out whether the origin lives.
    suspected: Notify,
    /// It does not.
    dead: Cell<bool>,
}

impl Driven {
    fn look(&self, connection: &client::Connection<OriginStream, Bytes>) {
        let streams_max = connection.max_concurrent_send_streams();
        if self.streams_max.replace(streams_max) == 0 && streams_max > 0 {
            self.changed.notify_waiters();
        }
    }

    fn ends(&self) {
        self.over.set(true);
        self.changed.notify_waiters();
    }

    /// Asks the origin whether it lives, whenever it is suspected not to: silence alone says nothing, and
    /// one that lives answers (RFC 9113 §6.7). Ends once it has not.
    async fn find_death(&self, mut ping_pong: PingPong, activity: &Activity) {
        loop {
            self.suspected.notified().await;
            let received = activity.bytes_in.get();
            // One that is not answered yet asks as well.
            drop(ping_pong.send_ping(Ping::opaque()));
            let answer = poll_fn(|cx| ping_pong.poll_pong(cx));
            let is_late = tokio::time::timeout(H2_PONG_TIMEOUT, answer).await.is_err();
            if is_late && activity.bytes_in.get() == received {
                self.dead.set(true);
                return;
            }
            tokio::time::sleep(H2_PING_INTERVAL).await;
        }
    }
}

/// Lives for as long as somebody has a use for a connection.
type Wanted = oneshot::Sender<Infallible>;

/// Drives a connection until both sides are done with it. Once nobody wants it any more, an origin that
/// does not read holds it up no longer than any goodbye may take.
async fn drive(
    mut connection: client::Connection<OriginStream, Bytes>,
    driven: Rc<Driven>,
    activity: Rc<Activity>,
    wanted: oneshot::Receiver<Infallible>,
) {
    let ping_pong = connection.ping_pong();
    let ended = poll_fn(|cx| {
        let ended = Pin::new(&mut connection).poll(cx);
        driven.look(&connection);
        ended
    });
    let late = async {
        let _nobody = wanted.await;
        // What h2 has of a body goes out, as long as the origin takes it.
        for _ in 0..ORIGIN_CLOSE_TIMES_MAX {
            let sent = activity.bytes_out.get();
            tokio::time::sleep(ORIGIN_CLOSE_TIMEOUT).await;
            if activity.bytes_out.get() == sent {
                break;
            }
        }
    };
    let dead = async {
        // It is had once, and this is the first time.
        if let Some(ping_pong) = ping_pong {
            driven.find_death(ping_pong, &activity).await;
        }
        // The requests that are on it go on.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        ended = ended => {
            if let Err(error) = ended {
                tracing::debug!(%error, "an origin connection ended");
            }
        }
        () = late => tracing::debug!("an origin connection was not let go of"),
        () = dead => {}
    }
    driven.ends();
}

/// Starts HTTP/2. The connection is driven by a task of its own, beside the requests that use it,
/// until both sides are done with it, and is `open` for as long.
///
/// Waits for the origin's SETTINGS, so that it never has to refuse a stream because we did not know
/// yet how many it takes.
///
/// # Errors
/// The connection ended before.
pub(super) async fn start(
    stream: OriginStream,
    heads: HeadBounds,
    open: Rc<Open>,
) -> Result<Rc<Multiplexed>, h2::Error> {
    let activity = stream.activity();
    let (sender, connection) = client::Builder::new()
        .enable_push(false)
        .initial_window_size(H2_WINDOW_STREAM)
        .initial_connection_window_size(H2_WINDOW_ORIGIN)
        .initial_max_send_streams(0)
        .max_send_buffer_size(H2_SEND_BUFFER)
        .max_header_list_size(heads.h2_list_size())
        .handshake(stream)
        .await?;
    let driven = Rc::<Driven>::default();
    let (wanted, is_wanted) = oneshot::channel();
    let driver = drive(connection, driven.clone(), activity.clone(), is_wanted);
    let held = open.clone();
    tokio::task::spawn_local(async move {
        driver.await;
        drop(held);
    });
    while driven.streams_max.get() == 0 && !driven.over.get() {
        driven.changed.notified().await;
    }
    let connection = Multiplexed {
        sender: RefCell::new(sender),
        driven,
        _wanted: wanted,
        activity,
        asked: Cell::new(None),
        open: Rc::downgrade(&open),
        streams: Cell::new(0),
        refused_at: Cell::new(None),
        retired: Cell::new(false),
        idle_since: Cell::new(clock::now()),
        owned: OnceCell::new(),
        own: RefCell::default(),
    };
    // If it has ended, this says why.
    connection.ready()?;
    Ok(Rc::new(connection))
}

/// An HTTP/2 connection that requests share.
pub(super) struct Multiplexed {
    sender: RefCell<SendRequest<Bytes>>,
    driven: Rc<Driven>,
    _wanted: Wanted,
    activity: Rc<Activity>,
    /// When the first request went out since anything was received, and how much had been received then.
    asked: Cell<Option<(Instant, u64)>>,
    open: Weak<Open>,
    /// Requests that are not over in both directions.
    streams: Cell<usize>,
    /// As many as it took when it refused one.
    refused_at: Cell<Option<usize>>,
    /// No further request goes out on it.
    retired: Cell<bool>,
    /// Since when it has no stream.
    idle_since: Cell<Instant>,
    /// It is for one client alone: who bounds how many of an origin's are idle, and that origin.
    owned: OnceCell<(Weak<Pool>, u64)>,
    /// It is counted as idle among these.
    own: RefCell<Option<Own>>,
}

impl Multiplexed {
    /// Whether a request can be sent, as far as h2 knows.
    fn ready(&self) -> Result<(), h2::Error> {
        let cx = &mut Context::from_waker(Waker::noop());
        match self.sender.borrow_mut().poll_ready(cx) {
            Poll::Ready(ready) => ready,
            Poll::Pending => Ok(()),
        }
    }

    /// Whether requests may go out on it at all.
    pub(super) fn is_alive(&self) -> bool {
        let open = self.open.upgrade();
        !self.retired.get()
            && !self.driven.over.get()
            && !self.driven.dead.get()
            && open.is_none_or(|open| !open.is_gone())
            && self.ready().is_ok()
    }

    /// Whether a further request would be served at once.
    pub(super) fn has_room(&self) -> bool {
        let origins = self.driven.streams_max.get();
        let refused_at = self.refused_at.get().unwrap_or(usize::MAX);
        self.streams.get() < origins.min(refused_at).min(H2_ORIGIN_STREAMS_MAX)
    }

    /// It is for one client alone.
    pub(super) fn belongs_to_client(&self, pool: &Rc<Pool>, origin: u64) {
        // It is said once, before its first request.
        drop(self.owned.set((Rc::downgrade(pool), origin)));
    }

    /// Since when it is idle, where it counts among those.
    pub(super) fn idle_since_of(&self, counts: impl Fn(&Own) -> bool) -> Option<Instant> {
        let is_one = self.own.borrow().as_ref().is_some_and(counts);
        is_one.then(|| self.idle_since.get())
    }

    fn becomes_idle(&self) {
        self.refused_at.set(None);
        self.idle_since.set(clock::now());
        let Some((pool, origin)) = self.owned.get() else {
            return;
        };
        if let Some(pool) = pool.upgrade() {
            self.own.replace(Some(pool.own(*origin)));
            pool.bound_own(*origin);
        }
    }

    /// Requests on it.
    pub(super) fn streams(&self) -> usize {
        self.streams.get()
    }

    /// Whether it can be let go of. Requests that are under way end in peace.
    pub(super) fn is_over(&self, now: Instant, idle_timeout: Duration) -> bool {
        let idle = now.duration_since(self.idle_since.get());
        let unused = self.streams.get() == 0 && (idle >= idle_timeout || self.is_unwelcome());
        unused || !self.is_alive()
    }

    /// Whether its origin may have so many only.
    pub(super) fn is_limited(&self) -> bool {
        self.open.upgrade().is_some_and(|open| open.is_limited())
    }

    /// Whether it leads past its address.
    pub(super) fn is_past(&self) -> bool {
        self.open.upgrade().is_some_and(|open| open.is_past())
    }

    /// No further request goes out on it.
    pub(super) fn retire(&self) {
        self.retired.set(true);
    }

    /// Whether it had better be over: somebody waits for that, or its address is gone.
    pub(super) fn is_unwelcome(&self) -> bool {
        self.open.upgrade().is_some_and(|open| open.is_unwelcome())
    }

    /// A request goes out.
    fn asks(&self, now: Instant) {
        let received = self.activity.bytes_in.get();
        let asked = self.asked.get().filter(|(_, before)| *before == received);
        self.asked.set(asked.or(Some((now, received))));
    }

    /// Whether nothing at all has come for so long, although requests went out.
    fn is_silent(&self, patience: Duration) -> bool {
        let received = self.activity.bytes_in.get();
        let asked = self.asked.get().filter(|(_, before)| *before == received);
        asked.is_some_and(|(since, _)| since.elapsed() >= patience.max(H2_SILENCE_MIN))
    }
}

/// One request's place on an HTTP/2 connection; given back when the bodies of both directions are
/// over, which each hold it.
pub(super) struct Stream {
    connection: Rc<Multiplexed>,
    /// How long its origin may take to answer, once it has been asked.
    patience: Cell<Option<Duration>>,
}

impl Stream {
    pub(super) fn on(connection: &Rc<Multiplexed>) -> Rc<Self> {
        connection.streams.set(connection.streams.get() + 1);
        drop(connection.own.take());
        Rc::new(Self {
            connection: connection.clone(),
            patience: Cell::new(None),
        })
    }

    /// Its request goes out now, and may take so long to be answered.
    ///
    /// However it ends: if nothing has come on the connection for as long, for nobody, the origin is asked
    /// whether it lives, and gets no further request on it if not. It may be gone without a word, of which
    /// the kernel is sure after a quarter of an hour. The requests that are on it go on.
    pub(super) fn asks(&self, now: Instant, patience: Duration) {
        self.connection.asks(now);
        self.patience.set(Some(patience));
    }

    /// To send the request with.
    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.connection.sender.borrow().clone()
    }

    /// The origin refused the request for want of streams: it gets no more than it has now until
    /// some of them are over.
    pub(super) fn was_refused(&self) {
        let others = self.connection.streams.get().saturating_sub(1);
        self.connection.refused_at.set(Some(others.max(1)));
    }

    /// Whether its connection leads past its address.
    pub(super) fn is_past(&self) -> bool {
        self.connection.is_past()
    }

    /// Its connection ends: no further request goes out on it.
    pub(super) fn retire(&self) {
        self.connection.retire();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let patience = self.patience.get();
        if patience.is_some_and(|patience| self.connection.is_silent(patience)) {
            self.connection.driven.suspected.notify_one();
        }
        let left = self.connection.streams.get().saturating_sub(1);
        self.connection.streams.set(left);
        if left == 0 {
            self.connection.becomes_idle();
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
