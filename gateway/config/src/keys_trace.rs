//! The keys of traces.
//!
//! Their places in the table are `keys`'.

use super::key_macros::number;
use super::keys::{Key, none, plain};
use super::kind::{Change, Kind};
use super::otlp::{OtlpUrl, TraceContextMode};
use super::value;
use crate::limits;

const MODES: &[(&str, TraceContextMode)] = &[
    ("off", TraceContextMode::Off),
    ("begin", TraceContextMode::Begin),
    ("verified", TraceContextMode::Verified),
    ("all", TraceContextMode::All),
];

pub(super) const TRACE_CONTEXT: Key = Key {
    name: "trace.context",
    kind: Kind::Word(&["off", "begin", "verified", "all"]),
    default: "off",
    change: Change::Live,
    doc: "Whose `traceparent` (W3C Trace Context) is continued: that of all clients (`all`), of those whose certificate is verified (`verified`), or of none, so that every request begins a trace (`begin`). Its id is in the access log. With `off` such headers pass as they are, and nothing is traced.",
    set: |config, text| value::word(text, MODES).map(|mode| config.tunables.trace_context = mode),
    show: |config| value::show_word(&config.tunables.trace_context, MODES),
};

pub(super) const TRACE_SAMPLE: Key = number!(
    "trace.sample",
    Count,
    count,
    plain,
    trace_sample,
    "1",
    1,
    limits::TRACE_SAMPLE_CEILING,
    "Of how many traces that begin here one is sampled. Of one that is continued its caller has decided."
);

pub(super) const TRACE_OTLP: Key = Key {
    name: "trace.otlp",
    kind: Kind::UrlOrOff,
    default: "off",
    change: Change::Restart,
    doc: "Where spans of sampled requests are sent, as OTLP over HTTP in protobuf, or `off`: an OpenTelemetry collector on this machine or in a network that is trusted. Without a path it is `/v1/traces`.",
    set: |config, text| {
        config.trace_otlp = none(text, &["off", ""], OtlpUrl::parse)?;
        Ok(())
    },
    show: |config| {
        let url = config.trace_otlp.as_ref();
        url.map_or_else(|| "off".into(), ToString::to_string)
    },
};
