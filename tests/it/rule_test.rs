//! `postern rule test` beside what the data path does with the same requests.

use std::fs;

use tests::gateway::ZONE;
use tests::{Gateway, Identity, Origin, Setup};

const DEMO: &str = r#"((not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked) and http.request.uri.path in {"/admin"})"#;

fn rule_test(gateway: &Gateway, arguments: &[&str]) -> tests::tool::Outcome {
    let mut all = vec!["rule", "test", "--zone", ZONE];
    all.extend(arguments);
    gateway.cli(&all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn says_what_the_data_path_does() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "request", &origin.url())
        .host("open.example.test", "off", &origin.url())
        .block(DEMO)
        .block(r#"http.user_agent contains "bad""#)
        .start();
    let (_, good) = gateway.certificate(ZONE, "good");
    let (id, revoked) = gateway.certificate(ZONE, "revoked");
    gateway.revoke(ZONE, &id);
    let stranger = Identity::self_signed(&tests::pki::Spec::client("stranger"));
    let mut count = 0;
    for (host, identity, path, status) in [
        ("api.example.test", None, "/admin", 403),
        ("api.example.test", None, "/x/../admin?a=b", 403),
        ("api.example.test", None, "/", 200),
        ("api.example.test", Some(&good), "/admin", 200),
        ("api.example.test", Some(&revoked), "/admin", 403),
        ("api.example.test", Some(&stranger), "/admin", 403),
        ("open.example.test", Some(&good), "/admin", 403),
    ] {
        let client = gateway.client(host).identity_if(identity);
        assert_eq!(client.get(path).await.unwrap().status, status, "{path}");
        count += 1;
        let file = gateway.file("client.pem");
        let mut certificate = "none".to_owned();
        if let Some(identity) = identity {
            fs::write(&file, identity.chain_pem()).unwrap();
            certificate = file.display().to_string();
        }
        let url = format!("https://{host}{path}");
        let expect = if status == 403 { "block" } else { "permit" };
        let arguments = [
            &url,
            "--certificate",
            &certificate,
            "--expect",
            expect,
            "-H",
            "user-agent: x",
        ];
        let shown = rule_test(&gateway, &arguments).ok();
        if status == 403 {
            assert!(shown.contains("blocked by #1 block, status 403"), "{shown}");
            assert!(
                shown.contains(r#"http.request.uri.path = "/admin""#),
                "{shown}"
            );
        }
    }
    // The same requests out of the log: of headers nothing is known, so the second rule may act.
    tests::wait::until("all requests in the log", || {
        (gateway
            .records()
            .iter()
            .filter(|line| line["kind"] == "request")
            .count()
            == count)
            .then_some(())
    });
    let log = gateway.file("access.log");
    let log = log.display().to_string();
    let found = rule_test(&gateway, &["--log", &log, "--json"]).json();
    assert_eq!(
        found["summary"]["outcomes"],
        serde_json::json!({"block": 5, "unknown": 2}),
        "{found:#}"
    );
    assert_eq!(found["summary"]["different_from_record"], 0);
    drop(
        gateway
            .cli(&["rule", "edit", "--zone", ZONE, "#2", "--disable"])
            .ok(),
    );
    let shown = rule_test(&gateway, &["--log", &log, "--same"]).ok();
    assert_eq!(
        shown,
        "7 requests: 5 block, 2 permit; 0 would not end as recorded\n"
    );
    // A draft that would let fewer through.
    let draft = [
        "--log",
        &log,
        "--same",
        "--rule",
        "#1",
        "--expression",
        "ssl",
    ];
    let message = rule_test(&gateway, &draft).failed(1);
    assert!(
        message.contains("2 requests do not end as recorded"),
        "{message}"
    );
    assert_eq!(
        gateway
            .cli(&["rule", "list", "--zone", ZONE, "--json"])
            .json()[0]["expression"],
        DEMO,
        "a draft is not saved"
    );
}

#[test]
fn files_of_requests() {
    let gateway = Setup::new()
        .host("api.example.test", "request", "http://127.0.0.1:9")
        .block(DEMO)
        .start();
    let file = gateway.file("requests.yaml");
    let name = file.display().to_string();
    fs::write(
        &file,
        "- url: https://api.example.test/admin\n  certificate: valid\n  expect: permit\n\
         - name: nobody\n  host: api.example.test\n  path: /admin\n  headers: {x: [a, b], y: 1}\n  expect: block\n\
         - url: https://api.example.test/admin\n  certificate: {state: revoked, serial: 0A1B}\n  expect: permit\n",
    )
    .unwrap();
    let found = rule_test(&gateway, &["--requests", &name]);
    let message = found.failed(1);
    assert!(
        message.contains("1 requests do not end as expected"),
        "{message}"
    );
    for (text, places) in [
        (
            "- host: a\n- host: b\n  hots: c\n",
            vec!["yaml:3:9", "unknown field `hots`"],
        ),
        (
            "- host: a\n  certificate: good\n",
            vec!["yaml:2:16", "certificate"],
        ),
        ("host: a\n", vec!["a list of requests"]),
        ("- {host: a", vec!["yaml:"]),
        ("", vec!["the file is empty"]),
    ] {
        fs::write(&file, text).unwrap();
        let message = rule_test(&gateway, &["--requests", &name]).failed(1);
        for place in places {
            assert!(message.contains(place), "{text}: {message}");
        }
    }
    drop(rule_test(&gateway, &[]).failed(2));
    drop(rule_test(&gateway, &["https://api.example.test/", "-H", "bad"]).failed(2));
    drop(rule_test(&gateway, &["https://api.example.test/", "--action", "log"]).failed(2));
    drop(rule_test(&gateway, &["https://api.example.test/", "--explain", "#9"]).failed(1));
    let shown = rule_test(&gateway, &["https://api.example.test/", "--explain", "all"]).ok();
    assert!(
        shown.contains("#1 block") && shown.contains("permitted"),
        "{shown}"
    );
}

#[test]
fn mtls_rules_and_versions() {
    let gateway = Setup::new()
        .host("api.example.test", "request", "http://127.0.0.1:9")
        .start();
    let rule = |arguments: &[&str]| {
        let mut all = vec!["rule", arguments[0], "--zone", ZONE];
        all.extend(&arguments[1..]);
        gateway.cli(&all)
    };
    assert!(rule(&["versions"]).failed(1).contains("no rules yet"));
    let tried = rule(&[
        "mtls",
        "--hosts",
        "api.example.test",
        "--paths",
        "/admin",
        "--dry-run",
    ])
    .ok();
    assert!(
        tried.contains(r#"http.request.uri.path in {"/admin"}"#) && tried.contains("warning: "),
        "{tried}"
    );
    // A draft, then one that logs, then one that blocks.
    drop(
        rule(&[
            "mtls",
            "--hosts",
            "api.example.test",
            "--paths",
            "/admin",
            "--action",
            "log",
            "--disabled",
        ])
        .ok(),
    );
    drop(rule(&["mtls", "--rule", "#1", "--enable", "--name", "devices"]).ok());
    let changed = rule(&[
        "mtls",
        "--rule",
        "#1",
        "--check-revoked",
        "--all-paths",
        "--action",
        "block",
        "--json",
    ])
    .json();
    assert_eq!(
        (
            &changed["hosts"][0],
            &changed["paths"],
            &changed["check_revoked"],
            &changed["enabled"],
            &changed["name"]
        ),
        (
            &"api.example.test".into(),
            &serde_json::json!([]),
            &true.into(),
            &true.into(),
            &"devices".into()
        )
    );
    let shown = rule(&["mtls", "--rule", "#1"]).ok();
    assert!(
        shown.contains("paths") && shown.contains("all") && shown.contains("revoked too  yes"),
        "{shown}"
    );
    drop(rule(&["add", "--expression", "ssl", "--position", "first"]).ok());
    drop(rule(&["mtls", "--rule", "#2", "--position", "first"]).ok());
    assert!(
        rule(&["mtls", "--rule", "#2", "--name", "x"])
            .failed(1)
            .contains("edit it as an expression")
    );

    let versions = rule(&["versions"]).ok();
    assert_eq!(versions.lines().count(), 6, "{versions}");
    assert!(rule(&["versions", "1"]).ok().contains("log"));
    let moved = rule(&["diff"]).ok();
    assert!(moved.starts_with("> #"), "{moved}");
    let all = rule(&["diff", "1", "4"]).ok();
    assert!(
        all.contains("+ #1 block ssl") && all.contains("action: log -> block"),
        "{all}"
    );
    assert!(rule(&["diff", "9"]).failed(1).contains('9'));
    let tried = rule(&["restore", "1", "--dry-run"]).ok();
    assert!(tried.contains("- #2 block ssl"), "{tried}");
    assert_eq!(
        rule(&["list", "--json"]).json().as_array().unwrap().len(),
        2
    );
    let restored = rule(&["restore", "1"]).ok();
    assert!(
        restored.contains("version 1 is back as version 6"),
        "{restored}"
    );
    assert_eq!(
        rule(&["diff", "1", "--json"]).json()["rules"],
        serde_json::json!([])
    );
    assert_eq!(
        rule(&["list", "--json"]).json().as_array().unwrap().len(),
        1
    );
}
