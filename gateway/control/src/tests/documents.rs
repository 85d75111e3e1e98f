//! The configuration as a document: what is exported is what is applied.

use serde_json::{Value, json};

use super::*;
use fixtures::pki::foreign;

pub(super) fn document(value: Value) -> Document {
    serde_json::from_value(value).unwrap()
}

pub(super) fn apply(control: &Control, value: &Value) -> Result<Applied, ChangeError> {
    control.apply(&document(value.clone()), ApplyOptions::default())
}

pub(super) fn told(applied: &Applied) -> Vec<String> {
    let changes = applied.changes.iter();
    changes
        .map(|one| format!("{} {} {}", one.action, one.noun, one.key))
        .collect()
}

/// One of everything.
pub(super) fn full(world: &World) -> Arc<Zone> {
    let control = world.control();
    let zone = world.served(MtlsMode::Require);
    let ca = control.upload_authority("partner", &foreign("P")).unwrap();
    control.upload_authority("twin", &foreign("T1")).unwrap();
    let twin = control.upload_authority("twin", &foreign("T2")).unwrap();
    let patch = CrlPatch {
        policy: Some(Some(tls::CrlPolicy::Soft)),
        file: Some(Some("/tmp/x.crl".into())),
        urls: Some(vec!["http://ca.example.test/x.crl".into()]),
        fetch_every_sec: Some(Some(3600)),
    };
    control.set_crl(ca.id, patch).unwrap();
    let patch = OcspPatch {
        url: Some(Some("http://ocsp.example.test/".into())),
        policy: Some(tls::CrlPolicy::Soft),
        nonce: Some(true),
    };
    control.set_ocsp(ca.id, &patch).unwrap();
    let set = |ca: &Authority, names: &[&str]| {
        let names = names.iter().map(|text| name(text)).collect();
        control
            .set_associations(zone.id, AuthoritySet::Uploaded(ca.id), names)
            .unwrap();
    };
    set(&ca, &["api.example.test", "later.example.test"]);
    set(&twin, &["api.example.test"]);
    control
        .create_host(zone.id, host("plain.example.test", MtlsMode::Off))
        .unwrap();
    let list = control
        .create_list("office", ListKind::Ip, "where we sit")
        .unwrap();
    let items = vec![("10.0.0.0/8".to_owned(), "in".to_owned())];
    control
        .change_items(list.id, ItemsChange::Replace(items))
        .unwrap();
    control
        .add_rule(zone.id, rule("ip.src in $office"), None)
        .unwrap();
    let named = NewRule {
        reference: Some("mine".into()),
        enabled: false,
        ..rule("ssl")
    };
    control.add_rule(zone.id, named, None).unwrap();
    // A twin of the first.
    control
        .add_rule(zone.id, rule("ip.src in $office"), None)
        .unwrap();
    let limit = json!({
        "characteristics": ["ip.src"], "period": 60, "requests_per_period": 100,
    });
    let limit = NewRule {
        ratelimit: Some(limit),
        ..rule("ip.src in $office")
    };
    let headers = json!({ "headers": { "x-secret": { "operation": "remove" } } });
    let header = NewRule {
        action: "rewrite".into(),
        action_parameters: Some(headers),
        ..rule("true")
    };
    for (phase, one) in [
        (Phase::HttpRatelimit, limit),
        (Phase::HttpRequestLateTransform, header),
    ] {
        control
            .set_entrypoint(zone.id, phase, None, None, vec![one])
            .unwrap();
    }
    control.create_zone("other.test").unwrap();
    zone
}

#[test]
fn rules_of_every_phase_are_told_and_checked() {
    let world = World::new();
    full(&world);
    let control = world.control();
    let zone = |section: &str, rules: Value| json!({ "postern": 1, "zones": [{ "name": "example.test", section: rules }] });
    let exported = serde_json::to_value(control.export(false).unwrap()).unwrap();
    let mut limit = exported["zones"][0]["rate_limits"][0].clone();
    limit["ratelimit"]["period"] = json!(10);
    let dry = control.apply(
        &document(zone("rate_limits", json!([limit.clone()]))),
        ApplyOptions::default(),
    );
    assert_eq!(
        told(&dry.unwrap()),
        ["remove rate limit 1", "create rate limit 1"]
    );
    let applied = apply(control, &zone("transforms", json!([]))).unwrap();
    assert_eq!(told(&applied), ["remove header rule 1"]);
    limit["ratelimit"]["period"] = json!(1);
    for (section, rule, place) in [
        ("rate_limits", limit.clone(), "/zones/0/rate_limits"),
        ("rules", limit, "/zones/0/rules"),
        (
            "transforms",
            json!({ "action": "rewrite", "expression": "tru",
                    "action_parameters": { "headers": { "x-a": { "operation": "remove" } } } }),
            "/zones/0/transforms/0/expression",
        ),
    ] {
        let error = apply(control, &zone(section, json!([rule]))).unwrap_err();
        let ChangeError::At { pointer, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(pointer, place);
    }
}

#[test]
fn an_export_applied_changes_nothing_and_makes_an_equal_gateway() {
    let world = World::new();
    full(&world);
    let exported = world.control().export(false).unwrap();
    let text = serde_json::to_string(&exported).unwrap();
    assert!(!text.contains("PRIVATE KEY"), "{text}");
    // What lists and responders are to be asked is in it, what they have said is not.
    let partner = &serde_json::to_value(&exported).unwrap()["authorities"][0];
    assert_eq!(partner["ocsp"]["url"], "http://ocsp.example.test/");
    assert_eq!(partner["ocsp"]["nonce"], true);
    assert_eq!(partner["crl"]["policy"], "soft");
    assert_eq!(partner["crl"]["urls"][0], "http://ca.example.test/x.crl");
    let before = world.picture();
    let applied = world.control().apply(
        &exported,
        ApplyOptions {
            prune: true,
            prune_zones: true,
            revision: None,
        },
    );
    let applied = applied.unwrap();
    assert_eq!((told(&applied), applied.kept), (vec![], vec![]));
    assert_eq!(world.picture(), before, "not even the revision moved");

    // Without its key a server certificate can only be one that is there.
    let fresh = World::new();
    let empty = fresh.picture();
    let error = fresh
        .control()
        .apply(&exported, ApplyOptions::default())
        .unwrap_err();
    let ChangeError::At { pointer, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(
        pointer.starts_with("/zones/") && pointer.ends_with("/server_certificates/0"),
        "{pointer}"
    );
    assert_eq!(fresh.picture(), empty, "nothing is half done");

    let whole = world.control().export(true).unwrap();
    let applied = fresh
        .control()
        .apply(&whole, ApplyOptions::default())
        .unwrap();
    assert_eq!(fresh.control().export(true).unwrap(), whole);
    assert_eq!(
        fresh.control().model().revision,
        applied.revision + 1,
        "one change"
    );
    let (entries, _) = fresh.control().audit(0, 1).unwrap();
    assert!(
        entries[0].changes.len() > 10,
        "{:?}",
        entries[0].changes.len()
    );
    let audited = format!("{entries:?}");
    assert!(!audited.contains("PRIVATE KEY"));
    let again = fresh
        .control()
        .apply(&whole, ApplyOptions::default())
        .unwrap();
    assert_eq!(told(&again), Vec::<String>::new());
    assert_eq!(again.revision, applied.revision + 1);

    // And it is all there after a start, with a CA that issues.
    let mut fresh = fresh;
    fresh.reopen();
    assert_eq!(fresh.control().export(true).unwrap(), whole);
    let zone = fresh.control().zone("example.test").unwrap();
    let issued = fresh.control().issue_certificate(zone.id, &csr("d"), 1);
    assert!(issued.is_ok(), "{issued:?}");
}

#[test]
fn only_what_differs_is_told_and_done() {
    let world = World::new();
    let zone = full(&world);
    let control = world.control();
    let rules = control
        .entrypoint(zone.id, Phase::HttpRequestFirewallCustom)
        .unwrap();
    let mut value = serde_json::to_value(control.export(false).unwrap()).unwrap();
    let zone = &mut value["zones"][0];
    assert_eq!(zone["name"], "example.test");
    zone["hosts"][0]["mtls"] = json!("request");
    zone["hosts"][1]["origin"]["url"] = json!("http://127.0.0.1:9999");
    zone["rules"][2]["action"] = json!("log");
    value["lists"][0]["items"] = json!([{"value": "192.0.2.0/24"}]);
    value["authorities"][0]["crl"] = Value::Null;
    let dry = Intent {
        dry_run: true,
        ..Intent::default()
    };
    let tried = apply(&control.acting(dry), &value);
    let expected = [
        "change list office",
        "change CA partner",
        "change host api.example.test",
        "change host plain.example.test",
        "remove rule 3",
        "create rule 3",
    ];
    let short = |applied: &Applied| -> Vec<String> {
        let cut = |text: &String| match text.split_once("partner ") {
            Some((head, _)) => format!("{head}partner"),
            None => text.clone(),
        };
        told(applied).iter().map(cut).collect()
    };
    let revision = control.model().revision;
    assert_eq!(short(&tried.unwrap()), expected);
    assert_eq!(control.model().revision, revision, "only tried");
    let done = apply(control, &value).unwrap();
    assert_eq!(short(&done), expected);
    assert_eq!(done.changes[2].before, Some(json!({"mtls": "require"})));
    assert_eq!(done.changes[2].after, Some(json!({"mtls": "request"})));
    let after = control.entrypoint(rules.zone, rules.phase).unwrap();
    assert_eq!(
        after.rules[0].id, rules.rules[0].id,
        "the twins are told apart"
    );
    assert_eq!(after.rules[1].id, rules.rules[1].id);
    assert_eq!(told(&apply(control, &value).unwrap()), Vec::<String>::new());
    let stale = ApplyOptions {
        revision: Some(revision),
        prune: false,
        prune_zones: false,
    };
    let error = control
        .apply(&document(value), stale)
        .unwrap_err()
        .to_string();
    assert!(error.contains("changed meanwhile"), "{error}");
}

#[test]
fn a_rulesets_name_goes_along() {
    let world = World::new();
    let zone = full(&world);
    let control = world.control();
    let phase = Phase::HttpRequestFirewallCustom;
    let rules = json!([{"expression": "ssl", "action": "block"}]);
    let named = |ruleset: Value, rules: Option<&Value>| {
        let mut zone = json!({"name": "example.test", "ruleset": ruleset});
        if let Some(rules) = rules {
            zone["rules"] = rules.clone();
        }
        json!({"postern": 1, "zones": [zone]})
    };
    let texts = || {
        let found = control.entrypoint(zone.id, phase).unwrap();
        (
            found.name.clone(),
            found.description.clone(),
            found.rules.len(),
        )
    };
    let both = json!({"name": "shop", "description": "of the shop"});
    for (value, told_of, expected) in [
        (
            named(both.clone(), Some(&rules)),
            true,
            ("shop", "of the shop", 1),
        ),
        (named(both, Some(&rules)), false, ("shop", "of the shop", 1)),
        // What is not said stays.
        (
            named(json!({"name": "door"}), None),
            true,
            ("door", "of the shop", 1),
        ),
        (
            json!({"postern": 1, "zones": [{"name": "example.test", "rules": []}]}),
            false,
            ("door", "of the shop", 0),
        ),
    ] {
        let applied = apply(control, &value).unwrap();
        let named = told(&applied)
            .iter()
            .any(|line| line.contains("ruleset custom rules"));
        assert_eq!(named, told_of, "{value}: {:?}", told(&applied));
        let (name, description, count) = texts();
        assert_eq!(
            (name.as_str(), description.as_str(), count),
            expected,
            "{value}"
        );
    }
    let exported = serde_json::to_value(control.export(false).unwrap()).unwrap();
    let zones = exported["zones"].as_array().unwrap();
    let exported = zones
        .iter()
        .find(|zone| zone["name"] == "example.test")
        .unwrap();
    assert_eq!(
        exported["ruleset"],
        json!({"name": "door", "description": "of the shop"})
    );
    let error = apply(control, &named(json!({"name": "x".repeat(1000)}), None)).unwrap_err();
    assert!(
        matches!(&error, ChangeError::At { pointer, .. } if pointer == "/zones/0/ruleset"),
        "{error:?}"
    );
}

#[test]
fn what_is_not_named_stays_unless_it_is_to_be_pruned() {
    let world = World::new();
    full(&world);
    let control = world.control();
    let value = json!({"postern": 1, "lists": [], "authorities": [], "zones": [{
        "name": "example.test", "rules": [], "associations": [],
        "hosts": [{"name": "plain.example.test", "mtls": "off",
            "origin": {"url": "http://127.0.0.1:9000"}}],
    }]});
    let error = apply(control, &value).unwrap_err().to_string();
    assert!(
        error.contains("api.example.test requires client certificates"),
        "{error}"
    );
    let mut value = value;
    value["zones"][0]
        .as_object_mut()
        .unwrap()
        .remove("associations");
    let applied = apply(control, &value).unwrap();
    assert_eq!(
        told(&applied),
        ["remove rule 1", "remove rule 2", "remove rule 3"]
    );
    for kept in [
        "host api.example.test",
        "zone other.test",
        "CA partner",
        "list office",
    ] {
        assert!(
            applied.kept.iter().any(|one| one == kept),
            "{kept}: {:?}",
            applied.kept
        );
    }
    value["zones"][0]["associations"] = json!([]);
    // It still names the list.
    value["zones"][0]["rate_limits"] = json!([]);
    let prune = ApplyOptions {
        prune: true,
        prune_zones: true,
        revision: None,
    };
    // Without being asked for by name, a zone is never removed, whatever else is.
    let careful = ApplyOptions {
        prune_zones: false,
        ..prune
    };
    let kept = |options| {
        let intent = Intent {
            dry_run: true,
            ..Intent::default()
        };
        let only_try = control.acting(intent);
        only_try.apply(&document(value.clone()), options).unwrap()
    };
    let zones: Vec<String> = kept(careful).kept;
    assert!(
        zones.iter().all(|one| one.starts_with("zone ")),
        "{zones:?}"
    );
    assert_eq!(zones.len(), 1);
    let applied = control.apply(&document(value.clone()), prune).unwrap();
    assert_eq!(applied.kept, Vec::<String>::new());
    let lost: Vec<&str> = applied.lost.iter().map(|loss| &*loss.what).collect();
    assert!(lost.contains(&&*zones[0]), "it is counted: {lost:?}");
    let zone = applied.lost.iter().find(|loss| loss.what == zones[0]);
    assert_eq!(zone.unwrap().ca_keys, 1);
    let model = control.model();
    assert_eq!(
        (model.zones.len(), model.hosts.len(), model.lists.len()),
        (1, 1, 0)
    );
    assert!(export_is_stable(control));
}

#[test]
fn a_document_that_changes_a_mode_changes_no_trust() {
    let world = World::new();
    let zone = world.served(MtlsMode::Off);
    let control = world.control();
    let ca = control.upload_authority("partner", &foreign("P")).unwrap();
    let set = AuthoritySet::Uploaded(ca.id);
    let names = BTreeSet::from([name("api.example.test")]);
    control.set_associations(zone.id, set, names).unwrap();
    let host = |mtls: Option<&str>| {
        let mut host =
            json!({"name": "api.example.test", "origin": {"url": "http://127.0.0.1:9000"}});
        if let Some(mtls) = mtls {
            host["mtls"] = mtls.into();
        }
        json!({"name": "example.test", "hosts": [host]})
    };
    for mtls in [
        Some("require"),
        Some("off"),
        Some("request"),
        None,
        Some("require"),
    ] {
        for associations in [None, Some(json!([]))] {
            let mut zone_document = host(mtls);
            if let Some(associations) = &associations {
                zone_document["associations"] = associations.clone();
            }
            let value = json!({"postern": 1, "zones": [zone_document]});
            let applied = apply(control, &value);
            let model = control.model();
            let host = control.host(&name("api.example.test")).unwrap();
            let believed: Vec<Uuid> = model.believed(&host).iter().map(|ca| ca.id).collect();
            let what = format!("{mtls:?} {associations:?}: {applied:?}");
            match (associations.is_some(), host.mtls) {
                (false, _) => assert_eq!(believed, [ca.id], "{what}"),
                // It is told that nobody is to be believed.
                (true, MtlsMode::Off) => assert_eq!(believed, [], "{what}"),
                (true, _) => assert!(applied.is_err(), "{what}"),
            }
            let names = BTreeSet::from([name("api.example.test")]);
            control.set_associations(zone.id, set, names).unwrap();
            if applied.is_ok() {
                assert!(export_is_stable(control), "{what}");
            }
        }
    }
}

fn export_is_stable(control: &Control) -> bool {
    let exported = control.export(false).unwrap();
    let prune = ApplyOptions {
        prune: true,
        prune_zones: true,
        revision: None,
    };
    control.apply(&exported, prune).unwrap().changes.is_empty()
}

#[test]
fn refusals_name_their_place_and_change_nothing() {
    let world = World::new();
    full(&world);
    let control = world.control();
    let before = world.picture();
    let zone = |fields: Value| {
        let mut zone = json!({"name": "new.test"});
        zone.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        json!({"postern": 1, "lists": [{"name": "fresh", "kind": "ip"}], "zones": [zone]})
    };
    let host = |fields: Value| {
        let mut host = json!({"name": "a.new.test", "origin": {"url": "http://127.0.0.1:1"}});
        host.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        zone(json!({"hosts": [host]}))
    };
    for (value, place, why) in [
        (json!({"postern": 2}), "/postern", "version 1"),
        (zone(json!({"name": "*.x"})), "/zones/0/name", "wildcard"),
        (
            host(json!({"name": "b.other.test"})),
            "/zones/0/hosts/0/name",
            "does not belong",
        ),
        (
            host(json!({"origin": {"url": "ftp://x"}})),
            "/zones/0/hosts/0/origin",
            "ftp",
        ),
        (
            host(json!({"certificate": "ab"})),
            "/zones/0/hosts/0/certificate",
            "no server certificate",
        ),
        (
            zone(json!({"rules": [
                {"expression": "ssl", "action": "block"},
                {"expression": "ip.src in $nowhere", "action": "block"}]})),
            "/zones/0/rules/1/expression",
            "nowhere",
        ),
        (
            zone(json!({"associations": [{"authority": "nobody", "hosts": []}]})),
            "/zones/0/associations/0/authority",
            "no CA `nobody`",
        ),
        (
            zone(json!({"associations": [{"authority": "twin", "hosts": []}]})),
            "/zones/0/associations/0/authority",
            "several CAs",
        ),
        (
            json!({"postern": 1, "lists": [{"name": "office", "kind": "asn"}]}),
            "/lists/0/kind",
            "another kind",
        ),
        (
            json!({"postern": 1, "lists": [{"name": "a", "kind": "ip"}, {"name": "a", "kind": "ip"}]}),
            "/lists/1/name",
            "twice",
        ),
        (
            zone(
                json!({"origins": [{"name": "a", "origin": {"url": "http://192.0.2.1"}},
                {"name": "a", "origin": {"url": "http://192.0.2.2"}}]}),
            ),
            "/zones/0/origins/1/name",
            "twice",
        ),
        (
            json!({"postern": 1, "authorities": [{"name": "x", "certificate": "nonsense"}]}),
            "/authorities/0/certificate",
            "there is no PEM in it",
        ),
        (
            json!({"postern": 1, "zones": [{"name": "example.test",
                "managed_authorities": [{"certificate": foreign("M")}]}]}),
            "/zones/0/managed_authorities",
            "other managed CAs",
        ),
        (
            json!({"postern": 1, "zones": [{"name": "new.test",
                "managed_authorities": [{"certificate": foreign("M")}]}]}),
            "/zones/0/managed_authorities/0/key",
            "needs its key",
        ),
    ] {
        let error = apply(control, &value).unwrap_err();
        let ChangeError::At { pointer, error } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(pointer, place, "{error}");
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(world.picture(), before);
    }
}

#[test]
fn a_backup_of_a_running_store_is_whole_and_can_be_put_back() {
    let mut world = World::new();
    let zone = full(&world);
    let copy = world.directory.path().join("copy.redb");
    let issued = world
        .control()
        .issue_certificate(zone.id, &csr("d"), 1)
        .unwrap();
    let (revision, size) = world.control().backup(&copy).unwrap();
    assert_eq!(revision, world.control().model().revision);
    assert!(size > 0);
    assert!(
        world.control().backup(&copy).is_err(),
        "never over anything"
    );
    world
        .control()
        .revoke_certificate(zone.id, issued.id)
        .unwrap();
    let path = world.path();
    assert!(matches!(verify(&path), Err(StoreOpenError::InUse { .. })));
    let busy = restore(&copy, &path, true);
    assert!(
        matches!(busy, Err(RestoreError::Store(StoreOpenError::InUse { .. }))),
        "{busy:?}"
    );
    world.control = None;
    let now = verify(&path).unwrap();
    assert_eq!((now.revision, now.certificates), (revision + 1, 1));
    assert!(matches!(
        restore(&copy, &path, false),
        Err(RestoreError::Exists { .. })
    ));
    let damaged = world.directory.path().join("damaged.redb");
    let mut bytes = std::fs::read(&copy).unwrap();
    let half = bytes.len() / 2;
    bytes.truncate(half);
    std::fs::write(&damaged, &bytes).unwrap();
    assert!(restore(&damaged, &path, true).is_err());
    assert_eq!(verify(&path).unwrap(), now, "what was there is as it was");
    let restored = restore(&copy, &path, true).unwrap();
    assert_eq!(restored.revision, revision);
    assert_eq!(
        verify(&path.with_file_name("store.redb.replaced")).unwrap(),
        now
    );
    world.reopen();
    let found = world.control().certificate(zone.id, issued.id).unwrap();
    assert_eq!(found.status, Status::Active);
    let names: Vec<_> = std::fs::read_dir(world.directory.path()).unwrap().collect();
    assert_eq!(names.len(), 5, "no draft stays: {names:?}");
}
