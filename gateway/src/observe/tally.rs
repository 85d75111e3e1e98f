//! Counters by a few fixed words.
//!
//! Owns that their number is bounded whatever is counted. Does not know whose counters they are.

use crate::limits;

/// How often a rule matched.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RuleMatches {
    pub(super) blocked: u64,
    pub(super) logged: u64,
}

/// Status classes, `1xx` to `5xx`, and whatever is none.
pub(super) const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];
/// What became of requests.
pub(super) const OUTCOMES: [&str; 2] = ["forwarded", "blocked"];
/// What is known of the client.
pub(super) const CLIENTS: [&str; 4] = ["anonymous", "verified", "revoked", "unverified"];

/// Requests by status class, outcome, and client.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Requests([[[u64; CLIENTS.len()]; OUTCOMES.len()]; CLASSES.len()]);

impl Requests {
    pub(super) fn count(&mut self, class: usize, outcome: usize, client: usize, more: u64) {
        let cell = self
            .0
            .get_mut(class)
            .and_then(|row| row.get_mut(outcome))
            .and_then(|row| row.get_mut(client));
        if let Some(cell) = cell {
            *cell += more;
        }
    }

    /// Every cell with its class, outcome and client.
    pub(super) fn cells(&self) -> impl Iterator<Item = (usize, usize, usize, u64)> {
        self.0.iter().enumerate().flat_map(|(class, rows)| {
            rows.iter().enumerate().flat_map(move |(outcome, row)| {
                row.iter()
                    .enumerate()
                    .map(move |(client, count)| (class, outcome, client, *count))
            })
        })
    }
}

/// Counters by a few fixed words.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally(Vec<(&'static str, u64)>);

impl Tally {
    pub(super) fn count(&mut self, word: &'static str, more: u64) {
        if let Some((_, count)) = self.0.iter_mut().find(|(known, _)| *known == word) {
            *count += more;
        } else if self.0.len() < limits::OBSERVED_WORDS_MAX || word == "other" {
            self.0.push((word, more));
        } else {
            self.count("other", more);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().copied()
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (word, count) in other.iter() {
            self.count(word, count);
        }
    }
}
