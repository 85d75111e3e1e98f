//! Routes about the running gateway: its health, its metrics, and what can be tuned.

use super::Answer::{All, Media, MediaOr503, One};
use super::Body::Json;
use super::Kind::{AtLeast, Text};
use super::Need::Nothing;
use super::{Group, Parameter, Route, route};
use crate::api::{health, status, steering, sysctl};

/// The media type of metrics (OpenMetrics 1.0, "Content Type").
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

pub(super) const GROUPS: &[Group] = &[
    Group {
        name: "Health",
        about: "How the gateway is.",
        routes: HEALTH,
    },
    Group {
        name: "Settings",
        about: "Keys of the configuration files, and their values in the running gateway.",
        routes: SETTINGS,
    },
];

const HEALTH: &[Route] = &[
    route!(GET "/livez", health::livez, "get_livez", "Tell that the process answers")
        .needs(Nothing)
        .gives(Media(TEXT)),
    route!(GET "/readyz", health::readyz, "get_readyz",
        "Tell whether new connections are welcome: 200, or 503 with `starting` or `draining`")
    .needs(Nothing)
    .gives(MediaOr503(TEXT)),
    route!(GET "/metrics", health::metrics, "get_metrics", "Show all metrics in OpenMetrics text")
        .gives(Media(OPENMETRICS)),
    route!(GET "/postern/v1/status", status::show, "get_status",
        "Show the gateway's state in numbers, and which certificates end soon")
    .gives(One("Status")),
    route!(GET "/postern/v1/steering", steering::show, "get_steering",
        "Show which workers own which hosts, and what the kernel program has counted")
    .gives(One("Steering")),
    route!(GET "/postern/v1/steering/trace", steering::trace, "trace_steering",
        "Wait for decisions of the kernel program")
    .query(&[
        Parameter::new(
            "milliseconds",
            AtLeast(0),
            "How long to wait for the first; 1000 by default, 10000 at most",
        ),
        Parameter::new(
            "every",
            AtLeast(0),
            "Note one of so many; with 0 no more are noted",
        ),
    ])
    .gives(One("SteeringTrace")),
];

const SETTINGS: &[Route] = &[
    route!(GET "/postern/v1/sysctl", sysctl::list, "list_settings",
        "List keys with their values")
    .query(&[Parameter::new(
        "prefix",
        Text,
        "Only keys that begin with this text",
    )])
    .gives(All("Setting")),
    route!(GET "/postern/v1/sysctl/{key}", sysctl::show, "get_setting",
        "Show a key with its value")
    .gives(One("Setting")),
    route!(PUT "/postern/v1/sysctl/{key}", sysctl::set, "set_setting",
        "Set a live key until the next reload or start; no file is written")
    .takes(Json("SettingSet"))
    .gives(One("Setting")),
];
