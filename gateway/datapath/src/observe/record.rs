//! The schema of the access log.
//!
//! A line is one JSON object; texts from peers are escaped and cut; a key whose
//! text would be empty is left out. Does not write files: [`super::AccessLog`] does. The query is
//! not logged: people put secrets into it.
//!
//! A request (`"kind":"request"`):
//!
//! | key | what |
//! |---|---|
//! | `time` | when the head was complete, RFC 3339 in UTC with milliseconds |
//! | `request_id` | the id that the origin got too |
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
//! | `error` | why the gateway could not do it: the reason of a 400, 421, 431, 502, 504 |
//! | `detail` | what a library or the kernel said about it |
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

use super::json::Object;
use super::{Stage, StageTimes, Steered};
use crate::limits;
use vocabulary::client_auth::ClientAuth;
use vocabulary::request_error::RequestError;

/// The rule that decided on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleHit<'a> {
    /// Its 32 hex characters.
    pub id: &'a str,
    /// `block`, `rate_limit` or `redirect`.
    pub action: &'a str,
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
    pub http_version: &'a str,
    /// Of the answer.
    pub status: u16,
    /// Of the request's body.
    pub bytes_received: u64,
    /// Of the response's body.
    pub bytes_sent: u64,
    /// `TLSv1.3`.
    pub tls_version: &'a str,
    /// OpenSSL's name.
    pub tls_cipher: &'a str,
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
    /// Writes the line, its end included.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut line = Object::open(out);
        line.time("time", self.time);
        line.text("kind", "connection");
        line.address("client", self.client);
        line.text("host", self.host);
        line.text_if("zone", self.zone);
        let mut tls = line.object("tls");
        tls.text_if("sni", self.sni);
        tls.close();
        client_cert(&mut line, self.client_auth);
        line.number("worker", self.worker as u64);
        line.text("reason", self.reason);
        line.close();
        out.push(b'\n');
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
    /// Writes the line, its end included.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut line = Object::open(out);
        line.time("time", self.time);
        line.text("kind", "certificate");
        line.address("client", self.client);
        line.text("host", self.host);
        line.text_if("zone", self.zone);
        let mut tls = line.object("tls");
        tls.text_if("sni", self.sni);
        tls.close();
        client_cert(&mut line, self.client_auth);
        line.text(
            "event",
            match self.event {
                CertificateEvent::Presented => "presented",
                CertificateEvent::Closed => "closed",
            },
        );
        line.text("reason", self.reason);
        line.close();
        out.push(b'\n');
    }
}

impl RequestRecord<'_> {
    /// Writes the line, its end included.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut line = Object::open(out);
        line.time("time", self.time);
        line.text("kind", "request");
        line.text("request_id", self.request_id);
        line.address("client", self.client);
        line.text("host", self.host);
        line.text_if("zone", self.zone);
        line.text_if("authority", self.authority);
        line.text("method", self.method);
        line.text("path", self.path);
        line.text("http", self.http_version);
        line.number("status", u64::from(self.status));
        line.number("bytes_received", self.bytes_received);
        line.number("bytes_sent", self.bytes_sent);
        let mut tls = line.object("tls");
        tls.text_if("version", self.tls_version);
        tls.text_if("cipher", self.tls_cipher);
        tls.text_if("sni", self.sni);
        tls.flag("resumed", self.resumed);
        tls.close();
        client_cert(&mut line, self.client_auth);
        if let Some(RuleHit { id, action }) = self.rule {
            let mut rule = line.object("rule");
            rule.text("id", id);
            rule.text("action", action);
            rule.close();
        }
        if !self.logged.is_empty() {
            line.texts("logged", self.logged, limits::ACCESS_LOG_RULES_MAX);
        }
        line.text_if("origin", self.origin);
        line.number("worker", self.worker as u64);
        line.text("steered", self.steered.as_str());
        let mut seconds = line.object("seconds");
        for stage in Stage::ALL {
            if let Some(time) = self.times.get(stage) {
                seconds.seconds(stage.as_str(), time);
            }
        }
        seconds.close();
        line.text_if("error", self.error.map_or("", RequestError::as_str));
        line.text_if("detail", self.detail);
        line.close();
        out.push(b'\n');
    }
}

impl HandshakeRecord<'_> {
    /// Writes the line, its end included.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut line = Object::open(out);
        line.time("time", self.time);
        line.text("kind", "handshake");
        line.address("client", self.client);
        line.text_if("host", self.host);
        line.text_if("zone", self.zone);
        let mut tls = line.object("tls");
        tls.text_if("version", self.tls_version);
        tls.text_if("cipher", self.tls_cipher);
        tls.text_if("sni", self.sni);
        tls.close();
        if let Some(client) = self.client_auth {
            client_cert(&mut line, client);
        }
        line.number("worker", self.worker as u64);
        line.text("steered", self.steered.as_str());
        line.text("reason", self.reason);
        line.text_if("detail", self.detail);
        let mut seconds = line.object("seconds");
        seconds.seconds("total", self.elapsed);
        seconds.close();
        line.close();
        out.push(b'\n');
    }
}

fn client_cert(line: &mut Object<'_>, client: &ClientAuth) {
    let mut cert = line.object("client_cert");
    cert.flag("presented", client.verdict.presented);
    cert.flag("verified", client.verdict.verified);
    cert.flag("revoked", client.verdict.revoked);
    cert.text("reason", client.verdict.reason.as_str());
    cert.text_if("about", &client.about);
    cert.text_if("subject", &client.subject_dn);
    names(
        &mut cert,
        "san_uri",
        client.san_uri.iter().map(|name| &**name),
    );
    names(
        &mut cert,
        "san_dns",
        client.san_dns.iter().map(|name| &**name),
    );
    names(
        &mut cert,
        "san_email",
        client.san_email.iter().map(|name| &**name),
    );
    let addresses = client.san_ip.iter().take(limits::ACCESS_LOG_NAMES_MAX);
    let addresses: Vec<String> = addresses.map(ToString::to_string).collect();
    names(&mut cert, "san_ip", addresses.iter().map(String::as_str));
    cert.text_if("issuer", &client.issuer_dn);
    cert.text_if("issuer_key_id", &client.issuer_ski);
    cert.text_if("subject_key_id", &client.ski);
    cert.text_if("serial", &client.serial);
    cert.text_if("fingerprint_sha256", &client.fingerprint_sha256);
    cert.text_if("ca_id", &client.ca_id);
    cert.close();
}

/// The first names of a kind, as many as their bounds allow; nothing without any.
fn names<'n>(cert: &mut Object<'_>, key: &'static str, all: impl Iterator<Item = &'n str>) {
    let mut left = limits::ACCESS_LOG_NAMES_BYTES_MAX;
    let fitting = all.take(limits::ACCESS_LOG_NAMES_MAX).map_while(|name| {
        left = left.checked_sub(name.len())?;
        Some(name)
    });
    let fitting: Vec<&str> = fitting.collect();
    if !fitting.is_empty() {
        cert.texts(key, &fitting, limits::ACCESS_LOG_NAMES_MAX);
    }
}

#[cfg(test)]
pub(super) mod tests {
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
        }
    }

    fn read(write: impl FnOnce(&mut Vec<u8>)) -> Value {
        let mut out = Vec::new();
        write(&mut out);
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
