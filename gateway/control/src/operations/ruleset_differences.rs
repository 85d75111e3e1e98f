//! The differences between two versions of a ruleset, for people: rules added, removed, changed and
//! moved.

use std::collections::HashMap;
use std::sync::Arc;

use crate::change::error::ChangeError;
use crate::change::{Control, Reads};
use crate::model::id::Id;
use crate::model::rule_diff::Difference;
use crate::model::{RuleRecord, Ruleset};
use chunked_list::ChunkedList;

/// A rule that is not the same in both versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleDifference {
    /// Its place, from 0, and itself in the older version.
    pub before: Option<(usize, Arc<RuleRecord>)>,
    /// And in the newer one.
    pub after: Option<(usize, Arc<RuleRecord>)>,
    /// Whether it stands elsewhere among the rules that both versions have.
    pub is_moved: bool,
    /// Whether both versions have it, and it does not say the same.
    pub is_changed: bool,
}

/// What leads from one version of a ruleset to another.
#[derive(Debug, Clone)]
pub struct RulesetDifference {
    /// The one version.
    pub from: Ruleset,
    /// The other.
    pub to: Ruleset,
    /// Removed rules by their old place, then all others by their new one.
    pub rules: Vec<RuleDifference>,
}

/// Whether two records say the same; the version and the time of a rule that was restored differ.
fn says_the_same(one: &RuleRecord, other: &RuleRecord) -> bool {
    *one == RuleRecord {
        version: one.version,
        last_updated: one.last_updated,
        ..other.clone()
    }
}

/// Which places stay in order when everything else moves: a longest increasing subsequence, by
/// patience sorting.
fn in_order(places: &[usize]) -> Vec<bool> {
    // The last card of each pile, and for each card the one below it in the pile before.
    let mut piles: Vec<usize> = Vec::new();
    let mut below: Vec<Option<usize>> = Vec::with_capacity(places.len());
    let at = |card: usize| places.get(card).copied().unwrap_or_default();
    for (card, place) in places.iter().enumerate() {
        let pile = piles.partition_point(|top| at(*top) < *place);
        below.push(
            pile.checked_sub(1)
                .and_then(|pile| piles.get(pile).copied()),
        );
        match piles.get_mut(pile) {
            Some(top) => *top = card,
            None => piles.push(card),
        }
    }
    let mut stays = vec![false; places.len()];
    let mut card = piles.last().copied();
    while let Some(kept) = card {
        if let Some(stay) = stays.get_mut(kept) {
            *stay = true;
        }
        card = below.get(kept).copied().flatten();
    }
    stays
}

/// Compares two orders of rules.
fn compare(
    old: &ChunkedList<Arc<RuleRecord>>,
    new: &ChunkedList<Arc<RuleRecord>>,
) -> Vec<RuleDifference> {
    // One stretch from where they first differ to where they last do: what has moved within it is
    // found below.
    let hunks = Difference::between(old, new).hunks;
    let Some((first, last)) = hunks.first().zip(hunks.last()) else {
        return Vec::new();
    };
    let part = |rules: &ChunkedList<Arc<RuleRecord>>, start: usize, end: usize| {
        let rules = rules.iter().enumerate().skip(start).take(end - start);
        rules
            .map(|(place, rule)| (place, rule.clone()))
            .collect::<Vec<_>>()
    };
    let old = part(old, first.old.start, last.old.end);
    let new = part(new, first.new.start, last.new.end);
    let mut known: HashMap<Id, (usize, Arc<RuleRecord>)> =
        old.iter().map(|one| (one.1.id, one.clone())).collect();
    let present: std::collections::HashSet<Id> = new.iter().map(|(_, rule)| rule.id).collect();
    let gone = old.iter().filter(|(_, rule)| !present.contains(&rule.id));
    let mut found: Vec<RuleDifference> = gone
        .map(|one| RuleDifference {
            before: Some(one.clone()),
            after: None,
            is_moved: false,
            is_changed: false,
        })
        .collect();
    let pairs: Vec<_> = new
        .into_iter()
        .map(|after| (known.remove(&after.1.id), after))
        .collect();
    let places: Vec<usize> = pairs
        .iter()
        .filter_map(|(before, _)| before.as_ref().map(|(place, _)| *place))
        .collect();
    let mut stays = in_order(&places).into_iter();
    for (before, after) in pairs {
        let is_moved = before.is_some() && stays.next() == Some(false);
        let is_changed = before
            .as_ref()
            .is_some_and(|(_, before)| !says_the_same(before, &after.1));
        if is_moved || is_changed || before.is_none() {
            found.push(RuleDifference {
                before,
                after: Some(after),
                is_moved,
                is_changed,
            });
        }
    }
    found
}

impl<A: Reads> Control<A> {
    /// What leads from one version of a ruleset to another.
    ///
    /// # Errors
    /// There is no such ruleset, or one of the versions is not kept.
    pub fn ruleset_differences(
        &self,
        zone: Id,
        ruleset: Id,
        from: u32,
        to: u32,
    ) -> Result<RulesetDifference, ChangeError> {
        let from = self.ruleset_version(zone, ruleset, from)?;
        let to = self.ruleset_version(zone, ruleset, to)?;
        let rules = compare(&from.rules, &to.rules);
        Ok(RulesetDifference { from, to, rules })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::moment::Moment;

    /// `a` and `A` are two contents of one rule.
    fn order(text: &str, version: u32) -> ChunkedList<Arc<RuleRecord>> {
        let record = |letter: char| RuleRecord {
            id: Id::from_bytes([u8::try_from(letter.to_ascii_lowercase()).unwrap(); 16]),
            version: version + u32::from(letter.is_ascii_uppercase()),
            expression: letter.to_string(),
            action: "block".into(),
            action_parameters: None,
            ratelimit: None,
            confined: false,
            logging: None,
            description: String::new(),
            enabled: true,
            reference: letter.to_ascii_lowercase().to_string(),
            last_updated: Moment::from_seconds(version.into()),
        };
        text.chars()
            .map(|letter| Arc::new(record(letter)))
            .collect()
    }

    #[test]
    fn what_people_call_a_difference() {
        for (old, new, expected) in [
            ("", "", ""),
            ("abc", "abc", ""),
            ("abc", "ac", "-b"),
            ("ac", "abc", "+b"),
            ("abc", "aBc", "~B"),
            ("abcd", "dabc", ">d"),
            ("abcd", "bcda", ">a"),
            ("abcd", "badc", ">b >d"),
            ("abc", "xyz", "-a -b -c +x +y +z"),
            ("abcd", "Dab", "-c >~D"),
            ("abcde", "abxde", "-c +x"),
        ] {
            // A restored rule has another version and says the same.
            for version in [1, 5] {
                let found = compare(&order(old, 1), &order(new, version));
                let shown: Vec<String> = found
                    .iter()
                    .map(|one| match (&one.before, &one.after) {
                        (Some((_, before)), None) => format!("-{}", before.expression),
                        (None, Some((_, after))) => format!("+{}", after.expression),
                        (Some(_), Some((_, after))) => {
                            let moved = if one.is_moved { ">" } else { "" };
                            let changed = if one.is_changed { "~" } else { "" };
                            format!("{moved}{changed}{}", after.expression)
                        }
                        (None, None) => String::new(),
                    })
                    .collect();
                let shown = shown.join(" ");
                // Of two that changed places either has moved.
                let other = expected.replace(">b >d", ">a >c");
                assert!(shown == expected || shown == other, "{old} {new}: {shown}");
            }
        }
    }
}
