//! The compiled program decides as the plain evaluator does: random rules, random requests.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index as Pick, select};

use super::generate::{condition, world};
use crate::testing::fuzz::lists;
use crate::testing::oracle::Oracle;
use crate::tests::{Certificate, World, block, rule};
use crate::{
    Action, BlockResponse, ConnectionState, Decision, List, Lists, Program, Rule, Skip, decide_on,
};

fn action() -> impl Strategy<Value = Action> {
    let skip = |current_ruleset, logging| {
        Action::Skip(Skip {
            current_ruleset,
            logging,
            ..Skip::default()
        })
    };
    prop_oneof![
        6 => Just(Action::Block(BlockResponse::default())),
        3 => Just(Action::Log),
        1 => Just(skip(true, true)),
        1 => Just(skip(true, false)),
        1 => Just(skip(false, true)),
        1 => Just(skip(false, false)),
    ]
}

pub(crate) fn rules(most: usize) -> impl Strategy<Value = Vec<Rule>> {
    let one = (condition(), action(), proptest::bool::weighted(0.9));
    vec(one, 0..most).prop_map(|rules| {
        rules
            .into_iter()
            .enumerate()
            .map(|(at, (condition, action, enabled))| Rule {
                enabled,
                ..rule(&format!("r{at}"), &condition.to_string(), action)
            })
            .collect()
    })
}

/// Many rules of few forms, so that groups have many terms and vectors are dense.
fn uniform_rules() -> impl Strategy<Value = Vec<Rule>> {
    let hosts = || select(vec!["a.example", "b.example", "x"]);
    let one = (
        hosts(),
        select(vec!["/", "/a", "/a/b", "/A"]),
        select(vec!["GET", "x"]),
        0..8_u8,
        action(),
    );
    vec(one, 100..400).prop_map(|rules| {
        rules
            .into_iter()
            .enumerate()
            .map(|(at, (host, path, method, form, action))| {
                let text = match form {
                    0 => format!("http.request.method eq \"{method}\" and starts_with(http.request.uri.path, \"{path}\") and http.request.uri.query contains \"zz\""),
                    1 => format!("http.host eq \"{host}\" and http.request.uri.path eq \"{path}\" and http.request.method eq \"{method}\" and http.user_agent eq \"x\""),
                    2 => format!("not http.host eq \"{host}\" and http.request.method eq \"{method}\" and not starts_with(http.request.uri.path, \"{path}\")"),
                    3 => format!("cf.tls_client_auth.cert_verified and http.host in {{\"{host}\" \"q\"}} and http.request.method ne \"{method}\" and http.referer eq \"q\""),
                    4 => "http.host contains \"a\" and http.host contains \"zz\" and ssl".to_owned(),
                    5 => format!("ip.src in {{203.0.113.0/24 10.0.0.0/{at_bits}}} and http.request.uri.path eq \"{path}\" and http.request.uri.query eq \"q\"", at_bits = 8),
                    6 => format!("not cf.tls_client_auth.cert_verified and ip.src in {{10.0.0.0/8}} and http.host eq \"{host}\""),
                    _ => format!("any(http.request.headers[\"x\"][*] eq \"{path}\") and not any(http.request.headers[\"ab\"][*] eq \"a\")"),
                };
                rule(&format!("r{at}"), &text, action)
            })
            .collect()
    })
}

/// Compares one decision, with and without memory of the connection.
fn compare(
    program: &Program,
    oracle: &Oracle,
    world: &World,
    state: &ConnectionState,
) -> Result<(), TestCaseError> {
    let mut expected_log = Vec::new();
    let request = world.request();
    let expected = oracle.decide(&world.connection, &request, &mut |id| {
        expected_log.push(id.to_owned())
    });
    let found = world.decide(program);
    prop_assert_eq!(
        (found.0.as_deref(), &found.1),
        (expected, &expected_log),
        "without memory"
    );
    let mut log = Vec::new();
    let decision = decide_on(program, &world.connection, state, &request, &mut |id| {
        log.push(id.to_owned())
    });
    let blocked = match decision {
        Decision::Permit(_) => None,
        Decision::Block { rule_id, .. } => Some(rule_id),
        Decision::TooLarge => Some("too large"),
    };
    prop_assert_eq!((blocked, &log), (expected, &expected_log), "with memory");
    Ok(())
}

/// Pairs in an ordinary run; `POSTERN_PROPTEST_PAIRS` asks for more.
fn cases() -> u32 {
    let pairs = std::env::var("POSTERN_PROPTEST_PAIRS")
        .ok()
        .and_then(|pairs| pairs.parse::<u32>().ok());
    pairs.unwrap_or(10_000) / 10
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn a_program_decides_as_its_rules_say(rules in rules(12), worlds in vec(world(), 10)) {
        let lists = lists();
        let program = Program::compile_with(&rules, &lists).unwrap();
        let oracle = Oracle::compile(&rules, &lists).unwrap();
        // One connection for all of them: what it remembers must notice another certificate.
        let first = worlds[0].connection.clone();
        let state = ConnectionState::default();
        for mut world in worlds {
            let client = world.connection.client.clone();
            world.connection = first.clone();
            world.connection.client = client;
            compare(&program, &oracle, &world, &state)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases() / 20))]

    #[test]
    fn addresses_differ_too(rules in rules(6), world in world()) {
        let program = Program::compile_with(&rules, &lists()).unwrap();
        let oracle = Oracle::compile(&rules, &lists()).unwrap();
        compare(&program, &oracle, &world, &ConnectionState::default())?;
    }

    /// What no rule may be evaded by: another version of the protocol, or another spelling of names.
    /// Where a name stands twice, a map has it in one place, which rules may count.
    #[test]
    fn how_headers_came_decides_nothing(rules in rules(6), world in world()) {
        let oracle = Oracle::compile(&rules, &lists()).unwrap();
        let program = Program::compile_with(&rules, &lists()).unwrap();
        let (spans, map) = (world.clone().as_spans(), world.clone().as_map());
        let said = |world: &World| {
            let mut logged = Vec::new();
            let decision = oracle.decide(&world.connection, &world.request(), &mut |rule| {
                logged.push(rule.to_owned());
            });
            (format!("{decision:?}"), logged)
        };
        prop_assert_eq!(said(&spans), said(&world));
        let names = world.headers.iter().map(|(name, _)| name);
        let names: BTreeSet<&[u8]> = names.collect();
        if names.len() == world.headers.len() {
            prop_assert_eq!(said(&map), said(&world));
        }
        for world in [spans, map] {
            compare(&program, &oracle, &world, &ConnectionState::default())?;
        }
    }

    #[test]
    fn dense_groups_decide_the_same(rules in uniform_rules(), worlds in vec(world(), 20)) {
        let program = Program::compile(&rules).unwrap();
        let oracle = Oracle::compile(&rules, &Lists::default()).unwrap();
        for world in worlds {
            compare(&program, &oracle, &world, &ConnectionState::default())?;
        }
    }

    #[test]
    fn a_changed_program_is_as_if_compiled_anew(
        rules in rules(20),
        changes in vec((change(), any::<Pick>(), any::<Pick>(), condition(), action()), 1..12),
        worlds in vec(world(), 5),
    ) {
        let mut lists = lists();
        let mut rules = Rule::shared(&rules);
        let mut program = Program::compile_shared(rules.clone(), &lists).unwrap();
        // One connection for its life: what it remembers is of programs that are gone.
        let state = ConnectionState::default();
        let first = worlds[0].connection.clone();
        for (at, (change, from, to, condition, action)) in changes.into_iter().enumerate() {
            let fresh = rule(&format!("n{at}"), &condition.to_string(), action);
            if let Change::Renew = change {
                program.renew_now();
            }
            change.apply(&mut rules, &mut lists, &from, &to, fresh);
            program = program.recompile(rules.clone(), &lists).unwrap();
            let texts: Vec<Rule> = rules.iter().map(|rule| (**rule).clone()).collect();
            let oracle = Oracle::compile(&texts, &lists).unwrap();
            prop_assert_eq!(program.len(), texts.iter().filter(|rule| rule.enabled).count());
            for (number, world) in worlds.iter().enumerate() {
                let mut world = world.clone();
                let client = world.connection.client.clone();
                world.connection = first.clone();
                // The verification of the certificate moves too, now and then.
                if number % 2 == at % 2 {
                    world.connection.client = client;
                }
                compare(&program, &oracle, &world, &state)?;
            }
        }
    }
}

/// What an administrator does to a ruleset.
#[derive(Debug, Clone, Copy)]
enum Change {
    Remove,
    Insert,
    Move,
    /// Many at once, as when a whole ruleset is put.
    Turn,
    Expression,
    Action,
    Enable,
    /// Everything read anew: the same rules, but not the very same.
    Reread,
    /// The same id twice, which the control plane never lets in.
    Repeat,
    List,
    /// Before another one: what was compiled beside the program is there.
    Renew,
}

fn change() -> impl Strategy<Value = Change> {
    use Change as C;
    select(vec![
        C::Remove,
        C::Insert,
        C::Move,
        C::Move,
        C::Turn,
        C::Expression,
        C::Action,
        C::Enable,
        C::Enable,
        C::Reread,
        C::Repeat,
        C::List,
        C::Renew,
    ])
}

impl Change {
    fn apply(
        self,
        rules: &mut Vec<Arc<Rule>>,
        lists: &mut Lists,
        from: &Pick,
        to: &Pick,
        fresh: Rule,
    ) {
        if rules.is_empty() {
            rules.push(fresh.into());
            return;
        }
        let at = from.index(rules.len());
        let mut changed = (*rules[at]).clone();
        match self {
            Self::Remove => drop(rules.remove(at)),
            Self::Insert => rules.insert(to.index(rules.len() + 1), fresh.into()),
            Self::Move => {
                let moved = rules.remove(at);
                rules.insert(to.index(rules.len() + 1), moved);
            }
            Self::Turn => rules.rotate_left(at),
            Self::Expression => {
                changed.expression = fresh.expression;
                rules[at] = changed.into();
            }
            Self::Action => {
                changed.action = fresh.action;
                rules[at] = changed.into();
            }
            Self::Enable => {
                changed.enabled = !changed.enabled;
                rules[at] = changed.into();
            }
            Self::Reread => {
                let again = rules.iter().map(|rule| Arc::new((**rule).clone()));
                *rules = again.collect();
            }
            Self::Renew => rules[at] = fresh.into(),
            Self::Repeat => rules.insert(to.index(rules.len() + 1), rules[at].clone()),
            Self::List => {
                let networks = ["10.0.0.0/8", "203.0.113.0/24", "2001:db8::/32"];
                let list = List::ip([networks[to.index(3)]]).unwrap();
                lists.insert("ips", list).unwrap();
            }
        }
    }
}

#[test]
fn more_forms_than_groups() {
    // Every rule asks for another header: beyond the bounds of an index its literals stay trees.
    let rules: Vec<Rule> = (0..600)
        .map(|n| {
            let text = format!(
                "any(http.request.headers[\"h{n}\"][*] eq \"v\") and any(http.request.headers[\"i{}\"][*] eq \"v\")",
                n / 2
            );
            block(&format!("r{n}"), &text)
        })
        .collect();
    let program = Program::compile(&rules).unwrap();
    for n in [0, 1, 90, 200, 599] {
        let world = World::new(Certificate::None, "a.example", "/")
            .header(&format!("h{n}"), "v")
            .header(&format!("i{}", n / 2), "v");
        assert_eq!(world.decide(&program).0, Some(format!("r{n}")));
    }
    assert_eq!(
        World::new(Certificate::None, "a.example", "/")
            .header("h5", "v")
            .decide(&program)
            .0,
        None
    );
}

fn office(address: &str) -> Lists {
    let mut lists = Lists::default();
    let list = List::ip([address]).unwrap();
    lists.insert("office", list).unwrap();
    lists
}

#[test]
fn a_change_of_lists_is_noticed() {
    let rules = [block("r", "ip.src in $office")];
    let world = World::new(Certificate::None, "a.example", "/");
    let before = office("203.0.113.9");
    let program = Program::compile_with(&rules, &before).unwrap();
    assert!(world.decide(&program).0.is_some());
    let state = ConnectionState::default();
    let decide = |program: &Program| {
        let request = world.request();
        matches!(
            decide_on(program, &world.connection, &state, &request, &mut |_| {}),
            Decision::Block { .. }
        )
    };
    assert!(decide(&program));
    let program = program
        .recompile(Rule::shared(&rules), &office("203.0.113.10"))
        .unwrap();
    assert!(world.decide(&program).0.is_none() && !decide(&program));
}

#[test]
fn what_is_remembered_goes_with_the_evaluation() {
    // Certificate conditions alone, beside a request's, and too many to be remembered one by one.
    let mut rules = vec![
        block("revoked", "cf.tls_client_auth.cert_revoked"),
        block(
            "admin",
            "not cf.tls_client_auth.cert_verified and http.request.uri.path eq \"/admin\"",
        ),
        block(
            "reason",
            "postern.tls_client_auth.reason matches \"^exp\" or \
             any(postern.tls_client_auth.cert_san.dns[*] wildcard \"*-9.*\")",
        ),
    ];
    rules.extend((0..2_000).map(|n| {
        let text = format!(
            "cf.tls_client_auth.cert_verified and http.request.uri.path eq \"/{n}\" and \
             cf.tls_client_auth.cert_serial eq \"0A1B2C\""
        );
        block(&format!("v{n}"), &text)
    }));
    let program = Program::compile(&rules).unwrap();
    let changed = {
        let mut rules = rules.clone();
        rules.push(block("last", "cf.tls_client_auth.cert_presented"));
        program
            .recompile(Rule::shared(&rules), &Lists::default())
            .unwrap()
    };
    let oracle = Oracle::compile(&rules, &Lists::default()).unwrap();
    for program in [&program, &changed] {
        let state = ConnectionState::default();
        let mut world = World::new(Certificate::Valid, "a.example", "/1999");
        for certificate in [
            Certificate::Valid,
            Certificate::Revoked,
            Certificate::Valid,
            Certificate::None,
            Certificate::Invalid,
            Certificate::Revoked,
        ] {
            // As the connection does when trust has moved: a new verification, the old one let go.
            world.connection.client = Arc::new(certificate.client());
            for path in ["/1999", "/admin", "/0", "/other"] {
                path.clone_into(&mut world.path);
                for _again in 0..2 {
                    let request = world.request();
                    let decision =
                        decide_on(program, &world.connection, &state, &request, &mut |_| {});
                    let found = match decision {
                        Decision::Block { rule_id, .. } if rule_id != "last" => Some(rule_id),
                        _ => None,
                    };
                    let expected = oracle.decide(&world.connection, &request, &mut |_| {});
                    assert_eq!(found, expected, "{certificate:?} {path}");
                }
            }
        }
    }
}

#[test]
fn a_rule_that_does_not_parse_is_named_on_recompiling() {
    let mut rules = vec![block("a", "ssl"), block("b", "not ssl")];
    let program = Program::compile(&rules).unwrap();
    rules.insert(1, block("c", "sls"));
    let error = program
        .recompile(Rule::shared(&rules), &Lists::default())
        .unwrap_err();
    assert_eq!(error.index, 1);
}

fn by_path(count: usize) -> Vec<Arc<Rule>> {
    let rule = |n| {
        block(
            &format!("r{n}"),
            &format!("http.request.uri.path eq \"/{n}\""),
        )
    };
    (0..count).map(rule).map(Arc::new).collect()
}

fn first(program: &Program, path: &str) -> Option<String> {
    World::new(Certificate::None, "a.example", path)
        .decide(program)
        .0
}

#[test]
fn one_change_after_the_other_never_compiles_everything_itself() {
    let mut rules = by_path(3_000);
    let mut program = Program::compile_shared(rules.clone(), &Lists::default()).unwrap();
    let mut renewals = 0;
    // By fifties, to be done soon; what is asked of the program holds after each.
    for n in 0..40_usize {
        for (at, rule) in rules.iter_mut().enumerate().skip(n * 50).take(50) {
            let text = format!("http.request.uri.path eq \"/new{at}\"");
            *rule = block(&format!("r{at}"), &text).into();
        }
        let before = &program;
        let next = before.recompile(rules.clone(), &Lists::default()).unwrap();
        if !next.shares_index_with(before) {
            assert!(before.await_renewal(), "all was compiled by change {n}");
            renewals += 1;
        }
        program = next;
        // As for a program that is published.
        program.renew_if_due();
        let last = n * 50 + 49;
        assert_eq!(first(&program, "/2999").as_deref(), Some("r2999"));
        assert_eq!(first(&program, &format!("/{last}")), None);
        for at in [0, last, last + 1] {
            let path = if at > last {
                format!("/{at}")
            } else {
                format!("/new{at}")
            };
            assert_eq!(first(&program, &path), Some(format!("r{at}")), "{n}");
        }
        program.await_renewal();
    }
    // 512 changes are reached by the eleventh fifty, and the twelfth goes on from the new index.
    assert_eq!(renewals, 3);
}

#[test]
fn many_changes_at_once_are_compiled_at_once() {
    let mut rules = by_path(3_000);
    let program = Program::compile_shared(rules.clone(), &Lists::default()).unwrap();
    rules.truncate(1_900);
    let program = program.recompile(rules, &Lists::default()).unwrap();
    assert!(!program.await_renewal(), "nothing is left to be compiled");
    assert_eq!(first(&program, "/1899").as_deref(), Some("r1899"));
    assert_eq!(first(&program, "/1900"), None);
}

#[test]
fn other_lists_leave_the_rules_that_name_none() {
    let mut rules = by_path(2_000);
    rules.push(block("listed", "ip.src in $office").into());
    let mut off = block("off", "ip.src in $office");
    off.enabled = false;
    rules.push(off.into());
    let program = Program::compile_shared(rules.clone(), &office("198.51.100.7")).unwrap();
    assert_eq!(first(&program, "/x"), None);
    let changed = program
        .recompile(rules.clone(), &office("203.0.113.0/24"))
        .unwrap();
    assert!(changed.shares_index_with(&program));
    assert_eq!(first(&changed, "/x").as_deref(), Some("listed"));
    // A list that is gone is missed by rules that are off, too.
    rules.remove(2_000);
    let error = changed.recompile(rules, &Lists::default()).unwrap_err();
    assert_eq!(error.index, 2_000);
}
