//! The configuration as a document, the audit log, and backups.

use super::super::schema::{
    Schema, anything, closed, count, flag, list, named, object, text, words,
};
use super::hosts::{
    acme, certificate_headers, mtls, request_body_max, revoked, tell_reason, tls_min_version,
};
use super::{Named, host_name, pem, time};
use control::limits::{
    CRL_FETCH_EVERY_MAX_SEC, DENIED_OF_CA_MAX, DESCRIPTION_BYTES_MAX, LIST_ITEMS_MAX,
    REFERENCE_BYTES_MAX,
};

pub(super) fn schemas() -> Vec<Named> {
    let mut all = document();
    all.extend(zone());
    all.extend(changes());
    all
}

fn description() -> Schema {
    text().characters(DESCRIPTION_BYTES_MAX)
}

fn document() -> Vec<Named> {
    let all = closed()
        .has("postern", count().only(1).about("The version of the form"))
        .takes("lists", list(named("ListDocument")))
        .takes("authorities", list(named("AuthorityDocument")))
        .takes("zones", list(named("ZoneDocument")))
        .about(
            "What is left out is left alone: a section, a thing, a key of a thing that is there. \
             `null` is the default of a key. Lists of rules are whole, and so is each rule.",
        );
    let item = closed()
        .has("value", text())
        .may_have("comment", description());
    let of_list = closed()
        .has("name", text())
        .has("kind", words(["ip", "hostname", "asn"]))
        .may_have("description", description())
        .may_have("items", list(item).items(LIST_ITEMS_MAX));
    let policy = || words(["hard", "soft"]);
    let crl = closed()
        .takes("policy", policy())
        .takes("file", text())
        .may_have("urls", list(text()))
        .takes(
            "fetch_every",
            count().least(1).most(CRL_FETCH_EVERY_MAX_SEC.into()),
        );
    let ocsp = closed()
        .takes("url", text())
        .takes("policy", policy())
        .takes("nonce", flag());
    let denied = closed()
        .has("issuer", text())
        .has("issuer_sha256", text())
        .has("serial_number", text())
        .may_have("comment", description())
        .has("denied_on", time());
    let authority = closed()
        .may_have("name", description())
        .has("certificate", pem("The CA's certificates"))
        .takes("crl", crl.about("`null` asks for no lists"))
        .takes("ocsp", ocsp)
        .takes("denied", list(denied).items(DENIED_OF_CA_MAX));
    vec![
        ("Document", all.into()),
        ("ListDocument", of_list.into()),
        ("AuthorityDocument", authority.into()),
    ]
}

fn zone() -> Vec<Named> {
    let keyed = || list(named("KeyedDocument"));
    let rules = || list(named("RuleDocument"));
    let ruleset = closed()
        .takes("name", description())
        .takes("description", description());
    let association = closed()
        .has(
            "authority",
            text().about(
                "`managed`, or an uploaded CA's name or the SHA-256 of its first certificate",
            ),
        )
        .has("hosts", list(host_name()));
    let zone = closed()
        .has("name", host_name())
        .takes(
            "managed_authorities",
            keyed().about("The newest first; only of a zone that the document creates"),
        )
        .takes("server_certificates", keyed())
        .takes("associations", list(association).about("All there are"))
        .takes("origins", list(named("OriginDocument")))
        .takes("hosts", list(named("HostDocument")))
        .takes("ruleset", ruleset)
        .takes("rules", rules().about("All there are"))
        .takes("rate_limits", rules().about("All there are"))
        .takes("transforms", rules().about("All there are"))
        .takes("redirects", rules().about("All there are"))
        .takes("origin_rules", rules().about("All there are"))
        .takes("response_transforms", rules().about("All there are"));
    let keyed = closed()
        .has("certificate", pem("The chain, leaf first"))
        .takes(
            "key",
            pem("Its key; not needed for a certificate that the gateway has"),
        );
    let fingerprint = || text().about("The SHA-256 of a server certificate that it must present");
    let host = closed()
        .has("name", host_name())
        .may_have(
            "origin",
            named("OriginUpdate")
                .about("Where requests go is needed of a host that the document makes"),
        )
        .takes("mtls", mtls())
        .may_have("revoked", revoked().default("rule"))
        .may_have("certificate_headers", certificate_headers())
        .may_have("tell_reason", tell_reason().default(false))
        .takes("tls_min_version", tls_min_version())
        .takes("request_body_max", request_body_max())
        .takes("acme", acme())
        .takes("certificate", fingerprint())
        .takes("other_certificate", fingerprint());
    let origin = closed()
        .has("name", text())
        .may_have("origin", named("OriginUpdate"));
    let rule = closed()
        .takes("ref", text().some().characters(REFERENCE_BYTES_MAX))
        .may_have("description", description())
        .has("expression", text())
        .has("action", text())
        .takes("action_parameters", named("ActionParameters"))
        .takes("ratelimit", named("RateLimit"))
        .may_have(
            "confined",
            flag().about("A token of a zone set it: an origin rule with a tenant's reach"),
        )
        .takes("logging", flag())
        .may_have("enabled", flag().default(true));
    vec![
        ("ZoneDocument", zone.into()),
        ("KeyedDocument", keyed.into()),
        ("OriginDocument", origin.into()),
        ("HostDocument", host.into()),
        ("RuleDocument", rule.into()),
    ]
}

fn changes() -> Vec<Named> {
    let was = || anything().about("How it was; of a change, what differs");
    let is = || anything().about("How it is; of a change, what differs");
    let change = object()
        .has("action", words(["create", "change", "remove"]))
        .has("noun", text().about("What kind of thing"))
        .may_have("zone", text())
        .has("key", text().about("Its name; of a rule its place, from 1"))
        .may_have("before", was())
        .may_have("after", is());
    let applied = object()
        .has("changes", list(change))
        .has(
            "kept",
            list(text()).about("What is there, not in the document, and left alone"),
        )
        .has(
            "lost",
            list(named("Loss")).about("What is lost for good with what is removed"),
        )
        .has(
            "revision",
            count().about("The revision that the document was compared with"),
        );
    let note = object()
        .has("noun", text().about("What kind of thing"))
        .has("key", text().about("Which one"))
        .may_have("before", was())
        .may_have("after", is());
    let entry = object()
        .has("revision", count())
        .has("at", time())
        .has("actor", text())
        .has("changes", list(note))
        .may_have("omitted", count().about("How many further things changed"));
    let wanted = closed().has(
        "path",
        text()
            .pattern("^/")
            .about("An absolute path on the gateway's machine, where nothing is yet"),
    );
    let made = object()
        .has("path", text())
        .has("revision", count())
        .has("size", count().about("Bytes"));
    vec![
        ("Applied", applied.into()),
        ("AuditEntry", entry.into()),
        ("BackupCreate", wanted.into()),
        ("Backup", made.into()),
    ]
}
