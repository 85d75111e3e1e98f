//! The log on standard error: what the gateway tells of itself, and how much.
//!
//! Owns the level, which can change while the gateway runs, how many lines libraries have, and the thread
//! that writes them: whoever reads standard error may stand still, and no worker with him.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata};
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::prelude::*;

use crate::limits::{LIBRARY_LINES_PER_SECOND, LOG_FLUSH_TIMEOUT, LOG_QUEUE_LINES};
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

/// What the gateway tells of itself goes to standard error; under systemd into the journal. What is
/// queued when the answer is dropped is written first, if that is possible soon.
///
/// # Errors
/// There is no thread for it.
pub(crate) fn start(level: LogLevel) -> io::Result<Rest> {
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    set_level(level);
    let (queue, queued) = Queue::new();
    let lost = queue.lost.clone();
    std::thread::Builder::new()
        .name("log".into())
        .spawn(move || write(&queued, &lost, io::stderr()))?;
    let rest = Rest(queue.words.clone());
    let wanted = Wanted::default();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || queue.clone())
        .with_ansi(colours)
        .with_target(false)
        .with_filter(wanted);
    tracing_subscriber::registry().with(lines).init();
    Ok(rest)
}

/// What the writer is told.
enum Word {
    Line(Vec<u8>),
    /// Whether all before it is written; by letting go of this.
    Flush(#[expect(dead_code, reason = "its end is the answer")] Sender<()>),
}

/// Takes lines without ever waiting: one that does not fit is lost, and counted.
#[derive(Clone)]
struct Queue {
    words: Sender<Word>,
    lost: Arc<AtomicU64>,
}

impl Queue {
    fn new() -> (Self, Receiver<Word>) {
        let (words, queued) = bounded(LOG_QUEUE_LINES);
        let lost = Arc::default();
        (Self { words, lost }, queued)
    }
}

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.words.try_send(Word::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes what is queued, until nobody queues any more, and how much was lost once it has caught up.
fn write(queued: &Receiver<Word>, lost: &AtomicU64, mut out: impl Write) {
    for word in queued {
        // Where it fails there is nobody to tell.
        if let Word::Line(line) = &word {
            drop(out.write_all(line));
        }
        if queued.is_empty() {
            match lost.swap(0, Ordering::Relaxed) {
                0 => {}
                count => drop(out.write_all(missing(count).as_bytes())),
            }
        }
        // Now who waits for it knows that all is written.
        drop(word);
    }
}

/// Not by way of the queue, and whatever the level is.
fn missing(count: u64) -> String {
    format!("postern: {count} lines of this log are missing: standard error took no more\n")
}

/// What is still to be written when a run ends.
#[must_use]
pub(crate) struct Rest(Sender<Word>);

impl Drop for Rest {
    fn drop(&mut self) {
        let (flushed, is_flushed) = bounded(0);
        // Who does not read must not keep the process from ending.
        let asked = self.0.send_timeout(Word::Flush(flushed), LOG_FLUSH_TIMEOUT);
        if asked.is_ok() {
            let _has_ended = is_flushed.recv_timeout(LOG_FLUSH_TIMEOUT);
        }
    }
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
    use std::sync::mpsc;

    /// Writes to the test, which may not read yet.
    struct Out(mpsc::SyncSender<String>);

    impl Write for Out {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let text_of = String::from_utf8(text.to_vec()).unwrap();
            self.0.send(text_of).map_err(io::Error::other)?;
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_who_reads_the_log_and_what_is_lost_is_told() {
        let (mut queue, queued) = Queue::new();
        let (sent, read) = mpsc::sync_channel(0);
        let lost = queue.lost.clone();
        let writer = std::thread::spawn(move || write(&queued, &lost, Out(sent)));
        // Nobody reads: these come back all the same. The first is with the writer, or still queued.
        let more = 10;
        for index in 0..LOG_QUEUE_LINES + more {
            queue.write_all(format!("{index}\n").as_bytes()).unwrap();
        }
        let lost = queue.lost.load(Ordering::Relaxed);
        assert!((more as u64 - 1..=more as u64).contains(&lost), "{lost}");
        // What is queued is written before a run ends.
        let rest = Rest(queue.words.clone());
        drop(queue);
        let reading = std::thread::spawn(move || read.iter().collect::<Vec<_>>());
        drop(rest);
        writer.join().unwrap();
        let lines = reading.join().unwrap();
        let all = LOG_QUEUE_LINES + more - usize::try_from(lost).unwrap();
        let kept = (0..all).map(|index| format!("{index}\n"));
        let wanted: Vec<_> = kept.chain([missing(lost)]).collect();
        assert_eq!(lines, wanted);
    }

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
