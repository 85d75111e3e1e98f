//! What responders have answered, for the verifier to look up.
//!
//! Written by the fetcher that asks, read by every worker without a lock: the certificates are
//! spread over small tables, each replaced whole. Bounded; an answer never gives way to an older one.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::OcspSubject;
use crate::limits::{OCSP_ANSWERS_MAX, OCSP_RETRY};
use vocabulary::verdict::Reason;

/// Over how many tables the certificates are spread: a new answer copies one of them.
const TABLES: usize = 64;

/// What is known of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertStatus {
    /// Not revoked.
    Good,
    /// Revoked.
    Revoked,
    /// The responder does not know it.
    Unknown,
    /// There was no answer that could be believed, and why.
    Failed(Reason),
}

/// An answer, and how long it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// What was said.
    pub said: CertStatus,
    /// Since when it was so, seconds since the epoch.
    pub this_update_sec: i64,
    /// The last second at which it holds.
    pub until_sec: i64,
    /// From when on it should be asked for again.
    pub again_sec: i64,
}

type Table = HashMap<OcspSubject, Answer, foldhash::fast::RandomState>;

/// The answers of one CA's responder.
#[derive(Debug)]
pub struct Answers([ArcSwap<Table>; TABLES]);

impl Default for Answers {
    fn default() -> Self {
        Self(std::array::from_fn(|_| ArcSwap::default()))
    }
}

impl Answers {
    fn table(&self, subject: &OcspSubject) -> Option<&ArcSwap<Table>> {
        let [first, ..] = subject;
        self.0.get(usize::from(*first) % TABLES)
    }

    /// What is known of a certificate.
    #[must_use]
    pub fn find(&self, subject: &OcspSubject) -> Option<Answer> {
        self.table(subject)?.load().get(subject).copied()
    }

    /// Takes an answer in. Whether the certificate was not known to be revoked, and now is.
    pub fn put(&self, subject: OcspSubject, answer: Answer, now_sec: i64) -> bool {
        let Some(table) = self.table(&subject) else {
            return false;
        };
        let before = self.find(&subject);
        let answer = settle(before, answer, now_sec);
        if before == Some(answer) {
            return false;
        }
        table.rcu(|known| {
            let mut known = Table::clone(known);
            if known.len() >= OCSP_ANSWERS_MAX / TABLES && !known.contains_key(&subject) {
                make_room(&mut known, now_sec);
            }
            known.insert(subject, answer);
            Arc::new(known)
        });
        let was_revoked = before.is_some_and(|before| before.said == CertStatus::Revoked);
        answer.said == CertStatus::Revoked && !was_revoked
    }
}

/// Which of two answers holds.
fn settle(before: Option<Answer>, new: Answer, now_sec: i64) -> Answer {
    let Some(before) = before else { return new };
    match (before.said, new.said) {
        (CertStatus::Failed(_), _) => new,
        // No answer came: the one before holds until it ends, and then nothing does.
        (said, CertStatus::Failed(_))
            if said == CertStatus::Revoked || now_sec <= before.until_sec =>
        {
            Answer {
                again_sec: now_sec.saturating_add(OCSP_RETRY_SEC),
                ..before
            }
        }
        (_, CertStatus::Failed(_)) => new,
        // An older answer, from a cache on the way, is no news.
        _ if new.this_update_sec < before.this_update_sec => Answer {
            again_sec: now_sec.saturating_add(OCSP_RETRY_SEC),
            ..before
        },
        _ => new,
    }
}

/// Forgets what no longer holds, or else the answer that ends first: it is asked for again when
/// its certificate comes again.
fn make_room(known: &mut Table, now_sec: i64) {
    known.retain(|_, answer| answer.until_sec >= now_sec);
    if known.len() < OCSP_ANSWERS_MAX / TABLES {
        return;
    }
    let first = known
        .iter()
        .min_by_key(|(_, answer)| (answer.said == CertStatus::Revoked, answer.until_sec))
        .map(|(subject, _)| *subject);
    if let Some(first) = first {
        known.remove(&first);
    }
}

#[expect(clippy::cast_possible_wrap, reason = "seconds")]
const OCSP_RETRY_SEC: i64 = OCSP_RETRY.as_secs() as i64;

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(said: CertStatus, this_update_sec: i64, until_sec: i64) -> Answer {
        Answer {
            said,
            this_update_sec,
            until_sec,
            again_sec: until_sec,
        }
    }

    #[test]
    fn an_answer_never_gives_way_to_an_older_one() {
        let failed = CertStatus::Failed(Reason::OcspUnreachable);
        for (before, new, said, until) in [
            (
                answer(CertStatus::Good, 10, 100),
                answer(CertStatus::Revoked, 20, 90),
                CertStatus::Revoked,
                90,
            ),
            (
                answer(CertStatus::Revoked, 20, 90),
                answer(CertStatus::Good, 10, 100),
                CertStatus::Revoked,
                90,
            ),
            (
                answer(CertStatus::Revoked, 20, 90),
                answer(CertStatus::Good, 30, 100),
                CertStatus::Good,
                100,
            ),
            (
                answer(CertStatus::Good, 10, 100),
                answer(failed, 50, 60),
                CertStatus::Good,
                100,
            ),
            (
                answer(CertStatus::Good, 10, 49),
                answer(failed, 50, 60),
                failed,
                60,
            ),
            (
                answer(CertStatus::Revoked, 10, 49),
                answer(failed, 50, 60),
                CertStatus::Revoked,
                49,
            ),
            (
                answer(failed, 50, 60),
                answer(CertStatus::Good, 10, 100),
                CertStatus::Good,
                100,
            ),
        ] {
            let answers = Answers::default();
            answers.put([1; 32], before, 50);
            let newly = answers.put([1; 32], new, 50);
            let found = answers.find(&[1; 32]).unwrap();
            assert_eq!(
                (found.said, found.until_sec),
                (said, until),
                "{before:?} {new:?}"
            );
            let expected = said == CertStatus::Revoked && before.said != CertStatus::Revoked;
            assert_eq!(newly, expected, "{before:?} {new:?}");
        }
    }

    #[test]
    fn answers_are_bounded() {
        let answers = Answers::default();
        for n in 0..3000_u32 {
            let mut leaf = [0; 32];
            leaf[4..8].copy_from_slice(&n.to_be_bytes());
            let said = if n == 0 {
                CertStatus::Revoked
            } else {
                CertStatus::Good
            };
            answers.put(leaf, answer(said, 0, 1000 + i64::from(n)), 0);
        }
        let count = answers.0[0].load().len();
        assert_eq!(count, OCSP_ANSWERS_MAX / TABLES);
        assert_eq!(answers.find(&[0; 32]).unwrap().said, CertStatus::Revoked);
    }
}
