//! A network that is cut between etcd's members, with edges that change the fleet on both sides.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fixtures::apart::{Apart, is_inside};
use fleet::{AppendError, Follower, Log, Settings};
use tokio::time::{sleep, timeout};

use crate::cluster::{BEGIN, Kept, eventually, found, open};

const NAME: &str = "split::what_both_sides_of_a_cut_acknowledge_is_there_once_and_nothing_else";

/// The log by way of these members.
fn by(members: &[u8], edge: &str) -> Log {
    let members = members.iter().map(|n| Apart::url(*n));
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
    if is_inside(NAME) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(apart());
    }
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
    eventually("changes of both", async || {
        (count(&a) > 0 && count(&b) > 0).then_some(())
    })
    .await;
    etcd.cut(true);
    // Until the others have a leader again, if that was the first one.
    sleep(Duration::from_secs(4)).await;
    let (at_a, at_b) = (count(&a), count(&b));
    sleep(Duration::from_secs(8)).await;
    eventually("changes of the others", async || {
        let is_ahead = few.head().revision < most.head().revision;
        (count(&b) > at_b && is_ahead).then_some(())
    })
    .await;
    assert_eq!(count(&a), at_a, "acknowledged by a member alone");
    etcd.cut(false);
    let healed = count(&a);
    eventually("the first member to take part", async || {
        (count(&a) > healed).then_some(())
    })
    .await;
    ends.store(true, Ordering::Relaxed);
    for edge in edges {
        edge.await.unwrap();
    }
    let head = eventually("the last change", async || all.head().await.ok()).await;
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
