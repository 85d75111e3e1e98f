//! A rule for the page that says what belongs in which folder: it names every folder of the crates,
//! and no other.
//!
//! What the sentences say is a reviewer's to read.

use super::Tree;
use std::collections::BTreeSet;

/// The page.
const PAGE: &str = "gateway/docs/internals/folders.md";

/// What is wrong with the page, one line each.
pub(super) fn complaints(tree: &Tree) -> Vec<String> {
    let Some(text) = tree.texts.get(PAGE) else {
        return Vec::new();
    };
    let named = named(text);
    let mut complaints = Vec::new();
    for ours in tree.crates.iter().filter(|ours| shipped(&ours.directory)) {
        let directory = ours.directory.as_str();
        if !named.iter().any(|(section, _)| *section == directory) {
            complaints.push(format!("{PAGE}: has no section for `{directory}`"));
            continue;
        }
        let sources = format!("{directory}/src/");
        let there: BTreeSet<&str> = folders(tree, &sources).collect();
        let said: BTreeSet<&str> = named
            .iter()
            .filter(|(section, _)| *section == directory)
            .map(|(_, folder)| *folder)
            .filter(|folder| !folder.is_empty())
            .collect();
        for folder in there.difference(&said) {
            complaints.push(format!(
                "{PAGE}: `{directory}` has a folder `{folder}`, not named"
            ));
        }
        for folder in &said {
            let beside = format!("{directory}/{folder}");
            let within = format!("{sources}{folder}");
            if !tree.paths.contains(&within) && !tree.paths.contains(&beside) {
                complaints.push(format!("{PAGE}: `{directory}` has no folder `{folder}`"));
            }
        }
    }
    complaints
}

/// Whether a crate's folders have to be named: those of the product.
fn shipped(directory: &str) -> bool {
    directory == "gateway" || directory.starts_with("gateway/")
}

/// Folders with sources right below `sources`. Folders of tests need no sentence.
fn folders<'t>(tree: &'t Tree, sources: &'t str) -> impl Iterator<Item = &'t str> {
    tree.texts.keys().filter_map(move |name| {
        let (folder, _) = name.strip_prefix(sources)?.split_once('/')?;
        (folder != "tests").then_some(folder)
    })
}

/// Sections and the folders of their tables' first columns; an empty folder stands for the section
/// itself.
fn named(text: &str) -> Vec<(&str, &str)> {
    let mut section = "";
    let mut named = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.trim_matches('`');
            named.push((section, ""));
        } else if let Some(row) = line.strip_prefix("| `") {
            let first = row.split(" |").next().unwrap_or(row);
            let folders = first.split(',').map(|one| one.trim().trim_matches('`'));
            named.extend(folders.map(|folder| (section, folder)));
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::{PAGE, complaints};

    #[test]
    fn the_page_names_every_folder_and_no_other() {
        let page =
            "## `gateway/a`\n\n| folder | what |\n|---|---|\n| `x`, `y` | z |\n| `docs` | d |\n";
        let files = [
            (PAGE, page),
            ("gateway/a/src/lib.rs", ""),
            ("gateway/a/src/x/mod.rs", ""),
            ("gateway/a/src/new/mod.rs", ""),
            ("gateway/a/src/tests/mod.rs", ""),
            ("gateway/a/docs/page.md", ""),
            ("gateway/b/src/lib.rs", ""),
        ];
        let crates = [("a", "gateway/a"), ("b", "gateway/b"), ("xtask", "xtask")];
        let found = complaints(&tree(&files, &crates));
        assert_eq!(
            found,
            [
                format!("{PAGE}: `gateway/a` has a folder `new`, not named"),
                format!("{PAGE}: `gateway/a` has no folder `y`"),
                format!("{PAGE}: has no section for `gateway/b`"),
            ]
        );
    }
}
