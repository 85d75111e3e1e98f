//! The table of configuration keys: name, kind, default, range, when a change takes effect, one line
//! of explanation.
//!
//! The parser, `postern sysctl -a`, the manual page postern.conf(5), and the error messages are all
//! made from it. Does not read files.

use super::key_macros::{auto_number, duration, number, path_or_none, switch};
use super::keys_certificates as certificates;
use super::keys_end as end;
use super::keys_fleet as fleet;
use super::keys_front as front;
use super::keys_log as log;
use super::keys_trace as trace;
use super::kind::{Change, Kind};
use super::network::Networks;
use super::value::{self, ValueError};
use super::{Config, SteerInterfaces, SteerMode};
use crate::limits;
use vocabulary::hostname::HostName;
use vocabulary::settings::{HostMetrics, KeyExchange, TlsVersion};

/// One configuration key.
pub struct Key {
    /// In dotted form: `timeout.idle`.
    pub name: &'static str,
    /// What its value looks like.
    pub kind: Kind,
    /// What holds when no file sets it.
    pub default: &'static str,
    /// When a new value takes effect.
    pub change: Change,
    /// One line for people.
    pub doc: &'static str,
    pub(super) set: fn(&mut Config, &str) -> Result<(), ValueError>,
    pub(super) show: fn(&Config) -> String,
}

const STEER_MODES: &[(&str, SteerMode)] = &[
    ("auto", SteerMode::Auto),
    ("kernel", SteerMode::Kernel),
    ("handoff", SteerMode::Handoff),
    ("off", SteerMode::Off),
];

const PRIVATE_ORIGINS: &[(&str, bool)] = &[("allow", true), ("deny", false)];

const GROUPS: &[(&str, KeyExchange)] = &[
    ("X25519MLKEM768", KeyExchange::X25519MlKem768),
    ("X25519", KeyExchange::X25519),
    ("P-256", KeyExchange::P256),
    ("P-384", KeyExchange::P384),
];

/// Groups by the names that other tools have for them.
const GROUP_ALIASES: &[(&str, &str)] = &[
    ("secp256r1", "P-256"),
    ("prime256v1", "P-256"),
    ("p256", "P-256"),
    ("secp384r1", "P-384"),
    ("p384", "P-384"),
    ("curve25519", "X25519"),
    ("mlkem768x25519", "X25519MLKEM768"),
];

const TLS_VERSIONS: &[(&str, TlsVersion)] =
    &[("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];

const HOST_METRICS: &[(&str, HostMetrics)] =
    &[("brief", HostMetrics::Brief), ("full", HostMetrics::Full)];

/// Every key, in the order of the manual.
pub static KEYS: &[Key] = &[
    Key {
        name: "listen",
        kind: Kind::Addresses,
        default: "*:443",
        change: Change::Restart,
        doc: "Where clients connect; every worker listens on every address. A file that sets it replaces what earlier files set.",
        set: |config, text| value::add_addresses(text, &mut config.listen),
        show: |config| value::show_addresses(&config.listen),
    },
    front::LISTEN_HTTP,
    front::LISTEN_HTTP_REDIRECT_PORT,
    front::HEALTH_LISTEN,
    Key {
        name: "workers",
        kind: Kind::AutoCount(limits::WORKERS_MAX as u64),
        default: "auto",
        change: Change::Restart,
        doc: "Threads that serve connections, each with its own ring; `auto` is one for each CPU that the process may use.",
        set: |config, text| {
            config.workers = if text.eq_ignore_ascii_case("auto") {
                let cpus = std::thread::available_parallelism().map_or(1, usize::from);
                cpus.min(limits::WORKERS_MAX)
            } else {
                let count = value::count(text, 1, limits::WORKERS_MAX as u64)?;
                usize::try_from(count).unwrap_or(limits::WORKERS_MAX)
            };
            Ok(())
        },
        show: |config| config.workers.to_string(),
    },
    Key {
        name: "store.path",
        kind: Kind::Path,
        default: "/var/lib/postern/store.redb",
        change: Change::Restart,
        doc: "The file that keeps zones, hosts, certificates, CAs and rules; made when it is missing.",
        set: |config, text| value::path(text).map(|path| config.store_path = path),
        show: |config| config.store_path.display().to_string(),
    },
    Key {
        name: "ca.key_file",
        kind: Kind::PathOrAuto,
        default: "auto",
        change: Change::Restart,
        doc: "The key that seals the private keys in the store, made at the first start (mode 0600). `auto` takes systemd's credential `ca.key` when there is one, else `ca.key` beside the store.",
        set: |config, text| {
            config.ca_key_file = none(text, &["auto", ""], value::path)?;
            Ok(())
        },
        show: |config| {
            let path = config.ca_key_file.as_ref();
            path.map_or_else(|| "auto".into(), |path| path.display().to_string())
        },
    },
    Key {
        name: "crl.directory",
        kind: Kind::PathOrNone,
        default: "none",
        change: Change::Restart,
        doc: "Where the revocation lists of managed CAs are kept as files for others: `CA-ID.crl` in DER and `ZONE.crl.pem`, renewed when something is revoked and once a day.",
        set: |config, text| {
            config.crl_directory = none(text, &["none", ""], value::path)?;
            Ok(())
        },
        show: |config| {
            let path = config.crl_directory.as_ref();
            path.map_or_else(|| "none".into(), |path| path.display().to_string())
        },
    },
    Key {
        name: "admin.socket",
        kind: Kind::Path,
        default: "/run/postern/admin.sock",
        change: Change::Restart,
        doc: "Unix socket of the admin API (mode 0660), which the commands use.",
        set: |config, text| value::path(text).map(|path| config.admin_socket = path),
        show: |config| config.admin_socket.display().to_string(),
    },
    Key {
        name: "admin.listen",
        kind: Kind::AddressOrOff,
        default: "off",
        change: Change::Restart,
        doc: "Address of the dashboard, and of the admin API for clients with a token, or `off`. Without `admin.tls_certificate` it must be a loopback address.",
        set: |config, text| {
            config.admin_listen = none(text, &["off", ""], value::address)?;
            Ok(())
        },
        show: |config| {
            config
                .admin_listen
                .map_or_else(|| "off".into(), |address| address.to_string())
        },
    },
    path_or_none!(
        "admin.tls_certificate",
        admin_tls_certificate,
        "Certificate of `admin.listen`, PEM with its chain, leaf first: it speaks TLS then. Read at a start and at SIGHUP; requests must be to localhost or to a name or address in it."
    ),
    path_or_none!(
        "admin.tls_key",
        admin_tls_key,
        "The private key of `admin.tls_certificate`, PEM. Read with it."
    ),
    Key {
        name: "control.private_origins",
        kind: Kind::Word(&["allow", "deny"]),
        default: "deny",
        change: Change::Reload,
        doc: "Whether tokens that are for some zones only may set origins at loopback and link-local addresses, metadata services and this gateway's own listeners; administrators may always.",
        set: |config, text| {
            value::word(text, PRIVATE_ORIGINS).map(|allowed| config.private_origins = allowed)
        },
        show: |config| value::show_word(&config.private_origins, PRIVATE_ORIGINS),
    },
    log::LOG_LEVEL,
    log::LOG_ACCESS,
    log::LOG_ACCESS_FORMAT,
    log::LOG_ACCESS_FIELDS,
    log::LOG_ACCESS_SAMPLE,
    log::LOG_ACCESS_SAMPLE_REFUSED,
    trace::TRACE_CONTEXT,
    trace::TRACE_SAMPLE,
    trace::TRACE_OTLP,
    Key {
        name: "host.default",
        kind: Kind::HostOrNone,
        default: "none",
        change: Change::Reload,
        doc: "The host that answers clients that send no SNI; with `none` they are refused.",
        set: |config, text| {
            config.default_host = none(text, &["none", ""], |text| {
                HostName::parse(text).map_err(|error| ValueError::whole(text, error.to_string()))
            })?;
            Ok(())
        },
        show: |config| {
            config
                .default_host
                .as_ref()
                .map_or_else(|| "none".into(), ToString::to_string)
        },
    },
    path_or_none!(
        "geoip.database",
        geoip_database,
        "Countries, regions and cities of client addresses for rules, in MaxMind's format (.mmdb)."
    ),
    path_or_none!(
        "geoip.asn_database",
        geoip_asn_database,
        "AS numbers of client addresses for rules, in MaxMind's format (.mmdb)."
    ),
    Key {
        name: "steer.mode",
        kind: Kind::Word(&["auto", "kernel", "handoff", "off"]),
        default: "auto",
        change: Change::Restart,
        doc: "Who brings a connection to the worker that owns its host: `kernel` (fails without eBPF), `handoff` between workers, `off` (any worker serves), `auto` (the kernel where it can).",
        set: |config, text| value::word(text, STEER_MODES).map(|mode| config.steer_mode = mode),
        show: |config| value::show_word(&config.steer_mode, STEER_MODES),
    },
    Key {
        name: "steer.interfaces",
        kind: Kind::Interfaces,
        default: "auto",
        change: Change::Restart,
        doc: "Network interfaces on which the kernel steers; `auto` is those that have an address that is listened on, loopback never.",
        set: |config, text| {
            config.steer_interfaces = value::interfaces(text)?;
            Ok(())
        },
        show: |config| match &config.steer_interfaces {
            SteerInterfaces::Auto => "auto".into(),
            SteerInterfaces::Named(names) => names.join(", "),
        },
    },
    Key {
        name: "steer.synproxy",
        kind: Kind::Switch,
        default: "off",
        change: Change::Restart,
        doc: "Whether, while the kernel steers, its XDP program answers SYNs instead of the stack; holds net.ipv4.tcp_timestamps at 2 unless it is 0, and firewall rules do not see such SYNs: see postern.conf(5), STEERING.",
        set: |config, text| value::switch(text).map(|value| config.steer_synproxy = value),
        show: |config| value::show_switch(config.steer_synproxy),
    },
    switch!(
        "steer.balance",
        steer_balance,
        "on",
        "Whether hosts move between workers, and busy ones get several, as their load asks for; new connections only."
    ),
    switch!(
        "steer.drop_unknown",
        steer_drop_unknown,
        "off",
        "Whether the kernel drops connections for hosts that are not here, instead of letting them be refused with an alert."
    ),
    switch!(
        "steer.drop_blocked",
        steer_drop_blocked,
        "off",
        "Whether the kernel drops connections from addresses that rules on `ip.src` alone block, instead of letting them be answered; such connections are in no access log."
    ),
    number!(
        "steer.host_rate",
        Count,
        count,
        plain,
        steer_host_rate,
        "0",
        0,
        limits::STEER_RATE_CEILING,
        "New connections a second that the kernel lets through to each host, with bursts of a second; 0 for all. More wait for their client's TCP to try again."
    ),
    number!(
        "steer.source_rate",
        Count,
        count,
        plain,
        steer_source_rate,
        "0",
        0,
        limits::STEER_RATE_CEILING,
        "The same for clients whose addresses share a prefix; 0 for all."
    ),
    number!(
        "steer.source_ipv4_bits",
        Count,
        count,
        plain,
        steer_source_ipv4_bits,
        "32",
        8,
        32,
        "Bits of an IPv4 address that make the prefix of `steer.source_rate`."
    ),
    number!(
        "steer.source_ipv6_bits",
        Count,
        count,
        plain,
        steer_source_ipv6_bits,
        "64",
        16,
        64,
        "Bits of an IPv6 address that make the prefix of `steer.source_rate`."
    ),
    duration!(
        "timeout.handshake",
        handshake_timeout,
        "10s",
        limits::TIMEOUT_MIN,
        limits::PATIENCE_MAX,
        "From the accepted connection to the finished TLS handshake."
    ),
    duration!(
        "timeout.header",
        header_timeout,
        "15s",
        limits::TIMEOUT_MIN,
        limits::PATIENCE_MAX,
        "From the first byte of a request to the end of its headers."
    ),
    duration!(
        "timeout.idle",
        idle_timeout,
        "75s",
        limits::TIMEOUT_MIN,
        limits::TIMEOUT_MAX,
        "How long a client connection may stay without a request."
    ),
    duration!(
        "timeout.origin_connect",
        origin_connect_timeout,
        "5s",
        limits::TIMEOUT_MIN,
        limits::PATIENCE_MAX,
        "To connect to an origin, its TLS handshake included; after it the client gets 504."
    ),
    duration!(
        "timeout.origin_response",
        origin_response_timeout,
        "1m",
        limits::TIMEOUT_MIN,
        limits::TIMEOUT_MAX,
        "For the head of the origin's response, from the request sent, all tries together; an origin may say otherwise. After it the client gets 504. The rest of a request that was answered before it was whole may stand still for as long."
    ),
    duration!(
        "timeout.origin_body",
        origin_body_timeout,
        "5m",
        limits::TIMEOUT_MIN,
        limits::TIMEOUT_MAX,
        "How long an origin may send nothing in the middle of a response while the client sends nothing either; after it the response is cut."
    ),
    duration!(
        "timeout.origin_idle",
        origin_idle_timeout,
        "30s",
        limits::TIMEOUT_MIN,
        limits::TIMEOUT_MAX,
        "How long an unused origin connection is kept for the next request."
    ),
    end::TIMEOUT_DRAIN,
    end::TIMEOUT_UPGRADE,
    number!(
        "limit.connections",
        Count,
        count,
        plain,
        connections_max,
        "20000",
        1,
        limits::CONNECTIONS_CEILING,
        "Client connections of the whole gateway; each worker takes an even share, more are closed at once."
    ),
    auto_number!(
        "limit.client_connections",
        client_connections_max,
        limits::CONNECTIONS_CEILING,
        "Connections of clients that share a prefix (an IPv4 address, an IPv6 /64); more are closed at once. `auto` is a quarter of `limit.connections`, and ten at least."
    ),
    number!(
        "limit.client_streams",
        Count,
        count,
        plain,
        client_streams_max,
        "1000",
        1,
        limits::CONNECTIONS_CEILING,
        "Requests over HTTP/2 that clients of one prefix may have open at once, beside one on each of their connections; more get 429."
    ),
    auto_number!(
        "limit.client_origin_connections",
        client_origin_connections_max,
        limits::CONNECTIONS_CEILING,
        "Connections to HTTP/1.1 origins that the requests of one prefix may keep busy at once; more get 429. `auto` is a quarter of the open files that are allowed."
    ),
    Key {
        name: "limit.client_exempt",
        kind: Kind::NetworksOrNone,
        default: "none",
        change: Change::Live,
        doc: "Networks whose clients have no share, up to 16: balancers and proxies of your own, behind which many clients have one address.",
        set: |config, text| {
            Networks::parse(text).map(|networks| config.tunables.client_exempt = networks)
        },
        show: |config| config.tunables.client_exempt.show(),
    },
    number!(
        "limit.body_rate",
        Size,
        size,
        value::show_size,
        body_rate,
        "64",
        0,
        limits::BODY_RATE_CEILING,
        "Bytes a second with which a request's body has to come, and an answer to be taken; a body that is behind by `timeout.origin_response` gets 408, an answer by `timeout.idle` is cut. 0 for as slowly as clients like; the bodies of gRPC calls come as they like."
    ),
    number!(
        "limit.request_body",
        Size,
        size,
        value::show_size,
        request_body_max,
        "0",
        0,
        limits::REQUEST_BODY_CEILING,
        "Bytes that a request's body may have; a larger one gets 413: at once when its length is said, else when so much has come. 0 for as many as clients send; hosts may say otherwise (`postern host set --request-body`)."
    ),
    number!(
        "limit.header_bytes",
        Size,
        size,
        value::show_size,
        header_bytes_max,
        "64k",
        limits::HEADER_BYTES_FLOOR,
        limits::HEADER_BYTES_CEILING,
        "Bytes of a head, and of trailers, in both directions; a larger request gets 431, a larger answer of the origin 502."
    ),
    number!(
        "limit.header_count",
        Count,
        count,
        plain,
        header_count_max,
        "100",
        limits::HEADER_COUNT_FLOOR,
        limits::HEADER_COUNT_CEILING,
        "Headers of a head, and of trailers, in both directions; a request with more gets 431, an answer of the origin 502."
    ),
    number!(
        "limit.requests",
        Count,
        count,
        plain,
        connection_requests_max,
        "100000",
        1,
        1_000_000_000,
        "Requests of one client connection; after them it is closed in good order."
    ),
    number!(
        "limit.h2_streams",
        Count,
        count,
        plain,
        h2_streams_max,
        "100",
        1,
        limits::H2_STREAMS_CEILING,
        "Concurrent streams of an HTTP/2 connection; more are refused."
    ),
    number!(
        "limit.h2_resets",
        Count,
        count,
        plain,
        h2_resets_max,
        "50",
        1,
        limits::H2_RESETS_CEILING,
        "Streams of an HTTP/2 connection that may be reset before anybody worked on them; more end the connection."
    ),
    number!(
        "limit.h2_control_frames",
        Count,
        count,
        plain,
        h2_control_frames_max,
        "20000",
        limits::H2_CONTROL_FRAMES_FLOOR,
        limits::H2_CONTROL_FRAMES_CEILING,
        "HTTP/2 frames of a connection that carry nothing (PING, SETTINGS, WINDOW_UPDATE, empty DATA, …), in ten seconds and beyond what its bodies and requests call for; a cancelled request counts as 200. More end the connection with ENHANCE_YOUR_CALM."
    ),
    number!(
        "limit.origin_idle",
        Count,
        count,
        plain,
        origin_idle_max,
        "1024",
        0,
        65_536,
        "Unused connections to one origin that a worker keeps at most; of them those stay that were in use at once lately."
    ),
    number!(
        "limit.origin_h2_connections",
        Count,
        count,
        plain,
        origin_h2_connections_max,
        "32",
        1,
        limits::ORIGIN_H2_CONNECTIONS_CEILING,
        "HTTP/2 connections of a worker to one origin, opened as streams run short; beyond them requests wait for a stream."
    ),
    number!(
        "limit.retry_percent",
        Count,
        count,
        plain,
        retry_percent,
        "10",
        0,
        100,
        "Requests of a hundred to an origin that may be sent again because their connection died under them; 0 repeats none."
    ),
    Key {
        name: "tls.groups",
        kind: Kind::Words(&["X25519MLKEM768", "X25519", "P-256", "P-384"]),
        default: "X25519MLKEM768, X25519, P-256",
        change: Change::Restart,
        doc: "Key exchange groups of all hosts, most wanted first. P-384 is not among them by default: it costs the gateway many times what the others do, and any client may ask for it.",
        set: |config, text| groups(text).map(|groups| config.tls_groups = groups),
        show: |config| value::show_words(&config.tls_groups, GROUPS),
    },
    Key {
        name: "tls.min_version",
        kind: Kind::Word(&["1.2", "1.3"]),
        default: "1.2",
        change: Change::Restart,
        doc: "The oldest TLS version of all hosts. A host may ask for a newer one (`postern host set --tls-min-version`), never for an older one.",
        set: |config, text| {
            let version = value::word(text, TLS_VERSIONS);
            version.map(|version| config.tls_min_version = version)
        },
        show: |config| value::show_word(&config.tls_min_version, TLS_VERSIONS),
    },
    number!(
        "trust.chain_bytes",
        Size,
        size,
        value::show_size,
        chain_bytes_max,
        "32k",
        vocabulary::limits::CHAIN_BYTES_FLOOR,
        vocabulary::limits::CHAIN_BYTES_CEILING,
        "Bytes of a client's certificate chain; a larger one ends the handshake."
    ),
    number!(
        "trust.tickets",
        Count,
        count,
        plain,
        tickets,
        "2",
        0,
        vocabulary::limits::TICKETS_MAX as u64,
        "Session tickets that a TLS 1.3 client gets with a full handshake, to open as many connections with at once; a resumed one gives one. 0 turns resumption off in all versions."
    ),
    duration!(
        "trust.ticket_rotation",
        ticket_rotation,
        "12h",
        limits::TICKET_ROTATION_MIN,
        limits::TICKET_ROTATION_MAX,
        "How often session tickets get a new key; the one before still opens tickets while they live."
    ),
    certificates::OCSP_STAPLE,
    certificates::ACME_DIRECTORY,
    certificates::ACME_STAGING,
    certificates::ACME_TERMS_AGREED,
    certificates::ACME_CONTACT,
    certificates::ACME_CHALLENGE,
    certificates::ACME_CA_FILE,
    certificates::ACME_ORDERS_PER_HOUR,
    certificates::ACME_EAB_KEY_ID,
    certificates::ACME_EAB_KEY_FILE,
    fleet::NAME,
    fleet::EDGE,
    fleet::ETCD,
    fleet::CA_FILE,
    fleet::CERTIFICATE,
    fleet::KEY,
    fleet::USER,
    fleet::PASSWORD_FILE,
    Key {
        name: "metrics.hosts",
        kind: Kind::Word(&["brief", "full"]),
        default: "brief",
        change: Change::Live,
        doc: "How much the metrics say of each host: coarse latencies of its requests, and stages for all hosts together (`brief`, some two dozen series a host), or fine latencies and each stage (`full`, some two hundred).",
        set: |config, text| {
            value::word(text, HOST_METRICS).map(|hosts| config.tunables.host_metrics = hosts)
        },
        show: |config| value::show_word(&config.tunables.host_metrics, HOST_METRICS),
    },
    front::PROXY_PROTOCOL_FROM,
    front::PROXY_TRUSTED,
    front::PROXY_HEADER,
    switch!(
        "forward.x_forwarded",
        x_forwarded,
        "on",
        "Whether origins get X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host."
    ),
    switch!(
        "forward.forwarded",
        forwarded,
        "off",
        "Whether origins get the Forwarded header (RFC 7239)."
    ),
];

/// The key of a name in dotted form.
#[must_use]
pub fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

pub(super) fn plain(value: u64) -> String {
    value.to_string()
}

/// Key exchange groups; for a name of another tool's, ours is suggested.
fn groups(text: &str) -> Result<Vec<KeyExchange>, ValueError> {
    value::words(text, GROUPS).map_err(|error| {
        let piece = text.get(error.at.clone()).unwrap_or_default();
        let alias = GROUP_ALIASES
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(piece));
        match alias {
            Some((_, ours)) => error.help(format!("did you mean `{ours}`?")),
            None => error,
        }
    })
}

pub(super) fn none<T>(
    text: &str,
    words: &[&str],
    read: impl FnOnce(&str) -> Result<T, ValueError>,
) -> Result<Option<T>, ValueError> {
    if words.contains(&text) {
        Ok(None)
    } else {
        read(text).map(Some)
    }
}
