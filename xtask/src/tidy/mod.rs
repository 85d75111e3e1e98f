//! The house rules, as a test: what a reviewer would otherwise have to say again and again.
//!
//! Reads file names and lines, never meaning; what the compiler and clippy can check is theirs. This
//! file gathers the tree and says what may stand at its top; each kind of rule has a file of its own.

mod documents;
mod folders;
mod markdown;
mod rooms;
mod source;
mod unsafe_code;

use crate::{metadata, shell};
use anyhow::{Context as _, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// What may stand at the top. Names that begin with a dot are tools' own and not listed here.
const TOP: &[&str] = &[
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "bench",
    "deny.toml",
    "ebpf",
    "gateway",
    "rustfmt.toml",
    "target",
    "tests",
    "xtask",
];

/// Directories that hold nothing of ours, wherever they lie.
const FOREIGN: &[&str] = &[".git", "node_modules", "target"];

/// Everything that the rules look at. Paths are relative to the top and divided by `/`.
#[derive(Debug, Default)]
struct Tree {
    /// Every file and directory.
    paths: BTreeSet<String>,
    /// What sources (`.rs`) and documents (`.md`) say.
    texts: BTreeMap<String, String>,
    /// Our crates.
    crates: Vec<Crate>,
}

/// One of our crates.
#[derive(Debug)]
struct Crate {
    name: String,
    directory: String,
    /// The files from which its libraries and programs begin.
    roots: Vec<String>,
}

/// `cargo xtask tidy`.
pub(crate) fn command() -> Result<()> {
    let tree = Tree::read(&shell::root())?;
    let mut complaints = tree.complaints();
    complaints.extend(unsafe_code::complaints(&tree));
    for complaint in &complaints {
        println!("{complaint}");
    }
    match complaints.len() {
        0 => Ok(()),
        1 => bail!("one house rule is broken"),
        count => bail!("{count} house rules are broken"),
    }
}

impl Tree {
    fn read(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        tree.add(root, "")?;
        for package in metadata::members()? {
            let relative = |path: &Path| {
                let path = path.strip_prefix(root).unwrap_or(path);
                path.to_string_lossy().into_owned()
            };
            let shipped = package.targets.iter().filter(|target| {
                ["lib", "proc-macro", "bin"]
                    .iter()
                    .any(|kind| target.is(kind))
            });
            tree.crates.push(Crate {
                directory: relative(package.directory()),
                roots: shipped.map(|target| relative(&target.source)).collect(),
                name: package.name,
            });
        }
        Ok(tree)
    }

    fn add(&mut self, root: &Path, directory: &str) -> Result<()> {
        let path = root.join(directory);
        let listing =
            fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))?;
        for entry in listing {
            let entry = entry.with_context(|| format!("cannot read {}", path.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if FOREIGN.contains(&name.as_str()) {
                continue;
            }
            let name = match directory {
                "" => name,
                _ => format!("{directory}/{name}"),
            };
            let kind = entry
                .file_type()
                .with_context(|| format!("cannot tell what {name} is"))?;
            if kind.is_dir() {
                self.add(root, &name)?;
            } else if kind.is_file() && (name.ends_with(".rs") || name.ends_with(".md")) {
                let text = fs::read_to_string(entry.path())
                    .with_context(|| format!("cannot read {name}"))?;
                self.texts.insert(name.clone(), text);
            }
            self.paths.insert(name);
        }
        Ok(())
    }

    /// What is wrong with the names, sources and documents, one line each.
    fn complaints(&self) -> Vec<String> {
        let mut complaints = self.top();
        for (name, text) in &self.texts {
            if name.ends_with(".rs") {
                complaints.extend(source::complaints(name, text));
            }
        }
        complaints.extend(documents::complaints(self));
        complaints.extend(folders::complaints(self));
        complaints.extend(rooms::complaints(self));
        complaints
    }

    fn top(&self) -> Vec<String> {
        self.paths
            .iter()
            .filter(|name| {
                let known = name.starts_with('.') || TOP.contains(&name.as_str());
                !name.contains('/') && !known
            })
            .map(|name| format!("{name}: the top level holds only {}", TOP.join(", ")))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Crate, Tree};
    use crate::shell;

    /// A tree of files with what they say, and crates by name and directory, each with `src/lib.rs`.
    pub(super) fn tree(files: &[(&str, &str)], crates: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        for (name, text) in files {
            for (end, _) in name.match_indices('/') {
                tree.paths.insert(name[..end].to_owned());
            }
            tree.paths.insert((*name).to_owned());
            tree.texts.insert((*name).to_owned(), (*text).to_owned());
        }
        tree.crates = crates
            .iter()
            .map(|(name, directory)| Crate {
                name: (*name).to_owned(),
                directory: (*directory).to_owned(),
                roots: vec![format!("{directory}/src/lib.rs")],
            })
            .collect();
        tree
    }

    #[test]
    fn this_tree_keeps_the_house_rules() {
        let tree = Tree::read(&shell::root()).expect("our own tree");
        let complaints = tree.complaints();
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }

    #[test]
    fn the_top_level_holds_what_is_listed() {
        let names = [
            "SECURITY.md",
            "notes.txt",
            ".editorconfig",
            "gateway/notes.txt",
        ];
        let tree = tree(&names.map(|name| (name, "")), &[]);
        let complaints = tree.top();
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(complaints[0].starts_with("notes.txt: "), "{complaints:?}");
    }

    #[test]
    fn built_things_are_not_ours() {
        let tree = Tree::read(&shell::root()).expect("our own tree");
        assert!(tree.paths.contains("xtask/src/tidy/mod.rs"));
        let foreign = |path: &&String| path.split('/').any(|part| part == "target");
        assert_eq!(tree.paths.iter().find(foreign), None);
        assert!(tree.crates.iter().any(|ours| ours.directory == "xtask"));
    }
}
