//! What the clients of one prefix hold, over all workers: connections, streams, connections to
//! origins.
//!
//! Owns the accounts and the shares. A connection looks its account up once, when it begins; what is
//! counted after that is one atomic operation. Does not end anything: who asks for more than a share
//! is told so, and answers for it. Clients that are exempt have no account.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use config::Tunables;
use config::network::{Network, client_prefix};

use crate::io;
use crate::limits::{
    ACCOUNT_SHARDS, CLIENT_CONNECTIONS_AUTO_MIN, DESCRIPTORS_LIGHT_MIN, DESCRIPTORS_RESERVED_PART,
};

/// The accounts of all clients that have a connection.
pub struct Shares {
    shards: [Mutex<Accounts>; ACCOUNT_SHARDS],
    hasher: foldhash::fast::RandomState,
    /// Sockets that may be open at once.
    descriptors: usize,
    /// Who is being shed.
    shedding: Mutex<Option<Arc<Account>>>,
    /// Whose connections have ended, and not yet all that they had asked for.
    lingering: Mutex<HashSet<Network>>,
}

/// A client that has to give back half of what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shed {
    /// Its prefix.
    pub client: Network,
    /// Its connections, its streams beside one on each, and those that it keeps busy.
    pub held: usize,
    /// Memory runs short, and not descriptors.
    pub memory: bool,
}

type Accounts = HashMap<Network, Arc<Account>, foldhash::fast::RandomState>;

/// What the clients of one prefix hold.
#[derive(Debug)]
pub struct Account {
    /// Their prefix.
    pub prefix: Network,
    connections: AtomicUsize,
    streams: AtomicUsize,
    origin_connections: AtomicUsize,
    /// Bytes of answers over HTTP/2 that were fetched and not written yet.
    buffered: AtomicUsize,
    /// While it holds more than this, its connections end.
    shed_to: AtomicUsize,
    /// Connections that do.
    leaving: AtomicUsize,
    /// Sockets that may be open at once, of everybody.
    descriptors: usize,
}

/// Why a client gets no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// It has its share.
    Share,
    /// Descriptors run short, and it has more of them than most.
    Descriptors,
}

/// A connection that is counted for as long as this lives.
pub struct Seat {
    account: Arc<Account>,
    shares: Arc<Shares>,
}

/// A connection that ends because its client has to give back, for as long as this lives.
#[derive(Debug)]
pub struct Leave(Arc<Account>);

/// A connection to an origin that is kept busy for as long as this lives.
#[derive(Debug)]
pub struct Busy(Arc<Account>);

impl Shares {
    /// Nobody has anything yet. So many `descriptors` may be open at once for clients and origins.
    #[must_use]
    pub fn new(descriptors: usize) -> Arc<Self> {
        Arc::new(Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: foldhash::fast::RandomState::default(),
            descriptors,
            shedding: Mutex::default(),
            lingering: Mutex::default(),
        })
    }

    /// A connection begins. `Ok(None)`: its client has no share.
    ///
    /// # Errors
    /// The client gets no further connection.
    pub fn enter(
        self: &Arc<Self>,
        client: IpAddr,
        tunables: &Tunables,
    ) -> Result<Option<Seat>, (Network, Beyond)> {
        if tunables.client_exempt.contain(client) {
            return Ok(None);
        }
        let prefix = client_prefix(client);
        let account = {
            let mut accounts = self.shard(prefix);
            let account = accounts.entry(prefix).or_insert_with(|| {
                Arc::new(Account {
                    prefix,
                    connections: AtomicUsize::new(0),
                    streams: AtomicUsize::new(0),
                    origin_connections: AtomicUsize::new(0),
                    buffered: AtomicUsize::new(0),
                    shed_to: AtomicUsize::new(usize::MAX),
                    leaving: AtomicUsize::new(0),
                    descriptors: self.descriptors,
                })
            });
            account.connections.fetch_add(1, Ordering::Relaxed);
            account.clone()
        };
        let most = match tunables.client_connections_max {
            0 => (tunables.connections_max / 4).max(CLIENT_CONNECTIONS_AUTO_MIN),
            most => most,
        };
        let shares = self.clone();
        let seat = Seat { account, shares };
        if seat.account.connections.load(Ordering::Relaxed) > most {
            return Err((prefix, Beyond::Share));
        }
        if seat.account.is_heavy_now() {
            return Err((prefix, Beyond::Descriptors));
        }
        Ok(Some(seat))
    }

    /// Looks whether descriptors run short, or memory does, and then has the heaviest client give
    /// back half. To be called now and then; answers whom it hit, once for each.
    pub fn relieve(&self, memory: bool) -> Option<Shed> {
        self.forget();
        let mut shedding = lock(&self.shedding);
        let reserved = self.descriptors / DESCRIPTORS_RESERVED_PART;
        // Half of what is kept for clients that have few is in use.
        let descriptors = io::open_sockets() >= self.descriptors - reserved / 2;
        if let Some(account) = &*shedding {
            if (descriptors || memory) && account.may_shrink() && account.must_shrink() {
                return None;
            }
            account.shed_to.store(usize::MAX, Ordering::Relaxed);
            *shedding = None;
        }
        if !descriptors && !memory {
            return None;
        }
        let mut heaviest: Option<Arc<Account>> = None;
        for shard in &self.shards {
            for account in lock(shard).values() {
                let least = heaviest
                    .as_ref()
                    .map_or(DESCRIPTORS_LIGHT_MIN, |heaviest| heaviest.held());
                if account.may_shrink() && account.held() > least {
                    heaviest = Some(account.clone());
                }
            }
        }
        let account = heaviest?;
        let (client, held) = (account.prefix, account.held());
        account.shed_to.store(held / 2, Ordering::Relaxed);
        *shedding = Some(account);
        Some(Shed {
            client,
            held,
            memory: !descriptors,
        })
    }

    /// Forgets those of whom nothing is left.
    fn forget(&self) {
        let lingering = std::mem::take(&mut *lock(&self.lingering));
        for prefix in lingering {
            let mut accounts = self.shard(prefix);
            let Some(account) = accounts.get(&prefix) else {
                continue;
            };
            if account.held() == 0 {
                accounts.remove(&prefix);
            } else if account.connections.load(Ordering::Relaxed) == 0 {
                drop(accounts);
                lock(&self.lingering).insert(prefix);
            }
        }
    }

    /// Whether a client has to give back.
    #[must_use]
    pub fn is_shedding(&self) -> bool {
        lock(&self.shedding).is_some()
    }

    /// Clients that have an account.
    #[must_use]
    pub fn clients(&self) -> usize {
        let count = |shard: &Mutex<Accounts>| lock(shard).len();
        self.shards.iter().map(count).sum()
    }

    fn shard(&self, prefix: Network) -> MutexGuard<'_, Accounts> {
        let index = usize::try_from(self.hasher.hash_one(prefix) >> 48).unwrap_or_default();
        let [first, ..] = &self.shards;
        lock(self.shards.get(index % ACCOUNT_SHARDS).unwrap_or(first))
    }
}

fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counts and entries are whole at every moment: a panic leaves nothing half done.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Account {
    /// A request over HTTP/2 begins. Answers whether it is within the share; it counts until
    /// [`Self::stream_ends`] either way.
    pub fn stream_begins(&self, tunables: &Tunables) -> bool {
        self.streams.fetch_add(1, Ordering::Relaxed) < tunables.client_streams_max
    }

    /// A request over HTTP/2 is over.
    pub fn stream_ends(&self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }

    /// A request keeps a connection to an origin busy.
    ///
    /// # Errors
    /// It may not: nothing is counted then.
    pub fn use_origin(self: &Arc<Self>, tunables: &Tunables) -> Result<Busy, Beyond> {
        let before = self.origin_connections.fetch_add(1, Ordering::Relaxed);
        let busy = Busy(self.clone());
        let most = match tunables.client_origin_connections_max {
            0 => (self.descriptors / 4).max(1),
            most => most,
        };
        if before >= most {
            return Err(Beyond::Share);
        }
        if self.is_heavy_now() {
            return Err(Beyond::Descriptors);
        }
        Ok(busy)
    }

    /// Bytes of answers that wait to be written.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffered.load(Ordering::Relaxed)
    }

    /// So many more wait.
    pub fn buffer(&self, bytes: usize) {
        self.buffered.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many do not wait any more.
    pub fn unbuffer(&self, bytes: usize) {
        self.buffered.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether it has connections, which are what is given back.
    fn may_shrink(&self) -> bool {
        self.connections.load(Ordering::Relaxed) > 0
    }

    /// Whether connections of it have to end, because it holds the most and something runs short.
    fn must_shrink(&self) -> bool {
        self.held() > self.shed_to.load(Ordering::Relaxed)
    }

    /// Whether one more has to, which is the caller's then: those that are about to are not counted
    /// twice.
    pub fn leave(self: &Arc<Self>) -> Option<Leave> {
        if !self.must_shrink() {
            return None;
        }
        let leave = Leave(self.clone());
        let before = self.leaving.fetch_add(1, Ordering::Relaxed);
        let left = self.held().saturating_sub(before);
        (left > self.shed_to.load(Ordering::Relaxed)).then_some(leave)
    }

    fn held(&self) -> usize {
        let counts = [&self.connections, &self.streams, &self.origin_connections];
        counts
            .into_iter()
            .map(|one| one.load(Ordering::Relaxed))
            .sum()
    }

    /// Whether descriptors run short, and this client has so many that others go first.
    fn is_heavy_now(&self) -> bool {
        let held = self.connections.load(Ordering::Relaxed)
            + self.origin_connections.load(Ordering::Relaxed);
        let reserved = self.descriptors / DESCRIPTORS_RESERVED_PART;
        // What this client is about to open is not open yet.
        if io::open_sockets().max(held) < self.descriptors - reserved {
            return false;
        }
        held > (reserved / 4).max(DESCRIPTORS_LIGHT_MIN)
    }
}

impl Seat {
    /// The account that it is counted in.
    #[must_use]
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.account.connections.fetch_sub(1, Ordering::Relaxed) > 1 {
            return;
        }
        // Who comes meanwhile is counted under the same lock.
        let mut accounts = self.shares.shard(self.account.prefix);
        let Some(account) = accounts.get(&self.account.prefix) else {
            return;
        };
        if account.held() == 0 {
            accounts.remove(&self.account.prefix);
        } else if account.connections.load(Ordering::Relaxed) == 0 {
            // Requests that were answered before they were whole may still be sent.
            drop(accounts);
            lock(&self.shares.lingering).insert(self.account.prefix);
        }
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.leaving.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.origin_connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use config::Config;
    use proptest::prelude::*;

    use super::*;

    fn tunables() -> Tunables {
        let mut tunables = Config::default().tunables;
        tunables.client_connections_max = 3;
        tunables.client_streams_max = 2;
        tunables.client_origin_connections_max = 2;
        tunables
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_outlives_its_connections_is_not_forgotten() {
        let (shares, tunables) = (Shares::new(1_000_000), tunables());
        let enter = || shares.enter(address("192.0.2.1"), &tunables);
        let seat = enter().ok().flatten().unwrap();
        let busy = seat.account().use_origin(&tunables).unwrap();
        let other = seat.account().use_origin(&tunables).unwrap();
        drop(seat);
        shares.relieve(false);
        let seat = enter().ok().flatten().unwrap();
        let beyond = seat.account().use_origin(&tunables).err();
        assert_eq!(beyond, Some(Beyond::Share));
        drop((seat, busy));
        shares.relieve(false);
        assert_eq!(shares.clients(), 1);
        drop(other);
        shares.relieve(false);
        assert_eq!(shares.clients(), 0);
    }

    #[test]
    fn a_client_has_its_share_and_others_have_theirs() {
        let (shares, tunables) = (Shares::new(1_000_000), tunables());
        let enter = |text: &str| shares.enter(address(text), &tunables);
        let mut seats: Vec<Seat> = ["2001:db8::1", "2001:db8::2", "2001:db8::3"]
            .into_iter()
            .map(|text| enter(text).ok().flatten().unwrap())
            .collect();
        let beyond = enter("2001:db8::ffff").err().unwrap();
        assert_eq!(beyond.1, Beyond::Share);
        assert_eq!(beyond.0.to_string(), "2001:db8::/64");
        let other = enter("2001:db8:0:1::1").ok().flatten().unwrap();
        assert_eq!(shares.clients(), 2);
        let account = seats[0].account().clone();
        assert!(account.stream_begins(&tunables) && account.stream_begins(&tunables));
        assert!(!account.stream_begins(&tunables));
        account.stream_ends();
        account.stream_ends();
        assert!(account.stream_begins(&tunables));
        let busy = [account.use_origin(&tunables), account.use_origin(&tunables)];
        assert_eq!(account.use_origin(&tunables).unwrap_err(), Beyond::Share);
        assert!(other.account().use_origin(&tunables).is_ok());
        drop(busy);
        assert!(account.use_origin(&tunables).is_ok());
        seats.pop();
        assert!(enter("2001:db8::4").is_ok());
        account.stream_ends();
        account.stream_ends();
        drop((seats, other));
        assert_eq!(shares.clients(), 0);
    }

    #[test]
    fn who_is_exempt_has_no_account() {
        let mut config = Config::default();
        let set = config::key("limit.client_exempt").unwrap();
        assert_eq!(set.default, "none");
        let live = config::Live::new(std::mem::take(&mut config));
        live.set("limit.client_exempt", "10.0.0.0/8").unwrap();
        let shares = Shares::new(1_000);
        for (text, counted) in [("10.1.2.3", false), ("192.0.2.1", true)] {
            let seat = shares.enter(address(text), &live.load()).ok().unwrap();
            assert_eq!(seat.is_some(), counted, "{text}");
        }
    }

    #[test]
    fn without_a_number_it_is_a_quarter() {
        let mut tunables = Config::default().tunables;
        for (all, share) in [(40, 10), (20, 10), (400, 100)] {
            tunables.connections_max = all;
            let shares = Shares::new(1_000_000);
            let seats: Vec<_> = (0..all)
                .map_while(|_| shares.enter(address("192.0.2.1"), &tunables).ok())
                .collect();
            assert_eq!(seats.len(), share, "{all}");
        }
        let shares = Shares::new(40);
        let seat = shares.enter(address("192.0.2.1"), &tunables);
        let account = seat.ok().flatten().unwrap().account().clone();
        let busy: Vec<_> = (0..40)
            .map_while(|_| account.use_origin(&tunables).ok())
            .collect();
        assert_eq!(busy.len(), 10);
    }

    #[test]
    fn the_heaviest_gives_back_half_when_memory_runs_short() {
        let (shares, mut tunables) = (Shares::new(1_000_000), tunables());
        tunables.client_connections_max = 1_000;
        let enter = |client, count: usize| -> Vec<Seat> {
            let seat = |_| {
                shares
                    .enter([192, 0, 2, client].into(), &tunables)
                    .ok()
                    .flatten()
            };
            (0..count).filter_map(seat).collect()
        };
        let (_few, some, mut many) = (enter(1, 10), enter(2, 30), enter(3, 50));
        assert_eq!(shares.relieve(false), None);
        let shed = shares.relieve(true).unwrap();
        assert_eq!(
            (shed.client.to_string().as_str(), shed.held),
            ("192.0.2.3", 50)
        );
        let account = many[0].account().clone();
        assert!(account.must_shrink() && !some[0].account().must_shrink());
        assert_eq!(shares.relieve(true), None, "it is told once");
        many.truncate(25);
        assert!(!account.must_shrink());
        // The next one is the heaviest of then, and who has few is left alone.
        assert_eq!(
            shares.relieve(true).unwrap().client.to_string(),
            "192.0.2.2"
        );
        assert_eq!(shares.relieve(false), None);
        assert!(!some[0].account().must_shrink());
        drop((some, many));
        assert_eq!(shares.relieve(true), None);
    }

    proptest! {
        /// The counts are those of a table that is kept beside.
        #[test]
        fn counts_are_what_came_and_went(
            steps in proptest::collection::vec((0..4_u8, any::<bool>()), 0..200),
        ) {
            let (shares, tunables) = (Shares::new(1_000_000), tunables());
            let mut seats: BTreeMap<u8, Vec<Seat>> = BTreeMap::new();
            for (client, comes) in steps {
                let ours = seats.entry(client).or_default();
                if comes {
                    let seat = shares.enter([192, 0, 2, client].into(), &tunables);
                    prop_assert_eq!(seat.is_ok(), ours.len() < 3);
                    ours.extend(seat.ok().flatten());
                } else {
                    ours.pop();
                }
                let clients = seats.values().filter(|ours| !ours.is_empty()).count();
                prop_assert_eq!(shares.clients(), clients);
            }
        }
    }
}
