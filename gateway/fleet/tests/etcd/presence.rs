//! Who is there, who lives, and that no two edges have one name.

use std::time::Duration;

use fleet::limits::{EDGE_TTL_SEC, EDGE_VALUE_BYTES_MAX};
use fleet::{Announcement, Announcer, EdgeSeen, Log, PresenceState};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::cluster::{Etcd, PATIENCE, Wire, eventually, open};

fn announce(log: Log, id: &str, value: Value) -> (Announcement, JoinHandle<()>) {
    let (announcer, announcement) = Announcer::new(log, id, value).unwrap();
    (announcement, tokio::spawn(announcer.run()))
}

async fn is(announcement: &Announcement, wanted: &PresenceState) {
    let mut state = announcement.state();
    let is = state.wait_for(|state| state == wanted);
    let is = timeout(PATIENCE, is).await;
    is.expect("it becomes so in time").unwrap();
}

fn short(edges: &[EdgeSeen]) -> Vec<(&str, &str, bool, &Value)> {
    edges
        .iter()
        .map(|edge| {
            (
                edge.name.as_str(),
                edge.id.as_str(),
                edge.is_alive,
                &edge.value,
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edges_are_seen_and_those_that_left_are_not() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    let (a, a_runs) = announce(etcd.log("a"), "id-a", json!({"revision": 1}));
    let (b, b_runs) = announce(etcd.log("b"), "id-b", json!({"revision": 2}));
    is(&a, &PresenceState::Present).await;
    is(&b, &PresenceState::Present).await;
    let (one, two) = (json!({"revision": 1}), json!({"revision": 2}));
    let edges = log.edges().await.unwrap();
    assert_eq!(
        short(&edges),
        [("a", "id-a", true, &one), ("b", "id-b", true, &two)]
    );
    // What is new is written, and of many values the last.
    for revision in 3..100 {
        a.say(json!({"revision": revision}));
    }
    let last = json!({"revision": 99});
    eventually("the last value", async || {
        let edges = log.edges().await.unwrap();
        assert!(
            [&one, &last].contains(&&edges[0].value),
            "{:?}",
            edges[0].value
        );
        (edges[0].value == last).then_some(())
    })
    .await;
    // A value that is too large is not written, and harms nothing.
    b.say(json!("x".repeat(EDGE_VALUE_BYTES_MAX)));
    // One ends and stays known, one leaves.
    a.end();
    a_runs.await.unwrap();
    // At once, or when its lease ends where etcd was late.
    let edges = eventually("the one to have ended", async || {
        let edges = log.edges().await.unwrap();
        (!edges[0].is_alive).then_some(edges)
    })
    .await;
    assert_eq!(short(&edges)[0], ("a", "id-a", false, &last));
    assert!(edges[1].is_alive);
    b.leave();
    b_runs.await.unwrap();
    let edges = log.edges().await.unwrap();
    assert_eq!(short(&edges), [("a", "id-a", false, &last)]);
    assert!(!log.remove_edge("b").await.unwrap());
    assert!(log.remove_edge("a").await.unwrap());
    assert!(log.edges().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_edge_of_a_name_is_refused_and_the_same_one_takes_over() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    let (old, old_runs) = announce(etcd.log("a"), "id-a", json!("old"));
    is(&old, &PresenceState::Present).await;
    let (other, other_runs) = announce(etcd.log("a"), "id-b", json!("other"));
    let by = "id-a".to_owned();
    is(&other, &PresenceState::Taken { by }).await;
    // A living edge is not removed.
    assert!(!log.remove_edge("a").await.unwrap());
    // The process that takes the running one's place has its store, and its id.
    let (new, new_runs) = announce(etcd.log("a"), "id-a", json!("new"));
    is(&new, &PresenceState::Present).await;
    is(&old, &PresenceState::Replaced).await;
    old_runs.await.unwrap();
    let (value, edges) = (json!("new"), log.edges().await.unwrap());
    assert_eq!(short(&edges), [("a", "id-a", true, &value)]);
    // The old one is gone, and the new one is still there after the old one's time is over.
    sleep(Duration::from_secs(
        u64::try_from(EDGE_TTL_SEC).unwrap() + 2,
    ))
    .await;
    assert!(log.edges().await.unwrap()[0].is_alive);
    // When it ends, the other one has the name.
    new.end();
    new_runs.await.unwrap();
    is(&other, &PresenceState::Present).await;
    assert_eq!(log.edges().await.unwrap()[0].id, "id-b");
    other_runs.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_is_cut_off_is_dead_and_comes_back() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    let wire = Wire::to(etcd.address(0)).await;
    let (a, a_runs) = announce(open(wire.settings(), "a"), "id-a", json!(1));
    is(&a, &PresenceState::Present).await;
    wire.cut();
    let is_alive = async || log.edges().await.unwrap()[0].is_alive;
    eventually("it to be dead", async || (!is_alive().await).then_some(())).await;
    let is_unknown = |state: &PresenceState| matches!(state, PresenceState::Unknown { .. });
    let mut state = a.state();
    let unknown = timeout(PATIENCE, state.wait_for(is_unknown)).await;
    drop(unknown.expect("it knows that it is cut off").unwrap());
    wire.mend();
    is(&a, &PresenceState::Present).await;
    assert!(is_alive().await);
    a_runs.abort();
}
