//! The PROXY protocol towards origins: who the client of a connection is, before its first byte.
//!
//! Writes a header of version 2 as HAProxy's specification has it
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, §2.2), with what the client asked
//! for by SNI and what is known of its TLS. Does no I/O. What balancers say to us is read elsewhere
//! (`datapath`'s `proxy_protocol`).

use std::net::{IpAddr, SocketAddr};

/// The signature of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, and a connection of somebody else.
const PROXY: u8 = 0x21;
/// TCP over IPv4, over IPv6.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
/// `PP2_TYPE_AUTHORITY`.
const AUTHORITY: u8 = 0x02;
/// `PP2_TYPE_SSL`, and what it may have.
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_CN: u8 = 0x22;
/// `PP2_CLIENT_SSL`, `PP2_CLIENT_CERT_CONN`, `PP2_CLIENT_CERT_SESS`.
const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERT_CONN: u8 = 0x02;
const CLIENT_CERT_SESS: u8 = 0x04;
/// Bytes of a text at most: a DNS name, or the longest common name that X.509 has, with room to spare.
const TEXT_BYTES_MAX: usize = 255;

/// A connection of the gateway's own, as that of a health check.
pub const LOCAL: [u8; 16] = *b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

/// What an origin is told of a client.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// Its address.
    pub source: SocketAddr,
    /// Where it connected to.
    pub destination: SocketAddr,
    /// The name that it asked for by SNI; empty when it asked for none.
    pub sni: &'a str,
    /// `TLSv1.3`.
    pub tls_version: &'a str,
    /// It showed a certificate, in this connection or in the one that this resumes.
    pub has_certificate: bool,
    /// It resumed a session.
    pub resumed: bool,
    /// The subject of its certificate in the form of RFC 2253, when that is believed.
    pub verified: Option<&'a str>,
}

/// The header of a client's connection.
#[must_use]
pub fn header(client: &Client<'_>) -> Vec<u8> {
    let mut body = Vec::with_capacity(128);
    let family = addresses(client.source, client.destination, &mut body);
    if !client.sni.is_empty() {
        put(&mut body, AUTHORITY, client.sni.as_bytes());
    }
    let mut flags = CLIENT_SSL;
    if client.has_certificate {
        flags |= CLIENT_CERT_SESS;
        if !client.resumed {
            flags |= CLIENT_CERT_CONN;
        }
    }
    let mut tls = vec![flags];
    // Zero says that there is a certificate, and that it is believed.
    tls.extend(u32::from(client.verified.is_none()).to_be_bytes());
    put(&mut tls, SSL_VERSION, client.tls_version.as_bytes());
    if let Some(name) = client.verified.and_then(common_name) {
        put(&mut tls, SSL_CN, name.as_bytes());
    }
    put(&mut body, SSL, &tls);
    let mut header = SIGNATURE.to_vec();
    header.extend([PROXY, family]);
    header.extend(length(&body));
    header.append(&mut body);
    header
}

fn addresses(source: SocketAddr, destination: SocketAddr, into: &mut Vec<u8>) -> u8 {
    let ports = [source.port(), destination.port()];
    let family = match (source.ip().to_canonical(), destination.ip().to_canonical()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            into.extend(source.octets());
            into.extend(destination.octets());
            TCP4
        }
        (source, destination) => {
            for address in [source, destination] {
                let six = match address {
                    IpAddr::V4(address) => address.to_ipv6_mapped(),
                    IpAddr::V6(address) => address,
                };
                into.extend(six.octets());
            }
            TCP6
        }
    };
    into.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
    family
}

/// Adds a type, a length and a value. One that is too long is left out: half of a name is another name.
fn put(into: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let is_text = kind != SSL;
    if is_text && value.len() > TEXT_BYTES_MAX {
        return;
    }
    into.push(kind);
    into.extend(length(value));
    into.extend(value);
}

fn length(of: &[u8]) -> [u8; 2] {
    u16::try_from(of.len()).unwrap_or(u16::MAX).to_be_bytes()
}

/// The one common name of a subject, when it says itself what it is: where there are several, or
/// characters that are written otherwise than they are, there is nothing that all readers agree on.
fn common_name(subject: &str) -> Option<&str> {
    if subject.contains(['\\', '+', '"']) {
        return None;
    }
    let mut names = subject
        .split(',')
        .filter_map(|part| part.strip_prefix("CN="));
    let name = names
        .next()
        .filter(|name| !name.is_empty() && !name.starts_with('#'));
    name.filter(|_| names.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client<'a>(source: &str, destination: &str) -> Client<'a> {
        Client {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            sni: "",
            tls_version: "TLSv1.3",
            has_certificate: false,
            resumed: false,
            verified: None,
        }
    }

    #[test]
    fn as_the_specification_has_it() {
        let four = header(&client("192.0.2.1:4660", "198.51.100.2:443"));
        assert_eq!(
            four,
            [
                &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x1e"[..],
                &[192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x34, 0x01, 0xbb],
                b"\x20\x00\x0f\x01\x00\x00\x00\x01\x21\x00\x07TLSv1.3",
            ]
            .concat()
        );
        // Both ends are of one family.
        let six = header(&client("[2001:db8::1]:1", "198.51.100.2:443"));
        assert_eq!(&six[12..16], [0x21, 0x21, 0, 54]);
        assert_eq!(
            &six[32..48],
            b"\0\0\0\0\0\0\0\0\0\0\xff\xff\xc6\x33\x64\x02"
        );
        let mapped = header(&client("[::ffff:192.0.2.1]:4660", "198.51.100.2:443"));
        assert_eq!(mapped, four);
    }

    #[test]
    fn what_is_known_of_tls() {
        let said = |change: &dyn Fn(&mut Client<'static>)| {
            let mut client = client("192.0.2.1:1", "192.0.2.2:2");
            change(&mut client);
            header(&client)[28..].to_vec()
        };
        let all = said(&|client| {
            client.sni = "a.test";
            client.has_certificate = true;
            client.verified = Some("CN=device 1,O=Example");
        });
        assert_eq!(
            all,
            b"\x02\x00\x06a.test\x20\x00\x1a\x07\x00\x00\x00\x00\x21\x00\x07TLSv1.3\x22\x00\x08device 1"
        );
        // A certificate that is not believed, and one from before.
        let bad = said(&|client| (client.has_certificate, client.resumed) = (true, true));
        assert_eq!(bad, b"\x20\x00\x0f\x05\x00\x00\x00\x01\x21\x00\x07TLSv1.3");
        let long: &'static str = "x".repeat(300).leak();
        assert_eq!(said(&|client| client.sni = long), said(&|_| {}));
    }

    #[test]
    fn a_common_name_that_all_read_alike() {
        for (subject, name) in [
            ("CN=a,O=b", Some("a")),
            ("O=b,CN=a b", Some("a b")),
            ("O=b", None),
            ("CN=a,CN=b", None),
            ("CN=a\\,CN=b", None),
            ("CN=a+OU=b", None),
            ("CN=#0401", None),
            ("CN=", None),
        ] {
            assert_eq!(common_name(subject), name, "{subject}");
        }
    }
}
