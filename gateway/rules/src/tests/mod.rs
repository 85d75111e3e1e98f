//! Tests of the whole language: text in, decision out.

mod bounds;
mod conformance;
pub(crate) mod generate;
mod geo;
mod hostile;
mod language;
mod messages;
pub(crate) mod program;

use super::*;
use crate::eval::connection_values::ConnectionValues;
use crate::eval::field_values::Facts;
use crate::eval::value::Scratch;
use crate::syntax::parser;
use crate::testing::oracle;
pub(crate) use crate::testing::world::{Certificate, World, block, rule};

impl World {
    /// What evaluating a condition alone leaves behind.
    fn scratch_of(&self, expression: &str) -> Scratch {
        let condition = parser::parse(expression, None).unwrap();
        let facts = Facts {
            connection: &self.connection,
            request: &self.request(),
            values: &ConnectionValues::default(),
        };
        let mut scratch = Scratch::default();
        condition.holds(&facts, &mut scratch);
        scratch
    }
}

#[test]
fn order_and_actions() {
    let skip = |current_ruleset, logging| {
        Action::Skip(Skip {
            current_ruleset,
            logging,
            ..Skip::default()
        })
    };
    let mut disabled = block("off", "true");
    disabled.enabled = false;
    let rules = [
        disabled,
        rule("log-1", "ssl", Action::Log),
        rule("log-2", "not ssl", Action::Log),
        rule("skip-phase", "ssl", skip(false, true)),
        rule(
            "skip",
            "http.request.uri.path eq \"/health\"",
            skip(true, true),
        ),
        rule(
            "quiet",
            "http.request.uri.path eq \"/ready\"",
            skip(true, false),
        ),
        block("first", "http.request.uri.path contains \"adm\""),
        block("second", "http.request.uri.path eq \"/admin\""),
        rule("log-3", "true", Action::Log),
    ];
    let program = Program::compile(&rules).unwrap();
    for (path, blocked, logged) in [
        ("/admin", Some("first"), vec!["log-1", "skip-phase"]),
        ("/health", None, vec!["log-1", "skip-phase", "skip"]),
        ("/ready", None, vec!["log-1", "skip-phase"]),
        ("/", None, vec!["log-1", "skip-phase", "log-3"]),
    ] {
        let world = World::new(Certificate::None, "a.example", path);
        let (found, log) = world.decide(&program);
        assert_eq!(
            (
                found.as_deref(),
                log.iter().map(String::as_str).collect::<Vec<_>>()
            ),
            (blocked, logged),
            "{path}"
        );
    }
}

#[test]
fn a_disabled_rule_is_checked_all_the_same() {
    let mut rule = block("off", "http.hots eq \"a\"");
    rule.enabled = false;
    let error = Program::compile(&[block("on", "ssl"), rule]).unwrap_err();
    assert_eq!(error.index, 1);
    assert!(
        error.message.starts_with("Filter parsing error (1:1): "),
        "{error}"
    );
}

#[test]
fn lists() {
    let mut lists = Lists::default();
    lists
        .insert("office", List::ip(["203.0.113.0/24"]).unwrap())
        .unwrap();
    lists
        .insert(
            "ours",
            List::hostname(["*.a.example", "a.example"]).unwrap(),
        )
        .unwrap();
    lists
        .insert("bad_asn", List::asn(["64496"]).unwrap())
        .unwrap();
    let world = World::new(Certificate::None, "a.example", "/");
    for (expression, expected) in [
        ("ip.src in $office", true),
        ("not ip.src in $office", false),
        ("http.host in $ours", true),
        ("ip.src.asnum in $bad_asn", false),
        (
            "any(postern.tls_client_auth.cert_san.ip[*] in $office)",
            false,
        ),
    ] {
        let program = Program::compile_with(&[block("a", expression)], &lists).unwrap();
        assert_eq!(world.decide(&program).0.is_some(), expected, "{expression}");
    }
    // What stands for an IPv4 address is that one, in a list and in an expression.
    let mapped = List::ip(["::ffff:203.0.113.0/120", "::ffff:198.51.100.1"]).unwrap();
    lists.insert("mapped", mapped).unwrap();
    for expression in [
        "ip.src in $mapped",
        "ip.src eq ::ffff:203.0.113.9",
        "ip.src in {::ffff:203.0.0.0/104}",
        "cidr(ip.src, 24, 64) eq ::ffff:203.0.113.0",
    ] {
        let program = Program::compile_with(&[block("a", expression)], &lists).unwrap();
        assert!(world.decide(&program).0.is_some(), "{expression}");
        let read = check_with(expression, &lists).unwrap();
        assert_eq!(
            check_with(&read.to_string(), &lists),
            Ok(read),
            "{expression}"
        );
    }
    for (expression, why) in [
        ("ip.src in $offce", "did you mean `$office`?"),
        ("ip.src in $ours", "it takes String"),
        ("ip.src in $cf.open_proxies", "a-z, 0-9 and `_`"),
    ] {
        let error = Program::compile_with(&[block("a", expression)], &lists)
            .unwrap_err()
            .to_string();
        assert!(error.contains(why), "{error}");
    }
    assert!(
        Program::compile(&[block("a", "ip.src in $office")]).is_err(),
        "a list that does not exist"
    );
    assert!(
        check("ip.src in $office").is_ok(),
        "checking alone does not know lists"
    );
}

#[test]
fn the_host_header_of_http2_is_its_authority() {
    let mut world = World::new(Certificate::None, "a.example", "/").header("x", "y");
    let expressions = [
        r#"any(http.request.headers["host"][*] contains "example")"#,
        r#"http.request.headers["host"][0] eq "A.example:8443""#,
        r#"http.request.headers.names[0] eq "host""#,
        r#"any(http.request.headers.values[*] eq "A.example:8443")"#,
        "len(http.request.headers.names) eq 2",
    ];
    for expression in expressions {
        assert!(!world.holds(expression), "{expression}");
    }
    world.authority = Some("A.example:8443".into());
    for expression in expressions {
        assert!(world.holds(expression), "{expression}");
        let oracle = oracle::Oracle::compile(&[block("a", expression)], &Lists::default()).unwrap();
        let request = world.request();
        let found = oracle.decide(&world.connection, &request, &mut |_| {});
        assert_eq!(found, Some("a"), "{expression}");
    }
    assert!(!world.holds(r#"any(http.request.headers["Host"][*] contains "example")"#));
}
