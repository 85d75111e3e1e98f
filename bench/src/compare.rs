//! `bench compare`: the same work for each proxy, in turns.
//!
//! All proxies run all the time; one has work. A round is A-B-C-C-B-A, so that a machine that
//! gets slower or faster meanwhile does so for all of them.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::client::{Kind, Outcome, Pace, Target, Work, run as run_work};
use crate::machine::{self, Machine, Placement};
use crate::peers::{Name, Peer, Settings};
use crate::report::{self, Comparison, Measured, OpenLoop, Scenario};
use crate::world::{GRPC_PATH, World};

/// Arguments of `bench compare`.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// What one operation is; several with commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "keepalive")]
    mode: Vec<Kind>,
    /// Clients with a certificate (the proxy requires it), without (it does not ask), or both
    #[arg(long, value_enum, default_value = "both")]
    certificate: Certificate,
    /// Requests at once: connections, or over HTTP/2 streams of all connections; several with commas
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "64",
        value_parser = clap::value_parser!(u16).range(1..=4096)
    )]
    connections: Vec<u16>,
    /// Streams on each HTTP/2 connection
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=100))]
    streams: u16,
    /// Bytes of the contents of `--mode download` and `upload`
    #[arg(long, default_value_t = 1 << 30, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    content: u64,
    /// Rounds of A-B-B-A
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Seconds of each run that count
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    seconds: f64,
    /// Seconds of each run that do not count yet
    #[arg(long, default_value_t = 0.5, value_parser = seconds)]
    warm_up: f64,
    /// Open-loop rates, in percent of what the slowest proxy could do; empty for none
    #[arg(long, default_value = "50,70", value_parser = percents)]
    load: Percents,
    /// Who takes part; those that are not installed are left out with a word
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "floor,postern,nginx,haproxy,envoy,pingora,caddy"
    )]
    peers: Vec<Name>,
    /// nginx and HAProxy add the forwarding headers and the request id that Postern always adds
    #[arg(long)]
    equal_headers: bool,
    /// Postern's binary [default: the one beside this program]
    #[arg(long)]
    postern: Option<PathBuf>,
    /// Write all numbers to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write a plot (SVG) to this file
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Write a page (HTML) with tables and plots to this file
    #[arg(long)]
    html: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
enum Certificate {
    With,
    Without,
    Both,
}

/// Seconds within reason.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    let value: f64 = text
        .parse()
        .map_err(|why| format!("`{text}` is not a number of seconds: {why}"))?;
    let reasonable = (0.0..=3600.0).contains(&value);
    reasonable
        .then_some(value)
        .ok_or_else(|| format!("{text} is not between 0 and 3600 seconds"))
}

/// Rates of the open loop.
#[derive(Debug, Clone, Default)]
struct Percents(Vec<u16>);

fn percents(text: &str) -> Result<Percents, String> {
    let parts = text.split(',').filter(|part| !part.trim().is_empty());
    parts.map(percent).collect::<Result<_, _>>().map(Percents)
}

fn percent(text: &str) -> Result<u16, String> {
    let value: u16 = text
        .parse()
        .map_err(|why| format!("`{text}` is not a number of percent: {why}"))?;
    let reasonable = (1..=150).contains(&value);
    reasonable
        .then_some(value)
        .ok_or_else(|| format!("{text} is not between 1 and 150 percent"))
}

/// Runs it.
///
/// # Errors
/// A proxy does not work, or failed requests: such numbers are not to be believed.
pub async fn run(arguments: Arguments) -> Result<()> {
    let settings = Settings {
        postern: arguments.postern.clone(),
        equal_headers: arguments.equal_headers,
    };
    let field = Field::make(&arguments.peers, &settings).await?;
    let certificates: &[bool] = match arguments.certificate {
        Certificate::With => &[true],
        Certificate::Without => &[false],
        Certificate::Both => &[false, true],
    };
    let mut scenarios = Vec::new();
    for kind in &arguments.mode {
        for certificate in certificates {
            for connections in &arguments.connections {
                let plan = Plan {
                    kind: *kind,
                    certificate: *certificate,
                    connections: (*connections).into(),
                    streams: arguments.streams.into(),
                    content: arguments.content,
                    rounds: arguments.rounds,
                    seconds: arguments.seconds,
                    warm_up: arguments.warm_up,
                    load: arguments.load.0.clone(),
                };
                let scenario = field.measure(&plan).await?;
                print!("{}", report::text::scenario(&scenario));
                scenarios.push(scenario);
            }
        }
    }
    let comparison = field.comparison(scenarios, arguments.equal_headers);
    println!("{}", report::text::ground(&comparison));
    if let Some(path) = &arguments.json {
        report::write(path, &serde_json::to_string_pretty(&comparison)?)?;
    }
    if let Some(path) = &arguments.plot {
        report::write(path, &report::svg::comparison(&comparison))?;
    }
    if let Some(path) = &arguments.html {
        report::write(path, &report::html::page(&comparison))?;
    }
    match comparison.failures() {
        0 => Ok(()),
        count => bail!("{count} requests failed: see the lines with `!` above"),
    }
}

/// Why a proxy does not take part.
fn left_out(name: Name) -> String {
    let why = format!("{} is not installed and left out", name.as_str());
    match name.brought_by() {
        Some(command) => format!("{why}: `{command}` brings it"),
        None => why,
    }
}

/// The proxies, running, and what they stand on.
pub(crate) struct Field {
    machine: Machine,
    place: Placement,
    // Before the world, so that the processes end before their directory does.
    peers: Vec<Peer>,
    world: World,
}

impl Field {
    /// Starts the proxies that are installed, and keeps this thread on the client's CPU.
    pub(crate) async fn make(names: &[Name], settings: &Settings) -> Result<Self> {
        let machine = Machine::describe();
        let place = Placement::choose();
        if place.proxy.is_none() {
            eprintln!("one CPU only: client and proxies share it, and latencies mean little");
        }
        // The origins' threads pin themselves; this thread is the client.
        let world = World::make(place.client)?;
        let mut peers = Vec::new();
        for name in names {
            match Peer::start(*name, &world, settings, place).await? {
                Some(peer) => peers.push(peer),
                None => eprintln!("{}", left_out(*name)),
            }
        }
        if peers.is_empty() {
            bail!("there is nobody to compare");
        }
        if let Some(cpu) = place.client {
            machine::pin(cpu)?;
        }
        Ok(Self {
            machine,
            place,
            peers,
            world,
        })
    }

    /// One scenario: the closed loop, then the open loop at each rate, in turns.
    pub(crate) async fn measure(&self, plan: &Plan) -> Result<Scenario> {
        let peers: Vec<&Peer> = self
            .peers
            .iter()
            .filter(|peer| peer.name.does(plan.kind))
            .collect();
        let closed = self.turns(plan, &peers, Pace::Closed).await?;
        let mut measured: Vec<Measured> = peers
            .iter()
            .zip(closed)
            .map(|(peer, runs)| Measured::new(peer.name, peer.version.clone(), runs))
            .collect();
        let slowest = measured
            .iter()
            .map(|peer| peer.rate.median)
            .fold(f64::INFINITY, f64::min);
        // Contents that come one after the other have no rate that could be kept.
        let load = plan.load.iter().filter(|_| !plan.kind.counts_bytes());
        for percent in load {
            let rate = (slowest * f64::from(*percent) / 100.0).max(1.0);
            let open = self.turns(plan, &peers, Pace::Open(rate)).await?;
            for (peer, runs) in measured.iter_mut().zip(open) {
                peer.open_loop.push(OpenLoop::new(*percent, rate, runs));
            }
        }
        report::relate(&mut measured);
        Ok(Scenario {
            mode: plan.kind,
            certificate: plan.certificate,
            at_once: plan.connections,
            connections: plan.connections(),
            streams: if plan.kind.is_h2() { plan.streams } else { 1 },
            content: plan.kind.counts_bytes().then_some(plan.content),
            rounds: plan.rounds.into(),
            seconds: plan.seconds,
            peers: measured,
        })
    }

    /// What was measured here.
    pub(crate) fn comparison(&self, scenarios: Vec<Scenario>, equal_headers: bool) -> Comparison {
        let version = |peer: &Peer| (peer.name, peer.version.clone());
        Comparison {
            machine: self.machine.clone(),
            place: self.place,
            versions: self.peers.iter().map(version).collect(),
            equal_headers,
            scenarios,
        }
    }

    /// The proxy of that name, if it takes part.
    pub(crate) fn peer(&self, name: Name) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.name == name)
    }

    /// All rounds; each peer's runs in its place.
    async fn turns(&self, plan: &Plan, peers: &[&Peer], pace: Pace) -> Result<Vec<Vec<Outcome>>> {
        let mut outcomes = vec![Vec::new(); peers.len()];
        for _ in 0..plan.rounds {
            let there: Vec<_> = peers.iter().zip(0..).collect();
            let back = there.iter().rev();
            for (peer, index) in there.iter().chain(back) {
                let outcome = self.one(plan, peer, pace).await?;
                if let Some(runs) = outcomes.get_mut::<usize>(*index) {
                    runs.push(outcome);
                }
            }
        }
        Ok(outcomes)
    }

    async fn one(&self, plan: &Plan, peer: &Peer, pace: Pace) -> Result<Outcome> {
        let (address, host) = peer.face(plan.certificate, plan.kind);
        let tls = self
            .world
            .client(host, plan.certificate, plan.kind.is_h2())?;
        let path = match plan.kind {
            Kind::Grpc => format!("{GRPC_PATH}Unary"),
            Kind::Download => format!("/bytes/{}", plan.content),
            _ => "/".to_owned(),
        };
        let work = Work {
            target: Target {
                address,
                tls: Some(Rc::new(tls)),
                authority: host.to_owned(),
                path,
            },
            kind: plan.kind,
            pace,
            connections: plan.connections(),
            streams: plan.streams,
            content: plan.content,
            warm_up: Duration::from_secs_f64(plan.warm_up),
            duration: Duration::from_secs_f64(plan.seconds),
        };
        let pid = peer.pid();
        let outcome = run_work(work, &|| machine::cpu_time(pid)).await;
        outcome.with_context(|| format!("measuring {}", peer.name.as_str()))
    }
}

/// What a scenario is to be.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    pub(crate) certificate: bool,
    /// Requests at once.
    pub(crate) connections: usize,
    /// Streams on each HTTP/2 connection.
    pub(crate) streams: usize,
    /// Bytes of a content that is what counts.
    pub(crate) content: u64,
    pub(crate) rounds: u16,
    pub(crate) seconds: f64,
    pub(crate) warm_up: f64,
    /// Open-loop rates in percent.
    pub(crate) load: Vec<u16>,
}

impl Plan {
    fn connections(&self) -> usize {
        if self.kind.is_h2() {
            self.connections.div_ceil(self.streams)
        } else {
            self.connections
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_load_is_none() {
        assert!(percents("").unwrap().0.is_empty());
        assert_eq!(percents("50,70").unwrap().0, [50, 70]);
        assert!(percents("0").is_err());
        assert!(percents("50,x").is_err());
    }
}
