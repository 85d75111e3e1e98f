//! Revocation lists of every kind: good ones, and ones that are wrong in exactly one way. Written
//! byte by byte (RFC 5280 §5), because no library makes wrong ones.

use std::time::{SystemTime, UNIX_EPOCH};

use boring::hash::MessageDigest;
use boring::sign::Signer;

use crate::pki::{Authority, DAY, Identity};

/// What a list says. Every field has a sound default; tests break one at a time.
#[derive(Clone)]
pub struct CrlSpec {
    /// Its number.
    pub number: Option<u32>,
    /// The number of the list that a delta list changes.
    pub base: Option<u32>,
    /// Seconds from now at which it begins.
    pub begins: i64,
    /// Seconds from now at which the next one is due.
    pub ends: Option<i64>,
    /// Serial numbers and the reason codes of their revocation.
    pub revoked: Vec<(Vec<u8>, Option<u8>)>,
    /// Only certificates that are no CAs.
    pub only_users: bool,
    /// Only CAs.
    pub only_authorities: bool,
    /// A list for several issuers.
    pub indirect: bool,
    /// Only some reasons.
    pub some_reasons: bool,
    /// The distribution point that it belongs to.
    pub point: Option<String>,
    /// Where delta lists of it are; OpenSSL looks at none without it.
    pub freshest: Option<String>,
    /// An unknown critical extension.
    pub unknown_critical: bool,
    /// One bit of the signature is wrong.
    pub broken: bool,
}

impl Default for CrlSpec {
    fn default() -> Self {
        Self {
            number: Some(1),
            base: None,
            begins: -60,
            ends: Some(7 * DAY),
            revoked: Vec::new(),
            only_users: false,
            only_authorities: false,
            indirect: false,
            some_reasons: false,
            point: None,
            freshest: None,
            unknown_critical: false,
            broken: false,
        }
    }
}

impl CrlSpec {
    /// A list with this number that revokes these certificates.
    #[must_use]
    pub fn revoking(number: u32, identities: &[&Identity]) -> Self {
        let serial = |identity: &&Identity| {
            let serial = identity.leaf().serial_number().to_bn().unwrap();
            (serial.to_vec(), None)
        };
        Self {
            number: Some(number),
            revoked: identities.iter().map(serial).collect(),
            ..Self::default()
        }
    }

    /// The list in DER, signed by `issuer` with ECDSA and SHA-256.
    #[must_use]
    pub fn sign(&self, issuer: &Authority) -> Vec<u8> {
        let algorithm = element(0x30, &element(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]));
        let mut parts = vec![
            element(2, &[1]),
            algorithm.clone(),
            issuer.certificate.subject_name().to_der().unwrap(),
            time(self.begins),
        ];
        parts.extend(self.ends.map(time));
        if !self.revoked.is_empty() {
            let entries: Vec<Vec<u8>> = self.revoked.iter().map(entry).collect();
            parts.push(element(0x30, &entries.concat()));
        }
        let extensions = self.extensions();
        if !extensions.is_empty() {
            let list = element(0x30, &extensions.concat());
            parts.push(element(0xa0, &list));
        }
        let list = element(0x30, &parts.concat());
        let mut signer = Signer::new(MessageDigest::sha256(), &issuer.key).unwrap();
        let mut signature = signer.sign_oneshot_to_vec(&list).unwrap();
        if self.broken {
            *signature.last_mut().unwrap() ^= 1;
        }
        let bits = [&[0], signature.as_slice()].concat();
        element(0x30, &[list, algorithm, element(3, &bits)].concat())
    }

    fn extensions(&self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        if let Some(number) = self.number {
            all.push(extension(
                &[0x55, 0x1d, 0x14],
                false,
                &integer(&number.to_be_bytes()),
            ));
        }
        if let Some(base) = self.base {
            all.push(extension(
                &[0x55, 0x1d, 0x1b],
                true,
                &integer(&base.to_be_bytes()),
            ));
        }
        let mut scope = Vec::new();
        if let Some(point) = &self.point {
            let name = element(0x86, point.as_bytes());
            scope.push(element(0xa0, &element(0xa0, &name)));
        }
        for (set, tag, content) in [
            (self.only_users, 0x81, &[0xff][..]),
            (self.only_authorities, 0x82, &[0xff]),
            (self.some_reasons, 0x83, &[5, 0x40]),
            (self.indirect, 0x84, &[0xff]),
        ] {
            if set {
                scope.push(element(tag, content));
            }
        }
        if !scope.is_empty() {
            let value = element(0x30, &scope.concat());
            all.push(extension(&[0x55, 0x1d, 0x1c], true, &value));
        }
        if let Some(point) = &self.freshest {
            let name = element(0xa0, &element(0xa0, &element(0x86, point.as_bytes())));
            let value = element(0x30, &element(0x30, &name));
            all.push(extension(&[0x55, 0x1d, 0x2e], false, &value));
        }
        if self.unknown_critical {
            all.push(extension(&[0x2a, 3, 4], true, &[5, 0]));
        }
        all
    }
}

/// A list as PEM.
#[must_use]
pub fn pem(der: &[u8]) -> String {
    let digits = boring::base64::encode_block(der);
    let lines: Vec<&str> = digits
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    let body = lines.join("\n");
    format!("-----BEGIN X509 CRL-----\n{body}\n-----END X509 CRL-----\n")
}

fn entry((serial, reason): &(Vec<u8>, Option<u8>)) -> Vec<u8> {
    let mut content = [integer(serial), time(-30)].concat();
    if let Some(reason) = reason {
        let reason = extension(&[0x55, 0x1d, 0x15], false, &element(10, &[*reason]));
        content.extend(element(0x30, &reason));
    }
    element(0x30, &content)
}

fn extension(object: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let mut parts = vec![element(6, object)];
    if critical {
        parts.push(element(1, &[0xff]));
    }
    parts.push(element(4, value));
    element(0x30, &parts.concat())
}

/// An INTEGER of these big-endian bytes, never negative.
#[must_use]
pub fn integer(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let mut digits = bytes[zeros..].to_vec();
    if digits.first().is_none_or(|first| first & 0x80 != 0) {
        digits.insert(0, 0);
    }
    element(2, &digits)
}

/// Tag, length, content.
#[must_use]
pub fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let size = content.len();
    if size < 0x80 {
        out.push(u8::try_from(size).unwrap());
    } else {
        let bytes = size.to_be_bytes();
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        out.push(0x80 | u8::try_from(bytes.len() - zeros).unwrap());
        out.extend_from_slice(&bytes[zeros..]);
    }
    out.extend_from_slice(content);
    out
}

/// UTCTime, so many seconds from now.
fn time(offset: i64) -> Vec<u8> {
    element(0x17, &digits(offset).as_bytes()[2..])
}

/// GeneralizedTime, so many seconds from now.
#[must_use]
pub fn generalized(offset: i64) -> Vec<u8> {
    element(0x18, digits(offset).as_bytes())
}

/// `YYYYMMDDHHMMSSZ`.
fn digits(offset: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let at = i64::try_from(now.as_secs()).unwrap() + offset;
    let (days, seconds) = (at.div_euclid(DAY), at.rem_euclid(DAY));
    let (year, month, day) = date(days);
    format!(
        "{year:04}{month:02}{day:02}{:02}{:02}{:02}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// Year, month and day of a day since 1970 (Howard Hinnant's `civil_from_days`).
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}
