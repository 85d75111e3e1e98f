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
    // At a gateway's end the writer of the access log may hold the lock for ever, on a standard output that
    // takes nothing: whoever has nothing to say does not wait for it.
    if text.is_empty() {
        return ExitCode::SUCCESS;
    }
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| {
        if text.ends_with('\n') {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn nothing_to_say_waits_for_nobody() {
        let held = std::io::stdout().lock();
        let (done, ended) = channel();
        let printing = std::thread::spawn(move || {
            print("");
            done.send(()).unwrap();
        });
        let waited = ended.recv_timeout(Duration::from_secs(20));
        drop(held);
        assert!(waited.is_ok(), "it waits for whoever has standard output");
        printing.join().unwrap();
    }
}
