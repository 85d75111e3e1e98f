//! The plot: CPU per operation as bars, latencies as curves, one row for each scenario.
//!
//! SVG written by hand: rectangles, lines and text are all it takes.

use super::text::{duration_of, title};
use super::{Comparison, Measured, Scenario};
use crate::peers::Name;

const WIDTH: f64 = 1080.0;
const ROW: f64 = 300.0;
const TOP: f64 = 50.0;
/// Where the bars begin and how long the longest is.
const BARS: (f64, f64) = (90.0, 360.0);
/// Where the curves begin and how wide they are.
const CURVES: (f64, f64) = (620.0, 400.0);
/// How high the curves' field is.
const FIELD: f64 = 190.0;

/// Percentiles marked on the axis.
const MARKS: [f64; 5] = [0.0, 50.0, 90.0, 99.0, 99.9];
/// The last percentile that is drawn.
const LAST: f64 = 99.99;

/// A comparison.
#[must_use]
pub fn comparison(comparison: &Comparison) -> String {
    let height = TOP + ROW * comparison.scenarios.len() as f64 + 20.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    let machine = &comparison.machine;
    let ground = format!(
        "{}, Linux {}; one worker each, ECDSA P-256; median, smallest and largest run",
        machine.cpu, machine.kernel
    );
    text(&mut out, (20.0, 26.0), "start", "#555", &ground);
    for (index, scenario) in comparison.scenarios.iter().enumerate() {
        let y = TOP + ROW * index as f64;
        text(
            &mut out,
            (20.0, y + 14.0),
            "start",
            "black",
            &title(scenario),
        );
        bars(&mut out, scenario, y + 40.0);
        curves(&mut out, scenario, y + 40.0);
    }
    out.push_str("</svg>\n");
    out
}

fn bars(out: &mut String, scenario: &Scenario, y: f64) {
    let longest = scenario
        .peers
        .iter()
        .map(|peer| peer.cpu_ns.max)
        .fold(1.0, f64::max);
    let (x, length) = BARS;
    let at = |value: f64| x + value / longest * length;
    text(
        out,
        (x, y),
        "start",
        "#555",
        "CPU per operation, closed loop",
    );
    for (index, peer) in scenario.peers.iter().enumerate() {
        let y = y + 14.0 + 34.0 * index as f64;
        let (cpu, colour) = (peer.cpu_ns, colour(peer.name));
        let width = at(cpu.median) - x;
        out.push_str(&format!(
            "<rect x=\"{x}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"22\" fill=\"{colour}\"/>\n"
        ));
        let middle = y + 11.0;
        line(out, (at(cpu.min), middle), (at(cpu.max), middle), "black");
        text(out, (x - 8.0, y + 15.0), "end", "black", peer.name.as_str());
        text(
            out,
            (at(cpu.max) + 8.0, y + 15.0),
            "start",
            "black",
            &figure(peer),
        );
    }
}

fn figure(peer: &Measured) -> String {
    let cpu = duration_of(peer.cpu_ns.median);
    let of = peer
        .of
        .get(&Name::Floor)
        .or_else(|| peer.of.get(&Name::Nginx));
    of.map_or_else(|| cpu.clone(), |of| format!("{cpu} ({:.2})", of.median))
}

/// The open loop at its last rate.
fn curves(out: &mut String, scenario: &Scenario, y: f64) {
    let last = |peer: &Measured| peer.open_loop.last().cloned();
    let open: Vec<_> = scenario
        .peers
        .iter()
        .filter_map(|peer| Some((peer.name, last(peer)?)))
        .collect();
    let Some((_, first)) = open.first() else {
        return;
    };
    let (x, width) = CURVES;
    let head = format!(
        "latency at {:.0} per second, from the intended time",
        first.rate
    );
    text(out, (x, y), "start", "#555", &head);
    let points = || {
        open.iter()
            .flat_map(|(_, open)| &open.latency.curve)
            .map(|(_, value)| *value)
    };
    let low = decade_below(points().min().unwrap_or(1_000));
    let high = decade_above(points().max().unwrap_or(1_000_000)).max(low * 10.0);
    let top = y + 12.0;
    let across = |percentile: f64| x + nines(percentile) / nines(LAST) * width;
    let down = |value: f64| {
        let part = (value.max(low).log10() - low.log10()) / (high.log10() - low.log10());
        top + FIELD * (1.0 - part)
    };
    let mut decade = low;
    while decade <= high * 1.01 {
        line(out, (x, down(decade)), (x + width, down(decade)), "#ddd");
        text(
            out,
            (x - 8.0, down(decade) + 4.0),
            "end",
            "#555",
            &decade_name(decade),
        );
        decade *= 10.0;
    }
    for mark in MARKS {
        line(
            out,
            (across(mark), top),
            (across(mark), top + FIELD),
            "#ddd",
        );
        let name = if mark > 0.0 {
            format!("p{mark}")
        } else {
            "min".to_owned()
        };
        text(
            out,
            (across(mark), top + FIELD + 16.0),
            "middle",
            "#555",
            &name,
        );
    }
    for (name, open) in &open {
        let path: Vec<_> = open
            .latency
            .curve
            .iter()
            .map(|(percentile, value)| {
                format!("{:.1},{:.1}", across(*percentile), down(*value as f64))
            })
            .collect();
        let (path, colour) = (path.join(" "), colour(*name));
        out.push_str(&format!(
            "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n"
        ));
    }
}

/// How far right a percentile is: each further nine is as wide as the one before.
pub(super) fn nines(percentile: f64) -> f64 {
    -(1.0 - percentile / 100.0).log10()
}

pub(super) fn decade_below(value: u64) -> f64 {
    10f64.powf((value.max(1) as f64).log10().floor())
}

pub(super) fn decade_above(value: u64) -> f64 {
    10f64.powf((value.max(1) as f64).log10().ceil())
}

pub(super) fn decade_name(nanoseconds: f64) -> String {
    duration_of(nanoseconds).replace(".00", "")
}

pub(super) fn colour(name: Name) -> &'static str {
    match name {
        Name::Postern => "#1f6fb4",
        Name::Nginx => "#3a9a4b",
        Name::Haproxy => "#c8742a",
        Name::Envoy => "#8e4fb0",
        Name::Pingora => "#2a9aa8",
        Name::Caddy => "#b03a4f",
        Name::Floor => "#777777",
    }
}

fn line(out: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    out.push_str(&format!(
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>\n",
        from.0, from.1, to.0, to.1
    ));
}

fn text(out: &mut String, at: (f64, f64), anchor: &str, colour: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    out.push_str(&format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{text}</text>\n",
        at.0, at.1
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentile_axis_is_even_in_nines() {
        assert!((nines(90.0) - 1.0).abs() < 1e-9);
        assert!((nines(99.9) - 3.0).abs() < 1e-9);
        assert!((decade_below(1_500) - 1_000.0).abs() < 1e-6);
        assert!((decade_above(1_500) - 10_000.0).abs() < 1e-6);
        assert_eq!(decade_name(1_000_000.0), "1 ms");
    }
}
