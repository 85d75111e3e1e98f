//! `bench idle`: what connections that do nothing weigh.
//!
//! A fresh Postern for each mTLS mode; connections are opened, have a request each, and stay.
//! Beside it, in a process of its own with the same allocator, `floor` makes as many handshakes
//! with nothing but `tls` and keeps the sessions: what BoringSSL itself needs. Memory is
//! user space only; socket buffers are the kernel's and the same for every proxy.

mod floor;
mod report;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

pub use floor::{SessionArguments, session_memory};

use crate::client::{Answer, Connection, Http2Connection, Target};
use crate::machine::{self, Machine, Placement};
use crate::peers::{Name, Peer, Settings};
use crate::report::write;
use crate::world::{OPEN_HOST, REQUEST_HOST, REQUIRE_HOST, World};

/// Descriptors that a process needs beside its connections.
const DESCRIPTORS_SPARE: u64 = 256;
/// Connections being opened at once.
const OPENING: usize = 32;
/// How long memory may take to come to rest after the last connection.
const REST_PATIENCE: Duration = Duration::from_secs(10);
/// Silence before memory is weighed.
const SETTLE: Duration = Duration::from_secs(8);
/// One connection of so many is asked again at the end, whether it is really there.
const ASKED_AGAIN_EVERY: usize = 50;

/// Arguments of `bench idle`.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Connections
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    count: u32,
    /// mTLS modes of the host; with `request` and `require` the client has a certificate
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "off,request,require"
    )]
    mode: Vec<Mode>,
    /// Requests that each connection makes before it does nothing
    #[arg(long, default_value_t = 1)]
    requests: u32,
    /// Over HTTP/2
    #[arg(long)]
    http2: bool,
    /// Postern's binary [default: the one beside this program]
    #[arg(long)]
    postern: Option<PathBuf>,
    /// Write all numbers to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// A host's mTLS mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// No certificate is asked for.
    Off,
    /// One is asked for, and sent.
    Request,
    /// One is required, and sent.
    Require,
}

impl Mode {
    /// As arguments and reports write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Request => "request",
            Self::Require => "require",
        }
    }

    fn host(self) -> &'static str {
        match self {
            Self::Off => OPEN_HOST,
            Self::Request => REQUEST_HOST,
            Self::Require => REQUIRE_HOST,
        }
    }

    fn has_certificate(self) -> bool {
        self != Self::Off
    }
}

/// Memory with so many connections.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Weight {
    /// Connections.
    pub count: u32,
    /// PSS of the process in bytes.
    pub bytes: u64,
}

/// One mode.
#[derive(Debug, Clone, Serialize)]
pub struct ModeReport {
    /// Which.
    pub mode: Mode,
    /// Postern, with more and more connections.
    pub postern: Vec<Weight>,
    /// Sessions alone, with more and more of them.
    pub sessions: Vec<Weight>,
    /// Bytes per connection in Postern.
    pub postern_slope: f64,
    /// Bytes per session.
    pub session_slope: f64,
    /// Postern's memory with all connections, less what their sessions alone need, in bytes.
    pub beyond: f64,
}

/// Everything that `bench idle` found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// Postern, in its own words.
    pub version: String,
    /// Requests on each connection before it did nothing.
    pub requests: u32,
    /// Whether they were over HTTP/2.
    pub http2: bool,
    /// One for each mode.
    pub modes: Vec<ModeReport>,
}

/// Runs it.
///
/// # Errors
/// The limit of open files is too low, or a connection does not stay.
pub async fn run(arguments: Arguments) -> Result<()> {
    let limit = machine::raise_descriptor_limit().context("raising the limit of open files")?;
    let needed = u64::from(arguments.count) + DESCRIPTORS_SPARE;
    if limit < needed {
        bail!(
            "{} connections need {needed} open files, and {limit} are allowed here; raise the \
             hard limit (as root: `ulimit -Hn {needed}`, or LimitNOFILE= of the service), or ask \
             for fewer with --count",
            arguments.count
        );
    }
    let place = Placement::choose();
    let mut report = Report {
        machine: Machine::describe(),
        version: String::new(),
        requests: arguments.requests,
        http2: arguments.http2,
        modes: Vec::new(),
    };
    for mode in &arguments.mode {
        let measured = one_mode(&arguments, *mode, place, &mut report.version).await;
        report
            .modes
            .push(measured.with_context(|| format!("mode {}", mode.as_str()))?);
    }
    print!("{}", report::text(&report));
    if let Some(path) = &arguments.json {
        write(path, &serde_json::to_string_pretty(&report)?)?;
    }
    Ok(())
}

/// Weighs so many connections of one mode that made a request each.
pub(crate) async fn weigh(
    count: u32,
    mode: Mode,
    postern: Option<PathBuf>,
    place: Placement,
) -> Result<ModeReport> {
    let arguments = Arguments {
        count,
        mode: vec![mode],
        requests: 1,
        http2: false,
        postern,
        json: None,
    };
    one_mode(&arguments, mode, place, &mut String::new()).await
}

async fn one_mode(
    arguments: &Arguments,
    mode: Mode,
    place: Placement,
    version: &mut String,
) -> Result<ModeReport> {
    let world = World::make(place.client)?;
    // The store has one owner at a time: the sessions first, then Postern.
    let steps = steps(arguments.count);
    let sessions = floor::in_a_process(&world, mode, &steps)?;
    let settings = Settings {
        postern: arguments.postern.clone(),
        equal_headers: false,
    };
    let peer = Peer::start(Name::Postern, &world, &settings, place).await?;
    let peer = peer.context("Postern is not there")?;
    version.clone_from(&peer.version);
    let target = Target {
        address: peer.open,
        tls: Some(Rc::new(world.client(
            mode.host(),
            mode.has_certificate(),
            arguments.http2,
        )?)),
        authority: mode.host().to_owned(),
        path: "/".to_owned(),
    };
    let mut connections = Vec::new();
    let mut postern = Vec::new();
    for step in &steps {
        open(
            &target,
            usize::try_from(*step)?,
            arguments,
            &mut connections,
        )
        .await?;
        postern.push(Weight {
            count: *step,
            bytes: at_rest(peer.pid()).await?,
        });
    }
    for connection in connections.iter_mut().step_by(ASKED_AGAIN_EVERY) {
        let answer = connection.exchange(&target).await;
        answer.context("a connection that should have been idle is gone")?;
    }
    let (postern_slope, session_slope) = (slope(&postern), slope(&sessions));
    let last = postern.last().map_or(0, |weight| weight.bytes);
    let beyond = last as f64 - session_slope * f64::from(arguments.count);
    Ok(ModeReport {
        mode,
        postern,
        sessions,
        postern_slope,
        session_slope,
        beyond,
    })
}

/// None, a fifth, half, all.
fn steps(count: u32) -> Vec<u32> {
    vec![0, count / 5, count / 2, count]
}

/// Opens connections until there are `count`.
async fn open(
    target: &Target,
    count: usize,
    arguments: &Arguments,
    connections: &mut Vec<Idle>,
) -> Result<()> {
    while connections.len() < count {
        let some = OPENING.min(count - connections.len());
        let mut opening = Vec::with_capacity(some);
        for _ in 0..some {
            opening.push(open_one(target, arguments));
        }
        for connection in join_all(opening).await {
            connections.push(connection?);
        }
    }
    Ok(())
}

/// One that does nothing most of the time.
enum Idle {
    Http1(Box<Connection>),
    Http2(Http2Connection),
}

impl Idle {
    async fn exchange(&mut self, target: &Target) -> Result<Answer> {
        match self {
            Self::Http1(connection) => connection.exchange(&target.request()).await,
            Self::Http2(connection) => connection.exchange(target).await,
        }
    }
}

async fn open_one(target: &Target, arguments: &Arguments) -> Result<Idle> {
    let mut connection = if arguments.http2 {
        Idle::Http2(Http2Connection::open(target).await?)
    } else {
        let tls = target.tls.as_deref();
        Idle::Http1(Box::new(
            Connection::open(target.address, tls, false).await?,
        ))
    };
    for _ in 0..arguments.requests {
        let answer = connection.exchange(target).await?;
        if answer.status != 200 || !answer.reusable {
            bail!(
                "a request was answered with {} or the connection closed",
                answer.status
            );
        }
    }
    Ok(connection)
}

/// Waits for all of them, turn by turn: each of them is short.
async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures
        .into_iter()
        .map(|future| (Box::pin(future), None))
        .collect();
    std::future::poll_fn(|context| {
        let mut done = true;
        for (future, output) in &mut waiting {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => done = false,
                }
            }
        }
        if done {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    waiting
        .into_iter()
        .filter_map(|(_, output)| output)
        .collect()
}

/// Memory once it no longer moves by more than half a percent in half a second. Connections count as
/// idle after [`SETTLE`]: what a gateway gives back of an idle one, it gives back by then.
async fn at_rest(pid: u32) -> Result<u64> {
    tokio::time::sleep(SETTLE).await;
    let deadline = tokio::time::Instant::now() + REST_PATIENCE;
    let mut before = machine::memory(pid)?;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = machine::memory(pid)?;
        if now.abs_diff(before) <= before / 200 || tokio::time::Instant::now() > deadline {
            return Ok(now);
        }
        before = now;
    }
}

/// Bytes per connection between the second step and the last: what comes only once is in the
/// first one.
fn slope(weights: &[Weight]) -> f64 {
    match weights {
        [_, first, .., last] if last.count > first.count => {
            (last.bytes as f64 - first.bytes as f64) / f64::from(last.count - first.count)
        }
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_leave_the_first_step_out() {
        let weigh = |count, bytes| Weight { count, bytes };
        let weights = [
            weigh(0, 5_000),
            weigh(10, 20_000),
            weigh(25, 30_000),
            weigh(50, 60_000),
        ];
        assert!((slope(&weights) - 1_000.0).abs() < 1e-9);
        assert!(slope(&[]).abs() < 1e-9);
    }

    #[test]
    fn steps_end_with_all() {
        assert_eq!(steps(10_000), [0, 2_000, 5_000, 10_000]);
    }
}
