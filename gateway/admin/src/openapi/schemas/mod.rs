//! The schemas that routes name, by subject.
//!
//! Each stands for a type that a handler reads or for a value that it shows. Tests hold every
//! answer of the API against them, and every request that it takes.

mod cas;
mod certificates;
mod documents;
mod dry_run;
mod fleet;
mod hosts;
mod origins;
mod rules;
mod running;
mod zones;

use super::schema::{Schema, count, either, flag, list, named, object, text, words};
use control::Phase;
use vocabulary::hostname::NAME_BYTES_MAX;

/// A schema with its name.
type Named = (&'static str, Schema);

/// All of them.
pub(super) fn all() -> Vec<Named> {
    let mut all = common();
    all.extend(zones::schemas());
    all.extend(certificates::schemas());
    all.extend(cas::schemas());
    all.extend(hosts::schemas());
    all.extend(origins::schemas());
    all.extend(rules::schemas());
    all.extend(dry_run::schemas());
    all.extend(documents::schemas());
    all.extend(running::schemas());
    all
}

fn id() -> Schema {
    named("Id")
}

fn uuid() -> Schema {
    named("Uuid")
}

fn time() -> Schema {
    named("Time")
}

fn host_name() -> Schema {
    named("HostName")
}

fn pem(what: &str) -> Schema {
    text().about(&format!("{what}, in PEM"))
}

fn common() -> Vec<Named> {
    let id = text()
        .pattern("^[0-9a-fA-F]{32}$")
        .about("32 hex characters; answers have them in lower case");
    let uuid = text().format("uuid");
    let time = text()
        .format("date-time")
        .about("A time in UTC, as RFC 3339 has it");
    let host_name = text()
        .some()
        .characters(NAME_BYTES_MAX + 1)
        .about("`api.example.com`, or `*.example.com` for all names with one more label");
    let phase = words(Phase::ALL.map(Phase::as_str)).about("When the rules of a ruleset run");
    let error = object()
        .has(
            "code",
            count().about("Cloudflare's code for the case, or for the nearest"),
        )
        .has(
            "message",
            text()
                .some()
                .about("What is wrong, and what to do about it"),
        )
        .may_have(
            "source",
            object().has(
                "pointer",
                text().about("A JSON pointer into the request's body"),
            ),
        );
    let message = object().has("code", count()).has(
        "message",
        text().about("What was left out, or is worth knowing"),
    );
    let failure = object()
        .has("success", flag().only(false))
        .has("errors", list(named("Error")).not_empty())
        .has("messages", named("NoMessages"))
        .has("result", super::schema::nothing());
    let page_info = object()
        .has("page", count().least(1))
        .has("per_page", count())
        .has("count", count().about("How many items are here"))
        .has("total_count", count().about("How many items there are"))
        .has("total_pages", count());
    let after = "Where the next part begins: the parameter `cursor` of the next request; empty at \
                 the end";
    let cursor_info = object()
        .has("count", count().about("How many items are here"))
        .has("per_page", count())
        .has("cursors", object().has("after", text().about(after)));
    let deleted_uuid = object()
        .has("id", named("Uuid"))
        .may_have("lost", named("Loss"));
    let loss = object()
        .has("what", text().about("What goes: `zone example.com`"))
        .has("ca_keys", count().about("Keys of managed CAs"))
        .has(
            "client_certificates",
            count().about("Client certificates that they issued"),
        )
        .has(
            "server_keys",
            count().about("Server certificates with their keys"),
        )
        .has("revocation_lists", count())
        .has("hosts", count().about("Hosts that are not served any more"))
        .about("What is lost for good. With `dry_run=true`: what would be");
    vec![
        ("Id", id),
        ("Uuid", uuid),
        ("Time", time),
        ("HostName", host_name),
        ("Phase", phase),
        ("Error", error.into()),
        ("Failure", failure.into()),
        ("NoMessages", list(text()).items(0)),
        ("Messages", list(named("Message"))),
        ("Message", message.into()),
        ("NoErrors", list(named("Error")).items(0)),
        ("PageInfo", page_info.into()),
        ("CursorInfo", cursor_info.into()),
        (
            "PageOrCursorInfo",
            either([named("PageInfo"), named("CursorInfo")]),
        ),
        ("Loss", loss.into()),
        (
            "Deleted",
            object()
                .has("id", named("Id"))
                .may_have("lost", named("Loss"))
                .into(),
        ),
        ("DeletedByUuid", deleted_uuid.into()),
    ]
}
