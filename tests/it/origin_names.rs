//! Names of origins: all addresses that one means are used, others when it means others, and the last ones
//! when it is not found any more.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};
use tests::{Gateway, Origin, Setup};

const HOST: &str = "api.example.test";

/// The addresses of the one origin that there is.
fn addresses(gateway: &Gateway) -> Vec<Value> {
    let all = gateway.admin.get("/postern/v1/origins").result();
    all[0]["addresses"].as_array().unwrap().clone()
}

fn wait_for(gateway: &Gateway, wanted: &[&str]) {
    tests::wait::until(&format!("the name to mean {wanted:?}"), || {
        let all = addresses(gateway);
        let found: Vec<&Value> = all.iter().map(|one| &one["connects_to"][0]).collect();
        (found == wanted).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_means_what_it_means_now() {
    if !may_mount() {
        return;
    }
    let one = Origin::echo();
    let port = one.address.port();
    let two = Origin::echo_at(SocketAddr::from(([127, 0, 0, 2], port)));
    let gateway = Setup::new()
        .set("workers", "1")
        .names("127.0.0.1 backend.test\n")
        .host(HOST, "off", &format!("http://backend.test:{port}"))
        .start();
    // A connection that lives through all of it.
    let client = gateway.client(HOST).http2().await.unwrap();
    let ask = async |count: usize| {
        for _ in 0..count {
            assert_eq!(client.get("/").await.unwrap().status, 200);
        }
    };
    wait_for(&gateway, &["127.0.0.1"]);
    ask(4).await;
    let idle = |gateway: &Gateway| {
        let metrics = gateway.admin.get("/metrics").body;
        let of = |line: &str| {
            line.strip_prefix("postern_origin_connections_idle{worker=\"0\"} ")?
                .parse()
                .ok()
        };
        metrics.lines().find_map(of)
    };
    tests::wait::until("an idle connection", || {
        (idle(&gateway) == Some(1)).then_some(())
    });
    let before = one.requests().len();
    gateway.mean("127.0.0.2 backend.test\n");
    wait_for(&gateway, &["127.0.0.2"]);
    // Nobody asks: the old address's connection goes all the same.
    tests::wait::until("the idle connection to end", || {
        (idle(&gateway) == Some(0)).then_some(())
    });
    ask(4).await;
    assert_eq!((one.requests().len(), two.requests().len()), (before, 4));
    gateway.says("the name of an origin means other addresses");
    gateway.mean("127.0.0.2 backend.test\n127.0.0.1 backend.test\n");
    wait_for(&gateway, &["127.0.0.1", "127.0.0.2"]);
    ask(8).await;
    assert_eq!(
        (one.requests().len(), two.requests().len()),
        (before + 4, 8)
    );
    let urls: Vec<Value> = addresses(&gateway)
        .iter()
        .map(|one| one["url"].clone())
        .collect();
    let url = |address: &str| json!(format!("http://backend.test:{port} ({address})"));
    assert_eq!(urls, [url("127.0.0.1"), url("127.0.0.2")]);
    gateway.mean("127.0.0.9 another.test\n");
    tests::wait::until("the name to be gone", || {
        addresses(&gateway)[0]["name_error"]
            .is_string()
            .then_some(())
    });
    ask(8).await;
    assert_eq!(
        (one.requests().len(), two.requests().len()),
        (before + 8, 12)
    );
    let metrics = gateway.admin.get("/metrics").body;
    assert!(metrics.contains("postern_origin_name_failing{name=\"backend.test\"} 1"));
}

/// A port where there is an origin over IPv4 and nobody over IPv6, if this machine has that.
fn ipv4_only() -> Option<Origin> {
    let origin = Origin::saying(
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        true,
    );
    let six = std::net::TcpListener::bind(("::1", origin.address.port()));
    if six.is_err() {
        eprintln!("skipped: needs IPv6");
        return None;
    }
    Some(origin)
}

fn may_mount() -> bool {
    let mounted = Command::new("unshare").args(["--mount", "true"]).status();
    let may = mounted.is_ok_and(|status| status.success());
    if !may {
        eprintln!("skipped: needs the right to mount");
    }
    may
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_another_family_stands_in_for_is_ejected_all_the_same() {
    if !may_mount() {
        return;
    }
    let Some(half) = ipv4_only() else { return };
    let whole = Origin::echo();
    let named = format!("http://half.test:{}", half.address.port());
    let gateway = Setup::new()
        .set("workers", "1")
        .names("::1 half.test\n127.0.0.1 half.test\n")
        .host_with(
            HOST,
            "off",
            &json!({ "addresses": [{ "url": named }, { "url": whole.url() }] }),
        )
        .start();
    tests::wait::until("both addresses of the name", || {
        let all = addresses(&gateway);
        (all[0]["connects_to"] == json!(["::1", "127.0.0.1"])).then_some(())
    });
    let client = gateway.client(HOST).http2().await.unwrap();
    for _ in 0..8 {
        // Its other address answers: no request fails.
        assert_eq!(client.get("/").await.unwrap().status, 200);
    }
    let found = &addresses(&gateway)[0];
    assert_eq!(found["state"], "ejected", "{found}");
    assert_eq!(found["last_failure"], "connect", "{found}");
    let served = half.connections();
    assert!(served >= 3, "{served}");
    for _ in 0..4 {
        assert_eq!(client.get("/").await.unwrap().status, 200);
    }
    assert_eq!(half.connections(), served, "it gets no more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_a_stand_in_end_with_it() {
    if !may_mount() {
        return;
    }
    let one = Origin::echo();
    let port = one.address.port();
    if std::net::TcpListener::bind(("::1", port)).is_err() {
        eprintln!("skipped: needs IPv6");
        return;
    }
    let two = Origin::echo_at(SocketAddr::from(([127, 0, 0, 2], port)));
    let gateway = Setup::new()
        .set("workers", "1")
        .names("::1 half.test\n127.0.0.1 half.test\n")
        .host(HOST, "off", &format!("http://half.test:{port}"))
        .start();
    let means = |second: &str| {
        tests::wait::until(&format!("the name to mean {second}, too"), || {
            let all = addresses(&gateway);
            (all[0]["connects_to"] == json!(["::1", second])).then_some(())
        });
    };
    means("127.0.0.1");
    let client = gateway.client(HOST).http2().await.unwrap();
    assert_eq!(client.get("/").await.unwrap().status, 200);
    assert_eq!((one.connections(), two.connections()), (1, 0));
    gateway.mean("::1 half.test\n127.0.0.2 half.test\n");
    means("127.0.0.2");
    // The address is the same, what stood in for it is not.
    for _ in 0..4 {
        assert_eq!(client.get("/").await.unwrap().status, 200);
    }
    assert_eq!((one.requests().len(), two.requests().len()), (1, 4));
}
