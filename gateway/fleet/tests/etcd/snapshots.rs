//! Founding, and snapshots: whole or not seen, one at a time, and nothing is left of what failed.

use bytes::Bytes;
use fleet::limits::{SNAPSHOT_BYTES_MAX, VALUE_BYTES_MAX};
use fleet::{AppendError, FleetRecord, Head, LogError, SnapshotError, Upkeep};

use crate::cluster::{BEGIN, Etcd, eventually, founding, keys, parts};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_is_founded_once_and_never_seen_without_its_state() {
    let Some(etcd) = Etcd::start(1) else { return };
    let (a, b) = (etcd.log("a"), etcd.log("b"));
    eventually("etcd to answer", async || a.record().await.ok()).await;
    assert!(matches!(a.head().await, Err(LogError::None)));
    assert_eq!(a.record().await.unwrap(), None);
    // Both at once, each with a state of its own.
    let (head_a, head_b) = (BEGIN.then(b"a"), BEGIN.then(b"b").then(b"b"));
    let state = |fill| vec![fill; 5 * VALUE_BYTES_MAX + 1];
    let (state_a, state_b) = (state(b'a'), state(b'b'));
    let founding = founding();
    let (by_a, by_b) = tokio::join!(
        a.found(&head_a, &founding, parts(&[&state_a])),
        b.found(&head_b, &founding, parts(&[&state_b])),
    );
    let (head, state, by) = match (by_a, by_b) {
        (Ok(()), Err(SnapshotError::Founded)) => (head_a, state_a, "a"),
        (Err(SnapshotError::Founded), Ok(())) => (head_b, state_b, "b"),
        other => panic!("{other:?}"),
    };
    let record = a.record().await.unwrap().unwrap();
    assert_eq!((record.by.as_str(), record.proof), (by, b"proof".to_vec()));
    assert_eq!(record.store_format, 1);
    assert_eq!(b.head().await.unwrap(), head);
    let snapshot = b.snapshot().await.unwrap().unwrap();
    assert_eq!((snapshot.head, snapshot.edge.as_str()), (head, by));
    let mut read = Vec::new();
    let each = |part: Bytes| {
        read.extend(part);
        Ok(())
    };
    b.read_snapshot(&snapshot, each).await.unwrap();
    assert!(read == state);
    // Nothing is left of the other's.
    assert_eq!(a.sweep_snapshots().await.unwrap(), 0);
    assert_eq!(keys(&etcd, "/postern/test/snapshot-part/").await.len(), 6);
    assert_eq!(keys(&etcd, "/postern/test/snapshot-writer/").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_gives_way_to_another_one_only_when_it_may() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    let head = log.append(&BEGIN, b"one").await.unwrap();
    let large = vec![1; 2 * VALUE_BYTES_MAX];
    let head = log.append(&head, &large).await.unwrap();
    let other = etcd.log("b");
    let no = other
        .remove_fleet(|record, _| (record.store_format == 1).then_some("its format"))
        .await;
    assert_eq!(no.unwrap(), Some("its format"));
    assert_eq!(log.head().await.unwrap(), head);
    let gone = other
        .remove_fleet(|record, at| (record.store_format != 1 || at != Some(&head)).then_some(()))
        .await;
    assert_eq!(gone.unwrap(), None);
    assert_eq!(keys(&etcd, "/postern/test/").await.len(), 0);
    let late = log.append(&head, b"late").await;
    assert!(matches!(late, Err(AppendError::Moved)), "{late:?}");
    assert!(matches!(log.head().await, Err(LogError::None)));
    let none = other.remove_fleet(|_, _| Some(())).await;
    assert_eq!(none.unwrap(), None, "there is none");
    let again = BEGIN.then(b"again");
    other
        .found(&again, &founding(), parts(&[b"x"]))
        .await
        .unwrap();
    assert_eq!(log.head().await.unwrap(), again);
    let late = log.append(&head, b"late").await;
    assert!(matches!(late, Err(AppendError::Moved)), "{late:?}");
    assert!(
        log.after(&head).await.is_err(),
        "it is not the log that was followed"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_that_is_changed_while_it_is_about_to_be_removed_stays() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    let head = log.append(&BEGIN, b"one").await.unwrap();
    // Another edge is acknowledged a change just when it was found that there is nothing that would be lost.
    let change = || {
        let append = log.append(&head, b"two");
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(append))
    };
    let why_not = |_: &FleetRecord, at: Option<&Head>| {
        if at != Some(&head) {
            return Some(*at.unwrap());
        }
        change().unwrap();
        None
    };
    let kept = etcd.log("b").remove_fleet(why_not).await;
    assert_eq!(kept.unwrap(), Some(head.then(b"two")));
    let page = log.after(&head).await.unwrap();
    assert_eq!(page.entries.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_write_snapshots_do_not_mix_and_the_newer_one_stays() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    let first = log.append(&BEGIN, b"one").await.unwrap();
    let second = log.append(&first, b"two").await.unwrap();
    let states = [vec![1; 8 * VALUE_BYTES_MAX], vec![2; 8 * VALUE_BYTES_MAX]];
    let (a, b) = (etcd.log("a"), etcd.log("b"));
    let (older, newer) = tokio::join!(
        a.put_snapshot(&first, parts(&[&states[0]])),
        b.put_snapshot(&second, parts(&[&states[1]])),
    );
    newer.unwrap();
    // It was first, or it was refused.
    assert!(
        matches!(older, Ok(_) | Err(SnapshotError::Older(2))),
        "{older:?}"
    );
    let again = a.put_snapshot(&second, parts(&[b"x"])).await;
    assert!(matches!(again, Err(SnapshotError::Older(2))), "{again:?}");
    let snapshot = log.snapshot().await.unwrap().unwrap();
    assert_eq!(snapshot.head, second);
    let mut read = Vec::new();
    let each = |part: Bytes| {
        read.extend(part);
        Ok(())
    };
    log.read_snapshot(&snapshot, each).await.unwrap();
    assert!(read == states[1]);
    assert_eq!(keys(&etcd, "/postern/test/snapshot-part/").await.len(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_writer_has_left_is_removed_and_what_one_writes_is_not() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    let head = log.append(&BEGIN, b"one").await.unwrap();
    let (runtime, sweeper) = (tokio::runtime::Handle::current(), log.clone());
    // While it is written others sweep.
    let busy = (0..6_u8).map(|fill| {
        let swept = tokio::task::block_in_place(|| runtime.block_on(sweeper.sweep_snapshots()));
        assert_eq!(swept.unwrap(), 0);
        Ok(Bytes::from(vec![fill; VALUE_BYTES_MAX / 2]))
    });
    log.put_snapshot(&head, busy).await.unwrap();
    // One whose writer fails, and one whose writer died: its mark is gone, its parts are there.
    let fails = [
        Ok(Bytes::from(vec![1; VALUE_BYTES_MAX])),
        Err("no more".to_owned()),
    ];
    let newer = log.append(&head, b"two").await.unwrap();
    let failed = log.put_snapshot(&newer, fails).await;
    assert!(
        matches!(failed, Err(SnapshotError::Caller(_))),
        "{failed:?}"
    );
    assert_eq!(keys(&etcd, "/postern/test/snapshot-part/").await.len(), 3);
    let mut client = etcd_client::Client::connect([etcd.url(0)], None)
        .await
        .unwrap();
    for number in 0..3 {
        let key = format!("/postern/test/snapshot-part/dead/{number:06}");
        client.put(key, "x", None).await.unwrap();
    }
    let tidy = log.tidy(&mut Upkeep::default(), 10).await.unwrap();
    assert_eq!(tidy.swept, 1);
    assert_eq!(keys(&etcd, "/postern/test/snapshot-part/").await.len(), 3);
    // One that lost its mark is not put.
    let (runtime, mut other) = (tokio::runtime::Handle::current(), client.clone());
    let slow = (0..2).map(|_| {
        let options = etcd_client::DeleteOptions::new().with_prefix();
        let gone = other.delete("/postern/test/snapshot-writer/", Some(options));
        tokio::task::block_in_place(|| runtime.block_on(gone)).unwrap();
        Ok(Bytes::from_static(b"x"))
    });
    let late = log.put_snapshot(&newer, slow).await;
    assert!(matches!(late, Err(SnapshotError::TooSlow)), "{late:?}");
    assert_eq!(log.snapshot().await.unwrap().unwrap().head, head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_snapshot_is_not_believed() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    let head = log.append(&BEGIN, b"one").await.unwrap();
    let state = vec![7; 2 * VALUE_BYTES_MAX];
    let snapshot = log.put_snapshot(&head, parts(&[&state])).await.unwrap();
    let all = keys(&etcd, "/postern/test/snapshot-part/").await;
    let part = all.last().unwrap().clone();
    let mut client = etcd_client::Client::connect([etcd.url(0)], None)
        .await
        .unwrap();
    for damage in [
        vec![8; VALUE_BYTES_MAX],
        vec![7; VALUE_BYTES_MAX - 1],
        vec![7; VALUE_BYTES_MAX + 1],
    ] {
        client.put(part.clone(), damage, None).await.unwrap();
        let read = log.read_snapshot(&snapshot, |_| Ok(())).await;
        assert!(matches!(read, Err(SnapshotError::Damaged(_))), "{read:?}");
    }
    client.delete(part, None).await.unwrap();
    let read = log.read_snapshot(&snapshot, |_| Ok(())).await;
    assert!(matches!(read, Err(SnapshotError::Damaged(_))), "{read:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_is_too_large_is_refused_and_nothing_stays_of_it() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    let head = log.append(&BEGIN, b"one").await.unwrap();
    // One part is written before it is known to be too much.
    let rest = vec![0; usize::try_from(SNAPSHOT_BYTES_MAX).unwrap()];
    let large = [vec![0; VALUE_BYTES_MAX], rest];
    let large = large.map(|part| Ok(Bytes::from(part)));
    let refused = log.put_snapshot(&head, large).await;
    assert!(
        matches!(refused, Err(SnapshotError::TooLarge)),
        "{refused:?}"
    );
    assert_eq!(keys(&etcd, "/postern/test/snapshot-part/").await.len(), 0);
}
