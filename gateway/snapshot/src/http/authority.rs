//! Which host a request is for: the authority, canonical.
//!
//! HTTP/1.1 says it in `Host` or in an absolute-form target, HTTP/2 in `:authority`
//! (RFC 9112 §3.2, RFC 9113 §8.3.1). Does not look hosts up.

use std::sync::Arc;

use http::header::HOST;

use super::request_head::RequestHead;
use vocabulary::hostname::NAME_BYTES_MAX;

/// Why a request's authority cannot be used. All of them are answered with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// HTTP/1.1 without `Host` (RFC 9112 §3.2), HTTP/2 without `:authority` and `Host`.
    #[error("the request names no host")]
    Missing,
    /// More than one `Host`.
    #[error("the request has several Host headers")]
    Several,
    /// `Host` contradicts the target or `:authority`.
    #[error("Host and the request target name different hosts")]
    Contradiction,
    /// Not `name` or `name:port`.
    #[error("the Host header is malformed")]
    Malformed,
}

/// Whether a request is plainly for `name`, which is canonical: it says so once, in these very
/// bytes. A `false` means nothing; [`of`] knows.
#[must_use]
pub fn is_plainly(head: &RequestHead, name: &str) -> bool {
    if name.is_empty() {
        return false;
    }
    let target = head.uri.authority().map(http::uri::Authority::as_str);
    let mut hosts = head.headers.get_all(&HOST);
    match (target, hosts.next(), hosts.next()) {
        (None, Some(host), None) => host == name.as_bytes(),
        (Some(target), None, None) => target == name,
        _ => false,
    }
}

/// What a request without `Host` says in its target or `:authority` instead, as it was sent. Where
/// it has both, [`of`] has seen that they agree.
#[must_use]
pub fn instead_of_host(head: &RequestHead) -> Option<&str> {
    let target = head.uri.authority().map(http::uri::Authority::as_str);
    target.filter(|_| !head.headers.contains_key(HOST))
}

/// The authority of a request: lower case, without port and trailing dot. Addresses stay as they
/// are, in brackets when IPv6.
///
/// # Errors
/// See [`AuthorityError`].
pub fn of(head: &RequestHead) -> Result<Arc<str>, AuthorityError> {
    let mut hosts = head.headers.get_all(&HOST);
    let header = hosts.next();
    if hosts.next().is_some() {
        return Err(AuthorityError::Several);
    }
    let header = match header {
        Some(value) => {
            let text = std::str::from_utf8(value);
            Some(canonical(
                text.map_err(|_no_text| AuthorityError::Malformed)?,
            )?)
        }
        None => None,
    };
    let target = match head.uri.authority() {
        // userinfo has no place in requests (RFC 9110 §4.2.4).
        Some(authority) if authority.as_str().contains('@') => {
            return Err(AuthorityError::Malformed);
        }
        Some(authority) => Some(canonical(authority.as_str())?),
        None => None,
    };
    match (target, header) {
        (Some(target), Some(header)) if target != header => Err(AuthorityError::Contradiction),
        (Some(target), _) => Ok(target),
        (None, Some(header)) => Ok(header),
        (None, None) => Err(AuthorityError::Missing),
    }
}

/// The canonical form of one authority.
///
/// # Errors
/// [`AuthorityError::Malformed`].
pub fn canonical(text: &str) -> Result<Arc<str>, AuthorityError> {
    let (name, port) = match text.rfind(':') {
        // A colon inside brackets belongs to the address.
        Some(colon) if !text.ends_with(']') => {
            let (name, port) = text.split_at(colon);
            (name, port.strip_prefix(':').unwrap_or_default())
        }
        _ => (text, ""),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let bracketed = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let sound = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        // An empty label is none: `a..` would have a second canonical form.
        None => {
            name.len() <= NAME_BYTES_MAX
                && name.bytes().all(plain)
                && !name.split('.').any(str::is_empty)
        }
    };
    // A name with an empty port has the default one (RFC 3986 §3.2.3).
    let is_port = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_digit())
            && (text.is_empty() || text.len() <= 5 && text.parse::<u16>().is_ok())
    };
    if !sound || !is_port(port) {
        return Err(AuthorityError::Malformed);
    }
    Ok(name.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn check(uri: &str, hosts: &[&str], expected: Result<&str, AuthorityError>) {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(
            of(&parts.into()).as_deref(),
            expected.as_ref().map(|text| *text),
            "{uri} {hosts:?}"
        );
    }

    #[test]
    fn authorities() {
        check("/", &["api.example.test"], Ok("api.example.test"));
        check("/", &["API.Example.Test.:8443"], Ok("api.example.test"));
        check("/", &["127.0.0.1:80"], Ok("127.0.0.1"));
        check("/", &["[::1]:80"], Ok("[::1]"));
        check("/", &["[::1]"], Ok("[::1]"));
        check("/", &["api.example.test:"], Ok("api.example.test"));
        check("/", &["api.example.test:65535"], Ok("api.example.test"));
        check("https://a.test/x", &[], Ok("a.test"));
        check("https://a.test/x", &["a.test"], Ok("a.test"));
        check("https://a.test:1/x", &["A.TEST"], Ok("a.test"));
    }

    #[test]
    fn what_stands_for_a_missing_host() {
        for (uri, host, expected) in [
            ("/", None, None),
            ("/", Some("a.test"), None),
            ("https://A.test:8443/", None, Some("A.test:8443")),
            ("https://a.test/", Some("A.test"), None),
        ] {
            let mut request = Request::builder().uri(uri);
            if let Some(host) = host {
                request = request.header(HOST, host);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(instead_of_host(&parts.into()), expected, "{uri} {host:?}");
        }
    }

    #[test]
    fn refused() {
        check("/", &[], Err(AuthorityError::Missing));
        check("/", &["a.test", "a.test"], Err(AuthorityError::Several));
        check(
            "https://a.test/",
            &["b.test"],
            Err(AuthorityError::Contradiction),
        );
        for host in [
            "",
            ":80",
            "a b",
            "a/b",
            "a.test:x",
            "a.test:123456",
            "a.test:65536",
            "a.test:98777",
            "[::1]:70000",
            "a.test:+80",
            "a.test:000080",
            "a.test..",
            "a..test",
            ".a.test",
            ".",
            "[::1",
            "::1",
            "u@a.test",
            "[x]",
            "a,b",
        ] {
            check("/", &[host], Err(AuthorityError::Malformed));
        }
        check("https://u:p@a.test/", &[], Err(AuthorityError::Malformed));
    }
}
