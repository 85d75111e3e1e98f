//! Seats for connections over TCP: few for clients that have not shown who they are, shared by
//! address, and others for those that have.
//!
//! Owns who gives way when the seats of unknown clients are taken: the oldest connection of the
//! address that has most of them. A client that says nothing can so keep out itself only. The unix
//! socket has slots of its own ([`super::server`]).

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::limits::{ADMIN_CONNECTIONS_MAX, ADMIN_UNKNOWN_MAX, ADMIN_UNKNOWN_OF_ADDRESS_MAX};

/// What counts as one address: all of an IPv4 address, the network (/64) of an IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    V4(Ipv4Addr),
    V6(u64),
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        let v6 = |address: Ipv6Addr| {
            Self::V6(u64::try_from(u128::from(address) >> 64).unwrap_or_default())
        };
        match address {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => address
                .to_ipv4_mapped()
                .map_or_else(|| v6(address), Self::V4),
        }
    }
}

/// A connection of which it is not known whose it is.
struct Unknown {
    id: u64,
    source: Source,
    leave: Arc<Notify>,
}

#[derive(Default)]
struct Taken {
    /// The oldest first.
    unknown: VecDeque<Unknown>,
    known: usize,
    next: u64,
}

/// The seats of one listener.
#[derive(Default)]
pub(super) struct Seats(Mutex<Taken>);

/// The seat of one connection, free when it is dropped.
pub(crate) struct Seat {
    of: Arc<Seats>,
    id: u64,
    is_known: AtomicBool,
    leave: Arc<Notify>,
}

impl Seats {
    /// A seat for a client that nothing is known of but its address. Another one may lose its own.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Seat {
        let source = Source::from(address);
        let leave = Arc::<Notify>::default();
        let mut taken = self.lock();
        taken.make_room(source);
        let id = taken.next;
        taken.next += 1;
        taken.unknown.push_back(Unknown {
            id,
            source,
            leave: leave.clone(),
        });
        Seat {
            of: self.clone(),
            id,
            is_known: AtomicBool::new(false),
            leave,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Every change under the lock is one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn make_room(&mut self, source: Source) {
        let mut counts: HashMap<Source, usize> = HashMap::new();
        for one in &self.unknown {
            *counts.entry(one.source).or_default() += 1;
        }
        let from = if counts
            .get(&source)
            .is_some_and(|n| *n >= ADMIN_UNKNOWN_OF_ADDRESS_MAX)
        {
            Some(source)
        } else if self.unknown.len() >= ADMIN_UNKNOWN_MAX {
            let most = counts.into_iter().max_by_key(|(_, count)| *count);
            most.map(|(source, _)| source)
        } else {
            None
        };
        let place = self.unknown.iter().position(|one| Some(one.source) == from);
        if let Some(gone) = place.and_then(|place| self.unknown.remove(place)) {
            gone.leave.notify_one();
        }
    }
}

impl Seat {
    /// Notes that the client has shown who it is. `false` when there are too many such clients: the
    /// connection keeps the seat that it has.
    pub(super) fn is_known(&self) -> bool {
        if self.is_known.load(Ordering::Relaxed) {
            return true;
        }
        let mut taken = self.of.lock();
        if taken.known >= ADMIN_CONNECTIONS_MAX {
            return false;
        }
        taken.known += 1;
        taken.unknown.retain(|one| one.id != self.id);
        self.is_known.store(true, Ordering::Relaxed);
        true
    }

    /// Waits until the seat is taken away.
    pub(super) async fn lost(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.of.lock();
        if self.is_known.load(Ordering::Relaxed) {
            taken.known -= 1;
        } else {
            taken.unknown.retain(|one| one.id != self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_lost(seat: &Seat) -> bool {
        let mut lost = std::pin::pin!(seat.lost());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        lost.as_mut().poll(&mut context).is_ready()
    }

    #[test]
    fn an_address_is_a_network_of_ipv6_and_one_of_ipv4() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8::1", "2001:db8::ffff:2", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            let [one, other] =
                [one, other].map(|text| Source::from(text.parse::<IpAddr>().unwrap()));
            assert_eq!(one == other, same, "{one:?} {other:?}");
        }
    }

    #[test]
    fn the_oldest_of_the_address_with_most_gives_way() {
        let seats = Arc::<Seats>::default();
        let at = |last: usize| IpAddr::from([127, 0, 0, u8::try_from(last).unwrap()]);
        let quiet = seats.take(at(1));
        let loud: Vec<Seat> = (0..ADMIN_UNKNOWN_OF_ADDRESS_MAX)
            .map(|_| seats.take(at(2)))
            .collect();
        let known = seats.take(at(2));
        assert!(has_lost(&loud[0]), "an address has a share");
        assert!(known.is_known() && known.is_known());
        // Many addresses with one each, until all seats are taken.
        let others: Vec<Seat> = (3..3 + ADMIN_UNKNOWN_MAX)
            .map(|last| seats.take(at(last)))
            .collect();
        assert!(has_lost(&loud[1]) && !has_lost(&known) && !has_lost(&quiet));
        assert!(!has_lost(others.last().unwrap()));
        drop((quiet, loud, known, others));
        let taken = seats.lock();
        assert_eq!(
            (taken.known, taken.unknown.len()),
            (0, 0),
            "all of them are free again"
        );
    }
}
