//! What ACME servers are shown while orders are under way.
//!
//! Owns the list, and that the data path has it before a server is told to look. What is on it is
//! taken off when its order ends, however it ends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use boring::error::ErrorStack;
use boring::sha::sha256;

use crate::limits::{ACME_FLEET_WAIT, ACME_TOKEN_BYTES_MAX};
use control::{AcmeProof, Control, Model, Moment};
use snapshot::challenges::Challenges;
use tls::Challenge;
use vocabulary::clock::now_sec;
use vocabulary::hostname::HostName;
use vocabulary::settings::AcmeChallenge;

/// Why a challenge cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShowError {
    /// RFC 8555 §8.1: base64url.
    #[error("the ACME server's token is none: it has other characters than base64url, or too many")]
    Token,
    /// BoringSSL, or the control plane.
    #[error("the challenge cannot be shown: {0}")]
    Failed(String),
}

/// One challenge.
#[derive(Clone)]
enum Shown {
    Token(Box<str>, Arc<str>),
    Certificate(Arc<Challenge>),
}

/// What the edge that leads has its orders checked with.
#[derive(Default)]
struct Mirrored {
    proofs: BTreeMap<HostName, AcmeProof>,
    shown: BTreeMap<HostName, Shown>,
}

/// All challenges of now.
pub(super) struct Board {
    control: Arc<Control>,
    shown: Mutex<BTreeMap<HostName, Shown>>,
    /// Beside them: those of a fleet.
    mirrored: Mutex<Mirrored>,
    /// Whether the data path does not know of the last ones, which has been told.
    untold: AtomicBool,
    /// Held while the data path is told, so that it is told in order.
    telling: tokio::sync::Mutex<()>,
}

impl Board {
    pub(super) fn new(control: Arc<Control>) -> Self {
        Self {
            control,
            shown: Mutex::default(),
            mirrored: Mutex::default(),
            untold: AtomicBool::new(false),
            telling: tokio::sync::Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<HostName, Shown>> {
        // Nothing is half changed when its holder panics: each change is one call.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the proof for `name`, whose order was begun then; the data path has it when this returns.
    pub(super) async fn show(
        &self,
        name: &HostName,
        begun_on: Moment,
        proof: &AcmeProof,
    ) -> Result<(), ShowError> {
        self.show_here(name, proof).await?;
        if self.control.membership().is_none() {
            return Ok(());
        }
        // The server may ask any edge.
        let (control, name, proof) = (self.control.clone(), name.clone(), proof.clone());
        let told =
            tokio::task::spawn_blocking(move || control.show_acme_proof(&name, begun_on, &proof));
        let told = told.await.map_err(|error| error.to_string());
        told.and_then(|told| told.map_err(|error| error.to_string()))
            .map_err(ShowError::Failed)?;
        tokio::time::sleep(ACME_FLEET_WAIT).await;
        Ok(())
    }

    /// As [`Self::show`], on this edge.
    pub(super) async fn show_here(
        &self,
        name: &HostName,
        proof: &AcmeProof,
    ) -> Result<(), ShowError> {
        let shown = shown(name, proof)?;
        self.lock().insert(name.clone(), shown);
        self.tell().await
    }

    /// Shows what another edge of the fleet has its orders checked with, and nothing any more of what it had.
    /// With `leads` there is no other, but for what it has left to this one.
    pub(super) async fn mirror(&self, leads: bool) {
        let model = self.control.model();
        let orders = model.acme_orders.values();
        let orders = orders.filter(|order| !leads || order.left.is_some());
        let proofs: BTreeMap<HostName, AcmeProof> = orders
            .filter_map(|order| {
                let left = order.left.as_ref().and_then(|left| left.proof.as_ref());
                let proof = order.shown.as_ref().or(left)?;
                Some((order.host.clone(), proof.clone()))
            })
            .collect();
        {
            let mut mirrored = self.mirrored();
            if mirrored.proofs == proofs && !self.untold.load(Ordering::Relaxed) {
                return;
            }
            if mirrored.proofs != proofs {
                let made = proofs
                    .iter()
                    .filter_map(|(name, proof)| match shown(name, proof) {
                        Ok(shown) => Some((name.clone(), shown)),
                        Err(error) => {
                            tracing::warn!(%error, %name, "an edge's ACME challenge is not shown");
                            None
                        }
                    });
                mirrored.shown = made.collect();
                mirrored.proofs = proofs;
            }
        }
        let told = self.tell().await;
        let was_untold = self.untold.swap(told.is_err(), Ordering::Relaxed);
        if let (Err(error), false) = (told, was_untold) {
            tracing::warn!(%error, "an edge's ACME challenges are not shown");
        }
    }

    fn mirrored(&self) -> MutexGuard<'_, Mirrored> {
        self.mirrored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something is shown for `name` that is not of another edge.
    pub(super) fn shows(&self, name: &HostName) -> bool {
        self.lock().contains_key(name)
    }

    /// Hosts for which something is shown though they want no certificate any more, or are gone.
    pub(super) fn unwanted(&self, model: &Model) -> Vec<HostName> {
        let wants = |name: &HostName| model.hosts.get(name).is_some_and(|host| host.acme);
        let shown = self.lock();
        shown.keys().filter(|name| !wants(name)).cloned().collect()
    }

    /// Shows nothing of its own any more.
    pub(super) async fn take_all_down(&self) {
        let all: Vec<HostName> = self.lock().keys().cloned().collect();
        for name in &all {
            self.take_down(name).await;
        }
    }

    /// Shows nothing for `name` any more.
    pub(super) async fn take_down(&self, name: &HostName) {
        if self.lock().remove(name).is_none() {
            return;
        }
        if let Err(error) = self.tell().await {
            tracing::error!(%error, %name, "an ACME challenge is shown for longer than it has to be");
        }
    }

    async fn tell(&self) -> Result<(), ShowError> {
        let _in_order = self.telling.lock().await;
        // Its own come after those of others, in whose place they are.
        let mut all = self.mirrored().shown.clone();
        all.extend(self.lock().clone());
        let mut challenges = Challenges::default();
        for (name, shown) in &all {
            challenges = match shown {
                Shown::Token(token, proof) => {
                    challenges.with_token(name.clone(), token, proof.clone())
                }
                Shown::Certificate(one) => challenges.with_certificate(name, one.clone()),
            };
        }
        let control = self.control.clone();
        let told = tokio::task::spawn_blocking(move || control.set_challenges(challenges));
        match told.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(ShowError::Failed(error.to_string())),
            Err(error) => Err(ShowError::Failed(error.to_string())),
        }
    }
}

/// What a proof is shown as.
fn shown(name: &HostName, proof: &AcmeProof) -> Result<Shown, ShowError> {
    if !is_token(&proof.token) {
        return Err(ShowError::Token);
    }
    let of_key = proof.key_authorization.as_str();
    match proof.challenge {
        AcmeChallenge::Http01 => Ok(Shown::Token(proof.token.as_str().into(), of_key.into())),
        AcmeChallenge::TlsAlpn01 => {
            let made = Challenge::build(name, &sha256(of_key.as_bytes()), now_sec());
            let failed = |why: ErrorStack| ShowError::Failed(why.to_string());
            Ok(Shown::Certificate(Arc::new(made.map_err(failed)?)))
        }
    }
}

fn is_token(token: &str) -> bool {
    let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=ACME_TOKEN_BYTES_MAX).contains(&token.len()) && token.bytes().all(is_base64url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_base64url_of_bounded_length() {
        let long = "a".repeat(ACME_TOKEN_BYTES_MAX);
        for good in ["LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0", "-_", &long] {
            assert!(is_token(good), "{good}");
        }
        let longer = format!("{long}a");
        for bad in ["", "a/b", "../etc", "a b", "a\r\nb", "a=", "ä", &longer] {
            assert!(!is_token(bad), "{bad}");
        }
    }
}
