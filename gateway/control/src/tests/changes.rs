//! Zones, hosts, certificates: what changes, what is refused, what a restart finds.

use super::*;

#[test]
fn everything_is_there_after_a_restart() {
    let mut world = World::new();
    let zone = world.served(MtlsMode::Request);
    let control = world.control();
    let kept = control
        .issue_certificate(zone.id, &csr("device-1"), 30)
        .unwrap();
    let revoked = control
        .create_certificate(zone.id, &Subject::named("device-2"), 3650)
        .unwrap();
    control
        .revoke_certificate(zone.id, revoked.certificate.id)
        .unwrap();
    let (ruleset, _) = control
        .add_rule(zone.id, rule("http.request.uri.path eq \"/a\""), None)
        .unwrap();
    control
        .create_rule(
            zone.id,
            ruleset.id,
            rule("http.request.uri.path eq \"/b\""),
            None,
        )
        .unwrap();
    let before = control.model();
    let epoch = world.published.load().trust_epoch;
    assert!(epoch > 1);

    world.reopen();
    let after = world.control().model();
    assert_eq!(
        (after.revision, after.trust_epoch, after.account),
        (before.revision, epoch, before.account)
    );
    assert_eq!(format!("{:?}", after.zones), format!("{:?}", before.zones));
    assert_eq!(format!("{:?}", after.hosts), format!("{:?}", before.hosts));
    assert_eq!(
        format!("{:?}", after.authorities),
        format!("{:?}", before.authorities)
    );
    assert_eq!(
        format!("{:?}", after.associations),
        format!("{:?}", before.associations)
    );
    assert_eq!(
        format!("{:?}", after.rulesets),
        format!("{:?}", before.rulesets)
    );
    let serials = |model: &Model| model.revoked.values().next().unwrap().serials.clone();
    assert_eq!(serials(&after), serials(&before));
    assert!(serials(&after).contains(&revoked.certificate.details.serial));
    let snapshot = world.published.load();
    assert_eq!(
        (snapshot.generation, snapshot.trust_epoch),
        (after.revision, epoch)
    );
    assert!(snapshot.host("api.example.test").is_some());
    let control = world.control();
    assert_eq!(
        control.certificate(zone.id, kept.id).unwrap().certificate,
        kept.certificate
    );
    let again = control
        .certificate(zone.id, revoked.certificate.id)
        .unwrap();
    assert_eq!(again.status, Status::Revoked);
    control
        .issue_certificate(zone.id, &csr("the CA's key still opens"), 1)
        .unwrap();
}

#[test]
fn refused_changes_leave_everything_as_it_was() {
    let world = World::new();
    let zone = world.served(MtlsMode::Require);
    let control = world.control();
    let (ruleset, first) = control.add_rule(zone.id, rule("true"), None).unwrap();
    let picture = world.picture();
    let foreign = control.zone("example.test").unwrap().id;
    let refusals: Vec<(&str, Result<(), ChangeError>)> = vec![
        ("zone twice", control.create_zone("Example.Test.").map(drop)),
        (
            "zone wildcard",
            control.create_zone("*.example.test").map(drop),
        ),
        ("zone nonsense", control.create_zone("a b").map(drop)),
        (
            "host twice",
            control
                .create_host(zone.id, host("API.example.test", MtlsMode::Off))
                .map(drop),
        ),
        (
            "host elsewhere",
            control
                .create_host(zone.id, host("api.example.com", MtlsMode::Off))
                .map(drop),
        ),
        (
            "host in no zone",
            control
                .create_host(Id::random(), host("b.example.test", MtlsMode::Off))
                .map(drop),
        ),
        ("origin nonsense", {
            let mut bad = host("b.example.test", MtlsMode::Off);
            bad.origin.url = "ftp://x".into();
            control.create_host(zone.id, bad).map(drop)
        }),
        ("certificate unknown", {
            let mut bad = host("b.example.test", MtlsMode::Off);
            bad.certificate = Some(Uuid::random());
            control.create_host(zone.id, bad).map(drop)
        }),
        ("the last CA of a host that requires", {
            control
                .set_associations(foreign, AuthoritySet::Managed, BTreeSet::new())
                .map(drop)
        }),
        ("association elsewhere", {
            let names = BTreeSet::from([name("x.example.com")]);
            control
                .set_associations(zone.id, AuthoritySet::Managed, names)
                .map(drop)
        }),
        ("association with nobody", {
            let set = AuthoritySet::Uploaded(Uuid::random());
            control
                .set_associations(zone.id, set, BTreeSet::new())
                .map(drop)
        }),
        ("rule position", {
            control
                .create_rule(zone.id, ruleset.id, rule("true"), Some(&Position::Index(9)))
                .map(drop)
        }),
        (
            "rule unknown",
            control
                .delete_rule(zone.id, ruleset.id, Id::random())
                .map(drop),
        ),
        ("rule's response", {
            let mut bad = rule("true");
            bad.action_parameters = Some(serde_json::json!({"response": {
                "status_code": 200, "content_type": "text/plain", "content": ""}}));
            control
                .create_rule(zone.id, ruleset.id, bad, None)
                .map(drop)
        }),
        ("ref twice", {
            let mut bad = rule("true");
            bad.reference = Some(first.reference.clone());
            control
                .create_rule(zone.id, ruleset.id, bad, None)
                .map(drop)
        }),
        (
            "certificate days",
            control.issue_certificate(zone.id, &csr("x"), 0).map(drop),
        ),
        (
            "certificate days",
            control
                .issue_certificate(zone.id, &csr("x"), 3651)
                .map(drop),
        ),
        (
            "revoke nobody",
            control
                .revoke_certificate(zone.id, Uuid::random())
                .map(drop),
        ),
        ("server certificate in use", {
            let id = *control.model().server_certificates.keys().next().unwrap();
            control.delete_server_certificate(zone.id, id).map(drop)
        }),
    ];
    for (what, result) in refusals {
        let error = result
            .err()
            .unwrap_or_else(|| panic!("{what} was accepted"));
        assert!(!error.to_string().is_empty());
        assert_eq!(world.picture(), picture, "{what} changed something");
    }
}

#[test]
fn requests_that_are_not_signed() {
    let world = World::new();
    let zone = world.zone();
    let rsa = |bits| PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap();
    let curve = |nid| {
        let group = boring::ec::EcGroup::from_curve_name(nid).unwrap();
        PKey::from_ec_key(boring::ec::EcKey::generate(&group).unwrap()).unwrap()
    };
    use boring::nid::Nid;
    let sha256 = MessageDigest::sha256();
    let accepted = [
        csr_of(&curve(Nid::X9_62_PRIME256V1), "p256", sha256),
        csr_of(&curve(Nid::SECP384R1), "p384", sha256),
        csr_of(&rsa(2048), "rsa", sha256),
    ];
    for request in &accepted {
        world
            .control()
            .issue_certificate(zone.id, request, 1)
            .unwrap();
        // Text around the PEM and CR LF line ends are how people paste.
        let pasted = format!("\r\n{}\r\n", request.replace('\n', "\r\n"));
        world
            .control()
            .issue_certificate(zone.id, &pasted, 1)
            .unwrap();
    }
    let mut tampered = accepted[0].clone().into_bytes();
    let middle = tampered.len() / 2;
    tampered[middle] = if tampered[middle] == b'A' { b'B' } else { b'A' };
    let swapped = {
        // Somebody else's key under our signature.
        let mut request = X509Req::builder().unwrap();
        let mut subject = X509Name::builder().unwrap();
        subject.append_entry_by_text("CN", "x").unwrap();
        request.set_subject_name(&subject.build()).unwrap();
        request.set_pubkey(&curve(Nid::X9_62_PRIME256V1)).unwrap();
        request.sign(&curve(Nid::X9_62_PRIME256V1), sha256).unwrap();
        String::from_utf8(request.build().to_pem().unwrap()).unwrap()
    };
    for (what, request) in [
        ("empty", String::new()),
        (
            "nonsense",
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----".into(),
        ),
        ("too long", "x".repeat(limits::CSR_BYTES_MAX + 1)),
        ("tampered", String::from_utf8(tampered).unwrap()),
        ("another's key", swapped),
        ("weak RSA", csr_of(&rsa(1024), "x", sha256)),
        ("P-521", csr_of(&curve(Nid::SECP521R1), "x", sha256)),
        ("P-224", csr_of(&curve(Nid::SECP224R1), "x", sha256)),
        (
            "no subject",
            csr_of(&curve(Nid::X9_62_PRIME256V1), "", sha256),
        ),
    ] {
        let result = world.control().issue_certificate(zone.id, &request, 1);
        assert!(
            matches!(result, Err(ChangeError::Certificate(_))),
            "{what}: {result:?}"
        );
    }
    let page = CertificateQuery {
        limit: 100,
        ..CertificateQuery::default()
    };
    assert!(world.control().certificates(zone.id, &page).unwrap().total == 6);
}

#[test]
fn the_list_is_filtered_and_paged_from_the_newest() {
    let world = World::new();
    let zone = world.zone();
    let control = world.control();
    let other = control.create_zone("other.test").unwrap();
    control
        .issue_certificate(other.id, &csr("elsewhere"), 1)
        .unwrap();
    let issued: Vec<_> = (0..7)
        .map(|n| {
            control
                .issue_certificate(zone.id, &csr(&format!("d{n}")), 1)
                .unwrap()
        })
        .collect();
    for n in [1, 4] {
        control.revoke_certificate(zone.id, issued[n].id).unwrap();
    }
    let list = |query: CertificateQuery| {
        let page = control.certificates(zone.id, &query).unwrap();
        let names: Vec<_> = page
            .certificates
            .iter()
            .map(|c| c.details.common_name.clone())
            .collect();
        (names.join(" "), page.total)
    };
    let all = CertificateQuery {
        limit: 100,
        ..CertificateQuery::default()
    };
    assert_eq!(list(all.clone()), ("d6 d5 d4 d3 d2 d1 d0".into(), 7));
    assert_eq!(
        list(CertificateQuery {
            offset: 2,
            limit: 3,
            ..all.clone()
        }),
        ("d4 d3 d2".into(), 7)
    );
    assert_eq!(
        list(CertificateQuery {
            offset: 9,
            ..all.clone()
        }),
        (String::new(), 7)
    );
    assert_eq!(
        list(CertificateQuery {
            limit: 0,
            ..all.clone()
        }),
        (String::new(), 7)
    );
    let revoked = CertificateQuery {
        status: Some(Status::Revoked),
        ..all.clone()
    };
    assert_eq!(list(revoked.clone()), ("d4 d1".into(), 2));
    assert_eq!(
        list(CertificateQuery {
            offset: 1,
            ..revoked
        }),
        ("d1".into(), 2)
    );
    let active = CertificateQuery {
        status: Some(Status::Active),
        limit: 2,
        ..all.clone()
    };
    assert_eq!(list(active), ("d6 d5".into(), 5));
    let d3 = &issued[3].details;
    let colons = d3
        .fingerprint_sha256
        .to_uppercase()
        .as_bytes()
        .chunks(2)
        .map(|pair| String::from_utf8(pair.to_vec()).unwrap())
        .collect::<Vec<_>>()
        .join(":");
    for (by, value) in [
        (FindBy::Serial, d3.serial_hex.to_uppercase()),
        (FindBy::Fingerprint, colons),
        (FindBy::Ski, d3.ski.clone()),
        (FindBy::CommonName, "D3".into()),
    ] {
        let query = CertificateQuery {
            find: vec![(by, value)],
            ..all.clone()
        };
        assert_eq!(list(query), ("d3".into(), 1), "{by:?}");
    }
    // Several filters together: all of them have to fit.
    for (name, status, expected) in [
        ("d3", None, ("d3", 1)),
        ("d3", Some(Status::Active), ("d3", 1)),
        ("d3", Some(Status::Revoked), ("", 0)),
        ("d4", None, ("", 0)),
    ] {
        let query = CertificateQuery {
            find: vec![
                (FindBy::Serial, d3.serial_hex.clone()),
                (FindBy::CommonName, name.into()),
            ],
            status,
            ..all.clone()
        };
        let (names, total) = list(query);
        assert_eq!((names.as_str(), total), expected, "{name} {status:?}");
    }
    let query = CertificateQuery {
        find: vec![(FindBy::CommonName, "elsewhere".into())],
        ..all
    };
    assert_eq!(list(query), (String::new(), 0));
    assert!(
        control
            .certificate(
                zone.id,
                control
                    .certificates(
                        other.id,
                        &CertificateQuery {
                            limit: 1,
                            ..CertificateQuery::default()
                        }
                    )
                    .unwrap()
                    .certificates[0]
                    .id
            )
            .is_err(),
        "another zone's certificate"
    );
}

#[test]
fn a_revocation_is_published_when_it_is_acknowledged() {
    let world = World::new();
    let zone = world.served(MtlsMode::Request);
    let control = world.control();
    let certificate = control.issue_certificate(zone.id, &csr("d"), 1).unwrap();
    let before = world.published.load();
    let revoked = control.revoke_certificate(zone.id, certificate.id).unwrap();
    assert_eq!(revoked.status, Status::Revoked);
    let after = world.published.load();
    assert_eq!(after.trust_epoch, before.trust_epoch + 1);
    assert!(after.generation > before.generation);
    let (old, new) = (
        before.host("api.example.test").unwrap(),
        after.host("api.example.test").unwrap(),
    );
    assert!(!Arc::ptr_eq(old.trust(), new.trust()), "trust is made anew");
    assert!(
        std::ptr::eq(old.site(), new.site()),
        "the TLS context is not"
    );
    assert!(Arc::ptr_eq(&old.rules, &new.rules) && Arc::ptr_eq(&old.origin, &new.origin));

    control.revoke_certificate(zone.id, certificate.id).unwrap();
    assert_eq!(
        world.published.load().trust_epoch,
        after.trust_epoch,
        "nothing to do"
    );
    let restored = control
        .restore_certificate(zone.id, certificate.id)
        .unwrap();
    assert_eq!(restored.status, Status::Active);
    assert_eq!(world.published.load().trust_epoch, after.trust_epoch + 1);
    assert!(
        control
            .model()
            .revoked
            .values()
            .all(|revoked| revoked.serials.is_empty())
    );
}

#[test]
fn a_host_is_served_once_a_certificate_covers_it() {
    let world = World::new();
    let zone = world.zone();
    let control = world.control();
    control
        .create_host(zone.id, host("a.b.example.test", MtlsMode::Off))
        .unwrap();
    assert!(world.published.load().host("a.b.example.test").is_none());
    control
        .develop_server_certificate(zone.id, &[name("*.example.test")])
        .unwrap();
    assert!(
        world.published.load().host("a.b.example.test").is_none(),
        "one label only"
    );
    let good = control
        .develop_server_certificate(zone.id, &[name("*.b.example.test")])
        .unwrap();
    assert!(world.published.load().host("a.b.example.test").is_some());
    let error = control
        .delete_server_certificate(zone.id, good.id)
        .unwrap_err();
    assert!(error.to_string().contains("a.b.example.test"), "{error}");
    control
        .set_default_host(Some(name("a.b.example.test")))
        .unwrap();
    assert!(world.published.load().default_host.is_some());
    control.delete_zone(zone.id).unwrap();
    let snapshot = world.published.load();
    assert!(snapshot.hosts.is_empty() && snapshot.default_host.is_none());
    let model = control.model();
    assert!(model.zones.is_empty() && model.server_certificates.is_empty());
    assert_eq!(model.authorities.len(), 1, "the development CA stays");
}

#[test]
fn openssl_agrees_with_what_is_issued() {
    let world = World::new();
    let zone = world.zone();
    let control = world.control();
    let (authority, _) = control.signer(zone.id).unwrap();
    let fresh = control
        .create_certificate(zone.id, &Subject::named("device"), 30)
        .unwrap();
    let path = |name: &str, text: &str| {
        let path = world.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let ca = path("ca.pem", &authority.certificate);
    let leaf = path("leaf.pem", &fresh.certificate.certificate);
    let openssl = |arguments: &[&std::ffi::OsStr]| {
        let output = Command::new("openssl").args(arguments).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Some(text)
    };
    let verify =
        ["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile"].map(std::ffi::OsStr::new);
    let arguments = [&verify[..], &[ca.as_os_str(), leaf.as_os_str()]].concat();
    if openssl(&arguments).is_none() {
        eprintln!("skipped: openssl is not installed");
        return;
    }
    let show = ["x509", "-noout", "-text", "-in"].map(std::ffi::OsStr::new);
    let text = openssl(&[&show[..], &[leaf.as_os_str()]].concat()).unwrap();
    for expected in [
        "Subject: CN = device",
        "TLS Web Client Authentication",
        "CA:FALSE",
        "Digital Signature",
        "ecdsa-with-SHA256",
    ] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
    let text = openssl(&[&show[..], &[ca.as_os_str()]].concat()).unwrap();
    for expected in [
        "CA:TRUE, pathlen:0",
        "Certificate Sign, CRL Sign",
        "Subject Key Identifier",
    ] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
}

#[test]
fn secrets_are_nowhere_in_clear() {
    let world = World::new();
    let zone = world.served(MtlsMode::Request);
    let fresh = world
        .control()
        .create_certificate(zone.id, &Subject::named("d"), 1)
        .unwrap();
    let (_, signer) = world.control().signer(zone.id).unwrap();
    let canaries = [
        signer.key.private_key_to_der().unwrap(),
        signer.key.private_key_to_der_pkcs8().unwrap(),
        signer.key.ec_key().unwrap().private_key().to_vec(),
        x509::key_pem(&signer.key).unwrap().reveal()[40..100].to_vec(),
        fresh.private_key.reveal()[40..100].to_vec(),
    ];
    let debug = format!("{:?} {fresh:?}", world.control().model());
    let disk = std::fs::read(world.path()).unwrap();
    for canary in canaries {
        assert!(!disk.windows(canary.len()).any(|window| window == canary));
        assert!(
            !debug
                .as_bytes()
                .windows(canary.len())
                .any(|window| window == canary)
        );
    }
}

#[test]
fn a_lost_or_foreign_key_file_is_refused() {
    let mut world = World::new();
    world.zone();
    world.control = None;
    let key = world.directory.path().join("ca.key");
    let good = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    let open = || Control::open(&world.path(), Arc::default()).err().unwrap();
    assert!(matches!(open(), OpenError::Seal(SealError::Missing { .. })));
    let elsewhere = World::new();
    std::fs::copy(elsewhere.directory.path().join("ca.key"), &key).unwrap();
    assert!(matches!(
        open(),
        OpenError::Seal(SealError::WrongKey { .. })
    ));
    std::fs::write(&key, good).unwrap();
    world.reopen();
}

#[test]
fn many_revocations_are_one_change_or_none() {
    let world = World::new();
    let control = world.control();
    let zones = ["a.test", "b.test"].map(|name| control.create_zone(name).unwrap().id);
    let mut all = BTreeSet::new();
    for (n, zone) in zones.iter().cycle().take(6).enumerate() {
        let subject = Subject::named(&format!("device-{n}"));
        let made = control.create_certificate(*zone, &subject, 30).unwrap();
        all.insert((*zone, made.certificate.id));
    }
    let reason = RevocationReason::Superseded;
    let before = world.picture();
    // The last is of another zone, and the first five are good.
    let (zone, id) = *all.first().unwrap();
    let other = zones.into_iter().find(|other| *other != zone).unwrap();
    let mut wrong = all.clone();
    wrong.insert((other, id));
    let error = control.revoke_certificates(&wrong, reason).unwrap_err();
    assert!(matches!(error, ChangeError::NotFound { .. }), "{error}");
    assert!(
        control
            .revoke_certificates(&BTreeSet::new(), reason)
            .is_err()
    );
    assert_eq!(world.picture(), before, "nothing was revoked");

    control.revoke_certificate(zone, id).unwrap();
    let (revision, epoch) = (control.model().revision, control.model().trust_epoch);
    assert_eq!(control.revoke_certificates(&all, reason).unwrap(), 5);
    let model = control.model();
    assert_eq!(
        (model.revision, model.trust_epoch),
        (revision + 1, epoch + 1)
    );
    let revoked: usize = model.revoked.values().map(|of| of.serials.len()).sum();
    assert_eq!(revoked, 6);
    for (zone, id) in &all {
        let found = control.certificate(*zone, *id).unwrap();
        assert_eq!(found.status, Status::Revoked);
    }
    let same = world.picture();
    assert_eq!(control.revoke_certificates(&all, reason).unwrap(), 0);
    assert_eq!(world.picture(), same, "revoking twice changes nothing");
}
