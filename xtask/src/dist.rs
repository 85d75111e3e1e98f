//! `cargo xtask dist`: what is released, in one directory.
//!
//! Built with the `dist` profile (fat LTO). Installs nothing.

use crate::debian::{self, Effort};
use crate::image;
use crate::setup::{self, Purpose};
use crate::{dashboard, run, shell};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds, generates, collects, and says what it has made.
pub(crate) fn dist() -> Result<()> {
    setup::ensure(Purpose::Build)?;
    run::kernel_program();
    dashboard::build_or_warn();
    shell::run(shell::cargo().args(["build", "--profile", "dist", "--package", "gateway"]))?;
    let built = shell::target().join("dist");
    let program = built.join("postern");
    let out = built.join("release");
    let mut made = archive(&program, &out)?.to_vec();
    if shell::find("dpkg-buildpackage").is_some() && shell::find("dh").is_some() {
        for package in debian::build(&program, &built.join("deb"), Effort::Release)? {
            made.push(moved(&package, &out)?);
        }
        made.extend(image::collect(&out)?);
    } else {
        eprintln!("no Debian package: it needs `apt-get install debhelper dpkg-dev`");
    }
    made.push(bill_of_materials(&out)?);
    let sums = checksums(&made)?;
    fs::write(out.join("SHA256SUMS"), sums)?;
    for file in made {
        println!("{}", file.display());
    }
    println!("{}", out.join("SHA256SUMS").display());
    Ok(())
}

/// The archive for systems that are not Debian's: the program without its debug symbols, and all that
/// belongs to it; and the file with the symbols.
fn archive(program: &Path, out: &Path) -> Result<[PathBuf; 2]> {
    let name = format!(
        "postern-{}-{}-linux",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH
    );
    if out.exists() {
        fs::remove_dir_all(out).with_context(|| format!("cannot empty {}", out.display()))?;
    }
    let package = out.join(&name);
    debian::stage(program, &package)?;
    let stripped = package.join("bin/postern");
    let symbols = out.join(format!("{name}.debug"));
    let objcopy = |arguments: &[&Path]| shell::run(Command::new("objcopy").args(arguments));
    objcopy(&[Path::new("--only-keep-debug"), program, &symbols])?;
    objcopy(&[Path::new("--strip-unneeded"), &stripped])?;
    let link = format!("--add-gnu-debuglink={}", symbols.display());
    objcopy(&[Path::new(&link), &stripped])?;
    let packaging = shell::root().join("gateway/packaging");
    fs::create_dir_all(package.join("systemd"))?;
    for (from, to) in [
        (shell::root().join("LICENSE"), "LICENSE"),
        (
            packaging.join("debian/postern.service"),
            "systemd/postern.service",
        ),
        (
            packaging.join("debian/postern.sysusers"),
            "systemd/postern.sysusers",
        ),
        (
            packaging.join("debian/postern.tmpfiles"),
            "systemd/postern.tmpfiles",
        ),
        (
            packaging.join("debian/postern.logrotate"),
            "postern.logrotate",
        ),
    ] {
        fs::copy(&from, package.join(to))
            .with_context(|| format!("cannot copy {}", from.display()))?;
    }
    let archive = out.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.args([
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--sort=name",
        "-C",
    ]);
    shell::run(tar.arg(out).arg("-czf").arg(&archive).arg(&name))?;
    fs::remove_dir_all(&package)?;
    Ok([archive, symbols])
}

fn moved(file: &Path, into: &Path) -> Result<PathBuf> {
    let to = into.join(file.file_name().unwrap_or_default());
    fs::rename(file, &to).with_context(|| format!("cannot move {}", file.display()))?;
    Ok(to)
}

/// What writes the bill of materials, by its name at the registry.
const CYCLONEDX: &str = "cargo-cyclonedx";

/// Which libraries the program is made of, as CycloneDX.
fn bill_of_materials(out: &Path) -> Result<PathBuf> {
    let tools = shell::target().join("tools");
    let installed = tools.join("bin").join(CYCLONEDX);
    let tool = match shell::find(CYCLONEDX) {
        Some(found) => found,
        None => {
            if !installed.exists() {
                eprintln!(
                    "{CYCLONEDX}: building it into {}, about two minutes",
                    tools.display()
                );
                let mut install = shell::cargo();
                install.args(["install", "--locked", "--root"]).arg(&tools);
                shell::run(install.arg(CYCLONEDX))?;
            }
            installed
        }
    };
    let manifest = shell::root().join("gateway/Cargo.toml");
    let mut cyclonedx = Command::new(tool);
    cyclonedx.args([
        "cyclonedx",
        "--format",
        "json",
        "--override-filename",
        "postern.cdx",
    ]);
    shell::run(cyclonedx.arg("--manifest-path").arg(&manifest))?;
    let bill = moved(&manifest.with_file_name(BILL), out)?;
    // It makes one of every member, whichever manifest it is given.
    remove_bills(&shell::root())?;
    let text = fs::read_to_string(&bill)?;
    fs::write(&bill, without_place(&text, &shell::root()))?;
    Ok(bill)
}

/// What cargo-cyclonedx leaves beside a manifest.
const BILL: &str = "postern.cdx.json";

/// Removes bills from the sources.
fn remove_bills(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let is_source = name != "target" && !name.to_string_lossy().starts_with('.');
        if entry.file_type()?.is_dir() && is_source {
            remove_bills(&path)?;
        } else if name == BILL {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// A bill of materials that does not say where it was made: our own parts are named by their place in the
/// sources.
fn without_place(bill: &str, root: &Path) -> String {
    bill.replace(&format!("file://{}", root.display()), "file:///postern")
}

/// What `sha256sum --check` reads.
fn checksums(files: &[PathBuf]) -> Result<String> {
    let mut sums = String::new();
    for file in files {
        let name = file.file_name().unwrap_or_default();
        let folder = file.parent().unwrap_or_else(|| Path::new("."));
        let mut sum = Command::new("sha256sum");
        let sum = shell::output(sum.current_dir(folder).arg(name));
        sums.push_str(&sum.with_context(|| format!("no checksum of {}", file.display()))?);
        if !sums.ends_with('\n') {
            sums.push('\n');
        }
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bill_of_materials_says_nothing_of_the_machine_that_made_it() {
        let bill = r#"{"bom-ref": "path+file:///home/me/postern-src/gateway#0.1.0"}"#;
        assert_eq!(
            without_place(bill, Path::new("/home/me/postern-src")),
            r#"{"bom-ref": "path+file:///postern/gateway#0.1.0"}"#
        );
    }

    #[test]
    fn bills_are_taken_out_of_the_sources_and_nothing_else_is() {
        let root = std::env::temp_dir().join(format!("postern-bills-{}", std::process::id()));
        for folder in ["gateway/tls", "target"] {
            fs::create_dir_all(root.join(folder)).unwrap();
            fs::write(root.join(folder).join(BILL), "{}").unwrap();
        }
        fs::write(root.join("gateway/tls/Cargo.toml"), "").unwrap();
        remove_bills(&root).unwrap();
        assert!(!root.join("gateway/tls").join(BILL).exists());
        assert!(root.join("gateway/tls/Cargo.toml").exists());
        assert!(root.join("target").join(BILL).exists());
        fs::remove_dir_all(&root).unwrap();
    }
}
