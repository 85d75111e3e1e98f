//! The head that an origin gets: its target, its headers, an upgrade.
//!
//! Owns what of the connection goes into it. Which headers cross the gateway, and in which order
//! they are removed and set, is `snapshot::http::headers`.

use std::net::IpAddr;

use http::{HeaderValue, Method, Version, header};

use super::exchange::Exchange;
use super::proxied;
use super::standing::Standing;
use super::state::Connection;
use crate::http::websocket;
use snapshot::Host;
use snapshot::http::headers::{OriginMetadata, for_origin};
use snapshot::http::origin::Origin;
use snapshot::http::proxy_header;
use snapshot::http::request_head::RequestHead;
use vocabulary::settings::MtlsMode;

/// A connection's names, as origins are told them.
pub(super) struct Names {
    client_address: HeaderValue,
    sni: HeaderValue,
}

impl Names {
    pub(super) fn new(client: IpAddr, sni: &str) -> Self {
        Self {
            client_address: address_value(client),
            sni: value_of(sni),
        }
    }

    /// An authority. Nearly always it is what SNI said.
    fn authority(&self, name: &str) -> HeaderValue {
        if self.sni.as_bytes() == name.as_bytes() {
            self.sni.clone()
        } else {
            value_of(name)
        }
    }
}

fn address_value(client: IpAddr) -> HeaderValue {
    HeaderValue::from_str(&client.to_string()).unwrap_or(HeaderValue::from_static("unknown"))
}

/// What our own parsers accept is visible ASCII. Anything else names no host.
fn value_of(name: &str) -> HeaderValue {
    HeaderValue::from_str(name).unwrap_or(HeaderValue::from_static("invalid"))
}

/// What a connection to an origin begins with that is for this client alone.
pub(super) fn introduction(connection: &Connection, standing: &Standing) -> Box<[u8]> {
    let facts = &standing.facts;
    let verdict = &facts.client.verdict;
    let header = proxy_header::header(&proxy_header::Client {
        source: facts.source,
        destination: facts.local,
        sni: &facts.sni,
        tls_version: facts.tls_version,
        has_certificate: verdict.presented,
        resumed: connection.resumed,
        verified: (verdict.verified && !verdict.revoked)
            .then_some(&*facts.client.subject_dn_rfc2253),
    });
    header.into()
}

/// Makes the client's head the origin's.
pub(super) fn prepare(
    connection: &Connection,
    exchange: &Exchange,
    standing: &Standing,
    (host, origin): (&Host, &Origin),
    parts: &mut RequestHead,
) {
    let notes = exchange.notes.borrow();
    let authority = connection.names.authority(&notes.authority);
    let client = standing.facts.source.ip();
    let anothers = proxied::is_anothers(connection, standing).then(|| address_value(client));
    let told = OriginMetadata {
        client,
        client_address: anothers
            .as_ref()
            .unwrap_or(&connection.names.client_address),
        host: &notes.authority,
        host_value: &authority,
        request_id: &exchange.id_value,
        certificate: (host.site().mtls != MtlsMode::Off)
            .then_some((&*standing.facts.client, &host.client.certificate_headers)),
        x_forwarded: connection.tunables.x_forwarded,
        forwarded: connection.tunables.forwarded,
    };
    let via = if parts.version == Version::HTTP_2 {
        "2 postern"
    } else {
        "1.1 postern"
    };
    for_origin(&mut parts.headers, &told, via);
    if let Some(trace) = &exchange.trace {
        trace.tell(&mut parts.headers);
    }
    let name = origin.host_header.clone().unwrap_or(authority);
    parts.headers.lead(header::HOST, name);
}

/// The protocol that a request wants to change to. Over HTTP/2 that is an extended CONNECT (RFC 8441),
/// which has become what it would be over HTTP/1.1 ([`websocket::normalise`]); and `h2c` inside TLS is a way around rules, not a protocol (CVE-2026-2833).
pub(super) fn wanted_upgrade(parts: &RequestHead) -> Option<HeaderValue> {
    let is_extended = parts.extensions.get::<websocket::Extended>().is_some();
    if !(parts.version == Version::HTTP_11 || is_extended) || parts.method != Method::GET {
        return None;
    }
    let nominated = parts.headers.get_all(&header::CONNECTION).any(|value| {
        value
            .split(|byte| *byte == b',')
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    });
    let wanted = parts.headers.value(header::UPGRADE);
    wanted.filter(|_| nominated).filter(|wanted| {
        let wanted = wanted.as_bytes();
        wanted.eq_ignore_ascii_case(websocket::NAME.as_bytes())
    })
}
