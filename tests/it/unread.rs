//! Answers that do not wait for the whole request, and requests that nobody can read: the client
//! gets its answer, is told what becomes of the connection, and the log has a line.

use std::time::Duration;

use serde_json::json;
use tests::{Gateway, Origin, Setup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const API: &str = "api.example.test";

/// A gateway that blocks `/no`, and has a host whose origin is down.
fn gateway(origin: &Origin) -> Gateway {
    Setup::new()
        // Connections to the origin are a worker's own.
        .set("workers", "1")
        .host(API, "off", &origin.url())
        .host("down.example.test", "off", "http://127.0.0.1:1")
        .block("http.request.uri.path eq \"/no\"")
        .start()
}

/// Refused requests: method, path, the host that it names, and the status.
const REFUSED: [(&str, &str, &str, u16); 5] = [
    ("POST", "/no", API, 403),
    ("POST", "/a%00", API, 400),
    ("TRACE", "/", API, 405),
    ("POST", "/", "other.test", 421),
    ("POST", "/", "down.example.test", 502),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_is_said_exactly_when_the_connection_closes() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    for (method, path, host, status) in REFUSED {
        let sni = if status == 502 { host } else { API };
        for (framing, body, closes) in [
            ("", "", false),
            ("Content-Length: 0\r\n", "", false),
            ("Content-Length: 5\r\n", "hello", false),
            ("Content-Length: 200000\r\n", "", false),
            ("Content-Length: 900000\r\n", "hello", true),
            ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n", true),
            ("Content-Length: 5\r\nExpect: 100-continue\r\n", "", true),
        ] {
            let what = format!("{method} {path} for {host}, {framing:?}");
            let mut raw = gateway.client(sni).raw().await.unwrap();
            raw.write(format!(
                "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{framing}\r\n{body}"
            ))
            .await;
            let answer = raw.message().await.unwrap();
            assert_eq!(answer.status(), status, "{what}: {answer:?}");
            assert!(!answer.header("x-request-id").is_empty(), "{what}");
            let said = if closes { "close" } else { "" };
            assert_eq!(answer.header("connection"), said, "{what}");
            if closes {
                raw.finish().await;
                assert!(raw.rest().await.is_empty(), "{what}");
                continue;
            }
            // What is small may come behind its answer.
            if framing.contains("200000") {
                raw.write(vec![0; 200_000]).await;
            }
            raw.write(format!("GET /no HTTP/1.1\r\nHost: {sni}\r\n\r\n"))
                .await;
            let next = raw.message().await.unwrap();
            assert_eq!(next.status(), 403, "{what}: {next:?}");
        }
    }
    assert!(origin.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_everything_first_gets_the_answer_all_the_same() {
    let origin = Origin::saying(
        b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nless",
        true,
    );
    let gateway = gateway(&origin);
    let part = vec![0; 1 << 20];
    for (path, status) in [("/no", 403), ("/a%00", 400), ("/big", 413)] {
        let mut raw = gateway.client(API).raw().await.unwrap();
        raw.write(format!(
            "POST {path} HTTP/1.1\r\nHost: {API}\r\nContent-Length: {}\r\n\r\n",
            24 << 20
        ))
        .await;
        for _ in 0..24 {
            raw.write(&part).await;
        }
        let answer = raw.message().await.unwrap();
        // An origin that closes with bytes unread may lose its own answer.
        let is_cut = path == "/big" && answer.status() == 502;
        assert!(answer.status() == status || is_cut, "{path}: {answer:?}");
        assert_eq!(answer.header("connection"), "close", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_not_put_aside_in_the_middle_of_a_body() {
    // An answer that is over before the request is.
    let origin = Origin::saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false);
    let gateway = gateway(&origin);
    for framing in [
        "Content-Length: 900000\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        let mut raw = gateway.client(API).raw().await.unwrap();
        raw.write(format!(
            "POST /early HTTP/1.1\r\nHost: {API}\r\n{framing}\r\n"
        ))
        .await;
        assert_eq!(raw.message().await.unwrap().status(), 200);
        // Longer than a silent connection keeps its buffers.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        // The rest of the body, however it looks, is no request.
        raw.write(format!("GET /no HTTP/1.1\r\nHost: {API}\r\n\r\n"))
            .await;
        raw.finish().await;
        let rest = raw.rest_text().await;
        assert!(!rest.contains("403"), "{framing:?}: {rest}");
    }
    assert!(gateway.records().iter().all(|line| line["path"] != "/no"));
}

/// The next frame: kind, flags, stream, payload.
async fn next_frame(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    let read = tests::wait::within("a frame", stream.read_exact(&mut head)).await;
    read.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).await.ok()?;
    let id = u32::from_be_bytes(head[5..9].try_into().unwrap());
    Some((head[3], head[4], id, payload))
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_not_reset_under_its_answer() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    const DATA: u8 = 0;
    const RST_STREAM: u8 = 3;
    const PING: u8 = 6;
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    for (path, status) in [("/no", 403), ("/a%00", 400)] {
        let (mut stream, _) = gateway.client(API).connect(b"\x02h2").await.unwrap();
        // POST https://api.example.test, not over.
        let mut block = vec![0x83, 0x87, 0x04, u8::try_from(path.len()).unwrap()];
        block.extend_from_slice(path.as_bytes());
        block.extend_from_slice(&[0x01, 16]);
        block.extend_from_slice(API.as_bytes());
        stream.write_all(PREFACE).await.unwrap();
        stream.write_all(&frame(1, 4, 1, &block)).await.unwrap();
        // The answer is over, and then comes the rest of the request.
        loop {
            let (kind, flags, id, _) = next_frame(&mut stream).await.unwrap();
            assert_ne!(kind, RST_STREAM, "{path}");
            if kind == DATA && id == 1 && flags & 1 == 1 {
                break;
            }
        }
        stream
            .write_all(&frame(DATA, 0, 1, b"hello"))
            .await
            .unwrap();
        stream
            .write_all(&frame(DATA, 1, 1, b"world"))
            .await
            .unwrap();
        stream.write_all(&frame(PING, 0, 0, &[7; 8])).await.unwrap();
        loop {
            let (kind, flags, _, _) = next_frame(&mut stream).await.unwrap();
            assert_ne!(kind, RST_STREAM, "{path}");
            if kind == PING && flags == 1 {
                break;
            }
        }
        // What does not come is not waited for without end, and that is no error.
        stream.write_all(&frame(1, 4, 3, &block)).await.unwrap();
        let code = loop {
            let (kind, _, id, payload) = next_frame(&mut stream).await.unwrap();
            if kind == RST_STREAM && id == 3 {
                break payload;
            }
        };
        assert_eq!(code, [0; 4], "{path}");
        let record = gateway.record(path, |line| line["status"] == status);
        assert_eq!(record["http"], "HTTP/2");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_cannot_be_read_are_answered_and_logged_as_all_others() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let many: String = (0..120).map(|index| format!("x-{index}: 1\r\n")).collect();
    let large = format!("x-large: {}\r\n", "a".repeat(100_000));
    let host = format!("Host: {API}\r\n");
    for (what, head, status, method, path) in [
        (
            "many headers",
            format!("GET /many?q=1 HTTP/1.1\r\n{host}{many}\r\n"),
            431,
            "GET",
            "/many",
        ),
        (
            "a large head",
            format!("GET /large HTTP/1.1\r\n{host}{large}\r\n"),
            431,
            "GET",
            "/large",
        ),
        (
            "a bad target",
            format!("GET /a\0b HTTP/1.1\r\n{host}\r\n"),
            400,
            "GET",
            "",
        ),
        (
            "a bad method",
            format!("G@T / HTTP/1.1\r\n{host}\r\n"),
            400,
            "",
            "",
        ),
        (
            "a bad version",
            format!("GET /version HTTP/7.7\r\n{host}\r\n"),
            505,
            "GET",
            "/version",
        ),
        (
            "no colon",
            format!("GET /colon HTTP/1.1\r\n{host}nonsense\r\n\r\n"),
            400,
            "GET",
            "/colon",
        ),
        (
            "a bad length",
            format!("POST /l HTTP/1.1\r\n{host}Content-Length: x\r\n\r\n"),
            400,
            "POST",
            "/l",
        ),
    ] {
        for after_another in [false, true] {
            let mut raw = gateway.client(API).raw().await.unwrap();
            if after_another {
                raw.write(format!("GET /fine HTTP/1.1\r\n{host}\r\n")).await;
                assert_eq!(raw.message().await.unwrap().status(), 200, "{what}");
            }
            raw.write(&head).await;
            let answer = raw.message().await.unwrap();
            assert_eq!(answer.status(), status, "{what}: {answer:?}");
            assert_eq!(answer.header("connection"), "close", "{what}");
            let id = answer.header("x-request-id");
            assert_eq!(id.len(), 32, "{what}: {answer:?}");
            assert!(answer.text().contains(id), "{what}: {answer:?}");
            assert!(raw.rest().await.is_empty(), "{what}");
            let record = gateway.record(what, |line| line["request_id"] == id);
            assert_eq!(record["status"], status, "{what}: {record}");
            assert_eq!(record["error"], "bad_http", "{what}: {record}");
            assert_eq!(record["host"], API, "{what}: {record}");
            assert_eq!(record["client_cert"]["reason"], "not_presented", "{record}");
            assert!(record["detail"].is_string(), "{what}: {record}");
            let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
            if !path.is_empty() || method.is_empty() {
                assert_eq!(
                    (&*text("method"), &*text("path")),
                    (method, path),
                    "{record}"
                );
            }
        }
    }
    // Behind a pipelined request the log has its line, too.
    let before = gateway.records().len();
    let mut raw = gateway.client(API).raw().await.unwrap();
    raw.write(format!(
        "GET /fine HTTP/1.1\r\n{host}\r\nGET / HTTP/7.7\r\n{host}\r\n"
    ))
    .await;
    let all = raw.rest_text().await;
    assert!(
        all.contains("200 OK") && all.contains("505 HTTP Version Not Supported"),
        "{all}"
    );
    let line = tests::wait::until("the line", || {
        let records = gateway.records();
        let mut later = records.into_iter().skip(before);
        later.find(|line| line["error"] == "bad_http")
    });
    assert_eq!(line["status"], 505);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_looks_like_an_answer_of_the_librarys_is_left_alone() {
    const LOOKS: &[u8] =
        b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let origin = Origin::raw(|mut stream, _| async move {
        while tests::origin::read_head(&mut stream).await.is_some() {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                3 * LOOKS.len()
            );
            drop(stream.write_all(head.as_bytes()).await);
            for _ in 0..3 {
                drop(stream.write_all(LOOKS).await);
                drop(stream.flush().await);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let gateway = gateway(&origin);
    let mut raw = gateway.client(API).raw().await.unwrap();
    for _ in 0..3 {
        raw.write(format!("GET /x HTTP/1.1\r\nHost: {API}\r\n\r\n"))
            .await;
        assert_eq!(raw.message().await.unwrap().body, LOOKS.repeat(3));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_speaks_its_own_version() {
    let sized = Origin::saying(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", true);
    let endless = Origin::saying(b"HTTP/1.0 200 OK\r\nX-Old: 1\r\n\r\nendless", true);
    let old_404 = Origin::saying(
        b"HTTP/1.0 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
        true,
    );
    for (origin, status, text) in [
        (&sized, 200, "ok"),
        (&endless, 200, "endless"),
        (&old_404, 404, "no"),
    ] {
        let gateway = gateway(origin);
        let mut raw = gateway.client(API).raw().await.unwrap();
        for _ in 0..3 {
            raw.write(format!("GET /x HTTP/1.1\r\nHost: {API}\r\n\r\n"))
                .await;
            let answer = raw.message().await.unwrap();
            assert!(answer.head.starts_with("HTTP/1.1 "), "{}", answer.head);
            assert_eq!((answer.status(), &*answer.text()), (status, text));
            assert_eq!(answer.header("connection"), "", "{}", answer.head);
        }
        // Old clients get what they can read, and are told whether they may go on.
        for (asked, kept) in [
            ("", false),
            ("Connection: keep-alive\r\n", text != "endless"),
        ] {
            let mut raw = gateway.client(API).raw().await.unwrap();
            raw.write(format!("GET /x HTTP/1.0\r\nHost: {API}\r\n{asked}\r\n"))
                .await;
            let answer = raw.message().await.unwrap();
            assert!(answer.head.starts_with("HTTP/1.1 "), "{}", answer.head);
            assert_eq!(answer.header("transfer-encoding"), "", "{}", answer.head);
            assert_eq!((answer.status(), &*answer.text()), (status, text));
            let said = answer
                .header("connection")
                .eq_ignore_ascii_case("keep-alive");
            assert_eq!(said, kept, "{asked:?}: {}", answer.head);
            if kept {
                raw.write(format!("GET /x HTTP/1.0\r\nHost: {API}\r\n\r\n"))
                    .await;
                assert_eq!(raw.message().await.unwrap().text(), text);
            }
            assert!(raw.rest().await.is_empty(), "{asked:?}: {text}");
        }
        let over_http2 = gateway.client(API).http2().await.unwrap();
        assert_eq!(over_http2.get("/x").await.unwrap().text(), text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_ends_with_trailers_is_whole() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let trailing = "Transfer-Encoding: chunked\r\nTE: trailers\r\nTrailer: x-sum\r\n";
    // /mirror answers with trailers, and a chunked request ends with some.
    let mut raw = gateway.client(API).raw().await.unwrap();
    for index in 0..3 {
        raw.write(format!(
            "POST /mirror/{index} HTTP/1.1\r\nHost: {API}\r\n{trailing}\r\n\
             5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n"
        ))
        .await;
        let answer = raw.message().await.unwrap();
        assert_eq!((answer.status(), &*answer.text()), (200, "hello"));
        assert!(answer.trailers.contains("x-mirrored"), "{answer:?}");
    }
    let http2 = gateway.client(API).http2().await.unwrap();
    let mut request = http2.request("/mirror/http2", tests::client::body(""));
    let trailers = http::HeaderValue::from_static("trailers");
    request.headers_mut().insert("te", trailers);
    let answer = http2.send(request).await.unwrap();
    assert_eq!(answer.trailers["x-mirrored"], "yes");
    for name in ["0", "1", "2", "http2"] {
        let record = gateway.request_record(&format!("/mirror/{name}"));
        assert!(record["error"].is_null(), "{record}");
    }
    assert_eq!(
        origin.connections(),
        1,
        "and the connection was of use again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_are_counted_on_the_side_that_they_are_of() {
    let origin = Origin::raw(|mut stream, _| async move {
        while let Some(head) = tests::origin::read_head(&mut stream).await {
            if head.starts_with("GET /cut") {
                let part = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart";
                drop(stream.write_all(part).await);
                return;
            }
            drop(
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
                    .await,
            );
            let zeros = vec![0; 1 << 16];
            while stream.write_all(&zeros).await.is_ok() {}
        }
    });
    let gateway = gateway(&origin);
    let mut raw = gateway.client(API).raw().await.unwrap();
    raw.write(format!("GET /left HTTP/1.1\r\nHost: {API}\r\n\r\n"))
        .await;
    assert_eq!(raw.take(20_000).await.len(), 20_000);
    drop(raw);
    let record = gateway.request_record("/left");
    assert_eq!(
        (&record["status"], &record["error"]),
        (&json!(200), &json!("client_gone"))
    );
    let mut raw = gateway.client(API).raw().await.unwrap();
    raw.write(format!(
        "POST /up HTTP/1.1\r\nHost: {API}\r\nContent-Length: 9\r\n\r\n123"
    ))
    .await;
    raw.finish().await;
    drop(raw);
    let record = gateway.request_record("/up");
    assert_eq!(record["error"], "client_gone", "{record}");
    let metrics = gateway.admin.get("/metrics").body;
    let count = |name: &str, reason: &str| {
        metrics.contains(&format!("{name}{{host=\"{API}\",reason=\"{reason}\"}}"))
    };
    assert!(
        count("postern_client_errors_total", "client_gone"),
        "{metrics}"
    );
    assert!(
        !metrics.contains("postern_origin_errors_total{"),
        "{metrics}"
    );
    let mut raw = gateway.client(API).raw().await.unwrap();
    raw.write(format!("GET /cut HTTP/1.1\r\nHost: {API}\r\n\r\n"))
        .await;
    drop(raw.message().await);
    let record = gateway.request_record("/cut");
    assert_eq!(record["error"], "response_cut", "{record}");
    let metrics = gateway.admin.get("/metrics").body;
    let cut = format!("postern_origin_errors_total{{host=\"{API}\",reason=\"response_cut\"}} 1");
    assert!(metrics.contains(&cut), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_answered_as_calls_are() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let busy = json!({ "action": "block", "expression": "http.request.uri.path eq \"/busy\"",
        "action_parameters": { "response": { "status_code": 429,
            "content_type": "application/json", "content": "{\"a\": \"b\"}" } } });
    let _rule = gateway.rule(&busy);
    let said = json!({ "action": "block", "expression": "http.request.uri.path eq \"/said\"",
        "action_parameters": { "response": { "status_code": 403,
            "content_type": "text/plain", "content": "not today: 100% caf\u{e9}" } } });
    let _rule = gateway.rule(&said);
    let permission_denied = ("7", "This request was refused");
    for (host, path, content_type, expected) in [
        (API, "/no", "application/grpc", Some(permission_denied)),
        (
            API,
            "/no",
            "application/grpc+proto",
            Some(permission_denied),
        ),
        (
            API,
            "/said",
            "application/grpc",
            Some(("7", "not today: 100%25 caf%C3%A9")),
        ),
        (
            API,
            "/busy",
            "application/grpc",
            Some(("8", "Too Many Requests")),
        ),
        (
            API,
            "/a%00",
            "application/grpc",
            Some(("3", "the path has an encoded NUL")),
        ),
        (
            "down.example.test",
            "/x",
            "application/grpc",
            Some(("14", "Bad Gateway")),
        ),
        (API, "/no", "application/grpc-web", None),
        (API, "/no", "application/json", None),
    ] {
        let http2 = gateway.client(host).http2().await.unwrap();
        let mut request = http2.request(path, tests::client::body("\0\0\0\0\0"));
        *request.method_mut() = http::Method::POST;
        let content_type = http::HeaderValue::from_static(content_type);
        request
            .headers_mut()
            .insert("content-type", content_type.clone());
        let answer = http2.send(request).await.unwrap();
        let Some((code, message)) = expected else {
            assert_eq!(answer.status, 403, "{answer:?}");
            assert!(!answer.headers.contains_key("grpc-status"), "{answer:?}");
            continue;
        };
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert_eq!(answer.header("content-type"), "application/grpc", "{path}");
        assert_eq!(answer.header("grpc-status"), code, "{path}: {answer:?}");
        let told = answer.header("grpc-message");
        assert!(told.starts_with(message), "{path}: {answer:?}");
        assert!(
            answer.body.is_empty() && answer.trailers.is_empty(),
            "{answer:?}"
        );
        // What it means is in the log.
        let id = answer.header("x-request-id");
        let record = gateway.record(path, |line| line["request_id"] == id);
        assert!(
            record["status"].as_u64().unwrap() >= 400,
            "{path}: {record}"
        );
    }
    // HTTP/1.1 has no calls.
    let mut http1 = gateway.client(API).http1().await.unwrap();
    let request = http::Request::post("/no")
        .header("host", API)
        .header("content-type", "application/grpc");
    let answer = http1
        .send(request.body(tests::client::body("")).unwrap())
        .await;
    assert_eq!(answer.unwrap().status, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_may_send_everything_before_it_reads() {
    const BYTES: usize = 32 << 20;
    // Answers before it has read, and reads whether its answer is taken or not.
    let origin = Origin::raw(|mut stream, _| async move {
        drop(tests::origin::read_head(&mut stream).await);
        let (mut from, mut to) = stream.into_split();
        let answering = tokio::spawn(async move {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n");
            to.write_all(head.as_bytes()).await.unwrap();
            drop(to.write_all(&vec![b'x'; BYTES]).await);
            to
        });
        let mut taken = 0;
        let mut buffer = vec![0; 1 << 16];
        while taken < BYTES {
            match from.read(&mut buffer).await {
                Ok(count) if count > 0 => taken += count,
                _ => break,
            }
        }
        drop(answering.await);
    });
    let gateway = gateway(&origin);
    let mut raw = gateway.client(API).raw().await.unwrap();
    raw.write(format!(
        "POST /all HTTP/1.1\r\nHost: {API}\r\nContent-Length: {BYTES}\r\n\r\n"
    ))
    .await;
    let piece = "y".repeat(1 << 20);
    let sending = async {
        for _ in 0..BYTES / piece.len() {
            raw.write(&*piece).await;
        }
    };
    let sent = tokio::time::timeout(Duration::from_secs(30), sending).await;
    assert!(sent.is_ok(), "the rest of the request is not taken");
    let answer = raw.message().await.unwrap();
    assert_eq!((answer.status(), answer.text().len()), (200, BYTES));
}
