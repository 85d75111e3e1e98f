//! WebSockets over HTTP/2 (RFC 8441), and from either protocol to the other.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tests::client::{Body, Http2, body};
use tests::tool::{has, python, run};
use tests::wait::within;
use tests::{Gateway, Origin, Setup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HOST: &str = "api.example.test";
const HELLO: &[u8] = b"hello from the origin\n";

fn gateway(origin: &Origin, protocol: &str) -> Gateway {
    let origin = json!({ "url": origin.url(), "protocol": protocol });
    Setup::new()
        .host_with(HOST, "off", &origin)
        .block("http.request.uri.path eq \"/blocked\"")
        .block("any(http.request.headers[\"upgrade\"][*] eq \"websocket\") and http.request.uri.path eq \"/page\"")
        .start()
}

fn connect(http2: &Http2, path: &str, protocol: &'static str) -> Request<Body> {
    let mut request = http2.request(path, body(""));
    *request.method_mut() = Method::CONNECT;
    request
        .extensions_mut()
        .insert(Protocol::from_static(protocol));
    let headers = request.headers_mut();
    headers.insert("sec-websocket-version", "13".parse().unwrap());
    headers.insert("sec-websocket-protocol", "chat".parse().unwrap());
    request
}

/// A client's connection that has seen what the gateway can do.
async fn client(gateway: &Gateway) -> Http2 {
    let http2 = gateway.client(HOST).http2().await.unwrap();
    assert_eq!(http2.get("/first").await.unwrap().status, 200);
    http2
}

async fn tunnel(response: Response<Incoming>) -> TokioIo<Upgraded> {
    assert_eq!(response.status(), StatusCode::OK, "{response:?}");
    for name in [
        "upgrade",
        "connection",
        "sec-websocket-accept",
        "content-length",
    ] {
        assert!(
            !response.headers().contains_key(name),
            "{name}: {response:?}"
        );
    }
    assert!(response.headers().contains_key("x-request-id"));
    let mut tunnel = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let mut hello = [0; HELLO.len()];
    within("the origin's first words", tunnel.read_exact(&mut hello))
        .await
        .unwrap();
    assert_eq!(hello, HELLO);
    tunnel
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_becomes_a_tunnel_to_either_kind_of_origin() {
    for (origin, protocol) in [(Origin::echo(), "http1"), (Origin::echo_http2(), "http2")] {
        let gateway = gateway(&origin, protocol);
        let http2 = client(&gateway).await;
        let request = connect(&http2, "/socket?a=1", "websocket");
        let mut tunnel = tunnel(http2.begin(request).await.unwrap()).await;
        let mut bytes = 0;
        for size in [1_usize, 100, 100_000, 1_000_000] {
            let sent: Vec<u8> = (0..size)
                .map(|index| u8::try_from(index % 251).unwrap())
                .collect();
            let (mut from, mut to) = tokio::io::split(&mut tunnel);
            let mut back = vec![0; size];
            let all = async { tokio::join!(to.write_all(&sent), from.read_exact(&mut back)) };
            let (written, read) = within("what was sent", all).await;
            assert!(written.is_ok() && read.is_ok(), "{protocol}: {size}");
            assert_eq!(back, sent, "{protocol}");
            bytes += size;
        }
        // Others are served meanwhile.
        assert_eq!(http2.get("/beside").await.unwrap().status, 200);
        tunnel.shutdown().await.unwrap();
        let mut rest = Vec::new();
        within("the end", tunnel.read_to_end(&mut rest))
            .await
            .unwrap();
        assert!(rest.is_empty(), "{protocol}");
        let record = gateway.request_record("/socket");
        assert_eq!(record["status"], 200, "{record}");
        assert_eq!(record["method"], "GET", "{record}");
        assert_eq!(record["http"], "HTTP/2", "{record}");
        assert!(record["error"].is_null(), "{record}");
        assert_eq!(record["bytes_received"], bytes, "{record}");
        assert_eq!(record["bytes_sent"], HELLO.len() + bytes, "{record}");
        let seen = origin.requests();
        let seen = seen
            .iter()
            .find(|seen| seen["target"].as_str().unwrap().ends_with("/socket?a=1"));
        let seen = seen.unwrap();
        let headers = &seen["headers"];
        assert_eq!(headers["sec-websocket-version"], json!(["13"]), "{seen}");
        assert_eq!(headers["sec-websocket-protocol"], json!(["chat"]), "{seen}");
        assert_eq!(headers["x-forwarded-proto"], json!(["https"]), "{seen}");
        if protocol == "http1" {
            assert_eq!(seen["method"], "GET", "{seen}");
            assert_eq!(headers["upgrade"], json!(["websocket"]), "{seen}");
            assert_eq!(headers["sec-websocket-key"][0].as_str().unwrap().len(), 24);
        } else {
            assert_eq!(seen["method"], "CONNECT", "{seen}");
            assert!(headers["upgrade"].is_null(), "{seen}");
            assert!(headers["sec-websocket-key"].is_null(), "{seen}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_reaches_an_origin_that_speaks_http2() {
    let origin = Origin::echo_http2();
    let gateway = gateway(&origin, "http2");
    let mut raw = gateway.client(HOST).raw().await.unwrap();
    raw.write(
        "GET /socket HTTP/1.1\r\nHost: api.example.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .await;
    let answer = raw.message().await.unwrap();
    assert_eq!(answer.status(), 101, "{}", answer.head);
    assert_eq!(
        answer.header("sec-websocket-accept"),
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
    assert_eq!(raw.take(HELLO.len()).await, HELLO);
    raw.write(b"echo").await;
    assert_eq!(raw.take(4).await, b"echo");
    raw.finish().await;
    assert!(raw.rest().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_and_origins_have_their_say() {
    let origin = Origin::echo();
    let gateway = gateway(&origin, "http1");
    let http2 = client(&gateway).await;
    for (path, protocol, status) in [
        ("/blocked", "websocket", 403),
        // As a rule about the header would of an upgrade.
        ("/page", "websocket", 403),
        ("/fine", "connect-udp", 501),
    ] {
        let answer = http2.send(connect(&http2, path, protocol)).await.unwrap();
        assert_eq!(answer.status, status, "{path} {protocol}");
        assert!(!answer.header("x-request-id").is_empty());
    }
    assert_eq!(http2.get("/page").await.unwrap().status, 200);
    assert_eq!(origin.requests().len(), 2);
}

/// A 2xx is a tunnel to the client, so that one that means none must not get through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_does_not_change_protocols_is_no_tunnel() {
    for (said, status) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"[..], 502),
        (
            b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            502,
        ),
        (
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
            404,
        ),
    ] {
        let origin = Origin::saying(said, false);
        let gateway = Setup::new().host(HOST, "off", &origin.url()).start();
        let http2 = gateway.client(HOST).http2().await.unwrap();
        // Not a tunnel, whatever comes of it.
        http2.get("/a%00").await.unwrap();
        let answer = http2
            .send(connect(&http2, "/socket", "websocket"))
            .await
            .unwrap();
        assert_eq!(answer.status, status);
        assert_eq!(gateway.request_record("/socket")["status"], status);
    }
}

/// Else a client could have an address ejected that serves everybody else well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asking_for_a_tunnel_where_there_is_none_is_no_failure_of_the_address() {
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno";
    let origins = [Origin::saying(ok, false), Origin::saying(ok, false)];
    let addresses = origins.each_ref().map(|one| json!({ "url": one.url() }));
    let gateway = Setup::new()
        .set("workers", "1")
        .host_with(HOST, "off", &json!({ "addresses": addresses }))
        .start();
    let http2 = client(&gateway).await;
    for _ in 0..12 {
        let asked = http2.send(connect(&http2, "/socket", "websocket")).await;
        assert_eq!(asked.unwrap().status, 502);
    }
    let all = gateway.admin.get("/postern/v1/origins").result();
    for address in all[0]["addresses"].as_array().unwrap() {
        assert_eq!(address["state"], "good", "{address}");
        assert_eq!(address["ejections"], 0, "{address}");
    }
}

/// What a client does not take is not fetched for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_that_nobody_reads_holds_back_its_origin() {
    let origin = Origin::echo();
    let gateway = gateway(&origin, "http1");
    let http2 = client(&gateway).await;
    let request = connect(&http2, "/socket", "websocket");
    let mut tunnel = tunnel(http2.begin(request).await.unwrap()).await;
    let before = gateway.resident_kib();
    let piece = Bytes::from(vec![7; 64 * 1024]);
    let mut sent = 0;
    // Until nothing is taken any more: what is echoed has no place to go.
    while let Ok(written) =
        tokio::time::timeout(std::time::Duration::from_secs(1), tunnel.write_all(&piece)).await
    {
        written.unwrap();
        sent += piece.len();
        assert!(sent < 64 * 1024 * 1024, "there is no end of what is taken");
    }
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "the gateway grew by {grown} KiB");
    assert_eq!(http2.get("/beside").await.unwrap().status, 200);
}

/// A WebSocket server, and its address.
struct Server(Child, String);

impl Server {
    fn start(python: &Path) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/it/websocket_origin.py");
        let mut child = Command::new(python)
            .arg(script)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut port).unwrap();
        let url = format!("http://127.0.0.1:{}", port.trim());
        Self(child, url)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromiums_websocket_goes_over_http2() {
    let home = concat!(env!("CARGO_MANIFEST_DIR"), "/../gateway/dashboard");
    let chromium = ["/usr/bin/chromium", "/usr/bin/chromium-browser"];
    let chromium = chromium.into_iter().find(|path| Path::new(path).exists());
    let has_driver = Path::new(home)
        .join("node_modules/playwright-core")
        .is_dir();
    let (Some(chromium), true) = (chromium, has_driver && has("node")) else {
        eprintln!("skipped: needs chromium and node, which `cargo xtask setup` brings");
        return;
    };
    let Some(python) = python("websockets", "websockets") else {
        return;
    };
    let server = Server::start(&python);
    let gateway = Setup::new().host(HOST, "off", &server.1).start();
    let told = json!({
        "home": home,
        "chromium": chromium,
        "host": HOST,
        "address": gateway.address.to_string(),
    });
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/it/websocket_browser.mjs");
    let heard = run(Command::new("node").arg(script).arg(told.to_string())).json();
    assert_eq!(
        heard,
        json!({ "heard": ["hello", 300_000], "wasClean": true })
    );
    let record = gateway.request_record("/socket");
    assert_eq!(record["http"], "HTTP/2", "{record}");
    assert_eq!(record["status"], 200, "{record}");
    assert_eq!(record["error"], json!(null), "{record}");
}
