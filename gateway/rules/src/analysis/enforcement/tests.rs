//! Which rules protect a host, which do so in part, and which only seem to.

use super::*;
use crate::tests::{Certificate, block, rule};
use crate::{List, Program, Skip};

const HOST: &str = "api.example.test";
const GOOD: &str = "(not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked)";

fn skip(id: &str, expression: &str) -> Rule {
    let skip = Skip {
        current_ruleset: true,
        ..Skip::default()
    };
    rule(id, expression, Action::Skip(skip))
}

/// `all`, `some`, `none`, each with the rules it names.
fn found(rules: &[Rule], host: &str) -> String {
    let host = HostName::parse(host).unwrap();
    let name =
        |skip: Option<Arc<str>>| skip.map_or_else(String::new, |skip| format!(" but {skip}"));
    match enforcement(rules, &Lists::default(), &host) {
        Enforcement::Nothing { skip } => format!("none{}", name(skip)),
        Enforcement::Partly { rule, skip } => format!("some {rule}{}", name(skip)),
        Enforcement::Fully {
            rule,
            revoked_pass: false,
        } => format!("all {rule}"),
        Enforcement::Fully { rule, .. } => format!("all {rule}, not revoked"),
    }
}

#[test]
fn one_rule() {
    let verified = "cf.tls_client_auth.cert_verified";
    for (expression, host, expected) in [
        (GOOD.to_owned(), HOST, "all r"),
        (format!("not {verified}"), HOST, "all r, not revoked"),
        (format!("http.host eq \"{HOST}\" and {GOOD}"), HOST, "all r"),
        (
            format!("http.host eq \"{HOST}\" and {GOOD}"),
            "*.example.test",
            "some r",
        ),
        (
            format!("ends_with(http.host, \".example.test\") and {GOOD}"),
            HOST,
            "all r",
        ),
        (
            format!("ends_with(http.host, \".example.test\") and {GOOD}"),
            "*.example.test",
            "all r",
        ),
        (
            format!("http.host wildcard \"*.example.test\" and {GOOD}"),
            HOST,
            "all r",
        ),
        (
            format!("http.host ne \"other.test\" and {GOOD}"),
            HOST,
            "all r",
        ),
        (
            format!("not http.host in {{\"other.test\"}} and {GOOD}"),
            "*.example.test",
            "all r",
        ),
        (
            "postern.tls_client_auth.reason ne \"verified\"".into(),
            HOST,
            "all r",
        ),
        (
            "postern.tls_client_auth.ca_id ne \"1\"".into(),
            HOST,
            "all r, not revoked",
        ),
        (
            format!("not ({verified} and cf.tls_client_auth.cert_issuer_ski eq \"A5\")"),
            HOST,
            "all r, not revoked",
        ),
        (
            format!(
                "not {verified} or (cf.tls_client_auth.cert_revoked and http.request.uri.path eq \"/a\")"
            ),
            HOST,
            "all r, not revoked",
        ),
        (
            format!("ssl and {GOOD} or http.request.uri.path eq \"/x\""),
            HOST,
            "all r",
        ),
        // For some requests.
        (
            format!("{GOOD} and http.request.uri.path in {{\"/admin\"}}"),
            HOST,
            "some r",
        ),
        (
            format!("http.request.method eq \"BREW\" and {GOOD}"),
            HOST,
            "some r",
        ),
        (format!("http.host in $ours and {GOOD}"), HOST, "some r"),
        (
            format!("http.host contains \"a\" and {GOOD}"),
            "*.example.test",
            "some r",
        ),
        (
            format!(
                "not ({verified} and cf.tls_client_auth.cert_issuer_ski eq \"A5\") and http.request.uri.path eq \"/\""
            ),
            HOST,
            "some r",
        ),
        // A client that makes the right certificate passes.
        (
            "cf.tls_client_auth.cert_serial ne \"DEADBEEF\"".into(),
            HOST,
            "some r",
        ),
        (
            format!("not {verified} and cf.tls_client_auth.cert_serial ne \"AA\""),
            HOST,
            "some r",
        ),
        // For no client.
        ("cf.tls_client_auth.cert_revoked".into(), HOST, "none"),
        (
            "cf.tls_client_auth.cert_serial eq \"DEADBEEF\"".into(),
            HOST,
            "none",
        ),
        (format!("http.host ne \"{HOST}\" and {GOOD}"), HOST, "none"),
        (
            format!("not http.host eq \"{HOST}\" and {GOOD}"),
            HOST,
            "none",
        ),
        (
            format!("{GOOD} and ends_with(http.host, \".other.test\")"),
            HOST,
            "none",
        ),
        (
            format!("{GOOD} and ends_with(http.host, \".other.test\")"),
            "*.example.test",
            "none",
        ),
        (
            format!("http.host wildcard \"other.*\" and not {verified}"),
            HOST,
            "none",
        ),
        (
            format!("http.host in {{\"a.test\"}} and not {verified}"),
            HOST,
            "none",
        ),
        (format!("not {verified} and not ssl"), HOST, "none"),
        (verified.into(), HOST, "none"),
        // Any certificate will do.
        ("not cf.tls_client_auth.cert_presented".into(), HOST, "none"),
        // Nothing to do with certificates, or the same whatever they are.
        ("http.request.uri.path eq \"/x\"".into(), HOST, "none"),
        (format!("http.host eq \"{HOST}\""), HOST, "none"),
        (
            "http.request.uri.path eq \"/x\" or cf.tls_client_auth.cert_revoked".into(),
            HOST,
            "none",
        ),
        (
            format!("http.request.uri.path eq \"/x\" and ({verified} or not {verified})"),
            HOST,
            "none",
        ),
        (
            "http.request.uri.path eq \"/x\" or cf.tls_client_auth.cert_serial eq \"A\"".into(),
            HOST,
            "none",
        ),
        ("nonsense".into(), HOST, "none"),
    ] {
        assert_eq!(
            found(&[block("r", &expression)], host),
            expected,
            "{host}: {expression}"
        );
    }
    let mut disabled = block("r", GOOD);
    disabled.enabled = false;
    assert_eq!(found(&[disabled], HOST), "none");
    assert_eq!(found(&[rule("r", GOOD, Action::Log)], HOST), "none");
    assert_eq!(found(&[], HOST), "none");
}

#[test]
fn several_rules() {
    let admin = format!("http.request.uri.path eq \"/admin\" and {GOOD}");
    let presented = "cf.tls_client_auth.cert_presented";
    for (rules, expected) in [
        (
            vec![
                skip("s", "http.request.method in {\"GET\" \"HEAD\"}"),
                block("r", GOOD),
            ],
            "some r but s",
        ),
        (
            vec![
                block("r", GOOD),
                skip("s", "http.request.method eq \"GET\""),
            ],
            "all r",
        ),
        (vec![skip("s", "true"), block("r", GOOD)], "none but s"),
        (vec![skip("s", "true")], "none but s"),
        (
            vec![block("a", &admin), skip("s", "true"), block("r", GOOD)],
            "some a but s",
        ),
        (
            vec![block("a", &admin), skip("s", "not ssl"), block("r", GOOD)],
            "all r",
        ),
        (
            vec![
                skip("s", "cf.tls_client_auth.cert_verified"),
                block("r", GOOD),
            ],
            "all r, not revoked",
        ),
        (
            vec![skip("s", "http.host eq \"other.test\""), block("r", GOOD)],
            "all r",
        ),
        (
            vec![
                skip("s", "cf.tls_client_auth.cert_serial eq \"AA\""),
                block("r", GOOD),
            ],
            "some r but s",
        ),
        (
            vec![
                skip("s", "ip.src eq 192.0.2.1"),
                skip("t", "http.host eq \"api.example.test\""),
                block("r", GOOD),
            ],
            "none but t",
        ),
        (vec![skip("s", "ip.src eq 192.0.2.1")], "none"),
        // One for those without, one for those with a wrong one.
        (
            vec![
                block("a", &format!("not {presented}")),
                block(
                    "b",
                    &format!("{presented} and not cf.tls_client_auth.cert_verified"),
                ),
            ],
            "all a, not revoked",
        ),
        (
            vec![
                block("a", "not cf.tls_client_auth.cert_verified"),
                block("b", "cf.tls_client_auth.cert_revoked"),
            ],
            "all a",
        ),
        (
            vec![
                block("a", "not cf.tls_client_auth.cert_verified"),
                skip("s", "http.request.method eq \"GET\""),
                block("b", "cf.tls_client_auth.cert_revoked"),
            ],
            "all a, not revoked",
        ),
        (
            vec![
                block("a", "http.host eq \"api.example.test\""),
                block("r", GOOD),
            ],
            "all r",
        ),
        (
            vec![
                block("a", "cf.tls_client_auth.cert_serial ne \"A\""),
                block("r", GOOD),
            ],
            "all a",
        ),
    ] {
        let shown: Vec<&str> = rules.iter().map(|rule| &*rule.expression).collect();
        assert_eq!(found(&rules, HOST), expected, "{shown:?}");
    }
    let mut phases = skip("s", "true");
    phases.action = Action::Skip(Skip {
        phases: vec!["http_ratelimit".into()],
        ..Skip::default()
    });
    assert_eq!(found(&[phases, block("r", GOOD)], HOST), "all r");
}

#[test]
fn lists_of_hosts() {
    let mut lists = Lists::default();
    lists
        .insert("ours", List::hostname([HOST]).unwrap())
        .unwrap();
    lists
        .insert("others", List::hostname(["other.test"]).unwrap())
        .unwrap();
    let host = HostName::parse(HOST).unwrap();
    for (list, expected) in [
        (
            "ours",
            Enforcement::Fully {
                rule: "r".into(),
                revoked_pass: false,
            },
        ),
        ("others", Enforcement::Nothing { skip: None }),
    ] {
        let rules = [block("r", &format!("http.host in ${list} and {GOOD}"))];
        assert_eq!(enforcement(&rules, &lists, &host), expected, "{list}");
    }
}

#[test]
fn evaluations_are_bounded() {
    let rules = [block("r", &format!("http.host ne \"a.test\" and {GOOD}"))];
    let conditions: Vec<Condition> = rules
        .iter()
        .map(|rule| read(rule, &Lists::default()).unwrap())
        .collect();
    let enforcers = Enforcers::new(rules.iter().zip(&conditions));
    let host = HostName::parse(HOST).unwrap();
    let mut evaluations = 1;
    assert!(enforcers.of(&host, &mut evaluations).is_some());
    assert_eq!(enforcers.of(&host, &mut evaluations), None);
}

proptest::proptest! {
    /// A client without a good certificate is blocked where that is vouched for, whatever it sends.
    #[test]
    fn what_is_vouched_for_is_blocked(
        conditions in proptest::collection::vec(
            (crate::tests::generate::condition(), proptest::prelude::any::<[bool; 3]>()),
            1..4,
        ),
        world in crate::tests::generate::world(),
    ) {
        let lists = crate::testing::fuzz::lists();
        let rules: Vec<Rule> = conditions
            .iter()
            .enumerate()
            .map(|(at, (condition, [skips, about, also]))| {
                let text = match (about, also) {
                    (false, _) => condition.to_string(),
                    (true, false) => format!("not cf.tls_client_auth.cert_verified and ({condition})"),
                    (true, true) => format!("not cf.tls_client_auth.cert_verified or ({condition})"),
                };
                if *skips { skip(&at.to_string(), &text) } else { block(&at.to_string(), &text) }
            })
            .collect();
        let Ok(host) = HostName::parse(&world.host) else {
            return Ok(());
        };
        proptest::prop_assume!(host.as_str() == world.host);
        let program = Program::compile_with(&rules, &lists).unwrap();
        let fully = matches!(enforcement(&rules, &lists, &host), Enforcement::Fully { .. });
        for certificate in [Certificate::None, Certificate::Invalid] {
            let mut world = world.clone();
            world.connection.client = Arc::new(certificate.client());
            let blocked = world.decide(&program).0.is_some();
            proptest::prop_assert!(blocked || !fully, "{:?}", rules);
        }
    }
}
