//! The commands, as people and scripts use them.

use serde_json::{Value, json};
use tests::gateway::ZONE;
use tests::wait::until;
use tests::{Gateway, Identity, Origin, Setup, pki, tool};

fn texts(value: &Value, key: &str) -> Vec<String> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one[key].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zones_hosts_and_certificates() {
    let origin = Origin::echo();
    let gateway = Setup::new().start();
    assert!(
        gateway
            .cli(&["zone", "create", "shop.test"])
            .ok()
            .contains("shop.test")
    );
    assert_eq!(
        texts(&gateway.cli(&["zone", "list", "--json"]).json(), "name"),
        [ZONE, "shop.test"]
    );
    assert!(
        gateway
            .cli(&["zone", "show", "shop.test"])
            .ok()
            .contains("shop.test")
    );
    assert!(
        gateway
            .cli(&["zone", "create", "shop.test"])
            .failed(1)
            .contains("shop.test")
    );

    let server = gateway.servers.server(&["api.shop.test"]);
    let (cert, key) = (gateway.file("s.pem"), gateway.file("s.key"));
    std::fs::write(&cert, server.chain_pem()).unwrap();
    std::fs::write(&key, server.key_pem()).unwrap();
    let added = gateway.cli(&[
        "host",
        "add",
        "api.shop.test",
        "--zone",
        "shop.test",
        "--origin",
        &origin.url(),
        "--mtls",
        "require",
        "--cert",
        cert.to_str().unwrap(),
        "--key",
        key.to_str().unwrap(),
    ]);
    assert!(added.ok().contains("api.shop.test"));
    let twice = gateway.cli(&[
        "host",
        "add",
        "API.shop.test",
        "--zone",
        "shop.test",
        "--origin",
        &origin.url(),
    ]);
    assert!(
        twice.failed(1).contains("api.shop.test"),
        "a host can be there once only"
    );
    let table = gateway.cli(&["host", "list"]).ok();
    assert!(
        table.starts_with("HOST") && table.contains("require"),
        "{table}"
    );

    let made = gateway
        .cli(&[
            "cert",
            "create",
            "--zone",
            "shop.test",
            "--cn",
            "till-1",
            "--days",
            "7",
            "--json",
        ])
        .json();
    let text = |key: &str| made[key].as_str().unwrap().to_owned();
    let till = Identity::from_pem(&text("certificate"), &text("private_key"));
    let client = gateway.client("api.shop.test").identity(&till);
    assert_eq!(client.get("/x").await.unwrap().status, 200);
    assert!(
        gateway
            .cli(&["cert", "revoke", "till-1", "--zone", "shop.test"])
            .ok()
            .contains("revoked")
    );
    assert_eq!(
        client.get("/x").await.unwrap_err().why,
        "certificate_revoked"
    );
    let revoked = gateway
        .cli(&[
            "cert",
            "list",
            "--zone",
            "shop.test",
            "--status",
            "revoked",
            "--json",
        ])
        .json();
    assert_eq!(texts(&revoked, "id"), [text("id")]);
    assert!(
        gateway
            .cli(&["cert", "restore", &text("id"), "--zone", "shop.test"])
            .ok()
            .contains("restored")
    );
    assert_eq!(client.get("/x").await.unwrap().status, 200);

    let (request, request_key) = pki::request("till-2");
    let csr = gateway.file("till-2.csr");
    std::fs::write(&csr, request).unwrap();
    let signed = gateway
        .cli(&[
            "cert",
            "sign",
            "--zone",
            "shop.test",
            "--csr",
            csr.to_str().unwrap(),
        ])
        .ok();
    let request_key = String::from_utf8(request_key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    let till = Identity::from_pem(&signed, &request_key);
    let client = gateway.client("api.shop.test").identity(&till);
    assert_eq!(client.get("/x").await.unwrap().status, 200);

    let out = gateway.file("keys");
    std::fs::create_dir(&out).unwrap();
    let wrote = gateway.cli(&[
        "cert",
        "create",
        "--zone",
        "shop.test",
        "--cn",
        "till-3",
        "--out",
        out.to_str().unwrap(),
    ]);
    assert!(wrote.ok().contains("till-3.key"));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(out.join("till-3.key"))
            .unwrap()
            .permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);

    assert!(
        gateway
            .cli(&["host", "set", "api.shop.test", "--mtls", "off"])
            .ok()
            .contains("off")
    );
    assert_eq!(
        gateway
            .client("api.shop.test")
            .get("/x")
            .await
            .unwrap()
            .status,
        200
    );
    drop(
        gateway
            .cli(&["host", "delete", "api.shop.test", "--yes"])
            .ok(),
    );
    assert_eq!(client.get("/x").await.unwrap_err().why, "unrecognized_name");
    drop(gateway.cli(&["zone", "delete", "shop.test"]).failed(2));
    drop(gateway.cli(&["zone", "delete", "shop.test", "--yes"]).ok());
    assert!(
        gateway
            .cli(&["zone", "show", "shop.test"])
            .failed(1)
            .contains("shop.test")
    );
}

#[test]
fn keys_and_certificates_go_into_files_for_scripts_too() {
    let gateway = Setup::new().start();
    let out = gateway.file("keys");
    std::fs::create_dir(&out).unwrap();
    let create = ["cert", "create", "--zone", ZONE, "--cn", "till-1", "--p12"];
    let to = ["--out", out.to_str().unwrap(), "--json"];
    let made = gateway.cli(&[&create[..], &to].concat()).json();
    for (field, name) in [
        ("certificate_file", "till-1.pem"),
        ("private_key_file", "till-1.key"),
        ("pkcs12_file", "till-1.p12"),
    ] {
        let path = out.join(name);
        assert_eq!(made[field], path.to_str().unwrap(), "{made}");
        assert!(path.is_file(), "{name}");
    }
    for secret in ["private_key", "pkcs12"] {
        assert!(made[secret].is_null(), "{secret} is in its file");
    }
    assert!(
        made["pkcs12_password"].is_string(),
        "the password is nowhere else: {made}"
    );
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap();
    let certificate = read(out.join("till-1.pem"));
    assert_eq!(made["certificate"], certificate);
    drop(Identity::from_pem(
        &certificate,
        &read(out.join("till-1.key")),
    ));

    let (csr, signed) = (gateway.file("till-2.csr"), out.join("till-2.pem"));
    std::fs::write(&csr, pki::request("till-2").0).unwrap();
    let sign = ["cert", "sign", "--zone", ZONE, "--csr"];
    let to = [csr.to_str().unwrap(), "--out", signed.to_str().unwrap()];
    let made = gateway.cli(&[&sign[..], &to, &["--json"]].concat()).json();
    assert_eq!(made["certificate_file"], signed.to_str().unwrap(), "{made}");
    assert_eq!(made["certificate"], read(signed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "off", &origin.url())
        .start();
    let rule = |arguments: &[&str]| {
        let mut all = vec!["rule"];
        all.extend(arguments);
        all.extend(["--zone", ZONE]);
        gateway.cli(&all)
    };
    let status = async |path: &str| {
        gateway
            .client("api.example.test")
            .get(path)
            .await
            .unwrap()
            .status
    };
    drop(rule(&["add", "--expression", r#"http.request.uri.path eq "/a""#]).ok());
    drop(
        rule(&[
            "add",
            "--expression",
            r#"starts_with(http.request.uri.path, "/a")"#,
            "--status",
            "410",
            "--description",
            "all of a",
        ])
        .ok(),
    );
    assert_eq!(
        (status("/a").await, status("/ab").await, status("/b").await),
        (403, 410, 200)
    );
    let table = rule(&["list"]).ok();
    assert!(
        table.contains("all of a") && table.contains("EXPRESSION"),
        "{table}"
    );
    drop(rule(&["move", "#2", "--position", "first"]).ok());
    assert_eq!(status("/a").await, 410);
    drop(rule(&["edit", "#1", "--disable"]).ok());
    assert_eq!((status("/a").await, status("/ab").await), (403, 200));
    drop(
        rule(&[
            "edit",
            "#2",
            "--expression",
            r#"http.request.uri.path eq "/b""#,
        ])
        .ok(),
    );
    assert_eq!((status("/a").await, status("/b").await), (200, 403));
    drop(rule(&["delete", "#2"]).ok());
    assert_eq!(status("/b").await, 200);
    assert_eq!(
        rule(&["list", "--json"]).json().as_array().unwrap().len(),
        1
    );

    let bad = rule(&[
        "add",
        "--expression",
        r#"http.request.uri.path equals "/a""#,
    ])
    .failed(1);
    assert!(bad.contains('^') && bad.contains("equals"), "{bad}");
    assert!(
        gateway
            .cli(&["rule", "preview", r#"http.host eq "a" and ssl"#])
            .ok()
            .contains("http.host")
    );
    let bad = gateway
        .cli(&["rule", "preview", "http.hots eq 1"])
        .failed(1);
    assert!(bad.contains('^'), "{bad}");
    drop(rule(&["delete", "#9"]).failed(1));
}

#[test]
fn who_changed_what() {
    let gateway = Setup::new()
        .host("api.example.test", "off", "http://127.0.0.1:9")
        .block("ssl")
        .start();
    drop(
        gateway
            .cli(&["rule", "edit", "--zone", ZONE, "#1", "--disable"])
            .ok(),
    );
    let shown = gateway
        .cli(&["audit", "--noun", "rule", "--limit", "1", "--details"])
        .ok();
    assert!(
        shown.contains("unix uid ") && shown.contains("enabled: true -> false"),
        "{shown}"
    );
    let all = gateway.cli(&["audit", "--json"]).json();
    let all = all.as_array().unwrap();
    assert!(all.len() > 3, "{all:?}");
    let revisions: Vec<u64> = all
        .iter()
        .map(|entry| entry["revision"].as_u64().unwrap())
        .collect();
    assert!(revisions.is_sorted_by(|a, b| a > b), "{revisions:?}");
    assert_eq!(
        gateway
            .cli(&["audit", "--until", "2020-01-01T00:00:00Z"])
            .ok(),
        "no change fits\n"
    );
    let host = gateway
        .cli(&["audit", "--key", "api.example.test", "--noun", "host"])
        .ok();
    assert!(host.contains("+ host api.example.test"), "{host}");
    assert!(
        gateway
            .cli(&["audit", "--since", "today"])
            .failed(1)
            .contains("RFC 3339")
    );
    drop(gateway.cli(&["audit", "--limit", "0"]).failed(2));
}

#[test]
fn keys_of_a_running_gateway() {
    let gateway = Setup::new().set("timeout.idle", "75s").start();
    let sysctl = |arguments: &[&str]| {
        let mut all = vec!["sysctl"];
        all.extend(arguments);
        gateway.cli(&all)
    };
    let all = sysctl(&["-a"]).ok();
    for key in [
        "timeout.idle = ",
        "listen = ",
        "workers = 2",
        "limit.connections = ",
    ] {
        assert!(all.contains(key), "{key}: {all}");
    }
    let before = sysctl(&["-n", "timeout.idle"]).ok();
    drop(sysctl(&["-w", "timeout.idle=33s"]).ok());
    assert_eq!(sysctl(&["-n", "timeout.idle"]).ok().trim(), "33s");
    assert_ne!(before.trim(), "33s");
    assert_eq!(sysctl(&["timeout.idle"]).ok().trim(), "timeout.idle = 33s");
    assert!(
        sysctl(&["-w", "timeout.idle=never"])
            .failed(1)
            .contains("timeout.idle")
    );
    assert!(
        sysctl(&["-w", "workers=4"]).failed(1).contains("workers"),
        "this one is not live"
    );
    assert!(
        sysctl(&["-n", "timeout.idel"])
            .failed(1)
            .contains("timeout.idle"),
        "a suggestion"
    );
    let file = gateway.file("tuning.conf");
    std::fs::write(
        &file,
        "# tuning\ntimeout.idle = 44s\nlimit.connections = 123\n",
    )
    .unwrap();
    drop(sysctl(&["-p", file.to_str().unwrap()]).ok());
    assert_eq!(
        sysctl(&["-n", "timeout.idle", "limit.connections"]).ok(),
        "44s\n123\n"
    );
    std::fs::write(&file, "timeout.idle = 55s\nlimit.conections = 1\n").unwrap();
    let bad = sysctl(&["-p", file.to_str().unwrap()]).failed(78);
    assert!(
        bad.contains("tuning.conf:2:1") && bad.contains("limit.connections"),
        "{bad}"
    );
    assert_eq!(
        sysctl(&["-n", "timeout.idle"]).ok().trim(),
        "44s",
        "one error, and nothing is set"
    );
}

#[test]
fn status_check_and_exit_codes() {
    let gateway = Setup::new().start();
    let status = gateway.cli(&["status"]).ok();
    assert!(
        status.contains("running") && status.contains("workers"),
        "{status}"
    );
    assert_eq!(
        gateway.cli(&["status", "--json"]).json()["workers"],
        json!(2)
    );
    let conf = gateway.file("postern.conf");
    let conf = conf.to_str().unwrap();
    let check = gateway.cli(&["check", "--config", conf]).ok();
    assert!(
        check.contains("good") && check.contains("running gateway"),
        "{check}"
    );
    let check = gateway.cli(&["check", "--config", conf, "--json"]).json();
    assert_eq!(check["files"], json!([conf]), "{check}");
    assert_eq!(check["store"]["state"], "in_use", "{check}");
    assert_eq!(check["errors"], json!([]), "{check}");
    // One that runs answers nothing; the file is not there, should it not be refused.
    let run = ["run", "--config", "/nowhere/postern.conf", "--json"];
    assert!(gateway.cli(&run).failed(2).contains("--json"));
    drop(gateway.cli(&["no-such-command"]).failed(2));
    drop(
        gateway
            .cli(&["host", "add", "x.example.test", "--zone", ZONE])
            .failed(2),
    );
    drop(gateway.cli(&["host", "show", "x.example.test"]).failed(1));
    for argument in ["--help", "--version"] {
        assert!(gateway.cli(&[argument]).ok().contains("postern"));
    }
    let file = gateway.file("bad.conf");
    std::fs::write(&file, "timeout.hedaer = 5s\n").unwrap();
    let file = file.to_str().unwrap();
    let bad = gateway.cli(&["check", "--config", file, "--json"]);
    let found: Value = serde_json::from_str(&bad.out).unwrap();
    let error = &found["errors"][0];
    assert_eq!(error["file"], file, "{found}");
    assert_eq!(error["line"], 1, "{found}");
    assert_eq!(error["column"], 1, "{found}");
    for bad in [bad, gateway.cli(&["check", "--config", file])] {
        let bad = bad.failed(78);
        assert!(
            bad.contains("bad.conf:1:1") && bad.contains("timeout.header"),
            "{bad}"
        );
    }
    let nobody = tool::run(std::process::Command::new(tool::postern()).args([
        "--socket",
        "/dev/null/x",
        "status",
    ]));
    assert_eq!(nobody.code, 1, "{nobody:?}");
}

fn refused(gateway: &Gateway, certificate: &str, key: &str) -> String {
    let path = format!(
        "/client/v4/zones/{}/custom_certificates",
        gateway.zone_id(ZONE)
    );
    let reply = gateway.admin.call(
        "POST",
        &path,
        &json!({ "certificate": certificate, "private_key": key }),
    );
    assert!((400..500).contains(&reply.status), "{}", reply.body);
    reply.json()["errors"][0]["message"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_work_is_refused_and_changes_nothing() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "request", &origin.url())
        .start();
    let before = gateway.admin.get("/postern/v1/status").result()["generation"].clone();
    let good = gateway.servers.server(&["api.example.test"]);
    let other = gateway.servers.server(&["api.example.test"]);
    assert!(
        !refused(&gateway, &good.chain_pem(), &other.key_pem()).is_empty(),
        "somebody else's key"
    );
    assert!(!refused(&gateway, "nonsense", &good.key_pem()).is_empty());
    assert!(!refused(&gateway, &good.chain_pem(), "nonsense").is_empty());
    assert!(!refused(&gateway, &good.chain_pem()[..200], &good.key_pem()).is_empty());
    // A CA that cannot sign, uploaded as one whose clients are to be believed.
    let no_ca = gateway.authority(ZONE).client("not a CA");
    let accounts = gateway.admin.get("/client/v4/accounts").result();
    let account = accounts[0]["id"].as_str().unwrap();
    let path = format!("/client/v4/accounts/{account}/mtls_certificates");
    for (what, certificates) in [
        ("a leaf", no_ca.chain_pem()),
        ("a CA whose key may not sign", {
            let mute = pki::Spec {
                may_sign: false,
                ..pki::Spec::authority("mute")
            };
            Identity::self_signed(&mute).chain_pem()
        }),
        ("nonsense", "nonsense".into()),
    ] {
        let body = json!({ "ca": true, "certificates": certificates, "name": "byo" });
        let reply = gateway.admin.call("POST", &path, &body);
        assert!((400..500).contains(&reply.status), "{what}: {}", reply.body);
    }
    let after = gateway.admin.get("/postern/v1/status").result()["generation"].clone();
    assert_eq!(before, after, "nothing was published");
    assert_eq!(
        gateway
            .client("api.example.test")
            .get("/x")
            .await
            .unwrap()
            .status,
        200
    );
}

/// What bash completes a line of words with, by the script that `postern completions bash` prints.
fn completed(gateway: &Gateway, line: &[&str]) -> Vec<String> {
    let script = gateway.file("postern.bash");
    std::fs::write(&script, gateway.cli(&["completions", "bash"]).ok()).unwrap();
    let mut program = std::process::Command::new("bash");
    program
        .args(["--norc", "-c"])
        .arg(
            r#"source "$1"; shift
               spec=$(complete -p postern); function=${spec#*-F }; function=${function%% *}
               COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
               "$function" "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
               printf '%s\n' "${COMPREPLY[@]}""#,
        )
        .arg("bash")
        .arg(script)
        .arg(tool::postern())
        .args(line);
    tool::run(&mut program)
        .ok()
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shell_completes_the_names_that_the_gateway_has() {
    let origin = Origin::echo();
    let gateway = Setup::new().start();
    drop(gateway.cli(&["zone", "create", "shop.test"]).ok());
    for host in ["api.shop.test", "app.shop.test", "www.shop.test"] {
        let add = ["host", "add", host, "--zone", "shop.test", "--origin"];
        drop(
            gateway
                .cli(&[&add[..], &[origin.url().as_str()]].concat())
                .ok(),
        );
    }
    let zone = gateway.admin.get("/client/v4/zones?name=shop.test").json();
    let zone = zone["result"][0]["id"].as_str().unwrap().to_owned();
    for name in ["device-1", "device-2", "printer"] {
        let path = format!("/postern/v1/zones/{zone}/client_certificates");
        let subject = json!({"common_name": name, "validity_days": 1});
        drop(gateway.admin.call("POST", &path, &subject));
    }
    let phase = format!("/client/v4/zones/{zone}/rulesets/phases/http_request_firewall_custom");
    let rules = json!({"rules": [
        {"action": "log", "expression": "ssl", "ref": "first"},
        {"action": "log", "expression": "not ssl", "ref": "second"},
    ]});
    drop(
        gateway
            .admin
            .call("PUT", &format!("{phase}/entrypoint"), &rules),
    );
    let socket = gateway.file("admin.sock");
    let socket = socket.to_str().unwrap();
    for (line, names) in [
        (
            &["host", "list", "--zone", ""][..],
            &[ZONE, "shop.test"][..],
        ),
        (&["host", "list", "--zone", "sh"], &["shop.test"]),
        (&["host", "list", "--zone", "=", "sh"], &["shop.test"]),
        (&["host", "show", "a"], &["api.shop.test", "app.shop.test"]),
        (
            &["cert", "revoke", "--zone", "shop.test", "dev"],
            &["device-1", "device-2"],
        ),
        (
            &[
                "cert",
                "revoke",
                "--zone",
                "shop.test",
                "printer",
                "device-2",
            ],
            &["device-2"],
        ),
        (
            &["rule", "delete", "--zone", "shop.test", ""],
            &["first", "second"],
        ),
        // Words are completed as ever.
        (&["host", "sho"], &["show"]),
        (&["host", "list", "--zo"], &["--zone"]),
    ] {
        // A gateway that is late with its answer completes nothing.
        until(&format!("{names:?} for {line:?}"), || {
            let mut found = completed(&gateway, &[&["--socket", socket], line].concat());
            found.retain(|name| !name.ends_with(".example.com") || names.contains(&name.as_str()));
            (found == names).then_some(())
        });
    }
    // Where no gateway answers, nothing is said, and nothing is waited for.
    let begun = std::time::Instant::now();
    let line = ["--socket", "/nowhere", "host", "show", "a"];
    assert!(completed(&gateway, &line).is_empty());
    assert!(begun.elapsed() < std::time::Duration::from_secs(10));
    // A ref is taken where it was offered.
    drop(
        gateway
            .cli(&["rule", "delete", "--zone", "shop.test", "first"])
            .ok(),
    );
}
