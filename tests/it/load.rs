//! Clients of every kind, all at once and until they are told to stop: none of them takes a failure.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

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
use tests::tool::python;
use tests::wait::{until, within};
use tests::{Gateway, Origin, Setup};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

pub(super) const API: &str = "api.example.test";
pub(super) const STREAMS: &str = "streams.example.test";
const CALLS: &str = "calls.example.test";
const HELLO: &[u8] = b"hello from the origin\n";

/// Clients of every kind, until they are told to stop.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    failures: Arc<Mutex<Vec<String>>>,
    clients: JoinSet<()>,
    calls: Option<Calls>,
    access_log: PathBuf,
}

const COUNT: usize = 6;
pub(super) const KINDS: [&str; COUNT] = [
    "HTTP/1.1",
    "HTTP/2",
    "stream",
    "WebSocket",
    "connection",
    "gRPC",
];
const GRPC: usize = 5;

type Counts = [AtomicUsize; COUNT];

/// The reference implementation of gRPC, making calls.
struct Calls {
    client: Child,
    told: JoinHandle<()>,
}

impl Load {
    pub(super) fn start(world: &World, identity: &Identity) -> Self {
        let gateway = &world.gateway;
        let mut load = Self {
            stop: Arc::default(),
            counts: Arc::default(),
            failures: Arc::default(),
            clients: JoinSet::new(),
            calls: None,
            access_log: gateway.file("access.log"),
        };
        if let Some(python) = &world.python {
            load.call(gateway, python, identity);
        }
        let client = |host: &str| gateway.client(host).identity(identity);
        for _ in 0..2 {
            load.run(0, client(API), http1);
            load.run(1, client(API), http2);
            load.run(2, client(STREAMS), stream);
            load.run(3, client(API), websocket);
            load.run(4, client(API), connection);
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

    /// Has calls of gRPC made, whose script says line by line what came of them.
    fn call(&mut self, gateway: &Gateway, python: &PathBuf, identity: &Identity) {
        let file = |name: &str, text: &str| {
            let path = gateway.file(name);
            fs::write(&path, text).unwrap();
            path
        };
        let mut client = Command::new(python)
            .args(["-c", include_str!("grpc_load.py")])
            .args([&gateway.address.to_string(), CALLS])
            .arg(file("calls-ca.pem", &gateway.servers.pem()))
            .arg(file("calls.pem", &identity.chain_pem()))
            .arg(file("calls.key", &identity.key_pem()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(client.stdout.take().unwrap()).lines();
        let (counts, failures) = (self.counts.clone(), self.failures.clone());
        let told = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line == "good" {
                    counts[GRPC].fetch_add(1, Ordering::SeqCst);
                } else {
                    failures.lock().unwrap().push(format!("gRPC: {line}"));
                }
            }
        });
        self.calls = Some(Calls { client, told });
    }

    /// Waits until each kind of client has had another few answers.
    pub(super) fn goes_on(&self, what: &str) {
        let counts = || {
            self.counts
                .each_ref()
                .map(|count| count.load(Ordering::SeqCst))
        };
        let before = counts();
        let look = || {
            let after = counts();
            let kinds = if self.calls.is_some() { COUNT } else { GRPC };
            let mut pairs = before.iter().zip(after).take(kinds);
            let more = pairs.all(|(before, after)| after >= before + 3);
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

    pub(super) async fn end(mut self) -> [usize; COUNT] {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("no client of the load panics");
        }
        if let Some(mut calls) = self.calls.take() {
            aside(|| {
                drop(calls.client.stdin.take());
                assert!(calls.client.wait().unwrap().success());
                calls.told.join().unwrap();
            });
        }
        self.check("at the end");
        self.counts
            .each_ref()
            .map(|count| count.load(Ordering::SeqCst))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(calls) = &mut self.calls {
            // It may have ended.
            drop(calls.client.kill());
            drop(calls.client.wait());
        }
    }
}

#[derive(Clone)]
struct Telling {
    kind: usize,
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
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

/// One connection after the other, each for one request: wherever the kernel lets one wait, somebody is to come.
async fn connection(client: Client, telling: Telling) -> Result<(), String> {
    let answer = within("an answer", client.get("/x")).await;
    match answer {
        Ok(answer) if answer.status == 200 => telling.count(),
        other => return Err(format!("{other:?}")),
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
pub(super) async fn tunnel(client: &Client) -> Result<Option<TokioIo<Upgraded>>, String> {
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
pub(super) fn aside<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// A gateway in front of an origin for each kind of client.
pub(super) struct World {
    pub(super) gateway: Gateway,
    _origins: [Origin; 2],
    /// What speaks gRPC, where it is installed.
    python: Option<PathBuf>,
    calls: Option<Child>,
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(calls) = &mut self.calls {
            drop(calls.kill());
            drop(calls.wait());
        }
    }
}

impl World {
    pub(super) fn new(settings: &[(&str, &str)]) -> Self {
        Self::of(Setup::new(), settings)
    }

    pub(super) fn of(setup: Setup, settings: &[(&str, &str)]) -> Self {
        let origins = [Origin::echo(), Origin::echo_http2()];
        let setup = setup.set("timeout.drain", "40s");
        let set = |setup: Setup, (key, value): &(&str, &str)| setup.set(key, value);
        let streams = json!({ "url": origins[1].url(), "protocol": "http2" });
        let gateway = settings
            .iter()
            .fold(setup, set)
            .host(API, "require", &origins[0].url())
            .host_with(STREAMS, "require", &streams)
            .start();
        let python = python("grpc", "grpcio");
        let calls = python.as_ref().map(|python| {
            let port_file = gateway.file("calls.port");
            let server = Command::new(python)
                .args(["-c", include_str!("grpc_calls.py")])
                .args(["serve", CALLS, "-", "-", "-"])
                .arg(&port_file)
                .spawn()
                .unwrap();
            let port = until("the gRPC server", || fs::read_to_string(&port_file).ok());
            let host = json!({
                "name": CALLS, "mtls": "require",
                "origin": { "url": format!("http://127.0.0.1:{port}"), "protocol": "http2" },
            });
            let path = format!("/postern/v1/zones/{}/hosts", gateway.zone_id(ZONE));
            drop(gateway.admin.call("POST", &path, &host).result());
            server
        });
        Self {
            gateway,
            _origins: origins,
            python,
            calls,
        }
    }
}
