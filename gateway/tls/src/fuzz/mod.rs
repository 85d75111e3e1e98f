//! What the fuzz targets in `tests/fuzz-native` check; ordinary tests replay their corpora.
//!
//! Each function takes any bytes and panics when a promise is broken. Signatures are left aside, so
//! that what stands behind them is reached. Not part of the gateway: compiled for fuzzing and
//! tests only.

use std::sync::Arc;

use boring::x509::X509;

use crate::der::canonical_name;
use crate::ids::{Serial, minimal};
use crate::{
    Anchor, CertId, CertStatus, Chain, Crl, Trust, read_client, split_lists, verify, verify_afresh,
};

/// A CA whose key was thrown away.
const CA: &[u8] = include_bytes!("ca.der");

/// The time of verification: 2027-01-15, when what is in the corpora holds.
const NOW_SEC: i64 = 1_800_000_000;

fn ca() -> X509 {
    X509::from_der(CA).expect("a certificate")
}

fn trust() -> Trust {
    let anchor = Anchor {
        id: "ca".into(),
        der: CA.to_vec(),
        revoked: Arc::default(),
        lists: None,
        denied: Arc::default(),
        responder: None,
    };
    Trust::build(vec![anchor]).expect("a CA")
}

/// Certificates one behind the other: no panic; no chain verifies; a second verification finds the
/// same.
pub fn certificates(data: &[u8]) {
    let ders = split_lists(data).unwrap_or_else(|_broken| vec![data.to_vec()]);
    let chain = Chain::of_ders(&ders).expect("there is memory");
    let trust = trust();
    let found = verify(&chain, &trust, NOW_SEC);
    // The CA is among the believed, and is no client.
    assert!(!found.verdict.verified, "{:?}", found.verdict);
    let parsed = chain.parse();
    let client = read_client(&parsed, &found);
    if parsed.len() == chain.len() {
        assert_eq!(
            verify_afresh(&parsed, &trust, NOW_SEC).verdict,
            found.verdict
        );
    }
    if let Some(leaf) = parsed.first()
        && let Some(serial) = Serial::of(leaf).expect("there is memory")
    {
        assert_eq!(*client.serial, serial.to_string());
    }
}

/// A list: no panic; it revokes no more than it has entries; the lists of a file are the file.
pub fn list(data: &[u8]) {
    if let Ok(lists) = split_lists(data) {
        assert_eq!(lists.concat(), data);
    }
    if let Ok(crl) = Crl::read_unsigned(data, &ca()) {
        assert!(crl.len() <= data.len() && crl.bytes() <= data.len());
        let again = Crl::read_unsigned(data, &ca()).expect("as before");
        assert_eq!((again.len(), &again.number), (crl.len(), &crl.number));
    }
}

/// An OCSP answer: no panic; what is believed holds now, and what failed is no answer.
pub fn answer(data: &[u8]) {
    let ca = ca();
    let question = CertId {
        issuer_name: ca.subject_name().to_der().expect("a name").into(),
        serial: Serial::of_integer(&[0x12, 0x34]).expect("a serial number"),
        issuer: ca,
    };
    let found = question.read_unsigned(data, NOW_SEC);
    if let Ok(signed) = question.read(data, None, NOW_SEC) {
        assert_eq!(found, Ok(signed));
    }
    if let Ok(answer) = found {
        assert!(answer.said == CertStatus::Revoked || answer.until_sec >= NOW_SEC);
        assert!(answer.again_sec > NOW_SEC);
        assert!(!matches!(answer.said, CertStatus::Failed(_)));
    }
}

/// A name and an INTEGER: no panic; a canonical form is one of equals.
pub fn name(data: &[u8]) {
    if let Ok(form) = canonical_name(data) {
        assert_eq!(canonical_name(data), Ok(form));
    }
    assert_eq!(minimal(minimal(data)), minimal(data));
}

/// Any bytes as PEM: no panic; every `-----BEGIN` is a block or an error; what is taken is written,
/// and read to the same.
pub fn pem(data: &[u8]) {
    drop(crate::pem::private_key(data));
    drop(crate::pem::request(data));
    if let Ok(lists) = crate::pem::lists(data) {
        assert!(!lists.lists.is_empty());
    }
    let begun = |text: &[u8]| {
        text.windows(10)
            .filter(|found| *found == b"-----BEGIN")
            .count()
    };
    let Ok(blocks) = crate::pem::read(data) else {
        return;
    };
    assert_eq!(blocks.len(), begun(data));
    for block in blocks {
        let again = crate::pem::read(block.to_text().as_bytes());
        // A key that is encrypted as a text has its headers, and is not read beyond them.
        if !block.der.is_empty() {
            assert!(again.is_ok_and(|again| matches!(&*again, [one] if one.der == block.der)));
        }
    }
}

/// The text of the group setting: no panic; what is taken is printed as it is read.
pub fn groups(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(groups) = text.parse::<crate::Groups>()
    {
        assert_eq!(groups.as_str().parse(), Ok(groups));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every file of a corpus, whole and every prefix of it, with one byte changed and without.
    fn replay(corpus: &str, target: fn(&[u8])) {
        let place = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/fuzz-native/corpus"
        );
        let mut files = 0;
        for file in std::fs::read_dir(format!("{place}/{corpus}")).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            files += 1;
            for end in 0..=bytes.len() {
                target(&bytes[..end]);
            }
            for place in 0..bytes.len() {
                for change in [1, 0x20, 0x80, 0xff] {
                    let mut bent = bytes.clone();
                    bent[place] ^= change;
                    target(&bent);
                }
            }
        }
        assert!(files > 0, "{corpus} is empty");
    }

    #[test]
    fn corpora_are_replayed() {
        replay("tls_certificates", certificates);
        replay("tls_list", list);
        replay("tls_answer", answer);
        replay("tls_name", name);
        replay("tls_groups", groups);
        replay("tls_pem", pem);
    }
}
