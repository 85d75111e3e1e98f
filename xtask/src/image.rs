//! The container image: what `gateway/packaging/container` says, around a Debian package that is there.
//!
//! Builds no program and no package, and pulls what the image begins with only through the builder.

use crate::shell;
use anyhow::{Context as _, Result, bail};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What builds an image from a `Containerfile`, in the order in which they are taken.
const BUILDERS: &[&str] = &["podman", "buildah", "docker"];

/// What the image is built in, when it is not Debian's own.
const BASE: &str = "POSTERN_IMAGE_BASE";

/// `cargo xtask image [FOLDER]`.
pub(crate) fn command(arguments: &[String]) -> Result<()> {
    let folder = match arguments {
        [] => shell::target().join("deb"),
        [folder] => PathBuf::from(folder),
        _ => bail!("`cargo xtask image` takes the folder of a Debian package, or none"),
    };
    let Some(builder) = builder() else {
        bail!("nothing here builds an image: apt-get install podman");
    };
    collect(&folder)?;
    println!("{}", build(builder, &folder)?);
    Ok(())
}

/// The program that builds images here.
pub(crate) fn builder() -> Option<&'static str> {
    let found = |name: &&&str| shell::find(name).is_some();
    BUILDERS.iter().find(found).copied()
}

/// Lays what an image is built and run with beside the package; answers the files.
pub(crate) fn collect(folder: &Path) -> Result<Vec<PathBuf>> {
    let from = shell::root().join("gateway/packaging/container");
    ["Containerfile", "seccomp.json"]
        .into_iter()
        .map(|name| {
            let to = folder.join(name);
            fs::copy(from.join(name), &to)
                .with_context(|| format!("cannot copy {name} to {}", folder.display()))?;
            Ok(to)
        })
        .collect()
}

/// Builds the image of the package in `folder`; answers its name.
pub(crate) fn build(builder: &str, folder: &Path) -> Result<String> {
    let mut packages = fs::read_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("postern_") && name.ends_with(".deb"));
    if packages.next().is_none() {
        bail!(
            "no postern_*.deb in {}: `cargo xtask deb` makes one",
            folder.display()
        );
    }
    let name = format!("localhost/postern:{}", env!("CARGO_PKG_VERSION"));
    let mut command = Command::new(builder);
    command.arg("build");
    // The steps need a file system and the network, and no container of their own: so they run where
    // containers cannot be nested, too.
    if builder != "docker" {
        command.args(["--isolation", "chroot"]);
    }
    if let Ok(base) = env::var(BASE) {
        command.arg("--build-arg").arg(format!("BASE={base}"));
    }
    command.args(["--tag", &name, "--file"]);
    command.arg(folder.join("Containerfile")).arg(folder);
    shell::run(&mut command)?;
    Ok(name)
}
