//! Starting, stopping, reloading, dying: what was acknowledged stays, what was begun is finished.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

use serde_json::json;
use tests::gateway::{ZONE, new_address, new_directory};
use tests::tool::{self, Outcome};
use tests::{Origin, Setup};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_finishes_what_was_begun() {
    let origin = Origin::echo();
    let mut gateway = Setup::new()
        .set("timeout.drain", "30s")
        .host("api.example.test", "off", &origin.url())
        .start();
    let client = gateway.client("api.example.test");
    let mut busy = client.http1().await.unwrap();
    let busy_http2 = client.http2().await.unwrap();
    let mut idle = client.http1().await.unwrap();
    assert_eq!(idle.get("/x").await.unwrap().status, 200);
    let idle_http2 = client.http2().await.unwrap();
    assert_eq!(idle_http2.get("/x").await.unwrap().status, 200);
    let one = tokio::spawn(async move { (busy.get("/hold").await, busy) });
    let two = tokio::spawn({
        let busy = busy_http2.clone();
        async move { busy.get("/hold").await }
    });
    origin.wait_held(2);
    gateway.signal("TERM");
    idle.closed().await;
    idle_http2.closed().await;
    tests::wait::until("the listener to close", || {
        std::net::TcpStream::connect(gateway.address)
            .is_err()
            .then_some(())
    });
    let ready = gateway.admin.ask("GET", "/readyz", None);
    assert!(
        ready.is_none_or(|reply| reply.status == 503),
        "a draining gateway is not ready"
    );
    assert!(!gateway.has_ended(), "two requests are under way");
    origin.release();
    let (answer, mut busy) = one.await.unwrap();
    assert_eq!(answer.unwrap().status, 200);
    assert_eq!(two.await.unwrap().unwrap().status, 200);
    busy.closed().await;
    busy_http2.closed().await;
    assert!(gateway.wait().success(), "{}", gateway.stderr());
    let said = gateway.stderr();
    let (_, end) = said.split_once("stopping").unwrap();
    assert!(
        !end.contains("WARN"),
        "an ordinary stop warns of nothing: {said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_at_once() {
    let origin = Origin::echo();
    let mut gateway = Setup::new()
        .set("timeout.drain", "1h")
        .host("api.example.test", "off", &origin.url())
        .start();
    let client = gateway.client("api.example.test");
    let held = tokio::spawn(async move { client.get("/hold").await });
    origin.wait_held(1);
    gateway.signal("TERM");
    tests::wait::until("the drain to begin", || {
        gateway.stderr().contains("stopping").then_some(())
    });
    assert!(!gateway.has_ended());
    gateway.signal("INT");
    assert!(gateway.wait().success(), "{}", gateway.stderr());
    assert!(held.await.unwrap().is_err());
    origin.release();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_does_not_last_longer_than_it_may() {
    let origin = Origin::echo();
    let mut gateway = Setup::new()
        .set("timeout.drain", "500ms")
        .host("api.example.test", "off", &origin.url())
        .start();
    let client = gateway.client("api.example.test");
    let held = tokio::spawn(async move { client.get("/hold").await });
    origin.wait_held(1);
    assert!(gateway.stop().success(), "{}", gateway.stderr());
    assert!(
        gateway.stderr().contains("timeout.drain"),
        "{}",
        gateway.stderr()
    );
    assert!(held.await.unwrap().is_err());
    origin.release();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_takes_a_good_file_and_keeps_off_a_bad_one() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .host("api.example.test", "off", &origin.url())
        .start();
    let client = gateway.client("api.example.test");
    let mut live = client.http1().await.unwrap();
    assert_eq!(live.get("/x").await.unwrap().status, 200);
    let value = |key: &str| {
        let setting = gateway
            .admin
            .get(&format!("/postern/v1/sysctl/{key}"))
            .result();
        setting["value"].as_str().unwrap().to_owned()
    };
    gateway.configure(&[("timeout.idle", "33s")]);
    gateway.signal("HUP");
    gateway.says("was read again");
    assert_eq!(value("timeout.idle"), "33s");
    gateway.configure(&[("timeout.idle", "44s"), ("timeout.headr", "5s")]);
    gateway.signal("HUP");
    gateway.says("stays as it was");
    assert_eq!(
        value("timeout.idle"),
        "33s",
        "one error, and nothing changes"
    );
    let told = gateway.stderr();
    assert!(
        told.contains("timeout.headr") && told.contains("timeout.header"),
        "{told}"
    );
    assert!(told.contains("postern.conf:"), "{told}");
    gateway.configure(&[("host.default", "api.example.tset")]);
    gateway.signal("HUP");
    gateway.says("names a host that is not there");
    let elsewhere = gateway.file("other.redb");
    gateway.configure(&[
        ("workers", "1"),
        ("store.path", elsewhere.to_str().unwrap()),
    ]);
    gateway.signal("HUP");
    gateway.says("next start");
    assert_eq!(
        live.get("/x").await.unwrap().status,
        200,
        "connections live on"
    );
}

/// Whether the process answers this signal, by its number, and does not end by it (proc(5), `SigCgt`).
fn answers_to(process: u32, signal: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[test]
fn a_signal_that_comes_during_the_start_is_answered_after_it() {
    let mut gateway = Setup::new().start();
    gateway.stop();
    // Whoever opens this to write waits until somebody reads.
    let fifo = gateway.file("access.fifo");
    drop(tool::run(Command::new("mkfifo").arg(&fifo)).ok());
    gateway.configure(&[("log.access", fifo.to_str().unwrap())]);
    std::fs::remove_file(gateway.file("stderr.log")).unwrap();
    let mut starting = gateway.spawn();
    let process = starting.id();
    tests::wait::until("signals to be listened to", || {
        let all = [libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2];
        all.iter()
            .all(|signal| answers_to(process, *signal))
            .then_some(())
    });
    assert!(!answers_to(process, libc::SIGTERM), "a start can be ended");
    for signal in ["USR1", "HUP"] {
        tool::signal(process, signal);
    }
    assert!(!gateway.stderr().contains("listening"));
    let mut options = std::fs::OpenOptions::new();
    let reader = options.read(true).custom_flags(libc::O_NONBLOCK);
    let reader = reader.open(&fifo).unwrap();
    gateway.says("listening");
    gateway.says("was read again");
    tool::signal(process, "TERM");
    let ended = tests::wait::until("the gateway to end", || starting.try_wait().unwrap());
    assert!(ended.success(), "{}", gateway.stderr());
    drop(reader);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_the_log_holds_up_nothing() {
    let origin = Origin::echo();
    let mut gateway = Setup::new()
        .set("log.access", "off")
        .host("api.example.test", "off", &origin.url())
        .start();
    gateway.stop();
    gateway.configure(&[("log.level", "trace"), ("log.access", "off")]);
    let log = gateway.file("stderr.log");
    std::fs::remove_file(&log).unwrap();
    drop(tool::run(Command::new("mkfifo").arg(&log)).ok());
    // Open, so that a writer finds a reader, and not read.
    let mut options = std::fs::OpenOptions::new();
    let unread = options.read(true).write(true).open(&log).unwrap();
    gateway.start();
    let client = gateway.client("api.example.test").http2().await.unwrap();
    for index in 0..500 {
        let answer = client.get(&format!("/{index}")).await.unwrap();
        assert_eq!(answer.status, 200);
    }
    let mut full = std::fs::OpenOptions::new();
    let mut full = full
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&log)
        .unwrap();
    let why = full.write_all(&[b'x'; 4_096]).unwrap_err();
    assert_eq!(
        why.kind(),
        std::io::ErrorKind::WouldBlock,
        "the log is stuck"
    );
    assert!(gateway.stop().success());
    drop(unread);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_finds_everything() {
    let origin = Origin::echo();
    let mut gateway = Setup::new()
        .host("api.example.test", "require", &origin.url())
        .host("open.example.test", "off", &origin.url())
        .block(r#"http.request.uri.path eq "/no""#)
        .start();
    let (id, revoked) = gateway.certificate(ZONE, "revoked");
    let (_, good) = gateway.certificate(ZONE, "good");
    gateway.revoke(ZONE, &id);
    for how in ["TERM", "KILL", "KILL"] {
        gateway.signal(how);
        let status = gateway.wait();
        assert_eq!(status.success(), how == "TERM");
        gateway.start();
        let api = gateway.client("api.example.test");
        assert_eq!(
            api.clone().identity(&good).get("/x").await.unwrap().status,
            200,
            "{how}"
        );
        assert_eq!(
            api.clone().identity(&good).get("/no").await.unwrap().status,
            403,
            "{how}"
        );
        let refused = api.clone().identity(&revoked).get("/x").await.unwrap_err();
        assert_eq!(refused.why, "certificate_revoked", "{how}");
        assert_eq!(
            gateway
                .client("open.example.test")
                .get("/x")
                .await
                .unwrap()
                .status,
            200,
            "{how}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_acknowledged_survives_a_kill() {
    let mut gateway = Setup::new().start();
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let admin = gateway.admin.clone();
        let path = format!(
            "/postern/v1/zones/{}/client_certificates",
            gateway.zone_id(ZONE)
        );
        let writer = std::thread::spawn(move || {
            let mut done = Vec::new();
            for index in 0.. {
                let body = json!({ "common_name": format!("{round}-{index}"), "validity_days": 1 });
                match admin.ask("POST", &path, Some(&body)) {
                    Some(reply) if reply.status == 200 => {
                        done.push(reply.result()["id"].as_str().unwrap().to_owned());
                    }
                    _ => return done,
                }
            }
            done
        });
        let enough = 5 * (round + 1);
        tests::wait::until("some certificates", || {
            let path = format!(
                "/client/v4/zones/{}/client_certificates",
                gateway.zone_id(ZONE)
            );
            let reply = gateway.admin.get(&path).json();
            (reply["result_info"]["total_count"].as_u64()? >= enough).then_some(())
        });
        gateway.signal("KILL");
        assert!(!gateway.wait().success(), "it was killed");
        acknowledged.extend(writer.join().unwrap());
        gateway.start();
        for id in &acknowledged {
            let path = format!(
                "/client/v4/zones/{}/client_certificates/{id}",
                gateway.zone_id(ZONE)
            );
            assert_eq!(
                gateway.admin.get(&path).status,
                200,
                "{id} was acknowledged"
            );
        }
    }
    assert!(acknowledged.len() >= 5);
}

/// `postern run` on a configuration of our own making.
fn run(directory: &std::path::Path, config: &str) -> Outcome {
    let path = directory.join("postern.conf");
    let mut text = config.to_owned();
    for (key, value) in [
        ("listen", new_address().to_string()),
        (
            "store.path",
            directory.join("store.redb").display().to_string(),
        ),
        (
            "admin.socket",
            directory.join("admin.sock").display().to_string(),
        ),
        ("log.access", "off".into()),
    ] {
        if !config.contains(key) {
            text.push_str(&format!("\n{key} = {value}"));
        }
    }
    std::fs::write(&path, text).unwrap();
    // A gateway that starts after all must not hang the test.
    let mut command = Command::new("timeout");
    tool::run(
        command
            .arg("20")
            .arg(tool::postern())
            .args(["run", "--config"])
            .arg(&path),
    )
}

#[test]
fn what_keeps_a_gateway_from_starting_is_said() {
    let gateway = Setup::new().start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let locked = gateway.file("store.redb");
    let listening = gateway.file("admin.sock");
    for (what, config, code, words) in [
        (
            "a misspelt key",
            "workers = 1\nlisten.adress = *:1".into(),
            78,
            vec!["postern.conf:2:1", "listen.adress"],
        ),
        (
            "a bad value",
            "timeout.idle = soon".into(),
            78,
            vec!["postern.conf:1:16", "soon"],
        ),
        (
            "a line that is none",
            "workers".into(),
            78,
            vec!["postern.conf:1"],
        ),
        (
            "too many workers",
            "workers = 100000".into(),
            78,
            vec!["postern.conf:1:11", "100000"],
        ),
        (
            "an admin address in the open",
            "admin.listen = 0.0.0.0:1".into(),
            78,
            vec!["loopback"],
        ),
        (
            "a taken port",
            format!("listen = {taken}"),
            1,
            vec![&*taken.to_string().leak(), "another process"],
        ),
        (
            "an address of nobody",
            "listen = 192.0.2.1:443".into(),
            1,
            vec!["192.0.2.1"],
        ),
        (
            "a locked store",
            format!("store.path = {}", locked.display()),
            1,
            vec!["store.redb"],
        ),
        (
            "a store in no directory",
            "store.path = /dev/null/x/store.redb".into(),
            78,
            vec!["/dev/null/x"],
        ),
        (
            "a socket in use",
            format!("admin.socket = {}", listening.display()),
            1,
            vec!["admin.sock"],
        ),
        (
            "a socket in no directory",
            "admin.socket = /dev/null/admin.sock".into(),
            1,
            vec!["/dev/null"],
        ),
        (
            "an access log in no directory",
            "log.access = /dev/null/access.log".into(),
            78,
            vec!["/dev/null/access.log"],
        ),
    ] {
        let directory = new_directory();
        let outcome = run(&directory, &config);
        assert_eq!(outcome.code, code, "starting with {what}: {outcome:?}");
        for word in words {
            assert!(
                outcome.err.contains(word),
                "{what} should say `{word}`: {}",
                outcome.err
            );
        }
        assert!(!outcome.err.contains("panicked"), "{what}: {}", outcome.err);
        std::fs::remove_dir_all(&directory).unwrap();
    }
    assert_eq!(
        gateway.admin.get("/livez").status,
        200,
        "the running one is unharmed"
    );
}

#[test]
fn a_damaged_store_is_neither_used_nor_overwritten() {
    for (what, damage) in [
        (
            "nonsense",
            (|bytes: &mut Vec<u8>| *bytes = b"nonsense".to_vec()) as fn(&mut Vec<u8>),
        ),
        ("cut", |bytes| bytes.truncate(bytes.len() / 2)),
        ("zeroed", |bytes| bytes[..4096].fill(0)),
        ("empty directory entry", |bytes| *bytes = vec![0; 100]),
    ] {
        let mut gateway = Setup::new().start();
        assert!(gateway.stop().success());
        let path = gateway.file("store.redb");
        let mut bytes = std::fs::read(&path).unwrap();
        damage(&mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        let outcome = run(&gateway.directory, "workers = 1");
        assert_eq!(outcome.code, 78, "{what}: {outcome:?}");
        assert!(
            outcome.err.contains("store.redb"),
            "{what}: {}",
            outcome.err
        );
        assert!(!outcome.err.contains("panicked"), "{what}: {}", outcome.err);
    }
    // The key that opens the CAs' keys is gone, or may be read by others.
    let mut gateway = Setup::new().start();
    assert!(gateway.stop().success());
    let key = gateway.file("ca.key");
    let mode = |bits| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(bits);
        std::fs::set_permissions(&key, permissions).unwrap();
    };
    mode(0o644);
    assert!(run(&gateway.directory, "").failed(78).contains("chmod 600"));
    mode(0o600);
    let text = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    assert!(run(&gateway.directory, "").failed(78).contains("missing"));
    std::fs::write(&key, "nonsense").unwrap();
    mode(0o600);
    assert!(run(&gateway.directory, "").failed(78).contains("damaged"));
    std::fs::write(&key, text).unwrap();
    gateway.start();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_files_may_be_open_as_the_system_allows() {
    let mut gateway = Setup::new().start();
    let limits = format!("/proc/{}/limits", gateway.pid());
    let limits = std::fs::read_to_string(limits).unwrap();
    let files = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .unwrap();
    let mut columns = files.split_whitespace();
    assert_eq!(columns.next(), columns.next(), "soft and hard: {files}");
    assert!(gateway.stop().success());
}
