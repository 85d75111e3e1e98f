//! Trace context in headers: `traceparent` and `tracestate` (W3C Trace Context, level 1).
//!
//! Owns what of a client's `traceparent` is believed to be one, and how ours is written. Whether a
//! client's is continued, and of which requests spans are sent, is the data path's.

use http::{HeaderName, HeaderValue};
use http1::Headers;

/// `traceparent`
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `tracestate`: what other tracing systems add. It means nothing without the former.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Characters of version 00.
const LENGTH: usize = 55;
/// The flag that says that the caller may have recorded its part.
const SAMPLED: u8 = 1;

/// Where in a trace a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; never all zero.
    pub trace_id: [u8; 16],
    /// The caller's span; never all zero.
    pub span_id: [u8; 8],
    /// Whether the caller may have recorded it.
    pub is_sampled: bool,
}

impl TraceContext {
    /// The context that a client sent. One that is malformed is none, and so are two: a trace begins anew
    /// then (§4.3).
    #[must_use]
    pub fn read(headers: &Headers) -> Option<Self> {
        let name = TRACEPARENT;
        let mut values = headers.get_all(&name);
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        Self::parse(value)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let dashes = [2, 35, 52].map(|place| known.get(place).copied());
        if dashes != [Some(b'-'); 3] {
            return None;
        }
        let [version] = hex(known.get(..2)?)?;
        match (version, rest.first()) {
            (0xff, _) => return None,
            (0, None) => {}
            // A later version may say more behind what we know (§4.3).
            (1.., None | Some(b'-')) => {}
            _ => return None,
        }
        let trace_id: [u8; 16] = hex(known.get(3..35)?)?;
        let span_id: [u8; 8] = hex(known.get(36..52)?)?;
        let [flags] = hex(known.get(53..55)?)?;
        let is_valid = trace_id != [0; 16] && span_id != [0; 8];
        is_valid.then_some(Self {
            trace_id,
            span_id,
            is_sampled: flags & SAMPLED != 0,
        })
    }

    /// The value of `traceparent` that says so.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        let mut text = [b'-'; LENGTH];
        write_hex(&mut text, 0, &[0]);
        write_hex(&mut text, 3, &self.trace_id);
        write_hex(&mut text, 36, &self.span_id);
        write_hex(&mut text, 53, &[u8::from(self.is_sampled)]);
        // Digits and dashes are what a header may have.
        HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static(""))
    }
}

/// Lower-case digits only (§3.2.2).
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let value = |digit: &u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = value(high)? << 4 | value(low)?;
    }
    Some(bytes)
}

fn write_hex(text: &mut [u8], at: usize, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let places = text.iter_mut().skip(at);
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    for (place, nibble) in places.zip(nibbles) {
        *place = HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(values: &[&str]) -> Option<TraceContext> {
        let mut headers = Headers::new();
        for value in values {
            let value = HeaderValue::from_str(value).unwrap();
            headers.try_append(TRACEPARENT, value).unwrap();
        }
        TraceContext::read(&headers)
    }

    #[test]
    fn what_is_a_context_and_what_is_none() {
        let context = read(&[GOOD]).unwrap();
        assert!(context.is_sampled);
        assert_eq!(context.trace_id[..2], [0x4b, 0xf9]);
        assert_eq!(context.span_id[7], 0xb7);
        assert_eq!(context.header(), GOOD);
        let changed = |from: &str, to: &str| GOOD.replacen(from, to, 1);
        for (text, is_sampled) in [
            (changed("-01", "-00"), Some(false)),
            (changed("-01", "-03"), Some(true)),
            (changed("-01", "-fe"), Some(false)),
            (changed("00-", "01-"), Some(true)),
            (changed("00-", "cc-") + "-what-comes", Some(true)),
            (changed("00-", "cc-") + "what", None),
            (GOOD.to_owned() + "-more", None),
            (changed("00-", "ff-"), None),
            (changed("4bf9", "4BF9"), None),
            (changed("4bf9", "4bg9"), None),
            (changed("-01", "-1"), None),
            (changed("-01", "-0x"), None),
            (changed("-", "_"), None),
            (
                changed("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
                None,
            ),
            (changed("00f067aa0ba902b7", &"0".repeat(16)), None),
            (String::new(), None),
        ] {
            let found = read(&[&text]).map(|context| context.is_sampled);
            assert_eq!(found, is_sampled, "{text}");
        }
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[GOOD, GOOD]), None, "two say nothing");
        for end in 0..GOOD.len() {
            assert_eq!(read(&[&GOOD[..end]]), None, "{end}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(trace_id: [u8; 16], span_id: [u8; 8], is_sampled: bool) {
            prop_assume!(trace_id != [0; 16] && span_id != [0; 8]);
            let context = TraceContext { trace_id, span_id, is_sampled };
            prop_assert_eq!(TraceContext::parse(context.header().as_bytes()), Some(context));
        }

        #[test]
        fn any_bytes_are_read_without_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..80), place in 0usize..55, byte: u8
        ) {
            let _parsed = TraceContext::parse(&bytes);
            let mut near = GOOD.as_bytes().to_vec();
            near[place] = byte;
            if let Some(context) = TraceContext::parse(&near) {
                // Whatever is accepted is written as what it was, but for version and other flags.
                let written = context.header();
                prop_assert_eq!(&written.as_bytes()[2..53], &near[2..53]);
            }
        }
    }
}
