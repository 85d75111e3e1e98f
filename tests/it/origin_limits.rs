//! What an origin may take of time, and what it may have at once: a try that runs out of its time, the
//! queue and its end, turns of clients, connections over all workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use serde_json::{Value, json};
use tests::client::{Answer, Http2, body};
use tests::origin::read_head;
use tests::{Gateway, Origin, Setup};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

const HOST: &str = "api.example.test";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn gateway_with(origin: &Value) -> Gateway {
    Setup::new()
        .set("workers", "2")
        // Connections of the host are to come to both, whatever the load.
        .set("steer.mode", "off")
        .host_with(HOST, "off", origin)
        .start()
}

/// The state of the one origin that there is.
fn state(gateway: &Gateway) -> Value {
    gateway.admin.get("/postern/v1/origins").result()[0].clone()
}

fn wait_for(gateway: &Gateway, pointer: &str, count: u64) {
    tests::wait::until(&format!("{pointer} to be {count}"), || {
        (state(gateway).pointer(pointer) == Some(&json!(count))).then_some(())
    });
}

fn spawn(answers: &mut JoinSet<Answer>, client: &Http2, path: String) {
    let client = client.clone();
    answers.spawn(async move { client.get(&path).await.unwrap() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_beyond_the_limit_waits_and_beyond_the_queue_gets_503() {
    let origin = Origin::echo();
    let gateway = gateway_with(&json!({ "url": origin.url(),
        "limits": { "requests": 2, "queue": 2, "queue_ms": 59_500 } }));
    // Over several connections, so that both workers have some.
    let mut answers = JoinSet::new();
    for index in 0..4 {
        let client = gateway.client(HOST).http2().await.unwrap();
        spawn(&mut answers, &client, format!("/hold/{index}"));
        let (pointer, count) = match index {
            0 | 1 => ("/requests/in_use", index + 1),
            _ => ("/requests/waiting", index - 1),
        };
        wait_for(&gateway, pointer, count);
    }
    origin.wait_held(2);
    let refused = gateway.client(HOST).get("/beyond").await.unwrap();
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.header("retry-after"), "60");
    let record = gateway.request_record("/beyond");
    assert_eq!(record["error"], "origin_full", "{record}");
    gateway.says("its origin has as much as it may have");
    origin.release();
    while let Some(answer) = answers.join_next().await {
        assert_eq!(answer.unwrap().status, 200);
    }
    assert_eq!(origin.requests().len(), 4, "what was refused was not sent");
    wait_for(&gateway, "/requests/in_use", 0);
    let state = state(&gateway);
    assert_eq!(
        (&state["requests"]["queued"], &state["requests"]["refused"]),
        (&json!(2), &json!(1))
    );
    let metrics = gateway.admin.get("/metrics").body;
    for line in [
        format!("postern_origin_limit{{origin=\"{HOST}\",limit=\"requests\"}} 2"),
        format!("postern_origin_refused_total{{origin=\"{HOST}\",limit=\"requests\"}} 1"),
        format!("postern_origin_errors_total{{host=\"{HOST}\",reason=\"origin_full\"}} 1"),
    ] {
        assert!(metrics.contains(&line), "{line}");
    }
    // A limit that is changed while requests are there holds at once.
    gateway.change_host(HOST, &json!({ "origin": { "limits": null } }));
    assert_eq!(
        gateway.client(HOST).get("/after").await.unwrap().status,
        200
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_too_long_gets_503() {
    let origin = Origin::echo();
    let gateway = gateway_with(&json!({ "url": origin.url(),
        "limits": { "requests": 1, "queue_ms": 50 } }));
    let client = gateway.client(HOST).http2().await.unwrap();
    let mut answers = JoinSet::new();
    spawn(&mut answers, &client, "/hold".into());
    origin.wait_held(1);
    let late = client.get("/late").await.unwrap();
    assert_eq!((late.status, late.header("retry-after")), (503, "1"));
    let record = gateway.request_record("/late");
    assert_eq!(record["error"], "origin_queue_timeout", "{record}");
    // Who goes away waits no more.
    let mut gone = gateway.client(HOST).raw().await.unwrap();
    gateway.change_host(
        HOST,
        &json!({ "origin": { "limits": { "requests": 1, "queue_ms": 60_000 } } }),
    );
    gone.write(format!("GET /gone HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
        .await;
    wait_for(&gateway, "/requests/waiting", 1);
    drop(gone);
    wait_for(&gateway, "/requests/waiting", 0);
    origin.release();
    assert_eq!(answers.join_next().await.unwrap().unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_fills_the_queue_gives_way_to_others() {
    let origin = Origin::echo();
    let gateway = gateway_with(&json!({ "url": origin.url(),
        "limits": { "requests": 1, "queue": 3, "queue_ms": 60_000 } }));
    let greedy = gateway.client(HOST).http2().await.unwrap();
    let mut answers = JoinSet::new();
    spawn(&mut answers, &greedy, "/hold".into());
    origin.wait_held(1);
    for count in 1..=3 {
        spawn(&mut answers, &greedy, format!("/greedy/{count}"));
        wait_for(&gateway, "/requests/waiting", count);
    }
    let other = gateway
        .client(HOST)
        .from("127.0.0.2")
        .http2()
        .await
        .unwrap();
    let mut others = JoinSet::new();
    spawn(&mut others, &other, "/other".into());
    // Its last one.
    let refused = answers.join_next().await.unwrap().unwrap();
    assert_eq!(refused.status, 503);
    let record = gateway.request_record("/greedy/3");
    assert_eq!(record["error"], "origin_full", "{record}");
    origin.release();
    assert_eq!(others.join_next().await.unwrap().unwrap().status, 200);
    while let Some(answer) = answers.join_next().await {
        assert_eq!(answer.unwrap().status, 200);
    }
    // It had its turn with the first of the greedy client's, and before the second.
    let paths: Vec<Value> = origin
        .requests()
        .iter()
        .map(|one| one["target"].clone())
        .collect();
    assert_eq!(paths, ["/hold", "/greedy/1", "/other", "/greedy/2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_bounded_over_all_workers() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, highest) = (now.clone(), most.clone());
    let origin = Origin::raw(move |mut stream, _| {
        let (now, most) = (counted.clone(), highest.clone());
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            while read_head(&mut stream).await.is_some() {
                if stream.write_all(OK).await.is_err() {
                    break;
                }
            }
            now.fetch_sub(1, Ordering::SeqCst);
        }
    });
    let gateway = gateway_with(&json!({ "url": origin.url(),
        "limits": { "connections": 2, "queue_ms": 60_000 } }));
    let mut visitors = JoinSet::new();
    for visitor in 0..8 {
        let mut client = gateway.client(HOST).http1().await.unwrap();
        visitors.spawn(async move {
            for index in 0..25 {
                let answer = client.get(&format!("/{visitor}/{index}")).await.unwrap();
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        });
    }
    while let Some(visitor) = visitors.join_next().await {
        visitor.unwrap();
    }
    // One that was closed is seen by the origin a moment later than by the gateway.
    assert!(most.load(Ordering::SeqCst) <= 3, "{most:?}");
    let state = state(&gateway);
    assert!(
        state["connections"]["in_use"].as_u64() <= Some(2),
        "{state}"
    );
    assert_eq!(state["connections"]["refused"], 0, "{state}");
    // A tunnel has its connection for as long as it lives.
    let echo = Origin::echo();
    let limits = |queue: u32| {
        json!({ "origin": { "url": echo.url(),
            "limits": { "connections": 1, "queue": queue, "queue_ms": 60_000 } } })
    };
    // The connections of before count as well, and give way to whoever waits.
    gateway.change_host(HOST, &limits(1));
    let mut tunnel = gateway.client(HOST).raw().await.unwrap();
    let head = "GET /ws HTTP/1.1\r\nHost: api.example.test\r\nUpgrade: websocket\r\n\
        Connection: upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    tunnel.write(head.to_owned()).await;
    assert_eq!(tunnel.message().await.unwrap().status(), 101);
    wait_for(&gateway, "/connections/in_use", 1);
    gateway.change_host(HOST, &limits(0));
    let refused = gateway.client(HOST).get("/beside").await.unwrap();
    assert_eq!(refused.status, 503);
    drop(tunnel);
    wait_for(&gateway, "/connections/in_use", 0);
    assert_eq!(
        gateway.client(HOST).get("/behind").await.unwrap().status,
        200
    );
}

/// Has a request wait for the connection that another worker has: over ever new connections of a client,
/// until one of them is not at that worker. Answers what it asks for.
async fn wait_for_the_connection(
    gateway: &Gateway,
    answers: &mut JoinSet<Answer>,
    (from, path): (&str, &str),
    count: u64,
) -> String {
    for attempt in 0..100 {
        let client = gateway.client(HOST).from(from).http2().await.unwrap();
        let target = format!("{path}/{count}/{attempt}");
        let asked = target.clone();
        let (told, mut answered) = tokio::sync::oneshot::channel();
        answers.spawn(async move {
            let answer = client.get(&asked).await.unwrap();
            // Who waits for it may have seen enough.
            told.send(()).ok();
            answer
        });
        loop {
            let waiting = state(gateway).pointer("/connections/waiting").cloned();
            if waiting == Some(json!(count)) {
                return target;
            }
            if answered.try_recv().is_ok() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    panic!("both workers have the one connection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_take_turns_at_connections() {
    let origin = Origin::echo_http2();
    let gateway = gateway_with(&json!({ "url": origin.url(), "protocol": "http2",
        "limits": { "connections": 1, "queue": 8, "queue_ms": 60_000 } }));
    let holder = gateway.client(HOST).from("127.0.0.3");
    let holder = holder.http2().await.unwrap();
    let mut answers = JoinSet::new();
    spawn(&mut answers, &holder, "/hold".into());
    origin.wait_held(1);
    let mut greedy = Vec::new();
    for count in 1..=3 {
        let who = ("127.0.0.1", "/greedy");
        greedy.push(wait_for_the_connection(&gateway, &mut answers, who, count).await);
    }
    let who = ("127.0.0.2", "/other");
    let other = wait_for_the_connection(&gateway, &mut answers, who, 4).await;
    origin.release();
    while let Some(answer) = answers.join_next().await {
        assert_eq!(answer.unwrap().status, 200);
    }
    // Who came last did not wait for all of those that another client had sent before.
    let paths: Vec<Value> = origin
        .requests()
        .iter()
        .map(|one| one["target"].clone())
        .collect();
    let place = |path: &String| paths.iter().rposition(|one| one == path.as_str()).unwrap();
    assert!(place(&other) < place(&greedy[2]), "{paths:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_wait_for_a_connection_is_no_fault_of_its_address() {
    let origin = Origin::echo_http2();
    let gateway = gateway_with(&json!({ "url": origin.url(), "protocol": "http2",
        "limits": { "connections": 1, "queue": 4, "queue_ms": 60_000 },
        "timeouts": { "connect_ms": 100 }, "ejection": { "failures": 1 } }));
    let holder = gateway.client(HOST).http2().await.unwrap();
    let mut answers = JoinSet::new();
    spawn(&mut answers, &holder, "/hold".into());
    origin.wait_held(1);
    let who = ("127.0.0.1", "/waits");
    wait_for_the_connection(&gateway, &mut answers, who, 1).await;
    // Longer than connecting may take.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    origin.release();
    while let Some(answer) = answers.join_next().await {
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let state = state(&gateway);
    let address = &state["addresses"][0];
    assert_eq!(address["last_failure"], Value::Null, "{address}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_hangs_costs_a_try_and_no_request_that_may_be_repeated() {
    let silent =
        Origin::raw(|mut stream, _| async move { while read_head(&mut stream).await.is_some() {} });
    let echo = Origin::echo();
    let [one, two] = [Origin::echo_http2(), Origin::echo_http2()];
    two.release();
    let origin = |urls: [String; 2], protocol: &str, times: Value| {
        let urls = urls.map(|url| json!({ "url": url }));
        json!({ "addresses": urls, "protocol": protocol, "timeouts": times,
            "ejection": { "failures": 0 } })
    };
    // Longer than a busy machine leaves a good origin without its processor.
    let times = json!({ "try_ms": 3_000, "whole_ms": 60_000 });
    let gateway = Setup::new()
        .set("workers", "1")
        .host_with(
            "one.example.test",
            "off",
            &origin([silent.url(), echo.url()], "http1", times.clone()),
        )
        .host_with(
            "two.example.test",
            "off",
            &origin([one.url(), two.url()], "http2", times),
        )
        .host_with(
            "whole.example.test",
            "off",
            &origin(
                [silent.url(), silent.url().replace("127.0.0.1", "localhost")],
                "http1",
                json!({ "try_ms": 100, "whole_ms": 150 }),
            ),
        )
        .start();
    for (host, path) in [("one.example.test", "/once"), ("two.example.test", "/hold")] {
        let client = gateway.client(host).http2().await.unwrap();
        let mut served = Vec::new();
        for index in 0..2 {
            let mut request = client.request(&format!("{path}/{index}"), body("content"));
            *request.method_mut() = Method::PUT;
            served.push(client.send(request).await.unwrap().status);
        }
        assert_eq!(served, [200; 2], "{host}");
        // What must not be sent twice is not: of two, one comes to the address that hangs.
        let mut posted = Vec::new();
        for index in 0..2 {
            let mut request = client.request(&format!("{path}/post/{index}"), body("content"));
            *request.method_mut() = Method::POST;
            posted.push(client.send(request).await.unwrap().status);
        }
        posted.sort_unstable();
        assert_eq!(posted, [200, 504], "{host}");
    }
    let all = gateway.admin.get("/postern/v1/origins").result();
    let silent_one = &all[0]["addresses"][0];
    assert_eq!(
        silent_one["last_failure"], "response_timeout",
        "{silent_one}"
    );
    let client = gateway.client("whole.example.test");
    assert_eq!(client.get("/whole").await.unwrap().status, 504);
    let record = gateway.request_record("/whole");
    assert_eq!(record["error"], "origin_response_timeout", "{record}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_changes_holds_for_those_who_wait() {
    let origin = Origin::echo();
    let limits = |limits: Value| json!({ "origin": { "limits": limits } });
    let gateway = gateway_with(&json!({ "url": origin.url(),
        "limits": { "requests": 1, "queue": 9, "queue_ms": 59_500 } }));
    let client = gateway.client(HOST).http2().await.unwrap();
    let mut answers = JoinSet::new();
    for index in 0..6 {
        spawn(&mut answers, &client, format!("/hold/{index}"));
    }
    wait_for(&gateway, "/requests/waiting", 5);
    // More of those who wait get in, although nobody leaves.
    let raised = json!({ "requests": 3, "queue": 9, "queue_ms": 59_500 });
    gateway.change_host(HOST, &limits(raised));
    origin.wait_held(3);
    wait_for(&gateway, "/requests/waiting", 3);
    // Nobody does while there are more than may be.
    let lowered = json!({ "requests": 2, "queue": 9, "queue_ms": 59_500 });
    gateway.change_host(HOST, &limits(lowered));
    wait_for(&gateway, "/requests/max", 2);
    wait_for(&gateway, "/requests/in_use", 3);
    // Without a limit all do.
    gateway.change_host(HOST, &limits(Value::Null));
    origin.wait_held(6);
    origin.release();
    while let Some(answer) = answers.join_next().await {
        assert_eq!(answer.unwrap().status, 200);
    }
}
