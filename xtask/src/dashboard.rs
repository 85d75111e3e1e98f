//! The dashboard: its page, built with Node into the target directory, where the crate `admin` finds
//! it. Without Node, a gateway is built whose page says so.

use crate::{setup, shell};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// What to do when it cannot be built.
pub(crate) const ADVICE: &str = "`cargo xtask setup` brings Node and npm, or says what to type";

fn sources() -> PathBuf {
    shell::root().join("gateway/dashboard")
}

/// The lock file that what lies in `node_modules` was installed by.
fn note() -> PathBuf {
    sources().join("node_modules/.installed-by")
}

/// Installs what the page is made of: by the lock file, with its digests. No script of a package is
/// run.
///
/// # Errors
/// There is no npm, or a package cannot be had.
pub(crate) fn packages() -> Result<()> {
    let lock = sources().join("package-lock.json");
    let lock =
        fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    if fs::read_to_string(note()).is_ok_and(|noted| noted == lock) {
        return Ok(());
    }
    let npm = shell::find("npm").context("there is no npm")?;
    let mut install = Command::new(npm);
    install.current_dir(sources()).args(setup::NPM_INSTALL);
    shell::run(&mut install)?;
    fs::write(note(), lock).context("cannot note that the packages are installed")
}

/// Builds the page. What has not changed is not written again.
///
/// # Errors
/// There is no Node, or the sources are wrong.
pub(crate) fn build() -> Result<()> {
    let node = shell::find("node").context("there is no node")?;
    packages()?;
    let mut build = Command::new(node);
    build.current_dir(sources()).arg("build.mjs");
    shell::run(build.arg(shell::target().join("dashboard")))
}

/// `cargo xtask dashboard`: builds the page and checks its types.
///
/// # Errors
/// As [`build`], or a type is wrong.
pub(crate) fn command() -> Result<()> {
    build()?;
    check()
}

/// Checks the types of the sources; nothing when there is no Node.
///
/// # Errors
/// A type is wrong.
pub(crate) fn check() -> Result<()> {
    let Some(node) = shell::find("node") else {
        eprintln!("skipped: needs node. {ADVICE}");
        return Ok(());
    };
    packages()?;
    let mut check = Command::new(node);
    check.current_dir(sources());
    shell::run(check.args(["node_modules/typescript/bin/tsc", "--noEmit"]))
}

/// Builds the page, or says plainly that it is left out.
pub(crate) fn build_or_warn() {
    if let Err(error) = build() {
        eprintln!("warning: the gateway will have no dashboard: {error:#}. {ADVICE}");
    }
}
