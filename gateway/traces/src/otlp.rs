//! What a worker says of requests as OTLP's messages.
//!
//! Spans and attributes are named as OpenTelemetry's semantic conventions for HTTP (1.2x, stable) do;
//! what they have no name for begins with `postern.`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;

use datapath::observe::spans::{Part, RequestSpans, Stretch, span_id};

/// Methods that have a name; all others are `_OTHER`, lest clients choose how many names there are.
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];
/// In `Span.flags`: that it is known whether the parent is remote, and that it is.
const REMOTE: u32 = 0x300;
/// Whether the parent is known to be of this process.
const LOCAL: u32 = 0x100;
/// The trace is sampled.
const SAMPLED: u32 = 1;

/// A message with the spans of these requests.
pub(super) fn message(batch: &[RequestSpans], instance: &str) -> Vec<u8> {
    let mut spans = Vec::with_capacity(batch.len() * 8);
    for request in batch {
        add(&mut spans, request);
    }
    let resource = vec![
        text("service.name", "postern"),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", instance),
    ];
    let message = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: resource,
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: "postern".into(),
                    version: env!("CARGO_PKG_VERSION").into(),
                    ..InstrumentationScope::default()
                }),
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    };
    message.encode_to_vec()
}

/// Adds the spans of one request.
fn add(spans: &mut Vec<Span>, request: &RequestSpans) {
    let id = |part| span_id(request.number, part).to_vec();
    let span = |part, name: &str, kind: SpanKind, (start, end): (SystemTime, SystemTime)| Span {
        trace_id: request.trace_id.to_vec(),
        span_id: id(part),
        parent_span_id: id(Part::Server),
        flags: LOCAL | SAMPLED,
        name: name.into(),
        kind: kind.into(),
        start_time_unix_nano: nanoseconds(start),
        end_time_unix_nano: nanoseconds(end),
        ..Span::default()
    };
    let during = |stretch: Stretch| {
        let start = request.time + stretch.start;
        (start, start + stretch.time)
    };
    let method = METHODS.iter().find(|known| **known == request.method);
    let name = *method.unwrap_or(&"HTTP");
    let mut server = span(
        Part::Server,
        name,
        SpanKind::Server,
        (request.time, request.time + request.total),
    );
    server.parent_span_id = request.parent.map(Vec::from).unwrap_or_default();
    if request.parent.is_some() {
        server.flags = REMOTE | SAMPLED;
    }
    server.attributes = attributes(request);
    server.status = (request.status >= 500).then(|| failed(request));
    spans.push(server);
    if let Some(began) = &request.began {
        let first = began.accepted + began.waited;
        let accepted = (began.accepted, first);
        spans.push(span(Part::Accept, "accept", SpanKind::Internal, accepted));
        let until = began.accepted + began.established;
        let kind = SpanKind::Internal;
        let mut handshake = span(Part::Handshake, "tls.handshake", kind, (first, until));
        handshake.attributes = vec![flag("tls.resumed", request.resumed)];
        spans.push(handshake);
    }
    if let Some(rules) = request.rules {
        spans.push(span(
            Part::Rules,
            "rules",
            SpanKind::Internal,
            during(rules),
        ));
    }
    let Some(origin) = request.origin else { return };
    let mut client = span(Part::Client, name, SpanKind::Client, during(origin));
    client.attributes = origin_attributes(request, name);
    if let Some(error) = request.error {
        client.attributes.push(text("error.type", error));
        client.status = Some(failed(request));
    }
    spans.push(client);
    for (part, name, stretch) in [
        (Part::Connect, "origin.connect", request.connect),
        (Part::Wait, "origin.wait", request.wait),
        (Part::Body, "origin.body", request.body),
    ] {
        if let Some(stretch) = stretch {
            let mut span = span(part, name, SpanKind::Internal, during(stretch));
            span.parent_span_id = id(Part::Client);
            spans.push(span);
        }
    }
}

fn failed(request: &RequestSpans) -> Status {
    Status {
        message: request.error.unwrap_or_default().into(),
        code: StatusCode::Error.into(),
    }
}

/// What is said of a request.
fn attributes(request: &RequestSpans) -> Vec<KeyValue> {
    let known = METHODS.contains(&request.method.as_str());
    let (host, port) = split(&request.authority);
    let mut all = vec![
        text(
            "http.request.method",
            if known { &request.method } else { "_OTHER" },
        ),
        number("http.response.status_code", request.status.into()),
        text("url.scheme", "https"),
        text("url.path", &request.path),
        text("network.protocol.name", "http"),
        text("network.protocol.version", version(request.http_version)),
        text("client.address", &request.client.ip().to_string()),
        number("client.port", request.client.port().into()),
        number("http.request.body.size", request.bytes_received),
        number("http.response.body.size", request.bytes_sent),
        text("tls.cipher", request.tls_cipher),
        text("tls.protocol.name", "tls"),
        text(
            "tls.protocol.version",
            request.tls_version.trim_start_matches("TLSv"),
        ),
        flag("tls.resumed", request.resumed),
        text("postern.host", &request.host),
        text("postern.zone", &request.zone),
        text("postern.request_id", &request.request_id),
        number("postern.worker", request.worker as u64),
    ];
    if !known {
        all.push(text("http.request.method_original", &request.method));
    }
    for (key, value) in [
        ("server.address", host),
        ("tls.client.server_name", &request.sni),
        ("tls.client.hash.sha256", &request.fingerprint),
        ("user_agent.original", &request.user_agent),
    ] {
        if !value.is_empty() {
            all.push(text(key, value));
        }
    }
    all.extend(port.map(|port| number("server.port", port.into())));
    if let Some((id, action)) = &request.rule {
        all.push(text("postern.rule.id", id));
        all.push(text("postern.rule.action", action));
    }
    let status = request.status.to_string();
    let error = (request.status >= 500).then_some(status.as_str());
    if let Some(error) = request.error.or(error) {
        all.push(text("error.type", error));
    }
    all
}

/// What is said of the request to the origin.
fn origin_attributes(request: &RequestSpans, method: &str) -> Vec<KeyValue> {
    // Where a name means several addresses, it is followed by the one that was asked.
    let (address, peer) = match request.address.split_once(' ') {
        Some((address, peer)) => (address, Some(peer.trim_matches(['(', ')']))),
        None => (&*request.address, None),
    };
    let (_, rest) = address.split_once("://").unwrap_or(("", address));
    let (host, port) = split(rest.split('/').next().unwrap_or_default());
    let mut all = vec![
        text(
            "http.request.method",
            if method == "HTTP" { "_OTHER" } else { method },
        ),
        text("url.full", &format!("{address}{}", request.path)),
        text("server.address", host),
    ];
    all.extend(port.map(|port| number("server.port", port.into())));
    all.extend(peer.map(|peer| text("network.peer.address", peer)));
    if request.wait.is_some() {
        all.push(number("http.response.status_code", request.status.into()));
    }
    all
}

/// A host and its port, when it has one.
fn split(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (authority, None),
        },
        _ => (authority, None),
    }
}

fn version(http: &str) -> &str {
    http.trim_start_matches("HTTP/")
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn number(key: &str, value: u64) -> KeyValue {
    attribute(
        key,
        Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)),
    )
}

fn flag(key: &str, value: bool) -> KeyValue {
    attribute(key, Value::BoolValue(value))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One request, of which everything is known.
    pub(crate) fn request() -> RequestSpans {
        let stretch = |start, time| {
            let start = Duration::from_micros(start);
            Some(Stretch {
                start,
                time: Duration::from_micros(time),
            })
        };
        RequestSpans {
            trace_id: [0xab; 16],
            parent: Some([0xcd; 8]),
            number: 7,
            request_id: "0af7651916cd43dd".into(),
            time: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            total: Duration::from_micros(900),
            rules: stretch(10, 5),
            origin: stretch(15, 885),
            connect: stretch(20, 100),
            wait: stretch(120, 300),
            body: stretch(420, 480),
            began: Some(datapath::observe::spans::Began {
                accepted: UNIX_EPOCH + Duration::from_secs(1_699_999_999),
                waited: Duration::from_micros(3),
                established: Duration::from_millis(2),
            }),
            method: "GET".into(),
            path: "/x".into(),
            host: "api.example.test".into(),
            zone: "example.test".into(),
            authority: "api.example.test:8443".into(),
            http_version: "HTTP/2",
            status: 200,
            bytes_received: 0,
            bytes_sent: 5,
            client: "192.0.2.1:5000".parse().unwrap(),
            tls_version: "TLSv1.3",
            tls_cipher: "TLS_AES_128_GCM_SHA256",
            sni: "api.example.test".into(),
            resumed: false,
            fingerprint: "9f86".into(),
            user_agent: String::new(),
            address: "http://127.0.0.1:9000".into(),
            rule: None,
            error: None,
            worker: 1,
        }
    }

    fn spans(request: RequestSpans) -> Vec<Span> {
        let message = message(&[request], "here");
        let read = ExportTraceServiceRequest::decode(&*message).unwrap();
        let [resource] = &read.resource_spans[..] else {
            panic!("one resource")
        };
        let named = resource.resource.as_ref().unwrap().attributes[0].clone();
        assert_eq!(named, text("service.name", "postern"));
        resource.scope_spans[0].spans.clone()
    }

    #[test]
    fn a_request_has_a_span_for_each_stage() {
        let spans = spans(request());
        let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "GET",
                "accept",
                "tls.handshake",
                "rules",
                "GET",
                "origin.connect",
                "origin.wait",
                "origin.body"
            ]
        );
        let [server, accept, handshake, _, client, connect, ..] = &spans[..] else {
            panic!("{spans:?}")
        };
        assert_eq!(server.parent_span_id, [0xcd; 8]);
        assert_eq!(client.parent_span_id, server.span_id);
        assert_eq!(connect.parent_span_id, client.span_id);
        assert_eq!(server.kind, i32::from(SpanKind::Server));
        assert_eq!(client.kind, i32::from(SpanKind::Client));
        assert_eq!(accept.end_time_unix_nano, handshake.start_time_unix_nano);
        assert!(handshake.end_time_unix_nano < server.start_time_unix_nano);
        for span in &spans {
            assert_eq!(span.trace_id, [0xab; 16]);
            assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
        }
        for wanted in [
            text("http.request.method", "GET"),
            text("server.address", "api.example.test"),
            number("server.port", 8443),
            number("http.response.status_code", 200),
            text("tls.protocol.version", "1.3"),
            text("network.protocol.version", "2"),
            text("tls.client.hash.sha256", "9f86"),
        ] {
            assert!(server.attributes.contains(&wanted), "{wanted:?}");
        }
        assert_eq!(server.status, None);
        for wanted in [
            text("server.address", "127.0.0.1"),
            number("server.port", 9000),
        ] {
            assert!(client.attributes.contains(&wanted), "{wanted:?}");
        }
    }

    #[test]
    fn what_failed_says_so_and_methods_are_few() {
        let refused = RequestSpans {
            status: 502,
            error: Some("origin_refused"),
            method: "BREW".into(),
            parent: None,
            began: None,
            connect: None,
            wait: None,
            body: None,
            ..request()
        };
        let spans = spans(refused);
        let [server, rules, client] = &spans[..] else {
            panic!("{spans:?}")
        };
        assert_eq!(
            (server.name.as_str(), rules.name.as_str()),
            ("HTTP", "rules")
        );
        assert!(server.parent_span_id.is_empty());
        for wanted in [
            text("http.request.method", "_OTHER"),
            text("http.request.method_original", "BREW"),
            text("error.type", "origin_refused"),
        ] {
            assert!(server.attributes.contains(&wanted), "{wanted:?}");
        }
        for span in [server, client] {
            assert_eq!(
                span.status.as_ref().unwrap().code,
                i32::from(StatusCode::Error)
            );
        }
    }

    #[test]
    fn authorities_are_split() {
        for (text, host, port) in [
            ("a.test:1", "a.test", Some(1)),
            ("a.test", "a.test", None),
            ("[::1]:8", "[::1]", Some(8)),
            ("[::1]", "[::1]", None),
            ("a:99999", "a:99999", None),
            ("", "", None),
        ] {
            assert_eq!(split(text), (host, port), "{text}");
        }
    }
}
