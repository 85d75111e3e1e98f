//! Whether some rule of a zone keeps clients without a certificate from a host.
//!
//! Owns the question that `postern doctor` and others ask of one host. Suspicions about rules are
//! told by [`super::lint()`].

use std::sync::Arc;

use super::lint::{LintHost, applies, fields, is_certificate};
use super::parser;
use super::{Action, Rule};

/// The first enabled rule that blocks by what is known of a client's certificate, and that can
/// match requests for `host`. Rules that do not parse are passed over.
#[must_use]
pub fn enforcing(rules: &[Rule], host: &LintHost) -> Option<Arc<str>> {
    let found = rules.iter().find(|rule| {
        rule.enabled
            && matches!(rule.action, Action::Block(_))
            && parser::parse(&rule.expression, None).is_ok_and(|condition| {
                fields(&condition).iter().any(|one| is_certificate(*one))
                    && applies(&condition, host)
            })
    });
    found.map(|rule| rule.id.clone())
}

#[cfg(test)]
mod tests {
    use super::super::BlockResponse;
    use super::*;
    use crate::hostname::HostName;
    use crate::snapshot::MtlsMode;

    #[test]
    fn which_rule_enforces() {
        let host = LintHost {
            name: HostName::parse("api.example.com").unwrap(),
            mtls: MtlsMode::Request,
            cas: 1,
        };
        let rule = |expression: &str, enabled| Rule {
            id: "one".into(),
            expression: expression.into(),
            action: Action::Block(BlockResponse::default()),
            enabled,
        };
        for (expression, enabled, enforces) in [
            ("not cf.tls_client_auth.cert_verified", true, true),
            ("not cf.tls_client_auth.cert_verified", false, false),
            (
                "http.host eq \"api.example.com\" and not cf.tls_client_auth.cert_verified",
                true,
                true,
            ),
            (
                "http.host in {\"a.example.com\"} and not cf.tls_client_auth.cert_verified",
                true,
                false,
            ),
            ("http.host eq \"api.example.com\"", true, false),
            ("nonsense", true, false),
        ] {
            let found = enforcing(&[rule(expression, enabled)], &host);
            assert_eq!(found.is_some(), enforces, "{expression}");
        }
        assert_eq!(enforcing(&[], &host), None);
    }
}
