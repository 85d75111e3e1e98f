//! Clients that make the gateway work for nothing: what they do is charged to them, and nobody else
//! notices.

use serde_json::Value;
use tests::client::{Http2, body};
use tests::frames::{
    DATA, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, get, post,
    read,
};
use tests::raw::tcp;
use tests::wait::{until, within};
use tests::{Gateway, Origin, Setup, tool};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

const API: &str = "api.example.test";
/// RFC 9113 §7.
const ENHANCE_YOUR_CALM: u32 = 11;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

fn stops(gateway: &Gateway, stop: &str) -> u64 {
    let wanted = format!("postern_connection_stops_total{{stop=\"{stop}\"}} ");
    let metrics = gateway.admin.get("/metrics").body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(&wanted));
    line.map_or(0, |count| count.parse().unwrap())
}

/// Sends `first`, then `again` without end; answers the code of the GOAWAY that it gets.
async fn flood(gateway: &Gateway, first: Vec<u8>, again: Vec<u8>) -> Option<u32> {
    let client = gateway.client(API);
    let (stream, _) = client.connect(b"\x02h2").await.unwrap();
    let (mut reading, mut writing) = tokio::io::split(stream);
    let writer = tokio::spawn(async move {
        drop(writing.write_all(PREFACE).await);
        drop(writing.write_all(&first).await);
        while writing.write_all(&again).await.is_ok() {}
    });
    let code = async {
        let mut code = None;
        while let Some(came) = read(&mut reading).await {
            if came.kind == GOAWAY {
                code = Some(u32::from_be_bytes(came.payload[4..8].try_into().unwrap()));
            }
        }
        code
    };
    let code = within("the end of a flood", code).await;
    writer.abort();
    code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_carry_nothing_end_the_connection() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .set("workers", "1")
        .host(API, "off", &origin.url())
        .start();
    let visitor = gateway.client(API).http2().await.unwrap();
    assert_eq!(visitor.get("/before").await.unwrap().status, 200);
    let before = gateway.resident_kib();
    // An upload that goes on: its stream takes DATA.
    let upload = frame(HEADERS, END_HEADERS, 1, &post(API, "/sink"));
    let settings = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]);
    let floods = [
        ("PING", vec![], frame(PING, 0, 0, &[0; 8])),
        ("PING ACK", vec![], frame(PING, ACK, 0, &[0; 8])),
        ("empty SETTINGS", vec![], frame(SETTINGS, 0, 0, &[])),
        ("SETTINGS", vec![], settings),
        ("PRIORITY", vec![], frame(2, 0, 1, &[0, 0, 0, 0, 1])),
        (
            "WINDOW_UPDATE",
            vec![],
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        ),
        ("unknown frames", vec![], frame(0xbe, 0, 0, b"what")),
        ("empty DATA", upload.clone(), frame(DATA, 0, 1, &[])),
        ("padding", upload, frame(DATA, 8, 1, &[3, 0, 0, 0])),
    ];
    let count = floods.len() as u64;
    for (what, first, one) in floods {
        let code = flood(&gateway, first, one.repeat(500)).await;
        assert_eq!(code, Some(ENHANCE_YOUR_CALM), "{what}");
        assert_eq!(visitor.get("/beside").await.unwrap().status, 200, "{what}");
    }
    // Those h2 does not put up with at all.
    for (what, one) in [
        ("SETTINGS ACK", frame(SETTINGS, ACK, 0, &[])),
        ("RST_STREAM", frame(RST_STREAM, 0, 1, &[0; 4])),
    ] {
        let code = flood(&gateway, vec![], one.repeat(500)).await;
        assert!(code.is_some_and(|code| code != 0), "{what}: {code:?}");
        assert_eq!(visitor.get("/beside").await.unwrap().status, 200, "{what}");
    }
    until("the stops to be counted", || {
        (stops(&gateway, "flood") >= count).then_some(())
    });
    let is_flood = |line: &&Value| line["kind"] == "connection";
    let records = until("a line for each", || {
        let records = gateway.records();
        let floods = records.iter().filter(is_flood).count() as u64;
        (floods >= count).then_some(records)
    });
    let floods: Vec<_> = records.iter().filter(is_flood).collect();
    for line in &floods {
        assert_eq!(line["reason"], "flood", "{line}");
        assert_eq!(line["host"], API, "{line}");
        assert!(
            line["client"].as_str().unwrap().starts_with("127."),
            "{line}"
        );
    }
    let lines = records.len() + gateway.stderr().lines().count();
    assert!(lines <= 100, "{lines} lines");
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown <= 64 * 1024, "the gateway grew by {grown} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_requests_back_again_and_again_is_thrown_out() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .set("workers", "1")
        .host(API, "off", &origin.url())
        .start();
    let visitor = gateway.client(API).http2().await.unwrap();
    assert_eq!(visitor.get("/before").await.unwrap().status, 200);
    let client = gateway.client(API);
    let begun = std::time::Instant::now();
    let (mut stream, _) = client.connect(b"\x02h2").await.unwrap();
    drop(stream.write_all(PREFACE).await);
    let mut code = None;
    let attack = async {
        for round in 0..1_000_u32 {
            // One that is being worked on when it is taken back, which the answer to a PING says.
            let id = 2 * round + 1;
            let mut bytes = frame(HEADERS, END_HEADERS | 1, id, &get(API, "/hold"));
            bytes.extend(frame(PING, 0, 0, &[0; 8]));
            if stream.write_all(&bytes).await.is_err() {
                return round;
            }
            loop {
                let Some(came) = read(&mut stream).await else {
                    return round;
                };
                match came.kind {
                    GOAWAY => {
                        code = Some(u32::from_be_bytes(came.payload[4..8].try_into().unwrap()))
                    }
                    PING => break,
                    _ => {}
                }
            }
            drop(
                stream
                    .write_all(&frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()))
                    .await,
            );
        }
        1_000
    };
    let rounds = within("the attacker to be thrown out", attack).await;
    assert_eq!(code, Some(ENHANCE_YOUR_CALM), "after {rounds}");
    // A hundred at once, and ten a second.
    let rounds_max = 110 + 10 * u32::try_from(begun.elapsed().as_secs() + 1).unwrap();
    assert!((50..=rounds_max).contains(&rounds), "after {rounds}");
    assert_eq!(visitor.get("/beside").await.unwrap().status, 200);
    let record = gateway.record("the attacker", |line| line["kind"] == "connection");
    assert_eq!(record["reason"], "flood");
    // No more connections were begun than requests let through.
    let permitted = gateway
        .records()
        .iter()
        .filter(|line| line["kind"] == "request")
        .count();
    assert!(
        origin.connections() <= permitted,
        "{} of {permitted}",
        origin.connections()
    );
    origin.release();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordinary_client_meets_no_budget() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .set("workers", "1")
        .set("limit.h2_control_frames", "1000")
        .host(API, "off", &origin.url())
        .start();
    let visitor = gateway.client(API).http2().await.unwrap();
    for _ in 0..2_000 {
        assert_eq!(visitor.get("/small").await.unwrap().status, 200);
    }
    let large = visitor.get("/source/100000000").await.unwrap();
    assert_eq!(large.body.len(), 100_000_000);
    // Every third one is taken back.
    for round in 0..600 {
        if round % 3 == 0 {
            let held = visitor.begin(visitor.request("/hold", body("")));
            drop(tokio::time::timeout(std::time::Duration::from_millis(2), held).await);
        } else {
            assert_eq!(visitor.get("/good").await.unwrap().status, 200);
        }
    }
    assert_eq!(stops(&gateway, "flood"), 0);
    origin.release();
}

/// Another machine on the loopback.
const ELSEWHERE: &str = "127.0.0.2";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_does_not_take_all_connections() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .set("limit.connections", "40")
        .host(API, "off", &origin.url())
        .start();
    let mut silent = Vec::new();
    for _ in 0..45 {
        silent.push(tcp(gateway.address).await);
    }
    let visitor = gateway.client(API).from(ELSEWHERE);
    assert_eq!(visitor.get("/beside").await.unwrap().status, 200);
    until("the others to be closed", || {
        (stops(&gateway, "client_share") == 35).then_some(())
    });
    assert_eq!(stops(&gateway, "too_many_connections"), 0);
    let said = gateway.stderr();
    let told = said
        .lines()
        .filter(|line| line.contains("limit.client_connections"));
    assert!((1..=4).contains(&told.count()), "{said}");
    // Of a balancer all are taken, from now on.
    let exempt = gateway.cli(&["sysctl", "-w", "limit.client_exempt=127.0.0.1/32"]);
    assert_eq!(exempt.code, 0, "{}", exempt.err);
    for _ in 0..20 {
        silent.push(tcp(gateway.address).await);
    }
    assert_eq!(
        gateway.client(API).get("/inside").await.unwrap().status,
        200
    );
}

/// Sends requests that the origin holds, except for `answered_min` of them or more; answers the statuses of those.
async fn hold(http2: &Http2, count: usize, answered_min: usize) -> Vec<u16> {
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..count {
        let http2 = http2.clone();
        waiting.spawn(async move {
            let request = http2.request("/hold", body(""));
            http2.send(request).await.map_or(0, |answer| answer.status)
        });
    }
    let mut answered = Vec::new();
    while answered.len() < answered_min {
        let next = within("an answer", waiting.join_next()).await;
        answered.push(next.unwrap().unwrap());
    }
    // No more of them come.
    let patience = std::time::Duration::from_millis(500);
    while let Ok(Some(status)) = tokio::time::timeout(patience, waiting.join_next()).await {
        answered.push(status.unwrap());
    }
    waiting.detach_all();
    answered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_and_origin_connections_have_shares() {
    // Each connection may have one stream beside the share.
    for (key, value) in [
        ("limit.client_streams", "148"),
        ("limit.client_origin_connections", "150"),
    ] {
        let origin = Origin::echo();
        let gateway = Setup::new()
            .set("workers", "2")
            .set(key, value)
            .host(API, "off", &origin.url())
            .start();
        let client = gateway.client(API);
        let (one, two) = (client.http2().await.unwrap(), client.http2().await.unwrap());
        assert!(hold(&one, 90, 0).await.is_empty(), "{key}");
        origin.wait_held(90);
        let answered = hold(&two, 90, 30).await;
        assert_eq!(answered, [429; 30], "{key}");
        let record = gateway.record("a request too many", |line| line["status"] == 429);
        assert_eq!(record["error"], "client_share", "{record}");
        let visitor = gateway.client(API).from(ELSEWHERE);
        assert_eq!(visitor.get("/beside").await.unwrap().status, 200, "{key}");
        assert!(
            origin.connections() <= 151,
            "{key}: {}",
            origin.connections()
        );
        origin.release();
        until("the held ones to be over", || {
            let held = gateway.records().into_iter();
            let held = held.filter(|line| line["path"] == "/hold" && line["status"] == 200);
            (held.count() == 150).then_some(())
        });
        assert_eq!(client.get("/after").await.unwrap().status, 200, "{key}");
    }
}

/// Connections on which nothing is said, ten from each address.
async fn say_nothing(gateway: &Gateway, count: usize) -> Vec<TcpStream> {
    let mut silent = Vec::new();
    for index in 0..count {
        let address = format!("127.0.1.{}:0", index / 10 + 1);
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(address.parse().unwrap()).unwrap();
        silent.push(socket.connect(gateway.address).await.unwrap());
    }
    silent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn descriptors_are_kept_for_clients_that_have_few() {
    if !tool::has("prlimit") {
        eprintln!("skipped: needs prlimit");
        return;
    }
    let origin = Origin::echo();
    let gateway = Setup::new()
        .set("workers", "1")
        .set("limit.connections", "500")
        .set("limit.client_connections", "500")
        .set("limit.client_streams", "10000")
        .set("limit.client_origin_connections", "10000")
        .descriptors(700)
        .host(API, "off", &origin.url())
        .start();
    let client = gateway.client(API);
    let mut connections = Vec::new();
    let mut statuses = Vec::new();
    for index in 0..5 {
        let http2 = client.http2().await.unwrap();
        // The last one finds none.
        let answered_min = if index == 4 { 51 } else { 0 };
        statuses.extend(hold(&http2, 90, answered_min).await);
        connections.push(http2);
    }
    assert!(statuses.len() > 50, "{statuses:?}");
    assert!(statuses.iter().all(|status| *status == 503), "{statuses:?}");
    let record = gateway.record("a request too many", |line| line["status"] == 503);
    assert_eq!(record["error"], "client_share", "{record}");
    // Silent ones take no more either.
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(tcp(gateway.address).await);
    }
    for index in 0..10 {
        let visitor = gateway.client(API).from(&format!("127.0.0.{}", index + 2));
        let answer = visitor.get("/beside").await.unwrap();
        assert_eq!(answer.status, 200, "{index}: {}", answer.text());
    }
    // When those fill what is kept for them, who has the most gives back.
    let before = stops(&gateway, "shed");
    let others = say_nothing(&gateway, 50).await;
    until("the heaviest to be shed", || {
        (stops(&gateway, "shed") > before).then_some(())
    });
    gateway.says("the heaviest client gives back half");
    let said = gateway.stderr();
    assert!(said.contains("client=127.0.0.1"), "{said}");
    assert!(!said.contains("cannot be accepted"), "{said}");
    let visitor = gateway.client(API).from(ELSEWHERE);
    assert_eq!(visitor.get("/beside").await.unwrap().status, 200);
    drop((silent, others));
    origin.release();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_wait_for_a_window_hold_up_no_other_of_their_connection() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .set("workers", "1")
        .host(API, "off", &origin.url())
        .start();
    let client = gateway.client(API);
    let (mut stream, _) = client.connect(b"\x02h2").await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    let no_window = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    stream.write_all(&no_window).await.unwrap();
    for index in 1..100 {
        let big = frame(HEADERS, 5, 2 * index + 1, &get(API, "/source/1000000"));
        stream.write_all(&big).await.unwrap();
    }
    // Those are answered, and fetched as far as this client may hold.
    let mut heads = 0;
    while heads < 99 {
        let came = within("the heads", read(&mut stream)).await.unwrap();
        heads += usize::from(came.kind == HEADERS);
    }
    // A stream that has a window gets its answer all the same.
    let late = frame(HEADERS, 5, 201, &get(API, "/late"));
    stream.write_all(&late).await.unwrap();
    let window = frame(WINDOW_UPDATE, 0, 201, &60_000_u32.to_be_bytes());
    stream.write_all(&window).await.unwrap();
    let mut bytes = 0;
    loop {
        let came = within("the late answer", read(&mut stream)).await.unwrap();
        if came.stream == 201 && came.kind == DATA {
            bytes += came.payload.len();
        }
        if came.stream == 201 && came.flags & 1 != 0 {
            break;
        }
    }
    assert!(bytes > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_the_most_at_rest_gives_back_half() {
    if !tool::has("prlimit") {
        eprintln!("skipped: needs prlimit");
        return;
    }
    let origin = Origin::echo();
    let gateway = Setup::new()
        .set("workers", "1")
        .set("limit.connections", "700")
        .set("limit.client_connections", "700")
        .descriptors(700)
        .host(API, "off", &origin.url())
        .start();
    // Connections at rest, and tunnels: none of them does anything any more.
    let client = gateway.client(API);
    let mut resting = Vec::new();
    let mut tunnels = Vec::new();
    for index in 0..240 {
        let mut raw = client.raw().await.unwrap();
        if index % 20 == 0 {
            raw.write(format!(
                "GET /tunnel HTTP/1.1\r\nHost: {API}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            ))
            .await;
            assert_eq!(raw.message().await.unwrap().status(), 101);
            tunnels.push(raw);
        } else {
            raw.write(format!("GET /x HTTP/1.1\r\nHost: {API}\r\n\r\n"))
                .await;
            assert_eq!(raw.message().await.unwrap().status(), 200);
            resting.push(raw);
        }
    }
    until("all to rest", || {
        let metrics = gateway.admin.get("/metrics").body;
        let mut lines = metrics.lines();
        lines
            .any(|line| line.starts_with("postern_connections_idle") && line.ends_with(" 228"))
            .then_some(())
    });
    assert_eq!(stops(&gateway, "shed"), 0);
    let others = say_nothing(&gateway, 350).await;
    until("half of them to be shed", || {
        (stops(&gateway, "shed") >= 100).then_some(())
    });
    let visitor = gateway.client(API).from("127.0.2.1");
    assert_eq!(visitor.get("/beside").await.unwrap().status, 200);
    // Half, and not all.
    let shed = stops(&gateway, "shed");
    assert!(shed <= 160, "{shed}");
    drop((resting, tunnels, others));
    origin.release();
}

/// Asks for a megabyte a hundred times on each of so many connections, and reads nothing. Answers by
/// how many KiB the gateway grew.
async fn unread(gateway: &Gateway, connections: usize, settings: &[u8]) -> u64 {
    let visitor = gateway.client(API).from(ELSEWHERE);
    assert_eq!(visitor.get("/before").await.unwrap().status, 200);
    let before = gateway.resident_kib();
    let mut open = Vec::new();
    for _ in 0..connections {
        let client = gateway.client(API);
        let (mut stream, _) = client.connect(b"\x02h2").await.unwrap();
        drop(stream.write_all(PREFACE).await);
        drop(stream.write_all(&frame(SETTINGS, 0, 0, settings)).await);
        // All that one connection may have.
        let window = frame(WINDOW_UPDATE, 0, 0, &0x7ffe_0000_u32.to_be_bytes());
        drop(stream.write_all(&window).await);
        for index in 0..100 {
            let block = get(API, "/source/1000000");
            drop(
                stream
                    .write_all(&frame(HEADERS, 5, 2 * index + 1, &block))
                    .await,
            );
        }
        open.push(stream);
    }
    // Whatever will be held is held once nothing grows any more.
    let mut last = 0;
    until("the gateway to grow no more", || {
        let now = gateway.resident_kib();
        let still = now == std::mem::replace(&mut last, now);
        std::thread::sleep(std::time::Duration::from_millis(500));
        still.then_some(())
    });
    assert_eq!(visitor.get("/beside").await.unwrap().status, 200);
    last.saturating_sub(before)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_fill_no_memory() {
    // SETTINGS_INITIAL_WINDOW_SIZE: nothing, and as much as there can be.
    for (what, connections, settings) in [
        ("no window", 20, [0, 4, 0, 0, 0, 0]),
        (
            "a window, and nothing read",
            4,
            [0, 4, 0x7f, 0xff, 0xff, 0xff],
        ),
    ] {
        let origin = Origin::echo();
        let gateway = Setup::new()
            .set("workers", "1")
            .host(API, "off", &origin.url())
            .start();
        let grown = unread(&gateway, connections, &settings).await;
        assert!(
            grown <= 64 * 1024,
            "{what}: the gateway grew by {grown} KiB"
        );
    }
}
