//! `cargo xtask dist`: one directory with all that is deployed, and an archive of it.
//!
//! Built with the `dist` profile (fat LTO). Installs nothing.

use crate::setup::{self, Purpose};
use crate::{dashboard, run, shell};
use anyhow::{Context as _, Result};
use std::fs;
use std::process::Command;

/// Shells that completions are made for, with the file name each expects.
const SHELLS: &[(&str, &str)] = &[
    ("bash", "postern"),
    ("zsh", "_postern"),
    ("fish", "postern.fish"),
];

/// Builds, generates, collects.
pub(crate) fn dist() -> Result<()> {
    setup::ensure(Purpose::Build)?;
    run::kernel_program();
    dashboard::build_or_warn();
    shell::run(shell::cargo().args(["build", "--profile", "dist", "--package", "gateway"]))?;

    let built = shell::target().join("dist");
    let program = built.join("postern");
    let name = format!(
        "postern-{}-{}-linux",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH
    );
    let package = built.join(&name);
    if package.exists() {
        fs::remove_dir_all(&package)
            .with_context(|| format!("cannot empty {}", package.display()))?;
    }
    for directory in ["bin", "man", "completions", "systemd"] {
        let directory = package.join(directory);
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let root = shell::root();
    let packaging = root.join("gateway/packaging");
    let copies = [
        (program.clone(), "bin/postern"),
        (root.join("LICENSE"), "LICENSE"),
        (packaging.join("postern.service"), "systemd/postern.service"),
        (
            packaging.join("postern.sysusers"),
            "systemd/postern.sysusers",
        ),
    ];
    for (from, to) in copies {
        fs::copy(&from, package.join(to))
            .with_context(|| format!("cannot copy {}", from.display()))?;
    }
    shell::run(Command::new(&program).arg("man").arg(package.join("man")))?;
    for (shell, file) in SHELLS {
        let script = shell::output(Command::new(&program).args(["completions", shell]))
            .with_context(|| format!("`postern completions {shell}` failed"))?;
        let path = package.join("completions").join(file);
        fs::write(&path, script).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let archive = built.join(format!("{name}.tar.gz"));
    shell::run(
        Command::new("tar")
            .arg("-C")
            .arg(&built)
            .arg("-czf")
            .arg(&archive)
            .arg(&name),
    )?;
    println!("{}", archive.display());
    Ok(())
}
