//! `postern steer`: the state of steering, which brings connections to the worker that owns their
//! host.

mod watch;

use std::io::Write as _;
use std::time::{Duration, Instant};

use clap::Subcommand;
use serde_json::Value;

use crate::cli::client::Client;
use crate::cli::client::names::{OWN, text};
use crate::cli::output::table::{Table, harmless, list};
use crate::cli::output::{CliError, Output, json_text};

#[derive(Debug, Subcommand)]
pub(crate) enum Steer {
    /// Show the steering mode, its changes to the system, and the worker of each host
    ///
    /// Worker numbers start at 0. Load is in CPUs: 0.5 is half of a worker's. STEERED, OVER BUDGET
    /// and BLOCKED are what the kernel decided about the host's ClientHellos, HANDED OVER are
    /// connections that one worker passed to another.
    Status {
        /// Redraw every SECONDS (1 when none are given), with rates per second, until Ctrl-C or the
        /// gateway's end
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1",
              value_parser = clap::value_parser!(u64).range(1..=3_600))]
        watch: Option<u64>,
    },
    /// Print the kernel's decisions about new connections as they happen
    ///
    /// Ends after COUNT decisions, or with Ctrl-C. The kernel records nothing while no trace runs.
    Trace {
        /// Only one in this many, chosen at random
        #[arg(long, value_name = "N", default_value_t = 1)]
        every: u32,
        /// End after this many decisions
        #[arg(long, value_name = "COUNT")]
        count: Option<usize>,
        /// End after this many seconds
        #[arg(long, value_name = "SECONDS")]
        seconds: Option<u64>,
    },
}

impl Steer {
    pub(crate) fn run(self, client: &Client, json: bool) -> Output {
        match self {
            Self::Status {
                watch: Some(seconds),
            } => watch::watch(client, json, Duration::from_secs(seconds)),
            Self::Status { watch: None } => {
                let status = client.get(&format!("{OWN}/steering"))?;
                Ok(if json {
                    json_text(&status)
                } else {
                    page(&status, None)
                })
            }
            Self::Trace {
                every,
                count,
                seconds,
            } => trace(client, json, every.max(1), count, seconds),
        }
    }
}

fn trace(
    client: &Client,
    json: bool,
    every: u32,
    count: Option<usize>,
    seconds: Option<u64>,
) -> Output {
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut left = count.unwrap_or(usize::MAX);
    while left > 0 && end.is_none_or(|end| Instant::now() < end) {
        let path = format!("{OWN}/steering/trace?every={every}&milliseconds=500");
        let answer = client.get(&path)?;
        if answer.get("kernel").and_then(Value::as_bool) != Some(true) {
            let why = "the kernel does not steer; `postern steer status` says why";
            return Err(CliError::Failed(why.into()));
        }
        let events = answer.get("events").and_then(Value::as_array);
        for event in events.into_iter().flatten().take(left) {
            let line = if json {
                event.to_string()
            } else {
                decision(event)
            };
            // A reader that has seen enough ends this.
            if writeln!(std::io::stdout(), "{line}").is_err() {
                left = 0;
                break;
            }
            left -= 1;
        }
    }
    client.get(&format!("{OWN}/steering/trace?every=0"))?;
    Ok(String::new())
}

/// One decision on one line.
fn decision(event: &Value) -> String {
    let dropped = event.get("dropped").and_then(Value::as_bool) == Some(true);
    let end = match (text(event, "worker"), dropped) {
        (_, true) => "dropped".into(),
        (worker, false) if worker.is_empty() => "passed".into(),
        (worker, false) => format!("worker {worker}"),
    };
    let host = text(event, "host");
    let host = if host.is_empty() {
        "-".to_owned()
    } else {
        host
    };
    harmless(&format!(
        "{} -> {}  {host}  {}  {end}",
        text(event, "client"),
        text(event, "local"),
        text(event, "decided"),
    ))
}

/// The status, and with `rates` (see [`watch::rates`]) what was added a second.
pub(crate) fn page(status: &Value, rates: Option<&Value>) -> String {
    let all = |key: &str| {
        let values = status.get(key).and_then(Value::as_array);
        values.cloned().unwrap_or_default()
    };
    let joined = |key: &str| all(key).iter().map(plain).collect::<Vec<_>>().join(", ");
    let interfaces: Vec<String> = all("interfaces")
        .iter()
        .map(|one| format!("{} ({})", text(one, "name"), text(one, "xdp")))
        .collect();
    let mut out = list(&[
        ("mode", text(status, "mode")),
        ("reason", text(status, "reason")),
        ("by hand-over", text(status, "by_handoff")),
        ("workers", text(status, "workers")),
        ("interfaces", interfaces.join(", ")),
        ("ports", joined("ports")),
        ("changes", joined("changes")),
        ("synproxy", text(status, "synproxy")),
        ("moves", text(status, "moves")),
    ]);
    if let Some(kernel) = status.get("kernel").and_then(Value::as_object) {
        let heading = rates.map_or("", |_| "A SECOND");
        let mut table = Table::new(&["SEGMENTS", "COUNT", heading]);
        for (reason, count) in kernel {
            let rate = rates.and_then(|rates| rates.get("kernel")?.get(reason));
            let rate = rate.map(plain).unwrap_or_default();
            table.row([reason.clone(), plain(count), rate]);
        }
        out.push('\n');
        out.push_str(&table.text(""));
    }
    let hosts = all("hosts");
    if !hosts.is_empty() {
        let mut table = Table::new(&[
            "HOST",
            "WORKERS",
            "LOAD",
            "STEERED",
            "HANDED OVER",
            "OVER BUDGET",
            "BLOCKED",
            "",
        ]);
        let shown = rates.and_then(|rates| rates.get("hosts")?.as_array());
        for (at, host) in hosts.iter().enumerate() {
            let workers = host.get("workers").and_then(Value::as_array);
            let workers: Vec<String> = workers.into_iter().flatten().map(plain).collect();
            let pinned = host.get("pinned").and_then(Value::as_bool) == Some(true);
            // While it is watched, what was added a second instead of the sums.
            let counts = shown.map_or(Some(host), |shown| shown.get(at));
            let count = |of: &str, word: &str| {
                let count = counts.and_then(|counts| counts.get(of)?.get(word));
                count.map_or_else(|| "-".to_owned(), plain)
            };
            table.row([
                text(host, "host"),
                workers.join(","),
                text(host, "load"),
                count("kernel", "steered"),
                count("connections", "handoff"),
                count("kernel", "host_budget"),
                count("kernel", "blocked"),
                if pinned {
                    "pinned".into()
                } else {
                    String::new()
                },
            ]);
        }
        out.push('\n');
        out.push_str(&table.text(""));
    }
    out
}

/// A value without quotes.
fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_there_is_shown() {
        let status = json!({
            "mode": "kernel", "reason": null, "workers": 2, "moves": 0,
            "interfaces": [{"name": "eth0", "xdp": "native"}], "ports": [443],
            "changes": ["net.ipv4.tcp_syncookies = 2"],
            "kernel": {"seen": 7, "steered": 6},
            "hosts": [{
                "host": "a.example", "workers": [0, 1], "pinned": true, "load": 0.25,
                "kernel": {"seen": 6, "steered": 5, "host_budget": 1, "blocked": 0},
                "connections": {"kernel": 5, "handoff": 3, "none": 0},
            }],
        });
        assert_eq!(
            page(&status, None),
            "mode        kernel\nworkers     2\ninterfaces  eth0 (native)\nports       443\n\
             changes     net.ipv4.tcp_syncookies = 2\nmoves       0\n\n\
             SEGMENTS  COUNT\nseen      7\nsteered   6\n\n\
             HOST       WORKERS  LOAD  STEERED  HANDED OVER  OVER BUDGET  BLOCKED\n\
             a.example  0,1      0.25  5        3            1            0        pinned\n"
        );
        let rates = json!({
            "seconds": 2.0, "kernel": {"seen": 1.5, "steered": 1.0},
            "hosts": [{"host": "a.example", "kernel": {"steered": 0.5}, "connections": {"handoff": 2.0}}],
        });
        let watched = page(&status, Some(&rates));
        for line in [
            "SEGMENTS  COUNT  A SECOND\nseen      7      1.5\nsteered   6      1.0\n",
            "a.example  0,1      0.25  0.5      2.0          -            -        pinned\n",
        ] {
            assert!(watched.contains(line), "{watched}");
        }
        let off =
            json!({ "mode": "off", "reason": "there is one worker", "workers": 1, "hosts": [] });
        assert_eq!(
            page(&off, None),
            "mode     off\nreason   there is one worker\nworkers  1\n"
        );
    }
}
