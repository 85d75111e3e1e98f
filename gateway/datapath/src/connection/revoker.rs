//! The end of connections whose client is no longer let in.
//!
//! Owns the task that looks at a worker's index. When trust moves (a revocation, a CA removed, a
//! revocation list changed), or what a host asks of its clients does, it looks at every certificate
//! again, and after them at the connections of clients that showed no good one. When a certificate
//! ends, its connections do. Does not verify (`standing`), and does not close: a connection that is
//! cut closes itself (`drive`), politely at first, by force [`CUT_GRACE`] later.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::index::ShownCertificate;
use super::record::record_certificate;
use super::{Connection, Local};
use crate::clock;
use crate::limits::{CONNECTIONS_IN_A_ROW, CUT_GRACE, EXPIRY_LOOK};
use crate::observe::{CertificateEvent, Stage};
use vocabulary::verdict::Reason;

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
        self.closing.cut(|| {
            cutting.connections.set(cutting.connections.get() + 1);
            Cut {
                cutting: cutting.clone(),
                reason,
                due: due(cutting.since, clock::now()),
            }
        });
    }

    /// Looks whether the client's certificate is still good, or whether it is let in without one,
    /// and cuts the connection if not. Answers until when that holds.
    fn look_again(&self, cutting: &Rc<Cutting>) -> i64 {
        let found = match self.place.shown() {
            Some(None) => self
                .standings
                .turned_away(&self.local)
                .map_or(Ok(i64::MAX), Err),
            _ => self.standings.lost(&self.local),
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
        let cutting = Cutting::new(&self.local, clock::now());
        self.look_again(&cutting);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.local.clients.leave(self);
        let Some(cut) = self.closing.take_cut() else {
            return;
        };
        let standing = self.standings.now();
        let mut stats = self.local.stats.borrow_mut();
        let slot = stats.host(standing.host.name());
        stats.record(slot, Stage::CertificateLost, cut.cutting.since.elapsed());
        stats.verified(slot, cut.reason);
        drop(stats);
        record_certificate(&self.local, &standing, CertificateEvent::Closed, cut.reason);
    }
}

/// Watches a worker's index for as long as the worker runs.
pub(crate) async fn watch(local: Rc<Local>) {
    let published = &local.shared.published;
    let mut publications = published.listen();
    let mut before = published.load().admission();
    loop {
        let next = local.clients.next_end();
        let wait = next.map_or(EXPIRY_LOOK, |end| {
            until_after(end, clock::time_since_epoch())
        });
        tokio::select! {
            since = publications.recv() => {
                let Some(since) = since else { return };
                // Several changes in a row are one look, as old as the first of them.
                while publications.try_recv().is_ok() {}
                let now = local.shared.published.load().admission();
                if std::mem::replace(&mut before, now) != now {
                    let all = local.clients.all();
                    look(&local, all, since).await;
                }
            }
            () = tokio::time::sleep(wait) => {
                let first = local.clients.next_end();
                let ended = local.clients.ended(clock::now_sec());
                if let (false, Some(first)) = (ended.is_empty(), first) {
                    // A clock that was set says nothing of how long ago that was.
                    let late = since(first, clock::time_since_epoch()).min(EXPIRY_LOOK);
                    let now = clock::now();
                    look(&local, ended, now.checked_sub(late).unwrap_or(now)).await;
                }
            }
            () = local.clients.sooner() => {}
        }
    }
}

/// When a connection has to be over that is cut `now` for something that happened at `since`: the
/// later the look, the less is left of the grace.
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
async fn look(local: &Rc<Local>, certificates: Vec<ShownCertificate>, since: Instant) {
    let cutting = Cutting::new(local, since);
    let mut looked = 0_usize;
    for shown in certificates {
        let mut until = i64::MAX;
        local.clients.is_looked_at(&shown);
        for connection in local.clients.of(&shown) {
            until = until.min(connection.look_again(&cutting));
            drop(connection);
            looked += 1;
            if looked.is_multiple_of(CONNECTIONS_IN_A_ROW) {
                tokio::task::yield_now().await;
            }
        }
        local.clients.holds_until(&shown, until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_is_looked_at_late_has_less_grace() {
        let now = Instant::now();
        let ago = |part| now.checked_sub(CUT_GRACE * part / 4).unwrap();
        assert_eq!(due(now, now), now + CUT_GRACE);
        assert_eq!(due(ago(2), now), now + CUT_GRACE / 2);
        assert_eq!(due(ago(9), now), now + CUT_GRACE / 5);
    }

    #[test]
    fn the_wait_is_until_the_second_after_the_last_good_one() {
        let at = |milliseconds| Duration::from_millis(milliseconds);
        assert_eq!(until_after(100, at(100_250)), at(750));
        assert_eq!(until_after(100, at(101_000)), at(0));
        assert_eq!(until_after(100, at(105_000)), at(0));
        assert_eq!(until_after(i64::MAX, at(105_000)), EXPIRY_LOOK);
        assert_eq!(since(100, at(100_999)), at(0));
        assert_eq!(since(100, at(101_400)), at(400));
    }
}
