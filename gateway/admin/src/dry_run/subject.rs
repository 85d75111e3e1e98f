//! What a dry run judges: a connection and a request that never were, or are over.
//!
//! Owns the order in which the data path looks at a request before its rules do, so that what
//! would not get as far as a rule is said to be refused. Where requests are read from is `request`
//! and `record`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version, header};
use boring::x509::X509;
use serde_json::{Value, json};

use control::limits::PEM_BYTES_MAX;
use control::{Control, Moment};
use rules::{Allowance, Case, ConnectionFacts, ConnectionState, FieldSet, RequestFacts, RoundTrip};
use snapshot::http::{authority, headers, path};
use snapshot::{Host, Snapshot};
use tls::{judge_afresh, read_client};
use vocabulary::client_auth::ClientAuth;
use vocabulary::hostname::HostName;
use vocabulary::settings::{MtlsMode, OnRevoked};
use vocabulary::verdict::{Reason, Verdict};

/// A client's certificate as far as it is known.
#[derive(Debug)]
pub(super) enum Certificate {
    /// What is known of it, and what is not.
    Described(Box<ClientAuth>, FieldSet),
    /// The chain itself, leaf first, and the verdict when somebody wants another than the host's.
    Chain(Vec<X509>, Option<Verdict>),
}

/// A request as it was written or recorded.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) name: Option<String>,
    pub(super) method: String,
    pub(super) version: Version,
    pub(super) authority: String,
    /// Path and query as sent.
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) source: Option<SocketAddr>,
    pub(super) local: Option<SocketAddr>,
    pub(super) tls_version: Option<String>,
    pub(super) tls_cipher: Option<String>,
    pub(super) round_trip: Option<Duration>,
    pub(super) request_id: Option<String>,
    pub(super) time_msec: i64,
    pub(super) certificate: Certificate,
    /// What is not known whatever stands here.
    pub(super) unknown: FieldSet,
    pub(super) notes: Vec<String>,
}

/// What rules can judge.
pub(super) struct Subject {
    pub(super) connection: ConnectionFacts,
    pub(super) state: ConnectionState,
    method: String,
    version: &'static str,
    host: Arc<str>,
    /// HTTP/2's, where there is no `Host`.
    authority: Option<String>,
    path: String,
    raw_path: String,
    query: String,
    headers: HeaderMap,
    received_msec: i64,
    ray_id: String,
    round_trip: Duration,
    unknown: FieldSet,
}

/// Why a request does not come to the rules.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The gateway would not take it.
    Gateway {
        /// The HTTP status, none in a handshake.
        status: Option<u16>,
        /// A fixed word, as in the access log.
        reason: &'static str,
        /// For people.
        why: String,
    },
    /// There is nothing that could be judged.
    Unjudged(String),
}

/// Where requests go to.
pub(super) struct World<'w> {
    pub(super) control: &'w Control,
    pub(super) snapshot: &'w Snapshot,
    /// The zone's 32 hex characters.
    pub(super) zone: String,
    pub(super) header_count_max: usize,
}

/// Fields that a name belongs to: itself and what is below it.
pub(super) fn fields(prefixes: &[&str]) -> FieldSet {
    FieldSet::named(|name| {
        prefixes.iter().any(|prefix| {
            name.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '_']))
        })
    })
}

/// Fields of a certificate that is there, but for those named.
pub(super) fn certificate_fields_but(known: &[&str]) -> FieldSet {
    FieldSet::named(|name| {
        let field = name
            .strip_prefix("cf.tls_client_auth.")
            .or_else(|| name.strip_prefix("postern.tls_client_auth."));
        field.is_some_and(|field| !known.contains(&field))
    })
}

const fn verdict(presented: bool, verified: bool, revoked: bool, reason: Reason) -> Verdict {
    Verdict {
        presented,
        verified,
        revoked,
        reason,
    }
}

/// A verdict by its word, and what it leaves open.
pub(super) fn state(word: &str) -> Option<(Verdict, FieldSet)> {
    const FLAGS: [&str; 3] = ["cert_presented", "cert_verified", "cert_revoked"];
    let known = |more: &[&'static str]| {
        let mut known = FLAGS.to_vec();
        known.extend(more);
        certificate_fields_but(&known)
    };
    Some(match word {
        "none" => (Verdict::NONE, FieldSet::default()),
        // Which of many reasons it is nobody has said; no CA stands behind it.
        "invalid" => (
            verdict(true, false, false, Reason::Other),
            known(&["ca_id", "cert_issuer_serial"]),
        ),
        "valid" => (
            verdict(true, true, false, Reason::Verified),
            known(&["reason"]),
        ),
        "revoked" => (
            verdict(true, true, true, Reason::Revoked),
            known(&["reason"]),
        ),
        _ => return None,
    })
}

/// Reads a chain of PEM.
pub(super) fn chain(pem: &str) -> Result<Vec<X509>, String> {
    if pem.len() > PEM_BYTES_MAX {
        return Err(format!("the PEM has more than {PEM_BYTES_MAX} bytes"));
    }
    match X509::stack_from_pem(pem.as_bytes()) {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err("there is no certificate in PEM here".into()),
    }
}

fn tls_version(text: &str) -> Option<&'static str> {
    ["TLSv1.2", "TLSv1.3"]
        .into_iter()
        .find(|known| *known == text)
}

/// The cipher suites that the data path agrees upon.
fn tls_cipher(text: &str) -> Option<&'static str> {
    const CIPHERS: [&str; 13] = [
        "AEAD-AES128-GCM-SHA256",
        "AEAD-AES256-GCM-SHA384",
        "AEAD-CHACHA20-POLY1305-SHA256",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-SHA",
        "ECDHE-ECDSA-AES256-SHA",
        "ECDHE-RSA-AES128-SHA",
        "ECDHE-RSA-AES256-SHA",
    ];
    CIPHERS.into_iter().find(|known| *known == text)
}

fn version_text(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// The HTTP version of a text as the access log has it.
pub(super) fn version(text: &str) -> Option<Version> {
    Some(match text {
        "HTTP/1.0" => Version::HTTP_10,
        "HTTP/1.1" => Version::HTTP_11,
        "HTTP/2" => Version::HTTP_2,
        _ => return None,
    })
}

impl Asked {
    /// What is asked, for people who look at the answer.
    pub(super) fn shown(&self) -> Value {
        let certificate = match &self.certificate {
            Certificate::Described(client, _) => client.verdict.reason.as_str(),
            Certificate::Chain(..) => "pem",
        };
        json!({
            "method": self.method,
            "host": self.authority,
            "path": self.target,
            "http": version_text(self.version),
            "source": self.source.map(|source| source.ip().to_string()),
            "certificate": certificate,
        })
    }

    /// Takes the request as far as the data path does before its rules.
    pub(super) fn arrive(mut self, world: &World<'_>) -> (Vec<String>, Result<Subject, Refused>) {
        let mut notes = std::mem::take(&mut self.notes);
        let arrived = self.go(world, &mut notes);
        (notes, arrived)
    }

    fn go(self, world: &World<'_>, notes: &mut Vec<String>) -> Result<Subject, Refused> {
        let refused = |status: u16, reason, why: String| Refused::Gateway {
            status: Some(status),
            reason,
            why,
        };
        let unjudged = |what: &str, why: &dyn std::fmt::Display| {
            Refused::Unjudged(format!("the {what} cannot be read: {why}"))
        };
        let method =
            Method::from_bytes(self.method.as_bytes()).map_err(|why| unjudged("method", &why))?;
        if matches!(method, Method::CONNECT | Method::TRACE) {
            let why = "this gateway does not serve the method";
            return Err(refused(405, "method", why.into()));
        }
        let headers = self.header_map()?;
        let mut request = Request::builder()
            .method(method)
            .version(self.version)
            .uri(&*self.target)
            .body(())
            .map_err(|why| unjudged("path", &why))?;
        *request.headers_mut() = headers;
        let (mut parts, ()) = request.into_parts();
        let host_header =
            HeaderValue::from_str(&self.authority).map_err(|why| unjudged("host", &why))?;
        let had_host = parts.headers.insert(header::HOST, host_header);
        let name =
            authority::of(&parts).map_err(|why| refused(400, "authority", why.to_string()))?;
        // HTTP/2 says it in `:authority`.
        let mut instead_of_host = None;
        if self.version == Version::HTTP_2 && had_host.is_none() {
            parts.headers.remove(header::HOST);
            instead_of_host = Some(self.authority.clone());
        }
        let host = self.host(world, &name, notes)?;
        let (client, unknown) = self.client(host, notes)?;
        headers::check(&parts.headers, self.version, world.header_count_max)
            .map_err(|why| refused(why.status().as_u16(), "headers", why.to_string()))?;
        let raw_path = parts.uri.path().to_owned();
        let path = path::normalise(&raw_path)
            .map_err(|why| refused(400, "path", why.to_string()))?
            .into_owned();
        if path == "*" && parts.method != Method::OPTIONS {
            let why = "the target * is for OPTIONS only";
            return Err(refused(400, "path", why.into()));
        }
        let tls_version = self.tls_version.as_deref().and_then(tls_version);
        let tls_cipher = self.tls_cipher.as_deref().and_then(tls_cipher);
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut unknown = unknown.and(self.unknown).and(
            fields(&[
                // Nobody keeps ClientHellos.
                "cf.tls_client",
                "cf.tls_ciphers_sha1",
                "cf.bot_management",
            ])
            .without(fields(&["cf.tls_client_auth"])),
        );
        let missing = [
            (self.source.is_none(), &["ip.src", "ip.geoip"][..]),
            (self.local.is_none(), &["cf.edge.server"]),
            (tls_version.is_none(), &["cf.tls_version"]),
            (tls_cipher.is_none(), &["cf.tls_cipher"]),
            (self.request_id.is_none(), &["cf.ray_id"]),
            (
                self.round_trip.is_none(),
                &["cf.timings.client_tcp_rtt_msec"],
            ),
        ];
        for (is_missing, names) in missing {
            if is_missing {
                unknown = unknown.and(fields(names));
            }
        }
        Ok(Subject {
            connection: ConnectionFacts {
                source: self.source.unwrap_or(nowhere),
                local: self.local.unwrap_or(nowhere),
                sni: name.clone(),
                tls_version: tls_version.unwrap_or_default(),
                tls_cipher: tls_cipher.unwrap_or_default(),
                client_hello: axum::body::Bytes::new(),
                geo: world.control.geo(),
                client: Arc::new(client),
            },
            state: ConnectionState::default(),
            method: self.method,
            version: version_text(self.version),
            host: name,
            authority: instead_of_host,
            path,
            raw_path,
            query: parts.uri.query().unwrap_or_default().into(),
            headers: parts.headers,
            received_msec: self.time_msec,
            ray_id: self.request_id.unwrap_or_default(),
            round_trip: self.round_trip.unwrap_or_default(),
            unknown,
        })
    }

    fn header_map(&self) -> Result<HeaderMap, Refused> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let read = (
                HeaderName::from_bytes(name.as_bytes()),
                HeaderValue::from_bytes(value.as_bytes()),
            );
            let (Ok(name), Ok(value)) = read else {
                let name: String = name.chars().take(64).collect();
                let why = format!("the header `{}` is not one", name.escape_debug());
                return Err(Refused::Unjudged(why));
            };
            headers.append(name, value);
        }
        Ok(headers)
    }

    /// The host that answers, when the zone has one.
    fn host<'w>(
        &self,
        world: &'w World<'_>,
        name: &str,
        notes: &mut Vec<String>,
    ) -> Result<Option<&'w Host>, Refused> {
        if let Some(host) = world.snapshot.host(name) {
            if *host.zone_id == *world.zone {
                return Ok(Some(&**host));
            }
            let why = format!("the host {} belongs to another zone", host.name());
            return Err(Refused::Unjudged(why));
        }
        let model = world.control.model();
        let configured = HostName::parse(name).is_ok_and(|name| model.hosts.contains_key(&name));
        notes.push(if configured {
            format!("the host {name} has no server certificate, so that its handshakes fail")
        } else {
            format!("there is no host {name}, so that its handshakes fail")
        });
        Ok(None)
    }

    /// What the host makes of the certificate.
    fn client(
        &self,
        host: Option<&Host>,
        notes: &mut Vec<String>,
    ) -> Result<(ClientAuth, FieldSet), Refused> {
        let asks = host.is_none_or(|host| host.site().mtls != MtlsMode::Off);
        let (client, unknown) = match &self.certificate {
            _ if !asks => {
                if self.certificate.is_presented() {
                    let why = "the host asks for no certificates: the client cannot show its own";
                    notes.push(why.into());
                }
                (ClientAuth::none(), FieldSet::default())
            }
            Certificate::Described(client, unknown) => ((**client).clone(), *unknown),
            Certificate::Chain(chain, said) => self.judged(chain, *said, host, notes)?,
        };
        let flags = fields(&[
            "cf.tls_client_auth.cert_verified",
            "cf.tls_client_auth.cert_revoked",
        ]);
        let Some(host) = host else {
            return Ok((client, unknown));
        };
        let could_refuse =
            host.site().mtls == MtlsMode::Require || host.site().revoked == OnRevoked::Close;
        if could_refuse && unknown.meets(flags) {
            let why = format!("whether {} takes the client is not known", host.name());
            return Err(Refused::Unjudged(why));
        }
        if host.refuses(&client.verdict) {
            return Err(Refused::Gateway {
                status: None,
                reason: client.verdict.reason.as_str(),
                why: format!(
                    "the host {} refuses the handshake ({}), no rule is asked",
                    host.name(),
                    client.verdict.reason
                ),
            });
        }
        Ok((client, unknown))
    }

    fn judged(
        &self,
        chain: &[X509],
        said: Option<Verdict>,
        host: Option<&Host>,
        notes: &mut Vec<String>,
    ) -> Result<(ClientAuth, FieldSet), Refused> {
        let Some(host) = host else {
            let why = "without its host nobody can judge the certificate";
            return Err(Refused::Unjudged(why.into()));
        };
        let judgement = judge_afresh(chain, host.trust(), self.time_msec.div_euclid(1000));
        let mut client = read_client(chain, &judgement);
        if let Some(said) = said {
            client.verdict = said;
            return Ok((client, FieldSet::default()));
        }
        if judgement.question().is_none() {
            return Ok((client, FieldSet::default()));
        }
        notes.push("its CA's responder would be asked, and nobody knows what it would say".into());
        let unknown = fields(&[
            "cf.tls_client_auth.cert_verified",
            "cf.tls_client_auth.cert_revoked",
            "postern.tls_client_auth.reason",
            "postern.tls_client_auth.ca_id",
            "cf.tls_client_auth.cert_issuer_serial",
        ]);
        Ok((client, unknown))
    }
}

impl Certificate {
    fn is_presented(&self) -> bool {
        match self {
            Self::Described(client, _) => client.verdict.presented,
            Self::Chain(..) => true,
        }
    }
}

impl Subject {
    /// The facts for the rules.
    pub(super) fn facts(&self) -> RequestFacts<'_> {
        RequestFacts {
            method: &self.method,
            version: self.version,
            host: &self.host,
            path: &self.path,
            raw_path: &self.raw_path,
            query: &self.query,
            authority: self.authority.as_deref(),
            headers: &self.headers,
            received_msec: self.received_msec,
            ray_id: &self.ray_id,
            allowance: Allowance::default(),
            round_trip: RoundTrip::known(self.round_trip),
        }
    }

    /// The case to try.
    pub(super) fn case<'a>(&'a self, request: &'a RequestFacts<'a>) -> Case<'a> {
        Case {
            connection: &self.connection,
            state: &self.state,
            request,
            unknown: self.unknown,
        }
    }
}

/// Milliseconds since the epoch of a text as RFC 3339 has it.
pub(super) fn time_msec(text: &str) -> Option<i64> {
    Moment::parse(text).map(Moment::milliseconds)
}

/// The present, in the same unit.
pub(super) fn now_msec() -> i64 {
    Moment::now().milliseconds()
}
