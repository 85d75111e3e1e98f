//! Entries of all sizes, edges that change at once, members that die.

use std::collections::BTreeMap;

use fleet::limits::{ENTRY_BYTES_MAX, VALUE_BYTES_MAX};
use fleet::{AppendError, Fleet, Follower, Log, LogError, State};
use tokio::time::timeout;

use crate::cluster::{BEGIN, Etcd, Kept, PATIENCE, Wire, eventually, keys, open, parts};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_of_all_sizes_come_in_their_order() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    let kept = Kept::default();
    let (follower, mut state) = Follower::new(etcd.log("b"), BEGIN, kept.clone());
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
        .wait_for(|now| now.state == State::Current)
        .await
        .unwrap();
    // Who comes later reads the same.
    let late = Kept::default();
    let (follower, _) = Follower::new(etcd.log("c"), BEGIN, late.clone());
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
    let (a, b, c) = (etcd.log("a"), etcd.log("b"), etcd.log("c"));
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
    crate::cluster::trim(&log, 2).await;
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
    let (follower, mut state) = Follower::new(etcd.log("b"), BEGIN, kept.clone());
    let following = tokio::spawn(follower.run());
    let mut head = BEGIN;
    let writer = log.clone();
    for round in 0..6_u8 {
        let dies = usize::from(round % 3);
        etcd.kill(dies);
        head = eventually("a change while one member is dead", async || {
            let known = writer.after(&head).await.ok()?.head;
            match writer.append(&known, &[round]).await {
                Ok(head) => Some(head),
                // What was not acknowledged may have been added since it was asked what is there.
                Err(AppendError::Log(_) | AppendError::Unknown(_) | AppendError::Moved) => {
                    writer.move_on().await;
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
        .wait_for(|now| matches!(now.state, State::Away { .. }))
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
                writer.move_on().await;
                None
            }
        }
    })
    .await;
    kept.has(head).await;
    state
        .wait_for(|now| now.state == State::Current)
        .await
        .unwrap();
    following.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_dies_while_it_writes_parts_leaves_nothing_that_is_seen() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    let kept = Kept::default();
    let (follower, _) = Follower::new(etcd.log("b"), BEGIN, kept.clone());
    let following = tokio::spawn(follower.run());
    let mut head = BEGIN;
    for parts_written in [1, 7, 40] {
        let (writer, known) = (etcd.log("dies"), head);
        let large = vec![9; ENTRY_BYTES_MAX];
        let dies = tokio::spawn(async move { writer.append(&known, &large).await });
        eventually("some parts", async || {
            let parts = keys(&etcd, "/postern/test/part/").await;
            (parts.len() >= parts_written).then_some(())
        })
        .await;
        dies.abort();
        assert!(dies.await.is_err_and(|error| error.is_cancelled()));
        assert_eq!(log.head().await.unwrap(), head);
        // What may still become an entry is left alone.
        assert_eq!(log.sweep().await.unwrap(), 0);
        head = log.append(&head, b"another").await.unwrap();
        kept.has(head).await;
        assert_eq!(log.sweep().await.unwrap(), 1);
        assert!(keys(&etcd, "/postern/test/part/").await.is_empty());
    }
    assert_eq!(kept.bytes(), [b"another"; 3]);
    following.abort();
}

/// A link of some 6 Mbit/s: whole entries take longer than any request may, and their parts do not.
const SLOW: u32 = 800 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_entries_and_snapshots_come_over_a_slow_link() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    let wire = Wire::slow(etcd.address(0), Some(SLOW)).await;
    // Each takes longer than one request has.
    let large = vec![7; 34 * VALUE_BYTES_MAX];
    let small = vec![8; VALUE_BYTES_MAX];
    let mut head = BEGIN;
    for bytes in [&small, &large, &large, &small] {
        head = log.append(&head, bytes).await.unwrap();
    }
    let kept = Kept::default();
    let (follower, _) = Follower::new(open(wire.settings(), "b"), BEGIN, kept.clone());
    let following = tokio::spawn(follower.run());
    // As who joins reads it.
    let settings = wire.settings();
    let state = vec![9; 10 * VALUE_BYTES_MAX];
    log.put_snapshot(&head, parts(&[&state])).await.unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let fleet = Fleet::start(settings, &"test".parse().unwrap(), "c").unwrap();
        let snapshot = fleet.snapshot().unwrap().unwrap();
        let mut bytes = 0;
        let each = |part: bytes::Bytes| {
            bytes += part.len();
            Ok(())
        };
        fleet.read_snapshot(&snapshot, each).unwrap();
        let mut known = BEGIN;
        let mut sizes = Vec::new();
        while known != head {
            let page = fleet.read_after(&known).unwrap();
            sizes.extend(page.entries.iter().map(|entry| entry.bytes.len()));
            known = page.entries.last().unwrap().head;
        }
        (bytes, sizes)
    });
    let (bytes, sizes) = read.await.unwrap();
    assert_eq!(bytes, state.len());
    let sent = [small.len(), large.len(), large.len(), small.len()];
    assert_eq!(sizes, sent);
    kept.has(head).await;
    following.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_change_does_not_wait_for_an_etcd_that_goes_away() {
    let Some(etcd) = Etcd::start(1) else { return };
    let _log = etcd.begun().await;
    let wire = Wire::to(etcd.address(0)).await;
    let log = open(wire.settings(), "b");
    let large = vec![7; ENTRY_BYTES_MAX];
    let appended = tokio::spawn(async move { log.append(&BEGIN, &large).await });
    eventually("some parts", async || {
        (keys(&etcd, "/postern/test/part/").await.len() > 8).then_some(())
    })
    .await;
    wire.cut();
    // All of its parts would have more than this.
    let ended = timeout(PATIENCE, appended).await;
    let ended = ended.expect("it is given up").unwrap();
    assert!(matches!(ended, Err(AppendError::Log(_))), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_parts_of_a_large_change_leave_a_member_that_hangs_together() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    // It takes connections, and nothing passes.
    let hangs = Wire::to(etcd.address(0)).await;
    hangs.cut();
    let settings = || {
        let mut settings = hangs.settings();
        settings.members.extend(etcd.settings().members);
        settings
    };
    let large = vec![7; 40 * VALUE_BYTES_MAX];
    let head = open(settings(), "b").append(&BEGIN, &large).await.unwrap();
    assert_eq!(log.head().await.unwrap(), head);
    // So does one who writes a snapshot.
    let state = parts(&[b"state"]);
    let written = open(settings(), "c").put_snapshot(&head, state).await;
    assert_eq!(written.unwrap().head, head);
}
