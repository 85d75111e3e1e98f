//! Upgrades: a new process takes over under load, and nothing fails; one that cannot leaves the old one as
//! it was; who is no longer trusted is out in both.
//!
//! `POSTERN_TEST_UPGRADES=RELOADS,UPGRADES` makes the first test longer: `100,10` is the full form.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tests::client::{Client, body, fed};
use tests::gateway::ZONE;
use tests::pki::Identity;
use tests::tool::{self, is_alive};
use tests::wait::{PATIENCE, until, within};
use tests::{Gateway, Origin, Setup};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

const API: &str = "api.example.test";
const STREAMS: &str = "streams.example.test";
const HELLO: &[u8] = b"hello from the origin\n";

/// Clients of every kind, until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    counts: Arc<[AtomicUsize; 4]>,
    failures: Arc<Mutex<Vec<String>>>,
    clients: JoinSet<()>,
    access_log: PathBuf,
}

const KINDS: [&str; 4] = ["HTTP/1.1", "HTTP/2", "stream", "WebSocket"];

impl Load {
    fn start(gateway: &Gateway, identity: &Identity) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            counts: Arc::default(),
            failures: Arc::default(),
            clients: JoinSet::new(),
            access_log: gateway.file("access.log"),
        };
        let client = |host: &str| gateway.client(host).identity(identity);
        for _ in 0..2 {
            load.run(0, client(API), http1);
            load.run(1, client(API), http2);
            load.run(2, client(STREAMS), stream);
            load.run(3, client(API), websocket);
        }
        load
    }

    fn run<F>(
        &mut self,
        kind: usize,
        client: Client,
        work: impl Fn(Client, Telling) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = Result<(), String>> + Send,
    {
        let telling = Telling {
            kind,
            stop: self.stop.clone(),
            counts: self.counts.clone(),
        };
        let failures = self.failures.clone();
        self.clients.spawn(async move {
            while !telling.is_over() {
                if let Err(why) = work(client.clone(), telling.clone()).await {
                    failures
                        .lock()
                        .unwrap()
                        .push(format!("{}: {why}", KINDS[kind]));
                }
            }
        });
    }

    /// Waits until each kind of client has had another few answers.
    fn goes_on(&self, what: &str) {
        let counts = || {
            self.counts
                .each_ref()
                .map(|count| count.load(Ordering::SeqCst))
        };
        let before = counts();
        let look = || {
            let after = counts();
            let more = before
                .iter()
                .zip(after)
                .all(|(before, after)| after >= before + 3);
            (more || !self.failures.lock().unwrap().is_empty()).then_some(())
        };
        aside(|| until(&format!("answers {what}"), look));
        self.check(what);
    }

    fn check(&self, what: &str) {
        let failures = self.failures.lock().unwrap();
        if failures.is_empty() {
            return;
        }
        let text = fs::read_to_string(&self.access_log).unwrap_or_default();
        let told = text.lines().filter(|line| line.contains("\"error\":\""));
        let told: Vec<&str> = told.take(5).collect();
        panic!("{what}: {failures:#?}\nthe gateway tells of {told:#?}");
    }

    async fn end(mut self) -> [usize; 4] {
        self.stop.store(true, Ordering::SeqCst);
        while self.clients.join_next().await.is_some() {}
        self.check("at the end");
        self.counts
            .each_ref()
            .map(|count| count.load(Ordering::SeqCst))
    }
}

#[derive(Clone)]
struct Telling {
    kind: usize,
    stop: Arc<AtomicBool>,
    counts: Arc<[AtomicUsize; 4]>,
}

impl Telling {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn count(&self) {
        self.counts[self.kind].fetch_add(1, Ordering::SeqCst);
    }
}

/// One connection, for as long as the gateway keeps it.
async fn http1(client: Client, telling: Telling) -> Result<(), String> {
    let connected = client.http1().await;
    let mut connection = connected.map_err(|refused| format!("connecting: {refused:?}"))?;
    while !telling.is_over() {
        let answer = connection.get("/x").await;
        let answer = answer.map_err(|refused| format!("{refused:?}"))?;
        if answer.status != 200 {
            return Err(format!("{answer:?}"));
        }
        telling.count();
        if answer.header("connection") == "close" {
            break;
        }
    }
    Ok(())
}

async fn http2(client: Client, telling: Telling) -> Result<(), String> {
    let connected = client.http2().await;
    let connection = connected.map_err(|refused| format!("connecting: {refused:?}"))?;
    while !telling.is_over() {
        let answer = connection.try_get("/x").await;
        let Some(answer) = answer.map_err(|refused| format!("{refused:?}"))? else {
            break;
        };
        if answer.status != 200 {
            return Err(format!("{answer:?}"));
        }
        telling.count();
    }
    Ok(())
}

/// A call as of gRPC: messages to and fro, and trailers at the end. The origin ends it well, or it failed.
async fn stream(client: Client, telling: Telling) -> Result<(), String> {
    let connected = client.http2().await;
    let connection = connected.map_err(|refused| format!("connecting: {refused:?}"))?;
    let (sender, sent) = fed();
    let mut request = connection.request("/mirror", sent);
    *request.method_mut() = Method::POST;
    let headers = request.headers_mut();
    headers.insert("content-type", "application/grpc".parse().unwrap());
    headers.insert("te", "trailers".parse().unwrap());
    let message = Bytes::from_static(b"a message");
    sender
        .send(Frame::data(message.clone()))
        .await
        .map_err(|_gone| "it is not taken")?;
    let response = connection.try_begin(request).await;
    let Some(response) = response.map_err(|refused| format!("{refused:?}"))? else {
        return Ok(());
    };
    if response.status() != 200 {
        return Err(format!("{response:?}"));
    }
    let mut incoming = response.into_body();
    for _ in 0..20 {
        let mut received = 0;
        while received < message.len() {
            let frame = within("a message", incoming.frame()).await;
            let frame = frame.ok_or("the stream ended")?;
            let frame = frame.map_err(|error| format!("{error:?}"))?;
            received += frame.data_ref().map_or(0, Bytes::len);
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        let message = Frame::data(message.clone());
        sender
            .send(message)
            .await
            .map_err(|_gone| "it is not taken")?;
    }
    drop(sender);
    let rest = within("the end", incoming.collect()).await;
    let rest = rest.map_err(|error| format!("{error:?}"))?;
    if rest
        .trailers()
        .is_none_or(|trailers| !trailers.contains_key("grpc-status"))
    {
        return Err("there are no trailers".into());
    }
    telling.count();
    Ok(())
}

async fn websocket(client: Client, telling: Telling) -> Result<(), String> {
    let Some(mut tunnel) = tunnel(&client).await? else {
        return Ok(());
    };
    for _ in 0..20 {
        tunnel
            .write_all(b"ping")
            .await
            .map_err(|error| format!("{error:?}"))?;
        let mut back = [0; 4];
        let read = within("an echo", tunnel.read_exact(&mut back)).await;
        read.map_err(|error| format!("{error:?}"))?;
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    telling.count();
    tunnel
        .shutdown()
        .await
        .map_err(|error| format!("{error:?}"))?;
    let mut rest = Vec::new();
    let read = within("the end", tunnel.read_to_end(&mut rest)).await;
    read.map_err(|error| format!("{error:?}"))?;
    Ok(())
}

/// A WebSocket; nothing when its connection was closed before it was asked for.
async fn tunnel(client: &Client) -> Result<Option<TokioIo<Upgraded>>, String> {
    let connected = client.http2().await;
    let connection = connected.map_err(|refused| format!("connecting: {refused:?}"))?;
    // What the gateway can do is known after its first answer.
    let first = connection.try_get("/first").await;
    if first.map_err(|refused| format!("{refused:?}"))?.is_none() {
        return Ok(None);
    }
    let mut request = connection.request("/socket", body(""));
    *request.method_mut() = Method::CONNECT;
    let websocket = Protocol::from_static("websocket");
    request.extensions_mut().insert(websocket);
    request
        .headers_mut()
        .insert("sec-websocket-version", "13".parse().unwrap());
    let response = connection.try_begin(request).await;
    let Some(response) = response.map_err(|refused| format!("{refused:?}"))? else {
        return Ok(None);
    };
    if response.status() != 200 {
        return Err(format!("{response:?}"));
    }
    let upgraded = hyper::upgrade::on(response).await;
    let mut tunnel = TokioIo::new(upgraded.map_err(|error| format!("{error:?}"))?);
    let mut hello = [0; HELLO.len()];
    let read = within("the origin's first words", tunnel.read_exact(&mut hello)).await;
    read.map_err(|error| format!("{error:?}"))?;
    Ok(Some(tunnel))
}

/// Waits on this thread, while those of the clients go on.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

struct World {
    gateway: Gateway,
    _origins: [Origin; 2],
}

impl World {
    fn new(settings: &[(&str, &str)]) -> Self {
        let origins = [Origin::echo(), Origin::echo_http2()];
        let setup = Setup::new().set("timeout.drain", "20s");
        let set = |setup: Setup, (key, value): &(&str, &str)| setup.set(key, value);
        let streams = json!({ "url": origins[1].url(), "protocol": "http2" });
        let gateway = settings
            .iter()
            .fold(setup, set)
            .host(API, "require", &origins[0].url())
            .host_with(STREAMS, "require", &streams)
            .start();
        Self {
            gateway,
            _origins: origins,
        }
    }
}

/// How many reloads and upgrades.
fn rounds() -> (usize, usize) {
    let text = std::env::var("POSTERN_TEST_UPGRADES").unwrap_or_else(|_| "4,2".into());
    let (reloads, upgrades) = text.split_once(',').unwrap();
    (reloads.parse().unwrap(), upgrades.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reloads_and_upgrades_fail_no_request_and_a_revocation_bites_in_both() {
    let mut world = World::new(&[]);
    let gateway = &mut world.gateway;
    let (_, good) = gateway.certificate(ZONE, "good");
    let load = Load::start(gateway, &good);
    load.goes_on("before anything");
    let (reloads, upgrades) = rounds();
    let mut former = Vec::new();
    for round in 0..upgrades {
        for reload in 0..reloads.div_ceil(upgrades) {
            let idle = format!("{}s", 61 + reload);
            gateway.configure(&[("timeout.drain", "20s"), ("timeout.idle", &idle)]);
            let file = gateway.file("postern.conf");
            let told = gateway
                .cli(&["reload", "--config", file.to_str().unwrap()])
                .ok();
            assert!(told.contains(&gateway.pid().to_string()), "{told}");
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
        let pid = aside(|| gateway.upgrade());
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
        // There are never more of them than may be.
        let alive = || former.iter().filter(|pid| is_alive(**pid)).count();
        aside(|| until("the end of older processes", || (alive() < 2).then_some(())));
    }
    let has_ended = || former.iter().all(|pid| !is_alive(*pid)).then_some(());
    aside(|| until("the end of replaced processes", has_ended));
    load.goes_on("after everything");
    let counts = load.end().await;
    println!("{reloads} reloads, {upgrades} upgrades, 0 failed of {counts:?} ({KINDS:?})");
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
    let world = World::new(&[("timeout.upgrade", "5s")]);
    let gateway = &world.gateway;
    let (_, good) = gateway.certificate(ZONE, "good");
    let load = Load::start(gateway, &good);
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
        (1, "hang", "said nothing for 5 s"),
        (6, "hang", "said nothing for 5 s"),
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
    let gateway = &mut world.gateway;
    let (_, good) = gateway.certificate(ZONE, "good");
    let load = Load::start(gateway, &good);
    let further = tests::gateway::new_address();
    let first = gateway.listen.clone();
    let workers =
        |gateway: &Gateway| gateway.admin.get("/postern/v1/status").result()["workers"].clone();
    for (count, listen) in [
        ("3", vec![first[0], further]),
        ("1", vec![first[0], further]),
        ("2", first.clone()),
    ] {
        let before = gateway.pid();
        gateway.listen = listen.clone();
        gateway.configure(&[("workers", count), ("timeout.drain", "20s")]);
        gateway.signal("HUP");
        let after = aside(|| gateway.replaced(before));
        assert!(is_alive(after));
        assert_eq!(workers(gateway).to_string(), count);
        load.goes_on(&format!("with {count} workers"));
        // Every socket that there ever was has somebody who accepts.
        for _ in 0..20 {
            for address in &listen {
                let client = gateway.client_at(*address, API).identity(&good);
                assert_eq!(client.get("/x").await.unwrap().status, 200, "{address}");
            }
        }
        if !listen.contains(&further) {
            assert!(
                std::net::TcpStream::connect(further).is_err(),
                "it was given up"
            );
        }
        aside(|| {
            until("the end of the old process", || {
                (!is_alive(before)).then_some(())
            })
        });
    }
    // What cannot be had changes nothing.
    let before = gateway.pid();
    gateway.listen.push("192.0.2.1:1".parse().unwrap());
    gateway.configure(&[("workers", "2"), ("timeout.drain", "20s")]);
    gateway.signal("HUP");
    let refused = || {
        gateway
            .stderr()
            .contains("the upgrade failed")
            .then_some(())
    };
    aside(|| until("the refusal", refused));
    assert_eq!(
        gateway.admin.get("/postern/v1/status").result()["pid"],
        before
    );
    load.goes_on("after a refusal");
    gateway.listen = first;
    let debug = [
        ("workers", "2"),
        ("timeout.drain", "20s"),
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
    assert!(tool::ends(pid));
}
