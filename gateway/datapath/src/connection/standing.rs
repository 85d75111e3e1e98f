//! Who the client of a live connection is, by the trust of now.
//!
//! Owns what was found of the client, when it is verified again, and whether the certificate that a
//! connection rests on is lost. Does not verify itself (`tls`), and closes nothing (`revoker`,
//! `drive`).

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::Local;
use crate::clock;
use rules::ConnectionFacts;
use snapshot::{Host, Snapshot};
use tls::{Chain, Verification, verify_again, with_verification};
use vocabulary::client_auth::ClientAuth;
use vocabulary::settings::MtlsMode;
use vocabulary::verdict::Reason;

/// Who the client is to a host, by the trust of one snapshot.
pub(super) struct Standing {
    pub(super) edition: u64,
    pub(super) trust_epoch: u64,
    pub(super) verification: Verification,
    pub(super) host: Arc<Host>,
    pub(super) facts: ConnectionFacts,
}

/// The host that SNI named, as a snapshot knows it.
fn own_host<'s>(snapshot: &'s Snapshot, standing: &Standing) -> Option<&'s Arc<Host>> {
    let sni = &*standing.facts.sni;
    snapshot.host_of((!sni.is_empty()).then_some(sni))
}

/// The host is gone, or asks for something that this connection did not go through.
/// Carries the verification that says so, when the host is still there.
pub(super) struct Outdated(pub(super) Option<Rc<Standing>>);

/// The client's standing with the hosts that its connection is used for.
pub(super) struct Standings {
    /// The client's chain, to be verified again when trust changes.
    chain: Chain,
    /// As the handshake found it.
    established: Rc<Standing>,
    /// As it is now.
    current: RefCell<Rc<Standing>>,
    /// Authorities of open requests (a tunnel is one) that are for other hosts than SNI named.
    elsewhere: RefCell<Vec<Arc<str>>>,
}

impl Standings {
    pub(super) fn new(chain: Chain, established: Standing) -> Self {
        let established = Rc::new(established);
        Self {
            chain,
            current: RefCell::new(established.clone()),
            established,
            elsewhere: RefCell::default(),
        }
    }

    /// As the handshake found it.
    pub(super) fn established(&self) -> &Rc<Standing> {
        &self.established
    }

    /// As it was when it was last looked at.
    pub(super) fn now(&self) -> Rc<Standing> {
        self.current.borrow().clone()
    }

    /// A request for another host than SNI named is open from now on.
    pub(super) fn opens_elsewhere(&self, authority: Arc<str>) {
        self.elsewhere.borrow_mut().push(authority);
    }

    /// Such a request is over.
    pub(super) fn closes_elsewhere(&self, authority: &str) {
        let mut open = self.elsewhere.borrow_mut();
        if let Some(place) = open.iter().position(|name| **name == *authority) {
            open.swap_remove(place);
        }
    }

    /// The verification by the current snapshot. When nothing changed, which is nearly always, this
    /// is one comparison.
    pub(super) fn current(
        &self,
        local: &Local,
        now_sec: i64,
    ) -> Result<(Rc<Standing>, arc_swap::Guard<Arc<Snapshot>>), Outdated> {
        let snapshot = local.shared.published.swap().load();
        let standing = self.now();
        let holds = now_sec <= standing.verification.look_again_sec();
        // A client that was found to be no good while its connection is being closed is not served
        // because nothing has changed since.
        let refused = standing.host.refuses(&standing.facts.client.verdict);
        if standing.edition == snapshot.edition && holds && !refused {
            return Ok((standing, snapshot));
        }
        let host = own_host(&snapshot, &standing)
            .ok_or(Outdated(None))?
            .clone();
        if host.lacks_hello(&standing.facts) {
            return Err(Outdated(None));
        }
        let standing = self.with_host(local, &host, &snapshot, now_sec);
        // A host that now requires what this client was never asked for, or no longer has, is
        // spoken to on a new connection only.
        if standing.host.refuses(&standing.facts.client.verdict) {
            return Err(Outdated(Some(standing)));
        }
        self.current.replace(standing.clone());
        Ok((standing, snapshot))
    }

    /// What a host of `snapshot` makes of this client. A chain that was verified by the same trust is
    /// taken at its word.
    fn with_host(
        &self,
        local: &Local,
        host: &Arc<Host>,
        snapshot: &Snapshot,
        now_sec: i64,
    ) -> Rc<Standing> {
        let standing = self.now();
        let holds = now_sec <= standing.verification.look_again_sec();
        let same_policy = host.site().policy == standing.host.site().policy;
        let mut facts = standing.facts.clone();
        let mut verification = standing.verification.clone();
        if !same_policy || !holds || standing.trust_epoch != snapshot.trust_epoch {
            verification = verify_again(&verification, &self.chain, host.trust(), now_sec);
            if let Some(question) = verification.question() {
                local.shared.questions.ask(question);
            }
            if host.site().mtls == MtlsMode::Off {
                facts.client = Arc::new(ClientAuth::none());
            } else if verification.verdict != facts.client.verdict
                || verification
                    .anchor()
                    .is_some_and(|id| **id != *facts.client.ca_id)
            {
                let known = facts.client.verdict.presented;
                facts.client = if known {
                    Arc::new(with_verification(&facts.client, &verification))
                } else {
                    verification.client(&self.chain)
                };
            }
        }
        Rc::new(Standing {
            edition: snapshot.edition,
            trust_epoch: snapshot.trust_epoch,
            verification,
            host: host.clone(),
            facts,
        })
    }

    /// What is wrong by now with a certificate that was good once; otherwise the last second at
    /// which nothing is.
    pub(super) fn lost(&self, local: &Local) -> Result<i64, Reason> {
        let now_sec = clock::now_sec();
        let snapshot = local.shared.published.load();
        let before = self.now();
        let standing = match self.current(local, now_sec) {
            Ok((standing, _)) => standing,
            Err(Outdated(Some(standing))) => standing,
            // Its next request is told to go elsewhere. What goes on without requests (streams,
            // tunnels) rests on the certificate all the same.
            Err(Outdated(None)) => match own_host(&snapshot, &before) {
                Some(host) => self.with_host(local, host, &snapshot, now_sec),
                // Whom a host that is gone would believe is not known.
                None => return Err(self.loses(&Verification::refused(Reason::UnknownCa))),
            },
        };
        // A host that no longer asks says nothing of the certificate; those elsewhere may.
        let asks = standing.host.site().mtls != MtlsMode::Off;
        let verdict = standing.facts.client.verdict;
        if asks && !verdict.is_good() {
            self.current.replace(standing);
            return Err(verdict.reason);
        }
        let elsewhere = self.good_elsewhere(&standing, &snapshot, now_sec);
        let elsewhere = elsewhere.map_err(|found| self.loses(&found))?;
        let own = if asks {
            standing.verification.look_again_sec()
        } else {
            i64::MAX
        };
        Ok(own.min(elsewhere))
    }

    /// Why a client that rests on no certificate is no longer let in, if it is not: its host, or
    /// one that a request is open for, has come to ask for more than it has shown, or is gone.
    pub(super) fn turned_away(&self, local: &Local) -> Option<Reason> {
        let now_sec = clock::now_sec();
        let snapshot = local.shared.published.load();
        let before = self.now();
        let elsewhere = self.elsewhere.borrow();
        let others = elsewhere.iter().map(|name| snapshot.host(name));
        for host in std::iter::once(own_host(&snapshot, &before)).chain(others) {
            let Some(host) = host else {
                return Some(before.facts.client.verdict.reason);
            };
            // Most hosts refuse no client, or are as they were. A chain without a path stays one
            // while the CA set is the same; clients without a good certificate can make many of them.
            let same = host.site().policy == before.host.site().policy;
            if host.lets_everybody_in() || same && before.verification.leaf().is_none() {
                continue;
            }
            let found = self.with_host(local, host, &snapshot, now_sec);
            let verdict = found.facts.client.verdict;
            if host.refuses(&verdict) {
                self.current.replace(found);
                return Some(verdict.reason);
            }
        }
        None
    }

    /// Until when the certificate is good for the requests that are open for other hosts, which
    /// had the policy of the connection's own when they began; or what is wrong with it there.
    fn good_elsewhere(
        &self,
        standing: &Standing,
        snapshot: &Snapshot,
        now_sec: i64,
    ) -> Result<i64, Verification> {
        let mut until = i64::MAX;
        for name in &*self.elsewhere.borrow() {
            let Some(host) = snapshot.host(name) else {
                return Err(Verification::refused(Reason::UnknownCa));
            };
            if host.site().policy == standing.host.site().policy
                || host.site().mtls == MtlsMode::Off
            {
                continue;
            }
            let found = verify_again(&standing.verification, &self.chain, host.trust(), now_sec);
            if !found.verdict.is_good() {
                return Err(found);
            }
            until = until.min(found.look_again_sec());
        }
        Ok(until)
    }

    /// Makes a verification that ends the connection its own, for the record.
    fn loses(&self, verification: &Verification) -> Reason {
        let mut standing = self.current.borrow_mut();
        let mut facts = standing.facts.clone();
        facts.client = Arc::new(with_verification(&facts.client, verification));
        *standing = Rc::new(Standing {
            edition: standing.edition,
            trust_epoch: standing.trust_epoch,
            verification: verification.clone(),
            host: standing.host.clone(),
            facts,
        });
        verification.verdict.reason
    }
}
