//! Where two orders of rules differ: most changes touch one place of many thousand, and what is
//! done for a change has to follow what changed.

use std::ops::Range;
use std::sync::Arc;

use super::model::RuleRecord;

/// What lies between a common beginning and a common end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// In the older one.
    pub(super) old: Range<usize>,
    /// In the newer one; begins where `old` does.
    pub(super) new: Range<usize>,
}

/// Whether it is the very same version of the very same rule.
pub(super) fn same(one: &Arc<RuleRecord>, other: &Arc<RuleRecord>) -> bool {
    Arc::ptr_eq(one, other) || (one.id == other.id && one.version == other.version)
}

impl Difference {
    /// Compares from both ends.
    pub(super) fn between(old: &[Arc<RuleRecord>], new: &[Arc<RuleRecord>]) -> Self {
        let pairs = old.iter().zip(new);
        let front = pairs.take_while(|(old, new)| same(old, new)).count();
        let most = old.len().min(new.len()) - front;
        let pairs = old.iter().rev().zip(new.iter().rev()).take(most);
        let back = pairs.take_while(|(old, new)| same(old, new)).count();
        Self {
            old: front..old.len() - back,
            new: front..new.len() - back,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Id, Moment};

    fn order(text: &str) -> Vec<Arc<RuleRecord>> {
        let record = |(place, version): (u8, u32)| RuleRecord {
            id: Id::from_bytes([place.to_ascii_lowercase(); 16]),
            version,
            expression: String::new(),
            action: String::new(),
            action_parameters: None,
            ratelimit: None,
            logging: None,
            description: String::new(),
            enabled: true,
            reference: String::new(),
            last_updated: Moment::from_seconds(0),
        };
        let versions = text
            .bytes()
            .map(|b| (b, if b.is_ascii_uppercase() { 2 } else { 1 }));
        versions.map(|one| Arc::new(record(one))).collect()
    }

    #[test]
    fn only_the_middle_differs() {
        for (old, new, in_old, in_new) in [
            ("", "", 0..0, 0..0),
            ("abc", "abc", 3..3, 3..3),
            ("abc", "aBc", 1..2, 1..2),
            ("abc", "ac", 1..2, 1..1),
            ("ac", "abc", 1..1, 1..2),
            ("abcde", "adbce", 1..4, 1..4),
            ("", "ab", 0..0, 0..2),
            ("ab", "", 0..2, 0..0),
            ("aa", "aaa", 2..2, 2..3),
        ] {
            let found = Difference::between(&order(old), &order(new));
            assert_eq!((found.old, found.new), (in_old, in_new), "{old} {new}");
        }
    }
}
