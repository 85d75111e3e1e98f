//! `postern run`: the gateway in the foreground, from its configuration files.
//!
//! Owns where those files are, and the log on standard error.

use std::io::IsTerminal;
use std::path::PathBuf;

use super::output::{CliError, Output};
use crate::daemon;
use config::{Config, LogLevel, Sources};

/// Where the configuration is.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigFile {
    /// Read this file (and the drop-ins beside it) instead of the system's
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

impl ConfigFile {
    pub(super) fn sources(&self) -> Sources {
        self.config
            .as_deref()
            .map_or_else(Sources::default, Sources::file)
    }
}

/// Runs the gateway until it is told to stop.
pub(super) fn run(file: &ConfigFile) -> Output {
    let loaded = Config::load(&file.sources())?;
    start_logging(loaded.config.log_level);
    for error in &loaded.ignored {
        tracing::warn!("ignored: {error}");
    }
    ended(daemon::run(loaded))
}

/// What a run that ended says. Connections that had to be cut were announced in the log.
pub(super) fn ended(ended: Result<daemon::Ended, daemon::StartError>) -> Output {
    match ended {
        Ok(daemon::Ended::Drained | daemon::Ended::Cut) => Ok(String::new()),
        Err(error) => Err(CliError::Failed(error.to_string())),
    }
}

/// What the gateway tells of itself goes to standard error; under systemd into the journal.
pub(super) fn start_logging(level: LogLevel) {
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::from(level))
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .init();
}
