//! Requests and rules made to cost more than they weigh: what is done is counted, not timed.

use std::fmt::Write;

use super::{Certificate, World, block, rule};
use crate::limits;
use crate::matcher::budget;
use crate::{Action, ConnectionState, Decision, Lists, Program, Rule, decide_on, touched_bytes};

/// Bytes of a request's target at most, as the library that reads it has it.
const TARGET_BYTES_MAX: usize = 65_534;

/// What a condition does on a request, and whether it was too much.
fn work(world: &World, expression: &str) -> (usize, bool) {
    let scratch = world.scratch_of(expression);
    (scratch.worked(), scratch.is_spent())
}

/// Many arguments: as many elements as half the bytes.
fn arguments(bytes: usize) -> World {
    World::with_query("a&".repeat(bytes / 2))
}

#[test]
fn what_squares_the_head_is_refused_and_not_done() {
    for expression in [
        r#"any(concat(http.request.uri.args.names[*], http.request.uri.query)[*] eq "x")"#,
        "len(join(http.request.uri.args.names, http.request.uri.query)) gt 5",
        r#"any(starts_with(http.request.uri.args.names[*], http.request.full_uri)[*])"#,
        r#"any(concat(http.request.uri.args.names[*], http.request.uri.args["a"][30000])[*] eq "x")"#,
        r#"any(starts_with(http.request.uri.args.names[*], lower(http.request.uri.query))[*])"#,
        r#"any(concat(http.request.uri.args.names[*], lookup_json_string(http.request.uri.query, "a"))[*] eq "x")"#,
    ] {
        let small = arguments(1_000);
        let (done, too_much) = work(&small, expression);
        assert!(!too_much, "{expression}: {done}");
        let large = arguments(TARGET_BYTES_MAX);
        assert!(work(&large, expression).1, "{expression}");
        // Neither a rule that blocks what is not so, nor one that permits, has its way; and what
        // was evaluated on the way is not remembered.
        for rules in [
            vec![block("not", &format!("not ({expression})"))],
            vec![rule("log", expression, Action::Log), block("last", "true")],
        ] {
            let program = Program::compile(&rules).unwrap();
            let state = ConnectionState::default();
            for world in [&large, &small, &large] {
                let request = world.request();
                let decision =
                    decide_on(&program, &world.connection, &state, &request, &mut |_| {
                        assert!(
                            world.query.len() < 2_000,
                            "nothing is reported of what is refused"
                        );
                    });
                let refused = matches!(decision, Decision::TooLarge);
                assert_eq!(refused, world.query.len() > 2_000, "{expression}");
            }
        }
    }
}

#[test]
fn what_follows_the_head_is_done() {
    let header = "x".repeat(60_000);
    let world = arguments(TARGET_BYTES_MAX)
        .header("x", header.as_bytes())
        .header("cookie", "a=b;".repeat(15_000).as_bytes());
    for expression in [
        r#"any(lower(http.request.uri.args.names[*])[*] eq "x")"#,
        r#"any(url_decode(http.request.uri.args.values[*], "ur")[*] contains "x")"#,
        r#"any(concat(http.request.uri.args.names[*], "some text", http.host)[*] eq "x")"#,
        r#"join(http.request.uri.args.names, ", ") eq "x""#,
        r#"upper(lower(url_decode(http.request.full_uri, "ur"))) eq "x""#,
        r#"any(http.request.cookies["a"][*] eq "x")"#,
        r#"wildcard_replace(http.request.uri.query, "*a*", "${2}${2}${2}${2}${2}${2}${2}${2}") eq "x""#,
    ] {
        let (done, too_much) = work(&world, expression);
        assert!(
            !too_much && done < limits::CONDITION_WORK_MAX / 2,
            "{expression}: {done}"
        );
    }
    // As long as an expression can be, of the longest value there is.
    let mut longest = String::from("len(concat(http.host");
    while longest.len() + 40 < limits::EXPRESSION_CHARACTERS_MAX {
        longest.push_str(", http.request.uri");
    }
    longest.push_str(")) gt 5");
    let eighth = World::with_query("x".repeat(TARGET_BYTES_MAX / 8));
    assert!(!work(&eighth, &longest).1);
}

#[test]
fn headers_that_are_passed_on_the_way_to_one_count() {
    let world = |count| {
        let names = (0..count).map(|number| format!("x-{number:04}"));
        let fill = |world: World, name: String| world.header(&name, "1");
        names
            .fold(World::with_query(String::new()), fill)
            .as_spans()
    };
    let (few, many) = (world(1), world(90));
    for expression in [
        r#"any(http.request.headers["x-none"][*] eq "1")"#,
        r#"http.user_agent eq "1""#,
        r#"any(http.request.cookies["a"][*] eq "1")"#,
        r#"any(http.request.accepted_languages[*] eq "1")"#,
    ] {
        let more = work(&many, expression).0 - work(&few, expression).0;
        assert!(more >= 89 * budget::HEADER, "{expression}: {more}");
    }
}

/// Bytes of the rules that a decision reads, once what is remembered is there.
fn touched(program: &Program, world: &World) -> usize {
    let state = ConnectionState::default();
    for _ in 0..2 {
        let request = world.request();
        decide_on(program, &world.connection, &state, &request, &mut |_| {});
    }
    touched_bytes()
}

fn program(rules: impl IntoIterator<Item = String>) -> Program {
    let rules: Vec<Rule> = rules
        .into_iter()
        .enumerate()
        .map(|(at, text)| block(&format!("r{at}"), &text))
        .collect();
    Program::compile_with(&rules, &Lists::default()).unwrap()
}

#[test]
fn a_text_that_a_value_repeats_is_found_once() {
    let program = program((0..3_000).map(|n| {
        format!("http.request.uri.query contains \"a\" and http.request.uri.path eq \"/{n}\"")
    }));
    let once = touched(&program, &World::with_query("xa".to_owned()));
    let often = touched(&program, &World::with_query("a".repeat(TARGET_BYTES_MAX)));
    // The value is read, and each place is looked at; no vector is looked into again.
    let value = TARGET_BYTES_MAX * (1 + size_of::<u64>());
    assert!(often <= once + value, "{once} {often}");
}

#[test]
fn an_element_that_an_array_repeats_is_found_once() {
    let program = program((0..3_000).map(|n| {
        format!(
            "any(http.request.uri.args.names[*] eq \"a\") and http.request.uri.path eq \"/{n}\""
        )
    }));
    let once = touched(&program, &World::with_query("a".to_owned()));
    let (elements, world) = (TARGET_BYTES_MAX / 2, arguments(TARGET_BYTES_MAX));
    let often = touched(&program, &world);
    assert!(often <= once + elements * 160, "{once} {often}");
}

#[test]
fn nested_texts_cost_what_they_weigh() {
    // Each is in each that follows; a value of nothing else has all of them everywhere.
    for form in [
        "http.request.uri.query contains",
        "http.request.uri.query wildcard",
    ] {
        let star = if form.ends_with("wildcard") { "*" } else { "" };
        let program = program((1..500).map(|n| {
            format!(
                "{form} \"{star}{}{star}\" and http.request.uri.path eq \"/none\"",
                "a".repeat(n)
            )
        }));
        let value = "a".repeat(TARGET_BYTES_MAX);
        let read = touched(&program, &World::with_query(value.clone()));
        assert!(read < 12 * value.len(), "{form}: {read}");
    }
}

#[test]
fn prefixes_of_all_lengths_cost_what_an_index_looks_for() {
    let rules = |text: &str| {
        let mut text = text.to_owned();
        while text.len() < 4_000 {
            text.push('a');
        }
        text
    };
    let text = rules("/");
    for function in ["starts_with", "ends_with"] {
        let program = program((1..4_000).step_by(3).map(|n| {
            let part = if function == "starts_with" {
                &text[..n]
            } else {
                &text[text.len() - n..]
            };
            format!("{function}(http.request.uri.path, \"{part}\") and ssl and not ssl")
        }));
        let world = World::new(Certificate::None, "a.example", &text);
        assert_eq!(world.decide(&program).0, None);
        let shortest = World::new(Certificate::None, "a.example", "/");
        assert_eq!(shortest.decide(&program).0, None);
    }
    // Longer than an index looks for: the rest is compared, in both senses.
    let long = "/".to_owned() + &"b".repeat(1_000);
    let world = World::new(Certificate::None, "a.example", &long);
    let other = World::new(
        Certificate::None,
        "a.example",
        &(long[..999].to_owned() + "cb"),
    );
    for (expression, same, different) in [
        (
            format!("starts_with(http.request.uri.path, \"{long}\")"),
            true,
            false,
        ),
        (
            format!("not starts_with(http.request.uri.path, \"{long}\")"),
            false,
            true,
        ),
        (
            format!("ends_with(http.request.uri.path, \"{}\")", &long[1..]),
            true,
            false,
        ),
        (
            format!("http.request.uri.path contains \"{}\"", &long[..1_000]),
            true,
            false,
        ),
        (
            format!("not http.request.uri.path contains \"{}\"", &long[..1_000]),
            false,
            true,
        ),
        (
            format!("http.request.uri.path wildcard \"*{}*\"", &long[..1_000]),
            true,
            false,
        ),
    ] {
        assert_eq!(world.holds(&expression), same, "{expression}");
        assert_eq!(other.holds(&expression), different, "{expression}");
    }
}

#[test]
fn a_rule_cannot_ask_for_more_keys_than_an_index_keeps() {
    // 13 characters, some 240 keys.
    let ranges = |from: usize| {
        (from..from + 30).fold(String::new(), |mut text, n| {
            let _written = write!(text, " {n:x}::1..fff{:x}::fffe", n % 16);
            text
        })
    };
    let one = program([format!("ip.src in {{{}}}", ranges(1))]);
    assert!(
        one.vector_bytes() < 4096,
        "more than a literal may have stays a tree"
    );
    let few = (1..700).map(|n| {
        let some = ranges(n)
            .split(' ')
            .skip(1)
            .take(8)
            .collect::<Vec<_>>()
            .join(" ");
        format!("ip.src in {{{some}}} and (ssl or http.host eq \"a\" or http.host eq \"b\")")
    });
    let many = program(few);
    // A number and its entry for each key of a term.
    let most = limits::INDEX_ENTRIES_MAX * 32;
    assert!(many.vector_bytes() < most, "{}", many.vector_bytes());
    let mut inside = World::new(Certificate::None, "c", "/");
    inside.connection.source = "[8000::1]:1".parse().unwrap();
    assert_eq!(inside.decide(&many).0.as_deref(), Some("r0"));
}
