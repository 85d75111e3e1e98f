//! Arguments, and how a run ends.
//!
//! Exit codes: 0 all is well, 1 something failed (or a measured system failed requests), 2 usage.
//! Ctrl-C and SIGTERM end the proxies and remove the directory before we go.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::{aims, compare, faults, fleet, flood, idle, load, machine, pages, relay, store};

/// Puts load on Postern, on its peers, or on any URL, and says what it cost.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Work(Work),
    /// The peer `floor` of `compare`, which runs in a process of its own
    #[command(hide = true)]
    Relay(relay::Arguments),
    /// An origin of `origin-faults`, which runs in a process of its own
    #[command(hide = true)]
    FaultOrigin(faults::OriginArguments),
    /// The edges of `fleet`, which run in a process of their own
    #[command(hide = true)]
    FleetEdges(fleet::EdgeArguments),
}

#[derive(Debug, Subcommand)]
enum Work {
    /// The same work for Postern, nginx and HAProxy in turns: CPU per request, latency
    Compare(compare::Arguments),
    /// The aims of the HTTP engine: measured, and kept or not
    Aims(aims::Arguments),
    /// Attacks on Postern, and what they cost it and a visitor
    Flood(flood::Arguments),
    /// What goes wrong with one of three origins, and how many requests fail behind Postern, nginx and
    /// HAProxy
    OriginFaults(faults::Arguments),
    /// What open pages of the dashboard cost while requests are refused
    Pages(pages::Arguments),
    /// What idle connections weigh in Postern, and what BoringSSL weighs of it
    Idle(idle::Arguments),
    /// Many edges of a fleet on one etcd: when the last of them has a change in force, and what it costs
    Fleet(fleet::Arguments),
    /// Put load on a URL
    Load(load::Arguments),
    /// A large store: start, list, issue
    Store(store::Arguments),
    /// The part of `idle` that runs in a process of its own
    #[command(hide = true)]
    SessionMemory(idle::SessionArguments),
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    match start(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(command: Command) -> Result<()> {
    machine::raise_descriptor_limit().context("raising the limit of open files")?;
    let command = match command {
        // It has a loop of its own, and ends by the signal itself.
        Command::Relay(arguments) => return relay::run(&arguments),
        Command::FaultOrigin(arguments) => return faults::serve(&arguments),
        Command::FleetEdges(arguments) => return fleet::follow(&arguments),
        Command::Work(command) => command,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            outcome = run(command) => outcome,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    })
}

async fn run(command: Work) -> Result<()> {
    match command {
        Work::Compare(arguments) => Box::pin(compare::run(arguments)).await,
        Work::Aims(arguments) => Box::pin(aims::run(arguments)).await,
        Work::Flood(arguments) => Box::pin(flood::run(arguments)).await,
        Work::OriginFaults(arguments) => Box::pin(faults::run(arguments)).await,
        Work::Pages(arguments) => Box::pin(pages::run(arguments)).await,
        Work::Idle(arguments) => Box::pin(idle::run(arguments)).await,
        Work::Fleet(arguments) => Box::pin(fleet::run(arguments)).await,
        Work::Load(arguments) => Box::pin(load::run(arguments)).await,
        Work::Store(arguments) => store::run(&arguments),
        Work::SessionMemory(arguments) => idle::session_memory(&arguments),
    }
}
