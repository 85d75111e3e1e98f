//! Names of headers: which are the edge's or ours, and which pass for such a one, or for one that belongs to a
//! connection, at some origin.
//!
//! Owns the lists, but for that of what belongs to one connection, which is [`Known`]'s. What is removed and set, and
//! when, is `headers`.

use http::header::HeaderName;
use http1::Known;

/// Whether a header belongs to one connection only.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    Known::of(name.as_str().as_bytes()).is_hop_by_hop()
}

/// Whether a header, were it let through, could pass for what a gateway says of a certificate.
pub(super) fn is_claim(name: &[u8]) -> bool {
    const PREFIXES: [&str; 10] = [
        "client-cert",
        "cf-client-cert",
        "cf-cert-",
        "x-client-cert",
        "x-forwarded-client-cert",
        "x-forwarded-tls-client-cert",
        "x-ssl-",
        "ssl-client-",
        "x-amzn-mtls-",
        "x-arr-clientcert",
    ];
    if !matches!(name.first(), Some(b'c' | b's' | b'x')) {
        return false;
    }
    PREFIXES.iter().any(|prefix| starts_like(name, prefix))
}

/// Whether only the edge can know what a header says: where the client is, under which name, port
/// and scheme it was asked, which URL was asked for before a proxy wrote another. Whatever a client
/// says here, some origin believes. `Proxy` is CGI's `HTTP_PROXY` (CVE-2016-5385).
///
/// A rule may set those that are not ours ([`is_ours`]), for origins that want them.
pub(super) fn is_edges(name: &[u8]) -> bool {
    const NAMES: [&str; 30] = [
        "cf-connecting-ip",
        "cf-connecting-ipv6",
        "cf-ipcountry",
        "cf-pseudo-ipv4",
        "cf-visitor",
        "client-ip",
        "fastly-client-ip",
        "forwarded",
        "forwarded-for",
        "front-end-https",
        "proxy",
        "true-client-ip",
        "x-appengine-user-ip",
        "x-azure-clientip",
        "x-azure-socketip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-envoy-external-address",
        "x-forwarded",
        "x-http-host-override",
        "x-original-forwarded-for",
        "x-original-host",
        "x-original-uri",
        "x-original-url",
        "x-originating-ip",
        "x-real-ip",
        "x-remote-addr",
        "x-remote-ip",
        "x-rewrite-url",
        "x-scheme",
    ];
    if !matches!(name.first(), Some(b'c' | b'f' | b'p' | b't' | b'x')) {
        return false;
    }
    starts_like(name, "x-forwarded-") || NAMES.iter().any(|known| is_like(name, known))
}

/// Whether an origin that takes other bytes for dashes, as CGI and its heirs do, would take a
/// header for one that we set or that frames the message.
pub(super) fn is_disguise(name: &[u8]) -> bool {
    const KNOWN: [&str; 6] = [
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-request-id",
        "content-length",
        "transfer-encoding",
    ];
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    !name.iter().all(is_plain) && KNOWN.iter().any(|known| is_like(name, known))
}

/// How CGI and its heirs write a byte of a header's name: what is no letter and no digit is `_` to
/// them, `-` and `.` alike.
pub(super) fn folded(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() {
        byte
    } else {
        b'-'
    }
}

/// Whether a name is `known`, to CGI.
fn is_like(name: &[u8], known: &str) -> bool {
    name.len() == known.len() && starts_like(name, known)
}

/// Whether a name starts with `prefix`, to CGI.
fn starts_like(name: &[u8], prefix: &str) -> bool {
    name.len() >= prefix.len()
        && name
            .iter()
            .zip(prefix.bytes())
            .all(|(a, b)| *a == b || folded(*a) == b)
}

/// Whether a header is the gateway's alone: it belongs to one connection, frames or routes the
/// message, or is set or removed by [`super::headers::for_origin`].
#[must_use]
pub fn is_ours(name: &HeaderName) -> bool {
    let is_set = matches!(
        name.as_str(),
        "host" | "content-length" | "trailer" | "via" | "x-request-id"
    );
    let spelled = name.as_str().as_bytes();
    is_set || is_hop_by_hop(name) || is_claim(spelled) || is_disguise(spelled) || is_replaced(name)
}

/// The same for what clients get: a rule may not say how the message is framed, when it was made,
/// which request it belongs to, nor anything that could pass for a word about a certificate.
#[must_use]
pub fn is_ours_to_clients(name: &HeaderName) -> bool {
    let is_set = matches!(
        name.as_str(),
        "content-length" | "trailer" | "date" | "x-request-id"
    );
    let spelled = name.as_str().as_bytes();
    is_set || is_hop_by_hop(name) || is_claim(spelled) || is_disguise(spelled)
}

/// Whether CGI and its heirs take two names for one: whatever is no letter and no digit is the
/// same to them.
#[must_use]
pub fn is_same_to_cgi(one: &[u8], other: &[u8]) -> bool {
    let folded = |byte: &u8| folded(*byte);
    one.len() == other.len() && one.iter().map(folded).eq(other.iter().map(folded))
}

/// Whether the gateway speaks here and the client does not.
pub(super) fn is_replaced(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "expect" | "forwarded" | "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto"
    )
}
