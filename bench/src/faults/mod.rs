//! `bench origin-faults`: what goes wrong with one of three origins, and how many requests fail of it.
//!
//! For each fault and each proxy in turn: three origins, each a process of its own, an even load of GETs,
//! and after a quarter of the time the fault, which is mended after three quarters. Settings are the
//! like of each other: a second to connect, a second for the answer to a try, another origin for what may
//! be repeated, an origin that fails three times in a row left out for a while. Requests are told apart by
//! whether the client has a whole answer with 200.
//!
//! | file | owns |
//! |---|---|
//! | `dns` | a name server that does as it is told |
//! | `origin` | an origin that does as it is told, in a process of its own |
//! | `peers` | how Postern, nginx and HAProxy are told of three origins |

mod dns;
mod origin;
mod peers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;

use self::dns::{Dns, Says};
use self::origin::{Behaviour, Process};
pub use self::origin::{OriginArguments, serve};
use self::peers::{Place, Proxy};
use crate::client::{Connection, Target};
use crate::compare::seconds;
use crate::machine::Machine;
use crate::peers::Name;
use crate::report::write;
use crate::world::{OPEN_HOST, World};
use ::tests::new_loopback;
use ::tests::pki::Authority;

/// Origins that there are; one of them has the fault.
const ORIGINS: usize = 3;
/// How long a proxy may take to answer its first request.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long a client waits for an answer.
const CLIENT_PATIENCE: Duration = Duration::from_secs(20);

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Nothing.
    None,
    /// The process is killed.
    Killed,
    /// The process is stopped: the kernel takes connections, nobody answers.
    Stopped,
    /// It answers after three seconds.
    Slow,
    /// It sends half of each answer, and closes.
    Half,
    /// It resets each connection when a request has come.
    Resets,
    /// It has a certificate of another CA.
    WrongCertificate,
    /// The name of all three is not found any more.
    DnsGone,
    /// The name server does not answer.
    DnsSilent,
    /// The name means another one in its place, and two seconds later it is killed.
    DnsChanged,
}

impl Fault {
    /// Whether origins are known by a name.
    fn is_of_names(self) -> bool {
        matches!(self, Self::DnsGone | Self::DnsSilent | Self::DnsChanged)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Killed => "killed",
            Self::Stopped => "stopped",
            Self::Slow => "slow",
            Self::Half => "half of the answers",
            Self::Resets => "resets",
            Self::WrongCertificate => "wrong certificate",
            Self::DnsGone => "name not found",
            Self::DnsSilent => "name server silent",
            Self::DnsChanged => "name changed",
        }
    }
}

/// Arguments of `bench origin-faults`.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// What goes wrong; several with commas
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "none,killed,stopped,slow,half,resets,wrong-certificate,dns-gone,dns-silent,dns-changed"
    )]
    fault: Vec<Fault>,
    /// Who takes part; those that are not installed are left out with a word
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "postern,nginx,haproxy"
    )]
    peers: Vec<Name>,
    /// Seconds of each run: the fault is there for the half in the middle
    #[arg(long, default_value_t = 12.0, value_parser = seconds)]
    seconds: f64,
    /// Connections of clients
    #[arg(long, short = 'c', default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: u16,
    /// Requests a second on each
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rate: u16,
    /// Postern's binary [default: the one beside this program]
    #[arg(long)]
    postern: Option<PathBuf>,
    /// Write all numbers to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What became of the requests of one run.
#[derive(Debug, Clone, Default, Serialize)]
struct Run {
    fault: &'static str,
    peer: &'static str,
    requests: u64,
    failed: u64,
    /// Milliseconds of the slowest that did not fail.
    slowest_msec: u64,
    /// How many took more than half a second.
    slow: u64,
    /// Why those failed that did, each word once.
    why: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    versions: Vec<String>,
    seconds: f64,
    connections: u16,
    rate: u16,
    runs: Vec<Run>,
}

/// Runs it.
///
/// # Errors
/// A proxy does not work, or Postern failed more requests than another one did.
pub async fn run(arguments: Arguments) -> Result<()> {
    let mut runs = Vec::new();
    let mut versions: Vec<String> = Vec::new();
    for fault in &arguments.fault {
        for name in &arguments.peers {
            let Some((run, version)) = one(*fault, *name, &arguments).await? else {
                eprintln!("{} is not installed", name.as_str());
                continue;
            };
            println!(
                "{:20} {:10} {:6} requests, {:5} failed, slowest {:6} ms, {:4} over 500 ms  {}",
                run.fault,
                run.peer,
                run.requests,
                run.failed,
                run.slowest_msec,
                run.slow,
                run.why.join("; ")
            );
            if !versions.contains(&version) {
                versions.push(version);
            }
            runs.push(run);
        }
    }
    let worse = worse(&runs);
    if let Some(path) = &arguments.json {
        let report = Report {
            machine: Machine::describe(),
            versions,
            seconds: arguments.seconds,
            connections: arguments.connections,
            rate: arguments.rate,
            runs,
        };
        write(path, &serde_json::to_string_pretty(&report)?)?;
    }
    if !worse.is_empty() {
        bail!(
            "Postern failed more requests than another one: {}",
            worse.join(", ")
        );
    }
    Ok(())
}

/// Faults of which Postern failed a larger part of its requests than somebody else, by more than one in a
/// hundred of those: whose turn it was when the fault came is chance.
fn worse(runs: &[Run]) -> Vec<&'static str> {
    let ours = runs.iter().filter(|run| run.peer == Name::Postern.as_str());
    let worse = ours.filter(|ours| {
        let others = runs
            .iter()
            .filter(|other| other.fault == ours.fault && other.peer != ours.peer);
        others
            .into_iter()
            .any(|other| 100 * ours.failed * other.requests > 101 * other.failed * ours.requests)
    });
    worse.map(|run| run.fault).collect()
}

/// One fault behind one proxy; `None`: that is not installed.
async fn one(fault: Fault, name: Name, arguments: &Arguments) -> Result<Option<(Run, String)>> {
    let world = World::make(None)?;
    let is_tls = fault == Fault::WrongCertificate;
    let authority = Authority::root("Origins");
    let mut origins = Vec::new();
    for address in places(fault) {
        origins.push(Process::start(
            &world,
            address,
            is_tls.then_some(&authority),
        )?);
    }
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let (before, after) = (means(addresses.get(..ORIGINS)), means(addresses.get(1..)));
    let dns = match fault.is_of_names() {
        true => Some(Dns::start(before.clone())?),
        false => None,
    };
    let believed = is_tls.then(|| authority.pem());
    let postern = arguments.postern.clone();
    let at = Place {
        origins: &addresses,
        believed: believed.as_deref(),
        dns: dns.as_ref().map(|dns| dns.address),
    };
    let Some(proxy) = Proxy::start(name, &world, &at, postern).await? else {
        return Ok(None);
    };
    let target = Rc::new(Target {
        address: proxy.address,
        tls: Some(world.careful_client(OPEN_HOST, false, false)?.into()),
        authority: OPEN_HOST.into(),
        path: "/".into(),
    });
    wait_for(&target).await.with_context(|| proxy.said())?;
    let whole = Duration::from_secs_f64(arguments.seconds);
    let until = Instant::now() + whole;
    let local = tokio::task::LocalSet::new();
    let clients: Vec<_> = (0..arguments.connections)
        .map(|_| {
            let pause = Duration::from_secs(1) / u32::from(arguments.rate);
            local.spawn_local(client(target.clone(), pause, until))
        })
        .collect();
    let victim = origins.first_mut().context("an origin")?;
    let mut run = Run {
        fault: fault.as_str(),
        peer: name.as_str(),
        ..Run::default()
    };
    local
        .run_until(async {
            tokio::time::sleep(whole / 4).await;
            victim.suffers(fault)?;
            if let Some(dns) = &dns {
                dns.say(match fault {
                    Fault::DnsChanged => after,
                    Fault::DnsSilent => Says::Nothing,
                    _ => Says::NoName,
                });
            }
            let stays = Duration::from_secs(2).min(whole / 2);
            tokio::time::sleep(stays).await;
            if fault == Fault::DnsChanged {
                victim.kill()?;
            }
            tokio::time::sleep(whole / 2 - stays).await;
            victim.recovers(fault)?;
            if let Some(dns) = dns.as_ref().filter(|_| fault != Fault::DnsChanged) {
                dns.say(before);
            }
            for client in clients {
                let one = client.await?;
                run.requests += one.requests;
                run.failed += one.failed;
                run.slow += one.slow;
                run.slowest_msec = run.slowest_msec.max(one.slowest_msec);
                for why in one.why {
                    if !run.why.contains(&why) {
                        run.why.push(why);
                    }
                }
            }
            anyhow::Ok(())
        })
        .await?;
    Ok(Some((run, proxy.version)))
}

/// Where origins are: known by a name, on one port of several addresses, and one more of them, which
/// the name means later.
fn places(fault: Fault) -> Vec<SocketAddr> {
    if !fault.is_of_names() {
        return (0..ORIGINS).map(|_| new_loopback()).collect();
    }
    let port = new_loopback().port();
    let all = (1..=4).map(|last| SocketAddr::from(([127, 54, 0, last], port)));
    all.collect()
}

fn means(addresses: Option<&[SocketAddr]>) -> Says {
    let all = addresses.unwrap_or_default().iter();
    let all = all.filter_map(|address| match address {
        SocketAddr::V4(address) => Some(*address.ip()),
        SocketAddr::V6(_) => None,
    });
    Says::Means(all.collect())
}

/// Waits until a proxy answers.
async fn wait_for(target: &Target) -> Result<()> {
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        let answer = ask(target, &mut None).await;
        match answer {
            Ok(200) => return Ok(()),
            other if Instant::now() > deadline => bail!("the proxy is not ready: {other:?}"),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Asks again and again, with a pause, over a connection that is kept while it is good.
async fn client(target: Rc<Target>, pause: Duration, until: Instant) -> Run {
    let mut run = Run::default();
    let mut connection = None;
    while Instant::now() < until {
        let asked = Instant::now();
        let answer = tokio::time::timeout(CLIENT_PATIENCE, ask(&target, &mut connection)).await;
        let why = match answer {
            Ok(Ok(200)) => None,
            Ok(Ok(status)) => Some(status.to_string()),
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(_) => Some("no answer".into()),
        };
        let took = asked.elapsed();
        run.requests += 1;
        run.slow += u64::from(took > Duration::from_millis(500));
        match why {
            None => {
                let msec = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                run.slowest_msec = run.slowest_msec.max(msec);
            }
            Some(why) => {
                run.failed += 1;
                connection = None;
                if !run.why.contains(&why) {
                    run.why.push(why);
                }
            }
        }
        tokio::time::sleep(pause.saturating_sub(took)).await;
    }
    run
}

async fn ask(target: &Target, connection: &mut Option<Connection>) -> Result<u16> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => Connection::open(target.address, target.tls.as_deref(), false).await?,
    };
    let answer = open.exchange(&target.request()).await?;
    if answer.reusable {
        *connection = Some(open);
    }
    Ok(answer.status)
}

impl Process {
    fn suffers(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::None => Ok(()),
            Fault::Killed => self.kill(),
            Fault::Stopped => self.signal(rustix::process::Signal::STOP),
            Fault::Slow => self.behave(Behaviour::Slow),
            Fault::Half => self.behave(Behaviour::Half),
            Fault::Resets => self.behave(Behaviour::Resets),
            Fault::WrongCertificate => self.behave(Behaviour::WrongCertificate),
            Fault::DnsGone | Fault::DnsSilent | Fault::DnsChanged => Ok(()),
        }
    }

    fn recovers(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::None | Fault::DnsGone | Fault::DnsSilent | Fault::DnsChanged => Ok(()),
            Fault::Killed => self.again(),
            Fault::Stopped => self.signal(rustix::process::Signal::CONT),
            _ => self.behave(Behaviour::Good),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_is_the_part_of_the_requests() {
        let run = |fault, peer, requests, failed| Run {
            fault,
            peer,
            requests,
            failed,
            ..Run::default()
        };
        let runs = [
            run("killed", "postern", 1_000, 10),
            run("killed", "nginx", 100, 1),
            run("killed", "haproxy", 100, 2),
            run("slow", "postern", 1_000, 11),
            run("slow", "nginx", 100, 1),
            run("slow", "haproxy", 100, 9),
        ];
        assert_eq!(worse(&runs), ["slow"]);
    }
}
