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
    let mounted = Command::new("unshare").args(["--mount", "true"]).status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: needs the right to mount");
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
    assert!(
        gateway
            .stderr()
            .contains("the name of an origin means other addresses")
    );
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
