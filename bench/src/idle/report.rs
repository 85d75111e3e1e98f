//! What `bench idle` says.

use super::{ModeReport, Report, Weight};

/// What Postern may weigh with all connections beyond their BoringSSL sessions.
const BEYOND_BYTES_MAX: f64 = 100e6;

/// For people.
pub(super) fn text(report: &Report) -> String {
    let machine = &report.machine;
    let mut out = format!(
        "{}, {} CPUs, Linux {}\n{}; {} request(s) on each connection{}, then nothing\n",
        machine.cpu,
        machine.cpu_count,
        machine.kernel,
        report.version,
        report.requests,
        if report.http2 { " of HTTP/2" } else { "" }
    );
    for mode in &report.modes {
        out.push_str(&one(mode));
    }
    out
}

fn one(report: &ModeReport) -> String {
    let certificate = if report.mode == super::Mode::Off {
        "no"
    } else {
        "a verified"
    };
    let mut out = format!(
        "\nmTLS {}, {certificate} client certificate\n",
        report.mode.as_str()
    );
    let head: Vec<_> = report
        .postern
        .iter()
        .map(|weight| weight.count.to_string())
        .collect();
    out.push_str(&row("connections", &head, "per connection"));
    out.push_str(&weights("Postern", &report.postern, report.postern_slope));
    out.push_str(&weights(
        "sessions alone",
        &report.sessions,
        report.session_slope,
    ));
    let count = report.postern.last().map_or(0, |weight| weight.count);
    let within = if report.beyond <= BEYOND_BYTES_MAX {
        "within"
    } else {
        "MORE THAN"
    };
    out.push_str(&format!(
        "  with {count} connections Postern has {} beyond the {} that BoringSSL needs for them: \
         {within} {}\n",
        megabytes(report.beyond),
        megabytes(report.session_slope * f64::from(count)),
        megabytes(BEYOND_BYTES_MAX),
    ));
    out
}

fn weights(name: &str, weights: &[Weight], slope: f64) -> String {
    let cells: Vec<_> = weights
        .iter()
        .map(|weight| megabytes(weight.bytes as f64))
        .collect();
    row(name, &cells, &format!("{slope:.0} B"))
}

fn row(name: &str, cells: &[String], last: &str) -> String {
    let cells: String = cells.iter().map(|cell| format!("{cell:>12}")).collect();
    format!("  {name:<16}{cells}{last:>18}\n")
}

fn megabytes(bytes: f64) -> String {
    format!("{:.1} MB", bytes / 1e6)
}
