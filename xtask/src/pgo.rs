//! `cargo xtask dist --pgo`: the program is built, put under the bundled harness's load, and built again with
//! what the compiler saw (https://doc.rust-lang.org/rustc/profile-guided-optimization.html).
//!
//! Worth it because a request's cost is spread over hundreds of small functions: what helps is their order
//! and what is inlined, not any one of them. BoringSSL is C and stays as it is.

use crate::shell;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the program does while the compiler watches: all that is on a request's way, handshakes included.
const TRAINING: &[&str] = &[
    "compare",
    "--mode",
    "keepalive,h2,handshakes,resumed",
    "--peers",
    "postern",
    "--rounds",
    "1",
    "--seconds",
    "2",
    "--load",
    "50",
];

/// Builds, trains, builds again; gives the program's path.
///
/// # Errors
/// A build failed, `llvm-profdata` is not there, or the harness could not be run.
pub(crate) fn build() -> Result<PathBuf> {
    let merger = profdata()?;
    let place = shell::target().join("pgo");
    let (raw, training, object) = (
        place.join("raw"),
        place.join("training"),
        place.join("ebpf"),
    );
    for directory in [&raw, &training, &object] {
        if directory.exists() {
            fs::remove_dir_all(directory)
                .with_context(|| format!("cannot empty {}", directory.display()))?;
        }
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
    }

    // The gateway's build looks for the kernel program in the target directory that it is built into.
    let kernel_program = shell::target().join("ebpf/postern-steer.o");
    if kernel_program.exists() {
        fs::copy(&kernel_program, object.join("postern-steer.o"))
            .with_context(|| format!("cannot copy {}", kernel_program.display()))?;
    }

    let watched = compile(&place, &format!("-Cprofile-generate={}", raw.display()))?;
    shell::run(shell::cargo().args(["build", "--release", "--package", "bench"]))?;
    let harness = training.join("bench");
    // The harness takes the gateway that lies beside it.
    for (from, to) in [
        (shell::target().join("release/bench"), harness.clone()),
        (watched, training.join("postern")),
    ] {
        fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    shell::run(Command::new(&harness).args(TRAINING))?;

    let profile = place.join("postern.profdata");
    shell::run(
        Command::new(merger)
            .arg("merge")
            .arg("-o")
            .arg(&profile)
            .arg(&raw),
    )?;
    compile(&place, &format!("-Cprofile-use={}", profile.display()))
}

/// Builds the gateway with these flags, which build scripts and macros do not get.
fn compile(place: &Path, flags: &str) -> Result<PathBuf> {
    let host = rustc("host: ").context("rustc does not say what it compiles for")?;
    let mut command = shell::cargo();
    command.args(["build", "--profile", "dist", "--package", "gateway"]);
    command
        .args(["--target", &host])
        .arg("--target-dir")
        .arg(place);
    shell::run(command.env("RUSTFLAGS", flags))?;
    Ok(place.join(host).join("dist/postern"))
}

/// The program that merges profiles: rustup's, or one of an LLVM no older than the compiler's.
fn profdata() -> Result<PathBuf> {
    let own = || {
        let sysroot = shell::output(Command::new("rustc").args(["--print", "sysroot"]))?;
        let host = rustc("host: ")?;
        let path = Path::new(sysroot.trim()).join("lib/rustlib").join(host);
        Some(path.join("bin/llvm-profdata")).filter(|path| path.is_file())
    };
    let system = || {
        let version = rustc("LLVM version: ")?;
        let least: u32 = version.split('.').next()?.parse().ok()?;
        (least..least + 5)
            .map(|version| PathBuf::from(format!("/usr/lib/llvm-{version}/bin/llvm-profdata")))
            .find(|path| path.is_file())
    };
    if let Some(path) = own().or_else(system) {
        return Ok(path);
    }
    bail!("llvm-profdata is missing: `rustup component add llvm-tools` brings the one that fits")
}

/// A line of what the compiler says of itself.
fn rustc(field: &str) -> Option<String> {
    let text = shell::output(Command::new("rustc").arg("-vV"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(field))?;
    Some(value.trim().to_owned())
}
