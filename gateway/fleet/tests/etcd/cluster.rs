//! An etcd for tests, wires to it that can be cut, and what takes what a follower has.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fixtures::pki::Authority;
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

/// Members of an etcd cluster, and a fleet in it.
pub(crate) struct Etcd(fixtures::etcd::Etcd);

impl Deref for Etcd {
    type Target = fixtures::etcd::Etcd;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Etcd {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Etcd {
    /// Starts a cluster of so many members, unless etcd is not installed.
    pub(crate) fn start(members: usize) -> Option<Self> {
        fixtures::etcd::Etcd::start(members).map(Self)
    }

    /// The same with more arguments, which may name files in its directory.
    pub(crate) fn with(
        members: usize,
        arguments: impl FnOnce(&Path) -> (&'static str, Vec<String>),
    ) -> Option<Self> {
        fixtures::etcd::Etcd::with(members, arguments).map(Self)
    }

    /// The same with TLS; see [`fixtures::etcd::Etcd::with_tls`].
    pub(crate) fn with_tls(authority: &Authority, name: &str) -> Option<Self> {
        fixtures::etcd::Etcd::with_tls(authority, name).map(Self)
    }

    pub(crate) fn settings(&self) -> Settings {
        let members = self.urls();
        Settings {
            members: members.iter().map(|text| text.parse().unwrap()).collect(),
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
        Self::slow(member, None).await
    }

    /// One that brings so many bytes a second from the member at the most.
    pub(crate) async fn slow(member: SocketAddr, rate: Option<u32>) -> Self {
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
                    tokio::spawn(pass(from_client, to_server, does_pass.clone(), None));
                    tokio::spawn(pass(from_server, to_client, does_pass, rate));
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
    rate: Option<u32>,
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
        if let Some(rate) = rate {
            sleep(Duration::from_secs(1) * u32::try_from(length).unwrap() / rate).await;
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

/// Trims the log below a revision.
pub(crate) async fn trim(log: &Log, end: u64) {
    let mut upkeep = fleet::Upkeep::default();
    log.due(&mut upkeep).await.unwrap();
    log.trim_below(&mut upkeep, end).await.unwrap();
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
