//! Rooms: no circle of a crate's top modules crosses a folder.
//!
//! Reads what follows `crate::` and `super::` in what is shipped, so that a folder of a crate can be
//! read without those that rest on it. Circles among single files are not looked at: they are read
//! together.

use super::{Crate, Tree};
use std::collections::{BTreeMap, BTreeSet};

/// Top modules, and for each of those that they use a file that does.
type Arrows = BTreeMap<String, BTreeMap<String, String>>;

/// Circles through a folder, one line each.
pub(super) fn complaints(tree: &Tree) -> Vec<String> {
    tree.crates
        .iter()
        .filter_map(|package| circle(tree, package))
        .collect()
}

fn circle(tree: &Tree, package: &Crate) -> Option<String> {
    let source = format!("{}/src/", package.directory);
    let arrows = arrows(tree, &source);
    let folders = arrows
        .keys()
        .filter(|room| tree.paths.contains(&format!("{source}{room}/mod.rs")));
    for folder in folders {
        if let Some(way) = way_back(&arrows, folder) {
            let steps: Vec<String> = way
                .windows(2)
                .filter_map(|step| match step {
                    [from, to] => Some(format!("`{to}` by {}", arrows.get(from)?.get(to)?)),
                    _ => None,
                })
                .collect();
            return Some(format!(
                "{source}: the folder `{folder}` uses {}: move what both need below both",
                steps.join(", which uses ")
            ));
        }
    }
    None
}

/// The shortest way from a room to itself.
fn way_back(arrows: &Arrows, room: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![room.to_owned()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in way.last().and_then(|last| arrows.get(last))?.keys() {
                let mut further = way.clone();
                further.push(next.clone());
                if next == room {
                    return Some(further);
                }
                if arrows.contains_key(next) && seen.insert(next.clone()) {
                    longer.push(further);
                }
            }
        }
        ways = longer;
    }
    None
}

fn arrows(tree: &Tree, source: &str) -> Arrows {
    let is_room = |name: &str| {
        ["/mod.rs", ".rs"]
            .iter()
            .any(|end| tree.paths.contains(&format!("{source}{name}{end}")))
    };
    let root = tree.texts.get(&format!("{source}lib.rs"));
    let exported = root.map(|text| exported(text)).unwrap_or_default();
    let mut arrows = Arrows::new();
    for (path, text) in &tree.texts {
        let Some(file) = path.strip_prefix(source) else {
            continue;
        };
        let is_shipped = !file
            .split(['/', '.'])
            .any(|part| ["tests", "testing", "fuzz", "lib", "main"].contains(&part));
        if !is_shipped {
            continue;
        }
        let room = file.split(['/', '.']).next().unwrap_or_default();
        let depth = file.matches('/').count() + usize::from(!file.ends_with("mod.rs"));
        for name in used(&shipped(text), depth) {
            let name = exported.get(&name).unwrap_or(&name);
            if name != room && is_room(name) {
                let uses = arrows.entry(room.to_owned()).or_default();
                uses.entry(name.clone()).or_insert_with(|| path.clone());
            }
        }
    }
    arrows
}

/// From an item that the crate's root re-exports to the module that it comes from.
fn exported(root: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for statement in root.split(';') {
        let statement = statement.trim().rsplit('\n').next().unwrap_or_default();
        let Some(path) = statement.trim().strip_prefix("pub use ") else {
            continue;
        };
        let all: Vec<&str> = words(path)
            .filter(|word| !["self", "crate"].contains(word))
            .collect();
        if let [module, items @ ..] = all.as_slice() {
            for item in items {
                if item.starts_with(char::is_uppercase) {
                    found.insert((*item).to_owned(), (*module).to_owned());
                }
            }
        }
    }
    found
}

/// The first names after `crate::`, and after as many `super::` as lead to the root of the crate
/// from a module at this depth.
fn used(text: &str, depth: usize) -> BTreeSet<String> {
    let up = "super::".repeat(depth);
    let mut found = BTreeSet::new();
    let mut add = |rest: &str| match rest.strip_prefix('{') {
        None => found.extend(words(rest).next().map(str::to_owned)),
        Some(group) => {
            let group = group.split('}').next().unwrap_or_default();
            let first = |item: &str| words(item).next().map(str::to_owned);
            found.extend(group.split(',').filter_map(first));
        }
    };
    for rest in text.split("crate::").skip(1) {
        add(rest);
    }
    if depth > 0 {
        let mut text = text;
        while let Some((before, rest)) = text.split_once(&up) {
            if !before.ends_with("super::") && !rest.starts_with("super::") {
                add(rest);
            }
            text = rest;
        }
    }
    found
}

/// What is shipped of a file: no comments, no tests.
fn shipped(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    text.lines().filter(is_code).collect::<Vec<_>>().join("\n")
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::complaints;

    #[test]
    fn circles_through_folders_are_found() {
        let root = ("a/src/lib.rs", "mod x;\nmod y;\npub use x::Thing;\n");
        for (what, files, found) in [
            (
                "one way",
                vec![("a/src/x/mod.rs", ""), ("a/src/y.rs", "use crate::x::one;")],
                false,
            ),
            (
                "both ways",
                vec![
                    ("a/src/x/mod.rs", "use crate::y;"),
                    ("a/src/y.rs", "use crate::x::one;"),
                ],
                true,
            ),
            (
                "by `super`, from a file of the folder",
                vec![
                    ("a/src/x/mod.rs", ""),
                    ("a/src/x/part.rs", "use super::super::y::two;"),
                    ("a/src/y.rs", "use super::x::one;"),
                ],
                true,
            ),
            (
                "by what the root exports",
                vec![
                    ("a/src/x/mod.rs", "use crate::{limits, y};"),
                    ("a/src/y.rs", "use crate::Thing;"),
                ],
                true,
            ),
            (
                "over a third",
                vec![
                    ("a/src/x/mod.rs", "use crate::y;"),
                    ("a/src/y.rs", "use crate::z::a;"),
                    ("a/src/z.rs", "use crate::x;"),
                ],
                true,
            ),
            (
                "in comments and tests only",
                vec![
                    (
                        "a/src/x/mod.rs",
                        "//! [`crate::y`]\n#[cfg(test)]\nmod tests { use crate::y; }",
                    ),
                    ("a/src/y.rs", "use crate::x;"),
                ],
                false,
            ),
            (
                "of files alone",
                vec![
                    ("a/src/x.rs", "use crate::y;"),
                    ("a/src/y.rs", "use crate::x;"),
                ],
                false,
            ),
        ] {
            let all: Vec<(&str, &str)> = files.into_iter().chain([root]).collect();
            let complaints = complaints(&tree(&all, &[("a", "a")]));
            assert_eq!(!complaints.is_empty(), found, "{what}: {complaints:?}");
        }
    }
}
