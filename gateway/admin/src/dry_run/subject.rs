//! What a dry run evaluates: a connection and a request that never were, or are over.
//!
//! Makes a request head and a connection of what was written or recorded, and has them checked by
//! the code that the data path uses ([`snapshot::checks`]), so that what would not get as far as a
//! rule is said to be refused. Where requests are read from is `request` and `record`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Request, Uri, Version, header};
use boring::x509::X509;
use serde_json::{Value, json};

use super::certificate::{Certificate, fields};
use control::{Control, Moment, ReadOnly};
use rules::{Case, ConnectionFacts, ConnectionState, FieldSet, RequestFacts, RoundTrip};
use snapshot::checks::{self, Circumstances, Connected, Selected, version_text};
use snapshot::http::authority;
use snapshot::http::request_head::RequestHead;
use snapshot::{Host, Snapshot};
use tls::{read_client, verify_afresh};
use vocabulary::client_auth::ClientAuth;
use vocabulary::hostname::HostName;
use vocabulary::settings::{MtlsMode, OnRevoked};
use vocabulary::verdict::Verdict;

/// A request as it was written or recorded.
#[derive(Debug)]
pub(super) struct DryRunRequest {
    pub(super) name: Option<String>,
    pub(super) method: String,
    pub(super) version: Version,
    /// `:authority`, or `Host` unless `headers` say another.
    pub(super) authority: String,
    /// The name in SNI, when it is not the authority.
    pub(super) sni: Option<String>,
    /// Path and query as sent.
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    /// `headers` say what is sent as `Host`, be it nothing.
    pub(super) says_host: bool,
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

/// What rules can evaluate.
pub(super) struct DryRunInput {
    pub(super) connection: ConnectionFacts,
    pub(super) state: ConnectionState,
    parts: RequestHead,
    /// The authority as rules know it.
    known_as: Arc<str>,
    path: String,
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
    /// There is nothing that could be evaluated.
    Unevaluated(String),
}

/// Where requests go to.
pub(super) struct World<'w> {
    pub(super) control: &'w Control<ReadOnly>,
    pub(super) snapshot: &'w Snapshot,
    /// The zone's 32 hex characters.
    pub(super) zone: String,
    pub(super) header_count_max: usize,
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

/// The HTTP version of a text as the access log has it.
pub(super) fn version(text: &str) -> Option<Version> {
    Some(match text {
        "HTTP/1.0" => Version::HTTP_10,
        "HTTP/1.1" => Version::HTTP_11,
        "HTTP/2" => Version::HTTP_2,
        _ => return None,
    })
}

impl DryRunRequest {
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
    pub(super) fn arrive(
        mut self,
        world: &World<'_>,
    ) -> (Vec<String>, Result<DryRunInput, Refused>) {
        let mut notes = std::mem::take(&mut self.notes);
        let arrived = self.go(world, &mut notes);
        (notes, arrived)
    }

    fn go(self, world: &World<'_>, notes: &mut Vec<String>) -> Result<DryRunInput, Refused> {
        let parts = self.head()?;
        // The handshake comes first.
        let sni = match &self.sni {
            Some(name) => authority::canonical(name).map_err(|_malformed| {
                Refused::Unevaluated("the `sni` is no name of a host".to_owned())
            })?,
            // One that is malformed reaches no host, and the checks say so.
            None => authority::canonical(&self.authority).unwrap_or_default(),
        };
        let own = if sni.is_empty() {
            None
        } else {
            self.host(world, &sni, notes)?
        };
        let (client, unknown) = self.client(own.map(|host| &**host), notes)?;
        let select = |authority: &Arc<str>| match own {
            Some(host) => {
                let selected = Connected {
                    sni: &sni,
                    host,
                    // What one host of a connection keeps, the others find.
                    has_hello: host.endpoint.keeps_hello,
                    snapshot: world.snapshot,
                };
                let selected = selected.select(authority)?;
                Some(Selected {
                    host: Some(selected.host),
                    known_as: selected.known_as,
                })
            }
            // A host that is not there yet answers for its own name.
            None => (*authority == sni).then(|| Selected {
                host: None,
                known_as: sni.clone(),
            }),
        };
        let head = match checks::admit(&parts, &sni, world.header_count_max, select) {
            Ok(head) => head,
            Err(checks::Refused { refusal, .. }) => {
                return Err(Refused::Gateway {
                    status: Some(refusal.status().as_u16()),
                    reason: refusal.reason().as_str(),
                    why: refusal.to_string(),
                });
            }
        };
        if let Some(host) = head
            .host
            .as_ref()
            .filter(|host| *host.zone_id != *world.zone)
        {
            return Err(of_another_zone(host));
        }
        let (known_as, path) = (head.known_as, head.path.into_owned());
        let tls_version = self.tls_version.as_deref().and_then(tls_version);
        let tls_cipher = self.tls_cipher.as_deref().and_then(tls_cipher);
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut unknown = unknown.and(self.unknown).and(
            fields(&[
                // ClientHellos are not kept.
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
        Ok(DryRunInput {
            connection: ConnectionFacts {
                source: self.source.unwrap_or(nowhere),
                local: self.local.unwrap_or(nowhere),
                sni,
                tls_version: tls_version.unwrap_or_default(),
                tls_cipher: tls_cipher.unwrap_or_default(),
                client_hello: axum::body::Bytes::new(),
                geo: world.control.geo(),
                client: Arc::new(client),
            },
            state: ConnectionState::default(),
            parts,
            known_as,
            path,
            received_msec: self.time_msec,
            ray_id: self.request_id.unwrap_or_default(),
            round_trip: self.round_trip.unwrap_or_default(),
            unknown,
        })
    }

    /// The head as the data path would have it.
    fn head(&self) -> Result<RequestHead, Refused> {
        let unreadable = |what: &str, why: &dyn std::fmt::Display| {
            Refused::Unevaluated(format!("the {what} cannot be read: {why}"))
        };
        let http2 = self.version == Version::HTTP_2;
        let uri = if http2 {
            // Its `:authority`.
            Uri::builder()
                .scheme("https")
                .authority(&*self.authority)
                .path_and_query(&*self.target)
                .build()
        } else {
            Uri::try_from(&*self.target).map_err(Into::into)
        };
        let uri = uri.map_err(|why| unreadable("host or path", &why))?;
        let request = Request::builder()
            .method(&*self.method)
            .version(self.version);
        let request = request.uri(uri).body(());
        let request = request.map_err(|why| unreadable("method", &why))?;
        let (parts, ()) = request.into_parts();
        let mut head = RequestHead::from(parts);
        if !http2 {
            // No map: HTTP/1.1 makes none.
            head.headers = Default::default();
        }
        for (name, value) in &self.headers {
            let (name, value) = self.header(name, value)?;
            let appended = head.headers.try_append(name, value);
            appended.map_err(|why| unreadable("headers", &why))?;
        }
        if !http2 && !self.says_host {
            let host = HeaderValue::from_str(&self.authority);
            let host = host.map_err(|why| unreadable("host", &why))?;
            head.headers.lead(header::HOST, host);
        }
        Ok(head)
    }

    fn header(&self, name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Refused> {
        let http2 = self.version == Version::HTTP_2;
        // White space around a value is no part of it in HTTP/1 (RFC 9112 §5.1).
        let value = if http2 {
            value
        } else {
            value.trim_matches([' ', '\t'])
        };
        let read = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_bytes(value.as_bytes()),
        );
        let (Ok(name), Ok(value)) = read else {
            let name: String = name.chars().take(64).collect();
            let why = format!("the header `{}` is not one", name.escape_debug());
            return Err(Refused::Unevaluated(why));
        };
        if http2 && is_http1_only(&name, &value) {
            let why = format!("HTTP/2 has no header `{name}`, so that no request comes with it");
            return Err(Refused::Unevaluated(why));
        }
        Ok((name, value))
    }

    /// The host that answers, when the zone has one.
    fn host<'w>(
        &self,
        world: &'w World<'_>,
        name: &str,
        notes: &mut Vec<String>,
    ) -> Result<Option<&'w Arc<Host>>, Refused> {
        if let Some(host) = world.snapshot.host(name) {
            if *host.zone_id == *world.zone {
                return Ok(Some(host));
            }
            return Err(of_another_zone(host));
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
            Certificate::Chain(chain, said) => self.verified(chain, *said, host, notes)?,
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
            return Err(Refused::Unevaluated(why));
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

    fn verified(
        &self,
        chain: &[X509],
        said: Option<Verdict>,
        host: Option<&Host>,
        notes: &mut Vec<String>,
    ) -> Result<(ClientAuth, FieldSet), Refused> {
        let Some(host) = host else {
            let why = "without its host the certificate cannot be verified";
            return Err(Refused::Unevaluated(why.into()));
        };
        let verification = verify_afresh(chain, host.trust(), self.time_msec.div_euclid(1000));
        let mut client = read_client(chain, &verification);
        if let Some(said) = said {
            client.verdict = said;
            return Ok((client, FieldSet::default()));
        }
        if verification.question().is_none() {
            return Ok((client, FieldSet::default()));
        }
        notes.push("its CA's responder would be asked, and its answer is not known".into());
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

fn of_another_zone(host: &Host) -> Refused {
    Refused::Unevaluated(format!("the host {} belongs to another zone", host.name()))
}

/// Whether HTTP/2 takes a request with this header for malformed (RFC 9113 §8.2.2).
fn is_http1_only(name: &HeaderName, value: &HeaderValue) -> bool {
    match name.as_str() {
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" => true,
        "te" => value != "trailers",
        _ => false,
    }
}

impl DryRunInput {
    /// The facts for the rules.
    pub(super) fn facts(&self) -> RequestFacts<'_> {
        let circumstances = Circumstances {
            received_msec: self.received_msec,
            ray_id: &self.ray_id,
            round_trip: RoundTrip::known(self.round_trip),
        };
        checks::facts(&self.parts, &self.known_as, &self.path, circumstances)
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
