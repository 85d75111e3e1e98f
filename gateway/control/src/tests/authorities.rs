//! Uploaded CAs, the managed CA's rollover and revocation list, and lists.

use super::*;
use crate::RevocationReason as Reason;
use fixtures::pki::{Identity, Spec};

/// A CA, or something like one, from the openssl command line.
fn openssl_certificate(directory: &Directory, extensions: &[&str], days: &str) -> Option<String> {
    let certificate = directory.path().join(format!("{}.pem", Id::random()));
    let key = directory.path().join("key.pem");
    let mut command = Command::new("openssl");
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ]);
    command
        .args(["-subj", "/CN=Brought CA", "-days", days, "-keyout"])
        .arg(key);
    command.arg("-out").arg(&certificate);
    for extension in extensions {
        command.args(["-addext", extension]);
    }
    // Without a configuration there is no section for the subject's parts.
    let config = directory.path().join("openssl.cnf");
    std::fs::write(&config, "[req]\ndistinguished_name=dn\n[dn]\n").unwrap();
    command.arg("-config").arg(&config);
    match command.output() {
        Ok(output) => {
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            Some(std::fs::read_to_string(certificate).unwrap())
        }
        Err(_) => {
            eprintln!("skipped: openssl is not installed");
            None
        }
    }
}

const CA: &str = "basicConstraints=critical,CA:TRUE";

#[test]
fn what_cannot_sign_is_refused() {
    let world = World::new();
    let control = world.control();
    let Some(leaf) = openssl_certificate(&world.directory, &["basicConstraints=CA:FALSE"], "1")
    else {
        return;
    };
    let plain = openssl_certificate(&world.directory, &["subjectKeyIdentifier=hash"], "1").unwrap();
    let no_sign =
        openssl_certificate(&world.directory, &[CA, "keyUsage=digitalSignature"], "1").unwrap();
    let good = openssl_certificate(&world.directory, &[CA], "1").unwrap();
    let now = Moment::now().seconds();
    let made = |change: &dyn Fn(&mut Spec)| {
        let mut spec = Spec::authority("made").at(now);
        change(&mut spec);
        Identity::issued(&spec, None).chain_pem()
    };
    let picture = world.picture();
    for (what, pem, says) in [
        ("empty", String::new(), "it is empty"),
        (
            "nonsense",
            "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n".into(),
            "line 1, block 1 (`CERTIFICATE`): its base64",
        ),
        ("a leaf", leaf.clone(), "CA:TRUE"),
        ("no basicConstraints", plain, "CA:TRUE"),
        ("no keyCertSign", no_sign, "keyCertSign"),
        ("a leaf in a bundle", good.clone() + &leaf, "CA:TRUE"),
        ("twice in a bundle", good.clone() + &good, "twice"),
        ("too many", good.repeat(21), "more than"),
        ("expired", made(&|spec| spec.ends = -1), "expired on"),
        (
            "a weak key",
            made(&|spec| spec.rsa = Some(1024)),
            "RSA of 1024",
        ),
        (
            "one of a bundle expired",
            good.clone() + &made(&|spec| spec.ends = -1),
            "expired on",
        ),
        (
            "its key with it",
            good.clone() + "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
            "keep the key where it is",
        ),
        (
            "too long",
            " ".repeat(limits::PEM_BYTES_MAX + 1),
            "more than",
        ),
    ] {
        let error = control
            .upload_authority("x", &pem)
            .err()
            .unwrap_or_else(|| panic!("{what}"));
        assert!(error.to_string().contains(says), "{what}: {error}");
        assert_eq!(world.picture(), picture, "{what}");
    }
    let uploaded = control.upload_authority("x", &good).unwrap();
    let error = control.upload_authority("again", &good).unwrap_err();
    assert!(
        error.to_string().contains(&uploaded.id.to_string()),
        "{error}"
    );
}

#[test]
fn an_uploaded_ca_is_believed_where_it_is_associated() {
    let mut world = World::new();
    let zone = world.served(MtlsMode::Request);
    let Some(pem) = openssl_certificate(&world.directory, &[CA], "1") else {
        return;
    };
    let control = world.control();
    let uploaded = control.upload_authority("partner", &pem).unwrap();
    let set = AuthoritySet::Uploaded(uploaded.id);
    let api = name("api.example.test");
    let trust = |world: &World| {
        *world
            .published
            .load()
            .host("api.example.test")
            .unwrap()
            .trust()
            .digest()
    };
    let alone = trust(&world);
    let epoch = world.published.load().trust_epoch;
    control
        .set_associations(zone.id, set, BTreeSet::from([api.clone()]))
        .unwrap();
    assert_ne!(trust(&world), alone, "both are believed");
    assert!(world.published.load().trust_epoch > epoch);
    let believed: Vec<Uuid> = control
        .model()
        .believed(&control.host(&api).unwrap())
        .iter()
        .map(|ca| ca.id)
        .collect();
    assert_eq!(
        (believed.len(), believed[0]),
        (2, uploaded.id),
        "newest first"
    );
    control
        .set_associations(zone.id, AuthoritySet::Managed, BTreeSet::new())
        .unwrap();
    assert_eq!(
        control.host(&api).unwrap().mtls,
        MtlsMode::Request,
        "the other one is left"
    );
    let error = control.delete_authority(uploaded.id).unwrap_err();
    assert!(error.to_string().contains("api.example.test"), "{error}");
    let kept = trust(&world);
    world.reopen();
    assert_eq!(trust(&world), kept);
    let control = world.control();
    let off = HostPatch {
        mtls: Some(Some(MtlsMode::Off)),
        ..HostPatch::default()
    };
    control.update_host(&api, off).unwrap();
    control
        .set_associations(zone.id, set, BTreeSet::new())
        .unwrap();
    control.delete_authority(uploaded.id).unwrap();
    assert!(control.uploaded_authority(uploaded.id).is_err());
}

#[test]
fn a_managed_ca_is_replaced_without_a_gap() {
    let world = World::new();
    let zone = world.served(MtlsMode::Request);
    let control = world.control();
    let old = control.issue_certificate(zone.id, &csr("old"), 1).unwrap();
    let next = control.roll_authority(zone.id, None).unwrap();
    let new = control.issue_certificate(zone.id, &csr("new"), 1).unwrap();
    assert_eq!((new.authority, old.authority != next.id), (next.id, true));
    let host = control.host(&name("api.example.test")).unwrap();
    assert_eq!(
        control.model().believed(&host).len(),
        2,
        "both are believed"
    );
    let names: BTreeSet<String> = control
        .model()
        .managed(zone.id)
        .iter()
        .map(|ca| ca.name.clone())
        .collect();
    assert_eq!(names.len(), 2, "they can be told apart");
    control.revoke_certificate(zone.id, old.id).unwrap();
    let error = control.retire_authority(zone.id, next.id).unwrap_err();
    assert!(matches!(error, ChangeError::InUse { .. }), "{error}");
    control.retire_authority(zone.id, old.authority).unwrap();
    assert_eq!(control.model().believed(&host).len(), 1);
    assert_eq!(
        control.certificate(zone.id, old.id).unwrap().status,
        Status::Revoked
    );
    for _ in control.model().managed(zone.id).len()..limits::MANAGED_AUTHORITIES_MAX {
        control.roll_authority(zone.id, None).unwrap();
    }
    assert!(matches!(
        control.roll_authority(zone.id, None),
        Err(ChangeError::Full { .. })
    ));
}

#[test]
fn openssl_agrees_with_the_revocation_list() {
    let world = World::new();
    let zone = world.zone();
    let control = world.control();
    let (authority, _) = control.signer(zone.id).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = world.directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let ca = write("ca.pem", authority.certificate.as_bytes());
    let empty = write(
        "empty.crl",
        &control.revocation_list(zone.id, authority.id).unwrap(),
    );
    let mut serials = Vec::new();
    for n in 0..300 {
        let subject = Subject::named(&format!("d{n}"));
        let made = control
            .create_certificate(zone.id, &subject, 1)
            .unwrap()
            .certificate;
        if n % 3 == 0 {
            let reason = [
                Reason::Unspecified,
                Reason::KeyCompromise,
                Reason::Superseded,
            ][n / 3 % 3];
            control
                .revoke_certificate_for(zone.id, made.id, reason)
                .unwrap();
            serials.push(made.details.serial_hex.to_uppercase());
        }
    }
    let full = write(
        "full.crl",
        &control.revocation_list(zone.id, authority.id).unwrap(),
    );
    for (path, count) in [(empty, 0), (full, serials.len())] {
        let output = Command::new("openssl")
            .args(["crl", "-inform", "DER", "-noout", "-text", "-CAfile"])
            .arg(&ca)
            .arg("-in")
            .arg(path)
            .output();
        let Ok(output) = output else {
            eprintln!("skipped: openssl is not installed");
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let verdict = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && verdict.contains("verify OK"),
            "{verdict}{text}"
        );
        assert_eq!(text.matches("Serial Number:").count(), count);
        // RFC 5280 §5.3.1: unspecified is left out.
        assert_eq!(text.matches("Key Compromise").count(), count / 3);
        assert_eq!(text.matches("Superseded").count(), count / 3);
        for expected in [
            "Version 2",
            "X509v3 CRL Number",
            "X509v3 Authority Key Identifier",
        ] {
            assert!(text.contains(expected), "{expected} is not in {text}");
        }
        if count > 0 {
            assert!(serials.iter().all(|serial| text.contains(serial)), "{text}");
        }
    }
    assert!(control.revocation_list(zone.id, Uuid::random()).is_err());
}

#[test]
fn every_kind_of_key_signs() {
    let world = World::new();
    let control = world.control();
    for kind in CaKey::ALL {
        let what = kind.as_str();
        let zone = control
            .create_zone_with(&format!("{what}.test"), kind)
            .unwrap();
        let (authority, signer) = control.signer(zone.id).unwrap();
        assert_eq!(authority.key_kind(), Some(kind));
        let requested = control.issue_certificate(zone.id, &csr("r"), 1).unwrap();
        let fresh = control
            .create_certificate(zone.id, &Subject::named("f"), 1)
            .unwrap();
        for made in [&requested, &fresh.certificate] {
            let leaf = X509::from_pem(made.certificate.as_bytes()).unwrap();
            assert!(leaf.verify(&signer.key).unwrap(), "{what}");
        }
        control.revoke_certificate(zone.id, requested.id).unwrap();
        let list = control.revocation_list(zone.id, authority.id).unwrap();
        let (ca, crl) = (
            world.directory.path().join("ca.pem"),
            world.directory.path().join("list.crl"),
        );
        std::fs::write(&ca, &authority.certificate).unwrap();
        std::fs::write(&crl, list).unwrap();
        let output = Command::new("openssl")
            .args(["crl", "-inform", "DER", "-noout", "-CAfile"])
            .args([&ca, Path::new("-in"), &crl])
            .output();
        match output {
            Ok(output) => {
                let verdict = String::from_utf8_lossy(&output.stderr);
                assert!(verdict.contains("verify OK"), "{what}: {verdict}");
            }
            Err(_) => eprintln!("skipped: openssl is not installed"),
        }
        let next = control.roll_authority(zone.id, None).unwrap();
        assert_eq!(next.key_kind(), Some(kind), "the kind stays");
        let other = control
            .roll_authority(zone.id, Some(CaKey::EcdsaP256))
            .unwrap();
        assert_eq!(other.key_kind(), Some(CaKey::EcdsaP256));
    }
}

#[test]
fn a_copy_of_a_ca_made_here_is_refused() {
    let world = World::new();
    let zone = world.served(MtlsMode::Request);
    let control = world.control();
    let (authority, signer) = control.signer(zone.id).unwrap();
    // Another certificate for the same key would be as good a way around a revocation.
    let mut again = X509::builder().unwrap();
    again.set_version(2).unwrap();
    again.set_pubkey(&signer.key).unwrap();
    again
        .set_subject_name(signer.certificate.subject_name())
        .unwrap();
    again
        .set_issuer_name(signer.certificate.subject_name())
        .unwrap();
    again
        .set_not_before(signer.certificate.not_before())
        .unwrap();
    again.set_not_after(signer.certificate.not_after()).unwrap();
    let ca = boring::x509::extension::BasicConstraints::new()
        .ca()
        .build()
        .unwrap();
    again.append_extension(&ca).unwrap();
    again.sign(&signer.key, MessageDigest::sha256()).unwrap();
    let again = x509::to_pem(&again.build()).unwrap();
    let development = control.make_development_authority().unwrap();
    for (what, pem) in [
        ("itself", authority.certificate.clone()),
        ("its key", again),
        ("the development CA", development.certificate.clone()),
    ] {
        let error = control.upload_authority("copy", &pem).unwrap_err();
        assert!(error.to_string().contains("made here"), "{what}: {error}");
    }
}

#[test]
fn rules_look_into_lists() {
    let mut world = World::new();
    let zone = world.served(MtlsMode::Off);
    let control = world.control();
    let uses = rule("ip.src in $office");
    let error = control.add_rule(zone.id, uses.clone(), None).unwrap_err();
    assert!(matches!(error, ChangeError::Expression { .. }), "{error}");
    let list = control.create_list("office", ListKind::Ip, "").unwrap();
    let item = |value: &str| (value.to_owned(), String::new());
    let add = |values: &[&str]| {
        let items = values.iter().map(|value| item(value)).collect();
        control.change_items(list.id, ItemsChange::Append(items))
    };
    add(&["10.0.0.0/8", "2001:db8::/32"]).unwrap();
    assert_eq!(
        add(&["10.0.0.0/8", "192.0.2.1"]).unwrap().items.len(),
        3,
        "no value twice"
    );
    for bad in ["10.0.0.0/7", "x", ""] {
        let error = add(&["192.0.2.2", bad]).unwrap_err();
        assert!(
            matches!(error, ChangeError::Invalid { .. }),
            "{bad}: {error}"
        );
    }
    assert_eq!(control.list(list.id).unwrap().items.len(), 3, "all or none");
    let before = world.published.load().hosts[0].rules.clone();
    control.add_rule(zone.id, uses, None).unwrap();
    let with_rule = world.published.load().hosts[0].rules.clone();
    assert!(!Arc::ptr_eq(&before, &with_rule));
    let first = control.list(list.id).unwrap().items[0].id;
    control
        .change_items(list.id, ItemsChange::Remove(vec![first]))
        .unwrap();
    let after = world.published.load().hosts[0].rules.clone();
    assert!(
        !Arc::ptr_eq(&with_rule, &after),
        "a changed list compiles the rules anew"
    );
    let error = control.delete_list(list.id).unwrap_err();
    assert!(matches!(error, ChangeError::InUse { .. }), "{error}");
    assert!(control.create_list("office", ListKind::Asn, "").is_err());
    assert!(control.create_list("Office", ListKind::Asn, "").is_err());
    world.reopen();
    assert_eq!(world.control().list(list.id).unwrap().items.len(), 2);
}
