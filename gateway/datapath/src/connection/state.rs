//! The state of one connection, by parts: each is written by one file only.
//!
//! Owns what is the same for the connection's whole life, and what begins and ends with a request.

use std::cell::{Cell, OnceCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Local;
use super::clocks::Clocks;
use super::closing::Closing;
use super::flood::Watch;
use super::handshake::Found;
use super::index::IndexSlot;
use super::origin_head::Names;
use super::remainder::Remainder;
use super::standing::{Standing, Standings};
use super::stop::Stop;
use crate::clock;
use crate::io::{Activity, TcpInfo, TlsStream};
use crate::observe::Steered;
use crate::observe::spans::Began;
use crate::shares::{Account, Leave};
use config::Tunables;
use rules::{ConnectionFacts, ConnectionState, Timed};
use tls::Established;

/// The two ends of a connection.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
}

/// A connection that serves requests.
pub(super) struct Connection {
    pub(super) local: Rc<Local>,
    /// No other connection of the worker has it, before or after.
    pub(super) number: u64,
    /// As they were when it began. Shared: a copy would be a tenth of an idle connection's memory.
    pub(super) tunables: Arc<Tunables>,
    pub(super) resumed: bool,
    pub(super) steered: Steered,
    /// What its client holds, if that is counted.
    pub(super) account: Option<Arc<Account>>,
    /// Its client has to give back, and it ends.
    leave: OnceCell<Leave>,
    /// Requests that its client is charged with.
    pub(super) unreleased: Cell<usize>,
    pub(super) activity: Rc<Activity>,
    /// For rules that ask how far away the client is.
    pub(super) tcp: TcpInfo,
    /// Its names, as origins are told them.
    pub(super) names: Names,
    pub(super) clocks: Clocks,
    pub(super) standings: Standings,
    pub(super) closing: Closing,
    pub(super) remainder: Remainder,
    /// Its frames, once it speaks HTTP/2.
    pub(super) watch: OnceCell<Rc<Watch>>,
    /// Where it is in the worker's index of clients.
    pub(super) place: IndexSlot,
    /// What rules have worked out for this connection.
    pub(super) rules: ConnectionState,
    /// How it began, until its first request is traced.
    pub(super) began: Cell<Option<Box<Began>>>,
}

impl Timed for TcpInfo {
    fn round_trip(&self) -> Option<Duration> {
        Self::round_trip(self)
    }
}

impl Connection {
    pub(super) fn new(
        local: Rc<Local>,
        tunables: Arc<Tunables>,
        ends: Ends,
        (steered, account): (Steered, Option<Arc<Account>>),
        (established, found): (Established, Found),
        stream: &TlsStream,
    ) -> Rc<Self> {
        let standing = Standing {
            edition: found.snapshot.edition,
            trust_epoch: found.snapshot.trust_epoch,
            verification: established.verification,
            host: found.host,
            facts: ConnectionFacts {
                source: ends.client,
                local: ends.server,
                sni: established.sni.unwrap_or_default().into(),
                tls_version: established.version,
                tls_cipher: established.cipher,
                client_hello: established.hello.into(),
                geo: local.shared.geo.load_full(),
                client: established.client,
            },
        };
        Rc::new(Self {
            number: local.next_number(),
            local,
            tunables,
            resumed: established.resumed,
            steered,
            account,
            leave: OnceCell::new(),
            unreleased: Cell::new(0),
            activity: stream.activity(),
            tcp: stream.info(),
            names: Names::new(ends.client.ip(), &standing.facts.sni),
            clocks: Clocks::new(clock::now()),
            standings: Standings::new(established.chain, standing),
            closing: Closing::default(),
            remainder: Remainder::default(),
            watch: OnceCell::new(),
            place: IndexSlot::default(),
            rules: ConnectionState::default(),
            began: Cell::new(found.began),
        })
    }

    /// When to look at the clocks again, or why the time is up.
    pub(super) fn due(&self, http2: bool, now: Instant) -> Result<Instant, Stop> {
        if self.is_shed() {
            return Err(Stop::Shed);
        }
        self.clocks.due(&self.activity, &self.tunables, http2, now)
    }

    /// Whether it has to end because its client holds the most, and something runs short.
    pub(super) fn is_shed(&self) -> bool {
        if self.leave.get().is_some() {
            return true;
        }
        let account = self.account.as_ref();
        let Some(leave) = account.and_then(Account::leave) else {
            return false;
        };
        drop(self.leave.set(leave));
        true
    }

    pub(super) fn request_begins(&self) {
        let (alone, total) = self.clocks.request_begins();
        if alone {
            self.local.busy.set(self.local.busy.get() + 1);
        }
        if total >= self.tunables.connection_requests_max {
            self.closing.retire();
        }
    }

    pub(super) fn request_ends(&self, now: Instant) {
        if self.clocks.request_ends(now) {
            self.local.busy.set(self.local.busy.get().saturating_sub(1));
            self.activity.first_received.set(None);
        }
    }
}
