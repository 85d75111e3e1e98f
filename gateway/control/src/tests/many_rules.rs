//! Many rules: a change follows what changed, in the program and in the store, and what comes of
//! it is as if everything had been made anew.

use std::collections::HashSet;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index as Pick;

use super::*;
use crate::limits::AUDIT_NOTES_MAX;
use crate::store::order;
use crate::store::order::Page;
use ::rules::{
    Allowance, ConnectionFacts, ConnectionState, Decision, Program, RequestFacts, RoundTrip, Rule,
    decide_on,
};
use snapshot::http::request_head::RequestHead;
use vocabulary::client_auth::ClientAuth;

const HOST: &str = "api.example.test";

/// The rule that a path of this number meets.
pub(super) fn text(number: usize) -> String {
    format!("http.request.uri.path eq \"/{number}\"")
}

impl World {
    fn program(&self) -> Arc<Program> {
        self.published.load().host(HOST).unwrap().rules.clone()
    }

    pub(super) fn filled(&self, count: usize) -> (Arc<Zone>, Arc<Ruleset>) {
        let zone = self.served(MtlsMode::Request);
        let rules = (0..count).map(|number| rule(&text(number))).collect();
        let phase = Phase::HttpRequestFirewallCustom;
        let control = self.control();
        let ruleset = control.set_entrypoint(zone.id, phase, None, None, rules);
        (zone, ruleset.unwrap())
    }

    /// The rules of a zone as they are stored, compiled from nothing.
    fn anew(&self, zone: Id) -> Program {
        let phase = Phase::HttpRequestFirewallCustom;
        let ruleset = self.control().entrypoint(zone, phase).unwrap();
        let rules: Vec<Rule> = ruleset
            .rules
            .iter()
            .map(|rule| compile::rules::compiled_form(rule).unwrap())
            .collect();
        Program::compile(&rules).unwrap()
    }
}

/// Who blocks a request for this path, and who reports it.
fn decided(program: &Program, path: &str, state: &ConnectionState) -> (Option<String>, String) {
    let connection = ConnectionFacts {
        source: ([203, 0, 113, 9], 50_000).into(),
        local: ([198, 51, 100, 1], 443).into(),
        sni: HOST.into(),
        tls_version: "TLSv1.3",
        tls_cipher: "AEAD-AES128-GCM-SHA256",
        client_hello: bytes::Bytes::new(),
        geo: None,
        client: Arc::new(ClientAuth::none()),
    };
    let head = RequestHead::default();
    let request = RequestFacts {
        method: "GET",
        version: "HTTP/2",
        host: HOST,
        path,
        raw_path: path,
        query: "",
        authority: None,
        headers: &head.headers,
        received_msec: 1_700_000_000_000,
        ray_id: "8f00b204e9800998",
        allowance: Allowance::default(),
        round_trip: RoundTrip::default(),
    };
    let mut log = String::new();
    let decision = decide_on(program, &connection, state, &request, &mut |id| {
        log.push_str(id);
    });
    match decision {
        Decision::Permit(_) => (None, log),
        Decision::Block { rule_id, .. } => (Some(rule_id.to_owned()), log),
        Decision::TooLarge => panic!("a small request is evaluated"),
    }
}

#[test]
fn one_changed_rule_leaves_the_rest_compiled() {
    let world = World::new();
    let (zone, ruleset) = world.filled(2_000);
    let control = world.control();
    let before = world.program();
    let middle = ruleset.rules[1_000].clone();
    let patch = RulePatch {
        expression: Some(text(5_000)),
        ..RulePatch::default()
    };
    let changed = control
        .update_rule(zone.id, ruleset.id, middle.id, patch, None)
        .unwrap();
    let after = world.program();
    assert!(after.shares_index_with(&before), "all was compiled anew");
    // Of four stretches two, since the change is where one ends and the next begins: nothing else
    // was counted, copied or dropped rule by rule.
    assert_eq!(changed.rules.shared_with(&ruleset.rules), 2);
    assert_eq!(after.rules().shared_with(before.rules()), 2);
    let state = ConnectionState::default();
    let blocked = |program: &Program, path: &str| decided(program, path, &state).0;
    assert_eq!(blocked(&before, "/1000"), Some(middle.id.to_string()));
    assert_eq!(blocked(&after, "/1000"), None);
    assert_eq!(blocked(&after, "/5000"), Some(middle.id.to_string()));
    assert_eq!(
        blocked(&after, "/1999"),
        Some(changed.rules[1_999].id.to_string())
    );
    let pages = |version| {
        let record = order::record(control.shared.store.as_ref(), ruleset.id, version).unwrap();
        HashSet::<Page>::from_iter(record.pages)
    };
    let (before, after) = (pages(ruleset.version), pages(changed.version));
    assert_eq!((before.len(), after.len()), (4, 4));
    assert_eq!(after.difference(&before).count(), 1, "pages written");
    let (entries, _) = control.audit(0, 2).unwrap();
    assert_eq!((entries[0].changes.len(), entries[0].omitted), (2, 0));
    assert_eq!(
        (entries[1].changes.len(), entries[1].omitted),
        (AUDIT_NOTES_MAX, 2_001 - AUDIT_NOTES_MAX)
    );
}

#[test]
fn a_replaced_program_is_freed_by_whoever_replaces_it() {
    let world = World::new();
    let (zone, ruleset) = world.filled(3);
    let control = world.control();
    let change = |number: usize| {
        let patch = RulePatch {
            expression: Some(text(number)),
            ..RulePatch::default()
        };
        let rule = ruleset.rules[0].id;
        let made = control.update_rule(zone.id, ruleset.id, rule, patch, None);
        assert!(made.is_ok());
        control.shared.lock().retired.len()
    };
    assert_eq!(change(10), 0);
    // As a connection holds the host that it was accepted for.
    let held = world.published.load().host(HOST).unwrap().clone();
    assert_eq!(change(11), 1);
    assert_eq!(change(12), 1, "the one in between went at once");
    drop(held);
    assert_eq!(change(13), 0);
}

#[test]
fn a_reference_is_used_once_wherever_it_stands() {
    let world = World::new();
    let (zone, ruleset) = world.filled(10);
    let control = world.control();
    for at in [0, 4, 9] {
        let mut new = rule("ssl");
        new.reference = Some(ruleset.rules[at].reference.clone());
        let error = control.create_rule(zone.id, ruleset.id, new, None);
        assert!(
            matches!(error, Err(ChangeError::Invalid { .. })),
            "{error:?}"
        );
    }
}

#[test]
fn a_long_expression_is_refused_with_the_limit_in_the_message() {
    let world = World::new();
    let (zone, ruleset) = world.filled(1);
    for (length, expected) in [
        (4_000, None),
        (4_100, Some("4096 are allowed")),
        (20_000, Some("16384 bytes")),
    ] {
        let new = rule(&format!("http.host eq \"{}\"", "a".repeat(length)));
        let made = world.control().create_rule(zone.id, ruleset.id, new, None);
        let why = made.err().map(|error| error.to_string());
        assert_eq!(why.is_some(), expected.is_some(), "{length}: {why:?}");
        if let (Some(why), Some(expected)) = (why, expected) {
            assert!(why.contains(expected), "{length}: {why}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 50, ..ProptestConfig::default() })]

    #[test]
    fn what_is_published_is_as_if_compiled_anew(
        edits in vec((0..5_u8, any::<Pick>(), any::<Pick>(), 0..40_usize), 1..12),
    ) {
        let world = World::new();
        let (zone, ruleset) = world.filled(30);
        let state = ConnectionState::default();
        let before = world.program();
        for (kind, one, at, number) in edits {
            let control = world.control();
            let now = control.ruleset(zone.id, ruleset.id).unwrap();
            let id = now.rules[one.index(now.rules.len())].id;
            let place = Position::Index(at.index(now.rules.len()) + 1);
            let patch = RulePatch::default();
            let made = match kind {
                0 => {
                    let mut new = rule(&text(number));
                    new.action = "log".into();
                    control.create_rule(zone.id, ruleset.id, new, Some(&place))
                }
                1 if now.rules.len() > 1 => control.delete_rule(zone.id, ruleset.id, id),
                2 => control.update_rule(zone.id, ruleset.id, id, patch, Some(&place)),
                3 => {
                    let patch = RulePatch { enabled: Some(number % 2 == 0), ..patch };
                    control.update_rule(zone.id, ruleset.id, id, patch, None)
                }
                _ => {
                    let patch = RulePatch { expression: Some(text(number)), ..patch };
                    control.update_rule(zone.id, ruleset.id, id, patch, None)
                }
            };
            prop_assert!(made.is_ok(), "{:?}", made);
            let (published, anew) = (world.program(), world.anew(zone.id));
            prop_assert!(published.shares_index_with(&before));
            for number in 0..40 {
                let path = format!("/{number}");
                prop_assert_eq!(
                    decided(&published, &path, &state),
                    decided(&anew, &path, &ConnectionState::default())
                );
            }
        }
    }
}
