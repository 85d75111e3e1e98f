//! Health checks: an address that fails them gets no requests, from one place for all workers, and one
//! line of the log says so.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::{Value, json};
use tests::gateway::{ZONE, new_address};
use tests::origin::read_head;
use tests::tool::python;
use tests::{Authority, Gateway, Origin, Setup, wait};
use tokio::io::AsyncWriteExt;

const HOST: &str = "api.example.test";

/// An origin whose `/healthz` says what the test wants. Counts its checks and its requests.
struct Patient {
    origin: Origin,
    is_well: Arc<AtomicBool>,
    checks: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Patient {
    fn new() -> Self {
        let is_well = Arc::new(AtomicBool::new(true));
        let (checks, requests) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (well, checked, asked) = (is_well.clone(), checks.clone(), requests.clone());
        let origin = Origin::raw(move |mut stream, _| {
            let (well, checked, asked) = (well.clone(), checked.clone(), asked.clone());
            async move {
                while let Some(head) = read_head(&mut stream).await {
                    let status = if head.starts_with("GET /healthz ") {
                        checked.fetch_add(1, Ordering::SeqCst);
                        assert!(head.contains("(health)"), "{head}");
                        assert!(head.contains("host: well.test\r\n"), "{head}");
                        if well.load(Ordering::SeqCst) {
                            "204 Fine"
                        } else {
                            "500 Ill"
                        }
                    } else {
                        asked.fetch_add(1, Ordering::SeqCst);
                        "200 OK"
                    };
                    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        });
        Self {
            origin,
            is_well,
            checks,
            requests,
        }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn addresses(gateway: &Gateway) -> Vec<Value> {
    let all = gateway.admin.get("/postern/v1/origins").result();
    all[0]["addresses"].as_array().unwrap().clone()
}

fn wait_for_health(gateway: &Gateway, place: usize, health: &str) -> Value {
    wait::until(&format!("the address {place} to be {health}"), || {
        let found = addresses(gateway)[place].clone();
        (found["health"] == *health).then_some(found)
    })
}

async fn ask(gateway: &Gateway, count: usize) {
    for index in 0..count {
        let answer = gateway
            .client(HOST)
            .get(&format!("/{index}"))
            .await
            .unwrap();
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_fails_its_checks_gets_no_requests_until_it_is_well() {
    let (one, two) = (Patient::new(), Patient::new());
    let started = Instant::now();
    let gateway = Setup::new()
        .set("workers", "2")
        .host_with(
            HOST,
            "off",
            &json!({
                "addresses": [{ "url": one.origin.url() }, { "url": two.origin.url() }],
                "health": { "kind": "http", "path": "/healthz", "host": "well.test",
                    "interval_sec": 1, "unhealthy": 2, "healthy": 1 },
                "slow_start_sec": 0,
            }),
        )
        .start();
    wait_for_health(&gateway, 0, "healthy");
    wait_for_health(&gateway, 1, "healthy");
    one.is_well.store(false, Ordering::SeqCst);
    let ill = wait_for_health(&gateway, 0, "unhealthy");
    assert_eq!(ill["state"], "unhealthy");
    assert_eq!(ill["health_error"], "it answers 500 Internal Server Error");
    let before = (one.requests(), two.requests());
    ask(&gateway, 20).await;
    assert_eq!((one.requests(), two.requests()), (before.0, before.1 + 20));
    let metrics = gateway.admin.get("/metrics").body;
    let sample = |url: &str, value: u8| {
        format!("postern_origin_healthy{{origin=\"{HOST}\",address=\"{url}\"}} {value}\n")
    };
    assert!(metrics.contains(&sample(&one.origin.url(), 0)), "{metrics}");
    assert!(metrics.contains(&sample(&two.origin.url(), 1)), "{metrics}");
    let doctor = gateway.cli(&["doctor", HOST]);
    assert!(doctor.out.contains("gets no requests"), "{doctor:?}");
    one.is_well.store(true, Ordering::SeqCst);
    wait_for_health(&gateway, 0, "healthy");
    ask(&gateway, 20).await;
    assert!(one.requests() > before.0, "it gets requests again");
    // From one place, however many workers there are.
    let checks = one.checks.load(Ordering::SeqCst);
    let most = started.elapsed().as_secs_f64() / 0.9 + 2.0;
    assert!((checks as f64) < most, "{checks} checks in {most} s");
    // One line each way.
    let lines = wait::until("both lines", || {
        let log = gateway.stderr();
        let of_address = log.lines().filter(|line| line.contains(&one.origin.url()));
        let lines: Vec<String> = of_address.map(str::to_owned).collect();
        (lines.len() >= 2).then_some(lines)
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("its health checks fail"), "{lines:?}");
    assert!(lines[1].contains("gets requests again"), "{lines:?}");
    // Without checks nothing is known, and that is no reason against it.
    one.is_well.store(false, Ordering::SeqCst);
    wait_for_health(&gateway, 0, "unhealthy");
    gateway.change_host(HOST, &json!({ "origin": { "health": null } }));
    wait_for_health(&gateway, 0, "unknown");
    assert_eq!(addresses(&gateway)[0]["state"], "good");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_no_address_is_good_all_are_used() {
    let (one, two) = (Patient::new(), Patient::new());
    one.is_well.store(false, Ordering::SeqCst);
    two.is_well.store(false, Ordering::SeqCst);
    let gateway = Setup::new()
        .set("workers", "1")
        .host_with(
            HOST,
            "off",
            &json!({
                "addresses": [{ "url": one.origin.url() }, { "url": two.origin.url() }],
                "health": { "kind": "http", "path": "/healthz", "host": "well.test",
                    "interval_sec": 1, "unhealthy": 1 },
            }),
        )
        .start();
    wait_for_health(&gateway, 0, "unhealthy");
    wait_for_health(&gateway, 1, "unhealthy");
    ask(&gateway, 10).await;
    assert_eq!((one.requests(), two.requests()), (5, 5));
    let all = gateway.admin.get("/postern/v1/origins").result();
    assert_eq!(all[0]["all_used"], true);
    wait::until("the line that says so", || {
        gateway
            .stderr()
            .contains("requests go to all of them")
            .then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_checked_and_so_are_certificates() {
    let ca = Authority::root("Origin CA");
    let good = Origin::echo_tls(&ca.server(&["o.test"]), b"\x02h2\x08http/1.1");
    let foreign = Authority::root("Another CA").server(&["o.test"]);
    let wrong = Origin::echo_tls(&foreign, b"\x08http/1.1");
    let nobody = format!("https://{}", new_address());
    let url = |origin: &Origin| format!("https://{}", origin.address);
    let gateway = Setup::new()
        .set("workers", "1")
        .host_with(
            HOST,
            "off",
            &json!({
                "addresses": [{ "url": url(&good) }, { "url": url(&wrong) }, { "url": nobody }],
                "server_name": "o.test", "ca_pem": ca.pem(),
                "health": { "kind": "http", "path": "/status/418", "status": 418,
                    "interval_sec": 1, "unhealthy": 1 },
            }),
        )
        .start();
    wait_for_health(&gateway, 0, "healthy");
    let found = wait_for_health(&gateway, 1, "unhealthy");
    assert!(
        found["health_error"].as_str().unwrap().contains("TLS"),
        "{found}"
    );
    let found = wait_for_health(&gateway, 2, "unhealthy");
    assert!(
        found["health_error"]
            .as_str()
            .unwrap()
            .contains("connected"),
        "{found}"
    );
    ask(&gateway, 5).await;
    gateway.change_host(
        HOST,
        &json!({ "origin": { "health": { "kind": "tcp", "interval_sec": 1, "healthy": 1 } } }),
    );
    // It takes connections: whether its certificate is believed was not asked.
    wait_for_health(&gateway, 1, "healthy");
    assert_eq!(addresses(&gateway)[2]["health"], "unhealthy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_health_service_of_grpc_is_asked() {
    let Some(python) = python("grpc", "grpcio") else {
        return;
    };
    let gateway = Setup::new().start();
    let file = |name: &str| gateway.file(name);
    let mut servers = Vec::new();
    let mut urls = Vec::new();
    for name in ["one", "two"] {
        std::fs::write(file(name), "").unwrap();
        let port_file = file(&format!("{name}.port"));
        let mut command = Command::new(&python);
        command.args(["-c", include_str!("grpc_health.py")]);
        command.arg(&port_file).arg(file(name));
        servers.push(command.spawn().unwrap());
        let port = wait::until("the gRPC server", || {
            std::fs::read_to_string(&port_file).ok()
        });
        urls.push(json!({ "url": format!("http://127.0.0.1:{port}") }));
    }
    let host = json!({
        "name": HOST, "mtls": "off",
        "origin": { "addresses": urls, "protocol": "http2", "slow_start_sec": 0, "health": {
            "kind": "grpc", "service": "orders.Orders", "interval_sec": 1, "unhealthy": 1,
            "healthy": 1 } },
    });
    let path = format!("/postern/v1/zones/{}/hosts", gateway.zone_id(ZONE));
    drop(gateway.admin.call("POST", &path, &host).result());
    wait_for_health(&gateway, 0, "healthy");
    wait_for_health(&gateway, 1, "healthy");
    std::fs::remove_file(file("one")).unwrap();
    let found = wait_for_health(&gateway, 0, "unhealthy");
    assert_eq!(
        found["health_error"],
        "the health service does not say SERVING"
    );
    std::fs::write(file("one"), "").unwrap();
    wait_for_health(&gateway, 0, "healthy");
    // A service that it does not know.
    gateway.change_host(
        HOST,
        &json!({ "origin": { "health": { "kind": "grpc", "service": "unknown.Service",
            "interval_sec": 1, "unhealthy": 1 } } }),
    );
    let found = wait_for_health(&gateway, 1, "unhealthy");
    assert_eq!(found["health_error"], "it answers grpc-status 5");
    for mut server in servers {
        drop(server.kill());
        drop(server.wait());
    }
}
