//! The kernel program: a Rust toolchain that knows the `bpf` target, the linker, and the build.
//!
//! Two kinds of toolchain do: one with a compiled core library for `bpfel-unknown-none` (Debian's
//! `rustc-web` with `libstd-rust-web-dev-bpf`), or any with the sources of core (`rustup component
//! add rust-src`), from which cargo builds it. Both count as "unstable", which `RUSTC_BOOTSTRAP=1`
//! permits on a stable compiler. Loading the object is the gateway's business.

use crate::apt::{Access, Apt};
use crate::{setup, shell};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fmt, fs};

/// What to do when the toolchain cannot be had; follows a sentence that says what is missing.
pub(crate) const ADVICE: &str = "The gateway works without it. To get it: on Debian, `sudo apt-get \
    update && sudo apt-get install rustc-web libstd-rust-web-dev-bpf llvm-22-dev`; elsewhere \
    `rustup component add rust-src` and a bpf-linker of the compiler's LLVM version; then \
    `cargo xtask setup`";

const TARGET: &str = "bpfel-unknown-none";
const LINKER: &str = "bpf-linker";
const LINKER_VERSION: &str = "0.13.0";
/// The LLVM versions that release of the linker can be built with.
const LINKER_LLVM: std::ops::RangeInclusive<u32> = 21..=23;
/// The workspace's `rust-version`: an older compiler cannot build the program.
const RUST_MINOR_MIN: u32 = 95;

/// A compiler with a core library for the target.
struct Compiler {
    rustc: PathBuf,
    /// Core has to be built from its sources first.
    build_core: bool,
    minor: u32,
    llvm: u32,
}

/// Everything the build needs.
pub(crate) struct Toolchain {
    compiler: Compiler,
    linker: PathBuf,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Compiler {
            rustc,
            build_core,
            minor,
            llvm,
        } = &self.compiler;
        let core = if *build_core {
            "core from rust-src"
        } else {
            "compiled core"
        };
        write!(
            f,
            "{} (1.{minor}, LLVM {llvm}, {core}), {}",
            rustc.display(),
            self.linker.display()
        )
    }
}

/// The toolchain that is there.
///
/// # Errors
/// A sentence about what is missing.
pub(crate) fn find() -> Result<Toolchain> {
    let compiler = compiler().context("no Rust compiler here knows the bpf target")?;
    let linker = shell::find(LINKER).context("bpf-linker is not installed")?;
    Ok(Toolchain { compiler, linker })
}

/// Installs what is missing, in the order in which one thing needs the other.
pub(crate) fn ensure(apt: &Apt) -> Result<()> {
    if find().is_ok() {
        return Ok(());
    }
    let compiler = match compiler() {
        Some(compiler) => compiler,
        None => install_compiler(apt)?,
    };
    if shell::find(LINKER).is_none() {
        install_linker(apt, &compiler)?;
    }
    find().map(drop)
}

/// `cargo xtask ebpf`.
pub(crate) fn command() -> Result<()> {
    setup::ensure(setup::Purpose::Build)?;
    let object = build()?;
    println!("{}", object.display());
    Ok(())
}

/// Where the gateway's build script looks for the object.
fn object() -> PathBuf {
    shell::target().join("ebpf/postern-steer.o")
}

/// Builds the program and puts it where the gateway's next build embeds it.
pub(crate) fn build() -> Result<PathBuf> {
    let toolchain = find()?;
    compile(&toolchain, "build", &["--bin", "postern-steer"])?;
    let built = build_directory().join(TARGET).join("bpf/postern-steer");
    let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    let object = object();
    // Untouched when nothing changed: the gateway is built again whenever this file is.
    if fs::read(&object).is_ok_and(|present| present == bytes) {
        return Ok(object);
    }
    let directory = object.parent().context("the object has no directory")?;
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let fresh = build_directory().join("postern-steer.new");
    fs::write(&fresh, &bytes).with_context(|| format!("cannot write {}", fresh.display()))?;
    fs::rename(&fresh, &object).with_context(|| format!("cannot write {}", object.display()))?;
    Ok(object)
}

/// Takes the object away, so that a build whose program could not be built does not embed an older
/// one.
pub(crate) fn forget() {
    drop(fs::remove_file(object()));
}

/// Compiles the program with warnings denied, where the toolchain allows with clippy.
pub(crate) fn lint() -> Result<()> {
    let toolchain = find()?;
    // Clippy only comes with the toolchain that runs us, and needs its core.
    let ours = env::var_os("CARGO")
        .is_some_and(|cargo| Path::new(&cargo).parent() == toolchain.compiler.rustc.parent());
    let driver = toolchain.compiler.rustc.with_file_name("clippy-driver");
    let command = if ours && driver.exists() {
        "clippy"
    } else {
        "check"
    };
    compile(&toolchain, command, &["--lib", "--bin", "postern-steer"])
}

/// Its own directory: another compiler than the host's must not fight over the same lock and caches.
fn build_directory() -> PathBuf {
    shell::target().join("ebpf-build")
}

fn compile(toolchain: &Toolchain, subcommand: &str, targets: &[&str]) -> Result<()> {
    let Toolchain { compiler, linker } = toolchain;
    let mut flags = vec![
        format!("-Clinker={}", linker.display()),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
    ];
    if subcommand != "build" {
        flags.push("-Dwarnings".to_owned());
    }
    let mut cargo = shell::cargo();
    cargo
        .args([subcommand, "--package", "ebpf"])
        .args(targets)
        .args(["--profile", "bpf", "--target", TARGET])
        .arg("--target-dir")
        .arg(build_directory())
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env_remove("RUSTFLAGS");
    if compiler.build_core {
        cargo.args(["-Z", "build-std=core"]);
    }
    if subcommand == "clippy" {
        // `cargo clippy` finds the compiler beside its driver.
        cargo.env_remove("RUSTC");
    } else {
        cargo.env("RUSTC", &compiler.rustc);
    }
    shell::run(&mut cargo)
}

/// The best compiler here: a compiled core before one that has to be built, the newer before the
/// older.
fn compiler() -> Option<Compiler> {
    let mut sysroots = vec![PathBuf::from("/usr"), PathBuf::from("/usr/local")];
    sysroots.extend(rustup_toolchains());
    let mut found: Vec<Compiler> = sysroots
        .iter()
        .filter_map(|sysroot| capable(sysroot))
        .collect();
    found.sort_by_key(|compiler| (compiler.build_core, std::cmp::Reverse(compiler.minor)));
    found.into_iter().next()
}

fn rustup_toolchains() -> Vec<PathBuf> {
    let default = || env::var_os("HOME").map(|home| Path::new(&home).join(".rustup"));
    let home = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(default);
    let listing = home.and_then(|home| fs::read_dir(home.join("toolchains")).ok());
    listing
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect()
}

fn capable(sysroot: &Path) -> Option<Compiler> {
    let rustc = sysroot.join("bin/rustc");
    let libraries = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    let compiled = fs::read_dir(libraries).into_iter().flatten().flatten();
    let build_core = !compiled
        .map(|entry| entry.file_name())
        .any(|name| name.to_string_lossy().starts_with("libcore-"));
    let sources = sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs");
    if !rustc.exists() || build_core && !sources.exists() {
        return None;
    }
    let version = shell::output(Command::new(&rustc).arg("-vV"))?;
    let (minor, llvm) = versions(&version)?;
    let known = minor >= RUST_MINOR_MIN;
    known.then_some(Compiler {
        rustc,
        build_core,
        minor,
        llvm,
    })
}

/// The minor version of the compiler and the major one of its LLVM, from what `rustc -vV` prints.
fn versions(text: &str) -> Option<(u32, u32)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let minor = field("release: 1.")?.split('.').next()?.parse().ok()?;
    let llvm = field("LLVM version: ")?.split('.').next()?.parse().ok()?;
    Some((minor, llvm))
}

fn install_compiler(apt: &Apt) -> Result<Compiler> {
    let mut reasons = Vec::new();
    if apt.access() == Access::Denied {
        reasons.push("this user may not install packages".to_owned());
    }
    if apt.granted() {
        match apt.candidate("rustc-web").filter(|version| recent(version)) {
            Some(version) => {
                eprintln!(
                    "[2/4] bpf compiler: installing Debian's rustc-web {version}, about 70 MB"
                );
                let packages = ["rustc-web", "libstd-rust-web-dev-bpf"].map(str::to_owned);
                if let Err(error) = apt.install(&packages) {
                    reasons.push(format!("{error:#}"));
                }
            }
            None => reasons.push(format!(
                "apt has no rustc-web of 1.{RUST_MINOR_MIN} or later"
            )),
        }
        if let Some(compiler) = compiler() {
            return Ok(compiler);
        }
    }
    match shell::find("rustup") {
        Some(rustup) => {
            eprintln!("[2/4] bpf compiler: asking rustup for the sources of core");
            if let Err(error) =
                shell::run(Command::new(rustup).args(["component", "add", "rust-src"]))
            {
                reasons.push(format!("{error:#}"));
            }
        }
        None => reasons.push("there is no rustup".to_owned()),
    }
    compiler().with_context(|| {
        format!(
            "no Rust compiler here knows the bpf target ({})",
            reasons.join("; ")
        )
    })
}

/// Whether a Debian version such as `1.96.0+dfsg1-1~deb12u2` is new enough.
fn recent(version: &str) -> bool {
    let minor = version
        .strip_prefix("1.")
        .and_then(|rest| rest.split('.').next());
    minor
        .and_then(|minor| minor.parse().ok())
        .is_some_and(|minor: u32| minor >= RUST_MINOR_MIN)
}

/// Builds the linker with an LLVM that understands what the compiler's LLVM writes: its own version
/// or a later one.
fn install_linker(apt: &Apt, compiler: &Compiler) -> Result<()> {
    let fitting = || LINKER_LLVM.filter(|version| *version >= compiler.llvm);
    let present =
        || fitting().find(|version| llvm_prefix(*version).join("lib/libLLVM.so").exists());
    let version = match present() {
        Some(version) => version,
        None => {
            let package = llvm_package(apt, fitting()).with_context(|| {
                format!(
                    "bpf-linker {LINKER_VERSION} is built with LLVM {} to {}, no older than the \
                     compiler's LLVM {}, and no package that apt knows brings one",
                    LINKER_LLVM.start(),
                    LINKER_LLVM.end(),
                    compiler.llvm
                )
            })?;
            eprintln!("[3/4] bpf-linker: installing {package}");
            apt.install(&[package])?;
            present().context("libLLVM.so is still missing after its package was installed")?
        }
    };
    eprintln!("[3/4] bpf-linker: building {LINKER_VERSION} with LLVM {version}, about 90 seconds");
    let mut cargo = shell::cargo();
    cargo
        .args([
            "install",
            "--quiet",
            "--locked",
            LINKER,
            "--version",
            LINKER_VERSION,
        ])
        .args([
            "--no-default-features",
            "--features",
            &format!("llvm-{version}"),
        ])
        .env("LLVM_PREFIX", llvm_prefix(version));
    shell::run(&mut cargo)?;
    if shell::find(LINKER).is_none() {
        bail!(
            "bpf-linker was built but is not in {:?}",
            shell::cargo_bin()
        );
    }
    Ok(())
}

/// The package with the oldest of these LLVM versions that apt knows. A user who may not fetch newer
/// lists is told of the oldest one anyway, to install it by hand.
fn llvm_package(apt: &Apt, versions: impl Iterator<Item = u32>) -> Option<String> {
    let packages: Vec<String> = versions
        .map(|version| format!("llvm-{version}-dev"))
        .collect();
    let known = packages
        .iter()
        .find(|package| apt.candidate(package).is_some());
    let by_hand = packages.first().filter(|_| apt.access() == Access::Denied);
    known.or(by_hand).cloned()
}

fn llvm_prefix(version: u32) -> PathBuf {
    PathBuf::from(format!("/usr/lib/llvm-{version}"))
}

#[cfg(test)]
mod tests {
    use super::{recent, versions};

    #[test]
    fn versions_are_read_from_what_rustc_prints() {
        let text =
            "rustc 1.96.0 (ac68faa20)\nbinary: rustc\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(versions(text), Some((96, 22)));
        assert_eq!(
            versions("release: 1.97.0-nightly\nLLVM version: 23.0.0\n"),
            Some((97, 23))
        );
        assert_eq!(versions("release: 1.96.0\n"), None);
    }

    #[test]
    fn an_old_package_is_not_taken() {
        for (version, expected) in [
            ("1.96.0+dfsg1-1~deb12u2", true),
            ("1.85.0+dfsg3-1~deb12u3", false),
            ("0.99", false),
            ("", false),
        ] {
            assert_eq!(recent(version), expected, "{version}");
        }
    }
}
