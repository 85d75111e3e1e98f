//! Live connections by client certificate, and the end of those whose client is no longer let in.
//!
//! Owns the index of one worker, and the task that looks at it: when trust moves (a revocation, a
//! CA removed, a revocation list changed) or what a host asks of its clients does, every certificate
//! is looked at again, and whoever showed no good one after them; when a certificate ends its
//! connections are. Does not judge, and does not close: a connection that is cut closes itself
//! (`http`), politely at first, by force [`CUT_GRACE`] later.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Local;
use super::{Connection, now_sec, since_epoch};
use crate::limits::{CONNECTIONS_IN_A_ROW, CUT_GRACE, EXPIRY_LOOK};
use crate::observe::{CertificateEvent, Stage};
use vocabulary::verdict::Reason;

/// SHA-256 of a certificate.
pub(super) type Fingerprint = [u8; 32];

/// What connections are found by: the good certificate that their client showed. All others, whose
/// clients showed none or no good one, are found together.
pub(super) type Shown = Option<Fingerprint>;

/// The live connections of one worker.
#[derive(Default)]
pub struct Clients {
    index: RefCell<Index>,
    /// Something ends sooner than what is waited for.
    sooner: Notify,
}

#[derive(Default)]
struct Index {
    by_certificate: HashMap<Shown, Entry, foldhash::fast::RandomState>,
    /// When to look at which certificate again, seconds since the epoch.
    ends: BTreeSet<(i64, Shown)>,
}

struct Entry {
    /// The last second at which all of its connections' judgements hold.
    until_sec: i64,
    connections: Vec<Weak<Connection>>,
}

impl Index {
    /// Answers the place among the connections of this certificate, and whether it ends sooner than
    /// any other.
    fn enter(
        &mut self,
        shown: Shown,
        until_sec: i64,
        connection: Weak<Connection>,
    ) -> (usize, bool) {
        let first = self.next_end().unwrap_or(i64::MAX);
        let ends = &mut self.ends;
        let entry = self.by_certificate.entry(shown).or_insert_with(|| {
            ends.insert((until_sec, shown));
            Entry {
                until_sec,
                connections: Vec::with_capacity(1),
            }
        });
        let place = entry.connections.len();
        entry.connections.push(connection);
        if until_sec < entry.until_sec {
            ends.remove(&(entry.until_sec, shown));
            ends.insert((until_sec, shown));
            entry.until_sec = until_sec;
        }
        (place, until_sec < first)
    }

    /// Answers who has taken the empty place.
    fn leave(&mut self, shown: &Shown, place: usize) -> Option<Weak<Connection>> {
        let entry = self.by_certificate.get_mut(shown)?;
        if place < entry.connections.len() {
            entry.connections.swap_remove(place);
        }
        let moved = entry.connections.get(place).cloned();
        if entry.connections.is_empty() {
            let end = (entry.until_sec, *shown);
            self.by_certificate.remove(shown);
            self.ends.remove(&end);
        }
        moved
    }

    /// Everything that there is, certificates before those who have none: theirs is the hurry.
    fn all(&self) -> Vec<Shown> {
        let mut all: Vec<Shown> = self.by_certificate.keys().copied().collect();
        all.sort_unstable_by_key(Option::is_none);
        all
    }

    /// The certificates whose judgement no longer holds.
    fn ended(&self, now_sec: i64) -> Vec<Shown> {
        let ended = self.ends.iter().take_while(|(end, _)| *end < now_sec);
        ended.map(|(_, shown)| *shown).collect()
    }

    fn next_end(&self) -> Option<i64> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// A certificate is about to be looked at. Who enters meanwhile says itself until when.
    fn is_looked_at(&mut self, shown: &Shown) {
        self.set_until(shown, |_| i64::MAX);
    }

    /// A certificate was looked at: its connections' judgements hold until then.
    fn holds_until(&mut self, shown: &Shown, until_sec: i64) {
        self.set_until(shown, |entered| until_sec.min(entered));
    }

    fn set_until(&mut self, shown: &Shown, change: impl FnOnce(i64) -> i64) {
        if let Some(entry) = self.by_certificate.get_mut(shown) {
            let until_sec = change(entry.until_sec);
            self.ends.remove(&(entry.until_sec, *shown));
            self.ends.insert((until_sec, *shown));
            entry.until_sec = until_sec;
        }
    }
}

impl Clients {
    /// Takes a connection into the index. It leaves when it is dropped.
    pub(super) fn enter(&self, connection: &Rc<Connection>, shown: Shown, until_sec: i64) {
        let weak = Rc::downgrade(connection);
        let (place, sooner) = self.index.borrow_mut().enter(shown, until_sec, weak);
        connection.entered.set(Some((shown, place)));
        if sooner {
            self.sooner.notify_one();
        }
    }

    /// Takes a connection out of the index.
    pub(super) fn leave(&self, connection: &Connection) {
        let Some((shown, place)) = connection.entered.take() else {
            return;
        };
        let moved = self.index.borrow_mut().leave(&shown, place);
        // It is alive, or it would have left itself.
        if let Some(moved) = moved.and_then(|moved| moved.upgrade()) {
            moved.entered.set(Some((shown, place)));
        }
    }

    fn next_end(&self) -> Option<i64> {
        self.index.borrow().next_end()
    }

    fn of(&self, shown: &Shown) -> Vec<Rc<Connection>> {
        let index = self.index.borrow();
        let entry = index.by_certificate.get(shown);
        let connections = entry.into_iter().flat_map(|entry| &entry.connections);
        connections.filter_map(Weak::upgrade).collect()
    }
}

/// Why, and since when, connections are being cut. The last one to be closed says how long it took.
pub(super) struct Cutting {
    since: Instant,
    worker: usize,
    connections: Cell<usize>,
}

impl Cutting {
    fn new(local: &Local, since: Instant) -> Rc<Self> {
        Rc::new(Self {
            since,
            worker: local.stats.borrow().worker,
            connections: Cell::new(0),
        })
    }
}

impl Drop for Cutting {
    fn drop(&mut self) {
        if self.connections.get() > 0 {
            let took = self.since.elapsed();
            tracing::info!(
                worker = self.worker,
                connections = self.connections.get(),
                milliseconds = took.as_millis(),
                "connections whose certificate is no longer good are closed"
            );
        }
    }
}

/// The order to close that one connection got.
#[derive(Clone)]
pub(super) struct Cut {
    cutting: Rc<Cutting>,
    /// What was found wrong with its certificate.
    pub(super) reason: Reason,
    /// When it has to be over.
    pub(super) due: Instant,
}

impl Connection {
    /// Orders a connection to close.
    fn cut(&self, reason: Reason, cutting: &Rc<Cutting>) {
        if self.cut.borrow().is_some() {
            return;
        }
        cutting.connections.set(cutting.connections.get() + 1);
        self.cut.replace(Some(Cut {
            cutting: cutting.clone(),
            reason,
            due: due(cutting.since, Instant::now()),
        }));
        self.retired.set(true);
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Looks whether the client's certificate is still good, or whether it is let in without one,
    /// and cuts the connection if not. Answers until when that holds.
    fn look_again(&self, cutting: &Rc<Cutting>) -> i64 {
        let found = match self.entered.get() {
            Some((None, _)) => self.turned_away().map_or(Ok(i64::MAX), Err),
            _ => self.lost(),
        };
        match found {
            Ok(until) => until,
            Err(reason) => {
                self.cut(reason, cutting);
                i64::MAX
            }
        }
    }

    /// Looks at once, for a connection that entered the index while trust moved.
    pub(super) fn look_at_once(&self) {
        let cutting = Cutting::new(&self.local, Instant::now());
        self.look_again(&cutting);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.local.clients.leave(self);
        let Some(cut) = self.cut.take() else { return };
        let judged = self.judged.get_mut();
        let mut stats = self.local.stats.borrow_mut();
        let slot = stats.host(judged.host.name());
        stats.record(slot, Stage::CertificateLost, cut.cutting.since.elapsed());
        stats.judged(slot, cut.reason);
        drop(stats);
        super::record_certificate(&self.local, judged, CertificateEvent::Closed, cut.reason);
    }
}

/// Watches a worker's index for as long as the worker runs.
pub(crate) async fn watch(local: Rc<Local>) {
    let published = &local.shared.published;
    let mut publications = published.listen();
    let mut before = published.load().admission();
    loop {
        let next = local.clients.next_end();
        let wait = next.map_or(EXPIRY_LOOK, |end| until_after(end, since_epoch()));
        tokio::select! {
            since = publications.recv() => {
                let Some(since) = since else { return };
                // Several changes in a row are one look, as old as the first of them.
                while publications.try_recv().is_ok() {}
                let now = local.shared.published.load().admission();
                if std::mem::replace(&mut before, now) != now {
                    let all = local.clients.index.borrow().all();
                    look(&local, all, since).await;
                }
            }
            () = tokio::time::sleep(wait) => {
                let first = local.clients.next_end();
                let ended = local.clients.index.borrow().ended(now_sec());
                if let (false, Some(first)) = (ended.is_empty(), first) {
                    // A clock that was set says nothing of how long ago that was.
                    let late = since(first, since_epoch()).min(EXPIRY_LOOK);
                    let now = Instant::now();
                    look(&local, ended, now.checked_sub(late).unwrap_or(now)).await;
                }
            }
            () = local.clients.sooner.notified() => {}
        }
    }
}

/// When a connection has to be over that is cut `now` for something that happened at `since`: the
/// later somebody comes to look, the less is left of the grace.
fn due(since: Instant, now: Instant) -> Instant {
    (since + CUT_GRACE).max(now + CUT_GRACE / 5)
}

/// How long ago the second after this one began, by a clock that may be set meanwhile.
fn since(end_sec: i64, now: Duration) -> Duration {
    now.saturating_sub(begin_after(end_sec))
}

/// How long to sleep until the second after this one begins, by a clock that may be set meanwhile.
fn until_after(end_sec: i64, now: Duration) -> Duration {
    begin_after(end_sec).saturating_sub(now).min(EXPIRY_LOOK)
}

/// The begin of the second after this one, since the epoch.
fn begin_after(end_sec: i64) -> Duration {
    Duration::from_secs(u64::try_from(end_sec.saturating_add(1)).unwrap_or_default())
}

/// Looks at certificates and cuts the connections of those that are no longer good, letting others
/// run in between.
async fn look(local: &Rc<Local>, certificates: Vec<Shown>, since: Instant) {
    let cutting = Cutting::new(local, since);
    let mut looked = 0_usize;
    for shown in certificates {
        let mut until = i64::MAX;
        local.clients.index.borrow_mut().is_looked_at(&shown);
        for connection in local.clients.of(&shown) {
            until = until.min(connection.look_again(&cutting));
            drop(connection);
            looked += 1;
            if looked.is_multiple_of(CONNECTIONS_IN_A_ROW) {
                tokio::task::yield_now().await;
            }
        }
        let mut index = local.clients.index.borrow_mut();
        index.holds_until(&shown, until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_looked_at_late_has_less_grace() {
        let now = Instant::now();
        let ago = |part| now.checked_sub(CUT_GRACE * part / 4).unwrap();
        assert_eq!(due(now, now), now + CUT_GRACE);
        assert_eq!(due(ago(2), now), now + CUT_GRACE / 2);
        assert_eq!(due(ago(9), now), now + CUT_GRACE / 5);
    }

    const ONE: Shown = Some([1; 32]);
    const OTHER: Shown = Some([2; 32]);

    #[test]
    fn a_certificate_is_looked_at_when_its_last_second_is_over() {
        let mut index = Index::default();
        index.enter(ONE, 100, Weak::new());
        assert!(index.ended(100).is_empty(), "its last second counts");
        assert_eq!(index.ended(101), [ONE]);
        let at = |milliseconds| Duration::from_millis(milliseconds);
        assert_eq!(until_after(100, at(100_250)), at(750));
        assert_eq!(until_after(100, at(101_000)), at(0));
        assert_eq!(until_after(100, at(105_000)), at(0));
        assert_eq!(until_after(i64::MAX, at(105_000)), EXPIRY_LOOK);
        assert_eq!(since(100, at(100_999)), at(0));
        assert_eq!(since(100, at(101_400)), at(400));
    }

    /// The end of one certificate is waited for when another comes that ends sooner, or that has
    /// ended since its handshake began.
    #[test]
    fn who_ends_sooner_is_heard() {
        let mut index = Index::default();
        assert_eq!(index.enter(ONE, 100, Weak::new()), (0, true));
        assert_eq!(index.enter(OTHER, 100, Weak::new()), (0, false));
        assert_eq!(index.enter(OTHER, 90, Weak::new()), (1, true));
        assert_eq!(index.enter(OTHER, 95, Weak::new()), (2, false));
        assert_eq!(index.next_end(), Some(90));
        assert_eq!(
            index.ended(91),
            [OTHER],
            "by the soonest of its connections"
        );
    }

    /// A look lets others run in between: what they say must not be overwritten by what was found
    /// before, or their certificate would end with nobody looking.
    #[test]
    fn who_enters_while_its_certificate_is_looked_at_is_not_forgotten() {
        let mut index = Index::default();
        index.enter(ONE, 100, Weak::new());
        for (entered, found, expected) in [(150, 200, 150), (300, 200, 200), (150, i64::MAX, 150)] {
            index.is_looked_at(&ONE);
            assert!(index.ended(101).is_empty(), "it is under way");
            let (place, sooner) = index.enter(ONE, entered, Weak::new());
            assert!(sooner, "whoever waits has to know");
            index.holds_until(&ONE, found);
            assert_eq!(index.next_end(), Some(expected));
            index.leave(&ONE, place);
        }
        index.is_looked_at(&ONE);
        index.holds_until(&ONE, 400);
        assert_eq!(index.next_end(), Some(400), "nobody came");
        // Its last connection goes while it is looked at.
        index.is_looked_at(&ONE);
        index.leave(&ONE, 0);
        index.holds_until(&ONE, 400);
        assert!(index.next_end().is_none() && index.all().is_empty());
    }

    #[test]
    fn who_showed_none_comes_last_and_never_ends() {
        let mut index = Index::default();
        index.enter(None, i64::MAX, Weak::new());
        index.enter(ONE, 100, Weak::new());
        index.enter(None, i64::MAX, Weak::new());
        index.enter(OTHER, 200, Weak::new());
        assert_eq!(index.all().last(), Some(&None));
        assert_eq!(index.ended(1_000), [ONE, OTHER]);
        assert!(index.leave(&None, 0).is_some(), "the second took its place");
        assert!(index.leave(&None, 0).is_none());
        assert_eq!(index.all().len(), 2);
    }
}
