//! The leaf of a client's Certificate message, before anything is believed of it.
//!
//! BoringSSL ends some handshakes on its own before it asks the verifier (a keyUsage without
//! digitalSignature, a key of an unknown kind) and keeps nothing of the chain. The record of the
//! refusal still has to say whose certificate it was, so the message is read as it passes. What is
//! read here serves that record alone: no identity comes of it.

use boring::ssl::{SslRef, SslVersion};
use boring::x509::X509;

use super::callbacks::keep_leaf;
use super::ffi::{MessageReader, read_messages};

/// RFC 8446 §4: the type of a Certificate message.
const CERTIFICATE: u8 = 11;

/// Shows the Certificate message of this connection to [`keep_leaf`].
pub(super) fn watch(ssl: &mut SslRef) {
    read_messages::<LeafReader>(ssl);
}

struct LeafReader;

impl MessageReader for LeafReader {
    fn received(ssl: &mut SslRef, message: &[u8]) {
        if message.first() != Some(&CERTIFICATE) {
            return;
        }
        let with_context = ssl.version2() == Some(SslVersion::TLS1_3);
        if let Some(leaf) = leaf(message, with_context) {
            keep_leaf(ssl, leaf);
        }
    }
}

/// The first certificate of a whole message, header included: after a context in TLS 1.3 (RFC 8446
/// §4.4.2), at once in TLS 1.2 (RFC 5246 §7.4.2).
fn leaf(message: &[u8], with_context: bool) -> Option<&[u8]> {
    let mut rest = message.get(4..)?;
    if with_context {
        let (&length, after) = rest.split_first()?;
        rest = after.get(usize::from(length)..)?;
    }
    let certificates = counted(rest)?;
    let leaf = counted(certificates)?;
    (!leaf.is_empty()).then_some(leaf)
}

/// What a length of three bytes promises, if all of it is there.
fn counted(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<3>()?;
    let [high, middle, low] = length.map(usize::from);
    rest.get(..high << 16 | middle << 8 | low)
}

/// The certificate in these bytes, if it is one.
pub(super) fn parse(leaf: &[u8]) -> Option<X509> {
    X509::from_der(leaf).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leaf_is_found_or_nothing() {
        let tls13: &[u8] = &[11, 0, 0, 14, 1, 9, 0, 0, 9, 0, 0, 2, 7, 8, 0, 0, 0, 0];
        let tls12: &[u8] = &[11, 0, 0, 8, 0, 0, 5, 0, 0, 2, 7, 8];
        assert_eq!(leaf(tls13, true), Some(&[7, 8][..]));
        assert_eq!(leaf(tls12, false), Some(&[7, 8][..]));
        for (message, with_context) in [(tls13, true), (tls12, false)] {
            for length in 0..message.len() - usize::from(with_context) * 4 {
                let cut = message.get(..length).unwrap();
                assert_eq!(leaf(cut, with_context), None, "{cut:?}");
            }
        }
        // No certificate at all, and lengths that lie.
        assert_eq!(leaf(&[11, 0, 0, 3, 0, 0, 0], false), None);
        assert_eq!(leaf(&[11, 0, 0, 6, 0, 0, 3, 0, 0, 0], false), None);
        assert_eq!(leaf(&[11, 0, 0, 4, 255, 0, 0, 0], true), None);
        assert_eq!(leaf(&[11, 0, 0, 3, 255, 255, 255], false), None);
    }
}
