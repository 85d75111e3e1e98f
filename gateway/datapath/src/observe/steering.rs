//! Steering, observed: how a connection came to its worker, what hosts cost, and the status of the
//! controller and the kernel programs.

use std::collections::HashMap;
use std::net::SocketAddr;

use ebpf::{Counters, Decided, HostCounts};
use serde_json::{Value, json};

use super::WorkerStats;
use crate::limits::{COST_HANDSHAKE_FULL, COST_HANDSHAKE_RESUMED, COST_REQUEST};
use vocabulary::hostname::HostName;

vocabulary::words! {
    /// How a connection came to its worker.
    #[derive(Default)]
    pub enum Steered("a way of steering", without serde) {
        /// The kernel gave it to the owner's listener.
        Kernel = "kernel",
        /// Another worker read its ClientHello and handed it over.
        Handoff = "handoff",
        /// The kernel chose any listener, and here it stayed.
        #[default]
        None = "none",
    }
}

/// What workers have done for a host since they started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLoad {
    /// The host.
    pub host: HostName,
    /// Full handshakes, those that failed among them.
    pub full: u64,
    /// Resumed handshakes.
    pub resumed: u64,
    /// Requests.
    pub requests: u64,
}

impl HostLoad {
    /// What several workers did, added up by host.
    #[must_use]
    pub fn sum(workers: impl Iterator<Item = Vec<Self>>) -> Vec<Self> {
        let mut sum: HashMap<HostName, Self> = HashMap::new();
        for one in workers.flatten() {
            match sum.get_mut(&one.host) {
                None => drop(sum.insert(one.host.clone(), one)),
                Some(all) => {
                    all.full += one.full;
                    all.resumed += one.resumed;
                    all.requests += one.requests;
                }
            }
        }
        sum.into_values().collect()
    }

    /// What that cost, estimated, in microseconds of CPU.
    #[must_use]
    pub fn microseconds(&self) -> u64 {
        let cost = |count: u64, each: std::time::Duration| {
            count.saturating_mul(u64::try_from(each.as_micros()).unwrap_or(u64::MAX))
        };
        cost(self.full, COST_HANDSHAKE_FULL)
            .saturating_add(cost(self.resumed, COST_HANDSHAKE_RESUMED))
            .saturating_add(cost(self.requests, COST_REQUEST))
    }
}

/// A host and who owns it.
#[derive(Debug, Clone, PartialEq)]
pub struct SteeredHost {
    /// The host.
    pub host: HostName,
    /// Its workers.
    pub workers: Vec<u16>,
    /// By configuration.
    pub pinned: bool,
    /// Smoothed, in microseconds of CPU a second.
    pub load: f64,
    /// What the programs decided about its ClientHellos, when they run.
    pub kernel: Option<HostCounts>,
    /// Its connections with a handshake by how they came to their worker, in the order of
    /// [`Steered::ALL`]; `None` where the workers were not asked.
    pub came: Option<[u64; Steered::ALL.len()]>,
}

/// How steering goes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SteeringStatus {
    /// `kernel`, `handoff` or `off`: what is really done.
    pub mode: &'static str,
    /// Why that, when it was asked for more.
    pub reason: Option<String>,
    /// Workers that connections are steered to.
    pub workers: usize,
    /// Interfaces that run the frame program, and where: `native` or `generic`.
    pub interfaces: Vec<(String, &'static str)>,
    /// Steered ports.
    pub ports: Vec<u16>,
    /// What the programs have counted, when they run.
    pub kernel: Option<Counters>,
    /// Whether the program answers SYNs, `on` or `off: REASON`; `None` when it was not asked to.
    pub synproxy: Option<String>,
    /// Hosts that got other owners while they had some.
    pub moves: u64,
    /// Every host, in the order of their names.
    pub hosts: Vec<SteeredHost>,
}

impl SteeringStatus {
    /// As the API shows it.
    #[must_use]
    pub fn json(&self) -> Value {
        let interfaces: Vec<Value> = self
            .interfaces
            .iter()
            .map(|(name, place)| json!({ "name": name, "xdp": place }))
            .collect();
        let hosts: Vec<Value> = self
            .hosts
            .iter()
            .map(|host| {
                let object = |counts: &mut dyn Iterator<Item = (&'static str, u64)>| {
                    Value::Object(
                        counts
                            .map(|(word, count)| (word.into(), count.into()))
                            .collect(),
                    )
                };
                let words = Steered::ALL.map(Steered::as_str).into_iter();
                json!({
                    "host": host.host.as_str(),
                    "workers": host.workers,
                    "pinned": host.pinned,
                    "load": (host.load / 1e4).round() / 100.0,
                    "kernel": host.kernel.map(|counts| object(&mut host_reasons(&counts))),
                    "connections": host.came.map(|came| object(&mut words.zip(came))),
                })
            })
            .collect();
        let kernel = self.kernel.as_ref().map(|counters| {
            let count = |(reason, count): (&str, u64)| (reason.to_owned(), count.into());
            Value::Object(reasons(counters).map(count).collect())
        });
        json!({
            "mode": self.mode,
            "reason": self.reason,
            "workers": self.workers,
            "interfaces": interfaces,
            "ports": self.ports,
            "changes": self.changes(),
            "kernel": kernel,
            "synproxy": self.synproxy,
            "moves": self.moves,
            "hosts": hosts,
        })
    }

    /// Adds what the workers know.
    #[must_use]
    pub fn with(mut self, workers: &[WorkerStats]) -> Self {
        let mut sums: HashMap<&HostName, [u64; Steered::ALL.len()]> = HashMap::new();
        for (host, came) in workers.iter().flat_map(WorkerStats::came) {
            let sum = sums.entry(host).or_default();
            sum.iter_mut()
                .zip(came)
                .for_each(|(sum, more)| *sum += more);
        }
        for host in &mut self.hosts {
            host.came = Some(sums.get(&host.host).copied().unwrap_or_default());
        }
        self
    }

    /// What steering has changed of the system, until it ends.
    fn changes(&self) -> Vec<&'static str> {
        if self.interfaces.is_empty() {
            return Vec::new();
        }
        let mut changes = vec![
            "net.ipv4.tcp_syncookies = 2",
            "an XDP program on each interface",
            "a socket lookup program in the network namespace",
        ];
        if self.synproxy.as_deref() == Some("on") {
            changes.insert(1, "net.ipv4.tcp_timestamps = 2 (unless 0)");
        }
        changes
    }
}

/// The programs' counts by reason, in the order of a connection's life.
pub fn reasons(counters: &Counters) -> impl Iterator<Item = (&'static str, u64)> {
    [
        ("seen", seen(counters)),
        ("steered", counters.placed),
        ("no_sni", counters.nameless),
        ("unknown", counters.unknown),
        ("unknown_dropped", counters.unknown_dropped),
        ("host_budget", counters.host_budget),
        ("source_budget", counters.source_budget),
        ("blocked", counters.blocked),
        ("split", counters.partial),
        ("joined", counters.joined),
        ("parse_failure", counters.foreign),
        ("bad_cookie", counters.cookies_bad),
        ("held", counters.held),
        ("overtaken", counters.overtaken),
        ("homeless", counters.homeless),
        ("syn_answered", counters.answered),
    ]
    .into_iter()
}

/// The same of one host: all that can be told of a ClientHello whose name is read and known.
pub fn host_reasons(counts: &HostCounts) -> impl Iterator<Item = (&'static str, u64)> + use<> {
    let HostCounts {
        noted,
        host_budget,
        blocked,
    } = *counts;
    [
        ("seen", noted + host_budget + blocked),
        ("steered", noted),
        ("host_budget", host_budget),
        ("blocked", blocked),
    ]
    .into_iter()
}

/// First segments of connections that proved their address, however they were decided on.
fn seen(counters: &Counters) -> u64 {
    let Counters {
        noted,
        nameless,
        partial,
        foreign,
        unknown,
        host_budget,
        source_budget,
        blocked,
        joined,
        ..
    } = *counters;
    let decided =
        noted + nameless + partial + foreign + unknown + host_budget + source_budget + blocked;
    // Those were split, and then noted.
    decided - joined
}

/// One decision of the kernel programs, in names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedConnection {
    /// Who connects.
    pub client: SocketAddr,
    /// Where to.
    pub local: SocketAddr,
    /// The host, when it is one of ours.
    pub host: Option<HostName>,
    /// What was decided.
    pub decided: Decided,
    /// The worker it was given to.
    pub worker: Option<u32>,
    /// Whether the segment was dropped.
    pub dropped: bool,
}

impl TracedConnection {
    /// As the API shows it.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "client": self.client.to_string(),
            "local": self.local.to_string(),
            "host": self.host.as_ref().map(HostName::as_str),
            "decided": self.decided.as_str(),
            "worker": self.worker,
            "dropped": self.dropped,
        })
    }
}
