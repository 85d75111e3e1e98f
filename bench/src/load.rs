//! `bench load`: load on a URL.
//!
//! With `--rate` the loop is open and latencies count from the intended time; without it the loop
//! is closed and they say how long an answer takes while all connections are busy.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use http::Uri;
use serde::Serialize;

use crate::client::{
    Belief, Identity, Kind, Outcome, Pace, Target, Tls, TlsSettings, Work, run as run_work,
};
use crate::compare::seconds;
use crate::machine::Machine;
use crate::report;
use crate::report::text::duration;

/// Key exchange groups offered, as browsers do.
const GROUPS: &str = "X25519MLKEM768:X25519:P-256:P-384";

/// Arguments of `bench load`.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Where requests go: `https://host[:port]/path` or `http://…`
    #[arg(long)]
    url: Uri,
    /// Connections
    #[arg(long, short = 'c', default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Requests per second, come what may [default: as fast as answers come]
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// Seconds that count
    #[arg(long, short = 'd', default_value_t = 10.0, value_parser = seconds)]
    duration: f64,
    /// Seconds before, that do not count
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    warm_up: f64,
    /// What one operation is
    #[arg(long, value_enum, default_value = "keepalive", conflicts_with = "h2")]
    mode: Kind,
    /// HTTP/2; the same as `--mode h2`
    #[arg(long)]
    h2: bool,
    /// Streams on each HTTP/2 connection
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    streams: u16,
    /// Bytes of the contents of `--mode upload`
    #[arg(long, default_value_t = 1 << 30)]
    content: u64,
    /// Client certificate chain in PEM
    #[arg(long, requires = "key")]
    cert: Option<PathBuf>,
    /// Its key in PEM
    #[arg(long, requires = "cert")]
    key: Option<PathBuf>,
    /// CAs that may have signed the server's certificate, in PEM [default: the system's]
    #[arg(long, conflicts_with = "insecure")]
    cacert: Option<PathBuf>,
    /// Believe every server
    #[arg(long, short = 'k')]
    insecure: bool,
    /// Connect to this address for this host and port: `host:port:address`, as curl has it
    #[arg(long, value_parser = resolve)]
    resolve: Vec<Resolve>,
    /// Key exchange groups offered
    #[arg(long, default_value = GROUPS)]
    groups: String,
    /// Write all numbers to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Resolve {
    host: String,
    port: u16,
    address: IpAddr,
}

fn resolve(text: &str) -> Result<Resolve, String> {
    let wrong = || format!("`{text}` is not `host:port:address`");
    let mut parts = text.splitn(3, ':');
    let (Some(host), Some(port), Some(address)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(wrong());
    };
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().map_err(|why| format!("{}: {why}", wrong()))?;
    let address = address
        .parse()
        .map_err(|why| format!("{}: {why}", wrong()))?;
    Ok(Resolve {
        host: host.to_ascii_lowercase(),
        port,
        address,
    })
}

fn rate(text: &str) -> Result<f64, String> {
    let value: f64 = text
        .parse()
        .map_err(|why| format!("`{text}` is not a number: {why}"))?;
    let reasonable = value > 0.0 && value <= 1e6;
    reasonable
        .then_some(value)
        .ok_or_else(|| format!("{text} is not between 0 and 1,000,000"))
}

#[derive(Serialize)]
struct Report<'a> {
    machine: Machine,
    url: String,
    mode: Kind,
    pace: Pace,
    connections: usize,
    outcome: &'a Outcome,
}

/// Runs it.
///
/// # Errors
/// The URL cannot be reached, or requests fail.
pub async fn run(arguments: Arguments) -> Result<()> {
    let machine = Machine::describe();
    let kind = if arguments.h2 {
        Kind::H2
    } else {
        arguments.mode
    };
    let target = target(&arguments, kind)?;
    let pace = arguments.rate.map_or(Pace::Closed, Pace::Open);
    let work = Work {
        target,
        kind,
        pace,
        connections: arguments.connections.into(),
        streams: arguments.streams.into(),
        content: arguments.content,
        warm_up: Duration::from_secs_f64(arguments.warm_up),
        duration: Duration::from_secs_f64(arguments.duration),
    };
    let connections = work.connections;
    // It is not known which process answers: its CPU time is not looked at.
    let outcome = run_work(work, &|| Duration::ZERO).await?;
    print!("{}", say(&outcome, pace));
    if let Some(path) = &arguments.json {
        let url = arguments.url.to_string();
        let report = Report {
            machine,
            url,
            mode: kind,
            pace,
            connections,
            outcome: &outcome,
        };
        report::write(path, &serde_json::to_string_pretty(&report)?)?;
    }
    match outcome.failures {
        0 => Ok(()),
        count => bail!("{count} requests had no answer"),
    }
}

fn target(arguments: &Arguments, kind: Kind) -> Result<Target> {
    let url = &arguments.url;
    let https = match url.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => bail!("{url}: the URL must start with https:// or http://"),
    };
    if !https && kind != Kind::Keepalive {
        bail!("{url}: this mode needs an https:// URL");
    }
    let host = url
        .host()
        .with_context(|| format!("{url}: the URL names no host"))?;
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_ascii_lowercase();
    let port = url.port_u16().unwrap_or(if https { 443 } else { 80 });
    let address = find(arguments, &host, port)?;
    let tls = https
        .then(|| tls(arguments, &host, kind.is_h2()))
        .transpose()?;
    Ok(Target {
        address,
        tls: tls.map(Rc::new),
        authority: url.authority().map_or(host, ToString::to_string),
        path: url
            .path_and_query()
            .map_or_else(|| "/".to_owned(), ToString::to_string),
    })
}

fn find(arguments: &Arguments, host: &str, port: u16) -> Result<SocketAddr> {
    let told = arguments
        .resolve
        .iter()
        .find(|told| told.host == host && told.port == port);
    if let Some(told) = told {
        return Ok(SocketAddr::new(told.address, port));
    }
    let mut found = (host, port).to_socket_addrs().with_context(|| {
        format!("looking up {host}; `--resolve {host}:{port}:ADDRESS` says where it is")
    })?;
    found
        .next()
        .with_context(|| format!("{host} has no address"))
}

fn tls(arguments: &Arguments, host: &str, h2: bool) -> Result<Tls> {
    let read =
        |path: &Path| std::fs::read(path).with_context(|| format!("reading {}", path.display()));
    let belief = match &arguments.cacert {
        Some(path) => Belief::Authorities(read(path)?),
        None if arguments.insecure => Belief::Everybody,
        None => Belief::System,
    };
    let identity = match (&arguments.cert, &arguments.key) {
        (Some(cert), Some(key)) => Some(Identity {
            chain_pem: read(cert)?,
            key_pem: read(key)?,
        }),
        _ => None,
    };
    let groups = arguments.groups.clone();
    Tls::new(&TlsSettings {
        server_name: host.to_owned(),
        belief,
        identity,
        h2,
        groups,
    })
}

fn say(outcome: &Outcome, pace: Pace) -> String {
    let latency = &outcome.latency;
    let from = match pace {
        Pace::Closed => "from the sending (closed loop)".to_owned(),
        Pace::Open(rate) => format!("from the intended time (open loop, {rate} per second)"),
    };
    let mut out = format!(
        "{} answers in {:.2} s: {:.0} per second\n\
         latency {from}\n  p50 {}  p90 {}  p99 {}  p99.9 {}  max {}\n",
        outcome.answers,
        outcome.seconds,
        outcome.rate(),
        duration(latency.p50_ns),
        duration(latency.p90_ns),
        duration(latency.p99_ns),
        duration(latency.p999_ns),
        duration(latency.max_ns),
    );
    for (status, count) in &outcome.statuses {
        out.push_str(&format!("  status {status}: {count}\n"));
    }
    if outcome.handshakes > 0 {
        let (all, resumed) = (outcome.handshakes, outcome.resumed);
        out.push_str(&format!(
            "  handshakes: {all}, of which resumed: {resumed}\n"
        ));
    }
    for (error, count) in &outcome.errors {
        out.push_str(&format!("  failed {count} times: {error}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves_as_curl_does() {
        let ours = |address: &str| Resolve {
            host: "api.example.test".into(),
            port: 8443,
            address: address.parse().unwrap(),
        };
        assert_eq!(
            resolve("API.example.test:8443:127.0.0.1"),
            Ok(ours("127.0.0.1"))
        );
        assert_eq!(resolve("api.example.test:8443:[::1]"), Ok(ours("::1")));
        for wrong in ["", "a:b", "a:1:localhost", "a:x:127.0.0.1"] {
            assert!(resolve(wrong).is_err(), "{wrong}");
        }
    }
}
