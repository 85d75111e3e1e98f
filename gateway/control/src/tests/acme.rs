//! What ACME leaves: accounts, orders, certificates; and what becomes of it with its host.

use std::time::Duration;

use super::*;
use crate::watch::expiry::{Expiring, ExpiryKind};
use fixtures::pki::{DAY, Identity, Spec};
use vocabulary::settings::AcmeChallenge;

const HOST: &str = "api.example.test";
const DIRECTORY: &str = "https://acme.test/dir";
const OTHER: &str = "https://other.test/dir";

fn wanting() -> NewHost {
    NewHost {
        acme: true,
        ..host(HOST, MtlsMode::Off)
    }
}

fn install(control: &Control, spec: &Spec) -> Result<Arc<ServerCertificate>, ChangeError> {
    let made = Identity::self_signed(spec);
    let key = Secret::new(made.key_pem().into_bytes());
    control.install_acme_certificate(&name(HOST), begun_on(control), &made.chain_pem(), &key)
}

/// When the host's order was begun; now, when there is none.
fn begun_on(control: &Control) -> Moment {
    let model = control.model();
    let order = model.acme_orders.get(&name(HOST));
    order.map_or_else(Moment::now, |order| order.begun_on)
}

#[test]
fn a_certificate_takes_its_place_and_the_next_one_takes_the_same() {
    let mut world = World::new();
    let zone = world.zone();
    let control = world.control();
    control.create_host(zone.id, wanting()).unwrap();
    assert!(world.published.load().host(HOST).is_none(), "not served");
    let first = install(control, &Spec::server(&[HOST])).unwrap();
    assert!(world.published.load().host(HOST).is_some());
    assert_eq!(first.came_from(), ServerCertificateSource::Acme);
    let second = install(control, &Spec::server(&[HOST])).unwrap();
    assert_eq!((second.id, second.version), (first.id, 2));
    assert_ne!(second.fingerprint_sha256, first.fingerprint_sha256);
    assert_eq!(control.model().server_certificates.len(), 1);
    // After a restart it is there, as ACME's.
    world.reopen();
    let model = world.control().model();
    let record = &model.hosts[&name(HOST)];
    assert_eq!(model.by_acme(record).unwrap().version, 2);
    // It leaves with its host, and with it what is known of orders.
    world.control().delete_host(&name(HOST)).unwrap();
    let model = world.control().model();
    assert!(model.server_certificates.is_empty());
    assert!(model.acme_orders.is_empty());
}

#[test]
fn what_was_presented_before_is_presented_until_then_and_what_came_with_the_host_leaves() {
    let world = World::new();
    let zone = world.zone();
    let control = world.control();
    let brought = Identity::self_signed(&Spec::server(&[HOST]));
    let given = HostCertificates::Given(vec![(brought.chain_pem(), brought.key_pem())]);
    control
        .create_host_with(zone.id, host(HOST, MtlsMode::Off), &given)
        .unwrap();
    let patch = HostPatch {
        acme: Some(true),
        ..HostPatch::default()
    };
    control.update_host(&name(HOST), patch).unwrap();
    assert!(world.published.load().host(HOST).is_some());
    let came = install(control, &Spec::server(&[HOST])).unwrap();
    let model = control.model();
    assert_eq!(model.server_certificates.len(), 1, "the brought one left");
    assert_eq!(model.hosts[&name(HOST)].certificate, Some(came.id));
    // Another choice needs a word; without ACME it is free, and ACME's leaves.
    let other = control
        .develop_server_certificate(zone.id, &[name(HOST)])
        .unwrap();
    let choose = |acme| HostPatch {
        acme,
        certificate: Some(Some(other.id)),
        ..HostPatch::default()
    };
    let refused = control.update_host(&name(HOST), choose(None)).unwrap_err();
    assert!(refused.to_string().contains("`acme` to false"), "{refused}");
    control
        .update_host(&name(HOST), choose(Some(false)))
        .unwrap();
    let left: Vec<Uuid> = control
        .model()
        .server_certificates
        .keys()
        .copied()
        .collect();
    assert_eq!(left, [other.id]);
}

#[test]
fn what_was_brought_is_an_ordinary_one_once_acme_is_off() {
    let world = World::new();
    let zone = world.zone();
    let control = world.control();
    control.create_host(zone.id, wanting()).unwrap();
    let brought = install(control, &Spec::server(&[HOST])).unwrap();
    let exported = || {
        let all = serde_json::to_value(control.export(false).unwrap()).unwrap();
        let zone = &all["zones"][0];
        let listed = zone["server_certificates"].as_array().unwrap().len();
        let named = zone["hosts"][0]["certificate"].as_str().map(str::to_owned);
        (listed, named)
    };
    assert_eq!(exported(), (0, None));
    let off = HostPatch {
        acme: Some(false),
        ..HostPatch::default()
    };
    control.update_host(&name(HOST), off).unwrap();
    let model = control.model();
    let kept = &model.server_certificates[&brought.id];
    assert_eq!(kept.came_from(), ServerCertificateSource::Uploaded);
    assert_eq!(model.hosts[&name(HOST)].certificate, Some(brought.id));
    let print = brought.fingerprint_sha256.to_string();
    assert_eq!(
        exported(),
        (1, Some(print)),
        "what applies it finds what the host names"
    );
}

#[test]
fn a_chain_that_cannot_serve_changes_nothing() {
    let world = World::new();
    let zone = world.zone();
    let control = world.control();
    let none = install(control, &Spec::server(&[HOST])).unwrap_err();
    assert!(none.to_string().contains("no host"), "{none}");
    control.create_host(zone.id, wanting()).unwrap();
    let good = install(control, &Spec::server(&[HOST])).unwrap();
    let before = world.picture();
    let expired = Spec {
        begins: -2 * DAY,
        ends: -DAY,
        ..Spec::server(&[HOST])
    };
    for wrong in [Spec::server(&["other.example.test"]), expired] {
        let error = install(control, &wrong).unwrap_err();
        assert_eq!(world.picture(), before, "{error}");
    }
    let key = Identity::self_signed(&Spec::server(&[HOST])).key_pem();
    let chain = &good.chain;
    let key = Secret::new(key.into_bytes());
    let begun = begun_on(control);
    let foreign = control.install_acme_certificate(&name(HOST), begun, chain, &key);
    assert!(foreign.is_err());
    assert_eq!(world.picture(), before);
    for wrong in ["*.example.test", "*.a.example.test"] {
        let host = NewHost {
            acme: true,
            ..host(wrong, MtlsMode::Off)
        };
        let error = control.create_host(zone.id, host).unwrap_err().to_string();
        assert!(
            error.contains("DNS-01") && error.contains("--cert"),
            "{error}"
        );
    }
}

#[test]
fn an_order_counts_as_failed_until_it_is_not_whatever_happens() {
    let mut world = World::new();
    let zone = world.zone();
    world.control().create_host(zone.id, wanting()).unwrap();
    let order = |world: &World| world.control().model().acme_orders[&name(HOST)].clone();
    world.control().begin_acme_order(&name(HOST)).unwrap();
    assert_eq!(
        (order(&world).failures, order(&world).error.clone()),
        (1, None)
    );
    world.reopen();
    assert_eq!(order(&world).failures, 1);
    let begun = world.control().begin_acme_order(&name(HOST)).unwrap();
    let why = format!("\u{1b}[2J{}", "ä".repeat(2_000));
    let wait = Some((DIRECTORY, Duration::from_secs(3_600)));
    world
        .control()
        .fail_acme_order(&name(HOST), begun, &why, wait)
        .unwrap();
    let known = order(&world);
    assert_eq!(known.failures, 2);
    assert!((3_600..3_700).contains(&known.left_alone[DIRECTORY]));
    let kept = known.error.clone().unwrap();
    assert!(kept.starts_with(" [2J") && kept.len() <= limits::ACME_ERROR_BYTES_MAX);
    install(world.control(), &Spec::server(&[HOST])).unwrap();
    assert_eq!(
        (order(&world).failures, order(&world).error.clone()),
        (0, None)
    );
    turn(&world, false);
    assert!(world.control().model().acme_orders.is_empty());
    assert!(world.control().begin_acme_order(&name(HOST)).is_err());
    world.reopen();
    assert!(world.control().model().acme_orders.is_empty());
}

fn turn(world: &World, on: bool) {
    let patch = HostPatch {
        acme: Some(on),
        ..HostPatch::default()
    };
    world.control().update_host(&name(HOST), patch).unwrap();
}

#[test]
fn pauses_outlive_that_acme_is_turned_off_and_on() {
    let mut world = World::new();
    let zone = world.zone();
    world.control().create_host(zone.id, wanting()).unwrap();
    let wait = Some((DIRECTORY, Duration::from_secs(60)));
    for _ in 0..3 {
        let control = world.control();
        let begun = control.begin_acme_order(&name(HOST)).unwrap();
        control
            .fail_acme_order(&name(HOST), begun, "no", wait)
            .unwrap();
    }
    let known = world.control().model().acme_orders[&name(HOST)].clone();
    assert_eq!(known.failures, 3);
    turn(&world, false);
    // Whatever else is changed of it meanwhile.
    let patch = HostPatch {
        mtls: Some(Some(MtlsMode::Request)),
        ..HostPatch::default()
    };
    world.control().update_host(&name(HOST), patch).unwrap();
    assert!(world.control().model().acme_orders.is_empty());
    world.reopen();
    turn(&world, true);
    assert_eq!(world.control().model().acme_orders[&name(HOST)], known);
    world.reopen();
    let model = world.control().model();
    assert_eq!(model.acme_orders[&name(HOST)], known);
    assert_eq!(model.hosts[&name(HOST)].acme_before, None);
}

#[test]
fn a_pause_is_for_the_server_that_asks_for_it_and_outlives_orders_at_others() {
    let world = World::new();
    let zone = world.zone();
    let control = world.control();
    control.create_host(zone.id, wanting()).unwrap();
    let fail = |directory: &str, seconds| {
        let begun = control.begin_acme_order(&name(HOST)).unwrap();
        let wait = Some((directory, Duration::from_secs(seconds)));
        control
            .fail_acme_order(&name(HOST), begun, "no", wait)
            .unwrap();
        control.model().acme_orders[&name(HOST)].left_alone.clone()
    };
    assert_eq!(fail(DIRECTORY, 3_600).len(), 1);
    let both = fail(OTHER, 60);
    assert!((3_500..=3_600).contains(&both[DIRECTORY]), "{both:?}");
    assert!((60..160).contains(&both[OTHER]), "{both:?}");
    // What is over is not kept.
    fail(OTHER, 0);
    let begun = control.begin_acme_order(&name(HOST)).unwrap();
    control
        .fail_acme_order(&name(HOST), begun, "no", None)
        .unwrap();
    let known = control.model().acme_orders[&name(HOST)].left_alone.clone();
    assert_eq!(known.len(), 1, "{known:?}");
    // A certificate ends none.
    install(control, &Spec::server(&[HOST])).unwrap();
    let known = control.model().acme_orders[&name(HOST)].left_alone.clone();
    assert!(known.contains_key(DIRECTORY), "{known:?}");
}

fn left() -> LeftOrder {
    LeftOrder {
        directory: Some(DIRECTORY.into()),
        url: Some("https://acme.test/order/1".into()),
        proof: Some(AcmeProof {
            challenge: AcmeChallenge::Http01,
            token: "token".into(),
            key_authorization: "token.thumbprint".into(),
        }),
    }
}

#[test]
fn what_becomes_of_an_order_says_nothing_of_one_that_was_begun_after_it() {
    let world = World::new();
    let zone = world.zone();
    let control = world.control();
    control.create_host(zone.id, wanting()).unwrap();
    let first = control.begin_acme_order(&name(HOST)).unwrap();
    let second = control.begin_acme_order(&name(HOST)).unwrap();
    assert_ne!(first, second);
    let known = control.model().acme_orders[&name(HOST)].clone();
    let proof = left().proof.unwrap();
    let refused = [
        control.fail_acme_order(&name(HOST), first, "no", None),
        control.leave_acme_order(&name(HOST), first, left()),
        control.show_acme_proof(&name(HOST), first, &proof),
    ];
    for refused in refused {
        let why = refused.unwrap_err().to_string();
        assert!(why.contains("another one by now"), "{why}");
    }
    assert_eq!(control.model().acme_orders[&name(HOST)], known);
    control
        .show_acme_proof(&name(HOST), second, &proof)
        .unwrap();
    control
        .leave_acme_order(&name(HOST), second, left())
        .unwrap();
    let known = control.model().acme_orders[&name(HOST)].clone();
    assert_eq!(known.shown, Some(proof));
    assert_eq!(known.left, Some(left()));
}

#[test]
fn an_order_that_is_left_for_another_process_is_no_failure() {
    let mut world = World::new();
    let zone = world.zone();
    world.control().create_host(zone.id, wanting()).unwrap();
    let begun = world.control().begin_acme_order(&name(HOST)).unwrap();
    let left = left();
    world
        .control()
        .leave_acme_order(&name(HOST), begun, left.clone())
        .unwrap();
    world.reopen();
    let order = world.control().model().acme_orders[&name(HOST)].clone();
    assert_eq!((order.failures, &order.left), (0, &Some(left)));
    // Who goes on with it does so once.
    world.control().begin_acme_order(&name(HOST)).unwrap();
    let order = world.control().model().acme_orders[&name(HOST)].clone();
    assert_eq!((order.failures, &order.left), (1, &None));
}

#[test]
fn the_key_of_an_account_is_sealed_for_its_directory() {
    let mut world = World::new();
    let key = Secret::new(b"a private key, so to speak".to_vec());
    let control = world.control();
    assert!(control.acme_account(DIRECTORY).unwrap().is_none());
    control
        .keep_acme_account(DIRECTORY, "https://acme.test/1", &key)
        .unwrap();
    // Whoever has begun at the same time has another key, which is not taken.
    let late = Secret::new(b"another".to_vec());
    for url in ["", "https://acme.test/2"] {
        let refused = control.keep_acme_account(DIRECTORY, url, &late);
        assert!(refused.unwrap_err().to_string().contains("by now"));
    }
    world.reopen();
    let (url, opened) = world.control().acme_account(DIRECTORY).unwrap().unwrap();
    assert_eq!(url, "https://acme.test/1");
    assert_eq!(opened.reveal(), key.reveal());
    assert!(world.control().acme_account(OTHER).unwrap().is_none());
    let stored = std::fs::read(world.path()).unwrap();
    let plain = stored
        .windows(key.reveal().len())
        .any(|part| part == key.reveal());
    assert!(!plain);
    let audit = format!(
        "{:?}",
        world
            .control()
            .find_audit(&AuditQuery {
                limit: 9,
                ..AuditQuery::default()
            })
            .unwrap()
    );
    assert!(
        audit.contains("ACME account") && !audit.contains("so to speak"),
        "{audit}"
    );
}

#[test]
fn a_document_says_that_it_is_wanted_and_brings_and_prunes_no_certificate() {
    let world = World::new();
    let zone = world.zone();
    let control = world.control();
    control.create_host(zone.id, wanting()).unwrap();
    install(control, &Spec::server(&[HOST])).unwrap();
    let document = control.export(false).unwrap();
    let text = serde_json::to_value(&document).unwrap();
    let host = &text["zones"][0]["hosts"][0];
    assert_eq!(host["acme"], true);
    assert!(host.get("certificate").is_none(), "{host}");
    assert_eq!(
        text["zones"][0]["server_certificates"],
        serde_json::json!([])
    );
    // After a renewal the same document still changes nothing.
    install(control, &Spec::server(&[HOST])).unwrap();
    let revision = control.model().revision;
    let options = || ApplyOptions {
        prune: true,
        ..ApplyOptions::default()
    };
    control.apply(&document, options()).unwrap();
    assert_eq!(control.model().revision, revision);
    assert_eq!(control.model().server_certificates.len(), 1);
    // Elsewhere it makes a host that waits.
    let other = World::new();
    other.control().apply(&document, options()).unwrap();
    assert!(other.control().model().hosts[&name(HOST)].acme);
}

#[test]
fn one_that_is_renewed_in_time_is_not_told_of_before() {
    let world = World::new();
    let zone = world.zone();
    let control = world.control();
    control.create_host(zone.id, wanting()).unwrap();
    let now = Moment::now();
    let counts = || {
        let all = control.expiring_by_kind(now);
        let found = all.into_iter().find(|one| one.kind == ExpiryKind::Server);
        let Expiring { within, .. } = found.unwrap();
        within.map(|(_, count)| count)
    };
    for (begins, ends, expected) in [
        // Of 90 days, in its last third.
        (-61 * DAY, 29 * DAY, [0, 0, 0]),
        (-84 * DAY, 6 * DAY, [0, 1, 0]),
        // Of six days.
        (-4 * DAY, 2 * DAY, [0, 0, 0]),
        (-5 * DAY, DAY / 2, [0, 0, 1]),
        (-1, 60, [0, 0, 0]),
    ] {
        let spec = Spec {
            begins,
            ends,
            ..Spec::server(&[HOST])
        };
        install(control, &spec).unwrap();
        assert_eq!(counts(), expected, "{begins} {ends}");
    }
}
