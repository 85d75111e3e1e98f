//! What is answered to a plain request: pure, from its head and what hosts there are.
//!
//! Nothing of the request goes into an answer but the path behind a host's own name, and that only
//! when it is visible ASCII. What an ACME server is answered was made by the control plane.

use std::borrow::Cow;
use std::sync::Arc;

use http::StatusCode;

use super::{Outcome, Role};
use snapshot::http::authority::canonical;

/// A request's head, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
    /// The `Host` header.
    pub(super) host: Option<&'a [u8]>,
}

/// How the gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Ready,
    Starting,
    Draining,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) text: Cow<'static, str>,
    /// Where to, if it is a redirect.
    pub(super) location: Option<String>,
    pub(super) outcome: Outcome,
}

impl Answer {
    pub(super) fn new(status: StatusCode, text: &'static str, outcome: Outcome) -> Self {
        Self {
            status,
            text: text.into(),
            location: None,
            outcome,
        }
    }

    /// To what is no request that is understood here.
    pub(super) fn refused(status: StatusCode) -> Self {
        Self::new(status, "the request is not understood\n", Outcome::Refused)
    }
}

/// The hosts that plain HTTP knows of.
pub(super) trait Hosts {
    /// Whether a canonical name is a host's.
    fn is_host(&self, name: &str) -> bool;

    /// What an ACME server is answered that asks a canonical name for this path.
    fn challenge(&self, name: &str, path: &str) -> Option<Arc<str>>;
}

/// The answer of a listener. `port` is that of HTTPS.
pub(super) fn answer(
    role: Role,
    asked: Asked<'_>,
    hosts: &impl Hosts,
    condition: Condition,
    port: usize,
) -> Answer {
    let is_read = matches!(asked.method, b"GET" | b"HEAD");
    match role {
        Role::Health if !is_read => Answer::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD are answered here\n",
            Outcome::Refused,
        ),
        Role::Health => health(asked.target, condition).unwrap_or_else(|| {
            let text = "here are /livez and /readyz, and nothing else\n";
            Answer::new(StatusCode::NOT_FOUND, text, Outcome::Unknown)
        }),
        Role::Redirects => {
            if matches!(asked.method, b"CONNECT" | b"TRACE") {
                return Answer::refused(StatusCode::METHOD_NOT_ALLOWED);
            }
            // A host's paths are its own: balancers ask by address, or by no name at all.
            challenge(asked, hosts)
                .filter(|_| is_read)
                .or_else(|| redirect(asked, hosts, port, is_read))
                .or_else(|| health(asked.target, condition).filter(|_| is_read))
                .unwrap_or_else(|| {
                    let text = "there is no such host here\n";
                    Answer::new(StatusCode::MISDIRECTED_REQUEST, text, Outcome::Unknown)
                })
        }
    }
}

fn health(target: &[u8], condition: Condition) -> Option<Answer> {
    let (status, text) = match (target, condition) {
        (b"/livez", _) | (b"/readyz", Condition::Ready) => (StatusCode::OK, "ok\n"),
        (b"/readyz", Condition::Starting) => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        (b"/readyz", Condition::Draining) => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        _ => return None,
    };
    Some(Answer::new(status, text, Outcome::Health))
}

/// To an ACME server; `None` when it has not asked for this to be checked.
fn challenge(asked: Asked<'_>, hosts: &impl Hosts) -> Option<Answer> {
    let (authority, path) = split(asked.target);
    let authority = std::str::from_utf8(authority.or(asked.host)?).ok()?;
    let name = canonical(authority).ok()?;
    let proof = hosts.challenge(&name, std::str::from_utf8(path).ok()?)?;
    let answer = Answer::new(StatusCode::OK, "", Outcome::AcmeChallenge);
    let text = proof.to_string().into();
    Some(Answer { text, ..answer })
}

/// To HTTPS; `None` when no host of ours is asked for.
fn redirect(asked: Asked<'_>, hosts: &impl Hosts, port: usize, is_read: bool) -> Option<Answer> {
    let (authority, path) = split(asked.target);
    // RFC 9112 §3.2.2: a target in absolute form says it, whatever `Host` says.
    let authority = std::str::from_utf8(authority.or(asked.host)?).ok()?;
    let name = canonical(authority)
        .ok()
        .filter(|name| hosts.is_host(name))?;
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b'#';
    let path = std::str::from_utf8(path)
        .ok()
        .filter(|path| path.bytes().all(|byte| is_plain(&byte)));
    let Some(path) = path else {
        return Some(Answer::refused(StatusCode::BAD_REQUEST));
    };
    let port = match port {
        443 => String::new(),
        port => format!(":{port}"),
    };
    let slash = if path.starts_with('/') { "" } else { "/" };
    // With 301 clients may make a GET of it (RFC 9110 §15.4.2).
    let status = match is_read {
        true => StatusCode::MOVED_PERMANENTLY,
        false => StatusCode::PERMANENT_REDIRECT,
    };
    let location = Some(format!("https://{name}{port}{slash}{path}"));
    Some(Answer {
        location,
        ..Answer::new(status, "use https:// instead\n", Outcome::Redirected)
    })
}

/// The authority of a target in absolute form, and its path with the query.
fn split(target: &[u8]) -> (Option<&[u8]>, &[u8]) {
    match target {
        b"*" => return (None, b"/"),
        [b'/', ..] => return (None, target),
        _ => {}
    }
    let Some(colon) = target.windows(3).position(|three| three == b"://") else {
        return (None, target);
    };
    let (_, rest) = target.split_at(colon + 3);
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
        .unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    (Some(authority), path)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World;

    impl Hosts for World {
        fn is_host(&self, name: &str) -> bool {
            name == "api.example.test" || name.ends_with(".wild.example.test")
        }

        fn challenge(&self, name: &str, path: &str) -> Option<Arc<str>> {
            let asked = (name, path);
            let known = [
                ("api.example.test", "/.well-known/acme-challenge/one"),
                ("new.example.test", "/.well-known/acme-challenge/two"),
            ];
            known.contains(&asked).then(|| "proof".into())
        }
    }

    fn location(method: &str, target: &str, host: Option<&str>, port: usize) -> (u16, String) {
        let asked = Asked {
            method: method.as_bytes(),
            target: target.as_bytes(),
            host: host.map(str::as_bytes),
        };
        let answer = answer(Role::Redirects, asked, &World, Condition::Ready, port);
        let shown = answer
            .location
            .unwrap_or_else(|| answer.text.trim_end().to_owned());
        (answer.status.as_u16(), shown)
    }

    #[test]
    fn only_hosts_that_exist_are_redirected_and_nothing_else_is_reflected() {
        const NOBODY: &str = "there is no such host here";
        const REFUSED: &str = "the request is not understood";
        for (method, target, host, expected) in [
            (
                "GET",
                "/a?b=c",
                "api.example.test",
                (301, "https://api.example.test/a?b=c"),
            ),
            (
                "HEAD",
                "/",
                "API.example.test.:80",
                (301, "https://api.example.test/"),
            ),
            (
                "POST",
                "/a",
                "api.example.test",
                (308, "https://api.example.test/a"),
            ),
            (
                "OPTIONS",
                "*",
                "api.example.test",
                (308, "https://api.example.test/"),
            ),
            (
                "GET",
                "//evil.test/",
                "api.example.test",
                (301, "https://api.example.test//evil.test/"),
            ),
            (
                "GET",
                "/x",
                "one.wild.example.test",
                (301, "https://one.wild.example.test/x"),
            ),
            (
                "GET",
                "http://api.example.test?q",
                "evil.test",
                (301, "https://api.example.test/?q"),
            ),
            (
                "GET",
                "http://evil.test/",
                "api.example.test",
                (421, NOBODY),
            ),
            (
                "GET",
                "http://me@api.example.test/",
                "api.example.test",
                (421, NOBODY),
            ),
            ("GET", "/", "evil.test", (421, NOBODY)),
            ("GET", "/", "api.example.test@evil.test", (421, NOBODY)),
            ("GET", "/", "wild.example.test", (421, NOBODY)),
            ("GET", "/", "192.0.2.1", (421, NOBODY)),
            ("GET", "/", "", (421, NOBODY)),
            ("GET", "/\u{7f}", "api.example.test", (400, REFUSED)),
            ("GET", "/é", "api.example.test", (400, REFUSED)),
            ("GET", "/a#b", "api.example.test", (400, REFUSED)),
            ("TRACE", "/", "api.example.test", (405, REFUSED)),
            (
                "CONNECT",
                "api.example.test:443",
                "api.example.test",
                (405, REFUSED),
            ),
            ("GET", "/readyz", "192.0.2.1:80", (200, "ok")),
            ("GET", "/livez", "unknown.test", (200, "ok")),
            ("POST", "/livez", "unknown.test", (421, NOBODY)),
            (
                "GET",
                "/readyz",
                "api.example.test",
                (301, "https://api.example.test/readyz"),
            ),
        ] {
            let (status, shown) = location(method, target, Some(host), 443);
            assert_eq!((status, &*shown), expected, "{method} {target} {host}");
        }
        let other = location("GET", "/", Some("api.example.test"), 8443);
        assert_eq!(other, (301, "https://api.example.test:8443/".into()));
        assert_eq!(location("GET", "/", None, 443), (421, NOBODY.into()));
        assert_eq!(location("GET", "/readyz", None, 443), (200, "ok".into()));
    }

    #[test]
    fn an_acme_server_is_answered_what_it_asked_for_and_anybody_else_is_redirected() {
        let one = "/.well-known/acme-challenge/one";
        let two = "/.well-known/acme-challenge/two";
        for (method, target, host, expected) in [
            ("GET", one, "api.example.test", (200, "proof")),
            ("HEAD", one, "API.example.test.:80", (200, "proof")),
            // Before there is a host to redirect to.
            ("GET", two, "new.example.test", (200, "proof")),
            (
                "GET",
                "http://new.example.test/.well-known/acme-challenge/two",
                "evil.test",
                (200, "proof"),
            ),
            (
                "POST",
                one,
                "api.example.test",
                (
                    308,
                    "https://api.example.test/.well-known/acme-challenge/one",
                ),
            ),
            // Of another name: the host's origin may have asked for it.
            (
                "GET",
                two,
                "api.example.test",
                (
                    301,
                    "https://api.example.test/.well-known/acme-challenge/two",
                ),
            ),
            (
                "GET",
                one,
                "new.example.test",
                (421, "there is no such host here"),
            ),
        ] {
            let (status, shown) = location(method, target, Some(host), 443);
            assert_eq!((status, &*shown), expected, "{method} {target} {host}");
        }
    }

    #[test]
    fn health_says_how_it_is_and_nothing_else() {
        for (method, target, condition, status, text) in [
            ("GET", "/livez", Condition::Draining, 200, "ok"),
            ("GET", "/readyz", Condition::Ready, 200, "ok"),
            ("HEAD", "/readyz", Condition::Starting, 503, "starting"),
            ("GET", "/readyz", Condition::Draining, 503, "draining"),
            (
                "GET",
                "/",
                Condition::Ready,
                404,
                "here are /livez and /readyz, and nothing else",
            ),
            (
                "POST",
                "/livez",
                Condition::Ready,
                405,
                "only GET and HEAD are answered here",
            ),
        ] {
            let asked = Asked {
                method: method.as_bytes(),
                target: target.as_bytes(),
                host: Some(b"api.example.test"),
            };
            let answer = answer(Role::Health, asked, &World, condition, 443);
            let found = (
                answer.status.as_u16(),
                answer.text.trim_end(),
                answer.location,
            );
            assert_eq!(found, (status, text, None), "{method} {target}");
        }
    }
}
