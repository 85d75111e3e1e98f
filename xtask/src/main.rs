//! `cargo xtask`: from a fresh clone to a running gateway, and everything that is checked on the way.
//!
//! This file reads the command line and says what may be asked for; each command lives in the module
//! of its name. Nothing of the gateway is linked in, so that this builds in seconds before anything
//! else can.

#![forbid(unsafe_code)]

mod apt;
mod bench;
mod dashboard;
mod debian;
mod dist;
mod docs;
mod features;
mod fuzz;
mod graph;
mod image;
mod kernel;
mod lint;
mod metadata;
mod parts;
mod run;
mod setup;
mod shell;
mod tidy;

use anyhow::{Result, bail};
use std::process::ExitCode;

/// One thing that can be asked for.
struct Command {
    name: &'static str,
    /// How its arguments are written; empty when it takes none.
    arguments: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result<()>,
}

/// In the order in which a newcomer meets them.
const COMMANDS: &[Command] = &[
    Command {
        name: "run",
        arguments: "[ARGUMENT...]",
        about: "set up, build, and start the gateway with a demonstration host",
        run: run::run,
    },
    Command {
        name: "test",
        arguments: "[ARGUMENT...]",
        about: "set up, build, and run every test; arguments go to `cargo test`",
        run: run::test,
    },
    Command {
        name: "lint",
        arguments: "[STEP...]",
        about: "formatting, house rules, crate graph, deny, clippy on both targets, docs",
        run: lint::lint,
    },
    Command {
        name: "check",
        arguments: "",
        about: "lint and test: what a change has to pass",
        run: |_| lint::check(),
    },
    Command {
        name: "fuzz",
        arguments: "[TARGET [SECONDS]]",
        about: "fuzz one target, 60 s unless told; without one, list them",
        run: fuzz::fuzz,
    },
    Command {
        name: "bench",
        arguments: "[NAME [ARGUMENT...]]",
        about: "run one bench of package `bench`; without one, list them",
        run: bench::bench,
    },
    Command {
        name: "docs",
        arguments: "",
        about: "the API documents of our crates, and the book where mdbook is installed",
        run: |_| docs::command(),
    },
    Command {
        name: "graph",
        arguments: "",
        about: "which of our crates needs which, as ARCHITECTURE.md has it",
        run: |_| graph::command(),
    },
    Command {
        name: "tidy",
        arguments: "",
        about: "the house rules alone",
        run: |_| tidy::command(),
    },
    Command {
        name: "setup",
        arguments: "",
        about: "find what build and tests need, and install what is missing",
        run: |_| setup::command(),
    },
    Command {
        name: "ebpf",
        arguments: "",
        about: "build the kernel program into target/ebpf/",
        run: |_| kernel::command(),
    },
    Command {
        name: "dashboard",
        arguments: "",
        about: "build the dashboard into target/dashboard/, and check its types",
        run: |_| dashboard::command(),
    },
    Command {
        name: "dist",
        arguments: "",
        about: "what is released: Debian package, archive, debug symbols, checksums, under target/dist/",
        run: |_| dist::dist(),
    },
    Command {
        name: "deb",
        arguments: "[PROGRAM]",
        about: "a Debian package of a built program, quickly, under target/deb/",
        run: debian::command,
    },
    Command {
        name: "image",
        arguments: "[FOLDER]",
        about: "a container image of the Debian package in a folder, target/deb unless told",
        run: image::command,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        print!("{}", usage());
        return ExitCode::SUCCESS;
    };
    if matches!(name.as_str(), "help" | "-h" | "--help") {
        print!("{}", usage());
        return ExitCode::SUCCESS;
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        eprint!("xtask: there is no command `{name}`\n\n{}", usage());
        return ExitCode::from(2);
    };
    match start(command, rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(command: &Command, arguments: &[String]) -> Result<()> {
    if command.arguments.is_empty() && !arguments.is_empty() {
        bail!("`{}` takes no arguments", command.name);
    }
    (command.run)(arguments)
}

fn usage() -> String {
    let call = |command: &Command| format!("{} {}", command.name, command.arguments);
    let width = COMMANDS.iter().map(|command| call(command).len()).max();
    let width = width.unwrap_or(0);
    let lines = COMMANDS
        .iter()
        .map(|command| format!("  {:width$}  {}\n", call(command), command.about));
    format!(
        "Builds, runs and checks Postern. Nothing has to be prepared: what is missing is installed, \
         or said.\n\nUsage: cargo xtask COMMAND [ARGUMENT...]\n\n{}",
        lines.collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::{COMMANDS, start, usage};

    #[test]
    fn every_command_explains_itself() {
        let usage = usage();
        for command in COMMANDS {
            let line = usage
                .lines()
                .find(|line| line.starts_with(&format!("  {} ", command.name)));
            assert!(line.is_some_and(|line| line.ends_with(command.about)));
        }
    }

    #[test]
    fn an_argument_that_means_nothing_is_refused() {
        let graph = COMMANDS.iter().find(|command| command.name == "graph");
        let error = start(graph.expect("it is there"), &["x".to_owned()]).expect_err("refused");
        assert_eq!(error.to_string(), "`graph` takes no arguments");
    }
}
