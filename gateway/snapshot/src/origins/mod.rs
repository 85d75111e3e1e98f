//! Origins: the addresses that requests of a host may go to, and how one of them is chosen.
//!
//! Owns the compiled form of an origin and what is known of its addresses ([`state`]): a table of
//! atomics that workers and the health checks share. Chooses nothing (`datapath`), checks nothing
//! (`fetch`), and reads no clock: the time is an argument.

pub mod ejection;
pub mod gate;
pub mod health;
pub mod state;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::ejection::Ejection;
pub use self::gate::{Gate, Limit};
pub use self::health::HealthCheck;
pub use self::state::{AddressState, Failure, OriginState};
use crate::http::origin::Origin;
use rules::{Computed, ConnectionFacts, ConnectionState, Overworked, RequestFacts};

/// An origin: one address or several, and how they take turns.
#[derive(Debug)]
pub struct OriginGroup {
    /// What operators know it by: `ZONE/NAME`, or the name of the host whose own it is.
    pub label: Box<str>,
    /// The id of the zone whose it is: what checks of it take is charged to that.
    pub zone: Box<str>,
    /// At least one, and no more than [`ADDRESSES_MAX`](crate::limits::ADDRESSES_MAX).
    pub addresses: Box<[Address]>,
    /// How they take turns.
    pub balance: Balancing,
    /// When one that fails gets no requests for a while.
    pub ejection: Ejection,
    /// How they are checked; `None`: they are not.
    pub health: Option<HealthCheck>,
    /// How long an address that is back gets fewer requests than its share.
    pub slow_start: Duration,
    /// With fewer good addresses than so many of a hundred, all of them are used.
    pub panic_percent: u8,
    /// How long it may take, where that is not as the process has it.
    pub times: Times,
    /// Requests that it has at once; `None`: as many as come.
    pub requests: Option<Limit>,
    /// Connections to it that are open at once, over all addresses and workers.
    pub connections: Option<Limit>,
    /// How long somebody waits at one of these.
    pub queue_time: Duration,
    /// What is known of the whole; the same in each snapshot while the origin is there.
    pub state: Arc<OriginState>,
}

/// How long an origin may take; `None` is as the process has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// To be connected to.
    pub connect: Option<Duration>,
    /// One try: from a request sent to the head of the answer.
    pub one_try: Option<Duration>,
    /// All tries of a request together.
    pub whole: Option<Duration>,
}

/// One address of an origin.
#[derive(Debug)]
pub struct Address {
    /// How it is connected to and spoken to.
    pub origin: Arc<Origin>,
    /// Its share of the requests, beside those of the others.
    pub weight: u16,
    /// Its place among hashes: the same in every process, so that all choose the same address.
    pub hash: u64,
    /// What is known of it.
    pub state: Arc<AddressState>,
}

/// How addresses take turns.
#[derive(Debug)]
pub enum Balancing {
    /// One after the other, by weight.
    RoundRobin,
    /// Of two that are drawn by weight, the one with fewer open requests for its weight.
    LeastRequests,
    /// By what an expression makes of the request: the same value goes to the same address for as
    /// long as that is good.
    Hash(Computed),
}

impl OriginGroup {
    /// One address that nothing is known of, with settings as they are by default.
    #[must_use]
    pub fn single(origin: Arc<Origin>) -> Self {
        let address = Address {
            hash: 0,
            weight: 1,
            state: Arc::default(),
            origin,
        };
        Self {
            label: "".into(),
            zone: "".into(),
            addresses: Box::new([address]),
            balance: Balancing::RoundRobin,
            ejection: Ejection::default(),
            health: None,
            slow_start: Duration::ZERO,
            panic_percent: 0,
            times: Times::default(),
            requests: None,
            connections: None,
            queue_time: Duration::ZERO,
            state: Arc::default(),
        }
    }

    /// Its first address: what is the same of all (scheme, protocol, CAs) can be read there.
    #[must_use]
    pub fn first(&self) -> &Arc<Origin> {
        let first = self.addresses.first();
        &first.expect("an origin has an address").origin
    }

    /// What it has at once.
    pub fn limits(&self) -> impl Iterator<Item = &Limit> {
        self.requests.iter().chain(&self.connections)
    }

    /// Whether there is anything to choose.
    #[must_use]
    pub fn has_several(&self) -> bool {
        self.addresses.len() > 1
    }

    /// The addresses that may get requests now, a bit each in their order. Never none: when too few
    /// are good, requests had better be shared out than refused.
    #[must_use]
    pub fn usable(&self, now: Instant) -> u64 {
        self.usable_of(self.good(now))
    }

    /// The addresses that are good now, a bit each in their order.
    #[must_use]
    pub fn good(&self, now: Instant) -> u64 {
        let places = self.addresses.iter().enumerate();
        places.fold(0, |good, (place, address)| {
            good | (u64::from(address.state.is_good(now)) << place)
        })
    }

    /// As [`usable`](Self::usable), when these are good.
    #[must_use]
    pub fn usable_of(&self, good: u64) -> u64 {
        let count = self.addresses.len();
        let wanted = count * usize::from(self.panic_percent);
        if good == 0 || good.count_ones() as usize * 100 < wanted {
            return all(count);
        }
        good
    }

    /// Whether so few addresses are good that all are used.
    #[must_use]
    pub fn panics(&self, now: Instant) -> bool {
        let good = self.good(now);
        self.usable_of(good) & !good != 0
    }

    /// A request to this address failed. `Some` when it gets no more for so long.
    pub fn failed(&self, place: usize, why: Failure, now: Instant) -> Option<Duration> {
        let address = self.addresses.get(place)?;
        let failures = address.state.fails(why);
        let threshold = self.ejection.failures;
        if threshold == 0 || failures < threshold || !self.has_several() {
            return None;
        }
        self.ejection.eject(self, &address.state, now)
    }

    /// Whether connections have to keep the ClientHello for the choice.
    #[must_use]
    pub fn reads_client_hello(&self) -> bool {
        match &self.balance {
            Balancing::Hash(by) => by.reads_client_hello(),
            Balancing::RoundRobin | Balancing::LeastRequests => false,
        }
    }

    /// Writes what a request is told apart by; whether there is anything.
    ///
    /// # Errors
    /// It cannot be worked out within its bound.
    pub fn write_key(
        &self,
        (connection, state, request): (&ConnectionFacts, &ConnectionState, &RequestFacts<'_>),
        into: &mut Vec<u8>,
    ) -> Result<bool, Overworked> {
        match &self.balance {
            Balancing::Hash(by) => by.write(connection, state, request, into),
            Balancing::RoundRobin | Balancing::LeastRequests => Ok(false),
        }
    }
}

impl Address {
    /// Its weight now, in 256ths: less than its share for a while after it was out.
    #[must_use]
    pub fn weight_now(&self, slow_start: Duration, now: Instant) -> u64 {
        let share = self.state.share(slow_start, now);
        (u64::from(self.weight) * share).max(1)
    }
}

/// A bit for each of so many.
#[must_use]
pub fn all(count: usize) -> u64 {
    match count {
        0..64 => (1 << count) - 1,
        _ => u64::MAX,
    }
}

#[cfg(test)]
mod tests;
