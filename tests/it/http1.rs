//! HTTP/1.1 in both directions: reuse, pipelining, bodies, trailers, tunnels.

use bytes::Bytes;
use http::Request;
use serde_json::json;
use tests::client::body;
use tests::{Gateway, Origin, Setup};
use tokio::io::AsyncWriteExt;

fn gateway(origin: &Origin) -> Gateway {
    Setup::new()
        .host("api.example.test", "off", &origin.url())
        .start()
}

fn request(method: &str, path: &str, rest: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: api.example.test\r\n{rest}\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_kept_on_both_sides() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let mut http1 = gateway.client("api.example.test").http1().await.unwrap();
    for index in 0..20 {
        assert_eq!(http1.get(&format!("/{index}")).await.unwrap().status, 200);
    }
    assert_eq!(origin.connections(), 1, "the origin connection is reused");
    assert_eq!(origin.requests().len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let mut raw = gateway.client("api.example.test").raw().await.unwrap();
    let mut all = String::new();
    for index in 0..10 {
        all.push_str(&request("GET", &format!("/p/{index}"), ""));
        let text = format!("body {index}");
        all.push_str(&request(
            "POST",
            &format!("/p/{index}"),
            &format!("Content-Length: {}\r\n", text.len()),
        ));
        all.push_str(&text);
    }
    raw.write(&all).await;
    for index in 0..10 {
        for method in ["GET", "POST"] {
            let answer = raw.message().await.unwrap();
            let seen: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(seen["method"], method);
            assert_eq!(seen["target"], format!("/p/{index}"));
            if method == "POST" {
                assert_eq!(seen["body"], format!("body {index}"));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn head_has_the_head_and_nothing_else() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let mut raw = gateway.client("api.example.test").raw().await.unwrap();
    raw.write(request("HEAD", "/source/1000", "")).await;
    raw.write(request("GET", "/after", "")).await;
    let head = raw.message_to("HEAD").await.unwrap();
    assert_eq!(
        (head.status(), head.header("content-length")),
        (200, "1000")
    );
    let after = raw.message().await.unwrap();
    assert!(after.text().contains("/after"), "{}", after.text());
    // And the origin connection was fit for use again.
    assert_eq!(origin.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn continue_is_said_before_the_body() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let mut raw = gateway.client("api.example.test").raw().await.unwrap();
    raw.write(request(
        "POST",
        "/sink",
        "Content-Length: 5\r\nExpect: 100-continue\r\n",
    ))
    .await;
    let go_on = raw.message().await.unwrap();
    assert_eq!(go_on.status(), 100, "{}", go_on.head);
    raw.write("12345").await;
    let answer = raw.message().await.unwrap();
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (200, r#"{"received":5}"#)
    );
    assert_eq!(origin.requests()[0]["headers"].get("expect"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_upload_is_not_asked_for() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let _rule = gateway
        .rule(&json!({ "action": "block", "expression": r#"http.request.uri.path eq "/no""# }));
    let mut raw = gateway.client("api.example.test").raw().await.unwrap();
    raw.write(request(
        "POST",
        "/no",
        "Content-Length: 5000000\r\nExpect: 100-continue\r\n",
    ))
    .await;
    assert_eq!(raw.message().await.unwrap().status(), 403, "and not 100");
    // Without Expect the body is on its way already; the answer must get through all the same.
    let mut raw = gateway.client("api.example.test").raw().await.unwrap();
    raw.write(request("POST", "/no", "Content-Length: 500000\r\n"))
        .await;
    raw.write(vec![0; 500_000]).await;
    assert_eq!(raw.message().await.unwrap().status(), 403);
    assert!(origin.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_and_trailers_cross_both_ways() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let mut raw = gateway.client("api.example.test").raw().await.unwrap();
    let head = request(
        "POST",
        "/mirror",
        "Transfer-Encoding: chunked\r\nTE: trailers\r\nTrailer: x-sum, x-client-cert\r\n",
    );
    raw.write(&head).await;
    raw.write("6;extension=1\r\nhello \r\n").await;
    raw.write("5\r\nworld\r\n0\r\nX-Sum: 42\r\nX-Client-Cert: forged\r\nHost: evil.test\r\n\r\n")
        .await;
    let answer = raw.message().await.unwrap();
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (200, "hello world"),
        "{answer:?}"
    );
    let seen = &origin.requests()[0];
    assert_eq!(seen["headers"]["te"], json!(["trailers"]), "{seen}");
    // Whatever the method: no body may be lost on the way.
    for method in ["GET", "DELETE", "PROPFIND"] {
        raw.write(request(method, "/mirror", "Transfer-Encoding: chunked\r\n"))
            .await;
        raw.write("5\r\nhello\r\n0\r\n\r\n").await;
        let answer = raw.message().await.unwrap();
        assert_eq!(answer.text(), "hello", "{method}: {answer:?}");
    }
    // A response without a length comes in chunks, whole.
    raw.write(request("GET", "/chunked/100000", "")).await;
    let answer = raw.message().await.unwrap();
    assert_eq!(
        (answer.header("transfer-encoding"), answer.body.len()),
        ("chunked", 100_000)
    );
    // The request's trailers, as the origin got them.
    raw.write(request(
        "POST",
        "/t",
        "Transfer-Encoding: chunked\r\nTrailer: x-sum\r\n",
    ))
    .await;
    raw.write("1\r\nx\r\n0\r\nX-Sum: 42\r\nX-Client-Cert: forged\r\nHost: evil.test\r\n\r\n")
        .await;
    let answer = raw.message().await.unwrap();
    let seen: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let trailers = seen["trailers"].as_object().unwrap();
    assert!(
        !trailers.contains_key("x-client-cert") && !trailers.contains_key("host"),
        "{seen}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_client_gets_an_old_answer() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let mut raw = gateway.client("api.example.test").raw().await.unwrap();
    raw.write("GET /chunked/70000 HTTP/1.0\r\nHost: api.example.test\r\n\r\n")
        .await;
    let answer = raw.message().await.unwrap();
    assert_eq!(
        answer.header("transfer-encoding"),
        "",
        "HTTP/1.0 knows no chunks"
    );
    assert_eq!(answer.body.len(), 70_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statuses_without_a_body() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let mut raw = gateway.client("api.example.test").raw().await.unwrap();
    for status in [204, 304, 200, 404, 503] {
        raw.write(request("GET", &format!("/status/{status}"), ""))
            .await;
        assert_eq!(raw.message().await.unwrap().status(), status);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_each_way_stays_out_of_memory() {
    // A debug build would need minutes for a whole one.
    const BYTES: u64 = if cfg!(debug_assertions) {
        1 << 28
    } else {
        1 << 30
    };
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let client = gateway.client("api.example.test");
    assert_eq!(client.get("/warm").await.unwrap().status, 200);
    let before = gateway.resident_kib();
    let mut raw = client.raw().await.unwrap();
    raw.write(request("GET", &format!("/source/{BYTES}"), ""))
        .await;
    let mut left = BYTES;
    let head = raw.message_to("HEAD").await.unwrap();
    assert_eq!(head.header("content-length"), BYTES.to_string());
    let mut most = 0;
    while left > 0 {
        let part = raw.take(usize::try_from(left.min(16 << 20)).unwrap()).await;
        assert!(!part.is_empty(), "{left} bytes are missing");
        left -= part.len() as u64;
        most = most.max(gateway.resident_kib());
    }
    raw.write(request(
        "POST",
        "/sink",
        &format!("Content-Length: {BYTES}\r\n"),
    ))
    .await;
    let part = vec![b'x'; 16 << 20];
    for _ in 0..BYTES / part.len() as u64 {
        raw.write(&part).await;
        most = most.max(gateway.resident_kib());
    }
    let answer = raw.message().await.unwrap();
    assert_eq!(answer.text(), format!("{{\"received\":{BYTES}}}"));
    let grown = most.saturating_sub(before);
    assert!(grown < 16 * 1024, "the gateway grew by {grown} KiB");
    let record = gateway.request_record("/sink");
    assert_eq!(record["bytes_received"], BYTES);
    assert_eq!(
        gateway.request_record(&format!("/source/{BYTES}"))["bytes_sent"],
        BYTES
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_fills_no_memory() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let client = gateway.client("api.example.test");
    assert_eq!(client.get("/warm").await.unwrap().status, 200);
    let before = gateway.resident_kib();
    let mut lazy = Vec::new();
    for _ in 0..8 {
        let mut raw = client.raw().await.unwrap();
        raw.write(request("GET", "/source/1000000000", "")).await;
        // The head has come, so the body is on its way, and then the client stops reading.
        assert_eq!(raw.message_to("HEAD").await.unwrap().status(), 200);
        lazy.push(raw);
    }
    for _ in 0..50 {
        assert_eq!(
            client.get("/busy").await.unwrap().status,
            200,
            "others are served"
        );
    }
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "the gateway grew by {grown} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websockets_become_tunnels() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let mut raw = gateway.client("api.example.test").raw().await.unwrap();
    raw.write(request(
        "GET",
        "/socket",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    ))
    .await;
    let answer = raw.message().await.unwrap();
    assert_eq!(answer.status(), 101, "{}", answer.head);
    assert!(answer.header("upgrade").eq_ignore_ascii_case("websocket"));
    assert_eq!(raw.take(22).await, b"hello from the origin\n");
    for size in [1, 100, 100_000] {
        let sent: Vec<u8> = (0..size)
            .map(|index| u8::try_from(index % 251).unwrap())
            .collect();
        raw.write(&sent).await;
        assert_eq!(raw.take(size).await, sent);
    }
    raw.finish().await;
    assert!(raw.rest().await.is_empty());
    let seen = &origin.requests()[0];
    assert_eq!(seen["headers"]["sec-websocket-version"], json!(["13"]));
    let record = gateway.request_record("/socket");
    assert_eq!(record["status"], 101, "{record}");
    assert!(record["error"].is_null(), "{record}");
    // The record is the whole tunnel's, not its opening's.
    assert_eq!(record["bytes_received"], 100_101, "{record}");
    assert_eq!(record["bytes_sent"], 22 + 100_101, "{record}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_opens_only_when_the_rules_and_the_origin_agree() {
    let origin = Origin::saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", false);
    let gateway = gateway(&origin);
    let _rule = gateway
        .rule(&json!({ "action": "block", "expression": r#"http.request.uri.path eq "/no""# }));
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let mut raw = gateway.client("api.example.test").raw().await.unwrap();
    raw.write(request("GET", "/no", upgrade)).await;
    assert_eq!(raw.message().await.unwrap().status(), 403);
    // The origin says no: the connection stays HTTP, and what follows is evaluated.
    raw.write(request("GET", "/yes", upgrade)).await;
    let answer = raw.message().await.unwrap();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "no"));
    raw.write(request("GET", "/no", "")).await;
    assert_eq!(raw.message().await.unwrap().status(), 403, "evaluated");
    // h2c inside TLS is a way around rules.
    let echo = Origin::echo();
    gateway.change_host(
        "api.example.test",
        &json!({ "origin": { "url": echo.url() } }),
    );
    raw.write(request("GET", "/h2c", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n")).await;
    let answer = raw.message().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(echo.requests()[0]["headers"].get("upgrade"), None);
    assert_eq!(echo.requests()[0]["headers"].get("http2-settings"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_of_requests_ends_a_connection_in_good_order() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .set("limit.requests", "3")
        .host("api.example.test", "off", &origin.url())
        .start();
    let client = gateway.client("api.example.test");
    let mut http1 = client.http1().await.unwrap();
    for index in 0..3 {
        let answer = http1.get("/x").await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.header("connection") == "close",
            index == 2,
            "{index}"
        );
    }
    http1.closed().await;
    let http2 = client.http2().await.unwrap();
    for _ in 0..3 {
        assert_eq!(http2.get("/x").await.unwrap().status, 200);
    }
    http2.closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_may_come_before_the_upload_is_over() {
    let origin = Origin::saying(
        b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nless",
        true,
    );
    let gateway = gateway(&origin);
    let mut http1 = gateway.client("api.example.test").http1().await.unwrap();
    let request = Request::post("/upload").header("host", "api.example.test");
    let request = request.body(body(Bytes::from(vec![0; 2 << 20]))).unwrap();
    let answer = http1.send(request).await.unwrap();
    assert!(matches!(answer.status, 413 | 502), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_forwarded_as_it_was_meant_is_refused() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "off", &origin.url())
        .start();
    let client = gateway.client("api.example.test");
    for (start, fields, status) in [
        ("POST /a", "Transfer-Encoding: chunked\r\n", 200),
        ("POST /a", "Transfer-Encoding: gzip, chunked\r\n", 501),
        (
            "POST /a",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            400,
        ),
        ("OPTIONS *", "Content-Length: 0\r\n", 200),
        ("GET *", "Content-Length: 0\r\n", 400),
    ] {
        let mut raw = client.raw().await.unwrap();
        let chunks = if fields.starts_with("Transfer") {
            "0\r\n\r\n"
        } else {
            ""
        };
        raw.write(format!(
            "{start} HTTP/1.1\r\nHost: api.example.test\r\n{fields}\r\n{chunks}"
        ))
        .await;
        let answer = raw.message().await.unwrap();
        assert_eq!(
            answer.status(),
            status,
            "{start} {fields}: {}",
            answer.text()
        );
    }
    assert_eq!(origin.requests().len(), 2, "{:?}", origin.requests());
}

/// Answers with these interim ones, and then with 200.
fn with_interims(interims: String) -> Origin {
    Origin::raw(move |mut stream, _| {
        let all = format!("{interims}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        async move {
            while tests::origin::read_head(&mut stream).await.is_some() {
                drop(stream.write_all(all.as_bytes()).await);
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interim_answers_are_passed_on() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\
        Connection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nContent-Length: 7\r\n\r\n";
    let others = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    let origin = with_interims(format!("{others}{hints}"));
    let gateway = gateway(&origin);
    let mut raw = gateway.client("api.example.test").raw().await.unwrap();
    for _ in 0..2 {
        raw.write(request("GET", "/", "")).await;
        for status in [100, 102, 103] {
            let interim = raw.message().await.unwrap();
            assert_eq!(interim.status(), status, "{interim:?}");
            if status == 103 {
                assert_eq!(interim.header("link"), "</a.css>; rel=preload");
            }
            for gone in ["connection", "x-hop", "keep-alive", "content-length"] {
                assert_eq!(interim.header(gone), "", "{interim:?}");
            }
        }
        let answer = raw.message().await.unwrap();
        assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
    }
    // HTTP/1.0 knows none (RFC 9110 §15.2).
    let mut old = gateway.client("api.example.test").raw().await.unwrap();
    old.write("GET / HTTP/1.0\r\nHost: api.example.test\r\n\r\n")
        .await;
    assert_eq!(old.message().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interim_answers_are_bounded() {
    let endless = "HTTP/1.1 102 Processing\r\n\r\n".repeat(101);
    let origin = with_interims(endless);
    let gateway = gateway(&origin);
    let mut raw = gateway.client("api.example.test").raw().await.unwrap();
    raw.write(request("GET", "/", "")).await;
    let last = loop {
        let answer = raw.message().await.unwrap();
        if answer.status() != 102 {
            break answer;
        }
    };
    assert_eq!(last.status(), 502, "{last:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_with_a_body_is_an_ordinary_request() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let mut raw = gateway.client("api.example.test").raw().await.unwrap();
    raw.write(request(
        "GET",
        "/",
        "Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 2\r\n",
    ))
    .await;
    raw.write("hi").await;
    assert_eq!(raw.message().await.unwrap().status(), 200);
    assert_eq!(origin.requests()[0]["headers"].get("upgrade"), None);
}
