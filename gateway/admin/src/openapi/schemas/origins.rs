//! Origins: a host's own, those of zones, and how their addresses are.

use super::super::schema::{Schema, closed, count, flag, list, number, object, text, words};
use super::{Named, host_name, id, named, pem, time};
use control::HealthKind;
use control::limits::{
    HASH_BY_BYTES_MAX, HEALTH_TEXT_BYTES_MAX, HEALTH_TIMEOUT_MAX_SEC, ORIGIN_NAME_BYTES_MAX,
    ORIGIN_TIME_MAX_SEC, PEM_BYTES_MAX,
};
use snapshot::limits::{ADDRESS_WEIGHT_MAX, ADDRESSES_MAX, ORIGIN_QUEUE_MAX};
use snapshot::origins::Failure;
use snapshot::origins::state::Health;
use vocabulary::settings::{Balance, ProxyProtocol, TlsVersion};

fn name() -> Schema {
    text()
        .pattern("^[a-z0-9_-]+$")
        .characters(ORIGIN_NAME_BYTES_MAX)
}

fn url() -> Schema {
    text().about("`http://127.0.0.1:9000` or `https://origin.example.com`")
}

fn addresses() -> Schema {
    let address = closed().has("url", url()).may_have(
        "weight",
        count()
            .least(1)
            .most(ADDRESS_WEIGHT_MAX.into())
            .default(1)
            .about("Its share of the requests beside those of the others"),
    );
    list(address)
        .items(ADDRESSES_MAX)
        .about("Several of them, all with the same scheme")
}

fn balance() -> Schema {
    words(Balance::ALL.map(Balance::as_str)).about(
        "How the addresses take turns: one after the other by weight, the one of two with fewer open \
         requests, or by `hash_by`",
    )
}

fn hash_by() -> Schema {
    text().characters(HASH_BY_BYTES_MAX).about(
        "An expression such as `cf.tls_client_auth.cert_fingerprint_sha256` or `ip.src`: requests \
         with the same value go to the same address. Those without one go round",
    )
}

fn percent() -> Schema {
    count().most(100)
}

fn seconds() -> Schema {
    count().most(ORIGIN_TIME_MAX_SEC.into())
}

fn ejection() -> Schema {
    closed()
        .takes(
            "failures",
            count().about("So many failures in a row (3 unless said); 0 ejects none"),
        )
        .takes(
            "sec",
            seconds().least(1).about(
                "For how many seconds the first time (10 unless said); each further time in a row \
                 doubles it",
            ),
        )
        .takes(
            "max_sec",
            seconds().least(1).about("At most so many (300 unless said)"),
        )
        .takes(
            "max_percent",
            percent().about(
                "So many addresses of a hundred may be out at once (50 unless said); one of several \
                 may, all may not",
            ),
        )
        .about("When an address that fails gets no requests for a while")
        .into()
}

fn health() -> Schema {
    let times = || count().least(1).most(ORIGIN_TIME_MAX_SEC.into());
    closed()
        .has(
            "kind",
            words(HealthKind::ALL.map(HealthKind::as_str)).about(
                "A connection, a GET, or a call of gRPC's health service (`grpc.health.v1.Health`)",
            ),
        )
        .takes(
            "path",
            text()
                .characters(HEALTH_TEXT_BYTES_MAX)
                .about("By `http`: what is asked for (`/` unless said)"),
        )
        .takes(
            "status",
            count()
                .least(100)
                .most(599)
                .about("By `http`: the status of a good answer (200 to 299 unless said)"),
        )
        .takes(
            "service",
            text()
                .characters(HEALTH_TEXT_BYTES_MAX)
                .about("By `grpc`: the service (the server as a whole unless said)"),
        )
        .takes(
            "host",
            text().about(
                "By `http` and `grpc`: the `Host` (the origin's `host_header`, or the address's own, \
                 unless said)",
            ),
        )
        .takes(
            "interval_sec",
            times().about("Seconds between two checks of an address (5 unless said)"),
        )
        .takes(
            "timeout_sec",
            count()
                .least(1)
                .most(HEALTH_TIMEOUT_MAX_SEC.into())
                .about("Seconds that one check may take (2 unless said)"),
        )
        .takes(
            "healthy",
            times().about("So many good answers in a row bring an address back (2 unless said)"),
        )
        .takes(
            "unhealthy",
            times().about("So many bad ones take it out (3 unless said)"),
        )
        .about("How the addresses are checked, from one place for all workers")
        .into()
}

fn slow_start() -> Schema {
    seconds().about(
        "For how many seconds an address that is back gets fewer requests than its share (10 unless \
         said)",
    )
}

fn panic_percent() -> Schema {
    percent().about(
        "With fewer good addresses than so many of a hundred all are used (0 unless said: when none \
         is good)",
    )
}

fn millis() -> Schema {
    let most = u64::from(ORIGIN_TIME_MAX_SEC) * 1_000;
    count().least(1).most(most)
}

fn timeouts() -> Schema {
    closed()
        .takes(
            "connect_ms",
            millis().about("To be connected to (`timeout.origin_connect` unless said)"),
        )
        .takes(
            "try_ms",
            millis().about(
                "For the answer to one try (as the whole unless said): then another address is asked, \
                 if the request may be repeated",
            ),
        )
        .takes(
            "whole_ms",
            millis().about("For all tries together (`timeout.origin_response` unless said)"),
        )
        .about("How long the origin may take")
        .into()
}

fn limits() -> Schema {
    closed()
        .takes(
            "requests",
            count()
                .least(1)
                .about("Requests at once (as many as come unless said)"),
        )
        .takes(
            "connections",
            count().least(1).about(
                "Connections at once, idle ones included (as many as are needed unless said)",
            ),
        )
        .takes(
            "queue",
            count()
                .most(ORIGIN_QUEUE_MAX.into())
                .about("Requests that wait beyond that (100 unless said)"),
        )
        .takes(
            "queue_ms",
            millis().about("How long they wait (5000 unless said); then they get 503"),
        )
        .about("What the origin has at once, over all addresses and workers")
        .into()
}

fn limit_state() -> Schema {
    object()
        .has_counts(["max", "in_use", "waiting", "queued", "refused"])
        .has("queue_seconds", number())
        .about("Who is there and who waits, and in all: who had to wait, for how long, and who was refused")
        .into()
}

fn client_certificate() -> Schema {
    closed()
        .has(
            "certificate",
            pem("The chain, in any order").characters(PEM_BYTES_MAX),
        )
        .may_have(
            "private_key",
            pem("The private key of the chain's leaf. Never shown; not needed as long as the origin has it")
                .characters(PEM_BYTES_MAX),
        )
        .about("What is shown to an https origin that asks for a certificate; it may ask for none")
        .into()
}

fn tls_min_version() -> Schema {
    words(TlsVersion::ALL.map(TlsVersion::as_str))
        .about("The oldest TLS version towards an https origin (1.2 unless said)")
}

fn proxy_protocol() -> Schema {
    words(ProxyProtocol::ALL.map(ProxyProtocol::as_str)).about(
        "What each connection begins with: a header of the PROXY protocol that says who the client is. \
         Such a connection serves no other client",
    )
}

/// What there is to know of the certificate that an origin is shown.
pub(super) fn shown_certificate() -> Schema {
    let shown = object()
        .has_texts([
            "common_name",
            "organization",
            "issuer",
            "serial_number",
            "fingerprint_sha256",
            "signature",
        ])
        .has("issued_on", time())
        .has("expires_on", time())
        .about("The certificate that the origin is shown");
    Schema::from(shown).or_null()
}

pub(super) fn schemas() -> Vec<Named> {
    let protocol = || words(["auto", "http1", "http2"]);
    let of_zone = || name().about("An origin of the host's zone, which says everything else");
    let origin = closed()
        .takes("url", url())
        .takes("addresses", addresses())
        .takes("name", of_zone())
        .may_have("balance", balance().default("round_robin"))
        .takes("hash_by", hash_by())
        .takes("ejection", ejection())
        .takes("health", health())
        .takes("slow_start_sec", slow_start())
        .takes("panic_percent", panic_percent())
        .takes("timeouts", timeouts())
        .takes("limits", limits())
        .may_have("protocol", protocol().default("auto"))
        .takes("host_header", text().about("Replaces the client's `Host`"))
        .takes(
            "server_name",
            text().about("The name that the origin's certificate must be for, if not the URL's"),
        )
        .takes(
            "ca_pem",
            pem("The CAs that the origin's certificate may come from, if not the system's")
                .characters(PEM_BYTES_MAX),
        )
        .takes("client_certificate", client_certificate())
        .takes("tls_min_version", tls_min_version())
        .takes("proxy_protocol", proxy_protocol())
        .takes(
            "confined",
            flag().about(
                "Whether `control.private_origins` applies to it, as it does to every origin that \
                 a token of some zones sets",
            ),
        )
        .about("One of `url`, `addresses` and `name` says where requests go.");
    let update = closed()
        .takes("url", url())
        .takes("addresses", addresses())
        .takes("name", of_zone())
        .takes("balance", balance())
        .takes("hash_by", hash_by())
        .takes("ejection", ejection())
        .takes("health", health())
        .takes("slow_start_sec", slow_start())
        .takes("panic_percent", panic_percent())
        .takes("timeouts", timeouts())
        .takes("limits", limits())
        .takes("protocol", protocol())
        .takes("host_header", text())
        .takes("server_name", text())
        .takes("ca_pem", text().characters(PEM_BYTES_MAX))
        .takes("client_certificate", client_certificate())
        .takes("tls_min_version", tls_min_version())
        .takes("proxy_protocol", proxy_protocol())
        .takes("confined", flag())
        .about(
            "What is left out stays as it is; `null` takes it away. Where requests go is said anew as \
             a whole.",
        );
    let address = object()
        .has_texts(["url"])
        .has("weight", count())
        .has(
            "state",
            words(["good", "starting", "ejected", "unhealthy"]).about(
                "`starting`: it is back, and gets fewer requests than its share; `ejected`: it \
                 failed, and gets none for a while; `unhealthy`: health checks fail",
            ),
        )
        .has("health", words(Health::ALL.map(Health::as_str)))
        .has(
            "health_error",
            text().or_null().about("What the last bad check met"),
        )
        .has(
            "connects_to",
            list(text()).about(
                "What it means in DNS, or the address itself; none of a name that was not found yet",
            ),
        )
        .has(
            "name_error",
            text()
                .or_null()
                .about("Why its name was not found the last time; what it meant before is used"),
        )
        .has(
            "out_for_seconds",
            number().or_null().about("For how much longer it gets none"),
        )
        .has_counts(["open_requests", "requests", "failed", "ejections"])
        .has(
            "last_failure",
            words(Failure::ALL.map(Failure::as_str)).or_null(),
        );
    let shown = object()
        .has("name", name())
        .has("zone_id", id())
        .has("zone_name", host_name())
        .has("origin", named("Origin"))
        .has("client_certificate", shown_certificate())
        .has(
            "used_by",
            list(text()).about("What sends requests to it: hosts and origin rules"),
        )
        .has(
            "addresses",
            list(named("OriginAddress"))
                .about("How they are; none of an origin that nothing sends requests to"),
        )
        .has("created_on", time())
        .has("modified_on", time());
    let state = object()
        .has(
            "label",
            text().about("`ZONE/NAME`, or the name of the host whose own it is"),
        )
        .has(
            "all_used",
            flag().about("Whether so few addresses are good that all are used"),
        )
        .has("requests", limit_state().or_null())
        .has("connections", limit_state().or_null())
        .has("addresses", list(named("OriginAddress")));
    vec![
        ("Origin", origin.into()),
        ("OriginUpdate", update.into()),
        ("OriginAddress", address.into()),
        ("ZoneOrigin", shown.into()),
        ("OriginState", state.into()),
        (
            "ZoneOriginCreate",
            closed()
                .has("name", name())
                .has("origin", named("Origin"))
                .into(),
        ),
        (
            "ZoneOriginUpdate",
            closed().has("origin", named("OriginUpdate")).into(),
        ),
        ("DeletedOrigin", object().has("name", name()).into()),
    ]
}
