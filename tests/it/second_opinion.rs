//! A few hundred certificates and revocation lists, verified by us and by `openssl verify`. Where
//! the two differ, [`explained`] says why; a difference that it does not know fails the test.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use boring::x509::X509;
use tests::crl::{CrlSpec, pem};
use tests::pki::{DAY, Spec};
use tests::{Authority, Identity};
use tls::{Anchor, Crl, CrlPolicy, CrlSet, Trust, verify_afresh};
use vocabulary::verdict::Reason;

/// One question for both.
struct Case {
    name: String,
    anchors: Vec<X509>,
    chain: Vec<X509>,
    /// Lists in DER; `None` asks for none.
    lists: Option<Vec<Vec<u8>>>,
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// Our answer: whether the client is good, and the reason. A list that is refused is not there.
fn ours(case: &Case) -> (bool, Reason) {
    let issuers = case.anchors.iter().map(|anchor| &**anchor);
    let lists = case.lists.as_ref().map(|lists| {
        let read = |der: &Vec<u8>| Crl::read(der, issuers.clone()).ok().map(Arc::new);
        Arc::new(CrlSet {
            policy: CrlPolicy::Hard,
            lists: lists.iter().filter_map(read).collect(),
        })
    });
    let anchors = case.anchors.iter().map(|anchor| Anchor {
        id: "ca".into(),
        der: anchor.to_der().unwrap(),
        revoked: Arc::default(),
        lists: lists.clone(),
        denied: Arc::default(),
        responder: None,
    });
    let Ok(trust) = Trust::build(anchors.collect()) else {
        return (false, Reason::NotACa);
    };
    let verification = verify_afresh(&case.chain, &trust, now());
    (verification.verdict.is_good(), verification.verdict.reason)
}

/// OpenSSL's answer, and its own words.
fn openssl(case: &Case, directory: &Path) -> (bool, String) {
    let write = |name: &str, certificates: &[X509]| {
        let text: Vec<u8> = certificates
            .iter()
            .flat_map(|certificate| certificate.to_pem().unwrap())
            .collect();
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let mut command = Command::new("openssl");
    command
        .args(["verify", "-purpose", "sslclient", "-partial_chain"])
        .args(["-verify_depth", "5", "-auth_level", "2"])
        .args(["-no-CApath", "-no-CAstore", "-CAfile"])
        .arg(write("anchors.pem", &case.anchors));
    if case.chain.len() > 1 {
        let sent = write("sent.pem", &case.chain[1..]);
        command.arg("-untrusted").arg(sent);
    }
    if let Some(lists) = &case.lists {
        command.args(["-crl_check", "-use_deltas"]);
        for (index, list) in lists.iter().enumerate() {
            let path = directory.join(format!("{index}.crl"));
            std::fs::write(&path, pem(list)).unwrap();
            command.arg("-CRLfile").arg(path);
        }
    }
    let output = command
        .arg(write("leaf.pem", &case.chain[..1]))
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let error = words.lines().find(|line| line.starts_with("error "));
    (
        output.status.success(),
        error.unwrap_or("OK").trim().to_owned(),
    )
}

/// Why we are right to differ, by what the case is about.
fn explained(case: &Case, ours: (bool, Reason), theirs: bool) -> Option<&'static str> {
    let of = |word: &str| case.name.contains(word);
    match (ours.0, theirs) {
        (false, true) if of("leaf is a CA") && ours.1 == Reason::WrongEku => {
            Some("an anchor itself is no client here; OpenSSL takes what is in its store")
        }
        (true, false) if of("cross-signed") => {
            Some("every path is tried here; OpenSSL follows the first issuer that was sent")
        }
        _ => None,
    }
}

const LEAVES: [&str; 14] = [
    "good",
    "good RSA",
    "expired",
    "not yet valid",
    "server only",
    "no EKU",
    "unknown critical",
    "weak RSA",
    "self-signed",
    "of a stranger",
    "signature broken",
    "outside the names",
    "leaf is a CA",
    "over SHA-1",
];

fn leaf(kind: &str, issuer: &Authority) -> Identity {
    let mut spec = Spec::client("device");
    spec.dns = vec!["a.good.test".into()];
    match kind {
        "good RSA" => spec.rsa = Some(2048),
        "expired" => (spec.begins, spec.ends) = (-2 * DAY, -DAY),
        "not yet valid" => (spec.begins, spec.ends) = (DAY, 2 * DAY),
        "server only" => (spec.client_auth, spec.server_auth) = (false, true),
        "no EKU" => spec.client_auth = false,
        "unknown critical" => spec.unknown_critical = true,
        "weak RSA" => spec.rsa = Some(1024),
        "outside the names" => spec.dns = vec!["a.bad.test".into()],
        "leaf is a CA" => spec.ca = Some(None),
        "over SHA-1" => spec.sha1 = true,
        _ => {}
    }
    match kind {
        "self-signed" => Identity::self_signed(&spec),
        "of a stranger" => Authority::root("Stranger").issue(&spec),
        "signature broken" => {
            // The same names and dates, signed by a key that is not the issuer's.
            let mut forger = issuer.clone();
            forger.key = Authority::root("x").key;
            forger.issue(&spec)
        }
        _ => issuer.issue(&spec),
    }
}

const LAYOUTS: [&str; 14] = [
    "root",
    "one",
    "two",
    "four",
    "seven",
    "intermediate expired",
    "intermediate not yet valid",
    "intermediate is no CA",
    "intermediate may not sign",
    "intermediate over SHA-1",
    "path length 0 and one more",
    "path length 1 and one more",
    "names permitted",
    "names excluded",
];

/// Root and issuing CA.
fn layout(kind: &str) -> (Authority, Authority) {
    let root = Authority::root("Root");
    let with = |change: &dyn Fn(&mut Spec)| {
        let mut spec = Spec::authority("Issuing");
        change(&mut spec);
        root.intermediate(&spec)
    };
    let deep = |count: usize| {
        (0..count).fold(root.clone(), |issuer, index| {
            issuer.intermediate(&Spec::authority(&format!("Level {index}")))
        })
    };
    let issuing = match kind {
        "one" => deep(1),
        "two" => deep(2),
        "four" => deep(4),
        "seven" => deep(7),
        "intermediate expired" => with(&|spec| (spec.begins, spec.ends) = (-2 * DAY, -DAY)),
        "intermediate not yet valid" => with(&|spec| (spec.begins, spec.ends) = (DAY, 2 * DAY)),
        "intermediate is no CA" => with(&|spec| spec.ca = None),
        "intermediate may not sign" => with(&|spec| spec.may_sign = false),
        "intermediate over SHA-1" => with(&|spec| spec.sha1 = true),
        "path length 0 and one more" => {
            with(&|spec| spec.ca = Some(Some(0))).intermediate(&Spec::authority("Below"))
        }
        "path length 1 and one more" => {
            with(&|spec| spec.ca = Some(Some(1))).intermediate(&Spec::authority("Below"))
        }
        "names permitted" => {
            with(&|spec| spec.constraints = Some("permitted;DNS:good.test".into()))
        }
        "names excluded" => with(&|spec| spec.constraints = Some("excluded;DNS:bad.test".into())),
        _ => root.clone(),
    };
    (root, issuing)
}

fn chains() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in LAYOUTS {
        let (root, issuing) = layout(kind);
        for of in LEAVES {
            let identity = leaf(of, &issuing);
            cases.push(Case {
                name: format!("{kind}; {of}; the root trusted"),
                anchors: vec![root.certificate.clone()],
                chain: identity.chain.clone(),
                lists: None,
            });
            // What else may be in a chain: strangers, duplicates, a wrong order.
            if of == "good" {
                let stuffed = identity.clone().with_extra(&[
                    Authority::root("Extra").certificate,
                    root.certificate.clone(),
                ]);
                let mut reversed = identity.chain.clone();
                reversed[1..].reverse();
                for (what, chain) in [
                    ("stuffed", stuffed.chain),
                    ("in reverse", reversed),
                    ("leaf only", identity.chain[..1].to_vec()),
                ] {
                    cases.push(Case {
                        name: format!("{kind}; {of}, {what}; the root trusted"),
                        anchors: vec![root.certificate.clone()],
                        chain,
                        lists: None,
                    });
                }
                cases.push(Case {
                    name: format!("{kind}; {of}; the issuing CA trusted"),
                    anchors: vec![issuing.certificate.clone()],
                    chain: identity.chain.clone(),
                    lists: None,
                });
            }
        }
    }
    // Cross-signed: one key, two issuers, of which one is trusted.
    let (one, other) = (Authority::root("One"), Authority::root("Other"));
    let below = one.intermediate(&Spec::authority("Cross"));
    let crossed = tests::pki::cross_sign(&below, &other);
    let identity = below.client("device");
    for (name, anchor) in [("one", &one), ("other", &other)] {
        let chain = [identity.chain.clone(), vec![crossed.clone()]].concat();
        cases.push(Case {
            name: format!("cross-signed; {name} trusted"),
            anchors: vec![anchor.certificate.clone()],
            chain,
            lists: None,
        });
    }
    cases
}

type Change = fn(&mut CrlSpec, &Identity);

fn lists() -> Vec<Case> {
    let root = Authority::root("Root");
    let issuing = root.intermediate(&Spec::authority("Issuing"));
    let mut cases = Vec::new();
    let revoke: Change = |spec, device| spec.revoked = CrlSpec::revoking(1, &[device]).revoked;
    let kinds: [(&str, Change); 14] = [
        ("empty", |_, _| {}),
        ("revoking it", revoke),
        ("on hold", |spec, device| {
            spec.revoked = CrlSpec::revoking(1, &[device]).revoked;
            spec.revoked[0].1 = Some(6);
        }),
        ("revoking others", |spec, _| {
            spec.revoked = (1..200_u8).map(|n| (vec![n, 7], Some(1))).collect();
        }),
        ("stale", |spec, _| {
            (spec.begins, spec.ends) = (-2 * DAY, Some(-DAY));
        }),
        ("stale, revoking it", |spec, device| {
            (spec.begins, spec.ends) = (-2 * DAY, Some(-DAY));
            spec.revoked = CrlSpec::revoking(1, &[device]).revoked;
        }),
        ("future", |spec, _| {
            (spec.begins, spec.ends) = (DAY, Some(2 * DAY));
        }),
        ("signature broken", |spec, _| spec.broken = true),
        ("unknown critical", |spec, _| spec.unknown_critical = true),
        ("users only", |spec, _| spec.only_users = true),
        ("authorities only", |spec, _| spec.only_authorities = true),
        ("some reasons", |spec, _| spec.some_reasons = true),
        ("indirect", |spec, _| spec.indirect = true),
        ("of another point", |spec, _| {
            spec.point = Some("http://crl.test/1".into());
        }),
    ];
    for anchored in [true, false] {
        for (kind, change) in &kinds {
            let (anchors, signer) = if anchored {
                (vec![issuing.certificate.clone()], &issuing)
            } else {
                (vec![root.certificate.clone()], &root)
            };
            let device = signer.client("device");
            let mut spec = CrlSpec::default();
            change(&mut spec, &device);
            cases.push(Case {
                name: format!("list {kind}; intermediate trusted: {anchored}"),
                anchors,
                chain: device.chain,
                lists: Some(vec![spec.sign(signer)]),
            });
        }
    }
    let device = root.client("device");
    let other = Authority::root("Root");
    let anchors = vec![root.certificate.clone()];
    let mut add = |name: &str, lists: Vec<Vec<u8>>| {
        cases.push(Case {
            name: format!("list {name}"),
            anchors: anchors.clone(),
            chain: device.chain.clone(),
            lists: Some(lists),
        });
    };
    let revoking = CrlSpec::revoking(1, &[&device]);
    let empty = CrlSpec::default();
    add("missing", Vec::new());
    add("of a namesake", vec![empty.sign(&other)]);
    add(
        "of a stranger",
        vec![empty.sign(&Authority::root("Stranger"))],
    );
    let delta = |number, base, reason| {
        let mut spec = CrlSpec::revoking(number, &[&device]);
        spec.base = Some(base);
        spec.revoked[0].1 = reason;
        spec
    };
    for (name, complete, delta) in [
        ("and a delta revoking it", &empty, delta(2, 1, None)),
        ("and a delta restoring it", &revoking, delta(2, 1, Some(8))),
        ("and a delta of a later list", &empty, delta(9, 8, None)),
        (
            "and an older delta",
            &CrlSpec {
                number: Some(5),
                ..empty.clone()
            },
            delta(3, 1, None),
        ),
        (
            "and a stale delta",
            &empty,
            CrlSpec {
                ends: Some(-10),
                ..delta(2, 1, None)
            },
        ),
    ] {
        let complete = CrlSpec {
            freshest: Some("http://crl.test/delta".into()),
            ..complete.clone()
        };
        add(name, vec![complete.sign(&root), delta.sign(&root)]);
    }
    add("that is only a delta", vec![delta(2, 1, None).sign(&root)]);
    // Partitioned: a certificate names the point of its part.
    let point = |number| format!("http://crl.test/{number}");
    let device = root.issue(&Spec {
        point: Some(point(1)),
        ..Spec::client("device")
    });
    let part = |of, revoked: bool| {
        let mut spec = if revoked {
            CrlSpec::revoking(1, &[&device])
        } else {
            CrlSpec::default()
        };
        spec.point = Some(point(of));
        spec.sign(&root)
    };
    let full = CrlSpec::default().sign(&root);
    for (name, lists) in [
        ("of its part", vec![part(1, false)]),
        ("of its part, revoking it", vec![part(1, true)]),
        ("of another part", vec![part(2, false)]),
        ("of another part, revoking it", vec![part(2, true)]),
        ("of both parts", vec![part(2, false), part(1, false)]),
        (
            "of both parts, revoking it",
            vec![part(2, false), part(1, true)],
        ),
        ("of no part", vec![full.clone()]),
    ] {
        cases.push(Case {
            name: format!("list {name}"),
            anchors: vec![root.certificate.clone()],
            chain: device.chain.clone(),
            lists: Some(lists),
        });
    }
    cases
}

#[test]
fn openssl_agrees() {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("skipped: needs openssl");
        return;
    }
    let directory = tests::gateway::new_directory();
    let cases: Vec<Case> = chains().into_iter().chain(lists()).collect();
    let (mut differences, mut unexplained) = (0, Vec::new());
    for case in &cases {
        let ours = ours(case);
        let (theirs, words) = openssl(case, &directory);
        if ours.0 == theirs {
            continue;
        }
        differences += 1;
        match explained(case, ours, theirs) {
            Some(why) => println!("{}: we {}, OpenSSL {words}: {why}", case.name, ours.1),
            None => unexplained.push(format!("{}: we {}, OpenSSL {words}", case.name, ours.1)),
        }
    }
    drop(std::fs::remove_dir_all(&directory));
    println!("{} cases, {differences} differences", cases.len());
    assert!(cases.len() >= 200);
    assert!(unexplained.is_empty(), "{}", unexplained.join("\n"));
}
