//! `bench aims`: measures what the aims of the HTTP engine speak of, and says which are kept.
//!
//! Postern, the floor, nginx, HAProxy and, where it is installed, Envoy run in turns; an aim is a
//! ratio within one run. Progress goes to standard error, the table to standard output.

mod first_request;
mod table;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;

use crate::client::Kind;
use crate::compare::{Field, Plan, seconds};
use crate::idle;
use crate::peers::{Name, Settings};
use crate::report::{self, Comparison, Scenario};
use table::Row;

/// Who is measured.
const PEERS: [Name; 5] = [
    Name::Floor,
    Name::Postern,
    Name::Nginx,
    Name::Haproxy,
    Name::Envoy,
];
/// The rate of the open loop, in percent of what the slowest can do.
const LOAD: u16 = 70;
/// Seconds of each run that do not count yet, at most.
const WARM_UP_MAX: f64 = 0.5;
/// Bytes of an idle mTLS connection.
const IDLE_BYTES: f64 = 9_000.0;
/// A first request over TLS 1.3 in times of one over TLS 1.2.
const FIRST_REQUEST_TIMES: f64 = 1.5;

/// Arguments of `bench aims`.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Rounds of A-B-B-A
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Seconds of each run that count
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// Bytes of each body
    #[arg(long, default_value_t = 1 << 30, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    content: u64,
    /// Idle connections that are weighed; none skips it
    #[arg(long, default_value_t = 3_000)]
    idle: u32,
    /// Postern's binary [default: the one beside this program]
    #[arg(long)]
    postern: Option<PathBuf>,
    /// Write all numbers to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write a page (HTML) with tables and plots to this file
    #[arg(long)]
    html: Option<PathBuf>,
}

/// A ratio that is aimed for: Postern's CPU to that of another.
struct Aim {
    of: Name,
    at_most: f64,
}

const fn aim(of: Name, at_most: f64) -> Aim {
    Aim { of, at_most }
}

/// A kind of work, and what is aimed for.
struct Work {
    name: &'static str,
    kind: Kind,
    certificate: bool,
    connections: usize,
    load: bool,
    aims: &'static [Aim],
}

const fn work(name: &'static str, kind: Kind, connections: usize, aims: &'static [Aim]) -> Work {
    Work {
        name,
        kind,
        certificate: matches!(kind, Kind::Handshakes | Kind::Resumed),
        connections,
        load: false,
        aims,
    }
}

/// The table of aims, as far as it is ratios of CPU time.
const WORK: &[Work] = &[
    work(
        "keep-alive, 2 connections",
        Kind::Keepalive,
        2,
        &[aim(Name::Nginx, 1.0)],
    ),
    work(
        "keep-alive, 8 connections",
        Kind::Keepalive,
        8,
        &[
            aim(Name::Floor, 1.2),
            aim(Name::Nginx, 0.85),
            aim(Name::Haproxy, 0.85),
        ],
    ),
    Work {
        load: true,
        ..work(
            "keep-alive, 64 connections",
            Kind::Keepalive,
            64,
            &[
                aim(Name::Floor, 1.2),
                aim(Name::Nginx, 0.85),
                aim(Name::Haproxy, 0.85),
            ],
        )
    },
    work(
        "keep-alive, 256 connections",
        Kind::Keepalive,
        256,
        &[
            aim(Name::Floor, 1.3),
            aim(Name::Nginx, 0.85),
            aim(Name::Haproxy, 0.85),
        ],
    ),
    work(
        "HTTP/2, 4 × 16 streams, to HTTP/1.1",
        Kind::H2,
        64,
        &[aim(Name::Haproxy, 0.95), aim(Name::Nginx, 0.7)],
    ),
    work(
        "gRPC unary, 4 × 16 streams",
        Kind::Grpc,
        64,
        &[aim(Name::Nginx, 0.8), aim(Name::Envoy, 0.4)],
    ),
    work(
        "full mTLS handshake and a request",
        Kind::Handshakes,
        16,
        &[aim(Name::Nginx, 0.20), aim(Name::Envoy, 0.6)],
    ),
    work(
        "resumed with certificate, a request",
        Kind::Resumed,
        16,
        &[aim(Name::Nginx, 0.20), aim(Name::Envoy, 0.55)],
    ),
    work("bodies down", Kind::Download, 4, &[aim(Name::Nginx, 1.0)]),
    work("bodies up", Kind::Upload, 4, &[aim(Name::Nginx, 1.0)]),
];

/// Everything that `bench aims` found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The table.
    pub aims: Vec<Row>,
    /// What it comes from.
    pub comparison: Comparison,
}

/// Runs it. That an aim is not kept is no failure.
///
/// # Errors
/// A proxy does not work, or failed requests: such numbers are not to be believed.
pub async fn run(arguments: Arguments) -> Result<()> {
    let begun = Instant::now();
    let settings = Settings {
        postern: arguments.postern.clone(),
        equal_headers: false,
    };
    let field = Field::make(&PEERS, &settings).await?;
    let mut rows = Vec::new();
    let mut scenarios = Vec::new();
    for (work, number) in WORK.iter().zip(1..) {
        let steps = WORK.len() + 2;
        eprintln!(
            "[{number}/{steps}, {:.0} s] {}",
            begun.elapsed().as_secs_f64(),
            work.name
        );
        let plan = Plan {
            kind: work.kind,
            certificate: work.certificate,
            connections: work.connections,
            streams: 16,
            content: arguments.content,
            rounds: arguments.rounds,
            seconds: arguments.seconds,
            warm_up: arguments.seconds.min(WARM_UP_MAX),
            load: if work.load { vec![LOAD] } else { Vec::new() },
        };
        let scenario = field.measure(&plan).await?;
        eprint!("{}", report::text::scenario(&scenario));
        rows.extend(ratios(work, &scenario));
        if work.load {
            rows.push(tail(&scenario)?);
        }
        scenarios.push(scenario);
    }
    let steps = WORK.len() + 2;
    eprintln!(
        "[{}/{steps}] the first request of a client with Nagle on",
        steps - 1
    );
    rows.push(first_request(&field)?);
    let comparison = field.comparison(scenarios, false);
    drop(field);
    if arguments.idle > 0 {
        eprintln!("[{steps}/{steps}] {} idle connections", arguments.idle);
        let (postern, place) = (arguments.postern.clone(), comparison.place);
        let weighed = idle::weigh(arguments.idle, idle::Mode::Require, postern, place);
        let bytes = Box::pin(weighed).await?.postern_slope;
        rows.push(Row::new(
            "memory of an idle mTLS connection",
            "kB",
            IDLE_BYTES / 1e3,
            bytes / 1e3,
        ));
    }
    println!("{}", report::text::ground(&comparison));
    print!("{}", table::text(&rows));
    let failures = comparison.failures();
    if let Some(path) = &arguments.html {
        report::write(path, &report::html::page(&comparison))?;
    }
    if let Some(path) = &arguments.json {
        let report = Report {
            aims: rows,
            comparison,
        };
        report::write(path, &serde_json::to_string_pretty(&report)?)?;
    }
    match failures {
        0 => Ok(()),
        count => bail!("{count} requests failed: see the lines with `!` above"),
    }
}

fn ratios(work: &Work, scenario: &Scenario) -> Vec<Row> {
    let postern = scenario
        .peers
        .iter()
        .find(|peer| peer.name == Name::Postern);
    let row = |aim: &Aim| {
        let of = format!("of {}", aim.of.as_str());
        let ratio = postern.and_then(|peer| peer.of.get(&aim.of));
        match ratio {
            Some(ratio) => Row {
                range: Some((ratio.min, ratio.max)),
                ..Row::new(work.name, &of, aim.at_most, ratio.median)
            },
            None => Row::unknown(work.name, &of, aim.at_most),
        }
    };
    work.aims.iter().map(row).collect()
}

/// p99.9 beside that of the best other proxy.
fn tail(scenario: &Scenario) -> Result<Row> {
    let p999 = |name: Name| {
        let peer = scenario.peers.iter().find(|peer| peer.name == name)?;
        Some(peer.open_loop.last()?.p999_ns.median)
    };
    let ours = p999(Name::Postern).context("Postern was not measured")?;
    let others = [Name::Nginx, Name::Haproxy, Name::Envoy]
        .into_iter()
        .filter_map(p999);
    let best = others.fold(f64::INFINITY, f64::min);
    let name = "p99.9 at 70 % of the slowest, 64 connections";
    Ok(if best.is_finite() {
        Row::new(name, "of the best", 1.0, ours / best)
    } else {
        Row::unknown(name, "of the best", 1.0)
    })
}

fn first_request(field: &Field) -> Result<Row> {
    let postern = field.peer(Name::Postern).context("Postern does not run")?;
    let (new, old) = first_request::medians(postern.open)?;
    let ratio = new.as_secs_f64() / old.as_secs_f64().max(1e-9);
    let name = "first request over TLS 1.3, Nagle on";
    Ok(Row::new(name, "of TLS 1.2", FIRST_REQUEST_TIMES, ratio))
}
