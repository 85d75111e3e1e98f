//! A connection and a request that tests change to their needs.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};
use http1::{Head, Headers, Limits, Names, Scan};
use vocabulary::client_auth::ClientAuth;
use vocabulary::verdict::{Reason, Verdict};

use crate::matcher::budget::Allowance;
use crate::{
    Action, BlockResponse, ConnectionFacts, Decision, Program, RequestFacts, RoundTrip, Rule,
    Timed, decide,
};

/// A connection and a request that tests change to their needs.
#[derive(Debug, Clone)]
pub struct World {
    pub connection: ConnectionFacts,
    pub method: String,
    pub host: String,
    pub path: String,
    pub raw_path: String,
    pub query: String,
    pub authority: Option<String>,
    pub headers: Headers,
    pub received_msec: i64,
    pub tcp: Kernel,
}

/// Says how long a round trip takes, and counts who asks.
#[derive(Debug, Clone)]
pub struct Kernel {
    pub round_trip: Option<Duration>,
    pub asked: Cell<usize>,
}

impl Timed for Kernel {
    fn round_trip(&self) -> Option<Duration> {
        self.asked.set(self.asked.get() + 1);
        self.round_trip
    }
}

/// What verification found, in the order of Cloudflare's truth table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    None,
    Invalid,
    Valid,
    Revoked,
}

impl Certificate {
    pub const ALL: [Self; 4] = [Self::None, Self::Invalid, Self::Valid, Self::Revoked];

    pub fn client(self) -> ClientAuth {
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
    pub fn new(certificate: Certificate, host: &str, path: &str) -> Self {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        Self {
            connection: ConnectionFacts {
                source: "203.0.113.9:50000".parse().unwrap(),
                local: "198.51.100.1:443".parse().unwrap(),
                sni: host.into(),
                tls_version: "TLSv1.3",
                tls_cipher: "AEAD-AES128-GCM-SHA256",
                client_hello: super::client_hello::example().into(),
                geo: None,
                client: Arc::new(certificate.client()),
            },
            method: "GET".into(),
            host: host.into(),
            path: path.into(),
            raw_path: path.into(),
            query: query.into(),
            authority: None,
            headers: Headers::new(),
            received_msec: 1_484_063_137_857,
            tcp: Kernel {
                round_trip: Some(Duration::from_micros(20_900)),
                asked: Cell::new(0),
            },
        }
    }

    /// A request for `/` with this query, of a client without a certificate.
    pub fn with_query(query: String) -> Self {
        let mut world = Self::new(Certificate::None, "a.example", "/");
        world.query = query;
        world
    }

    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        let value = HeaderValue::from_bytes(value.as_ref()).unwrap();
        self.headers.try_append(name, value).unwrap();
        self
    }

    /// The same request as HTTP/1.1 brings it, its names shouted: as spans of its head.
    pub fn as_spans(mut self) -> Self {
        let mut text = b"GET / HTTP/1.1\r\n".to_vec();
        for (name, value) in &self.headers {
            text.extend(name.to_ascii_uppercase());
            text.extend(b": ");
            text.extend(value);
            text.extend(b"\r\n");
        }
        text.extend(b"\r\n");
        let mut head = Head::default();
        let size = Scan::default().request(&text, &Limits::default(), &mut head);
        assert_eq!(size, Ok(Some(text.len())));
        self.headers.take_over(&mut head, BytesMut::from(&*text));
        self
    }

    /// The same request as HTTP/2 brings it: as a map.
    pub fn as_map(mut self) -> Self {
        let mut map = HeaderMap::new();
        let shared = self.headers.share_into(&mut Names::default(), &mut map);
        assert_eq!(shared, Ok(()));
        self.headers = map.into();
        self
    }

    pub fn request(&self) -> RequestFacts<'_> {
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

    /// The id of the blocking rule, and what was logged.
    pub fn decide(&self, program: &Program) -> (Option<String>, Vec<String>) {
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
    pub fn holds(&self, expression: &str) -> bool {
        let program = match Program::compile(&[block("a", expression)]) {
            Ok(program) => program,
            Err(error) => panic!("{expression}\n{error}"),
        };
        self.decide(&program).0.is_some()
    }
}

pub fn rule(id: &str, expression: &str, action: Action) -> Rule {
    Rule {
        id: id.into(),
        expression: expression.into(),
        action,
        enabled: true,
    }
}

pub fn block(id: &str, expression: &str) -> Rule {
    rule(id, expression, Action::Block(BlockResponse::default()))
}
