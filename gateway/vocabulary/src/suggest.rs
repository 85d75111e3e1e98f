//! Suggestions for words that nothing is called.
//!
//! Owns what counts as a misspelling. Does not know what is looked for.

/// The candidate nearest to `word`, when it is near enough to be a misspelling of it.
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let budget = (word.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= budget)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits between two words, a swap of neighbours counted as one (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // Words come from files: without a bound a long line would cost a square of its length.
    if a.len().abs_diff(b.len()) > 4 {
        return usize::MAX;
    }
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at =
                |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX - 1);
            let mut cost = (at(&last, j) + usize::from(x != y))
                .min(at(&last, j + 1) + 1)
                .min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && Some(x) == b.get(j - 1) && a.get(i - 1) == Some(y);
            if swapped {
                cost = cost.min(at(&before_last, j - 1) + 1);
            }
            row.push(cost);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions() {
        let keys = [
            "timeout.idle",
            "timeout.header",
            "listen",
            "workers",
            "log.level",
        ];
        for (word, wanted) in [
            ("timeout.idel", Some("timeout.idle")),
            ("timout.idle", Some("timeout.idle")),
            ("TIMEOUT.IDLE", Some("timeout.idle")),
            ("lisen", Some("listen")),
            ("worker", Some("workers")),
            ("loglevel", Some("log.level")),
            ("nonsense", None),
            ("", None),
        ] {
            assert_eq!(suggest(word, keys), wanted, "{word}");
        }
        assert_eq!(suggest(&"x".repeat(1_000_000), keys), None);
    }
}
