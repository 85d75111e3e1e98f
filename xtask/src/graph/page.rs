//! The graph that ARCHITECTURE.md draws, and where it differs from Cargo's.
//!
//! The page's block holds one crate a line, `name → a, b, c`; a line that begins with a blank goes on
//! with the one before it.

use super::Arrows;
use std::collections::{BTreeMap, BTreeSet};

/// The page that draws the graph.
pub(super) const NAME: &str = "ARCHITECTURE.md";

/// The heading above the block.
const HEADING: &str = "## The crates";

/// A crate on the page.
struct Drawn {
    /// The line it begins in, from 1.
    line: usize,
    needs: BTreeSet<String>,
}

/// Everything that differs, one sentence each. `place` says where one crate needs another.
pub(super) fn differences(
    text: &str,
    arrows: &Arrows,
    place: &dyn Fn(&str, &str) -> String,
) -> Vec<String> {
    let (drawn, mut complaints) = match read(text) {
        Ok(read) => read,
        Err(complaint) => return vec![complaint],
    };
    for (name, needs) in arrows {
        let Some(Drawn { line, needs: page }) = drawn.get(name) else {
            complaints.push(format!(
                "{NAME}: the crate `{name}` is missing below `{HEADING}`; add the line `{}`",
                entry(name, needs)
            ));
            continue;
        };
        for need in needs.difference(page) {
            complaints.push(format!(
                "{NAME}:{line}: the arrow `{name} → {need}` is missing; {} has it",
                place(name, need)
            ));
        }
        for need in page.difference(needs) {
            complaints.push(format!(
                "{NAME}:{line}: the arrow `{name} → {need}` is extra; {} has no such dependency",
                place(name, need)
            ));
        }
    }
    let gone = drawn.iter().filter(|(name, _)| !arrows.contains_key(*name));
    complaints.extend(gone.map(|(name, Drawn { line, .. })| {
        format!("{NAME}:{line}: the workspace has no crate `{name}`")
    }));
    complaints
}

fn entry(name: &str, needs: &BTreeSet<String>) -> String {
    let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
    format!("{name} → {}", needs.join(", "))
        .trim_end()
        .to_owned()
}

/// The crates of the block, and what cannot be understood of it.
fn read(text: &str) -> Result<(BTreeMap<String, Drawn>, Vec<String>), String> {
    let mut drawn = BTreeMap::new();
    let mut complaints = Vec::new();
    let mut current: Option<String> = None;
    for (line, content) in block(text)? {
        let goes_on = content.starts_with(char::is_whitespace);
        let needs = match content.split_once('→') {
            Some((name, needs)) if !goes_on => {
                let name = name.trim().to_owned();
                if drawn.contains_key(&name) {
                    complaints.push(format!(
                        "{NAME}:{line}: the crate `{name}` stands here twice"
                    ));
                }
                let fresh = Drawn {
                    line,
                    needs: BTreeSet::new(),
                };
                drawn.entry(name.clone()).or_insert(fresh);
                current = Some(name);
                needs
            }
            None if goes_on && current.is_some() => content,
            _ => {
                complaints.push(format!(
                    "{NAME}:{line}: `{}` is not of the form `name → a, b`",
                    content.trim()
                ));
                continue;
            }
        };
        let needs = needs
            .split(',')
            .map(str::trim)
            .filter(|need| !need.is_empty());
        if let Some(entry) = current.as_ref().and_then(|name| drawn.get_mut(name)) {
            entry.needs.extend(needs.map(str::to_owned));
        }
    }
    Ok((drawn, complaints))
}

/// The lines of the fenced block below the heading, with their numbers; empty ones left out.
fn block(text: &str) -> Result<Vec<(usize, &str)>, String> {
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line));
    let heading = lines
        .by_ref()
        .find(|(_, line)| line.trim_end() == HEADING)
        .map(|(number, _)| number)
        .ok_or_else(|| {
            format!(
                "{NAME}: there is no heading `{HEADING}`; below it belongs what `cargo xtask graph` \
                 prints, in a fenced block"
            )
        })?;
    let unfenced = || format!("{NAME}:{heading}: no fenced block follows `{HEADING}`");
    let mut section = lines.take_while(|(_, line)| !line.starts_with("## "));
    section
        .by_ref()
        .find(|(_, line)| line.starts_with("```"))
        .ok_or_else(unfenced)?;
    let mut block = Vec::new();
    for (number, line) in section {
        if line.trim_end() == "```" {
            return Ok(block);
        }
        if !line.trim().is_empty() {
            block.push((number, line));
        }
    }
    Err(unfenced())
}

#[cfg(test)]
mod tests {
    use super::differences;
    use crate::graph::{Arrows, arrows, drawing};
    use crate::metadata::tests::made_up;

    fn ours() -> Arrows {
        arrows(&made_up("words:\nrules: words\ntls: words\nprogram: rules tls").0)
    }

    fn page(block: &str) -> String {
        format!("# A\n\n## The crates\n\nSome words.\n\n```text\n{block}```\n\n## More\n")
    }

    fn compare(text: &str) -> Vec<String> {
        differences(text, &ours(), &|from, _| format!("{from}/Cargo.toml:7"))
    }

    #[test]
    fn what_is_printed_is_what_the_page_may_say() {
        let none: [&str; 0] = [];
        assert_eq!(compare(&page(&drawing(&ours()))), none);
        let aligned = "words   →\nrules   → words\ntls     → words\nprogram → rules,\n    tls\n";
        assert_eq!(compare(&page(aligned)), none);
    }

    #[test]
    fn each_difference_is_named_with_its_place() {
        for (block, expected) in [
            (
                "program → rules\nrules → words\ntls → words\nwords →\n",
                "ARCHITECTURE.md:8: the arrow `program → tls` is missing; program/Cargo.toml:7 has \
                 it",
            ),
            (
                "program → rules, tls\nrules → words, tls\ntls → words\nwords →\n",
                "ARCHITECTURE.md:9: the arrow `rules → tls` is extra; rules/Cargo.toml:7 has no \
                 such dependency",
            ),
            (
                "program → rules, tls\nrules → words\nwords →\n",
                "ARCHITECTURE.md: the crate `tls` is missing below `## The crates`; add the line \
                 `tls → words`",
            ),
            (
                "program → rules, tls\nrules → words\ntls → words\nwords →\nold → words\n",
                "ARCHITECTURE.md:12: the workspace has no crate `old`",
            ),
            (
                "program → rules, tls\nrules → words\ntls → words\nwords →\nwords →\n",
                "ARCHITECTURE.md:12: the crate `words` stands here twice",
            ),
            (
                "program → rules, tls\nrules → words\ntls → words\nwords →\nwords\n",
                "ARCHITECTURE.md:12: `words` is not of the form `name → a, b`",
            ),
        ] {
            assert_eq!(compare(&page(block)), [expected], "{block}");
        }
    }

    #[test]
    fn a_page_without_the_block_is_complained_about() {
        for text in [
            "# A\n",
            "## The crates\n\nwords\n",
            "## The crates\n\nwords\n\n## More\n\n```\nwords →\n```\n",
            "## The crates\n\n```\nwords →\n",
        ] {
            assert_eq!(compare(text).len(), 1, "{text}");
        }
    }
}
