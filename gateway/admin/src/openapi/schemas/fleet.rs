//! The fleet: how an edge stands to it, its edges, and what is asked of it.

use super::super::schema::{
    Object, Schema, closed, count, flag, list, number, object, text, words,
};
use super::{Named, id, time, uuid};
use crate::fleet::{FleetCredential, FleetState};
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

/// How a gateway stands to its fleet, as far as it is known without asking.
pub(super) fn standing() -> Object {
    object()
        .has("name", text().or_null())
        .has("edge", text().or_null())
        .has("state", words(FleetState::ALL.map(FleetState::as_str)))
        .has("why", text().or_null())
        .has("revision", count())
        .has("head", count().or_null())
        .has("age_seconds", number())
        .has("leader", text().or_null())
        .has(
            "held_alone",
            count().about("Revocations and denials that hold on this edge alone"),
        )
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
    let credential = object()
        .has(
            "kind",
            words(FleetCredential::ALL.map(FleetCredential::as_str)),
        )
        .has("ends", number().about("Seconds since 1970"));
    let founded = object()
        .has("at", count().about("Seconds since 1970"))
        .has("by", text().about("Which edge founded it"))
        .has("store_format", count())
        .has(
            "format_fits",
            flag().about("Whether this version has that format"),
        )
        .has(
            "key_fits",
            flag().about("Whether this gateway has the fleet's key"),
        );
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
        .has("credentials", list(credential))
        .has("in_force", in_force())
        .has("alone", alone())
        .has("edges", list(edge).or_null())
        .has(
            "founded",
            Schema::from(founded.about("What etcd has of the fleet")).or_null(),
        )
        .has(
            "edges_error",
            text()
                .or_null()
                .about("Why etcd did not say which edges there are"),
        );
    let done = object().has(
        "backup",
        text()
            .or_null()
            .about("What was here before, when something else took its place"),
    );
    let init = closed().takes(
        "replace",
        flag().about("In the place of a fleet of this name whose stores have another format"),
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
        ("FleetInit", init.into()),
        ("FleetJoin", join.into()),
        ("FleetAlone", alone()),
        ("FleetAloneChange", change.into()),
    ]
}
