//! The PROXY protocol towards origins: each connection says who its client is, and is that client's
//! alone. nginx and HAProxy understand it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tests::client::body;
use tests::gateway::new_address;
use tests::origin::read_head;
use tests::tool::has;
use tests::{Gateway, Identity, Origin, Setup, wait};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::front::Program;

const HOST: &str = "api.example.test";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What a header said: the command and the family, the client, where it came to, and what else.
type Said = (u8, u8, Option<SocketAddr>, Option<SocketAddr>, Vec<u8>);

/// An origin that keeps what each connection began with, and answers with how many there were before.
fn listening() -> (Origin, Arc<Mutex<Vec<Said>>>) {
    let all = Arc::<Mutex<Vec<Said>>>::default();
    let heard = all.clone();
    let origin = Origin::raw(move |mut stream, number| {
        let heard = heard.clone();
        async move {
            let mut start = [0; 16];
            stream.read_exact(&mut start).await.unwrap();
            assert_eq!(&start[..12], SIGNATURE, "{start:?}");
            let mut rest = vec![0; usize::from(u16::from_be_bytes([start[14], start[15]]))];
            stream.read_exact(&mut rest).await.unwrap();
            let ends = (start[13] == 0x11).then(|| {
                let at = |ip: usize, port: usize| {
                    let ip: [u8; 4] = rest[ip..ip + 4].try_into().unwrap();
                    SocketAddr::from((ip, u16::from_be_bytes([rest[port], rest[port + 1]])))
                };
                (at(0, 8), at(4, 10))
            });
            let more = rest.get(12..).unwrap_or_default().to_vec();
            let said = (
                start[12],
                start[13],
                ends.map(|of| of.0),
                ends.map(|of| of.1),
                more,
            );
            heard.lock().unwrap().push(said);
            while read_head(&mut stream).await.is_some() {
                let text = number.to_string();
                let length = text.len();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}");
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    });
    (origin, all)
}

fn spec(url: &str) -> Value {
    json!({ "url": url, "proxy_protocol": "v2" })
}

/// Nobody comes again: the connections of clients that are gone are not kept.
fn all_end(gateway: &Gateway) {
    wait::until("the connections of clients that are gone to end", || {
        let metrics = gateway.admin.get("/metrics").body;
        let line = |line: &str| {
            Some(
                line.strip_prefix("postern_origin_connections_open{")?
                    .ends_with(" 0"),
            )
        };
        let mut lines = metrics.lines().filter_map(line);
        lines.all(|is_none| is_none).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_the_one_of_its_client_and_of_no_other() {
    let (origin, heard) = listening();
    let gateway = Setup::new()
        .set("workers", "1")
        .host_with(HOST, "request", &spec(&origin.url()))
        .start();
    let mut one = gateway
        .client(HOST)
        .from("127.0.0.41")
        .http1()
        .await
        .unwrap();
    let mut other = gateway
        .client(HOST)
        .from("127.0.0.42")
        .http1()
        .await
        .unwrap();
    let (_, identity) = gateway.certificate("example.test", "device 1");
    let known = gateway.client(HOST).from("127.0.0.41").identity(&identity);
    let mut known = known.http1().await.unwrap();
    for _ in 0..3 {
        // They take turns, and each has its own.
        assert_eq!(one.get("/").await.unwrap().text(), "0");
        assert_eq!(other.get("/").await.unwrap().text(), "1");
        assert_eq!(known.get("/").await.unwrap().text(), "2");
    }
    let heard = heard.lock().unwrap().clone();
    assert_eq!(heard.len(), 3, "{heard:?}");
    for ((command, family, client, to, more), (ip, is_known)) in heard.iter().zip([
        ("127.0.0.41", false),
        ("127.0.0.42", false),
        ("127.0.0.41", true),
    ]) {
        assert_eq!((*command, *family), (0x21, 0x11));
        assert_eq!(client.unwrap().ip().to_string(), ip);
        assert_ne!(client.unwrap().port(), 0);
        assert_eq!(*to, Some(gateway.address));
        let authority = [&b"\x02\x00\x10"[..], HOST.as_bytes()].concat();
        assert_eq!(more[..authority.len()], authority);
        let has_name = more.windows(11).any(|part| part == b"\x22\x00\x08device 1");
        assert_eq!(has_name, is_known, "{more:?}");
    }
    assert_ne!(heard[0].2, heard[2].2, "the port says which connection");
    drop((one, other, known));
    all_end(&gateway);
    let audit = gateway.admin.get("/postern/v1/origins").result();
    assert_eq!(audit[0]["addresses"][0]["failed"], 0, "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_clients_leave_idle_is_bounded_like_the_connections_of_one_origin() {
    let (origin, _) = listening();
    let gateway = Setup::new()
        .set("workers", "1")
        .set("limit.origin_idle", "4")
        .host_with(HOST, "off", &spec(&origin.url()))
        .start();
    let mut clients = Vec::new();
    for number in 0..12 {
        let mut client = gateway.client(HOST).http1().await.unwrap();
        assert_eq!(client.get("/").await.unwrap().text(), number.to_string());
        clients.push(client);
    }
    are_left(&gateway, 4);
    // Those that were used last.
    assert_eq!(clients[11].get("/").await.unwrap().text(), "11");
    assert_eq!(clients[8].get("/").await.unwrap().text(), "8");
    assert_eq!(clients[0].get("/").await.unwrap().text(), "12");
}

/// The number of origin connections that are open in the end.
fn are_left(gateway: &Gateway, count: usize) {
    wait::until("so many connections to be left", || {
        let metrics = gateway.admin.get("/metrics").body;
        let line = |line: &str| {
            line.starts_with("postern_origin_connections_open{")
                && line.ends_with(&format!(" {count}"))
        };
        metrics.lines().any(line).then_some(())
    });
}

/// Answers over HTTP/2 with how many connections there were before.
fn over_http2() -> Origin {
    Origin::raw(move |mut stream, number| async move {
        let mut start = [0; 16];
        stream.read_exact(&mut start).await.unwrap();
        let mut rest = vec![0; usize::from(u16::from_be_bytes([start[14], start[15]]))];
        stream.read_exact(&mut rest).await.unwrap();
        let answer = service_fn(move |_request| async move {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(number.to_string())))
        });
        let builder = http2::Builder::new(TokioExecutor::new());
        drop(builder.serve_connection(TokioIo::new(stream), answer).await);
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_holds_over_http2() {
    let origin = over_http2();
    let mut spec = spec(&origin.url());
    spec["protocol"] = json!("http2");
    let gateway = Setup::new()
        .set("workers", "1")
        .set("limit.origin_idle", "4")
        .host_with(HOST, "off", &spec)
        .start();
    let mut clients = Vec::new();
    for number in 0..12 {
        let mut client = gateway.client(HOST).http1().await.unwrap();
        for _ in 0..2 {
            assert_eq!(client.get("/").await.unwrap().text(), number.to_string());
        }
        clients.push(client);
    }
    are_left(&gateway, 4);
    // Those that were used last.
    assert_eq!(clients[11].get("/").await.unwrap().text(), "11");
    assert_eq!(clients[8].get("/").await.unwrap().text(), "8");
    assert_eq!(clients[0].get("/").await.unwrap().text(), "12");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_a_proxy_knows_by_one_address_share_none() {
    let (origin, heard) = listening();
    let gateway = Setup::new()
        .set("workers", "1")
        .set("proxy.trusted", "127.0.0.0/8")
        .host_with(HOST, "off", &spec(&origin.url()))
        .start();
    let mut clients = Vec::new();
    for number in 0..3 {
        let mut client = gateway.client(HOST).http1().await.unwrap();
        for _ in 0..2 {
            let request = Request::get("/")
                .header("host", HOST)
                .header("x-forwarded-for", "203.0.113.7");
            let request = request.body(body("")).unwrap();
            let answer = client.send(request).await.unwrap();
            assert_eq!(answer.text(), number.to_string());
        }
        clients.push(client);
    }
    let heard = heard.lock().unwrap();
    let told = heard.iter().filter_map(|one| one.2);
    let told: Vec<String> = told.map(|one| one.ip().to_string()).collect();
    assert_eq!(told, ["203.0.113.7"; 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_are_nobodys_and_what_asks_for_a_websocket_is_its_clients() {
    let (origin, heard) = listening();
    let mut spec = spec(&origin.url());
    spec["health"] = json!({ "kind": "http", "interval_sec": 1 });
    let gateway = Setup::new().host_with(HOST, "off", &spec).start();
    wait::until("a good check", || {
        let all = gateway.admin.get("/postern/v1/origins").result();
        (all[0]["addresses"][0]["health"] == "healthy").then_some(())
    });
    assert!(
        heard
            .lock()
            .unwrap()
            .iter()
            .all(|one| (one.0, one.1) == (0x20, 0))
    );
    let mut raw = gateway.client(HOST).from("127.0.0.43").raw().await.unwrap();
    raw.write(format!(
        "GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ))
    .await;
    assert_eq!(raw.message().await.unwrap().status(), 200);
    let heard = heard.lock().unwrap();
    let of_client = heard.iter().filter_map(|one| one.2);
    let clients: Vec<String> = of_client.map(|one| one.ip().to_string()).collect();
    assert_eq!(clients, ["127.0.0.43"]);
}

/// Three clients over both protocols, each of which has to be told its own address.
async fn each_is_known(gateway: &Gateway, what: &str) {
    for round in 0..2 {
        for ip in ["127.0.0.44", "127.0.0.45", "127.0.0.46"] {
            let client = gateway.client(HOST).from(ip);
            let mut one = client.http1().await.unwrap();
            let two = client.http2().await.unwrap();
            for answer in [one.get("/").await.unwrap(), two.get("/").await.unwrap()] {
                assert_eq!(answer.status, 200, "{what}: {}", answer.text());
                let text = answer.text();
                let mut words = text.split(' ');
                assert_eq!(words.next(), Some(ip), "{what}, round {round}: {text}");
                let port: u16 = words.next().unwrap().parse().unwrap();
                assert_ne!(port, 0, "{what}: {text}");
                let to = words.next().unwrap();
                assert_eq!(to, gateway.address.ip().to_string(), "{what}: {text}");
                if let Some(name) = words.next() {
                    assert_eq!(name, HOST, "{what}: {text}");
                }
            }
        }
    }
}

/// Over TCP, TLS with HTTP/2 and TLS with HTTP/1.1, with checks that have to be good.
async fn is_understood(gateway: &Gateway, ports: [(SocketAddr, bool); 2]) {
    for (address, is_tls) in ports {
        let scheme = if is_tls { "https" } else { "http" };
        for protocol in ["auto", "http1"] {
            let mut origin = spec(&format!("{scheme}://{address}"));
            origin["protocol"] = json!(protocol);
            origin["health"] = json!({ "kind": "http", "interval_sec": 1 });
            origin["ca_pem"] = if is_tls {
                json!(gateway.servers.pem())
            } else {
                Value::Null
            };
            origin["server_name"] = if is_tls {
                json!("origin.test")
            } else {
                Value::Null
            };
            gateway.change_host(HOST, &json!({ "origin": origin }));
            each_is_known(gateway, &format!("{scheme}, {protocol}")).await;
            wait::until("a good check", || {
                let all = gateway.admin.get("/postern/v1/origins").result();
                (all[0]["addresses"][0]["health"] == "healthy").then_some(())
            });
        }
    }
    all_end(gateway);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_understands_it() {
    if !has("nginx") {
        return;
    }
    let gateway = Setup::new().host(HOST, "off", "http://127.0.0.1:1").start();
    let (plain, tls) = (new_address(), new_address());
    let directory = gateway.file("nginx");
    std::fs::create_dir_all(&directory).unwrap();
    let write = |name: &str, text: String| std::fs::write(directory.join(name), text).unwrap();
    let server: Identity = gateway.servers.server(&["origin.test"]);
    write("origin.pem", server.chain_pem());
    write("origin.key", server.key_pem());
    write(
        "nginx.conf",
        format!(
            "daemon off; master_process off; pid nginx.pid; error_log error.log;\n\
             events {{ }}\n\
             http {{ access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3;\n\
             uwsgi_temp_path t4; scgi_temp_path t5;\n\
             server {{ listen {plain} proxy_protocol; listen {tls} ssl http2 proxy_protocol;\n\
             ssl_certificate origin.pem; ssl_certificate_key origin.key;\n\
             location / {{ return 200 '$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr'; }}\n\
             }} }}\n"
        ),
    );
    let mut command = Command::new("nginx");
    command.arg("-p").arg(&directory).args(["-c", "nginx.conf"]);
    let _nginx = Program::start(&mut command, plain);
    is_understood(&gateway, [(plain, false), (tls, true)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_understands_it() {
    if !has("haproxy") {
        return;
    }
    let gateway = Setup::new().host(HOST, "off", "http://127.0.0.1:1").start();
    let (plain, tls) = (new_address(), new_address());
    let server: Identity = gateway.servers.server(&["origin.test"]);
    let pem = gateway.file("origin.pem");
    std::fs::write(&pem, server.chain_pem() + &server.key_pem()).unwrap();
    let file = gateway.file("haproxy.cfg");
    let text = format!(
        "defaults\n mode http\n timeout client 1m\n timeout server 1m\n timeout connect 5s\n\
         frontend origin\n bind {plain} accept-proxy\n bind {tls} accept-proxy ssl crt {} alpn h2,http/1.1\n\
         http-request return status 200 content-type text/plain lf-string \"%[src] %[src_port] %[dst] %[fc_pp_authority]\"\n",
        pem.display()
    );
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new("haproxy");
    let _haproxy = Program::start(command.arg("-db").arg("-f").arg(&file), plain);
    is_understood(&gateway, [(plain, false), (tls, true)]).await;
}
