//! Bad input from the network: everything that is not a well-formed request in good time.

use serde_json::json;
use tests::raw::tcp;
use tests::{Gateway, Origin, Setup};

fn gateway(origin: &Origin) -> Gateway {
    gateway_with(origin, ["20s", "20s", "20s"])
}

/// With so long for a handshake, a head, and the next request.
fn gateway_with(origin: &Origin, [handshake, header, idle]: [&str; 3]) -> Gateway {
    Setup::new()
        .set("timeout.handshake", handshake)
        .set("timeout.header", header)
        .set("timeout.idle", idle)
        .set("limit.header_bytes", "16k")
        .set("limit.header_count", "50")
        .host("api.example.test", "off", &origin.url())
        .start()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_http_on_the_tls_port_is_told_so() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    for request in [
        "GET / HTTP/1.1\r\nHost: api.example.test\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: api.example.test\r\nContent-Length: 3\r\n\r\nabc",
        "HEAD / HTTP/1.0\r\n\r\n",
        "PUT / HTTP/1.1\r\n\r\n",
    ] {
        let mut raw = tcp(gateway.address).await;
        raw.write(request).await;
        let answer = raw.message().await.unwrap();
        assert_eq!(answer.status(), 400, "{request:?}");
        assert!(answer.text().contains("https"), "{}", answer.text());
        assert!(raw.rest().await.is_empty(), "and nothing else");
        assert_eq!(gateway.handshake_record(raw.local)["reason"], "plain_http");
    }
    assert!(origin.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_refused_and_recorded_once() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let garbage: Vec<(&str, Vec<u8>)> = vec![
        ("zeros", vec![0; 600]),
        ("ones", vec![0xff; 600]),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        ("an alert", vec![21, 3, 1, 0, 2, 2, 40]),
        (
            "application data",
            [&[23, 3, 3, 1, 0][..], &[7; 256]].concat(),
        ),
        ("an empty record", vec![22, 3, 1, 0, 0]),
        (
            "a record that is too long",
            [&[22, 3, 1, 0xff, 0xff][..], &[1; 70_000]].concat(),
        ),
        (
            "a ServerHello",
            [&[22, 3, 3, 0, 44, 2, 0, 0, 40, 3, 3][..], &[9; 60]].concat(),
        ),
        (
            "a ClientHello of nonsense",
            [&[22, 3, 1, 0, 44, 1, 0, 0, 40, 3, 3][..], &[9; 60]].concat(),
        ),
        ("SSLv2", vec![0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10]),
        (
            "the HTTP/2 preface",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        ),
        (
            "PROXY protocol, version 1",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 443\r\n\x16\x03\x01".to_vec(),
        ),
        (
            "PROXY protocol, version 2",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec(),
        ),
        (
            "a request to a forward proxy",
            b"CONNECT api.example.test:443 HTTP/1.1\r\n\r\n".to_vec(),
        ),
    ];
    for (what, bytes) in garbage {
        let mut raw = tcp(gateway.address).await;
        raw.write(&bytes).await;
        raw.finish().await;
        let answer = raw.rest().await;
        assert!(!String::from_utf8_lossy(&answer).contains("200"), "{what}");
        let record = gateway.handshake_record(raw.local);
        let reason = record["reason"].as_str().unwrap();
        assert!(!reason.is_empty(), "{what}: {record}");
        match what {
            "SSH" | "ones" | "zeros" | "a request to a forward proxy" => {
                assert_eq!(reason, "not_tls", "{what}: {record}");
            }
            _ if what.starts_with("PROXY") => assert_eq!(reason, "proxy_protocol", "{what}"),
            _ => {}
        }
    }
    assert_eq!(
        gateway
            .client("api.example.test")
            .get("/")
            .await
            .unwrap()
            .status,
        200
    );
    let records = gateway.records();
    let mut clients: Vec<_> = records
        .iter()
        .map(|line| line["client"].to_string())
        .collect();
    let count = clients.len();
    clients.sort();
    clients.dedup();
    assert_eq!(clients.len(), count, "one record for each: {records:?}");
}

/// A real ClientHello, as our own client sends it.
async fn hello() -> Vec<u8> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = tests::Authority::root("Nobody");
    let client = tests::Client::new(
        listener.local_addr().unwrap(),
        "api.example.test",
        &authority,
    );
    let attempt = tokio::spawn(async move { client.get("/").await.is_err() });
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = [0; 5];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut head)
        .await
        .unwrap();
    let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
    let mut hello = head.to_vec();
    hello.resize(5 + length, 0);
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut hello[5..])
        .await
        .unwrap();
    drop(stream);
    assert!(attempt.await.unwrap());
    hello
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_may_break_off_anywhere() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let hello = hello().await;
    // Every byte would take long; every seventh reaches all fields.
    let mut cuts: Vec<usize> = (1..hello.len()).step_by(7).collect();
    cuts.push(hello.len());
    for cut in &cuts {
        let mut raw = tcp(gateway.address).await;
        raw.write(&hello[..*cut]).await;
        raw.finish().await;
        drop(raw.rest().await);
    }
    // And a hello that comes byte by byte is as good as any.
    let mut raw = tcp(gateway.address).await;
    for byte in &hello {
        raw.write([*byte]).await;
    }
    assert_eq!(raw.take(1).await, [22], "a ServerHello");
    assert_eq!(
        gateway
            .client("api.example.test")
            .get("/after")
            .await
            .unwrap()
            .status,
        200
    );
    drop(raw);
    tests::wait::until("all records", || {
        (gateway
            .records()
            .iter()
            .filter(|line| line["kind"] == "handshake")
            .count()
            > cuts.len())
        .then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_have_limits() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let head = |rest: String| format!("GET /big HTTP/1.1\r\nHost: api.example.test\r\n{rest}\r\n");
    for (what, request, statuses) in [
        (
            "a large head that is allowed",
            head(format!("X: {}\r\n", "a".repeat(8_000))),
            &[200][..],
        ),
        (
            "a larger head",
            head(format!("X: {}\r\n", "a".repeat(40_000))),
            &[431],
        ),
        (
            "many headers",
            head((0..200).map(|i| format!("X-{i}: a\r\n")).collect()),
            &[431],
        ),
        (
            "a long target",
            format!(
                "GET /{} HTTP/1.1\r\nHost: api.example.test\r\n\r\n",
                "a".repeat(40_000)
            ),
            &[431, 414],
        ),
        ("a name that is none", head("na me: x\r\n".into()), &[400]),
        ("no name", head(": x\r\n".into()), &[400]),
        ("no colon", head("name\r\n".into()), &[400]),
    ] {
        let mut raw = gateway.client("api.example.test").raw().await.unwrap();
        raw.write(&request).await;
        let status = raw.message().await.map_or(0, |answer| answer.status());
        assert!(statuses.contains(&status), "{what}: {status}");
    }
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_silent_and_the_slow_are_shown_out() {
    let origin = Origin::echo();
    let gateway = gateway_with(&origin, ["6s", "6s", "8s"]);
    let mut silent = tcp(gateway.address).await;
    let hello = hello().await;
    let mut half_hello = tcp(gateway.address).await;
    half_hello.write(&hello[..50]).await;
    let mut idle = gateway.client("api.example.test").raw().await.unwrap();
    let mut slow = gateway.client("api.example.test").raw().await.unwrap();
    slow.write("GET / HT").await;
    let idle_http2 = gateway.client("api.example.test").http2().await.unwrap();
    assert_eq!(idle_http2.get("/h2").await.unwrap().status, 200);
    let mut kept = gateway.client("api.example.test").raw().await.unwrap();
    kept.write("GET /kept HTTP/1.1\r\nHost: api.example.test\r\n\r\n")
        .await;
    assert_eq!(kept.message().await.unwrap().status(), 200);
    // Each of them is closed by the gateway; how long that takes is not measured.
    drop(silent.rest().await);
    drop(half_hello.rest().await);
    let said = slow.rest_text().await;
    assert!(
        said.is_empty() || said.starts_with("HTTP/1.1 408"),
        "{said:?}"
    );
    assert!(idle.rest().await.is_empty());
    assert!(kept.rest().await.is_empty());
    idle_http2.closed().await;
    assert_eq!(
        gateway.handshake_record(silent.local)["reason"],
        "handshake_timeout"
    );
    assert_eq!(
        gateway.handshake_record(half_hello.local)["reason"],
        "handshake_timeout"
    );
    for stop in ["handshake_timeout", "header_timeout", "idle_timeout"] {
        tests::wait::until(stop, || {
            let text = gateway.admin.get("/metrics").body;
            text.contains(&format!("\"{stop}\"")).then_some(())
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_stops_is_not_waited_for() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .set("timeout.origin_response", "4s")
        .host("api.example.test", "off", &origin.url())
        .start();
    let mut raw = gateway.client("api.example.test").raw().await.unwrap();
    raw.write(
        "POST /stalled HTTP/1.1\r\nHost: api.example.test\r\nContent-Length: 10\r\n\r\n12345",
    )
    .await;
    let answer = raw.message().await.unwrap();
    assert_eq!(answer.status(), 408, "{}", answer.head);
    assert_eq!(
        gateway.request_record("/stalled")["error"],
        "client_stalled"
    );
    // A client that goes away in the middle leaves a record too.
    let mut raw = gateway.client("api.example.test").raw().await.unwrap();
    raw.write("POST /left HTTP/1.1\r\nHost: api.example.test\r\nContent-Length: 10\r\n\r\n12345")
        .await;
    raw.finish().await;
    drop(raw);
    let record = gateway.request_record("/left");
    assert_eq!(record["error"], "client_gone", "{record}");
    assert_eq!(
        gateway
            .client("api.example.test")
            .get("/")
            .await
            .unwrap()
            .status,
        200
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_is_recorded() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let mut raw = gateway.client("api.example.test").raw().await.unwrap();
    raw.write("GET /hold HTTP/1.1\r\nHost: api.example.test\r\n\r\n")
        .await;
    origin.wait_held(1);
    drop(raw);
    let record = gateway.request_record("/hold");
    assert_eq!(
        (record["status"].as_u64(), record["error"].as_str()),
        (Some(499), Some("client_gone")),
        "{record}"
    );
    origin.release();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_connections_than_allowed_are_closed() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .set("limit.connections", "10")
        .host("api.example.test", "off", &origin.url())
        .start();
    let client = gateway.client("api.example.test");
    let mut open = Vec::new();
    for index in 0..10 {
        let mut http1 = client.http1().await.unwrap();
        assert_eq!(http1.get("/x").await.unwrap().status, 200, "{index}");
        open.push(http1);
    }
    for _ in 0..5 {
        let mut raw = tcp(gateway.address).await;
        raw.write([22]).await;
        assert!(raw.rest().await.is_empty());
    }
    for http1 in &mut open {
        assert_eq!(
            http1.get("/x").await.unwrap().status,
            200,
            "those inside are served"
        );
    }
    drop(open);
    tests::wait::until("room for one more", || {
        gateway
            .admin
            .get("/metrics")
            .body
            .contains("connections_open")
            .then_some(())
    });
    // Live: a larger limit lets the next one in.
    drop(
        gateway
            .admin
            .call(
                "PUT",
                "/postern/v1/sysctl/limit.connections",
                &json!({ "value": "100" }),
            )
            .result(),
    );
    assert_eq!(client.get("/x").await.unwrap().status, 200);
}
