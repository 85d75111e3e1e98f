//! What was measured, as data: JSON is this; text, plot and page are made from it.

pub mod html;
pub mod svg;
pub mod text;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::client::{Kind, Latency, Outcome};
use crate::machine::{Machine, Placement};
use crate::peers::Name;

/// Everything that `bench compare` found.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Where.
    pub machine: Machine,
    /// On which CPUs.
    pub place: Placement,
    /// Who took part, in their own words.
    pub versions: BTreeMap<Name, String>,
    /// Whether peers added the headers that Postern adds.
    pub equal_headers: bool,
    /// One for each mode, with certificate and without.
    pub scenarios: Vec<Scenario>,
}

/// One kind of work.
#[derive(Debug, Clone, Serialize)]
pub struct Scenario {
    /// What one operation is.
    pub mode: Kind,
    /// Whether clients had a certificate, and the proxies required it.
    pub certificate: bool,
    /// Requests at once.
    pub at_once: usize,
    /// Connections at once.
    pub connections: usize,
    /// Streams on each.
    pub streams: usize,
    /// Bytes of each content, where they are what counts: an operation is a GiB then.
    pub content: Option<u64>,
    /// Rounds of A-B-B-A.
    pub rounds: usize,
    /// How long each run was.
    pub seconds: f64,
    /// Who did it.
    pub peers: Vec<Measured>,
}

/// One proxy at one kind of work.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// Which.
    pub name: Name,
    /// In its own words.
    pub version: String,
    /// CPU time per operation, closed loop, in nanoseconds.
    pub cpu_ns: Spread,
    /// The same as part of each other's in the same round.
    pub of: BTreeMap<Name, Spread>,
    /// Operations per second, closed loop.
    pub rate: Spread,
    /// The part of one CPU that it took, closed loop: below 1 the client was the limit.
    pub cpu_share: Spread,
    /// The runs of the closed loop.
    pub closed_loop: Vec<Outcome>,
    /// The open loop, at each rate.
    pub open_loop: Vec<OpenLoop>,
}

/// One rate of the open loop.
#[derive(Debug, Clone, Serialize)]
pub struct OpenLoop {
    /// In percent of what the slowest proxy could do.
    pub percent: u16,
    /// Operations per second.
    pub rate: f64,
    /// Of the run with the median p99.
    pub latency: Latency,
    /// 99.9 % of answers of each run came within so many nanoseconds.
    pub p999_ns: Spread,
    /// CPU time per operation, in nanoseconds.
    pub cpu_ns: Spread,
    /// All runs.
    pub runs: Vec<Outcome>,
}

/// A figure that was measured several times.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of nothing it is zero.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or_default();
        let (count, middle) = (values.len(), values.len() / 2);
        let median = if count % 2 == 1 {
            at(middle)
        } else {
            (at(middle.saturating_sub(1)) + at(middle)) / 2.0
        };
        Self {
            median,
            min: at(0),
            max: at(count.saturating_sub(1)),
        }
    }
}

impl Measured {
    /// Sums up the runs of the closed loop.
    #[must_use]
    pub fn new(name: Name, version: String, closed_loop: Vec<Outcome>) -> Self {
        let runs = &closed_loop;
        Self {
            name,
            version,
            cpu_ns: Spread::of(runs.iter().map(Outcome::cpu_ns_per_operation)),
            of: BTreeMap::new(),
            rate: Spread::of(runs.iter().map(Outcome::rate)),
            cpu_share: Spread::of(runs.iter().map(Outcome::cpu_share)),
            closed_loop,
            open_loop: Vec::new(),
        }
    }

    /// CPU time per operation of each round: the mean of its two runs.
    fn rounds(&self) -> Vec<f64> {
        let mean = |pair: &[Outcome]| {
            let sum: f64 = pair.iter().map(Outcome::cpu_ns_per_operation).sum();
            sum / pair.len().max(1) as f64
        };
        self.closed_loop.chunks(2).map(mean).collect()
    }

    /// All runs, of both loops.
    pub fn runs(&self) -> impl Iterator<Item = &Outcome> {
        self.closed_loop
            .iter()
            .chain(self.open_loop.iter().flat_map(|open| &open.runs))
    }
}

impl OpenLoop {
    /// Sums up the runs at one rate.
    #[must_use]
    pub fn new(percent: u16, rate: f64, runs: Vec<Outcome>) -> Self {
        let mut by_p99: Vec<&Outcome> = runs.iter().collect();
        by_p99.sort_by_key(|outcome| outcome.latency.p99_ns);
        let middle = by_p99.get(by_p99.len() / 2);
        let latency = middle
            .map(|outcome| outcome.latency.clone())
            .unwrap_or_default();
        let cpu_ns = Spread::of(runs.iter().map(Outcome::cpu_ns_per_operation));
        Self {
            percent,
            rate,
            latency,
            p999_ns: Spread::of(runs.iter().map(|run| run.latency.p999_ns as f64)),
            cpu_ns,
            runs,
        }
    }
}

/// Relates every peer to every other, round by round.
pub fn relate(peers: &mut [Measured]) {
    let all: Vec<_> = peers
        .iter()
        .map(|peer| (peer.name, peer.rounds()))
        .collect();
    for peer in peers {
        let ours = peer.rounds();
        for (name, theirs) in all.iter().filter(|(name, _)| *name != peer.name) {
            let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs);
            peer.of.insert(*name, Spread::of(ratios));
        }
    }
}

impl Comparison {
    /// Requests that failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        let peers = self.scenarios.iter().flat_map(|scenario| &scenario.peers);
        peers.flat_map(Measured::runs).map(bad).sum()
    }
}

/// Requests of a run that were not answered with success.
#[must_use]
pub fn bad(outcome: &Outcome) -> u64 {
    let refused = |(status, count): (&u16, &u64)| (!(200..300).contains(status)).then_some(*count);
    outcome.failures + outcome.statuses.iter().filter_map(refused).sum::<u64>()
}

/// Writes a report to a file.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    println!("written: {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads() {
        type Case = (&'static [f64], (f64, f64, f64));
        let cases: &[Case] = &[
            (&[], (0.0, 0.0, 0.0)),
            (&[3.0], (3.0, 3.0, 3.0)),
            (&[3.0, 1.0], (2.0, 1.0, 3.0)),
            (&[9.0, 1.0, 2.0], (2.0, 1.0, 9.0)),
        ];
        for (values, (median, min, max)) in cases {
            let spread = Spread::of(values.iter().copied());
            assert_eq!(
                (spread.median, spread.min, spread.max),
                (*median, *min, *max)
            );
        }
    }
}
