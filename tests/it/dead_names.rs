//! Names that no name server answers for: the system hangs over each for half a minute. What names them fails;
//! everything else goes on, and no thread is left behind for each that asks.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Value, json};
use tests::{Gateway, Origin, Setup};

const DEAD: &str = "dead.example.test";
const GOOD: &str = "api.other.test";

/// Threads that there may be beside those of the start: those of names (`fetch::limits::NAMES_THREADS`), and some
/// that come and go.
const MORE_THREADS: usize = 192 + 64;

/// A name server that takes questions and says nothing.
struct Silent(UdpSocket);

impl Silent {
    /// At an address of loopback that only this test has; `None` where it may not be.
    fn new() -> Option<Self> {
        static COUNT: AtomicU8 = AtomicU8::new(0);
        let mounted = Command::new("unshare").args(["--mount", "true"]).status();
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let net = 53 + COUNT.fetch_add(1, Relaxed);
        let bound = UdpSocket::bind((Ipv4Addr::new(127, net, high, low.max(1)), 53));
        let (Ok(true), Ok(socket)) = (mounted.map(|status| status.success()), bound) else {
            eprintln!("skipped: needs the right to mount, and port 53");
            return None;
        };
        socket.set_nonblocking(true).unwrap();
        Some(Self(socket))
    }

    /// Has the gateway ask it: three times, ten seconds each.
    fn serve(&self, gateway: &Gateway) {
        let address = self.0.local_addr().unwrap().ip();
        let text = format!("nameserver {address}\noptions timeout:10 attempts:3\n");
        std::fs::write(gateway.file("resolv.conf"), text).unwrap();
    }

    /// Whether it was asked for a name.
    fn was_asked(&self) -> bool {
        self.0.recv(&mut [0; 512]).is_ok()
    }
}

/// Names mean this from now on. The file is never empty meanwhile: whoever is asked instead says nothing.
fn mean(gateway: &Gateway, hosts: &str) {
    let mut file = std::fs::OpenOptions::new();
    let file = file.write(true).open(gateway.file("names")).unwrap();
    file.write_all_at(hosts.as_bytes(), 0).unwrap();
    file.set_len(hosts.len() as u64).unwrap();
}

fn threads(gateway: &Gateway) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let count = status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"));
    count.unwrap().trim().parse().unwrap()
}

/// The addresses of an origin, by its label.
fn addresses(gateway: &Gateway, label: &str) -> Vec<Value> {
    let all = gateway.admin.get("/postern/v1/origins").result();
    let all = all.as_array().unwrap().iter();
    let found = all.filter(|one| one["label"] == label);
    let found = found.flat_map(|one| one["addresses"].as_array().unwrap().clone());
    found.collect()
}

fn new_host(gateway: &Gateway, zone: &str, name: &str, url: &str) {
    let path = format!("/postern/v1/zones/{}/hosts", gateway.zone_id(zone));
    let host = json!({ "name": name, "mtls": "off", "origin": { "url": url } });
    drop(gateway.admin.call("POST", &path, &host).result());
}

/// Sends requests of the first zone's hosts below `/elsewhere/` to that name.
fn route(gateway: &Gateway, host: &str, port: u16) {
    let zone = gateway.zone_id("example.test");
    let path = format!("/client/v4/zones/{zone}/rulesets/phases/http_request_origin/entrypoint");
    let rule = json!({ "rules": [{ "action": "route",
        "action_parameters": { "origin": { "host": host, "port": port } },
        "expression": "starts_with(http.request.uri.path, \"/elsewhere/\")" }] });
    drop(gateway.admin.call("PUT", &path, &rule).result());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_nobody_answers_for_hold_up_nothing_else() {
    let Some(silent) = Silent::new() else { return };
    let origin = Origin::echo();
    let port = origin.address.port();
    let gateway = Setup::new()
        .zone("other.test")
        .set("workers", "1")
        .set("timeout.origin_connect", "5s")
        .names("127.0.0.1 good.test\n")
        .host(GOOD, "require", &format!("http://good.test:{port}"))
        .start();
    let (id, device) = gateway.certificate("other.test", "device");
    let good = gateway.client(GOOD).identity(&device);
    assert_eq!(good.get("/").await.unwrap().status, 200);
    let before = threads(&gateway);
    silent.serve(&gateway);

    // More than are looked up at once of a zone, each checked once a second.
    for (host, numbers) in [(DEAD, 0..40), ("more.example.test", 40..80)] {
        let dead = numbers.map(|number| json!({ "url": format!("http://dead-{number}.test") }));
        let origin = json!({ "addresses": dead.collect::<Vec<_>>(),
            "health": { "kind": "tcp", "interval_sec": 1, "timeout_sec": 1, "unhealthy": 2 } });
        let path = format!(
            "/postern/v1/zones/{}/hosts",
            gateway.zone_id("example.test")
        );
        let host = json!({ "name": host, "mtls": "off", "origin": origin });
        drop(gateway.admin.call("POST", &path, &host).result());
    }
    route(&gateway, "nowhere.test", 80);
    // More requests than a worker has threads, to an origin and to where a rule leads.
    let mut burst = tokio::task::JoinSet::new();
    for connection in 0..8 {
        let client = gateway.client(DEAD);
        burst.spawn(async move {
            let client = client.http2().await.unwrap();
            let mut all = tokio::task::JoinSet::new();
            for number in 0..80 {
                let client = client.clone();
                let path = ["/", "/elsewhere/"][number % 2];
                let path = format!("{path}{connection}/{number}");
                all.spawn(async move { client.get(&path).await.unwrap().status });
            }
            assert_eq!(all.join_all().await, vec![502; 80]);
        });
    }
    tests::wait::until("the name server to be asked", || {
        silent.was_asked().then_some(())
    });
    let mut most = 0;
    let mut look = || {
        most = most.max(threads(&gateway));
        let bound = before + MORE_THREADS;
        assert!(most <= bound, "{before} threads, then {most}");
    };
    tests::wait::until("all addresses to be out", || {
        look();
        let all = addresses(&gateway, DEAD);
        let out = all
            .iter()
            .filter(|one| one["health"] == "unhealthy")
            .count();
        (out == 40).then_some(())
    });
    while let Some(ended) = burst.join_next().await {
        ended.unwrap();
        look();
    }
    for path in ["/0/0", "/elsewhere/0/1"] {
        assert_eq!(gateway.request_record(path)["error"], "origin_resolve");
    }

    // Changes hold, and what is known can be asked for.
    assert_eq!(gateway.admin.get("/metrics").status, 200);
    let open = good.http2().await.unwrap();
    assert_eq!(open.get("/").await.unwrap().status, 200);
    gateway.revoke("other.test", &id);
    open.closed().await;
    // Names that are answered for go on being looked up, and new ones are at once, for a first request, too:
    // those of other zones,
    mean(
        &gateway,
        "127.0.0.2 good.test\n127.0.0.1 new.test\n127.0.0.1 there.test\n",
    );
    tests::wait::until("the name to mean another address", || {
        let all = addresses(&gateway, GOOD);
        (all[0]["connects_to"][0] == "127.0.0.2").then_some(())
    });
    let url = format!("http://new.test:{port}");
    new_host(&gateway, "other.test", "new.other.test", &url);
    assert_eq!(
        gateway
            .client("new.other.test")
            .get("/")
            .await
            .unwrap()
            .status,
        200
    );
    // and those of the same zone, when one more of it is tried.
    new_host(&gateway, "example.test", "new.example.test", &url);
    assert_eq!(
        gateway
            .client("new.example.test")
            .get("/")
            .await
            .unwrap()
            .status,
        200
    );
    route(&gateway, "there.test", port);
    let client = gateway.client("new.example.test");
    assert_eq!(client.get("/elsewhere/1").await.unwrap().status, 200);
    look();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_had_an_answer_is_connected_to_whoever_is_silent() {
    let Some(silent) = Silent::new() else { return };
    let origin = Origin::echo();
    let port = origin.address.port();
    let mut gateway = Setup::new()
        .set("workers", "1")
        .names("127.0.0.1 there.test\n")
        .host("api.example.test", "off", "http://127.0.0.1:9")
        .start();
    route(&gateway, "there.test", port);
    let client = gateway.client("api.example.test");
    assert_eq!(client.get("/elsewhere/1").await.unwrap().status, 200);
    let metric = |gateway: &Gateway, line: &str| {
        tests::wait::until(line, || {
            gateway
                .admin
                .get("/metrics")
                .body
                .contains(line)
                .then_some(())
        });
    };
    metric(
        &gateway,
        "postern_origin_name_addresses{name=\"there.test\"} 1",
    );
    silent.serve(&gateway);
    mean(&gateway, "127.0.0.1 another.test\n");
    tests::wait::until("the name server to be asked", || {
        silent.was_asked().then_some(())
    });
    // Each over a connection of its own: nothing of it is pooled for long.
    for number in 0..4 {
        let path = format!("/elsewhere/{number}");
        assert_eq!(client.get(&path).await.unwrap().status, 200);
    }
    // A new process has what the old one had found.
    let before = gateway.pid();
    assert_ne!(gateway.upgrade(), before);
    assert_eq!(client.get("/elsewhere/new").await.unwrap().status, 200);
    metric(
        &gateway,
        "postern_origin_name_addresses{name=\"there.test\"} 1",
    );
}
