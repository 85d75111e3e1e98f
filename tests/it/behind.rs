//! What comes behind an answer, or beside it: the rest of a request that was answered early, content
//! where there is none, requests of clients that were told to go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tests::frames::{self, Came, DATA, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS, frame};
use tests::origin::read_head;
use tests::wait::{until, within};
use tests::{Gateway, Origin, Setup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const API: &str = "api.example.test";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn gateway(origin: &Origin, settings: &[(&str, &str)]) -> Gateway {
    let setup = Setup::new()
        .set("workers", "1")
        .host(API, "off", &origin.url())
        .block("http.request.uri.path eq \"/no\"");
    let set = |setup: Setup, (key, value): &(&str, &str)| setup.set(key, value);
    settings.iter().fold(setup, set).start()
}

/// An origin that answers each request at its head, and reads the body after a pause. Counts the bytes
/// of all bodies.
fn early(pause: Duration) -> (Origin, Arc<AtomicU64>) {
    let counted = Arc::<AtomicU64>::default();
    let count = counted.clone();
    let origin = Origin::raw(move |mut stream, _| {
        let count = count.clone();
        async move {
            while let Some(head) = read_head(&mut stream).await {
                if stream.write_all(OK).await.is_err() {
                    return;
                }
                tokio::time::sleep(pause).await;
                let head = head.to_ascii_lowercase();
                let length = head.split("content-length: ").nth(1);
                let length = length.and_then(|rest| rest.split('\r').next()?.parse().ok());
                let mut body = (&mut stream).take(length.unwrap_or(0));
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(bytes @ 1..) = body.read(&mut buffer).await {
                    count.fetch_add(bytes as u64, Ordering::SeqCst);
                }
            }
        }
    });
    (origin, counted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_an_upload_reaches_an_origin_that_answered_first() {
    // Longer than a silent connection keeps its buffers.
    let (origin, counted) = early(Duration::from_millis(2_500));
    let gateway = gateway(&origin, &[]);
    let mut sent = 0;
    let mut open = Vec::new();
    for pieces in [1_u64, 2, 5, 11, 24, 53, 96] {
        let length = pieces * 48 * 1024;
        let mut raw = gateway.client(API).raw().await.unwrap();
        let head =
            format!("POST /early HTTP/1.1\r\nHost: {API}\r\nContent-Length: {length}\r\n\r\n");
        sent += length;
        open.push(tokio::spawn(async move {
            raw.write(head).await;
            assert_eq!(raw.message().await.unwrap().status(), 200);
            for _ in 0..pieces {
                raw.write(vec![7; 48 * 1024]).await;
            }
            raw
        }));
    }
    until("all of it to arrive", || {
        (counted.load(Ordering::SeqCst) == sent).then_some(())
    });
    for raw in open {
        drop(raw.await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_behind_an_answer_begin_no_head() {
    let (origin, counted) = early(Duration::ZERO);
    let gateway = gateway(&origin, &[("timeout.header", "1s")]);
    let mut raw = gateway.client(API).raw().await.unwrap();
    let length = 8 * 50_000;
    raw.write(format!(
        "POST /early HTTP/1.1\r\nHost: {API}\r\nContent-Length: {length}\r\n\r\n"
    ))
    .await;
    assert_eq!(raw.message().await.unwrap().status(), 200);
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(350)).await;
        raw.write(vec![7; 50_000]).await;
    }
    until("all of it to arrive", || {
        (counted.load(Ordering::SeqCst) == length).then_some(())
    });
    raw.write(format!("GET /no HTTP/1.1\r\nHost: {API}\r\n\r\n"))
        .await;
    assert_eq!(raw.message().await.unwrap().status(), 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_cannot_go_on_says_close() {
    let origin = Origin::echo();
    let gateway = gateway(&origin, &[]);
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    let long = "x".repeat(200_000);
    for (what, path, rest, status) in [
        (
            "a bad chunk",
            "/sink",
            format!("{chunked}2\r\nok\r\nzz\r\n"),
            400,
        ),
        (
            "large trailers",
            "/sink",
            format!("{chunked}0\r\nX: {long}\r\n\r\n"),
            431,
        ),
        (
            "Expect on its second line",
            "/no",
            "Expect: nothing\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n".into(),
            403,
        ),
    ] {
        let mut raw = gateway.client(API).raw().await.unwrap();
        raw.write(format!("POST {path} HTTP/1.1\r\nHost: {API}\r\n{rest}"))
            .await;
        let answer = raw.message().await.unwrap();
        assert_eq!(answer.status(), status, "{what}: {answer:?}");
        assert_eq!(answer.header("connection"), "close", "{what}");
    }
}

/// An origin that answers at once, keeps its connection, and reads nothing more.
fn deaf() -> Origin {
    Origin::raw(|mut stream, _| async move {
        if read_head(&mut stream).await.is_some() {
            drop(stream.write_all(OK).await);
            std::future::pending::<()>().await;
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_answers_and_never_reads_holds_nobody_for_ever() {
    let origin = deaf();
    let gateway = gateway(&origin, &[("timeout.origin_response", "1s")]);
    let mut raw = gateway.client(API).raw().await.unwrap();
    let length = 64 << 20;
    raw.write(format!(
        "POST /early HTTP/1.1\r\nHost: {API}\r\nContent-Length: {length}\r\n\r\n"
    ))
    .await;
    assert_eq!(raw.message().await.unwrap().status(), 200);
    // As much as is taken.
    let sending = tokio::spawn(async move {
        for _ in 0..64 {
            raw.write(vec![0; 1 << 20]).await;
        }
        raw.rest().await
    });
    let rest = within("the connection to end", sending).await.unwrap();
    assert!(rest.is_empty(), "{} bytes", rest.len());
    until("its origin connection to go", || {
        let metrics = gateway.admin.get("/metrics").body;
        metrics
            .lines()
            .any(|line| line.starts_with("postern_origin_connections") && line.ends_with(" 0"))
            .then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_goes_on_behind_its_answer_counts() {
    let origin = deaf();
    let gateway = gateway(
        &origin,
        &[
            ("limit.client_origin_connections", "50"),
            ("timeout.origin_response", "15s"),
        ],
    );
    let mut statuses = Vec::new();
    let mut open = Vec::new();
    for _ in 0..2 {
        let (mut stream, _) = gateway.client(API).connect(b"\x02h2").await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        for index in 0..40 {
            // Each answer ends before its request does.
            let id = 2 * index + 1;
            let head = frame(HEADERS, 4, id, &frames::post(API, "/early"));
            stream.write_all(&head).await.unwrap();
            statuses.push(status_of(&mut stream, id).await);
        }
        open.push(stream);
    }
    let refused = statuses.iter().filter(|status| **status == 429).count();
    // Each connection may have one beside the share.
    assert!((28..=30).contains(&refused), "{statuses:?}");
    // They do not go on for ever.
    until("the share to be free", || {
        let (gateway, api) = (&gateway, API);
        let client = gateway.client(api);
        let handle = tokio::runtime::Handle::current();
        let answer = tokio::task::block_in_place(|| handle.block_on(client.get("/free")));
        (answer.unwrap().status == 200).then_some(())
    });
    drop(open);
}

/// The status of the answer on a stream, by static entries and literals of the length three.
async fn status_of(stream: &mut (impl tokio::io::AsyncRead + Unpin), id: u32) -> u16 {
    loop {
        let came = within("a frame", frames::read(stream)).await.unwrap();
        if came.stream != id || came.kind != HEADERS {
            continue;
        }
        return match came.payload.first() {
            Some(0x88) => 200,
            Some(0x89) => 204,
            Some(_) => {
                let huffman = came.payload.get(1).is_some_and(|length| length & 0x80 != 0);
                // 429, and nothing else that is expected here.
                if huffman { 429 } else { 0 }
            }
            None => 0,
        };
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_hear_goodbye_is_left() {
    let origin = Origin::echo();
    let mut gateway = gateway(&origin, &[("timeout.drain", "60s")]);
    // Something else is under way for as long as this takes.
    let busy = gateway.client(API).http2().await.unwrap();
    let held = tokio::spawn({
        let busy = busy.clone();
        async move { busy.get("/hold").await }
    });
    let mut deaf = Vec::new();
    for is_busy in [false, true] {
        let (mut stream, _) = gateway.client(API).connect(b"\x02h2").await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        let path = if is_busy { "/hold" } else { "/x" };
        let request = frame(HEADERS, 5, 1, &frames::get(API, path));
        stream.write_all(&request).await.unwrap();
        if !is_busy {
            assert_eq!(status_of(&mut stream, 1).await, 200);
        }
        deaf.push(stream);
    }
    origin.wait_held(2);
    gateway.signal("TERM");
    let mut with_request = deaf.pop().unwrap();
    let mut idle = deaf.pop().unwrap();
    // Neither answers the PING that comes with the GOAWAY.
    within("the idle one to be closed", async {
        while frames::read(&mut idle).await.is_some() {}
    })
    .await;
    let mut said = Vec::new();
    for id in (3..).step_by(2) {
        let request = frame(HEADERS, 5, id, &frames::get(API, "/again"));
        with_request.write_all(&request).await.unwrap();
        let came = answered(&mut with_request, id).await;
        said.push(came.kind);
        if came.kind == RST_STREAM {
            // REFUSED_STREAM: it may be sent elsewhere.
            assert_eq!(came.payload, 7_u32.to_be_bytes(), "{said:?}");
            break;
        }
        assert_eq!(came.kind, HEADERS, "{said:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    origin.release();
    // What was under way is served to its end.
    assert_eq!(status_of(&mut with_request, 1).await, 200);
    assert_eq!(held.await.unwrap().unwrap().status, 200);
    drop(busy);
    assert!(gateway.wait().success(), "{}", gateway.stderr());
}

/// The first frame of consequence on a stream.
async fn answered(stream: &mut (impl tokio::io::AsyncRead + Unpin), id: u32) -> Came {
    loop {
        let came = within("a frame", frames::read(stream)).await.unwrap();
        assert!(
            came.kind != GOAWAY || came.payload[4..8] == [0; 4],
            "{came:?}"
        );
        if came.stream == id && matches!(came.kind, HEADERS | RST_STREAM) {
            return came;
        }
    }
}

/// 204 as HPACK has it.
const NO_CONTENT: &[u8] = &[0x89];
/// The same, with `content-length: 0`.
const LENGTH_SAID: &[u8] = &[0x89, 0x0f, 0x0d, 1, b'0'];

/// An origin that speaks HTTP/2 and answers each request with this head and then these DATA frames.
fn contentless(head: &'static [u8], data: &'static [&'static [u8]]) -> Origin {
    Origin::raw(move |mut stream: TcpStream, _| async move {
        let mut preface = vec![0; 24];
        if stream.read_exact(&mut preface).await.is_err() {
            return;
        }
        drop(stream.write_all(&frame(SETTINGS, 0, 0, &[])).await);
        while let Some(came) = frames::read(&mut stream).await {
            match came.kind {
                SETTINGS if came.flags == 0 => {
                    drop(stream.write_all(&frame(SETTINGS, 1, 0, &[])).await);
                }
                HEADERS => {
                    let mut answer = frame(HEADERS, 4, came.stream, head);
                    for (index, piece) in data.iter().enumerate() {
                        let is_last = u8::from(index + 1 == data.len());
                        answer.extend(frame(DATA, is_last, came.stream, piece));
                    }
                    drop(stream.write_all(&answer).await);
                }
                _ => {}
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_content_ends_and_is_judged_by_what_the_origin_sends() {
    type Case = (
        &'static [u8],
        &'static [&'static [u8]],
        Option<&'static str>,
    );
    const CASES: [Case; 5] = [
        (NO_CONTENT, &[b""], None),
        (LENGTH_SAID, &[b""], None),
        (NO_CONTENT, &[b"", b""], None),
        (NO_CONTENT, &[b"what", b""], Some("response_cut")),
        // It never comes to an end.
        (NO_CONTENT, &[], Some("origin_stalled")),
    ];
    for (head, data, error) in CASES {
        let origin = contentless(head, data);
        let gateway = Setup::new()
            .set("workers", "1")
            .host_with(
                API,
                "off",
                &json!({"url": origin.url(), "protocol": "http2"}),
            )
            .start();
        let client = gateway.client(API);
        let mut http1 = client.http1().await.unwrap();
        let http2 = client.http2().await.unwrap();
        for round in 0..3 {
            let one = http1.get(&format!("/one/{round}")).await.unwrap();
            assert_eq!((one.status, one.body.len()), (204, 0), "{data:?}");
            let two = http2.get(&format!("/two/{round}")).await.unwrap();
            assert_eq!((two.status, two.body.len()), (204, 0), "{data:?}");
            for told in [one, two] {
                assert_eq!(told.header("content-length"), "", "{head:?}");
            }
        }
        for path in ["/one/2", "/two/2"] {
            let record = gateway.request_record(path);
            assert_eq!(record["error"].as_str(), error, "{data:?}: {record}");
        }
    }
}
