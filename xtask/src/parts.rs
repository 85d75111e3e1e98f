//! A command in parts: what each came to, how long it took, which failed.
//!
//! Knows nothing of what the parts do. A part that fails ends nothing: whether to go on is its
//! caller's to say.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// What a part came to, unless it failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    Done,
    /// Left out, because something is not there: `needs …`.
    Skipped(&'static str),
}

/// The parts that were run so far.
pub(crate) struct Parts {
    count: usize,
    ended: Vec<Part>,
}

struct Part {
    name: &'static str,
    took: Duration,
    /// Nothing when it failed.
    outcome: Option<Outcome>,
}

impl Parts {
    /// Of `count` parts to come.
    pub(crate) fn new(count: usize) -> Self {
        Self {
            count,
            ended: Vec::new(),
        }
    }

    /// Runs one part, and says what went wrong in it.
    pub(crate) fn run(&mut self, name: &'static str, part: impl FnOnce() -> Result<Outcome>) {
        eprintln!("[{}/{}] {name}", self.ended.len() + 1, self.count);
        let start = Instant::now();
        let outcome = part();
        match &outcome {
            Ok(Outcome::Done) => {}
            Ok(Outcome::Skipped(needs)) => println!("skipped: {needs}"),
            Err(error) => eprintln!("{name}: {error:#}"),
        }
        self.ended.push(Part {
            name,
            took: start.elapsed(),
            outcome: outcome.ok(),
        });
    }

    /// Whether every part so far went well.
    pub(crate) fn sound(&self) -> bool {
        self.ended.iter().all(|part| part.outcome.is_some())
    }

    /// Says how long each part took.
    ///
    /// # Errors
    /// When one failed; the text names all that did.
    pub(crate) fn finish(self) -> Result<()> {
        print!("{}", self.table());
        let failed = self.ended.iter().filter(|part| part.outcome.is_none());
        let failed: Vec<&str> = failed.map(|part| part.name).collect();
        if failed.is_empty() {
            return Ok(());
        }
        bail!("failed: {}", failed.join(", "))
    }

    fn table(&self) -> String {
        let width = self.ended.iter().map(|part| part.name.len()).max();
        let width = width.unwrap_or(0);
        let lines = self.ended.iter().map(|part| {
            let outcome = match part.outcome {
                Some(Outcome::Done) => "ok".to_owned(),
                Some(Outcome::Skipped(needs)) => format!("skipped: {needs}"),
                None => "FAILED".to_owned(),
            };
            let (name, took) = (part.name, time(part.took));
            format!("  {name:width$}  {took:>11}  {outcome}\n")
        });
        lines.collect()
    }
}

/// A duration as a person says it: `0.4 s`, `3 min 07 s`.
pub(crate) fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        return format!("{:.1} s", duration.as_secs_f64());
    }
    format!("{} min {:02} s", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Part, Parts, time};
    use anyhow::bail;
    use std::time::Duration;

    #[test]
    fn every_part_runs_and_those_that_failed_are_named() {
        let mut parts = Parts::new(4);
        let mut ran = 0;
        for (name, outcome) in [
            ("fmt", Some(Outcome::Done)),
            ("tidy", None),
            ("deny", Some(Outcome::Skipped("needs cargo-deny"))),
            ("docs", None),
        ] {
            parts.run(name, || {
                ran += 1;
                match outcome {
                    Some(outcome) => Ok(outcome),
                    None => bail!("no"),
                }
            });
        }
        assert_eq!(ran, 4);
        assert!(!parts.sound());
        let error = parts.finish().expect_err("two failed");
        assert_eq!(error.to_string(), "failed: tidy, docs");
    }

    #[test]
    fn the_table_says_how_long_each_part_took() {
        let part = |name, millis, outcome| Part {
            name,
            took: Duration::from_millis(millis),
            outcome,
        };
        let parts = Parts {
            count: 3,
            ended: vec![
                part("fmt", 1_234, Some(Outcome::Done)),
                part("clippy", 187_000, None),
                part("deny", 1, Some(Outcome::Skipped("needs cargo-deny"))),
            ],
        };
        assert_eq!(
            parts.table(),
            [
                "  fmt           1.2 s  ok\n",
                "  clippy   3 min 07 s  FAILED\n",
                "  deny          0.0 s  skipped: needs cargo-deny\n",
            ]
            .concat()
        );
    }

    #[test]
    fn durations_are_said_in_the_unit_that_fits() {
        for (millis, expected) in [
            (0, "0.0 s"),
            (59_900, "59.9 s"),
            (60_000, "1 min 00 s"),
            (3_601_000, "60 min 01 s"),
        ] {
            assert_eq!(time(Duration::from_millis(millis)), expected);
        }
    }
}
