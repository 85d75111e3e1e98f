//! `postern status`: the state of a running gateway.

use std::time::Duration;

use serde_json::Value;

use super::client::Client;
use super::client::names::{OWN, text};
use super::output::table::{harmless, list};
use super::output::{Output, json_text};

pub(super) fn status(client: &Client, json: bool) -> Output {
    let status = client.get(&format!("{OWN}/status"))?;
    Ok(if json {
        json_text(&status)
    } else {
        lines(&status)
    })
}

fn lines(status: &Value) -> String {
    let steered = status.get("steering").cloned().unwrap_or_default();
    let mut steering = match (text(&steered, "mode"), text(&steered, "reason")) {
        (mode, reason) if reason.is_empty() => mode,
        (mode, reason) => format!("{mode} ({reason})"),
    };
    let by_handoff = text(&steered, "by_handoff");
    if !by_handoff.is_empty() {
        steering.push_str(&format!(
            "; from {by_handoff} (PROXY protocol) by hand-over"
        ));
    }
    let number = |key: &str| status.get(key).and_then(Value::as_f64);
    let state = match status.get("draining").and_then(Value::as_bool) {
        Some(true) => "draining: finishes requests, takes none",
        _ if status.get("ready").and_then(Value::as_bool) == Some(false) => "starting",
        _ => "running",
    };
    list(&[
        ("version", text(status, "version")),
        ("state", state.into()),
        (
            "uptime",
            number("uptime_seconds").map(uptime).unwrap_or_default(),
        ),
        ("generation", text(status, "generation")),
        ("trust epoch", text(status, "trust_epoch")),
        ("zones", text(status, "zones")),
        ("hosts", hosts(status)),
        ("workers", text(status, "workers")),
        ("steering", steering),
        ("requests", text(status, "requests_total")),
        ("latency", latency(status)),
        ("fleet", fleet(status)),
    ])
}

/// How it stands to its fleet; empty without one.
fn fleet(status: &Value) -> String {
    let Some(fleet) = status.get("fleet").filter(|fleet| fleet.is_object()) else {
        return String::new();
    };
    let of = |name: &str| harmless(&text(fleet, name));
    let name = of("name");
    let age = fleet.get("age_seconds").and_then(Value::as_f64);
    match of("state").as_str() {
        "current" => format!("{name}, edge {}: current", of("edge")),
        "alone" => format!("{name} is configured, and not joined"),
        state => format!(
            "{name}, edge {}: {state}, {:.0} s old (`postern fleet status`)",
            of("edge"),
            age.unwrap_or_default()
        ),
    }
}

/// `p50 1.2 ms, p99 8 ms`; empty before the first request.
fn latency(status: &Value) -> String {
    let Some(all) = status.get("latency_seconds").and_then(Value::as_object) else {
        return String::new();
    };
    ["p50", "p99", "p999"]
        .iter()
        .filter_map(|name| Some(format!("{name} {:.2} ms", all.get(*name)?.as_f64()? * 1e3)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// How many there are, and how many of them cannot be served.
fn hosts(status: &Value) -> String {
    let number = |key: &str| status.get(key).and_then(Value::as_u64);
    match (number("hosts"), number("hosts_served")) {
        (Some(all), Some(served)) if served < all => {
            format!(
                "{all}, of which {} have no server certificate (`postern host list` shows them)",
                all - served
            )
        }
        _ => text(status, "hosts"),
    }
}

/// `3d 4h 5m`, the two or three parts that matter.
fn uptime(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds)
        .unwrap_or_default()
        .as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h {minutes}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_there_is_shown() {
        let status = json!({
            "version": "0.1.0", "uptime_seconds": 90061.5, "generation": 7, "workers": 2, "hosts": 3,
            "steering": {"mode": "off", "reason": "no eBPF object"}, "draining": false, "ready": true,
            "latency_seconds": {"p50": 0.0012, "p99": 0.008, "p999": null},
        });
        assert_eq!(
            lines(&status),
            "version     0.1.0\nstate       running\nuptime      1d 1h 1m\ngeneration  7\nhosts       3\nworkers     2\nsteering    off (no eBPF object)\nlatency     p50 1.20 ms, p99 8.00 ms\n"
        );
        for (fleet, wanted) in [
            (json!(null), ""),
            (
                json!({"name": "prod", "edge": "a", "state": "current"}),
                "prod, edge a: current",
            ),
            (
                json!({"name": "prod", "edge": "a", "state": "away", "age_seconds": 61.2}),
                "prod, edge a: away, 61 s old (`postern fleet status`)",
            ),
            (
                json!({"name": "prod", "edge": "a", "state": "alone"}),
                "prod is configured, and not joined",
            ),
        ] {
            assert_eq!(super::fleet(&json!({ "fleet": fleet })), wanted);
        }
        for (seconds, wanted) in [
            (0.0, "0s"),
            (59.9, "59s"),
            (61.0, "1m 1s"),
            (3_700.0, "1h 1m"),
            (-1.0, "0s"),
        ] {
            assert_eq!(uptime(seconds), wanted);
        }
    }
}
