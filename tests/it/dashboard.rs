//! The dashboard in a real browser: the documents' steps, and real clients that are refused and let
//! in accordingly.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fixtures::new_loopback;
use serde_json::{Value, json};
use tests::crl::{self, CrlSpec};
use tests::gateway::ZONE;
use tests::tool::{self, run};
use tests::{Gateway, Origin, Setup, pki};

const HOST: &str = "api.example.test";

/// The sources of the dashboard, when all that its test needs is there.
pub(crate) fn dashboard() -> Option<PathBuf> {
    let home = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../gateway/dashboard"));
    let node = Command::new("node").arg("--version").output();
    let has_node = node.is_ok_and(|done| done.status.success());
    let has_chromium = ["/usr/bin/chromium", "/usr/bin/chromium-browser"]
        .iter()
        .any(|path| PathBuf::from(path).exists());
    if has_node && has_chromium && home.join("node_modules/playwright-core").is_dir() {
        return Some(home);
    }
    eprintln!("skipped: needs chromium and node, which `cargo xtask setup` brings");
    None
}

/// A gateway with an API over TCP, and its address.
fn start(origin: &Origin) -> (Gateway, String) {
    start_with(Setup::new().host(HOST, "request", &origin.url()))
}

fn start_with(setup: Setup) -> (Gateway, String) {
    let admin = new_loopback().to_string();
    let gateway = setup.set("admin.listen", &admin).start();
    (gateway, admin)
}

pub(crate) fn has_dashboard(gateway: &Gateway) -> bool {
    let page = gateway.admin.get("/").body;
    let built = !page.contains("built without the dashboard");
    if !built {
        eprintln!("skipped: needs a gateway with its dashboard (`cargo xtask dashboard`)");
    }
    built
}

/// What a script needs to know of its gateway: a link that signs in, tokens, and where clients ask.
fn told(gateway: &Gateway, admin: &str) -> Value {
    let token = |name: &str, scope: &str, zone: &[&str]| {
        let create = ["token", "create", name, "--scope", scope, "--json"];
        gateway.cli(&[&create[..], zone].concat()).json()
    };
    let read = token("reads", "read", &[]);
    let all = token("all", "all", &[]);
    let zone = token("tenant", "certificates", &["--zone", ZONE]);
    let ca = gateway.file("servers.pem");
    std::fs::write(&ca, gateway.servers.pem()).unwrap();
    let link = gateway.cli(&["dashboard"]).ok();
    let socket = gateway.file("admin.sock");
    json!({
        "link": link.trim(),
        "makes_link": [tool::postern(), PathBuf::from("--socket"), socket, PathBuf::from("dashboard")],
        "url": format!("http://{admin}"),
        "address": gateway.address.to_string(),
        "ca": ca,
        "zone": gateway.zone_id(ZONE),
        "tokens": {
            "read": read["value"],
            "read_id": read["id"],
            "all": all["value"],
            "zone": zone["value"],
        },
    })
}

/// Runs a script of the dashboard's tests to its good end.
fn script(home: &Path, name: &str, told: &Value) {
    let outcome = run(Command::new("node")
        .current_dir(home)
        .arg(format!("tests/{name}"))
        .arg(told.to_string()));
    assert!(outcome.out.contains("all good"), "{outcome:?}");
    // What was measured.
    eprint!("{}", outcome.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documents_steps_in_a_browser() {
    let Some(home) = dashboard() else { return };
    let origin = Origin::echo();
    let (gateway, admin) = start(&origin);
    if !has_dashboard(&gateway) {
        return;
    }
    let mut told = told(&gateway, &admin);
    told["log"] = json!(gateway.file("access.log"));
    told["origin"] = origin.url().into();
    told["csr"] = pki::request("own-device").0.into();
    let partners = pki::Authority::root("Partners");
    told["partners"] = partners.pem().into();
    let gone = partners.client("gone");
    told["list"] = crl::pem(&CrlSpec::revoking(7, &[&gone]).sign(&partners)).into();
    // A name that no certificate of the zone is for.
    let server = gateway.servers.server(&["deep.down.example.test"]);
    told["server"] = json!({ "chain": server.chain_pem(), "key": server.key_pem() });
    script(&home, "steps.mjs", &told);
    assert!(!gateway.stderr().contains("panicked"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_rule_in_a_browser() {
    let Some(home) = dashboard() else { return };
    let origin = Origin::echo();
    let second = Origin::saying(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond", true);
    let (gateway, admin) = start(&origin);
    if !has_dashboard(&gateway) {
        return;
    }
    let mut told = told(&gateway, &admin);
    told["second"] = second.url().into();
    script(&home, "kinds.mjs", &told);
    assert!(!gateway.stderr().contains("panicked"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_people_and_what_is_shared_in_a_browser() {
    let Some(home) = dashboard() else { return };
    let origin = Origin::echo();
    let (gateway, admin) = start(&origin);
    if !has_dashboard(&gateway) {
        return;
    }
    script(&home, "together.mjs", &told(&gateway, &admin));
    assert!(!gateway.stderr().contains("panicked"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_rules_and_a_restart_under_the_page() {
    let Some(home) = dashboard() else { return };
    let origin = Origin::echo();
    let (mut gateway, admin) = start(&origin);
    if !has_dashboard(&gateway) {
        return;
    }
    let rules: Vec<_> = (0..100_000)
        .map(|number| {
            json!({
                "action": "log",
                "description": format!("rule number {number}"),
                "expression": format!("http.request.uri.path eq \"/{number}\""),
            })
        })
        .collect();
    let path = format!(
        "/client/v4/zones/{}/rulesets/phases/http_request_firewall_custom/entrypoint",
        gateway.zone_id(ZONE)
    );
    let body = json!({ "rules": rules });
    assert_eq!(gateway.admin.call("PUT", &path, &body).status, 200);
    let token = gateway.cli(&["token", "create", "reads", "--scope", "read", "--json"]);
    let link = gateway.cli(&["dashboard"]).ok();
    let told = json!({
        "link": link.trim(),
        "url": format!("http://{admin}"),
        "tokens": { "read": token.json()["value"] },
    });
    let mut script = Command::new("node")
        .current_dir(home)
        .arg("tests/large.mjs")
        .arg(told.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(script.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "restart\n", "the script has said why above");
    gateway.stop();
    gateway.start();
    script.stdin.take().unwrap().write_all(b"done\n").unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(script.wait().unwrap().success());
    assert_eq!(rest, "all good\n");
}

/// As many as a person should not notice.
const CERTIFICATES: usize = 100_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_certificates_in_a_browser() {
    let Some(home) = dashboard() else { return };
    let origin = Origin::echo();
    let setup = Setup::new()
        .host(HOST, "request", &origin.url())
        .certificates(CERTIFICATES);
    let (gateway, admin) = start_with(setup);
    if !has_dashboard(&gateway) {
        return;
    }
    let told = told(&gateway, &admin);
    script(&home, "certificates.mjs", &told);
    assert!(!gateway.stderr().contains("panicked"));
}
