//! A worker's own pool of origin connections.
//!
//! No other worker sees it, so it needs no lock. An HTTP/1.1 connection is lent out one request at
//! a time and comes back when both directions of its exchange are over; an HTTP/2 connection is
//! shared by as many requests as it has streams, and further ones are opened when they run short
//! (`multiplexed`). What is kept idle follows what was in use lately: `limit.origin_idle` is the
//! last bound, not the habit.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::balance::Balancer;
use super::connect::{AnswerError, Connected, OriginError, OriginStream, connect};
use super::exclusive::{Exclusive, Open};
use super::multiplexed::{self, Multiplexed, Opening, Stream};
use super::queue::{Gated, at_the_gate};
use super::repeat::Budget;
pub use super::telling::Telling;
use super::telling::Told;
use crate::clock;
use crate::limits::{
    CONNECT_TRY_MIN, H2_HEADER_LIST_MARGIN, H2_ORIGIN_STREAMS_MAX, H2_WINDOW_ORIGIN,
    H2_WINDOW_STREAM, ORIGIN_OF_CLIENT_IDLE, YIELD_INTERVAL,
};
use config::Tunables;
use snapshot::http::origin::Origin;
use snapshot::names::NameBook;
use snapshot::origins::gate::Inside;
use vocabulary::settings::OriginProtocol;

/// A worker's origin connections.
#[derive(Default)]
pub struct Pool {
    origins: RefCell<HashMap<u64, Kept, foldhash::fast::RandomState>>,
    /// Connections open, idle ones included.
    open: Rc<Cell<u64>>,
    /// Requests sent again because their connection died under them.
    repeated: Cell<u64>,
    bounds: Cell<Bounds>,
    /// A task looks whether idle connections are waited for.
    yields: Cell<bool>,
    /// Whose turn it is where an origin has several addresses.
    balancer: Balancer,
    /// What names of origins mean.
    names: Arc<NameBook>,
    /// Of each origin, how many connections are idle that are one client's each.
    own_idle: RefCell<HashMap<u64, Rc<Cell<usize>>, foldhash::fast::RandomState>>,
}

/// The bounds of the pool that can be tuned.
#[derive(Debug, Clone, Copy, Default)]
struct Bounds {
    /// Idle connections kept for one origin.
    idle_max: usize,
    /// HTTP/2 connections to one origin.
    http2_max: usize,
    /// Requests of a hundred that may be repeated.
    retry_percent: usize,
    heads: HeadBounds,
}

impl Bounds {
    fn of(tunables: &Tunables) -> Self {
        Self {
            idle_max: tunables.origin_idle_max,
            http2_max: tunables.origin_h2_connections_max,
            retry_percent: tunables.retry_percent,
            heads: HeadBounds::of(tunables),
        }
    }
}

/// How large heads and trailers may be, of requests and of answers alike.
#[derive(Debug, Clone, Copy)]
pub struct HeadBounds {
    /// `limit.header_bytes`.
    pub bytes_max: usize,
    /// `limit.header_count`.
    pub count_max: usize,
}

impl Default for HeadBounds {
    fn default() -> Self {
        Self::of(&Tunables::default())
    }
}

impl HeadBounds {
    /// As they are set.
    #[must_use]
    pub fn of(tunables: &Tunables) -> Self {
        Self {
            bytes_max: tunables.header_bytes_max,
            count_max: tunables.header_count_max,
        }
    }

    /// What h2 is told. It drops what is beyond in silence, so it is told more than is taken: what
    /// it lets through is looked at again, and refused aloud.
    #[must_use]
    pub fn h2_list_size(self) -> u32 {
        let bytes = self.bytes_max.saturating_mul(H2_HEADER_LIST_MARGIN);
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

/// What is known of one origin and kept for it.
#[derive(Default)]
struct Kept {
    /// HTTP/1.1 connections that wait for a request, the last used one last.
    idle: Vec<Idle>,
    /// HTTP/1.1 connections that requests have.
    lent: usize,
    /// The most that were lent at once since the last sweep, and before it.
    peak: usize,
    peak_before: usize,
    http2: Vec<Rc<Multiplexed>>,
    /// Whether ALPN last agreed on HTTP/2.
    speaks_http2: Option<bool>,
    /// An HTTP/2 connection that is being opened, or one that may become one.
    opening: Option<Rc<Opening>>,
    /// Its connections are for one client alone.
    is_of_client: bool,
    budget: Budget,
    /// What the operator was told of it: that it does not answer, and that it has as much as it may.
    told: [Told; 2],
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

struct Idle {
    connection: Exclusive,
    since: Instant,
    own: Option<Own>,
}

/// Counts a connection that is one client's as idle, for as long as this lives.
pub(super) struct Own(Rc<Cell<usize>>);

impl Own {
    fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(count.clone())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// A connection to send one request on.
pub(super) enum Sender {
    Http1(Lease),
    Http2(Rc<Stream>),
}

impl Sender {
    /// Whether it leads past the address that it is kept for.
    pub(super) fn is_past(&self) -> bool {
        match self {
            Self::Http1(lease) => lease.connection.is_past(),
            Self::Http2(stream) => stream.is_past(),
        }
    }
}

/// An HTTP/1.1 connection that is lent to one request.
pub(super) struct Lease {
    pub(super) connection: Exclusive,
    pub(super) loan: Loan,
}

/// Counts a connection as lent for as long as it lives.
pub(super) struct Loan {
    pool: Rc<Pool>,
    key: u64,
    /// The origin, where the connection is one client's.
    own_of: Option<u64>,
}

impl Loan {
    fn new(pool: &Rc<Pool>, origin: &Origin) -> Self {
        let key = origin.connection_key();
        let own_of = (key != origin.key).then_some(origin.key);
        pool.of(key, |kept| {
            kept.lent += 1;
            kept.peak = kept.peak.max(kept.lent);
        });
        let pool = pool.clone();
        Self { pool, key, own_of }
    }

    /// Keeps the connection for the next request: both directions of the last one are over.
    pub(super) fn give_back(self, mut connection: Exclusive) {
        let idle_max = self.pool.bounds.get().idle_max;
        if !connection.is_alive() {
            return;
        }
        if connection.is_unwelcome() {
            return connection.close();
        }
        if connection.is_limited() {
            self.pool.yield_soon();
        }
        let beyond = self.pool.of(self.key, |kept| {
            if kept.idle.len() >= idle_max {
                return Some(connection);
            }
            let since = clock::now();
            let own = self.own_of.map(|origin| self.pool.own(origin));
            kept.idle.push(Idle {
                connection,
                since,
                own,
            });
            None
        });
        if let Some(connection) = beyond {
            connection.close();
        }
        if let Some(origin) = self.own_of {
            self.pool.bound_own(origin);
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.pool
            .of(self.key, |kept| kept.lent = kept.lent.saturating_sub(1));
    }
}

impl Kept {
    /// Connections that were wanted at once lately.
    fn wanted(&self) -> usize {
        self.peak.max(self.peak_before)
    }

    fn sweep(&mut self, now: Instant, idle_timeout: Duration, idle_max: usize) {
        let idle_timeout = match self.is_of_client {
            true => idle_timeout.min(ORIGIN_OF_CLIENT_IDLE),
            false => idle_timeout,
        };
        let spare = self.wanted().saturating_sub(self.lent).min(idle_max);
        // The first ones have waited longest.
        let beyond = self.idle.len().saturating_sub(spare);
        let beyond = self.idle.drain(..beyond);
        let mut let_go: Vec<Idle> = beyond.collect();
        let stays = |idle: &mut Idle| {
            idle.connection.is_alive()
                && !idle.connection.is_unwelcome()
                && now.duration_since(idle.since) < idle_timeout
        };
        let_go.extend(self.idle.extract_if(.., |idle| !stays(idle)));
        for idle in let_go {
            idle.connection.close();
        }
        self.http2.retain(|one| !one.is_over(now, idle_timeout));
        self.peak_before = std::mem::replace(&mut self.peak, self.lent);
        for told in &mut self.told {
            told.sweep(now);
        }
    }

    fn tell(&mut self, what: Telling, now: Instant) -> Option<u64> {
        let [fails, full] = &mut self.told;
        match what {
            Telling::Fails => fails.tell(now),
            Telling::Full => full.tell(now),
        }
    }

    fn is_unused(&self) -> bool {
        self.idle.is_empty()
            && self.lent == 0
            && self.wanted() == 0
            && self.http2.is_empty()
            && self.opening.is_none()
            && self.told.iter().all(Told::is_nothing)
            && self.budget.is_full()
    }

    fn stream(&mut self, http2_max: usize) -> Option<Rc<Stream>> {
        let mut alive = self.http2.iter().filter(|one| one.is_alive());
        if let Some(roomy) = alive.find(|one| one.has_room()) {
            return Some(Stream::on(roomy));
        }
        // Before another one is opened: what is over would otherwise stay until somebody sweeps.
        self.http2.retain(|one| one.is_alive());
        // No further connection may be opened: the request waits for a stream.
        (self.http2.len() >= http2_max)
            .then(|| self.least_used())
            .flatten()
    }

    /// A stream of the HTTP/2 connection that has the fewest, whether there is room or not.
    fn least_used(&self) -> Option<Rc<Stream>> {
        let alive = self.http2.iter().filter(|one| one.is_alive());
        alive.min_by_key(|one| one.streams()).map(Stream::on)
    }
}

impl Pool {
    /// An empty pool with these bounds.
    #[must_use]
    pub fn new(tunables: &Tunables, names: &Arc<NameBook>) -> Rc<Self> {
        let pool = Self {
            names: names.clone(),
            ..Self::default()
        };
        pool.bounds.set(Bounds::of(tunables));
        Rc::new(pool)
    }

    /// What names of origins mean.
    pub(super) fn names(&self) -> &NameBook {
        &self.names
    }

    /// Chooses among the addresses of an origin.
    pub(super) fn balancer(&self) -> &Balancer {
        &self.balancer
    }

    /// The hash of what tells a request apart; see [`Balancer::hash`].
    ///
    /// # Errors
    /// What `write` says.
    pub fn hash<E>(
        &self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>,
    ) -> Result<Option<u64>, E> {
        self.balancer.hash(write)
    }

    /// Connections open and connections idle.
    #[must_use]
    pub fn count(&self) -> (u64, u64) {
        let origins = self.origins.borrow();
        let idle: usize = origins.values().map(|kept| kept.idle.len()).sum();
        (self.open.get(), idle as u64)
    }

    /// Requests that were sent again because their connection died under them.
    #[must_use]
    pub fn repeated(&self) -> u64 {
        self.repeated.get()
    }

    /// Lets go of connections that were not needed lately, that have been idle for
    /// `timeout.origin_idle`, or that the origin closed.
    pub fn sweep(&self, tunables: &Tunables) {
        self.bounds.set(Bounds::of(tunables));
        let now = clock::now();
        self.balancer.sweep(now);
        self.origins.borrow_mut().retain(|_, kept| {
            kept.sweep(now, tunables.origin_idle_timeout, tunables.origin_idle_max);
            !kept.is_unused()
        });
        let mut own_idle = self.own_idle.borrow_mut();
        own_idle.retain(|_, count| count.get() > 0);
    }

    /// One more connection of a client's own is idle.
    pub(super) fn own(&self, origin: u64) -> Own {
        let mut own_idle = self.own_idle.borrow_mut();
        Own::new(own_idle.entry(origin).or_default())
    }

    /// Lets go of clients' own connections that have been idle longest, where an origin has more than so
    /// many: each of them has a place of its own in the pool, which nobody but its client takes it
    /// from. Of a few more than need be, so that not every request has to look for one.
    pub(super) fn bound_own(&self, origin: u64) {
        let idle_max = self.bounds.get().idle_max;
        let count = self.own_idle.borrow().get(&origin).cloned();
        let Some(count) = count.filter(|count| count.get() > idle_max) else {
            return;
        };
        let beyond = count.get() - (idle_max - idle_max / 8);
        let (mut let_go, mut let_go_http2) = (Vec::new(), Vec::new());
        // A stream may end wherever it is dropped; the next one that does looks again.
        let Ok(mut origins) = self.origins.try_borrow_mut() else {
            return;
        };
        let same = |own: &Own| Rc::ptr_eq(&own.0, &count);
        let since_of = |idle: &Idle| idle.own.as_ref().is_some_and(same).then_some(idle.since);
        let since_of_http2 = |one: &Multiplexed| one.idle_since_of(same);
        let mut since: Vec<_> = origins
            .values()
            .flat_map(|kept| {
                let http2 = kept.http2.iter().filter_map(|one| since_of_http2(one));
                kept.idle.iter().filter_map(since_of).chain(http2)
            })
            .collect();
        since.sort_unstable();
        if let Some(last) = beyond.checked_sub(1).and_then(|last| since.get(last)) {
            let is_old = |since: Option<Instant>| since.is_some_and(|since| since <= *last);
            for kept in origins.values_mut() {
                let_go.extend(kept.idle.extract_if(.., |idle| is_old(since_of(idle))));
                let http2 = &mut kept.http2;
                let_go_http2.extend(http2.extract_if(.., |one| is_old(since_of_http2(one))));
            }
        }
        drop(origins);
        for idle in let_go {
            idle.connection.close();
        }
        // The task that drives it says goodbye when nobody holds it any more.
        drop(let_go_http2);
    }

    /// As long as connections wait for a request of which an origin takes no more than so many: lets go
    /// of those that somebody else waits for, on another worker most likely.
    fn yield_soon(self: &Rc<Self>) {
        if self.yields.replace(true) {
            return;
        }
        let pool = self.clone();
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(YIELD_INTERVAL).await;
                let mut wanted = Vec::new();
                let mut are_limited = false;
                for kept in pool.origins.borrow_mut().values_mut() {
                    wanted.extend(
                        kept.idle
                            .extract_if(.., |idle| idle.connection.is_unwelcome()),
                    );
                    are_limited |= kept.idle.iter().any(|idle| idle.connection.is_limited());
                    // Those in use take no more: as long as they did, nobody else would have a turn.
                    for one in kept.http2.iter().filter(|one| one.is_unwelcome()) {
                        one.retire();
                    }
                    kept.http2
                        .retain(|one| !(one.is_unwelcome() && one.streams() == 0));
                    are_limited |= kept.http2.iter().any(|one| one.is_limited());
                }
                for idle in wanted {
                    idle.connection.close();
                }
                if !are_limited {
                    pool.yields.set(false);
                    return;
                }
            }
        });
    }

    fn of<T>(&self, key: u64, change: impl FnOnce(&mut Kept) -> T) -> T {
        change(self.origins.borrow_mut().entry(key).or_default())
    }

    /// A request for this origin has come: it earns its share of a repetition.
    pub(super) fn earn(&self, origin: &Origin) {
        let percent = self.bounds.get().retry_percent;
        self.of(origin.key, |kept| kept.budget.earn(percent));
    }

    /// Whether a request for this origin may be repeated; counts it.
    pub(super) fn may_repeat(&self, origin: &Origin) -> bool {
        let percent = self.bounds.get().retry_percent;
        let may = percent > 0 && self.of(origin.key, |kept| kept.budget.spend());
        self.repeated.set(self.repeated.get() + u64::from(may));
        may
    }

    /// Whether the operator is to be told that this origin did not answer a request, or may get no
    /// more: clients decide how many there are, and the access log has each. `Some` has how often it
    /// was not told since the last time.
    pub fn tell(&self, origin: &Origin, what: Telling) -> Option<u64> {
        self.of(origin.key, |kept| kept.tell(what, clock::now()))
    }

    /// A connection that is there, alive, and ready at once. The last one used is the first one
    /// reused: the others may then time out. `unused_only` leaves out HTTP/1.1 connections that may
    /// have been closed by the origin like the one before.
    pub(super) fn reuse(self: &Rc<Self>, origin: &Origin, unused_only: bool) -> Option<Sender> {
        let http2_max = self.bounds.get().http2_max;
        let connection = {
            let mut origins = self.origins.borrow_mut();
            let kept = origins.get_mut(&origin.connection_key())?;
            if let Some(stream) = kept.stream(http2_max) {
                return Some(Sender::Http2(stream));
            }
            if unused_only {
                return None;
            }
            loop {
                let mut connection = kept.idle.pop()?.connection;
                if connection.is_alive() && !connection.is_gone() {
                    break connection;
                }
            }
        };
        let loan = Loan::new(self, origin);
        Some(Sender::Http1(Lease { connection, loan }))
    }

    /// A new connection, or a stream of one that is being opened, within `patience`. Where there are as
    /// many connections as may be, it waits for one to be over, which does not count.
    pub(super) async fn open(
        self: &Rc<Self>,
        origin: &Origin,
        connections: Option<Gated<'_>>,
        patience: Duration,
    ) -> Result<Sender, OriginError> {
        let (key, started) = (origin.connection_key(), clock::now());
        // Waiting for what another request opens is connecting; waiting at the gate is not.
        let left = || patience.saturating_sub(started.elapsed());
        while self.may_share(origin) {
            let opening = self.of(key, |kept| kept.opening.clone());
            let Some(joined) = opening.filter(|opening| opening.join()) else {
                break;
            };
            let Ok(is_open) = tokio::time::timeout(left(), joined.over()).await else {
                return Err(OriginError::ConnectTimeout);
            };
            if !is_open {
                // It failed; each of those who waited finds out for itself why, in what it has left.
                let (least, patience) = (CONNECT_TRY_MIN.min(patience / 2), left());
                if patience < least {
                    return Err(OriginError::ConnectTimeout);
                }
                let place = at_the_gate(connections).await?;
                return self.dial(origin, None, place, patience).await;
            }
            if let Some(sender) = self.reuse(origin, true) {
                return Ok(sender);
            }
        }
        if connections.is_some_and(|gated| gated.is_full())
            && let Some(stream) = self.of(key, |kept| kept.least_used())
        {
            return Ok(Sender::Http2(stream));
        }
        // Others were faster where one was opened.
        let patience = left().max(CONNECT_TRY_MIN.min(patience));
        let place = at_the_gate(connections).await?;
        if place.is_some()
            && let Some(sender) = self.reuse(origin, true)
        {
            return Ok(sender);
        }
        let opening = self.may_share(origin).then(Opening::new);
        if let Some(opening) = &opening {
            self.of(key, |kept| kept.opening = Some(opening.clone()));
        }
        self.dial(origin, opening, place, patience).await
    }

    /// Whether a connection to this origin may turn out to have room for several requests.
    fn may_share(&self, origin: &Origin) -> bool {
        match origin.protocol {
            OriginProtocol::Http1 => false,
            OriginProtocol::Http2 => true,
            OriginProtocol::Auto => {
                let spoken = self.of(origin.connection_key(), |kept| kept.speaks_http2);
                origin.tls.is_some() && spoken != Some(false)
            }
        }
    }

    /// Connects on a task of its own: a client that goes away meanwhile does not waste what was
    /// begun for it. The connection then waits for the next request.
    async fn dial(
        self: &Rc<Self>,
        origin: &Origin,
        opening: Option<Rc<Opening>>,
        place: Option<Inside>,
        patience: Duration,
    ) -> Result<Sender, OriginError> {
        let (answer, answered) = oneshot::channel();
        let (pool, origin) = (self.clone(), origin.clone());
        let key = origin.connection_key();
        let loan = Loan::new(self, &origin);
        tokio::task::spawn_local(async move {
            let outcome = pool.begin(&origin, loan, place, patience).await;
            if let Some(opening) = opening {
                pool.of(key, |kept| {
                    kept.opening
                        .take_if(|current| Rc::ptr_eq(current, &opening));
                });
                opening.end(outcome.is_ok());
            }
            if let Err(Ok(Sender::Http1(lease))) = answer.send(outcome) {
                lease.loan.give_back(lease.connection);
            }
        });
        let gone = |_| {
            let ended = std::io::Error::other("the attempt to connect was given up");
            Err(OriginError::Connect(ended))
        };
        answered.await.unwrap_or_else(gone)
    }

    async fn begin(
        self: &Rc<Self>,
        origin: &Origin,
        loan: Loan,
        place: Option<Inside>,
        patience: Duration,
    ) -> Result<Sender, OriginError> {
        let started = clock::now();
        let Connected {
            stream,
            http2,
            past,
        } = connect(origin, &self.names, false, patience).await?;
        let key = origin.connection_key();
        self.of(key, |kept| {
            kept.speaks_http2 = Some(http2);
            kept.is_of_client = origin.introduction.is_some();
        });
        if http2 {
            let left = patience.saturating_sub(started.elapsed());
            let (heads, open) = (
                self.bounds.get().heads,
                Open::new(&self.open, place, &origin.gone).past(past),
            );
            let started = multiplexed::start(stream, heads, Rc::new(open));
            let Ok(shared) = tokio::time::timeout(left, started).await else {
                return Err(OriginError::ConnectTimeout);
            };
            let shared = shared.map_err(AnswerError::Http2)?;
            if shared.is_limited() {
                self.yield_soon();
            }
            if origin.introduction.is_some() {
                shared.belongs_to_client(self, origin.key);
            }
            let stream = Stream::on(&shared);
            self.of(key, |kept| kept.http2.push(shared));
            return Ok(Sender::Http2(stream));
        }
        let connection = self.exclusive(origin, (stream, past), place);
        Ok(Sender::Http1(Lease { connection, loan }))
    }

    /// A new connection that speaks HTTP/1.1.
    pub(super) fn exclusive(
        &self,
        origin: &Origin,
        (stream, past): (OriginStream, bool),
        place: Option<Inside>,
    ) -> Exclusive {
        let open = Open::new(&self.open, place, &origin.gone).past(past);
        Exclusive::new(stream, self.bounds.get().heads, open)
    }
}

const _: () =
    assert!(H2_WINDOW_ORIGIN as usize >= H2_WINDOW_STREAM as usize * H2_ORIGIN_STREAMS_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ORIGIN_TOLD_EVERY;

    #[test]
    fn of_an_origin_that_does_not_answer_there_is_a_line_now_and_then() {
        let (mut kept, begun) = (Kept::default(), Instant::now());
        let told = |kept: &mut Kept, after| {
            let all = (0..1_000).filter_map(|_| kept.tell(Telling::Fails, begun + after));
            all.collect::<Vec<u64>>()
        };
        assert_eq!(told(&mut kept, Duration::ZERO), [0]);
        // That it has enough is another matter.
        assert_eq!(kept.tell(Telling::Full, begun), Some(0));
        assert_eq!(kept.tell(Telling::Full, begun), None);
        let soon = ORIGIN_TOLD_EVERY - Duration::from_millis(1);
        assert_eq!(told(&mut kept, soon), [0_u64; 0]);
        assert_eq!(told(&mut kept, ORIGIN_TOLD_EVERY), [1_999]);
        // What was not told is not forgotten with the connections.
        kept.sweep(begun + 3 * ORIGIN_TOLD_EVERY, Duration::ZERO, 0);
        assert!(!kept.is_unused());
        let later = begun + 3 * ORIGIN_TOLD_EVERY;
        assert_eq!(kept.tell(Telling::Fails, later), Some(999));
        assert_eq!(kept.tell(Telling::Full, later), Some(1));
        kept.sweep(begun + 5 * ORIGIN_TOLD_EVERY, Duration::ZERO, 0);
        assert!(kept.is_unused());
    }
}
