//! The house rules, as a test: what a reviewer would otherwise have to say again and again.
//!
//! Reads file names and lines, never meaning; what the compiler and clippy can judge is theirs.

use crate::shell;
use anyhow::{Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Longest source file in lines. A longer one holds two things that each deserve a name.
const LINES_MAX: usize = 700;

/// What may stand at the top. Names that begin with a dot are tools' own and not listed here.
const TOP: &[&str] = &[
    "ARCHITECTURE.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "bench",
    "ebpf",
    "gateway",
    "target",
    "tests",
    "xtask",
];

/// Where sources are.
const MEMBERS: &[&str] = &["bench", "ebpf", "gateway", "tests", "xtask"];

/// Words that mark work left undone, each in two parts so that this file does not break its own rule.
const UNDONE: &[(&str, &str)] = &[
    ("to", "do!("),
    ("unimplemen", "ted!("),
    ("TO", "DO"),
    ("FIX", "ME"),
];

/// `cargo xtask tidy`.
pub(crate) fn command() -> Result<()> {
    let complaints = tree(&shell::root());
    for complaint in &complaints {
        println!("{complaint}");
    }
    match complaints.len() {
        0 => Ok(()),
        1 => bail!("one house rule is broken"),
        count => bail!("{count} house rules are broken"),
    }
}

/// Everything that is wrong below `root`, one line each.
fn tree(root: &Path) -> Vec<String> {
    let mut complaints = top(root);
    for member in MEMBERS {
        for path in sources(&root.join(member)) {
            let name = path
                .strip_prefix(root)
                .unwrap_or(&path)
                .display()
                .to_string();
            match fs::read_to_string(&path) {
                Ok(text) => complaints.extend(source(&name, &text)),
                Err(error) => complaints.push(format!("{name}: cannot be read: {error}")),
            }
        }
    }
    if let Ok(text) = fs::read_to_string(root.join("ARCHITECTURE.md")) {
        let exists = |path: &str| {
            ["", "gateway", "gateway/src"]
                .iter()
                .any(|base| root.join(base).join(path).exists())
        };
        complaints.extend(page("ARCHITECTURE.md", &text, exists));
    }
    complaints
}

fn top(root: &Path) -> Vec<String> {
    let names = fs::read_dir(root).into_iter().flatten().flatten();
    names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && !TOP.contains(&name.as_str()))
        .map(|name| format!("{name}: the top level holds only {}", TOP.join(", ")))
        .collect()
}

/// The Rust files below a directory, in order.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    let mut found = Vec::new();
    for path in entries {
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// What is wrong with one source file.
fn source(name: &str, text: &str) -> Vec<String> {
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

/// Paths in a page that lead nowhere. A path is a word in backquotes with a slash at its end, or a Rust file.
fn page(name: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut complaints = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let words = line.split('`').skip(1).step_by(2);
        let stale = words.filter(|word| is_path(word) && !exists(word));
        complaints
            .extend(stale.map(|path| format!("{name}:{}: `{path}` does not exist", index + 1)));
    }
    complaints
}

fn is_path(word: &str) -> bool {
    let shaped = Path::new(word)
        .extension()
        .is_some_and(|extension| extension == "rs")
        || word.ends_with('/');
    let plain = word
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
    shaped && plain && !word.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::{page, source, tree};
    use crate::shell;

    #[test]
    fn this_tree_keeps_the_house_rules() {
        let complaints = tree(&shell::root());
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }

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
            let complaints = source("x.rs", text);
            assert_eq!(complaints.len(), expected, "{text:.40}: {complaints:?}");
        }
    }

    #[test]
    fn a_page_may_only_name_what_exists() {
        let text = "`worker.rs` and `gone.rs`\n`tls/` and `gone/`, `cargo xtask`, `a/b`, `/etc/postern/`\n";
        let complaints = page("P.md", text, |path| matches!(path, "worker.rs" | "tls/"));
        assert_eq!(
            complaints,
            [
                "P.md:1: `gone.rs` does not exist",
                "P.md:2: `gone/` does not exist"
            ]
        );
    }
}
