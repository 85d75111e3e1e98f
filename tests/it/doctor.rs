//! `postern doctor` and the documents' mTLS rule, as a newcomer would use them.

use serde_json::Value;
use tests::gateway::ZONE;
use tests::{Origin, Setup};

const HOST: &str = "api.example.test";

/// The state of each check, in the order in which they are made.
fn states(findings: &Value) -> Vec<(String, String)> {
    let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    let findings = findings.as_array().unwrap();
    findings
        .iter()
        .map(|one| (text(one, "check"), text(one, "state")))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_nothing_to_a_protected_host() {
    let origin = Origin::echo();
    let gateway = Setup::new().host(HOST, "off", &origin.url()).start();
    let look = || {
        let outcome = gateway.cli(&["doctor", HOST, "--json"]);
        let findings = serde_json::from_str(&outcome.out).unwrap();
        (outcome.code, states(&findings))
    };
    let state = |found: &[(String, String)], check: &str| {
        let one = found.iter().find(|one| one.0 == check);
        one.unwrap_or_else(|| panic!("no {check}: {found:?}"))
            .1
            .clone()
    };
    let (code, found) = look();
    assert_eq!(code, 0, "the mode was set: {found:?}");
    for (check, said) in [
        ("server certificate", "doubt"),
        ("origin", "ok"),
        ("client certificate", "doubt"),
        ("mTLS", "doubt"),
        ("rule", "doubt"),
    ] {
        assert_eq!(state(&found, check), said, "{check}");
    }
    let nobody = gateway.cli(&["doctor", "no.example.test"]).failed(1);
    assert!(nobody.contains("host add no.example.test"), "{nobody}");

    drop(
        gateway
            .cli(&["host", "set", HOST, "--mtls", "request"])
            .ok(),
    );
    drop(
        gateway
            .cli(&["cert", "create", "--zone", ZONE, "--cn", "device"])
            .ok(),
    );
    let (code, found) = look();
    assert_eq!((code, state(&found, "rule").as_str()), (1, "bad"));
    assert_eq!(state(&found, "client certificate"), "ok");

    let mtls = [
        "rule",
        "mtls",
        "--zone",
        ZONE,
        "--hosts",
        HOST,
        "--check-revoked",
    ];
    let expression = gateway.cli(&[&mtls[..], &["--dry-run"]].concat()).ok();
    assert!(
        expression.contains("cert_verified") && expression.contains("cert_revoked"),
        "{expression}"
    );
    let client = gateway.client(HOST);
    assert_eq!(client.get("/").await.unwrap().status, 200);
    let added = gateway.cli(&mtls).ok();
    assert!(added.contains(expression.trim()), "{added}");
    assert_eq!(gateway.client(HOST).get("/").await.unwrap().status, 403);
    let (code, found) = look();
    assert_eq!((code, state(&found, "rule").as_str()), (0, "ok"));
    let told = gateway.cli(&["doctor", HOST]).ok();
    assert!(told.contains("only a wildcard covers the host"), "{told}");
}

/// Each mend is pasted as it stands, with a user's own files where it says FILE, until nothing is
/// left to mend.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mend_works_when_pasted() {
    let origin = Origin::echo();
    let gateway = Setup::new().host(HOST, "off", &origin.url()).start();
    let server = gateway.servers.server(&[HOST]);
    let home = gateway.directory.clone();
    std::fs::write(home.join("server.pem"), server.chain_pem()).unwrap();
    std::fs::write(home.join("server.key"), server.key_pem()).unwrap();
    let paste = |line: &str| {
        let line = line
            .replace("--cert FILE", "--cert server.pem")
            .replace("--key FILE", "--key server.key");
        let line = line.replacen(
            "postern",
            &format!(
                "{} --socket {}",
                tests::tool::postern().display(),
                gateway.file("admin.sock").display()
            ),
            1,
        );
        let mut shell = std::process::Command::new("sh");
        tests::tool::run(shell.args(["-c", &line]).current_dir(&home))
    };
    let mended = |wanted: &str| {
        let mut pasted = Vec::new();
        for _ in 0..10 {
            let outcome = gateway.cli(&["doctor", HOST, "--json"]);
            let findings: Value = serde_json::from_str(&outcome.out).unwrap();
            let open = findings.as_array().unwrap().iter();
            let Some(open) = open.clone().find(|one| one["state"] != "ok") else {
                assert_eq!(outcome.code, 0);
                assert!(
                    pasted.iter().any(|line: &String| line.contains(wanted)),
                    "{pasted:?}"
                );
                return;
            };
            let mend = open["mend"].as_str().unwrap();
            drop(paste(mend).ok());
            pasted.push(mend.to_owned());
        }
        panic!("it never ends: {pasted:?}");
    };
    mended("rule mtls");
    assert_eq!(gateway.client(HOST).get("/").await.unwrap().status, 403);
    // A rule that forgets revoked certificates, in words that a shell would take apart.
    let rules = gateway
        .cli(&["rule", "list", "--zone", ZONE, "--json"])
        .json();
    let id = rules[0]["id"].as_str().unwrap();
    let forgets = format!(
        "http.host eq \"{HOST}\" and (not cf.tls_client_auth.cert_verified or http.request.uri.path eq \"/it's\")"
    );
    drop(
        gateway
            .cli(&["rule", "edit", "--zone", ZONE, id, "--expression", &forgets])
            .ok(),
    );
    mended("rule edit");
    drop(
        gateway
            .cli(&["rule", "edit", "--zone", ZONE, id, "--disable"])
            .ok(),
    );
    mended("rule mtls");
    drop(gateway.cli(&["host", "set", HOST, "--mtls", "off"]).ok());
    let nobody = ["ca", "associate", "--zone", ZONE, "--replace", "--yes"];
    drop(gateway.cli(&nobody).ok());
    mended("--mtls request");
}
