//! Balancers and proxies in front: whose a connection or a request is, and what rests on it.

use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};

use http::Request;
use serde_json::{Value, json};
use tests::client::{Body, body};
use tests::gateway::new_address;
use tests::tool::{has, run};
use tests::wait::{until, within};
use tests::{Gateway, Identity, Origin, Setup};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const API: &str = "api.example.test";
/// Where balancers of these tests connect from.
const BALANCER: &str = "127.0.0.77";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Connects from the balancer's address.
async fn from_balancer(to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let from: IpAddr = BALANCER.parse().unwrap();
    socket.bind(SocketAddr::new(from, 0)).unwrap();
    let stream = within("a connection", socket.connect(to)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Passes TCP on and says `header` first, in one segment with what follows or byte by byte.
async fn balancer(to: SocketAddr, header: Vec<u8>, slowly: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let header = header.clone();
            tokio::spawn(async move {
                let mut gateway = from_balancer(to).await;
                if slowly {
                    for byte in header {
                        drop(gateway.write_all(&[byte]).await);
                    }
                } else {
                    let mut first = vec![0; 4096];
                    let read = client.read(&mut first).await.unwrap_or(0);
                    let first = [&header, &first[..read]].concat();
                    drop(gateway.write_all(&first).await);
                }
                drop(tokio::io::copy_bidirectional(&mut client, &mut gateway).await);
            });
        }
    });
    address
}

fn v1(client: &str) -> Vec<u8> {
    let family = if client.contains(':') {
        "TCP6 "
    } else {
        "TCP4 "
    };
    let to = if client.contains(':') {
        "::1"
    } else {
        "192.0.2.1"
    };
    format!("PROXY {family}{client} {to} 50000 443\r\n").into_bytes()
}

fn v2(client: &str, additions: &[u8]) -> Vec<u8> {
    let (family, mut addresses) = match client.parse().unwrap() {
        IpAddr::V4(client) => (0x11, [client.octets(), [192, 0, 2, 1]].concat()),
        IpAddr::V6(client) => (0x21, [client.octets(), client.octets()].concat()),
    };
    addresses.extend([0xc3, 0x50, 1, 0xbb]);
    addresses.extend(additions);
    let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
    [V2, &[0x21, family], &length, &addresses].concat()
}

fn setup(origin: &Origin) -> Setup {
    Setup::new()
        .set("proxy.protocol_from", BALANCER)
        .host(API, "request", &origin.url())
}

fn forwarded_for(answer: &Value) -> &Value {
    &answer["headers"]["x-forwarded-for"]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balancer_says_who_the_client_is() {
    let origin = Origin::echo();
    let gateway = setup(&origin).block("ip.src eq 203.0.113.66").start();
    let own = |client: &str| (client.to_owned(), format!("{client}:50000"));
    let six = ("2001:db8::7".to_owned(), "[2001:db8::7]:50000".to_owned());
    // An authority, a CRC that is not looked at, and much of nothing.
    let additions = [
        &b"\x02\0\x04name\x03\0\x04\0\0\0\0\x04\x01\0"[..],
        &[0; 256],
    ]
    .concat();
    let local = [V2, &[0x20, 0, 0, 0]].concat();
    let nobody = (BALANCER.to_owned(), format!("{BALANCER}:"));
    for (number, (header, (address, logged))) in [
        (v1("203.0.113.9"), own("203.0.113.9")),
        (v1("2001:db8::7"), six.clone()),
        (v2("203.0.113.9", &[]), own("203.0.113.9")),
        (v2("203.0.113.9", &additions), own("203.0.113.9")),
        (v2("2001:db8::7", &[]), six),
        (local, nobody.clone()),
        (b"PROXY UNKNOWN\r\n".to_vec(), nobody),
    ]
    .into_iter()
    .enumerate()
    {
        for slowly in [false, true] {
            let address_of = balancer(gateway.address, header.clone(), slowly).await;
            let path = format!("/{number}/{slowly}");
            let answer = gateway.client_at(address_of, API).get(&path).await.unwrap();
            assert_eq!(answer.status, 200, "{path}");
            let seen = answer.json();
            assert_eq!(forwarded_for(&seen), &json!([address]), "{path}");
            let record = gateway.request_record(&path);
            assert!(
                record["client"].as_str().unwrap().starts_with(&logged),
                "{record}"
            );
        }
    }
    // Rules, over both protocols.
    let blocked = balancer(gateway.address, v2("203.0.113.66", &[]), false).await;
    let client = gateway.client_at(blocked, API);
    assert_eq!(client.get("/").await.unwrap().status, 403);
    let http2 = client.http2().await.unwrap();
    assert_eq!(http2.get("/").await.unwrap().status, 403);
    // Who is no balancer says nothing, and is believed nothing.
    assert_eq!(gateway.client(API).get("/").await.unwrap().status, 200);
    let mut stranger = TcpStream::connect(gateway.address).await.unwrap();
    let at = stranger.local_addr().unwrap();
    stranger.write_all(&v1("203.0.113.9")).await.unwrap();
    drop(within("the refusal", stranger.read_to_end(&mut Vec::new())).await);
    assert_eq!(gateway.handshake_record(at)["reason"], "proxy_protocol");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balancer_that_does_not_say_it_is_refused() {
    let origin = Origin::echo();
    let gateway = setup(&origin).set("timeout.handshake", "1s").start();
    for (sent, detail) in [
        (
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
            "does not begin with",
        ),
        (
            b"GET / HTTP/1.1\r\nhost: api.example.test\r\n\r\n",
            "does not begin with",
        ),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", "line is malformed"),
        (
            &[V2, &[0x21, 0x31, 0, 0]].concat(),
            "another protocol than TCP",
        ),
        (&[V2, &[0x21, 0x11, 0xff, 0xff]].concat(), "too long"),
        // Silence, at the beginning and in the middle.
        (b"", "came within timeout.handshake"),
        (b"PROXY TCP4 ", "came within timeout.handshake"),
    ] {
        let mut stream = from_balancer(gateway.address).await;
        let at = stream.local_addr().unwrap();
        stream.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        drop(within("the end", stream.read_to_end(&mut answer)).await);
        assert_eq!(answer, b"", "nothing is said to who is not known");
        let record = gateway.handshake_record(at);
        assert_eq!(record["reason"], "proxy_header", "{record}");
        assert!(
            record["detail"].as_str().unwrap().contains(detail),
            "{record}"
        );
    }
    let counted = "postern_connection_stops_total{stop=\"proxy_header\"} 7";
    until(counted, || {
        let metrics = gateway.admin.get("/metrics").body;
        metrics.contains(counted).then_some(())
    });
    // A look whether somebody listens is no fault.
    drop(from_balancer(gateway.address).await);
    let said = gateway.cli(&["explain", "proxy_header"]).ok();
    assert!(said.contains("send-proxy"), "{said}");
    // Live: from now on nobody is a balancer.
    drop(
        gateway
            .cli(&["sysctl", "-w", "proxy.protocol_from=none"])
            .ok(),
    );
    let client = gateway.client(API).from(BALANCER);
    assert_eq!(client.get("/").await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_are_those_of_the_clients_behind_a_balancer() {
    let origin = Origin::echo();
    let plain = new_address();
    let gateway = setup(&origin)
        .set("limit.client_connections", "3")
        .set("listen.http", &plain.to_string())
        .start();
    let one = balancer(gateway.address, v2("203.0.113.1", &[]), false).await;
    let other = balancer(gateway.address, v2("203.0.113.2", &[]), false).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut connection = gateway.client_at(one, API).http1().await.unwrap();
        assert_eq!(connection.get("/").await.unwrap().status, 200);
        held.push(connection);
    }
    assert!(gateway.client_at(one, API).get("/").await.is_err());
    assert_eq!(
        gateway.client_at(other, API).get("/").await.unwrap().status,
        200
    );
    // Plain HTTP is of the same clients.
    for (client, status) in [("203.0.113.1", ""), ("203.0.113.2", "HTTP/1.1 301 ")] {
        let mut stream = from_balancer(plain).await;
        let request = format!("GET / HTTP/1.1\r\nhost: {API}\r\n\r\n");
        let sent = [v1(client), request.into_bytes()].concat();
        stream.write_all(&sent).await.unwrap();
        let mut answer = String::new();
        drop(within("an answer", stream.read_to_string(&mut answer)).await);
        assert!(
            answer.starts_with(status) && answer.is_empty() == status.is_empty(),
            "{answer}"
        );
    }
    let metrics = gateway.admin.get("/metrics").body;
    assert!(
        metrics.contains("postern_connection_stops_total{stop=\"client_share\"} 1"),
        "{metrics}"
    );
}

fn get(path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let request = Request::get(path).header("host", API);
    let add = |request: http::request::Builder, (name, value): &(&str, &str)| {
        request.header(*name, *value)
    };
    let request = headers.iter().fold(request, add);
    request.body(body("")).unwrap()
}

/// The status of a request with these headers, and what its origin was told of the client.
async fn through(
    gateway: &Gateway,
    path: &str,
    headers: &[(&str, &str)],
    http2: bool,
) -> (u16, Value) {
    let client = gateway.client(API).from(BALANCER);
    let answer = if http2 {
        let http2 = client.http2().await.unwrap();
        let mut request = http2.request(path, body(""));
        let more = get(path, headers);
        for (name, value) in more.headers().iter().filter(|(name, _)| *name != "host") {
            request.headers_mut().append(name.clone(), value.clone());
        }
        http2.send(request).await.unwrap()
    } else {
        let mut http1 = client.http1().await.unwrap();
        http1.send(get(path, headers)).await.unwrap()
    };
    let seen = if answer.status == 200 {
        answer.json()
    } else {
        Value::Null
    };
    (answer.status, forwarded_for(&seen).clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_says_of_each_request_whose_it_is() {
    const XFF: &str = "x-forwarded-for";
    let origin = Origin::echo();
    let gateway = Setup::new()
        .set("proxy.trusted", &format!("{BALANCER}, 10.0.0.0/8"))
        .host(API, "request", &origin.url())
        .block("ip.src eq 203.0.113.66")
        .start();
    for http2 in [false, true] {
        for (number, (headers, client)) in [
            (&[(XFF, "203.0.113.9")][..], "203.0.113.9"),
            (&[(XFF, "6.6.6.6, 203.0.113.9, 10.1.2.3")], "203.0.113.9"),
            (&[(XFF, "garbage"), (XFF, "2001:db8::7")], "2001:db8::7"),
            // The other header is whatever clients wrote.
            (
                &[("forwarded", "for=6.6.6.6"), (XFF, "203.0.113.9")],
                "203.0.113.9",
            ),
            (&[("forwarded", "for=6.6.6.6")], BALANCER),
            (&[("connection", XFF), (XFF, "203.0.113.9")], "203.0.113.9"),
            (&[], BALANCER),
        ]
        .into_iter()
        .enumerate()
        {
            if http2 && headers.iter().any(|(name, _)| *name == "connection") {
                continue;
            }
            let path = format!("/{number}/{http2}");
            let found = through(&gateway, &path, headers, http2).await;
            assert_eq!(found, (200, json!([client])), "{path}");
            let record = gateway.request_record(&path);
            let logged = record["client"].as_str().unwrap();
            assert!(
                logged.trim_start_matches('[').starts_with(client),
                "{record}"
            );
        }
        let (status, _) = through(&gateway, "/", &[(XFF, "203.0.113.66")], http2).await;
        assert_eq!(status, 403);
        for wrong in [
            "unknown",
            "",
            "203.0.113.9, unknown, 10.1.2.3",
            "203.0.113.9,",
        ] {
            let (status, _) = through(&gateway, "/wrong", &[(XFF, wrong)], http2).await;
            assert_eq!(status, 400, "{wrong}");
        }
    }
    let record = gateway.request_record("/wrong");
    assert_eq!(record["error"], "client_address", "{record}");
    // Of one connection, one request after the other.
    let mut one = gateway.client(API).from(BALANCER).http1().await.unwrap();
    for (client, status) in [
        ("203.0.113.9", 200),
        ("203.0.113.66", 403),
        ("203.0.113.9", 200),
    ] {
        let answer = one.send(get("/", &[(XFF, client)])).await.unwrap();
        assert_eq!(answer.status, status, "{client}");
    }
    // From elsewhere nothing is believed.
    let mut stranger = gateway.client(API).http1().await.unwrap();
    let answer = stranger
        .send(get("/", &[(XFF, "203.0.113.66")]))
        .await
        .unwrap();
    assert_eq!(forwarded_for(&answer.json()), &json!(["127.0.0.1"]));
    // The other header, live.
    drop(
        gateway
            .cli(&["sysctl", "-w", "proxy.header=forwarded"])
            .ok(),
    );
    let headers = [
        ("forwarded", "for=6.6.6.6, for=\"[2001:db8::7]:1\""),
        (XFF, "6.6.6.6"),
    ];
    let found = through(&gateway, "/forwarded", &headers, false).await;
    assert_eq!(found, (200, json!(["2001:db8::7"])));
}

/// A program in front, or behind; killed when dropped.
pub(crate) struct Program(Child);

impl Program {
    pub(crate) fn start(command: &mut Command, address: SocketAddr) -> Self {
        let command = command.stdin(Stdio::null());
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut program = Self(child);
        until("a program to listen", || {
            let ended = program.0.try_wait().unwrap();
            assert!(ended.is_none(), "{command:?}: {ended:?}");
            std::net::TcpStream::connect(address).ok()
        });
        program
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_in_front_speaks_both_versions() {
    if !has("haproxy") {
        return;
    }
    let origin = Origin::echo();
    let gateway = setup(&origin)
        .host("b.example.test", "require", &origin.url())
        .start();
    let (_, identity) = gateway.certificate("example.test", "behind");
    for option in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2-ssl-cn proxy-v2-options unique-id",
    ] {
        let front = new_address();
        let file = gateway.file("haproxy.cfg");
        let text = format!(
            "defaults\n mode tcp\n timeout client 1m\n timeout server 1m\n timeout connect 5s\n\
             frontend front\n bind {front}\n unique-id-format %pid\n default_backend gateway\n\
             backend gateway\n source {BALANCER}\n server one {} {option} check inter 100\n",
            gateway.address
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("haproxy");
        let _haproxy = Program::start(command.arg("-db").arg("-f").arg(&file), front);
        let client = gateway.client_at(front, API).from("127.0.0.123");
        let answer = until_served(&client).await;
        assert_eq!(forwarded_for(&answer), &json!(["127.0.0.123"]), "{option}");
        let with = gateway
            .client_at(front, "b.example.test")
            .identity(&identity)
            .from("127.0.0.124");
        let answer = with.get("/").await.unwrap();
        assert_eq!(
            forwarded_for(&answer.json()),
            &json!(["127.0.0.124"]),
            "{option}"
        );
    }
    // Its checks speak the protocol, too, and none of them was refused.
    let refused = gateway
        .records()
        .into_iter()
        .find(|line| line["reason"] == "proxy_header");
    assert_eq!(refused, None);
}

/// What the origin was told, once the balancer finds the gateway well.
async fn until_served(client: &tests::Client) -> Value {
    for _ in 0..300 {
        if let Ok(answer) = client.get("/").await {
            return answer.json();
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the balancer does not find the gateway well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_in_front_ends_tls_and_names_the_client() {
    if !has("nginx") {
        return;
    }
    let origin = Origin::echo();
    let gateway = Setup::new()
        .set("proxy.trusted", BALANCER)
        .host(API, "require", &origin.url())
        .block("ip.src eq 127.0.0.66")
        .start();
    let (_, identity) = gateway.certificate("example.test", "nginx");
    let front = new_address();
    let directory = gateway.file("nginx");
    std::fs::create_dir_all(&directory).unwrap();
    let write = |name: &str, text: String| std::fs::write(directory.join(name), text).unwrap();
    let server: Identity = gateway.servers.server(&[API]);
    write("front.pem", server.chain_pem());
    write("front.key", server.key_pem());
    write("client.pem", identity.chain_pem());
    write("client.key", identity.key_pem());
    write("servers.pem", gateway.servers.pem());
    let text = format!(
        "daemon off; master_process off; pid nginx.pid; error_log error.log;\n\
         events {{ }}\n\
         http {{ access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3;\n\
         uwsgi_temp_path t4; scgi_temp_path t5;\n\
         server {{ listen {front} ssl; ssl_certificate front.pem; ssl_certificate_key front.key;\n\
         location / {{ proxy_pass https://{}; proxy_http_version 1.1; proxy_bind {BALANCER};\n\
         proxy_ssl_certificate client.pem; proxy_ssl_certificate_key client.key;\n\
         proxy_ssl_server_name on; proxy_ssl_name {API}; proxy_ssl_verify on;\n\
         proxy_ssl_trusted_certificate servers.pem; proxy_set_header Host $host;\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }} }}\n",
        gateway.address
    );
    write("nginx.conf", text);
    let mut command = Command::new("nginx");
    command.arg("-p").arg(&directory).args(["-c", "nginx.conf"]);
    let _nginx = Program::start(&mut command, front);
    for (from, status) in [
        ("127.0.0.123", 200),
        ("127.0.0.66", 403),
        ("127.0.0.124", 200),
    ] {
        let mut client = gateway
            .client_at(front, API)
            .from(from)
            .http1()
            .await
            .unwrap();
        let answer = client
            .send(get("/", &[("x-forwarded-for", "6.6.6.6")]))
            .await
            .unwrap();
        assert_eq!(answer.status, status, "{from}");
        if status == 200 {
            assert_eq!(forwarded_for(&answer.json()), &json!([from]));
        }
    }
}

#[test]
fn curl_speaks_the_protocol() {
    if !has("curl") {
        return;
    }
    let origin = Origin::echo();
    let gateway = setup(&origin).start();
    std::fs::write(gateway.file("servers.pem"), gateway.servers.pem()).unwrap();
    let (ip, port) = (gateway.address.ip(), gateway.address.port());
    let said = run(Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--haproxy-protocol",
            "--interface",
            BALANCER,
        ])
        .args(["--resolve", &format!("{API}:{port}:{ip}"), "--cacert"])
        .arg(gateway.file("servers.pem"))
        .arg(format!("https://{API}:{port}/")));
    let seen: Value = serde_json::from_str(&said.ok()).unwrap();
    assert_eq!(forwarded_for(&seen), &json!([BALANCER]));
}
