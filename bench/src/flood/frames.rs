//! HTTP/2 frames written by hand: what no library would send.

/// What a client's connection begins with.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types of RFC 9113 §6.
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

/// Flags of RFC 9113 §6.
pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;

/// A frame as RFC 9113 §4.1 lays it out; the payload has fewer than 2²⁴ bytes.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .unwrap_or(u32::MAX)
        .to_be_bytes();
    let [_, length @ ..] = length;
    let mut bytes = length.to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The header block of `GET https://HOST/PATH`, without Huffman or dynamic entries (RFC 7541).
pub(super) fn get(host: &str, path: &str) -> Vec<u8> {
    request(0x82, host, path)
}

/// The same of `POST`.
pub(super) fn post(host: &str, path: &str) -> Vec<u8> {
    request(0x83, host, path)
}

fn request(method: u8, host: &str, path: &str) -> Vec<u8> {
    let mut block = vec![method, 0x87];
    for (name, value) in [(0x04, path), (0x01, host)] {
        block.push(name);
        block.extend(text(value.as_bytes()));
    }
    block
}

/// A string literal of HPACK (RFC 7541 §5.2), without Huffman.
pub(super) fn text(value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    match value.len() {
        short @ 0..127 => bytes.extend(u8::try_from(short)),
        long => {
            bytes.push(127);
            let mut left = long - 127;
            while left >= 128 {
                bytes.extend(u8::try_from(left % 128 + 128));
                left /= 128;
            }
            bytes.extend(u8::try_from(left));
        }
    }
    bytes.extend_from_slice(value);
    bytes
}

/// A field that the table of fields keeps from now on (RFC 7541 §6.2.1): number 62 for what follows.
pub(super) fn kept_field(name: &[u8], value: &[u8]) -> Vec<u8> {
    [vec![0x40], text(name), text(value)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_strings() {
        let ping = frame(PING, ACK, 0, &[7; 8]);
        assert_eq!(ping, [0, 0, 8, 6, 1, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7]);
        assert_eq!(text(b"ab"), [2, b'a', b'b']);
        // RFC 7541 §C.1.2's number 1337, less a prefix of five bits.
        let long = text(&[b'x'; 1_337]);
        assert_eq!(long.get(..3), Some(&[127, 0xba, 9][..]));
        assert_eq!(long.len(), 1_340);
    }
}
