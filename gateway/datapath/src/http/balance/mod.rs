//! Balance: which of an origin's addresses a request goes to.
//!
//! | file | owns |
//! |---|---|
//! | `choice` | the ways to choose, as pure functions of shares |
//! | `stay` | the request at its address, until its answer is over |
//! | `destination` | one request's way: the address it is at, those it was at, how it went there |
//!
//! Each worker chooses by itself: turns are its own, and what is known of addresses are atomics that
//! all share ([`snapshot::origins`]). Nothing is allocated for a choice, and nobody waits.

mod choice;
mod destination;
mod stay;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasher as _;
use std::time::{Duration, Instant};

use boring::sha::sha256;

use self::choice::{Random, Shares};
pub use self::destination::Destination;
pub use self::stay::Stay;
use crate::limits::TURNS_KEPT;
use snapshot::limits::ADDRESSES_MAX;
use snapshot::origins::{Balancing, OriginGroup};

/// What a worker keeps for its choices.
#[derive(Debug)]
pub struct Balancer {
    /// Turns at origins, by [`OriginState::id`](snapshot::origins::OriginState).
    turns: RefCell<HashMap<u64, Turns, foldhash::fast::RandomState>>,
    random: Cell<Random>,
    /// What hashes are made of is written here.
    key: RefCell<Vec<u8>>,
}

/// Whose turn it is at one origin.
#[derive(Debug)]
struct Turns {
    /// How far each address is ahead of its share, in its own weight.
    ahead: [i64; ADDRESSES_MAX],
    used_at: Instant,
}

impl Default for Balancer {
    fn default() -> Self {
        // Unlike on each worker and in each process: they do not choose in step.
        let seed = foldhash::fast::RandomState::default().hash_one(0_u8);
        Self {
            turns: RefCell::default(),
            random: Cell::new(Random::new(seed)),
            key: RefCell::default(),
        }
    }
}

impl Balancer {
    /// The address for a request, of those whose bit is not in `tried`; `None` when all were tried.
    /// `key` tells the request apart where an origin goes by that.
    #[must_use]
    pub fn choose(
        &self,
        of: &OriginGroup,
        tried: u64,
        key: Option<u64>,
        now: Instant,
    ) -> Option<usize> {
        let there = snapshot::origins::all(of.addresses.len());
        let good = of.good(now);
        let usable = of.usable_of(good) & !tried;
        // Better one that is out than none.
        let among = if usable == 0 { there & !tried } else { usable };
        if among.count_ones() <= 1 {
            return (among != 0).then(|| among.trailing_zeros() as usize);
        }
        // Where those are used that are not good, nobody is spared: each has its whole share.
        let slow_start = if among & !good == 0 {
            of.slow_start
        } else {
            Duration::ZERO
        };
        let mut shares = Shares::default();
        for (place, address) in of.addresses.iter().enumerate() {
            if among >> place & 1 == 1 {
                shares.set(place, address.weight_now(slow_start, now));
            }
        }
        match (&of.balance, key) {
            (Balancing::LeastRequests, _) => {
                let mut random = self.random.get();
                let open = |place: usize| of.addresses.get(place).map_or(0, |one| one.state.open());
                let chosen = choice::least_of_two(&shares, &mut random, open);
                self.random.set(random);
                chosen
            }
            (Balancing::Hash(_), Some(key)) => {
                let hash = |place: usize| of.addresses.get(place).map_or(0, |one| one.hash);
                choice::by_hash(&shares, key, hash)
            }
            // What cannot be told apart goes round.
            (Balancing::Hash(_) | Balancing::RoundRobin, _) => {
                let mut turns = self.turns.borrow_mut();
                match turns.entry(of.state.id) {
                    Entry::Occupied(mut turns) => {
                        let turns = turns.get_mut();
                        turns.used_at = now;
                        choice::next_in_turn(&shares, &mut turns.ahead)
                    }
                    Entry::Vacant(vacant) => {
                        let mut random = self.random.get();
                        let (chosen, ahead) = choice::first_turn(&shares, &mut random)?;
                        self.random.set(random);
                        vacant.insert(Turns {
                            ahead,
                            used_at: now,
                        });
                        Some(chosen)
                    }
                }
            }
        }
    }

    /// The hash of what `write` writes; `None` when it writes nothing. The same in every process.
    pub fn hash<E>(
        &self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>,
    ) -> Result<Option<u64>, E> {
        let mut key = self.key.borrow_mut();
        key.clear();
        Ok(write(&mut key)?.then(|| hash_of(&key)))
    }

    /// Forgets turns at origins that were not asked for lately.
    pub fn sweep(&self, now: Instant) {
        let mut turns = self.turns.borrow_mut();
        turns.retain(|_, turns| now.saturating_duration_since(turns.used_at) < TURNS_KEPT);
    }
}

/// A hash that is the same everywhere and for ever: the front of SHA-256.
fn hash_of(bytes: &[u8]) -> u64 {
    let digest = sha256(bytes);
    digest.first_chunk().copied().map_or(0, u64::from_be_bytes)
}
