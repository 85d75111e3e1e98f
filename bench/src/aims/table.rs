//! The table of aims.

use serde::Serialize;

/// An aim and what was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The work.
    pub work: String,
    /// What the figure is: a ratio to somebody, or a unit.
    pub of: String,
    /// The aim.
    pub at_most: f64,
    /// The median; `None` when nobody was there to compare with.
    pub measured: Option<f64>,
    /// The smallest and the largest round.
    pub range: Option<(f64, f64)>,
    /// Whether the median is within the aim.
    pub kept: Option<bool>,
}

impl Row {
    pub(super) fn new(work: &str, of: &str, at_most: f64, measured: f64) -> Self {
        Self {
            work: work.to_owned(),
            of: of.to_owned(),
            at_most,
            measured: Some(measured),
            range: None,
            kept: Some(measured <= at_most),
        }
    }

    pub(super) fn unknown(work: &str, of: &str, at_most: f64) -> Self {
        Self {
            measured: None,
            kept: None,
            ..Self::new(work, of, at_most, 0.0)
        }
    }
}

/// For people.
pub(super) fn text(rows: &[Row]) -> String {
    let mut out = format!(
        "{:<46} {:>22} {:>20}  {}\n",
        "work", "aim", "measured", "kept"
    );
    for row in rows {
        let aim = format!("≤ {:.2} {}", row.at_most, row.of);
        let measured = match (row.measured, row.range) {
            (Some(median), Some((min, max))) => format!("{median:.2} ({min:.2}–{max:.2})"),
            (Some(median), None) => format!("{median:.2}"),
            (None, _) => "not installed".to_owned(),
        };
        let kept = match row.kept {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "–",
        };
        out.push_str(&format!(
            "{:<46} {aim:>22} {measured:>20}  {kept}\n",
            row.work
        ));
    }
    out.push_str(
        "CPU time of the proxy for an operation, ratio in the same round. That a request allocates \
         nothing is a test's to say.\n",
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_say_whether_an_aim_is_kept() {
        let rows = [
            Row::new("a", "of nginx", 0.85, 0.84),
            Row::new("b", "of nginx", 0.85, 0.86),
            Row::unknown("c", "of envoy", 0.4),
        ];
        let text = text(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].ends_with("yes"), "{text}");
        assert!(lines[2].ends_with("NO"), "{text}");
        assert!(lines[3].ends_with("–"), "{text}");
    }
}
