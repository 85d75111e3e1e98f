//! Upgrades: a new process takes over under load, and nothing fails; one that cannot leaves the old one as
//! it was; who is no longer trusted is out in both.
//!
//! `POSTERN_TEST_UPGRADES=RELOADS,UPGRADES` makes the first test longer: `100,10` is the full form.

use std::fs::{self, Permissions};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tests::gateway::{ZONE, new_address};
use tests::pki::Identity;
use tests::tool::{self, is_alive};
use tests::wait::{PATIENCE, until, within};
use tests::{Authority, Gateway, Origin, Setup};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::load::{API, KINDS, Load, STREAMS, World, aside, tunnel};

/// How many reloads and upgrades.
fn rounds() -> (usize, usize) {
    let text = std::env::var("POSTERN_TEST_UPGRADES").unwrap_or_else(|_| "4,2".into());
    let (reloads, upgrades) = text.split_once(',').unwrap();
    (reloads.parse().unwrap(), upgrades.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reloads_and_upgrades_fail_no_request_and_a_revocation_bites_in_both() {
    let mut world = World::new(&[]);
    let (_, good) = world.gateway.certificate(ZONE, "good");
    let load = Load::start(&world, &good);
    let gateway = &mut world.gateway;
    load.goes_on("before anything");
    let (reloads, upgrades) = rounds();
    let mut former = Vec::new();
    let (first, further) = (gateway.listen.clone(), new_address());
    for round in 0..upgrades {
        // The first reload of each round is one that takes a new process: another place to listen at comes or
        // goes, and so does a worker.
        let is_wider = round % 2 == 0;
        gateway.listen = match is_wider {
            true => vec![first[0], further],
            false => first.clone(),
        };
        let workers = if is_wider { "3" } else { "2" };
        for reload in 0..reloads.div_ceil(upgrades) {
            let idle = format!("{}s", 61 + reload);
            gateway.configure(&[
                ("timeout.drain", "40s"),
                ("timeout.idle", &idle),
                ("workers", workers),
            ]);
            let before = gateway.pid();
            let file = gateway.file("postern.conf");
            let told = gateway
                .cli(&["reload", "--config", file.to_str().unwrap()])
                .ok();
            assert!(told.contains(&before.to_string()), "{told}");
            if reload == 0 {
                let pid = aside(|| gateway.replaced(before));
                assert!(told.contains(&pid.to_string()), "{told}");
                former.push(before);
                assert_eq!(count_of_workers(gateway).to_string(), workers);
                answers_where_it_listens(gateway, &good, further).await;
                load.goes_on("with other listeners and workers");
                at_most_one_of(&former);
            }
            gateway.serve_as(ZONE, &[ZONE, &format!("*.{ZONE}")]);
            drop(gateway.rule(&json!({
                "action": "block", "expression": format!("http.request.uri.path eq \"/no-{round}-{reload}\""),
            })));
            let url = json!({ "origin": { "slow_start_sec": reload % 2 } });
            drop(
                gateway
                    .admin
                    .ask("PATCH", &format!("/postern/v1/hosts/{STREAMS}"), Some(&url)),
            );
            let look = || {
                let path = "/postern/v1/sysctl/timeout.idle";
                (gateway.admin.get(path).result()["value"] == idle).then_some(())
            };
            aside(|| until("the reload", look));
        }
        load.goes_on("after reloads");
        // A connection of the old process, and one of the new.
        let (id, lost) = gateway.certificate(ZONE, "lost");
        let mut old = tunnel(&gateway.client(API).identity(&lost))
            .await
            .unwrap()
            .unwrap();
        let tickets = gateway.client(API).identity(&good).tickets();
        let again = gateway.client(API).identity(&good).resuming(&tickets);
        drop(again.http1().await.unwrap().get("/x").await.unwrap());
        let before = gateway.pid();
        // One is revoked before the upgrade has come to its end, and one behind it.
        let name = format!("soon-{round}");
        let (_, soon) = gateway.certificate(ZONE, &name);
        let mut kept = tunnel(&gateway.client(API).identity(&soon))
            .await
            .unwrap()
            .unwrap();
        gateway.signal("USR2");
        // The connection to the old process may end in between, and then it is asked for again.
        let revoke = || gateway.cli(&["cert", "revoke", "--zone", ZONE, &name]).code == 0;
        aside(|| until("the revocation", || revoke().then_some(())));
        let ended = within("the end of the connection", kept.read(&mut [0; 4])).await;
        assert!(!matches!(ended, Ok(1..)), "{ended:?}");
        let pid = aside(|| gateway.replaced(before));
        let refused = gateway.client(API).identity(&soon).get("/x").await;
        assert_eq!(refused.unwrap_err().why, "certificate_revoked");
        assert!(is_alive(before), "it has connections");
        former.push(before);
        load.goes_on("after an upgrade");
        let resumed = again.http1().await.unwrap();
        assert!(resumed.resumed, "session tickets stay good");
        let mut new = gateway.client(API).identity(&lost).http1().await.unwrap();
        assert_eq!(new.get("/x").await.unwrap().status, 200);
        old.write_all(b"ping").await.unwrap();
        let mut back = [0; 4];
        within("an echo", old.read_exact(&mut back)).await.unwrap();
        gateway.revoke(ZONE, &id);
        let ended = within("the end of the old connection", old.read(&mut back)).await;
        assert!(!matches!(ended, Ok(1..)), "{ended:?}");
        new.closed().await;
        let refused = gateway.client(API).identity(&lost).get("/x").await;
        assert_eq!(refused.unwrap_err().why, "certificate_revoked");
        assert!(is_alive(pid));
        at_most_one_of(&former);
    }
    let has_ended = || former.iter().all(|pid| !is_alive(*pid)).then_some(());
    aside(|| until("the end of replaced processes", has_ended));
    load.goes_on("after everything");
    let counts = load.end().await;
    println!("{reloads} reloads, {upgrades} upgrades, 0 failed of {counts:?} ({KINDS:?})");
}

fn count_of_workers(gateway: &Gateway) -> u64 {
    let status = gateway.admin.get("/postern/v1/status").result();
    status["workers"].as_u64().unwrap()
}

/// Each place to listen at has somebody who accepts, and `further` nobody when it is none.
async fn answers_where_it_listens(gateway: &Gateway, identity: &Identity, further: SocketAddr) {
    for address in &gateway.listen {
        for _ in 0..20 {
            let client = gateway.client_at(*address, API).identity(identity);
            assert_eq!(client.get("/x").await.unwrap().status, 200, "{address}");
        }
    }
    if !gateway.listen.contains(&further) {
        assert!(TcpStream::connect(further).is_err(), "it was given up");
    }
}

/// Waits until there is room for one more replaced process.
fn at_most_one_of(former: &[u32]) {
    let alive = || former.iter().filter(|pid| is_alive(**pid)).count();
    aside(|| until("the end of older processes", || (alive() < 2).then_some(())));
}

/// A program that stands in for the new process, and ends or hangs at a step.
pub(super) fn stand_in(gateway: &Gateway, step: usize, how: &str) -> Option<PathBuf> {
    if !tool::has("python3") {
        return None;
    }
    let text = include_str!("upgrade_wrapper.py")
        .replace("@POSTERN@", &tool::postern().display().to_string())
        .replace("@STEP@", &step.to_string())
        .replace("@HOW@", how);
    let path = gateway.file(&format!("stand-in-{step}-{how}"));
    fs::write(&path, format!("#!/usr/bin/env python3\n{text}")).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    Some(path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_process_that_fails_at_any_step_leaves_the_old_one_as_it_was() {
    let world = World::new(&[("timeout.upgrade", "15s")]);
    let gateway = &world.gateway;
    let (_, good) = gateway.certificate(ZONE, "good");
    let load = Load::start(&world, &good);
    let pid = gateway.pid();
    let fails = |binary: &str, says: &str| {
        let outcome = aside(|| gateway.cli(&["upgrade", binary]));
        assert_eq!(outcome.code, 1, "{outcome:?}");
        assert!(outcome.err.contains(says), "{says} is not in {outcome:?}");
        assert_eq!(gateway.pid(), pid);
        // The store is its own again.
        aside(|| {
            let (id, _) = gateway.certificate(ZONE, "after");
            gateway.revoke(ZONE, &id);
        });
        load.goes_on(says);
    };
    let steps = (0..9).map(|step| (step, "exit", "exit code 3"));
    let others = [
        (6, "signal", "signal 11"),
        (1, "hang", "said nothing for 15 s"),
        (6, "hang", "said nothing for 15 s"),
    ];
    for (step, how, says) in steps.chain(others) {
        let Some(stand_in) = stand_in(gateway, step, how) else {
            return;
        };
        fails(stand_in.to_str().unwrap(), says);
    }
    let text = gateway.file("no-program");
    fs::write(&text, "text").unwrap();
    fs::set_permissions(&text, Permissions::from_mode(0o755)).unwrap();
    fails(text.to_str().unwrap(), "cannot be started");
    fs::set_permissions(&text, Permissions::from_mode(0o777)).unwrap();
    fails(text.to_str().unwrap(), "go-w");
    fails("/bin/true", "exit code 0");
    // What is wrong with the files is said as a start says it.
    let config = fs::read_to_string(gateway.file("postern.conf")).unwrap();
    for (line, says) in [
        ("timeout.idel = 5s", "timeout.idle"),
        ("store.path = /nonexistent/store", "store.path"),
        (
            "geoip.database = /nonexistent/geo.mmdb",
            "/nonexistent/geo.mmdb",
        ),
        ("listen = 192.0.2.1:1", "192.0.2.1:1"),
    ] {
        let kept = config.lines().filter(|kept| {
            line.starts_with("listen") || kept.split(' ').next() != line.split(' ').next()
        });
        let text: String = kept.chain([line]).map(|line| format!("{line}\n")).collect();
        fs::write(gateway.file("postern.conf"), text).unwrap();
        fails(tool::postern().to_str().unwrap(), says);
    }
    fs::write(gateway.file("postern.conf"), config).unwrap();
    let status = gateway.cli(&["upgrade", "--status"]).ok();
    assert!(status.contains("goes on as before"), "{status}");
    let counts = load.end().await;
    println!("0 failed of {counts:?} ({KINDS:?})");
}

#[test]
fn a_store_that_is_swapped_under_the_hand_over_is_refused() {
    let gateway = Setup::new().host(API, "off", "http://127.0.0.1:9").start();
    let (pid, store) = (gateway.pid(), gateway.file("store.redb"));
    // When the old process has closed it, another one is put in its place.
    let Some(stand_in) = stand_in(&gateway, 5, "swap") else {
        return;
    };
    let outcome = gateway.cli(&["upgrade", stand_in.to_str().unwrap()]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(
        outcome.err.contains("`store.path` is another one"),
        "{outcome:?}"
    );
    assert_eq!(gateway.pid(), pid);
    // The stand-in has put it back, and the old process goes on with it.
    assert!(store.exists());
    let (id, _) = gateway.certificate(ZONE, "after");
    gateway.revoke(ZONE, &id);
    assert!(gateway.cli(&["host", "show", API]).ok().contains(API));
}

#[test]
fn the_first_process_of_a_container_is_not_upgraded() {
    if !tool::has("unshare") || tool::run(Command::new("id").arg("-u")).out.trim() != "0" {
        return;
    }
    let mut gateway = Setup::new().start();
    assert!(gateway.stop().success());
    let log = fs::File::create(gateway.file("again.log")).unwrap();
    let mut container = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child"])
        .arg(tool::postern())
        .args(["run", "--config"])
        .arg(gateway.file("postern.conf"))
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    until("the gateway", || {
        (gateway.cli(&["status"]).code == 0).then_some(())
    });
    let why = gateway.cli(&["upgrade"]).failed(1);
    assert!(why.contains("first of its container"), "{why}");
    // A reload of what takes a new process says the same, and the process goes on.
    gateway.configure(&[("workers", "1")]);
    let reloading = format!("/proc/{0}/task/{0}/children", container.id());
    let inner = fs::read_to_string(reloading).unwrap();
    tool::signal(inner.trim().parse().unwrap(), "HUP");
    until("the refusal", || {
        let log = fs::read_to_string(gateway.file("again.log")).unwrap();
        (log.matches("first of its container").count() >= 2).then_some(())
    });
    assert_eq!(gateway.cli(&["status"]).code, 0);
    drop(container.kill());
    drop(container.wait());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_process_whose_successor_is_gone_ends_its_connections() {
    let mut world = World::new(&[]);
    let gateway = &mut world.gateway;
    let (_, good) = gateway.certificate(ZONE, "good");
    let mut old = tunnel(&gateway.client(API).identity(&good))
        .await
        .unwrap()
        .unwrap();
    let before = gateway.pid();
    let pid = gateway.upgrade();
    tool::signal(pid, "KILL");
    let mut back = [0; 4];
    let ended = within("the end of the connection", old.read(&mut back)).await;
    assert!(!matches!(ended, Ok(1..)), "{ended:?}");
    until("the end of the replaced process", || {
        (!is_alive(before)).then_some(())
    });
    assert!(
        gateway.stderr().contains("is not known any more"),
        "{}",
        gateway.stderr()
    );
}

/// Whatever is changed in the new process holds for what the old one still serves, and what the old one is told
/// of files is for the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_process_obeys_rules_and_cas_and_passes_signals_on() {
    let origin = Origin::echo();
    let drain = ("timeout.drain", "60s");
    let mut gateway = Setup::new()
        .host(API, "request", &origin.url())
        .set(drain.0, drain.1)
        .start();
    let root = Authority::root("Root");
    let id = gateway.upload(&root);
    gateway.associate(&id, &[API]);
    let client = gateway.client(API);
    let mut theirs = client
        .clone()
        .identity(&root.client("theirs"))
        .http1()
        .await
        .unwrap();
    assert_eq!(theirs.get("/x").await.unwrap().status, 200);
    // Each may have one more request.
    let mut kept = Vec::new();
    for _ in 0..30 {
        let mut one = client.http1().await.unwrap();
        assert_eq!(one.get("/closed").await.unwrap().status, 200);
        kept.push(one);
    }
    let before = gateway.pid();
    gateway.upgrade();
    let blocks = json!({
        "action": "block", "expression": "http.request.uri.path eq \"/closed\"",
    });
    drop(gateway.rule(&blocks));
    aside(|| {
        until("the rule to hold in the old process", || {
            // Each has one request, and thirty of them leave a change its time to come over.
            std::thread::sleep(Duration::from_millis(300));
            let mut one = kept.pop().expect("a connection of the old process");
            let asked = tokio::runtime::Handle::current().block_on(one.get("/closed"));
            (asked.unwrap().status == 403).then_some(())
        });
    });
    gateway.associate(&id, &[]);
    theirs.closed().await;
    // Those who signal know the process that was there before.
    gateway.configure(&[drain, ("timeout.idle", "77s")]);
    tool::signal(before, "HUP");
    until("the files to hold in the new process", || {
        let idle = gateway.admin.get("/postern/v1/sysctl/timeout.idle");
        (idle.result()["value"] == "77s").then_some(())
    });
    let log = gateway.file("access.log");
    fs::rename(&log, gateway.file("access.log.1")).unwrap();
    tool::signal(before, "USR1");
    until("the log to be begun anew", || log.exists().then_some(()));
    let metrics = gateway.admin.get("/metrics").body;
    assert!(
        metrics.contains("postern_upgrades_total{result=\"done\"} 1"),
        "{metrics}"
    );
    assert!(is_alive(before), "it has connections");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_the_new_process_lets_the_old_one_finish() {
    let mut world = World::new(&[]);
    let gateway = &mut world.gateway;
    let (_, good) = gateway.certificate(ZONE, "good");
    let mut old = tunnel(&gateway.client(API).identity(&good))
        .await
        .unwrap()
        .unwrap();
    let before = gateway.pid();
    // As a signal asks for it.
    gateway.signal("USR2");
    let process = || gateway.admin.process().filter(|pid| *pid != before);
    let pid = until("the upgrade", process);
    tool::signal(pid, "TERM");
    until("the stop to begin", || {
        gateway.stderr().contains("stopping").then_some(())
    });
    let mut back = [0; 4];
    old.write_all(b"ping").await.unwrap();
    within("an echo", old.read_exact(&mut back)).await.unwrap();
    assert!(
        is_alive(pid) && is_alive(before),
        "the new one waits for the old one"
    );
    drop(old);
    until("the end of both", || {
        (!is_alive(pid) && !is_alive(before)).then_some(())
    });
    assert!(gateway.wait().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reload_of_what_takes_a_new_process_has_one_take_over() {
    let mut world = World::new(&[]);
    let (_, good) = world.gateway.certificate(ZONE, "good");
    let load = Load::start(&world, &good);
    let gateway = &mut world.gateway;
    let further = new_address();
    let first = gateway.listen.clone();
    for (count, listen) in [
        ("3", vec![first[0], further]),
        ("1", vec![first[0], further]),
        ("2", first.clone()),
    ] {
        let before = gateway.pid();
        gateway.listen = listen.clone();
        gateway.configure(&[("workers", count), ("timeout.drain", "40s")]);
        gateway.signal("HUP");
        let after = aside(|| gateway.replaced(before));
        assert!(is_alive(after));
        assert_eq!(count_of_workers(gateway).to_string(), count);
        // However it was started, people find it by its name.
        let of = |file: &str| fs::read_to_string(format!("/proc/{after}/{file}")).unwrap();
        assert_eq!(of("comm"), "postern\n");
        let line = of("cmdline");
        let name = line.split('\0').next().unwrap();
        assert_eq!(PathBuf::from(name), tool::postern());
        load.goes_on(&format!("with {count} workers"));
        answers_where_it_listens(gateway, &good, further).await;
        aside(|| {
            until("the end of the old process", || {
                (!is_alive(before)).then_some(())
            })
        });
    }
    // What cannot be had changes nothing.
    let before = gateway.pid();
    gateway.listen.push("192.0.2.1:1".parse().unwrap());
    gateway.configure(&[("workers", "2"), ("timeout.drain", "40s")]);
    gateway.signal("HUP");
    let refused = || {
        gateway
            .stderr()
            .contains("the upgrade failed")
            .then_some(())
    };
    aside(|| until("the refusal", refused));
    // By its command one is told, and need not look at the log.
    let file = gateway.file("postern.conf");
    let reload = ["reload", "--config", file.to_str().unwrap()];
    let told = aside(|| gateway.cli(&reload)).failed(1);
    assert!(
        told.contains("could take over") && told.contains("192.0.2.1:1"),
        "{told}"
    );
    gateway.listen.pop();
    gateway.configure(&[
        ("workers", "2"),
        ("timeout.drain", "40s"),
        ("geoip.database", "/none.mmdb"),
    ]);
    let told = aside(|| gateway.cli(&reload)).failed(1);
    assert!(told.contains("has not taken all of the files"), "{told}");
    gateway.configure(&[("workers", "2"), ("timeout.drain", "40s")]);
    let told = aside(|| gateway.cli(&reload)).ok();
    assert!(
        told.contains("has read the files again, and they hold"),
        "{told}"
    );
    assert_eq!(
        gateway.admin.get("/postern/v1/status").result()["pid"],
        before
    );
    load.goes_on("after a refusal");
    gateway.listen = first;
    let debug = [
        ("workers", "2"),
        ("timeout.drain", "40s"),
        ("log.level", "debug"),
    ];
    gateway.configure(&debug);
    gateway.signal("HUP");
    let told = || gateway.stderr().contains("DEBUG").then_some(());
    aside(|| until("more to be told", told));
    assert_eq!(gateway.pid(), before, "that takes no new process");
    let _counts = load.end().await;
}

#[test]
fn the_service_manager_is_told() {
    let mut gateway = Setup::new().start();
    assert!(gateway.stop().success());
    let path = gateway.file("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let log = fs::File::create(gateway.file("again.log")).unwrap();
    let mut child = Command::new(tool::postern())
        .args(["run", "--config"])
        .arg(gateway.file("postern.conf"))
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "300000")
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let told = |wanted: &str| loop {
        let mut text = [0; 4096];
        let size = socket.recv(&mut text);
        let size = size.unwrap_or_else(|error| panic!("{wanted} did not come: {error}"));
        let text = String::from_utf8_lossy(&text[..size]).into_owned();
        if text.lines().any(|line| line.starts_with(wanted)) {
            return text;
        }
    };
    told("READY=1");
    told("WATCHDOG=1");
    tool::signal(child.id(), "HUP");
    assert!(told("RELOADING=1").contains("MONOTONIC_USEC="));
    told("READY=1");
    tool::signal(child.id(), "USR2");
    told("RELOADING=1");
    let replaced = told("MAINPID=");
    assert!(replaced.contains("READY=1"), "{replaced}");
    let pid = replaced
        .lines()
        .find_map(|line| line.strip_prefix("MAINPID="));
    let pid: u32 = pid.unwrap().parse().unwrap();
    assert_ne!(pid, child.id());
    assert!(child.wait().unwrap().success(), "it had no connections");
    told("WATCHDOG=1");
    tool::signal(pid, "TERM");
    told("STOPPING=1");
    // A manager goes on reading: the queue of such a socket is short.
    std::thread::spawn(move || while socket.recv(&mut [0; 4096]).is_ok() {});
    assert!(tool::ends(pid));
}
