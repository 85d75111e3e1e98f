//! The helm: who steers, who owns which host now, and why.
//!
//! Chooses between kernel, hand-over and nothing at the start; from then on keeps two tables at what
//! [`super::balance`] plans, the kernel's and the workers'. Runs on the control plane's thread: workers only read
//! what it publishes. A table of the kernel's that cannot be written is no reason to stop: the workers' own table
//! decides then.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ebpf::hello::host_key;
use ebpf::{Decided, Door, Owners, Traced};

use super::balance::{Assignment, Demand, Occasion, Place, plan};
use super::door::{Block, door};
use super::engage::{Engaged, engage};
use super::ownership::ends;
use super::{Owned, Ownership, Placed, Unavailable, cookies};
use crate::observe::{HostLoad, SteeredHost, SteeringStatus, TracedConnection};
use config::{Config, Pins, SteerMode, Tunables};
use rules::Network;
use snapshot::Snapshot;
use vocabulary::hostname::HostName;

/// Why `auto` leaves everything to chance on a small machine.
const ONE_WORKER: &str = "there is one worker, which serves every host";

/// Part of a new measurement in the load that is planned with: a burst of one round moves nothing.
const SMOOTHING: f64 = 0.3;

/// Who steers, and who owns what.
#[derive(Debug)]
pub struct Helm {
    mode: &'static str,
    reason: Option<String>,
    workers: usize,
    owned: Arc<Owned>,
    course: Mutex<Course>,
}

/// What changes while the gateway runs.
#[derive(Debug, Default)]
struct Course {
    kernel: Option<Engaged>,
    assignment: Assignment,
    default_host: Option<HostName>,
    pins: Pins,
    hosts: Vec<HostName>,
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
    door: Option<Door>,
    blocks: BTreeSet<Block>,
    /// Whether somebody reads traces, and one of how many.
    trace_every: u32,
    /// The kernel's table is not what it should be.
    complained: bool,
}

impl Helm {
    /// Decides who steers, and lets the kernel begin where it does. Answers the helm and what the workers need
    /// to see the kernel's doing.
    ///
    /// # Errors
    /// The kernel is to steer, by configuration, and cannot.
    pub fn take(
        config: &Config,
        listeners: &[Vec<OwnedFd>],
        owned: Arc<Owned>,
    ) -> Result<(Self, Placed), Unavailable> {
        let state = state_file(&config.admin_socket);
        cookies::recover(&state);
        let workers = listeners.len();
        let (mode, reason, kernel) = match config.steer_mode {
            SteerMode::Off => ("off", None, None),
            SteerMode::Handoff | SteerMode::Auto if workers == 1 => {
                ("off", Some(ONE_WORKER.to_owned()), None)
            }
            SteerMode::Handoff => ("handoff", None, None),
            SteerMode::Kernel => {
                let kernel = begin(listeners, config, &state)?;
                ("kernel", None, Some(kernel))
            }
            SteerMode::Auto => match begin(listeners, config, &state) {
                Ok(kernel) => ("kernel", None, Some(kernel)),
                Err(reason) => ("handoff", Some(reason.to_string()), None),
            },
        };
        let (kernel, placed) = kernel.unzip();
        announce(mode, reason.as_deref(), kernel.as_ref());
        let helm = Self {
            mode,
            reason,
            workers,
            owned,
            course: Mutex::new(Course {
                kernel,
                pins: config.pins.clone(),
                ..Course::default()
            }),
        };
        Ok((helm, placed.unwrap_or_default()))
    }

    /// Whether hosts have owners at all.
    #[must_use]
    pub fn steers(&self) -> bool {
        self.mode != "off"
    }

    /// Takes the hosts of a snapshot, and the workers that live.
    pub fn hosts(&self, snapshot: &Snapshot, alive: &[bool]) {
        if !self.steers() {
            return;
        }
        let mut course = self.lock();
        course.hosts = snapshot
            .hosts
            .iter()
            .map(|host| host.name().clone())
            .collect();
        let before = std::mem::take(&mut course.zones);
        for host in &snapshot.hosts {
            let zone = course.zone_number(&host.zone_id);
            course.zones.insert(host.name().clone(), zone);
            if before
                .get(host.name())
                .is_some_and(|before| *before != zone)
            {
                // To be written anew, with its new zone's number.
                course.assignment.0.remove(host.name());
            }
        }
        course.default_host = snapshot
            .default_host
            .as_ref()
            .map(|host| host.name().clone());
        self.apply(&mut course, alive, Occasion::Change);
    }

    /// Takes other pins.
    pub fn pins(&self, pins: &Pins, alive: &[bool]) {
        let mut course = self.lock();
        if self.steers() && course.pins != *pins {
            course.pins.clone_from(pins);
            self.apply(&mut course, alive, Occasion::Change);
        }
    }

    /// Workers died or came back.
    pub fn workers(&self, alive: &[bool]) {
        if self.steers() {
            self.apply(&mut self.lock(), alive, Occasion::Change);
        }
    }

    /// A round of balancing, `seconds` after the last one. `counts` are what all workers counted since they
    /// started.
    pub fn round(&self, counts: &[HostLoad], seconds: f64, alive: &[bool], balance: bool) {
        if !self.steers() || seconds <= 0.0 {
            return;
        }
        let mut course = self.lock();
        course.measure(counts, seconds);
        if balance {
            self.apply(&mut course, alive, Occasion::Round);
        }
    }

    fn apply(&self, course: &mut Course, alive: &[bool], occasion: Occasion) {
        let nobody = Vec::new();
        let demands: Vec<Demand<'_>> = course
            .hosts
            .iter()
            .map(|host| Demand {
                host,
                load: course.loads.get(host).copied().unwrap_or(0.0),
                pinned: course.pins.get(host).unwrap_or(&nobody),
            })
            .collect();
        let after = plan(&course.assignment, &demands, alive, occasion);
        if let Some(kernel) = &mut course.kernel {
            let written = write(
                kernel,
                &course.assignment,
                &after,
                &course.zones,
                course.default_host.as_ref(),
            );
            if let Err(error) = written
                && !std::mem::replace(&mut course.complained, true)
            {
                tracing::warn!(%error, "the kernel's table of hosts is incomplete: workers hand over");
            }
        }
        // A round knows the hosts of the plan before it, so the plans differ in owners only.
        let mut pairs = after.0.values().zip(course.assignment.0.values());
        let same = |(a, b): (&Place, &Place)| a.workers == b.workers;
        if occasion == Occasion::Round && pairs.all(same) {
            course.assignment = after;
            return;
        }
        let moved = after.0.iter().filter(|(host, place)| {
            let before = course.assignment.0.get(*host);
            before.is_some_and(|before| before.workers != place.workers)
        });
        for (host, place) in moved {
            tracing::info!(%host, workers = ?place.workers, "new connections go to other workers");
            course.moves += 1;
        }
        course.assignment = after;
        let owners = course.assignment.0.iter();
        let owners = owners.filter_map(|(host, place)| Some((host, Owners::of(&place.workers)?)));
        let table = Ownership::new(owners, course.default_host.as_ref());
        self.owned.publish(table);
    }

    /// Whether the kernel steers, and so can turn anybody away.
    #[must_use]
    pub fn has_door(&self) -> bool {
        self.mode == "kernel"
    }

    /// Turns away what the configuration says.
    pub fn door(&self, tunables: &Tunables) {
        let mut course = self.lock();
        let mut wanted = door(tunables, course.trace_every);
        // With hosts missing in the table, unknown would mean nothing.
        wanted.unknown_dropped &= u32::from(!course.complained);
        if course.door == Some(wanted) {
            return;
        }
        let Some(kernel) = &mut course.kernel else {
            return;
        };
        match kernel.steering().door(wanted) {
            Ok(()) => course.door = Some(wanted),
            Err(error) => tracing::warn!(%error, "the kernel's door stays as it was"),
        }
    }

    /// Turns away these networks, by zone, from now on.
    pub fn blocks(&self, networks: &BTreeMap<String, Vec<Network>>) {
        let mut course = self.lock();
        let mut after = BTreeSet::new();
        for (zone, networks) in networks {
            let zone = course.zone_number(zone);
            after.extend(
                networks
                    .iter()
                    .map(|(address, bits)| (zone, *address, *bits)),
            );
        }
        let before = std::mem::take(&mut course.blocks);
        if let Some(kernel) = &mut course.kernel {
            match kernel.steering().block(&before, &after) {
                Ok(0) => {
                    tracing::info!(networks = after.len(), "the kernel drops blocked addresses")
                }
                Ok(left_out) => {
                    tracing::warn!(
                        left_out,
                        "the kernel has no room for all blocked addresses: rules block the others"
                    );
                }
                Err(error) => tracing::warn!(%error, "the kernel does not take blocked addresses"),
            }
        }
        course.blocks = after;
    }

    /// Decisions since the last call, one of `every`; 0 ends the tracing. `None` when the kernel does not steer.
    pub fn traced(&self, every: u32) -> Option<Vec<TracedConnection>> {
        let mut course = self.lock();
        let Course {
            kernel,
            door,
            hosts,
            trace_every,
            ..
        } = &mut *course;
        let steering = kernel.as_mut()?.steering();
        if *trace_every != every {
            *trace_every = every;
            let mut wanted = door.unwrap_or_default();
            wanted.trace_every = every;
            if steering.door(wanted).is_ok() {
                *door = Some(wanted);
            }
        }
        let events = steering.traced().ok()?;
        if events.is_empty() {
            return Some(Vec::new());
        }
        let names: HashMap<u64, &HostName> = hosts
            .iter()
            .map(|host| (host_key(host.as_str()), host))
            .collect();
        Some(events.iter().map(|event| named(event, &names)).collect())
    }

    /// What the helm says of itself; the programs' counters are read for it.
    #[must_use]
    pub fn status(&self) -> SteeringStatus {
        let course = self.lock();
        let kernel = course.kernel.as_ref();
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
            moves: course.moves,
            hosts: course
                .assignment
                .0
                .iter()
                .map(|(host, place)| SteeredHost {
                    host: host.clone(),
                    workers: place.workers.clone(),
                    pinned: course.pins.contains_key(host),
                    load: course.loads.get(host).copied().unwrap_or(0.0),
                    kernel: kernel.and_then(|kernel| {
                        kernel.counts(host, course.default_host.as_ref() == Some(host))
                    }),
                    came: None,
                })
                .collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Course> {
        // A panic elsewhere leaves at worst an older plan, which the next one replaces.
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An event in the names of this gateway.
fn named(event: &Traced, names: &HashMap<u64, &HostName>) -> TracedConnection {
    let host = names
        .get(&event.host)
        .or_else(|| names.get(&event.wildcard));
    let decided = usize::try_from(event.decided).ok();
    let decided = decided.and_then(|number| Decided::ALL.get(number).copied());
    let decided = decided.unwrap_or(Decided::ParseFailure);
    let (client, local) = ends(&event.flow);
    TracedConnection {
        client,
        local,
        host: host.map(|host| (*host).clone()),
        decided,
        worker: (decided == Decided::Steered).then_some(event.worker),
        dropped: event.dropped != 0,
    }
}

impl Course {
    fn zone_number(&mut self, zone: &str) -> u32 {
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
) -> Result<(Engaged, Placed), Unavailable> {
    let kernel = engage(
        listeners,
        &config.listen,
        &config.steer_interfaces,
        config.steer_synproxy,
        state,
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
        let mut course = Course {
            hosts: vec![name("a.example"), name("b.example")],
            ..Course::default()
        };
        course.measure(&[count("a.example", 1_000_000)], 1.0);
        assert_eq!(
            course.loads[&name("a.example")],
            0.0,
            "what was before is not load"
        );
        let unit = count("a.example", 1).microseconds();
        course.measure(&[count("a.example", 1_001_000)], 2.0);
        let first = course.loads[&name("a.example")];
        let expected = SMOOTHING * f64::from(u32::try_from(unit * 500).unwrap());
        assert!((first - expected).abs() < 1e-6, "{first} {expected}");
        course.measure(&[count("a.example", 0)], 1.0);
        assert!(
            course.loads[&name("a.example")] < first,
            "counts that went back are nothing"
        );
        assert_eq!(course.loads[&name("b.example")], 0.0);
        course.hosts = vec![name("b.example")];
        course.measure(&[], 1.0);
        assert_eq!(course.loads.len(), 1);
        assert!(course.counted.is_empty());
    }
}
