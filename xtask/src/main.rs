//! `cargo xtask`: from a fresh clone to a running gateway, and everything that is checked on the way.
//!
//! This file reads the command line and says what may be asked for; each command lives in the room of its
//! name. Nothing of the gateway is linked in, so that this builds in seconds before anything else can.

mod apt;
mod check;
mod dist;
mod graph;
mod kernel;
mod metadata;
mod run;
mod setup;
mod shell;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask COMMAND [ARGUMENT...]

  run     set up, build, and start the gateway with a demonstration host; Ctrl-C ends it
  test    set up, build, and run every test; arguments go to `cargo test`
  check   formatting, lints, documentation, house rules and tests: what a change has to pass
  setup   find what the build needs and install what is missing
  ebpf    build the kernel program into target/ebpf/
  tidy    the house rules alone
  graph   which of our crates needs which, as ARCHITECTURE.md has it
  dist    an optimised package with man pages and completions, under target/dist/
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next();
    let rest: Vec<String> = arguments.collect();
    let outcome = match command.as_deref() {
        Some("run") => run::run(&rest),
        Some("test") => run::test(&rest),
        Some("check") => check::check(),
        Some("setup") => setup::command(),
        Some("ebpf") => kernel::command(),
        Some("graph") => graph::command(),
        Some("tidy") => tidy::command(),
        Some("dist") => dist::dist(),
        Some("help" | "-h" | "--help") => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Some(other) => {
            eprint!("xtask: there is no command `{other}`\n\n{USAGE}");
            return ExitCode::from(2);
        }
        None => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
