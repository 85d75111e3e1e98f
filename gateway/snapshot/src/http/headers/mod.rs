//! Headers on their way through: hop-by-hop headers and a client's claims about certificates are
//! removed, and the headers that say who the client is are set.
//!
//! The order matters and is fixed: first what `Connection` nominates is removed, then what a
//! client must not say, and only then is anything set, so that a client can neither smuggle a
//! header in nor have one of ours taken out (CVE-2025-64484, CVE-2025-48865). Does no I/O.

use std::collections::BTreeSet;
use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName,
    HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{StatusCode, Version};

use super::certificate;
use super::names::{is_claim, is_disguise, is_edges, is_hop_by_hop, is_same_to_cgi};
use vocabulary::client_auth::ClientAuth;
use vocabulary::settings::CertificateHeaders;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
/// The request id, to the origin and back to the client.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What the origin is told about a request.
#[derive(Debug)]
pub struct OriginMetadata<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// The same as text.
    pub client_address: &'a HeaderValue,
    /// The authority that the client asked for.
    pub host: &'a str,
    /// The same as a header's value.
    pub host_value: &'a HeaderValue,
    /// The request id.
    pub request_id: &'a HeaderValue,
    /// The client's certificate, on hosts that ask for one, and what is told of it.
    pub certificate: Option<(&'a ClientAuth, &'a BTreeSet<CertificateHeaders>)>,
    /// Set `X-Forwarded-For`, `-Host`, `-Proto`.
    pub x_forwarded: bool,
    /// Set `Forwarded` (RFC 7239).
    pub forwarded: bool,
}

/// Why a request's head is not forwarded, although it could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// `chunked` is undone and nothing else: the body would lose what it was coded with.
    #[error("the only transfer coding served here is `chunked`, once")]
    TransferCoding,
    /// Nothing says where the body ends (RFC 9112 §6.1, §6.3). `http1` refuses it first.
    #[error("the transfer coding does not say where the body ends")]
    Unframed,
    /// HTTP/2 keeps spaces around values that origins do not see (RFC 9113 §8.2.1).
    #[error("a header's value begins or ends with white space")]
    WhiteSpace,
    /// Content-Length is said twice, or is no number. `http1` refuses it first.
    #[error("Content-Length is not one number")]
    Length,
    /// `limit.header_count`. `http1` refuses it first.
    #[error("the request has too many headers")]
    TooMany,
    /// `limit.header_bytes`. `http1` refuses it first.
    #[error("the request's head is too large")]
    TooLarge,
}

impl HeadError {
    /// What the client is answered.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            Self::WhiteSpace | Self::Unframed | Self::Length => StatusCode::BAD_REQUEST,
            Self::TooMany | Self::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        }
    }
}

/// Refuses heads that rules and origin would understand differently. Says of those that
/// `http1` refuses on the data path what it does, for dry runs.
///
/// # Errors
/// See [`HeadError`].
pub fn check(headers: &HeaderMap, version: Version, count_max: usize) -> Result<(), HeadError> {
    if version != Version::HTTP_2 {
        if headers.len() > count_max {
            return Err(HeadError::TooMany);
        }
        return check_codings(headers, version);
    }
    // Cookies may come one by one, and are one header to the origin.
    let cookies = headers.get_all(COOKIE).iter().count();
    if headers.len() - cookies.saturating_sub(1) > count_max {
        return Err(HeadError::TooMany);
    }
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let padded = |value: &HeaderValue| {
        let value = value.as_bytes();
        blank(value.first()) || blank(value.last())
    };
    if headers.values().any(padded) {
        return Err(HeadError::WhiteSpace);
    }
    check_length(headers)
}

/// Whether headers or trailers are within the bounds: their bytes counted as HTTP/2 does
/// (RFC 9113 §10.5.1), their number, and in all.
#[must_use]
pub fn is_within(headers: &HeaderMap, bytes_max: usize, count_max: usize) -> bool {
    let size = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 32;
    headers.len() <= count_max && headers.iter().map(size).sum::<usize>() <= bytes_max
}

/// HTTP/2 frames by itself, and h2 believes the first Content-Length of several; an HTTP/1 origin
/// would get them all (RFC 9110 §8.6).
fn check_length(headers: &HeaderMap) -> Result<(), HeadError> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else {
        return Ok(());
    };
    let length = length.as_bytes();
    if lengths.next().is_some() || length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
        return Err(HeadError::Length);
    }
    Ok(())
}

fn check_codings(headers: &HeaderMap, version: Version) -> Result<(), HeadError> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(first) = codings.next() else {
        return Ok(());
    };
    let more = codings.next_back();
    let last = more
        .unwrap_or(first)
        .as_bytes()
        .rsplit(|byte| *byte == b',')
        .next();
    let is_chunked = |coding: &[u8]| coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
    if version == Version::HTTP_10 || !last.is_some_and(is_chunked) {
        return Err(HeadError::Unframed);
    }
    if more.is_some() || !first.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(HeadError::TransferCoding);
    }
    Ok(())
}

/// Removes what belongs to one connection only (RFC 9110 §7.6.1), as `Connection` and the
/// standard say. `te: trailers` survives: gRPC origins insist on it.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // Most messages have none: one look costs less than asking for each.
    if !headers.keys().any(is_hop_by_hop) {
        return;
    }
    // It was framed by chunks; what else says a length is wrong (RFC 9112 §6.3).
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    if headers.contains_key(CONNECTION) {
        let nominated: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
            // Removing these would make us frame the message differently from the peer.
            .filter(|name| name != HOST && name != CONTENT_LENGTH && name != TE)
            .collect();
        for name in nominated {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TRANSFER_ENCODING,
        UPGRADE,
        HTTP2_SETTINGS,
    ] {
        headers.remove(name);
    }
    if let Some(te) = headers.remove(TE) {
        let trailers = te.to_str().is_ok_and(|te| {
            te.split(',')
                .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
        });
        if trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
    }
}

/// Removes every header that a client may not say to an origin: by which it could claim a
/// certificate, or that only the edge can know, or that would pass there for a header of ours or
/// for the framing; each in every spelling that some origin takes for the same.
pub fn remove_claims(headers: &mut HeaderMap) {
    let is_false = |name: &HeaderName| is_claim(name) || is_disguise(name) || is_edges(name);
    // Nearly no request has one: look before allocating.
    if !headers.keys().any(is_false) {
        return;
    }
    let claims: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_false(name))
        .cloned()
        .collect();
    for name in claims {
        headers.remove(name);
    }
}

/// Removes a header in every spelling that some origin takes for it.
pub fn remove_like(headers: &mut HeaderMap, name: &HeaderName) {
    let same = |other: &&HeaderName| is_same_to_cgi(other, name);
    let gone: Vec<HeaderName> = headers.keys().filter(same).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
}

/// Makes a client's headers the origin's: removes, then sets.
pub fn for_origin(headers: &mut HeaderMap, told: &OriginMetadata<'_>, via: &'static str) {
    remove_hop_by_hop(headers);
    remove_claims(headers);
    // `100-continue` was answered already, or will be when the body is wanted.
    headers.remove(EXPECT);
    join_cookies(headers);
    headers.insert(X_REQUEST_ID, told.request_id.clone());
    headers.append(VIA, HeaderValue::from_static(via));
    if told.x_forwarded {
        headers.insert(X_FORWARDED_FOR, told.client_address.clone());
        headers.insert(X_FORWARDED_HOST, told.host_value.clone());
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
    }
    if told.forwarded {
        insert(headers, FORWARDED, &forwarded(told));
    }
    if let Some((client, groups)) = told.certificate {
        certificate::tell(headers, client, groups);
    }
}

/// Whether an origin's answer says one length, or none. Of several, each client would believe
/// another one.
#[must_use]
pub fn says_one_length(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else {
        return true;
    };
    lengths.all(|length| length == first)
}

/// Removes from an origin's answer what belongs to its connection.
pub fn for_client(headers: &mut HeaderMap, request_id: &HeaderValue) {
    remove_hop_by_hop(headers);
    // One that is said again says nothing new ([`says_one_length`]).
    if headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some()
        && let Some(length) = headers.get(CONTENT_LENGTH).cloned()
    {
        headers.insert(CONTENT_LENGTH, length);
    }
    headers.insert(X_REQUEST_ID, request_id.clone());
}

/// Keeps of a message's trailers what may be trailers: never merged into the head, never framing,
/// routing or certificates (RFC 9110 §6.5.1).
pub fn clean_trailers(trailers: &mut HeaderMap) {
    remove_hop_by_hop(trailers);
    remove_claims(trailers);
    for name in [
        HOST,
        CONTENT_LENGTH,
        http::header::AUTHORIZATION,
        X_REQUEST_ID,
    ] {
        trailers.remove(name);
    }
}

/// HTTP/2 clients may split cookies for compression; HTTP/1 and many origins want one
/// (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let parts: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

fn forwarded(told: &OriginMetadata<'_>) -> String {
    let node = match told.client {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    format!("for={node};host=\"{}\";proto=https", told.host)
}

/// The texts given here come from our own parsers and are visible ASCII; one that is not would be
/// left out rather than sent broken.
pub(super) fn insert(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::is_ours;
    use super::*;

    fn map(headers: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        map
    }

    static ADDRESS: HeaderValue = HeaderValue::from_static("192.0.2.1");
    static HOST_VALUE: HeaderValue = HeaderValue::from_static("api.example.test");

    fn told(id: &HeaderValue) -> OriginMetadata<'_> {
        OriginMetadata {
            client: [192, 0, 2, 1].into(),
            client_address: &ADDRESS,
            host: "api.example.test",
            host_value: &HOST_VALUE,
            request_id: id,
            certificate: None,
            x_forwarded: true,
            forwarded: true,
        }
    }

    #[test]
    fn hop_by_hop_headers_do_not_cross() {
        let mut headers = map(&[
            ("connection", "close, X-Secret, host, te"),
            ("x-secret", "1"),
            ("host", "a"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "gzip, trailers"),
            ("proxy-authorization", "x"),
            ("accept", "*/*"),
        ]);
        remove_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "host", "te"]);
        assert_eq!(headers[TE], "trailers");
    }

    #[test]
    fn heads_that_could_be_read_in_two_ways_are_refused() {
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        let check = |headers: &[(&str, &str)], version| check(&map(headers), version, 3);
        let coded = |coding| check(&[("transfer-encoding", coding)], one);
        assert_eq!(coded("Chunked"), Ok(()));
        assert_eq!(coded("gzip, chunked"), Err(HeadError::TransferCoding));
        assert_eq!(coded("chunked, chunked"), Err(HeadError::TransferCoding));
        let twice = [
            ("transfer-encoding", "chunked"),
            ("transfer-encoding", "chunked"),
        ];
        assert_eq!(check(&twice, one), Err(HeadError::TransferCoding));
        for coding in ["gzip", "chunked, gzip", "", "chunked,"] {
            assert_eq!(coded(coding), Err(HeadError::Unframed), "{coding}");
        }
        let zero = check(&twice[..1], Version::HTTP_10);
        assert_eq!(zero, Err(HeadError::Unframed));
        let four = [("a", "1"), ("a", "2"), ("b", "3"), ("c", "4")];
        assert_eq!(check(&four, one), Err(HeadError::TooMany));
        assert_eq!(check(&four, two), Err(HeadError::TooMany));
        assert_eq!(check(&four[1..], two), Ok(()));
        let crumbs = [
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("cookie", "c=3"),
            ("a", "1"),
        ];
        assert_eq!(check(&crumbs, two), Ok(()));
        let mut padded = HeaderMap::new();
        for value in [" 1", "1 ", "\t1", "1\t", " "] {
            padded.insert("a", HeaderValue::from_str(value).unwrap());
            assert_eq!(
                super::check(&padded, two, 3),
                Err(HeadError::WhiteSpace),
                "{value:?}"
            );
        }
        padded.insert("a", HeaderValue::from_static(""));
        assert_eq!(super::check(&padded, two, 3), Ok(()));
        let said = |length| ("content-length", length);
        assert_eq!(check(&[said("12")], two), Ok(()));
        for lengths in [
            &[said("1"), said("1")][..],
            &[said("1"), said("2")],
            &[said("1, 1")],
            &[said("+1")],
            &[said("")],
            &[said("0x1")],
        ] {
            assert_eq!(check(lengths, two), Err(HeadError::Length), "{lengths:?}");
        }
    }

    #[test]
    fn chunks_are_believed_rather_than_a_length() {
        let mut headers = map(&[("content-length", "2"), ("transfer-encoding", "chunked")]);
        remove_hop_by_hop(&mut headers);
        assert!(headers.is_empty(), "{headers:?}");
    }

    #[test]
    fn nothing_of_ours_crosses_in_disguise() {
        for name in [
            "X_Forwarded_For",
            "x-forwarded_host",
            "x_forwarded-proto",
            "X_Request_Id",
            "content_length",
            "transfer_encoding",
            "X.Forwarded.For",
            "x~request~id",
            "Content.Length",
            "transfer!encoding",
        ] {
            let mut headers = map(&[(name, "1"), ("x_custom", "2")]);
            remove_claims(&mut headers);
            assert_eq!(headers.len(), 1, "{name} must not cross");
        }
        let mut headers = map(&[("x-request-id", "1"), ("content-length", "2")]);
        remove_claims(&mut headers);
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn what_only_the_edge_knows_is_not_the_clients_to_say() {
        for name in [
            "CF-Connecting-IP",
            "True-Client-IP",
            "X-Real-IP",
            "X_Real_IP",
            "x.real.ip",
            "X-Forwarded",
            "X-Forwarded-For",
            "X-Forwarded-Port",
            "X-Forwarded-Ssl",
            "X.Forwarded+Prefix",
            "X-Forwarded-User",
            "Forwarded",
            "X-Original-URL",
            "x_original_url",
            "X-Rewrite-URL",
            "Proxy",
        ] {
            let mut headers = map(&[(name, "1"), ("via", "2")]);
            remove_claims(&mut headers);
            assert_eq!(headers.len(), 1, "{name} must not cross");
        }
        let others = [
            "cf-access-client-id",
            "cdn-loop",
            "x-real-ip-2",
            "proxies",
            "x-host",
        ];
        for name in others {
            let mut headers = map(&[(name, "1")]);
            remove_claims(&mut headers);
            assert_eq!(headers.len(), 1, "{name} means nothing here");
        }
        // For origins that want them, rules may say them.
        let is_ours = |name: &'static str| is_ours(&HeaderName::from_static(name));
        assert!(!is_ours("x-real-ip") && !is_ours("x-forwarded-port"));
        assert!(is_ours("x-forwarded-for") && is_ours("forwarded"));
    }

    #[test]
    fn no_spelling_of_a_certificate_claim_crosses() {
        for name in [
            "Client-Cert",
            "client_cert",
            "Client-Cert-Chain",
            "CF-Client-Cert-SHA256",
            "cf_client_cert_der_base64",
            "Cf-Cert-Verified",
            "cf_cert-verified",
            "X-Client-Cert",
            "X-Forwarded-Client-Cert",
            "x_forwarded_client_cert",
            "X-Forwarded-Tls-Client-Cert-Info",
            "X-SSL-Client-Verify",
            "SSL_CLIENT_CERT",
            "Cf.Cert.Verified",
            "cf~cert*revoked",
            "client.cert",
            "ssl-client-s-dn",
            "X-Amzn-Mtls-Clientcert",
            "X-ARR-ClientCert",
        ] {
            let mut headers = map(&[(name, "1"), (name, "2"), ("accept", "*/*")]);
            remove_claims(&mut headers);
            assert_eq!(headers.len(), 1, "{name} must not cross");
        }
        let mut headers = map(&[
            ("content-type", "a"),
            ("cookie", "b"),
            ("x-request-id", "c"),
            ("sec-fetch-mode", "d"),
        ]);
        remove_claims(&mut headers);
        assert_eq!(headers.len(), 4);
    }

    #[test]
    fn a_client_cannot_take_out_or_put_in_what_we_say() {
        let id = HeaderValue::from_static("id1");
        let mut headers = map(&[
            ("connection", "x-forwarded-for, x-request-id, via"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-proto", "http"),
            ("forwarded", "for=6.6.6.6"),
            ("x-request-id", "evil"),
            ("expect", "100-continue"),
        ]);
        for_origin(&mut headers, &told(&id), "1.1 postern");
        assert_eq!(headers[X_FORWARDED_FOR], "192.0.2.1");
        assert_eq!(headers[X_FORWARDED_PROTO], "https");
        assert_eq!(
            headers[FORWARDED],
            "for=192.0.2.1;host=\"api.example.test\";proto=https"
        );
        assert_eq!(headers[X_REQUEST_ID], "id1");
        assert_eq!(headers[VIA], "1.1 postern");
        assert!(!headers.contains_key(EXPECT));
        assert_eq!(headers.get_all(X_FORWARDED_FOR).iter().count(), 1);
    }

    #[test]
    fn cookies_are_joined() {
        let mut headers = map(&[("cookie", "a=1"), ("cookie", "b=2")]);
        join_cookies(&mut headers);
        assert_eq!(
            headers.get_all(COOKIE).iter().collect::<Vec<_>>(),
            ["a=1; b=2"]
        );
    }
}
