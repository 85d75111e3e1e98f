//! The access log as it is asked for: formats, fields, samples, and a disk that takes nothing.

use serde_json::Value;
use tests::client::body;
use tests::gateway::ZONE;
use tests::{Gateway, Origin, Setup, tool, wait};

use http::Request;

const HOST: &str = "api.example.test";
const AGENT: &str = "curl/8 \"\\\t.";

/// Whole lines of the log, once there are so many.
fn lines(gateway: &Gateway, count: usize) -> Vec<String> {
    wait::until("lines of the access log", || {
        let text = std::fs::read_to_string(gateway.file("access.log")).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        (lines.len() >= count && text.ends_with('\n')).then_some(lines)
    })
}

fn set(gateway: &Gateway, key: &str, value: &str) {
    let set = gateway.cli(&["sysctl", "-w", &format!("{key}={value}")]);
    assert_eq!(set.code, 0, "{set:?}");
}

/// A request that says who it is and where it comes from.
async fn ask(gateway: &Gateway, path: &str) {
    let mut client = gateway.client(HOST).http1().await.unwrap();
    let request = Request::get(path)
        .header("host", HOST)
        .header("user-agent", AGENT)
        .header("referer", "https://elsewhere.test/from?token=secret")
        .body(body(""))
        .unwrap();
    assert_eq!(client.send(request).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_and_formats_change_while_the_gateway_runs() {
    let origin = Origin::echo();
    let gateway = Setup::new().host(HOST, "request", &origin.url()).start();
    ask(&gateway, "/as-ever?secret=1").await;
    let record = gateway.request_record("/as-ever");
    assert_eq!(record["user_agent"], Value::Null, "{record}");
    assert_eq!(record["client_cert"]["presented"], false, "{record}");
    let device = gateway.authority(ZONE).client("device");
    let known = gateway.client(HOST).identity(&device);
    assert_eq!(known.get("/as-device").await.unwrap().status, 200);
    let record = gateway.request_record("/as-device");
    let print = record["client_cert"]["fingerprint_sha256"]
        .as_str()
        .unwrap();

    set(
        &gateway,
        "log.access.fields",
        "path, user_agent, referer, tls.version",
    );
    ask(&gateway, "/few?secret=2").await;
    let record = gateway.request_record("/few");
    assert_eq!(
        record,
        serde_json::json!({
            "kind": "request", "path": "/few", "tls": {"version": "TLSv1.3"},
            "user_agent": AGENT, "referer": "https://elsewhere.test/from",
        })
    );
    // What the lines no longer say cannot be looked for in them.
    let refused = gateway.cli(&["log", "--host", HOST]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("log.access.fields"), "{refused:?}");

    set(&gateway, "log.access.format", "combined");
    assert_eq!(known.get("/known").await.unwrap().status, 200);
    ask(&gateway, "/%22combined?secret=3").await;
    let lines = lines(&gateway, 5);
    let [.., first, second] = &lines[..] else {
        panic!("{lines:?}")
    };
    assert!(
        first.starts_with(&format!("127.0.0.1 - {print} [")),
        "{first}"
    );
    assert!(first.contains("\"GET /known HTTP/"), "{first}");
    assert!(second.starts_with("127.0.0.1 - - ["), "{second}");
    assert!(
        second.contains(" +0000] \"GET /%22combined HTTP/1.1\" 200 "),
        "{second}"
    );
    assert!(
        second.ends_with(" \"https://elsewhere.test/from\" \"curl/8 \\x22\\x5C\\x09.\""),
        "{second}"
    );
    assert!(
        !lines.iter().any(|line| line.contains("secret")),
        "{lines:?}"
    );
    // Lines of both formats are found by what they say.
    let found = gateway.cli(&["log", "--certificate", print]);
    assert_eq!(found.out.lines().last(), Some(&**first), "{found:?}");
    let all = gateway.cli(&["log"]);
    assert_eq!(all.out.lines().count(), lines.len(), "{all:?}");

    let unknown = gateway.cli(&["sysctl", "-w", "log.access.fields=user_agnet"]);
    assert_eq!(unknown.code, 1, "{unknown:?}");
    assert!(
        unknown.err.contains("did you mean `user_agent`?"),
        "{unknown:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sample_leaves_out_what_was_permitted_and_nothing_else() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host(HOST, "request", &origin.url())
        .host("down.example.test", "off", "http://127.0.0.1:9")
        .host("strict.example.test", "require", &origin.url())
        .set("log.access.sample", "1000000")
        .block("http.request.uri.path eq \"/admin\"")
        .start();
    let mut client = gateway.client(HOST).http1().await.unwrap();
    for _ in 0..50 {
        assert_eq!(client.get("/many").await.unwrap().status, 200);
    }
    assert_eq!(client.get("/admin").await.unwrap().status, 403);
    let down = gateway.client("down.example.test");
    assert_eq!(down.get("/down").await.unwrap().status, 502);
    assert!(
        gateway
            .client("strict.example.test")
            .get("/")
            .await
            .is_err()
    );
    for path in ["/admin", "/down"] {
        let record = gateway.request_record(path);
        assert_eq!(record["stands_for"], Value::Null, "{record}");
    }
    drop(gateway.record("a refusal", |line| line["kind"] == "handshake"));
    // One in a million: that any of the fifty is there happens once in twenty thousand runs.
    let many = |line: &Value| line["path"] == "/many";
    assert!(gateway.records().iter().filter(|line| many(line)).count() <= 1);
    set(&gateway, "log.access.sample", "2");
    let record = wait::until("a line of the sample", || {
        for _ in 0..50 {
            let answer = futures_now(client.get("/half"));
            assert_eq!(answer.unwrap().status, 200);
        }
        let half = |line: &Value| line["path"] == "/half";
        gateway.records().into_iter().find(half)
    });
    assert_eq!(record["stands_for"], 2, "{record}");
}

fn futures_now<F: Future>(future: F) -> F::Output {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_said_and_costs_lines_only() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host(HOST, "off", &origin.url())
        .set("log.access", "/dev/full")
        .start();
    let client = gateway.client(HOST);
    for _ in 0..5 {
        assert_eq!(client.get("/").await.unwrap().status, 200);
    }
    wait::until("lost lines in the metrics", || {
        let text = gateway.admin.get("/metrics").body;
        let dropped = text
            .lines()
            .find_map(|line| line.strip_prefix("postern_access_log_dropped_total "));
        (dropped == Some("5")).then_some(())
    });
    gateway.says("the access log cannot be written: No space left on device");
    assert_eq!(client.get("/").await.unwrap().status, 200);
}

#[test]
fn a_journal_that_may_not_be_read_is_no_empty_log() {
    let gateway = Setup::new().set("log.access", "stdout").start();
    let programs = gateway.file("bin");
    std::fs::create_dir(&programs).unwrap();
    // It ends as journalctl does for a user who may not read the journal.
    std::os::unix::fs::symlink("/bin/false", programs.join("journalctl")).unwrap();
    let mut log = std::process::Command::new(tool::postern());
    log.env("PATH", &programs);
    log.arg("--socket").arg(gateway.file("admin.sock"));
    let why = tool::run(log.arg("log")).failed(1);
    assert!(
        why.contains("journalctl") && why.contains("systemd-journal"),
        "{why}"
    );
}
