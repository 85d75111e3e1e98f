//! Bounds that hold for both protocols and in both directions, and what is said when one is
//! passed: nothing is dropped in silence.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tests::client::Body;
use tests::{Gateway, Origin, Setup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const API: &str = "api.example.test";

/// So many bytes of fields, a kilobyte each.
fn fields(bytes: usize) -> HeaderMap {
    (0..bytes / 1_000)
        .map(|index| {
            let name = HeaderName::from_bytes(format!("x-{index}").as_bytes()).unwrap();
            (name, HeaderValue::from_str(&"a".repeat(1_000)).unwrap())
        })
        .collect()
}

/// A body of one byte, then these trailers.
struct Trailing(u8, Option<HeaderMap>);

impl http_body::Body for Trailing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = match self.0 {
            0 => self.1.take().map(Frame::trailers),
            _ => Some(Frame::data(Bytes::from_static(b"x"))),
        };
        self.0 = 0;
        std::task::Poll::Ready(frame.map(Ok))
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let (kind, bytes) = path[1..].split_once('/').unwrap_or(("", "0"));
    let bytes = bytes.parse().unwrap_or(0);
    let got = request.into_body().collect().await;
    let got = got.map_or(0, |got| got.trailers().map_or(0, HeaderMap::len));
    let mut response = Response::new(Trailing(1, None).boxed());
    match kind {
        "headers" => response.headers_mut().extend(fields(bytes)),
        "trailers" => {
            let fields = fields(bytes);
            // Over HTTP/1.1 hyper sends those only that are announced.
            let names: Vec<&str> = fields.keys().map(HeaderName::as_str).collect();
            let names = HeaderValue::from_str(&names.join(",")).unwrap();
            response.headers_mut().insert("trailer", names);
            *response.body_mut() = Trailing(1, Some(fields)).boxed();
        }
        "many" => {
            for index in 0..bytes {
                let name = HeaderName::from_bytes(format!("x-{index}").as_bytes()).unwrap();
                let value = HeaderValue::from_static("1");
                response.headers_mut().insert(name, value);
            }
        }
        _ => {}
    }
    let got = HeaderValue::from(got);
    response.headers_mut().insert("x-got", got);
    Ok(response)
}

fn origin(http2: bool) -> Origin {
    Origin::raw(move |stream, _| async move {
        let io = TokioIo::new(stream);
        if http2 {
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder.max_header_list_size(1 << 20);
            drop(builder.serve_connection(io, service_fn(answer)).await);
        } else {
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.max_header_size(1 << 20);
            drop(builder.serve_connection(io, service_fn(answer)).await);
        }
    })
}

fn gateway(origins: [&Origin; 2], count: &str) -> Gateway {
    let [one, two] = origins;
    Setup::new()
        .set("limit.header_count", count)
        .host(API, "off", &one.url())
        .host_with(
            "two.example.test",
            "off",
            &json!({ "url": two.url(), "protocol": "http2" }),
        )
        .start()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bound_for_both_protocols_and_both_directions() {
    let (one, two) = (origin(false), origin(true));
    let gateway = gateway([&one, &two], "100");
    for host in [API, "two.example.test"] {
        let http2 = gateway.client(host).http2().await.unwrap();
        let neighbour = || async { http2.get("/").await.unwrap().status };
        for (path, good) in [
            ("/headers/20000", true),
            ("/headers/50000", true),
            ("/headers/90000", false),
            ("/many/90", true),
            ("/many/120", false),
        ] {
            let answer = http2.get(path).await.unwrap();
            assert_eq!(answer.status, if good { 200 } else { 502 }, "{host}{path}");
            if !good {
                let record =
                    gateway.record(path, |line| line["path"] == path && line["host"] == host);
                assert_eq!(record["error"], "origin_response", "{record}");
            }
            assert_eq!(neighbour().await, 200, "{host}{path}");
        }
        for (bytes, good) in [(40_000, true), (60_000, true), (90_000, false)] {
            // From the origin: there, or the answer is broken, and not whole without them.
            let path = format!("/trailers/{bytes}");
            let mut request = http2.request(&path, tests::client::body(""));
            let trailers = HeaderValue::from_static("trailers");
            request.headers_mut().insert("te", trailers);
            let answer = http2.send(request).await;
            if good {
                let answer = answer.unwrap();
                assert_eq!(answer.trailers.len(), bytes / 1_000, "{host}{path}");
            } else {
                assert!(answer.is_err(), "{host}{path}: {answer:?}");
                let record =
                    gateway.record(&path, |line| line["path"] == *path && line["host"] == host);
                assert_eq!(record["error"], "response_cut", "{record}");
                assert!(record["detail"].is_string(), "{record}");
            }
            assert_eq!(neighbour().await, 200, "{host}{path}");
            // From the client.
            let body = Trailing(1, Some(fields(bytes))).boxed();
            let mut request = http2.request(&format!("/got/{bytes}"), body);
            *request.method_mut() = http::Method::POST;
            request
                .headers_mut()
                .insert("trailer", HeaderValue::from_static("x-0"));
            let answer = http2.send(request).await.unwrap();
            assert_eq!(
                answer.status,
                if good { 200 } else { 431 },
                "{host} {bytes}"
            );
            if good && host != API {
                assert_eq!(answer.header("x-got"), (bytes / 1_000).to_string());
            }
            assert_eq!(neighbour().await, 200, "{host} {bytes}");
        }
        // A head that HTTP/1.1 would be refused for.
        let mut request = http2.request("/large", tests::client::body(""));
        request.headers_mut().extend(fields(80_000));
        let answer = http2.send(request).await.unwrap();
        assert_eq!(answer.status, 431, "{host}");
        let id = answer.header("x-request-id");
        let record = gateway.record("the large head", |line| line["request_id"] == id);
        assert_eq!(record["error"], "headers", "{record}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bounds_are_the_operators() {
    let (one, two) = (origin(false), origin(true));
    let gateway = gateway([&one, &two], "200");
    for host in [API, "two.example.test"] {
        let mut http1 = gateway.client(host).raw().await.unwrap();
        let request = format!("GET /many/120 HTTP/1.1\r\nHost: {host}\r\n\r\n");
        http1.write(request).await;
        let answer = http1.message().await.unwrap();
        assert_eq!(answer.status(), 200, "{host}: {}", answer.head);
        assert_eq!(answer.header("x-119"), "1", "{host}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_strangers_send_fills_no_log() {
    let (one, two) = (origin(false), origin(true));
    let gateway = gateway([&one, &two], "100");
    let (mut stream, _) = gateway.client(API).connect(b"\x02h2").await.unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(preface).await.unwrap();
    // PING ACKs that nothing was asked for, in pieces that are looked at one after the other.
    let ack = [0, 0, 8, 6, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    for _ in 0..20 {
        if stream.write_all(&ack.repeat(100)).await.is_err() {
            break;
        }
    }
    drop(stream.shutdown().await);
    let mut rest = Vec::new();
    drop(tests::wait::within("the end", stream.read_to_end(&mut rest)).await);
    let said = gateway.stderr();
    let lines = said.lines().filter(|line| line.contains("PING")).count();
    assert!(lines <= 50, "{lines} lines");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_breaks_tls_is_told_so() {
    let (one, two) = (origin(false), origin(true));
    let gateway = gateway([&one, &two], "100");
    for (what, protocols, before) in [
        ("at once", &b"\x08http/1.1"[..], String::new()),
        ("in a head", b"\x08http/1.1", "GET / HTTP/1.1\r\nHo".into()),
        (
            "in a body",
            b"\x08http/1.1",
            format!("POST / HTTP/1.1\r\nHost: {API}\r\nContent-Length: 9\r\n\r\n123"),
        ),
        (
            "in HTTP/2",
            b"\x02h2",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
        ),
    ] {
        for twelve in [true, false] {
            let client = gateway.client(API).tls(twelve);
            let (mut stream, _) = client.connect(protocols).await.unwrap();
            stream.write_all(before.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            // A record that no key made.
            let mut broken = vec![23, 3, 3, 0, 64];
            broken.extend([7; 64]);
            stream.get_mut().write_all(&broken).await.unwrap();
            let mut rest = Vec::new();
            let read = tests::wait::within("the end", stream.read_to_end(&mut rest)).await;
            let why = format!("{:?}", read.err()).to_lowercase();
            assert!(
                why.contains("bad_record_mac"),
                "{what}, 1.2: {twelve}: {why}"
            );
        }
    }
}
