//! Rules, rulesets, their versions, and what helps to write them.

use super::super::schema::{
    Object, Schema, closed, count, flag, list, map, named, object, text, words,
};
use super::{Named, host_name, id, time};
use control::limits::{DESCRIPTION_BYTES_MAX, REFERENCE_BYTES_MAX, RULES_MAX};
use rules::LintKind;
use rules::limits::{
    BLOCK_CONTENT_BYTES_MAX, BLOCK_CONTENT_TYPES, BLOCK_DEFAULT_CONTENT_TYPE, EXPRESSION_BYTES_MAX,
};
use snapshot::limits::{
    RATE_CHARACTERISTICS_MAX, RATE_PENALTY_MAX_SEC, RATE_PERIOD_MAX_SEC, RATE_PERIOD_MIN_SEC,
    RATE_REQUESTS_MAX, TRANSFORM_HEADERS_MAX,
};

pub(super) fn schemas() -> Vec<Named> {
    let mut all = parameters();
    all.extend(rules());
    all.extend(rulesets());
    all.extend(mtls_rules());
    all.extend(help());
    all
}

fn expression() -> Schema {
    text()
        .characters(EXPRESSION_BYTES_MAX)
        .about("In Cloudflare's rules language")
}

fn description() -> Schema {
    text().characters(DESCRIPTION_BYTES_MAX)
}

fn reference() -> Schema {
    text()
        .some()
        .characters(REFERENCE_BYTES_MAX)
        .about("The user's own stable name of the rule; its id by default")
}

fn action() -> Schema {
    words(["block", "log", "skip", "rewrite", "redirect", "route"]).about(
        "`block`, `log` and `skip` in http_request_firewall_custom, `block` and `log` in \
         http_ratelimit, `rewrite` in http_request_late_transform and \
         http_response_headers_transform, `redirect` in http_request_dynamic_redirect, `route` in \
         http_request_origin",
    )
}

/// What a version is in rules and rulesets: a number as a text.
pub(super) fn version() -> Schema {
    text().pattern("^[0-9]+$")
}

fn parameters() -> Vec<Named> {
    let response = object()
        .may_have(
            "status_code",
            count()
                .least(400)
                .most(499)
                .about("403 by default, 429 in http_ratelimit"),
        )
        .may_have(
            "content_type",
            words(BLOCK_CONTENT_TYPES).default(BLOCK_DEFAULT_CONTENT_TYPE),
        )
        .may_have("content", text().characters(BLOCK_CONTENT_BYTES_MAX))
        .about("What a blocked client gets.");
    let header = closed()
        .has("operation", words(["set", "add", "remove"]))
        .may_have("value", text())
        .may_have(
            "expression",
            text().about("An expression that makes a text"),
        )
        .about("`set` and `add` take either `value` or `expression`, `remove` neither.");
    let headers = map(header).about(&format!(
        "By `rewrite`: what becomes of which headers, {TRANSFORM_HEADERS_MAX} at most"
    ));
    let target = closed()
        .may_have("value", text().about("An http or https URL, or a path"))
        .may_have("expression", text().about("An expression that makes one"))
        .about("Either of the two.");
    let from_value = closed()
        .has("target_url", target)
        .may_have(
            "status_code",
            count().about("301, 302, 303, 307 or 308; 301 by default"),
        )
        .may_have(
            "preserve_query_string",
            flag().about("The request's query goes along; false by default"),
        )
        .about("By `redirect`: where to");
    let origin = closed()
        .may_have(
            "host",
            text().about("A name or address to connect to, or a host of the zone: its origin"),
        )
        .takes(
            "name",
            text().about("An origin of the zone; stands without `host` and `port`"),
        )
        .may_have("port", count().least(1).most(65_535))
        .about("By `route`: where to connect to");
    let sni = closed()
        .has("value", text())
        .about("By `route`: the name that the origin's certificate must be for");
    let all = object()
        .may_have("response", Schema::from(response).or_null())
        .may_have(
            "ruleset",
            words(["current"]).about("By `skip`: the rest of this ruleset"),
        )
        .may_have("phase", words(["current"]).about("The same"))
        .may_have(
            "phases",
            list(words([
                "http_ratelimit",
                "http_request_sbfm",
                "http_request_firewall_managed",
            ]))
            .about("By `skip`: whole phases that come later"),
        )
        .may_have(
            "products",
            list(words([
                "bic",
                "hot",
                "rateLimit",
                "securityLevel",
                "uaBlock",
                "waf",
                "zoneLockdown",
            ]))
            .about("By `skip`: products of Cloudflare's, which the gateway does not have"),
        )
        .may_have("headers", headers)
        .may_have("from_value", from_value)
        .may_have(
            "host_header",
            text().about("By `route`: replaces the client's `Host`"),
        )
        .may_have("origin", origin)
        .may_have("sni", sni);
    let limit = closed()
        .has(
            "characteristics",
            list(text()).items(RATE_CHARACTERISTICS_MAX).about(
                "The fields that tell clients apart, such as `ip.src` or \
                 `cf.tls_client_auth.cert_fingerprint_sha256`; with none all are counted together",
            ),
        )
        .has(
            "period",
            count()
                .least(RATE_PERIOD_MIN_SEC)
                .most(RATE_PERIOD_MAX_SEC)
                .about("Seconds"),
        )
        .has(
            "requests_per_period",
            count().least(1).most(RATE_REQUESTS_MAX),
        )
        .takes(
            "mitigation_timeout",
            count()
                .most(RATE_PENALTY_MAX_SEC)
                .about("Seconds for which the rule then acts; 0 by default"),
        )
        .takes(
            "counting_expression",
            text().about("What is counted, when that is not what the rule matches"),
        )
        .takes(
            "requests_to_origin",
            flag().about("Taken for Cloudflare's clients"),
        );
    vec![
        ("ActionParameters", all.into()),
        ("RateLimit", limit.into()),
    ]
}

/// A rule as it is shown.
fn rule() -> Object {
    object()
        .has("id", id())
        .has("version", version())
        .has("action", action())
        .may_have("action_parameters", named("ActionParameters"))
        .may_have("ratelimit", named("RateLimit"))
        .has("expression", expression())
        .has("description", description())
        .has("enabled", flag())
        .may_have("logging", closed().has("enabled", flag()))
        .has("ref", reference())
        .has("last_updated", time())
}

/// A rule as it is written; `needed` are the members that have to be there.
fn written(needed: &[&'static str]) -> Object {
    let members = [
        ("id", id().about("Of a rule that is there and stays")),
        ("action", action()),
        ("expression", expression()),
        ("description", description()),
        ("enabled", flag().about("Of a new rule `true` by default")),
        ("ref", reference()),
        ("logging", closed().has("enabled", flag()).into()),
        ("position", named("RulePosition")),
        (
            "action_parameters",
            named("ActionParameters").about(REMOVED),
        ),
        ("ratelimit", named("RateLimit").about(REMOVED)),
        ("version", text().about(IGNORED)),
        ("last_updated", text().about(IGNORED)),
        ("categories", list(text()).about(IGNORED)),
    ];
    members.into_iter().fold(closed(), |all, (name, schema)| {
        match needed.contains(&name) {
            true => all.has(name, schema),
            false => all.takes(name, schema),
        }
    })
}

/// Of members that only answers have.
const IGNORED: &str = "Ignored: taken so that an answer can be sent back as it is";

/// Of members that a change can take away.
const REMOVED: &str = "`null` takes what is there away";

fn rules() -> Vec<Named> {
    let other = || text().about("The id of another rule; empty for the first or last place");
    let position = closed()
        .takes("before", other())
        .takes("after", other())
        .takes("index", count().least(1).about("A place, counted from 1"))
        .about("Exactly one of them.");
    vec![
        ("Rule", rule().into()),
        (
            "ListedRule",
            rule()
                .has("ruleset_id", id())
                .has("phase", named("Phase"))
                .has("position", count().least(1))
                .into(),
        ),
        ("RuleCreate", written(&["action", "expression"]).into()),
        (
            "RuleUpdate",
            written(&[])
                .about("What is left out stays as it is.")
                .into(),
        ),
        ("RulePosition", position.into()),
    ]
}

fn rulesets() -> Vec<Named> {
    let head = || {
        object()
            .has("id", id())
            .has_texts(["name", "description"])
            .has("kind", text().only("zone"))
            .has("phase", named("Phase"))
            .has("version", version())
            .has("last_updated", time())
    };
    let shown = head().has("rules", list(named("Rule")));
    let left_out = "Left out where the request has `Prefer: return=minimal`";
    let changed = head().may_have("rules", list(named("Rule")).about(left_out));
    let body = || {
        closed()
            .takes("name", description())
            .takes("description", description())
            .takes("kind", words(["zone"]))
            .takes("rules", list(named("RuleCreate")).items(RULES_MAX))
            .takes("id", text().about(IGNORED))
            .takes("version", text().about(IGNORED))
            .takes("last_updated", text().about(IGNORED))
    };
    let create = body().has("phase", named("Phase"));
    let replace = body()
        .takes("phase", named("Phase"))
        .about("`rules` are all there will be; without them they stay as they are.");
    let text_changed = || object().has_texts(["before", "after"]);
    let place = || {
        Schema::from(
            object()
                .has("position", count().least(1))
                .has("rule", named("Rule")),
        )
    };
    let difference = object()
        .has("kind", words(["added", "removed", "changed", "moved"]))
        .has(
            "moved",
            flag().about("Whether its place among the others is another one"),
        )
        .has("before", place().or_null())
        .has("after", place().or_null());
    let differences = object()
        .has("id", id())
        .has("from", version())
        .has("to", version())
        .has(
            "changed",
            object()
                .may_have("name", text_changed())
                .may_have("description", text_changed()),
        )
        .has("rules", list(difference));
    vec![
        ("RulesetHead", head().into()),
        ("Ruleset", shown.into()),
        ("RulesetChanged", changed.into()),
        ("RulesetCreate", create.into()),
        ("RulesetReplace", replace.into()),
        ("RulesetDifferences", differences.into()),
    ]
}

fn mtls_rules() -> Vec<Named> {
    let hosts = || list(host_name()).about("None means all hosts of the zone");
    let paths = || list(text().pattern("^/")).about("None means all paths");
    let revoked = || flag().about("Whether revoked certificates are refused too");
    let shown = || {
        rule()
            .has("ruleset_id", id())
            .has("position", count().least(1))
            .has("name", description().about("The same as `description`"))
            .has("hosts", hosts())
            .has("paths", paths())
            .has("check_revoked", revoked())
    };
    let write = closed()
        .takes("name", description())
        .takes("hosts", hosts())
        .takes("paths", paths())
        .takes("check_revoked", revoked())
        .takes("action", words(["block", "log", "skip"]))
        .takes("enabled", flag())
        .takes("position", named("RulePosition"))
        .about("What is left out stays as it is; of a new rule it is the default.");
    vec![
        ("MtlsRule", shown().into()),
        (
            "MtlsRuleWritten",
            shown().has("lints", list(named("Lint"))).into(),
        ),
        ("MtlsRuleWrite", write.into()),
    ]
}

fn lint_kind() -> Schema {
    let all = [
        LintKind::RevokedPasses,
        LintKind::UnverifiedPasses,
        LintKind::NoIssuerPin,
        LintKind::AndInsteadOfOr,
        LintKind::ExactPath,
        LintKind::RawPath,
        LintKind::PathWithQuery,
        LintKind::HostWithoutMtls,
        LintKind::HostWithoutRule,
        LintKind::NotEqualOfMissing,
        LintKind::CapitalHeader,
        LintKind::CapitalHost,
        LintKind::FinalDotHost,
        LintKind::UnknownHost,
        LintKind::RewriteOnlyFunction,
        LintKind::NoGeoDatabase,
    ];
    words(all.map(LintKind::as_str))
}

fn help() -> Vec<Named> {
    let lint = object()
        .has("kind", lint_kind())
        .has(
            "rule_id",
            text().or_null().about("`null` when it is about a host"),
        )
        .has("message", text())
        .has(
            "suggestion",
            text().or_null().about("The corrected expression"),
        );
    let operators = words([
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "contains",
        "matches",
        "wildcard",
        "strict_wildcard",
        "starts_with",
        "ends_with",
        "in",
        "in_list",
        "is_true",
    ]);
    let row = object()
        .has("field", text().about("A field's name"))
        .takes(
            "key",
            text().about("Of a map: the key, any of whose values is meant"),
        )
        .has("operator", operators)
        .may_have("negated", flag().default(false))
        .may_have("values", list(text()).default(Vec::<String>::new()));
    let group = object().has(
        "rows",
        list(row).not_empty().about("All of them have to hold"),
    );
    let form = object().has(
        "groups",
        list(group).not_empty().about("One of them has to hold"),
    );
    let preview = closed()
        .takes("expression", expression())
        .takes("form", named("ExpressionForm"))
        .about("Either of them.");
    let previewed = object()
        .has("expression", text())
        .has(
            "form",
            named("ExpressionForm")
                .or_null()
                .about("`null` when a form cannot show the expression"),
        )
        .has("fields", list(text()).about("The fields that it looks at"))
        .has(
            "lifetime",
            words(["connection", "request"]).about("For how long its outcome is the same"),
        )
        .has("lints", list(named("Lint")));
    let field = object()
        .has("name", text())
        .has(
            "type",
            text().about("Such as `String` or `Map<Array<String>>`"),
        )
        .has(
            "lifetime",
            words(["connection", "request"]).about("For how long its value is the same"),
        );
    let function = object()
        .has("name", text())
        .has("signature", text().about("How it is called"));
    let vocabulary = object()
        .has("fields", list(field))
        .has("functions", list(function));
    vec![
        ("ExpressionVocabulary", vocabulary.into()),
        ("Lint", lint.into()),
        ("ExpressionForm", form.into()),
        ("ExpressionPreview", preview.into()),
        ("ExpressionPreviewed", previewed.into()),
    ]
}
