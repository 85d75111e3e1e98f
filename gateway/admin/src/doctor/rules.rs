//! The checks of what the API reports about a zone's rules: whether one enforces what a host asks
//! for, and what its lints say.

use serde_json::Value;

use super::checks::unprotected;
use super::report::{Finding, Fix, State};
use super::str_of;
use crate::limits::UNKNOWN_NAMES_TOLD_MAX;

pub(super) fn rule(host: &Value, enforcement: &Value, lints: &Value) -> Finding {
    const CHECK: &str = "rule";
    let (name, zone) = (str_of(host, "name"), str_of(host, "zone_name"));
    if str_of(host, "mtls") == "off" {
        let said = "without client certificates there is nothing to enforce";
        let mend = format!("postern host set {name} --mtls request");
        return Finding::new(CHECK, unprotected(host), said, mend).fixed_by(Fix::Host {
            key: "mtls",
            value: "request",
        });
    }
    let (id, skip) = (
        str_of(enforcement, "rule_id"),
        str_of(enforcement, "skip_id"),
    );
    let skipping = |state, said: String| {
        let mend = format!("postern rule edit --zone {zone} {skip} --disable");
        Finding::new(CHECK, state, said, mend).fixed_by(Fix::DisableRule {
            rule: skip.to_owned(),
        })
    };
    let close_revoked = Fix::Host {
        key: "revoked",
        value: "close",
    };
    let partly = match str_of(enforcement, "by") {
        "handshake" => {
            return Finding::good(
                CHECK,
                "none is needed: the handshake refuses clients without a certificate",
            );
        }
        "rule" => false,
        "rule_partly" => true,
        _ if skip.is_empty() => {
            return Finding::new(
                CHECK,
                State::Bad,
                "no enabled rule blocks clients without a certificate that verifies: every client passes",
                format!("postern rule mtls --zone {zone} --hosts {name} --check-revoked"),
            );
        }
        _ => {
            let said = format!("the rule {skip} lets every client skip the rules after it");
            return skipping(State::Bad, said);
        }
    };
    if let Some(finding) = trap(CHECK, host, id, lints) {
        return finding;
    }
    // With `--revoked close` the handshake refuses revoked certificates.
    let revoked_pass = enforcement["revoked_pass"] == true && str_of(host, "revoked") != "close";
    if !partly && revoked_pass {
        let said = format!(
            "the rule {id} blocks clients without a certificate, but revoked certificates pass, \
             for some requests at least"
        );
        let mend = format!("postern host set {name} --revoked close");
        return Finding::new(CHECK, State::Doubt, said, mend).fixed_by(close_revoked);
    }
    if !partly {
        return Finding::good(
            CHECK,
            format!("the rule {id} blocks clients without a certificate"),
        );
    }
    if skip.is_empty() {
        let said =
            format!("the rule {id} blocks clients without a certificate for some requests only");
        let mend = format!("postern rule mtls --zone {zone} --hosts {name} --check-revoked");
        return Finding::new(CHECK, State::Doubt, said, mend);
    }
    let said = format!(
        "the rule {id} blocks clients without a certificate for some requests only: \
         the rule {skip} lets others around it"
    );
    skipping(State::Doubt, said)
}

/// Names in the zone's rules that no host answers for: those that mean this host, and with the first
/// host of a zone those that mean none.
pub(super) fn unknown_names(host: &Value, lints: &Value, is_first: bool) -> Vec<Finding> {
    let (name, zone) = (str_of(host, "name"), str_of(host, "zone_name"));
    let this = format!("did you mean `{name}`?");
    let all = lints.as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter()
        .filter(|lint| str_of(lint, "kind") == "unknown_host")
        .filter(|lint| {
            let said = str_of(lint, "message");
            said.contains(&this) || (is_first && !said.contains("did you mean"))
        })
        .take(UNKNOWN_NAMES_TOLD_MAX)
        .map(|lint| {
            let id = str_of(lint, "rule_id");
            let said = format!("the rule {id}: {}", str_of(lint, "message"));
            let better = str_of(lint, "suggestion").replace('\'', "'\\''");
            let mend = match better.as_str() {
                "" => format!("postern rule edit --zone {zone} {id}"),
                better => format!("postern rule edit --zone {zone} {id} --expression '{better}'"),
            };
            let finding = Finding::new("names", State::Doubt, said, mend);
            match str_of(lint, "suggestion") {
                "" => finding,
                better => finding.fixed_by(Fix::Expression {
                    rule: id.to_owned(),
                    expression: better.to_owned(),
                }),
            }
        })
        .collect()
}

/// The worst lint of the rule that blocks clients without a certificate.
fn trap(check: &'static str, host: &Value, id: &str, lints: &Value) -> Option<Finding> {
    let (name, zone) = (str_of(host, "name"), str_of(host, "zone_name"));
    let all = lints.as_array().map(Vec::as_slice).unwrap_or_default();
    let told = |kind: &str| {
        let mut all = all.iter();
        all.find(|lint| str_of(lint, "kind") == kind && str_of(lint, "rule_id") == id)
    };
    let revoked = || {
        // With `--revoked close` the handshake refuses revoked certificates.
        let lint = told("revoked_passes").filter(|_| str_of(host, "revoked") != "close")?;
        Some((lint, "lets revoked certificates pass"))
    };
    let (lint, said) = told("and_instead_of_or")
        .map(|lint| (lint, "lets every certificate that verifies pass"))
        .or_else(|| {
            told("unverified_passes")
                .map(|lint| (lint, "lets certificates pass that no trusted CA signed"))
        })
        .or_else(revoked)?;
    let expression = str_of(lint, "suggestion").replace('\'', "'\\''");
    let mend = match expression.as_str() {
        "" if str_of(lint, "kind") == "revoked_passes" => {
            format!("postern host set {name} --revoked close")
        }
        "" => format!("postern rule mtls --zone {zone} --hosts {name} --check-revoked"),
        better => format!("postern rule edit --zone {zone} {id} --expression '{better}'"),
    };
    let said = format!("the rule {id} {said}");
    let finding = Finding::new(check, State::Doubt, said, mend);
    Some(match str_of(lint, "suggestion") {
        "" => finding,
        better => finding.fixed_by(Fix::Expression {
            rule: id.to_owned(),
            expression: better.to_owned(),
        }),
    })
}
