//! `postern steer status --watch`: the status page, redrawn, with rates per second.
//!
//! Owns the rounds and the arithmetic; the page is [`super`]'s.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::cli::client::Client;
use crate::cli::client::names::OWN;
use crate::cli::output::{CliError, ClientError, Output};
use crate::cli::steer;

/// Clears a terminal and begins at its top (ECMA-48: CUP, ED).
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Shows the status until somebody ends it, or the gateway does.
pub(crate) fn watch(client: &Client, json: bool, every: Duration) -> Output {
    let ask = || client.get(&format!("{OWN}/steering"));
    let (mut before, mut asked) = (ask()?, Instant::now());
    let mut rates = rates(&before, &before, every);
    loop {
        let page = if json {
            let mut line = before.clone();
            if let Some(line) = line.as_object_mut() {
                line.insert("rates".into(), rates);
            }
            format!("{line}\n")
        } else {
            let clear = if std::io::stdout().is_terminal() {
                CLEAR
            } else {
                ""
            };
            format!("{clear}{}\n", steer::page(&before, Some(&rates)))
        };
        let mut out = std::io::stdout();
        // A reader that has seen enough ends this.
        if out
            .write_all(page.as_bytes())
            .and_then(|()| out.flush())
            .is_err()
        {
            return Ok(String::new());
        }
        std::thread::sleep(every);
        let after = match ask() {
            Err(ClientError::Unreachable { .. }) => {
                return Err(CliError::Failed("the gateway has gone".into()));
            }
            answer => answer?,
        };
        rates = self::rates(&before, &after, asked.elapsed());
        asked = Instant::now();
        before = after;
    }
}

/// What was added a second between two statuses: `seconds`, and every count of `kernel` and of the
/// `hosts` of the second one. A count that went back, because the gateway began anew, has added
/// nothing.
pub(crate) fn rates(before: &Value, after: &Value, passed: Duration) -> Value {
    let seconds = passed.as_secs_f64().max(0.001);
    let hosts = |status: &Value| {
        let hosts = status.get("hosts").and_then(Value::as_array);
        hosts.cloned().unwrap_or_default()
    };
    let earlier = hosts(before);
    // Hosts are in the order of their names on both sides; one that was added or removed moves
    // those behind it.
    let was = |name: Option<&Value>| {
        let key = |host: &Value| host.get("host").and_then(Value::as_str).map(str::to_owned);
        let name = name.and_then(Value::as_str).map(str::to_owned);
        let found = earlier.binary_search_by_key(&name, key).ok();
        found.and_then(|at| earlier.get(at))
    };
    let hosts: Vec<Value> = hosts(after)
        .iter()
        .map(|host| {
            let was = was(host.get("host"));
            let rate = |of: &str| added(was.and_then(|was| was.get(of)), host.get(of), seconds);
            json!({
                "host": host.get("host"),
                "kernel": rate("kernel"),
                "connections": rate("connections"),
            })
        })
        .collect();
    json!({
        "seconds": (seconds * 1e3).round() / 1e3,
        "kernel": added(before.get("kernel"), after.get("kernel"), seconds),
        "hosts": hosts,
    })
}

/// The same of one object of counts; of what was not there before, nothing was added.
fn added(before: Option<&Value>, after: Option<&Value>, seconds: f64) -> Value {
    let Some(after) = after.and_then(Value::as_object) else {
        return Value::Null;
    };
    let rate = |(word, count): (&String, &Value)| {
        let now = count.as_u64().unwrap_or(0);
        let then = before.and_then(|before| before.get(word)?.as_u64());
        #[expect(
            clippy::cast_precision_loss,
            reason = "what one round adds is far below 2^52"
        )]
        let added = now.saturating_sub(then.unwrap_or(now)) as f64;
        (word.clone(), json!((added / seconds * 10.0).round() / 10.0))
    };
    Value::Object(after.iter().map(rate).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_what_was_added_and_never_negative() {
        let status = |seen: u64, hosts: Value| json!({ "kernel": { "seen": seen, "held": 9 }, "hosts": hosts });
        let host = |name: &str, count: u64| json!({ "host": name, "kernel": { "steered": count }, "connections": { "handoff": count } });
        let before = status(10, json!([host("a.example", 5), host("c.example", 7)]));
        let after = status(
            25,
            json!([
                host("a.example", 8),
                host("b.example", 4),
                host("c.example", 1)
            ]),
        );
        assert_eq!(
            rates(&before, &after, Duration::from_secs(2)),
            json!({
                "seconds": 2.0, "kernel": { "seen": 7.5, "held": 0.0 },
                "hosts": [
                    { "host": "a.example", "kernel": { "steered": 1.5 }, "connections": { "handoff": 1.5 } },
                    { "host": "b.example", "kernel": { "steered": 0.0 }, "connections": { "handoff": 0.0 } },
                    { "host": "c.example", "kernel": { "steered": 0.0 }, "connections": { "handoff": 0.0 } },
                ],
            })
        );
        let off = json!({ "kernel": null, "hosts": [] });
        let nothing = rates(&off, &off, Duration::ZERO);
        assert_eq!(
            nothing,
            json!({ "seconds": 0.001, "kernel": null, "hosts": [] })
        );
    }
}
