//! Lists as CAs publish them: without numbers, several in one file, of issuing CAs below a root.

use std::sync::Arc;

use boring::x509::X509;

use super::pki::{Identity, ListWish, NOW, Wish, issue, list};
use crate::{
    Anchor, Chain, Crl, CrlError, CrlPolicy, CrlSet, Trust, Verification, read_lists, split_lists,
    verify,
};
use vocabulary::verdict::Reason;

fn trust(root: &Identity, policy: CrlPolicy, lists: Vec<Crl>) -> Trust {
    let anchor = Anchor {
        id: "root".into(),
        der: root.x509.to_der().unwrap(),
        revoked: Default::default(),
        denied: Arc::default(),
        lists: Some(Arc::new(CrlSet {
            policy,
            lists: lists.into_iter().map(Arc::new).collect(),
        })),
        responder: None,
    };
    Trust::build(vec![anchor]).unwrap()
}

fn verified(sent: &[&Identity], trust: &Trust) -> Verification {
    let sent: Vec<X509> = sent.iter().map(|one| one.x509.clone()).collect();
    verify(&Chain::of_x509(&sent).unwrap(), trust, NOW)
}

#[test]
fn lists_without_numbers_are_ordered_by_their_date() {
    let ca = issue(&Wish::ca("ca"), None);
    let read = |number: Option<u8>, from_days: i64| {
        let wish = ListWish {
            number,
            from_days,
            ..ListWish::default()
        };
        Crl::read(&list(&wish, &ca), [&*ca.x509]).unwrap()
    };
    for (new, old, expected) in [
        (read(None, -1), read(None, -2), true),
        (read(None, -2), read(None, -1), false),
        (read(None, -1), read(None, -1), false),
        (read(Some(1), -1), read(None, -2), true),
        (read(None, -1), read(Some(9), -2), true),
        // Numbers decide where both have one: dates may be those of a clock that was wrong.
        (read(Some(2), -2), read(Some(1), -1), true),
        (read(Some(1), -1), read(Some(2), -2), false),
        (read(Some(0), -1), read(Some(0), -2), false),
    ] {
        let newer = new.is_newer_than(&old);
        assert_eq!(newer, expected, "{:?} {:?}", new.number, old.number);
    }
    let serial: &[u8] = &[0x12, 0x34];
    let wish = ListWish {
        number: None,
        serials: &[serial],
        ..ListWish::default()
    };
    let crl = Crl::read(&list(&wish, &ca), [&*ca.x509]).unwrap();
    let client = issue(&Wish::default(), Some(&ca));
    let trust = trust(&ca, CrlPolicy::Hard, vec![crl]);
    assert_eq!(verified(&[&client], &trust).verdict.reason, Reason::Revoked);
}

#[test]
fn lists_of_a_root_and_of_the_cas_below_it_are_taken_from_one_file() {
    let root = issue(&Wish::ca("root"), None);
    let middle = issue(&Wish::ca("middle"), Some(&root));
    let lower = issue(&Wish::ca("lower"), Some(&middle));
    let stranger = issue(&Wish::ca("stranger"), None);
    let client = issue(&Wish::default(), Some(&lower));
    let sent = [&client, &lower, &middle];
    let serial: &[u8] = &[0x12, 0x34];
    let empty = |ca: &Identity| list(&ListWish::default(), ca);
    let revoking = list(
        &ListWish {
            serials: &[serial],
            ..ListWish::default()
        },
        &lower,
    );
    let cas = [root.x509.clone()];
    // In any order, and a stranger's certificate verifies nothing.
    let below = [
        lower.x509.clone(),
        stranger.x509.clone(),
        middle.x509.clone(),
    ];

    let file = [empty(&root), empty(&middle), empty(&lower)].concat();
    let lists = read_lists(&split_lists(&file).unwrap(), &cas, &below).unwrap();
    let found = verified(&sent, &trust(&root, CrlPolicy::Hard, lists));
    assert_eq!(found.verdict.reason, Reason::Verified);
    assert_eq!(
        found.anchor().map(|id| &**id),
        Some("root"),
        "they made nobody an anchor"
    );
    let direct = verified(&[&client], &trust(&root, CrlPolicy::Soft, Vec::new()));
    assert_eq!(direct.verdict.reason, Reason::UnknownCa);

    for policy in [CrlPolicy::Hard, CrlPolicy::Soft] {
        let file = [empty(&root), revoking.clone(), empty(&middle)];
        let lists = read_lists(&file, &cas, &below).unwrap();
        let found = verified(&sent, &trust(&root, policy, lists));
        assert_eq!(found.verdict.reason, Reason::Revoked, "{policy:?}");
        assert_eq!(found.about(), Some("CN=lower,O=Test\\, Inc.,C=US"));
    }

    // What is wanting says whose it is.
    for (file, whose) in [
        (vec![empty(&root), empty(&middle)], "lower"),
        (vec![empty(&root), empty(&lower)], "middle"),
        (vec![empty(&middle), empty(&lower)], "root"),
    ] {
        let lists = read_lists(&file, &cas, &below).unwrap();
        let found = verified(&sent, &trust(&root, CrlPolicy::Hard, lists));
        assert_eq!(found.verdict.reason, Reason::CrlMissing);
        let about = found.about().unwrap();
        assert!(about.contains(&format!("CN={whose},")), "{about}");
    }

    let error = read_lists(&[empty(&root), empty(&stranger)], &cas, &below).unwrap_err();
    assert_eq!((error.place, error.why.clone()), (2, CrlError::WrongIssuer));
    assert!(error.to_string().contains("CN=stranger"), "{error}");
    assert!(split_lists(&file[..file.len() - 1]).is_err());
}

#[test]
fn a_list_speaks_for_its_ca_under_every_certificate_of_it() {
    let root = issue(&Wish::ca("root"), None);
    let middle = issue(&Wish::ca("middle"), Some(&root));
    let renewed = issue(
        &Wish {
            key: Some(&middle.key),
            serial: 9,
            ..Wish::ca("middle")
        },
        Some(&root),
    );
    let client = issue(&Wish::default(), Some(&middle));
    let serial: &[u8] = &[0x12, 0x34];
    let ders = [
        list(&ListWish::default(), &root),
        list(
            &ListWish {
                serials: &[serial],
                ..ListWish::default()
            },
            &middle,
        ),
    ];
    let lists = read_lists(
        &ders,
        std::slice::from_ref(&root.x509),
        std::slice::from_ref(&middle.x509),
    );
    let trust = trust(&root, CrlPolicy::Hard, lists.unwrap());
    for issuer in [&middle, &renewed] {
        let found = verified(&[&client, issuer], &trust);
        assert_eq!(found.verdict.reason, Reason::Revoked);
    }
}

#[test]
fn reasons_name_the_issuer_that_is_at_fault() {
    let root = issue(&Wish::ca("root"), None);
    let old = issue(
        &Wish {
            from_days: -9,
            to_days: -1,
            ..Wish::ca("middle")
        },
        Some(&root),
    );
    let client = issue(&Wish::default(), Some(&old));
    let trust = trust(&root, CrlPolicy::Soft, Vec::new());
    let found = verified(&[&client, &old], &trust);
    assert_eq!(found.verdict.reason, Reason::Expired);
    assert!(
        found
            .about()
            .is_some_and(|name| name.contains("CN=middle,")),
        "{:?}",
        found.about()
    );
    let old = issue(
        &Wish {
            from_days: -9,
            to_days: -1,
            ..Wish::default()
        },
        Some(&root),
    );
    let found = verified(&[&old], &trust);
    assert_eq!(
        (found.verdict.reason, found.about()),
        (Reason::Expired, None)
    );
}
