//! A host's origin, read as it was asked for.

use std::net::{IpAddr, SocketAddr};

use boring::hash::{MessageDigest, hash};

use crate::model::OriginSpec;
use snapshot::http::origin::Origin;
use tls::{OriginTls, OriginTlsError};
use vocabulary::hostname::HostName;

/// Reads an origin as it was asked for. Names are not resolved here: the data path does that when
/// it connects.
pub(crate) fn origin(spec: &OriginSpec) -> Result<Origin, String> {
    const WANTED: &str = "expected `http://HOST[:PORT]` or `https://HOST[:PORT]`";
    let uri: http::Uri = spec
        .url
        .parse()
        .map_err(|why| format!("`{}` is not a URL ({why}); {WANTED}", spec.url))?;
    let secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => {
            return Err(format!(
                "`{}` has no scheme that is known here; {WANTED}",
                spec.url
            ));
        }
    };
    let authority = uri
        .authority()
        .ok_or_else(|| format!("`{}` names no host; {WANTED}", spec.url))?;
    if authority.as_str().contains('@') {
        return Err(format!(
            "a URL with a user name or password is not taken; {WANTED}"
        ));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(format!(
            "`{}` has a path or a query; requests keep their own path, {WANTED}",
            spec.url
        ));
    }
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let address: Option<IpAddr> = host.parse().ok();
    if address.is_none() {
        HostName::parse(host).map_err(|why| why.to_string())?;
    }
    // An authority that ends in `:` or in digits too large has no port that `port_u16` would see.
    let port = match authority.port_u16() {
        Some(0) => return Err("port 0 cannot be connected to".into()),
        Some(port) => port,
        None if authority.as_str().ends_with(']') || !authority.as_str().contains(':') => {
            if secure { 443 } else { 80 }
        }
        None => {
            return Err(format!(
                "the port in `{}` is not a number up to 65535",
                spec.url
            ));
        }
    };
    let host_header = spec
        .host_header
        .as_deref()
        .map(|text| {
            // An authority and nothing else: it goes into the request as it is.
            text.parse::<http::uri::Authority>()
                .ok()
                .filter(|authority| !authority.as_str().contains('@'))
                .and_then(|authority| http::HeaderValue::from_str(authority.as_str()).ok())
                .ok_or_else(|| format!("host_header: `{}` is not a host name", text.escape_debug()))
        })
        .transpose()?;
    let tls = if secure {
        let name = spec.server_name.as_deref().unwrap_or(host);
        if name.parse::<IpAddr>().is_err() {
            HostName::parse(name).map_err(|why| format!("server_name: {why}"))?;
        }
        let built = OriginTls::build(name, spec.ca_pem.as_deref().map(str::as_bytes));
        Some(built.map_err(|why: OriginTlsError| why.to_string())?)
    } else if spec.ca_pem.is_some() || spec.server_name.is_some() {
        return Err("ca_pem and server_name are for https:// origins".into());
    } else {
        None
    };
    Ok(Origin {
        key: key_of(spec),
        url: spec.url.as_str().into(),
        host: host.into(),
        port,
        addresses: address
            .map(|address| SocketAddr::new(address, port))
            .into_iter()
            .collect(),
        protocol: spec.protocol,
        tls,
        host_header,
    })
}

/// Equal origins of different hosts share connections; the header they send may differ, but is no
/// part of a connection.
fn key_of(spec: &OriginSpec) -> u64 {
    let connection = (&spec.url, &spec.protocol, &spec.server_name, &spec.ca_pem);
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
            let origin = origin(&OriginSpec {
                url: url.into(),
                ..OriginSpec::default()
            })
            .unwrap();
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
            assert!(origin(&spec).is_err(), "{url:?}");
        }
        let url = "http://h".to_owned();
        for header in ["a b", "a\r\nb", "", "u@h"] {
            let spec = OriginSpec {
                url: url.clone(),
                host_header: Some(header.into()),
                ..OriginSpec::default()
            };
            assert!(origin(&spec).is_err(), "{header:?}");
        }
        let spec = OriginSpec {
            url,
            server_name: Some("x".into()),
            ..OriginSpec::default()
        };
        assert!(origin(&spec).is_err(), "a name for a plain origin");
    }
}
