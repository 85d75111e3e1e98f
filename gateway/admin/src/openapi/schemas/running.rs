//! The running gateway: its state, its steering and its settings.

use ebpf::Decided;

use super::super::schema::{
    Schema, anything, closed, count, either, flag, list, map, number, object, text, words,
};
use super::{Named, host_name, id, time, uuid};
use crate::doctor::State;
use crate::upgrades::UpgradeState;
use datapath::observe::tally::{CLASSES, OUTCOMES};
use datapath::observe::{EventKind, Steered};

pub(super) fn schemas() -> Vec<Named> {
    let mut all = status();
    all.extend(upgrades());
    all.extend(super::fleet::schemas());
    all.extend(counters());
    all.extend(steering());
    all.extend(events());
    all.extend(latency());
    all.extend(doctor());
    all.extend(settings());
    all.extend(dashboard());
    all
}

fn mode() -> Schema {
    text().about("What is really done: `kernel`, `handoff` or `off`")
}

fn by_handoff() -> Schema {
    text().or_null().about(
        "Networks of balancers that speak the PROXY protocol: workers hand their connections over \
         while the kernel steers all others",
    )
}

fn status() -> Vec<Named> {
    let server = object()
        .has("id", uuid())
        .has("hosts", list(host_name()))
        .has("expires_on", time());
    let authority = object()
        .has("id", uuid())
        .has("name", text())
        .has("expires_on", time());
    let expiring = object()
        .has("server_certificates", list(server))
        .has("authorities", list(authority))
        .has(
            "client_certificates",
            object().has_counts(["within_1_day", "within_7_days", "within_30_days"]),
        )
        .about("What has ended, and what ends within thirty days.");
    let seconds = || number().or_null();
    let latency = object()
        .has("p50", seconds())
        .has("p99", seconds())
        .has("p999", seconds());
    let status = object()
        .has("version", text())
        .has("pid", count())
        .has("uptime_seconds", count())
        .has(
            "reloads",
            object().has_counts(["applied", "refused"]).about(
                "How often the files were read again: taken, or at least a part of it refused",
            ),
        )
        .has("ready", flag().about("Whether new connections are welcome"))
        .has("draining", flag())
        .has_counts(["workers", "workers_answering"])
        .has(
            "steering",
            object()
                .has("mode", mode())
                .has("reason", text().or_null())
                .has("by_handoff", by_handoff()),
        )
        .has(
            "generation",
            count().about("Grows with every change of what workers run on"),
        )
        .has(
            "trust_epoch",
            count().about("Grows with every change of what is trusted"),
        )
        .has("store_revision", count())
        .has(
            "store_format",
            count().about("An older version that knows a smaller one only cannot read the store"),
        )
        .has("account_id", id())
        .has_counts(["zones", "hosts", "hosts_served"])
        .has("expiring", expiring)
        .has("requests_total", count())
        .has("latency_seconds", latency)
        .has("access_log_dropped", count())
        .has("fleet", Schema::from(super::fleet::standing()).or_null());
    vec![("Status", status.into())]
}

fn upgrades() -> Vec<Named> {
    let last = object()
        .has("id", count().about("Counted until the service is stopped"))
        .has(
            "failed_before",
            count().about("How many of those before it failed"),
        )
        .has("state", words(UpgradeState::ALL.map(UpgradeState::as_str)))
        .has(
            "step",
            text().about("What is waited for, or how far it got"),
        )
        .has("why", text().or_null().about("Why it failed"))
        .has("binary", text())
        .has("from", count().about("The process that was to be replaced"))
        .has("to", count().or_null().about("The new process"))
        .has("version", text().or_null().about("Of the new process"))
        .has(
            "backup",
            text().or_null().about(
                "The copy of the store that was made before the new process brought it to a format \
                 that the old one does not know",
            ),
        );
    let shown = object()
        .has("pid", count().about("The process that answers"))
        .has("last", Schema::from(last).or_null());
    let begin = closed().takes(
        "binary",
        text()
            .pattern("^/")
            .about("An absolute path on the gateway's machine; by default that of the running one"),
    );
    vec![("Upgrades", shown.into()), ("UpgradeBegin", begin.into())]
}

/// What `postern top` reads.
fn counters() -> Vec<Named> {
    let handshakes = || {
        object()
            .has_counts(["full", "resumed"])
            .has("refused", map(count()).about("By reason"))
    };
    let buckets = || {
        list(list(count()))
            .about("Of each bucket that was hit: nanoseconds from, nanoseconds to below, how often")
    };
    let worker = object().has_counts([
        "worker",
        "accepted",
        "refused",
        "handed_over",
        "requests",
        "connections_open",
        "connections_idle",
        "origin_connections_open",
        "origin_connections_idle",
        "origin_requests_repeated",
    ]);
    let host = object()
        .has(
            "host",
            text().about("`_other` for those beyond the thousand that are counted apart"),
        )
        .has("requests", object().has_counts(OUTCOMES))
        .has("statuses", object().has_counts(CLASSES))
        .has("handshakes", handshakes())
        .has("origin_errors", map(count()).about("By reason"))
        .has("client_errors", map(count()).about("By reason"))
        .has_counts(["bytes_received", "bytes_sent"])
        .has("total", buckets());
    let origin = object()
        .has("origin", text())
        .has("address", text())
        .has("is_good", flag().about("Whether it gets requests"))
        .has_counts(["open_requests", "requests", "failed", "ejections"]);
    let counters = object()
        .has("version", text())
        .has("pid", count())
        .has(
            "uptime_seconds",
            number().about("When it is less than in an answer before, all counters began anew"),
        )
        .has("ready", flag())
        .has("draining", flag())
        .has("generation", count())
        .has("steering", mode())
        .has_counts(["workers_running", "access_log_dropped"])
        .has("handshakes", handshakes())
        .has(
            "stops",
            map(count()).about("Why connections ended, by reason"),
        )
        .has(
            "stages",
            map(buckets()).about("How long each stage took, of all hosts together"),
        )
        .has("workers", list(worker))
        .has("hosts", list(host))
        .has("origins", list(origin));
    vec![("Counters", counters.into())]
}

fn steering() -> Vec<Named> {
    let host = object()
        .has("host", host_name())
        .has("workers", list(count()))
        .has("pinned", flag().about("By configuration"))
        .has("load", number().about("Per cent of one CPU, estimated"))
        .has(
            "kernel",
            map(count())
                .or_null()
                .about("What the kernel program has decided, by reason"),
        )
        .has(
            "connections",
            Schema::from(object().has_counts(Steered::ALL.map(Steered::as_str)))
                .or_null()
                .about("How they came to their worker"),
        );
    let interface = object()
        .has("name", text())
        .has("xdp", text().about("`native` or `generic`"));
    let status = object()
        .has("mode", mode())
        .has(
            "reason",
            text().or_null().about("Why that, when more was asked for"),
        )
        .has("by_handoff", by_handoff())
        .has("workers", count())
        .has("interfaces", list(interface))
        .has("ports", list(count().most(u16::MAX.into())))
        .has(
            "changes",
            list(text()).about("What steering has changed of the system"),
        )
        .has(
            "kernel",
            map(count())
                .or_null()
                .about("What the program has counted, by reason"),
        )
        .has("synproxy", text().or_null())
        .has("moves", count().about("How often a host got other workers"))
        .has("hosts", list(host));
    let event = object()
        .has_texts(["client", "local"])
        .has("host", host_name().or_null())
        .has("decided", words(Decided::ALL.map(Decided::as_str)))
        .has("worker", count().or_null())
        .has("dropped", flag());
    let trace = object()
        .has("kernel", flag().about("Whether the kernel steers at all"))
        .has("events", list(event));
    vec![("Steering", status.into()), ("SteeringTrace", trace.into())]
}

fn events() -> Vec<Named> {
    let event = object()
        .has("id", text().about("Its place in the stream"))
        .has("kind", words(EventKind::ALL.map(EventKind::as_str)))
        .has(
            "stands_for",
            count().least(1).about(
                "How many events of this kind on this worker it stands for, itself included",
            ),
        )
        .has(
            "country",
            text()
                .or_null()
                .about("Of the client\'s address, where a GeoIP database knows it"),
        )
        .has(
            "record",
            map(anything())
                .about("The line of the access log: the page about it names its members"),
        );
    let by_kind = || object().has_counts(EventKind::ALL.map(EventKind::as_str));
    let counts = object()
        .has("seen", by_kind())
        .has("kept", by_kind())
        .has("lost", count().about("Events that there was no room for"));
    let reason = object()
        .has("word", text())
        .has("of", text().about("What has it"))
        .has(
            "status",
            text().or_null().about("Of the answers that have it"),
        )
        .has(
            "side",
            text().or_null().about("Whose fault it is, if it is one"),
        )
        .has("means", text().about("Markdown"))
        .has("mend", text().about("Markdown"));
    vec![
        ("Event", event.into()),
        ("EventCounts", counts.into()),
        ("Reason", reason.into()),
    ]
}

fn latency() -> Vec<Named> {
    let seconds = || number().or_null();
    let column = || list(number().or_null());
    let whole = object()
        .has("count", count())
        .has("p50", seconds())
        .has("p90", seconds())
        .has("p99", seconds())
        .has("max", seconds());
    let bucket = object().has_counts(["from_ns", "to_ns", "count"]);
    let stage = object()
        .has("count", list(count()))
        .has("p50", column())
        .has("p90", column())
        .has("p99", column())
        .has("max", column())
        .has("whole", whole)
        .has("histogram", list(bucket))
        .about("In seconds; a column has an entry for each step");
    let series = object()
        .has("step_seconds", count())
        .has(
            "at",
            list(count()).about("When each step ended, in seconds since 1970"),
        )
        .has("requests", list(count()))
        .has("blocked", list(count()))
        .has("refused", list(count()).about("Handshakes"))
        .has("stages", map(stage).about("By the words of the access log"));
    let traffic = object()
        .has("host", host_name())
        .has_counts(["requests", "blocked", "refused"])
        .has("p50_seconds", seconds())
        .has("p99_seconds", seconds());
    vec![("Latency", series.into()), ("Traffic", traffic.into())]
}

fn doctor() -> Vec<Named> {
    let fix = object()
        .has("kind", words(["host", "disable_rule", "expression"]))
        .may_have("key", text().about("The setting of the host"))
        .may_have("value", text())
        .may_have("rule_id", id())
        .may_have("expression", text());
    let finding = object()
        .has("check", text())
        .has("state", words(State::ALL.map(State::as_str)))
        .has("message", text())
        .has("mend", text().or_null().about("A command"))
        .has(
            "fix",
            Schema::from(fix)
                .or_null()
                .about("The one change that mends it, when one is surely meant"),
        );
    let host = object()
        .has("host", host_name())
        .has("findings", list(finding));
    let examined = object()
        .has("hosts", list(host))
        .has("left_out", count().about("Hosts beyond those"));
    vec![("Examined", examined.into())]
}

fn settings() -> Vec<Named> {
    let shown = object()
        .has("key", text())
        .has("value", text())
        .has("default", text())
        .has(
            "live",
            flag().about("Whether it can be set while the gateway runs"),
        )
        .has(
            "change",
            words(["live", "reload", "restart"]).about("When a new value takes effect"),
        )
        .has("kind", text().about("What values it takes, in words"))
        .has("description", text());
    let set = closed()
        .has("value", either([text(), number(), flag()]))
        .takes(
            "expected",
            text().about("The value that was seen: when it is another one now, the answer is 412"),
        );
    vec![("Setting", shown.into()), ("SettingSet", set.into())]
}

fn dashboard() -> Vec<Named> {
    let link = object()
        .has("code", text())
        .has(
            "url",
            text()
                .or_null()
                .about("`null` without `admin.listen`: then there is no dashboard"),
        )
        .has("expires_on", time());
    let sign_in = closed()
        .takes("token", text())
        .takes("code", text().about("Of a link"))
        .about("Either of them.");
    let zone = object().has("id", id()).has("name", host_name());
    let session = object()
        .has("id", id())
        .has("signed_in_as", text())
        .has(
            "scopes",
            list(words(["read", "certificates", "rules", "all"])),
        )
        .has("zones", list(zone).or_null().about("`null` means all"))
        .has("ends_on", time())
        .has(
            "idle_seconds",
            count().about("It ends after so long without a request"),
        )
        .has("version", text().about("The gateway's"));
    let begun = session.clone().has(
        "key",
        text().about("The page sends it in `X-Postern-Dashboard`, beside the cookie"),
    );
    vec![
        ("DashboardLink", link.into()),
        ("DashboardSignIn", sign_in.into()),
        ("DashboardSession", session.into()),
        ("DashboardSessionBegun", begun.into()),
        (
            "DashboardSessionsEnded",
            object().has("ended", count()).into(),
        ),
    ]
}
