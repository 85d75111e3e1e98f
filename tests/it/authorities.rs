//! The managed CA of a zone: its kinds of keys, its rollover, what leaves it, and what never does.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use serde_json::{Value, json};
use tests::gateway::ZONE;
use tests::pki::{DAY, Spec};
use tests::{Authority, Gateway, Identity, Origin, Setup, tool};

const HOST: &str = "api.example.test";

fn create(gateway: &Gateway, name: &str) -> Identity {
    gateway.certificate(ZONE, name).1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ca_is_replaced_without_a_gap() {
    let origin = Origin::echo();
    let gateway = Setup::new().host(HOST, "require", &origin.url()).start();
    let mut clients = vec![create(&gateway, "first")];
    for kind in ["rsa-2048", "ed25519"] {
        let told = gateway.cli(&["ca", "roll", "--zone", ZONE, "--ca-key", kind]);
        assert!(told.ok().contains("it issues from now on"));
        clients.push(create(&gateway, kind));
    }
    let list = gateway
        .cli(&["ca", "list", "--zone", ZONE, "--json"])
        .json();
    let list = list.as_array().unwrap();
    let kinds: Vec<&str> = list
        .iter()
        .map(|ca| ca["key_type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["ed25519", "rsa-2048", "ecdsa-p256"]);
    // BoringSSL verifies what each of them signed, in either version of TLS.
    for identity in &clients {
        let client = || gateway.client(HOST).identity(identity);
        assert_eq!(client().tls13().get("/").await.unwrap().status, 200);
        assert_eq!(client().tls12().get("/").await.unwrap().status, 200);
    }

    let oldest = list[2]["id"].as_str().unwrap();
    let retire =
        |extra: &[&str]| gateway.cli(&[&["ca", "retire", "--zone", ZONE, oldest], extra].concat());
    assert!(retire(&[]).failed(2).contains("--yes"));
    assert!(retire(&["--yes"]).ok().contains(oldest));
    let get = |identity: &Identity| gateway.client(HOST).identity(identity);
    assert!(
        get(&clients[0]).get("/").await.is_err(),
        "its CA is retired"
    );
    for identity in &clients[1..] {
        assert_eq!(get(identity).get("/").await.unwrap().status, 200);
    }
    let issuing = list[0]["id"].as_str().unwrap();
    let refused = gateway.cli(&["ca", "retire", "--zone", ZONE, issuing, "--yes"]);
    assert!(refused.failed(1).contains("make the next one first"));

    // A copy of it would let in what is revoked.
    let copy = gateway.file("copy.pem");
    std::fs::write(&copy, list[0]["certificate"].as_str().unwrap()).unwrap();
    let refused = gateway.cli(&["ca", "upload", copy.to_str().unwrap()]);
    assert!(refused.failed(1).contains("made here"));

    let made = gateway.cli(&["zone", "create", "rsa.test", "--ca-key", "rsa-2048"]);
    drop(made.ok());
    let shown = gateway.cli(&["ca", "list", "--zone", "rsa.test", "--json"]);
    assert_eq!(shown.json()[0]["key_type"], "rsa-2048");
    let wrong = json!({ "key_type": "dsa" });
    let path = format!("/postern/v1/zones/{}/authorities", gateway.zone_id(ZONE));
    let reply = gateway.admin.call("POST", &path, &wrong);
    assert_eq!(reply.status, 400);
    assert!(
        reply.json()["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("rsa-2048")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pkcs12_file_for_a_browser() {
    if !tool::has("openssl") || !tool::has("curl") {
        return;
    }
    let origin = Origin::echo();
    let gateway = Setup::new().host(HOST, "require", &origin.url()).start();
    let out = gateway.file("");
    let out = out.to_str().unwrap();
    let made = gateway
        .cli(&[
            "cert", "create", "--zone", ZONE, "--cn", "phone", "--out", out, "--p12",
        ])
        .ok();
    let (_, password) = made.split_once("shown only now: ").unwrap();
    let password = password.lines().next().unwrap();
    let file = gateway.file("phone.p12");
    let pass = format!("pass:{password}");
    let mut openssl = Command::new("openssl");
    openssl
        .args(["pkcs12", "-info", "-nodes", "-passin", &pass, "-in"])
        .arg(&file);
    let shown = tool::run(&mut openssl).ok();
    assert_eq!(shown.matches("BEGIN CERTIFICATE").count(), 2, "with its CA");
    assert!(shown.contains("PRIVATE KEY") && shown.contains("phone"));

    // Into curl as users give it.
    let (host, port) = (HOST, gateway.address.port());
    let mut curl = Command::new("curl");
    curl.args(["-sSk", "-o", "/dev/null", "-w", "%{http_code}"])
        .args([
            "--resolve",
            &format!("{host}:{port}:{}", gateway.address.ip()),
        ])
        .args(["--cert-type", "P12", "--cert"])
        .arg(format!("{}:{password}", file.display()))
        .arg(format!("https://{host}:{port}/"));
    assert_eq!(tool::run(&mut curl).ok(), "200");

    let chosen = gateway.file("password");
    std::fs::write(&chosen, "correct horse\n").unwrap();
    let chosen = chosen.to_str().unwrap();
    let told = gateway
        .cli(&[
            "cert",
            "create",
            "--zone",
            ZONE,
            "--cn",
            "till",
            "--out",
            out,
            "--p12",
            "--p12-password",
            chosen,
        ])
        .ok();
    assert!(!told.contains("correct horse"), "{told}");
    let path = format!(
        "/postern/v1/zones/{}/client_certificates",
        gateway.zone_id(ZONE)
    );
    let body = json!({ "common_name": "x", "validity_days": 1, "pkcs12_password": "short" });
    let reply = gateway.admin.call("POST", &path, &body);
    assert_eq!(reply.status, 400);
    let listed = gateway
        .cli(&["cert", "list", "--zone", ZONE, "--json"])
        .json();
    assert_eq!(
        listed.as_array().map(Vec::len),
        Some(2),
        "none was made for it"
    );
    assert!(
        reply.json()["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("8")
    );
    let audit: Value = gateway.admin.get("/postern/v1/audit").result();
    assert!(!audit.to_string().contains("correct horse"));
}

/// Lets this process dump core, as far as the hard limit allows.
fn unlimit(pid: u32) {
    let mut prlimit = Command::new("prlimit");
    prlimit.args(["--core=unlimited:unlimited", "--pid", &pid.to_string()]);
    drop(tool::run(&mut prlimit));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_in_no_core_dump() {
    if !tool::has("prlimit") {
        return;
    }
    let mut gateway = Setup::new().start();
    let mut sleep = Command::new("sleep")
        .arg("600")
        .current_dir(gateway.file(""))
        .spawn()
        .unwrap();
    unlimit(sleep.id());
    tool::signal(sleep.id(), "ABRT");
    if !sleep.wait().unwrap().core_dumped() {
        eprintln!("skipped: needs a system that writes core dumps");
    }
    unlimit(gateway.pid());
    gateway.signal("ABRT");
    let ended = gateway.wait();
    assert_eq!(ended.signal(), Some(6), "{ended}");
    assert!(!ended.core_dumped());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mode_that_is_switched_off_and_on_believes_whom_it_believed() {
    let origin = Origin::echo();
    let host = "api.example.test";
    let gateway = Setup::new().host(host, "require", &origin.url()).start();
    let uploaded = Authority::root("Partner CA");
    let id = gateway.upload(&uploaded);
    gateway.associate(&id, &[host]);
    // The zone's own CA is not believed any more.
    let nobody = ["ca", "associate", "--zone", ZONE, "--replace", "--yes"];
    drop(gateway.cli(&nobody).ok());
    let partner = gateway.client(host).identity(&uploaded.client("device"));
    let ours = gateway.authority(ZONE).client("device");
    let ours = gateway.client(host).identity(&ours);
    for mode in ["require", "off", "require", "request", "off", "require"] {
        drop(gateway.cli(&["host", "set", host, "--mtls", mode]).ok());
        assert_eq!(partner.get("/").await.unwrap().status, 200, "{mode}");
        if mode == "require" {
            assert!(ours.get("/").await.is_err(), "{mode}");
        }
    }
    drop(gateway.cli(&["host", "set", host, "--mtls", "off"]).ok());
    let told = gateway.cli(&["ca", "associate", "--zone", ZONE, host]);
    assert!(
        told.err.contains("asks for no client certificates"),
        "{told:?}"
    );
}

#[test]
fn what_a_ca_s_own_certificate_forbids_is_told() {
    let origin = Origin::echo();
    let gateway = Setup::new().host(HOST, "require", &origin.url()).start();
    let with = |name: &str, value: &str| Spec {
        extension: Some((name.into(), value.into())),
        ..Spec::authority("Narrow CA")
    };
    for (spec, said, state) in [
        (
            with("nameConstraints", "permitted;DNS:a.test"),
            "constrains names",
            "doubt",
        ),
        (
            with("extendedKeyUsage", "emailProtection"),
            "lacks clientAuth",
            "bad",
        ),
        (
            Spec {
                ca: Some(Some(0)),
                ..Spec::authority("Narrow CA")
            },
            "path length is 0",
            "doubt",
        ),
        (
            Spec {
                unknown_critical: true,
                ..Spec::authority("Narrow CA")
            },
            "critical extensions that are not understood",
            "bad",
        ),
        (
            Spec {
                begins: DAY,
                ..Spec::authority("Narrow CA")
            },
            "the CA's certificate begins on",
            "bad",
        ),
    ] {
        let made = Identity::self_signed(&spec);
        let file = gateway.file("narrow.pem");
        std::fs::write(&file, made.chain_pem()).unwrap();
        let told = gateway.cli(&["ca", "upload", file.to_str().unwrap()]).ok();
        let warning = told
            .lines()
            .find(|line| line.starts_with("warning: CN=Narrow CA"));
        assert!(
            warning.is_some_and(|line| line.contains(said)),
            "{said}: {told}"
        );
        let all = gateway.cli(&["ca", "list", "--json"]).json();
        let id = all[0]["id"].as_str().unwrap().to_owned();
        let shown = gateway.cli(&["ca", "show", &id]).ok();
        assert!(shown.contains(said), "{said}: {shown}");
        gateway.associate(&id, &[HOST]);
        let found = gateway.cli(&["doctor", HOST, "--json"]);
        let found: Value = serde_json::from_str(&found.out).unwrap();
        let mut found = found.as_array().unwrap().iter();
        let finding = found.find(|one| one["check"] == "CA").unwrap();
        assert_eq!(finding["state"], state, "{finding}");
        assert!(
            finding["message"].as_str().unwrap().contains(said),
            "{finding}"
        );
        gateway.associate(&id, &[]);
        drop(gateway.cli(&["ca", "delete", &id]).ok());
    }
    let plain = Authority::root("Plain CA");
    let file = gateway.file("plain.pem");
    std::fs::write(&file, plain.pem()).unwrap();
    let told = gateway.cli(&["ca", "upload", file.to_str().unwrap()]).ok();
    assert!(!told.contains("warning"), "{told}");
    // Names and keys that people try.
    let named = gateway.cli(&[
        "host",
        "add",
        "b\u{fc}cher.example.test",
        "--zone",
        ZONE,
        "--origin",
        &origin.url(),
    ]);
    assert!(named.failed(1).contains("xn--bcher-kva.example.test"));
}
