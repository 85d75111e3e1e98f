//! An etcd for tests, wires to it that can be cut, and what takes what a follower has.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fixtures::Directory;
use fleet::{
    Digest, Engine, Entry, Fleet, Founding, Head, Log, Settings, SnapshotError, SnapshotHead, Take,
    Taken,
};
use tokio::net::{TcpListener as Listener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

/// How long something may take that is bound to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const BEGIN: Head = Head {
    revision: 0,
    digest: Digest::NONE,
};

/// Members of an etcd cluster, which end with it.
pub(crate) struct Etcd {
    pub(crate) directory: Directory,
    members: Vec<(Ports, Option<Child>)>,
    scheme: &'static str,
    arguments: Vec<String>,
}

#[derive(Clone, Copy)]
struct Ports {
    clients: u16,
    peers: u16,
}

impl Etcd {
    /// Starts a cluster of so many members, unless etcd is not installed.
    pub(crate) fn start(members: usize) -> Option<Self> {
        Self::with(members, |_| ("http", Vec::new()))
    }

    /// The same with more arguments, which may name files in its directory.
    pub(crate) fn with(
        members: usize,
        arguments: impl FnOnce(&Path) -> (&'static str, Vec<String>),
    ) -> Option<Self> {
        let installed = Command::new("etcd").arg("--version").output();
        if !installed.is_ok_and(|done| done.status.success()) {
            eprintln!("skipped: needs etcd (`cargo xtask setup` installs it)");
            return None;
        }
        let listeners: Vec<TcpListener> = (0..2 * members)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let ports = listeners.chunks(2).map(|pair| Ports {
            clients: port(&pair[0]),
            peers: port(&pair[1]),
        });
        let members = ports.map(|ports| (ports, None)).collect();
        drop(listeners);
        let directory = Directory::new();
        let (scheme, arguments) = arguments(directory.path());
        let mut etcd = Self {
            directory,
            members,
            scheme,
            arguments,
        };
        for number in 0..etcd.members.len() {
            etcd.run(number);
        }
        Some(etcd)
    }

    pub(crate) fn data(&self, number: usize) -> PathBuf {
        self.directory.path().join(format!("m{number}"))
    }

    pub(crate) fn run(&mut self, number: usize) {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let cluster: Vec<String> = (0..)
            .zip(&self.members)
            .map(|(number, (ports, _))| format!("m{number}={}", url(ports.peers)))
            .collect();
        let ports = self.members[number].0;
        let clients = self.url(number);
        let mut command = Command::new("etcd");
        command.args(["--name", &format!("m{number}"), "--log-level", "error"]);
        command.arg("--data-dir").arg(self.data(number));
        command.args(["--listen-client-urls", &clients]);
        command.args(["--advertise-client-urls", &clients]);
        command.args(["--listen-peer-urls", &url(ports.peers)]);
        command.args(["--initial-advertise-peer-urls", &url(ports.peers)]);
        command.args(["--initial-cluster", &cluster.join(",")]);
        command.args(&self.arguments);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.members[number].1 = Some(child.unwrap());
    }

    pub(crate) fn kill(&mut self, number: usize) {
        if let Some(mut child) = self.members[number].1.take() {
            let _dead = child.kill();
            let _reaped = child.wait();
        }
    }

    /// Stops a member where it is, or has it go on: its connections stay, and nobody is told.
    pub(crate) fn freeze(&self, number: usize, is_frozen: bool) {
        let child = self.members[number].1.as_ref().unwrap();
        let signal = if is_frozen { "-STOP" } else { "-CONT" };
        let pid = child.id().to_string();
        let mut kill = Command::new("kill");
        assert!(kill.args([signal, &pid]).status().unwrap().success());
    }

    /// Where a member's clients go.
    pub(crate) fn url(&self, number: usize) -> String {
        let port = self.members[number].0.clients;
        format!("{}://127.0.0.1:{port}", self.scheme)
    }

    pub(crate) fn address(&self, number: usize) -> SocketAddr {
        ([127, 0, 0, 1], self.members[number].0.clients).into()
    }

    pub(crate) fn settings(&self) -> Settings {
        let members = (0..self.members.len()).map(|number| self.url(number));
        Settings {
            members: members.map(|text| text.parse().unwrap()).collect(),
            tls: None,
            user: None,
        }
    }

    /// The log, as the edge of this name sees it.
    pub(crate) fn log(&self, edge: &str) -> Log {
        open(self.settings(), edge)
    }

    /// A log that is begun, once etcd answers.
    pub(crate) async fn begun(&self) -> Log {
        let log = self.log("a");
        found(&log).await;
        log
    }

    /// The fleet, as threads have it.
    pub(crate) fn fleet(&self, edge: &str) -> Fleet {
        Fleet::start(self.settings(), &"test".parse().unwrap(), edge).unwrap()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for number in 0..self.members.len() {
            self.kill(number);
        }
    }
}

pub(crate) fn open(settings: Settings, edge: &str) -> Log {
    Log::open(
        Engine::new(settings).unwrap(),
        &"test".parse().unwrap(),
        edge,
    )
}

pub(crate) fn founding() -> Founding {
    Founding {
        store_format: 1,
        proof: b"proof".to_vec(),
    }
}

/// Begins a log, once etcd answers.
pub(crate) async fn found(log: &Log) {
    eventually("etcd to answer", async || {
        match log.found(&BEGIN, &founding(), parts(&[])).await {
            Ok(()) | Err(SnapshotError::Founded) => Some(()),
            Err(_) => None,
        }
    })
    .await;
}

/// Parts of a snapshot.
pub(crate) fn parts(parts: &[&[u8]]) -> Vec<Result<Bytes, String>> {
    let copies = parts.iter().map(|part| Ok(Bytes::copy_from_slice(part)));
    copies.collect()
}

pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < end, "waited for {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A wire to a member, which can be cut so that nobody is told: bytes no longer pass, and connections stay.
pub(crate) struct Wire {
    address: SocketAddr,
    passes: watch::Sender<bool>,
}

impl Wire {
    pub(crate) async fn to(member: SocketAddr) -> Self {
        let listener = Listener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (passes, does_pass) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let does_pass = does_pass.clone();
                tokio::spawn(async move {
                    // A cut wire connects nobody.
                    if does_pass.clone().wait_for(|passes| *passes).await.is_err() {
                        return;
                    }
                    let Ok(server) = TcpStream::connect(member).await else {
                        return;
                    };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::spawn(pass(from_client, to_server, does_pass.clone()));
                    tokio::spawn(pass(from_server, to_client, does_pass));
                });
            }
        });
        Self { address, passes }
    }

    pub(crate) fn cut(&self) {
        self.passes.send_replace(false);
    }

    pub(crate) fn mend(&self) {
        self.passes.send_replace(true);
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            members: vec![format!("http://{}", self.address).parse().unwrap()],
            tls: None,
            user: None,
        }
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut does_pass: watch::Receiver<bool>,
) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(length) = from.read(&mut buffer).await else {
            return;
        };
        if length == 0 || does_pass.wait_for(|passes| *passes).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// Keeps what it takes: the last snapshot, and the entries behind it.
#[derive(Clone, Default)]
pub(crate) struct Kept(pub(crate) Arc<Mutex<Has>>);

#[derive(Default)]
pub(crate) struct Has {
    pub(crate) entries: Vec<Entry>,
    pub(crate) snapshots: Vec<(SnapshotHead, Vec<u8>)>,
    /// What is called in the middle of a snapshot.
    pub(crate) meanwhile: Option<Box<dyn FnOnce() + Send>>,
}

impl Take for Kept {
    fn take(&mut self, entry: &Entry) -> Result<Taken, String> {
        self.0.lock().unwrap().entries.push(entry.clone());
        Ok(Taken::Done)
    }

    fn take_snapshot(
        &mut self,
        snapshot: &SnapshotHead,
        parts: &mut dyn Iterator<Item = Result<Bytes, String>>,
    ) -> Result<Taken, String> {
        let mut bytes = Vec::new();
        for part in parts {
            bytes.extend(part?);
            let meanwhile = self.0.lock().unwrap().meanwhile.take();
            if let Some(act) = meanwhile {
                act();
            }
        }
        let mut has = self.0.lock().unwrap();
        has.entries.clear();
        has.snapshots.push((snapshot.clone(), bytes));
        Ok(Taken::Done)
    }
}

impl Kept {
    pub(crate) fn head(&self) -> Head {
        let has = self.0.lock().unwrap();
        let entry = has.entries.last().map(|entry| entry.head);
        let snapshot = has.snapshots.last().map(|(snapshot, _)| snapshot.head);
        entry.or(snapshot).unwrap_or(BEGIN)
    }

    pub(crate) async fn has(&self, head: Head) {
        eventually("the follower to have all", async || {
            (self.head() == head).then_some(())
        })
        .await;
    }

    pub(crate) fn bytes(&self) -> Vec<Vec<u8>> {
        let has = self.0.lock().unwrap();
        has.entries
            .iter()
            .map(|entry| entry.bytes.to_vec())
            .collect()
    }

    /// The bytes of all snapshots that were taken.
    pub(crate) fn snapshots(&self) -> Vec<Vec<u8>> {
        let has = self.0.lock().unwrap();
        has.snapshots
            .iter()
            .map(|(_, bytes)| bytes.clone())
            .collect()
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    let mut cp = Command::new("cp");
    assert!(cp.arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// All keys that begin with a prefix.
pub(crate) async fn keys(etcd: &Etcd, prefix: &str) -> BTreeSet<String> {
    let client = etcd_client::Client::connect([etcd.url(0)], None).await;
    let options = etcd_client::GetOptions::new()
        .with_prefix()
        .with_keys_only();
    let found = client.unwrap().get(prefix, Some(options)).await.unwrap();
    let key = |stored: &etcd_client::KeyValue| stored.key_str().unwrap().to_owned();
    found.kvs().iter().map(key).collect()
}
