//! Debian's package manager: what it could install, and installing it.
//!
//! Never removes a package, never asks a question. Knows nothing about why a package is wanted.

use crate::shell;
use anyhow::{Context as _, Result, bail};
use std::process::Command;

/// How packages can be installed from here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Access {
    /// We are root.
    Root,
    /// `sudo` works without asking.
    Sudo,
    /// Apt is there, but this user may not use it without a password.
    Denied,
    /// This is no Debian.
    NoApt,
}

impl Access {
    pub(crate) fn probe() -> Self {
        if shell::find("apt-get").is_none() {
            return Self::NoApt;
        }
        if shell::output(Command::new("id").arg("-u")).is_some_and(|id| id.trim() == "0") {
            return Self::Root;
        }
        match shell::output(Command::new("sudo").args(["-n", "true"])) {
            Some(_) => Self::Sudo,
            None => Self::Denied,
        }
    }

    pub(crate) fn granted(self) -> bool {
        matches!(self, Self::Root | Self::Sudo)
    }

    fn apt_get(self) -> Command {
        let mut command = match self {
            Self::Sudo => {
                let mut sudo = Command::new("sudo");
                sudo.args(["-n", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
                sudo
            }
            _ => Command::new("apt-get"),
        };
        command.env("DEBIAN_FRONTEND", "noninteractive").arg("-q");
        command
    }
}

/// What to type when we may not install by ourselves.
pub(crate) fn install_line(packages: &[String]) -> String {
    format!(
        "sudo apt-get update && sudo apt-get install --no-install-recommends {}",
        packages.join(" ")
    )
}

/// Fetches the lists of packages.
pub(crate) fn update(access: Access) -> Result<()> {
    shell::run(access.apt_get().arg("update")).context("the package lists could not be fetched")
}

/// Installs packages, fetching newer lists first when the present ones do not suffice.
pub(crate) fn install(access: Access, packages: &[String]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    if !access.granted() {
        bail!("packages are missing; type: {}", install_line(packages));
    }
    let install = || {
        shell::run(
            access
                .apt_get()
                .args(["install", "--yes", "--no-install-recommends", "--no-remove"])
                .args(packages),
        )
    };
    let known = packages.iter().all(|package| candidate(package).is_some());
    if known && install().is_ok() {
        return Ok(());
    }
    update(access)?;
    install()
}

/// The version apt would install, if it knows the package.
pub(crate) fn candidate(package: &str) -> Option<String> {
    let policy = shell::output(
        Command::new("apt-cache")
            .env("LC_ALL", "C")
            .args(["policy", package]),
    )?;
    let version = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
}
