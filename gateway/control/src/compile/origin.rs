//! Compiles origins.
//!
//! Owns what an origin's URLs and settings may be, and which CAs the system trusts: `tls` is handed
//! their bytes.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use boring::hash::{MessageDigest, hash};

use crate::limits::{
    HASH_BY_BYTES_MAX, HEALTH_TEXT_BYTES_MAX, HEALTH_TIMEOUT_MAX_SEC, ORIGIN_TIME_MAX_SEC,
    SYSTEM_BUNDLE_BYTES_MAX,
};
use crate::model::id::Id;
use crate::model::{HealthKind, HealthSpec, OriginSpec};
use rules::{Computed, ParseError};
use snapshot::http::origin::{Origin, host_header};
use snapshot::http::reach::{OutOfReach, Reach};
use snapshot::limits::{ADDRESS_WEIGHT_MAX, ADDRESSES_MAX};
use snapshot::origins::health::Asks;
use snapshot::origins::{Address, Balancing, Ejection, HealthCheck, OriginGroup};
use tls::{OriginTls, OriginTlsError};
use vocabulary::hostname::{HostName, HostNameError};
use vocabulary::settings::{Balance, OriginProtocol};

/// What a URL should have been.
const WANTED: &str = "expected `http://HOST[:PORT]` or `https://HOST[:PORT]`";

/// Where Debian, RHEL and Alpine keep the system's CA bundle.
const SYSTEM_BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Why nothing can be sent to an origin as it was asked for. Always the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// No URL at all.
    #[error("`{url}` is not a URL ({why}); {WANTED}")]
    NotAUrl {
        /// What it is.
        url: String,
        /// Where it goes wrong.
        why: String,
    },
    /// Neither `http` nor `https`.
    #[error("`{0}` has no scheme that is known here; {WANTED}")]
    Scheme(String),
    /// No host.
    #[error("`{0}` names no host; {WANTED}")]
    NoHost(String),
    /// Secrets do not belong into a URL.
    #[error("a URL with a user name or password is not taken; {WANTED}")]
    Credentials,
    /// Requests have paths of their own.
    #[error("`{0}` has a path or a query; requests keep their own path, {WANTED}")]
    Path(String),
    /// Neither an address nor a host name.
    #[error(transparent)]
    Host(#[from] HostNameError),
    /// Port 0.
    #[error("port 0 cannot be connected to")]
    PortZero,
    /// A port that is none.
    #[error("the port in `{0}` is not a number up to 65535")]
    Port(String),
    /// What replaces the client's `Host` is no authority.
    #[error("host_header: `{0}` is not a host name")]
    HostHeader(String),
    /// The name that the origin's certificate must be for.
    #[error("server_name: {0}")]
    ServerName(HostNameError),
    /// Settings of TLS for an origin without TLS.
    #[error("ca_pem and server_name are for https:// origins")]
    WithoutTls,
    /// Nothing says where it is, or several things do.
    #[error("one of `url`, `addresses` and `name` says where requests go, and no other beside it")]
    Where,
    /// More than may be.
    #[error("it has {0} addresses, and may have {ADDRESSES_MAX}; put more behind one name")]
    Addresses(usize),
    /// One is there twice.
    #[error("the address `{0}` is there twice; give it more weight instead")]
    Twice(String),
    /// Some with TLS and some without.
    #[error("`{0}` has another scheme than the first address; all have the same")]
    Schemes(String),
    /// A weight that is none.
    #[error("the weight of `{0}` is not between 1 and {ADDRESS_WEIGHT_MAX}")]
    Weight(String),
    /// An expression where none is asked for, or none where one is.
    #[error("`hash_by`, an expression, belongs to balance `hash`, which needs it, and to no other")]
    HashBy,
    /// The expression is none.
    #[error("hash_by: {0}")]
    Expression(#[from] ParseError),
    /// The expression is longer than it may be.
    #[error("hash_by has more than {HASH_BY_BYTES_MAX} bytes")]
    LongExpression,
    /// A time that is longer than it may be, or none.
    #[error("{0} is not between {1} and {ORIGIN_TIME_MAX_SEC} seconds")]
    Time(&'static str, u32),
    /// A part of a health check that is none, or that its kind does not have.
    #[error("health.{0}: {1}")]
    Health(&'static str, String),
    /// A percentage that is none.
    #[error("{0} is not between 0 and 100")]
    Percent(&'static str),
    /// No system bundle where systems keep it.
    #[error("no CA bundle on this system (looked for {}); name one for the origin, or install ca-certificates", SYSTEM_BUNDLES.join(", "))]
    NoSystemBundle,
    /// The system's bundle is there and cannot be read.
    #[error("the origin's CA bundle cannot be read: {path}: {why}")]
    SystemBundle {
        /// The file.
        path: &'static str,
        /// What the system said.
        why: std::io::Error,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] OriginTlsError),
}

/// The CAs that the system believes, in PEM.
fn system_bundle() -> Result<Vec<u8>, OriginError> {
    let path = SYSTEM_BUNDLES
        .into_iter()
        .find(|path| Path::new(path).exists())
        .ok_or(OriginError::NoSystemBundle)?;
    vocabulary::file::read_regular(Path::new(path), SYSTEM_BUNDLE_BYTES_MAX)
        .map_err(|why| OriginError::SystemBundle { path, why })
}

/// Reads the addresses of an origin as they were asked for. Names are not resolved here: the data path
/// does that when it connects.
///
/// # Errors
/// A URL, a name or a bundle is not acceptable, or there is no bundle on this system.
pub fn origins(spec: &OriginSpec, reach: &Arc<Reach>) -> Result<Vec<Origin>, OriginError> {
    let says = [
        !spec.url.is_empty(),
        !spec.addresses.is_empty(),
        spec.name.is_some(),
    ];
    if says.into_iter().filter(|says| *says).count() != 1 || spec.name.is_some() {
        return Err(OriginError::Where);
    }
    if spec.addresses.len() > ADDRESSES_MAX {
        return Err(OriginError::Addresses(spec.addresses.len()));
    }
    check_settings(spec)?;
    let mut made: Vec<Origin> = Vec::with_capacity(spec.addresses.len().max(1));
    for (url, weight) in spec.urls() {
        let first = made.first();
        let one = origin(url, spec, first.map(|first| first.tls.as_ref()), reach)?;
        if first.is_some_and(|first| first.tls.is_some() != one.tls.is_some()) {
            return Err(OriginError::Schemes(url.to_owned()));
        }
        let place = |one: &Origin| (one.host.to_ascii_lowercase(), one.port);
        if made.iter().any(|other| place(other) == place(&one)) {
            return Err(OriginError::Twice(url.to_owned()));
        }
        if !(1..=ADDRESS_WEIGHT_MAX).contains(&weight) {
            return Err(OriginError::Weight(url.to_owned()));
        }
        made.push(one);
    }
    Ok(made)
}

/// Checks what is said of several addresses.
fn check_settings(spec: &OriginSpec) -> Result<(), OriginError> {
    drop(balancing(spec)?);
    if let Some(health) = &spec.health {
        drop(health_check(health)?);
        if health.kind == HealthKind::Grpc && spec.protocol == OriginProtocol::Http1 {
            let why = "gRPC needs HTTP/2, and this origin's `protocol` is `http1`".to_owned();
            return Err(OriginError::Health("kind", why));
        }
    }
    let ejection = spec.ejection.clone().unwrap_or_default();
    let times = [
        ("ejection.sec", ejection.sec, 1),
        ("ejection.max_sec", ejection.max_sec, 1),
        ("slow_start_sec", spec.slow_start_sec, 0),
    ];
    for (what, time, least) in times {
        if time.is_some_and(|time| !(least..=ORIGIN_TIME_MAX_SEC).contains(&time)) {
            return Err(OriginError::Time(what, least));
        }
    }
    let percents = [
        ("ejection.max_percent", ejection.max_percent),
        ("panic_percent", spec.panic_percent),
    ];
    for (what, percent) in percents {
        if percent.is_some_and(|percent| percent > 100) {
            return Err(OriginError::Percent(what));
        }
    }
    Ok(())
}

fn balancing(spec: &OriginSpec) -> Result<Balancing, OriginError> {
    match (spec.balance, &spec.hash_by) {
        (Balance::RoundRobin, None) => Ok(Balancing::RoundRobin),
        (Balance::LeastRequests, None) => Ok(Balancing::LeastRequests),
        (Balance::Hash, Some(text)) if text.len() > HASH_BY_BYTES_MAX => {
            Err(OriginError::LongExpression)
        }
        (Balance::Hash, Some(text)) => Ok(Balancing::Hash(Computed::value(text)?)),
        _ => Err(OriginError::HashBy),
    }
}

/// Reads how addresses are checked.
fn health_check(spec: &HealthSpec) -> Result<HealthCheck, OriginError> {
    let wrong = |part, why: &str| Err(OriginError::Health(part, why.to_owned()));
    let of_http = spec.kind == HealthKind::Http;
    for (part, is_said, has) in [
        ("path", spec.path.is_some(), of_http),
        ("status", spec.status.is_some(), of_http),
        (
            "service",
            spec.service.is_some(),
            spec.kind == HealthKind::Grpc,
        ),
        ("host", spec.host.is_some(), spec.kind != HealthKind::Tcp),
    ] {
        if is_said && !has {
            return wrong(
                part,
                &format!("a check of the kind `{}` does not take it", spec.kind),
            );
        }
    }
    let path = spec.path.as_deref().unwrap_or("/");
    let is_path = path.parse::<http::uri::PathAndQuery>();
    if !path.starts_with('/') || path.len() > HEALTH_TEXT_BYTES_MAX || is_path.is_err() {
        return wrong("path", "expected a path such as `/healthz`");
    }
    if spec
        .status
        .is_some_and(|status| !(100..=599).contains(&status))
    {
        return wrong("status", "expected a status from 100 to 599");
    }
    let service = spec.service.as_deref().unwrap_or_default();
    if service.len() > HEALTH_TEXT_BYTES_MAX {
        let why = format!("it has more than {HEALTH_TEXT_BYTES_MAX} bytes");
        return wrong("service", &why);
    }
    if spec
        .host
        .as_deref()
        .is_some_and(|host| host_header(host).is_none())
    {
        return wrong("host", "expected a host name, with a port if need be");
    }
    for (part, number, most) in [
        ("interval_sec", spec.interval_sec, ORIGIN_TIME_MAX_SEC),
        ("timeout_sec", spec.timeout_sec, HEALTH_TIMEOUT_MAX_SEC),
        ("healthy", spec.healthy, ORIGIN_TIME_MAX_SEC),
        ("unhealthy", spec.unhealthy, ORIGIN_TIME_MAX_SEC),
    ] {
        if number.is_some_and(|number| !(1..=most).contains(&number)) {
            let why = format!("expected a number from 1 to {most}");
            return wrong(part, &why);
        }
    }
    let host = spec.host.as_deref().map(Into::into);
    Ok(HealthCheck {
        asks: match spec.kind {
            HealthKind::Tcp => Asks::Tcp,
            HealthKind::Http => Asks::Http {
                path: path.into(),
                host,
                status: spec.status,
            },
            HealthKind::Grpc => Asks::Grpc {
                service: service.into(),
                host,
            },
        },
        interval: seconds(spec.interval_sec, HEALTH_INTERVAL),
        timeout: seconds(spec.timeout_sec, HEALTH_TIMEOUT),
        healthy: spec.healthy.unwrap_or(HEALTHY_AFTER),
        unhealthy: spec.unhealthy.unwrap_or(UNHEALTHY_AFTER),
    })
}

fn seconds(said: Option<u32>, default: Duration) -> Duration {
    said.map_or(default, |seconds| Duration::from_secs(seconds.into()))
}

/// Compiles an origin of a zone, which operators know by a label. Of `last`, the one that it was before,
/// what is known of its addresses is taken over.
///
/// # Errors
/// As [`origins`].
pub(crate) fn group(
    spec: &OriginSpec,
    (zone, label): (Id, &str),
    reach: &Arc<Reach>,
    last: Option<&OriginGroup>,
) -> Result<OriginGroup, OriginError> {
    let made = origins(spec, reach)?;
    let weights = spec.urls().map(|(_, weight)| weight);
    let known = |key: u64| {
        let addresses = last.into_iter().flat_map(|last| &last.addresses);
        let known = addresses.filter(|one| one.origin.key == key);
        known.map(|one| one.state.clone()).next()
    };
    let addresses = made.into_iter().zip(weights).map(|(one, weight)| Address {
        weight,
        hash: hash_of(&format!("{}:{}", one.host.to_ascii_lowercase(), one.port)),
        state: known(one.key).unwrap_or_default(),
        origin: Arc::new(one),
    });
    let (default, said) = (
        Ejection::default(),
        spec.ejection.clone().unwrap_or_default(),
    );
    let time = seconds(said.sec, default.time);
    Ok(OriginGroup {
        label: label.into(),
        zone: zone.to_string().into(),
        addresses: addresses.collect(),
        balance: balancing(spec)?,
        ejection: Ejection {
            failures: said.failures.unwrap_or(default.failures),
            time,
            time_max: seconds(said.max_sec, default.time_max).max(time),
            max_percent: said.max_percent.unwrap_or(default.max_percent),
        },
        health: spec.health.as_ref().map(health_check).transpose()?,
        slow_start: seconds(spec.slow_start_sec, SLOW_START),
        panic_percent: spec.panic_percent.unwrap_or_default(),
        state: last.map(|last| last.state.clone()).unwrap_or_default(),
    })
}

/// From one check of an address to the next, when nothing else is said.
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);
/// For one check, likewise.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
/// Good answers in a row that make an unhealthy address healthy, likewise.
const HEALTHY_AFTER: u32 = 2;
/// Bad ones that make it unhealthy, likewise.
const UNHEALTHY_AFTER: u32 = 3;
/// How long an address that is back gets fewer requests than its share, when nothing else is said.
const SLOW_START: Duration = Duration::from_secs(10);

/// Reads one address. `first` has the TLS of the first one, whose CAs are the same.
fn origin(
    text: &str,
    spec: &OriginSpec,
    first: Option<Option<&OriginTls>>,
    reach: &Arc<Reach>,
) -> Result<Origin, OriginError> {
    let url = || text.to_owned();
    let uri: http::Uri =
        text.parse()
            .map_err(|why: http::uri::InvalidUri| OriginError::NotAUrl {
                url: url(),
                why: why.to_string(),
            })?;
    let secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(OriginError::Scheme(url())),
    };
    let authority = uri.authority().ok_or_else(|| OriginError::NoHost(url()))?;
    if authority.as_str().contains('@') {
        return Err(OriginError::Credentials);
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(OriginError::Path(url()));
    }
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let address: Option<IpAddr> = host.parse().ok();
    if address.is_none() {
        HostName::parse(host)?;
    }
    // An authority that ends in `:` or in digits too large has no port that `port_u16` would see.
    let port = match authority.port_u16() {
        Some(0) => return Err(OriginError::PortZero),
        Some(port) => port,
        None if authority.as_str().ends_with(']') || !authority.as_str().contains(':') => {
            if secure { 443 } else { 80 }
        }
        None => return Err(OriginError::Port(url())),
    };
    let host_header = spec.host_header.as_deref().map(|text| {
        let wrong = || OriginError::HostHeader(text.escape_debug().to_string());
        host_header(text).ok_or_else(wrong)
    });
    let host_header = host_header.transpose()?;
    let tls = if secure {
        let name = spec.server_name.as_deref().unwrap_or(host);
        if name.parse::<IpAddr>().is_err() {
            HostName::parse(name).map_err(OriginError::ServerName)?;
        }
        Some(match (first, &spec.ca_pem) {
            (Some(Some(first)), _) => first.named(name),
            (_, Some(bundle)) => OriginTls::build(name, bundle.as_bytes())?,
            (_, None) => OriginTls::build(name, &system_bundle()?)?,
        })
    } else if spec.ca_pem.is_some() || spec.server_name.is_some() {
        return Err(OriginError::WithoutTls);
    } else {
        None
    };
    let reach = (spec.confined && !reach.allows_private).then(|| reach.clone());
    Ok(Origin {
        key: key_of(text, spec, reach.is_some()),
        url: text.into(),
        host: host.into(),
        port,
        addresses: address
            .map(|address| SocketAddr::new(address, port))
            .into_iter()
            .collect(),
        protocol: spec.protocol,
        tls,
        reach,
        host_header,
    })
}

/// Whether a confined origin may be set as it is. What its name resolves to is checked when it is
/// connected to.
pub(crate) fn check_reach(origin: &Origin) -> Result<(), OutOfReach> {
    match &origin.reach {
        None => Ok(()),
        Some(reach) => reach.check_text(&origin.host, origin.port),
    }
}

/// Equal origins of different hosts share connections; the header they send may differ, but is no
/// part of a connection. A confined one never takes over what another one opened.
fn key_of(url: &str, spec: &OriginSpec, confined: bool) -> u64 {
    let protocol = &spec.protocol;
    let connection = (url, protocol, &spec.server_name, &spec.ca_pem, confined);
    hash_of(&format!("{connection:?}"))
}

/// The front of SHA-256: the same everywhere and for ever.
fn hash_of(text: &str) -> u64 {
    let digest = hash(MessageDigest::sha256(), text.as_bytes());
    digest
        .ok()
        .and_then(|d| d.first_chunk().copied())
        .map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn urls() {
        for (url, host, port, addresses) in [
            ("http://127.0.0.1:9000", "127.0.0.1", 9000, 1),
            ("http://127.0.0.1:9000/", "127.0.0.1", 9000, 1),
            ("http://[::1]:9000", "::1", 9000, 1),
            ("http://[::1]", "::1", 80, 1),
            ("http://origin.example.com", "origin.example.com", 80, 0),
            ("https://origin.example.com", "origin.example.com", 443, 0),
            ("https://10.0.0.1", "10.0.0.1", 443, 1),
        ] {
            let spec = OriginSpec {
                url: url.into(),
                ..OriginSpec::default()
            };
            let origins = origins(&spec, &Arc::default()).unwrap();
            let origin = &origins[0];
            assert_eq!(
                (&*origin.host, origin.port, origin.addresses.len()),
                (host, port, addresses)
            );
        }
    }

    #[test]
    fn urls_refused() {
        for url in [
            "",
            "127.0.0.1:9000",
            "ftp://x",
            "http://",
            "http://h/path",
            "http://h?x",
            "http://u@h",
            "http://h:0",
            "http://h:99999",
            "http://h:",
            "http://h:x",
            "http://a b",
            "http://a..b",
            "unix:/x",
        ] {
            let spec = OriginSpec {
                url: url.into(),
                ..OriginSpec::default()
            };
            assert!(origins(&spec, &Arc::default()).is_err(), "{url:?}");
        }
        let url = "http://h".to_owned();
        for header in ["a b", "a\r\nb", "", "u@h"] {
            let spec = OriginSpec {
                url: url.clone(),
                host_header: Some(header.into()),
                ..OriginSpec::default()
            };
            assert!(origins(&spec, &Arc::default()).is_err(), "{header:?}");
        }
        let spec = OriginSpec {
            url,
            server_name: Some("x".into()),
            ..OriginSpec::default()
        };
        assert!(
            origins(&spec, &Arc::default()).is_err(),
            "a name for a plain origin"
        );
    }

    #[test]
    fn several_addresses_and_what_is_said_of_them() {
        let spec =
            |json: serde_json::Value| -> OriginSpec { serde_json::from_value(json).unwrap() };
        let two = json!([{"url": "http://a.test:1"}, {"url": "http://b.test:1", "weight": 3}]);
        let zone = Id::random();
        let made = group(
            &spec(
                json!({"addresses": two, "balance": "hash", "hash_by": "ip.src",
                "ejection": {"failures": 7, "sec": 400}, "panic_percent": 30}),
            ),
            (zone, "example.test/backends"),
            &Arc::default(),
            None,
        );
        let made = made.unwrap();
        let weights: Vec<u16> = made.addresses.iter().map(|one| one.weight).collect();
        assert_eq!(weights, [1, 3]);
        assert!(matches!(made.balance, Balancing::Hash(_)));
        assert_eq!((made.ejection.failures, made.panic_percent), (7, 30));
        assert_eq!(
            made.ejection.time_max,
            Duration::from_secs(400),
            "no less than once"
        );
        // What is known of an address stays while that does, whatever else changes.
        let other = json!({"addresses": [{"url": "http://b.test:1", "weight": 1}, {"url": "http://c.test:1"}]});
        let next = group(&spec(other), (zone, "other"), &Arc::default(), Some(&made)).unwrap();
        assert!(Arc::ptr_eq(
            &next.addresses[0].state,
            &made.addresses[1].state
        ));
        assert!(Arc::ptr_eq(&next.state, &made.state));
        assert!(!Arc::ptr_eq(
            &next.addresses[1].state,
            &made.addresses[0].state
        ));

        let one = json!([{"url": "http://a.test"}]);
        let many: Vec<_> = (0..65)
            .map(|n| json!({"url": format!("http://a.test:{}", n + 1)}))
            .collect();
        for wrong in [
            json!({}),
            json!({"name": "backends"}),
            json!({"url": "http://a.test", "addresses": one}),
            json!({"url": "http://a.test", "name": "backends"}),
            json!({"addresses": many}),
            json!({"addresses": [{"url": "http://a.test"}, {"url": "http://A.test:80"}]}),
            json!({"addresses": [{"url": "http://a.test"}, {"url": "https://b.test"}]}),
            json!({"addresses": [{"url": "http://a.test", "weight": 0}]}),
            json!({"addresses": [{"url": "http://a.test", "weight": 101}]}),
            json!({"addresses": one, "balance": "hash"}),
            json!({"addresses": one, "hash_by": "ip.src"}),
            json!({"addresses": one, "balance": "hash", "hash_by": "ip.source"}),
            json!({"addresses": one, "balance": "hash", "hash_by": "http.request.headers"}),
            json!({"addresses": one, "ejection": {"sec": 0}}),
            json!({"addresses": one, "ejection": {"max_percent": 101}}),
            json!({"addresses": one, "slow_start_sec": 4000}),
            json!({"addresses": one, "panic_percent": 101}),
            json!({"addresses": one, "health": {"kind": "tcp", "path": "/"}}),
            json!({"addresses": one, "health": {"kind": "http", "path": "healthz"}}),
            json!({"addresses": one, "health": {"kind": "http", "path": "/a b"}}),
            json!({"addresses": one, "health": {"kind": "http", "service": "a.B"}}),
            json!({"addresses": one, "health": {"kind": "http", "status": 42}}),
            json!({"addresses": one, "health": {"kind": "grpc", "host": "a b"}}),
            json!({"addresses": one, "health": {"kind": "grpc", "interval_sec": 0}}),
            json!({"addresses": one, "health": {"kind": "tcp", "timeout_sec": 31}}),
            json!({"addresses": one, "protocol": "http1", "health": {"kind": "grpc"}}),
        ] {
            let made = origins(&spec(wrong.clone()), &Arc::default());
            assert!(made.is_err(), "{wrong}");
        }
    }
}
