//! Programs and places: where the workspace is, where a program is, how to run one and say so.
//!
//! Knows nothing about what is run.

use anyhow::{Context as _, Result, bail};
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The workspace: the directory above this package.
pub(crate) fn root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().unwrap_or(&package).to_path_buf()
}

/// Cargo's target directory, wherever it was moved to: this program lies in it.
pub(crate) fn target() -> PathBuf {
    let own = env::current_exe().unwrap_or_default();
    // Cargo writes this tag into the target directory's top and nowhere else.
    own.ancestors()
        .find(|directory| directory.join("CACHEDIR.TAG").exists())
        .map_or_else(|| root().join("target"), Path::to_path_buf)
}

/// Where `cargo install` puts programs.
pub(crate) fn cargo_bin() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let default = || env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    home.or_else(default).map(|home| home.join("bin"))
}

/// The full path of a program, from `PATH` or from where `cargo install` and administrators put them.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(cargo_bin())
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// The cargo that runs us, so that one toolchain builds everything.
pub(crate) fn cargo() -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root());
    // What cargo told us about this package is not true of what it builds next.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        }) {
            command.env_remove(name);
        }
    }
    command
}

/// The compiler beside the cargo that runs us.
pub(crate) fn rustc() -> Command {
    let beside = || {
        let cargo = PathBuf::from(env::var_os("CARGO")?);
        Some(cargo.with_file_name("rustc")).filter(|rustc| rustc.is_file())
    };
    let chosen = env::var_os("RUSTC").map(PathBuf::from).or_else(beside);
    Command::new(chosen.unwrap_or_else(|| "rustc".into()))
}

/// Says what is run, and runs it to its end with our own output.
///
/// # Errors
/// When it cannot be started or does not end well; the text holds the command line.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    eprintln!("+ {line}");
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Runs quietly and gives what it printed, or nothing when it failed or is not there.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A command as it would be typed.
pub(crate) fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program
        .file_name()
        .unwrap_or_else(|| command.get_program())
        .to_string_lossy()
        .into_owned();
    command.get_args().fold(name, |line, argument| {
        format!("{line} {}", argument.to_string_lossy())
    })
}
