//! The same for threads that wait: within bounds, whatever becomes of etcd.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fleet::limits::{APPEND_TIMEOUT, QUESTION_TIMEOUT, STOP_TIMEOUT, TRY_TIMEOUT, VALUE_BYTES_MAX};
use fleet::{
    AppendError, Entry, Fleet, LogError, PresenceState, Settings, SnapshotError, SnapshotHead,
    State, Take, Taken, Upkeep,
};

use crate::cluster::{BEGIN, Etcd, Kept, PATIENCE, founding, parts};

/// What a call may take beyond its bound where the machine is busy with something else.
const MARGIN: Duration = Duration::from_secs(10);

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "waited for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn founded(fleet: &Fleet) {
    eventually("etcd to answer", || {
        match fleet.found(&BEGIN, &founding(), parts(&[b"first"])) {
            Ok(()) | Err(SnapshotError::Founded) => Some(()),
            Err(_) => None,
        }
    });
}

#[test]
fn threads_have_all_of_it() {
    let Some(etcd) = Etcd::start(1) else { return };
    let fleet = etcd.fleet("a");
    founded(&fleet);
    assert_eq!(fleet.record().unwrap().unwrap().by, "a");
    let head = fleet.append(&BEGIN, Bytes::from_static(b"one")).unwrap();
    let late = fleet.append(&BEGIN, Bytes::from_static(b"two"));
    assert!(matches!(late, Err(AppendError::Moved)), "{late:?}");
    let head = fleet
        .append(&head, Bytes::from(vec![7; 9 * VALUE_BYTES_MAX]))
        .unwrap();
    assert_eq!(fleet.head().unwrap(), head);
    // The second is in parts: what comes before is given on first.
    let first = fleet.after(&BEGIN).unwrap().entries;
    assert_eq!(first.len(), 1);
    let second = fleet.after(&first[0].head).unwrap().entries;
    assert_eq!((second.len(), second[0].head), (1, head));
    let state = vec![1; 40 * VALUE_BYTES_MAX + 3];
    fleet
        .put_snapshot(&head, parts(&[&state[..9], &state[9..]]))
        .unwrap();
    let snapshot = fleet.snapshot().unwrap().unwrap();
    let mut read = Vec::new();
    let each = |part: Bytes| {
        read.extend(part);
        Ok(())
    };
    fleet.read_snapshot(&snapshot, each).unwrap();
    assert!(read == state);
    let presence = fleet.announce("id", 5.into()).unwrap();
    eventually("the name to be its", || {
        (*presence.state().borrow() == PresenceState::Present).then_some(())
    });
    let edges = fleet.edges().unwrap();
    assert!(edges.len() == 1 && edges[0].is_alive && edges[0].name == "a");
    let candidacy = fleet.lead().unwrap();
    eventually("it to lead", || candidacy.is_leading().then_some(()));
    drop(candidacy);
    presence.leave();
    eventually("its name to be free", || {
        let edges = fleet.edges().unwrap();
        edges.iter().all(|edge| !edge.is_alive).then_some(())
    });
}

#[test]
fn upkeep_writes_a_snapshot_when_the_log_is_long_and_keeps_what_was_asked() {
    let Some(etcd) = Etcd::start(1) else { return };
    let fleet = etcd.fleet("a");
    founded(&fleet);
    let mut head = BEGIN;
    let mut upkeep = Upkeep::default();
    for _ in 0..5 {
        head = fleet.append(&head, Bytes::from_static(b"x")).unwrap();
    }
    let no_state = || -> Result<(_, Vec<_>), _> { Err("it is not asked for".to_owned()) };
    let done = fleet.maintain(&mut upkeep, 2, no_state).unwrap();
    assert_eq!((done.snapshot, done.trimmed_below), (None, None));
    // More bytes than are left without a snapshot.
    let large = Bytes::from(vec![0; 33 << 20]);
    for _ in 0..2 {
        head = fleet.append(&head, large.clone()).unwrap();
    }
    let due = fleet.due(&mut upkeep).unwrap();
    assert!(due.snapshot && due.entries == 7, "{due:?}");
    let done = fleet
        .maintain(&mut upkeep, 2, || Ok((head, parts(&[b"state"]))))
        .unwrap();
    assert_eq!(done.snapshot.unwrap().head, head);
    assert_eq!(done.trimmed_below, Some(6));
    assert!(matches!(fleet.after(&BEGIN), Err(LogError::Trimmed(1))));
    // A new leader comes to the same.
    let done = fleet.maintain(&mut Upkeep::default(), 1, no_state).unwrap();
    assert_eq!((done.snapshot, done.trimmed_below), (None, Some(7)));
}

/// A taker that waits for a lock.
struct Waits(Arc<std::sync::Mutex<()>>, mpsc::Sender<u64>);

impl Take for Waits {
    fn take(&mut self, entry: &Entry) -> Result<Taken, String> {
        let _held = self.0.lock().unwrap();
        self.1
            .send(entry.head.revision)
            .map_err(|error| error.to_string())?;
        Ok(Taken::Done)
    }

    fn take_snapshot(
        &mut self,
        _snapshot: &SnapshotHead,
        _parts: &mut dyn Iterator<Item = Result<Bytes, String>>,
    ) -> Result<Taken, String> {
        Err("there is no need for one".to_owned())
    }
}

#[test]
fn a_change_that_holds_the_lock_which_the_follower_waits_for_goes_on() {
    let Some(etcd) = Etcd::start(1) else { return };
    let fleet = etcd.fleet("a");
    founded(&fleet);
    let lock = Arc::new(std::sync::Mutex::new(()));
    let (sender, taken) = mpsc::channel();
    let following = fleet.follow(BEGIN, Waits(lock.clone(), sender));
    let held = lock.lock().unwrap();
    let mut head = BEGIN;
    for _ in 0..5 {
        let begun = Instant::now();
        head = fleet.append(&head, Bytes::from_static(b"x")).unwrap();
        assert!(begun.elapsed() < APPEND_TIMEOUT);
    }
    assert!(taken.try_recv().is_err());
    drop(held);
    for revision in 1..=5 {
        assert_eq!(taken.recv_timeout(PATIENCE).unwrap(), revision);
    }
    eventually("all to be taken", || {
        (following.now().known == head).then_some(())
    });
}

#[test]
fn every_call_has_its_bound_when_etcd_is_away() {
    let Some(mut etcd) = Etcd::start(1) else {
        return;
    };
    let fleet = etcd.fleet("a");
    founded(&fleet);
    let head = fleet.append(&BEGIN, Bytes::from_static(b"one")).unwrap();
    let following = fleet.follow(BEGIN, Kept::default());
    let candidacy = fleet.lead().unwrap();
    let presence = fleet.announce("id", 1.into()).unwrap();
    eventually("all to be well", || {
        let is_current = following.now().state == State::Current;
        (is_current && candidacy.is_leading()).then_some(())
    });
    etcd.kill(0);
    let bounded = |what: &str, bound: Duration, act: &mut dyn FnMut()| {
        let begun = Instant::now();
        act();
        assert!(
            begun.elapsed() < bound + MARGIN,
            "{what}: {:?}",
            begun.elapsed()
        );
    };
    bounded("append", APPEND_TIMEOUT, &mut || {
        let lost = fleet.append(&head, Bytes::from_static(b"two"));
        // Nobody could be connected to: it is certain that nothing was added. The first time it is not.
        assert!(
            matches!(lost, Err(AppendError::Log(_) | AppendError::Unknown(_))),
            "{lost:?}"
        );
    });
    // Unless a connection that was under way has held it up.
    let is_certain = (0..3).any(|_| {
        let mut lost = Ok(head);
        bounded("append", APPEND_TIMEOUT, &mut || {
            lost = fleet.append(&head, Bytes::from_static(b"two"));
        });
        matches!(lost.unwrap_err(), AppendError::Log(_))
    });
    assert!(is_certain);
    bounded("head", QUESTION_TIMEOUT, &mut || {
        assert!(fleet.head().is_err())
    });
    bounded("snapshot", QUESTION_TIMEOUT, &mut || {
        assert!(fleet.put_snapshot(&head, parts(&[b"x"])).is_err());
    });
    bounded("the end of a presence", STOP_TIMEOUT, &mut || {
        drop(fleet.announce("b", 1.into()))
    });
    let mut all = Some((following, candidacy, presence));
    bounded("the end of all", 2 * STOP_TIMEOUT, &mut || drop(all.take()));
    bounded("the end", STOP_TIMEOUT, &mut || fleet.stop());
    assert!(matches!(fleet.head(), Err(LogError::Stopped)));
    // And again.
    fleet.stop();
}

#[test]
fn an_append_outlives_the_death_of_etcds_leader() {
    let Some(mut etcd) = Etcd::start(3) else {
        return;
    };
    let fleet = etcd.fleet("a");
    founded(&fleet);
    etcd.wait();
    let mut head = BEGIN;
    for dies in 0..3 {
        head = fleet.append(&head, Bytes::from_static(b"x")).unwrap();
        etcd.kill(dies);
        let begun = Instant::now();
        head = eventually("an append", || {
            match fleet.append(&head, Bytes::from_static(b"y")) {
                Ok(head) => Some(head),
                // It was added, and the answer was lost.
                Err(AppendError::Moved) => Some(fleet.head().unwrap()),
                Err(_) => None,
            }
        });
        // One try, as a rule; a second one when the election takes long.
        assert!(
            begun.elapsed() < 2 * (APPEND_TIMEOUT + TRY_TIMEOUT) + MARGIN,
            "{:?}",
            begun.elapsed()
        );
        etcd.run(dies);
        etcd.wait();
    }
}

#[test]
fn members_that_are_frozen_are_left_within_the_bound() {
    let Some(etcd) = Etcd::start(3) else { return };
    let fleet = etcd.fleet("a");
    founded(&fleet);
    etcd.wait();
    let other = etcd.fleet("b");
    let kept = Kept::default();
    let following = other.follow(BEGIN, kept.clone());
    let mut head = BEGIN;
    for frozen in 0..3 {
        head = fleet.append(&head, Bytes::from_static(b"x")).unwrap();
        eventually("the follower to have it", || {
            (kept.head() == head).then_some(())
        });
        etcd.freeze(frozen, true);
        let begun = Instant::now();
        head = eventually("an append", || {
            match fleet.append(&head, Bytes::from_static(b"y")) {
                Ok(head) => Some(head),
                // It was added, and the answer was lost.
                Err(AppendError::Moved) => Some(fleet.head().unwrap()),
                Err(_) => None,
            }
        });
        assert!(
            begun.elapsed() < 2 * (APPEND_TIMEOUT + TRY_TIMEOUT) + MARGIN,
            "{:?}",
            begun.elapsed()
        );
        // Its watch may have been at the member that is frozen.
        eventually("the follower to have it", || {
            (kept.head() == head).then_some(())
        });
        etcd.freeze(frozen, false);
        etcd.wait();
    }
    drop(following);
}

#[test]
fn an_etcd_that_is_full_says_so_and_what_is_there_is_followed() {
    let quota = || {
        ["--quota-backend-bytes", "33554432"]
            .map(str::to_owned)
            .to_vec()
    };
    let Some(etcd) = Etcd::with(1, |_| ("http", quota())) else {
        return;
    };
    let fleet = etcd.fleet("a");
    founded(&fleet);
    let large = Bytes::from(vec![1; 4 << 20]);
    let mut head = BEGIN;
    let refused = loop {
        match fleet.append(&head, large.clone()) {
            Ok(next) => head = next,
            Err(error) => break error,
        }
        assert!(head.revision < 20);
    };
    // It is certain that it was not added.
    assert!(matches!(refused, AppendError::Log(_)), "{refused}");
    assert!(refused.to_string().contains("space exceeded"), "{refused}");
    assert_eq!(fleet.head().unwrap(), head);
    let kept = Kept::default();
    let following = fleet.follow(BEGIN, kept.clone());
    eventually("the follower to have all", || {
        (following.now().state == State::Current && kept.head() == head).then_some(())
    });
    // The operator makes room, by etcd's own means.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut client = etcd_client::Client::connect([etcd.url(0)], None)
            .await
            .unwrap();
        let log = etcd.log("a");
        log.put_snapshot(&head, parts(&[b"state"]))
            .await
            .unwrap_err();
        crate::cluster::trim(&log, head.revision).await;
        let now = client.get("x", None).await.unwrap();
        client
            .compact(now.header().unwrap().revision(), None)
            .await
            .unwrap();
        client.defragment().await.unwrap();
        let nospace = etcd_client::AlarmType::Nospace;
        let alarms = client
            .alarm(etcd_client::AlarmAction::Get, nospace, None)
            .await;
        for alarm in alarms.unwrap().alarms() {
            let mut member = etcd_client::AlarmOptions::new();
            member.with_member(alarm.member_id());
            let off = etcd_client::AlarmAction::Deactivate;
            client.alarm(off, nospace, Some(member)).await.unwrap();
        }
    });
    head = eventually("a change", || {
        fleet.append(&head, Bytes::from_static(b"room")).ok()
    });
    eventually("the follower to have it", || {
        (kept.head() == head).then_some(())
    });
}

#[test]
fn handles_may_be_shared() {
    fn shared<T: Send + Sync>() {}
    shared::<Fleet>();
    shared::<fleet::Following>();
    shared::<fleet::Candidacy>();
    shared::<fleet::Presence>();
}

#[test]
fn names_of_edges_are_checked() {
    let settings = || Settings {
        members: vec!["http://127.0.0.1:1".parse().unwrap()],
        tls: None,
        user: None,
    };
    for bad in ["", "a/b", "a b", "\u{e4}", &"a".repeat(254)] {
        assert!(
            Fleet::start(settings(), &"x".parse().unwrap(), bad).is_err(),
            "{bad}"
        );
    }
    for good in ["a", "edge-1.example.com", "A_b"] {
        assert!(
            Fleet::start(settings(), &"x".parse().unwrap(), good).is_ok(),
            "{good}"
        );
    }
}
