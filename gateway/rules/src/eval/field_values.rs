//! The values of fields, read from the facts of the connection and of the request.
//!
//! Lazy: reads only the field that is asked for. A single value that does not lie in the facts is
//! made in the scratch; an array is visited element by element and never collected.

use std::fmt::Write;
use std::net::IpAddr;
use std::ops::ControlFlow;

use http::header::{ACCEPT_LANGUAGE, COOKIE, HOST, HeaderName, REFERER, USER_AGENT};

use super::connection_values::ConnectionValues;
use super::pairs::decoded;
use super::value::{Scratch, Value};
use crate::facts::{ConnectionFacts, RequestFacts};
use crate::geo::Location;
use crate::matcher::budget;
use crate::syntax::field::Field;
use vocabulary::client_auth::ClientAuth;

/// Everything that one decision is about.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) connection: &'a ConnectionFacts,
    pub(crate) request: &'a RequestFacts<'a>,
    pub(crate) values: &'a ConnectionValues,
}

/// Told each element of an array; breaks when it has seen enough.
pub(crate) type Visit<'v, 'a> = &'v mut dyn FnMut(&mut Scratch, Value<'a>) -> ControlFlow<()>;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl<'a> Facts<'a> {
    /// The value of a field that has one.
    pub(crate) fn value(&self, field: Field, scratch: &mut Scratch) -> Value<'a> {
        let request = self.request;
        match field {
            Field::Host => text(request.host),
            Field::Method => text(request.method),
            Field::Version => text(request.version),
            Field::Path => text(request.path),
            Field::RawPath => text(request.raw_path),
            Field::Query | Field::RawQuery => text(request.query),
            Field::PathExtension => extension(request.path, scratch),
            Field::RawPathExtension => extension(request.raw_path, scratch),
            Field::Uri => uri(&[request.path], request.query, scratch),
            Field::RawUri => uri(&[request.raw_path], request.query, scratch),
            Field::FullUri => uri(
                &["https://", request.host, request.path],
                request.query,
                scratch,
            ),
            Field::RawFullUri => uri(
                &["https://", request.host, request.raw_path],
                request.query,
                scratch,
            ),
            Field::TimestampSec => Value::Int(request.received_msec.div_euclid(1000)),
            Field::TimestampMsec => Value::Int(request.received_msec.rem_euclid(1000)),
            // The data path refuses heads with too many headers instead of truncating them.
            Field::HeadersTruncated => Value::Bool(false),
            Field::UserAgent => self.header(&USER_AGENT, b", ", scratch),
            Field::Referer => self.header(&REFERER, b", ", scratch),
            // HTTP/2 may send one cookie a header (RFC 9113 §8.2.3).
            Field::Cookie => self.header(&COOKIE, b"; ", scratch),
            Field::XForwardedFor => self.header(&X_FORWARDED_FOR, b", ", scratch),
            Field::RayId => text(request.ray_id),
            Field::ClientTcpRtt => Value::Int(request.round_trip.msec()),
            _ => self.connection_value(field),
        }
    }

    fn connection_value(&self, field: Field) -> Value<'a> {
        let connection = self.connection;
        let hello = || self.values.hello(connection);
        match field {
            Field::IpSrc => Value::Ip(connection.source.ip().to_canonical()),
            Field::ServerIp => Value::Ip(connection.local.ip().to_canonical()),
            Field::ServerPort => Value::Int(connection.local.port().into()),
            // Postern listens for TLS over TCP only.
            Field::Ssl | Field::ClientTcp => Value::Bool(true),
            Field::ClientQuicRtt => Value::Int(0),
            Field::TlsVersion => text(connection.tls_version),
            Field::TlsCipher => text(connection.tls_cipher),
            Field::ClientHelloLength => Value::Int(hello().length),
            Field::ClientRandom => text(&hello().random),
            Field::ClientExtensionsSha1 => text(&hello().extensions_sha1),
            Field::ClientExtensionsSha1Le => text(&hello().extensions_sha1_le),
            Field::CiphersSha1 => text(&hello().ciphers_sha1),
            Field::Ja3 => text(&hello().ja3),
            Field::Ja4 => text(&hello().ja4),
            _ if field.is_geographic() => geographic(self.values.place(connection), field),
            _ => certificate(&connection.client, field),
        }
    }

    /// A header's value, several of them joined, `""` when there is none.
    fn header(&self, name: &HeaderName, separator: &[u8], scratch: &mut Scratch) -> Value<'a> {
        scratch.work(self.request.headers.len() * budget::HEADER);
        let mut values = self.request.headers.get_all(name);
        let Some(first) = values.next() else {
            return Value::Bytes(b"");
        };
        let Some(second) = values.next() else {
            return Value::Bytes(first);
        };
        let mark = scratch.mark();
        scratch.push(first);
        for value in std::iter::once(second).chain(values) {
            scratch.push(separator);
            scratch.push(value);
        }
        scratch.made(mark)
    }

    /// Shows the elements of an array field. Never missing.
    pub(crate) fn elements(
        &self,
        field: Field,
        scratch: &mut Scratch,
        visit: Visit<'_, 'a>,
    ) -> ControlFlow<()> {
        let client = &self.connection.client;
        // Where elements are looked for in a text, all of it may be passed over.
        scratch.work(match field {
            Field::ArgsNames | Field::RawArgsNames | Field::ArgsValues | Field::RawArgsValues => {
                self.request.query.len()
            }
            Field::AcceptedLanguages => {
                let headers = self.request.headers;
                let values = headers.get_all(&ACCEPT_LANGUAGE).map(<[u8]>::len);
                // They are walked to twice, here and for their parts.
                values.sum::<usize>() * budget::DECODED_BYTE + 2 * headers.len() * budget::HEADER
            }
            _ => 0,
        });
        match field {
            Field::HeadersNames => {
                let host = self.request.authority.map(|_| text(HOST.as_str()));
                let headers = self.request.headers.iter();
                let names = headers.map(|(name, _)| Value::Bytes(name));
                each(scratch, host.into_iter().chain(names), visit)
            }
            Field::HeadersValues => {
                let host = self.request.authority.map(text);
                let headers = self.request.headers.iter();
                let values = headers.map(|(_, value)| Value::Bytes(value));
                each(scratch, host.into_iter().chain(values), visit)
            }
            Field::ArgsNames | Field::RawArgsNames => each(
                scratch,
                arguments(self.request.query).map(|(name, _)| text(name)),
                visit,
            ),
            Field::ArgsValues | Field::RawArgsValues => each(
                scratch,
                arguments(self.request.query).map(|(_, value)| text(value)),
                visit,
            ),
            Field::AcceptedLanguages => each(scratch, self.languages(), visit),
            Field::SanDns => each(scratch, client.san_dns.iter().map(|name| text(name)), visit),
            Field::SanUri => each(scratch, client.san_uri.iter().map(|name| text(name)), visit),
            Field::SanEmail => each(
                scratch,
                client.san_email.iter().map(|name| text(name)),
                visit,
            ),
            Field::SanIp => each(
                scratch,
                client
                    .san_ip
                    .iter()
                    .map(|address| Value::Ip(address.to_canonical())),
                visit,
            ),
            Field::CertEku => each(scratch, client.eku.iter().map(|oid| text(oid)), visit),
            _ => ControlFlow::Continue(()),
        }
    }

    /// Shows the values of a map's key. No values: the key is not there.
    pub(crate) fn entries(
        &self,
        map: Field,
        key: &'a [u8],
        scratch: &mut Scratch,
        visit: Visit<'_, 'a>,
    ) -> ControlFlow<()> {
        match map {
            Field::Headers => {
                let Ok(name) = std::str::from_utf8(key) else {
                    return ControlFlow::Continue(());
                };
                let headers = self.request.headers;
                scratch.work(budget::LOOK_UP + key.len() + headers.len() * budget::HEADER);
                let host = self.request.authority.filter(|_| name == HOST.as_str());
                // In lower case, as the documented keys are.
                let values = headers.spelled(name).map(Value::Bytes);
                each(scratch, host.map(text).into_iter().chain(values), visit)
            }
            Field::Args | Field::RawArgs => {
                let query = self.request.query;
                let cost = scratch.arguments.read_query(query);
                scratch.work(cost + budget::LOOK_UP);
                let query = query.as_bytes();
                let (first, hash) = scratch.arguments.first(key);
                for place in first.. {
                    let Some(pair) = scratch.arguments.get(place, hash) else {
                        break;
                    };
                    if !scratch.work(budget::VALUE) {
                        return ControlFlow::Break(());
                    }
                    if pair.name(query) == key {
                        visit(scratch, Value::Bytes(pair.value(query)))?;
                    }
                }
                ControlFlow::Continue(())
            }
            Field::Cookies => {
                let headers = self.request.headers;
                let cost = scratch.cookies.read_cookies(headers);
                scratch.work(cost + budget::LOOK_UP + headers.len() * budget::HEADER);
                let (first, hash) = scratch.cookies.first(key);
                // HTTP/2 may send each cookie in a header of its own: those of a name stand in their order.
                let (mut texts, mut read, mut text) = (headers.get_all(&COOKIE), 0, &b""[..]);
                for place in first.. {
                    let Some(pair) = scratch.cookies.get(place, hash) else {
                        break;
                    };
                    if !scratch.work(budget::VALUE) {
                        return ControlFlow::Break(());
                    }
                    while read <= pair.text {
                        text = texts.next().unwrap_or_default();
                        read += 1;
                    }
                    if decoded(pair.name(text)).eq(key.iter().copied()) {
                        visit(scratch, Value::Bytes(pair.value(text)))?;
                    }
                }
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Continue(()),
        }
    }

    /// Language tags of `Accept-Language` as listed, `*` and weights left out.
    fn languages(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let headers = self.request.headers.get_all(&ACCEPT_LANGUAGE);
        headers
            .flat_map(|header| header.split(|b| *b == b','))
            .filter_map(|item| {
                let tag = item.split(|b| *b == b';').next()?.trim_ascii();
                (!tag.is_empty() && tag != b"*").then_some(Value::Bytes(tag))
            })
    }
}

fn text(text: &str) -> Value<'_> {
    Value::Bytes(text.as_bytes())
}

fn each<'a>(
    scratch: &mut Scratch,
    mut values: impl Iterator<Item = Value<'a>>,
    visit: Visit<'_, 'a>,
) -> ControlFlow<()> {
    values.try_for_each(|value| {
        if scratch.work(budget::ELEMENT) {
            visit(scratch, value)
        } else {
            ControlFlow::Break(())
        }
    })
}

fn uri<'a>(before: &[&str], query: &str, scratch: &mut Scratch) -> Value<'a> {
    let mark = scratch.mark();
    for part in before {
        scratch.push(part.as_bytes());
    }
    if !query.is_empty() {
        scratch.push_byte(b'?');
        scratch.push(query.as_bytes());
    }
    scratch.made(mark)
}

/// What follows the last dot of the last segment, in lower case; a leading dot is no extension.
fn extension<'a>(path: &str, scratch: &mut Scratch) -> Value<'a> {
    let mark = scratch.mark();
    scratch.work(path.len());
    let segment = path.rsplit('/').next().unwrap_or_default();
    if let Some((stem, extension)) = segment.rsplit_once('.')
        && !stem.is_empty()
    {
        scratch.push(extension.as_bytes());
        if let Some(made) = scratch.since(mark).get_mut(mark..) {
            made.make_ascii_lowercase();
        }
    }
    scratch.made(mark)
}

/// Names and values of a query, undecoded, in order.
fn arguments(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Without a database, or where it does not know: missing.
fn geographic(place: &Location, field: Field) -> Value<'_> {
    fn known(name: &Option<Box<str>>) -> Value<'_> {
        name.as_deref().map_or(Value::Missing, text)
    }
    /// Documented: "When the actual value is not available, this field contains an empty string".
    fn known_or_empty(name: &Option<Box<str>>) -> Value<'_> {
        text(name.as_deref().unwrap_or_default())
    }
    match field {
        Field::Asnum | Field::GeoipAsnum => place
            .asnum
            .map_or(Value::Missing, |number| Value::Int(number.into())),
        Field::Country | Field::GeoipCountry => known(&place.country),
        Field::Continent | Field::GeoipContinent => known(&place.continent),
        Field::Region => known(&place.region),
        Field::RegionCode => known(&place.region_code),
        Field::City => known(&place.city),
        Field::InEuropeanUnion | Field::GeoipInEuropeanUnion => place
            .is_in_european_union
            .map_or(Value::Missing, Value::Bool),
        Field::Subdivision1 | Field::GeoipSubdivision1 => known_or_empty(&place.subdivision_1),
        Field::Subdivision2 | Field::GeoipSubdivision2 => known_or_empty(&place.subdivision_2),
        _ => Value::Missing,
    }
}

fn certificate(client: &ClientAuth, field: Field) -> Value<'_> {
    let number = |seconds: Option<i64>| seconds.map_or(Value::Missing, Value::Int);
    match field {
        Field::CertPresented => Value::Bool(client.verdict.presented),
        Field::CertVerified => Value::Bool(client.verdict.verified),
        Field::CertRevoked => Value::Bool(client.verdict.revoked),
        Field::CertIssuerDn => text(&client.issuer_dn),
        Field::CertSubjectDn => text(&client.subject_dn),
        Field::CertIssuerDnRfc2253 => text(&client.issuer_dn_rfc2253),
        Field::CertSubjectDnRfc2253 => text(&client.subject_dn_rfc2253),
        Field::CertIssuerDnLegacy => text(&client.issuer_dn_legacy),
        Field::CertSubjectDnLegacy => text(&client.subject_dn_legacy),
        Field::CertSerial => text(&client.serial),
        Field::CertIssuerSerial => text(&client.issuer_serial),
        Field::CertFingerprintSha256 => text(&client.fingerprint_sha256),
        Field::CertFingerprintSha1 => text(&client.fingerprint_sha1),
        Field::CertNotBefore => text(&client.not_before),
        Field::CertNotAfter => text(&client.not_after),
        Field::CertSki => text(&client.ski),
        Field::CertIssuerSki => text(&client.issuer_ski),
        Field::CertRfc9440 => text(&client.rfc9440),
        Field::CertRfc9440TooLarge => Value::Bool(client.rfc9440_too_large),
        Field::CertChainRfc9440 => text(&client.chain_rfc9440),
        Field::CertChainRfc9440TooLarge => Value::Bool(client.chain_rfc9440_too_large),
        Field::CertNotBeforeSec => number(client.not_before_sec),
        Field::CertNotAfterSec => number(client.not_after_sec),
        Field::CertReason => text(client.verdict.reason.as_str()),
        Field::CertCaId => text(&client.ca_id),
        _ => Value::Missing,
    }
}

/// Writes a value the way `to_string` shows it.
pub(crate) fn show<'a>(value: Value<'a>, scratch: &mut Scratch) -> Value<'a> {
    let mark = scratch.mark();
    let written = match value {
        Value::Missing => return Value::Missing,
        Value::Bool(value) => write!(scratch, "{value}"),
        Value::Int(value) => write!(scratch, "{value}"),
        Value::Ip(IpAddr::V4(address)) => write!(scratch, "{address}"),
        Value::Ip(IpAddr::V6(address)) => write!(scratch, "{address}"),
        Value::Bytes(_) | Value::Made(..) => return value,
    };
    debug_assert!(written.is_ok(), "writing to a scratch cannot fail");
    scratch.made(mark)
}
