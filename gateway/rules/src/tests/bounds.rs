//! What a decision may cost, whatever a peer sends: hostile requests are refused or cost what they
//! weigh, honest ones are evaluated. Work is counted, not timed.

use super::{Certificate, World, block, rule};
use crate::decide::worked;
use crate::limits;
use crate::testing::oracle::Oracle;
use crate::testing::random::Random;
use crate::{Action, ConnectionState, Decision, Lists, Program, Rule, Skip, decide_on};

/// What squares the request's head.
const SQUARES: &str =
    r#"any(concat(http.request.uri.args.names[*], http.request.uri.query)[*] eq "x")"#;

fn noise(of: &[u8], length: usize) -> Vec<u8> {
    Random(1).bytes(of, length)
}

/// What a condition does on a request; `None` when it is too much.
fn work(world: &World, expression: &str) -> Option<usize> {
    let scratch = world.scratch_of(expression);
    (!scratch.is_spent()).then(|| scratch.worked())
}

#[test]
fn what_peers_can_make_costly_is_refused() {
    let query =
        |of: &[u8], length| World::with_query(String::from_utf8(noise(of, length)).unwrap());
    let header = |of: &[u8]| {
        World::new(Certificate::None, "a.example", "/").header("x-a", noise(of, 60_000))
    };
    let removed: String = (0..3_900).map(|n| ["x", "y", "z"][n % 3]).collect();
    let arguments = || World::with_query("a&".repeat(15_000));
    let matches =
        |pattern: &str| format!("any(http.request.headers[\"x-a\"][*] matches \"{pattern}\")");
    let starts =
        |made: &str| format!("any(starts_with(http.request.uri.args.names[*], {made})[*])");
    for (world, expression) in [
        (header(b"ab"), matches("a[ab]{2000}[c-z]")),
        (
            header(b"abcdefghijklmnopqrstuvwxyz"),
            matches("[a-m][a-z0-9]{2000}[^a-z]"),
        ),
        (
            query(b"ab&", 4_096),
            starts(r#"regex_replace(http.request.uri.query, "a[ab&]{200}[c-z]", "")"#),
        ),
        (
            query(b"ab&", 4_096),
            starts(r#"regex_replace(http.request.uri.query, "a[ab&]{200}([a-c])", "${1}")"#),
        ),
        (
            query(b"ab&", 8_192),
            starts(&format!(
                "remove_bytes(http.request.uri.query, \"{removed}\")"
            )),
        ),
        (arguments(), starts("http.request.uri.path.extension")),
        (
            arguments().header("accept-language", ",".repeat(60_000)),
            starts("http.request.accepted_languages[0]"),
        ),
        (
            arguments(),
            starts(r#"lookup_json_string(http.request.uri.query, "a")"#),
        ),
        (arguments(), starts("decode_base64(http.request.uri.query)")),
    ] {
        let mut world = world;
        if expression.contains("extension") {
            world.path = format!("/{}.y", "x".repeat(30_000));
        }
        assert_eq!(work(&world, &expression), None, "{expression}");
        assert_eq!(
            decided(&world, &[block("a", &expression)]).as_deref(),
            Some("too large")
        );
    }
}

#[test]
fn what_weighs_little_is_done() {
    let world = World::new(Certificate::None, "www.example.com", "/a/b.php")
        .header(
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        )
        .header(
            "cookie",
            format!("session={}; theme=dark", "0f".repeat(500)),
        );
    // A lazy automaton makes its states once, here.
    for expression in [
        r#"http.user_agent matches "(?u)\b\w+\b$""#,
        r#"http.user_agent matches "[a-z]*a[a-z ]{30}x""#,
        r#"regex_replace(http.cookie, "^.*session=([0-9a-f]+);.*$", "${1}") eq "x""#,
        r#"any(remove_bytes(http.request.headers.values[*], "; ")[*] eq "x")"#,
        r#"any(http.request.cookies["session"][*] contains "x")"#,
        r#"lookup_json_string(http.cookie, "a") eq "x""#,
    ] {
        let done = work(&world, expression);
        assert!(
            done.is_some_and(|done| done < limits::CONDITION_WORK_MAX / 8),
            "{expression}: {done:?}"
        );
    }
    // A set to remove is read once for each value, not for each byte.
    let removed = "xyz".repeat(1_000);
    let expression = format!("remove_bytes(http.request.uri.query, \"{removed}\") eq \"\"");
    let done = work(&World::with_query("a".repeat(60_000)), &expression);
    assert!(done.is_some_and(|done| done < 200_000), "{done:?}");
}

fn decided(world: &World, rules: &[Rule]) -> Option<String> {
    let program = Program::compile_with(rules, &Lists::default()).unwrap();
    world.decide(&program).0
}

fn blocks(texts: impl Iterator<Item = String>) -> Vec<Rule> {
    texts
        .enumerate()
        .map(|(at, text)| block(&format!("r{at}"), &text))
        .collect()
}

#[test]
fn a_decision_is_bounded_and_not_only_its_conditions() {
    let world = World::with_query("a&".repeat(30_000));
    let rules = |count| {
        let part = |n| format!("any(substring(http.request.uri.args.names[*], {n})[*] eq \"x\")");
        blocks((0..count).map(part))
    };
    assert!(work(&world, &rules(1)[0].expression).is_some());
    assert_eq!(decided(&world, &rules(5)), None);
    assert!((1..limits::DECISION_WORK_MAX).contains(&worked()));
    assert_eq!(decided(&world, &rules(60)).as_deref(), Some("too large"));
    // Nor is another decision about the same request given as much again.
    let program = Program::compile(&rules(15)).unwrap();
    let request = world.request();
    let state = ConnectionState::default();
    let decide = || decide_on(&program, &world.connection, &state, &request, &mut |_| {});
    assert!(matches!(decide(), Decision::Permit(_)));
    assert!(matches!(decide(), Decision::TooLarge));
    // Those that have changed are not a decision of their own.
    let all = Rule::shared(&rules(30));
    let program = Program::compile_shared(all[..15].to_vec(), &Lists::default()).unwrap();
    assert_eq!(world.decide(&program).0, None);
    let program = program.recompile(all, &Lists::default()).unwrap();
    assert_eq!(world.decide(&program).0.as_deref(), Some("too large"));
}

#[test]
fn keys_of_maps_are_looked_up_in_what_was_read_once() {
    let keys = |map: &str| {
        blocks((0..1_000).map(|n| format!("any(http.request.{map}[\"k{n}\"][*] eq \"x\")")))
    };
    let query = World::with_query("a&".repeat(15_000));
    let cookies =
        World::new(Certificate::None, "a.example", "/").header("cookie", "a=b; ".repeat(12_000));
    for (map, world) in [("uri.args", query), ("cookies", cookies)] {
        let program = Program::compile(&keys(map)).unwrap();
        assert_eq!(world.decide(&program).0, None, "{map}");
        assert!(worked() < 4_000_000, "{map}: {}", worked());
    }
    let each =
        r#"any(ends_with(http.request.uri.args.names[*], http.request.uri.args["zz"][0])[*])"#;
    assert!(work(&World::with_query("a&".repeat(30_000)), each).is_some());
    // What is there is found, by either of two parts of a program.
    let world = World::with_query("a=1&k7=y&k999=x&k7=x".to_owned());
    let mut rules = Rule::shared(&keys("uri.args"));
    let program = Program::compile_shared(rules.clone(), &Lists::default()).unwrap();
    assert_eq!(world.decide(&program).0.as_deref(), Some("r7"));
    rules.remove(7);
    let program = program.recompile(rules, &Lists::default()).unwrap();
    assert_eq!(world.decide(&program).0.as_deref(), Some("r999"));
}

#[test]
fn an_honest_request_is_far_from_the_bound() {
    let rules = blocks((0..3_000).map(|n| match n % 10 {
        0 => format!("http.request.uri.path matches \"^/[a-z]+/{n}[0-9]+$\""),
        1 => format!("http.user_agent contains \"scanner-{n}\""),
        2 => format!("any(http.request.headers[\"x-{n}\"][*] eq \"y\")"),
        3 => format!("any(http.request.cookies[\"c{n}\"][*] eq \"y\")"),
        4 => format!("concat(http.host, http.request.uri.path) eq \"a{n}\""),
        5 => format!("any(lower(http.request.uri.args.values[*])[*] contains \"x{n}\")"),
        6 => format!("len(http.request.uri.query) gt {}", 10_000 + n),
        7 => format!("url_decode(http.request.uri.path, \"r\") wildcard \"*/x{n}/*\""),
        8 => format!(
            "ip.src in {{10.{}.0.0/16}} and http.user_agent matches \"[0-9]+x{n}\"",
            n % 200
        ),
        _ => format!("all(http.request.headers.names[*] ne \"x-{n}\") and http.host eq \"{n}\""),
    }));
    let world = World::new(Certificate::Valid, "www.example.com", "/shop/cart/items")
        .header(
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        )
        .header("accept-language", "de-AT,de;q=0.8,en;q=0.5")
        .header(
            "cookie",
            format!("session={}; theme=dark; c=1", "0f".repeat(500)),
        );
    assert_eq!(decided(&world, &rules), None);
    // A hundred thousand of the same would still be a tenth of what is allowed.
    assert!(
        worked() * 33 < limits::DECISION_WORK_MAX / 2,
        "{}",
        worked()
    );
}

/// Compares with the plain evaluator, which has to find its way within the bounds.
fn as_the_oracle(rules: &[Rule], world: &World) {
    let texts: Vec<_> = rules.iter().map(|rule| &rule.expression).collect();
    let program = Program::compile(rules).unwrap();
    let oracle = Oracle::compile(rules, &Lists::default()).unwrap();
    let request = world.request();
    let mut expected_log = Vec::new();
    let expected = oracle
        .evaluate(&world.connection, &request, &mut |id| {
            expected_log.push(id.to_owned())
        })
        .unwrap_or_else(|_too_much| panic!("{texts:?}"));
    let halves = Program::compile(rules.get(..1).unwrap()).unwrap();
    let changed = halves
        .recompile(Rule::shared(rules), &Lists::default())
        .unwrap();
    let state = ConnectionState::default();
    for (program, remembers) in [
        (&program, false),
        (&program, true),
        (&program, true),
        (&changed, false),
    ] {
        let mut log = Vec::new();
        let found = if remembers {
            let decision = decide_on(program, &world.connection, &state, &request, &mut |id| {
                log.push(id.to_owned());
            });
            match decision {
                Decision::Permit(_) => None,
                Decision::Block { rule_id, .. } => Some(rule_id.to_owned()),
                Decision::TooLarge => Some("too large".to_owned()),
            }
        } else {
            let (found, logged) = world.decide(program);
            log = logged;
            found
        };
        assert_eq!(
            (found.as_deref(), &log),
            (expected, &expected_log),
            "{texts:?}"
        );
    }
}

#[test]
fn nothing_after_the_rule_that_ends_it_is_evaluated() {
    let skip = |text: &str| {
        let action = Action::Skip(Skip {
            current_ruleset: true,
            ..Skip::default()
        });
        rule("skip", text, action)
    };
    let world = World::with_query("a&".repeat(12_000));
    let log = |id: &str, text: &str| rule(id, text, Action::Log);
    let tree = format!("not ({SQUARES} xor ssl)");
    for costly in [SQUARES, &format!("ssl and {SQUARES}"), &tree] {
        for rules in [
            vec![skip("true"), log("log", costly)],
            vec![block("all", "true"), log("log", costly)],
            vec![
                log("first", "ssl"),
                block("all", "ssl"),
                log("log", costly),
                log("last", "ssl"),
            ],
            vec![
                block("none", "not ssl"),
                skip("http.host eq \"a.example\""),
                log("log", costly),
            ],
            vec![block("all", "true"), block("costly", costly)],
        ] {
            as_the_oracle(&rules, &world);
        }
        let first = [log("log", costly), block("all", "true")];
        assert_eq!(decided(&world, &first).as_deref(), Some("too large"));
    }
}

#[test]
fn what_guards_a_costly_question_is_asked_first() {
    let world = World::with_query("a&".repeat(12_000));
    for guard in [
        "len(http.request.uri.query) lt 1000",
        "http.request.uri.path contains \"zzz\"",
        "not starts_with(http.request.uri.path, \"/\")",
        "not http.host wildcard \"*.example\"",
        "http.request.uri.path matches \"^/.+$\"",
        "ip.src in {10.0.0.0/8}",
        "any(http.request.headers[\"x\"][*] eq \"y\")",
        "http.request.uri.query ne \"x\" and http.request.method eq \"PUT\"",
    ] {
        for costly in [
            SQUARES.to_owned(),
            format!("not {SQUARES}"),
            format!("({SQUARES} xor ssl)"),
        ] {
            let guarded = block("guarded", &format!("{guard} and {costly}"));
            as_the_oracle(std::slice::from_ref(&guarded), &world);
            // Another rule of the form whose guard does not hold either, and one that has no guard.
            let other = block(
                "other",
                &format!("{guard} and {}", costly.replace("\"x\"", "\"y\"")),
            );
            as_the_oracle(&[guarded.clone(), other, block("last", "true")], &world);
            as_the_oracle(&[block("or", &format!("ssl or {costly}")), guarded], &world);
        }
    }
    let unguarded = block(
        "a",
        &format!("len(http.request.uri.query) gt 1000 and {SQUARES}"),
    );
    assert_eq!(decided(&world, &[unguarded]).as_deref(), Some("too large"));
}

#[test]
fn what_one_request_made_grow_is_given_back() {
    let world = World::with_query("a&".repeat(1_500));
    let expression = "len(join(http.request.uri.args.names, http.request.uri.query)) gt 5";
    let mut scratch = world.scratch_of(expression);
    assert!(scratch.kept() > 4 * limits::SCRATCH_BYTES_KEPT);
    scratch.begin_decision();
    assert!(scratch.kept() <= 2 * limits::SCRATCH_BYTES_KEPT);
}
