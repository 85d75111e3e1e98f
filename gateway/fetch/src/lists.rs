//! The CRL fetcher: revocation lists from the URLs that a CA's administrator has named.
//!
//! Owns the schedule (before a list's next update, with jitter; after a failure at growing
//! intervals), the validators that spare the transfer of an unchanged list (RFC 9110 §13.1), and the
//! outcome of the last attempt. A fetched list is taken in by [`Control::put_crls`], which refuses
//! untrusted lists and older numbers: the last good list stays.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::sync::Semaphore;

use super::chance;
use super::http::{Answer, AskError, Question, ask};
use crate::limits::{
    CRL_FETCH_MIN, CRL_FETCH_TIMEOUT, CRL_FETCHES_AT_ONCE, CRL_FILE_LOOK, CRL_OVERDUE_RETRY,
    CRL_RETRY_MAX, CRL_RETRY_MIN,
};
use control::limits::{CRL_FETCH_EVERY, CRL_FILE_BYTES_MAX};
use control::{Control, CrlSource, Intent, Moment, SourceUrl, Uuid};
use vocabulary::side::Side;

/// What became of one attempt.
///
/// ```
/// use fetch::FetchOutcome;
/// use vocabulary::side::Side;
///
/// let refused = FetchOutcome::Refused("it ended yesterday".into());
/// assert_eq!(refused.as_str(), "refused");
/// assert_eq!(refused.side(), Some(Side::Source));
/// assert_eq!(FetchOutcome::Unchanged.why(), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchOutcome {
    /// A list came and is in its place.
    Taken,
    /// The server says that it has no newer one.
    Unchanged,
    /// What came is not to be believed, or is older.
    Refused(String),
    /// Nothing came.
    Failed {
        /// Why, in words.
        why: String,
        /// Who has to do something about it.
        side: Side,
    },
}

impl FetchOutcome {
    /// For metric labels, in the order of [`FetchStatus::counts`].
    pub const ALL: [&'static str; 4] = ["taken", "unchanged", "refused", "failed"];

    /// The stable text.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        let [taken, unchanged, refused, failed] = Self::ALL;
        match self {
            Self::Taken => taken,
            Self::Unchanged => unchanged,
            Self::Refused(_) => refused,
            Self::Failed { .. } => failed,
        }
    }

    /// What went wrong, in words.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Taken | Self::Unchanged => None,
            Self::Refused(why) | Self::Failed { why, .. } => Some(why),
        }
    }

    /// Who has to do something about what went wrong.
    #[must_use]
    pub fn side(&self) -> Option<Side> {
        match self {
            Self::Taken | Self::Unchanged => None,
            Self::Refused(_) => Some(Side::Source),
            Self::Failed { side, .. } => Some(*side),
        }
    }

    fn failed(why: &AskError) -> Self {
        Self::Failed {
            why: why.to_string(),
            side: why.side(),
        }
    }
}

/// One URL of one CA, for people and metrics.
#[derive(Debug, Clone)]
pub struct FetchStatus {
    /// The CA.
    pub authority: Uuid,
    /// Where its list is.
    pub url: SourceUrl,
    /// The last attempt; `None` before the first.
    pub last: Option<FetchOutcome>,
    /// When the server last had a good list, new or not.
    pub good_at: Option<Moment>,
    /// Attempts by outcome.
    pub counts: [u64; 4],
}

/// What is known of one URL.
#[derive(Debug, Clone, Default)]
struct Known {
    /// Of the list that was last taken from it.
    validators: HeaderMap,
    /// The lists that came with it: their places, and when they were made.
    lists: Vec<(String, i64)>,
    next_update_sec: i64,
    last: Option<FetchOutcome>,
    good_at: Option<Moment>,
    counts: [u64; 4],
    failures: u32,
    /// `None`: at once.
    due: Option<Instant>,
    under_way: bool,
    /// Of the state that it was due in last ([`control`]'s `Model::lineage`).
    lineage: u64,
}

impl Known {
    /// Whether it is to be fetched now; it is under way from then on.
    fn begins(&mut self, lineage: u64, now: Instant) -> bool {
        if self.under_way {
            return false;
        }
        if self.lineage != lineage {
            // A state that has taken the place of another one may lack its list.
            (self.lineage, self.due) = (lineage, None);
        }
        self.under_way = self.due.is_none_or(|due| due <= now);
        self.under_way
    }
}

/// What a server had that was taken.
struct Taken {
    validators: HeaderMap,
    lists: Vec<(String, i64)>,
    next_update_sec: i64,
}

type Places = BTreeMap<(Uuid, SourceUrl), Known>;

/// The fetcher of revocation lists.
pub struct CrlFetcher {
    control: Arc<Control>,
    known: Mutex<Places>,
    at_once: Semaphore,
}

impl CrlFetcher {
    /// One that has fetched nothing yet.
    #[must_use]
    pub fn new(control: Arc<Control>) -> Arc<Self> {
        Arc::new(Self {
            control,
            known: Mutex::default(),
            at_once: Semaphore::new(CRL_FETCHES_AT_ONCE),
        })
    }

    /// Fetches what is due for as long as it is polled. Has to run on a runtime of tokio.
    pub async fn run(self: Arc<Self>) {
        let mut look = tokio::time::interval(CRL_FILE_LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            for (id, url) in self.due() {
                let lists = self.clone();
                tokio::spawn(async move { lists.fetch(id, url).await });
            }
        }
    }

    /// Fetches all lists of a CA now, whenever they are due.
    pub async fn fetch_now(self: &Arc<Self>, id: Uuid) {
        let model = self.control.model();
        let authority = model.authorities.get(&id);
        let urls = authority.into_iter().flat_map(|ca| ca.crl.urls.clone());
        let mut fetches = tokio::task::JoinSet::new();
        for url in urls {
            let lists = self.clone();
            fetches.spawn(async move { lists.fetch(id, url).await });
        }
        while fetches.join_next().await.is_some() {}
    }

    /// Every URL that is fetched from.
    #[must_use]
    pub fn status(&self) -> Vec<FetchStatus> {
        let known = self.lock();
        let places = known.iter().map(|((authority, url), known)| FetchStatus {
            authority: *authority,
            url: url.clone(),
            last: known.last.clone(),
            good_at: known.good_at,
            counts: known.counts,
        });
        places.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        // Nothing is half changed when its holder panics: each is one assignment.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be fetched now; it is under way from then on. URLs that are no longer
    /// configured are forgotten.
    fn due(&self) -> Vec<(Uuid, SourceUrl)> {
        let model = self.control.model();
        let named = model.authorities.values();
        let named = named.flat_map(|ca| ca.crl.urls.iter().map(|url| (ca.id, url.clone())));
        let mut known = self.lock();
        if known.is_empty() && model.authorities.values().all(|ca| ca.crl.urls.is_empty()) {
            return Vec::new();
        }
        let mut before = std::mem::take(&mut *known);
        let now = Instant::now();
        let mut due = Vec::new();
        for place in named {
            let mut entry = before.remove(&place).unwrap_or_default();
            if entry.begins(model.lineage, now) {
                due.push(place.clone());
            }
            known.insert(place, entry);
        }
        due
    }

    async fn fetch(&self, id: Uuid, url: SourceUrl) {
        let Ok(_one_of_a_few) = self.at_once.acquire().await else {
            return;
        };
        let place = (id, url);
        let before = self.lock().get(&place).cloned().unwrap_or_default();
        let (outcome, answer) = self.attempt(id, &place.1, &before).await;
        let (url, result) = (&place.1, outcome.as_str());
        match outcome.why() {
            None => tracing::debug!(%id, %url, result, "a revocation list was asked for"),
            Some(why) => {
                let side = outcome.side().map(Side::as_str);
                tracing::error!(%id, %url, result, side, why, "a revocation list was not had; the last one stays");
            }
        }
        let named = self.control.model().authorities.get(&id).cloned();
        let named = named.filter(|ca| ca.crl.urls.contains(&place.1));
        // It is no longer configured: the list counts, and nothing else.
        let Some(authority) = named else { return };
        let every = authority.crl.fetch_every_sec;
        let every = every.map_or(CRL_FETCH_EVERY, |every| Duration::from_secs(every.into()));
        let now = Moment::now();
        let mut known = self.lock();
        let entry = known.entry(place.clone()).or_default();
        entry.under_way = false;
        let counted = FetchOutcome::ALL.iter().position(|name| *name == result);
        if let Some(count) = counted.and_then(|place| entry.counts.get_mut(place)) {
            *count += 1;
        }
        if let Some(taken) = answer {
            entry.validators = taken.validators;
            entry.lists = taken.lists;
            entry.next_update_sec = taken.next_update_sec;
        }
        let good = outcome.why().is_none();
        if good {
            entry.good_at = Some(now);
            entry.failures = 0;
        } else {
            entry.failures = entry.failures.saturating_add(1);
        }
        let left_sec = entry.next_update_sec - now.seconds();
        let wait = wait(entry.failures, left_sec, every, chance());
        entry.due = Some(Instant::now() + wait);
        entry.last = Some(outcome);
    }

    /// One attempt; of a list that was taken, what to ask with next time.
    async fn attempt(
        &self,
        id: Uuid,
        url: &SourceUrl,
        before: &Known,
    ) -> (FetchOutcome, Option<Taken>) {
        // The lists that the server is asked about may have been removed here.
        let crls = self.control.crls();
        let is_there = |(place, made): &(String, i64)| {
            let mut held = crls.iter().filter(|crl| crl.authority == id);
            held.any(|crl| crl.place == *place && crl.this_update == *made)
        };
        let still_there = !before.lists.is_empty() && before.lists.iter().all(is_there);
        let mut headers = if still_there {
            before.validators.clone()
        } else {
            HeaderMap::new()
        };
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("application/pkix-crl, */*;q=0.1"),
        );
        let question = Question {
            method: Method::GET,
            headers,
            body: Bytes::new(),
            bytes_max: CRL_FILE_BYTES_MAX,
            within: CRL_FETCH_TIMEOUT,
            confined: None,
        };
        let answer = match ask(url, &question).await {
            Ok(answer) => answer,
            Err(why) => return (FetchOutcome::failed(&why), None),
        };
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if still_there => return (FetchOutcome::Unchanged, None),
            status => {
                return (FetchOutcome::failed(&AskError::Status(status)), None);
            }
        }
        let validators = validators(&answer);
        let control = self.control.clone();
        let source = CrlSource::Url(url.clone());
        let put = tokio::task::spawn_blocking(move || {
            let control = control.changer(Intent::of("revocation list fetch"));
            control.put_crls(id, &source, &answer.body, false)
        });
        match put.await {
            Ok(Ok(put)) if put.refused.is_empty() => {
                for crl in &put.lists {
                    for warning in &crl.warnings {
                        let issuer = &crl.issuer;
                        tracing::warn!(%id, %url, issuer, warning, "a revocation list is odd");
                    }
                }
                let lists = put.lists.iter();
                let taken = Taken {
                    validators,
                    next_update_sec: lists.clone().map(|crl| crl.next_update).min().unwrap_or(0),
                    lists: lists
                        .map(|crl| (crl.place.clone(), crl.this_update))
                        .collect(),
                };
                (FetchOutcome::Taken, Some(taken))
            }
            Ok(Ok(put)) => (FetchOutcome::Refused(put.refused.join("; ")), None),
            Ok(Err(why)) => (FetchOutcome::Refused(why.to_string()), None),
            Err(_panicked) => {
                let why = "taking it in failed inside; the log has the reason";
                (FetchOutcome::Refused(why.into()), None)
            }
        }
    }
}

/// What to ask with next time, so that an unchanged list is not sent again.
fn validators(answer: &Answer) -> HeaderMap {
    let mut validators = HeaderMap::new();
    for (from, to) in [
        (header::ETAG, header::IF_NONE_MATCH),
        (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE),
    ] {
        if let Some(value) = answer.headers.get(from) {
            validators.insert(to, value.clone());
        }
    }
    validators
}

/// How long until the next attempt, after `failures` in a row, with a list that is good for
/// `left_sec` seconds more. `chance` is from 0 to 1.
fn wait(failures: u32, left_sec: i64, every: Duration, chance: f64) -> Duration {
    let left = Duration::from_secs(u64::try_from(left_sec).unwrap_or_default());
    let wait = match failures {
        // The publisher is late.
        0 if left.is_zero() => every.min(CRL_OVERDUE_RETRY),
        0 => every.min(left.mul_f64(0.75)),
        _ => {
            let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
            let first = every.min(CRL_RETRY_MIN);
            first.saturating_mul(doubled).min(CRL_RETRY_MAX)
        }
    };
    wait.mul_f64(1.0 - 0.2 * chance).max(CRL_FETCH_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_fetched_when_it_is_due_and_again_for_another_state() {
        let (now, hour) = (Instant::now(), Duration::from_secs(3600));
        let mut known = Known::default();
        assert!(known.begins(0, now), "one that was never fetched");
        assert!(!known.begins(0, now), "it is under way");
        // Another state comes meanwhile: what is put into it may have been of the one before.
        assert!(!known.begins(1, now));
        (known.under_way, known.due) = (false, Some(now + hour));
        assert!(known.begins(1, now));
        (known.under_way, known.due) = (false, Some(now + hour));
        assert!(!known.begins(1, now), "it is not due");
        assert!(known.begins(1, now + hour));
    }

    #[test]
    fn waits() {
        const HOUR: u64 = 3600;
        for (failures, left, every, chance, expected_ms) in [
            // As often as is asked for, and well before the next update.
            (0, 7 * 86_400, HOUR, 0.0, HOUR * 1000),
            (0, 7 * 86_400, HOUR, 1.0, HOUR * 800),
            (0, 1000, HOUR, 0.0, 750_000),
            (0, 1, HOUR, 0.0, 1000),
            // Overdue.
            (0, 0, HOUR, 0.0, 60_000),
            (0, -5, 10, 0.0, 10_000),
            (0, i64::MIN, HOUR, 0.0, 60_000),
            // Failures.
            (1, 7 * 86_400, HOUR, 0.0, 5_000),
            (2, 7 * 86_400, HOUR, 0.5, 9_000),
            (5, 7 * 86_400, HOUR, 0.0, 80_000),
            (60, 7 * 86_400, HOUR, 0.0, 900_000),
            (u32::MAX, 7 * 86_400, HOUR, 0.0, 900_000),
            (1, 7 * 86_400, 1, 1.0, 1000),
            (3, 7 * 86_400, 1, 0.0, 4000),
        ] {
            let found = wait(failures, left, Duration::from_secs(every), chance);
            let expected = Duration::from_millis(expected_ms);
            assert!(
                found.abs_diff(expected) < Duration::from_millis(2),
                "{failures} {left} {every} {chance}: {found:?}"
            );
        }
    }
}
