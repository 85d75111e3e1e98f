//! Whether a build of the gateway alone and one of the whole workspace want the same of the crates that both
//! have. Where they do not, cargo builds such a crate twice, and all that stands on it: BoringSSL among them,
//! which takes minutes.

use crate::shell;
use anyhow::{Context as _, Result, bail};
use std::collections::{BTreeMap, BTreeSet};

/// Crates whose features may differ: what stands on them is little.
const MAY_DIFFER: &[&str] = &["strum", "zerocopy"];

/// The sets of features that are wanted of a crate. What build scripts stand on is not looked at.
type Wanted = BTreeMap<String, BTreeSet<String>>;

/// The step of `cargo xtask lint`.
pub(crate) fn check() -> Result<()> {
    let alone = tree(&["--package", "gateway", "--edges", "normal"])?;
    let whole = tree(&["--workspace", "--edges", "normal,dev"])?;
    let told = differing(&alone, &whole);
    if told.is_empty() {
        return Ok(());
    }
    bail!(
        "the workspace wants other features than the gateway alone, so that these are built twice, and all that \
         stands on them: name the features in the workspace's Cargo.toml, or do without them\n{}",
        told.join("\n")
    )
}

fn tree(which: &[&str]) -> Result<Wanted> {
    let mut cargo = shell::cargo();
    cargo.args([
        "tree", "--locked", "--prefix", "none", "--format", "{p}|{f}",
    ]);
    let text = shell::output(cargo.args(which)).context("cargo tree failed")?;
    Ok(wanted(&text))
}

fn wanted(text: &str) -> Wanted {
    let mut wanted = Wanted::new();
    for line in text.lines() {
        let line = line.trim_end_matches(" (*)");
        if let Some((name, features)) = line.split_once('|') {
            let of = wanted.entry(name.to_owned()).or_default();
            of.insert(features.to_owned());
        }
    }
    wanted
}

fn differing(alone: &Wanted, whole: &Wanted) -> Vec<String> {
    let mut told = Vec::new();
    for (name, wanted) in alone {
        let may = |one: &&str| {
            name.strip_prefix(*one)
                .is_some_and(|rest| rest.starts_with(' '))
        };
        if MAY_DIFFER.iter().any(may) {
            continue;
        }
        let Some(there) = whole.get(name) else {
            continue;
        };
        for features in wanted.difference(there) {
            let all: Vec<&str> = there.iter().map(String::as_str).collect();
            told.push(format!(
                "  {name}: {features}\n    in the workspace: {}",
                all.join("; ")
            ));
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_otherwise_is_told() {
        let alone = wanted("a v1|std\nb v2|\nb v2|x (*)\nstrum v1|derive\nonly v1|\n");
        let same = wanted("a v1|std\nb v2|\nb v2|x\nstrum v1|default,derive\n\n");
        assert!(differing(&alone, &same).is_empty());
        let other = wanted("a v1|alloc,std\nb v2|\nb v2|x\n");
        let told = differing(&alone, &other);
        assert_eq!(told.len(), 1);
        assert!(told[0].contains("a v1: std") && told[0].contains("alloc,std"));
    }
}
