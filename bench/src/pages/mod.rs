//! `bench pages`: what open pages of the dashboard cost while requests are refused.
//!
//! One Postern, one rule that refuses, an even rate of requests that it refuses. Turns without a
//! page and with them follow each other (A-B-B-A), so that a machine that gets slower does so for
//! both. What counts is the CPU time of the workers for a refusal, and the part of a core that all
//! other threads take, the control thread above all.

mod page;

use std::cell::RefCell;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use self::page::{Admin, Pages};
use crate::admin;
use crate::client::{Kind, Pace, Target, Work, run as run_work};
use crate::compare::seconds;
use crate::machine::{self, Machine, Placement};
use crate::peers::{Child, postern_binary};
use crate::report::{Spread, write};
use crate::world::{OPEN_HOST, World};
use ::tests::new_loopback;

/// How long the gateway may take to be ready.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// What the rule refuses.
const REFUSED: &str = "/refused";

/// What pages may cost.
mod bounds {
    /// The part of a core that all threads but the workers take.
    pub(super) const CONTROL: f64 = 0.05;
    /// What the workers take more for a refusal, beyond how much the turns without a page differ.
    pub(super) const WORKERS: f64 = 0.02;
}

/// Arguments of `bench pages`.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Pages that are open
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=16))]
    pages: u16,
    /// Refusals a second
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Connections of the clients that are refused
    #[arg(long, short = 'c', default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
    /// Rounds of A-B-B-A
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Seconds of each turn that count
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    seconds: f64,
    /// Postern's binary [default: the one beside this program]
    #[arg(long)]
    postern: Option<PathBuf>,
    /// Write all numbers to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// A turn.
#[derive(Debug, Clone, Serialize)]
pub struct Turn {
    /// Pages that were open.
    pub pages: u16,
    /// Refusals a second.
    pub rate: f64,
    /// CPU time of the workers for a refusal, in nanoseconds.
    pub worker_ns: f64,
    /// The part of a core that all other threads took.
    pub control: f64,
    /// Events a second that each page was told.
    pub events: f64,
    /// Bytes a second that each page was sent.
    pub bytes: f64,
    /// Times that events were lost to a page.
    pub gaps: u64,
}

/// Everything that `bench pages` found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// Refusals a second that were asked for.
    pub rate: u32,
    /// In their order.
    pub turns: Vec<Turn>,
}

impl Report {
    fn of(&self, open: bool, what: fn(&Turn) -> f64) -> Spread {
        let turns = self.turns.iter().filter(|turn| (turn.pages > 0) == open);
        Spread::of(turns.map(what))
    }

    /// What is beyond its bound, in words.
    #[must_use]
    pub fn beyond(&self) -> Vec<&'static str> {
        let (without, with) = (
            self.of(false, |turn| turn.worker_ns),
            self.of(true, |turn| turn.worker_ns),
        );
        let noise = (without.max - without.min) / without.median.max(1.0);
        let more = with.median / without.median.max(1.0) - 1.0;
        [
            (more > noise.max(bounds::WORKERS), "workers"),
            (self.control_at_rate() > bounds::CONTROL, "control thread"),
        ]
        .into_iter()
        .filter_map(|(beyond, what)| beyond.then_some(what))
        .collect()
    }

    /// What the control thread would take at the rate that was asked for, were all of it for the
    /// refusals: what was reached may be less. Never less than what was measured.
    #[must_use]
    pub fn control_at_rate(&self) -> f64 {
        let control = self.of(true, |turn| turn.control).median;
        let reached = self.of(true, |turn| turn.rate).median.max(1.0);
        control * (f64::from(self.rate) / reached).max(1.0)
    }
}

/// Runs it.
///
/// # Errors
/// The gateway does not work, or pages cost more than they may.
pub async fn run(arguments: Arguments) -> Result<()> {
    let place = Placement::choose();
    let mut report = Report {
        machine: Machine::describe(),
        rate: arguments.rate,
        turns: Vec::new(),
    };
    let world = World::make(place.client)?;
    if let Some(cpu) = place.client {
        machine::pin(cpu)?;
    }
    let gateway = Gateway::start(&world, arguments.postern.clone(), place)?;
    println!(
        "{:>5} {:>12} {:>18} {:>16} {:>15} {:>5}",
        "pages", "refused/s", "workers, each", "other threads", "events/s, page", "gaps"
    );
    for _round in 0..arguments.rounds {
        for pages in [0, arguments.pages, arguments.pages, 0] {
            let turn = turn(&arguments, &gateway, pages).await?;
            println!(
                "{:>5} {:>12.0} {:>15.2} µs {:>14.2} % {:>15.0} {:>5}",
                turn.pages,
                turn.rate,
                turn.worker_ns / 1000.0,
                turn.control * 100.0,
                turn.events,
                turn.gaps,
            );
            report.turns.push(turn);
        }
    }
    print!("{}", said(&report));
    if let Some(path) = &arguments.json {
        write(path, &serde_json::to_string_pretty(&report)?)?;
    }
    let beyond = report.beyond();
    if !beyond.is_empty() {
        bail!("pages cost more than they may: {}", beyond.join(", "));
    }
    Ok(())
}

fn said(report: &Report) -> String {
    let (without, with) = (
        report.of(false, |turn| turn.worker_ns),
        report.of(true, |turn| turn.worker_ns),
    );
    let control = report.of(true, |turn| turn.control);
    let us = |ns: f64| ns / 1000.0;
    format!(
        "workers, a refusal: {:.2} µs ({:.2} to {:.2}) without a page, {:.2} µs ({:.2} to {:.2}) with \
         them: {:+.1} %\n\
         other threads with pages: {:.2} % of a core ({:.2} to {:.2}); {:.2} % at {} a second if all of \
         it grew with the rate (at most {} %)\n",
        us(without.median),
        us(without.min),
        us(without.max),
        us(with.median),
        us(with.min),
        us(with.max),
        (with.median / without.median.max(1.0) - 1.0) * 100.0,
        control.median * 100.0,
        control.min * 100.0,
        control.max * 100.0,
        report.control_at_rate() * 100.0,
        report.rate,
        bounds::CONTROL * 100.0,
    )
}

/// One turn, with so many pages open.
async fn turn(arguments: &Arguments, gateway: &Gateway, pages: u16) -> Result<Turn> {
    let open = Pages::open(pages.into(), &gateway.admin)?;
    let pid = gateway.child.pid();
    let is_worker = |name: &str| name.starts_with("worker-");
    // The run looks at the clock twice: when it begins to count and when it ends.
    let looks = RefCell::new(Vec::new());
    let look = || {
        let workers = machine::cpu_time_of(pid, is_worker);
        let others = machine::cpu_time_of(pid, |name| !is_worker(name));
        looks.borrow_mut().push(others);
        workers
    };
    let work = Work {
        target: gateway.target.clone(),
        kind: Kind::Keepalive,
        pace: Pace::Open(f64::from(arguments.rate)),
        connections: arguments.connections.into(),
        streams: 1,
        content: 0,
        warm_up: Duration::from_secs(1),
        duration: Duration::from_secs_f64(arguments.seconds),
    };
    let begun = Instant::now();
    let outcome = run_work(work, &look).await?;
    let whole = begun.elapsed().as_secs_f64();
    let heard = open.close()?;
    let refused = outcome.statuses.get(&403).copied().unwrap_or_default();
    if outcome.failures > 0 || refused == 0 || outcome.statuses.len() > 1 {
        bail!(
            "not all were refused: {:?}, {:?}\n{}",
            outcome.statuses,
            outcome.errors,
            gateway.child.said()
        );
    }
    let looks = looks.into_inner();
    let others = match looks.as_slice() {
        // Threads that have ended take their time with them.
        [before, after] => after.saturating_sub(*before),
        _ => bail!("the run did not look at the CPU time twice"),
    };
    let events: u64 = heard.iter().map(|one| one.events).sum();
    let bytes: u64 = heard.iter().map(|one| one.bytes).sum();
    Ok(Turn {
        pages,
        rate: outcome.rate(),
        worker_ns: outcome.cpu_ns_per_operation(),
        control: others.as_secs_f64() / outcome.seconds,
        events: events as f64 / whole / f64::from(pages.max(1)),
        bytes: bytes as f64 / whole / f64::from(pages.max(1)),
        gaps: heard.iter().map(|one| one.gaps).sum(),
    })
}

/// A Postern of one worker whose rule refuses.
struct Gateway {
    child: Child,
    admin: Admin,
    target: Target,
}

impl Gateway {
    fn start(world: &World, postern: Option<PathBuf>, place: Placement) -> Result<Self> {
        let program = postern_binary(postern)?;
        let (address, admin) = (new_loopback(), new_loopback());
        let socket = world.file("admin.sock");
        // What comes of many connections of one address is not what is measured.
        let text = format!(
            "listen = {address}\n\
             workers = 1\n\
             store.path = {store}\n\
             admin.socket = {socket}\n\
             admin.listen = {admin}\n\
             log.access = off\n\
             steer.mode = off\n\
             limit.client_exempt = 127.0.0.0/8\n\
             timeout.drain = 1s\n",
            store = world.store.path.display(),
            socket = socket.display(),
        );
        let configuration = world.file("postern.conf");
        fs::write(&configuration, text).context("writing Postern's configuration")?;
        let mut command = Command::new(&program);
        command.arg("run").arg("-c").arg(&configuration);
        let log = world.file("postern.log");
        let mut child = machine::on(place.proxy, || Child::start(command, &log))?;
        let deadline = Instant::now() + START_PATIENCE;
        while !matches!(admin::ask(&socket, "GET", "/readyz", ""), Ok((200, _))) {
            if child.ended().is_some() || Instant::now() > deadline {
                bail!("Postern is not ready:\n{}", child.said());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let admin = prepare(&socket, admin)?;
        Ok(Self {
            child,
            admin,
            target: Target {
                address,
                tls: Some(world.client(OPEN_HOST, false, false)?.into()),
                authority: OPEN_HOST.to_owned(),
                path: REFUSED.to_owned(),
            },
        })
    }
}

/// Makes the rule, and a token for the pages.
fn prepare(socket: &Path, address: SocketAddr) -> Result<Admin> {
    let zones = admin::result(socket, "GET", "/client/v4/zones", &Value::Null)?;
    let text = |of: &Value, name: &str| {
        let found = of.get(name).and_then(Value::as_str);
        found.map(ToOwned::to_owned).context("an answer without it")
    };
    let zone = text(zones.get(0).context("a zone")?, "id")?;
    let path =
        format!("/client/v4/zones/{zone}/rulesets/phases/http_request_firewall_custom/entrypoint");
    let rule = json!({
        "action": "block",
        "expression": format!("http.request.uri.path eq \"{REFUSED}\""),
    });
    admin::result(socket, "PUT", &path, &json!({ "rules": [rule] }))?;
    let new = json!({ "name": "pages", "scopes": ["read"], "days": 1 });
    let token = admin::result(socket, "POST", "/postern/v1/tokens", &new)?;
    Ok(Admin {
        address,
        token: text(&token, "value")?,
        zone,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(turns: &[(u16, f64, f64, f64)]) -> Report {
        Report {
            machine: Machine::describe(),
            rate: 50_000,
            turns: turns
                .iter()
                .map(|(pages, rate, worker_ns, control)| Turn {
                    pages: *pages,
                    rate: *rate,
                    worker_ns: *worker_ns,
                    control: *control,
                    events: 0.0,
                    bytes: 0.0,
                    gaps: 0,
                })
                .collect(),
        }
    }

    #[test]
    fn what_is_beyond_is_named() {
        let good = report(&[
            (0, 50_000.0, 10_000.0, 0.002),
            (10, 50_000.0, 10_100.0, 0.04),
        ]);
        assert!(good.beyond().is_empty());
        // Half of the rate was reached, so that twice as much would be needed.
        let slow = report(&[
            (0, 25_000.0, 10_000.0, 0.002),
            (10, 25_000.0, 10_000.0, 0.04),
        ]);
        assert_eq!(slow.beyond(), ["control thread"]);
        let dear = report(&[(0, 50_000.0, 10_000.0, 0.0), (10, 50_000.0, 11_000.0, 0.01)]);
        assert_eq!(dear.beyond(), ["workers"]);
        // The turns without a page differ by as much.
        let noisy = report(&[
            (0, 50_000.0, 9_500.0, 0.0),
            (0, 50_000.0, 10_500.0, 0.0),
            (10, 50_000.0, 10_900.0, 0.01),
        ]);
        assert!(noisy.beyond().is_empty());
    }
}
