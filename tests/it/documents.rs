//! The configuration as a file, and the store's file, as people handle them.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::json;
use tests::gateway::ZONE;
use tests::{Origin, Setup, tool};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_is_edited_and_applied() {
    let origin = Origin::echo();
    let host = "api.example.test";
    let gateway = Setup::new().host(host, "off", &origin.url()).start();
    let client = gateway.client(host);
    let status = async || client.get("/admin").await.unwrap().status;
    assert_eq!(status().await, 200);
    let path = gateway.file("all.yaml");
    let file = path.to_str().unwrap();
    drop(gateway.cli(&["export", "--out", file]).ok());
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("PRIVATE KEY"), "{text}");
    let same = gateway.cli(&["apply", file]).ok();
    assert_eq!(same, "nothing to change\n");
    let json = gateway.cli(&["export", "--json"]).ok();
    let json_path = gateway.file("all.json");
    std::fs::write(&json_path, json).unwrap();
    assert_eq!(
        gateway.cli(&["apply", json_path.to_str().unwrap()]).ok(),
        same
    );

    // A rule is written into the file, first with a mistake in it.
    let edit = |from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        // `origin_rules` ends in the same word.
        let edited = text.replace(&format!(" {from}"), &format!(" {to}"));
        std::fs::write(&path, edited).unwrap();
    };
    let rule =
        "rules:\n      - action: block\n        expression: http.request.uri.path eq \"/admin\"\n";
    edit("rules: []\n", &rule.replace("expression", "expresion"));
    let line = |needle: &str| {
        let text = std::fs::read_to_string(&path).unwrap();
        text.lines().position(|line| line.contains(needle)).unwrap() + 1
    };
    let error = gateway.cli(&["apply", file]).failed(1);
    let place = format!(
        "{file}:{}:9: unknown key `expresion`; did you mean `expression`?",
        line("expresion")
    );
    assert!(error.contains(&place), "{error} lacks {place}");
    edit("rules: []\n", &rule.replace("path eq", "pth eq"));
    let error = gateway.cli(&["apply", file]).failed(1);
    let place = format!("{file}:{}:21: ", line("pth eq"));
    assert!(error.contains(&place), "{error} lacks {place}");
    edit("rules: []\n", &format!("{rule}  x: [1\n"));
    let error = gateway.cli(&["apply", file]).failed(1);
    assert!(error.contains(&format!("{file}:")), "{error}");
    edit("rules: []\n", rule);
    let tried = gateway.cli(&["apply", file, "--dry-run"]).ok();
    assert!(tried.contains("+ rule 1 of example.test"), "{tried}");
    assert!(tried.contains("nothing was done"), "{tried}");
    assert_eq!(status().await, 200, "only tried");
    let done = gateway.cli(&["apply", file, "--json"]).json();
    assert_eq!(done["applied"], json!(true));
    assert_eq!(done["changes"][0]["noun"], "rule");
    assert_eq!(status().await, 403);
    assert_eq!(gateway.cli(&["apply", file]).ok(), "nothing to change\n");
    let audit = gateway.admin.get("/postern/v1/audit?per_page=1").result();
    assert!(
        audit[0]["actor"].as_str().unwrap().starts_with("unix uid"),
        "{audit}"
    );
    assert!(
        audit[0]["changes"].to_string().contains("/admin"),
        "{audit}"
    );
}

#[test]
fn a_whole_gateway_is_made_from_a_file() {
    let one = Setup::new()
        .host("api.example.test", "require", "http://127.0.0.1:1")
        .start();
    let path = one.file("keys.yaml");
    let file = path.to_str().unwrap();
    let made = one.cli(&["export", "--private-keys", "--out", file]);
    assert!(
        made.err.contains("warning: the export holds private keys"),
        "{made:?}"
    );
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    one.says("private keys of CAs and server certificates were exported");

    // A new gateway without any zone.
    let mut two = Setup::default().start();
    let plan = two.cli(&["apply", file]).ok();
    assert!(
        plan.contains("+ zone example.test") && plan.contains("changes made"),
        "{plan}"
    );
    assert_eq!(two.cli(&["apply", file]).ok(), "nothing to change\n");
    let export = |gateway: &tests::Gateway| gateway.cli(&["export", "--private-keys"]).ok();
    assert_eq!(export(&one), export(&two));
    assert!(two.stop().success());
    two.start();
    assert_eq!(export(&one), export(&two), "after a start");
}

#[test]
fn backups_are_made_checked_and_put_back() {
    let mut gateway = Setup::new()
        .host("api.example.test", "require", "http://127.0.0.1:1")
        .start();
    let (id, _) = gateway.certificate(ZONE, "device");
    let (copy, config) = (gateway.file("copy.redb"), gateway.file("postern.conf"));
    let (copy, config) = (copy.to_str().unwrap(), config.to_str().unwrap());
    let made = gateway.cli(&["store", "backup", copy]).ok();
    assert!(made.contains("ca.key"), "{made}");
    let beside = |end: &str| gateway.file(&format!("copy.redb{end}"));
    let mode = beside("").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!beside(".part").exists());
    // The copy that was handed out is gone; what a killed gateway left is, after the next start.
    let copies = |gateway: &tests::Gateway| {
        let all = std::fs::read_dir(&gateway.directory).unwrap();
        all.filter(|one| {
            let name = one.as_ref().unwrap().file_name();
            name.to_string_lossy().contains(".copying-")
        })
        .count()
    };
    assert_eq!(copies(&gateway), 0);
    std::fs::write(gateway.file("store.redb.copying-0"), "half").unwrap();
    assert!(
        gateway
            .cli(&["store", "backup", copy])
            .failed(1)
            .contains("never overwrites")
    );
    gateway.revoke(ZONE, &id);
    let busy = gateway
        .cli(&["store", "check", "--config", config])
        .failed(1);
    assert!(busy.contains("in use by another process"), "{busy}");
    let busy = gateway.cli(&["store", "restore", copy, "--config", config, "--replace"]);
    assert!(busy.failed(1).contains("in use"));
    assert!(gateway.stop().success());
    let good = gateway.cli(&["store", "check", "--config", config]).ok();
    assert!(
        good.contains("good") && good.contains("1 client certificates"),
        "{good}"
    );
    assert!(
        gateway
            .cli(&["store", "restore", copy, "--config", config])
            .failed(1)
            .contains("--replace")
    );
    drop(
        gateway
            .cli(&["store", "restore", copy, "--config", config, "--replace"])
            .ok(),
    );
    gateway.start();
    assert_eq!(copies(&gateway), 0, "after a start");
    let path = format!(
        "/client/v4/zones/{}/client_certificates/{id}",
        gateway.zone_id(ZONE)
    );
    assert_eq!(
        gateway.admin.get(&path).result()["status"],
        "active",
        "as at the backup"
    );

    // Damage is told in our words only, whatever the library said of it.
    let store = std::fs::read(copy).unwrap();
    let damaged = gateway.file("damaged.redb");
    for (from, to, with) in [
        (0, 16, 0x55),
        (4096, 12_288, 0xff),
        (64, 320, 0xff),
        (128, 160, 0x5a),
    ] {
        let mut bytes = store.clone();
        bytes[from..to].fill(with);
        std::fs::write(&damaged, &bytes).unwrap();
        let told = tool::run(
            Command::new(tool::postern())
                .args(["store", "check"])
                .arg(&damaged),
        );
        if told.code == 0 {
            continue;
        }
        assert_eq!(told.code, 1, "{told:?}");
        assert!(!told.err.contains("panicked"), "{}", told.err);
        assert_eq!(told.err.lines().count(), 1, "{}", told.err);
        assert!(
            told.err.contains("is damaged or not a store"),
            "{}",
            told.err
        );
    }
}
