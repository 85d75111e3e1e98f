//! Compiles a host's origin.
//!
//! Owns what an origin's URL may be, and which CAs the system trusts: `tls` is handed their bytes.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use boring::hash::{MessageDigest, hash};

use crate::limits::SYSTEM_BUNDLE_BYTES_MAX;
use crate::model::OriginSpec;
use snapshot::http::origin::{Origin, host_header};
use snapshot::http::reach::{OutOfReach, Reach};
use tls::{OriginTls, OriginTlsError};
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
    #[error("ca_pem and server_name are for https:// origins")]
    WithoutTls,
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

/// Reads an origin as it was asked for. Names are not resolved here: the data path does that when
/// it connects.
///
/// # Errors
/// The URL, a name or a bundle is not acceptable, or there is no bundle on this system.
pub fn origin(spec: &OriginSpec, reach: &Arc<Reach>) -> Result<Origin, OriginError> {
    let url = || spec.url.clone();
    let uri: http::Uri =
        spec.url
            .parse()
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
        let built = match &spec.ca_pem {
            Some(bundle) => OriginTls::build(name, bundle.as_bytes()),
            None => OriginTls::build(name, &system_bundle()?),
        };
        Some(built?)
    } else if spec.ca_pem.is_some() || spec.server_name.is_some() {
        return Err(OriginError::WithoutTls);
    } else {
        None
    };
    let reach = (spec.confined && !reach.allows_private).then(|| reach.clone());
    Ok(Origin {
        key: key_of(spec, reach.is_some()),
        url: spec.url.as_str().into(),
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
fn key_of(spec: &OriginSpec, confined: bool) -> u64 {
    let (url, protocol) = (&spec.url, &spec.protocol);
    let connection = (url, protocol, &spec.server_name, &spec.ca_pem, confined);
    let text = format!("{connection:?}");
    let digest = hash(MessageDigest::sha256(), text.as_bytes());
    digest
        .ok()
        .and_then(|d| d.first_chunk().copied())
        .map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
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
            let origin = origin(&spec, &Arc::default()).unwrap();
            assert_eq!(
                (&*origin.host, origin.port, origin.addresses.len()),
                (host, port, addresses)
            );
        }
    }

    #[test]
    fn origins_refused() {
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
            assert!(origin(&spec, &Arc::default()).is_err(), "{url:?}");
        }
        let url = "http://h".to_owned();
        for header in ["a b", "a\r\nb", "", "u@h"] {
            let spec = OriginSpec {
                url: url.clone(),
                host_header: Some(header.into()),
                ..OriginSpec::default()
            };
            assert!(origin(&spec, &Arc::default()).is_err(), "{header:?}");
        }
        let spec = OriginSpec {
            url,
            server_name: Some("x".into()),
            ..OriginSpec::default()
        };
        assert!(
            origin(&spec, &Arc::default()).is_err(),
            "a name for a plain origin"
        );
    }
}
