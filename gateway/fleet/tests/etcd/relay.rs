//! Edges behind a relay, `etcd grpc-proxy`, which has one watch at etcd for all of theirs.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fixtures::new_loopback;
use fleet::{
    Announcer, Candidate, Follower, Leadership, Log, PresenceState, Settings, Standing, State,
};
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::{BEGIN, Etcd, Kept, PATIENCE, eventually, open, parts};

/// A relay, which ends with this.
struct Relay(Child, String);

impl Relay {
    fn start(etcd: &Etcd) -> Self {
        let address = new_loopback().to_string();
        let mut command = Command::new("etcd");
        command.args(["grpc-proxy", "start"]);
        command.args(["--endpoints", &etcd.address(0).to_string()]);
        command.args(["--listen-addr", &address]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(child.unwrap(), address)
    }

    async fn log(&self, edge: &str) -> Log {
        let log = open(self.settings(), edge);
        eventually("the relay to answer", async || log.head().await.ok()).await;
        log
    }

    fn settings(&self) -> Settings {
        Settings {
            members: vec![format!("http://{}", self.1).parse().unwrap()],
            tls: None,
            user: None,
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _dead = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edges_behind_a_relay_follow_lead_and_are_seen() {
    let Some(mut etcd) = Etcd::start(1) else {
        return;
    };
    let log = etcd.begun().await;
    let relay = Relay::start(&etcd);
    let first = relay.log("b").await;
    let mut head = log.append(&BEGIN, b"one").await.unwrap();
    let (kept, other) = (Kept::default(), Kept::default());
    let (follower, mut standing) = Follower::new(first.clone(), BEGIN, kept.clone());
    let (second, _standing) = Follower::new(relay.log("c").await, BEGIN, other.clone());
    let tasks = [tokio::spawn(follower.run()), tokio::spawn(second.run())];
    kept.has(head).await;
    let is_current = |now: &Standing| now.state == State::Current;
    standing.wait_for(is_current).await.unwrap();
    // While nothing happens, it stays so, and there is contact.
    standing.borrow_and_update();
    let quiet = Instant::now();
    while quiet.elapsed() < Duration::from_secs(18) {
        if timeout(Duration::from_secs(1), standing.changed())
            .await
            .is_ok()
        {
            let state = standing.borrow_and_update().state.clone();
            assert_eq!(state, State::Current);
        }
    }
    assert!(standing.borrow().contact.unwrap() > quiet + Duration::from_secs(10));
    for number in 0..20_u8 {
        head = log.append(&head, &[number]).await.unwrap();
    }
    kept.has(head).await;
    other.has(head).await;
    // Changes, snapshots, a leader and a presence pass it, too.
    head = first.append(&head, b"through it").await.unwrap();
    first.put_snapshot(&head, parts(&[b"state"])).await.unwrap();
    let (candidate, mandate) = Candidate::new(first.clone()).unwrap();
    let (announcer, said) = Announcer::new(first.clone(), "id", 1.into()).unwrap();
    let tasks = [
        tasks,
        [tokio::spawn(candidate.run()), tokio::spawn(announcer.run())],
    ];
    let leads = |now: &Leadership| *now == Leadership::Leading;
    mandate.leadership().wait_for(leads).await.unwrap();
    let is_present = |now: &PresenceState| *now == PresenceState::Present;
    said.state().wait_for(is_present).await.unwrap();
    sleep(Duration::from_secs(7)).await;
    let mut leadership = mandate.leadership();
    let still = timeout(PATIENCE, leadership.wait_for(leads)).await;
    drop(still.expect("it still leads").unwrap());
    assert!(log.edges().await.unwrap()[0].is_alive);
    // etcd is away, and the relay is not.
    etcd.kill(0);
    let is_away = |now: &Standing| matches!(now.state, State::Away { .. });
    let away = timeout(Duration::from_secs(20), standing.wait_for(is_away)).await;
    drop(away.expect("it is noticed").unwrap());
    assert!(!mandate.is_leading());
    etcd.run(0);
    eventually("etcd to be back", async || log.head().await.ok()).await;
    head = log.append(&head, b"again").await.unwrap();
    kept.has(head).await;
    other.has(head).await;
    tasks
        .iter()
        .flatten()
        .for_each(tokio::task::JoinHandle::abort);
}
