//! The fleet: how an edge stands to it, its edges, and what is asked of it.

use super::super::schema::{Schema, closed, count, flag, list, number, object, text, words};
use super::{Named, id, time, uuid};
use crate::fleet::FleetState;
use control::RevocationReason;

fn in_force() -> Schema {
    let times = object().has_counts(["changes", "p50_ms", "p99_ms", "max_ms"]);
    Schema::from(times.about(
        "From when a change was made on another edge to when it was in force here, by the clocks of both",
    ))
}

fn alone() -> Schema {
    let reasons = RevocationReason::ALL.map(RevocationReason::as_str);
    let revoked = object()
        .has("zone", id())
        .has("certificate", uuid())
        .has("authority", uuid())
        .has("serial", text())
        .has("reason", words(reasons));
    let denied = object().has("authority", uuid()).has(
        "denied",
        object()
            .has_texts(["issuer", "issuer_sha256", "serial_number"])
            .may_have("comment", text())
            .has("denied_on", time()),
    );
    let what = object()
        .may_have("revoked", revoked)
        .may_have("denied", denied);
    let entry = object()
        .has("at", count().about("Microseconds since 1970"))
        .has("actor", text())
        .has("what", what);
    list(entry)
}

pub(super) fn schemas() -> Vec<Named> {
    let edge = object()
        .has("name", text())
        .has("alive", flag())
        .has(
            "at",
            count().about("When it said so, in seconds since 1970, by its clock"),
        )
        .has("version", text().or_null())
        .has("revision", count().or_null())
        .has("state", text().or_null())
        .has("in_force", in_force().or_null())
        .has("leads", flag());
    let digest = object().has("revision", count()).has("sha256", text());
    let fleet = object()
        .has("state", words(FleetState::ALL.map(FleetState::as_str)))
        .has(
            "why",
            text().or_null().about("Why it is away, stuck or off"),
        )
        .has("name", text().or_null())
        .has("edge", text().or_null().about("What this edge is called"))
        .has("revision", count().about("What is in force here"))
        .has("digest", text().or_null().about("Of the log up to there"))
        .has(
            "head",
            count()
                .or_null()
                .about("The last revision that etcd was seen to have"),
        )
        .has(
            "age_seconds",
            number().about("For how long what is here may have been old"),
        )
        .has(
            "leader",
            text().or_null().about("Which edge does what is done once"),
        )
        .has("leads", flag().about("Whether it is this one"))
        .has("etcd", list(text()))
        .has("in_force", in_force())
        .has("alone", alone())
        .has("edges", list(edge).or_null())
        .has("edges_error", text().or_null());
    let done = object().has(
        "backup",
        text()
            .or_null()
            .about("What was here before, when something else took its place"),
    );
    let join = closed().takes(
        "replace",
        flag().about("Throw away what this gateway has and the fleet has not"),
    );
    let reasons = RevocationReason::ALL.map(RevocationReason::as_str);
    let revoke = closed()
        .has("zone_id", id())
        .has("certificate_id", uuid())
        .takes("reason", words(reasons));
    let deny = closed()
        .has("authority_id", uuid())
        .takes("certificate", text())
        .takes("serial_number", text())
        .takes("comment", text());
    let change = closed()
        .takes("revoke", revoke)
        .takes("deny", deny)
        .about("One of the two");
    vec![
        ("Fleet", fleet.into()),
        ("FleetDigest", digest.into()),
        ("FleetDone", done.into()),
        ("FleetJoin", join.into()),
        ("FleetAlone", alone()),
        ("FleetAloneChange", change.into()),
    ]
}
