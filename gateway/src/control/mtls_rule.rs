//! "Create a mTLS rule" of Cloudflare's documents: hosts and paths in, an expression out.

use crate::hostname::HostName;

/// A rule that asks for a client certificate, as Cloudflare's documents build it.
#[derive(Debug, Clone, Default)]
pub struct MtlsRule {
    /// For which hosts; empty for all of the zone.
    pub hosts: Vec<HostName>,
    /// For which paths; empty for all.
    pub paths: Vec<String>,
    /// Whether revoked certificates are refused too.
    pub check_revoked: bool,
}

impl MtlsRule {
    /// The rule's expression: it matches what is to be refused.
    #[must_use]
    pub fn expression(&self) -> String {
        let refused = if self.check_revoked {
            "(not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked)"
        } else {
            "not cf.tls_client_auth.cert_verified"
        };
        let mut parts = vec![refused.to_owned()];
        let exact: Vec<String> = self
            .hosts
            .iter()
            .filter(|h| !h.is_wildcard())
            .map(|h| quoted(h.as_str()))
            .collect();
        let mut hosts = Vec::new();
        if !exact.is_empty() {
            hosts.push(format!("http.host in {{{}}}", exact.join(" ")));
        }
        for parent in self.hosts.iter().filter_map(HostName::wildcard_parent) {
            hosts.push(format!(
                "ends_with(http.host, {})",
                quoted(&format!(".{parent}"))
            ));
        }
        match hosts.as_slice() {
            [] => {}
            [one] => parts.push(one.clone()),
            many => parts.push(format!("({})", many.join(" or "))),
        }
        if !self.paths.is_empty() {
            let paths: Vec<String> = self.paths.iter().map(|path| quoted(path)).collect();
            parts.push(format!("http.request.uri.path in {{{}}}", paths.join(" ")));
        }
        format!("({})", parts.join(" and "))
    }
}

/// A text as a quoted string of the rules language.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::check;

    #[test]
    fn mtls_rules_are_expressions() {
        let host = |text: &str| HostName::parse(text).unwrap();
        let rule = MtlsRule {
            hosts: vec![host("api.example.com")],
            paths: vec!["/admin".into()],
            check_revoked: true,
        };
        assert_eq!(
            rule.expression(),
            "((not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked) and \
             http.host in {\"api.example.com\"} and http.request.uri.path in {\"/admin\"})"
        );
        assert_eq!(
            MtlsRule::default().expression(),
            "(not cf.tls_client_auth.cert_verified)"
        );
        let odd = MtlsRule {
            hosts: vec![host("*.a.test"), host("a.test"), host("b.test")],
            paths: vec!["/\"quoted\\".into(), "/ü".into()],
            check_revoked: false,
        };
        for rule in [rule, odd] {
            let text = rule.expression();
            if let Err(error) = check(&text) {
                panic!("{text}: {error}");
            }
        }
    }
}
