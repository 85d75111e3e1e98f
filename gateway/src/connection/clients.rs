//! Live connections by client certificate, and the end of those whose certificate is no longer
//! good.
//!
//! Owns the index of one worker, and the task that looks at it: when trust moves (a revocation, a
//! CA removed, a revocation list changed) every certificate is looked at again, and when one ends
//! its connections are. Does not judge, and does not close: a connection that is cut closes itself
//! (`http`), politely at first, by force [`CUT_GRACE`] later.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{Connection, now_sec};
use crate::limits::{CONNECTIONS_IN_A_ROW, CUT_GRACE, EXPIRY_LOOK};
use crate::observe::{CertificateEvent, Stage};
use crate::tls::Reason;
use crate::worker::Worker;

/// SHA-256 of a certificate.
pub(super) type Fingerprint = [u8; 32];

/// The live connections of one worker whose client showed a good certificate.
#[derive(Default)]
pub struct Clients {
    index: RefCell<Index>,
    /// Something ends sooner than what is waited for.
    sooner: Notify,
}

#[derive(Default)]
struct Index {
    by_certificate: HashMap<Fingerprint, Entry, foldhash::fast::RandomState>,
    /// When to look at which certificate again, seconds since the epoch.
    ends: BTreeSet<(i64, Fingerprint)>,
}

struct Entry {
    /// The last second at which all of its connections' judgements hold.
    until_sec: i64,
    connections: Vec<Weak<Connection>>,
}

impl Clients {
    /// Takes a connection into the index. It leaves when it is dropped.
    pub(super) fn enter(&self, connection: &Rc<Connection>, certificate: Fingerprint, until: i64) {
        let mut index = self.index.borrow_mut();
        let Index {
            by_certificate,
            ends,
        } = &mut *index;
        let first = ends.first().map_or(i64::MAX, |(end, _)| *end);
        let entry = by_certificate.entry(certificate).or_insert_with(|| {
            ends.insert((until, certificate));
            Entry {
                until_sec: until,
                connections: Vec::with_capacity(1),
            }
        });
        connection
            .entered
            .set(Some((certificate, entry.connections.len())));
        entry.connections.push(Rc::downgrade(connection));
        if until < entry.until_sec {
            ends.remove(&(entry.until_sec, certificate));
            ends.insert((until, certificate));
            entry.until_sec = until;
        }
        drop(index);
        if until < first {
            self.sooner.notify_one();
        }
    }

    /// Takes a connection out of the index.
    pub(super) fn leave(&self, connection: &Connection) {
        let Some((certificate, place)) = connection.entered.take() else {
            return;
        };
        let mut index = self.index.borrow_mut();
        let Some(entry) = index.by_certificate.get_mut(&certificate) else {
            return;
        };
        if place < entry.connections.len() {
            entry.connections.swap_remove(place);
        }
        // The last one has taken the empty place. It is alive, or it would have left itself.
        if let Some(moved) = entry.connections.get(place).and_then(Weak::upgrade) {
            moved.entered.set(Some((certificate, place)));
        }
        if entry.connections.is_empty() {
            let end = (entry.until_sec, certificate);
            index.by_certificate.remove(&certificate);
            index.ends.remove(&end);
        }
    }

    /// How many certificates have a live connection.
    #[must_use]
    pub fn count(&self) -> usize {
        self.index.borrow().by_certificate.len()
    }

    fn all(&self) -> Vec<Fingerprint> {
        self.index.borrow().by_certificate.keys().copied().collect()
    }

    /// The certificates whose judgement no longer holds.
    fn ended(&self, now_sec: i64) -> Vec<Fingerprint> {
        let index = self.index.borrow();
        let ended = index.ends.iter().take_while(|(end, _)| *end < now_sec);
        ended.map(|(_, certificate)| *certificate).collect()
    }

    fn next_end(&self) -> Option<i64> {
        self.index.borrow().ends.first().map(|(end, _)| *end)
    }

    fn of(&self, certificate: &Fingerprint) -> Vec<Rc<Connection>> {
        let index = self.index.borrow();
        let entry = index.by_certificate.get(certificate);
        let connections = entry.into_iter().flat_map(|entry| &entry.connections);
        connections.filter_map(Weak::upgrade).collect()
    }

    /// A certificate is about to be looked at. Who enters meanwhile says itself until when.
    fn is_looked_at(&self, certificate: &Fingerprint) {
        self.set_until(certificate, |_| i64::MAX);
    }

    /// A certificate was looked at: its connections' judgements hold until then.
    fn holds_until(&self, certificate: &Fingerprint, until: i64) {
        self.set_until(certificate, |entered| until.min(entered));
    }

    fn set_until(&self, certificate: &Fingerprint, change: impl FnOnce(i64) -> i64) {
        let mut index = self.index.borrow_mut();
        let Index {
            by_certificate,
            ends,
        } = &mut *index;
        if let Some(entry) = by_certificate.get_mut(certificate) {
            let until = change(entry.until_sec);
            ends.remove(&(entry.until_sec, *certificate));
            ends.insert((until, *certificate));
            entry.until_sec = until;
        }
    }
}

/// Why, and since when, connections are being cut. The last one to be closed says how long it took.
pub(super) struct Cutting {
    since: Instant,
    worker: usize,
    connections: Cell<usize>,
}

impl Cutting {
    fn new(worker: &Worker, since: Instant) -> Rc<Self> {
        Rc::new(Self {
            since,
            worker: worker.stats.borrow().worker,
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

    /// Looks whether the client's certificate is still good, and cuts the connection if not.
    fn look_again(&self, cutting: &Rc<Cutting>) -> i64 {
        match self.lost() {
            Ok(until) => until,
            Err(reason) => {
                self.cut(reason, cutting);
                i64::MAX
            }
        }
    }

    /// Looks at once, for a connection that entered the index while trust moved.
    pub(super) fn look_at_once(&self) {
        let cutting = Cutting::new(&self.worker, Instant::now());
        self.look_again(&cutting);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.worker.clients.leave(self);
        let Some(cut) = self.cut.take() else { return };
        let judged = self.judged.get_mut();
        let mut stats = self.worker.stats.borrow_mut();
        let slot = stats.host(&judged.host.name);
        stats.record(slot, Stage::CertificateLost, cut.cutting.since.elapsed());
        stats.judged(slot, cut.reason);
        drop(stats);
        super::record_certificate(&self.worker, judged, CertificateEvent::Closed, cut.reason);
    }
}

/// Watches a worker's index for as long as the worker runs.
pub(crate) async fn watch(worker: Rc<Worker>) {
    let published = &worker.shared.published;
    let mut publications = published.listen();
    let mut epoch = published.load().trust_epoch;
    loop {
        let wait = worker.clients.next_end().map_or(EXPIRY_LOOK, until_after);
        tokio::select! {
            since = publications.recv() => {
                let Some(since) = since else { return };
                // Several changes in a row are one look, as old as the first of them.
                while publications.try_recv().is_ok() {}
                let now = worker.shared.published.load().trust_epoch;
                if std::mem::replace(&mut epoch, now) != now {
                    look(&worker, worker.clients.all(), since).await;
                }
            }
            () = tokio::time::sleep(wait) => {
                let first = worker.clients.next_end();
                let ended = worker.clients.ended(now_sec());
                if let (false, Some(first)) = (ended.is_empty(), first) {
                    // A clock that was set says nothing of how long ago that was.
                    let late = since(first).min(EXPIRY_LOOK);
                    let now = Instant::now();
                    look(&worker, ended, now.checked_sub(late).unwrap_or(now)).await;
                }
            }
            () = worker.clients.sooner.notified() => {}
        }
    }
}

/// When a connection has to be over that is cut `now` for something that happened at `since`: the
/// later somebody comes to look, the less is left of the grace.
fn due(since: Instant, now: Instant) -> Instant {
    (since + CUT_GRACE).max(now + CUT_GRACE / 5)
}

/// How long ago the second after this one began, by a clock that may be set meanwhile.
fn since(end_sec: i64) -> Duration {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let end = Duration::from_secs(u64::try_from(end_sec.saturating_add(1)).unwrap_or_default());
    now.saturating_sub(end)
}

/// How long to sleep until the second after this one begins, by a clock that may be set meanwhile.
fn until_after(end_sec: i64) -> Duration {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let end = Duration::from_secs(u64::try_from(end_sec.saturating_add(1)).unwrap_or_default());
    end.saturating_sub(now).min(EXPIRY_LOOK)
}

/// Looks at certificates and cuts the connections of those that are no longer good, letting others
/// run in between.
async fn look(worker: &Rc<Worker>, certificates: Vec<Fingerprint>, since: Instant) {
    let cutting = Cutting::new(worker, since);
    let mut looked = 0_usize;
    for certificate in certificates {
        let mut until = i64::MAX;
        worker.clients.is_looked_at(&certificate);
        for connection in worker.clients.of(&certificate) {
            until = until.min(connection.look_again(&cutting));
            drop(connection);
            looked += 1;
            if looked.is_multiple_of(CONNECTIONS_IN_A_ROW) {
                tokio::task::yield_now().await;
            }
        }
        worker.clients.holds_until(&certificate, until);
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
}
