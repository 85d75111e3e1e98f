//! The steering controller: who steers, who owns which host now, and why.
//!
//! Chooses between kernel, hand-over and nothing at the start; from then on keeps two tables at
//! what [`super::balance`] plans, the kernel's and the workers'. Runs on the control plane's
//! thread: workers only read what it publishes. A table of the kernel's that cannot be written is
//! no reason to stop: the workers' own table decides then.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ebpf::{Admission, Owners};

use super::admission::Block;
use super::balance::{Assignment, Demand, HostOwners, Occasion, plan};
use super::engage::{Engaged, engage};
use super::{InheritedLinks, Owned, Ownership, PlacedMap, Unavailable, cookies};
use crate::observe::{HostLoad, SteeredHost, SteeringStatus};
use config::{Config, Pins, SteerMode};
use snapshot::Snapshot;
use vocabulary::hostname::HostName;

/// Why `auto` leaves everything to chance on a small machine.
const ONE_WORKER: &str = "there is one worker, which serves every host";

/// Part of a new measurement in the load that is planned with: a burst of one round moves nothing.
const SMOOTHING: f64 = 0.3;

/// Who steers, and who owns what.
#[derive(Debug)]
pub struct Controller {
    pub(super) mode: &'static str,
    reason: Option<String>,
    workers: usize,
    owned: Arc<Owned>,
    state: Mutex<SteeringState>,
}

/// What changes while the gateway runs.
#[derive(Debug, Default)]
pub(super) struct SteeringState {
    pub(super) kernel: Option<Engaged>,
    assignment: Assignment,
    default_host: Option<HostName>,
    pins: Pins,
    pub(super) hosts: Vec<HostName>,
    /// Smoothed, in microseconds a second.
    loads: HashMap<HostName, f64>,
    /// What the last round measured, to tell what was added since.
    counted: HashMap<HostName, u64>,
    moves: u64,
    /// Numbers of zones, from 1, as the kernel knows them.
    zone_numbers: HashMap<Box<str>, u32>,
    /// The zone of each host, as it was last written.
    zones: HashMap<HostName, u32>,
    /// What the kernel turns away now.
    pub(super) admission: Option<Admission>,
    pub(super) blocks: BTreeSet<Block>,
    /// One of how many decisions is traced; 0 for none.
    pub(super) trace_every: u32,
    /// When they were asked for last.
    pub(super) trace_asked: Option<Instant>,
    /// The kernel's table is not what it should be.
    pub(super) complained: bool,
}

impl Controller {
    /// Decides who steers, and lets the kernel begin where it does. Answers the controller and what
    /// the workers need to see the kernel's doing.
    ///
    /// With what is `inherited`, the kernel begins when this process has taken over.
    ///
    /// # Errors
    /// The kernel is to steer, by configuration, and cannot.
    pub fn start(
        config: &Config,
        listeners: &[Vec<OwnedFd>],
        owned: Arc<Owned>,
        inherited: Option<InheritedLinks>,
    ) -> Result<(Self, PlacedMap), Unavailable> {
        let file = state_file(&config.admin_socket);
        if inherited.is_none() {
            cookies::recover(&file);
        }
        let workers = listeners.len();
        let (mode, reason, kernel) = match config.steer_mode {
            SteerMode::Off => ("off", None, None),
            SteerMode::Handoff | SteerMode::Auto if workers == 1 => {
                ("off", Some(ONE_WORKER.to_owned()), None)
            }
            SteerMode::Handoff => ("handoff", None, None),
            SteerMode::Kernel => {
                let kernel = begin(listeners, config, &file, inherited)?;
                ("kernel", None, Some(kernel))
            }
            SteerMode::Auto => match begin(listeners, config, &file, inherited) {
                Ok(kernel) => ("kernel", None, Some(kernel)),
                Err(reason) => ("handoff", Some(reason.to_string()), None),
            },
        };
        let (kernel, placed) = kernel.unzip();
        announce(mode, reason.as_deref(), kernel.as_ref());
        let controller = Self {
            mode,
            reason,
            workers,
            owned,
            state: Mutex::new(SteeringState {
                kernel,
                pins: config.pins.clone(),
                ..SteeringState::default()
            }),
        };
        Ok((controller, placed.unwrap_or_default()))
    }

    /// Whether hosts have owners at all.
    #[must_use]
    pub fn steers(&self) -> bool {
        self.mode != "off"
    }

    /// Takes the hosts of a snapshot, and the workers that live.
    pub fn set_hosts(&self, snapshot: &Snapshot, alive: &[bool]) {
        if !self.steers() {
            return;
        }
        let mut state = self.lock();
        state.hosts = snapshot
            .hosts
            .iter()
            .map(|host| host.name().clone())
            .collect();
        // So that an ACME server that checks a name is not taken for a stranger.
        for name in snapshot.challenges.names() {
            if let Ok(name) = HostName::parse(name)
                && !state.hosts.contains(&name)
            {
                state.hosts.push(name);
            }
        }
        let before = std::mem::take(&mut state.zones);
        for host in &snapshot.hosts {
            let zone = state.zone_number(&host.zone_id);
            state.zones.insert(host.name().clone(), zone);
            if before
                .get(host.name())
                .is_some_and(|before| *before != zone)
            {
                // To be written anew, with its new zone's number.
                state.assignment.0.remove(host.name());
            }
        }
        state.default_host = snapshot
            .default_host
            .as_ref()
            .map(|host| host.name().clone());
        self.apply(&mut state, alive, Occasion::Change);
    }

    /// A worker's sockets listen by now, all of them: the kernel may steer to them.
    pub fn listening(&self, worker: usize, sockets: &[OwnedFd]) {
        if let Some(kernel) = &mut self.lock().kernel
            && let Err(error) = kernel.listening(worker, sockets)
        {
            tracing::warn!(worker, %error, "the kernel does not steer to a worker: others hand over");
        }
    }

    /// Takes other pins.
    pub fn set_pins(&self, pins: &Pins, alive: &[bool]) {
        let mut state = self.lock();
        if self.steers() && state.pins != *pins {
            state.pins.clone_from(pins);
            self.apply(&mut state, alive, Occasion::Change);
        }
    }

    /// Workers died or came back.
    pub fn set_workers(&self, alive: &[bool]) {
        if self.steers() {
            self.apply(&mut self.lock(), alive, Occasion::Change);
        }
    }

    /// A round of balancing, `seconds` after the last one. `counts` are what all workers counted
    /// since they started.
    pub fn round(&self, counts: &[HostLoad], seconds: f64, alive: &[bool], balance: bool) {
        if !self.steers() || seconds <= 0.0 {
            return;
        }
        let mut state = self.lock();
        state.measure(counts, seconds);
        if balance {
            self.apply(&mut state, alive, Occasion::Round);
        }
    }

    fn apply(&self, state: &mut SteeringState, alive: &[bool], occasion: Occasion) {
        let none = Vec::new();
        let demands: Vec<Demand<'_>> = state
            .hosts
            .iter()
            .map(|host| Demand {
                host,
                load: state.loads.get(host).copied().unwrap_or(0.0),
                pinned: state.pins.get(host).unwrap_or(&none),
            })
            .collect();
        let after = plan(&state.assignment, &demands, alive, occasion);
        if let Some(kernel) = &mut state.kernel {
            let written = write(
                kernel,
                &state.assignment,
                &after,
                &state.zones,
                state.default_host.as_ref(),
            );
            if let Err(error) = written
                && !std::mem::replace(&mut state.complained, true)
            {
                tracing::warn!(%error, "the kernel's table of hosts is incomplete: workers hand over");
            }
        }
        // A round knows the hosts of the plan before it, so the plans differ in owners only.
        let mut pairs = after.0.values().zip(state.assignment.0.values());
        let same = |(a, b): (&HostOwners, &HostOwners)| a.workers == b.workers;
        if occasion == Occasion::Round && pairs.all(same) {
            state.assignment = after;
            return;
        }
        let moved = after.0.iter().filter(|(host, place)| {
            let before = state.assignment.0.get(*host);
            before.is_some_and(|before| before.workers != place.workers)
        });
        for (host, place) in moved {
            tracing::info!(%host, workers = ?place.workers, "new connections go to other workers");
            state.moves += 1;
        }
        state.assignment = after;
        let owners = state.assignment.0.iter();
        let owners = owners.filter_map(|(host, place)| Some((host, Owners::of(&place.workers)?)));
        let table = Ownership::new(owners, state.default_host.as_ref());
        self.owned.publish(table);
    }

    /// How steering goes; the programs' counters are read for it.
    #[must_use]
    pub fn status(&self) -> SteeringStatus {
        let state = self.lock();
        let kernel = state.kernel.as_ref();
        let interfaces = kernel.map(Engaged::attached).unwrap_or_default();
        SteeringStatus {
            mode: self.mode,
            reason: self.reason.clone(),
            workers: self.workers,
            interfaces: interfaces
                .iter()
                .map(|(name, place)| (name.clone(), place.as_str()))
                .collect(),
            ports: kernel.map(Engaged::ports).unwrap_or_default().to_vec(),
            kernel: kernel.and_then(|kernel| kernel.counters().ok()),
            synproxy: kernel.and_then(Engaged::synproxy).map(|obstacle| {
                if obstacle.is_empty() {
                    "on".into()
                } else {
                    format!("off: {obstacle}")
                }
            }),
            moves: state.moves,
            hosts: state
                .assignment
                .0
                .iter()
                .map(|(host, place)| SteeredHost {
                    host: host.clone(),
                    workers: place.workers.clone(),
                    pinned: state.pins.contains_key(host),
                    load: state.loads.get(host).copied().unwrap_or(0.0),
                    kernel: kernel.and_then(|kernel| {
                        kernel.counts(host, state.default_host.as_ref() == Some(host))
                    }),
                    came: None,
                })
                .collect(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, SteeringState> {
        // A panic elsewhere leaves at worst an older plan, which the next one replaces.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SteeringState {
    pub(super) fn zone_number(&mut self, zone: &str) -> u32 {
        let next = u32::try_from(self.zone_numbers.len() + 1).unwrap_or(u32::MAX);
        if let Some(number) = self.zone_numbers.get(zone) {
            return *number;
        }
        self.zone_numbers.insert(zone.into(), next);
        next
    }

    fn measure(&mut self, counts: &[HostLoad], seconds: f64) {
        let mut added: HashMap<HostName, f64> = HashMap::with_capacity(counts.len());
        for count in counts {
            let now = count.microseconds();
            let before = self.counted.insert(count.host.clone(), now);
            // A worker that is gone takes its counts with it.
            let new = now.saturating_sub(before.unwrap_or(now));
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52 microseconds")]
            let rate = new as f64 / seconds;
            added.insert(count.host.clone(), rate);
        }
        for host in &self.hosts {
            let new = added.get(host).copied().unwrap_or(0.0);
            let load = self.loads.entry(host.clone()).or_insert(0.0);
            *load += SMOOTHING * (new - *load);
        }
        if self.loads.len() > self.hosts.len() {
            let hosts: std::collections::HashSet<&HostName> = self.hosts.iter().collect();
            self.loads.retain(|host, _| hosts.contains(host));
            self.counted.retain(|host, _| hosts.contains(host));
        }
    }
}

fn begin(
    listeners: &[Vec<OwnedFd>],
    config: &Config,
    state: &Path,
    inherited: Option<InheritedLinks>,
) -> Result<(Engaged, PlacedMap), Unavailable> {
    let kernel = engage(
        listeners,
        &config.listen,
        &config.steer_interfaces,
        config.steer_synproxy,
        state,
        inherited,
    )?;
    let placed = kernel.placed()?;
    Ok((kernel, placed))
}

/// Beside the admin socket: that directory is ours and does not outlive a boot.
fn state_file(socket: &Path) -> PathBuf {
    socket.with_file_name("steer.state")
}

fn announce(mode: &str, reason: Option<&str>, kernel: Option<&Engaged>) {
    match (reason, kernel) {
        (_, Some(kernel)) => {
            let interfaces: Vec<String> = kernel
                .attached()
                .iter()
                .map(|(name, place)| format!("{name} ({})", place.as_str()))
                .collect();
            tracing::info!(mode, interfaces = interfaces.join(", "), "steering");
        }
        (Some(reason), None) => tracing::info!(mode, reason, "steering"),
        (None, None) => tracing::info!(mode, "steering"),
    }
}

/// Brings the kernel's table from one plan to another.
fn write(
    kernel: &mut Engaged,
    before: &Assignment,
    after: &Assignment,
    zones: &HashMap<HostName, u32>,
    default_host: Option<&HostName>,
) -> Result<(), Unavailable> {
    let zone = |host: &HostName| zones.get(host).copied().unwrap_or(0);
    let mut outcome = Ok(());
    for host in before.0.keys().filter(|host| !after.0.contains_key(*host)) {
        outcome = kernel.own(host, &[], 0).and(outcome);
    }
    for (host, place) in &after.0 {
        let same = before
            .0
            .get(host)
            .is_some_and(|was| was.workers == place.workers);
        if !same {
            outcome = kernel.own(host, &place.workers, zone(host)).and(outcome);
        }
    }
    let nameless = default_host.and_then(|host| after.0.get(host));
    let nameless = nameless
        .map(|place| place.workers.as_slice())
        .unwrap_or_default();
    kernel
        .own_nameless(nameless, default_host.map_or(0, zone))
        .and(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> HostName {
        HostName::parse(text).unwrap()
    }

    fn count(host: &str, requests: u64) -> HostLoad {
        HostLoad {
            host: name(host),
            full: 0,
            resumed: 0,
            requests,
        }
    }

    #[test]
    fn loads_are_what_was_added_smoothed_and_forgotten_with_their_host() {
        let mut state = SteeringState {
            hosts: vec![name("a.example"), name("b.example")],
            ..SteeringState::default()
        };
        state.measure(&[count("a.example", 1_000_000)], 1.0);
        assert_eq!(
            state.loads[&name("a.example")],
            0.0,
            "what was before is not load"
        );
        let unit = count("a.example", 1).microseconds();
        state.measure(&[count("a.example", 1_001_000)], 2.0);
        let first = state.loads[&name("a.example")];
        let expected = SMOOTHING * f64::from(u32::try_from(unit * 500).unwrap());
        assert!((first - expected).abs() < 1e-6, "{first} {expected}");
        state.measure(&[count("a.example", 0)], 1.0);
        assert!(
            state.loads[&name("a.example")] < first,
            "counts that went back are nothing"
        );
        assert_eq!(state.loads[&name("b.example")], 0.0);
        state.hosts = vec![name("b.example")];
        state.measure(&[], 1.0);
        assert_eq!(state.loads.len(), 1);
        assert!(state.counted.is_empty());
    }
}
