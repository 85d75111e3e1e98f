//! Origins of zones: shared by name, changed for all at once, kept over a restart, and not deleted while
//! they are named.

use std::sync::atomic::Ordering::Relaxed;

use serde_json::json;

use super::*;
use crate::Names;
use snapshot::http::reach::Reach;
use snapshot::origins::Failure;

fn spec(value: serde_json::Value) -> OriginSpec {
    serde_json::from_value(value).unwrap()
}

fn two() -> OriginSpec {
    spec(
        json!({"addresses": [{"url": "http://192.0.2.1"}, {"url": "http://192.0.2.2", "weight": 2}]}),
    )
}

fn patch(value: serde_json::Value) -> HostPatch {
    HostPatch {
        origin: Some(serde_json::from_value(value).unwrap()),
        ..HostPatch::default()
    }
}

fn tenant() -> Intent {
    Intent {
        tenant: true,
        ..Intent::default()
    }
}

#[test]
fn names_are_told_from_hosts_and_urls() {
    let world = World::new();
    let zone = world.zone().id;
    let control = world.control();
    for wrong in ["", "a.b", "a:b", "A", "a b", "a/b", &"a".repeat(65)] {
        let made = control.create_origin(zone, wrong, two());
        assert!(made.is_err(), "{wrong}");
    }
    control.create_origin(zone, "back-ends_2", two()).unwrap();
    let again = control.create_origin(zone, "back-ends_2", two());
    assert!(matches!(again, Err(ChangeError::Exists { .. })));
    let to_itself = spec(json!({"name": "back-ends_2"}));
    assert!(control.create_origin(zone, "other", to_itself).is_err());
}

#[test]
fn hosts_share_it_and_what_is_known_of_its_addresses() {
    let mut world = World::new();
    let zone = world.served(MtlsMode::Off).id;
    let control = world.control();
    control
        .create_host(zone, host("b.example.test", MtlsMode::Off))
        .unwrap();
    let unknown = control.update_host(&name("b.example.test"), patch(json!({"name": "backends"})));
    assert!(
        unknown
            .unwrap_err()
            .to_string()
            .contains("no origin `backends`")
    );
    control.create_origin(zone, "backends", two()).unwrap();
    for host in ["api.example.test", "b.example.test"] {
        control
            .update_host(&name(host), patch(json!({"name": "backends"})))
            .unwrap();
    }
    let origin =
        |world: &World, host: &str| world.published.load().host(host).unwrap().origin.clone();
    let shared = origin(&world, "api.example.test");
    assert!(Arc::ptr_eq(&shared, &origin(&world, "b.example.test")));
    assert_eq!(&*shared.label, "example.test/backends");
    assert_eq!(world.published.load().origins.len(), 1);
    // One that is out stays out when something else changes.
    let now = std::time::Instant::now();
    for _ in 0..3 {
        shared.failed(0, Failure::Connect, now);
    }
    let change = json!({"balance": "least_requests"});
    control
        .update_origin(zone, "backends", serde_json::from_value(change).unwrap())
        .unwrap();
    let changed = origin(&world, "b.example.test");
    assert!(!Arc::ptr_eq(&shared, &changed));
    assert_eq!(changed.usable(now), 0b10);
    // With something else beside the name there would be two who say it.
    let both = patch(json!({"name": "backends", "protocol": "http2"}));
    assert!(control.update_host(&name("b.example.test"), both).is_err());
    world.reopen();
    assert_eq!(origin(&world, "b.example.test").addresses.len(), 2);
    let kept = world.control().origin(zone, "backends").unwrap();
    assert_eq!(kept.origin.addresses[1].weight, 2);
}

#[test]
fn another_reach_forgets_nothing_of_addresses() {
    let world = World::new();
    let zone = world.served(MtlsMode::Off).id;
    let control = world.control();
    control.create_origin(zone, "backends", two()).unwrap();
    let addresses = json!([{"url": "http://192.0.2.3"}, {"url": "http://192.0.2.4"}]);
    control
        .update_host(
            &name("api.example.test"),
            patch(json!({"addresses": addresses})),
        )
        .unwrap();
    let shared = NewHost {
        origin: spec(json!({"name": "backends"})),
        ..host("b.example.test", MtlsMode::Off)
    };
    control.create_host(zone, shared).unwrap();
    let origins = || {
        let mut all = world.published.load().origins.clone();
        all.sort_by(|one, other| one.label.cmp(&other.label));
        all
    };
    let before = origins();
    assert_eq!(before.len(), 2);
    let now = std::time::Instant::now();
    for group in &before {
        for _ in 0..3 {
            group.failed(0, Failure::Connect, now);
        }
    }
    let is_the_same = |why: &str| {
        for (group, before) in origins().iter().zip(&before) {
            assert_eq!(group.state.id, before.state.id, "{why}: its turns");
            assert_eq!(group.usable(now), 0b10, "{why}: what is out");
        }
    };
    control.set_reach(Reach::default()).unwrap();
    is_the_same("the same reach");
    let open = Reach {
        allows_private: true,
        ..Reach::default()
    };
    control.set_reach(open).unwrap();
    assert!(!Arc::ptr_eq(&origins()[0], &before[0]), "compiled anew");
    is_the_same("another reach");
}

#[test]
fn it_is_not_deleted_while_something_names_it() {
    let world = World::new();
    let zone = world.served(MtlsMode::Off).id;
    let control = world.control();
    control.create_origin(zone, "backends", two()).unwrap();
    let api = name("api.example.test");
    control
        .update_host(&api, patch(json!({"name": "backends"})))
        .unwrap();
    let route = NewRule {
        action: "route".into(),
        action_parameters: Some(json!({"origin": {"name": "backends"}})),
        ..rule("true")
    };
    let phase = Phase::HttpRequestOrigin;
    control
        .set_entrypoint(zone, phase, None, None, vec![route.clone()])
        .unwrap();
    let refused = control
        .delete_origin(zone, "backends")
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("host api.example.test and origin rule 1"),
        "{refused}"
    );
    let before = world.picture();
    let route = NewRule {
        action_parameters: Some(json!({"origin": {"name": "backend"}})),
        ..route
    };
    let misspelt = control.set_entrypoint(zone, phase, None, None, vec![route]);
    assert!(
        misspelt
            .unwrap_err()
            .to_string()
            .contains("no origin `backend`")
    );
    assert_eq!(world.picture(), before);
    control
        .set_entrypoint(zone, phase, None, None, Vec::new())
        .unwrap();
    control
        .update_host(&api, patch(json!({"url": "http://192.0.2.9"})))
        .unwrap();
    control.delete_origin(zone, "backends").unwrap();
    assert!(control.origin(zone, "backends").is_err());
    // A zone takes its origins with it.
    control.create_origin(zone, "backends", two()).unwrap();
    control.delete_zone(zone).unwrap();
    assert!(control.model().origins.is_empty());
}

#[test]
fn every_address_of_a_tenants_origin_is_confined() {
    let world = World::new();
    let zone = world.zone().id;
    let control = world.control();
    let inside =
        spec(json!({"addresses": [{"url": "http://192.0.2.1"}, {"url": "http://127.0.0.1:1"}]}));
    let made = control
        .acting(tenant())
        .create_origin(zone, "mine", inside.clone());
    let text = made.unwrap_err().to_string();
    assert!(text.contains("control.private_origins"), "{text}");
    control.create_origin(zone, "theirs", inside).unwrap();
    let made = control
        .acting(tenant())
        .create_origin(zone, "mine", two())
        .unwrap();
    assert!(made.origin.confined);
    // What an administrator has put into the zone, the zone may use, and not change as it likes.
    let theirs = NewHost {
        origin: spec(json!({"name": "theirs"})),
        ..host("api.example.test", MtlsMode::Off)
    };
    control.acting(tenant()).create_host(zone, theirs).unwrap();
    let change = serde_json::from_value(json!({"balance": "least_requests"})).unwrap();
    let changed = control
        .acting(tenant())
        .update_origin(zone, "theirs", change);
    assert!(changed.is_err(), "its addresses would be the tenant's");
}

#[test]
fn where_requests_go_is_said_anew_as_a_whole() {
    let world = World::new();
    world.served(MtlsMode::Off);
    let control = world.control();
    let api = name("api.example.test");
    let set = |value| {
        control
            .update_host(&api, patch(value))
            .unwrap()
            .origin
            .clone()
    };
    let several = json!([{"url": "http://192.0.2.1"}, {"url": "http://192.0.2.2"}]);
    let origin = set(
        json!({"addresses": several, "balance": "hash", "hash_by": "ip.src",
        "host_header": "h.test"}),
    );
    assert_eq!((origin.url.as_str(), origin.addresses.len()), ("", 2));
    let origin = set(json!({"addresses": [{"url": "http://192.0.2.3"}]}));
    assert_eq!(
        origin.hash_by.as_deref(),
        Some("ip.src"),
        "it is still said"
    );
    let origin = set(json!({"url": "http://192.0.2.4"}));
    assert_eq!((origin.addresses.len(), origin.hash_by), (0, None));
    assert_eq!(origin.host_header.as_deref(), Some("h.test"));
}

#[test]
fn names_that_mean_something_else_change_their_origins_and_no_others() {
    let world = World::new();
    let zone = world.served(MtlsMode::Off).id;
    let control = world.control();
    let named =
        spec(json!({"addresses": [{"url": "http://one.test"}, {"url": "http://192.0.2.9"}]}));
    control.create_origin(zone, "named", named).unwrap();
    let api = name("api.example.test");
    control
        .update_host(&api, patch(json!({"name": "named"})))
        .unwrap();
    let group = || {
        world
            .published
            .load()
            .host("api.example.test")
            .unwrap()
            .origin
            .clone()
    };
    let names = |addresses: &[&str]| {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Names([(Box::from("one.test"), addresses)].into())
    };
    let edition = || world.published.load().edition;
    control
        .set_names(names(&["192.0.2.1", "192.0.2.2"]))
        .unwrap();
    let before = (group(), edition());
    assert_eq!(before.0.addresses.len(), 3);
    control
        .set_names(names(&["192.0.2.1", "192.0.2.2"]))
        .unwrap();
    assert_eq!(edition(), before.1, "that is no news");
    control
        .set_names(names(&["192.0.2.2", "192.0.2.3"]))
        .unwrap();
    assert!(edition() > before.1);
    let now = group();
    let is_gone = |place: usize| before.0.addresses[place].origin.gone.load(Relaxed);
    assert_eq!([is_gone(0), is_gone(1), is_gone(2)], [true, false, false]);
    for (new, old) in [(0, 1), (2, 2)] {
        let (new, old) = (&now.addresses[new], &before.0.addresses[old]);
        assert_eq!(new.origin.key, old.origin.key);
        assert!(
            Arc::ptr_eq(&new.state, &old.state),
            "what is known of it stays"
        );
    }
    assert_eq!(now.state.id, before.0.state.id);
    // A name that nothing is known of any more has no address.
    control.set_names(Names::default()).unwrap();
    assert!(group().addresses[0].origin.addresses.is_empty());
}

#[test]
fn a_document_with_the_keys_that_origins_have_changes_nothing() {
    let world = World::new();
    let zone = world.served(MtlsMode::Off).id;
    let control = world.control();
    let pull = |name: &str| {
        let spec = fixtures::pki::Spec::client(name).at(Moment::now().seconds());
        fixtures::pki::Identity::self_signed(&spec)
    };
    let (one, other) = (pull("one"), pull("other"));
    let shown = json!({
        "url": "https://192.0.2.1", "ca_pem": fixtures::pki::foreign("O"),
        "client_certificate": { "certificate": one.chain_pem(), "private_key": one.key_pem() },
    });
    control
        .update_host(&name("api.example.test"), patch(shown.clone()))
        .unwrap();
    let shown: OriginPatch = serde_json::from_value(shown).unwrap();
    let new = shown.apply(&OriginSpec::default());
    control.create_origin(zone, "backends", new).unwrap();
    let whole = control.export(true).unwrap();
    let text = serde_json::to_string(&whole).unwrap();
    let key = serde_json::to_string(&one.key_pem()).unwrap();
    assert_eq!(text.matches(&key).count(), 2, "of both");
    let revision = control.model().revision;
    let applied = control.apply(&whole, ApplyOptions::default()).unwrap();
    assert_eq!(applied.changes, vec![]);
    assert_eq!(control.model().revision, revision);
    // A key that is not the certificate's is refused all the same.
    let wrong = text.replace(&key, &serde_json::to_string(&other.key_pem()).unwrap());
    let wrong = serde_json::from_str(&wrong).unwrap();
    let refused = control.apply(&wrong, ApplyOptions::default()).unwrap_err();
    assert!(
        refused.to_string().contains("client_certificate"),
        "{refused}"
    );
    assert_eq!(control.model().revision, revision);
}
