//! The way of one request: the address it is at, and those that it was at before.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;

use super::{Balancer, Stay};
use crate::http::connect::{AnswerError, OriginError};
use crate::http::queue::Gated;
use crate::http::upstream::Pool;
use crate::limits::ADDRESS_TRIES_MAX;
use snapshot::http::origin::Origin;
use snapshot::origins::state::OpenRequest;
use snapshot::origins::{Failure, OriginGroup, Times};
use snapshot::phases::Routed;

/// What a connection begins with that is one client's, and the number of that client's own connection.
type Introduced = (Box<[u8]>, u64);

/// Where one request goes: an address of an origin, and others when that fails.
pub struct Destination<'h> {
    group: &'h Arc<OriginGroup>,
    /// What rules make different about it.
    routed: Routed<'h>,
    /// What tells the request apart.
    key: Option<u64>,
    /// What tells its client apart.
    client: u64,
    /// How long it has waited for a connection that may be opened: no time of its address's.
    waited: Cell<Duration>,
    /// Where connections to it are each one client's.
    introduction: Option<Introduced>,
    /// The worker's.
    pool: Rc<Pool>,
    /// When its first address was chosen.
    began: Instant,
    /// A bit for each address that it was at.
    tried: Cell<u64>,
    place: Cell<usize>,
    /// Another address stands in for it.
    past: Cell<bool>,
    origin: RefCell<Arc<Origin>>,
    /// It counts at its address for as long as it is open.
    open: RefCell<Option<OpenRequest>>,
}

impl<'h> Destination<'h> {
    /// Chooses the first address.
    #[must_use]
    pub fn new(
        group: &'h Arc<OriginGroup>,
        routed: Routed<'h>,
        (key, client, introduction): (Option<u64>, u64, Option<Introduced>),
        pool: &Rc<Pool>,
        now: Instant,
    ) -> Self {
        let this = Self {
            group,
            routed,
            key,
            client,
            waited: Cell::default(),
            introduction,
            pool: pool.clone(),
            began: now,
            tried: Cell::new(0),
            place: Cell::new(0),
            past: Cell::new(false),
            origin: RefCell::new(group.first().clone()),
            open: RefCell::default(),
        };
        if this.routed.is_elsewhere() {
            // Another place than any of its addresses: nothing to choose, and nothing to learn.
            this.goes_to(group.first());
            this.tried.set(u64::MAX);
        } else {
            this.go_on(now);
        }
        this
    }

    fn goes_to(&self, origin: &Arc<Origin>) {
        let origin = self.routed.by(origin);
        self.origin.replace(match &self.introduction {
            Some((header, connection)) => Arc::new(origin.introducing(header, *connection)),
            None => origin,
        });
    }

    fn balancer(&self) -> &Balancer {
        self.pool.balancer()
    }

    /// The address that it is at.
    #[must_use]
    pub fn origin(&self) -> Arc<Origin> {
        self.origin.borrow().clone()
    }

    /// When its first address was chosen.
    pub(in crate::http) fn began(&self) -> Instant {
        self.began
    }

    /// Goes to an address that it was not at yet; `false` when there is none, or it was at enough of
    /// them.
    pub fn go_on(&self, now: Instant) -> bool {
        let tried = self.tried.get();
        if tried.count_ones() >= ADDRESS_TRIES_MAX {
            return false;
        }
        let Some(place) = self.balancer().choose(self.group, tried, self.key, now) else {
            return false;
        };
        let Some(address) = self.group.addresses.get(place) else {
            return false;
        };
        self.tried.set(tried | 1 << place);
        self.place.set(place);
        self.goes_to(&address.origin);
        if self.routed.is_as_it_is() {
            self.open.replace(Some(OpenRequest::at(&address.state)));
        }
        true
    }

    /// Whether there is an address that it was not at yet, and may go to.
    #[must_use]
    pub fn has_another(&self) -> bool {
        let there = snapshot::origins::all(self.group.addresses.len());
        let tried = self.tried.get();
        there & !tried != 0 && tried.count_ones() < ADDRESS_TRIES_MAX
    }

    /// The limit of the connections to it, when there is one.
    pub(in crate::http) fn connections(&self) -> Option<Gated<'_>> {
        let group: &OriginGroup = self.group;
        group.connections.as_ref().map(|limit| Gated {
            limit,
            patience: group.queue_time,
            client: self.client,
            waited: Some(&self.waited),
        })
    }

    /// How long it has waited for connections that may be opened, so far.
    pub(in crate::http) fn waited(&self) -> Duration {
        self.waited.get()
    }

    /// How long it may take, where that is not as the process has it.
    #[must_use]
    pub fn times(&self) -> &'h Times {
        &self.group.times
    }

    /// The address answered with this status.
    pub(in crate::http) fn answered(&self, status: StatusCode, now: Instant) {
        match status.as_u16() {
            502..=504 => self.fails(Failure::Status, now),
            // What another one answers in its place says nothing of it.
            _ if self.past.get() => {}
            _ if self.counts() => {
                if let Some(address) = self.group.addresses.get(self.place.get()) {
                    address.state.served(now);
                }
            }
            _ => {}
        }
    }

    /// The address failed so. What is the client's, or the operator's, is no failure of it.
    pub(in crate::http) fn failed(&self, error: &OriginError, now: Instant) {
        let why = match error {
            OriginError::Connect(why) if why.kind() == ErrorKind::TimedOut => {
                Failure::ConnectTimeout
            }
            OriginError::Connect(_) | OriginError::Resolve(_) => Failure::Connect,
            OriginError::ConnectTimeout => Failure::ConnectTimeout,
            OriginError::Tls(_) => Failure::Tls,
            OriginError::ResponseTimeout => Failure::ResponseTimeout,
            // Nothing was asked of an address.
            OriginError::Full { .. } => return,
            // What was to be sent could not be.
            OriginError::Response(
                AnswerError::Request | AnswerError::Unwritable(_) | AnswerError::Length(_),
            )
            | OriginError::OutOfReach(_)
            | OriginError::Lengths
            | OriginError::LargeHead
            | OriginError::LargeTrailers
            | OriginError::LargeBody
            | OriginError::ClientStalled
            | OriginError::ClientGone => return,
            OriginError::Response(_) | OriginError::Unasked | OriginError::Protocol(_) => {
                Failure::Response
            }
        };
        self.fails(why, now);
    }

    fn fails(&self, why: Failure, now: Instant) {
        if self.counts() {
            // Who looks after origins tells of it.
            let _out_for = self.group.failed(self.place.get(), why, now);
        }
    }

    /// Whether it is at one of the origin's addresses, as that is.
    fn counts(&self) -> bool {
        self.open.borrow().is_some()
    }

    /// The request at its address, for as long as its answer lasts.
    #[must_use]
    pub fn stay(&self) -> Option<Stay> {
        let open = self.open.take()?;
        let at = (self.group, self.place.get());
        Some(Stay::new(open, at, !self.past.get()))
    }

    /// A connection leads past the address, to the one that stands in for it. `is_new`: the address
    /// has just not taken it.
    pub(in crate::http) fn goes_past(&self, past: bool, is_new: bool, now: Instant) {
        self.past.set(past);
        if past && is_new {
            self.fails(Failure::Connect, now);
        }
    }
}
