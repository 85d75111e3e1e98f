//! One run: an etcd of its own, the edges, the changes, and etcd's end and return.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::fleet::{AppendError, Founding, Head, Log};
use anyhow::{Context, Result, bail};
use tokio::task::spawn_blocking;

use super::edges::Said;
use super::stages::STAGES;
use super::writer::{Made, Writer};
use super::{ALL_BUT_ONE, Arguments, BEGIN, Cost, PATIENCE, READY, Run, Times, log, now, settings};
use crate::machine;
use crate::peers::Child;
use crate::world::Directory;
use ::tests::new_loopback;

/// Changes beyond the ones that are counted, while etcd comes back.
const BESIDE: u64 = 8;

/// Who makes changes.
enum Maker {
    /// An edge with a store.
    Writer(Arc<Writer>),
    /// Bytes behind the log's end.
    Bare {
        log: Log,
        head: Head,
        bytes: Vec<u8>,
    },
}

impl Maker {
    /// Makes a change.
    async fn make(&mut self, number: u64) -> Result<Made> {
        match self {
            Self::Writer(writer) => {
                let writer = writer.clone();
                spawn_blocking(move || writer.change(number)).await?
            }
            Self::Bare { log, head, bytes } => {
                let begun = now();
                match log.append(head, bytes).await {
                    Ok(added) => *head = added,
                    // Nobody else writes: it was added, and the answer was lost.
                    Err(AppendError::Moved) => *head = log.head().await?,
                    Err(error) => return Err(error.into()),
                }
                let committed = now();
                Ok(Made {
                    begun,
                    committed,
                    done: committed,
                })
            }
        }
    }
}

/// An etcd.
struct Etcd<'a> {
    arguments: &'a Arguments,
    directory: &'a Path,
    clients: SocketAddr,
    peers: SocketAddr,
}

impl Etcd<'_> {
    fn url(&self) -> String {
        format!("http://{}", self.clients)
    }

    fn start(&self) -> Result<Child> {
        let url = self.url();
        let mut command = Command::new(&self.arguments.etcd);
        command.arg("--data-dir").arg(self.directory.join("etcd"));
        command.args(["--log-level", "error", "--listen-client-urls", &url]);
        command.args(["--advertise-client-urls", &url]);
        let peer = format!("http://{}", self.peers);
        command.args(["--listen-peer-urls", &peer]);
        command.args(["--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("default={peer}")]);
        Child::start(command, &self.directory.join("etcd.log"))
    }

    /// Relays of it, and where edges ask.
    fn relays(&self) -> Result<(Vec<Child>, Vec<String>)> {
        let (mut relays, mut urls) = (Vec::new(), Vec::new());
        for number in 0..self.arguments.relays {
            let address = new_loopback();
            let mut command = Command::new(&self.arguments.etcd);
            let endpoint = self.clients.to_string();
            command.args(["grpc-proxy", "start", "--endpoints", &endpoint]);
            command.args(["--listen-addr", &address.to_string()]);
            let said = self.directory.join(format!("relay-{number}.log"));
            relays.push(Child::start(command, &said)?);
            urls.push(format!("http://{address}"));
        }
        if urls.is_empty() {
            urls.push(self.url());
        }
        Ok((relays, urls))
    }

    /// Bytes that it has sent to clients since it began.
    fn sent(&self) -> Result<f64> {
        let mut stream = TcpStream::connect(self.clients)?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let name = "etcd_network_client_grpc_sent_bytes_total ";
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        let value = value.context("etcd does not count what it sends")?;
        Ok(value.trim().parse()?)
    }

    /// Bytes of its file.
    fn file(&self) -> Result<u64> {
        let path = self.directory.join("etcd/member/snap/db");
        Ok(fs::metadata(path)?.len())
    }
}

/// CPU time of etcd, its relays and the edges.
#[derive(Clone, Copy)]
struct Spent([Duration; 3]);

impl Spent {
    fn until_now(etcd: &Child, relays: &[Child], edges: &Child) -> Self {
        let cpu = |child: &Child| machine::cpu_time(child.pid());
        Self([cpu(etcd), relays.iter().map(cpu).sum(), cpu(edges)])
    }

    fn since(self, before: Self) -> [f64; 3] {
        let pairs = self.0.into_iter().zip(before.0);
        let mut seconds = pairs.map(|(now, before)| now.saturating_sub(before).as_secs_f64());
        std::array::from_fn(|_| seconds.next().unwrap_or_default())
    }
}

/// A run, with an etcd of its own.
pub(super) async fn one(arguments: &Arguments, edges: u32) -> Result<Run> {
    let directory = Directory::make()?;
    let stores = Directory::make_below(&arguments.stores)?;
    let etcd = Etcd {
        arguments,
        directory: directory.path(),
        clients: new_loopback(),
        peers: new_loopback(),
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "some seconds, not less than none"
    )]
    let changes = (f64::from(arguments.rate) * arguments.seconds).ceil() as u64;
    let running = etcd.start()?;
    let mut maker = found(&etcd, &running, changes).await?;
    let (relays, urls) = etcd.relays()?;
    let said = directory.path().join("edges.log");
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["fleet-edges", "--urls", &urls.join(",")]);
    command.args(["--count", &edges.to_string()]);
    command.args(["--threads", &arguments.threads.to_string()]);
    // And one after the break.
    command.args(["--changes", &(changes + 1).to_string()]);
    if let Maker::Writer(writer) = &maker {
        let state = directory.path().join("state.json");
        writer.write_state(&state)?;
        command.arg("--state").arg(state);
        command.arg("--key").arg(directory.path().join("ca.key"));
        command.arg("--stores").arg(stores.path());
    }
    let mut child = Child::start(command, &said)?;
    let is_ready = |text: &str| text.lines().any(|line| line == READY);
    // They make their stores first.
    wait(&mut child, &said, 5 * PATIENCE, is_ready).await?;
    // Until what came of connecting is over.
    tokio::time::sleep(Duration::from_secs(2)).await;

    let before_idle = Spent::until_now(&running, &relays, &child);
    tokio::time::sleep(Duration::from_secs_f64(arguments.idle)).await;
    let before = Spent::until_now(&running, &relays, &child);
    let sent_before = etcd.sent()?;
    let begun = Instant::now();
    let mut made = Vec::new();
    let mut pace = tokio::time::interval(Duration::from_secs(1) / arguments.rate);
    for number in 0..changes {
        pace.tick().await;
        made.push(maker.make(number).await?);
    }
    let making = begun.elapsed();
    let before_break = |text: &str| text.lines().any(|line| line == ALL_BUT_ONE);
    // On a machine that is too small for them, edges are behind.
    let late = PATIENCE + 20 * making;
    wait(&mut child, &said, late, before_break).await?;
    let elapsed = begun.elapsed();
    let after = Spent::until_now(&running, &relays, &child);
    let sent = etcd.sent()? - sent_before;
    let etcd_file = etcd.file()?;
    let memory = [
        machine::memory(running.pid())?,
        relays
            .iter()
            .map(|relay| machine::memory(relay.pid()))
            .sum::<Result<u64>>()?,
        machine::memory(child.pid())?,
    ];
    drop(running);
    let broken = Instant::now();
    let again = etcd.start()?;
    let mut number = changes;
    while let Err(error) = maker.make(number).await {
        if broken.elapsed() > PATIENCE {
            bail!("etcd does not come back: {error:#}\n{}", again.said());
        }
        number = changes + (number + 1 - changes) % BESIDE;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let is_whole = |text: &str| text.lines().any(|line| line.starts_with('{'));
    let text = wait(&mut child, &said, PATIENCE, is_whole).await?;
    let back = broken.elapsed();
    let said = text.lines().find(|line| line.starts_with('{'));
    let said: Said = serde_json::from_str(said.unwrap_or_default())?;

    let each = f64::from(edges) * changes as f64;
    let (idle, busy) = (before.since(before_idle), after.since(before));
    let cost = |index: usize| Cost {
        core: busy.get(index).copied().unwrap_or_default() / elapsed.as_secs_f64(),
        us: busy.get(index).copied().unwrap_or_default() * 1e6 / each,
        idle_core: idle.get(index).copied().unwrap_or_default() / arguments.idle,
        idle_us: idle.get(index).copied().unwrap_or_default() * 1e6
            / arguments.idle
            / f64::from(edges),
        bytes: memory.get(index).copied().unwrap_or_default(),
    };
    let micros = |nanoseconds: u64| nanoseconds as f64 / 1e3 / each;
    let pairs = || said.taken.iter().zip(&made);
    Ok(Run {
        edges,
        changes,
        rate: changes as f64 / making.as_secs_f64(),
        append: Times::of(
            made.iter()
                .map(|one| one.committed.saturating_sub(one.begun)),
        ),
        acknowledge: Times::of(made.iter().map(|one| one.done - one.begun)),
        half: Times::of(pairs().map(|(taken, one)| taken.half.saturating_sub(one.committed))),
        last: Times::of(pairs().map(|(taken, one)| taken.last.saturating_sub(one.committed))),
        etcd: cost(0),
        relays: cost(1),
        followers: cost(2),
        stages: STAGES
            .into_iter()
            .zip(said.spent.stages.map(micros))
            .collect(),
        take_us: micros(said.spent.all),
        wire_bytes: sent / each,
        etcd_file,
        stores: said.stores,
        back_ms: back.as_secs_f64() * 1e3,
    })
}

/// Founds the fleet, once etcd answers.
async fn found(etcd: &Etcd<'_>, running: &Child, changes: u64) -> Result<Maker> {
    let writer = log(&etcd.url(), "writer")?;
    let end = Instant::now() + PATIENCE;
    while let Err(error) = writer.record().await {
        if Instant::now() > end {
            bail!("etcd does not answer: {error}\n{}", running.said());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    if etcd.arguments.bare {
        let founding = Founding {
            store_format: 1,
            proof: Vec::new(),
        };
        writer.found(&BEGIN, &founding, []).await?;
        let bytes = vec![b'x'; usize::try_from(etcd.arguments.bytes)?];
        let (log, head) = (writer, BEGIN);
        return Ok(Maker::Bare { log, head, bytes });
    }
    let contents = etcd.arguments.contents.clone();
    contents.check(changes + BESIDE)?;
    let (directory, settings) = (etcd.directory.to_owned(), settings(&etcd.url())?);
    let founded = spawn_blocking(move || Writer::found(&directory, settings, &contents));
    Ok(Maker::Writer(Arc::new(founded.await??)))
}

/// Waits until the edges have said something, and answers all that they said.
async fn wait(
    child: &mut Child,
    said: &Path,
    patience: Duration,
    is_said: impl Fn(&str) -> bool,
) -> Result<String> {
    let end = Instant::now() + patience;
    loop {
        let text = fs::read_to_string(said)?;
        if is_said(&text) {
            return Ok(text);
        }
        if Instant::now() > end || child.ended().is_some() {
            bail!("the edges do not follow: {}", child.said());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
