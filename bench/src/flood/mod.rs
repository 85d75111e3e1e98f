//! `bench flood`: what an attacker costs, and what a visitor beside it notices.
//!
//! A fresh Postern for each attack, with default limits and its logs on. A visitor asks at an even
//! rate, first alone and then beside the attacker, which comes from another address: a table says
//! what became of the attacker, what the gateway spent, wrote and kept meanwhile, and the visitor's
//! p99. The attacker does not come again once it is closed. What the attacker costs itself and its
//! origin is not the gateway's: both give way to the visitor and to the visitor's own origin, as if they
//! were on other machines.

mod attacker;
mod attacks;
mod frames;
mod report;
mod target;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use serde::Serialize;

pub use attacker::Fate;

use crate::client::{Kind, Outcome, Pace, Work, run as run_work};
use crate::compare::seconds;
use crate::machine::{self, Machine, Placement};
use crate::report::write;
use crate::world::World;
use attacks::Attack;
use target::Gateway;

/// Connections of the visitor.
const VISITOR_CONNECTIONS: usize = 8;
/// How often the gateway's memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The part of an attack's time that the visitor is alone before it.
const ALONE: f64 = 0.25;

/// What a flood may cost.
pub(crate) mod bounds {
    /// Cores of the gateway, beyond what the visitor takes.
    pub(crate) const CORES: f64 = 0.1;
    /// Lines in the logs that tell neither of a request nor of a handshake.
    pub(crate) const LINES: u64 = 100;
    /// Bytes by which the gateway may grow.
    pub(crate) const GROWTH: u64 = 64 << 20;
    /// The visitor's p99 in times of what it is without the attacker.
    pub(crate) const P99_TIMES: f64 = 5.0;
}

/// Arguments of `bench flood`.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Seconds of each attack
    #[arg(long, default_value_t = 20.0, value_parser = seconds)]
    duration: f64,
    /// Only attacks whose names contain one of these; several with commas
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Requests a second of the visitor
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(10..=5000))]
    visits: u16,
    /// Postern's binary [default: the one beside this program]
    #[arg(long)]
    postern: Option<PathBuf>,
    /// Write all numbers to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// One attack, and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Flood {
    /// What was sent.
    pub name: &'static str,
    /// What became of the attacker.
    pub attacker: Fate,
    /// Cores that the gateway took before, for the visitor.
    pub cores_idle: f64,
    /// Cores that it took meanwhile.
    pub cores: f64,
    /// Lines in both logs, but for those that tell of a request or of a handshake.
    pub lines: u64,
    /// Lines about handshakes of the attacker, which failed.
    pub handshakes: u64,
    /// Lines about requests of the attacker.
    pub requests: u64,
    /// Of these, sent on to the origin.
    pub let_through: u64,
    /// Connections to the origin that were begun meanwhile.
    pub origin_connections: u64,
    /// Bytes by which the gateway grew at most.
    pub growth: u64,
    /// The visitor's p99 without the attacker, in nanoseconds.
    pub p99_idle_ns: u64,
    /// Beside it.
    pub p99_ns: u64,
    /// Visits that failed.
    pub failed: u64,
}

impl Flood {
    /// What is beyond its bound, in words.
    #[must_use]
    pub fn beyond(&self) -> Vec<&'static str> {
        let times = self.p99_ns as f64 / self.p99_idle_ns.max(1) as f64;
        let spare = VISITOR_CONNECTIONS as u64;
        [
            (self.cores - self.cores_idle > bounds::CORES, "CPU"),
            // A connection's handshake may have one.
            (
                self.lines > bounds::LINES || self.handshakes > self.attacker.opened as u64,
                "lines",
            ),
            (self.growth > bounds::GROWTH, "memory"),
            (times > bounds::P99_TIMES, "p99"),
            (
                self.origin_connections > self.let_through + spare,
                "origin connections",
            ),
            (self.failed > 0, "failed visits"),
        ]
        .into_iter()
        .filter_map(|(beyond, what)| beyond.then_some(what))
        .collect()
    }
}

/// Everything that `bench flood` found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// Seconds of each attack.
    pub duration_s: f64,
    /// One for each attack.
    pub floods: Vec<Flood>,
}

/// Runs it.
///
/// # Errors
/// The gateway does not work, or an attack cost more than it may.
pub async fn run(arguments: Arguments) -> Result<()> {
    let machine = Machine::describe();
    let asked = |attack: &Attack| {
        let name = attack.name;
        arguments.only.is_empty()
            || arguments
                .only
                .iter()
                .any(|only| name.contains(only.as_str()))
    };
    let attacks: Vec<Attack> = attacks::all().into_iter().filter(asked).collect();
    if attacks.is_empty() {
        let names: Vec<_> = attacks::all().iter().map(|attack| attack.name).collect();
        bail!("there is no such attack; there are {}", names.join(", "));
    }
    let place = Placement::choose();
    let world = World::for_attacks(place.client)?;
    if let Some(cpu) = place.client {
        machine::pin(cpu)?;
    }
    let mut floods = Vec::new();
    print!("{}", report::head());
    for attack in attacks {
        let name = attack.name;
        let flood = one(&arguments, &world, attack, place).await;
        let flood = flood.with_context(|| format!("attacking with {name}"))?;
        print!("{}", report::row(&flood));
        floods.push(flood);
    }
    print!("{}", report::foot());
    let beyond = floods
        .iter()
        .filter(|flood| !flood.beyond().is_empty())
        .count();
    if let Some(path) = &arguments.json {
        let report = Report {
            machine,
            duration_s: arguments.duration,
            floods,
        };
        write(path, &serde_json::to_string_pretty(&report)?)?;
    }
    match beyond {
        0 => Ok(()),
        count => bail!("{count} attacks cost more than they may"),
    }
}

async fn one(
    arguments: &Arguments,
    world: &World,
    attack: Attack,
    place: Placement,
) -> Result<Flood> {
    let name = attack.name;
    let gateway = Gateway::start(world, arguments.postern.clone(), place).await?;
    let duration = Duration::from_secs_f64(arguments.duration);
    let rate = f64::from(arguments.visits);
    let idle = visit(&gateway, world, rate, duration.mul_f64(ALONE)).await?;
    let (connections, lines) = (world.origin.connections(), gateway.lines().await?);
    let watch = Watch::start(gateway.pid())?;
    let attacking = attacker::start(attack, gateway.address, duration, place.client)?;
    let during = visit(&gateway, world, rate, duration).await?;
    while !attacking.is_finished() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let fate = attacking
        .join()
        .map_err(|_panic| anyhow!("the attacker panicked"))??;
    let growth = watch.stop()?;
    let after = gateway.lines().await?;
    let failed = crate::report::bad(&during);
    if failed > 0 {
        eprintln!(
            "{name}: {failed} visits failed: {:?}\n{}",
            during.errors,
            gateway.said()
        );
    }
    Ok(Flood {
        name,
        attacker: fate,
        cores_idle: idle.cpu_share(),
        cores: during.cpu_share(),
        lines: after.others.saturating_sub(lines.others),
        handshakes: after.handshakes,
        requests: after.requests,
        let_through: after.let_through,
        origin_connections: world.origin.connections() - connections,
        growth,
        p99_idle_ns: idle.latency.p99_ns,
        p99_ns: during.latency.p99_ns,
        failed,
    })
}

/// The visitor: requests at an even rate, wherever the attacker is.
async fn visit(gateway: &Gateway, world: &World, rate: f64, duration: Duration) -> Result<Outcome> {
    let work = Work {
        target: gateway.visit(world)?,
        kind: Kind::Keepalive,
        pace: Pace::Open(rate),
        connections: VISITOR_CONNECTIONS,
        streams: 1,
        content: 0,
        warm_up: Duration::ZERO,
        duration,
    };
    let pid = gateway.pid();
    run_work(work, &|| machine::cpu_time(pid)).await
}

/// Looks at the gateway's memory until it is told to stop.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64>>,
}

impl Watch {
    fn start(pid: u32) -> Result<Self> {
        let before = machine::memory(pid)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut most = before;
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK_EVERY);
                most = most.max(machine::memory(pid)?);
            }
            Ok(most - before)
        });
        Ok(Self { stop, thread })
    }

    /// By how much it grew.
    fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let outcome = self.thread.join();
        outcome.map_err(|_panic| anyhow!("watching the memory panicked"))?
    }
}
