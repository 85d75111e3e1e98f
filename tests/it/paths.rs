//! One path has one spelling: what rules match is what the origin gets. And one request is one
//! request: no framing that two parsers read differently gets through.

use std::sync::{Arc, Mutex};

use tests::{Origin, Setup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const RULE: &str =
    r#"http.request.uri.path eq "/admin" or starts_with(http.request.uri.path, "/admin/")"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_spelling_of_a_path_gets_around_a_rule() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "off", &origin.url())
        .block(RULE)
        .start();
    let mut raw = gateway.client("api.example.test").raw().await.unwrap();
    for (target, expected) in [
        ("/admin", Err(403)),
        ("/admin/", Err(403)),
        ("//admin", Err(403)),
        ("///admin", Err(403)),
        ("/./admin", Err(403)),
        ("/x/../admin", Err(403)),
        ("/x/y/../../admin", Err(403)),
        ("/../admin", Err(403)),
        ("/%61dmin", Err(403)),
        ("/%61%64%6d%69%6e", Err(403)),
        ("/%2e/admin", Err(403)),
        ("/x/%2e%2e/admin", Err(403)),
        ("/x/.%2E/admin", Err(403)),
        ("/admin/.", Err(403)),
        ("/admin/x/..", Err(403)),
        ("/admin?x", Err(403)),
        ("/admin//x", Err(403)),
        ("https://api.example.test/admin", Err(403)),
        ("https://api.example.test//admin", Err(403)),
        ("https://api.example.test/x/../admin", Err(403)),
        // Read in two ways by different origins: refused.
        ("/x%2f..%2fadmin", Err(400)),
        ("/%2fadmin", Err(400)),
        ("/x\\..\\admin", Err(400)),
        ("/%5cadmin", Err(400)),
        ("/admin%00", Err(400)),
        ("/admin%0", Err(400)),
        ("/admin%zz", Err(400)),
        ("admin", Err(400)),
        // A step, or nothing, to origins that cut parameters off.
        ("/x/..;/admin", Err(400)),
        ("/x/..;a=b/admin", Err(400)),
        ("/;/admin", Err(400)),
        ("/;x=1/admin", Err(400)),
        ("/.;/admin", Err(400)),
        ("/x/%2e%2e;/admin", Err(400)),
        ("/x/.%2e;/admin", Err(400)),
        ("/x/..%3b/admin", Err(400)),
        ("/x/%2e%2E%3B/admin", Err(400)),
        ("/%3b/admin", Err(400)),
        ("https://api.example.test/x/..;/admin", Err(400)),
        // Another path, and the origin gets just what the rule saw.
        ("/ADMIN", Ok("/ADMIN")),
        ("/admin;x", Ok("/admin;x")),
        ("/x;a=b/..c;d", Ok("/x;a=b/..c;d")),
        ("/administrator", Ok("/administrator")),
        ("/x//y/./z/../w", Ok("/x/y/w")),
        ("/a%7Eb%20c", Ok("/a~b%20c")),
        ("/%c3%a9", Ok("/%C3%A9")),
        ("/%252e%252e/admin", Ok("/%252e%252e/admin")),
        ("/x?to=/../admin&y=%2f", Ok("/x?to=/../admin&y=%2f")),
        ("/x?", Ok("/x?")),
        // What clients send as it is, though they may not, means one thing only.
        ("/x?q={\"a\":1}", Ok("/x?q={%22a%22:1}")),
        ("/<a>`{b}|^", Ok("/%3Ca%3E%60%7Bb%7D%7C%5E")),
        ("/\"/../admin", Err(403)),
        ("/", Ok("/")),
        ("https://api.example.test", Ok("/")),
    ] {
        let count = origin.requests().len();
        raw.write(format!(
            "GET {target} HTTP/1.1\r\nHost: api.example.test\r\n\r\n"
        ))
        .await;
        let Some(answer) = raw.message().await else {
            panic!("{target}: no answer")
        };
        match expected {
            Ok(path) => {
                assert_eq!(answer.status(), 200, "{target}: {}", answer.text());
                assert_eq!(origin.requests()[count]["target"], *path, "{target}");
            }
            Err(status) => {
                assert_eq!(answer.status(), status, "{target}: {}", answer.text());
                assert_eq!(
                    origin.requests().len(),
                    count,
                    "{target} reached the origin"
                );
            }
        }
        // A head that nobody can read is the last one.
        if answer.header("connection") == "close" {
            raw = gateway.client("api.example.test").raw().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_has_a_port_that_can_be() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "off", &origin.url())
        .start();
    for (authority, status) in [
        ("api.example.test:443", 200),
        ("api.example.test:", 200),
        ("api.example.test:65535", 200),
        ("api.example.test:65536", 400),
        ("api.example.test:98777", 400),
        ("api.example.test:+443", 400),
        ("api.example.test:0000443", 400),
    ] {
        for head in [
            format!("GET / HTTP/1.1\r\nHost: {authority}\r\n\r\n"),
            format!("GET https://{authority}/ HTTP/1.1\r\nHost: api.example.test\r\n\r\n"),
        ] {
            let count = origin.requests().len();
            let mut raw = gateway.client("api.example.test").raw().await.unwrap();
            raw.write(&head).await;
            let answer = raw.message().await.unwrap();
            assert_eq!(answer.status(), status, "{head}");
            let reached = origin.requests().len() - count;
            assert_eq!(reached, usize::from(status == 200), "{head}");
        }
    }
}

/// An origin that keeps every byte, and answers whatever looks like the end of a head.
fn recording() -> (Origin, Arc<Mutex<Vec<u8>>>) {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let kept = bytes.clone();
    let origin = Origin::raw(move |mut stream, _| {
        let kept = kept.clone();
        async move {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(count) = stream.read(&mut buffer).await {
                if count == 0 {
                    break;
                }
                kept.lock().unwrap().extend_from_slice(&buffer[..count]);
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                if stream.write_all(answer).await.is_err() {
                    break;
                }
            }
        }
    });
    (origin, bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_be_two_requests_is_none() {
    let (origin, bytes) = recording();
    let gateway = Setup::new()
        .host("api.example.test", "off", &origin.url())
        .start();
    const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: api.example.test\r\n\r\n";
    let chunked = format!("0\r\n\r\n{SMUGGLED}");
    let host = "Host: api.example.test\r\n";
    for (what, request) in [
        (
            "two different CLs",
            format!(
                "POST / HTTP/1.1\r\n{host}Content-Length: 5\r\nContent-Length: 0\r\n\r\n{SMUGGLED}"
            ),
        ),
        (
            "a list of CLs",
            format!("POST / HTTP/1.1\r\n{host}Content-Length: 5, 0\r\n\r\n{SMUGGLED}"),
        ),
        (
            "negative CL",
            format!("POST / HTTP/1.1\r\n{host}Content-Length: -1\r\n\r\n{SMUGGLED}"),
        ),
        (
            "signed CL",
            format!("POST / HTTP/1.1\r\n{host}Content-Length: +5\r\n\r\n12345{SMUGGLED}"),
        ),
        (
            "hex CL",
            format!("POST / HTTP/1.1\r\n{host}Content-Length: 0x5\r\n\r\n12345{SMUGGLED}"),
        ),
        (
            "huge CL",
            format!(
                "POST / HTTP/1.1\r\n{host}Content-Length: 99999999999999999999\r\n\r\n{SMUGGLED}"
            ),
        ),
        (
            "space before the colon",
            format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding : chunked\r\n\r\n{chunked}"),
        ),
        (
            "folded TE",
            format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding:\r\n chunked\r\n\r\n{chunked}"),
        ),
        (
            "folded header",
            format!("POST / HTTP/1.1\r\n{host}X: a\r\n b\r\n\r\n{SMUGGLED}"),
        ),
        (
            "unknown TE",
            format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: xchunked\r\n\r\n{chunked}"),
        ),
        (
            "chunked not last",
            format!(
                "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked, identity\r\n\r\n{chunked}"
            ),
        ),
        (
            "HTTP/1.0 with TE",
            format!("POST / HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n{chunked}"),
        ),
        (
            "bare CR in a header",
            format!("GET / HTTP/1.1\r\n{host}X: a\rTransfer-Encoding: chunked\r\n\r\n{chunked}"),
        ),
        (
            "NUL in a header",
            format!("GET / HTTP/1.1\r\n{host}X: a\0b\r\n\r\n{SMUGGLED}"),
        ),
        (
            "NUL in the target",
            format!("GET /\0 HTTP/1.1\r\n{host}\r\n{SMUGGLED}"),
        ),
        (
            "tab in the request line",
            format!("GET\t/\tHTTP/1.1\r\n{host}\r\n{SMUGGLED}"),
        ),
        (
            "HTTP/2.0",
            format!("GET / HTTP/2.0\r\n{host}\r\n{SMUGGLED}"),
        ),
        (
            "HTTP/1.2",
            format!("GET / HTTP/1.2\r\n{host}\r\n{SMUGGLED}"),
        ),
        ("no version", format!("GET /\r\n{host}\r\n{SMUGGLED}")),
        (
            "bad chunk size",
            format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\nxyz\r\n{SMUGGLED}"),
        ),
        (
            "chunk size overflow",
            format!(
                "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\n12345\r\n{chunked}"
            ),
        ),
        (
            "chunk without its CRLF",
            format!(
                "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n5\r\n12345X\r\n{chunked}"
            ),
        ),
        (
            "chunk extension with a bare CR",
            format!(
                "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n5;a\rb\r\n12345\r\n{chunked}"
            ),
        ),
    ] {
        bytes.lock().unwrap().clear();
        let mut raw = gateway.client("api.example.test").raw().await.unwrap();
        raw.write(&request).await;
        raw.finish().await;
        let answers = raw.rest_text().await;
        let reached = String::from_utf8_lossy(&bytes.lock().unwrap()).into_owned();
        assert!(
            !reached.contains("/smuggled"),
            "{what}: the origin saw {reached:?}"
        );
        let heads = answers.lines();
        let heads = heads.filter(|line| line.starts_with("HTTP/1.1 "));
        assert!(heads.count() <= 1, "{what}: {answers:?}");
        assert!(!answers.contains("200 OK"), "{what}: {answers:?}");
    }
    // A bare LF ends a line, as RFC 9112 §2.2 allows; what goes out has CRLF everywhere.
    bytes.lock().unwrap().clear();
    let mut raw = gateway.client("api.example.test").raw().await.unwrap();
    raw.write("GET /lf HTTP/1.1\nHost: api.example.test\n\n")
        .await;
    raw.finish().await;
    drop(raw.rest_text().await);
    let reached = String::from_utf8_lossy(&bytes.lock().unwrap()).into_owned();
    assert_eq!(
        reached.replace("\r\n", "").matches('\n').count(),
        0,
        "{reached:?}"
    );
}

/// Somebody may be about to hide a request in it (RFC 9112 §6.3).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_two_framings_is_refused() {
    let (origin, bytes) = recording();
    let gateway = Setup::new()
        .host("api.example.test", "off", &origin.url())
        .start();
    let (length, chunked) = ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n");
    for framing in [format!("{length}{chunked}"), format!("{chunked}{length}")] {
        bytes.lock().unwrap().clear();
        let mut raw = gateway.client("api.example.test").raw().await.unwrap();
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: api.example.test\r\n\r\n";
        raw.write(format!(
            "POST /a HTTP/1.1\r\nHost: api.example.test\r\n{framing}\r\n0\r\n\r\n{smuggled}"
        ))
        .await;
        let answers = raw.rest_text().await;
        assert!(bytes.lock().unwrap().is_empty(), "{framing:?}");
        assert!(
            answers.starts_with("HTTP/1.1 400 "),
            "{framing:?}: {answers:?}"
        );
        assert_eq!(
            answers.matches("HTTP/1.1 ").count(),
            1,
            "{framing:?}: {answers:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_two_equal_lengths_is_one_request() {
    let (origin, bytes) = recording();
    let gateway = Setup::new()
        .host("api.example.test", "off", &origin.url())
        .start();
    let mut raw = gateway.client("api.example.test").raw().await.unwrap();
    raw.write("POST /a HTTP/1.1\r\nHost: api.example.test\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc").await;
    let answer = raw.message().await.unwrap();
    let reached = String::from_utf8_lossy(&bytes.lock().unwrap()).into_owned();
    match answer.status() {
        200 => assert_eq!(
            reached.to_lowercase().matches("content-length").count(),
            1,
            "{reached}"
        ),
        status => assert_eq!((status, reached.as_str()), (400, "")),
    }
}
