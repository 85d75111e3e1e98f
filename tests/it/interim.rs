//! What an origin says before it answers: 103 with what a page will need (RFC 8297), and the like.

use std::process::Command;

use serde_json::json;
use tests::frames::{self, PREFACE, frame};
use tests::gateway::ZONE;
use tests::tool::{has, run};
use tests::wait::within;
use tests::{Gateway, Origin, Setup};
use tokio::io::AsyncWriteExt;

const HOST: &str = "api.example.test";

fn gateway(origin: &Origin) -> Gateway {
    Setup::new().host(HOST, "off", &origin.url()).start()
}

const HINTS: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n\
    HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n\
    HTTP/1.1 102 Processing\r\n\r\n\
    HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// How many heads come on stream 1, and whether the last frame ends it.
async fn heads(gateway: &Gateway) -> (usize, bool) {
    let (mut stream, _) = gateway.client(HOST).connect(b"\x02h2").await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    let request = frame(frames::HEADERS, 5, 1, &frames::get(HOST, "/page"));
    stream.write_all(&request).await.unwrap();
    let mut heads = 0;
    let all = async {
        while let Some(came) = frames::read(&mut stream).await {
            heads += usize::from(came.kind == frames::HEADERS);
            if came.stream == 1 && came.flags & 1 != 0 {
                return true;
            }
        }
        false
    };
    let ended = within("the answer", all).await;
    (heads, ended)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_origin_says_first_reaches_clients() {
    let origin = Origin::saying(HINTS, false);
    let gateway = gateway(&origin);
    // 103, 102 and the answer: 100 is between us and the origin.
    assert_eq!(heads(&gateway).await, (3, true));
    if !has("nghttp") {
        return;
    }
    let url = format!("https://{}/page", gateway.address);
    let host = format!(":authority: {HOST}");
    let seen = run(Command::new("nghttp").args(["-v", "--no-dep", "-H", &host, &url])).out;
    for expected in [
        ":status: 103",
        "link: </a.css>; rel=preload",
        ":status: 102",
        ":status: 200",
    ] {
        assert!(seen.contains(expected), "{expected}: {seen}");
    }
    assert!(!seen.contains("x-hop"), "{seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_says_more_than_it_answers_is_bounded() {
    let mut said = Vec::new();
    for _ in 0..12 {
        said.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n");
    }
    said.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let origin = Origin::saying(said.leak(), false);
    let (heads, ended) = heads(&gateway(&origin)).await;
    assert!(ended && heads <= 9, "{heads}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_rules_hold_for_what_is_said_first() {
    let origin = Origin::saying(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-Secret: inside\r\n\r\n\
          HTTP/1.1 103 Early Hints\r\nServer: inside/1.0\r\n\r\n\
          HTTP/1.1 200 OK\r\nX-Secret: inside\r\nContent-Length: 2\r\n\r\nok",
        false,
    );
    let gateway = gateway(&origin);
    let rule = json!({
        "action": "rewrite",
        "expression": "true",
        "action_parameters": {"headers": {
            "X-Secret": {"operation": "remove"},
            "Server": {"operation": "set", "value": "edge"},
            "X-More": {"operation": "add", "value": "1"},
        }},
    });
    let zone = gateway.zone_id(ZONE);
    let path = format!(
        "/client/v4/zones/{zone}/rulesets/phases/http_response_headers_transform/entrypoint"
    );
    drop(
        gateway
            .admin
            .call("PUT", &path, &json!({ "rules": [rule] }))
            .result(),
    );
    let mut raw = gateway.client(HOST).raw().await.unwrap();
    raw.write(format!("GET /page HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
        .await;
    let mut heads = Vec::new();
    while heads.len() < 3 {
        heads.push(raw.message().await.unwrap());
    }
    let said = |name: &str| {
        heads
            .iter()
            .map(|head| head.header(name))
            .collect::<Vec<_>>()
    };
    assert_eq!(said("x-secret"), ["", "", ""]);
    assert_eq!(said("server"), ["", "edge", "edge"]);
    assert_eq!(said("x-more"), ["", "", "1"]);
    assert_eq!(said("link"), ["</a.css>; rel=preload", "", ""]);
}

/// A client of HTTP/1.1 gets one answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_over_http1_is_whole() {
    let origin = Origin::saying(HINTS, false);
    let gateway = gateway(&origin);
    let answer = gateway.client(HOST).get("/page").await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert_eq!(gateway.request_record("/page")["status"], json!(200));
}
