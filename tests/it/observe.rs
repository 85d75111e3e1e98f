//! What operators see: metrics, health, the access log.

use serde_json::Value;
use tests::gateway::ZONE;
use tests::{Authority, Gateway, Origin, Setup};

/// The value of the first sample whose line starts with `name` and holds every one of `labels`.
fn sample(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let line = text.lines().find(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Checks what OpenMetrics 1.0 asks of a text.
fn check(text: &str) {
    assert!(
        text.ends_with("# EOF\n"),
        "{}",
        &text[text.len().saturating_sub(200)..]
    );
    let mut families: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        if let Some(meta) = line.strip_prefix("# ") {
            let mut words = meta.splitn(3, ' ');
            match (words.next(), words.next(), words.next()) {
                (Some("TYPE"), Some(name), Some(kind)) => {
                    assert!(
                        families.iter().all(|(known, _)| known != name),
                        "{name} comes twice"
                    );
                    families.push((name.into(), kind.into()));
                }
                (Some("HELP" | "UNIT"), Some(_), Some(_)) | (Some("EOF"), None, None) => {}
                _ => panic!("an odd line: {line}"),
            }
            continue;
        }
        let name = line.split(['{', ' ']).next().unwrap();
        let family = families
            .last()
            .unwrap_or_else(|| panic!("{line} is of no family"));
        let suffix = name.strip_prefix(family.0.as_str());
        let suffix = suffix.unwrap_or_else(|| panic!("{line} is not of {}", family.0));
        let good = match family.1.as_str() {
            "counter" => matches!(suffix, "_total" | "_created"),
            "gauge" => suffix.is_empty(),
            "histogram" => matches!(suffix, "_bucket" | "_sum" | "_count" | "_created"),
            "info" => suffix == "_info",
            _ => true,
        };
        assert!(good, "{line} does not fit a {}", family.1);
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

fn metrics(gateway: &Gateway) -> String {
    let reply = gateway.admin.get("/metrics");
    assert!(
        reply
            .head
            .to_lowercase()
            .contains("application/openmetrics-text"),
        "{}",
        reply.head
    );
    check(&reply.body);
    reply.body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_openmetrics_and_move() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "require", &origin.url())
        .block(r#"http.request.uri.path eq "/no""#)
        .start();
    drop(metrics(&gateway));
    let device = gateway.authority(ZONE).client("device");
    let client = gateway.client("api.example.test").identity(&device);
    for _ in 0..7 {
        assert_eq!(client.get("/yes").await.unwrap().status, 200);
    }
    for _ in 0..3 {
        assert_eq!(client.get("/no").await.unwrap().status, 403);
    }
    let stranger = Authority::root("Stranger").client("x");
    assert!(
        gateway
            .client("api.example.test")
            .identity(&stranger)
            .get("/")
            .await
            .is_err()
    );
    let names: Vec<String> = metrics(&gateway)
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ").map(ToOwned::to_owned))
        .collect();
    let host = r#"host="api.example.test""#;
    let text = tests::wait::until(&format!("the metrics to move; there are {names:?}"), || {
        let text = metrics(&gateway);
        let requests: f64 = text
            .lines()
            .filter(|line| line.starts_with("postern_requests_total{") && line.contains(host))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum();
        // The failed handshake has its reason.
        (requests >= 10.0 && text.contains("unknown_ca")).then_some(text)
    });
    for stage in ["handshake_full", "rules", "origin_first_byte"] {
        let count = text.lines().find(|line| {
            line.starts_with("postern_stage_duration_seconds_count{stage=")
                && line.contains(&format!("\"{stage}\""))
        });
        let count: f64 = count
            .unwrap_or_else(|| panic!("no {stage}"))
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        assert!(count >= 7.0, "{stage}: {count}");
    }
    let total = sample(&text, "postern_request_duration_seconds_count", &[host]);
    assert!(total.is_some_and(|count| count >= 10.0), "{total:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_tells_apart_alive_and_ready() {
    let gateway = Setup::new().start();
    assert_eq!(gateway.admin.get("/livez").status, 200);
    assert_eq!(gateway.admin.get("/readyz").status, 200);
    let status = gateway.admin.get("/postern/v1/status").result();
    assert_eq!(status["workers"], 2);
    assert_eq!(status["draining"], false);
    assert_eq!(status["zones"], 1);
    assert_eq!(gateway.admin.get("/no/such/thing").status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_of_the_access_log_is_json_whatever_clients_say() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "request", &origin.url())
        .start();
    let spec = tests::pki::Spec::client("evil\r\n\u{202e}\"}{\"status\":200 \u{7}");
    let odd = gateway.authority(ZONE).issue(&spec);
    let mut raw = gateway
        .client("api.example.test")
        .identity(&odd)
        .raw()
        .await
        .unwrap();
    raw.write(
        "GET /%0d%0a%22%7d?q=%0a HTTP/1.1\r\nHost: api.example.test\r\nUser-Agent: \"\\x\t\r\n\r\n",
    )
    .await;
    drop(raw.message().await.unwrap());
    let device = gateway.authority(ZONE).client("device");
    let answer = gateway
        .client("api.example.test")
        .identity(&device)
        .get("/plain")
        .await
        .unwrap();
    let record = gateway.request_record("/plain");
    for (field, expected) in [
        ("/kind", Value::from("request")),
        ("/host", "api.example.test".into()),
        ("/authority", "api.example.test".into()),
        ("/method", "GET".into()),
        ("/http", "HTTP/1.1".into()),
        ("/status", 200.into()),
        ("/request_id", answer.header("x-request-id").into()),
        ("/tls/version", "TLSv1.3".into()),
        ("/tls/resumed", false.into()),
        ("/client_cert/verified", true.into()),
        ("/client_cert/reason", "verified".into()),
        ("/origin", origin.url().into()),
        ("/bytes_sent", answer.body.len().into()),
    ] {
        assert_eq!(record.pointer(field), Some(&expected), "{field}: {record}");
    }
    for stage in ["rules", "origin_first_byte", "total"] {
        assert!(
            record["seconds"][stage]
                .as_f64()
                .is_some_and(|time| time >= 0.0),
            "{stage}: {record}"
        );
    }
    // `records` has parsed every line by now; the file holds no character that moves a terminal.
    let text = std::fs::read_to_string(gateway.file("access.log")).unwrap();
    assert!(
        !text.contains(['\r', '\u{202e}', '\u{7}', '\u{1b}']),
        "{text}"
    );
    tests::wait::until("both lines", || {
        (gateway.records().len() >= 2).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_the_access_log_name_the_zone() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "require", &origin.url())
        .host("open.example.test", "request", &origin.url())
        .start();
    let refused = gateway.client("api.example.test").get("/").await;
    assert!(refused.is_err(), "{refused:?}");
    let device = gateway.authority(ZONE).client("device");
    let good = gateway.client("api.example.test").identity(&device);
    assert_eq!(good.get("/good").await.unwrap().status, 200);
    let strange = Authority::root("Strange").client("strange");
    let open = gateway.client("open.example.test").identity(&strange);
    assert_eq!(open.get("/open").await.unwrap().status, 200);
    for (kind, host) in [
        ("handshake", "api.example.test"),
        ("request", "api.example.test"),
        ("certificate", "open.example.test"),
    ] {
        let line = gateway.record(kind, |line| line["kind"] == kind && line["host"] == host);
        assert_eq!(line["zone"], ZONE, "{line}");
    }
    // A name that no host has belongs to no zone.
    let unknown = gateway.client("unknown.example.test").get("/").await;
    assert!(unknown.is_err(), "{unknown:?}");
    let line = gateway.record("a handshake", |line| {
        line["kind"] == "handshake" && line["tls"]["sni"] == "unknown.example.test"
    });
    assert_eq!(
        (&line["zone"], &line["host"]),
        (&Value::Null, &Value::Null),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_access_log_can_be_rotated() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "off", &origin.url())
        .start();
    let client = gateway.client("api.example.test");
    assert_eq!(client.get("/before").await.unwrap().status, 200);
    drop(gateway.request_record("/before"));
    std::fs::rename(gateway.file("access.log"), gateway.file("access.log.1")).unwrap();
    gateway.signal("USR1");
    tests::wait::until("a new file", || {
        gateway.file("access.log").exists().then_some(())
    });
    assert_eq!(client.get("/after").await.unwrap().status, 200);
    drop(gateway.request_record("/after"));
    let old = std::fs::read_to_string(gateway.file("access.log.1")).unwrap();
    assert!(old.contains("/before") && !old.contains("/after"), "{old}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_without_requests_gives_its_buffers_back() {
    let origin = Origin::echo();
    // Longer than the test waits: no other clock brings the connection to rest.
    let gateway = Setup::new()
        .host("api.example.test", "off", &origin.url())
        .set("timeout.header", "5m")
        .set("timeout.idle", "1h")
        .start();
    let mut http1 = gateway.client("api.example.test").http1().await.unwrap();
    for round in 1..=2 {
        assert_eq!(http1.get("/").await.unwrap().status, 200, "round {round}");
        tests::wait::until("the connection to be parked", || {
            metrics(&gateway)
                .lines()
                .filter_map(|line| line.strip_prefix("postern_connections_parked{"))
                .any(|line| line.ends_with(" 1"))
                .then_some(())
        });
    }
}
