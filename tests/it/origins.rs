//! Origins that are down, slow, or talk nonsense: the client gets 502 or 504, the log says why, and
//! the client's connection goes on.

use serde_json::json;
use tests::gateway::new_address;
use tests::origin::read_head;
use tests::{Authority, Origin, Setup};
use tokio::io::AsyncWriteExt;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_has_its_status_and_reason() {
    let silent = Origin::raw(|stream, _| async move {
        std::future::pending::<()>().await;
        drop(stream);
    });
    let closes = Origin::raw(|mut stream, _| async move {
        drop(read_head(&mut stream).await);
    });
    let nonsense = Origin::saying(b"I am not HTTP at all, sorry\r\n\r\n", true);
    let half = Origin::saying(b"HTTP/1.1 200 OK\r\nContent-Le", true);
    let two_lengths = Origin::saying(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        true,
    );
    let switches = Origin::saying(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        false,
    );
    let good = Origin::echo();
    let refused = format!("http://{}", new_address());
    let gateway = Setup::new()
        .set("timeout.origin_connect", "5s")
        .set("timeout.origin_response", "5s")
        .host("good.example.test", "off", &good.url())
        .host("refused.example.test", "off", &refused)
        .host(
            "unresolved.example.test",
            "off",
            "http://no-such-host.invalid:80",
        )
        .host("silent.example.test", "off", &silent.url())
        .host("closes.example.test", "off", &closes.url())
        .host("nonsense.example.test", "off", &nonsense.url())
        .host("half.example.test", "off", &half.url())
        .host("lengths.example.test", "off", &two_lengths.url())
        .host("switches.example.test", "off", &switches.url())
        .start();
    // One connection for all of it: they have one policy.
    for (host, status, reason) in [
        ("refused.example.test", 502, "origin_refused"),
        ("unresolved.example.test", 502, "origin_resolve"),
        ("silent.example.test", 504, "origin_response_timeout"),
        ("closes.example.test", 502, "origin_response"),
        ("nonsense.example.test", 502, "origin_response"),
        ("half.example.test", 502, "origin_response"),
        ("lengths.example.test", 502, "origin_response"),
        ("switches.example.test", 502, "origin_protocol"),
    ] {
        let client = gateway.client("good.example.test").host(host);
        let mut http1 = client.http1().await.unwrap();
        let path = format!("/{host}");
        let answer = http1.get(&path).await.unwrap();
        assert_eq!(answer.status, status, "{host}: {}", answer.text());
        assert!(
            !answer.text().contains("127.0.0.1"),
            "{host}: details are not the client's: {}",
            answer.text()
        );
        let record = gateway.request_record(&path);
        assert_eq!(record["error"], reason, "{host}: {record}");
        let detail = record["detail"].as_str().unwrap_or_default();
        assert!(
            detail.contains("origin") && !answer.text().contains(detail),
            "{host}: the log says more than the client is told: {record}"
        );
        let request = http::Request::get("/fine").header("host", "good.example.test");
        let after = http1
            .send(request.body(tests::client::body("")).unwrap())
            .await
            .unwrap();
        assert_eq!(after.status, 200, "{host}: the connection goes on");
        let http2 = client.http2().await.unwrap();
        assert_eq!(http2.get(&path).await.unwrap().status, status, "{host}");
        let mut fine = http2.request("/fine", tests::client::body(""));
        *fine.uri_mut() = "https://good.example.test/fine".parse().unwrap();
        assert_eq!(
            http2.send(fine).await.unwrap().status,
            200,
            "{host}: HTTP/2 goes on"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_cut_short_is_cut_short_for_the_client() {
    let sized = Origin::saying(
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        true,
    );
    let chunked = Origin::saying(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nwo",
        true,
    );
    let gateway = Setup::new()
        .host("sized.example.test", "off", &sized.url())
        .host("chunked.example.test", "off", &chunked.url())
        .start();
    for host in ["sized.example.test", "chunked.example.test"] {
        let client = gateway.client(host);
        assert!(
            client.get("/one").await.is_err(),
            "{host}: a part must not pass for the whole"
        );
        let http2 = client.http2().await.unwrap();
        assert!(http2.get("/two").await.is_err(), "{host} over HTTP/2");
        let record = gateway.record(host, |line| line["host"] == *host);
        assert_eq!(record["error"], "response_cut", "{record}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_stalls_in_the_middle_is_not_waited_for() {
    let stalls = Origin::raw(|mut stream, _| async move {
        drop(read_head(&mut stream).await);
        let half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this";
        drop(stream.write_all(half).await);
        std::future::pending::<()>().await;
        drop(stream);
    });
    // Never silent for as long as it may be, and longer than that altogether.
    let slow = Origin::raw(|mut stream, _| async move {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n";
        while read_head(&mut stream).await.is_some() {
            drop(stream.write_all(head).await);
            for _ in 0..8 {
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                drop(stream.write_all(b"x").await);
            }
        }
    });
    let gateway = Setup::new()
        .set("timeout.origin_body", "6s")
        .host("stalls.example.test", "off", &stalls.url())
        .host("slow.example.test", "off", &slow.url())
        .start();
    let client = gateway.client("stalls.example.test");
    let http2 = client.http2().await.unwrap();
    let (one, two) = tokio::join!(client.get("/one"), http2.get("/two"));
    assert!(one.is_err() && two.is_err(), "a part is not the whole");
    for path in ["/one", "/two"] {
        let record = gateway.request_record(path);
        assert_eq!(record["error"], "origin_stalled", "{record}");
    }

    let client = gateway.client("slow.example.test");
    let http2 = client.http2().await.unwrap();
    let (three, four) = tokio::join!(client.get("/three"), http2.get("/four"));
    for answer in [three, four] {
        assert_eq!(answer.unwrap().text(), "x".repeat(8));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_are_believed_rather_than_a_length() {
    let origin = Origin::saying(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n\
          3\r\nabc\r\n0\r\n\r\n",
        false,
    );
    let gateway = Setup::new()
        .host("api.example.test", "off", &origin.url())
        .start();
    let client = gateway.client("api.example.test");
    assert_eq!(client.get("/one").await.unwrap().text(), "abc");
    let http2 = client.http2().await.unwrap();
    assert_eq!(http2.get("/two").await.unwrap().text(), "abc");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooled_connection_that_died_is_replaced() {
    // Answers one request on each connection and closes it without saying so.
    let origin = Origin::saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true);
    let gateway = Setup::new()
        .host("api.example.test", "off", &origin.url())
        .start();
    let mut http1 = gateway.client("api.example.test").http1().await.unwrap();
    for index in 0..10 {
        let answer = http1.get(&format!("/{index}")).await.unwrap();
        assert_eq!(answer.status, 200, "request {index}");
        tests::wait::until("the gateway to see the end", || {
            let text = gateway.admin.get("/metrics").body;
            let open = text
                .lines()
                .filter(|line| line.starts_with("postern_origin_connections_open{"));
            open.clone().count().gt(&0).then_some(())?;
            open.into_iter()
                .all(|line| line.ends_with(" 0"))
                .then_some(())
        });
    }
    // Reads the second request of a connection, and closes then: the one safe retry.
    let tricky = Origin::raw(|mut stream, _| async move {
        if read_head(&mut stream).await.is_some() {
            drop(
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .await,
            );
            drop(read_head(&mut stream).await);
        }
    });
    gateway.change_host(
        "api.example.test",
        &json!({ "origin": { "url": tricky.url() } }),
    );
    for index in 0..6 {
        assert_eq!(
            http1.get(&format!("/t/{index}")).await.unwrap().status,
            200,
            "request {index}"
        );
    }
    // What is not idempotent is not sent twice.
    let post = http::Request::post("/once").header("host", "api.example.test");
    let answer = http1
        .send(post.body(tests::client::body("")).unwrap())
        .await
        .unwrap();
    assert!(matches!(answer.status, 200 | 502), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn origins_over_tls_are_verified() {
    let ours = Authority::root("Origin CA");
    let stranger = Authority::root("Stranger");
    let both: &[u8] = b"\x02h2\x08http/1.1";
    let good = Origin::echo_tls(&ours.server(&["origin.test", "127.0.0.1"]), both);
    let only_http1 = Origin::echo_tls(&ours.server(&["origin.test"]), b"\x08http/1.1");
    let wrong_name = Origin::echo_tls(&ours.server(&["other.test"]), both);
    let wrong_ca = Origin::echo_tls(&stranger.server(&["origin.test"]), both);
    let expired = Origin::echo_tls(
        &ours.issue(&tests::pki::Spec {
            begins: -1000,
            ends: -500,
            ..tests::pki::Spec::server(&["origin.test"])
        }),
        both,
    );
    let common_name_only = Origin::echo_tls(
        &ours.issue(&tests::pki::Spec {
            dns: Vec::new(),
            ..tests::pki::Spec::server(&["origin.test"])
        }),
        both,
    );
    let plain = Origin::echo();
    let gateway = Setup::new()
        .host("first.example.test", "off", &plain.url())
        .start();
    let mut count = 0;
    for (what, origin, patch, expected) in [
        (
            "good",
            &good,
            json!({ "server_name": "origin.test" }),
            Ok("HTTP/2.0"),
        ),
        ("good, by address", &good, json!({}), Ok("HTTP/2.0")),
        (
            "HTTP/1.1 wanted",
            &good,
            json!({ "server_name": "origin.test", "protocol": "http1" }),
            Ok("HTTP/1.1"),
        ),
        (
            "HTTP/1.1 only",
            &only_http1,
            json!({ "server_name": "origin.test" }),
            Ok("HTTP/1.1"),
        ),
        (
            "HTTP/2 wanted, not there",
            &only_http1,
            json!({ "server_name": "origin.test", "protocol": "http2" }),
            Err("origin_"),
        ),
        (
            "wrong name",
            &wrong_name,
            json!({ "server_name": "origin.test" }),
            Err("origin_tls"),
        ),
        (
            "common name only",
            &common_name_only,
            json!({ "server_name": "origin.test" }),
            Err("origin_tls"),
        ),
        (
            "wrong CA",
            &wrong_ca,
            json!({ "server_name": "origin.test" }),
            Err("origin_tls"),
        ),
        (
            "expired",
            &expired,
            json!({ "server_name": "origin.test" }),
            Err("origin_tls"),
        ),
        (
            "system CAs",
            &good,
            json!({ "server_name": "origin.test", "ca_pem": null }),
            Err("origin_tls"),
        ),
        (
            "not TLS",
            &plain,
            json!({ "server_name": "origin.test" }),
            Err("origin_tls"),
        ),
    ] {
        let mut spec = json!({ "url": format!("https://127.0.0.1:{}", origin.address.port()), "ca_pem": ours.pem() });
        for (key, value) in patch.as_object().unwrap() {
            spec[key] = value.clone();
        }
        if spec["ca_pem"].is_null()
            && !std::path::Path::new("/etc/ssl/certs/ca-certificates.crt").exists()
        {
            eprintln!("skipped: needs ca-certificates");
            continue;
        }
        gateway.change_host("first.example.test", &json!({ "origin": spec }));
        let path = format!("/tls/{count}");
        count += 1;
        let answer = gateway
            .client("first.example.test")
            .get(&path)
            .await
            .unwrap();
        let record = gateway.request_record(&path);
        match expected {
            Ok(version) => {
                assert_eq!(answer.status, 200, "{what}: {record}");
                assert_eq!(answer.json()["version"], version, "{what}");
            }
            Err(reason) => {
                assert_eq!(answer.status, 502, "{what}: {record}");
                assert!(
                    record["error"].as_str().unwrap().starts_with(reason),
                    "{what}: {record}"
                );
                let detail = record["detail"].as_str().unwrap();
                let cause = match what {
                    "wrong name" | "common name only" => "is not for the name `origin.test`",
                    "wrong CA" | "system CAs" => "no CA that is believed has signed",
                    "expired" => "has expired",
                    _ => "",
                };
                assert!(detail.contains(cause), "{what}: {record}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_never_takes_the_connection_times_out() {
    // A listener with a full backlog answers no SYN.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut fill = Vec::new();
    for _ in 0..600 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        let attempt = tokio::time::timeout(
            std::time::Duration::from_millis(200),
            socket.connect(address),
        )
        .await;
        match attempt {
            Ok(stream) => fill.push(stream),
            Err(_) => break,
        }
    }
    let gateway = Setup::new()
        .set("timeout.origin_connect", "300ms")
        .host("api.example.test", "off", &format!("http://{address}"))
        .start();
    let answer = gateway
        .client("api.example.test")
        .get("/slow")
        .await
        .unwrap();
    let record = gateway.request_record("/slow");
    if fill.len() >= 600 {
        eprintln!("skipped: needs a kernel whose backlog can be filled");
        return;
    }
    assert_eq!(
        (answer.status, record["error"].as_str()),
        (504, Some("origin_connect_timeout")),
        "{record}"
    );
}
