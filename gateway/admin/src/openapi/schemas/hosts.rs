//! Hosts and tokens.

use super::super::schema::{Schema, closed, count, flag, list, object, text, words};
use super::certificates::server_key;
use super::origins::shown_certificate;
use super::{Named, host_name, id, named, pem, time, uuid};
use control::limits::{DESCRIPTION_BYTES_MAX, PEM_BYTES_MAX, TOKEN_DAYS_MAX};
use fetch::AcmeState;
use vocabulary::settings::CertificateHeaders;

pub(super) fn schemas() -> Vec<Named> {
    let mut all = hosts();
    all.extend(tokens());
    all
}

/// What hosts say in this API and in documents.
pub(super) fn mtls() -> Schema {
    words(["off", "request", "require"]).about(
        "Whether clients are asked for a certificate: `request` leaves it to rules what becomes \
         of those without a good one, `require` refuses them in the handshake",
    )
}

pub(super) fn revoked() -> Schema {
    words(["rule", "close"]).about(
        "What becomes of a client whose certificate is revoked: rules decide, or its handshake \
         is refused",
    )
}

pub(super) fn certificate_headers() -> Schema {
    list(words(
        CertificateHeaders::ALL.map(CertificateHeaders::as_str),
    ))
    .about("The headers that tell the origin of the client's certificate")
}

pub(super) fn tell_reason() -> Schema {
    flag().about("Whether a blocked client is told what is wrong with its certificate")
}

pub(super) fn request_body_max() -> Schema {
    count().about(
        "Bytes that a request's body may have, 0 for any number; `null` leaves it to \
         `limit.request_body`",
    )
}

pub(super) fn tls_min_version() -> Schema {
    words(["1.2", "1.3"]).about(
        "The oldest TLS version; without it the gateway's `tls.min_version`, which holds as well \
         when it is newer",
    )
}

pub(super) fn acme() -> Schema {
    flag().about(
        "Whether its certificate comes from the ACME server of `acme.directory`; until there is one \
         the host presents what there is. Not of wildcards",
    )
}

fn acme_status() -> Schema {
    let status = object()
        .has("state", words(AcmeState::ALL.map(AcmeState::as_str)))
        .has(
            "error",
            text().or_null().about("Why there is none, or no newer one"),
        )
        .has(
            "failures",
            count().about("Orders in a row that brought none"),
        )
        .has(
            "ordered_on",
            time().or_null().about("When the last order was begun"),
        )
        .has(
            "next_order_on",
            time()
                .or_null()
                .about("`null` while one is under way, or waits for its turn"),
        )
        .has("renewal_on", time().or_null())
        .about("How it stands with the certificate from ACME; `null` without `acme`");
    status.into()
}

fn hosts() -> Vec<Named> {
    let certificate = || uuid().about("The server certificate that the host must present");
    let other = || uuid().about("The one beside it, with the other kind of key");
    let presented = object()
        .has("id", uuid())
        .has("key_type", server_key().or_null())
        .has_texts(["issuer"])
        .has("expires_on", time());
    let shown = object()
        .has("name", host_name())
        .has("zone_id", id())
        .has("zone_name", host_name().or_null())
        .has("mtls", mtls())
        .has(
            "mtls_is_set",
            flag().about(
                "Whether the mode was asked for; otherwise it is `request` while a CA is associated with the host, else `off`",
            ),
        )
        .has("revoked", revoked())
        .has("certificate_headers", certificate_headers())
        .has("tell_reason", tell_reason())
        .has("tls_min_version", tls_min_version().or_null())
        .has("request_body_max", request_body_max().or_null())
        .has("origin", named("Origin"))
        .has(
            "addresses",
            list(named("OriginAddress"))
                .about("How the origin's addresses are; none of a host that is not served"),
        )
        .has("origin_client_certificate", shown_certificate())
        .has("acme", acme())
        .has("acme_status", acme_status().or_null())
        .has("certificate_id", certificate().or_null())
        .has("other_certificate_id", other().or_null())
        .has(
            "served",
            flag().about("Whether there is a certificate to present"),
        )
        .has(
            "server_certificate",
            named("PresentedCertificate").or_null(),
        )
        .has("server_certificates", list(named("PresentedCertificate")))
        .has(
            "certificate_authorities",
            list(
                object()
                    .has("id", uuid())
                    .has_texts(["name"])
                    .has("expires_on", time())
                    .has(
                        "warnings",
                        list(text()).about("What its clients cannot be asked for"),
                    ),
            )
            .about("The CAs whose clients the host accepts"),
        )
        .has("created_on", time())
        .has("modified_on", time());
    let brought = || {
        let pair = closed()
            .has("certificate", pem("The chain").characters(PEM_BYTES_MAX))
            .has(
                "private_key",
                pem("Its leaf's key").characters(PEM_BYTES_MAX),
            );
        list(pair).items(2).about(
            "Server certificates that come with the host, of different kinds of key, in the place \
             of `certificate_id`. They leave with the last host that names them",
        )
    };
    let develops = || {
        flag()
            .default(false)
            .about("Make a server certificate of the development CA for it")
    };
    let create = closed()
        .has("name", host_name())
        .has("origin", named("Origin"))
        .takes("mtls", mtls())
        .takes("revoked", revoked().default("rule"))
        .takes("certificate_headers", certificate_headers())
        .takes("tell_reason", tell_reason().default(false))
        .takes("tls_min_version", tls_min_version())
        .takes("request_body_max", request_body_max())
        .may_have("acme", acme().default(false))
        .takes("certificate_id", certificate())
        .takes("other_certificate_id", other())
        .takes("server_certificates", brought())
        .may_have("development_certificate", develops());
    let newest = |schema: Schema| {
        schema
            .or_null()
            .about("A server certificate; `null` goes back to the newest that covers the host")
    };
    let update = closed()
        .takes("origin", named("OriginUpdate"))
        .may_have(
            "mtls",
            mtls()
                .or_null()
                .about("`null` makes it follow the CAs that are associated with the host"),
        )
        .takes("revoked", revoked())
        .takes("certificate_headers", certificate_headers())
        .takes("tell_reason", tell_reason())
        .may_have("tls_min_version", tls_min_version().or_null())
        .may_have("request_body_max", request_body_max().or_null())
        .takes("acme", acme())
        .may_have("certificate_id", newest(uuid()))
        .may_have("other_certificate_id", newest(uuid()))
        .takes("server_certificates", brought())
        .may_have("development_certificate", develops())
        .about("What is left out stays as it is.");
    let enforcement = object()
        .has(
            "by",
            words(["handshake", "rule", "rule_partly"])
                .or_null()
                .about("`rule_partly`: for some of their requests only. `null`: nothing does"),
        )
        .has("rule_id", id().or_null().about("The rule that does"))
        .has(
            "skip_id",
            id().or_null().about("The `skip` rule that is in its way"),
        )
        .has(
            "revoked_pass",
            flag().about("Whether revoked certificates get around the rule"),
        );
    vec![
        ("PresentedCertificate", presented.into()),
        ("Host", shown.into()),
        ("HostCreate", create.into()),
        ("HostUpdate", update.into()),
        (
            "DeletedHost",
            object()
                .has("name", host_name())
                .has("lost", named("Loss"))
                .into(),
        ),
        ("Enforcement", enforcement.into()),
    ]
}

fn tokens() -> Vec<Named> {
    let scopes = || {
        list(words(["read", "certificates", "rules", "all"]))
            .not_empty()
            .about("What it may change; every token may read")
    };
    let zones = || list(id()).about("The zones it is for; none means everything");
    let name = || text().some().characters(DESCRIPTION_BYTES_MAX);
    let token = object()
        .has("id", id())
        .has("name", name())
        .has("scopes", scopes())
        .has("zones", zones())
        .has("status", words(["active", "expired"]))
        .has("created_on", time())
        .has("expires_on", time());
    let create = closed()
        .has("name", name())
        .has("scopes", scopes())
        .may_have("zones", zones().default(Vec::<String>::new()))
        .has("days", count().least(1).most(TOKEN_DAYS_MAX.into()));
    let made = token.clone().has(
        "value",
        text().about("The secret: `Authorization: Bearer VALUE`"),
    );
    vec![
        ("Token", token.into()),
        ("TokenCreate", create.into()),
        ("TokenWithSecret", made.into()),
    ]
}
