//! `postern run`: the gateway in the foreground, from its configuration files.
//!
//! Owns where those files are.

use std::path::PathBuf;

use super::output::{CliError, Output};
use crate::daemon;
use crate::logging;
use config::{Config, Loaded, Sources};

/// Where the configuration is.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigFile {
    /// Read this file, and the drop-ins beside it, instead of the system's files
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

/// The arguments of `postern run`.
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    #[command(flatten)]
    file: ConfigFile,
    /// Read no configuration file: every key has its default
    #[arg(long, conflicts_with = "config")]
    defaults: bool,
}

impl Run {
    /// Runs the gateway until a signal stops it.
    pub(super) fn run(&self) -> Output {
        let predecessor = daemon::predecessor();
        let predecessor = predecessor.map_err(|why| CliError::Failed(why.to_string()))?;
        let loaded = load(&self.file.sources(), self.defaults).inspect_err(|why| {
            let voice = predecessor.as_ref().map(|one| one.voice());
            if let Some(Ok(voice)) = voice {
                voice.refuse(why);
            }
        })?;
        let _rest = logging::start(loaded.config.log_level).map_err(no_thread)?;
        for error in &loaded.ignored {
            tracing::warn!("ignored: {error}");
        }
        ended(daemon::run(loaded, predecessor))
    }
}

/// Reads the files of `sources`, or none with `defaults`. A gateway that found no file would listen
/// on `*:443` with an empty store: that has to be meant.
fn load(sources: &Sources, defaults: bool) -> Result<Loaded, CliError> {
    if defaults {
        return Ok(Config::load(&Sources::none())?);
    }
    let loaded = Config::load(sources)?;
    if loaded.files.is_empty() {
        return Err(CliError::NoConfiguration);
    }
    Ok(loaded)
}

/// The log is written by a thread.
pub(super) fn no_thread(why: std::io::Error) -> CliError {
    CliError::Failed(format!("no thread for the log: {why}"))
}

/// What a run that ended says. Connections that had to be cut were announced in the log.
pub(super) fn ended(ended: Result<daemon::Ended, daemon::StartError>) -> Output {
    match ended {
        Ok(daemon::Ended::Drained | daemon::Ended::Cut) => Ok(String::new()),
        Err(error) if error.is_lasting() => Err(CliError::Unfit(error.to_string())),
        Err(error) => Err(CliError::Failed(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fixtures::Directory;

    #[test]
    fn a_gateway_without_a_configuration_wants_that_said() {
        let directory = Directory::new();
        let sources = Sources::below(directory.path());
        let error = load(&sources, false).unwrap_err();
        assert_eq!(error.exit_code(), 78, "systemd is not to start it again");
        let told = error.to_string();
        for wanted in ["postern.conf", "--config", "--defaults", "postern demo"] {
            assert!(told.contains(wanted), "{wanted} is not in: {told}");
        }
        assert!(load(&sources, true).is_ok());
        for file in ["etc/postern/postern.conf", "etc/postern/postern.d/x.conf"] {
            let directory = Directory::new();
            let path = directory.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            let loaded = load(&Sources::below(directory.path()), false);
            assert_eq!(loaded.unwrap().files, [path], "an empty file is one");
        }
    }
}
