//! Reports for people.

use super::{Comparison, Measured, Scenario, Spread, bad};
use crate::client::{Kind, Outcome};
use crate::peers::Name;

/// One scenario: CPU per operation, then latencies.
#[must_use]
pub fn scenario(scenario: &Scenario) -> String {
    let mut out = String::new();
    line(&mut out, &title(scenario));
    line(
        &mut out,
        &format!(
            "  closed loop, {} rounds of A-B-B-A, {} s each",
            scenario.rounds, scenario.seconds
        ),
    );
    let unit = unit(scenario.mode);
    let head = format!("CPU/{unit}");
    line(
        &mut out,
        &format!(
            "  {:<9} {head:>29} {:>18} {:>18} {:>10} {:>6}",
            "", "of floor", "of nginx", "per second", "busy"
        ),
    );
    for peer in &scenario.peers {
        let cpu = if scenario.mode.counts_bytes() {
            spread(peer.cpu_ns, |value| format!("{:.1}", value / 1e6)) + " ms"
        } else {
            spread(peer.cpu_ns, |value| format!("{:.2}", value / 1e3)) + " µs"
        };
        let of = |name| {
            let of: Option<&Spread> = peer.of.get(&name);
            of.map_or_else(String::new, |of| spread(*of, |value| format!("{value:.2}")))
        };
        line(
            &mut out,
            &format!(
                "  {:<9} {cpu:>29} {:>18} {:>18} {:>10} {:>4.0} %",
                peer.name.as_str(),
                of(Name::Floor),
                of(Name::Nginx),
                count(peer.rate.median),
                peer.cpu_share.median * 100.0
            ),
        );
    }
    latencies(&mut out, scenario);
    for peer in &scenario.peers {
        complaints(&mut out, scenario.mode, peer);
    }
    out.push('\n');
    out
}

/// What an operation is called.
pub(super) fn unit(mode: Kind) -> &'static str {
    match mode {
        Kind::Keepalive | Kind::H2 => "request",
        Kind::Grpc => "call",
        Kind::Handshakes | Kind::Resumed => "connection",
        Kind::Download | Kind::Upload => "GiB",
    }
}

/// Operations per second, with as many digits as say something.
fn count(rate: f64) -> String {
    if rate < 100.0 {
        format!("{rate:.2}")
    } else {
        format!("{rate:.0}")
    }
}

fn latencies(out: &mut String, scenario: &Scenario) {
    let Some(first) = scenario.peers.first() else {
        return;
    };
    for (index, open) in first.open_loop.iter().enumerate() {
        line(
            out,
            &format!(
                "  open loop, {:.0} per second ({} % of the slowest), from the intended time",
                open.rate, open.percent
            ),
        );
        line(
            out,
            &format!(
                "  {:<9} {:>10} {:>10} {:>10} {:>10} {:>14}",
                "", "p50", "p99", "p99.9", "max", "CPU"
            ),
        );
        for peer in &scenario.peers {
            let Some(open) = peer.open_loop.get(index) else {
                continue;
            };
            let latency = &open.latency;
            line(
                out,
                &format!(
                    "  {:<9} {:>10} {:>10} {:>10} {:>10} {:>14}",
                    peer.name.as_str(),
                    duration(latency.p50_ns),
                    duration(latency.p99_ns),
                    duration_of(open.p999_ns.median),
                    duration(latency.max_ns),
                    format!("{:.2} µs", open.cpu_ns.median / 1000.0),
                ),
            );
        }
    }
}

/// What is wrong with a peer's numbers.
fn complaints(out: &mut String, mode: Kind, peer: &Measured) {
    let name = peer.name.as_str();
    let failed: u64 = peer.runs().map(bad).sum();
    if failed > 0 {
        line(out, &format!("  ! {name}: {failed} requests failed"));
        for (text, count) in peer.runs().flat_map(|run| &run.errors).take(5) {
            line(out, &format!("  !   {count} times: {text}"));
        }
        for (status, count) in peer.runs().flat_map(|run| &run.statuses) {
            if !(200..300).contains(status) {
                line(out, &format!("  !   {count} times: status {status}"));
            }
        }
    }
    let sum = |what: fn(&Outcome) -> u64| peer.runs().map(what).sum::<u64>();
    let (handshakes, resumed) = (sum(|run| run.handshakes), sum(|run| run.resumed));
    // The first connections of a run have no ticket yet.
    if mode == Kind::Resumed && resumed * 10 < handshakes * 9 {
        line(
            out,
            &format!("  ! {name}: only {resumed} of {handshakes} handshakes were resumed"),
        );
    }
}

/// What the numbers stand on.
#[must_use]
pub fn ground(comparison: &Comparison) -> String {
    let machine = &comparison.machine;
    let mut out = format!(
        "{}, {} CPUs, Linux {}, load {:.1} at the beginning\n",
        machine.cpu, machine.cpu_count, machine.kernel, machine.load_before
    );
    if let (Some(client), Some(proxy)) = (comparison.place.client, comparison.place.proxy) {
        line(
            &mut out,
            &format!("client and origin on CPU {client}, proxies on CPU {proxy}"),
        );
    }
    for (name, version) in &comparison.versions {
        line(&mut out, &format!("{}: {version}", name.as_str()));
    }
    let headers = if comparison.equal_headers {
        "too"
    } else {
        "not"
    };
    line(
        &mut out,
        &format!(
            "one worker each, ECDSA P-256, X25519, no access log; Postern adds forwarding headers \
             and a request id, the others do {headers}"
        ),
    );
    out
}

/// What a scenario is called.
#[must_use]
pub fn title(scenario: &Scenario) -> String {
    let mode = match scenario.mode {
        Kind::Keepalive => "keep-alive requests, HTTP/1.1",
        Kind::Handshakes => "full handshakes, one request each",
        Kind::Resumed => "resumed handshakes, one request each",
        Kind::H2 => "requests, HTTP/2 to HTTP/1.1",
        Kind::Grpc => "unary gRPC calls, HTTP/2 to HTTP/2",
        Kind::Download => "bodies down, HTTP/1.1",
        Kind::Upload => "bodies up, HTTP/1.1",
    };
    let certificate = if scenario.certificate {
        "with"
    } else {
        "without"
    };
    let streams = match scenario.streams {
        1 => String::new(),
        count => format!(" of {count} streams"),
    };
    let connections = scenario.connections;
    let noun = if connections == 1 {
        "connection"
    } else {
        "connections"
    };
    let content = scenario
        .content
        .map_or_else(String::new, |bytes| format!(", {bytes} bytes each"));
    format!("{mode}, {certificate} client certificate, {connections} {noun}{streams}{content}")
}

/// Nanoseconds in the unit that reads best.
#[must_use]
pub fn duration(nanoseconds: u64) -> String {
    let value = nanoseconds as f64;
    match nanoseconds {
        0..10_000 => format!("{:.2} µs", value / 1e3),
        10_000..1_000_000 => format!("{:.0} µs", value / 1e3),
        1_000_000..10_000_000 => format!("{:.2} ms", value / 1e6),
        10_000_000..1_000_000_000 => format!("{:.0} ms", value / 1e6),
        _ => format!("{:.2} s", value / 1e9),
    }
}

/// As [`duration`], of a figure that was averaged.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive time below 500 years"
)]
pub fn duration_of(nanoseconds: f64) -> String {
    duration(nanoseconds.round() as u64)
}

fn spread(spread: Spread, show: impl Fn(f64) -> String) -> String {
    format!(
        "{} ({}–{})",
        show(spread.median),
        show(spread.min),
        show(spread.max)
    )
}

fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let cases = [
            (1_234, "1.23 µs"),
            (123_400, "123 µs"),
            (1_234_000, "1.23 ms"),
            (12_340_000, "12 ms"),
            (61_000_000_000, "61.00 s"),
        ];
        for (nanoseconds, text) in cases {
            assert_eq!(duration(nanoseconds), text);
        }
    }
}
