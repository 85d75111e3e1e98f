//! Origin connections: one client's unfinished business is no other client's wait, an origin that
//! closes or restarts loses no request that may be repeated, and HTTP/2 origins get as many
//! connections as their streams need.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use hyper::body::Frame;
use serde_json::json;
use tests::client::{Http2, body, fed};
use tests::frames::{self, frame};
use tests::origin::read_head;
use tests::{Authority, Gateway, Origin, Setup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

const HOST: &str = "api.example.test";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn gateway_with(origin: &serde_json::Value) -> Gateway {
    Setup::new().host_with(HOST, "off", origin).start()
}

fn http2_origin(url: &str) -> serde_json::Value {
    json!({ "url": url, "protocol": "http2" })
}

/// Answers each request at once, before its body.
fn hasty() -> Origin {
    Origin::raw(|mut stream, _| async move {
        while read_head(&mut stream).await.is_some() {
            if stream.write_all(OK).await.is_err() {
                break;
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_body_never_ends_holds_up_no_other_client() {
    let one = hasty();
    let two = Origin::raw(|stream, _| hasty_http2(stream));
    let gateway = Setup::new()
        .set("workers", "1")
        .host("one.example.test", "off", &one.url())
        .host_with("two.example.test", "off", &http2_origin(&two.url()))
        .start();
    for host in ["one.example.test", "two.example.test"] {
        let attacker = gateway.client(host).http2().await.unwrap();
        let mut owed = Vec::new();
        for index in 0..20 {
            let (feed, content) = fed();
            let mut request = attacker.request(&format!("/owed/{index}"), content);
            *request.method_mut() = Method::POST;
            feed.send(Frame::data(Bytes::from_static(b"x")))
                .await
                .unwrap();
            assert_eq!(attacker.begin(request).await.unwrap().status(), 200);
            owed.push(feed);
        }
        // The same over HTTP/1.1, with a length that is never reached.
        let mut raw = gateway.client(host).raw().await.unwrap();
        raw.write(format!(
            "POST /owed HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\n\r\nonly this"
        ))
        .await;
        assert_eq!(raw.message().await.unwrap().status(), 200, "{host}");
        let visitor = gateway.client(host).http2().await.unwrap();
        for index in 0..30 {
            let answer = visitor.get(&format!("/{index}")).await.unwrap();
            assert_eq!(answer.status, 200, "{host}: request {index}");
        }
        drop(owed);
    }
}

/// Answers each stream at its head. Its windows are what RFC 9113 begins with.
async fn hasty_http2(mut stream: TcpStream) {
    let mut preface = [0; 24];
    drop(stream.read_exact(&mut preface).await);
    drop(stream.write_all(&frame(frames::SETTINGS, 0, 0, &[])).await);
    while let Some(came) = frames::read(&mut stream).await {
        let answer = match came.kind {
            frames::SETTINGS if came.flags & 1 == 0 => frame(frames::SETTINGS, 1, 0, &[]),
            frames::HEADERS => frame(frames::HEADERS, 5, came.stream, &[0x88]),
            _ => continue,
        };
        if stream.write_all(&answer).await.is_err() {
            break;
        }
    }
}

/// An origin at one address that can be restarted. It closes every connection after ten answers,
/// and says nothing of it before.
struct Restarting {
    address: SocketAddr,
    posts: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    running: Option<tokio::task::JoinHandle<()>>,
}

impl Restarting {
    async fn new() -> Self {
        // Nobody else is given it while it is free.
        let listener = TcpListener::bind(fixtures::new_loopback()).await.unwrap();
        let mut origin = Self {
            address: listener.local_addr().unwrap(),
            posts: Arc::default(),
            stop: None,
            running: None,
        };
        origin.run(listener);
        origin
    }

    fn run(&mut self, listener: TcpListener) {
        let (stop, mut stopped) = oneshot::channel();
        let posts = self.posts.clone();
        self.stop = Some(stop);
        self.running = Some(tokio::spawn(async move {
            let mut open = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((stream, _)) = listener.accept() => drop(open.spawn(ten(stream, posts.clone()))),
                    _ = &mut stopped => return,
                }
            }
        }));
    }

    async fn restart(&mut self) {
        drop(self.stop.take());
        self.running.take().unwrap().await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        self.run(socket.listen(1024).unwrap());
    }
}

async fn ten(mut stream: TcpStream, posts: Arc<AtomicUsize>) {
    for _ in 0..10 {
        let Some(head) = read_head(&mut stream).await else {
            return;
        };
        if head.starts_with("POST") {
            posts.fetch_add(1, Ordering::SeqCst);
        }
        if stream.write_all(OK).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_closes_and_restarts_loses_no_get() {
    let mut origin = Restarting::new().await;
    let gateway = gateway_with(&json!({ "url": format!("http://{}", origin.address) }));
    let client = gateway.client(HOST);
    let asked = Arc::new(AtomicUsize::new(0));
    let mut visitors = JoinSet::new();
    for visitor in 0..8 {
        let http2 = client.http2().await.unwrap();
        let asked = asked.clone();
        visitors.spawn(async move {
            let mut lost = Vec::new();
            for index in 0..500 {
                let answer = http2.get(&format!("/{visitor}/{index}")).await.unwrap();
                if answer.status != 200 {
                    lost.push(answer.status);
                }
                asked.fetch_add(1, Ordering::SeqCst);
            }
            lost
        });
    }
    for restart in 1..=3 {
        while asked.load(Ordering::SeqCst) < restart * 1_000 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        origin.restart().await;
    }
    let mut lost = Vec::new();
    while let Some(of_one) = visitors.join_next().await {
        lost.extend(of_one.unwrap());
    }
    // One that the tenth answer cost its connection, and a restart the next one, is not sent a
    // third time. Without repeating, some thirty are lost.
    assert!(lost.len() <= 10, "requests were lost: {lost:?}");
    let metrics = gateway.admin.get("/metrics").body;
    assert!(
        metrics.contains("postern_origin_requests_repeated_total"),
        "{metrics}"
    );

    // What is not idempotent reaches the origin once at most.
    let http2 = client.http2().await.unwrap();
    for index in 0..200 {
        let mut request = http2.request(&format!("/once/{index}"), body("x"));
        *request.method_mut() = Method::POST;
        let answer = http2.send(request).await.unwrap();
        assert!(matches!(answer.status, 200 | 502), "{answer:?}");
    }
    assert!(origin.posts.load(Ordering::SeqCst) <= 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_repeated_is_repeated_once_and_with_its_body() {
    // Every connection's second request is read and then dropped; so is every request to /never.
    let origin = Origin::raw(|mut stream, _| async move {
        for answered in 0..2 {
            let Some(head) = read_head(&mut stream).await else {
                return;
            };
            let sends_body = head.to_ascii_lowercase().contains("content-length: 5");
            let mut sent = [0; 5];
            if sends_body && stream.read_exact(&mut sent).await.is_err() {
                return;
            }
            assert!(!sends_body || &sent == b"hello", "{head}");
            if answered == 1 || head.contains("/never") {
                return;
            }
            drop(stream.write_all(OK).await);
        }
    });
    let gateway = Setup::new()
        .set("workers", "1")
        .host(HOST, "off", &origin.url())
        .start();
    let mut client = gateway.client(HOST).http1().await.unwrap();
    let mut ask = async |method: &str, path: &str| {
        let content = if method == "GET" { "" } else { "hello" };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", HOST);
        client
            .send(request.body(body(content)).unwrap())
            .await
            .unwrap()
            .status
    };
    for (method, expected) in [("GET", 200), ("PUT", 200), ("DELETE", 200), ("POST", 502)] {
        assert_eq!(ask("GET", "/first").await, 200);
        // The connection that is there reads it and closes.
        assert_eq!(ask(method, "/second").await, expected, "{method}");
    }
    let before = origin.connections();
    assert_eq!(ask("GET", "/never").await, 502);
    assert!(
        origin.connections() - before <= 2,
        "repeated once and no more"
    );
}

async fn hold(http2: &Http2, count: usize) -> JoinSet<u16> {
    let mut held = JoinSet::new();
    for _ in 0..count {
        let http2 = http2.clone();
        held.spawn(async move { http2.get("/hold").await.unwrap().status });
    }
    held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http2_origin_gets_as_many_connections_as_its_streams_need() {
    let origin = Origin::echo_http2_streams(5);
    let gateway = Setup::new()
        .set("workers", "1")
        .host_with(HOST, "off", &http2_origin(&origin.url()))
        .start();
    let http2 = gateway.client(HOST).http2().await.unwrap();
    let held = hold(&http2, 30).await;
    // All thirty are with the origin, which allows five on a connection.
    origin.wait_held(30);
    assert!(
        (6..=12).contains(&origin.connections()),
        "{}",
        origin.connections()
    );
    for index in 0..10 {
        assert_eq!(http2.get(&format!("/{index}")).await.unwrap().status, 200);
    }
    origin.release();
    assert!(held.join_all().await.iter().all(|status| *status == 200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_connection_that_hangs_has_time_for_another_address() {
    let ca = Authority::root("origins");
    let hangs = Origin::raw(|stream, _| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    });
    let echo = Origin::echo_tls(&ca.server(&["origin.test"]), b"\x02h2");
    let urls = [hangs.address, echo.address].map(|at| json!({ "url": format!("https://{at}") }));
    let origin = json!({
        "addresses": urls, "server_name": "origin.test", "ca_pem": ca.pem(),
        "timeouts": { "connect_ms": 4_000 }, "ejection": { "failures": 0 },
    });
    let gateway = Setup::new()
        .set("workers", "1")
        .host_with(HOST, "off", &origin)
        .start();
    // Half of them choose the address that hangs: one opens a connection, and the others wait for it.
    let http2 = gateway.client(HOST).http2().await.unwrap();
    let mut asked = JoinSet::new();
    for index in 0..12 {
        let http2 = http2.clone();
        asked.spawn(async move { http2.get(&format!("/{index}")).await.unwrap().status });
    }
    assert_eq!(asked.join_all().await, [200; 12]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_wait_for_a_stream_beyond_the_bound_of_connections() {
    let origin = Origin::echo_http2_streams(5);
    let gateway = Setup::new()
        .set("workers", "1")
        .set("limit.origin_h2_connections", "2")
        .host_with(HOST, "off", &http2_origin(&origin.url()))
        .start();
    let http2 = gateway.client(HOST).http2().await.unwrap();
    let held = hold(&http2, 30).await;
    origin.wait_held(10);
    assert_eq!(origin.connections(), 2);
    origin.release();
    assert!(held.join_all().await.iter().all(|status| *status == 200));
    assert_eq!(origin.connections(), 2);
}

/// What an HTTP/2 origin does with the first request that it gets; all others it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Refused,
    BeyondGoaway,
    /// And all others, too.
    AllRefused,
    /// With an error that does not say that nothing was processed.
    Reset,
}

async fn turns_away(mut stream: TcpStream, first: First, turned: Arc<AtomicUsize>) {
    let mut preface = [0; 24];
    drop(stream.read_exact(&mut preface).await);
    drop(stream.write_all(&frame(frames::SETTINGS, 0, 0, &[])).await);
    while let Some(came) = frames::read(&mut stream).await {
        let ends = came.flags & 1 == 1;
        let answer = match came.kind {
            frames::SETTINGS if came.flags & 1 == 0 => frame(frames::SETTINGS, 1, 0, &[]),
            frames::HEADERS | frames::DATA if ends => {
                if turned.fetch_add(1, Ordering::SeqCst) > 0 && first != First::AllRefused {
                    frame(frames::HEADERS, 5, came.stream, &[0x88])
                } else {
                    match first {
                        First::Refused | First::AllRefused => {
                            frame(frames::RST_STREAM, 0, came.stream, &[0, 0, 0, 7])
                        }
                        First::Reset => frame(frames::RST_STREAM, 0, came.stream, &[0, 0, 0, 2]),
                        First::BeyondGoaway => frame(frames::GOAWAY, 0, 0, &[0; 8]),
                    }
                }
            }
            _ => continue,
        };
        if stream.write_all(&answer).await.is_err() {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_http2_origin_says_it_has_not_processed_is_sent_again() {
    for first in [First::Refused, First::BeyondGoaway, First::Reset] {
        for method in [Method::GET, Method::POST] {
            let turned = Arc::new(AtomicUsize::new(0));
            let count = turned.clone();
            let origin = Origin::raw(move |stream, _| turns_away(stream, first, count.clone()));
            let gateway = gateway_with(&http2_origin(&origin.url()));
            let http2 = gateway.client(HOST).http2().await.unwrap();
            let mut request = http2.request("/", body("hello"));
            *request.method_mut() = method.clone();
            let answer = http2.send(request).await.unwrap();
            let (status, requests) = match first {
                First::Reset => (502, 1),
                _ => (200, 2),
            };
            assert_eq!(answer.status, status, "{first:?} {method}");
            assert_eq!(
                turned.load(Ordering::SeqCst),
                requests,
                "{first:?} {method}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_address_has_not_processed_goes_to_another_one() {
    let refuses = Origin::raw(|stream, _| turns_away(stream, First::AllRefused, Arc::default()));
    let good = Origin::echo_http2();
    let addresses = [&refuses, &good].map(|one| json!({ "url": one.url() }));
    let gateway = gateway_with(&json!({ "addresses": addresses, "protocol": "http2" }));
    let http2 = gateway.client(HOST).http2().await.unwrap();
    for index in 0..10 {
        let mut request = http2.request("/", body("hello"));
        if index % 2 == 0 {
            *request.method_mut() = Method::POST;
        }
        assert_eq!(http2.send(request).await.unwrap().status, 200);
    }
    assert_eq!(good.requests().len(), 10);
}

/// Says that it goes, after one answer or before it, and does not: it wants to be answered to PINGs that
/// it never reads the answers to. Counts the connections that were shut down all the same.
async fn goes_and_stays(mut stream: TcpStream, answers: bool, shut: Arc<AtomicUsize>) {
    let settings = frame(frames::SETTINGS, 0, 0, &[]);
    let mut last = 0;
    if answers {
        drop(stream.read_exact(&mut [0; 24]).await);
        drop(stream.write_all(&settings).await);
        while let Some(came) = frames::read(&mut stream).await {
            if came.kind == frames::HEADERS {
                last = u8::try_from(came.stream).unwrap();
                break;
            }
        }
        let answer = frame(frames::HEADERS, 5, last.into(), &[0x88]);
        drop(stream.write_all(&answer).await);
    } else {
        drop(stream.write_all(&settings).await);
    }
    let goaway = frame(frames::GOAWAY, 0, 0, &[0, 0, 0, last, 0, 0, 0, 0]);
    let pings = frame(frames::PING, 0, 0, &[7; 8]).repeat(1_000);
    let mut said = [goaway, pings.clone()].concat();
    while stream.write_all(&said).await.is_ok() {
        said.clone_from(&pings);
    }
    shut.fetch_add(1, Ordering::SeqCst);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http2_origin_that_goes_and_does_not_read_keeps_no_connection_open() {
    for (answers, status) in [(true, 200), (false, 502)] {
        let shut = Arc::new(AtomicUsize::new(0));
        let count = shut.clone();
        let origin = Origin::raw(move |stream, _| goes_and_stays(stream, answers, count.clone()));
        let gateway = gateway_with(&json!({
            "url": origin.url(), "protocol": "http2", "ejection": { "failures": 0 },
        }));
        let http2 = gateway.client(HOST).http2().await.unwrap();
        for index in 0..3 {
            let answer = http2.get(&format!("/{index}")).await.unwrap();
            assert_eq!(answer.status, status, "{index}: {}", answer.text());
        }
        tests::wait::until("the connections to be shut down", || {
            (shut.load(Ordering::SeqCst) == origin.connections()).then_some(())
        });
    }
}

/// What an HTTP/2 origin does not answer any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unanswered {
    Nothing,
    /// The next request.
    Next,
    /// Whatever comes on its first connection.
    First,
}

impl Unanswered {
    /// What is said to a frame on that connection.
    fn answer(&mut self, index: usize, came: &frames::Came) -> Option<Vec<u8>> {
        if *self == Self::First && index == 0 {
            return None;
        }
        match came.kind {
            frames::SETTINGS if came.flags & 1 == 0 => Some(frame(frames::SETTINGS, 1, 0, &[])),
            frames::PING if came.flags & 1 == 0 => Some(frame(frames::PING, 1, 0, &came.payload)),
            frames::HEADERS if *self == Self::Next => {
                *self = Self::Nothing;
                None
            }
            frames::HEADERS => Some(frame(frames::HEADERS, 5, came.stream, &[0x88])),
            _ => None,
        }
    }
}

/// Answers each stream, but for what is not answered.
async fn falls_silent(mut stream: TcpStream, index: usize, left: Arc<Mutex<Unanswered>>) {
    drop(stream.read_exact(&mut [0; 24]).await);
    drop(stream.write_all(&frame(frames::SETTINGS, 0, 0, &[])).await);
    while let Some(came) = frames::read(&mut stream).await {
        let answer = left.lock().unwrap().answer(index, &came);
        if stream.write_all(&answer.unwrap_or_default()).await.is_err() {
            break;
        }
    }
}

/// An origin that may fall silent, a gateway that waits for its answers for so long, and a client.
async fn may_fall_silent(whole_ms: u32) -> (Arc<Mutex<Unanswered>>, Origin, Gateway, Http2) {
    let left = Arc::new(Mutex::new(Unanswered::Nothing));
    let shared = left.clone();
    let origin = Origin::raw(move |stream, index| falls_silent(stream, index, shared.clone()));
    let gateway = Setup::new()
        .set("workers", "1")
        .host_with(
            HOST,
            "off",
            &json!({
                "url": origin.url(), "protocol": "http2", "ejection": { "failures": 0 },
                "timeouts": { "whole_ms": whole_ms },
            }),
        )
        .start();
    let http2 = gateway.client(HOST).http2().await.unwrap();
    assert_eq!(http2.get("/first").await.unwrap().status, 200);
    (left, origin, gateway, http2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http2_connection_on_which_nothing_comes_any_more_is_given_up() {
    let (left, origin, _gateway, http2) = may_fall_silent(3_000).await;
    *left.lock().unwrap() = Unanswered::First;
    assert_eq!(http2.get("/lost").await.unwrap().status, 504);
    // Until it is found out that the origin does not answer at all.
    tests::wait::within("an answer", async {
        while http2.get("/next").await.unwrap().status != 200 {}
    })
    .await;
    assert_eq!(origin.connections(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http2_origin_that_is_slow_and_lives_keeps_its_connection() {
    let (left, origin, _gateway, http2) = may_fall_silent(3_000).await;
    *left.lock().unwrap() = Unanswered::Next;
    assert_eq!(http2.get("/slow").await.unwrap().status, 504);
    // Longer than it may take to say that it lives.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(http2.get("/next").await.unwrap().status, 200);
    assert_eq!(origin.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_wait_less_than_they_may_find_a_connection_that_is_silent() {
    let (left, origin, _gateway, http2) = may_fall_silent(3_000).await;
    *left.lock().unwrap() = Unanswered::First;
    let patience = Duration::from_millis(500);
    tests::wait::within("an answer", async {
        while tokio::time::timeout(patience, http2.get("/"))
            .await
            .is_err()
        {}
    })
    .await;
    assert_eq!(origin.connections(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_not_answered_costs_no_connection_on_which_others_are() {
    let (left, origin, _gateway, http2) = may_fall_silent(3_000).await;
    *left.lock().unwrap() = Unanswered::Next;
    let slow = http2.clone();
    let slow = tokio::spawn(async move { slow.get("/slow").await.unwrap().status });
    tests::wait::until("the call to come", || {
        (*left.lock().unwrap() == Unanswered::Nothing).then_some(())
    });
    assert_eq!(http2.get("/other").await.unwrap().status, 200);
    assert_eq!(slow.await.unwrap(), 504);
    assert_eq!(http2.get("/next").await.unwrap().status, 200);
    assert_eq!(origin.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_that_a_client_does_not_read_hold_up_no_other_client() {
    let origin = Origin::echo_http2();
    let gateway = Setup::new()
        .set("workers", "1")
        .host_with(HOST, "off", &http2_origin(&origin.url()))
        .start();
    let (mut attacker, _) = gateway.client(HOST).connect(b"\x02h2").await.unwrap();
    drop(attacker.write_all(frames::PREFACE).await);
    // SETTINGS_INITIAL_WINDOW_SIZE: nothing of any answer may be sent.
    let nothing = frame(frames::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    drop(attacker.write_all(&nothing).await);
    for index in 0..50 {
        let block = frames::get(HOST, "/source/1000000");
        let request = frame(frames::HEADERS, 5, 2 * index + 1, &block);
        drop(attacker.write_all(&request).await);
    }
    drop(attacker.flush().await);
    let mut heads = 0;
    while heads < 50 {
        let came = tests::wait::within("the heads", frames::read(&mut attacker))
            .await
            .unwrap();
        heads += usize::from(came.kind == frames::HEADERS);
    }
    let visitor = gateway.client(HOST).http2().await.unwrap();
    for index in 0..10 {
        let answer = visitor.get("/source/500000").await.unwrap();
        assert_eq!(
            (answer.status, answer.body.len()),
            (200, 500_000),
            "{index}"
        );
    }
    drop(attacker);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_idle_follows_what_was_in_use() {
    const CLIENTS: usize = 200;
    let origin = Origin::echo();
    let gateway = Setup::new()
        .set("workers", "1")
        .host(HOST, "off", &origin.url())
        .start();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(gateway.client(HOST).http1().await.unwrap());
    }
    for _round in 0..5 {
        let mut under_way = JoinSet::new();
        for mut client in clients.drain(..) {
            under_way.spawn(async move {
                assert_eq!(client.get("/").await.unwrap().status, 200);
                client
            });
        }
        clients = under_way.join_all().await;
    }
    let opened = origin.connections();
    assert!(
        opened <= CLIENTS,
        "{opened} connections for {CLIENTS} clients"
    );
}
