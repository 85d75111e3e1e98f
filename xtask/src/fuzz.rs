//! `cargo xtask fuzz`: one target of `tests/fuzz` or `tests/fuzz-native` for a while.
//!
//! Those are workspaces of their own, for cargo-fuzz needs a nightly compiler; what needs BoringSSL
//! is in the second. New inputs go below `target/fuzz`; the corpora in the tree are only read, since
//! ordinary tests replay them and they stay small. An input that breaks a target lands in the
//! workspace's `artifacts/`, which git ignores.

use crate::{setup, shell};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::process::Command;

/// The workspaces of the targets, from the top of ours.
const DIRECTORIES: [&str; 2] = ["tests/fuzz", "tests/fuzz-native"];

/// How long a target runs unless it is said.
const SECONDS_DEFAULT: u64 = 60;

/// `cargo xtask fuzz [TARGET [SECONDS]]`: without a target, says which there are.
pub(crate) fn fuzz(arguments: &[String]) -> Result<()> {
    let known = known()?;
    let (target, seconds) = match arguments {
        [] => {
            println!("fuzz targets:");
            for (_, target) in &known {
                println!("  {target}");
            }
            return Ok(());
        }
        [target] => (target, SECONDS_DEFAULT),
        [target, seconds] => (target, read_seconds(seconds)?),
        _ => bail!("usage: cargo xtask fuzz [TARGET [SECONDS]]"),
    };
    let Some((directory, _)) = known.iter().find(|(_, one)| one == target) else {
        let names: Vec<&str> = known.iter().map(|(_, one)| one.as_str()).collect();
        bail!(
            "there is no fuzz target `{target}`; there are {}",
            names.join(", ")
        );
    };
    let rustup = shell::find("rustup");
    let toolchains = rustup
        .as_ref()
        .and_then(|rustup| shell::output(Command::new(rustup).args(["toolchain", "list"])));
    let nightly = toolchains.as_deref().and_then(nightly);
    let cargo_fuzz = shell::find("cargo-fuzz").is_some();
    match (&rustup, nightly) {
        (Some(rustup), Some(nightly)) if cargo_fuzz => {
            setup::compilers()?;
            let mut command = Command::new(rustup);
            command.args(["run", nightly]);
            start(&mut command, directory, target, seconds)
        }
        _ => bail!(
            "fuzzing needs more than is here:\n{}",
            missing(rustup.is_some(), nightly.is_some(), cargo_fuzz)
        ),
    }
}

/// `command` is what a command line of the nightly toolchain begins with.
fn start(command: &mut Command, directory: &str, target: &str, seconds: u64) -> Result<()> {
    let work = shell::target().join("fuzz");
    let found = work.join("corpus").join(target);
    fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    command
        .current_dir(shell::root())
        .args(["cargo", "fuzz", "run"])
        .args(["--fuzz-dir", directory])
        // Where ours compiles: another compiler must not fight over the same lock and caches.
        .arg("--target-dir")
        .arg(work.join("build"))
        // No address sanitizer: it would have BoringSSL built with clang, and there is hardly any
        // `unsafe` in what is fuzzed.
        .args(["--sanitizer", "none", target])
        // New inputs go to the first, and both are read.
        .arg(&found);
    let kept = shell::root().join(directory).join("corpus").join(target);
    if kept.is_dir() {
        command.arg(kept);
    }
    command.arg("--").arg(format!("-max_total_time={seconds}"));
    // What our own toolchain and cargo said of themselves is not true of these.
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    shell::run(command).with_context(|| {
        format!("what broke `{target}`, if it was built, is in {directory}/artifacts/{target}/")
    })?;
    println!(
        "`{target}` held for {seconds} s; new inputs are in {}",
        found.display()
    );
    Ok(())
}

/// Every target with its workspace.
fn known() -> Result<Vec<(&'static str, String)>> {
    let mut known = Vec::new();
    for directory in DIRECTORIES {
        let manifest = shell::root().join(directory).join("Cargo.toml");
        let text = fs::read_to_string(&manifest)
            .with_context(|| format!("cannot read {}", manifest.display()))?;
        known.extend(targets(&text).into_iter().map(|target| (directory, target)));
    }
    Ok(known)
}

/// The programs that the manifest names.
fn targets(manifest: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut program = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            program = line == "[[bin]]";
        } else if program
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == "name"
        {
            found.push(value.trim().trim_matches('"').to_owned());
        }
    }
    found
}

fn read_seconds(text: &str) -> Result<u64> {
    let seconds = text.parse().ok().filter(|seconds| *seconds > 0);
    seconds.with_context(|| format!("`{text}` is no number of seconds"))
}

/// The nightly toolchain among those that `rustup toolchain list` names.
fn nightly(list: &str) -> Option<&str> {
    let names = list
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name == "nightly" || name.starts_with("nightly-"))
        // One without a date before one with it.
        .min_by_key(|name| name.len())
}

/// What has to be installed first, one line each with its command.
fn missing(rustup: bool, nightly: bool, cargo_fuzz: bool) -> String {
    let wanted = [
        (rustup, "rustup, which finds toolchains: https://rustup.rs"),
        (
            nightly,
            "a nightly compiler: rustup toolchain install nightly --profile minimal",
        ),
        (cargo_fuzz, "cargo-fuzz: cargo install cargo-fuzz --locked"),
    ];
    let missing = wanted.iter().filter(|(there, _)| !there);
    let lines: Vec<String> = missing.map(|(_, what)| format!("  {what}")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::{missing, nightly, read_seconds, targets};
    use crate::shell;

    #[test]
    fn targets_are_the_programs_of_the_manifest() {
        let manifest = "[package]\nname = \"fuzz\"\n\n[[bin]]\nname = \"one\"\npath = \"a.rs\"\n\n\
                        [dependencies]\nname = \"x\"\n[[bin]]\npath = \"b.rs\"\nname=\"two\"\n";
        assert_eq!(targets(manifest), ["one", "two"]);
    }

    #[test]
    fn each_target_of_ours_has_its_file() {
        let known = super::known().expect("the manifests are there");
        assert!(known.len() > 10);
        for (directory, target) in known {
            let fuzzers = shell::root().join(directory).join("fuzzers");
            let file = fuzzers.join(format!("{target}.rs"));
            assert!(file.exists(), "{}", file.display());
        }
    }

    #[test]
    fn the_nightly_toolchain_is_found_among_others() {
        for (list, expected) in [
            (
                "stable-x86_64 (active, default)\nnightly-x86_64\n",
                Some("nightly-x86_64"),
            ),
            (
                "nightly-2026-01-02-x86_64\nnightly-x86_64\n",
                Some("nightly-x86_64"),
            ),
            (
                "nightly-2026-01-02-x86_64\n",
                Some("nightly-2026-01-02-x86_64"),
            ),
            ("stable-x86_64\n1.95.0-x86_64\n", None),
            ("", None),
        ] {
            assert_eq!(nightly(list), expected, "{list}");
        }
    }

    #[test]
    fn what_is_missing_is_said_with_its_command() {
        assert_eq!(missing(true, true, true), "");
        let all = missing(false, false, false);
        assert_eq!(all.lines().count(), 3, "{all}");
        assert!(missing(true, true, false).contains("cargo install cargo-fuzz"));
    }

    #[test]
    fn a_time_is_a_whole_number_of_seconds_above_zero() {
        for (text, expected) in [("5", Some(5)), ("0", None), ("-1", None), ("1m", None)] {
            assert_eq!(read_seconds(text).ok(), expected, "{text}");
        }
    }
}
