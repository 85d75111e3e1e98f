//! The two commands of the README: start the gateway, test everything.
//!
//! Both use the `release` profile, so that BoringSSL is built once and what is tested is what runs.

use crate::parts::{Outcome, Parts};
use crate::setup::{self, Purpose};
use crate::{dashboard, kernel, shell};
use anyhow::{Context as _, Result};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// `cargo xtask run`: becomes the gateway, so that Ctrl-C and its exit code are the gateway's own.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    setup::ensure(Purpose::Build)?;
    kernel_program();
    dashboard::build_or_warn();
    gateway()?;
    let program = shell::target().join("release/postern");
    let state = shell::target().join("run");
    let mut postern = Command::new(&program);
    postern
        .arg("demo")
        .arg("--state")
        .arg(state)
        .args(arguments);
    eprintln!("+ {}", shell::line(&postern));
    let error = postern.exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}

/// `cargo xtask test`: `arguments` go to `cargo test`.
pub(crate) fn test(arguments: &[String]) -> Result<()> {
    let mut parts = Parts::new(5);
    let steps: [(&str, &dyn Fn() -> Result<()>); 5] = [
        ("set-up", &|| setup::ensure(Purpose::Test)),
        ("kernel program", &|| {
            kernel_program();
            Ok(())
        }),
        ("dashboard", &|| {
            dashboard::build_or_warn();
            Ok(())
        }),
        // The end-to-end tests start the binary, which `cargo test` does not build for another
        // package.
        ("gateway", &gateway),
        ("tests", &|| tests(arguments)),
    ];
    for (name, step) in steps {
        parts.run(name, || step().map(|()| Outcome::Done));
        if !parts.sound() {
            break;
        }
    }
    parts.finish()
}

/// How many tests the harness runs at the same time.
const THREADS: &str = "RUST_TEST_THREADS";
/// With two the end-to-end tests keep two cores busy for half of the time.
const TESTS_PER_CORE: usize = 2;

fn tests(arguments: &[String]) -> Result<()> {
    let mut cargo = shell::cargo();
    cargo
        .args(["test", "--release", "--workspace"])
        .args(arguments);
    // Most of the time tests wait: for processes, for etcd, for what is to happen after a while.
    if std::env::var_os(THREADS).is_none() {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        cargo.env(THREADS, (TESTS_PER_CORE * cores).to_string());
    }
    if let Some(python) = setup::grpc_python() {
        cargo.env("POSTERN_TEST_PYTHON", python);
    }
    if let Some(home) = setup::node_home() {
        cargo.env("POSTERN_TEST_NODE", home);
    }
    shell::run(&mut cargo)
}

/// Builds the gateway as it is started here and by the tests, with no other package's features.
pub(crate) fn gateway() -> Result<()> {
    shell::run(shell::cargo().args(["build", "--release", "--package", "gateway"]))
}

/// Builds the kernel program, or says plainly that steering is left out.
pub(crate) fn kernel_program() {
    if let Err(error) = kernel::build() {
        kernel::forget();
        eprintln!(
            "warning: the kernel program could not be built, so kernel steering will be \
             unavailable: {error:#}. {}",
            kernel::ADVICE
        );
    }
}
