//! The steps of the last hour, each packed into bytes.
//!
//! A step has, for each host that did something, what was counted and the buckets of each stage that
//! were hit, as numbers of variable length: a busy host takes some hundred bytes. The oldest steps go
//! when they are an hour old, or when all together are too large: then the hour is shorter.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::buckets::{Counts, bounds};
use crate::limits::{SERIES_BYTES_MAX, SERIES_STEP, SERIES_STEPS_MAX};
use datapath::observe::stats::HostStats;
use datapath::observe::tally::OUTCOMES;
use datapath::observe::{Stage, WorkerStats};

const STAGES: usize = Stage::ALL.len();

/// What one worker had counted of one host when it was last looked.
#[derive(Default)]
struct Before {
    stages: [Vec<(u8, u64)>; STAGES],
    requests: u64,
    blocked: u64,
    refused: u64,
}

/// What one host did in one step, or in several.
#[derive(Default, Clone)]
struct Done {
    stages: [Option<Counts>; STAGES],
    requests: u64,
    blocked: u64,
    refused: u64,
}

struct Step {
    /// When it ended, in seconds since the epoch.
    at: i64,
    /// Where each host's part begins, in the order of hosts.
    places: Box<[(u32, u32)]>,
    bytes: Box<[u8]>,
}

impl Step {
    fn size(&self) -> usize {
        self.bytes.len() + size_of_val(&*self.places)
    }
}

#[derive(Default)]
struct Inner {
    names: HashMap<Box<str>, u32>,
    before: HashMap<(usize, u32), Before>,
    steps: VecDeque<Step>,
    bytes: usize,
}

/// The series of all hosts.
#[derive(Default)]
pub(crate) struct Series(Mutex<Inner>);

impl Series {
    /// Adds a step that ends now. `statistics` are the workers' of now, since their start.
    pub(super) fn add(&self, now: i64, statistics: &[WorkerStats]) {
        let mut inner = self.lock();
        let mut done: BTreeMap<u32, Done> = BTreeMap::new();
        for worker in statistics {
            for host in &worker.hosts {
                inner.note(worker.worker, host, &mut done);
            }
        }
        inner.push(now, &done);
    }

    /// What these hosts did (all of them for `None`) since a moment: percentiles of each stage in each
    /// step, and the histograms of the whole time.
    pub(crate) fn of(&self, hosts: Option<&[String]>, since: i64) -> Value {
        let inner = self.lock();
        let wanted: Option<Vec<u32>> = hosts.map(|hosts| inner.numbers(hosts));
        let mut whole = Done::default();
        let mut at = Vec::new();
        let mut steps = Vec::new();
        for step in inner.steps.iter().filter(|step| step.at > since) {
            let mut done = Done::default();
            let places = step.places.iter();
            let is_wanted = |host: &u32| {
                wanted
                    .as_ref()
                    .is_none_or(|all| all.binary_search(host).is_ok())
            };
            for (_, place) in places.filter(|(host, _)| is_wanted(host)) {
                done.read(&step.bytes, *place);
            }
            whole.add(&done);
            at.push(step.at);
            steps.push(done);
        }
        drop(inner);
        let of_step = |count: fn(&Done) -> u64| steps.iter().map(count).collect::<Vec<_>>();
        let stages = Stage::ALL.into_iter().zip(&whole.stages);
        let stages = stages.filter_map(|(stage, counts)| {
            let series = steps
                .iter()
                .map(|done| done.stages.get(stage as usize)?.as_ref());
            let series: Vec<Option<&Counts>> = series.collect();
            Some((stage.as_str().to_owned(), shown(counts.as_ref()?, &series)))
        });
        json!({
            "step_seconds": SERIES_STEP.as_secs(),
            "at": at,
            "requests": of_step(|done| done.requests),
            "blocked": of_step(|done| done.blocked),
            "refused": of_step(|done| done.refused),
            "stages": Value::Object(stages.collect()),
        })
    }

    /// What each of these hosts did since a moment, in their order.
    pub(crate) fn each(&self, hosts: &[String], since: i64) -> Vec<Value> {
        let inner = self.lock();
        let each = hosts.iter().map(|name| {
            let mut done = Done::default();
            if let Some(host) = inner.names.get(name.as_str()) {
                for step in inner.steps.iter().filter(|step| step.at > since) {
                    if let Ok(place) = step.places.binary_search_by_key(host, |(host, _)| *host) {
                        let place = step.places.get(place).map_or(0, |(_, place)| *place);
                        done.read(&step.bytes, place);
                    }
                }
            }
            let total = done.stages.get(Stage::Total as usize);
            let total = total.and_then(Option::as_ref);
            let quantile = |quantile| total.and_then(|counts| counts.quantile(quantile));
            json!({
                "host": name,
                "requests": done.requests,
                "blocked": done.blocked,
                "refused": done.refused,
                "p50_seconds": quantile(0.5),
                "p99_seconds": quantile(0.99),
            })
        });
        each.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A step is added whole; what is noted before it is only where the next one begins.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stage for people: percentiles of each step, and the histogram of all.
fn shown(whole: &Counts, steps: &[Option<&Counts>]) -> Value {
    let quantiles = |quantile: f64| -> Vec<Option<f64>> {
        let each = steps
            .iter()
            .map(|step| step.and_then(|one| one.quantile(quantile)));
        each.collect()
    };
    let counts = steps.iter().map(|step| step.map_or(0, Counts::total));
    let histogram = whole.hit().map(|(bucket, count)| {
        let (from, to) = bounds(bucket);
        json!({ "from_ns": from, "to_ns": to, "count": count })
    });
    json!({
        "count": counts.collect::<Vec<_>>(),
        "p50": quantiles(0.5),
        "p90": quantiles(0.9),
        "p99": quantiles(0.99),
        "max": quantiles(1.0),
        "whole": {
            "count": whole.total(),
            "p50": whole.quantile(0.5),
            "p90": whole.quantile(0.9),
            "p99": whole.quantile(0.99),
            "max": whole.quantile(1.0),
        },
        "histogram": histogram.collect::<Vec<_>>(),
    })
}

impl Inner {
    /// Their numbers, in order; of those that have done something.
    fn numbers(&self, hosts: &[String]) -> Vec<u32> {
        let known = hosts
            .iter()
            .filter_map(|name| self.names.get(name.as_str()));
        let mut all: Vec<u32> = known.copied().collect();
        all.sort_unstable();
        all
    }

    /// Notes what a worker has counted of a host, and adds what is new to `done`.
    fn note(&mut self, worker: usize, host: &HostStats, done: &mut BTreeMap<u32, Done>) {
        let next = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        let number = match self.names.get(&host.name) {
            Some(number) => *number,
            None => *self.names.entry(host.name.clone()).or_insert(next),
        };
        let before = self.before.entry((worker, number)).or_default();
        let cells = host.requests.cells();
        let (requests, blocked) = cells.fold((0, 0), |(all, blocked), (_, outcome, _, count)| {
            let is_blocked = OUTCOMES.get(outcome) == Some(&"blocked");
            (all + count, blocked + if is_blocked { count } else { 0 })
        });
        let refused = host
            .handshakes
            .iter()
            .filter(|(word, _)| !matches!(*word, "full" | "resumed"))
            .map(|(_, count)| count)
            .sum();
        let new = Done {
            requests: since(before.requests, requests),
            blocked: since(before.blocked, blocked),
            refused: since(before.refused, refused),
            ..Done::default()
        };
        (before.requests, before.blocked, before.refused) = (requests, blocked, refused);
        let mut new = Some(new).filter(|new| new.requests + new.blocked + new.refused > 0);
        for (stage, histogram) in host.stages.iter().enumerate() {
            let (Some(histogram), Some(before)) = (histogram, before.stages.get_mut(stage)) else {
                continue;
            };
            let known: u64 = before.iter().map(|(_, count)| count).sum();
            if known == histogram.counts.len() {
                continue;
            }
            let mut now = Counts::default();
            now.add_histogram(histogram);
            let mut counts = Counts::default();
            for (bucket, count) in now.hit() {
                let known = before.iter().find(|(known, _)| *known == bucket);
                counts.add(bucket, since(known.map_or(0, |(_, known)| *known), count));
            }
            *before = now.hit().collect();
            let new = new.get_or_insert_default();
            if let Some(slot) = new.stages.get_mut(stage) {
                *slot = Some(counts);
            }
        }
        if let Some(new) = new {
            done.entry(number).or_default().add(&new);
        }
    }

    fn push(&mut self, at: i64, done: &BTreeMap<u32, Done>) {
        let mut bytes = Vec::new();
        let mut places = Vec::with_capacity(done.len());
        for (host, done) in done {
            places.push((*host, u32::try_from(bytes.len()).unwrap_or(u32::MAX)));
            done.write(&mut bytes);
        }
        let step = Step {
            at,
            places: places.into(),
            bytes: bytes.into(),
        };
        self.bytes += step.size();
        self.steps.push_back(step);
        while self.steps.len() > SERIES_STEPS_MAX || self.bytes > SERIES_BYTES_MAX {
            let Some(gone) = self.steps.pop_front() else {
                return;
            };
            self.bytes -= gone.size();
        }
    }
}

/// What was added since. A worker that started over counts from nothing.
fn since(before: u64, now: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}

impl Done {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.blocked += other.blocked;
        self.refused += other.refused;
        for (mine, others) in self.stages.iter_mut().zip(&other.stages) {
            if let Some(others) = others {
                mine.get_or_insert_default().add_all(others);
            }
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        for count in [self.requests, self.blocked, self.refused] {
            write_number(out, count);
        }
        let stages = (0_u64..).zip(&self.stages);
        let stages: Vec<_> = stages
            .filter_map(|(at, one)| Some((at, one.as_ref()?)))
            .collect();
        write_number(out, stages.len() as u64);
        for (stage, counts) in stages {
            write_number(out, stage);
            write_number(out, counts.hit().count() as u64);
            let mut last = 0;
            for (bucket, count) in counts.hit() {
                write_number(out, u64::from(bucket - last));
                write_number(out, count);
                last = bucket;
            }
        }
    }

    /// Adds what was written at a place.
    fn read(&mut self, bytes: &[u8], place: u32) {
        let mut left = bytes.get(place as usize..).unwrap_or_default();
        // What [`Done::write`] wrote is whole.
        self.read_from(&mut left).unwrap_or_default();
    }

    fn read_from(&mut self, left: &mut &[u8]) -> Option<()> {
        self.requests += read_number(left)?;
        self.blocked += read_number(left)?;
        self.refused += read_number(left)?;
        for _ in 0..read_number(left)? {
            let stage = usize::try_from(read_number(left)?).ok()?;
            let counts = self.stages.get_mut(stage)?.get_or_insert_default();
            let mut bucket = 0_u8;
            for _ in 0..read_number(left)? {
                bucket = bucket.checked_add(u8::try_from(read_number(left)?).ok()?)?;
                counts.add(bucket, read_number(left)?);
            }
        }
        Some(())
    }
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
fn write_number(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return out.push(low & 0x7F);
        }
        out.push(low | 0x80);
    }
}

fn read_number(left: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = left.split_first()?;
        *left = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use datapath::observe::{HandshakeResult, RuleAction};
    use std::time::Duration;
    use vocabulary::hostname::HostName;
    use vocabulary::verdict::Verdict;

    fn name(text: &str) -> HostName {
        HostName::parse(text).unwrap()
    }

    fn work(stats: &mut WorkerStats, host: &str, millis: u64, times: usize) {
        let slot = stats.host(&name(host));
        for _ in 0..times {
            stats.record(slot, Stage::Total, Duration::from_millis(millis));
            stats.request(slot, 200, Verdict::NONE, None);
        }
    }

    #[test]
    fn a_step_has_what_was_added_in_it() {
        let series = Series::default();
        let (mut one, mut two) = (WorkerStats::new(0), WorkerStats::new(1));
        work(&mut one, "a.test", 10, 100);
        series.add(10, &[one.clone(), two.clone()]);
        work(&mut one, "a.test", 100, 10);
        work(&mut two, "a.test", 100, 10);
        work(&mut two, "b.test", 1, 1);
        let slot = two.host(&name("b.test"));
        two.request(slot, 403, Verdict::NONE, Some(RuleAction::Block));
        two.handshake(Some(slot), HandshakeResult::Failed("unknown_ca"));
        two.handshake(Some(slot), HandshakeResult::Full);
        two.record(slot, Stage::HandshakeFull, Duration::from_micros(700));
        series.add(20, &[one.clone(), two.clone()]);
        series.add(30, &[one, two]);
        let a = series.of(Some(&["a.test".into()]), 0);
        assert_eq!(a["at"], json!([10, 20, 30]));
        assert_eq!(a["requests"], json!([100, 20, 0]));
        let total = &a["stages"]["total"];
        assert_eq!(total["count"], json!([100, 20, 0]));
        let near = |value: &Value, expected: f64| {
            let found = value.as_f64().unwrap();
            assert!((found / expected - 1.0).abs() < 0.13, "{found} {expected}");
        };
        near(&total["p50"][0], 0.01);
        near(&total["p50"][1], 0.1);
        assert_eq!(total["p50"][2], Value::Null);
        assert_eq!(total["whole"]["count"], 120);
        let buckets = total["histogram"].as_array().unwrap();
        let counts: Vec<_> = buckets.iter().map(|one| one["count"].as_u64()).collect();
        assert_eq!(counts, [Some(100), Some(20)]);
        let all = series.of(None, 10);
        assert_eq!(all["requests"], json!([22, 0]));
        assert_eq!(
            (&all["blocked"], &all["refused"]),
            (&json!([1, 0]), &json!([1, 0]))
        );
        near(&all["stages"]["handshake_full"]["p99"][0], 0.0007);
        let each = series.each(&["b.test".into(), "c.test".into()], 0);
        assert_eq!(each[0]["requests"], 2);
        assert_eq!(each[1]["requests"], 0);
        near(&each[0]["p99_seconds"], 0.001);
    }

    #[test]
    fn a_worker_that_started_over_counts_from_nothing() {
        let series = Series::default();
        let mut stats = WorkerStats::new(0);
        work(&mut stats, "a.test", 10, 100);
        series.add(10, &[stats]);
        let mut stats = WorkerStats::new(0);
        work(&mut stats, "a.test", 10, 7);
        series.add(20, &[stats]);
        assert_eq!(series.of(None, 0)["requests"], json!([100, 7]));
    }

    /// The numbers that the bound speaks of.
    #[test]
    fn an_hour_of_a_thousand_busy_hosts_is_bounded() {
        let series = Series::default();
        let mut stats = WorkerStats::new(0);
        for step in 1..=2 * SERIES_STEPS_MAX as u64 {
            if step <= 3 {
                for host in 0..1_000 {
                    let slot = stats.host(&name(&format!("host-{host}.test")));
                    for turn in 0..60_u64 {
                        let micros = 100 + turn * turn * 3 + host % 50;
                        for stage in [
                            Stage::HandshakeFull,
                            Stage::Rules,
                            Stage::OriginFirstByte,
                            Stage::Total,
                        ] {
                            stats.record(slot, stage, Duration::from_micros(micros));
                        }
                    }
                }
                series.add(
                    i64::try_from(step).unwrap() * 10,
                    std::slice::from_ref(&stats),
                );
                let inner = series.lock();
                let last = inner.steps.back().unwrap().size();
                eprintln!("a step of a thousand hosts has {last} bytes");
                assert!((10_000..400_000).contains(&last), "{last}");
            } else {
                // The same again, without the time that recording takes.
                let mut inner = series.lock();
                let last = inner.steps.back().unwrap();
                let again = Step {
                    at: last.at + 10,
                    places: last.places.clone(),
                    bytes: last.bytes.clone(),
                };
                inner.bytes += again.size();
                inner.steps.push_back(again);
                drop(inner);
                series.add(i64::try_from(step).unwrap() * 10, &[]);
            }
            let inner = series.lock();
            assert!(inner.bytes <= SERIES_BYTES_MAX);
            assert!(inner.steps.len() <= SERIES_STEPS_MAX);
            let bytes: usize = inner.steps.iter().map(Step::size).sum();
            assert_eq!(bytes, inner.bytes);
        }
    }
}
