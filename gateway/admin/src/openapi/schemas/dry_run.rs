//! Dry runs of rules.

use super::super::schema::{
    Object, Schema, closed, count, either, flag, list, map, named, number, object, text, words,
};
use super::rules::version;
use super::{Named, id, pem, time};
use crate::limits::DRY_RUN_REQUESTS_MAX;
use control::limits::PEM_BYTES_MAX;

pub(super) fn schemas() -> Vec<Named> {
    let mut all = asked();
    all.extend(answered());
    all
}

const TEXTS_OF_CERTIFICATE: [&str; 7] = [
    "subject_dn",
    "issuer_dn",
    "serial",
    "fingerprint_sha256",
    "ski",
    "issuer_ski",
    "ca_id",
];

fn asked() -> Vec<Named> {
    let state = || words(["none", "invalid", "valid", "revoked"]);
    let described = TEXTS_OF_CERTIFICATE
        .into_iter()
        .fold(closed(), |all, name| all.takes(name, text()))
        .takes("state", state())
        .takes("pem", pem("The chain").characters(PEM_BYTES_MAX));
    let described = ["san_dns", "san_uri", "san_email", "san_ip"]
        .into_iter()
        .fold(described, |all, name| all.takes(name, list(text())))
        .about("`state` or `pem` has to be there; what is left out is not known.");
    let value = || either([text(), number(), flag()]);
    let header = either([text(), number(), flag(), list(value())]);
    let address = || text().about("An address, with a port or without");
    let request = closed()
        .takes("name", text().about("For the answer"))
        .takes("method", text().default("GET"))
        .takes(
            "url",
            text().about("`https://HOST/PATH?QUERY`, instead of `host` and `path`"),
        )
        .takes("host", text())
        .takes("path", text().default("/"))
        .takes(
            "http",
            words(["HTTP/1.0", "HTTP/1.1", "HTTP/2"]).default("HTTP/1.1"),
        )
        .may_have("headers", map(header))
        .takes("source", address())
        .takes("server", address())
        .takes("tls_version", text().about("`TLSv1.2` or `TLSv1.3`"))
        .takes("tls_cipher", text())
        .takes("round_trip_msec", count().most(u32::MAX.into()))
        .takes("time", time())
        .takes(
            "certificate",
            either([
                text().about("`none`, `invalid`, `valid` or `revoked`, or a chain in PEM"),
                named("TestedCertificate"),
            ]),
        )
        .takes(
            "expect",
            text().about("An outcome, or the id or `ref` of the rule that blocks"),
        )
        .about("`url` or `host` has to be there; what is left out is not known.");
    let test = closed()
        .may_have(
            "requests",
            list(named("TestedRequest")).items(DRY_RUN_REQUESTS_MAX),
        )
        .may_have(
            "records",
            list(text().about("A line of the access log")).items(DRY_RUN_REQUESTS_MAX),
        )
        .takes(
            "draft",
            named("RuleUpdate")
                .about("A rule that is not saved; with the `id` of one that is, a change of it"),
        )
        .may_have(
            "explain",
            list(text().about("The id of a rule, or `all`"))
                .about("Rules to explain besides those that act"),
        );
    vec![
        ("TestedCertificate", described.into()),
        ("TestedRequest", request.into()),
        ("RuleTest", test.into()),
    ]
}

fn outcome() -> Schema {
    words(["permit", "block", "refuse", "unknown", "not_judged"]).about(
        "`refuse`: the gateway refuses it before any rule is asked. `unknown`: it depends on what \
         is not known of the request. `not_judged`: there is no request to judge",
    )
}

/// A rule without its expression.
fn brief() -> Object {
    object()
        .has("id", id())
        .has_texts(["ref", "description", "action"])
        .has("position", count().least(1))
        .has("enabled", flag())
        .has("draft", flag().about("Whether it is the draft"))
}

fn holds() -> Schema {
    flag().or_null().about("`null` when it is not known")
}

fn answered() -> Vec<Named> {
    let operand = object()
        .has("of", text())
        .has("is", words(["known", "missing", "unknown"]))
        .has("value", text().or_null());
    let trace = object()
        .has("expression", text())
        .has("holds", holds())
        .may_have("values", list(operand))
        .may_have("parts", list(named("ExpressionTrace")));
    let shown = object()
        .has_texts(["method", "host", "path", "http", "certificate"])
        .has("source", text().or_null());
    let recorded = object()
        .has("outcome", words(["permit", "block"]))
        .has("rule_id", text().or_null())
        .has("status", count());
    let explained = brief()
        .has("holds", holds())
        .has("trace", named("ExpressionTrace"));
    let rules = || list(named("RuleBrief"));
    let tested = object()
        .may_have("name", text().or_null())
        .may_have("request", shown)
        .has("outcome", outcome())
        .may_have(
            "status",
            count()
                .or_null()
                .about("The status of what a blocked client gets"),
        )
        .may_have(
            "reason",
            text().about("Why it is refused, as a word of the access log"),
        )
        .may_have(
            "rule",
            named("RuleBrief").or_null().about("The rule that decides"),
        )
        .may_have("logged", rules())
        .may_have("maybe_logged", rules())
        .may_have("possible", rules().about("The rules that may decide"))
        .may_have("or_permitted_by_none", flag())
        .may_have(
            "unknown",
            list(text()).about("The fields that it depends on"),
        )
        .may_have(
            "rules",
            list(explained).about("The rules that act or are to be explained"),
        )
        .has("notes", list(text()))
        .may_have("recorded", recorded)
        .may_have(
            "differs",
            flag()
                .or_null()
                .about("Whether the outcome is not the recorded one"),
        )
        .may_have("expected", text())
        .may_have("met", flag());
    let summary = object()
        .has_counts(["requests", "expectations_unmet", "different_from_record"])
        .has(
            "unexplained",
            count().about("Requests of which some rules were not explained"),
        )
        .has("outcomes", map(count()));
    let result = object()
        .has("ruleset_version", version())
        .has("rules", count())
        .has("draft", named("RuleBrief").or_null())
        .has("tested", list(named("TestedOutcome")))
        .has("summary", summary);
    vec![
        ("RuleBrief", brief().into()),
        ("ExpressionTrace", trace.into()),
        ("TestedOutcome", tested.into()),
        ("RuleTestResult", result.into()),
    ]
}
