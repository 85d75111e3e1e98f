//! Health checks of origins' addresses, from one place for all workers.
//!
//! Owns when each address is checked, how many answers decide, and the lines of the log that say that
//! an address gets no requests any more, or gets them again, whoever found that out. What was found is
//! written into the table that workers read ([`snapshot::origins::AddressState`]). How one check is made
//! is [`probe`](mod@probe)'s.

mod probe;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use self::probe::{ProbeError, probe};
use super::chance;
use super::places::Places;
use crate::limits::{HEALTH_AT_ONCE, HEALTH_AT_ONCE_OF_ZONE, HEALTH_LOOK, HEALTH_OWN_OF_ZONE};
use snapshot::Published;
use snapshot::http::origin::Origin;
use snapshot::origins::state::Health;
use snapshot::origins::{Address, Failure, HealthCheck, OriginGroup};

/// An address, by the id of its origin and its place among that one's.
type Key = (u64, u64);

/// Why an address gets no requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Out {
    /// Requests failed.
    Ejected,
    /// Checks fail.
    Unhealthy,
}

/// What is known of an address beside what workers read.
#[derive(Debug, Default)]
struct Known {
    /// What its connections are opened with: [`Origin::key`].
    with: u64,
    /// `None`: at once.
    due: Option<Instant>,
    under_way: bool,
    /// Answers of the same kind in a row.
    good: u32,
    bad: u32,
    /// What the last bad check met.
    error: Option<String>,
    /// What the log was told last.
    told: Option<Out>,
    /// The round in which it was seen last.
    round: u64,
}

/// Checks what is to be checked, and tells of changes.
pub struct HealthChecker {
    published: Arc<Published>,
    known: Mutex<HashMap<Key, Known>>,
    /// Origins of which all addresses are used because too few are good.
    panics: Mutex<HashMap<u64, u64>>,
    at_once: Places,
}

/// One check that is to be made now.
struct Due {
    key: Key,
    group: Arc<OriginGroup>,
    place: usize,
    check: HealthCheck,
}

impl HealthChecker {
    /// One that has checked nothing yet.
    #[must_use]
    pub fn new(published: Arc<Published>) -> Arc<Self> {
        Arc::new(Self {
            published,
            known: Mutex::default(),
            panics: Mutex::default(),
            at_once: Places::new(
                HEALTH_AT_ONCE,
                HEALTH_OWN_OF_ZONE,
                HEALTH_AT_ONCE_OF_ZONE - HEALTH_OWN_OF_ZONE,
            ),
        })
    }

    /// Checks until it is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut look = tokio::time::interval(HEALTH_LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut checks = JoinSet::new();
        for round in 1_u64.. {
            look.tick().await;
            while checks.try_join_next().is_some() {}
            for due in self.look(round, Instant::now()) {
                let this = self.clone();
                checks.spawn(async move { this.check(due).await });
            }
        }
    }

    /// What the last bad check of an address met, while it is not good.
    #[must_use]
    pub fn error(&self, group: &OriginGroup, address: &Address) -> Option<String> {
        let known = self.lock();
        let known = known.get(&key(group, address))?;
        known.error.clone().filter(|_| known.bad > 0)
    }

    /// Looks at every address: tells what changed, and finds what is due.
    fn look(&self, round: u64, now: Instant) -> Vec<Due> {
        let snapshot = self.published.load();
        let mut known = self.lock();
        let mut due = Vec::new();
        for group in &snapshot.origins {
            if !group.has_several() && group.health.is_none() {
                continue;
            }
            for (place, address) in group.addresses.iter().enumerate() {
                let key = key(group, address);
                let known = known.entry(key).or_default();
                known.round = round;
                known.is_opened_with(address.origin.key);
                match &group.health {
                    None => forget(known, address, now),
                    Some(check) if known.is_due(now) => {
                        known.under_way = true;
                        due.push(Due {
                            key,
                            group: group.clone(),
                            place,
                            check: check.clone(),
                        });
                    }
                    Some(_) => {}
                }
                tell(known, group, address, now);
            }
            self.tell_of_panic(group, round, now);
        }
        known.retain(|_, known| known.round == round || known.under_way);
        let mut panics = self.panics.lock().unwrap_or_else(PoisonError::into_inner);
        panics.retain(|_, seen| *seen == round);
        self.at_once.sweep();
        due
    }

    async fn check(&self, due: Due) {
        let Due {
            key,
            group,
            place,
            check,
        } = due;
        let Some(address) = group.addresses.get(place) else {
            return;
        };
        let names = self.published.names();
        let checked = self
            .at_once
            .run(&group.zone, probe(&address.origin, &check, names));
        let Some(outcome) = checked.await else {
            // They are never closed.
            return;
        };
        let now = Instant::now();
        let mut known = self.lock();
        let Some(known) = known.get_mut(&key) else {
            return;
        };
        known.under_way = false;
        if known.with != address.origin.key {
            // It says nothing of the address as it is spoken to now, which is due.
            return;
        }
        // Not all at once for ever, because they began so.
        let jitter = check.interval.mul_f64(0.1 * chance());
        known.due = Some(now + check.interval.saturating_sub(jitter));
        if let Some(health) = known.judge(outcome, &check, address.state.health()) {
            address.state.set_health(health, now);
            tell(known, &group, address, now);
        }
    }

    fn tell_of_panic(&self, group: &OriginGroup, round: u64, now: Instant) {
        let mut panics = self.panics.lock().unwrap_or_else(PoisonError::into_inner);
        let id = group.state.id;
        match (group.panics(now), panics.contains_key(&id)) {
            (true, told) => {
                panics.insert(id, round);
                if !told {
                    tracing::warn!(
                        origin = %group.label,
                        "too few addresses are good: requests go to all of them"
                    );
                }
            }
            (false, true) => {
                panics.remove(&id);
                tracing::info!(origin = %group.label, "enough addresses are good again");
            }
            (false, false) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Known>> {
        // A panic elsewhere leaves a check that is not made again until the next start, at most.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// What was asked with other settings, such as another client certificate, decides nothing any more: the address
    /// is as it was, and is asked at once.
    fn is_opened_with(&mut self, key: u64) {
        if self.with != key {
            self.with = key;
            (self.good, self.bad, self.due) = (0, 0, None);
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        !self.under_way && self.due.is_none_or(|due| due <= now)
    }

    /// What an answer makes of the address, when it decides.
    fn judge(
        &mut self,
        outcome: Result<(), ProbeError>,
        check: &HealthCheck,
        before: Health,
    ) -> Option<Health> {
        match outcome {
            Ok(()) => {
                self.bad = 0;
                self.good = self.good.saturating_add(1);
                self.error = None;
                // The first word on an address needs no second one.
                let enough = before == Health::Unknown || self.good >= check.healthy;
                (before != Health::Healthy && enough).then_some(Health::Healthy)
            }
            Err(error) => {
                self.good = 0;
                self.bad = self.bad.saturating_add(1);
                self.error = Some(error.to_string());
                let enough = self.bad >= check.unhealthy;
                (before != Health::Unhealthy && enough).then_some(Health::Unhealthy)
            }
        }
    }
}

fn key(group: &OriginGroup, address: &Address) -> Key {
    (group.state.id, address.hash)
}

/// Nothing checks the address any more: what checks have said of it means nothing.
fn forget(known: &mut Known, address: &Address, now: Instant) {
    if address.state.health() != Health::Unknown {
        address.state.set_health(Health::Unknown, now);
    }
    (known.good, known.bad, known.error, known.due) = (0, 0, None, None);
}

/// One line for each change.
fn tell(known: &mut Known, group: &OriginGroup, address: &Address, now: Instant) {
    let state = &address.state;
    let is = match (state.health(), state.out_for(now)) {
        (Health::Unhealthy, _) => Some(Out::Unhealthy),
        (_, Some(_)) => Some(Out::Ejected),
        (_, None) => None,
    };
    if is == known.told {
        return;
    }
    known.told = is;
    let (origin, address): (&str, &Origin) = (&group.label, &address.origin);
    match is {
        None => tracing::info!(origin, address = %address.url, "the address gets requests again"),
        Some(Out::Unhealthy) => {
            let why = known.error.as_deref().unwrap_or_default();
            tracing::warn!(
                origin, address = %address.url, why,
                "the address gets no requests: its health checks fail"
            );
        }
        Some(Out::Ejected) => {
            let seconds = state
                .out_for(now)
                .unwrap_or(Duration::ZERO)
                .as_secs_f64()
                .ceil();
            let why = state.last_failure().map_or("", Failure::as_str);
            tracing::warn!(
                origin, address = %address.url, why, seconds,
                "the address gets no requests for a while: too many failed in a row"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapshot::origins::health::Asks;

    fn check() -> HealthCheck {
        HealthCheck {
            asks: Asks::Tcp,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            healthy: 2,
            unhealthy: 3,
        }
    }

    #[test]
    fn what_was_asked_with_other_settings_decides_nothing() {
        let later = Instant::now() + Duration::from_secs(60);
        let mut known = Known {
            with: 7,
            good: 1,
            bad: 2,
            due: Some(later),
            ..Known::default()
        };
        known.is_opened_with(7);
        assert_eq!((known.good, known.bad, known.due), (1, 2, Some(later)));
        known.is_opened_with(8);
        assert_eq!((known.good, known.bad, known.due), (0, 0, None));
        assert!(known.is_due(Instant::now()));
    }

    #[test]
    fn so_many_answers_in_a_row_decide() {
        let (check, mut known, mut health) = (check(), Known::default(), Health::Unknown);
        let mut after = |answers: &str| {
            for answer in answers.chars() {
                let outcome = match answer {
                    '+' => Ok(()),
                    _ => Err(ProbeError::Late(Duration::from_secs(1))),
                };
                if let Some(changed) = known.judge(outcome, &check, health) {
                    assert_ne!(changed, health, "only what is new is told");
                    health = changed;
                }
            }
            health
        };
        for (answers, expected) in [
            ("--", Health::Unknown),
            ("+", Health::Healthy),
            ("--+--", Health::Healthy),
            ("-", Health::Unhealthy),
            ("+-+-", Health::Unhealthy),
            ("++", Health::Healthy),
            ("----", Health::Unhealthy),
        ] {
            assert_eq!(after(answers), expected, "{answers}");
        }
    }
}
