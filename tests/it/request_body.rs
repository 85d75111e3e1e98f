//! `limit.request_body`, and a host's own bound: 413 before a byte is read where the length is said,
//! cut where it is not, and nothing of it looks whole to the origin.

use bytes::Bytes;
use http::{Method, Request};
use hyper::body::Frame;
use serde_json::json;
use tests::client::{Answer, body, fed};
use tests::refused::Refused;
use tests::{Client, Origin, Setup};

const HOST: &str = "api.example.test";
const WIDE: &str = "wide.example.test";
const BOUND: usize = 20_000;

/// Posts so many bytes over each protocol, with and without a length.
async fn posts(
    client: &Client,
    host: &str,
    bytes: usize,
) -> Vec<(String, Result<Answer, Refused>)> {
    let mut answers = Vec::new();
    let content = Bytes::from(vec![b'x'; bytes]);
    for sized in [true, false] {
        let path = format!("/sink/{bytes}/{sized}");
        let made = |http2: bool| {
            let (feed, fed) = fed();
            let content = content.clone();
            let body = if sized {
                drop(feed);
                body(content)
            } else {
                tokio::spawn(async move {
                    for start in (0..content.len()).step_by(1_000) {
                        let end = (start + 1_000).min(content.len());
                        // The gateway stops reading where it is too much.
                        if feed
                            .send(Frame::data(content.slice(start..end)))
                            .await
                            .is_err()
                        {
                            return;
                        }
                    }
                });
                fed
            };
            let target = if http2 {
                format!("https://{host}{path}")
            } else {
                path.clone()
            };
            let request = Request::builder().method(Method::POST).uri(target);
            let request = if http2 {
                request
            } else {
                request.header("host", host)
            };
            request.body(body).unwrap()
        };
        let mut http1 = client.http1().await.unwrap();
        answers.push((
            format!("HTTP/1.1, sized: {sized}"),
            http1.send(made(false)).await,
        ));
        let http2 = client.http2().await.unwrap();
        answers.push((
            format!("HTTP/2, sized: {sized}"),
            http2.send(made(true)).await,
        ));
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_too_large_gets_413_over_every_protocol() {
    let (one, two) = (Origin::echo(), Origin::echo_http2());
    let gateway = Setup::new()
        .set("limit.request_body", &BOUND.to_string())
        .host(HOST, "off", &one.url())
        .host_with(
            WIDE,
            "off",
            &json!({ "url": two.url(), "protocol": "http2" }),
        )
        .start();
    gateway.change_host(WIDE, &json!({ "request_body_max": 2 * BOUND }));
    for (host, bound, origin) in [(HOST, BOUND, &one), (WIDE, 2 * BOUND, &two)] {
        let client = gateway.client(host);
        for (how, answer) in posts(&client, host, bound).await {
            assert_eq!(answer.unwrap().json()["received"], bound, "{host} {how}");
        }
        let before = origin.requests().len();
        for (how, answer) in posts(&client, host, bound + 1).await {
            let answer = answer.unwrap();
            assert_eq!(answer.status, 413, "{host} {how}: {}", answer.text());
        }
        for sized in [true, false] {
            let path = format!("/sink/{}/{sized}", bound + 1);
            let record = gateway.request_record(&path);
            assert_eq!(record["error"], "request_body", "{record}");
            assert_eq!(record["status"], 413, "{record}");
        }
        let after = client.get("/after").await.unwrap();
        assert_eq!(after.status, 200, "{host}");
        for request in origin.requests().into_iter().skip(before) {
            assert!(
                request["received"].as_u64().unwrap() <= bound as u64,
                "{host}: no more than that reaches the origin: {request}"
            );
        }
    }
    let metrics = gateway.admin.get("/metrics").body;
    assert!(metrics.contains("reason=\"request_body\""), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_to_be_too_large_is_not_asked_for() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .set("limit.request_body", "10")
        .host(HOST, "off", &origin.url())
        .start();
    let mut raw = gateway.client(HOST).raw().await.unwrap();
    raw.write(format!(
        "POST /sink HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n"
    ))
    .await;
    let answer = raw.message().await.unwrap();
    assert_eq!(answer.status(), 413, "no 100 before it: {}", answer.head);
    assert_eq!(origin.requests().len(), 0);
    // A small remainder is read, and the connection serves the next request.
    let mut raw = gateway.client(HOST).raw().await.unwrap();
    raw.write(format!(
        "POST /sink HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 11\r\n\r\n01234567890"
    ))
    .await;
    assert_eq!(raw.message().await.unwrap().status(), 413);
    raw.write(format!("GET /next HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
        .await;
    assert_eq!(raw.message().await.unwrap().status(), 200);
    // A host that takes bodies of any size.
    gateway.change_host(HOST, &json!({ "request_body_max": 0 }));
    for (how, answer) in posts(&gateway.client(HOST), HOST, 100_000).await {
        assert_eq!(answer.unwrap().json()["received"], 100_000, "{how}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grpc_call_is_told_in_its_own_way() {
    let origin = Origin::echo_http2();
    let gateway = Setup::new()
        .set("limit.request_body", "1000")
        .host_with(
            HOST,
            "off",
            &json!({ "url": origin.url(), "protocol": "http2" }),
        )
        .start();
    let client = gateway.client(HOST).http2().await.unwrap();
    for length in [true, false] {
        let (feed, fed) = fed();
        let content = Bytes::from(vec![0; 1_001]);
        let content = if length {
            body(content)
        } else {
            tokio::spawn(async move { drop(feed.send(Frame::data(content)).await) });
            fed
        };
        let mut call = client.request("/sink", content);
        *call.method_mut() = Method::POST;
        call.headers_mut()
            .insert("content-type", "application/grpc".parse().unwrap());
        call.headers_mut().insert("te", "trailers".parse().unwrap());
        let answer = client.send(call).await.unwrap();
        assert_eq!(
            (answer.status, answer.header("grpc-status")),
            (200, "8"),
            "{answer:?}"
        );
    }
    // A call that was answered before it became too long is cut, not ended.
    let (feed, content) = fed();
    let mut call = client.request("/mirror", content);
    *call.method_mut() = Method::POST;
    call.headers_mut()
        .insert("content-type", "application/grpc".parse().unwrap());
    feed.send(Frame::data(Bytes::from_static(b"hello")))
        .await
        .unwrap();
    let response = client.begin(call).await.unwrap();
    assert_eq!(response.status(), 200);
    drop(feed.send(Frame::data(Bytes::from(vec![0; 1_000]))).await);
    let whole = tests::client::gather(response, client.local).await;
    assert!(whole.is_err(), "{whole:?}");
    let record = gateway.request_record("/mirror");
    assert_eq!(record["error"], "request_body", "{record}");
    assert_eq!(client.get("/after").await.unwrap().status, 200);
}

#[test]
fn the_command_says_it_in_words() {
    let gateway = Setup::new().host(HOST, "off", "http://127.0.0.1:9").start();
    let outcome = gateway.cli(&["host", "set", HOST, "--request-body", "10m"]);
    assert!(
        outcome.out.contains("10485760 bytes at most"),
        "{outcome:?}"
    );
    let outcome = gateway.cli(&["host", "set", HOST, "--request-body", "gateway"]);
    assert!(!outcome.out.contains("at most"), "{outcome:?}");
    let outcome = gateway.cli(&["host", "set", HOST, "--request-body", "much"]);
    assert!(outcome.err.contains("write bytes as in"), "{outcome:?}");
}
