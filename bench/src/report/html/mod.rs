//! The page: one file that fetches nothing, with a table and plots for each kind of work.
//!
//! HTML and SVG written by hand; what a point stands for is its title, which browsers show.

mod plot;

use std::collections::BTreeSet;

use super::text::{duration_of, title, unit};
use super::{Comparison, Measured, Scenario, Spread};
use crate::peers::Name;
use plot::{Axis, Plot, Point, Series};

/// Scenarios of one kind: they differ in how many requests are under way at once.
struct Group<'a> {
    scenarios: Vec<&'a Scenario>,
}

/// A comparison as a page.
#[must_use]
pub fn page(comparison: &Comparison) -> String {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n");
    out.push_str("<meta charset=\"utf-8\">\n");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    out.push_str("<title>Postern beside its peers</title>\n");
    // An empty icon, so that no browser asks for one.
    out.push_str("<link rel=\"icon\" href=\"data:,\">\n<style>\n");
    out.push_str(include_str!("page.css"));
    out.push_str("</style>\n</head>\n<body>\n<header>\n<h1>Postern beside its peers</h1>\n");
    ground(&mut out, comparison);
    legend(&mut out, comparison);
    out.push_str("</header>\n<main>\n");
    for group in groups(comparison) {
        section(&mut out, &group);
    }
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn groups(comparison: &Comparison) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for scenario in &comparison.scenarios {
        let same = |group: &&mut Group<'_>| {
            let first = group.scenarios.first();
            first.is_some_and(|first| {
                (first.mode, first.certificate) == (scenario.mode, scenario.certificate)
            })
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.scenarios.push(scenario),
            None => groups.push(Group {
                scenarios: vec![scenario],
            }),
        }
    }
    for group in &mut groups {
        group.scenarios.sort_by_key(|scenario| scenario.at_once);
    }
    groups
}

fn ground(out: &mut String, comparison: &Comparison) {
    let machine = &comparison.machine;
    let headers = if comparison.equal_headers {
        "too"
    } else {
        "not"
    };
    out.push_str(&format!(
        "<p>{}, {} CPUs, Linux {}, load {:.1} at the beginning. One worker each, ECDSA P-256, \
         X25519, no access log; Postern adds forwarding headers and a request id, the others do \
         {headers}. CPU is the proxy's own time for an operation, of the median run; ranges go from \
         the smallest run to the largest. The floor is a relay of TLS records that knows no \
         HTTP.</p>\n",
        escape(&machine.cpu),
        machine.cpu_count,
        escape(&machine.kernel),
        machine.load_before
    ));
}

fn legend(out: &mut String, comparison: &Comparison) {
    out.push_str("<ul class=\"legend\">\n");
    for (name, version) in &comparison.versions {
        let name = name.as_str();
        out.push_str(&format!(
            "<li><span class=\"swatch {name}\"></span><b>{name}</b> {}</li>\n",
            escape(version)
        ));
    }
    out.push_str("</ul>\n");
}

fn section(out: &mut String, group: &Group<'_>) {
    let Some(first) = group.scenarios.first() else {
        return;
    };
    let whole = title(first);
    // What differs between the scenarios is in the plots.
    let name = if group.scenarios.len() > 1 {
        let parts: Vec<&str> = whole.split(", ").collect();
        parts
            .get(..3)
            .map_or_else(|| whole.clone(), |parts| parts.join(", "))
    } else {
        whole.clone()
    };
    out.push_str(&format!(
        "<section>\n<h2>{}</h2>\n<div class=\"plots\">\n",
        escape(&name)
    ));
    let unit = unit(first.mode);
    let cpu = |peer: &Measured| Some(peer.cpu_ns);
    let heading = format!("CPU a {unit}");
    by_concurrency(out, group, &heading, cpu, duration_of);
    if first.peers.iter().any(|peer| peer.name == Name::Floor) {
        let of = |peer: &Measured| match peer.name {
            Name::Floor => None,
            _ => peer.of.get(&Name::Floor).copied(),
        };
        by_concurrency(out, group, "CPU, times the floor", of, |value| {
            format!("{value:.2}")
        });
    }
    for scenario in &group.scenarios {
        percentiles(out, scenario);
    }
    out.push_str("</div>\n");
    table(out, group);
    out.push_str("</section>\n");
}

/// A figure of each peer over the requests at once.
fn by_concurrency(
    out: &mut String,
    group: &Group<'_>,
    heading: &str,
    figure: impl Fn(&Measured) -> Option<Spread>,
    show: impl Fn(f64) -> String,
) {
    let names: BTreeSet<Name> = group
        .scenarios
        .iter()
        .flat_map(|scenario| scenario.peers.iter().map(|peer| peer.name))
        .collect();
    let mut most = 0.0_f64;
    let mut series = Vec::new();
    for name in names {
        let mut points = Vec::new();
        for (scenario, index) in group.scenarios.iter().zip(0_u32..) {
            let peer = scenario.peers.iter().find(|peer| peer.name == name);
            let Some(spread) = peer.and_then(&figure) else {
                continue;
            };
            most = most.max(spread.max);
            points.push(Point {
                x: f64::from(index),
                y: spread.median,
                range: Some((spread.min, spread.max)),
                says: format!(
                    "{}, {} at once: {} ({} to {})",
                    name.as_str(),
                    scenario.at_once,
                    show(spread.median),
                    show(spread.min),
                    show(spread.max)
                ),
            });
        }
        if !points.is_empty() {
            series.push(Series { name, points });
        }
    }
    let places: Vec<_> = group
        .scenarios
        .iter()
        .zip(0_u32..)
        .map(|(scenario, index)| (f64::from(index), scenario.at_once.to_string()))
        .collect();
    out.push_str(
        &Plot {
            heading,
            across: Axis::marks("requests at once", places),
            down: Axis::even(most, &show),
            series,
        }
        .draw(),
    );
}

/// Latencies at the last rate.
fn percentiles(out: &mut String, scenario: &Scenario) {
    let last = scenario.peers.iter().filter_map(|peer| {
        // Without an answer there is nothing to draw.
        let open = peer.open_loop.last()?;
        (open.latency.count > 0).then_some((peer.name, open))
    });
    let last: Vec<_> = last.collect();
    let Some((_, first)) = last.first() else {
        return;
    };
    let heading = format!(
        "Latency, {} at once, {:.0} a second ({} % of the slowest)",
        scenario.at_once, first.rate, first.percent
    );
    let mut span = (u64::MAX, 1);
    let mut series = Vec::new();
    for (name, open) in last {
        let mut points = Vec::new();
        for (percentile, nanoseconds) in &open.latency.curve {
            span = (span.0.min(*nanoseconds), span.1.max(*nanoseconds));
            points.push(Point {
                x: super::svg::nines(*percentile),
                y: *nanoseconds as f64,
                range: None,
                says: format!(
                    "{}, p{percentile}: {}",
                    name.as_str(),
                    duration_of(*nanoseconds as f64)
                ),
            });
        }
        series.push(Series { name, points });
    }
    let marks = [
        (0.0, "min"),
        (50.0, "p50"),
        (90.0, "p90"),
        (99.0, "p99"),
        (99.9, "p99.9"),
        (99.99, "p99.99"),
    ];
    let marks = marks.map(|(percentile, name)| (super::svg::nines(percentile), name.to_owned()));
    out.push_str(
        &Plot {
            heading: &heading,
            across: Axis::marks("answers within, from the intended time", marks.to_vec()),
            down: Axis::decades(span.0.min(span.1), span.1),
            series,
        }
        .draw(),
    );
}

fn table(out: &mut String, group: &Group<'_>) {
    out.push_str("<div class=\"wide\"><table>\n<thead><tr><th>at once</th><th></th><th>CPU</th>");
    out.push_str(
        "<th>of floor</th><th>of nginx</th><th>of haproxy</th><th>a second</th><th>busy</th>",
    );
    let rates = group
        .scenarios
        .first()
        .and_then(|first| first.peers.first());
    let rates: Vec<u16> = rates
        .iter()
        .flat_map(|peer| peer.open_loop.iter().map(|open| open.percent))
        .collect();
    for percent in &rates {
        out.push_str(&format!("<th>p99.9 at {percent} %</th>"));
    }
    out.push_str("<th>failed</th></tr></thead>\n<tbody>\n");
    for scenario in &group.scenarios {
        for (peer, index) in scenario.peers.iter().zip(0..) {
            out.push_str(if index == 0 {
                "<tr class=\"first\">"
            } else {
                "<tr>"
            });
            if index == 0 {
                out.push_str(&format!(
                    "<th rowspan=\"{}\">{}</th>",
                    scenario.peers.len(),
                    scenario.at_once
                ));
            }
            row(out, peer, &rates);
            out.push_str("</tr>\n");
        }
    }
    out.push_str("</tbody>\n</table></div>\n");
}

fn row(out: &mut String, peer: &Measured, rates: &[u16]) {
    let name = peer.name.as_str();
    out.push_str(&format!(
        "<th><span class=\"swatch {name}\"></span>{name}</th>"
    ));
    let mut cell = |text: String| out.push_str(&format!("<td>{}</td>", escape(&text)));
    cell(format!(
        "{} ({}–{})",
        duration_of(peer.cpu_ns.median),
        duration_of(peer.cpu_ns.min),
        duration_of(peer.cpu_ns.max)
    ));
    for name in [Name::Floor, Name::Nginx, Name::Haproxy] {
        let of = peer.of.get(&name);
        cell(of.map_or_else(String::new, |of| format!("{:.2}", of.median)));
    }
    cell(match peer.rate.median {
        rate if rate < 100.0 => format!("{rate:.2}"),
        rate => format!("{rate:.0}"),
    });
    cell(format!("{:.0} %", peer.cpu_share.median * 100.0));
    for percent in rates {
        let open = peer.open_loop.iter().find(|open| open.percent == *percent);
        cell(open.map_or_else(String::new, |open| duration_of(open.p999_ns.median)));
    }
    let failed: u64 = peer.runs().map(super::bad).sum();
    cell(failed.to_string());
}

/// Text within HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
