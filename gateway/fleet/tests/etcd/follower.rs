//! Edges that were away too long, that are cut off, that see another log.

use std::time::Duration;

use etcd_client::{Client, DeleteOptions};
use fixtures::etcd::copy;
use fleet::limits::VALUE_BYTES_MAX;
use fleet::{Follower, Head, Past, Standing, State, Stuck};
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::{BEGIN, Etcd, Kept, Wire, eventually, keys, open, parts};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_away_too_long_takes_a_snapshot_and_goes_on() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    let mut head = BEGIN;
    for number in 0..40_u8 {
        head = log.append(&head, &[number; 10]).await.unwrap();
    }
    let state = vec![3; 2 * VALUE_BYTES_MAX + 5];
    let snapshot = log.put_snapshot(&head, parts(&[&state])).await.unwrap();
    assert_eq!((snapshot.head, snapshot.bytes), (head, state.len() as u64));
    head = log.append(&head, b"behind it").await.unwrap();
    let done = log.tidy(&mut measured(&log).await, 10).await.unwrap();
    assert_eq!(done.trimmed_below, Some(31));
    // A new edge, and one that has what is still there.
    let new = Kept::default();
    let (follower, mut standing) = Follower::new(etcd.log("b"), BEGIN, new.clone());
    let first = tokio::spawn(follower.run());
    new.has(head).await;
    assert!(new.snapshots() == [state] && new.bytes() == [b"behind it"]);
    let now = standing.wait_for(|now| now.state == State::Current).await;
    let now = now.unwrap().clone();
    assert_eq!((now.known, now.head), (head, Some(head.revision)));
    // It goes on by the log.
    head = log.append(&head, b"more").await.unwrap();
    new.has(head).await;
    assert_eq!(new.snapshots().len(), 1);
    first.abort();
}

async fn measured(log: &fleet::Log) -> fleet::Upkeep {
    let mut upkeep = fleet::Upkeep::default();
    log.due(&mut upkeep).await.unwrap();
    upkeep
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_replaced_while_it_is_read_is_begun_anew() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    let first = log.append(&BEGIN, b"one").await.unwrap();
    let second = log.append(&first, b"two").await.unwrap();
    // More than what is read ahead.
    let large = vec![1; 80 * VALUE_BYTES_MAX];
    log.put_snapshot(&first, parts(&[&large])).await.unwrap();
    log.tidy(&mut measured(&log).await, 0).await.unwrap();
    let kept = Kept::default();
    let (runtime, writer) = (tokio::runtime::Handle::current(), log.clone());
    kept.0.lock().unwrap().meanwhile = Some(Box::new(move || {
        let newer = writer.put_snapshot(&second, parts(&[b"newer"]));
        runtime.block_on(newer).unwrap();
    }));
    let (follower, _standing) = Follower::new(etcd.log("b"), BEGIN, kept.clone());
    let following = tokio::spawn(follower.run());
    kept.has(second).await;
    assert_eq!(kept.snapshots(), [b"newer"]);
    following.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_snapshot_nothing_is_made_up() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    let mut head = BEGIN;
    for number in 0..5_u8 {
        head = log.append(&head, &[number]).await.unwrap();
    }
    // The first snapshot is of no use to who has the first entry.
    crate::cluster::trim(&log, 4).await;
    let kept = Kept::default();
    let (follower, mut standing) = Follower::new(etcd.log("b"), BEGIN, kept.clone());
    let following = tokio::spawn(follower.run());
    let is_stuck = |now: &Standing| {
        let State::Stuck { reason, .. } = &now.state else {
            return false;
        };
        *reason == Stuck::NoSnapshot
    };
    standing.wait_for(is_stuck).await.unwrap();
    assert_eq!(kept.head(), BEGIN);
    // As soon as there is one, it goes on.
    log.put_snapshot(&head, parts(&[b"state"])).await.unwrap();
    kept.has(head).await;
    following.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_away_while_etcd_was_replaced_is_not_led_on_by_a_trimmed_log() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    let mut heads = vec![log.append(&BEGIN, b"one").await.unwrap()];
    // What an edge took of the log that was lost, and what it would have taken of this one.
    let other = heads[0].then(b"lost");
    for number in 0..40_u8 {
        let head = heads.last().unwrap();
        heads.push(log.append(head, &[number; 10]).await.unwrap());
    }
    let head = *heads.last().unwrap();
    log.put_snapshot(&head, parts(&[b"state"])).await.unwrap();
    let mut stale = measured(&log).await;
    // In two steps, so that there are two records.
    crate::cluster::trim(&log, 10).await;
    log.tidy(&mut measured(&log).await, 10).await.unwrap();
    let past = keys(&etcd, "/postern/test/past/").await;
    assert_eq!(past.len(), 3, "{past:?}");
    // Two leaders for a moment: the one that knows less takes nothing away.
    assert!(!log.trim_below(&mut stale, 10).await.unwrap());
    assert_eq!(keys(&etcd, "/postern/test/past/").await, past);
    for known in [heads[0], heads[1], heads[8], heads[9], heads[30]] {
        assert_eq!(
            log.past(&known).await.unwrap(),
            Past::Had,
            "{}",
            known.revision
        );
        let kept = Kept::default();
        let (follower, _standing) = Follower::new(etcd.log("b"), known, kept.clone());
        let following = tokio::spawn(follower.run());
        kept.has(head).await;
        following.abort();
    }
    let late = heads[20].then(b"lost");
    let never = Head {
        revision: 1_000,
        ..head
    };
    assert_eq!(log.past(&never).await.unwrap(), Past::Unknown);
    for known in [other, late] {
        assert_eq!(log.past(&known).await.unwrap(), Past::Other);
        let kept = Kept::default();
        let (follower, mut standing) = Follower::new(etcd.log("b"), known, kept.clone());
        let following = tokio::spawn(follower.run());
        let is_stuck = |now: &Standing| {
            let State::Stuck { reason, .. } = now.state else {
                return false;
            };
            let known = known.revision;
            reason == Stuck::Another { found: 41, known }
        };
        standing.wait_for(is_stuck).await.unwrap();
        assert_eq!(kept.snapshots().len(), 0);
        following.abort();
    }
    // When nothing is kept of that time, a person is asked, too.
    let mut client = Client::connect([etcd.url(0)], None).await.unwrap();
    let options = DeleteOptions::new().with_prefix();
    client
        .delete("/postern/test/past/", Some(options))
        .await
        .unwrap();
    let (follower, mut standing) = Follower::new(etcd.log("b"), heads[3], Kept::default());
    let following = tokio::spawn(follower.run());
    let says = |now: &Standing| match &now.state {
        State::Stuck { why, .. } => why.contains("cannot be told"),
        _ => false,
    };
    standing.wait_for(says).await.unwrap();
    following.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_while_an_edge_is_away_is_no_loss() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    let wire = Wire::to(etcd.address(0)).await;
    let kept = Kept::default();
    let (follower, mut standing) = Follower::new(open(wire.settings(), "b"), BEGIN, kept.clone());
    let following = tokio::spawn(follower.run());
    let mut head = log.append(&BEGIN, b"one").await.unwrap();
    kept.has(head).await;
    wire.cut();
    for number in 0..20_u8 {
        head = log.append(&head, &[number]).await.unwrap();
    }
    let mut client = Client::connect([etcd.url(0)], None).await.unwrap();
    let now = client.get("x", None).await.unwrap();
    let now = now.header().unwrap().revision();
    client.compact(now, None).await.unwrap();
    standing
        .wait_for(|now| matches!(now.state, State::Away { .. }))
        .await
        .unwrap();
    wire.mend();
    kept.has(head).await;
    assert_eq!(kept.snapshots().len(), 0);
    following.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_that_nobody_tells_of_is_noticed_and_the_last_contact_known() {
    let Some(etcd) = Etcd::start(1) else { return };
    let log = etcd.begun().await;
    let wire = Wire::to(etcd.address(0)).await;
    let kept = Kept::default();
    let (follower, mut standing) = Follower::new(open(wire.settings(), "b"), BEGIN, kept.clone());
    let following = tokio::spawn(follower.run());
    standing
        .wait_for(|now| now.state == State::Current)
        .await
        .unwrap();
    // While nothing happens there is contact all the same.
    let first = standing.borrow().contact.unwrap();
    eventually("contact", async || {
        let contact = standing.borrow().contact.unwrap();
        (contact > first + Duration::from_secs(4)).then_some(())
    })
    .await;
    assert_eq!(standing.borrow().state, State::Current);
    wire.cut();
    let cut = Instant::now();
    let noticed = standing.wait_for(|now| matches!(now.state, State::Away { .. }));
    let noticed = timeout(Duration::from_secs(15), noticed).await;
    noticed.expect("it is noticed in time").unwrap();
    assert!(standing.borrow().contact.unwrap() <= cut);
    // Changes of others meanwhile.
    let head = log.append(&BEGIN, b"meanwhile").await.unwrap();
    assert_eq!(kept.head(), BEGIN);
    wire.mend();
    kept.has(head).await;
    standing
        .wait_for(|now| now.state == State::Current)
        .await
        .unwrap();
    following.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_lacks_what_the_edge_has_added_itself_is_another_one() {
    let Some(mut etcd) = Etcd::start(1) else {
        return;
    };
    let log = etcd.begun().await;
    let first = log.append(&BEGIN, b"one").await.unwrap();
    etcd.kill(0);
    let old = etcd.directory().join("old");
    copy(&etcd.data(0), &old);
    // So many others follow in the old copy; of the most, the first are trimmed.
    for others in [0, 1, 40] {
        etcd.run(0);
        // It has its own change before its follower is told of it.
        let own = etcd.log("a");
        let kept = Kept::default();
        let (follower, mut standing) = Follower::new(own.clone(), first, kept.clone());
        eventually("etcd to be back", async || own.head().await.ok()).await;
        let added = own.append(&first, b"own").await.unwrap();
        etcd.kill(0);
        copy(&old, &etcd.data(0));
        etcd.run(0);
        let other = etcd.log("b");
        let mut found = eventually("etcd to be back", async || other.head().await.ok()).await;
        for number in 0..others {
            found = other.append(&found, &[number]).await.unwrap();
        }
        if others > 1 {
            let state = parts(&[b"state"]);
            other.put_snapshot(&found, state).await.unwrap();
            crate::cluster::trim(&other, 30).await;
        }
        let following = tokio::spawn(follower.run());
        let wanted = Stuck::Another {
            found: found.revision,
            known: added.revision,
        };
        let is_stuck = |now: &Standing| {
            assert_ne!(now.state, State::Current);
            matches!(now.state, State::Stuck { reason, .. } if reason == wanted)
        };
        standing.wait_for(is_stuck).await.unwrap();
        assert_eq!(kept.head(), BEGIN, "nothing was taken");
        following.abort();
        // Whoever accepts it goes on with what is there.
        let (follower, mut standing) = Follower::new(own, found, kept.clone());
        let following = tokio::spawn(follower.run());
        let is_current = |now: &Standing| now.state == State::Current;
        standing.wait_for(is_current).await.unwrap();
        following.abort();
        etcd.kill(0);
        copy(&old, &etcd.data(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_copy_of_etcds_data_is_not_followed_before_a_person_accepts_it() {
    let Some(mut etcd) = Etcd::start(1) else {
        return;
    };
    let log = etcd.begun().await;
    let first = log.append(&BEGIN, b"one").await.unwrap();
    log.put_snapshot(&first, parts(&[b"state of one"]))
        .await
        .unwrap();
    etcd.kill(0);
    let old = etcd.directory().join("old");
    copy(&etcd.data(0), &old);
    etcd.run(0);
    eventually("etcd to be back", async || log.head().await.ok()).await;
    let mut head = log.append(&first, b"two").await.unwrap();
    let kept = Kept::default();
    let (follower, mut standing) = Follower::new(etcd.log("b"), BEGIN, kept.clone());
    let following = tokio::spawn(follower.run());
    kept.has(head).await;
    // The old copy takes other changes, as far as those that were followed and further.
    etcd.kill(0);
    copy(&old, &etcd.data(0));
    etcd.run(0);
    let known = head;
    let is_stuck = |now: &Standing| {
        let another = match now.state {
            State::Stuck { reason, .. } => matches!(reason, Stuck::Another { .. }),
            _ => false,
        };
        now.known == known && another
    };
    standing.wait_for(is_stuck).await.unwrap();
    eventually("the old copy to be there", async || log.head().await.ok()).await;
    head = log.append(&first, b"another").await.unwrap();
    head = log.append(&head, b"and another").await.unwrap();
    assert!(head.revision > known.revision);
    sleep(Duration::from_millis(200)).await;
    standing.wait_for(is_stuck).await.unwrap();
    assert_eq!(kept.head(), known, "nothing of another history was taken");
    assert_eq!(kept.snapshots().len(), 0);
    following.abort();
    // Whoever accepts it begins with what is there.
    let snapshot = log.snapshot().await.unwrap().unwrap();
    let (follower, _standing) = Follower::new(etcd.log("b"), snapshot.head, kept.clone());
    let following = tokio::spawn(follower.run());
    kept.has(head).await;
    following.abort();
}
