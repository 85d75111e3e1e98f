//! Clients that send or take so little that somebody is held up for it, and those that may.

use std::time::Duration;

use http::HeaderValue;
use http_body::Frame;
use tests::client::fed;
use tests::frames::{HEADERS, PREFACE, SETTINGS, WINDOW_UPDATE, frame, get};
use tests::wait::within;
use tests::{Gateway, Origin, Setup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

const API: &str = "api.example.test";
/// Between two pieces.
const PAUSE: Duration = Duration::from_millis(50);

fn gateway(origin: &Origin) -> Gateway {
    Setup::new()
        .set("workers", "1")
        .set("limit.body_rate", "1k")
        .set("timeout.origin_response", "5s")
        .set("timeout.idle", "5s")
        .host(API, "off", &origin.url())
        .start()
}

fn count(gateway: &Gateway, wanted: &str) -> u64 {
    let metrics = gateway.admin.get("/metrics").body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(wanted));
    line.map_or(0, |count| count.trim().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_comes_too_slowly_gets_408() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let client = gateway.client(API);
    let mut raw = client.raw().await.unwrap();
    raw.write(format!(
        "POST /sink HTTP/1.1\r\nHost: {API}\r\nContent-Length: 1000000\r\n\r\n"
    ))
    .await;
    let answer = {
        let drip = async {
            loop {
                tokio::time::sleep(PAUSE).await;
                raw.write("x").await;
                let record = gateway.records().into_iter().next();
                if let Some(record) = record {
                    return record;
                }
            }
        };
        within("an answer to one who drips", drip).await
    };
    assert_eq!(answer["status"], 408, "{answer}");
    assert_eq!(answer["error"], "client_stalled", "{answer}");
    assert_eq!(raw.message().await.unwrap().status(), 408);
    // Over HTTP/2: as slowly, fast enough, and a call, which may.
    let http2 = client.http2().await.unwrap();
    let mut answers = JoinSet::new();
    for (bytes, kind, status) in [
        (1, "text/plain", 408),
        (200, "text/plain", 200),
        (1, "application/grpc", 200),
    ] {
        let (feed, content) = fed();
        let mut request = http2.request("/sink", content);
        *request.method_mut() = http::Method::POST;
        let kind = HeaderValue::from_static(kind);
        request.headers_mut().insert("content-type", kind);
        let sending = tokio::spawn(async move {
            // Twice as long as the time that it may be behind.
            for _ in 0..200 {
                tokio::time::sleep(PAUSE).await;
                if feed
                    .send(Frame::data(vec![b'x'; bytes].into()))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        });
        let http2 = http2.clone();
        answers.spawn(async move {
            let answer = http2.send(request).await.unwrap();
            assert_eq!(answer.status, status, "{bytes} {answer:?}");
            sending.abort();
        });
    }
    answers.join_all().await;
    let labels = format!("{{host=\"{API}\",reason=\"client_stalled\"}}");
    let counted = count(&gateway, &format!("postern_client_errors_total{labels}"));
    assert_eq!(counted, 2);
    assert_eq!(
        count(&gateway, &format!("postern_origin_errors_total{labels}")),
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_taken_too_slowly_is_cut() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let client = gateway.client(API);
    // HTTP/2, a byte of window at a time.
    let (stream, _) = client.connect(b"\x02h2").await.unwrap();
    let (mut reading, mut writing) = tokio::io::split(stream);
    drop(writing.write_all(PREFACE).await);
    drop(
        writing
            .write_all(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]))
            .await,
    );
    drop(
        writing
            .write_all(&frame(HEADERS, 5, 1, &get(API, "/source/100000")))
            .await,
    );
    let drip = tokio::spawn(async move {
        let window = frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes());
        while writing.write_all(&window).await.is_ok() {
            tokio::time::sleep(PAUSE).await;
        }
    });
    let mut all = Vec::new();
    drop(within("the end of one who drips", reading.read_to_end(&mut all)).await);
    drip.abort();
    let record = gateway.request_record("/source/100000");
    assert_eq!(record["error"], "client_gone", "{record}");
    // HTTP/1.1, a few bytes at a time of more than the kernel keeps.
    let (mut stream, _) = client.connect(b"\x08http/1.1").await.unwrap();
    let request = format!("GET /source/100000000 HTTP/1.1\r\nHost: {API}\r\n\r\n");
    drop(stream.write_all(request.as_bytes()).await);
    let drip = async {
        let mut few = [0; 10];
        while matches!(stream.read(&mut few).await, Ok(count) if count > 0) {
            tokio::time::sleep(PAUSE).await;
            if count(
                &gateway,
                "postern_connection_stops_total{stop=\"slow_reader\"}",
            ) == 2
            {
                return;
            }
        }
    };
    within("the end of one who drips", drip).await;
    let record = gateway.request_record("/source/100000000");
    assert_eq!(record["error"], "client_gone", "{record}");
    let of = |reason: &str, side: &str| {
        let name = format!("postern_{side}_errors_total{{host=\"{API}\",reason=\"{reason}\"}}");
        count(&gateway, &name)
    };
    assert_eq!(
        (of("client_gone", "client"), of("client_gone", "origin")),
        (2, 0)
    );
    assert_eq!(of("response_cut", "origin"), 0);
    // One who reads is served meanwhile.
    let large = client.get("/source/1000000").await.unwrap();
    assert_eq!(large.body.len(), 1_000_000);
}
