//! `bench fleet`: many followers of one log in a real etcd on this machine, and when the last of them has
//! a change.
//!
//! The followers are the code that edges run, without a store behind it: what each takes is noted. They run
//! in a process of their own, each with a connection of its own, so that their CPU time is told apart from
//! etcd's. Changes come at an even rate; both processes read the same monotonic clock.

mod followers;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use ::fleet::{AppendError, Digest, Engine, Founding, Head, Log, Settings};
use anyhow::{Context, Result, bail};
use clap::Args;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

pub use self::followers::{FollowerArguments, follow};

use crate::compare::seconds;
use crate::machine::{self, Machine};
use crate::peers::Child;
use crate::report::write;
use crate::world::{Directory, free_address};

/// How long etcd, the followers or the last change may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The fleet that is followed.
const NAME: &str = "bench";
/// What the followers say when they have all and are told of what comes.
const READY: &str = "ready";
/// What they say when every change but the last has come to all.
const ALL_BUT_ONE: &str = "all but one";
/// Where the log begins.
const BEGIN: Head = Head {
    revision: 0,
    digest: Digest::NONE,
};

/// Arguments of `bench fleet`.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Followers, for each run
    #[arg(long, value_delimiter = ',', default_value = "100,300,1000", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    followers: Vec<u32>,
    /// Changes a second
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
    /// Bytes of a change
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    bytes: u32,
    /// Seconds of each run
    #[arg(long, default_value_t = 20.0, value_parser = seconds)]
    seconds: f64,
    /// Relays between etcd and the followers: `etcd grpc-proxy`, with as many followers each
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
    fn of(mut nanoseconds: Vec<u64>) -> Self {
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

/// A run.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Followers.
    pub followers: u32,
    /// Changes that were made.
    pub changes: u64,
    /// Changes a second that came to be.
    pub rate: f64,
    /// From the begin of a change to etcd's answer that it is in the log.
    pub append: Times,
    /// From that answer until half of the followers have taken it.
    pub half: Times,
    /// From that answer until the last one has taken it.
    pub last: Times,
    /// The part of a core that etcd took.
    pub etcd_cpu: f64,
    /// The part of a core that all relays took.
    pub relays_cpu: f64,
    /// The part of a core that the followers took.
    pub followers_cpu: f64,
    /// CPU time of etcd for a follower and change, in microseconds, with all that it does beside.
    pub etcd_us: f64,
    /// CPU time of the relays for a follower and change, in microseconds.
    pub relays_us: f64,
    /// CPU time of a follower for a change, in microseconds.
    pub follower_us: f64,
    /// Bytes that etcd's clients (its relays, if there are any) were sent for a follower and change, as etcd counts them.
    pub wire_bytes: f64,
    /// Memory of etcd, in bytes.
    pub etcd_bytes: u64,
    /// Memory of all relays, in bytes.
    pub relays_bytes: u64,
    /// Memory of the followers' process, in bytes.
    pub followers_bytes: u64,
    /// From etcd's end, after which it was started at once, until the last follower had a change that was
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
    /// Bytes of a change.
    pub bytes: u32,
    /// Relays between etcd and the followers.
    pub relays: u8,
    /// One for each count of followers.
    pub runs: Vec<Run>,
}

/// When a change was taken, in nanoseconds of the monotonic clock.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct TakenAt {
    revision: u64,
    half: u64,
    last: u64,
}

/// Nanoseconds of the clock that all processes of a machine share.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default()
}

fn log(url: &str, edge: &str) -> Result<Log> {
    let engine = Engine::new(Settings {
        members: vec![url.parse()?],
        tls: None,
        user: None,
    })?;
    Ok(Log::open(engine, &NAME.parse()?, edge))
}

/// Runs it.
///
/// # Errors
/// There is no etcd, or the followers do not follow.
pub async fn run(arguments: Arguments) -> Result<()> {
    let version = Command::new(&arguments.etcd).arg("--version").output();
    let version = version.with_context(|| format!("running {}", arguments.etcd.display()))?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let mut report = Report {
        machine: Machine::describe(),
        etcd: version.lines().next().unwrap_or_default().to_owned(),
        bytes: arguments.bytes,
        relays: arguments.relays,
        runs: Vec::new(),
    };
    println!(
        "{:>28} | {:^20} | {:^20} | {:^11} | {:^11} | {:^11} | {:^17} | {:>5} | {:>6}",
        "", "to half, ms", "to the last, ms", "etcd", "relays", "followers", "MiB", "", "back",
    );
    println!(
        "{:>9} {:>9} {:>8} | {:>6} {:>6} {:>6} | {:>6} {:>6} {:>6} | {:>5} {:>5} | {:>5} {:>5} | {:>5} {:>5} | {:>5} {:>5} {:>5} | {:>5} | {:>6}",
        "followers",
        "changes/s",
        "append",
        "p50",
        "p99",
        "max",
        "p50",
        "p99",
        "max",
        "core",
        "µs",
        "core",
        "µs",
        "core",
        "µs",
        "etcd",
        "relay",
        "foll.",
        "bytes",
        "ms"
    );
    for followers in arguments.followers.clone() {
        let run = one(&arguments, followers).await?;
        println!("{}", line(&run));
        report.runs.push(run);
    }
    println!(
        "to half, to the last: from etcd's word that a change is in the log until so many followers have \
         it; µs and bytes: for a follower and a change; back: from etcd's end until the last one has a change \
         that was made after etcd was started again"
    );
    if let Some(path) = &arguments.json {
        write(path, &serde_json::to_string_pretty(&report)?)?;
    }
    Ok(())
}

fn line(run: &Run) -> String {
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    format!(
        "{:>9} {:>9.1} {:>8.1} | {:>6.1} {:>6.1} {:>6.1} | {:>6.1} {:>6.1} {:>6.1} | {:>5.2} {:>5.0} | {:>5.2} {:>5.0} | {:>5.2} {:>5.0} | {:>5.0} {:>5.0} {:>5.0} | {:>5.0} | {:>6.0}",
        run.followers,
        run.rate,
        run.append.p50_ms,
        run.half.p50_ms,
        run.half.p99_ms,
        run.half.max_ms,
        run.last.p50_ms,
        run.last.p99_ms,
        run.last.max_ms,
        run.etcd_cpu,
        run.etcd_us,
        run.relays_cpu,
        run.relays_us,
        run.followers_cpu,
        run.follower_us,
        mebibytes(run.etcd_bytes),
        mebibytes(run.relays_bytes),
        mebibytes(run.followers_bytes),
        run.wire_bytes,
        run.back_ms,
    )
}

/// A run, with an etcd of its own.
async fn one(arguments: &Arguments, followers: u32) -> Result<Run> {
    let directory = Directory::make()?;
    let (clients, peers) = (free_address()?, free_address()?);
    let url = format!("http://{clients}");
    let start = || {
        let mut command = Command::new(&arguments.etcd);
        command.arg("--data-dir").arg(directory.path().join("etcd"));
        command.args(["--log-level", "error", "--listen-client-urls", &url]);
        command.args(["--advertise-client-urls", &url]);
        let peer = format!("http://{peers}");
        command.args(["--listen-peer-urls", &peer]);
        command.args(["--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("default={peer}")]);
        Child::start(command, &directory.path().join("etcd.log"))
    };
    let etcd = start()?;
    let writer = log(&url, "writer")?;
    let founding = Founding {
        store_format: 1,
        proof: Vec::new(),
    };
    let end = Instant::now() + PATIENCE;
    while let Err(error) = writer.found(&BEGIN, &founding, []).await {
        if Instant::now() > end {
            bail!("etcd does not answer: {error}\n{}", etcd.said());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "some seconds, not less than none"
    )]
    let changes = (f64::from(arguments.rate) * arguments.seconds).ceil() as u64;
    let mut relays = Vec::new();
    let mut urls = Vec::new();
    for number in 0..arguments.relays {
        let address = free_address()?;
        let mut command = Command::new(&arguments.etcd);
        command.args(["grpc-proxy", "start", "--endpoints", &clients.to_string()]);
        command.args(["--listen-addr", &address.to_string()]);
        let said = directory.path().join(format!("relay-{number}.log"));
        relays.push(Child::start(command, &said)?);
        urls.push(format!("http://{address}"));
    }
    if urls.is_empty() {
        urls.push(url.clone());
    }
    let said = directory.path().join("followers.log");
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["fleet-followers", "--urls", &urls.join(",")]);
    command.args(["--count", &followers.to_string()]);
    // And one after the break.
    command.args(["--changes", &(changes + 1).to_string()]);
    let mut child = Child::start(command, &said)?;
    wait(&mut child, &said, |text| {
        text.lines().any(|line| line == READY)
    })
    .await?;
    // Until what came of connecting is over.
    tokio::time::sleep(Duration::from_secs(2)).await;

    let cpu = |child: &Child| machine::cpu_time(child.pid());
    let all = |children: &[Child]| children.iter().map(cpu).sum::<Duration>();
    let before = (cpu(&etcd), cpu(&child), sent(clients)?, all(&relays));
    let begun = Instant::now();
    let mut made = Vec::new();
    let mut head = BEGIN;
    let change = vec![b'x'; usize::try_from(arguments.bytes)?];
    let mut pace = tokio::time::interval(Duration::from_secs(1) / arguments.rate);
    for _ in 0..changes {
        pace.tick().await;
        let from = now();
        head = writer.append(&head, &change).await?;
        made.push((from, now()));
    }
    let elapsed = begun.elapsed();
    let before_break = |text: &str| text.lines().any(|line| line == ALL_BUT_ONE);
    wait(&mut child, &said, before_break).await?;
    let after = (cpu(&etcd), cpu(&child), sent(clients)?, all(&relays));
    let memory = (machine::memory(etcd.pid())?, machine::memory(child.pid())?);
    drop(etcd);
    let broken = Instant::now();
    let again = start()?;
    loop {
        match writer.append(&head, &change).await {
            // Nobody else writes: it was added, and the answer was lost.
            Ok(_) | Err(AppendError::Moved) => break,
            Err(error) if broken.elapsed() > PATIENCE => {
                bail!("etcd does not come back: {error}\n{}", again.said());
            }
            Err(_not_yet) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    let is_whole = |text: &str| text.lines().any(|line| line.starts_with('['));
    let text = wait(&mut child, &said, is_whole).await?;
    let back = broken.elapsed();
    let taken = text
        .lines()
        .find(|line| line.starts_with('['))
        .unwrap_or_default();
    let taken: Vec<TakenAt> = serde_json::from_str(taken)?;
    let since = |when: fn(&TakenAt) -> u64| {
        let pairs = taken.iter().zip(&made);
        Times::of(
            pairs
                .map(|(taken, (_, done))| when(taken).saturating_sub(*done))
                .collect(),
        )
    };
    let each = f64::from(followers) * changes as f64;
    let micros = |now: Duration, before: Duration| (now - before).as_secs_f64() * 1e6 / each;
    let core =
        |now: Duration, before: Duration| (now - before).as_secs_f64() / elapsed.as_secs_f64();
    Ok(Run {
        followers,
        changes,
        rate: changes as f64 / elapsed.as_secs_f64(),
        append: Times::of(made.iter().map(|(from, done)| done - from).collect()),
        half: since(|taken| taken.half),
        last: since(|taken| taken.last),
        etcd_cpu: core(after.0, before.0),
        relays_cpu: core(after.3, before.3),
        followers_cpu: core(after.1, before.1),
        etcd_us: micros(after.0, before.0),
        relays_us: micros(after.3, before.3),
        follower_us: micros(after.1, before.1),
        wire_bytes: (after.2 - before.2) / each,
        etcd_bytes: memory.0,
        relays_bytes: relays
            .iter()
            .map(|relay| machine::memory(relay.pid()))
            .sum::<Result<u64>>()?,
        followers_bytes: memory.1,
        back_ms: back.as_secs_f64() * 1e3,
    })
}

/// Waits until the followers have said something, and answers all that they said.
async fn wait(
    child: &mut Child,
    said: &std::path::Path,
    is_said: impl Fn(&str) -> bool,
) -> Result<String> {
    let end = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(said)?;
        if is_said(&text) {
            return Ok(text);
        }
        if Instant::now() > end || child.ended().is_some() {
            bail!("the followers do not follow: {}", child.said());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Bytes that etcd has sent to clients since it began.
fn sent(etcd: SocketAddr) -> Result<f64> {
    let mut stream = TcpStream::connect(etcd)?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let name = "etcd_network_client_grpc_sent_bytes_total ";
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let value = value.context("etcd does not count what it sends")?;
    Ok(value.trim().parse()?)
}
