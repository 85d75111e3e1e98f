//! Floods, and what other clients see meanwhile. Two experiments, each in turns (A-B-C-C-B-A),
//! between network namespaces that the run makes itself:
//!
//! `syn`: SYNs from random addresses at a steady rate, and visitors who want a handshake and an
//! answer. Ways: `off` (no steering, the stack as it comes), `kernel` (steering, cookies by the
//! stack), `synproxy` (cookies by the XDP program). `neighbour`: one host is flooded with full
//! handshakes, as many at once as clients can make, and visitors come to another host. Ways: `off`
//! and `kernel`, where the two hosts belong to different workers.
//!
//! Visitors, flood and gateway share the machine's CPUs; so does whatever else runs there. What is
//! compared is the ways beside each other. Needs root.
//!
//! `cargo bench -p bench --bench flood [-- syn | neighbour] [SYNS_PER_SECOND]`

#![expect(
    clippy::unwrap_used,
    reason = "a measurement that cannot be made ends with the reason"
)]

mod kernel;
mod neighbour;
mod sender;
mod syn;
mod visitors;

use std::collections::BTreeMap;

use bench::machine::Machine;
use tests::Network;

/// SYNs a second when nothing else is asked for.
const RATE: u32 = 60_000;

fn main() {
    // `cargo test` passes a flag of its own.
    if std::env::args().any(|text| text == "--test") {
        return;
    }
    let asked = |name: &str| std::env::args().any(|text| text == name);
    let both = asked("syn") == asked("neighbour");
    let rate = std::env::args().skip(1).find_map(|text| text.parse().ok());
    println!("{:?}", Machine::describe());
    if both || asked("syn") {
        syn::run(rate.unwrap_or(RATE));
    }
    if both || asked("neighbour") {
        neighbour::run();
    }
}

/// Gives every way its turn in a network of its own, so many times, there and back; nothing without
/// the privileges.
fn in_turns<T: Default>(
    ways: &[&'static str],
    turns: usize,
    mut turn: impl FnMut(&Network, &'static str, &mut T),
) -> Option<BTreeMap<&'static str, T>> {
    let mut sums: BTreeMap<&str, T> = BTreeMap::new();
    for number in 0..turns {
        let mut ways = ways.to_vec();
        if number % 2 == 1 {
            ways.reverse();
        }
        for way in ways {
            let network = Network::new("bench flood")?;
            turn(&network, way, sums.entry(way).or_default());
        }
    }
    Some(sums)
}
