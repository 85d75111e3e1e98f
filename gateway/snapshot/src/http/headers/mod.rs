//! Headers on their way through: hop-by-hop headers and a client's claims about certificates are
//! removed, and the headers that say who the client is are set.
//!
//! The order matters and is fixed: first what `Connection` nominates is removed, then what a
//! client must not say, and only then is anything set, so that a client can neither smuggle a
//! header in nor have one of ours taken out (CVE-2025-64484, CVE-2025-48865). Does no I/O.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap,
    HeaderName, HeaderValue, TE, TRANSFER_ENCODING, VIA,
};
use http::{StatusCode, Version};
use http1::{Headers, Known};

use super::certificate;
use super::names::{is_claim, is_disguise, is_edges, is_same_to_cgi};
use crate::limits::NOMINATIONS_WALKED;
use vocabulary::client_auth::ClientAuth;
use vocabulary::settings::CertificateHeaders;

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
pub fn check(headers: &Headers, version: Version, count_max: usize) -> Result<(), HeadError> {
    if version != Version::HTTP_2 {
        if headers.len() > count_max {
            return Err(HeadError::TooMany);
        }
        return check_codings(headers, version);
    }
    // Cookies may come one by one, and are one header to the origin.
    let cookies = headers.get_all(&COOKIE).count();
    if headers.len() - cookies.saturating_sub(1) > count_max {
        return Err(HeadError::TooMany);
    }
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let padded = |value: &[u8]| blank(value.first()) || blank(value.last());
    if headers.iter().any(|(_, value)| padded(value)) {
        return Err(HeadError::WhiteSpace);
    }
    check_length(headers)
}

/// Whether headers are within the bounds: their bytes counted as HTTP/2 does (RFC 9113 §10.5.1), their
/// number, and in all.
#[must_use]
pub fn is_within(headers: &Headers, bytes_max: usize, count_max: usize) -> bool {
    let size = |(name, value): (&[u8], &[u8])| name.len() + value.len() + 32;
    headers.len() <= count_max && headers.iter().map(size).sum::<usize>() <= bytes_max
}

/// The same of trailers.
#[must_use]
pub fn trailers_are_within(trailers: &HeaderMap, bytes_max: usize, count_max: usize) -> bool {
    let size = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 32;
    trailers.len() <= count_max && trailers.iter().map(size).sum::<usize>() <= bytes_max
}

/// HTTP/2 frames by itself, and h2 believes the first Content-Length of several; an HTTP/1 origin
/// would get them all (RFC 9110 §8.6).
fn check_length(headers: &Headers) -> Result<(), HeadError> {
    let mut lengths = headers.get_all(&CONTENT_LENGTH);
    let Some(length) = lengths.next() else {
        return Ok(());
    };
    if lengths.next().is_some() || length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
        return Err(HeadError::Length);
    }
    Ok(())
}

fn check_codings(headers: &Headers, version: Version) -> Result<(), HeadError> {
    let mut codings = headers.get_all(&TRANSFER_ENCODING);
    let Some(first) = codings.next() else {
        return Ok(());
    };
    let more = codings.next_back();
    let last = more.unwrap_or(first).rsplit(|byte| *byte == b',').next();
    let is_chunked = |coding: &[u8]| coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
    if version == Version::HTTP_10 || !last.is_some_and(is_chunked) {
        return Err(HeadError::Unframed);
    }
    if more.is_some() || !first.eq_ignore_ascii_case(b"chunked") {
        return Err(HeadError::TransferCoding);
    }
    Ok(())
}

/// Removes what belongs to one connection only (RFC 9110 §7.6.1), as `Connection` and the
/// standard say. Answers whether `TE` said `trailers`.
pub fn remove_hop_by_hop(headers: &mut Headers) -> bool {
    // Most messages have none: one look costs less than asking for each.
    if !headers.any_known(Known::is_hop_by_hop) {
        return false;
    }
    // It was framed by chunks; what else says a length is wrong (RFC 9112 §6.3).
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    let nominated = nominated(headers);
    if !nominated.is_empty() {
        headers.remove_named(|name| {
            // Removing these would make us frame the message differently from the peer.
            !matches!(
                Known::of(name),
                Known::Host | Known::ContentLength | Known::Te
            ) && nominated
                .binary_search_by(|other| (**other).cmp(name))
                .is_ok()
        });
    }
    let trailers = headers.get_text(TE).is_some_and(|te| {
        te.split(',')
            .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
    });
    headers.remove_known(Known::is_hop_by_hop);
    trailers
}

/// The headers that are there and that `Connection` takes for its own, sorted: names in lower case.
fn nominated(headers: &Headers) -> Vec<Box<[u8]>> {
    let members = headers
        .get_all(&CONNECTION)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.is_empty());
    let (mut found, mut names) = (Vec::<Box<[u8]>>::new(), None);
    for (number, name) in members.enumerate() {
        // Nearly always it is `close` or `keep-alive` alone, and no memory is asked for. Of many, none
        // costs a walk through all headers.
        let is_new = if number < NOMINATIONS_WALKED {
            let mut all = headers.iter();
            let is_there = all.any(|(other, _)| other.eq_ignore_ascii_case(name));
            is_there && !found.iter().any(|other| other.eq_ignore_ascii_case(name))
        } else {
            let names = names.get_or_insert_with(|| Names::of(headers, &found));
            names.take(name)
        };
        if is_new {
            found.push(Box::from(name.to_ascii_lowercase()));
        }
    }
    found.sort_unstable();
    found
}

/// The names of headers that nobody has taken yet.
struct Names<'h> {
    all: HashSet<&'h [u8]>,
    longest: usize,
    /// The one that is looked up, in lower case.
    wanted: Vec<u8>,
}

impl<'h> Names<'h> {
    fn of(headers: &'h Headers, taken: &[Box<[u8]>]) -> Self {
        let names = headers.iter().map(|(name, _)| name);
        let all: HashSet<_> = names
            .filter(|name| !taken.iter().any(|taken| **taken == **name))
            .collect();
        Self {
            longest: all.iter().map(|name| name.len()).max().unwrap_or_default(),
            all,
            wanted: Vec::new(),
        }
    }

    /// Takes one, if it is there.
    fn take(&mut self, name: &[u8]) -> bool {
        if name.len() > self.longest {
            return false;
        }
        self.wanted.clear();
        self.wanted.extend(name.iter().map(u8::to_ascii_lowercase));
        self.all.remove(&*self.wanted)
    }
}

/// Removes every header that a client may not say to an origin: by which it could claim a
/// certificate, or that only the edge can know, or that would pass there for a header of ours or
/// for the framing; each in every spelling that some origin takes for the same.
pub fn remove_claims(headers: &mut Headers) {
    headers.remove_named(is_false);
}

fn is_false(name: &[u8]) -> bool {
    is_claim(name) || is_disguise(name) || is_edges(name)
}

/// Removes a header in every spelling that some origin takes for it.
pub fn remove_like(headers: &mut Headers, name: &HeaderName) {
    let name = name.as_str().as_bytes();
    headers.remove_named(|other| is_same_to_cgi(other, name));
}

/// Makes a client's headers the origin's: removes, then sets.
pub fn for_origin(headers: &mut Headers, told: &OriginMetadata<'_>, via: &'static str) {
    if remove_hop_by_hop(headers) {
        // gRPC origins insist on it. Only requests say it (RFC 9113 §8.2.2).
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    remove_claims(headers);
    // `100-continue` was answered already, or will be when the body is wanted.
    headers.remove(EXPECT);
    join_cookies(headers);
    headers.insert(X_REQUEST_ID, told.request_id.clone());
    // A map that has no room for more says nothing of us; far beyond `limit.header_count`.
    let _full = headers.try_append(VIA, HeaderValue::from_static(via));
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

/// Every length that a head says: one line may say several (RFC 9110 §8.6).
fn lengths(headers: &Headers) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(&CONTENT_LENGTH)
        .flat_map(|line| line.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

/// Whether an origin's answer says one length, or none. Of several, each client would believe
/// another one.
#[must_use]
pub fn says_one_length(headers: &Headers) -> bool {
    let mut lengths = lengths(headers);
    let Some(first) = lengths.next() else {
        return true;
    };
    lengths.all(|length| length == first)
}

/// The length, when it is said more than once: that says nothing new ([`says_one_length`]).
fn said_again(headers: &Headers) -> Option<HeaderValue> {
    let mut lengths = lengths(headers);
    let length = lengths.next()?;
    lengths.next()?;
    HeaderValue::from_bytes(length).ok()
}

/// Makes an origin's answer the client's: without what belongs to the origin's connection, and with its length said
/// once. Whether an answer of its status may say one is for those who write it.
pub fn for_client(headers: &mut Headers, request_id: &HeaderValue) {
    remove_hop_by_hop(headers);
    if let Some(length) = said_again(headers) {
        headers.insert(CONTENT_LENGTH, length);
    }
    headers.insert(X_REQUEST_ID, request_id.clone());
}

/// Keeps of a message's trailers what may be trailers: never merged into the head, never framing,
/// routing or certificates (RFC 9110 §6.5.1), and nothing that is `hidden`.
pub fn clean_trailers(trailers: &mut HeaderMap, hidden: &[HeaderName]) {
    let mut cleaned = Headers::from(std::mem::take(trailers));
    remove_hop_by_hop(&mut cleaned);
    remove_claims(&mut cleaned);
    for name in [HOST, CONTENT_LENGTH, AUTHORIZATION, X_REQUEST_ID] {
        cleaned.remove(name);
    }
    for name in hidden {
        remove_like(&mut cleaned, name);
    }
    *trailers = cleaned.try_into_map().unwrap_or_default();
}

/// HTTP/2 clients may split cookies for compression; HTTP/1 and many origins want one
/// (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut Headers) {
    if !headers.is_repeated(&COOKIE) {
        return;
    }
    let parts: Vec<&[u8]> = headers.get_all(&COOKIE).collect();
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
pub(super) fn insert(headers: &mut Headers, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests;
