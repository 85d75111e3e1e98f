//! Exemplars in OpenMetrics: behind a bucket of a host's latency, the trace of a request that is in it.
//!
//! The library has no way to write them for histograms that it has not counted itself: they are added to
//! its text. The older text format has none.

use std::fmt::Write as _;

use datapath::clock::since_epoch;
use datapath::observe::exemplars::Exemplar;
use datapath::observe::stats::HostStats;

/// What the lines of buckets begin with.
const BUCKET: &str = "postern_request_duration_seconds_bucket{";

/// The text with the hosts' exemplars.
pub(super) fn add(text: &str, hosts: &[HostStats]) -> String {
    let mut out = String::with_capacity(text.len() + 4_096);
    // The host of the line before, and the bound of its bucket in seconds.
    let mut before = ("", 0.0);
    for line in text.lines() {
        out.push_str(line);
        if let Some((host, bound)) = bucket_of(line) {
            let from = if before.0 == host { before.1 } else { 0.0 };
            before = (host, bound);
            if let Some(exemplar) = within(hosts, host, (from, bound)) {
                write(&mut out, exemplar);
            }
        }
        out.push('\n');
    }
    out
}

/// The host and the upper bound of a bucket's line. Neither has a character that is escaped.
fn bucket_of(line: &str) -> Option<(&str, f64)> {
    let labels = line.strip_prefix(BUCKET)?;
    let value = |name: &str| {
        let (_, rest) = labels.split_once(name)?;
        Some(rest.split_once('"')?.0)
    };
    let bound = match value("le=\"")? {
        "+Inf" => f64::INFINITY,
        bound => bound.parse().ok()?,
    };
    Some((value("host=\"")?, bound))
}

/// The youngest of a host whose latency is above the first bound, and not above the second.
fn within<'h>(hosts: &'h [HostStats], host: &str, (from, to): (f64, f64)) -> Option<&'h Exemplar> {
    let host = hosts.iter().find(|one| &*one.name == host)?;
    let all = host.exemplars.as_deref()?.iter();
    let is_within = |one: &&Exemplar| {
        let took = one.took.as_secs_f64();
        took > from && took <= to
    };
    all.filter(is_within).max_by_key(|one| one.time)
}

fn write(out: &mut String, exemplar: &Exemplar) {
    let took = exemplar.took.as_secs_f64();
    let time = since_epoch(exemplar.time).as_secs_f64();
    // Writing into a string does not fail.
    out.push_str(" # {trace_id=\"");
    for byte in exemplar.trace {
        let _never = write!(out, "{byte:02x}");
    }
    let _never = write!(out, "\"}} {took:.6} {time:.3}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use datapath::observe::stats::WorkerStats;
    use std::time::{Duration, UNIX_EPOCH};
    use vocabulary::hostname::HostName;

    #[test]
    fn each_is_behind_the_bucket_that_it_is_in() {
        let mut stats = WorkerStats::new(0);
        let slot = stats.host(&HostName::parse("a.test").unwrap());
        let when = |second| UNIX_EPOCH + Duration::from_secs(second);
        stats.exemplar(slot, Duration::from_millis(1), [0xab; 16], when(7));
        stats.exemplar(slot, Duration::from_millis(30), [0xcd; 16], when(8));
        let bucket = |host: &str, le: &str| format!("{BUCKET}le=\"{le}\",host=\"{host}\"}} 5");
        let lines = [
            bucket("b.test", "0.001"),
            bucket("b.test", "+Inf"),
            bucket("a.test", "0.0005"),
            bucket("a.test", "0.001"),
            bucket("a.test", "0.1"),
            bucket("a.test", "+Inf"),
            "postern_build_info{host=\"a.test\"} 1".to_owned(),
            "# EOF".to_owned(),
        ];
        let text = format!("{}\n", lines.join("\n"));
        let found = add(&text, &stats.hosts);
        let more: Vec<&str> = found
            .lines()
            .zip(&lines)
            .map(|(line, before)| line.strip_prefix(before.as_str()).unwrap())
            .collect();
        let ab = format!(" # {{trace_id=\"{}\"}} 0.001000 7.000", "ab".repeat(16));
        let cd = format!(" # {{trace_id=\"{}\"}} 0.030000 8.000", "cd".repeat(16));
        assert_eq!(more, ["", "", "", &ab, &cd, "", "", ""]);
        assert_eq!(add(&text, &[]), text);
    }
}
