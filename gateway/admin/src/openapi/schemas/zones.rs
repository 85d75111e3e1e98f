//! Zones, the account, lists and host name associations.

use super::super::schema::{
    Object, anything, closed, count, flag, list, named, nothing, number, object, text, words,
};
use super::{Named, host_name, id, time, uuid};
use control::CaKey;
use control::limits::{ASSOCIATIONS_MAX, DESCRIPTION_BYTES_MAX, LIST_ITEMS_MAX};

pub(super) fn schemas() -> Vec<Named> {
    let mut all = zones();
    all.extend(settings());
    all.extend(records());
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
    let edit = object()
        .takes("paused", flag().about("Only `false` can be said"))
        .takes("type", words(["full"]))
        .may_have("vanity_name_servers", list(text()).items(0));
    let verified = object()
        .has("id", id())
        .has("status", text().only("active"))
        .has("not_before", time())
        .has("expires_on", time());
    let log = object()
        .has("id", text().about("The revision that the change made"))
        .has(
            "action",
            object()
                .has("type", words(["create", "update", "delete"]))
                .has("result", flag().only(true)),
        )
        .has("actor", object().has_texts(["id", "email", "type"]))
        .has_texts(["interface", "newValue", "oldValue"])
        .has(
            "metadata",
            object()
                .has("changes", list(anything()))
                .has("omitted", count()),
        )
        .has("owner", object().has("id", id()))
        .has(
            "resource",
            object()
                .has("id", text().or_null())
                .has("type", text().or_null()),
        )
        .has("when", time());
    vec![
        ("Zone", zone.into()),
        ("ZoneCreate", create.into()),
        ("ZoneEdit", edit.into()),
        ("Account", account.into()),
        ("AuditLog", log.into()),
        ("TokenVerified", verified.into()),
    ]
}

fn settings() -> Vec<Named> {
    let setting = object()
        .has("id", text())
        .has("value", anything())
        .has("editable", flag())
        .has("modified_on", nothing());
    let edit = object().has("value", anything());
    let switch = || object().has("id", text()).has("enabled", flag());
    let shown = || switch().has("has_conflict", flag().only(false));
    let managed = object()
        .has("managed_request_headers", list(shown()))
        .has("managed_response_headers", list(shown()).items(0));
    let managed_edit = object()
        .may_have("managed_request_headers", list(switch()))
        .may_have("managed_response_headers", list(switch()));
    let forwarding = object()
        .has("hostname", host_name())
        .has("china_network", flag().only(false))
        .has("client_certificate_forwarding", flag());
    let forwarding_edit = object()
        .has("hostname", host_name())
        .may_have("china_network", flag().only(false))
        .has("client_certificate_forwarding", flag());
    let forwardings = object().has("settings", list(forwarding_edit));
    vec![
        ("ZoneSetting", setting.into()),
        ("ZoneSettingEdit", edit.into()),
        ("ManagedHeaders", managed.into()),
        ("ManagedHeadersEdit", managed_edit.into()),
        ("CertificateSetting", forwarding.into()),
        ("CertificateSettings", forwardings.into()),
    ]
}

fn records() -> Vec<Named> {
    let kind = || words(["A", "AAAA", "CNAME"]);
    let name = || text().about("Whole, `@` for the zone's own, or without the zone's name");
    let content = || text().about("The origin's address or name");
    let ignored = |object: Object| {
        let left_out = "Left out, with a message";
        object
            .takes("ttl", number().about(left_out))
            .takes("comment", text().about(left_out))
            .may_have("tags", list(text()).about(left_out))
    };
    let shown = object()
        .has("id", id())
        .has("type", kind())
        .has("name", host_name())
        .has("content", text())
        .has("proxiable", flag().only(true))
        .has("proxied", flag().only(true))
        .has("ttl", count().only(1))
        .has("comment", nothing())
        .has("tags", list(text()).items(0))
        .has("settings", object())
        .has("meta", object())
        .has("created_on", time())
        .has("modified_on", time());
    let write = ignored(
        object()
            .has("type", kind())
            .has("name", name())
            .has("content", content())
            .has("proxied", flag().only(true)),
    );
    let edit = ignored(
        object()
            .takes("type", kind())
            .takes("name", name())
            .takes("content", content())
            .takes("proxied", flag().only(true)),
    );
    vec![
        ("DnsRecord", shown.into()),
        ("DnsRecordWrite", write.into()),
        ("DnsRecordEdit", edit.into()),
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
    let names = |about: &str| list(host_name()).default(Vec::<String>::new()).about(about);
    let change = closed()
        .may_have(
            "add",
            names("Hosts of the zone that accept the CA's clients from now on"),
        )
        .may_have("remove", names("Those of the present ones that do not"))
        .takes(
            "mtls_certificate_id",
            uuid().about("The uploaded CA; without it, the zone's managed CAs are meant"),
        );
    let changed = object()
        .has("hostnames", list(host_name()).about("All that do now"))
        .has("added", list(host_name()))
        .has("removed", list(host_name()));
    vec![
        ("HostnameAssociationsChange", change.into()),
        ("HostnameAssociationsChanged", changed.into()),
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
