//! One leads; when it dies, is cut off or resigns, another one does, and never two by their clocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fleet::{Candidate, Leadership, Log, Mandate};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::{Etcd, Wire, eventually, open};

/// Etcd's time for a leader, its own clock's steps, the jitter, and a busy machine.
const TAKES_OVER: Duration = Duration::from_secs(30);

fn candidate(log: Log) -> (Mandate, JoinHandle<()>) {
    let (candidate, mandate) = Candidate::new(log).unwrap();
    (mandate, tokio::spawn(candidate.run()))
}

async fn leads(mandate: &Mandate, within: Duration) {
    let mut leadership = mandate.leadership();
    let leads = leadership.wait_for(|now| *now == Leadership::Leading);
    timeout(within, leads)
        .await
        .expect("it leads in time")
        .unwrap();
    assert!(mandate.is_leading());
}

async fn follows(mandate: &Mandate, leader: &str) {
    let mut leadership = mandate.leadership();
    let leader = leader.to_owned();
    let follows = leadership.wait_for(|now| {
        *now == Leadership::Following {
            leader: leader.clone(),
        }
    });
    timeout(TAKES_OVER, follows)
        .await
        .expect("it follows")
        .unwrap();
    assert!(!mandate.is_leading());
}

/// Looks all the time whether two lead at once.
fn watch_for_two(mandates: Vec<Mandate>) -> (Arc<AtomicBool>, JoinHandle<()>) {
    let were_two = Arc::new(AtomicBool::new(false));
    let seen = were_two.clone();
    let looks = tokio::spawn(async move {
        loop {
            if mandates
                .iter()
                .filter(|mandate| mandate.is_leading())
                .count()
                > 1
            {
                seen.store(true, Ordering::Relaxed);
            }
            sleep(Duration::from_millis(1)).await;
        }
    });
    (were_two, looks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_leader_resigns_or_dies_another_one_leads() {
    let Some(etcd) = Etcd::start(1) else { return };
    etcd.begun().await;
    let (a, a_runs) = candidate(etcd.log("a"));
    leads(&a, TAKES_OVER).await;
    let (b, b_runs) = candidate(etcd.log("b"));
    let (c, c_runs) = candidate(etcd.log("c"));
    follows(&b, "a").await;
    follows(&c, "a").await;
    let (were_two, looks) = watch_for_two(vec![a.clone(), b.clone(), c.clone()]);
    // It stays so for longer than a lease.
    sleep(Duration::from_secs(7)).await;
    leads(&a, TAKES_OVER).await;
    a.resign();
    let resigned = Instant::now();
    a_runs.await.unwrap();
    assert!(!a.is_leading());
    let next = eventually("another leader", async || {
        [("b", &b), ("c", &c)]
            .into_iter()
            .find(|(_, mandate)| mandate.is_leading())
    })
    .await;
    // Sooner than the lease of one that dies.
    assert!(
        resigned.elapsed() < Duration::from_secs(4),
        "{:?}",
        resigned.elapsed()
    );
    // It dies without a word.
    let (dies, other) = if next.0 == "b" {
        (&b_runs, &c)
    } else {
        (&c_runs, &b)
    };
    follows(other, next.0).await;
    dies.abort();
    leads(other, TAKES_OVER).await;
    // The dead one's mandate was over before.
    assert!(!next.1.is_leading());
    assert!(!were_two.load(Ordering::Relaxed), "two led at once");
    looks.abort();
    b_runs.abort();
    c_runs.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_stops_before_another_one_begins() {
    let Some(etcd) = Etcd::start(1) else { return };
    etcd.begun().await;
    let wire = Wire::to(etcd.address(0)).await;
    let (a, a_runs) = candidate(open(wire.settings(), "a"));
    leads(&a, TAKES_OVER).await;
    let (b, b_runs) = candidate(etcd.log("b"));
    follows(&b, "a").await;
    let (were_two, looks) = watch_for_two(vec![a.clone(), b.clone()]);
    wire.cut();
    let cut = Instant::now();
    leads(&b, TAKES_OVER).await;
    assert!(!a.is_leading());
    assert_eq!(*a.leadership().borrow(), Leadership::Nobody);
    assert!(
        cut.elapsed() > Duration::from_secs(1),
        "it was not given its time"
    );
    wire.mend();
    follows(&a, "b").await;
    // And back.
    b.resign();
    leads(&a, TAKES_OVER).await;
    assert!(!were_two.load(Ordering::Relaxed), "two led at once");
    looks.abort();
    a_runs.abort();
    b_runs.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_leads_on_when_a_member_dies() {
    let Some(mut etcd) = Etcd::start(3) else {
        return;
    };
    etcd.begun().await;
    let (a, a_runs) = candidate(etcd.log("a"));
    leads(&a, TAKES_OVER).await;
    let (b, b_runs) = candidate(etcd.log("b"));
    follows(&b, "a").await;
    let (were_two, looks) = watch_for_two(vec![a.clone(), b.clone()]);
    for dies in 0..3 {
        etcd.kill(dies);
        // Etcd's leader may be the one that died: then another one is to be elected first.
        eventually("a leader", async || {
            (a.is_leading() || b.is_leading()).then_some(())
        })
        .await;
        sleep(Duration::from_secs(3)).await;
        etcd.run(dies);
        sleep(Duration::from_secs(2)).await;
    }
    eventually("a leader", async || {
        (a.is_leading() || b.is_leading()).then_some(())
    })
    .await;
    // All of them.
    for dies in 0..3 {
        etcd.kill(dies);
    }
    sleep(Duration::from_secs(6)).await;
    assert!(!a.is_leading() && !b.is_leading());
    for dies in 0..3 {
        etcd.run(dies);
    }
    eventually("a leader", async || {
        (a.is_leading() || b.is_leading()).then_some(())
    })
    .await;
    assert!(!were_two.load(Ordering::Relaxed), "two led at once");
    looks.abort();
    a_runs.abort();
    b_runs.abort();
}
