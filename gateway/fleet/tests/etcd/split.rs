//! A network that is cut between etcd's members, with edges that change the fleet on both sides.
//!
//! The test runs once more in a network namespace of its own, where each member has one, too: the machine's
//! network is not touched.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fixtures::Directory;
use fleet::{AppendError, Follower, Log, Settings};
use tokio::time::{sleep, timeout};

use crate::cluster::{BEGIN, Kept, found, open};

/// Says to the test that it is in a namespace of its own.
const APART: &str = "POSTERN_TEST_APART";
const NAME: &str = "split::what_both_sides_of_a_cut_acknowledge_is_there_once_and_nothing_else";

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    assert!(status.unwrap().success(), "ip {arguments}");
}

/// Members of an etcd cluster, each in a network of its own behind a bridge.
struct Apart {
    members: Vec<Child>,
    _directory: Directory,
}

impl Apart {
    fn start() -> Self {
        ip("link set lo up");
        ip("link add br0 type bridge");
        ip("addr add 10.0.0.254/24 dev br0");
        ip("link set br0 up");
        let directory = Directory::new();
        let cluster: Vec<String> = (1..=3)
            .map(|n| format!("m{n}=http://10.0.0.{n}:2380"))
            .collect();
        let start = |n: u8| {
            let data = directory.path().join(format!("m{n}"));
            let script = format!(
                "until ip link show e0 >/dev/null 2>&1; do sleep 0.05; done; ip link set lo up; \
                 ip addr add 10.0.0.{n}/24 dev e0; ip link set e0 up; \
                 exec etcd --name m{n} --log-level error --data-dir {} \
                 --listen-client-urls http://10.0.0.{n}:2379 \
                 --advertise-client-urls http://10.0.0.{n}:2379 \
                 --listen-peer-urls http://10.0.0.{n}:2380 \
                 --initial-advertise-peer-urls http://10.0.0.{n}:2380 --initial-cluster {}",
                data.display(),
                cluster.join(",")
            );
            let mut command = Command::new("unshare");
            command.args(["-n", "sh", "-c", &script]);
            let child = command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let namespace = |who: &str| fs::read_link(format!("/proc/{who}/ns/net")).unwrap();
            while namespace(&child.id().to_string()) == namespace("self") {
                std::thread::sleep(Duration::from_millis(5));
            }
            ip(&format!(
                "link add v{n} type veth peer name e0 netns {}",
                child.id()
            ));
            ip(&format!("link set v{n} master br0 up"));
            child
        };
        let members = (1..=3).map(start).collect();
        Self {
            members,
            _directory: directory,
        }
    }

    /// Cuts the first member off from the others, or ends that; clients reach all of them.
    fn cut(&self, is_cut: bool) {
        let act = if is_cut { "add" } else { "del" };
        for (one, other) in [(1, 2), (1, 3), (2, 1), (3, 1)] {
            let pid = self.members[one - 1].id();
            let mut command = Command::new("nsenter");
            command.args([
                "-t",
                &pid.to_string(),
                "-n",
                "ip",
                "route",
                act,
                "blackhole",
            ]);
            assert!(
                command
                    .arg(format!("10.0.0.{other}/32"))
                    .status()
                    .unwrap()
                    .success()
            );
        }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _dead = member.kill();
            let _reaped = member.wait();
        }
    }
}

/// The log by way of these members.
fn by(members: &[u8], edge: &str) -> Log {
    let members = members.iter().map(|n| format!("http://10.0.0.{n}:2379"));
    let settings = Settings {
        members: members.map(|text| text.parse().unwrap()).collect(),
        tls: None,
        user: None,
    };
    open(settings, edge)
}

/// What an edge has done.
#[derive(Default)]
struct Done {
    acknowledged: Vec<String>,
    unknown: Vec<String>,
}

type Shared = Arc<std::sync::Mutex<Done>>;

/// Changes the fleet as fast as it can, each time with something else.
async fn change(log: Log, done: Shared, ends: Arc<AtomicBool>) {
    let mut known = BEGIN;
    let mut number = 0;
    while !ends.load(Ordering::Relaxed) {
        // As an edge does: what others did comes first.
        match timeout(Duration::from_secs(2), log.after(&known)).await {
            Ok(Ok(page)) => {
                known = page.entries.last().map_or(known, |entry| entry.head);
                if known != page.head {
                    continue;
                }
            }
            _ => {
                log.move_on().await;
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        }
        number += 1;
        let change = format!("{}-{number}", log.edge());
        let added = log.append(&known, change.as_bytes()).await;
        let mut done = done.lock().unwrap();
        match added {
            Ok(head) => {
                known = head;
                done.acknowledged.push(change);
            }
            Err(AppendError::Unknown(_)) => done.unknown.push(change),
            Err(_) => {}
        }
    }
}

#[test]
fn what_both_sides_of_a_cut_acknowledge_is_there_once_and_nothing_else() {
    if std::env::var_os(APART).is_some() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(apart());
    }
    let can = |command: &str, arguments: &[&str]| {
        let done = Command::new(command).args(arguments).output();
        done.is_ok_and(|done| done.status.success())
    };
    if !can("etcd", &["--version"]) || !can("unshare", &["-n", "ip", "link"]) {
        eprintln!("skipped: needs etcd, iproute2 and CAP_SYS_ADMIN");
        return;
    }
    let mut again = Command::new("unshare");
    again.arg("-n").arg(std::env::current_exe().unwrap());
    again.args([NAME, "--exact", "--nocapture"]).env(APART, "1");
    let done = again.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    // None would be well, too.
    let is_well = done.status.success() && said.contains("1 passed");
    assert!(is_well, "{said}{}", String::from_utf8_lossy(&done.stderr));
}

async fn apart() {
    let etcd = Apart::start();
    let all = by(&[2, 3, 1], "all");
    found(&all).await;
    let (few, most) = (Kept::default(), Kept::default());
    let (follower, _) = Follower::new(by(&[1], "d"), BEGIN, few.clone());
    tokio::spawn(follower.run());
    let (follower, _) = Follower::new(by(&[3, 2], "c"), BEGIN, most.clone());
    tokio::spawn(follower.run());
    let (a, b, ends) = (Shared::default(), Shared::default(), Arc::default());
    let edges = [
        tokio::spawn(change(by(&[1], "a"), a.clone(), Arc::clone(&ends))),
        tokio::spawn(change(by(&[2, 3], "b"), b.clone(), Arc::clone(&ends))),
    ];
    let count = |of: &Shared| of.lock().unwrap().acknowledged.len();
    sleep(Duration::from_secs(3)).await;
    assert!(count(&a) > 0 && count(&b) > 0);
    etcd.cut(true);
    // Until the others have a leader again, if that was the first one.
    sleep(Duration::from_secs(4)).await;
    let (at_a, at_b) = (count(&a), count(&b));
    sleep(Duration::from_secs(8)).await;
    assert_eq!(count(&a), at_a, "acknowledged by a member alone");
    assert!(count(&b) > at_b);
    assert!(few.head().revision < most.head().revision);
    etcd.cut(false);
    let healed = count(&a);
    crate::cluster::eventually("the first member to take part", async || {
        (count(&a) > healed).then_some(())
    })
    .await;
    ends.store(true, Ordering::Relaxed);
    for edge in edges {
        edge.await.unwrap();
    }
    let head = all.head().await.unwrap();
    few.has(head).await;
    most.has(head).await;
    let log = few.bytes();
    assert!(log == most.bytes());
    let texts: Vec<String> = log
        .into_iter()
        .map(|one| String::from_utf8(one).unwrap())
        .collect();
    let there: BTreeSet<&String> = texts.iter().collect();
    assert_eq!(there.len(), texts.len(), "something is there twice");
    let (a, b) = (a.lock().unwrap(), b.lock().unwrap());
    let acknowledged = a.acknowledged.iter().chain(&b.acknowledged);
    assert!(acknowledged.clone().all(|change| there.contains(change)));
    let may_be = a.unknown.iter().chain(&b.unknown).chain(acknowledged);
    let may_be: BTreeSet<&String> = may_be.collect();
    assert!(there.is_subset(&may_be));
}
