//! Compiles origins.
//!
//! Owns what an origin's URLs may be, and which CAs the system trusts: `tls` is handed their bytes. What
//! is said beside URLs is [`settings`]'s, what names mean [`names`]'s.

pub(crate) mod names;
mod settings;
pub(crate) mod standing;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use boring::hash::{MessageDigest, hash};

use self::names::Names;
use self::standing::Standing;
use crate::limits::{HASH_BY_BYTES_MAX, ORIGIN_TIME_MAX_SEC, SYSTEM_BUNDLE_BYTES_MAX};
use crate::model::OriginSpec;
use crate::model::id::Id;
use crate::model::secret::Secret;
use crate::store::seal::{Seal, SealError, origin_certificate_purpose};
use rules::ParseError;
use snapshot::http::origin::{Origin, host_header};
use snapshot::http::reach::{OutOfReach, Reach};
use snapshot::limits::{ADDRESS_WEIGHT_MAX, ADDRESSES_MAX};
use snapshot::origins::{Address, Ejection, OriginGroup};
use tls::{ClientIdentity, OriginTls, OriginTlsError, OriginTlsSpec};
use vocabulary::hostname::{HostName, HostNameError};

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
    #[error(
        "ca_pem, server_name, client_certificate and tls_min_version are for https:// origins; take them \
         away, or say https://"
    )]
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
    /// A time in milliseconds that is longer than it may be, or none.
    #[error("{0} is not between 1 and {ms} milliseconds", ms = ORIGIN_TIME_MAX_SEC * 1_000)]
    Millis(&'static str),
    /// One try that outlasts all.
    #[error("timeouts.try_ms is longer than timeouts.whole_ms, which bounds all tries together")]
    LongTry,
    /// A queue for nothing.
    #[error(
        "limits: say how many `requests` or `connections` it has at once; a queue is for what is beyond"
    )]
    NoLimit,
    /// A limit that is none.
    #[error("{0} is not between {1} and {2}")]
    Limit(&'static str, u32, u32),
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
    /// The key of our own certificate is not there.
    #[error("client_certificate: its key is not at hand")]
    NoKey,
    /// The key of our own certificate cannot be opened.
    #[error("client_certificate: its key: {0}")]
    Key(#[from] SealError),
}

/// Tells one content of the system's CA bundle from another; 0 when it cannot be read.
pub(crate) fn system_bundle_hash() -> u64 {
    let digest = system_bundle().map(|bundle| hash(MessageDigest::sha256(), &bundle));
    let digest = digest.ok().and_then(Result::ok);
    let first = digest.and_then(|digest| digest.first_chunk().copied());
    first.map_or(0, u64::from_be_bytes)
}

/// The CAs that the system believes, in PEM.
///
/// # Errors
/// There are none where systems keep them, or they cannot be read.
pub fn system_bundle() -> Result<Vec<u8>, OriginError> {
    let path = SYSTEM_BUNDLES
        .into_iter()
        .find(|path| Path::new(path).exists())
        .ok_or(OriginError::NoSystemBundle)?;
    vocabulary::file::read_regular(Path::new(path), SYSTEM_BUNDLE_BYTES_MAX)
        .map_err(|why| OriginError::SystemBundle { path, why })
}

/// The key of the certificate that an origin of a zone is shown.
///
/// # Errors
/// It was sealed for something else, or is not there.
pub(crate) fn key_of_certificate(
    spec: &OriginSpec,
    zone: Id,
    seal: &Seal,
) -> Result<Option<Secret>, OriginError> {
    let Some(shown) = &spec.client_certificate else {
        return Ok(None);
    };
    let purpose = origin_certificate_purpose(zone, &shown.public_key);
    let key = shown.key.as_ref().ok_or(OriginError::NoKey)?;
    Ok(Some(seal.open_sealed(&purpose, key)?))
}

/// Reads the addresses of an origin as they were asked for. Names are not resolved here:
/// [`Names`] says what they mean. `key` is that of the certificate that it is shown.
///
/// # Errors
/// A URL, a name or a bundle is not acceptable, or there is no bundle on this system.
pub fn origins(
    spec: &OriginSpec,
    reach: &Arc<Reach>,
    key: Option<&Secret>,
) -> Result<Vec<Origin>, OriginError> {
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
    settings::check(spec)?;
    let mut made: Vec<Origin> = Vec::with_capacity(spec.addresses.len().max(1));
    for (url, weight) in spec.urls() {
        let first = made.first();
        let tls = first.map(|first| first.tls.as_ref());
        let one = origin(url, (spec, key), tls, reach)?;
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

/// What origins are compiled with, beside what is said of them.
pub(crate) struct Outside<'a> {
    /// Where tenants' origins may be.
    pub(crate) reach: &'a Arc<Reach>,
    /// What names mean.
    pub(crate) names: &'a Names,
    /// Opens keys.
    pub(crate) seal: &'a Seal,
    /// Which connections may go on.
    pub(crate) standing: &'a Standing,
}

/// Compiles an origin of a zone, which operators know by a label. Of `last`, the one that it was before,
/// what is known of its addresses is taken over.
///
/// # Errors
/// As [`origins`].
pub(crate) fn group(
    spec: &OriginSpec,
    (zone, label): (Id, &str),
    outside: &Outside<'_>,
    last: Option<&OriginGroup>,
) -> Result<OriginGroup, OriginError> {
    let weights = spec.urls().map(|(_, weight)| weight);
    let key = key_of_certificate(spec, zone, outside.seal)?;
    let mut own = origins(spec, outside.reach, key.as_ref())?;
    let limits = spec.limits.as_ref();
    if limits.is_some_and(|limits| limits.connections.is_some()) {
        // What others open, and keep, is not to count here, nor theirs to be used without.
        for origin in &mut own {
            origin.key = key_with(origin, format_args!("{zone}/{label}"));
        }
    } else if key.is_some() {
        // What was opened with the certificate of a zone is for that alone.
        for origin in &mut own {
            origin.key = key_with(origin, format_args!("{zone}"));
        }
    }
    let made = outside.names.expand(own.into_iter().zip(weights).collect());
    let known = |place: u64| {
        let mut addresses = last.into_iter().flat_map(|last| &last.addresses);
        // It is the same address, with whatever it is spoken to.
        let known = addresses.find(|one| one.hash == place);
        known.map(|one| one.state.clone())
    };
    let place = |one: &Origin| match one.addresses.as_slice() {
        [address, ..] if one.is_named() => format!("{}/{address}", one.host.to_ascii_lowercase()),
        _ => format!("{}:{}", one.host.to_ascii_lowercase(), one.port),
    };
    let made = made.into_iter().map(|(mut one, weight)| {
        one.gone = outside.standing.of(&one);
        (one, weight)
    });
    let addresses = made.map(|(one, weight)| {
        let hash = hash_of(&place(&one));
        Address {
            weight,
            hash,
            state: known(hash).unwrap_or_default(),
            origin: Arc::new(one),
        }
    });
    let addresses: Box<[Address]> = addresses.collect();
    let (default, said) = (
        Ejection::default(),
        spec.ejection.clone().unwrap_or_default(),
    );
    let time = settings::seconds(said.sec, default.time);
    let is_tls = addresses
        .iter()
        .any(|one: &Address| one.origin.tls.is_some());
    let (requests, connections, queue_time) = settings::limits(spec, is_tls, last);
    Ok(OriginGroup {
        label: label.into(),
        zone: zone.to_string().into(),
        addresses,
        balance: settings::balancing(spec)?,
        ejection: Ejection {
            failures: said.failures.unwrap_or(default.failures),
            time,
            time_max: settings::seconds(said.max_sec, default.time_max).max(time),
            max_percent: said.max_percent.unwrap_or(default.max_percent),
        },
        health: spec
            .health
            .as_ref()
            .map(settings::health_check)
            .transpose()?,
        slow_start: settings::seconds(spec.slow_start_sec, settings::SLOW_START),
        panic_percent: spec.panic_percent.unwrap_or_default(),
        times: settings::times(spec),
        requests,
        connections,
        queue_time,
        state: last.map(|last| last.state.clone()).unwrap_or_default(),
    })
}

/// Reads one address. `first` has the TLS of the first one, whose CAs are the same.
fn origin(
    text: &str,
    (spec, key): (&OriginSpec, Option<&Secret>),
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
        Some(match first {
            Some(Some(first)) => first.named(name),
            _ => tls_of(spec, key, name)?,
        })
    } else if spec.ca_pem.is_some()
        || spec.server_name.is_some()
        || spec.client_certificate.is_some()
        || spec.tls_min_version.is_some()
    {
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
        proxy_protocol: spec.proxy_protocol.is_some(),
        introduction: None,
        gone: Arc::default(),
    })
}

/// How TLS is spoken to an address that has to have a certificate for `name`.
fn tls_of(spec: &OriginSpec, key: Option<&Secret>, name: &str) -> Result<OriginTls, OriginError> {
    let system;
    let bundle = match &spec.ca_pem {
        Some(bundle) => bundle.as_bytes(),
        None => {
            system = system_bundle()?;
            &system
        }
    };
    let identity = match (&spec.client_certificate, key) {
        (None, _) => None,
        (Some(_), None) => return Err(OriginError::NoKey),
        (Some(shown), Some(key)) => Some(ClientIdentity {
            chain_pem: shown.certificate.as_bytes(),
            key_pem: key.reveal(),
        }),
    };
    Ok(OriginTls::build(&OriginTlsSpec {
        server_name: name,
        ca_pem: bundle,
        min_version: spec.tls_min_version.unwrap_or_default(),
        identity,
    })?)
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
    let tls = (
        &spec.server_name,
        &spec.ca_pem,
        spec.tls_min_version.unwrap_or_default(),
        spec.client_certificate.as_ref().map(|one| &one.certificate),
    );
    let connection = (url, &spec.protocol, spec.proxy_protocol, tls);
    let key = hash_of(&format!("{connection:?}"));
    if confined { key ^ CONFINED } else { key }
}

/// The key of an origin with something more that its connections are told apart by. A digest of both, so that
/// nobody can choose that and with it another origin's connections.
fn key_with(origin: &Origin, more: std::fmt::Arguments<'_>) -> u64 {
    let confined = if origin.reach.is_some() { CONFINED } else { 0 };
    hash_of(&format!("{:x}/{more}", origin.key ^ confined)) ^ confined
}

/// What the keys of a confined origin and of the same without bounds differ by.
const CONFINED: u64 = 0x9e37_79b9_7f4a_7c15;

/// The front of SHA-256: the same everywhere and for ever.
fn hash_of(text: &str) -> u64 {
    let digest = hash(MessageDigest::sha256(), text.as_bytes());
    digest
        .ok()
        .and_then(|d| d.first_chunk().copied())
        .map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests;
