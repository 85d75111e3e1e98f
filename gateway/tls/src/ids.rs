//! Identifiers of certificates and CAs: digests, ids, serial numbers.
//!
//! Trust, paths, lists and answers share them, so that none of those files depends on another for a
//! name.

use std::fmt;
use std::sync::Arc;

use boring::error::ErrorStack;
use boring::hash::{MessageDigest, hash};
use boring::sha::Sha256;
use boring::x509::X509Ref;

use crate::der::canonical_name;
use crate::limits::SERIAL_BYTES_MAX;

/// The UUID of a CA, managed or uploaded.
pub type CaId = Arc<str>;

/// A certificate's serial number: the content of its INTEGER, in the one form that DER allows.
///
/// The bytes are the identity, not the number's magnitude: some CAs sign certificates with
/// negative serial numbers, and those of `-0x0A` and of `0xF6` are two certificates.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial(Box<[u8]>);

impl Serial {
    /// The serial number in an INTEGER's content. Needless bytes of sign in front, which DER
    /// forbids, are taken away. `None` when nothing is there or it has more than
    /// [`SERIAL_BYTES_MAX`] bytes: no certificate with such a number is believed.
    #[must_use]
    pub fn of_integer(content: &[u8]) -> Option<Self> {
        let content = minimal(content);
        (1..=SERIAL_BYTES_MAX)
            .contains(&content.len())
            .then(|| Self(content.into()))
    }

    /// A certificate's; `None` when it is too long.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn of(certificate: &X509Ref) -> Result<Option<Self>, ErrorStack> {
        let number = certificate.serial_number().to_bn()?;
        let mut content = number.to_vec();
        content.insert(0, 0);
        if number.is_negative() {
            negate(&mut content);
        }
        Ok(Self::of_integer(&content))
    }

    /// One as [`fmt::Display`] writes it, in either letter case and with or without colons; `None` when
    /// it is none, or too long.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().replace(':', "");
        let (is_negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, &*text),
        };
        if digits.is_empty() || digits.len() > 2 * SERIAL_BYTES_MAX {
            return None;
        }
        let padded = format!("{}{digits}", if digits.len() % 2 == 1 { "0" } else { "" });
        let mut content = vec![0];
        for pair in padded.as_bytes().chunks_exact(2) {
            let pair = std::str::from_utf8(pair).ok()?;
            // `from_str_radix` would take a sign.
            if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            content.push(u8::from_str_radix(pair, 16).ok()?);
        }
        if is_negative {
            negate(&mut content);
        }
        Self::of_integer(&content)
    }

    /// The INTEGER's content.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The number without sign and leading zeros; `None` when it is negative.
    #[must_use]
    pub fn unsigned(&self) -> Option<&[u8]> {
        match &*self.0 {
            [0, rest @ ..] => Some(rest),
            [first, ..] if first & 0x80 != 0 => None,
            all => Some(all),
        }
    }
}

/// As OpenSSL and nginx print it: the magnitude in upper-case hex, `-` in front of a negative one.
impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = match self.unsigned() {
            Some([]) => return f.write_str("00"),
            Some(number) => number.to_vec(),
            None => {
                f.write_str("-")?;
                let mut carry = true;
                let mut number = self.0.to_vec();
                for byte in number.iter_mut().rev() {
                    (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
                }
                let zeros = number.iter().take_while(|byte| **byte == 0).count();
                number.split_off(zeros)
            }
        };
        magnitude
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

/// Two's complement (X.690 §8.3.3): inverted, and one more.
fn negate(content: &mut [u8]) {
    let mut carry = true;
    for byte in content.iter_mut().rev() {
        (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
    }
}

/// A certificate by its issuer's name and its serial number, whatever bytes it is written in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Denied {
    /// [`issuer_digest`] of its issuer's name.
    pub issuer: [u8; 32],
    /// Its serial number.
    pub serial: Serial,
}

/// SHA-256 over a name in DER, in the form in which equal names are equal (RFC 5280 §7.1).
///
/// # Errors
/// BoringSSL has no memory for it.
pub fn issuer_digest(name: &[u8]) -> Result<[u8; 32], ErrorStack> {
    let form = canonical_name(name);
    sha256(form.as_deref().unwrap_or(name))
}

/// An INTEGER's content without needless bytes of sign in front (X.690 §8.3.2).
pub(super) fn minimal(mut content: &[u8]) -> &[u8] {
    while let [sign @ (0 | 0xff), rest @ ..] = content {
        let goes_without = rest.first().is_some_and(|next| (next ^ sign) & 0x80 == 0);
        if !goes_without {
            break;
        }
        content = rest;
    }
    content
}

/// One certificate of a path and who signed it.
#[derive(Debug)]
pub(super) struct Link {
    /// SHA-256 of the issuer's certificate.
    pub(super) issuer: [u8; 32],
    /// The issuer's name, for people.
    pub(super) issuer_name: Arc<str>,
    /// `name_and_key` of the issuer's certificate.
    pub(super) issuer_key: [u8; 32],
    /// `issuer_digest` of the issuer's name.
    pub(super) issuer_digest: [u8; 32],
    pub(super) serial: Serial,
    /// Whether it is a CA itself.
    pub(super) is_ca: bool,
    /// URIs where its revocation would be published.
    pub(super) distribution_points: Box<[Box<str>]>,
}

/// SHA-256 by BoringSSL.
pub(super) fn sha256(bytes: &[u8]) -> Result<[u8; 32], ErrorStack> {
    let digest = hash(MessageDigest::sha256(), bytes)?;
    let mut out = [0; 32];
    out.copy_from_slice(&digest);
    Ok(out)
}

/// SHA-256 over a CA's name and key: its certificates may be several, renewed or signed by several
/// others, and what it has revoked under one is revoked under all.
pub(super) fn name_and_key(certificate: &X509Ref) -> Result<[u8; 32], ErrorStack> {
    let mut digest = Sha256::new();
    let name = certificate.subject_name().to_der()?;
    // BoringSSL has read the name, so that one in no form of ours is only compared by its bytes.
    let name = canonical_name(&name).unwrap_or(name);
    digest.update(&name.len().to_be_bytes());
    digest.update(&name);
    digest.update(&certificate.public_key()?.public_key_to_der()?);
    Ok(digest.finish())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_serial_is_its_bytes_and_reads_as_openssl_prints_it() {
        for (content, bytes, text) in [
            (&[0][..], Some(&[0][..]), "00"),
            (&[0x0a], Some(&[0x0a]), "0A"),
            (&[0, 0, 0x0a], Some(&[0x0a]), "0A"),
            (&[0, 0xf6], Some(&[0, 0xf6]), "F6"),
            (&[0xf6], Some(&[0xf6]), "-0A"),
            (&[0xff, 0xff, 0xf6], Some(&[0xf6]), "-0A"),
            (&[0xff], Some(&[0xff]), "-01"),
            (&[0x80, 0], Some(&[0x80, 0]), "-8000"),
            (&[], None, ""),
            (&[1; SERIAL_BYTES_MAX + 1], None, ""),
        ] {
            let serial = Serial::of_integer(content);
            assert_eq!(serial.as_ref().map(Serial::bytes), bytes, "{content:02x?}");
            if let Some(serial) = &serial {
                assert_eq!(Serial::parse(text).as_ref(), Some(serial), "{text}");
                let spelt = text.to_lowercase();
                assert_eq!(Serial::parse(&spelt).as_ref(), Some(serial), "{spelt}");
            }
            assert_eq!(serial.map_or(String::new(), |one| one.to_string()), text);
        }
    }

    #[test]
    fn what_is_no_serial_number() {
        let long = "ab".repeat(SERIAL_BYTES_MAX + 1);
        for text in ["", "-", "xyz", "+1", "--1", "0x1", "1 2", "é", &long] {
            assert_eq!(Serial::parse(text), None, "{text}");
        }
        assert_eq!(Serial::parse("a:BC:01 "), Serial::parse("0abc01"));
    }

    proptest! {
        #[test]
        fn only_needless_signs_are_taken_away(content in prop::collection::vec(any::<u8>(), 1..9)) {
            let value = |bytes: &[u8]| {
                let start = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
                bytes.iter().fold(start, |sum: i128, byte| sum << 8 | i128::from(*byte))
            };
            let short = minimal(&content);
            prop_assert_eq!(value(short), value(&content));
            prop_assert!(short.len() == 1 || value(&short[1..]) != value(short));
        }
    }
}
