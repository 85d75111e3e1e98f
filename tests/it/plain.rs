//! Plain HTTP in front: redirects, health checks, and their bounds.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use http::Request;
use tests::client::fed;
use tests::gateway::new_address;
use tests::tool::{has, run};
use tests::wait::{PATIENCE, until};
use tests::{Gateway, Origin, Setup};

const API: &str = "api.example.test";

/// Everything that is answered to these bytes.
fn ask(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    drop(stream.read_to_string(&mut answer));
    answer
}

fn outcome(gateway: &Gateway, word: &str) -> u64 {
    let wanted = format!("postern_plain_connections_total{{outcome=\"{word}\"}} ");
    let metrics = gateway.admin.get("/metrics").body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(&wanted));
    line.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn balancers_are_told_that_the_gateway_drains() {
    let origin = Origin::echo();
    let health = new_address();
    let mut gateway = Setup::new()
        .set("health.listen", &health.to_string())
        .set("timeout.drain", "30s")
        .host(API, "off", &origin.url())
        .start();
    for (request, status, end) in [
        (
            "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n",
            "200 OK",
            "\r\n\r\nok\n",
        ),
        ("GET /readyz HTTP/1.0\r\n\r\n", "200 OK", "\r\n\r\nok\n"),
        (
            "HEAD /readyz HTTP/1.1\r\nhost: x\r\n\r\n",
            "200 OK",
            "\r\n\r\n",
        ),
        (
            "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n",
            "404 Not Found",
            "nothing else\n",
        ),
        (
            "GET / HTTP/1.1\r\nhost: api.example.test\r\n\r\n",
            "404 Not Found",
            "nothing else\n",
        ),
        (
            "POST /livez HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
            "405 ",
            "answered here\n",
        ),
        (
            "GET /livez HTTP/1.1\r\n\r\n",
            "400 Bad Request",
            "not understood\n",
        ),
    ] {
        let answer = ask(health, request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request}: {answer}"
        );
        assert!(answer.ends_with(end), "{request}: {answer}");
    }
    // A request under way keeps the gateway from ending.
    let (more, upload) = fed();
    let mut client = gateway.client(API).http1().await.unwrap();
    let request = Request::post("/sink")
        .header("host", API)
        .body(upload)
        .unwrap();
    let answer = tokio::spawn(async move { client.send(request).await });
    until("the request to reach the origin", || {
        (origin.connections() > 0).then_some(())
    });
    gateway.signal("TERM");
    let ready = "GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n";
    until("the health check to say so", || {
        let answer = ask(health, ready);
        let is_draining =
            answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\n\r\ndraining\n");
        is_draining.then_some(())
    });
    let live = ask(health, "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(live.starts_with("HTTP/1.1 200 "), "{live}");
    drop(more);
    assert_eq!(answer.await.unwrap().unwrap().status, 200);
    assert!(gateway.wait().success());
}

#[test]
fn plain_requests_are_redirected_to_hosts_that_exist() {
    let plain = new_address();
    let gateway = Setup::new()
        .set("listen.http", &plain.to_string())
        .host(API, "require", "http://127.0.0.1:1")
        .start();
    let answer = ask(plain, "GET /a?b HTTP/1.1\r\nhost: API.example.test\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 301 "), "{answer}");
    assert!(
        answer.contains("\r\nlocation: https://api.example.test/a?b\r\n"),
        "{answer}"
    );
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    // The body is not read, and its client gets the answer all the same.
    let big = format!(
        "POST /form HTTP/1.1\r\nhost: api.example.test\r\ncontent-length: 300000\r\n\r\n{}",
        "x".repeat(300_000)
    );
    let answer = ask(plain, &big);
    assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
    let strange = ask(plain, "GET / HTTP/1.1\r\nhost: reflected.test\r\n\r\n");
    assert!(strange.starts_with("HTTP/1.1 421 "), "{strange}");
    assert!(!strange.contains("reflected"), "{strange}");
    let long = format!(
        "GET / HTTP/1.1\r\nhost: {API}\r\nx: {}\r\n\r\n",
        "y".repeat(20_000)
    );
    let answer = ask(plain, &long);
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let answer = ask(plain, "\x16\x03\x01\x02\x00\x01\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let ready = ask(plain, "GET /readyz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
    assert!(
        ready.starts_with("HTTP/1.1 200 ") && ready.ends_with("ok\n"),
        "{ready}"
    );
    drop(
        gateway
            .cli(&["sysctl", "-w", "http.redirect_port=8443"])
            .ok(),
    );
    let answer = ask(plain, "GET /a HTTP/1.1\r\nhost: api.example.test\r\n\r\n");
    assert!(
        answer.contains("\r\nlocation: https://api.example.test:8443/a\r\n"),
        "{answer}"
    );
    for (word, count) in [
        ("redirected", 3),
        ("unknown", 1),
        ("refused", 2),
        ("health", 1),
    ] {
        until(word, || (outcome(&gateway, word) == count).then_some(()));
    }
    gateway.remove_host(API);
    let gone = ask(plain, "GET /a HTTP/1.1\r\nhost: api.example.test\r\n\r\n");
    assert!(gone.starts_with("HTTP/1.1 421 "), "{gone}");
    if has("curl") {
        let url = format!("http://{plain}/livez");
        let said = run(Command::new("curl").args(["--silent", "--fail", &url]));
        assert_eq!(said.ok(), "ok\n");
    }
}

#[test]
fn plain_connections_are_bounded() {
    let plain = new_address();
    let gateway = Setup::new()
        .set("listen.http", &plain.to_string())
        .set("timeout.header", "6s")
        .set("limit.client_connections", "3")
        .host(API, "off", "http://127.0.0.1:1")
        .start();
    let open = || TcpStream::connect(plain).unwrap();
    let mut slow: Vec<TcpStream> = (0..3).map(|_| open()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: ").unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    // Beyond the share of its client, as a connection over TLS would be.
    until("the share to be used up", || {
        let answer = ask(plain, "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n");
        answer.is_empty().then_some(())
    });
    until("it to be counted", || {
        (outcome(&gateway, "share") > 0).then_some(())
    });
    for mut stream in slow {
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest));
        assert!(rest.is_empty(), "{rest:?}");
    }
    until("those to be counted", || {
        (outcome(&gateway, "gone") >= 3).then_some(())
    });
    let answer = ask(plain, "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
