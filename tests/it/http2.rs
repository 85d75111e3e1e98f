//! HTTP/2: many streams at once, streaming both ways, and clients that misuse it.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use serde_json::json;
use tests::client::{body, fed, gather};
use tests::{Gateway, Origin, Setup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn gateway(origin: &Origin) -> Gateway {
    Setup::new()
        .host("api.example.test", "off", &origin.url())
        .start()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_do_not_wait_for_each_other() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let http2 = gateway.client("api.example.test").http2().await.unwrap();
    let held: Vec<_> = (0..20)
        .map(|_| {
            let http2 = http2.clone();
            tokio::spawn(async move { http2.get("/hold").await })
        })
        .collect();
    origin.wait_held(20);
    for index in 0..20 {
        let answer = http2.get(&format!("/fast/{index}")).await.unwrap();
        assert_eq!(answer.json()["target"], format!("/fast/{index}"));
    }
    origin.release();
    for request in held {
        assert_eq!(request.await.unwrap().unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_many_streams_arrive_whole() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let http2 = gateway.client("api.example.test").http2().await.unwrap();
    let requests: Vec<_> = (1..=16_usize)
        .map(|index| {
            let http2 = http2.clone();
            tokio::spawn(async move {
                let sent = vec![u8::try_from(index).unwrap(); index * 50_000];
                let request = http2.request("/mirror", body(sent.clone()));
                assert_eq!(http2.send(request).await.unwrap().body, sent);
            })
        })
        .collect();
    for request in requests {
        request.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_unknown_length_arrives_whatever_the_method() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let http2 = gateway.client("api.example.test").http2().await.unwrap();
    for method in ["GET", "POST", "OPTIONS"] {
        let (sender, stream) = fed();
        let mut request = http2.request("/mirror", stream);
        *request.method_mut() = method.parse().unwrap();
        let answer = tokio::spawn({
            let http2 = http2.clone();
            async move { http2.send(request).await.unwrap() }
        });
        sender
            .send(Frame::data(Bytes::from_static(b"hello")))
            .await
            .unwrap();
        drop(sender);
        assert_eq!(answer.await.unwrap().text(), "hello", "{method}");
    }
}

/// The same call over every pair of protocols towards the origin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_streaming_call_goes_both_ways_at_once() {
    let http1 = Origin::echo();
    let http2 = Origin::echo_http2();
    let gateway = Setup::new()
        .host("one.example.test", "off", &http1.url())
        .host_with(
            "two.example.test",
            "off",
            &json!({ "url": http2.url(), "protocol": "http2" }),
        )
        .start();
    for host in ["one.example.test", "two.example.test"] {
        let connection = gateway.client(host).http2().await.unwrap();
        let (feed, content) = fed();
        let mut request = connection.request("/mirror/echo.Echo/Chat", content);
        *request.method_mut() = http::Method::POST;
        request
            .headers_mut()
            .insert("content-type", "application/grpc".parse().unwrap());
        request
            .headers_mut()
            .insert("te", "trailers".parse().unwrap());
        feed.send(Frame::data(Bytes::from_static(b"\0\0\0\0\x01a")))
            .await
            .unwrap();
        let mut response = connection.begin(request).await.unwrap();
        assert_eq!(response.status(), 200, "{host}");
        // Each message comes back before the next one is sent: nothing is held back.
        for index in 0..50_u8 {
            let sent = Bytes::from(vec![0, 0, 0, 0, 1, index]);
            let mut got = Vec::new();
            let expected = if index == 0 {
                Bytes::from_static(b"\0\0\0\0\x01a")
            } else {
                sent.clone()
            };
            if index > 0 {
                feed.send(Frame::data(sent)).await.unwrap();
            }
            while got.len() < expected.len() {
                let frame = tests::wait::within("a message", response.body_mut().frame()).await;
                got.extend_from_slice(&frame.unwrap().unwrap().into_data().unwrap());
            }
            assert_eq!(got, expected, "{host}: message {index}");
        }
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-sum", "42".parse().unwrap());
        feed.send(Frame::trailers(trailers)).await.unwrap();
        drop(feed);
        let end = gather(response, connection.local).await.unwrap();
        assert_eq!(end.trailers["grpc-status"], "0", "{host}");
        assert_eq!(end.trailers["x-mirrored"], "yes", "{host}");
        if host.starts_with("two") {
            assert_eq!(
                end.trailers["x-sum"], "42",
                "the request's trailers reached the origin"
            );
        }
    }
    assert_eq!(http2.requests()[0]["version"], "HTTP/2.0");
    assert_eq!(http2.requests()[0]["headers"]["te"], json!(["trailers"]));
    assert_eq!(http2.requests()[0]["authority"], "two.example.test");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_heads_are_kept() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .set("limit.header_bytes", "16k")
        .set("limit.header_count", "50")
        .host("api.example.test", "off", &origin.url())
        .start();
    let http2 = gateway.client("api.example.test").http2().await.unwrap();
    for (count, bytes, good) in [
        (10, 100, true),
        (1, 12_000, true),
        (1, 20_000, false),
        (40, 1_000, false),
    ] {
        let mut request = http2.request("/x", body(""));
        for index in 0..count {
            let name = http::HeaderName::from_bytes(format!("x-{index}").as_bytes()).unwrap();
            request
                .headers_mut()
                .insert(name, "a".repeat(bytes).parse().unwrap());
        }
        let outcome = http2.send(request).await;
        let status = outcome.as_ref().map_or(0, |answer| answer.status);
        let what = format!("{count} headers of {bytes} bytes: {outcome:?}");
        if good {
            assert_eq!(status, 200, "{what}");
        } else {
            assert!(matches!(status, 0 | 431), "{what}");
        }
    }
    assert_eq!(origin.requests().len(), 2);
    let again = gateway
        .client("api.example.test")
        .get("/after")
        .await
        .unwrap();
    assert_eq!(again.status, 200);
}

/// A frame as RFC 9113 §4.1 lays it out.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// `GET https://api.example.test/attack`, without Huffman or dynamic entries.
fn request_block() -> Vec<u8> {
    let mut block = vec![0x82, 0x87, 0x04, 7];
    block.extend_from_slice(b"/attack");
    block.extend_from_slice(&[0x01, 16]);
    block.extend_from_slice(b"api.example.test");
    block
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Writes an attack, and answers the error code of the GOAWAY that ends it.
async fn attack(gateway: &Gateway, frames: Vec<u8>) -> Option<u32> {
    let (stream, _) = gateway
        .client("api.example.test")
        .connect(b"\x02h2")
        .await
        .unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let writer = tokio::spawn(async move {
        drop(write.write_all(PREFACE).await);
        drop(write.write_all(&frames).await);
        drop(write.flush().await);
        write
    });
    let read = async {
        let mut code = None;
        loop {
            let mut head = [0; 9];
            if read.read_exact(&mut head).await.is_err() {
                return code;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            if read.read_exact(&mut payload).await.is_err() {
                return code;
            }
            if head[3] == 7 {
                code = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
            }
        }
    };
    let code = tests::wait::within("the attacker to be thrown out", read).await;
    writer.abort();
    code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attackers_are_thrown_out_and_others_are_served() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let legitimate = gateway.client("api.example.test").http2().await.unwrap();
    let before = gateway.resident_kib();
    let block = request_block();
    let rapid_reset: Vec<u8> = (0..5_000_u32)
        .flat_map(|index| {
            let stream = 2 * index + 1;
            let mut pair = frame(1, 5, stream, &block);
            pair.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
            pair
        })
        .collect();
    // MadeYouReset (CVE-2025-8671): each stream is made to be reset by the server.
    let made_you_reset: Vec<u8> = (0..5_000_u32)
        .flat_map(|index| {
            let stream = 2 * index + 1;
            let mut pair = frame(1, 5, stream, &block);
            pair.extend(frame(8, 0, stream, &0_u32.to_be_bytes()));
            pair
        })
        .collect();
    let mut continuations = frame(1, 1, 1, &block);
    for _ in 0..20_000 {
        continuations.extend(frame(9, 0, 1, &[0x00, 1, b'a', 1, b'b']));
    }
    // An indexed reference to one large entry, again and again.
    let mut bomb = block.clone();
    bomb.extend_from_slice(&[0x40, 1, b'x', 0x7f, 0x81, 0x1e]);
    bomb.extend(vec![b'a'; 127 + 1 + 30 * 128]);
    bomb.extend(vec![0xbe; 10_000]);
    let oversized = frame(0, 0, 1, &vec![0; 20_000]);
    let nonsense = vec![0xff; 4_096];
    for (what, frames) in [
        ("rapid reset", rapid_reset),
        ("MadeYouReset", made_you_reset),
        ("endless CONTINUATION", continuations),
        ("a frame larger than allowed", oversized),
        ("nonsense", nonsense),
    ] {
        let code = attack(&gateway, frames).await;
        assert!(code.is_some_and(|code| code != 0), "{what}: {code:?}");
        assert_eq!(legitimate.get("/good").await.unwrap().status, 200, "{what}");
    }
    // The bomb does not have to end the connection, but must not cost what it unpacks to.
    let http2 = attack_once(&gateway, frame(1, 5, 1, &bomb)).await;
    assert!(http2 <= 1, "{http2}");
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < 48 * 1024, "the gateway grew by {grown} KiB");
    assert_eq!(legitimate.get("/good").await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_to_head_has_no_content() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "off", &origin.url())
        .block("http.request.uri.path eq \"/blocked\"")
        .start();
    let client = gateway.client("api.example.test");
    let http2 = client.http2().await.unwrap();
    for (path, status) in [("/blocked", 403), ("/a%00", 400), ("/fine", 200)] {
        let told = http2.get(path).await.unwrap();
        let mut head = http2.request(path, body(""));
        *head.method_mut() = http::Method::HEAD;
        let answer = http2.send(head).await.unwrap();
        assert_eq!((answer.status, told.status), (status, status), "{path}");
        assert!(answer.body.is_empty(), "{path}: {answer:?}");
        assert!(!answer.header("content-length").is_empty(), "{path}");
        let mut http1 = client.http1().await.unwrap();
        let head = http::Request::head(path).header("host", "api.example.test");
        let answer = http1.send(head.body(body("")).unwrap()).await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (status, 0), "{path}");
        assert_eq!(http1.get(path).await.unwrap().status, status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_that_an_origin_says_again_is_said_once() {
    for (answer, status, body, length) in [
        (
            &b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\nhi"[..],
            200,
            "hi",
            "2",
        ),
        (
            b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n",
            204,
            "",
            "",
        ),
    ] {
        let origin = Origin::saying(answer, false);
        let gateway = Setup::new()
            .host("api.example.test", "off", &origin.url())
            .start();
        let client = gateway.client("api.example.test");
        let over_http1 = client.get("/").await.unwrap();
        let over_http2 = client.http2().await.unwrap().get("/").await.unwrap();
        for told in [over_http1, over_http2] {
            assert_eq!((told.status, &*told.text()), (status, body));
            let said: Vec<_> = told.headers.get_all("content-length").iter().collect();
            let expected = Some(length).filter(|length| !length.is_empty());
            assert_eq!(said, expected.into_iter().collect::<Vec<_>>());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_no_answer_is_let_go() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .set("timeout.idle", "1s")
        .host("api.example.test", "off", &origin.url())
        .start();
    // A call that is silent for longer than that takes all there is.
    let quiet = gateway.client("api.example.test").http2().await.unwrap();
    let (feed, content) = fed();
    let mut call = quiet.request("/mirror", content);
    *call.method_mut() = http::Method::POST;
    let mut quiet_answer = quiet.begin(call).await.unwrap().into_body();
    let (stream, _) = gateway
        .client("api.example.test")
        .connect(b"\x02h2")
        .await
        .unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    drop(write.write_all(PREFACE).await);
    // SETTINGS_INITIAL_WINDOW_SIZE: nothing of any answer may be sent.
    drop(write.write_all(&frame(4, 0, 0, &[0, 4, 0, 0, 0, 0])).await);
    drop(write.write_all(&frame(1, 5, 1, &request_block())).await);
    let pings = tokio::spawn(async move {
        while write.write_all(&frame(6, 0, 0, &[0; 8])).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
    let mut rest = Vec::new();
    drop(tests::wait::within("the end", read.read_to_end(&mut rest)).await);
    pings.abort();
    let counted = "postern_connection_stops_total{stop=\"slow_reader\"} 1";
    let metrics = tests::wait::until(counted, || {
        let metrics = gateway.admin.get("/metrics").body;
        metrics.contains(counted).then_some(metrics)
    });
    let fed = feed
        .send(Frame::data(Bytes::from_static(b"still here")))
        .await;
    assert!(fed.is_ok(), "{metrics}");
    let said = quiet_answer.frame().await.unwrap().unwrap();
    assert_eq!(said.into_data().unwrap(), "still here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_are_bounded_and_sound_as_over_http1() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .set("limit.header_count", "20")
        .host("api.example.test", "off", &origin.url())
        .start();
    // Literal fields, which no library of ours would send.
    let literal = |name: &str, value: &str| {
        let mut field = vec![0, u8::try_from(name.len()).unwrap()];
        field.extend_from_slice(name.as_bytes());
        field.push(u8::try_from(value.len()).unwrap());
        field.extend_from_slice(value.as_bytes());
        field
    };
    let lengths = |all: &[&str]| -> Vec<(String, String)> {
        all.iter()
            .map(|length| ("content-length".to_owned(), (*length).to_owned()))
            .collect()
    };
    let numbered = |count| (0..count).map(|i| (format!("x-{i}"), "1".to_owned()));
    let crumbs = (0..50).map(|i| ("cookie".to_owned(), format!("c{i}=1")));
    for (what, fields, status) in [
        ("as many as allowed", numbered(20).collect(), 200),
        ("one too many", numbered(21).collect(), 431),
        ("many cookies", crumbs.collect::<Vec<_>>(), 200),
        (
            "a space before",
            vec![("x-role".into(), " admin".into())],
            400,
        ),
        (
            "a tab behind",
            vec![("x-role".into(), "admin\t".into())],
            400,
        ),
        ("empty", vec![("x-role".into(), String::new())], 200),
        ("one length", lengths(&["0"]), 200),
        ("a length twice", lengths(&["0", "0"]), 400),
    ] {
        let mut block = request_block();
        let before = gateway.records().len();
        for (name, value) in fields {
            block.extend(literal(&name, &value));
        }
        let client = gateway.client("api.example.test");
        let (mut stream, _) = client.connect(b"\x02h2").await.unwrap();
        drop(stream.write_all(PREFACE).await);
        drop(stream.write_all(&frame(1, 5, 1, &block)).await);
        let records = || gateway.records().into_iter().nth(before);
        let record = tests::wait::until("the record", records);
        drop(stream);
        assert_eq!(record["status"], status, "{what}: {record}");
    }
}

/// Writes frames and closes; answers how many requests reached anything.
async fn attack_once(gateway: &Gateway, frames: Vec<u8>) -> usize {
    let (mut stream, _) = gateway
        .client("api.example.test")
        .connect(b"\x02h2")
        .await
        .unwrap();
    drop(stream.write_all(PREFACE).await);
    drop(stream.write_all(&frames).await);
    drop(stream.shutdown().await);
    let mut rest = Vec::new();
    drop(tests::wait::within("the end", stream.read_to_end(&mut rest)).await);
    gateway
        .records()
        .iter()
        .filter(|line| line["path"] == "/attack" && line["status"] == 200)
        .count()
}
