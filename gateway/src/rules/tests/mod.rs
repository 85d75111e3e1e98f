//! Tests of the whole language: text in, decision out.

mod allocation;
mod bounds;
mod conformance;
pub(crate) mod generate;
mod geo;
mod hostile;
mod language;
mod messages;
pub(crate) mod program;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::value::Scratch;
use super::*;
use crate::tls::{ClientAuth, Reason, Verdict};

/// A connection and a request that tests change to their needs.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) connection: ConnectionFacts,
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) raw_path: String,
    pub(crate) query: String,
    pub(crate) authority: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) received_msec: i64,
    pub(crate) tcp: Kernel,
}

/// Says how long a round trip takes, and counts who asks.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    pub(crate) round_trip: Option<Duration>,
    pub(crate) asked: Cell<usize>,
}

impl Timed for Kernel {
    fn round_trip(&self) -> Option<Duration> {
        self.asked.set(self.asked.get() + 1);
        self.round_trip
    }
}

/// What verification found, in the order of Cloudflare's truth table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Certificate {
    None,
    Invalid,
    Valid,
    Revoked,
}

impl Certificate {
    pub(crate) const ALL: [Self; 4] = [Self::None, Self::Invalid, Self::Valid, Self::Revoked];

    pub(crate) fn client(self) -> ClientAuth {
        let (presented, verified, revoked, reason) = match self {
            Self::None => return ClientAuth::none(),
            Self::Invalid => (true, false, false, Reason::UnknownCa),
            Self::Valid => (true, true, false, Reason::Verified),
            Self::Revoked => (true, true, true, Reason::Revoked),
        };
        ClientAuth {
            verdict: Verdict {
                presented,
                verified,
                revoked,
                reason,
            },
            ca_id: if verified { "4f1c".into() } else { "".into() },
            issuer_dn: "CN=Devices CA,O=Example,C=DE".into(),
            subject_dn: "CN=device-1,OU=Sensors,O=Example,C=DE".into(),
            subject_dn_legacy: "/C=DE/O=Example/OU=Sensors/CN=device-1".into(),
            serial: "0A1B2C".into(),
            fingerprint_sha256: "af363dc85bc942a892d3cee9796190fdb36d89cd588a4f1cb17c74a943439714"
                .into(),
            not_before: "Mar 21 13:35:00 2022 GMT".into(),
            not_after: "Mar 21 13:35:00 2023 GMT".into(),
            not_before_sec: Some(1_647_869_700),
            not_after_sec: Some(1_679_405_700),
            ski: "27846FAE6EAC4A8DAD9101B519CF1EB460242831".into(),
            issuer_ski: "A5AC554235DBA6D963B9CDE0185CFAD6E3F55E9F".into(),
            rfc9440: ":AAAA:".into(),
            san_dns: vec!["device-1.example".into(), "d1.example".into()],
            san_uri: vec!["spiffe://example/device/1".into()],
            san_ip: vec![
                "192.0.2.77".parse().unwrap(),
                "2001:db8::77".parse().unwrap(),
            ],
            eku: vec!["1.3.6.1.5.5.7.3.2".into()],
            ..ClientAuth::none()
        }
    }
}

impl World {
    pub(crate) fn new(certificate: Certificate, host: &str, path: &str) -> Self {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        Self {
            connection: ConnectionFacts {
                source: "203.0.113.9:50000".parse().unwrap(),
                local: "198.51.100.1:443".parse().unwrap(),
                sni: host.into(),
                tls_version: "TLSv1.3",
                tls_cipher: "AEAD-AES128-GCM-SHA256",
                client_hello: hello::tests::example().into(),
                geo: None,
                client: Arc::new(certificate.client()),
            },
            method: "GET".into(),
            host: host.into(),
            path: path.into(),
            raw_path: path.into(),
            query: query.into(),
            authority: None,
            headers: HeaderMap::new(),
            received_msec: 1_484_063_137_857,
            tcp: Kernel {
                round_trip: Some(Duration::from_micros(20_900)),
                asked: Cell::new(0),
            },
        }
    }

    /// A request for `/` with this query, of a client without a certificate.
    pub(crate) fn with_query(query: String) -> Self {
        let mut world = Self::new(Certificate::None, "a.example", "/");
        world.query = query;
        world
    }

    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        self.headers
            .append(name, HeaderValue::from_bytes(value.as_ref()).unwrap());
        self
    }

    pub(crate) fn request(&self) -> RequestFacts<'_> {
        RequestFacts {
            method: &self.method,
            version: "HTTP/2",
            host: &self.host,
            path: &self.path,
            raw_path: &self.raw_path,
            query: &self.query,
            authority: self.authority.as_deref(),
            headers: &self.headers,
            received_msec: self.received_msec,
            ray_id: "8f00b204e9800998",
            allowance: Allowance::default(),
            round_trip: RoundTrip::of(&self.tcp),
        }
    }

    /// What judging a condition alone leaves behind.
    fn scratch_of(&self, expression: &str) -> Scratch {
        let condition = parser::parse(expression, None).unwrap();
        let facts = Facts {
            connection: &self.connection,
            request: &self.request(),
            state: &ConnectionState::default(),
        };
        let mut scratch = Scratch::default();
        condition.holds(&facts, &mut scratch);
        scratch
    }

    /// The id of the blocking rule, and what was logged.
    pub(crate) fn decide(&self, program: &Program) -> (Option<String>, Vec<String>) {
        let mut logged = Vec::new();
        let request = self.request();
        let decision = decide(program, &self.connection, &request, &mut |id| {
            logged.push(id.to_owned())
        });
        let blocked = match decision {
            Decision::Permit(_) => None,
            Decision::Block { rule_id, .. } => Some(rule_id.to_owned()),
            Decision::TooLarge => Some("too large".to_owned()),
        };
        (blocked, logged)
    }

    /// Whether the expression is true here.
    pub(crate) fn holds(&self, expression: &str) -> bool {
        let program = match Program::compile(&[block("a", expression)]) {
            Ok(program) => program,
            Err(error) => panic!("{expression}\n{error}"),
        };
        self.decide(&program).0.is_some()
    }
}

pub(crate) fn rule(id: &str, expression: &str, action: Action) -> Rule {
    Rule {
        id: id.into(),
        expression: expression.into(),
        action,
        enabled: true,
    }
}

pub(crate) fn block(id: &str, expression: &str) -> Rule {
    rule(id, expression, Action::Block(BlockResponse::default()))
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
