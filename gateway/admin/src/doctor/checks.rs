//! The checks of what the API reports: each makes one finding.

use std::collections::HashMap;

use boring::asn1::{Asn1Time, Asn1TimeRef};
use boring::x509::X509;
use serde_json::Value;

use super::report::{Finding, Fix, State};
use super::{str_of, text, texts_of};
use control::Moment;

pub(super) fn list_of<'v>(of: &'v Value, key: &str) -> &'v [Value] {
    of.get(key)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// Whether `names` hold `name` itself, or only a wildcard that covers it.
pub(super) fn coverage(names: &[String], name: &str) -> Option<bool> {
    let same = |one: &String| one.eq_ignore_ascii_case(name);
    if names.iter().any(same) {
        return Some(true);
    }
    // RFC 6125 §6.4.3: the star stands for one label, the leftmost.
    let (_, parent) = name.split_once('.')?;
    let covers = |one: &String| {
        one.strip_prefix("*.")
            .is_some_and(|rest| rest.eq_ignore_ascii_case(parent))
    };
    names.iter().any(covers).then_some(false)
}

/// The worst finding among the certificates that the host presents.
pub(super) fn server_certificate(host: &Value, served: &[Value]) -> Finding {
    let all = served.iter().map(|one| one_certificate(host, one));
    let all = all.chain(by_acme(host, !served.is_empty()));
    all.max_by_key(|finding| finding.state).unwrap_or_else(|| {
        Finding::new(
            CERTIFICATE,
            State::Bad,
            "none covers the host: clients are refused",
            new_certificate(host),
        )
    })
}

/// What there is to say of a certificate that ACME is to bring.
fn by_acme(host: &Value, is_served: bool) -> Option<Finding> {
    let status = host
        .get("acme_status")
        .filter(|status| status.is_object())?;
    let error = str_of(status, "error");
    let name = str_of(host, "name");
    let mend = match str_of(status, "state") {
        "off" => "set `acme.directory` and `acme.terms_agreed` in postern.conf, and reload".into(),
        _ => format!(
            "see that the name leads here from the ACME server (port 80 for http-01, 443 for \
             tls-alpn-01), then postern host renew {name}"
        ),
    };
    match (str_of(status, "state"), is_served) {
        ("issued", _) | ("ordering" | "waiting", true) => None,
        ("ordering" | "waiting", false) => {
            let said = "ACME has brought none yet: clients are refused until it has";
            Some(Finding::new(CERTIFICATE, State::Bad, said, mend))
        }
        (_, false) => {
            let said = format!("ACME has brought none, clients are refused: {error}");
            Some(Finding::new(CERTIFICATE, State::Bad, said, mend))
        }
        (_, true) => {
            let said = format!("ACME does not renew it: {error}");
            Some(Finding::new(CERTIFICATE, State::Doubt, said, mend))
        }
    }
}

const CERTIFICATE: &str = "server certificate";

/// The latest notBefore of a chain that has not come yet.
fn not_begun(chain: &str) -> Option<String> {
    let now = Asn1Time::from_unix(Moment::now().seconds()).ok()?;
    let chain = tls::pem::certificates(chain.as_bytes(), tls::pem::Use::Chain).ok()?;
    let begins = |one: &X509| -> bool { *one.not_before() > *now };
    let late = chain.iter().find(|one| begins(one))?;
    let shown: &Asn1TimeRef = late.not_before();
    Some(shown.to_string())
}

fn new_certificate(host: &Value) -> String {
    let name = str_of(host, "name");
    format!("postern host set {name} --cert FILE --key FILE")
}

/// Why a certificate that clients refuse without an OCSP answer has none.
fn not_stapled(served: &Value) -> Option<String> {
    let stapling = served.get("ocsp_stapling")?;
    let is_must = stapling.get("must_staple")?.as_bool()?;
    if !is_must || stapling.get("stapled_until").is_some_and(Value::is_string) {
        return None;
    }
    let why = match stapling.get("error").and_then(Value::as_str) {
        Some(why) => why,
        None if stapling.get("wanted").and_then(Value::as_bool) == Some(false) => {
            "`ocsp.staple` is off"
        }
        None => "none has come yet",
    };
    Some(format!(
        "it must be stapled, and there is no good OCSP answer: clients may refuse it ({why})"
    ))
}

fn one_certificate(host: &Value, served: &Value) -> Finding {
    let name = str_of(host, "name");
    let mend = new_certificate(host);
    let until = text(served, "expires_on");
    let kind = text(served, "key_type");
    if str_of(served, "status") == "expired" {
        let said = format!("the {kind} certificate expired on {until}");
        return Finding::new(CERTIFICATE, State::Bad, said, mend);
    }
    if let Some(begins) = not_begun(str_of(served, "certificate")) {
        let said =
            format!("the {kind} certificate, or an issuer of it, is not valid before {begins}");
        let mend = format!("check this machine's clock; otherwise wait, or {mend}");
        return Finding::new(CERTIFICATE, State::Bad, said, mend);
    }
    if let Some(said) = not_stapled(served) {
        let mend = "check that its responder can be reached from here, and `postern sysctl \
                    ocsp.staple`; else a certificate without must-staple";
        return Finding::new(CERTIFICATE, State::Bad, said, mend);
    }
    let names: Vec<String> = list_of(served, "hosts")
        .iter()
        .filter_map(|one| one.as_str().map(str::to_owned))
        .collect();
    let warning = texts_of(served, "warnings").next();
    match (coverage(&names, name), warning) {
        (Some(true), Some(warning)) => Finding::new(CERTIFICATE, State::Doubt, warning, mend),
        (Some(true), None) => Finding::good(
            CERTIFICATE,
            format!("it names the host ({kind}, until {until})"),
        ),
        (Some(false), _) => Finding::new(
            CERTIFICATE,
            State::Doubt,
            format!("only a wildcard covers the host ({})", names.join(", ")),
            mend,
        ),
        (None, _) => Finding::new(
            CERTIFICATE,
            State::Bad,
            format!("it is for {} and not for the host", names.join(", ")),
            mend,
        ),
    }
}

/// How bad it is that a host protects nothing: somebody may have set its mode to `off` because
/// everybody is to reach it.
pub(super) fn unprotected(host: &Value) -> State {
    let is_told = host.get("mtls_is_set").and_then(Value::as_bool) == Some(true);
    match str_of(host, "mtls") {
        "off" if is_told => State::Doubt,
        _ => State::Bad,
    }
}

/// Whom the host trusts, and what their own certificates and their revocation lists make of that.
/// `uploaded` are the uploaded CAs by id, with their lists as `crls`.
pub(super) fn authorities(host: &Value, uploaded: &HashMap<String, Value>) -> Finding {
    const CHECK: &str = "CA";
    let believed = list_of(host, "certificate_authorities");
    let names: Vec<&str> = believed.iter().map(|ca| str_of(ca, "name")).collect();
    if names.is_empty() {
        // The zone's managed CA is the one that there always is.
        return Finding::new(
            CHECK,
            unprotected(host),
            "the host trusts no CA: no client certificate can verify",
            format!(
                "postern ca associate --zone {} {}",
                str_of(host, "zone_name"),
                str_of(host, "name")
            ),
        );
    }
    let (expired, good): (Vec<&Value>, Vec<&Value>) =
        believed.iter().partition(|ca| has_expired(ca));
    if let Some(first) = expired.first() {
        let said = format!(
            "{} expired on {}: no client certificate below it verifies",
            str_of(first, "name"),
            str_of(first, "expires_on")
        );
        let state = if good.is_empty() {
            State::Bad
        } else {
            State::Doubt
        };
        let mend =
            "postern ca list; renew it, upload the new one (postern ca upload) and associate it";
        return Finding::new(CHECK, state, said, mend);
    }
    let now = Moment::now();
    let mut worst: Option<Finding> = None;
    for ca in believed
        .iter()
        .filter_map(|ca| uploaded.get(str_of(ca, "id")))
    {
        let id = str_of(ca, "id");
        let of_certificate = texts_of(ca, "warnings").map(|warning| {
            // The others bear on some clients only.
            let refuses_all = warning.contains("its clients are refused");
            let state = if refuses_all {
                State::Bad
            } else {
                State::Doubt
            };
            (state, warning.to_owned(), format!("postern ca show {id}"))
        });
        let of_lists = list_problems(ca.get("crls").unwrap_or(&Value::Null), now);
        let of_lists = of_lists
            .into_iter()
            .map(|(state, said)| (state, said, format!("postern crl put {id} FILE")));
        for (state, said, mend) in of_certificate.chain(of_lists) {
            if worst.as_ref().is_none_or(|worst| worst.state < state) {
                worst = Some(Finding::new(CHECK, state, said, mend));
            }
        }
    }
    if let Some(worst) = worst {
        return worst;
    }
    let warned = believed.iter().flat_map(|ca| list_of(ca, "warnings"));
    let warned: Vec<&str> = warned.filter_map(Value::as_str).collect();
    if !warned.is_empty() {
        return Finding::new(
            CHECK,
            State::Doubt,
            warned.join("; "),
            format!(
                "postern ca roll --zone {} --ca-key ecdsa-p256, or another CA of the partner's",
                str_of(host, "zone_name")
            ),
        );
    }
    Finding::good(CHECK, format!("the host trusts {}", names.join(", ")))
}

/// What is wrong with the revocation lists of an uploaded CA, each with whose list it is.
fn list_problems(crls: &Value, now: Moment) -> Vec<(State, String)> {
    let is_soft = str_of(crls, "policy") == "soft";
    let state = if is_soft { State::Doubt } else { State::Bad };
    let lists = list_of(crls, "crls");
    let mut found = Vec::new();
    if lists.is_empty() && !str_of(crls, "policy").is_empty() {
        let said = if is_soft {
            "its policy asks for a revocation list and there is none: revoked clients pass"
        } else {
            "its policy asks for a revocation list and there is none: its clients are refused \
             (crl_missing)"
        };
        found.push((state, said.to_owned()));
    }
    for list in lists {
        let due = str_of(list, "next_update");
        if Moment::parse(due).is_some_and(|due| due < now) {
            let what = if is_soft {
                "further revocations are not known"
            } else {
                "its clients are refused (crl_expired)"
            };
            let issuer = str_of(list, "issuer");
            found.push((
                state,
                format!("the revocation list of {issuer} expired at {due}: {what}"),
            ));
        }
        let issuer = str_of(list, "issuer");
        let odd = texts_of(list, "warnings");
        found.extend(odd.map(|odd| (State::Doubt, format!("the list of {issuer}: {odd}"))));
    }
    if let Some(why) = crls.get("file_error").and_then(Value::as_str) {
        found.push((
            State::Doubt,
            format!("what the watched file has is not taken: {why}"),
        ));
    }
    for fetch in list_of(crls, "fetches") {
        if let Some(why) = fetch.get("error").and_then(Value::as_str) {
            let url = str_of(fetch, "url");
            found.push((State::Doubt, format!("no list was had from {url}: {why}")));
        }
    }
    found
}

/// Whether what has an `expires_on` has passed it.
pub(super) fn has_expired(one: &Value) -> bool {
    let ends = Moment::parse(str_of(one, "expires_on"));
    ends.is_some_and(|ends| ends <= Moment::now())
}

/// What the zone's managed CA has issued that is not revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Issued {
    /// Some are good.
    Good,
    /// All of them have expired.
    Expired(usize),
    /// There are none.
    None,
}

pub(super) fn client_certificate(host: &Value, issued: Issued) -> Finding {
    const CHECK: &str = "client certificate";
    let zone = str_of(host, "zone_name");
    match issued {
        Issued::Good => {
            return Finding::good(CHECK, "the zone has issued some that are active");
        }
        Issued::Expired(count) => {
            let all = if count == 1 {
                "the only one that the zone has issued has expired".to_owned()
            } else {
                format!("all {count} that the zone has issued have expired")
            };
            let mend = format!("postern cert create --zone {zone} --cn device-1 --out .");
            return Finding::new(CHECK, unprotected(host), all, mend);
        }
        Issued::None => {}
    }
    Finding::new(
        CHECK,
        State::Doubt,
        "the zone's managed CA has no active one; those of uploaded CAs are not known here",
        format!("postern cert create --zone {zone} --cn device-1 --out ."),
    )
}

pub(super) fn mode(host: &Value) -> Finding {
    const CHECK: &str = "mTLS";
    let name = str_of(host, "name");
    match str_of(host, "mtls") {
        "off" => Finding::new(
            CHECK,
            unprotected(host),
            "the host does not ask for client certificates",
            format!("postern host set {name} --mtls request"),
        )
        .fixed_by(Fix::Host {
            key: "mtls",
            value: "request",
        }),
        mode => Finding::good(CHECK, format!("the mode is {mode}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::{rule, unknown_names};
    use super::*;

    #[test]
    fn names_in_rules_that_mean_a_host_are_told_with_it() {
        let host = |name: &str| json!({"name": name, "zone_name": "shop.test"});
        let lints = json!([
            {"kind": "exact_path", "rule_id": "r0", "message": "did you mean `api.shop.test`?"},
            {"kind": "unknown_host", "rule_id": "r1", "suggestion": "http.host eq \"api.shop.test\"",
             "message": "there is no host for `aip.shop.test`; did you mean `api.shop.test`?"},
            {"kind": "unknown_host", "rule_id": "r2", "suggestion": null,
             "message": "there is no host for `elsewhere.test` in this zone"},
        ]);
        for (name, is_first, rules) in [
            ("api.shop.test", false, &["r1"][..]),
            ("api.shop.test", true, &["r1", "r2"]),
            ("www.shop.test", true, &["r2"]),
            ("www.shop.test", false, &[]),
        ] {
            let found = unknown_names(&host(name), &lints, is_first);
            assert_eq!(found.len(), rules.len(), "{name}: {found:?}");
            for (finding, rule) in found.iter().zip(rules) {
                assert_eq!(finding.state, State::Doubt);
                assert!(
                    finding.mend.contains(&format!("--zone shop.test {rule}")),
                    "{finding:?}"
                );
            }
        }
    }
    use fixtures::pki::{Identity, Spec};
    use serde_json::json;

    fn states(findings: &[Finding]) -> Vec<State> {
        findings.iter().map(|finding| finding.state).collect()
    }

    #[test]
    fn what_refuses_all_clients_of_a_ca_is_bad_and_what_refuses_some_is_doubtful() {
        let host = json!({ "name": "a.test", "certificate_authorities": [
            { "id": "managed", "name": "M" }, { "id": "u", "name": "U" },
        ]});
        let with = |warnings: &[tls::AnchorLimit], crls: Value| {
            let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
            let ca = json!({ "id": "u", "warnings": warnings, "crls": crls });
            authorities(&host, &HashMap::from([("u".to_owned(), ca)]))
        };
        use tls::AnchorLimit as Limit;
        for (limits, state) in [
            (&[][..], State::Good),
            (&[Limit::PathLength(0)], State::Doubt),
            (&[Limit::NameConstraints, Limit::SignsNoLists], State::Doubt),
            (&[Limit::NotForClients], State::Bad),
            (&[Limit::PathLength(1), Limit::Expired(0)], State::Bad),
            (&[Limit::NotYetValid(i64::MAX)], State::Bad),
            (&[Limit::UnknownCritical(vec!["1.2".into()])], State::Bad),
        ] {
            assert_eq!(with(limits, Value::Null).state, state, "{limits:?}");
        }
        let list = |due: &str, warnings: Value| json!([{ "issuer": "CN=Lower", "next_update": due, "warnings": warnings }]);
        let (past, future) = ("2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z");
        for (crls, state, said) in [
            (
                json!({ "policy": "hard", "crls": [] }),
                State::Bad,
                "crl_missing",
            ),
            (
                json!({ "policy": "soft", "crls": [] }),
                State::Doubt,
                "revoked clients pass",
            ),
            (
                json!({ "policy": null, "crls": [] }),
                State::Good,
                "trusts M, U",
            ),
            (
                json!({ "policy": null, "crls": list(past, json!([])) }),
                State::Bad,
                "CN=Lower expired",
            ),
            (
                json!({ "policy": "soft", "crls": list(past, json!([])) }),
                State::Doubt,
                "CN=Lower",
            ),
            (
                json!({ "policy": "hard", "crls": list(future, json!(["odd"])) }),
                State::Doubt,
                "odd",
            ),
            (
                json!({ "crls": [], "file_error": "no" }),
                State::Doubt,
                "not taken: no",
            ),
            (
                json!({ "fetches": [{ "url": "u", "error": "no" }] }),
                State::Doubt,
                "from u: no",
            ),
        ] {
            let found = with(&[], crls.clone());
            assert_eq!(found.state, state, "{crls}");
            assert!(found.said.contains(said), "{crls}: {}", found.said);
        }
    }

    #[test]
    fn names_that_cover() {
        let names = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
        for (held, wanted, said) in [
            ("a.test", "a.test", Some(true)),
            ("A.test", "a.TEST", Some(true)),
            ("*.test a.test", "a.test", Some(true)),
            ("*.a.test", "b.a.test", Some(false)),
            ("*.a.test", "*.a.test", Some(true)),
            ("*.a.test", "c.b.a.test", None),
            ("*.a.test", "a.test", None),
            ("b.test", "a.test", None),
            ("", "localhost", None),
        ] {
            assert_eq!(coverage(&names(held), wanted), said, "{held}: {wanted}");
        }
    }

    #[test]
    fn hosts_good_and_bad() {
        let host = |mtls: &str, cas: Value| {
            json!({
                "name": "a.test", "zone_name": "test", "mtls": mtls,
                "origin": { "url": "http://127.0.0.1:1" }, "certificate_authorities": cas,
            })
        };
        let none = json!({ "by": null, "rule_id": null });
        let by_rule = json!({ "by": "rule", "rule_id": "r1" });
        let by_handshake = json!({ "by": "handshake", "rule_id": null });
        let lints = |rule: &str| {
            json!([
                { "kind": "exact_path", "rule_id": "r1" },
                { "kind": "revoked_passes", "rule_id": rule, "suggestion": "x eq 'y'" },
            ])
        };
        let with = |host: &Value, enforcement: &Value, lints: &Value| {
            states(&[
                authorities(host, &HashMap::new()),
                mode(host),
                rule(host, enforcement, lints),
            ])
        };
        let ca = json!([{ "name": "test CA" }]);
        use State::{Bad, Doubt, Good};
        let asked = host("request", ca.clone());
        let foreign = json!([{ "name": "test CA", "warnings": ["test CA: its key is Ed25519"] }]);
        let found = authorities(&host("request", foreign), &HashMap::new());
        assert_eq!(found.state, Doubt, "{found:?}");
        assert!(found.said.contains("Ed25519"), "{found:?}");
        let other = lints("r2");
        assert_eq!(with(&asked, &by_rule, &other), [Good; 3]);
        assert_eq!(with(&asked, &none, &other), [Good, Good, Bad]);
        let found = with(&asked, &by_rule, &lints("r1"));
        assert_eq!(found, [Good, Good, Doubt]);
        let mend = rule(&asked, &by_rule, &lints("r1")).mend;
        assert!(mend.contains(" r1 --expression "), "{mend}");
        // Where only some requests are blocked, and where a rule that skips is in the way.
        for (enforcement, state, mend) in [
            (
                json!({ "by": "rule_partly", "rule_id": "r1" }),
                Doubt,
                "rule mtls",
            ),
            (
                json!({ "by": "rule_partly", "rule_id": "r1", "skip_id": "s1" }),
                Doubt,
                "rule edit --zone test s1 --disable",
            ),
            (
                json!({ "by": "rule", "rule_id": "r1", "revoked_pass": true }),
                Doubt,
                "host set a.test --revoked close",
            ),
            (
                json!({ "by": null, "skip_id": "s1" }),
                Bad,
                "rule edit --zone test s1 --disable",
            ),
        ] {
            let found = rule(&asked, &enforcement, &other);
            assert_eq!(found.state, state, "{enforcement}");
            assert!(found.mend.contains(mend), "{enforcement}: {}", found.mend);
        }
        for kind in ["and_instead_of_or", "unverified_passes"] {
            let lints = json!([{ "kind": kind, "rule_id": "r1", "suggestion": "x" }]);
            let found = rule(&asked, &by_rule, &lints);
            assert_eq!(found.state, Doubt, "{kind}");
            assert!(found.mend.ends_with("r1 --expression 'x'"), "{kind}");
        }
        let mut closed = asked.clone();
        closed["revoked"] = json!("close");
        let passes = json!({ "by": "rule", "rule_id": "r1", "revoked_pass": true });
        assert_eq!(rule(&closed, &passes, &other).state, Good);
        let required = host("require", ca);
        assert_eq!(with(&required, &by_handshake, &lints("r1")), [Good; 3]);
        let off = host("off", json!([]));
        assert_eq!(with(&off, &none, &other), [Bad, Bad, Bad]);
        let mut told = off;
        told["mtls_is_set"] = json!(true);
        assert_eq!(with(&told, &none, &other), [Doubt; 3], "as it was set");
        let certificate = |status: &str, names: Value| json!({ "status": status, "hosts": names });
        for (served, state) in [
            (None, Bad),
            (Some(certificate("active", json!(["a.test"]))), Good),
            (Some(certificate("expired", json!(["a.test"]))), Bad),
            (Some(certificate("active", json!(["*.test"]))), Doubt),
            (Some(certificate("active", json!(["b.test"]))), Bad),
        ] {
            assert_eq!(
                server_certificate(&asked, &served.clone().into_iter().collect::<Vec<_>>()).state,
                state,
                "{served:?}"
            );
        }
        for (issued, state) in [
            (Issued::None, Doubt),
            (Issued::Good, Good),
            (Issued::Expired(1), Bad),
            (Issued::Expired(7), Bad),
        ] {
            assert_eq!(
                client_certificate(&asked, issued).state,
                state,
                "{issued:?}"
            );
        }
        for (ends, state) in [
            (
                json!([{"name": "A", "expires_on": "2999-01-01T00:00:00Z"}]),
                Good,
            ),
            (
                json!([{"name": "A", "expires_on": "2020-01-01T00:00:00Z"}]),
                Bad,
            ),
            (
                json!([{"name": "A", "expires_on": "2020-01-01T00:00:00Z"},
                       {"name": "B", "expires_on": "2999-01-01T00:00:00Z"}]),
                Doubt,
            ),
        ] {
            assert_eq!(
                authorities(&host("request", ends.clone()), &HashMap::new()).state,
                state,
                "{ends}"
            );
        }
        let later = Spec {
            begins: 3600,
            ..Spec::server(&["a.test"])
        };
        let later = Identity::self_signed(&later).chain_pem();
        let served = json!({ "status": "active", "hosts": ["a.test"], "certificate": later });
        let found = server_certificate(&asked, &[served]);
        assert_eq!(found.state, Bad);
        assert!(found.mend.contains("clock"), "{}", found.mend);
    }
}
