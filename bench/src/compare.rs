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
use crate::world::World;

/// Arguments of `bench compare`.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// What one operation is; several with commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "keepalive")]
    mode: Vec<Kind>,
    /// Clients with a certificate (the proxy requires it), without (it does not ask), or both
    #[arg(long, value_enum, default_value = "both")]
    certificate: Certificate,
    /// Requests at once: connections, or with `--mode h2` streams of all connections
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// Streams on each HTTP/2 connection
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=100))]
    streams: u16,
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
    #[arg(long, value_delimiter = ',', default_value = "50,70", value_parser = percent)]
    load: Vec<u16>,
    /// Who takes part; those that are not installed are left out with a word
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "postern,nginx,haproxy,envoy,caddy"
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
    let machine = Machine::describe();
    let place = Placement::choose();
    if place.proxy.is_none() {
        eprintln!("one CPU only: client and proxies share it, and latencies mean little");
    }
    // The origin's thread pins itself; this thread is the client.
    let world = World::make(place.client)?;
    let peers = start(&arguments, &world, place).await?;
    if let Some(cpu) = place.client {
        machine::pin(cpu)?;
    }
    let certificates: &[bool] = match arguments.certificate {
        Certificate::With => &[true],
        Certificate::Without => &[false],
        Certificate::Both => &[false, true],
    };
    let mut scenarios = Vec::new();
    for kind in &arguments.mode {
        for certificate in certificates {
            let measure = Measure {
                arguments: &arguments,
                world: &world,
                kind: *kind,
                certificate: *certificate,
            };
            let scenario = measure.scenario(&peers).await?;
            print!("{}", report::text::scenario(&scenario));
            scenarios.push(scenario);
        }
    }
    let comparison = Comparison {
        machine,
        place,
        equal_headers: arguments.equal_headers,
        scenarios,
    };
    println!("{}", report::text::ground(&comparison));
    if let Some(path) = &arguments.json {
        report::write(path, &serde_json::to_string_pretty(&comparison)?)?;
    }
    if let Some(path) = &arguments.plot {
        report::write(path, &report::svg::comparison(&comparison))?;
    }
    match comparison.failures() {
        0 => Ok(()),
        count => bail!("{count} requests failed: see the lines with `!` above"),
    }
}

async fn start(arguments: &Arguments, world: &World, place: Placement) -> Result<Vec<Peer>> {
    let settings = Settings {
        postern: arguments.postern.clone(),
        equal_headers: arguments.equal_headers,
    };
    let mut peers = Vec::new();
    for name in &arguments.peers {
        match Peer::start(*name, world, &settings, place).await? {
            Some(peer) => peers.push(peer),
            None => eprintln!("{} is not installed and left out", name.as_str()),
        }
    }
    if peers.is_empty() {
        bail!("there is nobody to compare");
    }
    Ok(peers)
}

/// One scenario being measured.
struct Measure<'a> {
    arguments: &'a Arguments,
    world: &'a World,
    kind: Kind,
    certificate: bool,
}

impl Measure<'_> {
    async fn scenario(&self, peers: &[Peer]) -> Result<Scenario> {
        let closed = self.turns(peers, Pace::Closed).await?;
        let mut measured: Vec<Measured> = peers
            .iter()
            .zip(closed)
            .map(|(peer, runs)| Measured::new(peer.name, peer.version.clone(), runs))
            .collect();
        let slowest = measured
            .iter()
            .map(|peer| peer.rate.median)
            .fold(f64::INFINITY, f64::min);
        for percent in &self.arguments.load {
            let rate = (slowest * f64::from(*percent) / 100.0).max(1.0);
            let open = self.turns(peers, Pace::Open(rate)).await?;
            for (peer, runs) in measured.iter_mut().zip(open) {
                peer.open_loop.push(OpenLoop::new(*percent, rate, runs));
            }
        }
        report::relate(&mut measured);
        let streams = if self.kind == Kind::H2 {
            self.streams()
        } else {
            1
        };
        Ok(Scenario {
            mode: self.kind,
            certificate: self.certificate,
            connections: self.connections(),
            streams,
            rounds: self.arguments.rounds.into(),
            seconds: self.arguments.seconds,
            peers: measured,
        })
    }

    /// All rounds; each peer's runs in its place.
    async fn turns(&self, peers: &[Peer], pace: Pace) -> Result<Vec<Vec<Outcome>>> {
        let mut outcomes = vec![Vec::new(); peers.len()];
        for _ in 0..self.arguments.rounds {
            let there: Vec<_> = peers.iter().zip(0..).collect();
            let back = there.iter().rev();
            for (peer, index) in there.iter().chain(back) {
                let outcome = self.one(peer, pace).await?;
                if let Some(runs) = outcomes.get_mut::<usize>(*index) {
                    runs.push(outcome);
                }
            }
        }
        Ok(outcomes)
    }

    async fn one(&self, peer: &Peer, pace: Pace) -> Result<Outcome> {
        let (address, host) = peer.face(self.certificate);
        let tls = self
            .world
            .client(host, self.certificate, self.kind == Kind::H2)?;
        let work = Work {
            target: Target {
                address,
                tls: Some(Rc::new(tls)),
                authority: host.to_owned(),
                path: "/".to_owned(),
            },
            kind: self.kind,
            pace,
            connections: self.connections(),
            streams: self.streams(),
            warm_up: Duration::from_secs_f64(self.arguments.warm_up),
            duration: Duration::from_secs_f64(self.arguments.seconds),
        };
        let pid = peer.pid();
        let outcome = run_work(work, &|| machine::cpu_time(pid)).await;
        outcome.with_context(|| format!("measuring {}", peer.name.as_str()))
    }

    fn connections(&self) -> usize {
        let asked = usize::from(self.arguments.connections);
        match self.kind {
            Kind::H2 => asked.div_ceil(self.streams()),
            _ => asked,
        }
    }

    fn streams(&self) -> usize {
        self.arguments.streams.into()
    }
}
