//! The log in a real etcd: entries of all sizes, edges that change at once, an edge that was away, members
//! that die, an old copy of etcd's data.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that is surprised has failed"
)]

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fixtures::Directory;
use fleet::limits::VALUE_BYTES_MAX;
use fleet::{
    AppendError, Digest, Engine, Entry, Follower, Head, Log, LogError, Settings, State, Take, Taken,
};
use tokio::time::sleep;

/// How long something may take that is bound to come.
const PATIENCE: Duration = Duration::from_secs(60);

const BEGIN: Head = Head {
    revision: 0,
    digest: Digest::NONE,
};

/// Members of an etcd cluster, which end with it.
struct Etcd {
    directory: Directory,
    members: Vec<(Ports, Option<Child>)>,
}

#[derive(Clone, Copy)]
struct Ports {
    clients: u16,
    peers: u16,
}

impl Etcd {
    /// Starts a cluster of so many members, unless etcd is not installed.
    fn start(members: usize) -> Option<Self> {
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
        let mut etcd = Self {
            directory: Directory::new(),
            members,
        };
        for number in 0..etcd.members.len() {
            etcd.run(number);
        }
        Some(etcd)
    }

    fn data(&self, number: usize) -> PathBuf {
        self.directory.path().join(format!("m{number}"))
    }

    fn run(&mut self, number: usize) {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let cluster: Vec<String> = (0..)
            .zip(&self.members)
            .map(|(number, (ports, _))| format!("m{number}={}", url(ports.peers)))
            .collect();
        let ports = self.members[number].0;
        let mut command = Command::new("etcd");
        command.args(["--name", &format!("m{number}"), "--log-level", "error"]);
        command.arg("--data-dir").arg(self.data(number));
        command.args(["--listen-client-urls", &url(ports.clients)]);
        command.args(["--advertise-client-urls", &url(ports.clients)]);
        command.args(["--listen-peer-urls", &url(ports.peers)]);
        command.args(["--initial-advertise-peer-urls", &url(ports.peers)]);
        command.args(["--initial-cluster", &cluster.join(",")]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.members[number].1 = Some(child.unwrap());
    }

    fn kill(&mut self, number: usize) {
        if let Some(mut child) = self.members[number].1.take() {
            let _dead = child.kill();
            let _reaped = child.wait();
        }
    }

    fn engine(&self) -> Engine {
        let member = |(ports, _): &(Ports, _)| format!("http://127.0.0.1:{}", ports.clients);
        let members = self.members.iter().map(member);
        Engine::new(Settings {
            members: members.map(|text| text.parse().unwrap()).collect(),
            tls: None,
            user: None,
        })
        .unwrap()
    }

    /// The log, as the edge of this name sees it.
    async fn log(&self, edge: &str) -> Log {
        let fleet = "test".parse().unwrap();
        Log::open(self.engine(), &fleet, edge).await.unwrap()
    }

    /// A log that is begun, once etcd answers.
    async fn begun(&self) -> Log {
        let log = self.log("a").await;
        eventually("etcd to answer", async || match log.found(&BEGIN).await {
            Ok(()) | Err(AppendError::Moved) => Some(()),
            Err(_) => None,
        })
        .await;
        log
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for number in 0..self.members.len() {
            self.kill(number);
        }
    }
}

async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < end, "waited for {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Keeps what it takes.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Entry>>>);

impl Take for Kept {
    fn take(&mut self, entry: &Entry) -> Result<Taken, String> {
        self.0.lock().unwrap().push(entry.clone());
        Ok(Taken::Done)
    }
}

impl Kept {
    fn head(&self) -> Head {
        self.0
            .lock()
            .unwrap()
            .last()
            .map_or(BEGIN, |entry| entry.head)
    }

    async fn has(&self, head: Head) {
        eventually("the follower to have all", async || {
            (self.head() == head).then_some(())
        })
        .await;
    }

    fn bytes(&self) -> Vec<Vec<u8>> {
        let entries = self.0.lock().unwrap();
        entries.iter().map(|entry| entry.bytes.to_vec()).collect()
    }
}

fn copy(from: &Path, to: &Path) {
    let mut cp = Command::new("cp");
    assert!(cp.arg("-a").arg(from).arg(to).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_of_all_sizes_come_in_their_order() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    let kept = Kept::default();
    let (follower, mut state) = Follower::new(etcd.log("b").await, BEGIN, kept.clone());
    let following = tokio::spawn(follower.run());
    let mut head = BEGIN;
    let mut sent = Vec::new();
    let sizes = [
        0,
        1,
        VALUE_BYTES_MAX,
        VALUE_BYTES_MAX + 1,
        5,
        20 * VALUE_BYTES_MAX + 7,
        3,
    ];
    for (fill, size) in (0..).zip(sizes) {
        let bytes = vec![fill; size];
        head = log.append(&head, &bytes).await.unwrap();
        sent.push(bytes);
    }
    kept.has(head).await;
    assert!(kept.bytes() == sent);
    state
        .wait_for(|(_, state)| *state == State::Current)
        .await
        .unwrap();
    // Who comes later reads the same.
    let late = Kept::default();
    let (follower, _) = Follower::new(etcd.log("c").await, BEGIN, late.clone());
    let second = tokio::spawn(follower.run());
    late.has(head).await;
    assert!(late.bytes() == sent);
    following.abort();
    second.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_edges_that_change_at_once_each_is_judged_on_what_the_others_did() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    // Every edge adds its numbers, each the sum of what it has seen and one: an entry that was judged on
    // anything but the last head would show.
    let edge = async |name: &'static str, log: Log| {
        let mut known = BEGIN;
        let mut sum = 0_u64;
        let mut lost = 0;
        for _ in 0..20 {
            loop {
                let page = log.after(&known).await.unwrap();
                for entry in &page.entries {
                    sum = u64::from_be_bytes(entry.bytes[..8].try_into().unwrap());
                    known = entry.head;
                }
                if known != page.head {
                    continue;
                }
                let mut bytes = (sum + 1).to_be_bytes().to_vec();
                bytes.extend(name.as_bytes());
                match log.append(&known, &bytes).await {
                    Ok(head) => {
                        known = head;
                        sum += 1;
                        break;
                    }
                    Err(AppendError::Moved) => lost += 1,
                    Err(other) => panic!("{other}"),
                }
            }
        }
        lost
    };
    let (a, b, c) = (
        etcd.log("a").await,
        etcd.log("b").await,
        etcd.log("c").await,
    );
    let lost = tokio::join!(edge("a", a), edge("b", b), edge("c", c));
    assert!(
        lost.0 + lost.1 + lost.2 > 0,
        "nobody was ever in another's way"
    );
    let mut known = BEGIN;
    let mut count = BTreeMap::<String, u64>::new();
    loop {
        let page = log.after(&known).await.unwrap();
        for entry in &page.entries {
            let sum = u64::from_be_bytes(entry.bytes[..8].try_into().unwrap());
            assert_eq!(sum, entry.head.revision);
            *count.entry(entry.edge.clone()).or_default() += 1;
            known = entry.head;
        }
        if page.entries.is_empty() {
            break;
        }
    }
    assert_eq!(known.revision, 60);
    assert_eq!(count.into_values().collect::<Vec<_>>(), [20, 20, 20]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_parts_of_a_lost_race_are_removed_and_those_of_entries_stay() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    let large = vec![7; 3 * VALUE_BYTES_MAX];
    let first = log.append(&BEGIN, &large).await.unwrap();
    let late = log.append(&BEGIN, &large).await;
    assert!(matches!(late, Err(AppendError::Moved)), "{late:?}");
    assert_eq!(
        log.sweep().await.unwrap(),
        0,
        "who lost has removed its own"
    );
    let second = log.append(&first, b"x").await.unwrap();
    let page = log.after(&BEGIN).await.unwrap();
    assert_eq!(page.head, second);
    assert_eq!(page.entries.len(), 2);
    assert!(page.entries[0].bytes == large);
    // What was trimmed is gone, and who needs it is told.
    log.trim(2).await.unwrap();
    let trimmed = log.after(&BEGIN).await;
    assert!(matches!(trimmed, Err(LogError::Trimmed(1))), "{trimmed:?}");
    assert_eq!(log.after(&first).await.unwrap().entries.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_goes_on_when_members_die_and_come_back() {
    let Some(mut etcd) = Etcd::start(3) else {
        return;
    };
    let log = etcd.begun().await;
    let kept = Kept::default();
    let (follower, mut state) = Follower::new(etcd.log("b").await, BEGIN, kept.clone());
    let following = tokio::spawn(follower.run());
    let mut head = BEGIN;
    let mut writer = log.clone();
    for round in 0..6_u8 {
        let dies = usize::from(round % 3);
        etcd.kill(dies);
        head = eventually("a change while one member is dead", async || {
            let known = writer.after(&head).await.ok()?.head;
            match writer.append(&known, &[round]).await {
                Ok(head) => Some(head),
                Err(AppendError::Log(_) | AppendError::Unknown(_)) => {
                    writer.move_on().await.ok()?;
                    None
                }
                Err(other) => panic!("{other}"),
            }
        })
        .await;
        kept.has(head).await;
        etcd.run(dies);
    }
    // All of them: what is known stays, and is said to be all that is known.
    for number in 0..3 {
        etcd.kill(number);
    }
    state
        .wait_for(|(_, state)| matches!(state, State::Away { .. }))
        .await
        .unwrap();
    assert_eq!(kept.head(), head);
    for number in 0..3 {
        etcd.run(number);
    }
    head = eventually("a change after all were dead", async || {
        let known = writer.after(&head).await.ok()?.head;
        match writer.append(&known, b"again").await {
            Ok(head) => Some(head),
            Err(_) => {
                writer.move_on().await.ok()?;
                None
            }
        }
    })
    .await;
    kept.has(head).await;
    state
        .wait_for(|(_, state)| *state == State::Current)
        .await
        .unwrap();
    following.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_copy_of_etcds_data_is_not_followed() {
    let Some(mut etcd) = Etcd::start(1) else {
        return;
    };
    let log = etcd.begun().await;
    let first = log.append(&BEGIN, b"one").await.unwrap();
    etcd.kill(0);
    let old = etcd.directory.path().join("old");
    copy(&etcd.data(0), &old);
    etcd.run(0);
    let mut head = eventually("etcd to be back", async || {
        log.append(&first, b"two").await.ok()
    })
    .await;
    let kept = Kept::default();
    let (follower, mut state) = Follower::new(etcd.log("b").await, BEGIN, kept.clone());
    let following = tokio::spawn(follower.run());
    kept.has(head).await;
    // The old copy takes other changes, as far as those that were followed and further.
    etcd.kill(0);
    fs::remove_dir_all(etcd.data(0)).unwrap();
    copy(&old, &etcd.data(0));
    etcd.run(0);
    let known = head;
    let is_stuck =
        |(head, state): &(Head, State)| *head == known && matches!(state, State::Stuck { .. });
    state.wait_for(is_stuck).await.unwrap();
    head = eventually("the old copy to take a change", async || {
        log.append(&first, b"another").await.ok()
    })
    .await;
    head = log.append(&head, b"and another").await.unwrap();
    assert!(head.revision > known.revision);
    sleep(Duration::from_millis(200)).await;
    state.wait_for(is_stuck).await.unwrap();
    assert_eq!(kept.head(), known, "nothing of another history was taken");
    following.abort();
}
