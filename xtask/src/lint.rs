//! `cargo xtask lint` and `cargo xtask check`: what a change has to pass.
//!
//! Every step runs, so that one call shows all that is wrong; the quick ones come first.

use crate::parts::{Outcome, Parts};
use crate::setup::{self, Purpose};
use crate::{dashboard, docs, features, graph, kernel, run, shell, tidy};
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

/// A step, by the name that it is chosen by.
#[derive(Clone, Copy)]
struct Step {
    name: &'static str,
    /// It compiles, so that what a build needs has to be there.
    builds: bool,
    run: fn() -> Result<Outcome>,
}

const LINTS: &[Step] = &[
    Step {
        name: "fmt",
        builds: false,
        run: || done(shell::run(shell::cargo().args(["fmt", "--all", "--check"]))),
    },
    Step {
        name: "tidy",
        builds: false,
        run: || done(tidy::command()),
    },
    Step {
        name: "graph",
        builds: false,
        run: || done(graph::check()),
    },
    Step {
        name: "features",
        builds: false,
        run: || done(features::check()),
    },
    Step {
        name: "deny",
        builds: false,
        run: deny,
    },
    Step {
        name: "clippy",
        builds: true,
        run: || done(clippy()),
    },
    Step {
        name: "clippy-bpf",
        builds: true,
        run: || done(kernel::lint()),
    },
    Step {
        name: "dashboard",
        builds: false,
        run: || done(dashboard::check()),
    },
    Step {
        name: "docs",
        builds: true,
        run: || done(docs::api()),
    },
];

/// `cargo xtask lint [STEP...]`: all steps, or those that are named.
pub(crate) fn lint(names: &[String]) -> Result<()> {
    steps(&chosen(names)?)
}

/// `cargo xtask check`: `lint`, and then the tests.
pub(crate) fn check() -> Result<()> {
    let mut all = LINTS.to_vec();
    all.push(Step {
        name: "test",
        builds: true,
        run: || done(run::test(&[])),
    });
    steps(&all)
}

fn steps(steps: &[Step]) -> Result<()> {
    let mut parts = Parts::new(steps.len() + 1);
    parts.run("set-up", || {
        components()?;
        if steps.iter().any(|step| step.builds) {
            setup::ensure(Purpose::Test)?;
            // What is built next embeds it: made later, it would have the gateway compiled again.
            run::kernel_program();
            dashboard::build_or_warn();
        }
        Ok(Outcome::Done)
    });
    for step in steps {
        parts.run(step.name, step.run);
    }
    parts.finish()
}

/// What rustup's smallest profile leaves out of a toolchain.
fn components() -> Result<()> {
    let rustc = shell::rustc();
    let rustc = Path::new(rustc.get_program());
    let there = |program: &str| match rustc.is_absolute() {
        // Elsewhere rustup puts stand-ins for programs that a toolchain may lack.
        true => rustc.with_file_name(program).is_file(),
        false => shell::find(program).is_some(),
    };
    let missing: Vec<&str> = [("clippy-driver", "clippy"), ("rustfmt", "rustfmt")]
        .iter()
        .filter(|(program, _)| !there(program))
        .map(|(_, component)| *component)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    match shell::find("rustup") {
        Some(rustup) => shell::run(
            Command::new(rustup)
                .args(["component", "add"])
                .args(missing),
        ),
        None => bail!(
            "install {} of the toolchain that `cargo` is of (Debian's packages: rust-clippy, rustfmt)",
            missing.join(" and ")
        ),
    }
}

fn chosen(names: &[String]) -> Result<Vec<Step>> {
    let known = || LINTS.iter().map(|step| step.name).collect::<Vec<_>>();
    if let Some(name) = names.iter().find(|name| !known().contains(&name.as_str())) {
        bail!(
            "lint has no step `{name}`; its steps are {}",
            known().join(", ")
        );
    }
    let wanted = |step: &&Step| names.is_empty() || names.iter().any(|name| name == step.name);
    Ok(LINTS.iter().filter(wanted).copied().collect())
}

fn done(result: Result<()>) -> Result<Outcome> {
    result.map(|()| Outcome::Done)
}

/// The host's half. The profile and the features are those of the tests, so that BoringSSL, which
/// build scripts make, is made once for both. No flag of the compiler is set: that would make all
/// anew.
fn clippy() -> Result<()> {
    shell::run(
        shell::cargo()
            .args(["clippy", "--release", "--workspace", "--all-targets", "--"])
            .args(["--deny", "warnings"]),
    )
}

/// Licences, advisories and sources of what we link.
fn deny() -> Result<Outcome> {
    if shell::find("cargo-deny").is_none() {
        return Ok(Outcome::Skipped(
            "needs cargo-deny (cargo install cargo-deny --locked)",
        ));
    }
    done(shell::run(shell::cargo().args(["deny", "check"])))
}

#[cfg(test)]
mod tests {
    use super::{LINTS, chosen};

    #[test]
    fn steps_are_chosen_by_name_and_all_without_one() {
        let names = |names: &[&str]| -> Option<Vec<&str>> {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let steps = chosen(&names).ok()?;
            Some(steps.iter().map(|step| step.name).collect())
        };
        assert_eq!(names(&[]).map(|steps| steps.len()), Some(LINTS.len()));
        assert_eq!(names(&["graph", "fmt"]), Some(vec!["fmt", "graph"]));
        assert_eq!(names(&["fmt", "clipy"]), None);
    }
}
