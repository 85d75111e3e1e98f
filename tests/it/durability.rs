//! What is acknowledged survives: killed before any write, sync or rename, and a disk that refuses.
//!
//! strace kills the real gateway at the entry of its N-th such system call in the middle of a
//! change, for every N that occurs (`POSTERN_SWEEP=full`), or for all syncs and some writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tests::gateway::ZONE;
use tests::{Gateway, Origin, Setup, tool, wait};

/// The calls by which a store changes.
const CALLS: [&str; 14] = [
    "pwrite64",
    "pwritev",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "ftruncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "copy_file_range",
];

const KINDS: [&str; 6] = ["issue", "revoke", "restore", "rule", "apply", "rollover"];

/// Whether processes may be traced here; if not, says that a test is skipped.
fn can_trace() -> bool {
    if !tool::has("strace") {
        return false;
    }
    let tried = tool::run(Command::new("strace").args(["-o", "/dev/null", "true"]));
    if tried.code != 0 {
        eprintln!("skipped: needs ptrace: {}", tried.err);
    }
    tried.code == 0
}

fn calls() -> String {
    // `?` lets strace pass over those that this machine does not have.
    CALLS.map(|call| format!("?{call}")).join(",")
}

/// strace on a running gateway, from when this returns.
fn attach(gateway: &Gateway, arguments: &[&str], out: &Path) -> Child {
    let mut child = Command::new("strace")
        .args(["-f", "-e", &format!("trace={}", calls())])
        .args(arguments)
        .arg("-o")
        .arg(out)
        .args(["-p", &gateway.pid().to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    assert!(line.contains("attached"), "{line}");
    // It goes on to write a line for each new thread; nothing may make it wait.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

fn detach(mut strace: Child) {
    tool::signal(strace.id(), "INT");
    wait::until("strace to end", || strace.try_wait().unwrap());
}

/// How often each thread made each call: the most of any thread.
fn counts(out: &Path) -> BTreeMap<&'static str, u32> {
    let text = fs::read_to_string(out).unwrap();
    let mut by_thread: BTreeMap<(&str, &'static str), u32> = BTreeMap::new();
    for line in text.lines() {
        let Some((pid, rest)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let name = rest.trim_start().split('(').next().unwrap();
        if let Some(call) = CALLS.iter().find(|call| **call == name) {
            *by_thread.entry((pid, call)).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((_, call), count) in by_thread {
        let known = most.entry(call).or_insert(0);
        *known = count.max(*known);
    }
    most
}

/// Which of `count` calls are swept.
fn chosen(call: &str, count: u32) -> BTreeSet<u32> {
    let full = std::env::var("POSTERN_SWEEP").is_ok_and(|value| value == "full");
    if full || (call != "pwrite64" && count <= 2) {
        return (1..=count).collect();
    }
    [1, count / 2, count]
        .into_iter()
        .filter(|n| *n > 0)
        .collect()
}

struct World {
    gateway: Gateway,
    round: u32,
}

/// One change: what is asked, and what it is known by afterwards.
struct Change {
    method: &'static str,
    path: String,
    body: Value,
    mark: String,
}

impl World {
    fn zone(&self, rest: &str) -> String {
        format!("/client/v4/zones/{}/{rest}", self.gateway.zone_id(ZONE))
    }

    fn own(&self, rest: &str) -> String {
        format!("/postern/v1/zones/{}/{rest}", self.gateway.zone_id(ZONE))
    }

    fn audited(&self) -> u64 {
        let answer = self
            .gateway
            .admin
            .get("/postern/v1/audit?per_page=1")
            .json();
        answer["result_info"]["total_count"].as_u64().unwrap()
    }

    /// Makes ready what the change needs.
    fn prepare(&mut self, kind: &str) -> Change {
        self.round += 1;
        let mark = format!("mark-{}", self.round);
        let change = |method, path, body, mark| Change {
            method,
            path,
            body,
            mark,
        };
        match kind {
            "issue" => change(
                "POST",
                self.own("client_certificates"),
                json!({ "common_name": mark, "validity_days": 30 }),
                mark,
            ),
            "revoke" | "restore" => {
                let (id, _) = self.gateway.certificate(ZONE, &mark);
                let path = self.zone(&format!("client_certificates/{id}"));
                if kind == "revoke" {
                    return change("DELETE", path, Value::Null, id);
                }
                self.gateway.revoke(ZONE, &id);
                change("PATCH", path, json!({}), id)
            }
            "rule" => {
                let path = self.zone("rulesets/phases/http_request_firewall_custom/entrypoint");
                let rule = json!({ "action": "log", "expression": "ssl", "description": mark });
                change("PUT", path, json!({ "rules": [rule] }), mark)
            }
            "apply" => {
                let number = self.round;
                let body = json!({
                    "postern": 1,
                    "lists": [{ "name": "sweep", "kind": "asn", "items": [{ "value": number.to_string() }] }],
                    "zones": [{
                        "name": ZONE,
                        "hosts": [{
                            "name": "swept.example.test",
                            "origin": { "url": format!("http://127.0.0.1:{}", 10_000 + number) },
                        }],
                        "rules": [{ "action": "log", "expression": "ssl", "description": mark }],
                    }],
                });
                change("POST", "/postern/v1/apply".into(), body, mark)
            }
            "rollover" => {
                let all = self.gateway.admin.get(&self.own("authorities")).result();
                let all = all.as_array().unwrap();
                for old in &all[1..] {
                    let path = self.own(&format!("authorities/{}", old["id"].as_str().unwrap()));
                    let gone = self.gateway.admin.call("DELETE", &path, &Value::Null);
                    assert!(gone.status < 300, "{gone:?}");
                }
                let mark = all[0]["id"].as_str().unwrap().to_owned();
                change("POST", self.own("authorities"), json!({}), mark)
            }
            other => panic!("{other}"),
        }
    }

    /// Whether the change is there; panics when a part of it is.
    fn is_done(&self, kind: &str, change: &Change) -> bool {
        let admin = &self.gateway.admin;
        let mark = change.mark.as_str();
        let rule = || {
            let path = self.zone("rulesets/phases/http_request_firewall_custom/entrypoint");
            let found = admin.get(&path);
            found.status == 200 && found.result()["rules"][0]["description"] == mark
        };
        match kind {
            "issue" => {
                let newest = admin
                    .get(&self.zone("client_certificates?per_page=50"))
                    .result();
                let newest = newest.as_array().unwrap().clone();
                let found = newest.iter().find(|one| one["common_name"] == mark);
                if let Some(found) = found {
                    let id = found["id"].as_str().unwrap();
                    let one = admin.get(&self.zone(&format!("client_certificates/{id}")));
                    assert_eq!(
                        one.result()["fingerprint_sha256"],
                        found["fingerprint_sha256"]
                    );
                }
                found.is_some()
            }
            "revoke" | "restore" => {
                let one = admin.get(&change.path).result();
                let revoked = one["status"] == "revoked";
                // The list that other gateways would read comes from another table.
                let cas = admin.get(&self.own("authorities")).result();
                let ca = cas[0]["id"].as_str().unwrap().to_owned();
                let crl = self.gateway.file("ca.crl");
                let path = self.own(&format!("authorities/{ca}/crl"));
                let fetched = tool::run(
                    Command::new("curl")
                        .args(["-s", "--unix-socket"])
                        .arg(self.gateway.file("admin.sock"))
                        .arg("-o")
                        .arg(&crl)
                        .arg(format!("http://localhost{path}")),
                );
                assert_eq!(fetched.code, 0, "{fetched:?}");
                let serial = one["serial_number"].as_str().unwrap();
                let hex: String = fs::read(&crl)
                    .unwrap()
                    .iter()
                    .map(|b| format!("{b:02x}"))
                    .collect();
                assert_eq!(hex.contains(&serial.to_lowercase()), revoked, "{one}");
                revoked == (kind == "revoke")
            }
            "rule" => rule(),
            "apply" => {
                let lists = admin.get("/postern/v1/export").result();
                let number = mark.strip_prefix("mark-").unwrap();
                let list = lists["lists"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|list| list["name"] == "sweep" && list["items"][0]["value"] == number);
                let port = 10_000 + number.parse::<u32>().unwrap();
                let host = admin.get("/postern/v1/hosts/swept.example.test");
                let host = host.status == 200
                    && host.result()["origin"]["url"] == format!("http://127.0.0.1:{port}");
                assert_eq!((list, host), (rule(), rule()), "a half of {mark}");
                list
            }
            "rollover" => {
                let all = admin.get(&self.own("authorities")).result();
                all[0]["id"] != mark
            }
            other => panic!("{other}"),
        }
    }

    /// Kills the gateway at one call of one change, and looks what a start finds. Answers whether
    /// it was killed, and whether the change is there.
    fn kill_at(&mut self, kind: &str, call: &str, number: u32) -> (bool, bool) {
        let change = self.prepare(kind);
        let before = self.audited();
        let inject = format!("inject={call}:signal=SIGKILL:when={number}");
        let trace = self.gateway.file("strace.out");
        let strace = attach(&self.gateway, &["-e", &inject], &trace);
        let reply = self
            .gateway
            .admin
            .ask(change.method, &change.path, Some(&change.body));
        let acknowledged = reply.is_some_and(|reply| {
            assert!(reply.status < 300, "{kind} {call} {number}: {reply:?}");
            true
        });
        if acknowledged {
            // A moment in which it may be killed all the same, and none afterwards.
            std::thread::sleep(std::time::Duration::from_millis(20));
            detach(strace);
        } else {
            // strace ends with whom it traced.
            let mut strace = strace;
            wait::until("strace to end", || strace.try_wait().unwrap());
        }
        let killed = wait::until("the gateway to answer, or to have ended", || {
            if self.gateway.has_ended() {
                return Some(true);
            }
            let lives = self.gateway.admin.ask("GET", "/livez", None).is_some();
            (acknowledged && lives).then_some(false)
        });
        if killed {
            self.gateway.wait();
            self.gateway.start();
        }
        let done = self.is_done(kind, &change);
        let place = format!("{kind}, {call} {number}");
        assert!(done || !acknowledged, "{place}: acknowledged and lost");
        assert_eq!(
            self.audited(),
            before + u64::from(done),
            "{place}: the audit log agrees"
        );
        (killed, done)
    }
}

#[test]
fn a_kill_at_any_write_or_sync_loses_nothing_acknowledged() {
    if !can_trace() || !tool::has("curl") {
        return;
    }
    let gateway = Setup::new()
        .host("api.example.test", "require", "http://127.0.0.1:1")
        .start();
    let mut world = World { gateway, round: 0 };
    for kind in KINDS {
        let change = world.prepare(kind);
        let trace = world.gateway.file("strace.out");
        let strace = attach(&world.gateway, &[], &trace);
        let reply = world
            .gateway
            .admin
            .call(change.method, &change.path, &change.body);
        assert!(reply.status < 300, "{kind}: {reply:?}");
        detach(strace);
        assert!(world.is_done(kind, &change), "{kind}");
        let counts = counts(&trace);
        assert!(
            counts.contains_key("fsync") || counts.contains_key("fdatasync"),
            "{kind}: {counts:?}"
        );
        let (mut kills, mut found) = (0, 0);
        for (call, count) in &counts {
            for number in chosen(call, *count) {
                let (killed, done) = world.kill_at(kind, call, number);
                kills += u32::from(killed);
                found += u32::from(killed && done);
            }
        }
        assert!(kills > 0, "{kind} was never killed");
        println!("{kind}: {counts:?}: {kills} kills, the change was there after {found} of them");
    }
}

#[test]
fn a_kill_in_a_restore_leaves_the_old_store_or_the_new() {
    if !can_trace() {
        return;
    }
    let mut gateway = Setup::new()
        .host("api.example.test", "require", "http://127.0.0.1:1")
        .start();
    let copy = gateway.file("copy.redb");
    drop(
        gateway
            .cli(&["store", "backup", copy.to_str().unwrap()])
            .ok(),
    );
    drop(gateway.certificate(ZONE, "later"));
    assert!(gateway.stop().success());
    let (store, kept) = (gateway.file("store.redb"), gateway.file("kept.redb"));
    fs::copy(&store, &kept).unwrap();
    let trace = gateway.file("strace.out");
    let restore = |arguments: &[&str]| {
        fs::copy(&kept, &store).unwrap();
        let mut command = Command::new("strace");
        command.args(["-f", "-e", &format!("trace={}", calls())]);
        command.args(arguments).arg("-o").arg(&trace);
        command
            .arg(tool::postern())
            .args(["store", "restore", "--replace", "--to"]);
        tool::run(command.arg(&store).arg(&copy))
    };
    let certificates = || {
        let check = ["store", "check", "--json"];
        let told = tool::run(Command::new(tool::postern()).args(check).arg(&store));
        told.json()["client_certificates"].as_u64().unwrap()
    };
    drop(restore(&[]).ok());
    assert_eq!(certificates(), 0);
    let counts = counts(&trace);
    let (mut old, mut new) = (0, 0);
    for (call, count) in &counts {
        for number in chosen(call, *count) {
            let inject = format!("inject={call}:signal=SIGKILL:when={number}");
            let done = restore(&["-e", &inject]);
            assert_ne!(done.code, 1, "{done:?}");
            match certificates() {
                1 => old += 1,
                _ => new += 1,
            }
        }
    }
    assert!(old > 0, "{counts:?}");
    println!(
        "store restore: {counts:?}: {} kills, {old} times the old store, {new} times the new",
        old + new
    );
}

/// A small file system of its own, taken away at the end.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(path: &Path, bytes: u64) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let size = format!("size={bytes},mode=700");
        let mut mount = Command::new("mount");
        let done = tool::run(mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path));
        if done.code != 0 {
            eprintln!("skipped: needs the right to mount: {}", done.err);
            return None;
        }
        Some(Self(path.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(tool::run(Command::new("umount").arg("-l").arg(&self.0)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_changes_and_serves_on() {
    let host = "api.example.test";
    let origin = Origin::echo();
    let mut gateway = Setup::new()
        .host(host, "require", &origin.url())
        .block("http.request.uri.path eq \"/blocked\"")
        .start();
    let (_, identity) = gateway.certificate(ZONE, "device");
    assert!(gateway.stop().success());
    let place = gateway.file("small");
    let Some(_small) = Small::mount(&place, 24 << 20) else {
        gateway.start();
        return;
    };
    for file in ["store.redb", "ca.key"] {
        fs::copy(gateway.file(file), place.join(file)).unwrap();
    }
    let store = place.join("store.redb");
    gateway.configure(&[("store.path", store.to_str().unwrap())]);
    gateway.start();
    let served = async |gateway: &Gateway| {
        let client = gateway.client(host).identity(&identity);
        assert_eq!(client.get("/").await.unwrap().status, 200);
        assert_eq!(client.get("/blocked").await.unwrap().status, 403);
    };
    served(&gateway).await;

    let filler = place.join("filler");
    let fill = || {
        use std::io::Write;
        let mut file = fs::File::create(&filler).unwrap();
        for size in [1 << 20, 4096, 512] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    };
    fill();
    let body = json!({ "common_name": "next", "validity_days": 30 });
    let path = format!(
        "/postern/v1/zones/{}/client_certificates",
        gateway.zone_id(ZONE)
    );
    // The store has some room of its own before it asks for more of the disk.
    let mut made = 0;
    let refused = wait::until("a change to be refused", || {
        let reply = gateway.admin.call("POST", &path, &body);
        made += u32::from(reply.status < 300);
        (reply.status >= 300).then_some(reply)
    });
    assert_eq!(refused.status, 503, "{refused:?}");
    let error = refused.json();
    assert_eq!(error["success"], json!(false));
    let message = error["errors"][0]["message"].as_str().unwrap();
    assert!(
        message.contains("No space left") && message.contains("free space"),
        "{message}"
    );
    served(&gateway).await;
    let list = format!(
        "/client/v4/zones/{}/client_certificates",
        gateway.zone_id(ZONE)
    );
    let total = || gateway.admin.get(&list).json()["result_info"]["total_count"].as_u64();
    assert_eq!(
        total(),
        Some(1 + u64::from(made)),
        "the refused one is not there"
    );
    fs::remove_file(&filler).unwrap();
    assert!(
        gateway.admin.call("POST", &path, &body).status < 300,
        "room again"
    );
    assert_eq!(total(), Some(2 + u64::from(made)));
    // A disk that turns read-only under it: the same, whatever the call.
    if can_trace() {
        for inject in [
            "?pwrite64,?fsync,?fdatasync,?ftruncate:error=EROFS",
            "?fsync,?fdatasync:error=EIO",
        ] {
            let trace = gateway.file("strace.out");
            let strace = attach(&gateway, &["-e", &format!("inject={inject}")], &trace);
            let reply = gateway.admin.call("POST", &path, &body);
            assert_eq!(reply.status, 503, "{inject}: {reply:?}");
            served(&gateway).await;
            detach(strace);
            let again = gateway.admin.call("POST", &path, &body);
            assert!(again.status < 300, "{inject}: {again:?}");
        }
    }
    assert!(gateway.stop().success());
    gateway.configure(&[]);
}
