//! Tenants: whose a name is, and what a token of a zone may not reach.

use super::*;
use crate::change::intent::Intent;
use snapshot::http::reach::Reach;

fn tenant() -> Intent {
    Intent {
        tenant: true,
        ..Intent::default()
    }
}

fn at(url: &str) -> NewHost {
    let mut new = host("api.example.test", MtlsMode::Off);
    new.origin.url = url.into();
    new
}

#[test]
fn a_name_belongs_to_the_nearest_zone() {
    let world = World::new();
    let control = world.control();
    let outer = control.create_zone("example.test").unwrap();
    let inner = control.create_zone("sub.example.test").unwrap();
    let deep = control.create_zone("deep.sub.example.test").unwrap();
    for (name_, owner) in [
        ("example.test", &outer),
        ("a.example.test", &outer),
        ("xsub.example.test", &outer),
        ("*.example.test", &outer),
        ("sub.example.test", &inner),
        ("a.sub.example.test", &inner),
        ("*.sub.example.test", &inner),
        ("deep.sub.example.test", &deep),
        ("x.deep.sub.example.test", &deep),
    ] {
        for zone in [&outer, &inner, &deep] {
            let made = control.create_host(zone.id, host(name_, MtlsMode::Off));
            let names = BTreeSet::from([name(name_)]);
            let trusted = control.set_associations(zone.id, AuthoritySet::Managed, names);
            assert_eq!(
                made.is_ok(),
                zone.id == owner.id,
                "{name_} in {}",
                zone.name
            );
            let trusted = trusted.is_ok();
            assert_eq!(trusted, zone.id == owner.id, "{name_} in {}", zone.name);
            control
                .set_associations(zone.id, AuthoritySet::Managed, BTreeSet::new())
                .unwrap();
        }
    }
    let refused = control.create_host(outer.id, host("b.sub.example.test", MtlsMode::Off));
    let text = refused.unwrap_err().to_string();
    assert!(
        text.contains("belongs to the zone sub.example.test"),
        "{text}"
    );
    // With the zone, its claim goes.
    control.delete_zone(inner.id).unwrap();
    let made = control.create_host(outer.id, host("b.sub.example.test", MtlsMode::Off));
    made.unwrap();
}

#[test]
fn a_zone_below_which_another_has_hosts_is_refused_until_they_are_gone() {
    let world = World::new();
    let control = world.control();
    let outer = control.create_zone("example.test").unwrap();
    for text in ["a.sub.example.test", "sub.example.test", "*.example.test"] {
        control
            .create_host(outer.id, host(text, MtlsMode::Off))
            .unwrap();
    }
    let text = control.create_zone("sub.example.test").unwrap_err();
    let text = text.to_string();
    assert!(text.contains("a.sub.example.test and 1 more"), "{text}");
    control.delete_host(&name("a.sub.example.test")).unwrap();
    assert!(control.create_zone("sub.example.test").is_err());
    control.delete_host(&name("sub.example.test")).unwrap();
    control.create_zone("sub.example.test").unwrap();
    // A zone above is no matter: its hosts are below the nearer one.
    control.create_zone("test").unwrap();
}

#[test]
fn a_wildcard_does_not_answer_for_the_name_of_another_zone() {
    let world = World::new();
    let control = world.control();
    let outer = control.create_zone("example.test").unwrap();
    let names = [name("example.test"), name("*.example.test")];
    control
        .develop_server_certificate(outer.id, &names)
        .unwrap();
    control
        .create_host(outer.id, host("*.example.test", MtlsMode::Off))
        .unwrap();
    let is_served = |name: &str| world.published.load().host(name).is_some();
    assert!(is_served("sub.example.test"));
    let admission = world.published.load().admission();
    let inner = control.create_zone("sub.example.test").unwrap();
    // A zone alone is no matter of the data path; the next change that is, tells it.
    control
        .create_host(inner.id, host("x.sub.example.test", MtlsMode::Off))
        .unwrap();
    assert!(!is_served("sub.example.test"));
    assert!(is_served("other.example.test"));
    assert_ne!(world.published.load().admission(), admission);
}

#[test]
fn a_tenants_origin_is_confined_and_an_administrators_is_not() {
    let world = World::new();
    let control = world.control();
    let zone = world.zone();
    for url in [
        "http://127.0.0.1:8480",
        "http://127.1:8480",
        "http://0x7f000001",
        "http://2130706433:80",
        "https://localhost",
        "http://[::1]",
        "http://[::ffff:169.254.169.254]",
        "http://169.254.169.254",
        "http://0.0.0.0:1",
        "http://[fe80::1]:1",
    ] {
        let made = control.acting(tenant()).create_host(zone.id, at(url));
        let text = made.unwrap_err().to_string();
        assert!(text.contains("control.private_origins"), "{url}: {text}");
        let made = control.create_host(zone.id, at(url)).unwrap();
        assert!(!made.origin.confined, "{url}");
        control.delete_host(&made.name).unwrap();
    }
    let url = "http://origin.example:80";
    let made = control.acting(tenant()).create_host(zone.id, at(url));
    assert!(made.unwrap().origin.confined);
    // What an administrator says, replaces it.
    let patch = HostPatch {
        origin: Some(at("http://127.0.0.1:1").origin.into()),
        ..HostPatch::default()
    };
    let api = name("api.example.test");
    assert!(
        !control
            .update_host(&api, patch.clone())
            .unwrap()
            .origin
            .confined
    );
    let taken = control.acting(tenant()).update_host(&api, patch.clone());
    assert!(!taken.unwrap().origin.confined, "the same is no change");
}

#[test]
fn the_policy_may_change_and_what_tenants_set_is_checked_against_it() {
    let world = World::new();
    let control = world.control();
    let zone = world.zone();
    control
        .develop_server_certificate(zone.id, &[name("*.example.test")])
        .unwrap();
    let open = Reach {
        allows_private: true,
        ..Reach::default()
    };
    control.set_reach(open).unwrap();
    let url = "http://localhost:1";
    let made = control.acting(tenant()).create_host(zone.id, at(url));
    assert!(made.unwrap().origin.confined);
    let reach = || {
        let snapshot = world.published.load();
        let host = snapshot.host("api.example.test").unwrap();
        (host.origin.first().reach.is_some(), host.origin.first().key)
    };
    let (confined, key) = reach();
    assert!(!confined);
    let known = || {
        let snapshot = world.published.load();
        let host = snapshot.host("api.example.test").unwrap();
        host.origin.addresses[0].state.clone()
    };
    let before = known();
    control.set_reach(Reach::default()).unwrap();
    assert!(reach().0);
    assert_ne!(reach().1, key, "no connection is taken over");
    assert!(Arc::ptr_eq(&known(), &before), "what is known of it stays");
    // Other parts of it can still be changed.
    let patch = HostPatch {
        mtls: Some(Some(MtlsMode::Request)),
        ..HostPatch::default()
    };
    control
        .update_host(&name("api.example.test"), patch)
        .unwrap();
    assert!(reach().0, "and it stays confined");
}

#[test]
fn an_origin_rule_of_a_tenant_reaches_no_further_than_its_origins() {
    let world = World::new();
    let control = world.control();
    let zone = control.create_zone("example.test").unwrap().id;
    control.create_host(zone, at("http://192.0.2.1:9")).unwrap();
    let rule = |parameters: serde_json::Value| NewRule {
        action: "route".into(),
        action_parameters: Some(parameters),
        ..NewRule::block("true")
    };
    let phase = Phase::HttpRequestOrigin;
    let to = |host: &str| serde_json::json!({ "origin": { "host": host } });
    let of_tenant = control.acting(tenant());
    let set = |rules: Vec<NewRule>| control.set_entrypoint(zone, phase, None, None, rules);
    let confined = |rules: Vec<NewRule>| of_tenant.set_entrypoint(zone, phase, None, None, rules);
    for host in ["127.0.0.1", "::1", "localhost", "169.254.169.254", "0x7f.1"] {
        let refused = confined(vec![rule(to(host))]).unwrap_err().to_string();
        assert!(
            refused.contains("action_parameters.origin.host") && refused.contains("out of reach"),
            "{host}: {refused}"
        );
    }
    let ruleset = confined(vec![rule(to("192.0.2.7")), rule(to("o.test"))]).unwrap();
    assert!(ruleset.rules.iter().all(|rule| rule.confined));
    // A port alone leads past the origin as well: it is checked when it is connected to.
    let port = serde_json::json!({ "origin": { "port": 9443 } });
    let ruleset = confined(vec![rule(port)]).unwrap();
    assert!(ruleset.rules[0].confined);
    // What others set may not be widened by a tenant, and stays theirs when it is left alone.
    let ruleset = set(vec![rule(to("127.0.0.1"))]).unwrap();
    let known = ruleset.rules[0].clone();
    assert!(!known.confined);
    let patch = RulePatch {
        expression: Some("ssl".into()),
        ..RulePatch::default()
    };
    let (id, patched) = (ruleset.id, patch.clone());
    assert!(
        of_tenant
            .update_rule(zone, id, known.id, patched, None)
            .is_err()
    );
    let added = of_tenant.create_rule(zone, id, rule(to("192.0.2.7")), None);
    let confined: Vec<bool> = added
        .unwrap()
        .rules
        .iter()
        .map(|rule| rule.confined)
        .collect();
    assert_eq!(confined, [false, true]);
    let updated = control.update_rule(zone, id, known.id, patch, None);
    assert!(!updated.unwrap().rules[0].confined);
}

#[test]
fn a_certificate_for_an_origin_does_not_follow_a_tenant_to_another_server() {
    let world = World::new();
    let control = world.control();
    let zone = control.create_zone("example.test").unwrap().id;
    let now = Moment::now().seconds();
    let spec = fixtures::pki::Spec::client("pull").at(now);
    let identity = fixtures::pki::Identity::self_signed(&spec);
    let certificate = serde_json::json!({
        "certificate": identity.chain_pem(), "private_key": identity.key_pem(),
    });
    let mut new = at("https://192.0.2.1");
    let patch: OriginPatch = serde_json::from_value(serde_json::json!({
        "url": "https://192.0.2.1", "client_certificate": certificate,
    }))
    .unwrap();
    new.origin = patch.apply(&new.origin);
    let host = control.create_host(zone, new).unwrap();
    let moved = |more: serde_json::Value| {
        let mut origin = serde_json::json!({ "url": "https://192.0.2.2" });
        for (key, value) in more.as_object().unwrap() {
            origin[key] = value.clone();
        }
        HostPatch {
            origin: Some(serde_json::from_value(origin).unwrap()),
            ..HostPatch::default()
        }
    };
    let tenant = control.acting(tenant());
    let nothing = serde_json::json!({});
    let refused = tenant.update_host(&host.name, moved(nothing.clone()));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("with its key"), "{refused}");
    // With the key, without the certificate, or by who may do everything.
    for more in [
        serde_json::json!({ "client_certificate": certificate }),
        serde_json::json!({ "client_certificate": null }),
    ] {
        tenant.update_host(&host.name, moved(more)).unwrap();
        let back: OriginPatch = serde_json::from_value(serde_json::json!({
            "url": "https://192.0.2.1", "client_certificate": certificate,
        }))
        .unwrap();
        let back = HostPatch {
            origin: Some(back),
            ..HostPatch::default()
        };
        control.update_host(&host.name, back).unwrap();
    }
    control.update_host(&host.name, moved(nothing)).unwrap();
}
