//! The log on standard error: what the gateway tells of itself, and how much.
//!
//! Owns the level, which can change while the gateway runs, and how many lines libraries have.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata};
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::prelude::*;

use crate::limits::LIBRARY_LINES_PER_SECOND;
use config::LogLevel;

/// By its place among all levels, the most important first.
static LEVEL: AtomicU8 = AtomicU8::new(2);

const LEVELS: [Level; 5] = [
    Level::ERROR,
    Level::WARN,
    Level::INFO,
    Level::DEBUG,
    Level::TRACE,
];

/// What the gateway tells of itself goes to standard error; under systemd into the journal.
pub(crate) fn start(level: LogLevel) {
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    set_level(level);
    let wanted = Wanted::default();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .with_filter(wanted);
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

/// Tells so much from now on.
pub(crate) fn set_level(level: LogLevel) {
    let level = Level::from(level);
    let place = LEVELS.iter().position(|one| *one == level);
    let place = place.and_then(|place| u8::try_from(place).ok());
    LEVEL.store(place.unwrap_or(2), Ordering::Relaxed);
    // Places that were found not to matter may matter now.
    tracing::callsite::rebuild_interest_cache();
}

fn level() -> Level {
    let place = usize::from(LEVEL.load(Ordering::Relaxed));
    LEVELS.get(place).copied().unwrap_or(Level::INFO)
}

/// Which lines are wanted.
#[derive(Default)]
struct Wanted(Ration);

impl<S> Filter<S> for Wanted {
    fn enabled(&self, line: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        let level = level();
        // Who asks for more wants to see it.
        let unbounded = level > Level::INFO;
        *line.level() <= level
            && (unbounded || !is_librarys(line.target()) || self.0.take(Instant::now()))
    }

    fn callsite_enabled(&self, line: &'static Metadata<'static>) -> Interest {
        if *line.level() <= level() {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(level()))
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
}
