//! Server chains, and rules with their order and versions.

use super::*;

#[test]
fn uploaded_chains() {
    let world = World::new();
    let zone = world.zone();
    let control = world.control();
    let (authority, signer) = control.signer(zone.id).unwrap();
    let names = [name("api.example.test")];
    let now = Moment::now();
    let (leaf, key) = signer.issue_server(&names, 90, now).unwrap();
    let (stranger, _) = x509::make_authority("Stranger", "x", CaKey::default(), 10, now).unwrap();
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
        .endpoint
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
        .endpoint
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
    let max = limits::RULESET_VERSIONS_MAX;
    for round in 0..2 * max {
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
        .shared
        .store
        .scan(Table::Rules, ruleset.id.as_bytes(), &mut |_, _| {
            contents += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(
        contents,
        versions.len(),
        "one rule, of which every version was changed"
    );
}

#[test]
fn an_older_version_comes_back_as_the_newest() {
    let mut world = World::new();
    let zone = world.zone();
    let control = world.control();
    let (ruleset, a) = control.add_rule(zone.id, rule("ssl"), None).unwrap();
    let (_, b) = control.add_rule(zone.id, rule("not ssl"), None).unwrap();
    let patch = RulePatch {
        enabled: Some(false),
        ..RulePatch::default()
    };
    control
        .update_rule(zone.id, ruleset.id, a.id, patch, None)
        .unwrap();
    control.delete_rule(zone.id, ruleset.id, b.id).unwrap();
    let restored = control.restore_version(zone.id, ruleset.id, 2).unwrap();
    let shown = |ruleset: &Ruleset| -> Vec<(Id, bool, String)> {
        let rules = ruleset.rules.iter();
        rules
            .map(|rule| (rule.id, rule.enabled, rule.expression.clone()))
            .collect()
    };
    assert_eq!(restored.version, 5);
    assert_eq!(
        shown(&restored),
        [(a.id, true, "ssl".into()), (b.id, true, "not ssl".into())]
    );
    let between = control.ruleset_version(zone.id, ruleset.id, 3).unwrap();
    assert_eq!(shown(&between)[0], (a.id, false, "ssl".into()));
    assert!(control.restore_version(zone.id, ruleset.id, 99).is_err());
    world.reopen();
    assert_eq!(
        shown(&world.control().ruleset(zone.id, ruleset.id).unwrap()),
        shown(&restored)
    );
}

#[test]
fn only_custom_rules_block_addresses_in_the_kernel() {
    let world = World::new();
    let zone = world.served(MtlsMode::Off);
    let control = world.control();
    control
        .add_rule(zone.id, rule("ip.src eq 198.51.100.7"), None)
        .unwrap();
    let limit = NewRule {
        ratelimit: Some(serde_json::json!({
            "characteristics": ["ip.src"], "period": 60, "requests_per_period": 100,
        })),
        ..rule("ip.src in {203.0.113.0/24}")
    };
    control
        .set_entrypoint(zone.id, Phase::HttpRatelimit, None, None, vec![limit])
        .unwrap();
    let blocked = control.blocked_addresses(10);
    let networks = &blocked[&zone.id.to_string()];
    assert_eq!(networks.len(), 1, "{networks:?}");
    assert!(
        format!("{networks:?}").contains("198.51.100.7"),
        "{networks:?}"
    );
}

/// Rules that were acknowledged stay, whoever renames the ruleset meanwhile; and of those who make
/// the same ruleset at once, one does.
#[test]
fn renames_beside_additions_lose_no_rule() {
    let world = World::new();
    let control = world.control();
    let zone = control.create_zone("example.test").unwrap().id;
    let phase = Phase::HttpRequestFirewallCustom;
    let makers: Vec<_> = std::thread::scope(|scope| {
        let make = || control.create_entrypoint(zone, phase, None, None, Vec::new());
        let makers: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
        makers.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(makers.iter().filter(|made| made.is_ok()).count(), 1);
    let ruleset = control.entrypoint(zone, phase).unwrap().id;
    let wanted: Vec<String> = (0..40).map(|number| format!("added {number}")).collect();
    let control = &control;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for text in &wanted {
                let mut new = rule("http.request.uri.path eq \"/x\"");
                new.description.clone_from(text);
                control.create_rule(zone, ruleset, new, None).unwrap();
            }
        });
        for writer in 0..3 {
            scope.spawn(move || {
                for number in 0..40 {
                    let name = Some(format!("name {writer} {number}"));
                    control
                        .describe_entrypoint(zone, phase, name, None)
                        .unwrap();
                }
            });
        }
    });
    let left = control.entrypoint(zone, phase).unwrap();
    let left: Vec<String> = left
        .rules
        .iter()
        .map(|rule| rule.description.clone())
        .collect();
    assert_eq!(left, wanted);
}
