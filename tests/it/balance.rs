//! Origins with several addresses: by weight, by hash, by open requests; one that is killed costs no
//! request; hosts and origin rules share one by its name.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use serde_json::{Value, json};
use tests::client::body;
use tests::gateway::{ZONE, new_address};
use tests::origin::read_head;
use tests::{Gateway, Origin, Setup};
use tokio::task::JoinSet;

const HOST: &str = "api.example.test";

/// One worker: turns are each worker's own.
fn gateway_with(origin: &Value) -> Gateway {
    Setup::new()
        .set("workers", "1")
        .host_with(HOST, "off", origin)
        .start()
}

fn counts(origins: &[Origin]) -> Vec<usize> {
    origins.iter().map(|one| one.requests().len()).collect()
}

/// The state of each address of the one origin that there is.
fn states(gateway: &Gateway) -> Vec<Value> {
    let all = gateway.admin.get("/postern/v1/origins").result();
    all[0]["addresses"].as_array().unwrap().clone()
}

async fn ask(gateway: &Gateway, count: usize) {
    let mut client = gateway.client(HOST).http1().await.unwrap();
    for index in 0..count {
        assert_eq!(client.get(&format!("/{index}")).await.unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_take_turns_by_weight() {
    let origins = [Origin::echo(), Origin::echo(), Origin::echo()];
    let [one, two, three] = &origins;
    let gateway = gateway_with(&json!({ "addresses": [
        { "url": one.url() }, { "url": two.url() }, { "url": three.url(), "weight": 2 },
    ] }));
    ask(&gateway, 40).await;
    assert_eq!(counts(&origins), [10, 10, 20]);
    // Weights change while it runs, and what is known of the addresses stays.
    gateway.change_host(
        HOST,
        &json!({ "origin": { "addresses": [{ "url": one.url(), "weight": 3 }, { "url": two.url() }] } }),
    );
    ask(&gateway, 40).await;
    assert_eq!(counts(&origins), [40, 20, 20]);
    let states = states(&gateway);
    assert_eq!(
        (&states[0]["requests"], &states[0]["open_requests"]),
        (&json!(40), &json!(0))
    );
    let record = gateway.request_record("/39");
    let urls: Vec<String> = origins.iter().map(Origin::url).collect();
    assert!(urls.iter().any(|url| record["origin"] == **url), "{record}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_requests_are_kept_level() {
    let origins = [Origin::echo(), Origin::echo()];
    let urls: Vec<Value> = origins
        .iter()
        .map(|one| json!({ "url": one.url() }))
        .collect();
    let gateway = gateway_with(&json!({ "addresses": urls, "balance": "least_requests" }));
    let client = gateway.client(HOST).http2().await.unwrap();
    let mut held = JoinSet::new();
    for count in 1..=10_usize {
        let client = client.clone();
        held.spawn(async move { client.get("/hold").await.unwrap().status });
        tests::wait::until("requests to be held", || {
            let open = |state: &Value| state["open_requests"].as_u64().unwrap();
            let open: u64 = states(&gateway).iter().map(open).sum();
            (open == count as u64).then_some(())
        });
    }
    for origin in &origins {
        origin.wait_held(5);
        origin.release();
    }
    while let Some(status) = held.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    assert_eq!(counts(&origins), [5, 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_value_goes_to_the_same_address_and_few_move() {
    let mut origins = vec![
        Origin::echo(),
        Origin::echo(),
        Origin::echo(),
        Origin::echo(),
    ];
    let urls: Vec<Value> = origins
        .iter()
        .map(|one| json!({ "url": one.url() }))
        .collect();
    let gateway = Setup::new()
        .set("workers", "2")
        .host_with(
            HOST,
            "off",
            &json!({
                "addresses": urls, "balance": "hash",
                "hash_by": "http.request.headers[\"x-device\"][0]",
            }),
        )
        .start();
    // Several connections, so that both workers choose.
    let places = async |path: &str| {
        let mut places = Vec::new();
        for device in 0..40 {
            let path = format!("{path}/{device}");
            for _ in 0..2 {
                let mut client = gateway.client(HOST).http1().await.unwrap();
                let request = http::Request::get(&path)
                    .header("host", HOST)
                    .header("x-device", format!("device {device}"));
                let answer = client.send(request.body(body("")).unwrap()).await.unwrap();
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
            let record = gateway.request_record(&path);
            places.push(record["origin"].as_str().unwrap().to_owned());
        }
        places
    };
    let mut before = places("/before").await;
    let per_origin = counts(&origins);
    assert!(
        per_origin.iter().all(|count| *count > 0 && count % 2 == 0),
        "{per_origin:?}"
    );
    let gone = origins.remove(1);
    let gone_url = gone.url();
    drop(gone);
    let mut after = places("/after").await;
    for (before, after) in before.iter_mut().zip(&mut after) {
        assert_ne!(*after, gone_url);
        assert!(
            *before == gone_url || before == after,
            "{before} moved to {after}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_killed_under_load_costs_no_request_and_comes_back() {
    let mut origins = vec![Origin::echo(), Origin::echo(), Origin::echo()];
    let urls: Vec<Value> = origins
        .iter()
        .map(|one| json!({ "url": one.url() }))
        .collect();
    let gateway = Setup::new()
        .set("workers", "2")
        .host_with(
            HOST,
            "off",
            &json!({ "addresses": urls, "ejection": { "sec": 1, "max_sec": 1 }, "slow_start_sec": 0 }),
        )
        .start();
    let (asked, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut visitors = JoinSet::new();
    for visitor in 0..8 {
        let client = gateway.client(HOST).http2().await.unwrap();
        let (asked, done) = (asked.clone(), done.clone());
        visitors.spawn(async move {
            let mut failed = Vec::new();
            while done.load(Ordering::SeqCst) == 0 {
                // Some that may be repeated and some that may not.
                let mut request = client.request(&format!("/{visitor}"), body("x"));
                *request.method_mut() = if visitor % 2 == 0 {
                    Method::GET
                } else {
                    Method::PUT
                };
                let answer = client.send(request).await.unwrap();
                if answer.status != 200 {
                    failed.push((answer.status, answer.text()));
                }
                asked.fetch_add(1, Ordering::SeqCst);
            }
            failed
        });
    }
    let more = async |count: usize| {
        let until = asked.load(Ordering::SeqCst) + count;
        while asked.load(Ordering::SeqCst) < until {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    more(500).await;
    let victim = origins.remove(0);
    let (address, url) = (victim.address, victim.url());
    drop(victim);
    let of_victim = |key: &str| {
        let found = states(&gateway).into_iter().find(|one| one["url"] == *url);
        found.unwrap()[key].clone()
    };
    tests::wait::until("the address to be ejected", || {
        (of_victim("ejections").as_u64() > Some(0)).then_some(())
    });
    assert_eq!(of_victim("last_failure"), "connect");
    more(500).await;
    let again = Origin::echo_at(address);
    tests::wait::until("the address to be used again", || {
        (again.requests().len() > 20).then_some(())
    });
    assert_eq!(of_victim("state"), "good");
    done.store(1, Ordering::SeqCst);
    while let Some(failed) = visitors.join_next().await {
        assert_eq!(failed.unwrap(), [], "requests failed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_sent_goes_elsewhere_and_what_was_is_not_sent_twice() {
    let good = Origin::echo();
    // Reads a request, and closes.
    let closes = Origin::raw(|mut stream, _| async move {
        drop(read_head(&mut stream).await);
    });
    let refuses = format!("http://{}", new_address());
    let gateway = gateway_with(&json!({
        "addresses": [{ "url": refuses }, { "url": good.url() }],
        "ejection": { "failures": 0 },
    }));
    let mut client = gateway.client(HOST).http1().await.unwrap();
    let mut post = async |path: &str| {
        let request = http::Request::post(path).header("host", HOST);
        let answer = client.send(request.body(body("hello")).unwrap()).await;
        answer.unwrap().status
    };
    for index in 0..10 {
        assert_eq!(post(&format!("/connect/{index}")).await, 200);
    }
    assert_eq!(good.requests().len(), 10);
    assert_eq!(states(&gateway)[0]["ejections"], 0, "it is told not to");
    gateway.change_host(
        HOST,
        &json!({ "origin": { "addresses": [{ "url": closes.url() }, { "url": good.url() }] } }),
    );
    let statuses = [post("/once/0").await, post("/once/1").await];
    assert!(
        statuses.contains(&502) && statuses.contains(&200),
        "{statuses:?}"
    );
    // One that may be repeated goes to the other address.
    for index in 0..10 {
        let answer = gateway
            .client(HOST)
            .get(&format!("/again/{index}"))
            .await
            .unwrap();
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_tries_so_many_addresses_and_no_more() {
    let addresses = [(); 12].map(|()| json!({ "url": format!("http://{}", new_address()) }));
    let gateway = gateway_with(&json!({ "addresses": addresses, "ejection": { "failures": 0 } }));
    assert_eq!(gateway.client(HOST).get("/").await.unwrap().status, 502);
    let tried = |state: &Value| state["requests"].as_u64().unwrap();
    assert_eq!(states(&gateway).iter().map(tried).sum::<u64>(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_is_read_again_forgets_nothing_of_addresses() {
    let good = Origin::echo();
    let refuses = format!("http://{}", new_address());
    let gateway = gateway_with(&json!({
        "addresses": [{ "url": refuses }, { "url": good.url() }],
        "ejection": { "failures": 1, "sec": 600, "max_sec": 600 },
    }));
    ask(&gateway, 4).await;
    let before = states(&gateway);
    assert_eq!(before[0]["state"], "ejected");
    gateway.signal("HUP");
    tests::wait::until("the configuration to be read again", || {
        gateway.stderr().contains("was read again").then_some(())
    });
    let after = states(&gateway);
    assert_eq!(after[0]["state"], "ejected");
    assert_eq!(after[1]["requests"], before[1]["requests"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_say_that_it_is_down_eject_and_no_more_than_may_be() {
    let down = Origin::saying(b"HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n", false);
    let too = Origin::saying(b"HTTP/1.1 502 Down\r\nContent-Length: 0\r\n\r\n", false);
    let good = Origin::echo();
    let gateway = gateway_with(&json!({
        "addresses": [{ "url": down.url() }, { "url": too.url() }, { "url": good.url() }],
        "ejection": { "failures": 2, "max_percent": 40 },
    }));
    let mut client = gateway.client(HOST).http1().await.unwrap();
    let mut bad = 0;
    for _ in 0..60 {
        bad += usize::from(client.get("/").await.unwrap().status != 200);
    }
    let states = states(&gateway);
    let out = states.iter().filter(|one| one["state"] == "ejected");
    assert_eq!(out.count(), 1, "of three no more than one: {states:?}");
    assert!((20..=32).contains(&bad), "half of what is left: {bad}");
    assert!(
        states.iter().any(|one| one["last_failure"] == "status"),
        "{states:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_breaks_its_answers_off_is_ejected() {
    let sized = Origin::saying(
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        true,
    );
    let whole = Origin::echo();
    let gateway = gateway_with(&json!({ "addresses": [
        { "url": sized.url() }, { "url": whole.url() },
    ] }));
    let client = gateway.client(HOST).http2().await.unwrap();
    let mut cut = 0;
    for index in 0..20 {
        cut += usize::from(client.get(&format!("/{index}")).await.is_err());
    }
    let states = states(&gateway);
    assert_eq!(cut, 3, "of twenty requests that take turns: {states:?}");
    assert_eq!(states[0]["state"], "ejected", "{}", states[0]);
    assert_eq!(states[0]["last_failure"], "cut", "{}", states[0]);
    assert_eq!(states[1]["failed"], 0, "{}", states[1]);
    // What a client breaks off is no fault of an address.
    for index in 0..6 {
        let mut raw = gateway.client(HOST).raw().await.unwrap();
        raw.write(format!(
            "GET /source/10000000?{index} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
        ))
        .await;
        drop(raw);
    }
    ask(&gateway, 4).await;
    assert_eq!(gateway_failures(&gateway, 1), json!(0));
}

/// How many requests have failed at an address.
fn gateway_failures(gateway: &Gateway, place: usize) -> Value {
    states(gateway)[place]["failed"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_and_rules_share_an_origin_by_its_name() {
    let origins = [Origin::echo(), Origin::echo()];
    let [one, two] = &origins;
    let own = Origin::echo();
    let gateway = Setup::new()
        .set("workers", "1")
        .host(HOST, "off", &own.url())
        .host("other.example.test", "off", &own.url())
        .start();
    let urls = [one.url(), two.url()];
    let made = gateway.cli(&[
        "origin", "add", "backends", "--zone", ZONE, "--origin", &urls[0], "--origin", &urls[1],
    ]);
    assert!(made.out.contains("nothing uses it yet"), "{made:?}");
    let set = gateway.cli(&["host", "set", "other.example.test", "--origin", "backends"]);
    assert!(set.out.contains("backends"), "{set:?}");
    let zone = gateway.zone_id(ZONE);
    let path = format!("/client/v4/zones/{zone}/rulesets/phases/http_request_origin/entrypoint");
    let rule = |name: &str| {
        let parameters = json!({ "origin": { "name": name } });
        json!({ "rules": [{ "action": "route", "action_parameters": parameters,
            "expression": "starts_with(http.request.uri.path, \"/api/\")" }] })
    };
    let unknown = gateway.admin.call("PUT", &path, &rule("backend"));
    assert_eq!(unknown.status, 400, "{}", unknown.body);
    assert!(
        unknown.body.contains("no origin `backend`"),
        "{}",
        unknown.body
    );
    drop(gateway.admin.call("PUT", &path, &rule("backends")).result());
    let mut client = gateway.client(HOST).http1().await.unwrap();
    for index in 0..6 {
        assert_eq!(
            client.get(&format!("/api/{index}")).await.unwrap().status,
            200
        );
        assert_eq!(
            client.get(&format!("/own/{index}")).await.unwrap().status,
            200
        );
    }
    let other = gateway.client("other.example.test");
    for index in 0..4 {
        assert_eq!(other.get(&format!("/x/{index}")).await.unwrap().status, 200);
    }
    assert_eq!((counts(&origins), own.requests().len()), (vec![5, 5], 6));

    let shown = gateway.cli(&["origin", "show", "backends", "--zone", ZONE]);
    assert!(
        shown.out.contains("host other.example.test, origin rule 1"),
        "{shown:?}"
    );
    assert!(shown.out.contains("good"), "{shown:?}");
    let all = gateway.cli(&["origin", "list"]);
    assert!(
        all.out.contains(&format!("{ZONE}/backends")) && all.out.contains(HOST),
        "{all:?}"
    );
    let refused = gateway.cli(&["origin", "delete", "backends", "--zone", ZONE]);
    assert_ne!(refused.code, 0);
    assert!(
        refused
            .err
            .contains("host other.example.test and origin rule 1"),
        "{refused:?}"
    );
    // A document has all of it, and takes it to a gateway that has nothing.
    let document = gateway.cli(&["export", "--private-keys"]).out;
    let empty = Setup::default().start();
    let file = empty.file("document.yaml");
    std::fs::write(&file, &document).unwrap();
    let applied = empty.cli(&["apply", file.to_str().unwrap()]);
    assert_eq!(applied.code, 0, "{applied:?}");
    assert_eq!(empty.cli(&["export"]).out, gateway.cli(&["export"]).out);
    // Without hosts and rules that name it, it goes.
    let set = gateway.cli(&["host", "set", "other.example.test", "--origin", &own.url()]);
    assert_eq!(set.code, 0, "{set:?}");
    drop(
        gateway
            .admin
            .call("PUT", &path, &json!({ "rules": [] }))
            .result(),
    );
    let gone = gateway.cli(&["origin", "delete", "backends", "--zone", ZONE]);
    assert_eq!(gone.out, "removed backends\n", "{gone:?}");
}

#[test]
fn the_command_says_addresses_weights_and_ways() {
    let gateway = Setup::new().host(HOST, "off", "http://127.0.0.1:9").start();
    let set = |more: &[&str]| gateway.cli(&[&["host", "set", HOST], more].concat());
    let outcome = set(&[
        "--origin",
        "http://127.0.0.1:1,weight=3",
        "--origin",
        "http://127.0.0.1:2",
    ]);
    assert!(
        outcome
            .out
            .contains("http://127.0.0.1:1, http://127.0.0.1:2"),
        "{outcome:?}"
    );
    assert!(outcome.out.contains("round_robin"), "{outcome:?}");
    let outcome = set(&[
        "--origin-hash-by",
        "ip.src",
        "--origin-ejection",
        "failures=5,sec=20",
    ]);
    assert!(outcome.out.contains("hash of ip.src"), "{outcome:?}");
    let host = gateway
        .admin
        .get(&format!("/postern/v1/hosts/{HOST}"))
        .result();
    assert_eq!(host["origin"]["addresses"][0]["weight"], 3, "{host}");
    assert_eq!(
        host["origin"]["ejection"],
        json!({ "failures": 5, "sec": 20 })
    );
    // One again, and nothing is left of what was said of several.
    let outcome = set(&["--origin", "http://127.0.0.1:9"]);
    assert!(!outcome.out.contains("hash of"), "{outcome:?}");
    for (wrong, said) in [
        (
            vec!["--origin", "127.0.0.1:9000"],
            "expected `http://HOST[:PORT]`",
        ),
        (
            vec!["--origin", "nobody"],
            "the zone has no origin `nobody`",
        ),
        (vec!["--origin", "http://a.test,share=3"], "weight=NUMBER"),
        (
            vec!["--origin", "http://a.test", "--origin", "https://b.test"],
            "another scheme",
        ),
        (
            vec!["--origin", "http://a.test", "--origin", "http://a.test:80"],
            "there twice",
        ),
        (vec!["--origin-hash-by", "ip.source"], "hash_by"),
        (vec!["--origin-ejection", "times=3"], "KEY=NUMBER"),
    ] {
        let outcome = set(&wrong);
        assert_ne!(outcome.code, 0, "{outcome:?}");
        assert!(outcome.err.contains(said), "{wrong:?}: {outcome:?}");
    }
}
