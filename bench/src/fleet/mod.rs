//! `bench fleet`: many edges of one fleet, on a real etcd on this machine, and when the last of them has a change in
//! force.
//!
//! Each edge is what an edge runs, but for the data path: a control plane with a store of its own, which takes
//! every entry of the log in one transaction, compiles it and publishes it; what says that the edge lives; and
//! what stands for leading. They run in one process, each with a connection of its own to etcd, so that their
//! CPU time is told apart from etcd's and from the writer's. The writer is one more edge. Changes come at an even
//! rate; all processes read the same monotonic clock.
//!
//! A thousand stores on one disk would wait for each other, as a thousand edges with a disk each do not: they are
//! in memory unless `--stores` says otherwise, and a commit costs no wait. With `--bare` edges are followers only,
//! without a store: what etcd and the way to it do.

mod edges;
mod run;
mod stages;
mod writer;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ::fleet::{Digest, Engine, Head, Log, Settings};
use anyhow::{Context, Result};
use clap::Args;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

pub use self::edges::{EdgeArguments, follow};
use self::writer::Contents;

use crate::compare::seconds;
use crate::machine::Machine;
use crate::report::write;

/// How long etcd, or what is asked of the edges, may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The fleet.
const NAME: &str = "bench";
/// What the edges say when they have all and are told of what comes.
const READY: &str = "ready";
/// What they say when every change but the last has come to all.
const ALL_BUT_ONE: &str = "all but one";
/// Where the log begins that is followed without stores.
const BEGIN: Head = Head {
    revision: 0,
    digest: Digest::NONE,
};

/// Arguments of `bench fleet`.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Edges, for each run
    #[arg(long, value_delimiter = ',', default_value = "100,300,1000", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    edges: Vec<u32>,
    /// Changes a second
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
    /// Seconds of each run
    #[arg(long, default_value_t = 20.0, value_parser = seconds)]
    seconds: f64,
    /// Seconds without a change before, for what edges cost then
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    idle: f64,
    #[command(flatten)]
    contents: Contents,
    /// Where the edges' stores are
    #[arg(long, value_name = "DIRECTORY", default_value = "/dev/shm")]
    stores: PathBuf,
    /// Threads that take changes, for all edges
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=512))]
    threads: u32,
    /// Followers without stores in the place of edges
    #[arg(long)]
    bare: bool,
    /// Bytes of a change, with --bare
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    bytes: u32,
    /// Relays between etcd and the edges: `etcd grpc-proxy`, with as many edges each
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=16))]
    relays: u8,
    /// etcd's binary
    #[arg(long, default_value = "etcd")]
    etcd: PathBuf,
    /// Write all numbers to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Of many durations, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Times {
    /// Half of them are no longer.
    pub p50_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// All.
    pub max_ms: f64,
}

impl Times {
    fn of(nanoseconds: impl Iterator<Item = u64>) -> Self {
        let mut nanoseconds: Vec<u64> = nanoseconds.collect();
        nanoseconds.sort_unstable();
        let at = |part: usize| {
            let index = (nanoseconds.len() * part).div_ceil(100).saturating_sub(1);
            nanoseconds
                .get(index)
                .map_or(0.0, |value| *value as f64 / 1e6)
        };
        Self {
            p50_ms: at(50),
            p99_ms: at(99),
            max_ms: at(100),
        }
    }
}

/// What one of the parts took.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Cost {
    /// The part of a core.
    pub core: f64,
    /// CPU time for an edge and change, in microseconds, with all that is done beside.
    pub us: f64,
    /// The part of a core while there was no change.
    pub idle_core: f64,
    /// CPU time for an edge and second while there was no change, in microseconds.
    pub idle_us: f64,
    /// Memory, in bytes.
    pub bytes: u64,
}

/// A run.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Edges.
    pub edges: u32,
    /// Changes that were made.
    pub changes: u64,
    /// Changes a second that came to be.
    pub rate: f64,
    /// From the begin of a change to etcd's answer that it is in the log.
    pub append: Times,
    /// From the begin of a change until it is acknowledged.
    pub acknowledge: Times,
    /// From etcd's answer until half of the edges have it in force.
    pub half: Times,
    /// From that answer until the last one has it in force.
    pub last: Times,
    /// etcd's.
    pub etcd: Cost,
    /// Of all relays.
    pub relays: Cost,
    /// Of all edges.
    pub followers: Cost,
    /// CPU time of the control plane of an edge for a change, in microseconds: its stages.
    pub stages: Vec<(&'static str, f64)>,
    /// The same, all of it.
    pub take_us: f64,
    /// Bytes that etcd's clients (its relays, if there are any) were sent for an edge and change, as etcd counts them.
    pub wire_bytes: f64,
    /// Bytes of etcd's file.
    pub etcd_file: u64,
    /// Bytes of all stores.
    pub stores: u64,
    /// From etcd's end, after which it was started at once, until the last edge had a change in force that was
    /// made then, in milliseconds.
    pub back_ms: f64,
}

/// Everything that `bench fleet` found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// What was measured, in etcd's words.
    pub etcd: String,
    /// Whether edges had no stores.
    pub bare: bool,
    /// Relays between etcd and the edges.
    pub relays: u8,
    /// One for each count of edges.
    pub runs: Vec<Run>,
}

/// Nanoseconds of the clock that all processes of a machine share.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default()
}

fn settings(url: &str) -> Result<Settings> {
    Ok(Settings {
        members: vec![url.parse()?],
        tls: None,
        user: None,
    })
}

fn log(url: &str, edge: &str) -> Result<Log> {
    Ok(Log::open(
        Engine::new(settings(url)?)?,
        &NAME.parse()?,
        edge,
    ))
}

/// Runs it.
///
/// # Errors
/// There is no etcd, or the edges do not follow.
pub async fn run(arguments: Arguments) -> Result<()> {
    let version = Command::new(&arguments.etcd).arg("--version").output();
    let version = version.with_context(|| format!("running {}", arguments.etcd.display()))?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let mut report = Report {
        machine: Machine::describe(),
        etcd: version.lines().next().unwrap_or_default().to_owned(),
        bare: arguments.bare,
        relays: arguments.relays,
        runs: Vec::new(),
    };
    println!("{:?}, {}", report.machine, report.etcd);
    for edges in arguments.edges.clone() {
        let run = run::one(&arguments, edges).await?;
        print!("{}", told(&run));
        report.runs.push(run);
    }
    println!(
        "committed: etcd's word that a change is in the log; µs: CPU time for an edge and a change, with all that \
         is done meanwhile; back: from etcd's end until the last edge has a change in force that was made after \
         etcd was started again"
    );
    if let Some(path) = &arguments.json {
        write(path, &serde_json::to_string_pretty(&report)?)?;
    }
    Ok(())
}

fn told(run: &Run) -> String {
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let times = |times: &Times| {
        format!(
            "p50 {:>7.1} ms, p99 {:>7.1} ms, longest {:>7.1} ms\n",
            times.p50_ms, times.p99_ms, times.max_ms
        )
    };
    let cost = |cost: &Cost| {
        format!(
            "{:.2} of a core, {:.1} µs; without changes {:.3} of a core, {:.0} µs an edge and second; {:.0} MiB\n",
            cost.core,
            cost.us,
            cost.idle_core,
            cost.idle_us,
            mebibytes(cost.bytes)
        )
    };
    let mut text = format!(
        "\n{} edges, {} changes, {:.2} a second\n",
        run.edges, run.changes, run.rate
    );
    text += "  begun → committed       ";
    text += &times(&run.append);
    text += "  begun → acknowledged    ";
    text += &times(&run.acknowledge);
    text += "  committed → at half     ";
    text += &times(&run.half);
    text += "  committed → at the last ";
    text += &times(&run.last);
    text += "  etcd      ";
    text += &cost(&run.etcd);
    if run.relays.bytes > 0 {
        text += "  relays    ";
        text += &cost(&run.relays);
    }
    text += "  edges     ";
    text += &cost(&run.followers);
    if run.stores > 0 {
        let stages: Vec<String> = run
            .stages
            .iter()
            .map(|(name, us)| format!("{name} {us:.0}"))
            .collect();
        text += &format!(
            "  of it     taking a change {:.0} µs: {}\n  stores    {:.0} MiB, {:.2} each\n",
            run.take_us,
            stages.join(", "),
            mebibytes(run.stores),
            mebibytes(run.stores) / f64::from(run.edges)
        );
    }
    text + &format!(
        "  sent      {:.0} bytes for an edge and change; etcd's file {:.0} MiB\n  back      {:.0} ms\n",
        run.wire_bytes,
        mebibytes(run.etcd_file),
        run.back_ms
    )
}
