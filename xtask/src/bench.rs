//! `cargo xtask bench`: the micro-benchmarks of package `bench`, one at a time.
//!
//! The load harness is that package's program, and is run as such.

use crate::setup::{self, Purpose};
use crate::{metadata, run, shell};
use anyhow::{Context as _, Result, bail};

const HARNESS: &str =
    "The load harness is the package's program: `cargo run --release -p bench -- --help`";

/// `cargo xtask bench [NAME [ARGUMENT...]]`: without a name, says which there are.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    let known = names()?;
    let Some((name, rest)) = arguments.split_first() else {
        println!("benches: {}\n{HARNESS}", known.join(", "));
        return Ok(());
    };
    if !known.contains(name) {
        bail!(
            "there is no bench `{name}`; there are {}. {HARNESS}",
            known.join(", ")
        );
    }
    setup::ensure(Purpose::Build)?;
    run::kernel_program();
    // Some of them start the gateway.
    run::gateway()?;
    shell::run(
        shell::cargo()
            .args(["bench", "--package", "bench", "--bench", name, "--"])
            .args(rest),
    )
}

fn names() -> Result<Vec<String>> {
    let members = metadata::members()?;
    let package = members.iter().find(|package| package.name == "bench");
    let package = package.context("the workspace has no package `bench`")?;
    let benches = package.targets.iter().filter(|target| target.is("bench"));
    Ok(benches.map(|target| target.name.clone()).collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn benches_are_found_in_the_workspace() {
        let names = super::names().expect("cargo metadata");
        assert!(names.iter().any(|name| name == "rules"), "{names:?}");
    }
}
