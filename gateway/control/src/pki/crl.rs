//! Certificate revocation lists (RFC 5280 §5) of managed CAs: written in DER, signed with BoringSSL.
//!
//! boring has no safe API for making CRLs, and the structure is small: this is less code than
//! calling BoringSSL's C functions, and none of it unsafe.

use crate::model::moment::Moment;
use crate::model::revocation_reason::RevocationReason;
use crate::pki::ca_key::kind_of;
use crate::pki::x509::{Signer, X509Error};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const NULL: u8 = 0x05;
const OBJECT: u8 = 0x06;
const ENUMERATED: u8 = 0x0a;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, constructed: the extensions of a TBSCertList, and `authorityCertIssuer`'s neighbours.
const CONTEXT_0: u8 = 0xa0;
/// `[0]`, primitive: `keyIdentifier` of an authority key identifier.
const CONTEXT_0_PRIMITIVE: u8 = 0x80;

/// 2.5.29.35, authorityKeyIdentifier.
const AUTHORITY_KEY: &[u8] = &[0x55, 0x1d, 0x23];
/// 2.5.29.20, cRLNumber.
const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 0x14];
/// 2.5.29.21, reasonCode of an entry.
const REASON: &[u8] = &[0x55, 0x1d, 0x15];

/// Tag, length (X.690 §8.1.3, the shortest form that DER asks for), content.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let size = content.len();
    match u8::try_from(size) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = size.to_be_bytes();
            let first = bytes
                .iter()
                .position(|byte| *byte != 0)
                .unwrap_or(bytes.len() - 1);
            let bytes = bytes.get(first..).unwrap_or_default();
            // A usize has eight bytes at most.
            out.push(0x80 | u8::try_from(bytes.len()).unwrap_or(8));
            out.extend_from_slice(bytes);
        }
    }
    out.extend_from_slice(content);
    out
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    element(SEQUENCE, &parts.concat())
}

/// A non-negative integer from its big-endian bytes.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let first = bytes
        .iter()
        .position(|byte| *byte != 0)
        .unwrap_or(bytes.len());
    let mut digits = bytes.get(first..).unwrap_or_default().to_vec();
    // The first bit is the sign.
    if digits.first().is_none_or(|byte| byte & 0x80 != 0) {
        digits.insert(0, 0);
    }
    element(INTEGER, &digits)
}

/// RFC 5280 §5.1.2.4: UTCTime through 2049, GeneralizedTime after it, both in seconds and GMT.
fn time(at: Moment) -> Vec<u8> {
    let digits: String = at
        .to_second()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    match digits.get(2..) {
        Some(short) if digits.as_str() < "2050" => {
            element(UTC_TIME, format!("{short}Z").as_bytes())
        }
        _ => element(GENERALIZED_TIME, format!("{digits}Z").as_bytes()),
    }
}

fn extension(object: &[u8], value: &[u8]) -> Vec<u8> {
    sequence(&[element(OBJECT, object), element(OCTET_STRING, value)])
}

/// One revoked certificate.
pub(crate) struct RevokedCertificate {
    pub(crate) serial: Vec<u8>,
    pub(crate) at: Moment,
    pub(crate) reason: RevocationReason,
}

impl RevokedCertificate {
    fn der(&self) -> Vec<u8> {
        let mut parts = vec![integer(&self.serial), time(self.at)];
        // RFC 5280 §5.3.1: left out rather than said to be unspecified.
        if self.reason != RevocationReason::Unspecified {
            let code = element(ENUMERATED, &[self.reason.code()]);
            parts.push(sequence(&[extension(REASON, &code)]));
        }
        sequence(&parts)
    }
}

/// Signs the list of `revoked` certificates. `number` must never become smaller.
pub(crate) fn sign(
    signer: &Signer,
    revoked: &[RevokedCertificate],
    number: u64,
    now: Moment,
    days: u32,
) -> Result<Vec<u8>, X509Error> {
    let kind = kind_of(&signer.key)?;
    let (object, null) = kind.signature_object();
    let mut algorithm = vec![element(OBJECT, object)];
    if null {
        algorithm.push(element(NULL, &[]));
    }
    let algorithm = sequence(&algorithm);
    let next = Moment::from_seconds(now.seconds() + i64::from(days) * 86_400);
    let mut parts = vec![
        // v2
        integer(&[1]),
        algorithm.clone(),
        signer.certificate.subject_name().to_der()?,
        time(now),
        time(next),
    ];
    // §5.1.2.6: absent when nothing is revoked.
    if !revoked.is_empty() {
        let entries: Vec<Vec<u8>> = revoked.iter().map(RevokedCertificate::der).collect();
        parts.push(sequence(&entries));
    }
    let mut extensions = Vec::new();
    if let Some(key) = signer.certificate.subject_key_id() {
        let key = element(CONTEXT_0_PRIMITIVE, key.as_slice());
        extensions.push(extension(AUTHORITY_KEY, &element(SEQUENCE, &key)));
    }
    extensions.push(extension(CRL_NUMBER, &integer(&number.to_be_bytes())));
    parts.push(element(CONTEXT_0, &sequence(&extensions)));
    let list = sequence(&parts);
    // No unused bits in the last byte.
    let bits = [&[0], kind.sign(&signer.key, &list)?.as_slice()].concat();
    Ok(sequence(&[list, algorithm, element(BIT_STRING, &bits)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn der() {
        assert_eq!(integer(&[]), [2, 1, 0]);
        assert_eq!(integer(&[0, 0]), [2, 1, 0]);
        assert_eq!(integer(&[0, 0x7f]), [2, 1, 0x7f]);
        assert_eq!(integer(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(element(4, &[0; 127])[..2], [4, 0x7f]);
        assert_eq!(element(4, &[0; 128])[..3], [4, 0x81, 0x80]);
        assert_eq!(element(4, &[0; 65536])[..5], [4, 0x83, 1, 0, 0]);
        assert_eq!(
            time(Moment::from_seconds(0)),
            element(UTC_TIME, b"700101000000Z")
        );
        assert_eq!(
            time(Moment::from_seconds(2_524_607_999)),
            element(UTC_TIME, b"491231235959Z")
        );
        let later = time(Moment::from_seconds(2_524_608_000));
        assert_eq!(later, element(GENERALIZED_TIME, b"20500101000000Z"));
    }
}
