//! `postern run`: the gateway in the foreground, from its configuration files.
//!
//! Owns where those files are, and the log on standard error.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::prelude::*;

use super::output::{CliError, Output};
use crate::daemon;
use crate::limits::LIBRARY_LINES_PER_SECOND;
use config::{Config, Loaded, LogLevel, Sources};

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
        start_logging(loaded.config.log_level);
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

/// What a run that ended says. Connections that had to be cut were announced in the log.
pub(super) fn ended(ended: Result<daemon::Ended, daemon::StartError>) -> Output {
    match ended {
        Ok(daemon::Ended::Drained | daemon::Ended::Cut) => Ok(String::new()),
        Err(error) if error.is_lasting() => Err(CliError::Unfit(error.to_string())),
        Err(error) => Err(CliError::Failed(error.to_string())),
    }
}

/// What the gateway tells of itself goes to standard error; under systemd into the journal.
pub(super) fn start_logging(level: LogLevel) {
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let level = tracing::Level::from(level);
    let ration = Ration::default();
    // Who asks for more wants to see it.
    let unbounded = level > tracing::Level::INFO;
    let wanted = dynamic_filter_fn(move |line, _| {
        *line.level() <= level
            && (unbounded || !is_librarys(line.target()) || ration.take(Instant::now()))
    });
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .with_filter(wanted.with_max_level_hint(level));
    tracing_subscriber::registry().with(lines).init();
}

/// Whether a library for a protocol says it: peers decide how often.
fn is_librarys(target: &str) -> bool {
    let crate_name = target.split("::").next().unwrap_or_default();
    ["h2", "hyper", "hyper_util", "tower", "axum"].contains(&crate_name)
}

/// So many lines a second, and no more.
#[derive(Default)]
struct Ration(Mutex<Option<(Instant, u32)>>);

impl Ration {
    fn take(&self, now: Instant) -> bool {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = match *taken {
            Some((since, count)) if now.duration_since(since) < Duration::from_secs(1) => {
                (since, count)
            }
            _ => (now, 0),
        };
        *taken = Some((since, count + 1));
        count < LIBRARY_LINES_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_have_so_many_lines_a_second() {
        let ration = Ration::default();
        let begun = Instant::now();
        let taken = |after: Duration| {
            let all = (0..1_000).filter(|_| ration.take(begun + after));
            all.count()
        };
        let most = usize::try_from(LIBRARY_LINES_PER_SECOND).unwrap();
        assert_eq!(taken(Duration::ZERO), most);
        assert_eq!(taken(Duration::from_millis(999)), 0);
        assert_eq!(taken(Duration::from_secs(1)), most);
        assert!(is_librarys("h2::proto::ping_pong") && is_librarys("hyper"));
        assert!(!is_librarys("datapath::connection::answer") && !is_librarys("h2o"));
    }
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
