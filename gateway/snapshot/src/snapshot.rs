//! The snapshot: everything the data path needs, compiled, immutable, and replaced as a whole.
//!
//! Owns its types, host look-up, and the one place where the current snapshot is published. Does
//! not know how a snapshot is compiled (`control`), nor what a connection does with it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use crate::challenges::Challenges;
use crate::names::NameBook;
use crate::origins::OriginGroup;
use crate::phases::Phases;
use rules::{ConnectionFacts, Program};
use tls::{Challenge, Endpoint, Endpoints, Site, Trust};
use vocabulary::hostname::HostName;
use vocabulary::settings::ClientSettings;
use vocabulary::verdict::Verdict;

/// One SNI name, compiled.
pub struct Host {
    /// What handshakes need of it: name, certificates, mTLS mode, CA set.
    pub endpoint: Arc<Endpoint>,
    /// Position in [`Snapshot::hosts`] of the generation it belongs to; not stable across them.
    pub index: usize,
    /// The zone's 32 hex characters.
    pub zone_id: Box<str>,
    /// What it does with client certificates besides asking for them.
    pub client: ClientSettings,
    /// The zone's rules.
    pub rules: Arc<Program>,
    /// The zone's rules of other phases.
    pub phases: Phases,
    /// Bytes that a request's body may have, 0 for any number; `None` leaves it to
    /// `limit.request_body`.
    pub request_body_max: Option<u64>,
    /// Where its permitted requests go.
    pub origin: Arc<OriginGroup>,
}

impl Host {
    /// Its name, exact or wildcard.
    #[must_use]
    pub fn name(&self) -> &HostName {
        &self.endpoint.name
    }

    /// Its server certificate, TLS settings and mTLS mode.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.endpoint.site
    }

    /// What client certificates are verified by.
    #[must_use]
    pub fn trust(&self) -> &Arc<Trust> {
        &self.endpoint.trust
    }

    /// Whether a client with this verdict is not served at all.
    #[must_use]
    pub fn refuses(&self, verdict: &Verdict) -> bool {
        self.endpoint.refuses(verdict)
    }

    /// Whether there is no verdict that it refuses.
    #[must_use]
    pub fn lets_everybody_in(&self) -> bool {
        self.endpoint.lets_everybody_in()
    }

    /// Its rules read the ClientHello, which a connection did not keep because at its handshake no
    /// rule did.
    #[must_use]
    pub fn lacks_hello(&self, facts: &ConnectionFacts) -> bool {
        facts.client_hello.is_empty() && self.endpoint.keeps_hello
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("name", self.name())
            .finish_non_exhaustive()
    }
}

/// A name that a zone's origin rules send requests to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// The zone's id.
    pub zone: Box<str>,
    /// The name, in lower case.
    pub name: Box<str>,
}

/// Everything the data path needs.
///
/// ```
/// use snapshot::{Published, Snapshot};
///
/// let published = Published::default();
/// published.publish(Snapshot::new(7, 0, Vec::new(), None)?, std::time::Instant::now());
/// assert_eq!(published.load().generation, 7);
/// assert!(published.load().host("api.example.com").is_none());
/// # Ok::<(), snapshot::DuplicateHost>(())
/// ```
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Moves with every published change.
    pub generation: u64,
    /// Moves with every publication, also when nothing was changed but what the outside told: no two that
    /// were published have the same.
    pub edition: u64,
    /// Moves whenever a CA, CRL or revocation changes: a verification older than it is made again.
    pub trust_epoch: u64,
    /// All hosts, in the order of their names.
    pub hosts: Vec<Arc<Host>>,
    /// The origins that hosts and their origin rules send requests to, each once, by their labels.
    pub origins: Vec<Arc<OriginGroup>>,
    /// Names that origin rules send requests to and that are no hosts' of theirs.
    pub elsewhere: Vec<Elsewhere>,
    /// Answers handshakes that name no host; without it they are refused.
    pub default_host: Option<Arc<Host>>,
    /// What ACME servers are shown that check names.
    pub challenges: Arc<Challenges>,
    /// Over names and trust policies of all hosts, and which of them is the default.
    policies: u64,
    exact: HashMap<Box<str>, Arc<Host>>,
    /// Keyed by the parent: `example.com` for `*.example.com`.
    wildcard: HashMap<Box<str>, Arc<Host>>,
    /// Names that no wildcard answers for.
    withheld: HashSet<Box<str>>,
}

/// The origins of these hosts and of their zones' rules, each once.
fn origins(hosts: &[Host]) -> Vec<Arc<OriginGroup>> {
    let mut found = HashMap::new();
    for host in hosts {
        let named = host.phases.routes.iter().flat_map(|(_, named)| named.all());
        for origin in named.chain([&host.origin]) {
            found
                .entry(origin.state.id)
                .or_insert_with(|| origin.clone());
        }
    }
    let mut origins: Vec<_> = found.into_values().collect();
    origins.sort_by(|a, b| (&a.label, a.state.id).cmp(&(&b.label, b.state.id)));
    origins
}

/// Where the origin rules of these hosts' zones send requests by a name, each zone's once.
fn elsewhere(hosts: &[Host]) -> Vec<Elsewhere> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for host in hosts {
        let Some((routes, named)) = &host.phases.routes else {
            continue;
        };
        if !seen.insert(Arc::as_ptr(routes)) {
            continue;
        }
        let mut names: Vec<&str> = routes.names(named).collect();
        names.sort_unstable();
        names.dedup();
        found.extend(names.into_iter().map(|name| Elsewhere {
            zone: host.zone_id.clone(),
            name: name.into(),
        }));
    }
    found
}

/// Two hosts of one name, which would make one of them unreachable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the host {0} is there twice; each name can belong to one host only")]
pub struct DuplicateHost(pub HostName);

impl Snapshot {
    /// Builds the look-up tables. `hosts` get their [`Host::index`] by position.
    ///
    /// # Errors
    /// Two hosts have the same name.
    pub fn new(
        generation: u64,
        trust_epoch: u64,
        hosts: Vec<Host>,
        default_host: Option<&HostName>,
    ) -> Result<Self, DuplicateHost> {
        let mut snapshot = Self {
            generation,
            trust_epoch,
            ..Self::default()
        };
        let mut hosts = hosts;
        hosts.sort_by(|a, b| a.name().cmp(b.name()));
        let mut policies = DefaultHasher::new();
        default_host.map(HostName::as_str).hash(&mut policies);
        for host in &hosts {
            (host.name().as_str(), host.site().policy).hash(&mut policies);
        }
        snapshot.policies = policies.finish();
        snapshot.origins = origins(&hosts);
        snapshot.elsewhere = elsewhere(&hosts);
        for (index, mut host) in hosts.into_iter().enumerate() {
            host.index = index;
            let host = Arc::new(host);
            let (table, key) = match host.name().wildcard_parent() {
                Some(parent) => (&mut snapshot.wildcard, parent),
                None => (&mut snapshot.exact, host.name().as_str()),
            };
            if table.insert(key.into(), host.clone()).is_some() {
                return Err(DuplicateHost(host.name().clone()));
            }
            if default_host == Some(host.name()) {
                snapshot.default_host = Some(host.clone());
            }
            snapshot.hosts.push(host);
        }
        Ok(snapshot)
    }

    /// Withholds names from wildcards: those of other zones, which have hosts of their own or none.
    #[must_use]
    pub fn withholding(mut self, names: impl IntoIterator<Item = Box<str>>) -> Self {
        self.withheld = names.into_iter().collect();
        let mut sorted: Vec<&str> = self.withheld.iter().map(|name| &**name).collect();
        sorted.sort_unstable();
        let mut policies = DefaultHasher::new();
        (self.policies, sorted).hash(&mut policies);
        self.policies = policies.finish();
        self
    }

    /// Has ACME servers shown what they ask for.
    #[must_use]
    pub fn showing(mut self, challenges: Arc<Challenges>) -> Self {
        self.challenges = challenges;
        self
    }

    /// What live connections were let in by. While it is the same, no connection has to be looked at again;
    /// hosts that come, go, or ask for something else change it, whatever the trust epoch says.
    #[must_use]
    pub fn admission(&self) -> (u64, u64) {
        (self.trust_epoch, self.policies)
    }

    /// The host that answers for a canonical (lower-case, no trailing dot) name: the exact one
    /// before the wildcard.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<&Arc<Host>> {
        self.exact.get(name).or_else(|| {
            let (label, parent) = name.split_once('.')?;
            (!label.is_empty() && !self.withheld.contains(name))
                .then(|| self.wildcard.get(parent))
                .flatten()
        })
    }

    /// The host of a connection: by its SNI, or the default one for a client that sent none.
    #[must_use]
    pub fn host_of(&self, sni: Option<&str>) -> Option<&Arc<Host>> {
        match sni {
            Some(name) => self.host(name),
            None => self.default_host.as_ref(),
        }
    }
}

impl Endpoints for Snapshot {
    fn find(&self, sni: Option<&str>) -> Option<Arc<Endpoint>> {
        self.host_of(sni).map(|host| host.endpoint.clone())
    }

    fn challenge(&self, name: &str) -> Option<Arc<Challenge>> {
        self.challenges.certificate(name)
    }
}

/// The one place where the current snapshot is found; readers take no lock.
#[derive(Debug, Default)]
pub struct Published {
    current: ArcSwap<Snapshot>,
    editions: AtomicU64,
    /// What names of origins mean: as who looks them up has heard last.
    names: Arc<NameBook>,
    /// Those who want to hear of a new one. Taken by publishers and by who begins to listen.
    listeners: Mutex<Vec<mpsc::UnboundedSender<Instant>>>,
}

impl Published {
    /// The snapshot of now, held for as long as it is needed.
    #[must_use]
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Makes `snapshot` the current one, whole. `now` is what listeners are told.
    pub fn publish(&self, mut snapshot: Snapshot, now: Instant) {
        snapshot.edition = 1 + self.editions.fetch_add(1, Relaxed);
        self.current.store(Arc::new(snapshot));
        // A listener that is gone is forgotten.
        self.lock().retain(|listener| listener.send(now).is_ok());
    }

    /// What names of origins mean, whatever snapshot names them.
    #[must_use]
    pub fn names(&self) -> &Arc<NameBook> {
        &self.names
    }

    /// Hears the moment of every publication from now on.
    #[must_use]
    pub fn listen(&self) -> mpsc::UnboundedReceiver<Instant> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().push(sender);
        receiver
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<mpsc::UnboundedSender<Instant>>> {
        // A list of senders has no half-changed state.
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The cell itself, for workers that look at it once a request.
    #[must_use]
    pub fn swap(&self) -> &ArcSwap<Snapshot> {
        &self.current
    }
}
