//! What `bench flood` says.

use super::{Flood, bounds};
use crate::report::text::duration;

/// The table's head.
pub(super) fn head() -> String {
    format!(
        "{:<20} {:>22} {:>7} {:>7} {:>6} {:>6} {:>9} {:>9} {:>8} {:>9} {:>9} {:>7}\n",
        "attack",
        "attacker",
        "sent",
        "cores",
        "lines",
        "shakes",
        "requests",
        "origin",
        "grew",
        "p99 idle",
        "p99",
        "times",
    )
}

/// A line of the table.
pub(super) fn row(flood: &Flood) -> String {
    let fate = flood.attacker;
    let attacker = if fate.closed == fate.opened {
        format!("closed after {:.2} s", fate.last_closed_s)
    } else {
        format!("held, {} of {}", fate.opened - fate.closed, fate.opened)
    };
    let beyond = flood.beyond();
    let kept = if beyond.is_empty() {
        String::new()
    } else {
        format!("  BEYOND: {}", beyond.join(", "))
    };
    format!(
        "{:<20} {attacker:>22} {:>7} {:>7.3} {:>6} {:>6} {:>9} {:>9} {:>8} {:>9} {:>9} {:>7.1}{}\n",
        flood.name,
        mebibytes(fate.bytes),
        (flood.cores - flood.cores_idle).max(0.0),
        flood.lines,
        flood.handshakes,
        format!("{}/{}", flood.let_through, flood.requests),
        flood.origin_connections,
        mebibytes(flood.growth),
        duration(flood.p99_idle_ns),
        duration(flood.p99_ns),
        flood.p99_ns as f64 / flood.p99_idle_ns.max(1) as f64,
        kept,
    )
}

/// What the columns are.
pub(super) fn foot() -> String {
    format!(
        "sent, grew: MiB; cores: of the gateway, less what the visitor takes (at most {}); lines: in \
         both logs, but for requests and handshakes (at most {}); shakes: handshakes that failed, a \
         line each (at most one a connection); requests: of the attacker, sent on of all; origin: \
         connections to it begun; grew: at most {}; times: p99 beside the attacker to p99 without \
         (at most {})\n",
        bounds::CORES,
        bounds::LINES,
        bounds::GROWTH >> 20,
        bounds::P99_TIMES,
    )
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}
