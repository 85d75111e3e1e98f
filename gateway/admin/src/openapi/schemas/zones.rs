//! Zones, the account, lists and host name associations.

use super::super::schema::{Object, closed, count, flag, list, named, number, object, text, words};
use super::{Named, host_name, id, time, uuid};
use control::CaKey;
use control::limits::{ASSOCIATIONS_MAX, DESCRIPTION_BYTES_MAX, LIST_ITEMS_MAX};

pub(super) fn schemas() -> Vec<Named> {
    let mut all = zones();
    all.extend(associations());
    all.extend(lists());
    all
}

/// The kinds of keys that managed CAs have.
pub(super) fn ca_key() -> super::Schema {
    words(CaKey::ALL.map(CaKey::as_str)).about("The key of the managed CA")
}

fn zones() -> Vec<Named> {
    let zone = object()
        .has("id", id())
        .has("name", host_name())
        .has("status", text().only("active"))
        .has("paused", flag().only(false))
        .has("type", text().only("full"))
        .has("development_mode", count().only(0))
        .has("name_servers", list(text()).items(0))
        .has("original_name_servers", list(text()).items(0))
        .has("created_on", time())
        .has("activated_on", time())
        .has("modified_on", time())
        .has("account", object().has("id", id()).has_texts(["name"]))
        .has(
            "owner",
            object().has("id", id()).has_texts(["type", "name"]),
        )
        .has(
            "plan",
            object()
                .has_texts(["id", "name"])
                .has("price", number())
                .has("is_subscribed", flag()),
        )
        .has(
            "meta",
            object()
                .has("step", count())
                .has("phishing_detected", flag()),
        )
        .has("permissions", list(text()).items(0))
        .about("Members that mean nothing here are there for Cloudflare's clients.");
    let create = object()
        .has("name", host_name())
        .takes("account", object().takes("id", id()))
        .takes("type", words(["full"]).default("full"))
        .takes("key_type", ca_key().default(CaKey::default().as_str()));
    let account = object()
        .has("id", id())
        .has_texts(["name"])
        .has("type", text().only("standard"));
    vec![
        ("Zone", zone.into()),
        ("ZoneCreate", create.into()),
        ("Account", account.into()),
    ]
}

fn associations() -> Vec<Named> {
    let replace = object()
        .may_have(
            "hostnames",
            list(host_name())
                .default(Vec::<String>::new())
                .about(&format!(
                    "All of them, {ASSOCIATIONS_MAX} at most; none clears the set"
                )),
        )
        .takes(
            "mtls_certificate_id",
            uuid().about("The uploaded CA; without it, the zone's managed CAs are meant"),
        );
    let shown = object().has("hostnames", list(host_name()));
    vec![
        ("HostnameAssociations", shown.into()),
        ("HostnameAssociationsReplace", replace.into()),
    ]
}

fn lists() -> Vec<Named> {
    let description = || text().characters(DESCRIPTION_BYTES_MAX);
    let name = || {
        text()
            .pattern("^[a-z0-9_]{1,50}$")
            .about("Rules refer to the list as `$name`")
    };
    let kind = || words(["ip", "hostname", "asn"]);
    let shown = object()
        .has("id", id())
        .has("name", name())
        .has("kind", kind())
        .has("description", description())
        .has("num_items", count().most(LIST_ITEMS_MAX as u64))
        .has(
            "num_referencing_filters",
            count().about("How many rules refer to the list"),
        )
        .has("created_on", time())
        .has("modified_on", time());
    let create = object()
        .has("name", name())
        .has("kind", kind())
        .may_have("description", description().default(""));
    let describe = object().may_have("description", description().default(""));
    let item = value(object())
        .has("id", id())
        .has("comment", description())
        .has("created_on", time())
        .has("modified_on", time());
    let new = value(closed()).takes("comment", description());
    let remove = object().has("items", list(object().has("id", id())));
    let operation = object().has("operation_id", id());
    let status = object()
        .has("id", id())
        .has("status", text().only("completed"))
        .has("completed", time());
    vec![
        ("List", shown.into()),
        ("ListCreate", create.into()),
        ("ListDescribe", describe.into()),
        ("ListItem", item.into()),
        ("ListItemCreate", new.into()),
        (
            "ListItems",
            list(named("ListItemCreate")).items(LIST_ITEMS_MAX),
        ),
        ("ListItemsRemove", remove.into()),
        ("ListOperation", operation.into()),
        ("ListOperationStatus", status.into()),
    ]
}

/// What an item holds: the member that its list's kind names.
fn value(item: Object) -> Object {
    let without = "`false` is refused for a wildcard: add the name itself as an item of its own";
    item.takes(
        "ip",
        text().about("An address, or a network such as `192.0.2.0/24`"),
    )
    .takes(
        "hostname",
        closed()
            .has("url_hostname", host_name())
            .takes("exclude_exact_hostname", flag().about(without)),
    )
    .takes("asn", count().most(u32::MAX.into()))
    .about("One of `ip`, `hostname` and `asn`: the one that the list's kind names.")
}
