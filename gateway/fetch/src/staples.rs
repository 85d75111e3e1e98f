//! The stapler: OCSP answers about the gateway's own server certificates (RFC 6066 §8).
//!
//! Owns which certificates are asked about, when, and the outcome of the last attempt: an answer is
//! renewed at half of its life, and taken away when it ends or its certificate turns out to be
//! revoked. What may be stapled is [`tls::Stapling::staple`]'s; [`Control::set_staples`] brings it to
//! handshakes.
//!
//! The certificate names the responder, not an administrator, and a tenant may have uploaded it. So
//! none is asked at an address that a tenant's origin could not be at ([`Reach`](snapshot::http::reach::Reach)).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::chance;
use super::http::{AskError, Confined};
use super::ocsp::exchange;
use crate::limits::{
    STAPLE_LOOK, STAPLE_RENEW_MIN, STAPLE_RETRY_MAX, STAPLE_RETRY_MIN, STAPLES_AT_ONCE,
};
use control::{Control, Id, Model, ServerCertificate, SourceUrl, SourceUrlError, Staples, Uuid};
use tls::{OcspError, Staple, Stapling, StaplingError};
use vocabulary::clock::now_sec;
use vocabulary::settings::StapleMode;
use vocabulary::side::Side;

/// What is known of stapling to one certificate, for people and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StapleStatus {
    /// The certificate.
    pub certificate: Uuid,
    /// Clients may refuse it without an answer.
    pub is_must: bool,
    /// The responder that it names.
    pub responder: Option<String>,
    /// Whether an answer is to be stapled, by `ocsp.staple`.
    pub is_wanted: bool,
    /// When the answer that is stapled ends, seconds since the epoch.
    pub until_sec: Option<i64>,
    /// Why the last attempt brought no answer.
    pub error: Option<String>,
}

impl StapleStatus {
    /// An answer should be stapled, and none is: because none was had, or, to a certificate that
    /// clients refuse then, because the configuration says so.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        (self.is_wanted || self.is_must) && self.until_sec.is_none()
    }
}

/// What is known of one certificate.
struct Known {
    version: u64,
    /// Its end, seconds since the epoch.
    not_after_sec: i64,
    stapling: Result<Arc<Stapling>, StaplingError>,
    is_wanted: bool,
    staple: Option<Arc<Staple>>,
    error: Option<String>,
    failures: u32,
    /// `None`: at once.
    due: Option<Instant>,
    under_way: bool,
}

impl Known {
    fn new(certificate: &ServerCertificate) -> Self {
        Self {
            version: certificate.version,
            not_after_sec: certificate.not_after,
            stapling: Stapling::read(certificate.chain.as_bytes()).map(Arc::new),
            is_wanted: false,
            staple: None,
            error: None,
            failures: 0,
            due: None,
            under_way: false,
        }
    }

    fn is_must(&self) -> bool {
        self.stapling.as_ref().is_ok_and(|found| found.is_must)
    }

    fn responder(&self) -> Option<&str> {
        self.stapling.as_ref().ok()?.url.as_deref()
    }

    /// Whether an answer is to be stapled.
    fn wants(&self, mode: StapleMode, now_sec: i64) -> bool {
        let by_mode = match mode {
            StapleMode::Off => false,
            StapleMode::MustStaple => self.is_must(),
            StapleMode::On => self.is_must() || self.responder().is_some(),
        };
        by_mode && self.not_after_sec >= now_sec
    }
}

/// The stapler.
pub struct Stapler {
    control: Arc<Control>,
    mode: Box<dyn Fn() -> StapleMode + Send + Sync>,
    known: Mutex<BTreeMap<Uuid, Known>>,
    at_once: Semaphore,
}

/// One certificate that is to be asked about now, and its zone.
type Due = ((Uuid, Id), u64, Result<Arc<Stapling>, StaplingError>);

impl Stapler {
    /// One that has asked nothing yet. `mode` is asked again each time.
    #[must_use]
    pub fn new(
        control: Arc<Control>,
        mode: impl Fn() -> StapleMode + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            control,
            mode: Box::new(mode),
            known: Mutex::default(),
            at_once: Semaphore::new(STAPLES_AT_ONCE),
        })
    }

    /// Asks what is due, and staples what was answered, for as long as it is polled. Has to run on a
    /// runtime of tokio.
    pub async fn run(self: Arc<Self>) {
        let mut look = tokio::time::interval(STAPLE_LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut stapled = Staples::default();
        loop {
            look.tick().await;
            for due in self.due(&self.control.model(), now_sec()) {
                let stapler = self.clone();
                tokio::spawn(async move { stapler.attempt(due).await });
            }
            let staples = self.staples();
            if staples == stapled {
                continue;
            }
            let (control, new) = (self.control.clone(), staples.clone());
            match tokio::task::spawn_blocking(move || control.set_staples(new)).await {
                Ok(Ok(())) => stapled = staples,
                Ok(Err(error)) => tracing::error!(%error, "what is stapled stays as it was"),
                Err(error) => tracing::error!(%error, "what is stapled stays as it was"),
            }
        }
    }

    /// Every server certificate that is stapled to, should be, or could be.
    #[must_use]
    pub fn status(&self) -> Vec<StapleStatus> {
        let known = self.lock();
        let of = |(id, known): (&Uuid, &Known)| StapleStatus {
            certificate: *id,
            is_must: known.is_must(),
            responder: known.responder().map(str::to_owned),
            is_wanted: known.is_wanted,
            until_sec: known.staple.as_ref().map(|staple| staple.until_sec),
            error: known.error.clone(),
        };
        known.iter().map(of).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uuid, Known>> {
        // Nothing is half changed when its holder panics: each change is an assignment.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to ask about now; it is under way from then on. Forgets certificates that are gone,
    /// answers of the versions before, and answers that have ended.
    fn due(&self, model: &Model, now_sec: i64) -> Vec<Due> {
        let mode = (self.mode)();
        let mut known = self.lock();
        known.retain(|id, _| model.server_certificates.contains_key(id));
        let now = Instant::now();
        let mut due = Vec::new();
        for certificate in model.server_certificates.values() {
            let entry = known
                .entry(certificate.id)
                .or_insert_with(|| Known::new(certificate));
            if entry.version != certificate.version {
                *entry = Known::new(certificate);
            }
            let wanted = entry.wants(mode, now_sec);
            if wanted != entry.is_wanted {
                entry.is_wanted = wanted;
                (entry.due, entry.error) = (None, None);
                entry.failures = 0;
                warn_of_off(certificate.id, entry, mode);
            }
            let holds = |staple: &Arc<Staple>| wanted && now_sec <= staple.until_sec;
            entry.staple = entry.staple.take().filter(holds);
            if wanted && !entry.under_way && entry.due.is_none_or(|due| due <= now) {
                entry.under_way = true;
                let of = (certificate.id, certificate.zone);
                due.push((of, entry.version, entry.stapling.clone()));
            }
        }
        due
    }

    /// What is to be stapled now.
    fn staples(&self) -> Staples {
        let known = self.lock();
        let good = known.iter().filter_map(|(id, known)| {
            let staple = known.staple.clone()?;
            Some((*id, (known.version, staple)))
        });
        Staples(good.collect::<HashMap<_, _>>())
    }

    /// Asks about one certificate and takes in what comes of it.
    async fn attempt(&self, ((id, zone), version, stapling): Due) {
        let outcome = match stapling {
            Err(error) => Err(StapleError::Certificate(error)),
            Ok(stapling) => match self.at_once.acquire().await {
                Ok(_one_of_some) => {
                    let (reach, zone) = (self.control.reach(), zone.to_string().into());
                    ask(&stapling, Confined { reach, zone }).await
                }
                // Never closed.
                Err(_closed) => return,
            },
        };
        let now_sec = now_sec();
        let mut known = self.lock();
        // Another version is asked about by itself.
        let Some(entry) = known.get_mut(&id).filter(|one| one.version == version) else {
            return;
        };
        entry.under_way = false;
        if !entry.is_wanted {
            return;
        }
        let wait = match outcome {
            Ok(staple) => {
                // An answer from a cache on the way may be older than the one there is.
                let is_older = entry
                    .staple
                    .as_ref()
                    .is_some_and(|held| staple.this_update_sec < held.this_update_sec);
                let wait = renewal(&staple, now_sec, chance());
                if !is_older {
                    tracing::debug!(%id, until = staple.until_sec, "an OCSP answer is stapled");
                    entry.staple = Some(Arc::new(staple));
                }
                (entry.failures, entry.error) = (0, None);
                wait
            }
            Err(error) => {
                if error.is_revoked() {
                    entry.staple = None;
                }
                entry.failures = entry.failures.saturating_add(1);
                tell(id, entry, &error);
                entry.error = Some(error.to_string());
                retry(entry.failures, chance())
            }
        };
        entry.due = Some(Instant::now() + wait);
    }
}

/// Says that an administrator has switched off what a certificate needs.
fn warn_of_off(id: Uuid, entry: &Known, mode: StapleMode) {
    if mode == StapleMode::Off && entry.is_must() {
        tracing::error!(%id, "a must-staple certificate has no OCSP answer, because ocsp.staple is off: clients may refuse it");
    }
}

/// Says why there is no new answer.
fn tell(id: Uuid, entry: &Known, error: &StapleError) {
    let url = entry.responder().unwrap_or_default();
    let (side, why) = (error.side().as_str(), error.to_string());
    if entry.staple.is_some() {
        tracing::warn!(%id, url, side, why, "an OCSP answer was not renewed; the one before stays stapled until it ends");
    } else if entry.is_must() {
        tracing::error!(%id, url, side, why, "a must-staple certificate has no OCSP answer: clients may refuse it");
    } else {
        tracing::warn!(%id, url, side, why, "there is no OCSP answer to staple to a server certificate");
    }
}

/// Why there is nothing new to staple.
#[derive(Debug, thiserror::Error)]
enum StapleError {
    /// The certificate cannot be asked about, or the answer cannot be stapled.
    #[error(transparent)]
    Certificate(#[from] StaplingError),
    /// The URL in the certificate.
    #[error("its responder: {0}")]
    Url(#[from] SourceUrlError),
    /// No answer came.
    #[error(transparent)]
    Ask(#[from] AskError),
}

impl StapleError {
    fn is_revoked(&self) -> bool {
        matches!(
            self,
            Self::Certificate(StaplingError::NotGood(said)) if *said == StaplingError::REVOKED
        )
    }

    /// Whose side it is on.
    fn side(&self) -> Side {
        match self {
            Self::Ask(error) => error.side(),
            Self::Certificate(StaplingError::Answer(OcspError::Failed(_))) => Side::Us,
            Self::Certificate(
                StaplingError::Answer(_) | StaplingError::NotGood(_) | StaplingError::TooLarge(_),
            ) => Side::Source,
            Self::Certificate(_) | Self::Url(_) => Side::Operator,
        }
    }
}

/// One attempt. Without a nonce: what is stapled to all clients may come out of a cache.
async fn ask(stapling: &Stapling, confined: Confined) -> Result<Staple, StapleError> {
    let certificate = stapling.certificate.as_ref().map_err(Clone::clone)?;
    let url = stapling.url.as_ref().ok_or(StaplingError::NoResponder)?;
    let url = SourceUrl::parse(url)?;
    let question = certificate.der(None).map_err(StaplingError::Answer)?;
    let der = exchange(&url, question, Some(confined)).await?;
    Ok(stapling.staple(&der, now_sec())?)
}

fn seconds(count: i64) -> Duration {
    Duration::from_secs(u64::try_from(count).unwrap_or_default())
}

/// How long until an answer is renewed: at half of its life, or half way to its end when it came later
/// than that. A tenth sooner at most, by `chance` (0 to 1): gateways that began together do not ask
/// together.
fn renewal(staple: &Staple, now_sec: i64, chance: f64) -> Duration {
    let life = staple.until_sec.saturating_sub(staple.this_update_sec);
    let half = staple.this_update_sec.saturating_add(life / 2);
    let wait = if now_sec < half {
        seconds(half - now_sec)
    } else {
        seconds(staple.until_sec.saturating_sub(now_sec) / 2)
    };
    wait.mul_f64(1.0 - 0.1 * chance).max(STAPLE_RENEW_MIN)
}

/// How long until the next attempt, after `failures` in a row.
fn retry(failures: u32, chance: f64) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    let wait = STAPLE_RETRY_MIN.saturating_mul(doubled);
    wait.min(STAPLE_RETRY_MAX).mul_f64(1.0 - 0.2 * chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_renewed_at_half_of_its_life() {
        const HOUR: i64 = 3600;
        for (this_update, until, now, wait) in [
            (0, 10 * HOUR, 0, 5 * HOUR),
            (0, 10 * HOUR, HOUR, 4 * HOUR),
            // It came out of a cache, after half of its life.
            (0, 10 * HOUR, 6 * HOUR, 2 * HOUR),
            (0, 10 * HOUR, 10 * HOUR, 1),
            (0, 2, 1, 1),
            // Never without a pause.
            (0, 1, 0, 1),
            (5, 5, 5, 1),
            (5, 0, 9, 1),
        ] {
            let staple = Staple {
                der: [0].into(),
                this_update_sec: this_update,
                until_sec: until,
            };
            let found = renewal(&staple, now, 0.0);
            assert_eq!(found, seconds(wait), "{this_update} {until} {now}");
            assert!(renewal(&staple, now, 0.99) <= found);
        }
    }

    #[test]
    fn failures_wait_longer_and_longer() {
        for (failures, wait_sec) in [(1, 5), (2, 10), (3, 20), (60, 900), (u32::MAX, 900)] {
            assert_eq!(retry(failures, 0.0), Duration::from_secs(wait_sec));
        }
    }
}
