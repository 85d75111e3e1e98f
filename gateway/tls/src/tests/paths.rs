//! Which paths hold: what anchors forbid, and the choice between several.

use std::sync::Arc;

use boring::asn1::Asn1Type;
use boring::x509::X509;

use super::pki::{Identity, NOW, Wish, issue, name};
use crate::{Anchor, Chain, Trust, forget_paths, verify, verify_afresh};
use vocabulary::verdict::Reason;

fn trust(anchors: &[&Identity]) -> Trust {
    let anchors = anchors.iter().enumerate().map(|(place, ca)| Anchor {
        id: format!("ca-{place}").into(),
        der: ca.x509.to_der().unwrap(),
        revoked: Default::default(),
        lists: None,
        denied: Arc::default(),
        responder: None,
    });
    Trust::build(anchors.collect()).unwrap()
}

fn verified(sent: &[&Identity], trust: &Trust) -> Reason {
    let sent: Vec<X509> = sent.iter().map(|one| one.x509.clone()).collect();
    let afresh = verify_afresh(&sent, trust, NOW).verdict.reason;
    let chain = Chain::of_x509(&sent).unwrap();
    assert_eq!(verify(&chain, trust, NOW).verdict.reason, afresh);
    assert_eq!(
        verify(&chain, trust, NOW).verdict.reason,
        afresh,
        "remembered"
    );
    afresh
}

#[test]
fn what_an_anchors_certificate_forbids_is_refused() {
    let with = |extension| Wish {
        extension: Some(extension),
        ..Wish::ca("anchor")
    };
    let short = Wish {
        ca: Some(Some(0)),
        ..Wish::ca("anchor")
    };
    let mail_only = with(("extendedKeyUsage", "emailProtection"));
    let clients_too = with(("extendedKeyUsage", "emailProtection,clientAuth"));
    let old = Wish {
        from_days: -9,
        to_days: -1,
        ..Wish::ca("anchor")
    };
    let young = Wish {
        from_days: 1,
        ..Wish::ca("anchor")
    };
    let critical = with(("1.2.3.4", "critical,ASN1:NULL"));
    let harmless = with(("1.2.3.4", "ASN1:NULL"));
    let named = with(("nameConstraints", "critical,permitted;DNS:good.test"));
    // The anchor's certificate; what is verified of a client directly below it and of one below an
    // intermediate, which OpenSSL 3 verifies alike.
    for (what, wish, direct, below) in [
        (
            "nothing",
            Wish::ca("anchor"),
            Reason::Verified,
            Reason::Verified,
        ),
        ("path length", short, Reason::Verified, Reason::PathLength),
        ("purpose", mail_only, Reason::IssuerEku, Reason::IssuerEku),
        (
            "other purposes",
            clients_too,
            Reason::Verified,
            Reason::Verified,
        ),
        ("expired", old, Reason::Expired, Reason::Expired),
        (
            "not yet valid",
            young,
            Reason::NotYetValid,
            Reason::NotYetValid,
        ),
        (
            "critical",
            critical,
            Reason::UnknownCriticalExtension,
            Reason::UnknownCriticalExtension,
        ),
        ("not critical", harmless, Reason::Verified, Reason::Verified),
        (
            "names",
            named,
            Reason::NameConstraint,
            Reason::NameConstraint,
        ),
    ] {
        let anchor = issue(&wish, None);
        let middle = issue(&Wish::ca("middle"), Some(&anchor));
        let client = |ca: &Identity| {
            issue(
                &Wish {
                    dns: &["bad.test"],
                    ..Wish::default()
                },
                Some(ca),
            )
        };
        let trust = trust(&[&anchor]);
        assert_eq!(verified(&[&client(&anchor)], &trust), direct, "{what}");
        assert_eq!(
            verified(&[&client(&middle), &middle], &trust),
            below,
            "{what}, below"
        );
        // The anchor is an intermediate whose own issuer is not believed.
        let root = issue(&Wish::ca("root"), None);
        let crossed = issue(
            &Wish {
                key: Some(&anchor.key),
                ..wish
            },
            Some(&root),
        );
        let trust = self::trust(&[&crossed]);
        assert_eq!(
            verified(&[&client(&anchor)], &trust),
            direct,
            "{what}, no root"
        );
    }
}

#[test]
fn what_an_anchor_forbids_is_told_before_it_bites() {
    let with = |extension| Wish {
        extension: Some(extension),
        ..Wish::ca("anchor")
    };
    let short = Wish {
        ca: Some(Some(1)),
        ..Wish::ca("anchor")
    };
    let old = Wish {
        from_days: -9,
        to_days: -1,
        ..Wish::ca("anchor")
    };
    for (wish, word) in [
        (Wish::ca("anchor"), None),
        (short, Some("path length is 1")),
        (old, Some("expired on 2025-12-31")),
        (
            with(("extendedKeyUsage", "emailProtection")),
            Some("clientAuth"),
        ),
        (with(("1.2.3.4", "critical,ASN1:NULL")), Some("(1.2.3.4)")),
        (
            with(("nameConstraints", "permitted;DNS:a.test")),
            Some("constrains names"),
        ),
    ] {
        let anchor = Anchor {
            id: "x".into(),
            der: issue(&wish, None).x509.to_der().unwrap(),
            revoked: Default::default(),
            lists: None,
            denied: Arc::default(),
            responder: None,
        };
        let limits = anchor.limits(NOW).unwrap();
        let said: Vec<String> = limits.iter().map(ToString::to_string).collect();
        match word {
            None => assert!(said.is_empty(), "{said:?}"),
            Some(word) => assert!(matches!(&said[..], [one] if one.contains(word)), "{said:?}"),
        }
    }
}

#[test]
fn an_intermediates_purpose_has_a_word_of_its_own() {
    let root = issue(&Wish::ca("root"), None);
    let wish = Wish {
        extension: Some(("extendedKeyUsage", "serverAuth")),
        ..Wish::ca("middle")
    };
    let middle = issue(&wish, Some(&root));
    let client = issue(&Wish::default(), Some(&middle));
    assert_eq!(
        verified(&[&client, &middle], &trust(&[&root])),
        Reason::IssuerEku
    );
    let wish = Wish {
        extension: Some(("policyConstraints", "critical,requireExplicitPolicy:0")),
        ..Wish::ca("policed")
    };
    let policed = issue(&wish, Some(&root));
    let client = issue(&Wish::default(), Some(&policed));
    assert_eq!(
        verified(&[&client, &policed], &trust(&[&root])),
        Reason::Policy
    );
}

#[test]
fn constraints_of_addresses_are_verified_with_all_others() {
    let root = issue(&Wish::ca("root"), None);
    let permitted = "critical,permitted;IP:10.0.0.0/255.0.0.0,permitted;DNS:good.test";
    let excluded = "critical,excluded;IP:10.0.0.0/255.0.0.0,excluded;DNS:bad.test";
    for (constraints, names, expected) in [
        (permitted, "IP:10.1.2.3", Reason::Verified),
        (permitted, "IP:11.1.2.3", Reason::NameConstraint),
        (permitted, "IP:10.1.2.3,IP:11.1.2.3", Reason::NameConstraint),
        (permitted, "IP:10.1.2.3,DNS:a.good.test", Reason::Verified),
        // A name behind the address is not left out, nor one of another family.
        (
            permitted,
            "IP:10.1.2.3,DNS:a.bad.test",
            Reason::NameConstraint,
        ),
        (permitted, "IP:::1", Reason::NameConstraint),
        (permitted, "IP:10.1.2.3,email:me@bad.test", Reason::Verified),
        (excluded, "IP:10.1.2.3", Reason::NameConstraint),
        (excluded, "IP:11.1.2.3", Reason::Verified),
        (
            excluded,
            "IP:11.1.2.3,DNS:a.bad.test",
            Reason::NameConstraint,
        ),
        (excluded, "IP:::1,DNS:a.good.test", Reason::Verified),
    ] {
        let wish = Wish {
            extension: Some(("nameConstraints", constraints)),
            ..Wish::ca("c")
        };
        let ca = issue(&wish, Some(&root));
        let wish = Wish {
            extension: Some(("subjectAltName", names)),
            ..Wish::default()
        };
        let client = issue(&wish, Some(&ca));
        let found = verified(&[&client, &ca], &trust(&[&root]));
        assert_eq!(found, expected, "{names} by {constraints}");
        assert_eq!(
            verified(&[&client], &trust(&[&ca])),
            expected,
            "{names} by an anchor"
        );
    }
}

#[test]
fn common_names_of_clients_are_no_hosts_below_constraints() {
    let root = issue(&Wish::ca("root"), None);
    for (constraints, common_name, expected) in [
        ("permitted;DNS:good.test", "device-1", Reason::Verified),
        ("permitted;email:good.test", "device-1", Reason::Verified),
        ("permitted;URI:good.test", "device-1", Reason::Verified),
        ("excluded;DNS:bad.test", "device-1", Reason::Verified),
        (
            "permitted;IP:10.0.0.0/255.0.0.0",
            "a.test",
            Reason::Verified,
        ),
        ("permitted;email:good.test", "a.bad.test", Reason::Verified),
        // One that has the form of a host's is held to what is said of hosts.
        ("permitted;DNS:good.test", "a.good.test", Reason::Verified),
        (
            "permitted;DNS:good.test",
            "a.bad.test",
            Reason::NameConstraint,
        ),
        (
            "permitted;DNS:good.test",
            "A.BAD.test.",
            Reason::NameConstraint,
        ),
        (
            "excluded;DNS:bad.test",
            "a.bad.test",
            Reason::NameConstraint,
        ),
        (
            "excluded;DNS:bad.test",
            "*.bad.test",
            Reason::NameConstraint,
        ),
    ] {
        let wish = Wish {
            extension: Some(("nameConstraints", constraints)),
            ..Wish::ca("c")
        };
        let ca = issue(&wish, Some(&root));
        let wish = Wish {
            name: common_name,
            ..Wish::default()
        };
        let client = issue(&wish, Some(&ca));
        let found = verified(&[&client, &ca], &trust(&[&root]));
        assert_eq!(found, expected, "{common_name} by {constraints}");
        let found = verified(&[&client], &trust(&[&ca]));
        assert_eq!(
            found, expected,
            "{common_name} by {constraints} of an anchor"
        );
    }
}

#[test]
fn namesakes_without_key_identifiers_are_all_tried() {
    let plain = |name| Wish {
        no_key_ids: true,
        ..Wish::ca(name)
    };
    let cas: Vec<Identity> = (0..4).map(|_| issue(&plain("namesake"), None)).collect();
    let all: Vec<&Identity> = cas.iter().collect();
    for ca in &cas {
        let wish = Wish {
            no_key_ids: true,
            ..Wish::default()
        };
        let client = issue(&wish, Some(ca));
        assert_eq!(verified(&[&client], &trust(&all)), Reason::Verified);
        let old = Wish {
            from_days: -9,
            to_days: -1,
            ..wish
        };
        let old = issue(&old, Some(ca));
        assert_eq!(
            verified(&[&old], &trust(&all)),
            Reason::Expired,
            "not bad_signature"
        );
        let others: Vec<&Identity> = all
            .iter()
            .filter(|one| !std::ptr::eq(**one, ca))
            .copied()
            .collect();
        assert_eq!(verified(&[&client], &trust(&others)), Reason::BadSignature);
    }
}

#[test]
fn cross_certificates_are_tried_in_any_order() {
    let (root, unknown) = (
        issue(&Wish::ca("root"), None),
        issue(&Wish::ca("unknown"), None),
    );
    let middle = issue(&Wish::ca("middle"), Some(&root));
    let again = |wish: Wish<'_>, issuer: &Identity| {
        issue(
            &Wish {
                key: Some(&middle.key),
                serial: 9,
                ..wish
            },
            Some(issuer),
        )
    };
    let foreign = again(Wish::ca("middle"), &unknown);
    let expired = again(
        Wish {
            from_days: -9,
            to_days: -1,
            ..Wish::ca("middle")
        },
        &root,
    );
    let client = issue(&Wish::default(), Some(&middle));
    let trust = trust(&[&root]);
    for sent in [
        [&client, &foreign, &middle],
        [&client, &middle, &foreign],
        [&client, &expired, &middle],
        [&client, &middle, &expired],
    ] {
        assert_eq!(verified(&sent, &trust), Reason::Verified);
    }
    assert_eq!(
        verified(&[&client, &foreign, &expired], &trust),
        Reason::Expired
    );
    assert_eq!(verified(&[&client, &foreign], &trust), Reason::UnknownCa);
    // Anchors at any height: one that has expired above one that has not.
    let old_root = issue(
        &Wish {
            from_days: -9,
            to_days: -1,
            key: Some(&root.key),
            ..Wish::ca("root")
        },
        None,
    );
    let both = self::trust(&[&old_root, &middle]);
    assert_eq!(verified(&[&client], &both), Reason::Verified);
    assert_eq!(
        verified(&[&client, &middle, &old_root], &both),
        Reason::Verified
    );
}

#[test]
fn a_hostile_chain_of_namesakes_ends_within_its_bounds() {
    let root = issue(&Wish::ca("x"), None);
    let plain = Wish {
        no_key_ids: true,
        ..Wish::ca("x")
    };
    let sent: Vec<Identity> = (0..60).map(|_| issue(&plain, Some(&root))).collect();
    let wish = Wish {
        no_key_ids: true,
        issuer_name: Some(Arc::new(name("x", Asn1Type::UTF8STRING))),
        ..Wish::default()
    };
    let stranger = issue(&Wish::ca("x"), None);
    let client = issue(&wish, Some(&stranger));
    let mut all = vec![&client];
    all.extend(&sent);
    forget_paths();
    let begun = std::time::Instant::now();
    assert!(!matches!(
        verified(&all, &trust(&[&root])),
        Reason::Verified
    ));
    let took = begun.elapsed();
    // Milliseconds; without bounds, as long as there are orders of sixty certificates.
    assert!(took.as_secs() < 10, "{took:?}");
}
