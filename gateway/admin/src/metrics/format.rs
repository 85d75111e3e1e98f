//! In which text metrics are written, by what the scraper accepts.
//!
//! [OpenMetrics 1.0](https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md),
//! or the [text format 0.0.4](https://prometheus.io/docs/instrumenting/exposition_formats/), which every
//! scraper reads. The second is made from the first: names, labels and values are the same in both.

use std::borrow::Cow;

use axum::http::HeaderValue;

/// A text for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The older text, 0.0.4.
    Text,
}

const OPENMETRICS: &str = "application/openmetrics-text";

impl Format {
    /// What a scraper that accepts this gets: OpenMetrics when it names it, and not with `q=0`.
    #[must_use]
    pub fn asked<'h>(accept: impl IntoIterator<Item = &'h HeaderValue>) -> Self {
        let lines = accept.into_iter().filter_map(|value| value.to_str().ok());
        let names = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            let is_it = parts
                .next()
                .is_some_and(|media| media.eq_ignore_ascii_case(OPENMETRICS));
            let is_refused = |part: &str| {
                let weight = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
                weight.is_some_and(|weight| weight.parse() == Ok(0.0_f32))
            };
            is_it && !parts.any(is_refused)
        };
        if lines.flat_map(|line| line.split(',')).any(names) {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// Its media type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// OpenMetrics as the older text: a counter's name has its `_total` from the start, information is a
/// gauge, and units and the end are not said.
pub(super) fn to_text(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len());
    // HELP comes before TYPE or behind it: it waits for it, as the name depends on it.
    let mut help = None;
    for line in openmetrics.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
            continue;
        }
        let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let (name, kind): (Cow<'_, str>, _) = match kind {
            "counter" => (format!("{name}_total").into(), kind),
            "info" => (format!("{name}_info").into(), "gauge"),
            "unknown" => (name.into(), "untyped"),
            _ => (name.into(), kind),
        };
        if let Some((_, about)) = help.take() {
            out.push_str(&format!("# HELP {name} {about}\n"));
        }
        out.push_str(&format!("# TYPE {name} {kind}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_names_openmetrics_gets_it() {
        for (accept, expected) in [
            (None, Format::Text),
            (Some("*/*"), Format::Text),
            (Some("text/plain"), Format::Text),
            (Some("application/openmetrics-text"), Format::OpenMetrics),
            (
                // Prometheus 2.42.
                Some(
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ),
                Format::OpenMetrics,
            ),
            (
                Some("text/html, Application/OpenMetrics-Text ; q=0.5"),
                Format::OpenMetrics,
            ),
            (Some("application/openmetrics-text;q=0, */*"), Format::Text),
            (Some("application/openmetrics-text; q=0.000"), Format::Text),
        ] {
            let value = accept.map(HeaderValue::from_static);
            assert_eq!(Format::asked(value.as_ref()), expected, "{accept:?}");
        }
    }

    #[test]
    fn the_older_text_has_the_same_samples() {
        let openmetrics = "# HELP a Things. Many\n# TYPE a counter\na_total{x=\"# EOF\"} 1\n\
                           # HELP b_seconds Time.\n# TYPE b_seconds gauge\n# UNIT b_seconds seconds\nb_seconds 2\n\
                           # HELP c What.\n# TYPE c info\nc_info{v=\"1\"} 1\n# EOF\n";
        let expected = "# HELP a_total Things. Many\n# TYPE a_total counter\na_total{x=\"# EOF\"} 1\n\
                        # HELP b_seconds Time.\n# TYPE b_seconds gauge\nb_seconds 2\n\
                        # HELP c_info What.\n# TYPE c_info gauge\nc_info{v=\"1\"} 1\n";
        assert_eq!(to_text(openmetrics), expected);
    }
}
