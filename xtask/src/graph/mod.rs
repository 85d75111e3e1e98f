//! Which of our crates depends on which: printed, compared with ARCHITECTURE.md, and walled off.
//!
//! Prose drifts, so the page's graph has to equal Cargo's. Dependencies for tests do not count as
//! arrows.

mod page;
mod walls;

use crate::metadata::{self, Kind, Package};
use crate::shell;
use anyhow::{Context as _, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Crate to the crates of ours that it needs.
type Arrows = BTreeMap<String, BTreeSet<String>>;

/// Longest printed line, in columns: what the documents keep to.
const COLUMNS_MAX: usize = 102;

/// `cargo xtask graph`.
pub(crate) fn command() -> Result<()> {
    print!("{}", drawing(&arrows(&metadata::members()?)));
    Ok(())
}

/// What `lint` asks: the page's graph is Cargo's, and no crate reaches one that it must not.
pub(crate) fn check() -> Result<()> {
    let packages = metadata::members()?;
    let root = shell::root();
    let page = fs::read_to_string(root.join(page::NAME))
        .with_context(|| format!("cannot read {}", page::NAME))?;
    let mut complaints = page::differences(&page, &arrows(&packages), &|from, to| {
        place(&packages, from, to)
    });
    complaints.extend(walls::breaches(&metadata::resolved()?));
    for complaint in &complaints {
        println!("{complaint}");
    }
    if complaints.is_empty() {
        return Ok(());
    }
    bail!(
        "{} wrong with the graph of our crates (`cargo xtask graph` prints what it is)",
        match complaints.len() {
            1 => "one thing is".to_owned(),
            count => format!("{count} things are"),
        }
    )
}

/// The arrows among our crates that a build follows.
fn arrows(packages: &[Package]) -> Arrows {
    let ours: BTreeSet<&str> = packages.iter().map(|package| &*package.name).collect();
    packages
        .iter()
        .map(|package| {
            let needs = package.dependencies.iter().filter(|dependency| {
                dependency.local && dependency.kind != Kind::Dev && ours.contains(&*dependency.name)
            });
            let needs = needs.map(|dependency| dependency.name.clone()).collect();
            (package.name.clone(), needs)
        })
        .collect()
}

/// The graph as the page has it: a crate stands above all that it needs.
fn drawing(arrows: &Arrows) -> String {
    let mut names: Vec<&String> = arrows.keys().collect();
    names.sort_by_key(|name| (std::cmp::Reverse(height(arrows, name, 0)), *name));
    let mut drawing = String::new();
    for name in names {
        let mut line = format!("{name} →");
        let indent = " ".repeat(line.chars().count());
        for (index, need) in arrows.get(name).into_iter().flatten().enumerate() {
            if index > 0 {
                line.push(',');
            }
            // One column is kept for the comma.
            if line.chars().count() + need.chars().count() + 2 > COLUMNS_MAX {
                drawing.push_str(&line);
                drawing.push('\n');
                line.clone_from(&indent);
            }
            line.push(' ');
            line.push_str(need);
        }
        drawing.push_str(&line);
        drawing.push('\n');
    }
    drawing
}

/// The length of the longest way down from a crate.
fn height(arrows: &Arrows, name: &str, depth: usize) -> usize {
    // Cargo refuses circles; the bound is for metadata that is not Cargo's.
    if depth > arrows.len() {
        return depth;
    }
    let needs = arrows.get(name).into_iter().flatten();
    needs
        .map(|need| height(arrows, need, depth + 1) + 1)
        .max()
        .unwrap_or(0)
}

/// Where `from` says that it needs `to`: its manifest, with the line if there is one.
fn place(packages: &[Package], from: &str, to: &str) -> String {
    let Some(package) = packages.iter().find(|package| package.name == from) else {
        return format!("the manifest of `{from}`");
    };
    let root = shell::root();
    let manifest = package.manifest.strip_prefix(&root);
    let manifest = manifest.unwrap_or(&package.manifest).display().to_string();
    let line = fs::read_to_string(&package.manifest)
        .ok()
        .and_then(|text| line_of(&text, to));
    match line {
        Some(line) => format!("{manifest}:{line}"),
        None => manifest,
    }
}

/// The line in which a manifest names a dependency that is built into the crate.
fn line_of(manifest: &str, name: &str) -> Option<usize> {
    let mut counts = false;
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            counts = section.ends_with("dependencies") && !section.ends_with("dev-dependencies");
            if section
                .rsplit_once('.')
                .is_some_and(|(table, key)| table.ends_with("dependencies") && key == name)
            {
                return Some(index + 1);
            }
        } else if counts {
            let key = line.split(['=', '.', ' ']).next().unwrap_or_default();
            if key.trim_matches('"') == name {
                return Some(index + 1);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{arrows, drawing, line_of};
    use crate::metadata::tests::made_up;

    #[test]
    fn the_graph_holds_our_crates_and_what_is_built_into_them() {
        let (packages, _) = made_up(
            "words:\nrules: words dev:tests\ntls: words boring\nprogram: tls rules\n\
             tests: program\n--\nboring:",
        );
        assert_eq!(
            drawing(&arrows(&packages)),
            "tests → program\nprogram → rules, tls\nrules → words\ntls → words\nwords →\n"
        );
    }

    #[test]
    fn a_long_line_goes_on_below_its_arrow() {
        let names: Vec<String> = (10..30).map(|number| format!("crate_{number}")).collect();
        let lines: String = names.iter().map(|name| format!("{name}:\n")).collect();
        let (packages, _) = made_up(&format!("top: {}\n{}", names.join(" "), lines.trim()));
        let drawing = drawing(&arrows(&packages));
        let lines: Vec<&str> = drawing.lines().take(3).collect();
        assert!(lines[0].starts_with("top → crate_10, ") && lines[0].ends_with(','));
        assert!(lines[1].starts_with("      crate_"), "{}", lines[1]);
        assert!(drawing.lines().all(|line| line.chars().count() <= 102));
    }

    #[test]
    fn a_dependency_is_found_in_its_manifest() {
        let manifest = "[package]\nname = \"tls\"\n\n[dependencies]\nboring.workspace = true\n\
                        rules-x = \"1\"\nrules = { path = \"../rules\" }\n\n[dev-dependencies]\n\
                        tests.workspace = true\n\n[target.'cfg(unix)'.dependencies]\nlibc = \"1\"\n\
                        [dependencies.words]\npath = \"../words\"\n";
        for (name, expected) in [
            ("boring", Some(5)),
            ("rules", Some(7)),
            ("tests", None),
            ("libc", Some(13)),
            ("words", Some(14)),
            ("name", None),
        ] {
            assert_eq!(line_of(manifest, name), expected, "{name}");
        }
    }
}
