//! The control plane as its users see it: changes, refusals, and what a restart finds.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use boring::hash::MessageDigest;
use boring::pkey::{PKey, Private};
use boring::rsa::Rsa;
use boring::x509::{X509, X509Name, X509Req};

use super::testing::Directory;
use super::*;
use crate::snapshot::MtlsMode;

struct World {
    directory: Directory,
    published: Arc<Published>,
    control: Option<Arc<Control>>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            directory: Directory::new(),
            published: Arc::default(),
            control: None,
        };
        world.reopen();
        world
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("store.redb")
    }

    fn reopen(&mut self) {
        self.control = None;
        self.published = Arc::default();
        self.control = Some(Control::open(&self.path(), self.published.clone()).unwrap());
    }

    fn control(&self) -> &Control {
        self.control.as_ref().unwrap()
    }

    fn zone(&self) -> Arc<Zone> {
        self.control().create_zone("example.test").unwrap()
    }

    /// A zone with one served host.
    fn served(&self, mtls: MtlsMode) -> Arc<Zone> {
        let zone = self.zone();
        let names = [name("example.test"), name("*.example.test")];
        self.control()
            .develop_server_certificate(zone.id, &names)
            .unwrap();
        self.control()
            .create_host(zone.id, host("api.example.test", mtls))
            .unwrap();
        zone
    }

    /// Everything that an outsider can see, to show that nothing changed.
    fn picture(&self) -> String {
        let model = self.control().model();
        let snapshot = self.published.load();
        format!("{model:?} {} {:?}", snapshot.generation, snapshot.hosts)
    }
}

fn name(text: &str) -> HostName {
    HostName::parse(text).unwrap()
}

fn host(text: &str, mtls: MtlsMode) -> NewHost {
    NewHost {
        name: name(text),
        origin: OriginSpec {
            url: "http://127.0.0.1:9000".into(),
            ..OriginSpec::default()
        },
        mtls: Some(mtls),
        certificate: None,
    }
}

fn rule(expression: &str) -> NewRule {
    NewRule::block(expression)
}

fn csr_of(key: &PKey<Private>, common_name: &str, digest: MessageDigest) -> String {
    let mut subject = X509Name::builder().unwrap();
    if !common_name.is_empty() {
        subject.append_entry_by_text("CN", common_name).unwrap();
        subject.append_entry_by_text("O", "Käse & Söhne").unwrap();
    }
    let mut request = X509Req::builder().unwrap();
    request.set_subject_name(&subject.build()).unwrap();
    request.set_pubkey(key).unwrap();
    request.sign(key, digest).unwrap();
    String::from_utf8(request.build().to_pem().unwrap()).unwrap()
}

fn csr(common_name: &str) -> String {
    csr_of(
        &x509::generate_key().unwrap(),
        common_name,
        MessageDigest::sha256(),
    )
}

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
            control.delete_server_certificate(zone.id, id)
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
        ("too long", "x".repeat(crate::limits::CSR_BYTES_MAX + 1)),
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
            find: Some((by, value)),
            ..all.clone()
        };
        assert_eq!(list(query), ("d3".into(), 1), "{by:?}");
    }
    let query = CertificateQuery {
        find: Some((FindBy::CommonName, "elsewhere".into())),
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
    assert!(!Arc::ptr_eq(&old.trust, &new.trust), "trust is made anew");
    assert!(Arc::ptr_eq(&old.site, &new.site), "the TLS context is not");
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
fn mode_and_association_agree() {
    let world = World::new();
    let zone = world.served(MtlsMode::Off);
    let control = world.control();
    let api = name("api.example.test");
    let managed = |expected: &[&str]| {
        let names = control
            .associations(zone.id, AuthoritySet::Managed)
            .unwrap();
        assert_eq!(
            names.iter().map(HostName::as_str).collect::<Vec<_>>(),
            expected
        );
    };
    let mode = || control.host(&api).unwrap().mtls;
    managed(&[]);
    let later = name("later.example.test");
    let both = BTreeSet::from([api.clone(), later.clone()]);
    control
        .set_associations(zone.id, AuthoritySet::Managed, both)
        .unwrap();
    assert_eq!(mode(), MtlsMode::Request);
    let served = world
        .published
        .load()
        .host("api.example.test")
        .unwrap()
        .site
        .mtls;
    assert_eq!(served, MtlsMode::Request);
    let mut new = host("later.example.test", MtlsMode::Off);
    new.mtls = None;
    assert_eq!(
        control.create_host(zone.id, new).unwrap().mtls,
        MtlsMode::Request
    );
    let off = HostPatch {
        mtls: Some(MtlsMode::Off),
        ..HostPatch::default()
    };
    control.update_host(&later, off).unwrap();
    managed(&["api.example.test"]);
    control
        .set_associations(zone.id, AuthoritySet::Managed, BTreeSet::new())
        .unwrap();
    assert_eq!(mode(), MtlsMode::Off);
    let require = HostPatch {
        mtls: Some(MtlsMode::Require),
        ..HostPatch::default()
    };
    control.update_host(&api, require).unwrap();
    managed(&["api.example.test"]);
    control.delete_host(&api).unwrap();
    managed(&[]);
    assert!(world.published.load().host("api.example.test").is_none());
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
fn uploaded_chains() {
    let world = World::new();
    let zone = world.zone();
    let control = world.control();
    let (authority, signer) = control.signer(zone.id).unwrap();
    let names = [name("api.example.test")];
    let now = Moment::now();
    let (leaf, key) = signer.issue_server(&names, 90, now).unwrap();
    let (stranger, _) = x509::make_authority("Stranger", "x", 10, now).unwrap();
    let pem = |certificate: &X509| x509::to_pem(certificate).unwrap();
    let key_pem = x509::key_pem(&key).unwrap();
    let key_text = key_pem.reveal_text();
    // Root first: the order is mended.
    let mixed = format!("some text\n{}\n{}", authority.certificate, pem(&leaf));
    let uploaded = control
        .upload_server_certificate(zone.id, &mixed, key_text)
        .unwrap();
    let chain = X509::stack_from_pem(uploaded.chain.as_bytes()).unwrap();
    assert_eq!(
        (chain.len(), chain[0].to_der().unwrap()),
        (2, leaf.to_der().unwrap())
    );
    let old = Moment::from_seconds(now.seconds() - 100 * 86_400);
    let (expired, expired_key) = signer.issue_server(&names, 90, old).unwrap();
    let expired_key = x509::key_pem(&expired_key).unwrap();
    let client = control
        .create_certificate(zone.id, &Subject::named("x"), 1)
        .unwrap();
    for (what, chain, key) in [
        ("empty", "", key_text),
        ("no key", &pem(&leaf), ""),
        ("another key", &pem(&stranger), key_text),
        (
            "a stranger in the chain",
            &(pem(&leaf) + &pem(&stranger)),
            key_text,
        ),
        ("expired", &pem(&expired), expired_key.reveal_text()),
        (
            "for clients",
            &client.certificate.certificate,
            client.private_key.reveal_text(),
        ),
    ] {
        let result = control.upload_server_certificate(zone.id, chain, key);
        assert!(
            matches!(result, Err(ChangeError::Certificate(_))),
            "{what}: {result:?}"
        );
    }
    control
        .create_host(zone.id, host("api.example.test", MtlsMode::Off))
        .unwrap();
    let before = world
        .published
        .load()
        .host("api.example.test")
        .unwrap()
        .site
        .clone();
    let (leaf, key) = signer.issue_server(&names, 90, now).unwrap();
    let key = x509::key_pem(&key).unwrap();
    let replaced = control
        .replace_server_certificate(zone.id, uploaded.id, &pem(&leaf), key.reveal_text())
        .unwrap();
    assert_eq!((replaced.id, replaced.version), (uploaded.id, 2));
    let after = world
        .published
        .load()
        .host("api.example.test")
        .unwrap()
        .site
        .clone();
    assert!(!Arc::ptr_eq(&before, &after));
    let (leaf, key) = signer
        .issue_server(&[name("b.example.test")], 90, now)
        .unwrap();
    let key = x509::key_pem(&key).unwrap();
    let error = control
        .replace_server_certificate(zone.id, uploaded.id, &pem(&leaf), key.reveal_text())
        .unwrap_err();
    assert!(matches!(error, ChangeError::InUse { .. }), "{error}");
}

#[test]
fn rules_keep_their_order_and_their_versions() {
    let world = World::new();
    let zone = world.zone();
    let control = world.control();
    let (ruleset, a) = control.add_rule(zone.id, rule("true"), None).unwrap();
    let add = |text: &str, at: Option<Position>| {
        let mut new = rule("true");
        new.reference = Some(text.into());
        control
            .create_rule(zone.id, ruleset.id, new, at.as_ref())
            .unwrap()
    };
    let order = || {
        let current = control.ruleset(zone.id, ruleset.id).unwrap();
        let refs: Vec<_> = current
            .rules
            .iter()
            .map(|r| if r.id == a.id { "a" } else { &r.reference })
            .collect();
        refs.join("")
    };
    let id = |reference: &str| {
        let current = control.ruleset(zone.id, ruleset.id).unwrap();
        current
            .rules
            .iter()
            .find(|rule| rule.reference == reference)
            .unwrap()
            .id
    };
    add("b", None);
    add("c", Some(Position::Before(None)));
    add("d", Some(Position::After(Some(a.id))));
    add("e", Some(Position::Index(1)));
    assert_eq!(order(), "ecadb");
    let step = |rule: Id, at: Position| {
        control
            .update_rule(zone.id, ruleset.id, rule, RulePatch::default(), Some(&at))
            .unwrap();
        order()
    };
    assert_eq!(step(id("b"), Position::Before(Some(id("c")))), "ebcad");
    assert_eq!(step(id("b"), Position::Before(Some(id("b")))), "ebcad");
    assert_eq!(step(id("e"), Position::After(None)), "bcade");
    assert_eq!(step(id("e"), Position::Index(2)), "becad");
    let moved = control.ruleset(zone.id, ruleset.id).unwrap();
    assert_eq!(
        (moved.version, moved.rules[0].version),
        (9, 1),
        "moving is no new rule version"
    );
    let patch = RulePatch {
        enabled: Some(false),
        ..RulePatch::default()
    };
    let edited = control
        .update_rule(zone.id, ruleset.id, id("b"), patch.clone(), None)
        .unwrap();
    assert_eq!(
        (edited.rules[0].version, edited.rules[0].enabled),
        (2, false)
    );
    control
        .update_rule(zone.id, ruleset.id, id("b"), patch, None)
        .unwrap();
    assert_eq!(
        control.ruleset(zone.id, ruleset.id).unwrap().rules[0].version,
        2
    );
    control.delete_rule(zone.id, ruleset.id, id("c")).unwrap();
    assert_eq!(order(), "bead");
    let versions = control.ruleset_versions(zone.id, ruleset.id).unwrap();
    assert_eq!((versions.len(), versions[0].version), (12, 12));
    let old = control.ruleset_version(zone.id, ruleset.id, 5).unwrap();
    assert_eq!(old.rules.len(), 5);
    assert!(control.ruleset_version(zone.id, ruleset.id, 99).is_err());
}

#[test]
fn only_the_newest_versions_are_kept() {
    let world = World::new();
    let zone = world.zone();
    let control = world.control();
    let (ruleset, first) = control.add_rule(zone.id, rule("true"), None).unwrap();
    let max = crate::limits::RULESET_VERSIONS_MAX;
    for round in 0..max + 5 {
        let patch = RulePatch {
            description: Some(format!("{round}")),
            ..RulePatch::default()
        };
        control
            .update_rule(zone.id, ruleset.id, first.id, patch, None)
            .unwrap();
    }
    let versions = control.ruleset_versions(zone.id, ruleset.id).unwrap();
    assert_eq!(versions.len(), usize::try_from(max).unwrap());
    let oldest = versions.last().unwrap().version;
    assert_eq!(
        control
            .ruleset_version(zone.id, ruleset.id, oldest)
            .unwrap()
            .rules
            .len(),
        1
    );
    let mut contents = 0;
    control
        .store
        .scan(Table::Rules, ruleset.id.as_bytes(), &mut |_, _| {
            contents += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(
        contents,
        versions.len(),
        "forgotten versions leave nothing behind"
    );
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
    assert!(matches!(open(), OpenError::Seal(SealError::WrongKey)));
    std::fs::write(&key, good).unwrap();
    world.reopen();
}
