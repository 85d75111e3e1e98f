//! Counters by a few fixed words.
//!
//! Their number is bounded whatever is counted. Does not know what they count.

use crate::limits;

vocabulary::words! {
    /// What a rule did with a request.
    pub enum RuleAction("what a rule did", without serde) {
        /// A custom rule blocked it.
        Block = "block",
        /// A rate limit turned it away.
        RateLimit = "rate_limit",
        /// It was sent elsewhere.
        Redirect = "redirect",
        /// It was only reported.
        Log = "log",
    }
}

impl RuleAction {
    /// Its place in [`OUTCOMES`].
    pub(super) fn outcome(self) -> usize {
        match self {
            Self::Log => 0,
            Self::Block | Self::RateLimit => 1,
            Self::Redirect => 2,
        }
    }
}

/// How often a rule matched.
#[derive(Debug, Clone, Copy, Default)]
pub struct RuleMatches {
    /// Requests that it blocked.
    pub blocked: u64,
    /// Requests that were too many for it.
    pub rate_limited: u64,
    /// Requests that it sent elsewhere.
    pub redirected: u64,
    /// Requests that it logged.
    pub logged: u64,
}

/// Status classes, `1xx` to `5xx`, and whatever is none.
pub const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];
/// What became of requests.
pub const OUTCOMES: [&str; 3] = ["forwarded", "blocked", "redirected"];
/// What is known of the client.
pub const CLIENTS: [&str; 4] = ["anonymous", "verified", "revoked", "unverified"];

/// Requests by status class, outcome, and client.
#[derive(Debug, Clone, Copy, Default)]
pub struct Requests([[[u64; CLIENTS.len()]; OUTCOMES.len()]; CLASSES.len()]);

impl Requests {
    /// Adds `more` to one cell.
    pub fn count(&mut self, class: usize, outcome: usize, client: usize, more: u64) {
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
    pub fn cells(&self) -> impl Iterator<Item = (usize, usize, usize, u64)> {
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
pub struct Tally(Vec<(&'static str, u64)>);

impl Tally {
    /// Adds `more` to a word's count; words beyond the bound are counted as `other`.
    pub fn count(&mut self, word: &'static str, more: u64) {
        if let Some((_, count)) = self.0.iter_mut().find(|(known, _)| *known == word) {
            *count += more;
        } else if self.0.len() < limits::OBSERVED_WORDS_MAX || word == "other" {
            self.0.push((word, more));
        } else {
            self.count("other", more);
        }
    }

    /// Every word with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().copied()
    }

    /// Adds what another one has counted.
    pub fn add(&mut self, other: &Self) {
        for (word, count) in other.iter() {
            self.count(word, count);
        }
    }
}
