//! The functions `url_decode` and `decode_base64`.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::value::{Scratch, Value};

/// Headers come with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The byte that two hexadecimal digits mean.
pub(crate) fn hex_pair(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| {
        digits
            .get(at)
            .and_then(|digit| char::from(*digit).to_digit(16))
    };
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

/// Percent-decoding; recursively in one pass: whatever a decoded byte completes is decoded at
/// once. That is what decoding again and again until nothing changes ends in, because no two
/// escapes overlap, and it cannot be made to take quadratic time.
pub(crate) fn url_decode<'a>(
    source: Value<'_>,
    recursive: bool,
    unicode: bool,
    scratch: &mut Scratch,
) -> Value<'a> {
    let length = scratch.bytes(source).map_or(0, <[u8]>::len);
    let mark = scratch.mark();
    let mut at = 0;
    // Where escapes may still begin when not recursive: decoded bytes begin none.
    let mut fresh = mark;
    while at < length {
        let byte = byte_at(source, scratch, mark, at);
        at += 1;
        scratch.push_byte(byte);
        loop {
            let floor = if recursive { mark } else { fresh };
            let decoded = reduce(scratch.since(mark), floor, unicode);
            if !decoded {
                break;
            }
            fresh = scratch.mark();
            if !recursive {
                break;
            }
        }
    }
    scratch.made(mark)
}

/// A byte of a value that lies before everything made since `mark`.
fn byte_at(source: Value<'_>, scratch: &mut Scratch, mark: usize, at: usize) -> u8 {
    match source {
        Value::Bytes(bytes) => bytes.get(at).copied().unwrap_or_default(),
        Value::Made(start, _) => scratch
            .since(mark)
            .get(start + at)
            .copied()
            .unwrap_or_default(),
        _ => 0,
    }
}

/// Decodes an escape that the bytes end in, beginning at `floor` or later.
fn reduce(bytes: &mut Vec<u8>, floor: usize, unicode: bool) -> bool {
    let end = bytes.len();
    if end > floor
        && let Some(last @ b'+') = bytes.last_mut()
    {
        *last = b' ';
        return true;
    }
    let tail = |count: usize| end.checked_sub(count).filter(|start| *start >= floor);
    if let Some(start) = tail(3)
        && let Some([b'%', digits @ ..]) = bytes.get(start..)
        && let Some(byte) = hex_pair(digits)
    {
        bytes.truncate(start);
        bytes.push(byte);
        return true;
    }
    if unicode
        && let Some(start) = tail(6)
        && let Some([b'%', b'u' | b'U', digits @ ..]) = bytes.get(start..)
        && let (Some(high), Some(low)) = (
            hex_pair(digits),
            hex_pair(digits.get(2..).unwrap_or_default()),
        )
    {
        let character = char::from_u32(u32::from(high) << 8 | u32::from(low))
            .unwrap_or(char::REPLACEMENT_CHARACTER);
        bytes.truncate(start);
        let mut buffer = [0; 4];
        bytes.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
        return true;
    }
    false
}

/// Missing when it is not base64.
pub(crate) fn decode_base64<'a>(source: Value<'_>, scratch: &mut Scratch) -> Value<'a> {
    let length = scratch.bytes(source).map_or(0, <[u8]>::len);
    let mark = scratch.mark();
    let room = base64::decoded_len_estimate(length);
    let (input, output) = scratch.input_and_output(source, room);
    let decoded = BASE64.decode_slice(input, output);
    match decoded {
        Ok(count) => {
            scratch.forget(mark + count);
            scratch.made(mark)
        }
        Err(_) => {
            scratch.forget(mark);
            Value::Missing
        }
    }
}
