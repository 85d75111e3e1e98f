//! Certificates of every kind before the verifier.

use std::collections::HashSet;
use std::sync::Arc;

use boring::x509::X509;

use super::pki::{Identity, NOW, Wish, issue};
use crate::read_client;
use crate::{Anchor, Chain, Trust, TrustError, Verification, forget_paths, verify_afresh};
use vocabulary::verdict::Reason;

fn verify(chain: &[X509], trust: &Trust, now_sec: i64) -> Verification {
    crate::verify(&Chain::of_x509(chain).unwrap(), trust, now_sec)
}

fn verify_again(
    before: &Verification,
    chain: &[X509],
    trust: &Trust,
    now_sec: i64,
) -> Verification {
    crate::verify_again(before, &Chain::of_x509(chain).unwrap(), trust, now_sec)
}

fn trust(anchors: &[(&Identity, &[u32])]) -> Trust {
    let anchors = anchors
        .iter()
        .enumerate()
        .map(|(index, (ca, revoked))| Anchor {
            id: format!("ca-{index}").into(),
            der: ca.x509.to_der().unwrap(),
            revoked: Arc::new(
                revoked
                    .iter()
                    .map(|serial| {
                        let bytes = serial.to_be_bytes();
                        bytes
                            .iter()
                            .copied()
                            .skip_while(|b| *b == 0)
                            .collect::<Box<[u8]>>()
                    })
                    .collect::<HashSet<_>>(),
            ),
            lists: None,
            denied: Arc::default(),
            responder: None,
        });
    Trust::build(anchors.collect()).unwrap()
}

fn chain(certificates: &[&Identity]) -> Vec<X509> {
    certificates
        .iter()
        .map(|identity| identity.x509.clone())
        .collect()
}

#[test]
fn every_way_to_be_refused_has_its_reason() {
    let root = issue(&Wish::ca("root"), None);
    let other = issue(&Wish::ca("other"), None);
    let no_path = issue(
        &Wish {
            ca: Some(Some(0)),
            ..Wish::ca("short")
        },
        Some(&root),
    );
    let below = issue(&Wish::ca("below"), Some(&no_path));
    let not_ca = issue(&Wish::default(), Some(&root));
    let constrained = issue(
        &Wish {
            extension: Some(("nameConstraints", "critical,permitted;DNS:good.test")),
            ..Wish::ca("constrained")
        },
        Some(&root),
    );
    let old_ca = issue(
        &Wish {
            to_days: -1,
            from_days: -9,
            ..Wish::ca("old")
        },
        Some(&root),
    );
    let trust = trust(&[(&root, &[0xBAD])]);
    let client = |wish: Wish<'_>, issuer: &Identity| issue(&wish, Some(issuer));

    let cases: Vec<(&str, Vec<X509>, Reason)> = vec![
        ("nothing", vec![], Reason::NotPresented),
        (
            "good",
            chain(&[&client(Wish::default(), &root)]),
            Reason::Verified,
        ),
        (
            "no EKU at all is any purpose",
            chain(&[&client(
                Wish {
                    client_auth: None,
                    ..Wish::default()
                },
                &root,
            )]),
            Reason::Verified,
        ),
        (
            "revoked",
            chain(&[&client(
                Wish {
                    serial: 0xBAD,
                    ..Wish::default()
                },
                &root,
            )]),
            Reason::Revoked,
        ),
        (
            "expired",
            chain(&[&client(
                Wish {
                    from_days: -9,
                    to_days: -1,
                    ..Wish::default()
                },
                &root,
            )]),
            Reason::Expired,
        ),
        (
            "future",
            chain(&[&client(
                Wish {
                    from_days: 1,
                    ..Wish::default()
                },
                &root,
            )]),
            Reason::NotYetValid,
        ),
        (
            "server only",
            chain(&[&client(
                Wish {
                    client_auth: Some(false),
                    ..Wish::default()
                },
                &root,
            )]),
            Reason::WrongEku,
        ),
        (
            "other CA",
            chain(&[&client(Wish::default(), &other)]),
            Reason::UnknownCa,
        ),
        (
            "other CA, sent along",
            chain(&[&client(Wish::default(), &other), &other]),
            Reason::UnknownCa,
        ),
        (
            "self-signed",
            chain(&[&issue(&Wish::default(), None)]),
            Reason::SelfSigned,
        ),
        (
            "through an intermediate that may not",
            chain(&[&client(Wish::default(), &below), &below, &no_path]),
            Reason::PathLength,
        ),
        (
            "issuer is no CA",
            chain(&[&client(Wish::default(), &not_ca), &not_ca]),
            Reason::NotACa,
        ),
        (
            "expired intermediate",
            chain(&[&client(Wish::default(), &old_ca), &old_ca]),
            Reason::Expired,
        ),
        (
            "name inside",
            chain(&[
                &client(
                    Wish {
                        dns: &["a.good.test"],
                        ..Wish::default()
                    },
                    &constrained,
                ),
                &constrained,
            ]),
            Reason::Verified,
        ),
        (
            "name outside",
            chain(&[
                &client(
                    Wish {
                        dns: &["a.bad.test"],
                        ..Wish::default()
                    },
                    &constrained,
                ),
                &constrained,
            ]),
            Reason::NameConstraint,
        ),
        (
            "unknown critical extension",
            chain(&[&client(
                Wish {
                    extension: Some(("1.2.3.4", "critical,ASN1:NULL")),
                    ..Wish::default()
                },
                &root,
            )]),
            Reason::UnknownCriticalExtension,
        ),
        (
            "small key",
            chain(&[&client(
                Wish {
                    rsa_bits: Some(1024),
                    ..Wish::default()
                },
                &root,
            )]),
            Reason::WeakKey,
        ),
        ("the CA itself as client", chain(&[&root]), Reason::WrongEku),
    ];
    for (what, chain, reason) in cases {
        let verdict = verify(&chain, &trust, NOW).verdict;
        assert_eq!(verdict.reason, reason, "{what}");
        assert_eq!(verdict.presented, !chain.is_empty(), "{what}");
        assert_eq!(
            verdict.verified,
            matches!(reason, Reason::Verified | Reason::Revoked),
            "{what}"
        );
        assert_eq!(verdict.revoked, reason == Reason::Revoked, "{what}");
    }
}

#[test]
fn an_extra_certificate_in_the_chain_gives_nobody_an_identity() {
    let root = issue(&Wish::ca("root"), None);
    let good = issue(&Wish::default(), Some(&root));
    let impostor = issue(
        &Wish {
            name: "impostor",
            ..Wish::default()
        },
        None,
    );
    let stuffed = chain(&[&impostor, &good, &root]);
    let verification = verify(&stuffed, &trust(&[(&root, &[])]), NOW);
    assert!(!verification.verdict.verified);
    let harmless = chain(&[&good, &impostor]);
    let verification = verify(&harmless, &trust(&[(&root, &[])]), NOW);
    assert!(verification.verdict.verified);
    assert!(
        read_client(&harmless, &verification)
            .subject_dn
            .contains("device-1")
    );
}

#[test]
fn an_intermediate_can_be_the_anchor_and_revokes_what_it_signed() {
    let root = issue(&Wish::ca("root"), None);
    let middle = issue(&Wish::ca("middle"), Some(&root));
    let client = issue(&Wish::default(), Some(&middle));
    let only_middle = verify(&chain(&[&client]), &trust(&[(&middle, &[])]), NOW);
    assert!(only_middle.verdict.verified);
    assert_eq!(only_middle.anchor().map(|id| &**id), Some("ca-0"));
    for anchors in [
        trust(&[(&middle, &[0x1234])]),
        trust(&[(&root, &[]), (&middle, &[0x1234])]),
        trust(&[(&root, &[0x1234]), (&middle, &[])]),
    ] {
        let chain = chain(&[&client, &middle]);
        let verdict = verify(&chain, &anchors, NOW).verdict;
        // The last set revokes the intermediate's own serial, which is the same number here.
        assert!(verdict.verified && verdict.revoked, "{verdict:?}");
    }
}

#[test]
fn what_a_ca_revoked_is_revoked_by_all_of_its_certificates() {
    let root = issue(&Wish::ca("root"), None);
    let middle = issue(&Wish::ca("middle"), Some(&root));
    // The same name and key once more, as a renewal and as a cross-certificate are.
    let again = |issuer: Option<&Identity>| {
        let wish = Wish {
            serial: 0x77,
            key: Some(&middle.key),
            ..Wish::ca("middle")
        };
        issue(&wish, issuer)
    };
    let (renewed, crossed) = (again(None), again(Some(&root)));
    let client = issue(&Wish::default(), Some(&middle));
    for (sent, anchors) in [
        (
            vec![&client],
            trust(&[(&middle, &[0x1234]), (&renewed, &[])]),
        ),
        (
            vec![&client],
            trust(&[(&renewed, &[]), (&middle, &[0x1234])]),
        ),
        (
            vec![&client],
            trust(&[(&middle, &[]), (&renewed, &[0x1234])]),
        ),
        (
            vec![&client, &crossed],
            trust(&[(&root, &[]), (&middle, &[0x1234])]),
        ),
    ] {
        let verdict = verify(&chain(&sent), &anchors, NOW).verdict;
        assert!(verdict.verified && verdict.revoked, "{verdict:?}");
    }
    // A namesake with another key revokes nothing of its.
    let namesake = issue(&Wish::ca("middle"), None);
    let anchors = trust(&[(&middle, &[]), (&namesake, &[0x1234])]);
    let verdict = verify(&chain(&[&client]), &anchors, NOW).verdict;
    assert!(verdict.is_good(), "{verdict:?}");
}

#[test]
fn an_empty_set_believes_nobody() {
    let root = issue(&Wish::ca("root"), None);
    let client = issue(&Wish::default(), Some(&root));
    let verdict = verify(&chain(&[&client]), &trust(&[]), NOW).verdict;
    assert!(!verdict.verified);
}

#[test]
fn a_ca_that_cannot_sign_is_refused() {
    let leaf = issue(&Wish::default(), None);
    let no_sign = issue(
        &Wish {
            cert_sign: false,
            ..Wish::ca("no-sign")
        },
        None,
    );
    for (identity, word) in [(&leaf, "basicConstraints"), (&no_sign, "keyCertSign")] {
        let anchor = Anchor {
            id: "x".into(),
            der: identity.x509.to_der().unwrap(),
            revoked: Arc::default(),
            lists: None,
            denied: Arc::default(),
            responder: None,
        };
        let error = Trust::build(vec![anchor]).unwrap_err();
        assert!(matches!(error, TrustError::CannotSign { .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    let garbage = Anchor {
        id: "x".into(),
        der: vec![0x30, 3, 1, 2],
        revoked: Arc::default(),
        lists: None,
        denied: Arc::default(),
        responder: None,
    };
    assert!(matches!(
        Trust::build(vec![garbage]),
        Err(TrustError::Unreadable { .. })
    ));
}

#[test]
fn fields_have_cloudflares_formats() {
    let root = issue(
        &Wish {
            serial: 0xAB_CDEF,
            ..Wish::ca("root")
        },
        None,
    );
    let wish = Wish {
        dns: &["a.test", "b.test"],
        extension: None,
        serial: 0x0A_0B0C,
        ..Wish::default()
    };
    let client = issue(&wish, Some(&root));
    let chain = chain(&[&client, &root]);
    let verification = verify(&chain, &trust(&[(&root, &[])]), NOW);
    let fields = read_client(&chain, &verification);
    assert_eq!(&*fields.subject_dn, "CN=device-1,O=Test\\, Inc.,C=US");
    assert_eq!(fields.subject_dn, fields.subject_dn_rfc2253);
    assert_eq!(&*fields.subject_dn_legacy, "/C=US/O=Test, Inc./CN=device-1");
    assert_eq!(&*fields.issuer_dn, "CN=root,O=Test\\, Inc.,C=US");
    assert_eq!(&*fields.serial, "0A0B0C");
    assert_eq!(&*fields.issuer_serial, "ABCDEF");
    assert_eq!(&*fields.not_before, "Dec 31 00:00:00 2025 GMT");
    assert_eq!(&*fields.not_after, "Jan 31 00:00:00 2026 GMT");
    assert_eq!(fields.not_after_sec, Some(NOW + 30 * 86_400));
    assert_eq!(fields.fingerprint_sha256.len(), 64);
    assert_eq!(fields.fingerprint_sha1.len(), 40);
    assert_eq!(fields.ski.len(), 40);
    assert!(
        fields
            .ski
            .bytes()
            .all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
    );
    assert_eq!(
        fields.issuer_ski,
        read_client(std::slice::from_ref(&root.x509), &verification).ski
    );
    assert!(fields.rfc9440.starts_with(':') && fields.rfc9440.ends_with(':'));
    assert!(!fields.chain_rfc9440.is_empty() && !fields.chain_rfc9440_too_large);
    assert_eq!(fields.san_dns, ["a.test".into(), "b.test".into()]);
    assert_eq!(fields.eku, ["1.3.6.1.5.5.7.3.2".into()]);
    assert_eq!(&*fields.ca_id, "ca-0");
}

#[test]
fn a_huge_leaf_is_marked_and_empty() {
    let root = issue(&Wish::ca("root"), None);
    let names: Vec<String> = (0..200)
        .map(|n| format!("{n}.{}.test", "x".repeat(50)))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let client = issue(
        &Wish {
            dns: &names,
            ..Wish::default()
        },
        Some(&root),
    );
    let chain = chain(&[&client]);
    let verification = verify(&chain, &trust(&[(&root, &[])]), NOW);
    let fields = read_client(&chain, &verification);
    assert!(fields.rfc9440_too_large && fields.rfc9440.is_empty());
    assert!(fields.verdict.verified);
}

#[test]
fn what_is_remembered_of_a_path_changes_no_verification() {
    let (one, other) = (
        issue(&Wish::ca("one"), None),
        issue(&Wish::ca("other"), None),
    );
    let client = issue(&Wish::default(), Some(&one));
    let chain = chain(&[&client]);
    let believing = trust(&[(&one, &[])]);
    let revoking = trust(&[(&one, &[0x1234])]);
    let both = trust(&[(&one, &[]), (&other, &[])]);
    let strange = trust(&[(&other, &[])]);
    let end = NOW + 30 * 86_400 - 1;
    forget_paths();
    // Twice: the second round finds everything that the first has remembered.
    for round in 0..2 {
        for (set, now, expected) in [
            (&believing, NOW, Reason::Verified),
            (&revoking, NOW, Reason::Revoked),
            (&both, NOW, Reason::Verified),
            (&strange, NOW, Reason::UnknownCa),
            (&believing, end, Reason::Verified),
            (&believing, end + 1, Reason::Expired),
            (&believing, NOW - 2 * 86_400, Reason::NotYetValid),
        ] {
            let found = verify(&chain, set, now);
            assert_eq!(found.verdict.reason, expected, "round {round}");
            let afresh = verify_afresh(&chain, set, now);
            assert_eq!(found.verdict, afresh.verdict, "round {round}");
            assert_eq!(found.good_until_sec, afresh.good_until_sec);
            for before in [&believing, &revoking, &strange] {
                let before = verify(&chain, before, NOW);
                let again = verify_again(&before, &chain, set, now);
                assert_eq!(again.verdict, afresh.verdict, "round {round}");
            }
        }
    }
    assert_eq!(verify(&chain, &believing, NOW).good_until_sec, end);
}
