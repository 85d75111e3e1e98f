//! Routes about the running gateway: its health, its metrics, and what can be tuned.

use super::Answer::{All, Media, MediaOr503, One};
use super::Body::{Json, MaybeJson};
use super::Kind::{AtLeast, Text};
use super::Need::{All as Whole, Nothing, Socket};
use super::{Group, Parameter, Route, route};
use crate::api::{
    counters, doctor, events, fleet, health, latency, status, steering, sysctl, upgrade,
};

/// The media type of metrics, unless OpenMetrics is asked for.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

pub(super) const GROUPS: &[Group] = &[
    Group {
        name: "Health",
        about: "How the gateway is.",
        routes: HEALTH,
    },
    Group {
        name: "Upgrades",
        about: "Another process, of another binary as a rule, takes the place of the running one \
                without a connection being lost.",
        routes: UPGRADES,
    },
    Group {
        name: "Fleet",
        about: "The edges that share one log of changes in etcd. Every edge answers for itself, from its \
                own copy; a change that is made on any is in force on all.",
        routes: FLEET,
    },
    Group {
        name: "Events",
        about: "What happens: refused handshakes, certificates that were no good, requests that were \
                blocked, logged or failed. Each is its line of the access log, which need not be on. \
                Of very many a sample is kept; `stands_for` says of how many. They are kept in \
                memory, the newest thousands.",
        routes: EVENTS,
    },
    Group {
        name: "Latency and doctor",
        about: "How long everything took in the last hour, kept in memory, and what is amiss. Examining \
                hosts connects to their origins, except for tokens of some zones.",
        routes: LATENCY,
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
    route!(GET "/metrics", health::metrics, "get_metrics", 
        "Show all metrics in Prometheus' text format, or in OpenMetrics text where `Accept` names it")
        .gives(Media(METRICS)),
    route!(GET "/postern/v1/status", status::show, "get_status",
        "Show the gateway's state in numbers, and which certificates end soon")
    .gives(One("Status")),
    route!(GET "/postern/v1/counters", counters::show, "get_counters",
        "Show what was counted since the start; for rates, take the difference of two answers")
    .gives(One("Counters")),
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

const UPGRADES: &[Route] = &[
    route!(GET "/postern/v1/upgrade", upgrade::show, "get_upgrade",
        "Show which process serves, and what became of the last upgrade")
    .gives(One("Upgrades")),
    route!(POST "/postern/v1/upgrade", upgrade::begin, "begin_upgrade",
        "Begin an upgrade, for root and the user that runs the gateway; `GET` tells what becomes of it")
    .needs(Socket)
    .takes(MaybeJson("UpgradeBegin"))
    .gives(One("Upgrades")),
];

const FLEET: &[Route] = &[
    route!(GET "/postern/v1/fleet", fleet::show, "get_fleet",
        "Show how this edge stands to its fleet, and what the others have said of themselves")
    .gives(One("Fleet")),
    route!(GET "/postern/v1/fleet/digest", fleet::digest, "get_fleet_digest",
        "Show a digest of all that this edge has, to compare edges of one revision; it reads the whole store")
    .needs(Whole)
    .gives(One("FleetDigest")),
    route!(POST "/postern/v1/fleet/init", fleet::init, "init_fleet",
        "Found the configured fleet with what is here")
    .needs(Whole)
    .takes(MaybeJson("FleetInit"))
    .gives(One("FleetDone")),
    route!(POST "/postern/v1/fleet/join", fleet::join, "join_fleet",
        "Join the configured fleet: what it has takes the place of what is here")
    .needs(Whole)
    .takes(MaybeJson("FleetJoin"))
    .gives(One("FleetDone")),
    route!(POST "/postern/v1/fleet/leave", fleet::leave, "leave_fleet",
        "Leave the fleet with what is here")
    .needs(Whole)
    .gives(One("FleetDone")),
    route!(POST "/postern/v1/fleet/accept", fleet::accept, "accept_fleet",
        "Go on with what etcd has, although it is older or another's, as after it was restored")
    .needs(Whole)
    .gives(One("FleetDone")),
    route!(DELETE "/postern/v1/fleet/edges/{edge}", fleet::forget, "forget_edge",
        "Forget an edge that is dead")
    .needs(Whole)
    .gives(One("FleetDone")),
    route!(POST "/postern/v1/fleet/alone", fleet::alone, "change_alone",
        "Revoke or deny a certificate on this edge alone, until the fleet can be asked")
    .needs(Whole)
    .takes(Json("FleetAloneChange"))
    .gives(One("FleetAlone")),
];

const KIND: Parameter = Parameter::new(
    "kind",
    Text,
    "Only events of these kinds, separated by commas: `handshake`, `certificate`, \
     `connection`, `blocked`, `logged`, `failed`",
);
const HOST: Parameter = Parameter::new("host", Text, "Only of this host");
const LIMIT: Parameter = Parameter::new(
    "limit",
    AtLeast(0),
    "How many at most; 200 by default, 5000 at most",
);
const RECENT: Parameter = Parameter::new(
    "recent",
    AtLeast(0),
    "How many of the newest to begin with; none by default. With the header `Last-Event-ID` the \
     stream goes on behind that event",
);
const STREAM: &str = "text/event-stream";

const EVENTS: &[Route] = &[
    route!(GET "/postern/v1/events", events::list, "list_events", "List the newest events")
        .query(&[KIND, HOST, LIMIT])
        .gives(All("Event")),
    route!(GET "/postern/v1/events/counts", events::counts, "get_event_counts",
        "Show how many events of each kind there were, and how many of them were kept")
    .gives(One("EventCounts")),
    route!(GET "/postern/v1/events/stream", events::stream, "stream_events",
        "Tell events and changes of the configuration as they come (server-sent events)")
    .query(&[KIND, HOST, RECENT])
    .gives(Media(STREAM)),
    route!(GET "/postern/v1/zones/{zone_id}/events", events::list_of, "list_events_of_zone",
        "List a zone's newest events")
    .query(&[KIND, HOST, LIMIT])
    .gives(All("Event")),
    route!(GET "/postern/v1/zones/{zone_id}/events/stream", events::stream_of,
        "stream_events_of_zone", "Tell a zone's events as they come, and that something was changed")
    .query(&[KIND, HOST, RECENT])
    .gives(Media(STREAM)),
    route!(GET "/postern/v1/zones/{zone_id}/events/requests", events::requests,
        "list_recent_requests",
        "List a zone's newest requests, whatever became of them; to try rules on")
    .query(&[KIND, HOST, LIMIT])
    .gives(All("Event")),
    route!(GET "/postern/v1/reasons", events::reasons, "list_reasons",
        "List what each reason in events, log lines and metrics means, and how to mend it")
    .gives(All("Reason")),
];

const MINUTES: Parameter = Parameter::new(
    "minutes",
    AtLeast(0),
    "How far back; 60 by default and at most",
);

const LATENCY: &[Route] = &[
    route!(GET "/postern/v1/zones/{zone_id}/latency", latency::show, "get_latency",
        "Show how long each stage took: percentiles in steps of ten seconds, and histograms")
    .query(&[HOST, MINUTES])
    .gives(One("Latency")),
    route!(GET "/postern/v1/zones/{zone_id}/traffic", latency::traffic, "list_traffic",
        "List what each of a zone's hosts did: requests, refusals, latency")
    .query(&[HOST, MINUTES])
    .gives(All("Traffic")),
    route!(GET "/postern/v1/zones/{zone_id}/doctor", doctor::examine, "examine_hosts",
        "Check whether a zone's hosts have what mutual TLS needs")
    .query(&[HOST])
    .gives(One("Examined")),
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
