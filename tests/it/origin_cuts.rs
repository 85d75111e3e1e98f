//! Answers that break off, and whose doing it was: of what a client brings about no address is ejected.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use boring::ssl::{SslAcceptor, SslMethod};
use serde_json::{Value, json};
use tests::origin::read_head;
use tests::pki::Identity;
use tests::{Authority, Gateway, Origin, Setup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HOST: &str = "api.example.test";

/// One worker: turns are each worker's own.
fn gateway_with(origin: &Value) -> Gateway {
    Setup::new()
        .set("workers", "1")
        .host_with(HOST, "off", origin)
        .start()
}

/// The state of each address of the one origin that there is.
fn states(gateway: &Gateway) -> Vec<Value> {
    let all = gateway.admin.get("/postern/v1/origins").result();
    all[0]["addresses"].as_array().unwrap().clone()
}

/// Two addresses that take turns and do the same.
fn pair(one: &Origin, other: &Origin) -> Value {
    json!({ "addresses": [{ "url": one.url() }, { "url": other.url() }] })
}

fn assert_good(gateway: &Gateway) {
    for state in states(gateway) {
        assert_eq!(
            (&state["state"], &state["failed"], &state["ejections"]),
            (&json!("good"), &json!(0), &json!(0)),
            "{state}"
        );
        assert_ne!(state["requests"], 0, "{state}");
    }
}

/// Else a client could have an address ejected that serves everybody else well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_in_its_request_has_no_address_ejected() {
    // Answers at once, and has nothing more to say to a client that says nothing more.
    let early = || {
        Origin::raw(|mut stream, _| async move {
            drop(read_head(&mut stream).await);
            let begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
            drop(stream.write_all(begun).await);
            std::future::pending::<()>().await;
        })
    };
    let origins = [early(), early()];
    let gateway = Setup::new()
        .set("workers", "1")
        .set("timeout.origin_body", "2s")
        .host_with(HOST, "off", &pair(&origins[0], &origins[1]))
        .start();
    let mut clients = Vec::new();
    for index in 0..6 {
        let mut raw = gateway.client(HOST).raw().await.unwrap();
        raw.write(format!(
            "POST /{index} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\n12345"
        ))
        .await;
        clients.push(raw);
    }
    for index in 0..6 {
        let record = gateway.request_record(&format!("/{index}"));
        assert_eq!(record["error"], "origin_stalled", "{record}");
    }
    assert_good(&gateway);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_its_answer_slowly_has_no_address_ejected() {
    let given_up = Arc::new(AtomicUsize::new(0));
    // Gives up whoever takes nothing for so long, as servers do.
    let impatient = || {
        let given_up = given_up.clone();
        Origin::raw(move |mut stream, _| {
            let given_up = given_up.clone();
            async move {
                drop(read_head(&mut stream).await);
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
                drop(stream.write_all(head).await);
                let piece = vec![b'x'; 64 * 1024];
                let patience = Duration::from_secs(4);
                while let Ok(Ok(())) =
                    tokio::time::timeout(patience, stream.write_all(&piece)).await
                {}
                given_up.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    let origins = [impatient(), impatient()];
    let gateway = gateway_with(&pair(&origins[0], &origins[1]));
    let mut clients = Vec::new();
    for index in 0..6 {
        let mut raw = gateway.client(HOST).raw().await.unwrap();
        raw.write(format!("GET /{index} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
            .await;
        clients.push(raw);
    }
    tests::wait::until("the origins to give up", || {
        (given_up.load(Ordering::SeqCst) == 6).then_some(())
    });
    for raw in &mut clients {
        drop(raw.rest().await);
    }
    for index in 0..6 {
        let record = gateway.request_record(&format!("/{index}"));
        assert_eq!(record["error"], "response_cut", "{record}");
    }
    assert_good(&gateway);
}

/// Begins an answer on every stream, and resets it with the code that is said.
fn resetting(code: &Arc<AtomicUsize>) -> Origin {
    let code = code.clone();
    Origin::raw(move |mut stream, _| {
        let code = code.clone();
        async move {
            let mut preface = [0; 24];
            drop(stream.read_exact(&mut preface).await);
            drop(stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await);
            let mut head = [0; 9];
            while stream.read_exact(&mut head).await.is_ok() {
                let [high, middle, low, kind, flags, id @ ..] = head;
                let length = u32::from_be_bytes([0, high, middle, low]);
                let mut rest = vec![0; length as usize];
                drop(stream.read_exact(&mut rest).await);
                let frame = |kind: u8, flags: u8, id: [u8; 4], content: &[u8]| {
                    let length = u8::try_from(content.len()).unwrap();
                    [&[0, 0, length, kind, flags][..], &id, content].concat()
                };
                let answer = match kind {
                    // HEADERS: `:status: 200`, and some of a body.
                    1 => [frame(1, 4, id, &[0x88]), frame(0, 0, id, b"part")].concat(),
                    4 if flags & 1 == 0 => frame(4, 1, [0; 4], &[]),
                    6 if flags & 1 == 0 => frame(6, 1, [0; 4], &rest),
                    _ => continue,
                };
                drop(stream.write_all(&answer).await);
                if kind == 1 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    let code = u32::try_from(code.load(Ordering::SeqCst)).unwrap();
                    drop(
                        stream
                            .write_all(&frame(3, 0, id, &code.to_be_bytes()))
                            .await,
                    );
                }
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_an_origin_gives_up_in_good_order_has_no_address_ejected() {
    const CANCEL: usize = 8;
    const INTERNAL_ERROR: usize = 2;
    let code = Arc::new(AtomicUsize::new(CANCEL));
    let origins = [resetting(&code), resetting(&code)];
    let mut origin = pair(&origins[0], &origins[1]);
    origin["protocol"] = json!("http2");
    let gateway = gateway_with(&origin);
    let client = gateway.client(HOST).http2().await.unwrap();
    for index in 0..8 {
        assert!(client.get(&format!("/{index}")).await.is_err());
        let record = gateway.request_record(&format!("/{index}"));
        assert_eq!(record["error"], "response_cut", "{record}");
    }
    assert_good(&gateway);
    // With any other code it is a failure.
    code.store(INTERNAL_ERROR, Ordering::SeqCst);
    for index in 0..8 {
        assert!(client.get(&format!("/error/{index}")).await.is_err());
    }
    let states = states(&gateway);
    assert!(
        states.iter().any(|one| one["state"] == "ejected"),
        "{states:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_that_comes_to_its_end_is_an_answer_that_did() {
    // A tunnel to who wants one; to all others half of an answer.
    let half = || {
        Origin::raw(|mut stream, _| async move {
            let head = read_head(&mut stream).await.unwrap_or_default();
            if !head.to_ascii_lowercase().contains("upgrade: websocket") {
                let half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this";
                drop(stream.write_all(half).await);
                return;
            }
            let accepted = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                Connection: upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
            drop(stream.write_all(accepted).await);
            drop(stream.read(&mut [0; 16]).await);
        })
    };
    let origins = [half(), half()];
    let gateway = gateway_with(&pair(&origins[0], &origins[1]));
    let client = gateway.client(HOST).http2().await.unwrap();
    for index in 0..4 {
        assert!(client.get(&format!("/{index}")).await.is_err());
    }
    for index in 0..2 {
        let mut raw = gateway.client(HOST).raw().await.unwrap();
        raw.write(format!(
            "GET /socket/{index} HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ))
        .await;
        assert_eq!(raw.message().await.unwrap().status(), 101);
        // However its client leaves.
        drop(raw);
        let record = gateway.request_record(&format!("/socket/{index}"));
        assert_eq!(record["status"], 101, "{record}");
    }
    for index in 4..8 {
        assert!(client.get(&format!("/{index}")).await.is_err());
    }
    for state in states(&gateway) {
        assert_eq!(state["state"], "good", "twice and twice: {state}");
        assert_eq!(state["failed"], 4, "{state}");
    }
}

/// Ends its answers with the connection, over TLS: with a close_notify, or without a word like whoever
/// cuts it.
fn until_close(identity: &Identity, takes_leave: bool) -> Origin {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    builder.set_certificate(identity.leaf()).unwrap();
    builder.set_private_key(&identity.key).unwrap();
    let acceptor = builder.build();
    Origin::raw(move |stream, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = tokio_boring::accept(&acceptor, stream).await else {
                return;
            };
            drop(read_head(&mut stream).await);
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nall of it").await);
            drop(stream.flush().await);
            if takes_leave {
                drop(stream.shutdown().await);
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_ends_with_its_connection_is_whole_if_the_origin_says_so() {
    let ca = Authority::root("origins");
    let server = ca.server(&["origin.test"]);
    let over_tls = |origin: &Origin| {
        json!({
            "url": format!("https://{}", origin.address), "server_name": "origin.test",
            "ca_pem": ca.pem(), "ejection": { "failures": 0 },
        })
    };
    let plain = Origin::saying(b"HTTP/1.1 200 OK\r\n\r\nall of it", true);
    let (whole, cut) = (until_close(&server, true), until_close(&server, false));
    for (origin, is_whole) in [
        // Nobody can tell.
        (json!({ "url": plain.url() }), true),
        (over_tls(&whole), true),
        (over_tls(&cut), false),
    ] {
        let gateway = gateway_with(&origin);
        let mut http1 = gateway.client(HOST).http1().await.unwrap();
        let http2 = gateway.client(HOST).http2().await.unwrap();
        for (path, answer) in [
            ("/one", http1.get("/one").await),
            ("/two", http2.get("/two").await),
        ] {
            let record = gateway.request_record(path);
            if is_whole {
                assert_eq!(answer.unwrap().text(), "all of it", "{record}");
                assert_eq!(record["error"], Value::Null, "{record}");
            } else {
                assert!(answer.is_err(), "{record}");
                assert_eq!(record["error"], "response_cut", "{record}");
            }
        }
        let failed = if is_whole { 0 } else { 2 };
        for state in states(&gateway) {
            assert_eq!(state["failed"], failed, "{state}");
        }
    }
}
