//! The index of one worker: live connections by client certificate.
//!
//! Owns who is in it, by which certificate, and until when what was found of a certificate holds.
//! Does not look at connections again and cuts none (`revoker`).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::{Rc, Weak};

use tokio::sync::Notify;

use super::Connection;
use super::record::record_certificate;
use super::standing::Standing;
use crate::observe::CertificateEvent;
use vocabulary::settings::MtlsMode;

/// SHA-256 of a certificate.
pub(super) type Fingerprint = [u8; 32];

/// What connections are found by: the good certificate that their client showed. All others, whose
/// clients showed none or no good one, are found together.
pub(super) type ShownCertificate = Option<Fingerprint>;

/// The live connections of one worker.
#[derive(Default)]
pub struct Clients {
    index: RefCell<Index>,
    /// Something ends sooner than what is waited for.
    sooner: Notify,
}

/// Where a connection is in the index.
#[derive(Default)]
pub(super) struct IndexSlot(Cell<Option<(ShownCertificate, usize)>>);

impl IndexSlot {
    /// What the connection is found by, if it is in the index.
    pub(super) fn shown(&self) -> Option<ShownCertificate> {
        self.0.get().map(|(shown, _)| shown)
    }
}

#[derive(Default)]
struct Index {
    by_certificate: HashMap<ShownCertificate, CertificateConnections, foldhash::fast::RandomState>,
    /// When to look at which certificate again, seconds since the epoch.
    ends: BTreeSet<(i64, ShownCertificate)>,
}

struct CertificateConnections {
    /// The last second at which all of its connections' verifications hold.
    until_sec: i64,
    connections: Vec<Weak<Connection>>,
}

impl Index {
    /// Answers the place among the connections of this certificate, and whether it ends sooner than
    /// any other.
    fn enter(
        &mut self,
        shown: ShownCertificate,
        until_sec: i64,
        connection: Weak<Connection>,
    ) -> (usize, bool) {
        let first = self.next_end().unwrap_or(i64::MAX);
        let ends = &mut self.ends;
        let entry = self.by_certificate.entry(shown).or_insert_with(|| {
            ends.insert((until_sec, shown));
            CertificateConnections {
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
    fn leave(&mut self, shown: &ShownCertificate, place: usize) -> Option<Weak<Connection>> {
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
    fn all(&self) -> Vec<ShownCertificate> {
        let mut all: Vec<ShownCertificate> = self.by_certificate.keys().copied().collect();
        all.sort_unstable_by_key(Option::is_none);
        all
    }

    /// The certificates whose verification no longer holds.
    fn ended(&self, now_sec: i64) -> Vec<ShownCertificate> {
        let ended = self.ends.iter().take_while(|(end, _)| *end < now_sec);
        ended.map(|(_, shown)| *shown).collect()
    }

    fn next_end(&self) -> Option<i64> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// A certificate is about to be looked at. Who enters meanwhile says itself until when.
    fn is_looked_at(&mut self, shown: &ShownCertificate) {
        self.set_until(shown, |_| i64::MAX);
    }

    /// A certificate was looked at: its connections' verifications hold until then.
    fn holds_until(&mut self, shown: &ShownCertificate, until_sec: i64) {
        self.set_until(shown, |entered| until_sec.min(entered));
    }

    fn set_until(&mut self, shown: &ShownCertificate, change: impl FnOnce(i64) -> i64) {
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
    pub(super) fn enter(
        &self,
        connection: &Rc<Connection>,
        shown: ShownCertificate,
        until_sec: i64,
    ) {
        let weak = Rc::downgrade(connection);
        let (place, sooner) = self.index.borrow_mut().enter(shown, until_sec, weak);
        connection.place.0.set(Some((shown, place)));
        if sooner {
            self.sooner.notify_one();
        }
    }

    /// Takes a connection out of the index.
    pub(super) fn leave(&self, connection: &Connection) {
        let Some((shown, place)) = connection.place.0.take() else {
            return;
        };
        let moved = self.index.borrow_mut().leave(&shown, place);
        // It is alive, or it would have left itself.
        if let Some(moved) = moved.and_then(|moved| moved.upgrade()) {
            moved.place.0.set(Some((shown, place)));
        }
    }

    /// When to look at a certificate again that ends before all others.
    pub(super) fn next_end(&self) -> Option<i64> {
        self.index.borrow().next_end()
    }

    /// Waits until a certificate enters that ends before all others.
    pub(super) async fn sooner(&self) {
        self.sooner.notified().await;
    }

    /// See [`Index::all`].
    pub(super) fn all(&self) -> Vec<ShownCertificate> {
        self.index.borrow().all()
    }

    /// See [`Index::ended`].
    pub(super) fn ended(&self, now_sec: i64) -> Vec<ShownCertificate> {
        self.index.borrow().ended(now_sec)
    }

    /// See [`Index::is_looked_at`].
    pub(super) fn is_looked_at(&self, shown: &ShownCertificate) {
        self.index.borrow_mut().is_looked_at(shown);
    }

    /// See [`Index::holds_until`].
    pub(super) fn holds_until(&self, shown: &ShownCertificate, until_sec: i64) {
        self.index.borrow_mut().holds_until(shown, until_sec);
    }

    /// The connections that are found by a certificate.
    pub(super) fn of(&self, shown: &ShownCertificate) -> Vec<Rc<Connection>> {
        let index = self.index.borrow();
        let entry = index.by_certificate.get(shown);
        let connections = entry.into_iter().flat_map(|entry| &entry.connections);
        connections.filter_map(Weak::upgrade).collect()
    }
}

impl Connection {
    /// From now on the connection is closed when its certificate is no longer good, or when it
    /// would not be let in without one.
    pub(super) fn enter_index(self: &Rc<Self>) {
        let standing = self.standings.now();
        if self.enter_if_good(&standing) {
            return;
        }
        self.enter(&standing, None, i64::MAX);
        let verdict = standing.verification.verdict;
        if verdict.presented && !verdict.is_good() {
            let event = CertificateEvent::Presented;
            record_certificate(&self.local, &standing, event, verdict.reason);
        }
    }

    /// Enters the index by its certificate when that is good, which it may have become only after
    /// the handshake: it was restored, or a list that was missing has come. Answers whether it is
    /// there.
    pub(super) fn enter_if_good(self: &Rc<Self>, standing: &Standing) -> bool {
        if let Some(Some(_)) = self.place.shown() {
            return true;
        }
        let verification = &standing.verification;
        let leaf = verification
            .leaf()
            .filter(|_| verification.verdict.is_good());
        let Some(leaf) = leaf.filter(|_| standing.host.site().mtls != MtlsMode::Off) else {
            return false;
        };
        self.enter(standing, Some(*leaf), verification.look_again_sec());
        true
    }

    fn enter(self: &Rc<Self>, standing: &Standing, shown: ShownCertificate, until_sec: i64) {
        let clients = &self.local.clients;
        clients.leave(self);
        clients.enter(self, shown, until_sec);
        // Something may have changed between the handshake and now, when it was not in the index.
        if self.local.shared.published.swap().load().edition != standing.edition {
            self.look_at_once();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ShownCertificate = Some([1; 32]);
    const OTHER: ShownCertificate = Some([2; 32]);

    #[test]
    fn a_certificate_is_looked_at_when_its_last_second_is_over() {
        let mut index = Index::default();
        index.enter(ONE, 100, Weak::new());
        assert!(index.ended(100).is_empty(), "its last second counts");
        assert_eq!(index.ended(101), [ONE]);
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

    /// The revoker yields while it looks at a certificate. A connection that is entered meanwhile
    /// must not be overwritten by the older finding, or its certificate's end would go unnoticed.
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
