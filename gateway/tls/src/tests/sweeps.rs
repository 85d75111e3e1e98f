//! What a stranger sends, cut at every length and changed at every byte: never believed, no panic.

use std::collections::HashSet;
use std::sync::Arc;

use super::pki::{Identity, ListWish, NOW, Wish, answer, issue, list};
use crate::{
    Anchor, Answers, CertStatus, Chain, Crl, CrlPolicy, OcspError, Responder, Serial, Trust, verify,
};
use vocabulary::verdict::Reason;

/// Every prefix, and every byte with its lowest, highest and all bits changed.
fn bent(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let cut = (0..bytes.len()).map(|end| bytes[..end].to_vec());
    let changed = (0..bytes.len()).flat_map(move |place| {
        [1, 0x80, 0xff].map(|change| {
            let mut bent = bytes.to_vec();
            bent[place] ^= change;
            bent
        })
    });
    let longer = [0, 0x30].map(|byte| [bytes, &[byte]].concat());
    cut.chain(changed).chain(longer)
}

fn responding(ca: &Identity) -> (Trust, Arc<Answers>) {
    let answers: Arc<Answers> = Arc::default();
    let anchor = Anchor {
        id: "ca".into(),
        der: ca.x509.to_der().unwrap(),
        revoked: Arc::new(HashSet::new()),
        lists: None,
        denied: Arc::default(),
        responder: Some(Arc::new(Responder {
            ca: "ca".into(),
            url: "http://ocsp.test/".into(),
            policy: CrlPolicy::Hard,
            nonce: false,
            answers: answers.clone(),
        })),
    };
    (Trust::build(vec![anchor]).unwrap(), answers)
}

#[test]
fn no_bent_list_is_believed() {
    let ca = issue(&Wish::ca("ca"), None);
    let wish = ListWish {
        serials: &[&[1], &[0xca], &[0x11; 25]],
        ..ListWish::default()
    };
    let good = list(&wish, &ca);
    assert_eq!(Crl::read(&good, [&*ca.x509]).unwrap().len(), 3);
    for bytes in bent(&good) {
        assert!(Crl::read(&bytes, [&*ca.x509]).is_err(), "{bytes:02x?}");
        drop(Crl::read_unsigned(&bytes, &ca.x509));
    }
}

#[test]
fn no_bent_answer_is_believed() {
    let ca = issue(&Wish::ca("ca"), None);
    let client = issue(&Wish::default(), Some(&ca));
    let (trust, _) = responding(&ca);
    let chain = Chain::of_x509(std::slice::from_ref(&client.x509)).unwrap();
    let question = verify(&chain, &trust, NOW).question().unwrap();
    let good = answer(&[0x80, 0], &client, &ca);
    assert_eq!(
        question.certificate.read(&good, None, NOW).unwrap().said,
        CertStatus::Good
    );
    for bytes in bent(&good) {
        assert!(
            question.certificate.read(&bytes, None, NOW).is_err(),
            "{bytes:02x?}"
        );
        drop(question.certificate.read_unsigned(&bytes, NOW));
    }
}

#[test]
fn no_bent_chain_is_believed() {
    let root = issue(&Wish::ca("root"), None);
    let middle = issue(&Wish::ca("middle"), Some(&root));
    let wish = Wish {
        dns: &["a.test"],
        ..Wish::default()
    };
    let client = issue(&wish, Some(&middle));
    let (trust, answers) = responding(&root);
    let ders = [client.x509.to_der().unwrap(), middle.x509.to_der().unwrap()];
    let verified = |ders: &[Vec<u8>]| {
        let chain = Chain::of_ders(ders).unwrap();
        let found = verify(&chain, &trust, NOW);
        let told = found.client(&chain);
        assert_eq!(told.verdict, found.verdict);
        found
    };
    let question = verified(&ders).question().expect("the path holds");
    let good = answer(&[0x80, 0], &client, &middle);
    answers.put(
        question.subject,
        question.certificate.read(&good, None, NOW).unwrap(),
        NOW,
    );
    assert_eq!(verified(&ders).verdict.reason, Reason::Verified);
    for place in 0..ders.len() {
        for bytes in bent(&ders[place]) {
            let mut sent = ders.clone();
            sent[place] = bytes;
            let found = verified(&sent);
            assert!(!found.verdict.verified, "{place}: {:02x?}", sent[place]);
        }
    }
}

/// RFC 6960: an answer says what it says of one serial number, sign and all.
#[test]
fn an_answer_speaks_of_its_serial_and_no_other() {
    let ca = issue(&Wish::ca("ca"), None);
    let (trust, _) = responding(&ca);
    let client = |serial: &[u8]| {
        let wish = Wish {
            serial_content: Some(serial),
            ..Wish::default()
        };
        issue(&wish, Some(&ca))
    };
    let serials = [
        &[0xca][..],
        &[0, 0xca],
        &[0x36],
        &[0],
        &[0x11; 25],
        &[0x91; 40],
    ];
    for held in serials {
        let chain = Chain::of_x509(&[client(held).x509]).unwrap();
        let question = verify(&chain, &trust, NOW).question().unwrap();
        assert_eq!(
            Some(&question.certificate.serial),
            Serial::of_integer(held).as_ref()
        );
        assert!(
            question
                .certificate
                .der(None)
                .unwrap()
                .windows(held.len())
                .any(|part| part == held)
        );
        for told in serials {
            let revoked = answer(
                &[
                    0xa1, 17, 0x18, 15, b'2', b'0', b'2', b'5', b'1', b'2', b'0', b'1', b'0', b'0',
                    b'0', b'0', b'0', b'0', b'Z',
                ],
                &client(told),
                &ca,
            );
            match question.certificate.read(&revoked, None, NOW) {
                Ok(answer) => assert_eq!((answer.said, held), (CertStatus::Revoked, told)),
                Err(error) => assert!(held != told && error == OcspError::Another, "{error}"),
            }
        }
    }
}
