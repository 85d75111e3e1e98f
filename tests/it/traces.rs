//! Traces: contexts that are continued or begun, their ids in log and metrics, and spans as OpenTelemetry's
//! own messages read them.

use std::path::PathBuf;
use std::process::{Child, Command};

use fixtures::Directory;
use http::Request;
use serde_json::Value;
use tests::client::{Answer, body};
use tests::gateway::ZONE;
use tests::tool::{ends, is_alive, python};
use tests::{Gateway, Identity, Origin, Setup, wait};

const HOST: &str = "api.example.test";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const COLLECTOR: &str = include_str!("traces_collector.py");

/// A collector that reads with the official messages, until it is dropped.
struct Collector {
    child: Child,
    port: String,
    spans: PathBuf,
    _directory: Directory,
}

impl Collector {
    fn start() -> Option<Self> {
        let python = python(
            "opentelemetry.proto.collector.trace.v1.trace_service_pb2",
            "opentelemetry-proto",
        )?;
        let directory = Directory::new();
        let (port, spans) = (
            directory.path().join("port"),
            directory.path().join("spans"),
        );
        let child = Command::new(python)
            .args(["-c", COLLECTOR])
            .args([&port, &spans])
            .spawn()
            .unwrap();
        let port = wait::until("the collector", || std::fs::read_to_string(&port).ok());
        Some(Self {
            child,
            port,
            spans,
            _directory: directory,
        })
    }

    /// The spans of a trace, once its server span is there.
    fn of(&self, trace: &str) -> Vec<Value> {
        wait::until("spans", || {
            let spans: Vec<Value> = self
                .all()
                .into_iter()
                .filter(|span| span["trace_id"] == trace)
                .collect();
            spans.iter().any(|span| span["kind"] == 2).then_some(spans)
        })
    }

    fn all(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.spans).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn context(flags: &str) -> String {
    format!("00-{TRACE}-{SPAN}-{flags}")
}

/// Asks with these contexts.
async fn ask(gateway: &Gateway, path: &str, who: Option<&Identity>, contexts: &[&str]) -> Answer {
    let client = gateway.client(HOST).identity_if(who);
    let mut client = client.http1().await.unwrap();
    let mut request = Request::get(path)
        .header("host", HOST)
        .header("tracestate", "vendor=7");
    for context in contexts {
        request = request.header("traceparent", *context);
    }
    client.send(request.body(body("")).unwrap()).await.unwrap()
}

/// The parts of the context that the origin was told: trace, span, flags; and the state.
fn told(answer: &Answer) -> (String, String, String, Value) {
    let seen = answer.json();
    let context = seen["headers"]["traceparent"].clone();
    let context = context
        .as_str()
        .or_else(|| context[0].as_str())
        .unwrap_or_default();
    let parts: Vec<&str> = context.split('-').collect();
    let [_, trace, span, flags] = parts[..] else {
        panic!("{seen}")
    };
    let state = seen["headers"]["tracestate"].clone();
    (trace.into(), span.into(), flags.into(), state)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contexts_are_continued_or_begun_as_it_is_set() {
    let origin = Origin::echo();
    let gateway = Setup::new().host(HOST, "request", &origin.url()).start();
    let device = gateway.authority(ZONE).client("device");
    let sampled = context("01");
    // Off: nothing is touched, and nothing is written down.
    let (trace, span, ..) = told(&ask(&gateway, "/off", None, &[&sampled]).await);
    assert_eq!((trace.as_str(), span.as_str()), (TRACE, SPAN));
    assert_eq!(gateway.request_record("/off")["trace_id"], Value::Null);
    let malformed = format!("00-{}-{SPAN}-01", TRACE.to_uppercase());
    let unsampled = context("00");
    for (number, (mode, who, contexts, is_continued, flags)) in [
        ("all", None, vec![sampled.as_str()], true, "01"),
        ("all", None, vec![unsampled.as_str()], true, "00"),
        ("all", None, vec![malformed.as_str()], false, "01"),
        (
            "all",
            None,
            vec![sampled.as_str(), sampled.as_str()],
            false,
            "01",
        ),
        ("all", None, vec![], false, "01"),
        ("verified", None, vec![sampled.as_str()], false, "01"),
        (
            "verified",
            Some(&device),
            vec![sampled.as_str()],
            true,
            "01",
        ),
        ("begin", Some(&device), vec![sampled.as_str()], false, "01"),
    ]
    .into_iter()
    .enumerate()
    {
        let set = gateway.cli(&["sysctl", "-w", &format!("trace.context={mode}")]);
        assert_eq!(set.code, 0, "{set:?}");
        let path = format!("/{number}");
        let answer = ask(&gateway, &path, who, &contexts).await;
        let (trace, span, found, state) = told(&answer);
        let what = format!("{mode} {contexts:?}");
        assert_ne!(span, SPAN, "{what}");
        assert_eq!(found, flags, "{what}");
        let record = gateway.request_record(&path);
        assert_eq!(record["trace_id"], *trace, "{what}");
        if is_continued {
            assert_eq!(trace, TRACE, "{what}");
            assert!(state.to_string().contains("vendor=7"), "{what}: {state}");
        } else {
            assert_eq!(record["request_id"], *trace, "{what}");
            assert_eq!(state, Value::Null, "{what}");
        }
    }
    let metrics = gateway.admin.get("/metrics").body;
    let exemplar = metrics.lines().find(|line| {
        line.starts_with("postern_request_duration_seconds_bucket{")
            && line.contains(" # {trace_id=\"")
    });
    assert!(exemplar.is_some(), "{metrics}");
    assert!(
        !metrics.contains("postern_traced_requests_total{"),
        "nothing is sent"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sampled_request_has_a_span_for_each_stage() {
    let Some(collector) = Collector::start() else {
        return;
    };
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host(HOST, "request", &origin.url())
        .host("down.example.test", "off", "http://127.0.0.1:9")
        .set("trace.context", "all")
        .set(
            "trace.otlp",
            &format!("http://127.0.0.1:{}", collector.port),
        )
        .start();
    let device = gateway.authority(ZONE).client("device");
    let answer = ask(&gateway, "/x?secret=1", Some(&device), &[&context("01")]).await;
    let (_, told_span, ..) = told(&answer);
    let spans = collector.of(TRACE);
    let named = |name: &str, kind: u64| {
        let found = spans
            .iter()
            .find(|span| span["name"] == name && span["kind"] == kind);
        found.unwrap_or_else(|| panic!("{name}: {spans:#?}"))
    };
    let (server, client) = (named("GET", 2), named("GET", 3));
    assert_eq!(server["parent_span_id"], SPAN);
    assert_eq!(
        client["span_id"], *told_span,
        "the origin's spans are below it"
    );
    assert_eq!(client["parent_span_id"], server["span_id"]);
    for (name, parent) in [
        ("accept", server),
        ("tls.handshake", server),
        ("rules", server),
        ("origin.connect", client),
        ("origin.wait", client),
        ("origin.body", client),
    ] {
        let span = named(name, 1);
        assert_eq!(span["parent_span_id"], parent["span_id"], "{name}");
        assert!(span["start"].as_u64() <= span["end"].as_u64(), "{span}");
    }
    assert!(named("rules", 1)["end"].as_u64() <= named("origin.wait", 1)["start"].as_u64());
    let record = gateway.request_record("/x");
    let attributes = &server["attributes"];
    for (key, value) in [
        ("http.request.method", "GET".into()),
        ("http.response.status_code", 200.into()),
        ("url.path", "/x".into()),
        ("url.scheme", "https".into()),
        ("server.address", HOST.into()),
        ("client.address", "127.0.0.1".into()),
        ("network.protocol.version", "1.1".into()),
        ("tls.protocol.version", "1.3".into()),
        ("postern.request_id", record["request_id"].clone()),
        ("postern.zone", ZONE.into()),
        (
            "tls.client.hash.sha256",
            record["client_cert"]["fingerprint_sha256"].clone(),
        ),
    ] {
        assert_eq!(attributes[key], value, "{key}: {attributes}");
    }
    assert!(
        spans
            .iter()
            .all(|span| !span.to_string().contains("secret"))
    );
    drop(ask(&gateway, "/unsampled", None, &[&context("00")]).await);
    // What fails says why; whoever sends no context begins a trace.
    let failed = gateway
        .client("down.example.test")
        .get("/down")
        .await
        .unwrap();
    assert_eq!(failed.status, 502);
    let spans = collector.of(failed.header("x-request-id"));
    for span in spans.iter().filter(|span| span["name"] == "GET") {
        assert_eq!(span["attributes"]["error.type"], "origin_refused", "{span}");
        assert_eq!(span["status"], 2, "{span}");
    }
    let paths: Vec<Value> = collector
        .all()
        .iter()
        .map(|span| span["attributes"]["url.path"].clone())
        .collect();
    assert!(!paths.contains(&"/unsampled".into()), "{paths:?}");
    wait::until("counts", || {
        let metrics = gateway.admin.get("/metrics").body;
        metrics
            .contains("postern_traced_requests_total{result=\"sent\"} 2\n")
            .then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_goes_on_over_an_upgrade_and_the_old_process_ends_with_its_spans_sent() {
    let Some(collector) = Collector::start() else {
        return;
    };
    let origin = Origin::echo();
    let mut gateway = Setup::new()
        .host(HOST, "off", &origin.url())
        .set("trace.context", "all")
        .set(
            "trace.otlp",
            &format!("http://127.0.0.1:{}", collector.port),
        )
        .set("timeout.drain", "60s")
        .start();
    let mut client = gateway.client(HOST).http1().await.unwrap();
    let asked = tokio::spawn(async move {
        let request = Request::get("/hold")
            .header("host", HOST)
            .header("traceparent", context("01"));
        client.send(request.body(body("")).unwrap()).await.unwrap()
    });
    origin.wait_held(1);
    let old = gateway.pid();
    gateway.upgrade();
    let answer = ask(&gateway, "/new", None, &[&context("01")]).await;
    assert_eq!(answer.status, 200);
    assert!(is_alive(old));
    let paths = || -> Vec<Value> {
        let all = collector.all().into_iter();
        let of_trace = all.filter(|span| span["trace_id"] == TRACE && span["kind"] == 2);
        of_trace
            .map(|span| span["attributes"]["url.path"].clone())
            .collect()
    };
    // The collector is awake by then: the last spans have a short time.
    wait::until("the new process's span", || {
        paths().contains(&"/new".into()).then_some(())
    });
    origin.release();
    assert_eq!(asked.await.unwrap().status, 200);
    assert!(ends(old));
    // Nobody is there any more who could send it.
    assert!(paths().contains(&"/hold".into()), "{:?}", paths());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_gone_costs_no_request_anything() {
    let origin = Origin::echo();
    let mut gateway = Setup::new()
        .host(HOST, "off", &origin.url())
        .set("trace.context", "begin")
        .set("trace.otlp", "http://127.0.0.1:9")
        .start();
    let mut client = gateway.client(HOST).http1().await.unwrap();
    for _ in 0..20 {
        assert_eq!(client.get("/").await.unwrap().status, 200);
    }
    wait::until("the loss in the gateway's log", || {
        gateway.stderr().contains("spans are lost").then_some(())
    });
    let metrics = gateway.admin.get("/metrics").body;
    assert!(
        metrics.contains("postern_traced_requests_total{result=\"failed\"}"),
        "{metrics}"
    );
    drop(client);
    assert!(gateway.stop().success());
}
