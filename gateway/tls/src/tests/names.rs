//! Who a certificate is, whatever way its bytes are written.

use std::collections::HashSet;
use std::sync::Arc;

use boring::asn1::Asn1Type;
use boring::bn::{BigNum, BigNumContext};
use boring::ec::EcGroup;
use boring::nid::Nid;
use boring::x509::X509;

use super::pki::{Identity, ListWish, NOW, Wish, issue, list, name};
use crate::der::{Reader, element, tag};
use crate::{
    Anchor, Answer, Answers, CertStatus, Chain, Crl, CrlPolicy, CrlSet, Responder, Trust, verify,
};
use vocabulary::verdict::Reason;

fn plain_anchor(ca: &Identity) -> Anchor {
    Anchor {
        id: "ca".into(),
        der: ca.x509.to_der().unwrap(),
        revoked: Arc::new(HashSet::new()),
        lists: None,
        denied: Arc::default(),
        responder: None,
    }
}

fn verified(certificates: &[X509], trust: &Trust) -> Reason {
    verify(&Chain::of_x509(certificates).unwrap(), trust, NOW)
        .verdict
        .reason
}

#[test]
fn an_issuer_is_known_by_its_name_in_any_string_type() {
    let ca = issue(&Wish::ca("Device CA"), None);
    let strings = [
        Asn1Type::UTF8STRING,
        Asn1Type::PRINTABLESTRING,
        Asn1Type::T61STRING,
    ];
    for kind in strings {
        for text in ["Device CA", "device  ca"] {
            let written = Arc::new(name(text, kind));
            let client = issue(
                &Wish {
                    issuer_name: Some(written.clone()),
                    ..Wish::default()
                },
                Some(&ca),
            );
            for listed in strings {
                let list = list(
                    &ListWish {
                        serials: &[&[0x12, 0x34]],
                        issuer: Some(name("DEVICE CA", listed).to_der().unwrap()),
                        ..ListWish::default()
                    },
                    &ca,
                );
                let crl = Crl::read(&list, [&*ca.x509]).expect("a list of this CA");
                let lists = CrlSet {
                    policy: CrlPolicy::Hard,
                    lists: vec![Arc::new(crl)],
                };
                let anchor = Anchor {
                    lists: Some(Arc::new(lists)),
                    ..plain_anchor(&ca)
                };
                let trust = Trust::build(vec![anchor]).unwrap();
                let found = verified(std::slice::from_ref(&client.x509), &trust);
                assert_eq!(
                    found,
                    Reason::Revoked,
                    "{text:?} in {kind:?}, listed in {listed:?}"
                );
            }
        }
    }
    let stranger = issue(&Wish::ca("Device CB"), None);
    let list = list(&ListWish::default(), &stranger);
    assert!(Crl::read(&list, [&*ca.x509]).is_err());
}

/// The same certificate with its ECDSA signature (r, s) written as (r, n − s).
fn rewritten(certificate: &X509) -> X509 {
    let der = certificate.to_der().unwrap();
    let mut outer = Reader::new(Reader::new(&der).expect(tag::SEQUENCE, "").unwrap());
    let (signed, _) = outer.whole(tag::SEQUENCE, "").unwrap();
    let (algorithm, _) = outer.whole(tag::SEQUENCE, "").unwrap();
    let bits = outer.expect(tag::BIT_STRING, "").unwrap();
    let mut pair = Reader::new(Reader::new(&bits[1..]).expect(tag::SEQUENCE, "").unwrap());
    let (r, _) = pair.whole(tag::INTEGER, "").unwrap();
    let s = BigNum::from_slice(pair.expect(tag::INTEGER, "").unwrap()).unwrap();
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let (mut order, mut context) = (BigNum::new().unwrap(), BigNumContext::new().unwrap());
    group.order(&mut order, &mut context).unwrap();
    let mut other = BigNum::new().unwrap();
    other.checked_sub(&order, &s).unwrap();
    let other = [&[0], other.to_vec().as_slice()].concat();
    let other = element(tag::INTEGER, crate::ids::minimal(&other));
    let pair = element(tag::SEQUENCE, &[r, &other].concat());
    let bits = element(tag::BIT_STRING, &[&[0], pair.as_slice()].concat());
    let der = element(tag::SEQUENCE, &[signed, algorithm, &bits].concat());
    X509::from_der(&der).unwrap()
}

#[test]
fn an_answer_is_about_a_serial_number_and_not_about_bytes() {
    let ca = issue(&Wish::ca("ca"), None);
    let client = issue(&Wish::default(), Some(&ca));
    let other = issue(
        &Wish {
            serial: 0x1235,
            ..Wish::default()
        },
        Some(&ca),
    );
    for policy in [CrlPolicy::Soft, CrlPolicy::Hard] {
        let answers: Arc<Answers> = Arc::default();
        let responder = Responder {
            ca: "ca".into(),
            url: "http://ocsp.test/".into(),
            policy,
            nonce: false,
            answers: answers.clone(),
        };
        let anchor = Anchor {
            responder: Some(Arc::new(responder)),
            ..plain_anchor(&ca)
        };
        let trust = Trust::build(vec![anchor]).unwrap();
        let chain = Chain::of_x509(std::slice::from_ref(&client.x509)).unwrap();
        let question = verify(&chain, &trust, NOW)
            .question()
            .expect("nothing is known yet");
        let answer = Answer {
            said: CertStatus::Revoked,
            this_update_sec: NOW,
            until_sec: NOW + 60,
            again_sec: NOW + 60,
        };
        assert!(answers.put(question.subject, answer, NOW));
        let again = rewritten(&client.x509);
        assert_ne!(again.to_der().unwrap(), client.x509.to_der().unwrap());
        // Twice rewritten is what it was.
        assert_eq!(
            rewritten(&again).to_der().unwrap(),
            client.x509.to_der().unwrap()
        );
        assert_eq!(
            verified(std::slice::from_ref(&client.x509), &trust),
            Reason::Revoked
        );
        assert_eq!(verified(&[again], &trust), Reason::Revoked, "{policy:?}");
        assert_ne!(
            verified(std::slice::from_ref(&other.x509), &trust),
            Reason::Revoked
        );
        // The CA's renewed certificate is the same issuer.
        let renewed = issue(
            &Wish {
                key: Some(&ca.key),
                serial: 7,
                ..Wish::ca("ca")
            },
            None,
        );
        let responder = Responder {
            ca: "ca".into(),
            url: "http://ocsp.test/".into(),
            policy,
            nonce: false,
            answers,
        };
        let anchor = Anchor {
            responder: Some(Arc::new(responder)),
            ..plain_anchor(&renewed)
        };
        let trust = Trust::build(vec![anchor]).unwrap();
        assert_eq!(
            verified(std::slice::from_ref(&client.x509), &trust),
            Reason::Revoked
        );
    }
}
