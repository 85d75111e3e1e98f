//! Parser of constants: integers, ranges, addresses, networks, escapes.

use std::net::IpAddr;

use super::ast::IpItem;

/// Why a text is not the constant it should be, and what to write instead (may be empty).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotALiteral(pub(crate) &'static str, pub(crate) String);

fn no<T>(why: &'static str) -> Result<T, NotALiteral> {
    Err(NotALiteral(why, String::new()))
}

/// A decimal integer.
///
/// A leading zero is refused: wirefilter reads it as octal, people read it as decimal.
pub(crate) fn int(text: &str) -> Result<i64, NotALiteral> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return no("expected an integer");
    }
    if digits.len() > 1 && digits.starts_with('0') {
        let hint = format!(
            "write `{}`",
            text.replacen(digits, digits.trim_start_matches('0'), 1)
        );
        return Err(NotALiteral("an integer must not start with `0`", hint));
    }
    text.parse()
        .map_err(|_overflow| NotALiteral("this integer does not fit into 64 bits", String::new()))
}

/// An integer or `first..last`.
pub(crate) fn int_range(text: &str) -> Result<(i64, i64), NotALiteral> {
    let Some((first, last)) = text.split_once("..") else {
        return int(text).map(|value| (value, value));
    };
    let (first, last) = (int(first)?, int(last)?);
    if first > last {
        return Err(NotALiteral(
            "this range is empty",
            format!("write `{last}..{first}`"),
        ));
    }
    Ok((first, last))
}

/// An address, a network in CIDR notation or `first..last`, as [`ip`] reads addresses.
pub(crate) fn ip_item(text: &str) -> Result<IpItem, NotALiteral> {
    if let Some((first, last)) = text.split_once("..") {
        let (first, last) = (ip(first)?, ip(last)?);
        if first.is_ipv4() != last.is_ipv4() {
            return no("both ends of a range must be IPv4 or both IPv6");
        }
        if first > last {
            return Err(NotALiteral(
                "this range is empty",
                format!("write `{last}..{first}`"),
            ));
        }
        return Ok(IpItem::Range(first, last));
    }
    let Some((address, bits)) = text.split_once('/') else {
        return ip(text).map(IpItem::Address);
    };
    let address = any_ip(address)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let plain =
        bits.bytes().all(|b| b.is_ascii_digit()) && (bits.len() == 1 || !bits.starts_with('0'));
    let Some(bits) = bits
        .parse::<u8>()
        .ok()
        .filter(|bits| plain && *bits <= most)
    else {
        return no("a prefix length is 0 to 32 for IPv4 and 0 to 128 for IPv6");
    };
    let network = mask(address, bits);
    if network != address {
        return Err(NotALiteral(
            "this address has bits after its prefix",
            format!("write `{network}/{bits}`"),
        ));
    }
    Ok(
        match (address.to_canonical(), bits.checked_sub(MAPPED_BITS)) {
            (mapped @ IpAddr::V4(_), Some(bits)) if address.is_ipv6() => {
                IpItem::Network(mapped, bits)
            }
            _ => IpItem::Network(address, bits),
        },
    )
}

/// Bits before the IPv4 address in an IPv6 address that stands for one (RFC 4291 §2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// One address; an IPv6 address that stands for an IPv4 address is that one, as the addresses of
/// clients are: it would be equal to none of them.
pub(crate) fn ip(text: &str) -> Result<IpAddr, NotALiteral> {
    any_ip(text).map(|address| address.to_canonical())
}

/// One address as it is written.
fn any_ip(text: &str) -> Result<IpAddr, NotALiteral> {
    text.parse()
        .map_err(|_invalid| NotALiteral("expected an IP address", String::new()))
}

/// The address with all bits after the prefix cleared.
pub(crate) fn mask(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let host = u32::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
            IpAddr::V4((address.to_bits() & !host).into())
        }
        IpAddr::V6(address) => {
            let host = u128::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
            IpAddr::V6((address.to_bits() & !host).into())
        }
    }
}

/// The bytes of a quoted string's content; on error the offset of the escape in `text`.
pub(crate) fn unescape(text: &str) -> Result<Box<[u8]>, usize> {
    let mut bytes = Vec::with_capacity(text.len());
    let source = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = source.get(at) {
        if *byte != b'\\' {
            bytes.push(*byte);
            at += 1;
            continue;
        }
        match source.get(at + 1) {
            Some(escaped @ (b'"' | b'\\')) => {
                bytes.push(*escaped);
                at += 2;
            }
            Some(b'x') => {
                let digits = text
                    .get(at + 2..at + 4)
                    .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
                bytes.push(
                    digits
                        .and_then(|d| u8::from_str_radix(d, 16).ok())
                        .ok_or(at)?,
                );
                at += 4;
            }
            _ => return Err(at),
        }
    }
    Ok(bytes.into())
}

/// A quoted regular expression: the regex crate's escapes stay, only `\"` loses its backslash.
pub(crate) fn unescape_regex(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            pattern.push(character);
            continue;
        }
        match characters.next() {
            Some('"') => pattern.push('"'),
            Some(escaped) => pattern.extend(['\\', escaped]),
            None => pattern.push('\\'),
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-5", Some(-5)),
            ("8080", Some(8080)),
            ("-0", Some(0)),
        ] {
            assert_eq!(int(text).ok(), expected, "{text}");
        }
        for text in [
            "",
            "-",
            "1.5",
            "0x10",
            "007",
            "9223372036854775808",
            "a",
            "1..2",
            "--1",
        ] {
            assert!(int(text).is_err(), "{text}");
        }
        assert_eq!(int("-007").unwrap_err().1, "write `-7`");
        assert_eq!(int_range("8000..8009"), Ok((8000, 8009)));
        assert_eq!(int_range("-3..-1"), Ok((-3, -1)));
        assert_eq!(int_range("9..8").unwrap_err().1, "write `8..9`");
    }

    #[test]
    fn addresses() {
        for text in [
            "192.0.2.1",
            "192.0.2.0/24",
            "0.0.0.0/0",
            "::/0",
            "2001:db8::/32",
            "::1",
            "10.0.0.1..10.0.0.9",
        ] {
            assert!(ip_item(text).is_ok(), "{text}");
        }
        for text in [
            "192.0.2",
            "192.0.2.0/33",
            "192.0.2.0/",
            "192.0.2.0/+1",
            "192.0.2.0/024",
            "::1..127.0.0.1",
            "::/129",
            "192.0.2.1/24",
            "10.0.0.9..10.0.0.1",
            "",
            "..",
            "/8",
        ] {
            assert!(ip_item(text).is_err(), "{text}");
        }
        assert_eq!(
            ip_item("192.0.2.1/24").unwrap_err().1,
            "write `192.0.2.0/24`"
        );
        let bounds = ip_item("2001:db8::/32").unwrap().bounds();
        assert_eq!(
            bounds.1,
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"
                .parse::<IpAddr>()
                .unwrap()
        );
    }

    #[test]
    fn addresses_that_stand_for_others() {
        for (text, same) in [
            ("::ffff:127.0.0.1", "127.0.0.1"),
            ("::ffff:7f00:1", "127.0.0.1"),
            ("::ffff:127.0.0.0/104", "127.0.0.0/8"),
            ("::ffff:127.0.0.1/128", "127.0.0.1/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:10.0.0.1..::ffff:10.0.0.9", "10.0.0.1..10.0.0.9"),
            ("::ffff:10.0.0.1..10.0.0.9", "10.0.0.1..10.0.0.9"),
        ] {
            assert_eq!(ip_item(text), ip_item(same), "{text}");
        }
        // More than IPv4, and what has bits after its prefix, stay what they are.
        for text in [
            "::/95",
            "::ffff:0:0/95",
            "::ffff:127.0.0.1/104",
            "::1..::ffff:1.2.3.4",
        ] {
            let item = ip_item(text);
            assert!(
                !matches!(
                    item,
                    Ok(IpItem::Network(IpAddr::V4(_), _) | IpItem::Range(..))
                ),
                "{text}: {item:?}"
            );
        }
    }

    #[test]
    fn escapes() {
        assert_eq!(&*unescape(r#"a\"b\\c\x2e\xFF"#).unwrap(), b"a\"b\\c.\xff");
        for (text, at) in [
            (r"a\n", 1),
            (r"\x2", 0),
            (r"\xg0", 0),
            (r"\*", 0),
            (r"\", 0),
            (r"\xé", 0),
        ] {
            assert_eq!(unescape(text), Err(at), "{text}");
        }
        assert_eq!(unescape_regex(r#"a\"b\.c\\"#), r#"a"b\.c\\"#);
    }
}
