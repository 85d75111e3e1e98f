//! The statistics of one worker: owned by its thread, no locks, bounded.
//!
//! Owns counters, gauges, and one latency histogram for each (host, stage). Copies are cheap:
//! histograms are shared with a copy until the worker records into them again. Does not render
//! them (`admin::metrics`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::exemplars::{Exemplar, Exemplars};
use super::histogram::StageHistogram;
use super::tally::{CLASSES, Requests, RuleAction, RuleMatches, Tally};
use super::{HandshakeResult, HostLoad, Stage, Steered};
use crate::limits;
use vocabulary::hostname::HostName;
use vocabulary::request_error::RequestError;
use vocabulary::verdict::{Reason, Verdict};

/// A host in one worker's statistics; stays valid for the worker's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HostSlot(usize);

/// The slot that hosts beyond [`limits::OBSERVED_HOSTS_MAX`] share.
const OTHER: HostSlot = HostSlot(0);
/// Its name in metrics. Were a host called so, it would share the entry.
pub const OTHER_NAME: &str = "_other";

/// What one worker has counted since it started.
#[derive(Debug, Clone)]
pub struct WorkerStats {
    /// Its number, counted from 0.
    pub worker: usize,
    /// Connections taken from the listener.
    pub accepted: u64,
    /// Connections closed at once because `limit.connections` was reached.
    pub refused: u64,
    /// Connections given to another worker.
    pub handed_over: u64,
    /// Connections that should have been, and were served here: the owner had no room.
    pub kept: u64,
    /// Client connections that are open now.
    pub connections_open: u64,
    /// Of these, the ones without a request in progress.
    pub connections_idle: u64,
    /// Of the idle ones, those that hold no buffers.
    pub connections_parked: u64,
    /// Connections to origins that are open now.
    pub origin_connections_open: u64,
    /// Of these, the ones that wait for a request.
    pub origin_connections_idle: u64,
    /// Requests sent again because their connection to the origin died under them.
    pub origin_repeated: u64,
    /// What was counted of each host, by [`HostSlot`].
    pub hosts: Vec<HostStats>,
    by_name: HashMap<HostName, HostSlot, foldhash::fast::RandomState>,
    /// How often each rule matched, by its id.
    pub rules: HashMap<Box<str>, RuleMatches, foldhash::fast::RandomState>,
    /// Why connections ended.
    pub stops: Tally,
    /// Handshakes that ended before any host was known.
    pub handshakes: Tally,
}

/// What one worker has counted of one host.
#[derive(Debug, Clone)]
pub struct HostStats {
    /// Its name, or [`OTHER_NAME`].
    pub name: Box<str>,
    /// How long each stage took; `None` where nothing was timed.
    pub stages: [Option<Arc<StageHistogram>>; Stage::ALL.len()],
    /// Its requests.
    pub requests: Requests,
    /// How its handshakes ended.
    pub handshakes: Tally,
    /// What was found of client certificates.
    pub verdicts: Tally,
    /// What its origin failed at.
    pub origin_errors: Tally,
    /// What clients failed at, of requests that were forwarded.
    pub client_errors: Tally,
    /// Bytes of request bodies.
    pub bytes_received: u64,
    /// Bytes of response bodies.
    pub bytes_sent: u64,
    /// Connections by how they came here, in the order of [`Steered::ALL`].
    pub steered: [u64; Steered::ALL.len()],
    /// Sampled requests, for those who see a latency and want to know of what.
    pub exemplars: Option<Box<Exemplars>>,
}

impl HostStats {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            stages: Default::default(),
            requests: Requests::default(),
            handshakes: Tally::default(),
            verdicts: Tally::default(),
            origin_errors: Tally::default(),
            client_errors: Tally::default(),
            bytes_received: 0,
            bytes_sent: 0,
            steered: Default::default(),
            exemplars: None,
        }
    }

    fn add(&mut self, other: &Self) {
        for (mine, others) in self.stages.iter_mut().zip(&other.stages) {
            match (mine, others) {
                (_, None) => {}
                (mine @ None, Some(others)) => *mine = Some(Arc::clone(others)),
                (Some(mine), Some(others)) => {
                    let mine = Arc::make_mut(mine);
                    // Equal bounds on both sides: adding cannot fail.
                    if mine.counts.add(&others.counts).is_ok() {
                        mine.sum_ns = mine.sum_ns.saturating_add(others.sum_ns);
                    }
                }
            }
        }
        for (class, outcome, client, count) in other.requests.cells() {
            self.requests.count(class, outcome, client, count);
        }
        self.handshakes.add(&other.handshakes);
        self.verdicts.add(&other.verdicts);
        self.origin_errors.add(&other.origin_errors);
        self.client_errors.add(&other.client_errors);
        self.bytes_received += other.bytes_received;
        self.bytes_sent += other.bytes_sent;
        for (mine, others) in self.steered.iter_mut().zip(other.steered) {
            *mine += others;
        }
        if let Some(others) = &other.exemplars {
            self.exemplars.get_or_insert_default().add(others);
        }
    }
}

impl WorkerStats {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(worker: usize) -> Self {
        Self {
            worker,
            accepted: 0,
            refused: 0,
            handed_over: 0,
            kept: 0,
            connections_open: 0,
            connections_idle: 0,
            connections_parked: 0,
            origin_connections_open: 0,
            origin_connections_idle: 0,
            origin_repeated: 0,
            hosts: vec![HostStats::new(OTHER_NAME)],
            by_name: HashMap::default(),
            rules: HashMap::default(),
            stops: Tally::default(),
            handshakes: Tally::default(),
        }
    }

    /// The slot of a host: one look-up for each connection, then the slot is used.
    pub fn host(&mut self, name: &HostName) -> HostSlot {
        if let Some(slot) = self.by_name.get(name) {
            return *slot;
        }
        if self.hosts.len() > limits::OBSERVED_HOSTS_MAX {
            return OTHER;
        }
        let slot = HostSlot(self.hosts.len());
        self.hosts.push(HostStats::new(name.as_str()));
        self.by_name.insert(name.clone(), slot);
        slot
    }

    /// A stage took so long.
    pub fn record(&mut self, host: HostSlot, stage: Stage, time: Duration) {
        if let Some(slot) = self.at(host).stages.get_mut(stage as usize) {
            Arc::make_mut(slot.get_or_insert_with(|| Arc::new(StageHistogram::new()))).record(time);
        }
    }

    /// A request of a trace that is sampled took so long, and came at this time.
    pub fn exemplar(&mut self, host: HostSlot, took: Duration, trace: [u8; 16], time: SystemTime) {
        let exemplars = self.at(host).exemplars.get_or_insert_default();
        exemplars.note(Exemplar { took, trace, time });
    }

    /// A request was answered.
    pub fn request(
        &mut self,
        host: HostSlot,
        status: u16,
        verdict: Verdict,
        answered_by: Option<RuleAction>,
    ) {
        let class = match status {
            100..=599 => usize::from(status / 100) - 1,
            _ => CLASSES.len() - 1,
        };
        let client = match verdict {
            Verdict {
                presented: false, ..
            } => 0,
            Verdict { revoked: true, .. } => 2,
            Verdict { verified: true, .. } => 1,
            Verdict {
                verified: false, ..
            } => 3,
        };
        self.at(host)
            .requests
            .count(class, answered_by.map_or(0, RuleAction::outcome), client, 1);
    }

    /// Bytes of request and response bodies.
    pub fn bytes(&mut self, host: HostSlot, received: u64, sent: u64) {
        let host = self.at(host);
        host.bytes_received += received;
        host.bytes_sent += sent;
    }

    /// A TLS handshake ended; `host` is known when its SNI was.
    pub fn handshake(&mut self, host: Option<HostSlot>, result: HandshakeResult) {
        let word = match result {
            HandshakeResult::Full => "full",
            HandshakeResult::Resumed => "resumed",
            HandshakeResult::Failed(why) => why,
        };
        match host {
            Some(host) => self.at(host).handshakes.count(word, 1),
            None => self.handshakes.count(word, 1),
        }
    }

    /// A connection of this host came to this worker so.
    pub fn steered(&mut self, host: HostSlot, how: Steered) {
        if let Some(count) = self.at(host).steered.get_mut(how as usize) {
            *count += 1;
        }
    }

    /// How connections of each host came to this worker, in the order of [`Steered::ALL`].
    pub fn came(&self) -> impl Iterator<Item = (&HostName, [u64; Steered::ALL.len()])> {
        let hosts = self.by_name.iter();
        hosts.filter_map(|(name, slot)| Some((name, self.hosts.get(slot.0)?.steered)))
    }

    /// What each host cost so far: light enough to be asked for every second.
    #[must_use]
    pub fn loads(&self) -> Vec<HostLoad> {
        let hosts = self.by_name.iter().filter_map(|(name, slot)| {
            let stats = self.hosts.get(slot.0)?;
            let handshakes = |resumed: bool| {
                let kind = stats
                    .handshakes
                    .iter()
                    .filter(|(word, _)| (*word == "resumed") == resumed);
                kind.map(|(_, count)| count).sum()
            };
            Some(HostLoad {
                host: name.clone(),
                full: handshakes(false),
                resumed: handshakes(true),
                requests: stats.requests.cells().map(|(.., count)| count).sum(),
            })
        });
        hosts.collect()
    }

    /// A client's chain was verified: after each handshake, and again when the trust epoch moved.
    pub fn verified(&mut self, host: HostSlot, reason: Reason) {
        self.at(host).verdicts.count(reason.as_str(), 1);
    }

    /// A rule matched.
    pub fn rule(&mut self, id: &str, action: RuleAction) {
        let known = self.rules.contains_key(id);
        let id = if known || self.rules.len() < limits::OBSERVED_RULES_MAX {
            id
        } else {
            OTHER_NAME
        };
        let add = |matches: &mut RuleMatches| {
            *match action {
                RuleAction::Block => &mut matches.blocked,
                RuleAction::RateLimit => &mut matches.rate_limited,
                RuleAction::Redirect => &mut matches.redirected,
                RuleAction::Log => &mut matches.logged,
            } += 1;
        };
        match self.rules.get_mut(id) {
            Some(matches) => add(matches),
            None => add(self.rules.entry(id.into()).or_default()),
        }
    }

    /// The origin could not be used; the word is the access log's error.
    pub fn origin_error(&mut self, host: HostSlot, why: RequestError) {
        self.at(host).origin_errors.count(why.as_str(), 1);
    }

    /// The client left its request or its answer; the word is the access log's error.
    pub fn client_error(&mut self, host: HostSlot, why: RequestError) {
        self.at(host).client_errors.count(why.as_str(), 1);
    }

    /// A connection ended.
    pub fn stop(&mut self, stop: &'static str) {
        self.stops.count(stop, 1);
    }

    /// The time below which `quantile` (0 to 1) of a stage's events stayed, over all hosts.
    #[must_use]
    pub fn quantile(&self, stage: Stage, quantile: f64) -> Option<Duration> {
        let mut sum: Option<StageHistogram> = None;
        for histogram in self
            .hosts
            .iter()
            .filter_map(|host| host.stages.get(stage as usize)?.as_deref())
        {
            match &mut sum {
                None => sum = Some(histogram.clone()),
                // Equal bounds on both sides: adding cannot fail.
                Some(sum) => drop(sum.counts.add(&histogram.counts)),
            }
        }
        sum.map(|sum| Duration::from_nanos(sum.counts.value_at_quantile(quantile)))
    }

    /// Requests answered, over all hosts.
    #[must_use]
    pub fn requests_total(&self) -> u64 {
        self.hosts
            .iter()
            .flat_map(|host| host.requests.cells())
            .map(|(.., count)| count)
            .sum()
    }

    /// Connections that ended.
    #[cfg(test)]
    pub fn stops_total(&self) -> u64 {
        self.stops.iter().map(|(_, count)| count).sum()
    }

    /// The sum of several workers.
    #[must_use]
    pub fn sum(all: &[Self]) -> Self {
        let mut sum = Self::new(0);
        for one in all {
            sum.add(one);
        }
        sum
    }

    fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.handed_over += other.handed_over;
        self.kept += other.kept;
        self.connections_open += other.connections_open;
        self.connections_idle += other.connections_idle;
        self.connections_parked += other.connections_parked;
        self.origin_connections_open += other.origin_connections_open;
        self.origin_connections_idle += other.origin_connections_idle;
        self.origin_repeated += other.origin_repeated;
        for host in &other.hosts {
            let slot = match HostName::parse(&host.name) {
                Ok(name) if &*host.name != OTHER_NAME => self.host(&name),
                _ => OTHER,
            };
            self.at(slot).add(host);
        }
        for (id, matches) in &other.rules {
            let mine = self.rules.entry(id.clone()).or_default();
            mine.blocked += matches.blocked;
            mine.rate_limited += matches.rate_limited;
            mine.redirected += matches.redirected;
            mine.logged += matches.logged;
        }
        self.stops.add(&other.stops);
        self.handshakes.add(&other.handshakes);
    }

    fn at(&mut self, slot: HostSlot) -> &mut HostStats {
        // A slot of another worker is a mistake of the caller's; it is not worth a panic.
        let index = if slot.0 < self.hosts.len() {
            slot.0
        } else {
            OTHER.0
        };
        self.hosts
            .get_mut(index)
            .expect("the first slot is made with the statistics and never removed")
    }
}

#[cfg(test)]
mod tests {
    use super::super::tally::CLIENTS;
    use super::*;

    fn name(text: &str) -> HostName {
        HostName::parse(text).unwrap()
    }

    #[test]
    fn workers_add_up() {
        let mut a = WorkerStats::new(0);
        let mut b = WorkerStats::new(1);
        let (one, two) = (name("one.example"), name("two.example"));
        let (a_one, b_two, b_one) = (a.host(&one), b.host(&two), b.host(&one));
        assert_eq!(a.host(&one), a_one);
        a.record(a_one, Stage::Total, Duration::from_millis(1));
        b.record(b_one, Stage::Total, Duration::from_millis(3));
        b.record(b_two, Stage::Rules, Duration::from_micros(1));
        a.request(a_one, 200, Verdict::NONE, None);
        b.request(b_one, 403, Verdict::NONE, Some(RuleAction::Block));
        b.rule("r", RuleAction::Block);
        a.rule("r", RuleAction::Log);
        a.stop("closed");
        b.stop("closed");
        let copy = a.clone();
        a.record(a_one, Stage::Total, Duration::from_millis(9));
        let sum = WorkerStats::sum(&[copy, b]);
        let host = sum
            .hosts
            .iter()
            .find(|host| &*host.name == "one.example")
            .unwrap();
        let total = host.stages[Stage::Total as usize].as_ref().unwrap();
        assert_eq!(
            total.counts.len(),
            2,
            "a copy does not see what is recorded after it"
        );
        assert_eq!(total.sum_ns, 4_000_000);
        assert!(host.stages[Stage::Rules as usize].is_none());
        assert_eq!(sum.requests_total(), 2);
        assert_eq!((sum.rules["r"].blocked, sum.rules["r"].logged), (1, 1));
        assert_eq!(sum.stops.iter().collect::<Vec<_>>(), [("closed", 2)]);
        let half = sum.quantile(Stage::Total, 0.5).unwrap();
        assert!(
            half.abs_diff(Duration::from_millis(1)) < Duration::from_micros(20),
            "{half:?}"
        );
    }

    #[test]
    fn hosts_and_rules_beyond_the_bound_share_an_entry() {
        let mut stats = WorkerStats::new(0);
        for index in 0..limits::OBSERVED_HOSTS_MAX + 10 {
            let slot = stats.host(&name(&format!("h{index}.example")));
            stats.request(slot, 200, Verdict::NONE, None);
        }
        assert_eq!(stats.hosts.len(), limits::OBSERVED_HOSTS_MAX + 1);
        assert_eq!(
            stats.hosts[0]
                .requests
                .cells()
                .map(|(.., count)| count)
                .sum::<u64>(),
            10
        );
        for index in 0..limits::OBSERVED_RULES_MAX + 10 {
            stats.rule(&index.to_string(), RuleAction::Block);
        }
        assert_eq!(stats.rules.len(), limits::OBSERVED_RULES_MAX + 1);
        assert_eq!(stats.rules[OTHER_NAME].blocked, 10);
        let sum = WorkerStats::sum(&[stats]);
        assert_eq!(sum.requests_total(), limits::OBSERVED_HOSTS_MAX as u64 + 10);
    }

    #[test]
    fn clients_and_classes() {
        let verified = Verdict {
            presented: true,
            verified: true,
            revoked: false,
            reason: Reason::Verified,
        };
        let revoked = Verdict {
            revoked: true,
            reason: Reason::Revoked,
            ..verified
        };
        let expired = Verdict {
            presented: true,
            verified: false,
            revoked: false,
            reason: Reason::Expired,
        };
        for (status, verdict, class, client) in [
            (101, Verdict::NONE, "1xx", "anonymous"),
            (204, verified, "2xx", "verified"),
            (302, revoked, "3xx", "revoked"),
            (499, expired, "4xx", "unverified"),
            (599, expired, "5xx", "unverified"),
            (0, verified, "other", "verified"),
            (999, verified, "other", "verified"),
        ] {
            let mut stats = WorkerStats::new(0);
            let slot = stats.host(&name("a.example"));
            stats.request(slot, status, verdict, None);
            let found: Vec<_> = stats.hosts[1]
                .requests
                .cells()
                .filter(|(.., count)| *count > 0)
                .collect();
            assert_eq!(found.len(), 1);
            assert_eq!(
                (CLASSES[found[0].0], CLIENTS[found[0].2]),
                (class, client),
                "{status}"
            );
        }
    }
}
