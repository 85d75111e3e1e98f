//! Cloudflare's published SDKs for Python and Node, unmodified, with another base URL and a token.

use std::path::PathBuf;
use std::process::Command;

use fixtures::new_loopback;
use tests::tool::{python, run};
use tests::{Gateway, Setup, pki};

const SCRIPT: &str = include_str!("sdk.py");
const NODE_SCRIPT: &str = include_str!("sdk.mjs");

/// The directory that `cargo xtask test` has given the SDK for Node to. Node itself is on the path.
fn node() -> Option<PathBuf> {
    let home = std::env::var_os("POSTERN_TEST_NODE").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/node")),
        PathBuf::from,
    );
    let probe = Command::new("node").arg("--version").output();
    if probe.is_ok_and(|done| done.status.success())
        && home.join("node_modules/cloudflare").is_dir()
    {
        return Some(home);
    }
    eprintln!("skipped: needs node, and the package that `cargo xtask setup` gives it");
    None
}

/// A gateway with an API over TCP, what the scripts read beside it, and their base URL and token.
fn started() -> (Gateway, String, String) {
    let address = new_loopback();
    let gateway = Setup::new()
        .set("admin.listen", &address.to_string())
        .start();
    let server = gateway.servers.server(&["api.sdk.test"]);
    for (name, text) in [
        ("device.csr", pki::request("device").0),
        ("ca.pem", pki::Authority::root("Partners").pem()),
        ("server.pem", server.chain_pem()),
        ("server.key", server.key_pem()),
    ] {
        std::fs::write(gateway.file(name), text).unwrap();
    }
    let token = gateway.cli(&["token", "create", "sdk", "--scope", "all", "--json"]);
    let token = token.json()["value"].as_str().unwrap().to_owned();
    (gateway, format!("http://{address}/client/v4"), token)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_and_wrong_input() {
    let Some(python) = python("cloudflare", "cloudflare") else {
        return;
    };
    let (gateway, url, token) = started();
    let outcome = run(Command::new(python)
        .args(["-c", SCRIPT, &url, &token])
        .arg(&gateway.directory));
    assert!(outcome.out.contains("all good"), "{outcome:?}");
    assert!(
        !gateway.stderr().contains("panicked"),
        "{}",
        gateway.stderr()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_calls_of_scripts_by_node() {
    let Some(home) = node() else { return };
    let (gateway, url, token) = started();
    // A script that is an argument finds packages from where it is run.
    let outcome = run(Command::new("node")
        .current_dir(home)
        .args(["--input-type=module", "--eval", NODE_SCRIPT, "--", &url])
        .arg(&token)
        .arg(&gateway.directory));
    assert!(outcome.out.contains("all good"), "{outcome:?}");
}
