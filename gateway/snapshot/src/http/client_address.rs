//! Who the client of a request is, by what proxies in front of the gateway say.
//!
//! A proxy writes the address that it was connected from behind what is there already, so that only
//! the end of the list is a proxy's word: it is read from there, for as long as the addresses are
//! proxies' themselves, and the first that is not is the client. What stands before it was the
//! client's to write, and is not looked at in `X-Forwarded-For`; `Forwarded` (RFC 7239) has quotes
//! and is read whole. Which of the two is believed is a setting: a proxy that sets one passes the other
//! on as clients sent it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::header::{FORWARDED, HeaderName};
use http1::Headers;

use crate::limits::PROXIES_MAX;
use vocabulary::settings::ClientHeader;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Why a request's header does not say who the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientAddressError {
    /// Not an address where one has to stand.
    #[error("the proxies' header does not say who the client is")]
    Malformed,
    /// More than [`PROXIES_MAX`].
    #[error("the request has passed too many proxies")]
    TooMany,
}

/// The client of a request that came from a proxy; its port is 0 where that is not known. `None`: no
/// proxy has said anything, and who is connected is the client. When all addresses are proxies' the
/// first of them is.
///
/// # Errors
/// See [`ClientAddressError`].
///
/// # Examples
/// ```
/// use http::{HeaderName, HeaderValue};
/// use http1::Headers;
/// use snapshot::http::client_address::client;
/// use vocabulary::settings::ClientHeader;
///
/// let mut headers = Headers::new();
/// let list = HeaderValue::from_static("made up, 203.0.113.9, 10.0.0.7");
/// headers.insert(HeaderName::from_static("x-forwarded-for"), list);
/// let is_proxy = |address: std::net::IpAddr| address.to_string().starts_with("10.");
/// let found = client(&headers, ClientHeader::XForwardedFor, is_proxy);
/// assert_eq!(found, Ok(Some(([203, 0, 113, 9], 0).into())));
/// ```
pub fn client(
    headers: &Headers,
    header: ClientHeader,
    is_proxy: impl Fn(IpAddr) -> bool,
) -> Result<Option<SocketAddr>, ClientAddressError> {
    let mut walk = Walk {
        is_proxy,
        passed: 0,
        last: None,
    };
    match header {
        ClientHeader::XForwardedFor => {
            for line in headers.get_all(&X_FORWARDED_FOR).rev() {
                for piece in line.rsplit(|byte| *byte == b',') {
                    if let Some(client) = walk.step(address(piece.trim_ascii()))? {
                        return Ok(Some(client));
                    }
                }
            }
        }
        ClientHeader::Forwarded => {
            let lines = headers.get_all(&FORWARDED);
            let lines: Option<Vec<_>> = lines.map(elements).collect();
            let lines = lines.ok_or(ClientAddressError::Malformed)?;
            for node in lines.iter().flatten().rev() {
                let node = node.as_ref().and_then(|node| self::node(node));
                if let Some(client) = walk.step(node)? {
                    return Ok(Some(client));
                }
            }
        }
    }
    Ok(walk.last)
}

/// The way back along the proxies.
struct Walk<P> {
    is_proxy: P,
    passed: usize,
    last: Option<SocketAddr>,
}

impl<P: Fn(IpAddr) -> bool> Walk<P> {
    /// Goes on to who connected to the proxy before; answers it if it is the client.
    fn step(&mut self, from: Option<SocketAddr>) -> Result<Option<SocketAddr>, ClientAddressError> {
        let from = from.ok_or(ClientAddressError::Malformed)?;
        // One spelling of an address, for rules, logs and origins alike.
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        self.passed += 1;
        if self.passed > PROXIES_MAX {
            return Err(ClientAddressError::TooMany);
        }
        self.last = Some(from);
        Ok((!(self.is_proxy)(from.ip())).then_some(from))
    }
}

/// An address as proxies write it into `X-Forwarded-For`: bare, in brackets, with or without a port.
fn address(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(bare) = text.parse::<IpAddr>() {
        return Some((bare, 0).into());
    }
    bracketed(text).or_else(|| four(text))
}

/// An address as RFC 7239 §6 has it: IPv4, or IPv6 in brackets, with or without a port.
fn node(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(bare) = text.parse::<Ipv4Addr>() {
        return Some((bare, 0).into());
    }
    bracketed(text).or_else(|| four(text))
}

/// `[ADDRESS]` or `[ADDRESS]:PORT`.
fn bracketed(text: &str) -> Option<SocketAddr> {
    let (address, rest) = text.strip_prefix('[')?.split_once(']')?;
    let address = IpAddr::V6(address.parse().ok()?);
    let port = match rest {
        "" => 0,
        rest => port(rest.strip_prefix(':')?)?,
    };
    Some((address, port).into())
}

/// `IPV4:PORT`.
fn four(text: &str) -> Option<SocketAddr> {
    let (address, rest) = text.split_once(':')?;
    Some((address.parse::<Ipv4Addr>().ok()?, port(rest)?).into())
}

fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// What each element of a `Forwarded` header says in `for` (RFC 7239 §4); `None` when the header is
/// malformed anywhere.
fn elements(line: &[u8]) -> Option<Vec<Option<Vec<u8>>>> {
    let mut found = Vec::new();
    let mut rest = line;
    loop {
        let mut from = None;
        loop {
            let (name, value, behind) = pair(rest.trim_ascii_start())?;
            if name.eq_ignore_ascii_case(b"for") && from.replace(value).is_some() {
                return None;
            }
            rest = behind.trim_ascii_start();
            match rest {
                [b';', behind @ ..] => rest = behind,
                _ => break,
            }
        }
        found.push(from);
        match rest {
            [] => return Some(found),
            [b',', behind @ ..] => rest = behind,
            _ => return None,
        }
    }
}

/// `NAME=VALUE` at the beginning, and what is behind it.
fn pair(text: &[u8]) -> Option<(&[u8], Vec<u8>, &[u8])> {
    let (name, rest) = token(text)?;
    let rest = rest.strip_prefix(b"=")?;
    if let [b'"', rest @ ..] = rest {
        let (value, rest) = quoted(rest)?;
        return Some((name, value, rest));
    }
    let (value, rest) = token(rest)?;
    Some((name, value.to_vec(), rest))
}

/// A token (RFC 9110 §5.6.2).
fn token(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let end = text.iter().position(|byte| !is_token(byte));
    let (token, rest) = text.split_at(end.unwrap_or(text.len()));
    (!token.is_empty()).then_some((token, rest))
}

/// The rest of a quoted string (RFC 9110 §5.6.4), and what is behind it.
fn quoted(mut text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    loop {
        match text {
            [b'"', rest @ ..] => return Some((value, rest)),
            // Nodes and hosts have none. It separates elements, and a client's quote before it would
            // swallow the end of its own element and the beginning of the proxy's.
            [b'\\', b',', ..] | [b',', ..] => return None,
            [b'\\', byte, rest @ ..] | [byte, rest @ ..] => {
                value.push(*byte);
                text = rest;
            }
            [] => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn is_proxy(address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => address.octets()[0] == 10,
            IpAddr::V6(address) => address.segments()[0] == 0xfd00,
        }
    }

    fn found(header: ClientHeader, lines: &[&str]) -> Result<Option<String>, ClientAddressError> {
        let mut headers = Headers::new();
        for line in lines {
            let value = HeaderValue::from_bytes(line.as_bytes()).unwrap();
            let name = HeaderName::from_static(header.as_str());
            headers.try_append(name, value).unwrap();
        }
        client(&headers, header, is_proxy).map(|client| client.map(|client| client.to_string()))
    }

    #[test]
    fn the_last_address_that_is_not_a_proxys_is_the_client() {
        for (lines, client) in [
            (&[][..], None),
            (&["203.0.113.9"], Some("203.0.113.9:0")),
            (&["6.6.6.6, 203.0.113.9"], Some("203.0.113.9:0")),
            (&["6.6.6.6, 203.0.113.9, 10.1.1.1"], Some("203.0.113.9:0")),
            (
                &["6.6.6.6", "203.0.113.9, 10.1.1.1", "10.2.2.2"],
                Some("203.0.113.9:0"),
            ),
            (&["unknown, \"'é,,203.0.113.9"], Some("203.0.113.9:0")),
            (&["10.9.9.9, 10.1.1.1"], Some("10.9.9.9:0")),
            (&["2001:db8::7"], Some("[2001:db8::7]:0")),
            (&["[2001:db8::7]:443,fd00::1"], Some("[2001:db8::7]:443")),
            (&["203.0.113.9:5000"], Some("203.0.113.9:5000")),
            (&["::ffff:203.0.113.9"], Some("203.0.113.9:0")),
            (&["203.0.113.9, ::ffff:10.1.1.1"], Some("203.0.113.9:0")),
        ] {
            let found = found(ClientHeader::XForwardedFor, lines);
            assert_eq!(found, Ok(client.map(str::to_owned)), "{lines:?}");
        }
    }

    #[test]
    fn where_an_address_has_to_stand_nothing_else_may() {
        let many = vec!["10.0.0.1"; PROXIES_MAX + 1].join(",");
        assert!(found(ClientHeader::XForwardedFor, &[&many[9..]]).is_ok());
        let too_many = found(ClientHeader::XForwardedFor, &[&many]);
        assert_eq!(too_many, Err(ClientAddressError::TooMany));
        for line in [
            "",
            ",",
            "203.0.113.9,",
            "unknown",
            "203.0.113.9, unknown",
            "203.0.113.9;10.0.0.1",
            "203.0.113.9,_hidden,10.0.0.1",
            "1.2.3",
            "1.2.3.4:x",
            "1.2.3.4:65536",
            "[1.2.3.4]",
            "[::1",
            "::1]",
            "[::1]x",
            "1.2.3.4:+1",
            "01.2.3.4",
            "\"203.0.113.9\"",
            "é",
        ] {
            let found = found(ClientHeader::XForwardedFor, &[line]);
            assert_eq!(found, Err(ClientAddressError::Malformed), "{line}");
        }
    }

    #[test]
    fn forwarded_is_read_as_its_standard_says() {
        for (lines, client) in [
            (&[][..], Some(None)),
            (&["for=203.0.113.9"], Some(Some("203.0.113.9:0"))),
            (
                &["For=\"[2001:db8::7]:4711\""],
                Some(Some("[2001:db8::7]:4711")),
            ),
            (
                &["for=6.6.6.6, for=203.0.113.9;proto=https;by=10.1.1.1"],
                Some(Some("203.0.113.9:0")),
            ),
            (
                &[
                    "for=203.0.113.9;host=\"a;b;c\\\"\"",
                    "proto=https ; for=10.1.1.1",
                ],
                Some(Some("203.0.113.9:0")),
            ),
            (
                &["for=\"203.0.113.9:80\", for=10.1.1.1"],
                Some(Some("203.0.113.9:80")),
            ),
            // What a client writes to swallow the proxy's word.
            (&["for=\", for=203.0.113.9"], None),
            (&["x=\", for=\"[2001:db8::7]\""], None),
            (&["x=\", for=203.0.113.9;host=\"h\""], None),
            (&["for=\"a", "for=203.0.113.9"], None),
            // And to write its own behind it, where the proxy quotes the client's `Host`.
            (&["x=\", for=203.0.113.9;host=\",for=6.6.6.6;y=\"\""], None),
            (
                &["x=\"\\, for=203.0.113.9;host=\",for=6.6.6.6;y=\"\""],
                None,
            ),
            (&["for=unknown"], None),
            (&["for=_hidden, for=10.1.1.1"], None),
            (&["proto=https"], None),
            (&["for=1.2.3.4;for=5.6.7.8"], None),
            (&["for=2001:db8::7"], None),
            (&["for=\"2001:db8::7\""], None),
            (&["for=1.2.3.4:80"], None),
            (&["for = 1.2.3.4"], None),
            (&["for=1.2.3.4,"], None),
            (&["for=1.2.3.4;"], None),
            (&["for="], None),
            (&[""], None),
        ] {
            let found = found(ClientHeader::Forwarded, lines);
            let expected = client.map(|client| client.map(str::to_owned));
            assert_eq!(found.ok(), expected, "{lines:?}");
        }
    }

    proptest! {
        /// Whatever a client writes before, what the last proxy adds decides.
        #[test]
        fn no_client_can_choose_its_address(theirs in "[ -~]{0,40}") {
            let line = format!("{theirs}, 203.0.113.9");
            let read = found(ClientHeader::XForwardedFor, &[&line]);
            prop_assert_eq!(read, Ok(Some("203.0.113.9:0".to_owned())));
            for ours in ["for=203.0.113.9", "for=\"203.0.113.9\";host=\"h\";proto=https"] {
                for lines in [&[&*format!("{theirs}, {ours}")][..], &[&theirs, ours]] {
                    let read = found(ClientHeader::Forwarded, lines);
                    let is_ours = read == Ok(Some("203.0.113.9:0".to_owned()));
                    prop_assert!(is_ours || read.is_err(), "{lines:?}: {read:?}");
                }
            }
        }
    }
}
