//! What is lost for good, and server certificates that come with a host and leave with it.

use super::*;
use crate::operations::host_certificates::HostCertificates;
use fixtures::pki::{Identity, Spec};

fn pair(names: &[&str], days: i64) -> HostCertificates {
    let made = Identity::self_signed(&Spec {
        ends: days * 86_400,
        ..Spec::server(names)
    });
    HostCertificates::Given(vec![(made.chain_pem(), made.key_pem())])
}

fn api() -> NewHost {
    host("api.example.test", MtlsMode::Off)
}

#[test]
fn a_zone_says_what_is_lost_with_it() {
    let world = World::new();
    let zone = world.served(MtlsMode::Request);
    let control = world.control();
    for name in ["a", "b", "c"] {
        control
            .create_certificate(zone.id, &Subject::named(name), 10)
            .unwrap();
    }
    control.roll_authority(zone.id, None).unwrap();
    let tried = Intent {
        dry_run: true,
        ..Intent::default()
    };
    let managed: Vec<Uuid> = control
        .model()
        .managed(zone.id)
        .iter()
        .map(|ca| ca.id)
        .collect();
    let only_try = control.acting(tried);
    let old = only_try.retire_authority(zone.id, managed[1]).unwrap();
    assert_eq!((old.ca_keys, old.client_certificates), (1, 3));
    let lost = only_try.delete_zone(zone.id).unwrap();
    assert_eq!(control.delete_zone(zone.id).unwrap(), lost);
    let counts = (
        lost.hosts,
        lost.ca_keys,
        lost.client_certificates,
        lost.server_keys,
    );
    assert_eq!(counts, (1, 2, 3, 1), "{lost:?}");
}

#[test]
fn certificates_that_come_with_a_host_leave_with_their_last_user() {
    let world = World::new();
    let zone = world.zone();
    let control = world.control();
    let kept = || control.model().server_certificates.len();
    // A host that is refused leaves no key behind.
    let mut bad = api();
    bad.origin.url = "nonsense".into();
    let given = pair(&["api.example.test"], 10);
    assert!(control.create_host_with(zone.id, bad, &given).is_err());
    assert_eq!(kept(), 0);
    let made = control.create_host_with(zone.id, api(), &given).unwrap();
    assert_eq!(kept(), 1);
    // A renewal takes the old one away, and the same again is not kept twice.
    let newer = pair(&["api.example.test", "www.example.test"], 20);
    for _ in 0..2 {
        control
            .update_host_with(&made.name, HostPatch::default(), &newer)
            .unwrap();
        assert_eq!(kept(), 1);
    }
    // Another host uses it without naming it: then it stays when the first one goes.
    let www = host("www.example.test", MtlsMode::Off);
    control.create_host(zone.id, www).unwrap();
    assert_eq!(control.delete_host(&made.name).unwrap().server_keys, 0);
    assert_eq!(kept(), 1);
    assert_eq!(
        control
            .delete_host(&name("www.example.test"))
            .unwrap()
            .server_keys,
        1
    );
    assert_eq!(kept(), 0);
    // One that was uploaded by itself is nobody's to take away.
    let HostCertificates::Given(pairs) = pair(&["api.example.test"], 30) else {
        panic!("it is given");
    };
    let own = control
        .upload_server_certificate(zone.id, &pairs[0].0, &pairs[0].1)
        .unwrap();
    let mut named = api();
    named.certificate = Some(own.id);
    control.create_host(zone.id, named).unwrap();
    control.delete_host(&name("api.example.test")).unwrap();
    assert!(control.model().server_certificates.contains_key(&own.id));
    // A development certificate leaves as well.
    let before = kept();
    let made = control.create_host_with(zone.id, api(), &HostCertificates::Development);
    assert_eq!(kept(), before + 1);
    made.unwrap();
    // The one above covers it too, so that the gateway would go on without it.
    let gone = control.delete_host(&name("api.example.test")).unwrap();
    assert_eq!(gone.server_keys, 1);
    assert_eq!(kept(), before);
}
