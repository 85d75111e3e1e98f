//! Rules for one source file.

/// Longest source file in lines. A longer one holds two things that each deserve a name.
const LINES_MAX: usize = 700;

/// Words that mark work left undone, each in two parts so that this file does not break its own rule.
const UNDONE: &[(&str, &str)] = &[
    ("to", "do!("),
    ("unimplemen", "ted!("),
    ("TO", "DO"),
    ("FIX", "ME"),
];

/// What is wrong with one source file.
pub(super) fn complaints(name: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if !text.starts_with("//!") {
        complaints.push(format!(
            "{name}:1: the file does not open with `//!`: say what it owns and what it does not"
        ));
    }
    let count = text.lines().count();
    if count > LINES_MAX {
        complaints.push(format!(
            "{name}: {count} lines, at most {LINES_MAX}: split it by what it holds"
        ));
    }
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let undone = UNDONE
            .iter()
            .find(|(head, tail)| line.contains(&format!("{head}{tail}")));
        if let Some((head, tail)) = undone {
            complaints.push(format!(
                "{name}:{number}: `{head}{tail}` marks unfinished work: finish it or leave it out"
            ));
        }
        if line.trim() == "#[ignore]" {
            complaints.push(format!(
                "{name}:{number}: a skipped test needs a reason: `#[ignore = \"why\"]`"
            ));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::complaints;

    #[test]
    fn a_source_file_is_complained_about_for_each_reason() {
        let long = format!("//! Much.\n{}", "\n".repeat(700));
        for (text, expected) in [
            ("//! Fine.\nfn main() {}\n", 0),
            ("fn main() {}\n", 1),
            ("//! Undone.\nfn main() { to-do }\n", 0),
            (&format!("//! Undone.\nfn main() {{ {}do!() }}\n", "to"), 1),
            ("//! Skipped.\n#[test]\n#[ignore]\nfn t() {}\n", 1),
            (
                "//! Skipped.\n#[test]\n#[ignore = \"needs a network\"]\nfn t() {}\n",
                0,
            ),
            (&long, 1),
        ] {
            let complaints = complaints("x.rs", text);
            assert_eq!(complaints.len(), expected, "{text:.40}: {complaints:?}");
        }
    }
}
