//! Output of commands: text and JSON, errors with exit codes, tables, YAML. Nothing here knows a
//! command.

pub(crate) mod confirm;
mod error;
pub(crate) mod table;
pub(crate) mod yaml;

use std::io::Write;
use std::process::ExitCode;

pub use self::error::ClientError;
pub(crate) use self::error::{CliError, ValueError};

/// What a command has to say when it went well.
pub(crate) type Output = Result<String, CliError>;

/// Prints to standard output; a reader that has seen enough (`| head`) is not an error.
pub(crate) fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| {
        if text.is_empty() || text.ends_with('\n') {
            Ok(())
        } else {
            out.write_all(b"\n")
        }
    });
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            drop(writeln!(
                std::io::stderr(),
                "postern: standard output: {error}"
            ));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// A JSON value as scripts get it.
pub(crate) fn json_text(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}
