//! `cargo xtask check`: what a change has to pass. Every step runs, so that one call shows all that is wrong.

use crate::setup::{self, Purpose};
use crate::{graph, kernel, run, shell, tidy};
use anyhow::{Result, bail};

/// A step's name and what it does.
type Step = (&'static str, fn() -> Result<()>);

const STEPS: &[Step] = &[
    ("formatting", || {
        shell::run(shell::cargo().args(["fmt", "--all", "--check"]))
    }),
    ("house rules", tidy::command),
    ("crate graph", graph::check),
    ("lints", || {
        shell::run(
            shell::cargo()
                .args(["clippy", "--release", "--workspace", "--all-targets", "--"])
                .args(["--deny", "warnings"]),
        )
    }),
    ("lints of the kernel program", kernel::lint),
    ("documentation", || {
        shell::run(
            shell::cargo()
                .args([
                    "doc",
                    "--release",
                    "--workspace",
                    "--no-deps",
                    "--lib",
                    "--document-private-items",
                ])
                // Private items are documented too, so links to them lead somewhere.
                .env(
                    "RUSTDOCFLAGS",
                    "--deny warnings --allow rustdoc::private-intra-doc-links",
                ),
        )
    }),
    ("tests", || run::test(&[])),
];

/// Runs every step and names those that failed.
pub(crate) fn check() -> Result<()> {
    setup::ensure(Purpose::Test)?;
    run::kernel_program();
    let mut failed = Vec::new();
    for (index, (name, step)) in STEPS.iter().enumerate() {
        eprintln!("[{}/{}] {name}", index + 1, STEPS.len());
        if let Err(error) = step() {
            eprintln!("{name}: {error:#}");
            failed.push(*name);
        }
    }
    if failed.is_empty() {
        println!("all {} checks passed", STEPS.len());
        return Ok(());
    }
    bail!("failed: {}", failed.join(", "))
}
