//! The schema of the access log.
//!
//! A line is one JSON object; texts from peers are escaped and cut; a key whose
//! text would be empty is left out, and so is one that `log.access.fields` does not name (`kind`,
//! `event`, a connection's `reason` and `stands_for` are always there). With a sample, `stands_for`
//! says of how many lines of its sort this one is there for. Does not write files: [`super::AccessLog`] does. The query is
//! not logged: people put secrets into it.
//!
//! A request (`"kind":"request"`):
//!
//! | key | what |
//! |---|---|
//! | `time` | when the head was complete, RFC 3339 in UTC with milliseconds |
//! | `request_id` | the id that the origin got too |
//! | `trace_id` | the trace that it is part of, when traces are on |
//! | `client` | address and port |
//! | `host` | the configured host, `*.example.com` for a wildcard |
//! | `zone` | the zone that the host is in |
//! | `authority` | what the client asked for |
//! | `method`, `path`, `http` | the path is the normalised one, as matched and forwarded |
//! | `status`, `bytes_received`, `bytes_sent` | of the answer; bytes of bodies |
//! | `tls` | `version`, `cipher`, `sni`, `resumed` |
//! | `client_cert` | `presented`, `verified`, `revoked`, `reason`, `about` (the issuer that the reason is about, when it is one), and when presented `subject`, `san_uri`, `san_dns`, `san_email`, `san_ip` (lists, the first names of each kind), `issuer`, `issuer_key_id`, `subject_key_id`, `serial`, `fingerprint_sha256`, `ca_id` |
//! | `rule` | `id` of the rule that decided, and its `action`: `block`, `rate_limit` for a rate limit that was passed, `redirect` |
//! | `logged` | ids of the `log` rules that matched |
//! | `origin` | where it was forwarded to |
//! | `seconds` | times of stages, by [`Stage::as_str`] |
//! | `worker` | number of the worker that served it |
//! | `steered` | how the connection came to that worker: `kernel`, `handoff`, `none` |
//! | `error` | why the gateway could not do it: the reason of an answer of its own, or of one that was cut |
//! | `detail` | what a library or the kernel said about it |
//! | `user_agent`, `referer` | what the client says of itself, on wish; the referer without its query |
//!
//! A client certificate that is not, or no longer, good on a connection that was established
//! (`"kind":"certificate"`): `time`, `client`, `host`, `zone`, `tls`, `client_cert` as above, `event`
//! (`presented` when it came with the handshake of a host that leaves it to rules, `closed` when a
//! live connection was closed because of it) and `reason`.
//!
//! A connection that was ended for what its client did (`"kind":"connection"`): `time`, `client`,
//! `host`, `zone`, `tls`, `client_cert` as above, `worker` and `reason` (the connection's stop).
//!
//! A failed handshake (`"kind":"handshake"`): `time`, `client`, `host`, `zone`, `tls`, `client_cert` as
//! above, `worker`, `steered`, `reason` (the connection's stop), `detail` (what BoringSSL said), `seconds.total`.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use super::client_cert::client_cert;
use super::line::Line;
use super::{RuleAction, Stage, StageTimes, Steered};
use crate::limits;
use config::{LogField as Field, LogFields};
use vocabulary::client_auth::ClientAuth;
use vocabulary::request_error::RequestError;

/// The rule that decided on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleHit<'a> {
    /// Its 32 hex characters.
    pub id: &'a str,
    /// `block`, `rate_limit` or `redirect`.
    pub action: &'static str,
}

/// One request that was answered. Empty texts are left out of the line.
#[derive(Debug, Clone, Copy)]
pub struct RequestRecord<'a> {
    /// When the head was complete.
    pub time: SystemTime,
    /// The request's id.
    pub request_id: &'a str,
    /// Who asked.
    pub client: SocketAddr,
    /// The configured host.
    pub host: &'a str,
    /// The zone that it is in.
    pub zone: &'a str,
    /// The authority as sent.
    pub authority: &'a str,
    /// `GET`.
    pub method: &'a str,
    /// The normalised path, without query.
    pub path: &'a str,
    /// `HTTP/2`.
    pub http_version: &'static str,
    /// Of the answer.
    pub status: u16,
    /// Of the request's body.
    pub bytes_received: u64,
    /// Of the response's body.
    pub bytes_sent: u64,
    /// `TLSv1.3`.
    pub tls_version: &'static str,
    /// OpenSSL's name.
    pub tls_cipher: &'static str,
    /// As sent.
    pub sni: &'a str,
    /// Whether the session was resumed.
    pub resumed: bool,
    /// Who the client is.
    pub client_auth: &'a ClientAuth,
    /// The rule that decided, when one did.
    pub rule: Option<RuleHit<'a>>,
    /// Ids of `log` rules that matched.
    pub logged: &'a [&'a str],
    /// Where it was forwarded to.
    pub origin: &'a str,
    /// Who served it.
    pub worker: usize,
    /// How the connection came there.
    pub steered: Steered,
    /// How long it took.
    pub times: StageTimes,
    /// Why the gateway could not do it, a fixed word.
    pub error: Option<RequestError>,
    /// What a library said about it.
    pub detail: &'a str,
    /// What the client says that it is.
    pub user_agent: &'a [u8],
    /// Where it says that it comes from.
    pub referer: &'a [u8],
    /// The trace that it is part of.
    pub trace_id: &'a str,
}

/// One TLS handshake that failed. Empty texts are left out of the line.
#[derive(Debug, Clone, Copy)]
pub struct HandshakeRecord<'a> {
    /// When it failed.
    pub time: SystemTime,
    /// Who tried.
    pub client: SocketAddr,
    /// The configured host, when the SNI named one.
    pub host: &'a str,
    /// The zone that it is in.
    pub zone: &'a str,
    /// As sent.
    pub sni: &'a str,
    /// When it was agreed upon.
    pub tls_version: &'a str,
    /// When it was agreed upon.
    pub tls_cipher: &'a str,
    /// The client's certificate, when one was seen.
    pub client_auth: Option<&'a ClientAuth>,
    /// Who served it.
    pub worker: usize,
    /// How the connection came there.
    pub steered: Steered,
    /// The label of the connection's stop.
    pub reason: &'a str,
    /// What BoringSSL said.
    pub detail: &'a str,
    /// From the accepted connection to the end.
    pub elapsed: Duration,
}

/// One connection that was ended for what its client did.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionRecord<'a> {
    /// When it was.
    pub time: SystemTime,
    /// Whose it was.
    pub client: SocketAddr,
    /// The configured host.
    pub host: &'a str,
    /// The zone that it is in.
    pub zone: &'a str,
    /// As sent.
    pub sni: &'a str,
    /// What its certificate says.
    pub client_auth: &'a ClientAuth,
    /// Who served it.
    pub worker: usize,
    /// The label of its stop.
    pub reason: &'a str,
}

impl ConnectionRecord<'_> {
    /// Fills the line.
    pub(super) fn write(&self, line: &mut Line<'_>) {
        line.time(Field::Time, "time", self.time);
        line.object.text("kind", "connection");
        whose(line, self.client, self.host, self.zone);
        tls(line, ["", "", self.sni], None);
        client_cert(line, self.client_auth);
        line.number(Field::Worker, "worker", self.worker as u64);
        line.object.text("reason", self.reason);
    }
}

/// When a client certificate was found to be no good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateEvent {
    /// In the handshake, on a host that leaves the rest to rules.
    Presented,
    /// On a live connection, which is closed.
    Closed,
}

/// One client certificate that is not, or no longer, good.
#[derive(Debug, Clone, Copy)]
pub struct CertificateRecord<'a> {
    /// When it was found.
    pub time: SystemTime,
    /// Who showed it.
    pub client: SocketAddr,
    /// The configured host.
    pub host: &'a str,
    /// The zone that it is in.
    pub zone: &'a str,
    /// As sent.
    pub sni: &'a str,
    /// What it says.
    pub client_auth: &'a ClientAuth,
    /// How it came to light.
    pub event: CertificateEvent,
    /// What is wrong with it.
    pub reason: &'a str,
}

impl CertificateRecord<'_> {
    /// Fills the line.
    pub(super) fn write(&self, line: &mut Line<'_>) {
        line.time(Field::Time, "time", self.time);
        line.object.text("kind", "certificate");
        whose(line, self.client, self.host, self.zone);
        tls(line, ["", "", self.sni], None);
        client_cert(line, self.client_auth);
        line.object.text(
            "event",
            match self.event {
                CertificateEvent::Presented => "presented",
                CertificateEvent::Closed => "closed",
            },
        );
        line.object.text("reason", self.reason);
    }
}

impl RequestRecord<'_> {
    /// Fills the line.
    pub(super) fn write(&self, line: &mut Line<'_>) {
        line.time(Field::Time, "time", self.time);
        line.object.text("kind", "request");
        line.text(Field::RequestId, "request_id", self.request_id);
        line.text(Field::TraceId, "trace_id", self.trace_id);
        whose(line, self.client, self.host, self.zone);
        line.text(Field::Authority, "authority", self.authority);
        if line.has(Field::Method) {
            line.object.text("method", self.method);
        }
        if line.has(Field::Path) {
            line.object.text("path", self.path);
        }
        line.text(Field::Http, "http", self.http_version);
        line.number(Field::Status, "status", self.status.into());
        line.number(Field::BytesReceived, "bytes_received", self.bytes_received);
        line.number(Field::BytesSent, "bytes_sent", self.bytes_sent);
        let said = [self.tls_version, self.tls_cipher, self.sni];
        tls(line, said, Some(self.resumed));
        client_cert(line, self.client_auth);
        if let Some(RuleHit { id, action }) = self.rule
            && line.has(Field::Rule)
        {
            let mut rule = line.object.object("rule");
            rule.text("id", id);
            rule.text("action", action);
            rule.close();
        }
        if !self.logged.is_empty() && line.has(Field::Logged) {
            line.object
                .texts("logged", self.logged, limits::ACCESS_LOG_RULES_MAX);
        }
        line.text(Field::Origin, "origin", self.origin);
        line.number(Field::Worker, "worker", self.worker as u64);
        line.text(Field::Steered, "steered", self.steered.as_str());
        if line.has(Field::Seconds) {
            let mut seconds = line.object.object("seconds");
            for stage in Stage::ALL {
                if let Some(time) = self.times.get(stage) {
                    seconds.seconds(stage.as_str(), time);
                }
            }
            seconds.close();
        }
        let error = self.error.map_or("", RequestError::as_str);
        line.text(Field::Error, "error", error);
        line.text(Field::Detail, "detail", self.detail);
        line.said(Field::UserAgent, "user_agent", self.user_agent);
        line.said(Field::Referer, "referer", without_query(self.referer));
    }

    /// Whether it is a line of which `log.access.sample_refused` says how many there are: whatever was
    /// not permitted, failed, or is looked for by a rule.
    pub(super) fn is_refusal(&self) -> bool {
        self.status >= 400
            || self.error.is_some()
            || !self.logged.is_empty()
            || self.rule.is_some_and(|rule| rule.action != REDIRECT)
    }
}

/// The action of a redirect, which is an answer like most.
const REDIRECT: &str = RuleAction::Redirect.as_str();

/// An address without its query and fragment: people put secrets into them.
pub(super) fn without_query(address: &[u8]) -> &[u8] {
    let end = address
        .iter()
        .position(|byte| matches!(byte, b'?' | b'#'))
        .unwrap_or(address.len());
    address.get(..end).unwrap_or_default()
}

impl HandshakeRecord<'_> {
    /// Fills the line.
    pub(super) fn write(&self, line: &mut Line<'_>) {
        line.time(Field::Time, "time", self.time);
        line.object.text("kind", "handshake");
        whose(line, self.client, self.host, self.zone);
        tls(line, [self.tls_version, self.tls_cipher, self.sni], None);
        if let Some(client) = self.client_auth {
            client_cert(line, client);
        }
        line.number(Field::Worker, "worker", self.worker as u64);
        line.text(Field::Steered, "steered", self.steered.as_str());
        line.object.text("reason", self.reason);
        line.text(Field::Detail, "detail", self.detail);
        if line.has(Field::Seconds) {
            let mut seconds = line.object.object("seconds");
            seconds.seconds("total", self.elapsed);
            seconds.close();
        }
    }
}

/// Who it was, and for which host.
fn whose(line: &mut Line<'_>, client: SocketAddr, host: &str, zone: &str) {
    if line.has(Field::Client) {
        line.object.address("client", client);
    }
    line.text(Field::Host, "host", host);
    line.text(Field::Zone, "zone", zone);
}

fn tls(line: &mut Line<'_>, [version, cipher, sni]: [&str; 3], resumed: Option<bool>) {
    line.object("tls", LogFields::TLS, |tls| {
        tls.text(Field::TlsVersion, "version", version);
        tls.text(Field::TlsCipher, "cipher", cipher);
        tls.text(Field::TlsSni, "sni", sni);
        if let Some(resumed) = resumed {
            tls.flag(Field::TlsResumed, "resumed", resumed);
        }
    });
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::line;
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::time::UNIX_EPOCH;
    use vocabulary::verdict::{Reason, Verdict};

    pub(in crate::observe) fn request<'a>(
        path: &'a str,
        client_auth: &'a ClientAuth,
    ) -> RequestRecord<'a> {
        let mut times = StageTimes::default();
        times.set(Stage::Total, Duration::from_micros(1_234));
        times.set(Stage::Rules, Duration::from_nanos(900));
        RequestRecord {
            time: UNIX_EPOCH + Duration::from_millis(1_763_688_129_007),
            request_id: "0af7651916cd43dd",
            client: "192.0.2.1:5000".parse().unwrap(),
            host: "api.example.com",
            zone: "example.com",
            authority: "api.example.com:8443",
            method: "GET",
            path,
            http_version: "HTTP/2",
            status: 403,
            bytes_received: 0,
            bytes_sent: 5,
            tls_version: "TLSv1.3",
            tls_cipher: "AEAD-AES128-GCM-SHA256",
            sni: "api.example.com",
            resumed: false,
            client_auth,
            rule: Some(RuleHit {
                id: "ab",
                action: "block",
            }),
            logged: &["cd"],
            origin: "",
            worker: 3,
            steered: Steered::Handoff,
            times,
            error: None,
            detail: "",
            user_agent: b"",
            referer: b"",
            trace_id: "",
        }
    }

    fn read(write: impl FnOnce(&mut Line<'_>)) -> Value {
        read_with(LogFields::ALL, 1, write)
    }

    fn read_with(fields: LogFields, stands_for: u32, write: impl FnOnce(&mut Line<'_>)) -> Value {
        let mut out = Vec::new();
        line::write(&mut out, fields, stands_for, write);
        assert_eq!(
            out.iter().filter(|byte| **byte == b'\n').count(),
            1,
            "one line is one record"
        );
        assert_eq!(out.last(), Some(&b'\n'));
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_certificate_without_a_subject_is_told_by_its_other_names() {
        let long = format!("spiffe://example.com/{}", "a".repeat(1_000));
        let client = ClientAuth {
            san_uri: vec!["spiffe://example.com/device".into()],
            san_dns: (0..20)
                .map(|n| format!("d{n}.example.com").into())
                .collect(),
            san_email: vec!["a@example.com".into(), long.into(), "b@example.com".into()],
            san_ip: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            ..ClientAuth::none()
        };
        let mut client = client;
        client.verdict.presented = true;
        let record = request("/", &client);
        let found = read(|out| record.write(out));
        let cert = &found["client_cert"];
        assert_eq!(cert["san_uri"], json!(["spiffe://example.com/device"]));
        assert_eq!(
            cert["san_dns"].as_array().unwrap().len(),
            limits::ACCESS_LOG_NAMES_MAX
        );
        assert_eq!(cert["san_email"], json!(["a@example.com"]));
        assert_eq!(cert["san_ip"], json!(["192.0.2.1", "2001:db8::1"]));
        assert!(cert.get("subject").is_none());
        let refused = HandshakeRecord {
            time: UNIX_EPOCH,
            client: "[2001:db8::1]:1".parse().unwrap(),
            host: "api.example.com",
            zone: "example.com",
            sni: "api.example.com",
            tls_version: "",
            tls_cipher: "",
            client_auth: Some(&client),
            worker: 0,
            steered: Steered::None,
            elapsed: Duration::ZERO,
            reason: "expired",
            detail: "",
        };
        let found = read(|out| refused.write(out));
        assert_eq!(
            found["client_cert"]["san_uri"],
            json!(["spiffe://example.com/device"])
        );
        let none = ClientAuth::none();
        let found = read(|out| request("/", &none).write(out));
        assert!(found["client_cert"].get("san_uri").is_none(), "{found}");
    }

    #[test]
    fn a_request() {
        let client = ClientAuth {
            verdict: Verdict {
                presented: true,
                verified: true,
                revoked: true,
                reason: Reason::Revoked,
            },
            subject_dn: "CN=device 7".into(),
            serial: "0A1B".into(),
            ..ClientAuth::none()
        };
        let found = read(|out| request("/admin", &client).write(out));
        assert_eq!(
            found,
            json!({
                "time": "2025-11-21T01:22:09.007Z", "kind": "request", "request_id": "0af7651916cd43dd",
                "client": "192.0.2.1:5000", "host": "api.example.com", "zone": "example.com", "authority": "api.example.com:8443",
                "method": "GET", "path": "/admin", "http": "HTTP/2", "status": 403,
                "bytes_received": 0, "bytes_sent": 5,
                "tls": {"version": "TLSv1.3", "cipher": "AEAD-AES128-GCM-SHA256", "sni": "api.example.com", "resumed": false},
                "client_cert": {"presented": true, "verified": true, "revoked": true, "reason": "revoked",
                                "subject": "CN=device 7", "serial": "0A1B"},
                "rule": {"id": "ab", "action": "block"}, "logged": ["cd"], "worker": 3, "steered": "handoff",
                "seconds": {"rules": 0.0, "total": 0.001234},
            })
        );
    }

    #[test]
    fn a_failed_handshake() {
        let client = ClientAuth {
            verdict: Verdict {
                presented: true,
                verified: false,
                revoked: false,
                reason: Reason::Expired,
            },
            issuer_ski: "AA55".into(),
            ..ClientAuth::none()
        };
        let record = HandshakeRecord {
            time: UNIX_EPOCH,
            client: "[2001:db8::1]:1".parse().unwrap(),
            host: "api.example.com",
            zone: "example.com",
            sni: "api.example.com",
            tls_version: "",
            tls_cipher: "",
            client_auth: Some(&client),
            worker: 0,
            steered: Steered::Kernel,
            reason: "certificate_rejected",
            detail: "CERTIFICATE_VERIFY_FAILED",
            elapsed: Duration::from_millis(12),
        };
        assert_eq!(
            read(|out| record.write(out)),
            json!({
                "time": "1970-01-01T00:00:00.000Z", "kind": "handshake", "client": "[2001:db8::1]:1",
                "host": "api.example.com", "zone": "example.com", "tls": {"sni": "api.example.com"},
                "client_cert": {"presented": true, "verified": false, "revoked": false, "reason": "expired", "issuer_key_id": "AA55"},
                "worker": 0, "steered": "kernel", "reason": "certificate_rejected", "detail": "CERTIFICATE_VERIFY_FAILED", "seconds": {"total": 0.012},
            })
        );
    }

    #[test]
    fn fields_that_are_not_asked_for_are_left_out() {
        let client = ClientAuth {
            serial: "0A1B".into(),
            ..ClientAuth::none()
        };
        let record = RequestRecord {
            user_agent: b"curl/8 \xff\x1b",
            referer: b"https://a.example/x?token=secret#y",
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
            ..request("/admin", &client)
        };
        for (fields, stands_for, wanted) in [
            ("status", 1, json!({"kind": "request", "status": 403})),
            (
                "path, client_cert.serial, tls.resumed",
                100,
                json!({"kind": "request", "path": "/admin", "tls": {"resumed": false},
                       "client_cert": {"serial": "0A1B"}, "stands_for": 100}),
            ),
            (
                "user_agent, referer, trace_id",
                1,
                json!({"kind": "request", "user_agent": "curl/8 \u{fffd}\u{1b}", "referer": "https://a.example/x",
                       "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}),
            ),
        ] {
            let fields = fields.parse().unwrap();
            let found = read_with(fields, stands_for, |out| record.write(out));
            assert_eq!(found, wanted);
        }
        // Each name gives its own key and no other.
        let full = RequestRecord {
            error: Some(RequestError::BadHttp),
            detail: "d",
            origin: "o",
            ..record
        };
        for field in Field::ALL {
            let fields = field.as_str().parse().unwrap();
            let found = read_with(fields, 1, |out| full.write(out));
            let found = found.as_object().unwrap();
            let name = field.as_str().split('.').next().unwrap();
            let keys = found.keys().filter(|key| *key != "kind");
            assert!(
                keys.into_iter().all(|key| key == name),
                "{field}: {found:?}"
            );
            if !field.as_str().starts_with("client_cert.") {
                assert!(found.contains_key(name), "{field}");
            }
        }
    }

    #[test]
    fn what_was_permitted_is_told_from_what_was_not() {
        let nobody = ClientAuth::none();
        let good = RequestRecord {
            status: 200,
            rule: None,
            logged: &[],
            ..request("/", &nobody)
        };
        assert!(!good.is_refusal());
        let redirected = RuleHit {
            id: "ab",
            action: RuleAction::Redirect.as_str(),
        };
        for (record, is_refusal) in [
            (
                RequestRecord {
                    status: 304,
                    ..good
                },
                false,
            ),
            (
                RequestRecord {
                    rule: Some(redirected),
                    status: 308,
                    ..good
                },
                false,
            ),
            (
                RequestRecord {
                    status: 404,
                    ..good
                },
                true,
            ),
            (
                RequestRecord {
                    status: 502,
                    ..good
                },
                true,
            ),
            (
                RequestRecord {
                    logged: &["ab"],
                    ..good
                },
                true,
            ),
            (
                RequestRecord {
                    error: Some(RequestError::ClientGone),
                    ..good
                },
                true,
            ),
            (request("/", &nobody), true),
        ] {
            assert_eq!(record.is_refusal(), is_refusal, "{record:?}");
        }
    }

    proptest! {
        #[test]
        fn hostile_texts_stay_inside_their_strings(path in "\\p{any}{0,200}", subject in "\\p{any}{0,3000}", id in "\\p{any}{0,20}") {
            let client = ClientAuth { subject_dn: subject.clone().into(), ..ClientAuth::none() };
            let ids = [id.as_str(), "x"];
            let record = RequestRecord { request_id: &id, logged: &ids, origin: &path, detail: &subject, ..request(&path, &client) };
            let found = read(|out| record.write(out));
            prop_assert_eq!(found["path"].as_str(), Some(path.as_str()));
            prop_assert_eq!(found["logged"][0].as_str(), Some(id.as_str()));
            prop_assert_eq!(found["status"].as_u64(), Some(403));
        }
    }
}
