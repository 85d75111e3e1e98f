//! Every prefix, every byte, and a naive reading beside.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut all = V2.to_vec();
    all.extend([command, family]);
    all.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    all.extend(body);
    all
}

fn v2_of(source: SocketAddr, additions: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    let family = match source.ip() {
        IpAddr::V4(address) => {
            body.extend(address.octets());
            body.extend([192, 0, 2, 1]);
            0x11
        }
        IpAddr::V6(address) => {
            body.extend(address.octets());
            body.extend(Ipv6Addr::LOCALHOST.octets());
            0x21
        }
    };
    body.extend(source.port().to_be_bytes());
    body.extend(443_u16.to_be_bytes());
    body.extend(additions);
    v2(0x21, family, &body)
}

fn v1_of(source: SocketAddr) -> Vec<u8> {
    let (word, to) = match source {
        SocketAddr::V4(_) => ("TCP4", "192.0.2.1"),
        SocketAddr::V6(_) => ("TCP6", "::1"),
    };
    format!(
        "PROXY {word} {} {to} {} 443\r\n",
        source.ip(),
        source.port()
    )
    .into_bytes()
}

/// The header, whatever the bytes behind it and however it came; and no word is taken back.
fn whole(bytes: &[u8]) -> Result<Header, ProxyError> {
    let mut said = None;
    for end in 0..=bytes.len() {
        match (said, parse(&bytes[..end])) {
            (None, Ok(Found::More)) => {}
            (None, other) => said = Some(other),
            (Some(before), now) => assert_eq!(before, now, "after {end} of {bytes:?}"),
        }
    }
    match said {
        Some(Ok(Found::Header(header))) => Ok(header),
        Some(Err(error)) => Err(error),
        _ => panic!("{bytes:?} is a part"),
    }
}

fn behind(mut header: Vec<u8>) -> Vec<u8> {
    header.extend(b"\x16\x03\x01\x02\x00\x01");
    header
}

#[test]
fn headers_say_who_the_client_is() {
    let four: SocketAddr = "203.0.113.9:50000".parse().unwrap();
    let six: SocketAddr = "[2001:db8::7]:1".parse().unwrap();
    let long = vec![0x04; 1_000];
    for (bytes, client) in [
        (v1_of(four), Some(four)),
        (v1_of(six), Some(six)),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (
            b"PROXY UNKNOWN ffff:f...f:ffff 1 2 3 whatever\r\n".to_vec(),
            None,
        ),
        (v2_of(four, &[]), Some(four)),
        (v2_of(six, &[]), Some(six)),
        (v2_of(four, &long), Some(four)),
        (v2(0x20, 0x00, &[]), None),
        (v2(0x20, 0x11, &[1, 2, 3]), None),
        (v2(0x21, 0x00, &long), None),
    ] {
        let size = bytes.len();
        assert_eq!(whole(&behind(bytes)), Ok(Header { size, client }));
    }
}

#[test]
fn what_is_not_wholly_understood_is_refused() {
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(PROXY_V1_BYTES_MAX));
    let huge = v2(0x21, 0x11, &vec![0; PROXY_V2_BYTES_MAX - V2_START + 1]);
    let most = v2(0x21, 0x11, &vec![0; PROXY_V2_BYTES_MAX - V2_START]);
    assert!(whole(&most).is_ok());
    for (bytes, error) in [
        (&b"\x16\x03\x01"[..], ProxyError::Missing),
        (b"GET / HTTP/1.1\r\n", ProxyError::Missing),
        (b"PROXZ", ProxyError::Missing),
        (b"proxy TCP4 ", ProxyError::Missing),
        (b"\r\n\r\n\0\r\nQUIX", ProxyError::Missing),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", ProxyError::Line),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", ProxyError::Line),
        (b"PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n", ProxyError::Line),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n", ProxyError::Line),
        (b"PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n", ProxyError::Line),
        (b"PROXY TCP4 1.2.3.4 5.6.7 1 2\r\n", ProxyError::Line),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n", ProxyError::Line),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n", ProxyError::Line),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n", ProxyError::Line),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 \r\n", ProxyError::Line),
        (b"PROXY TCP4 ::1 ::1 1 2\r\n", ProxyError::Line),
        (b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", ProxyError::Line),
        (b"PROXY TCP6 [::1] [::1] 1 2\r\n", ProxyError::Line),
        (b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n", ProxyError::Line),
        (b"PROXY UNKNOWNX\r\n", ProxyError::Line),
        (b"PROXY \r\n", ProxyError::Line),
        (b"PROXY TCP4 \xff\r\n", ProxyError::Line),
        (long.as_bytes(), ProxyError::TooLong),
        (&huge, ProxyError::TooLong),
        (&v2(0x11, 0x11, &[0; 12]), ProxyError::Command),
        (&v2(0x22, 0x11, &[0; 12]), ProxyError::Command),
        (&v2(0x21, 0x12, &[0; 12]), ProxyError::Family),
        (&v2(0x21, 0x31, &[0; 216]), ProxyError::Family),
        (&v2(0x21, 0x10, &[0; 12]), ProxyError::Family),
        (&v2(0x21, 0x11, &[0; 11]), ProxyError::TooShort),
        (&v2(0x21, 0x21, &[0; 35]), ProxyError::TooShort),
    ] {
        assert_eq!(whole(bytes), Err(error), "{}", bytes.escape_ascii());
    }
}

/// Version 1 by a regular expression's eye: seven words, split at spaces.
fn naive(line: &str) -> Option<SocketAddr> {
    let words: Vec<&str> = line.strip_suffix("\r\n")?.split(' ').collect();
    let ["PROXY", family, from, to, port, other] = words[..] else {
        return None;
    };
    let canonical = |text: &str| text.parse::<u16>().ok().filter(|n| n.to_string() == text);
    let (port, _) = (canonical(port)?, canonical(other)?);
    match family {
        "TCP4" => {
            to.parse::<Ipv4Addr>().ok()?;
            Some((from.parse::<Ipv4Addr>().ok()?, port).into())
        }
        "TCP6" => {
            to.parse::<Ipv6Addr>().ok()?;
            Some((from.parse::<Ipv6Addr>().ok()?, port).into())
        }
        _ => None,
    }
}

fn any_source() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (any::<[u8; 4]>(), any::<u16>()).prop_map(SocketAddr::from),
        (any::<[u8; 16]>(), any::<u16>()).prop_map(SocketAddr::from),
    ]
}

proptest! {
    #[test]
    fn every_source_is_read_as_it_was_written(
        source in any_source(),
        additions in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        for header in [v1_of(source), v2_of(source, &additions)] {
            let size = header.len();
            prop_assert_eq!(whole(&behind(header)), Ok(Header { size, client: Some(source) }));
        }
    }

    #[test]
    fn lines_are_read_as_a_naive_reader_does(
        words in proptest::collection::vec(
            prop_oneof![
                Just("TCP4"), Just("TCP6"), Just("1.2.3.4"), Just("255.255.255.255"), Just("::1"),
                Just("1::"), Just("0"), Just("65535"), Just("65536"), Just("007"), Just(""), Just("x"),
            ],
            0..7,
        ),
    ) {
        let mut line = String::from("PROXY");
        for word in words {
            write!(line, " {word}").unwrap();
        }
        line.push_str("\r\n");
        let expected = naive(&line);
        let found = parse(line.as_bytes());
        match expected {
            Some(client) => {
                let size = line.len();
                prop_assert_eq!(found, Ok(Found::Header(Header { size, client: Some(client) })));
            }
            None => prop_assert!(found.is_err(), "{line:?}: {found:?}"),
        }
    }
}
