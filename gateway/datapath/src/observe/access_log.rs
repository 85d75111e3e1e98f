//! The access log: lines from workers to a file, without a worker ever waiting.
//!
//! Owns the bounded queue, the sample, the writer thread, and opening the file again after it was
//! rotated. A line that does not fit is dropped and counted. What a line says is [`super::record`]'s,
//! and in the common format [`super::common`]'s.

use std::collections::hash_map::RandomState;
use std::fs::OpenOptions;
use std::hash::{BuildHasher as _, Hash};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant, SystemTime};

use crossbeam::queue::ArrayQueue;

use super::record::{CertificateRecord, ConnectionRecord, HandshakeRecord, RequestRecord};
use super::{common, line};
use crate::clock;
use crate::limits;
use config::{AccessLogTarget, LogFormat, LogStyle};

/// Writes records; a clone for each worker.
#[derive(Clone)]
pub struct AccessLog {
    /// `None` when the log is off.
    shared: Option<Arc<Shared>>,
}

/// Why the access log cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum AccessLogError {
    /// The file cannot be opened.
    #[error(
        "the access log {path} cannot be opened: {why}; make its directory, or set `log.access` to another path, `stdout` or `off`"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        why: io::Error,
    },
    /// No thread for the writer.
    #[error("no thread for the access log: {0}")]
    Thread(#[source] io::Error),
}

struct Shared {
    lines: ArrayQueue<Vec<u8>>,
    spare: ArrayQueue<Vec<u8>>,
    /// Bytes in `lines`.
    bytes: AtomicUsize,
    dropped: AtomicU64,
    /// Lines that have been written, or given up because the disk failed.
    done: AtomicU64,
    /// Lines that were put into the queue.
    accepted: AtomicU64,
    reopen: AtomicBool,
    stopping: AtomicBool,
    /// The writer found nothing to do and is about to sleep, or sleeps.
    sleeping: AtomicBool,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// The writer, to wake it; set before any line can be written.
    thread: std::sync::OnceLock<Thread>,
    /// What chooses the sample: clients know their request ids, and must not know which of their requests
    /// have no line.
    chance: RandomState,
}

impl AccessLog {
    /// A log that writes nothing.
    #[must_use]
    pub fn off() -> Self {
        Self { shared: None }
    }

    /// Opens the target and starts the writer.
    ///
    /// # Errors
    /// See [`AccessLogError`].
    pub fn start(target: &AccessLogTarget) -> Result<Self, AccessLogError> {
        if *target == AccessLogTarget::Off {
            return Ok(Self::off());
        }
        let sink = Sink::open(target).map_err(|(path, why)| AccessLogError::Open { path, why })?;
        Self::with(sink)
    }

    fn with(sink: Sink) -> Result<Self, AccessLogError> {
        let shared = Arc::new(Shared {
            lines: ArrayQueue::new(limits::ACCESS_LOG_QUEUE_LINES),
            spare: ArrayQueue::new(limits::ACCESS_LOG_BUFFERS_KEPT),
            bytes: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            done: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            reopen: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            writer: Mutex::new(None),
            thread: std::sync::OnceLock::new(),
            chance: RandomState::new(),
        });
        let writer = Writer {
            shared: Arc::clone(&shared),
            sink,
            torn: Vec::new(),
            fails: false,
            complained: None,
        };
        let handle = thread::Builder::new()
            .name("access-log".into())
            .spawn(move || writer.run())
            .map_err(AccessLogError::Thread)?;
        // Cannot be set already: the cell was made three lines above.
        drop(shared.thread.set(handle.thread().clone()));
        *shared.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
        Ok(Self {
            shared: Some(shared),
        })
    }

    /// Whether anything is written: without it a record need not be made.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.shared.is_some()
    }

    /// Writes one request, or leaves it out of the sample. Never waits.
    pub fn write(&self, record: &RequestRecord<'_>, style: &LogStyle) {
        let of = if record.is_refusal() {
            style.sample_refused
        } else {
            style.sample
        };
        if !self.is_in_sample(of, record.request_id) {
            return;
        }
        self.line(|out| match style.format {
            LogFormat::Json => line::write(out, style.fields, of, |line| record.write(line)),
            LogFormat::Common => common::request(out, record, false, of),
            LogFormat::Combined => common::request(out, record, true, of),
        });
    }

    /// Writes one failed handshake. Never waits.
    pub fn handshake_failed(&self, record: &HandshakeRecord<'_>, style: &LogStyle) {
        let whose = (record.client, record.time);
        self.refused(whose, style, |line| record.write(line));
    }

    /// Writes one client certificate that is no good. Never waits.
    pub fn certificate(&self, record: &CertificateRecord<'_>, style: &LogStyle) {
        // The common format has nothing for it: a request or the end of the connection follows.
        if style.format == LogFormat::Json {
            let whose = (record.client, record.time);
            self.refused(whose, style, |line| record.write(line));
        }
    }

    /// Writes one connection that was ended for what its client did. Never waits.
    pub fn connection(&self, record: &ConnectionRecord<'_>, style: &LogStyle) {
        let whose = (record.client, record.time);
        self.refused(whose, style, |line| record.write(line));
    }

    fn refused(
        &self,
        whose: (SocketAddr, SystemTime),
        style: &LogStyle,
        fill: impl FnOnce(&mut line::Line<'_>),
    ) {
        let of = style.sample_refused;
        if !self.is_in_sample(of, whose) {
            return;
        }
        self.line(|out| match style.format {
            LogFormat::Json => line::write(out, style.fields, of, fill),
            LogFormat::Common => common::connection(out, whose, false, of),
            LogFormat::Combined => common::connection(out, whose, true, of),
        });
    }

    /// Whether a line is one of so many that is written.
    fn is_in_sample(&self, of: u32, what: impl Hash) -> bool {
        let Some(shared) = &self.shared else {
            return false;
        };
        of <= 1 || shared.chance.hash_one(what).is_multiple_of(u64::from(of))
    }

    /// Opens the file again, after it was moved away; the old one is kept when that fails.
    pub fn reopen(&self) {
        if let Some(shared) = &self.shared {
            shared.reopen.store(true, Ordering::Release);
            shared.wake_now();
        }
    }

    /// Lines that were lost.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared
            .as_ref()
            .map_or(0, |shared| shared.dropped.load(Ordering::Relaxed))
    }

    /// Waits until everything written so far is in the file, at most `patience`. Answers whether
    /// it is. Not for workers: it blocks.
    #[must_use]
    pub fn flush(&self, patience: Duration) -> bool {
        let Some(shared) = &self.shared else {
            return true;
        };
        let wanted = shared.accepted.load(Ordering::Acquire);
        let start = clock::now();
        while shared.done.load(Ordering::Acquire) < wanted {
            if start.elapsed() >= patience {
                return false;
            }
            shared.wake_now();
            thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Writes what waits and ends the writer; lines of later calls are lost. Blocks no longer than
    /// `patience`: a disk that hangs must not keep the process from ending.
    pub fn finish(&self, patience: Duration) {
        let Some(shared) = &self.shared else { return };
        if self.flush(patience) {
            shared.stopping.store(true, Ordering::Release);
            shared.wake_now();
            let writer = shared
                .writer
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(Err(_panic)) = writer.map(JoinHandle::join) {
                tracing::error!("the access log's writer panicked");
            }
        }
    }

    fn line(&self, fill: impl FnOnce(&mut Vec<u8>)) {
        let Some(shared) = &self.shared else { return };
        let mut line = shared
            .spare
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(1_024));
        fill(&mut line);
        let bytes = line.len();
        let waiting = shared.bytes.fetch_add(bytes, Ordering::AcqRel);
        let refused = if waiting + bytes > limits::ACCESS_LOG_QUEUE_BYTES {
            Some(line)
        } else {
            shared.lines.push(line).err()
        };
        if let Some(line) = refused {
            shared.bytes.fetch_sub(bytes, Ordering::AcqRel);
            shared.dropped.fetch_add(1, Ordering::Relaxed);
            shared.give_back(line);
        } else {
            shared.accepted.fetch_add(1, Ordering::AcqRel);
            shared.wake();
        }
    }
}

impl std::fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessLog")
            .field("enabled", &self.enabled())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Wakes the writer when it sleeps. The fence orders the line put into the queue before the
    /// look at `sleeping`; the writer does it the other way round, so one of them sees the other.
    fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::AcqRel) {
            self.wake_now();
        }
    }

    fn wake_now(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn give_back(&self, mut line: Vec<u8>) {
        if line.capacity() <= limits::ACCESS_LOG_LINE_BYTES_KEPT {
            line.clear();
            // A full store of spare buffers lets this one go.
            drop(self.spare.push(line));
        }
    }
}

/// Where lines end.
enum Sink {
    Stdout,
    Stderr,
    File(PathBuf, std::fs::File),
    #[cfg(test)]
    Test(Box<dyn Write + Send>),
}

impl Sink {
    fn open(target: &AccessLogTarget) -> Result<Self, (PathBuf, io::Error)> {
        Ok(match target {
            AccessLogTarget::Off | AccessLogTarget::Stdout => Self::Stdout,
            AccessLogTarget::Stderr => Self::Stderr,
            AccessLogTarget::File(path) => {
                let file = OpenOptions::new()
                    .append(true)
                    .create(true)
                    .mode(0o640)
                    .open(path);
                Self::File(path.clone(), file.map_err(|error| (path.clone(), error))?)
            }
        })
    }

    /// Writes as much as there is room for; how many bytes that is, and why it is not all.
    fn write(&mut self, bytes: &[u8]) -> (usize, Option<io::Error>) {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            let count = match self {
                // What stands in its buffer is lost when the flush fails: standard output is no file here.
                Self::Stdout => {
                    let mut out = io::stdout().lock();
                    out.write_all(rest)
                        .and_then(|()| out.flush())
                        .map(|()| rest.len())
                }
                Self::Stderr => io::stderr().lock().write(rest),
                Self::File(_, file) => file.write(rest),
                #[cfg(test)]
                Self::Test(out) => out.write(rest),
            };
            match count {
                Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (written, Some(error)),
            }
        }
        (written, None)
    }
}

struct Writer {
    shared: Arc<Shared>,
    sink: Sink,
    /// The rest of a line whose beginning is in the file: a disk that ran full takes it before any
    /// other, so that lines stay whole.
    torn: Vec<u8>,
    /// The last write failed.
    fails: bool,
    /// When the last failure was told: once a minute is enough.
    complained: Option<Instant>,
}

impl Writer {
    fn run(mut self) {
        let mut batch = Vec::with_capacity(limits::ACCESS_LOG_WRITE_BYTES);
        loop {
            if self.shared.reopen.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            let mut lines = 0_u64;
            while batch.len() < limits::ACCESS_LOG_WRITE_BYTES
                && let Some(line) = self.shared.lines.pop()
            {
                self.shared.bytes.fetch_sub(line.len(), Ordering::AcqRel);
                batch.extend_from_slice(&line);
                lines += 1;
                self.shared.give_back(line);
            }
            if lines > 0 {
                self.write(&batch, lines);
                batch.clear();
                self.shared.done.fetch_add(lines, Ordering::AcqRel);
                continue;
            }
            if self.shared.stopping.load(Ordering::Acquire) {
                return;
            }
            self.shared.sleeping.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if self.shared.lines.is_empty() && !self.shared.reopen.load(Ordering::Acquire) {
                thread::park_timeout(Duration::from_secs(1));
                if self.shared.sleeping.swap(false, Ordering::AcqRel) {
                    // There is no line: the time was up, or a flush is wanted.
                    continue;
                }
                thread::sleep(limits::ACCESS_LOG_GATHER);
            } else {
                self.shared.sleeping.store(false, Ordering::Release);
            }
        }
    }

    /// Writes whole lines; those that do not get into the file are lost, and counted.
    fn write(&mut self, batch: &[u8], lines: u64) {
        if !self.torn.is_empty() {
            let (written, error) = self.sink.write(&self.torn);
            self.torn.drain(..written);
            if let Some(error) = error {
                self.lose(lines, &error);
                return;
            }
        }
        let (written, error) = self.sink.write(batch);
        let Some(error) = error else {
            if std::mem::take(&mut self.fails) {
                self.complained = None;
                let dropped = self.shared.dropped.load(Ordering::Relaxed);
                tracing::info!("the access log is written again; {dropped} lines are lost so far");
            }
            return;
        };
        let (done, left) = batch.split_at(written.min(batch.len()));
        let is_torn = done.last().is_some_and(|byte| *byte != b'\n');
        let end = left.iter().position(|byte| *byte == b'\n');
        if let (true, Some(end)) = (is_torn, end) {
            self.torn
                .extend_from_slice(left.get(..=end).unwrap_or_default());
        }
        let lost = left.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.lose(lost.saturating_sub(u64::from(is_torn)), &error);
    }

    fn lose(&mut self, lines: u64, error: &io::Error) {
        self.fails = true;
        self.shared.dropped.fetch_add(lines, Ordering::Relaxed);
        self.complain(error);
    }

    fn reopen(&mut self) {
        if let Sink::File(path, _) = &self.sink {
            match Sink::open(&AccessLogTarget::File(path.clone())) {
                Ok(sink) => {
                    self.sink = sink;
                    // Its beginning is in the old file.
                    let torn = std::mem::take(&mut self.torn);
                    let lost = u64::from(!torn.is_empty());
                    self.shared.dropped.fetch_add(lost, Ordering::Relaxed);
                }
                Err((path, error)) => {
                    tracing::error!(
                        "the access log {} cannot be opened again: {error}; the old file is kept",
                        path.display()
                    );
                }
            }
        }
    }

    fn complain(&mut self, error: &io::Error) {
        if self
            .complained
            .is_none_or(|last| last.elapsed() >= Duration::from_secs(60))
        {
            self.complained = Some(clock::now());
            let dropped = self.shared.dropped.load(Ordering::Relaxed);
            tracing::error!(
                "the access log cannot be written: {error}; {dropped} lines are lost so far"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::request;
    use super::*;
    use std::fs;
    use vocabulary::client_auth::ClientAuth;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn write(log: &AccessLog, path: &str) {
        log.write(&request(path, &ClientAuth::none()), &LogStyle::default());
    }

    struct File(PathBuf);

    impl File {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("postern-log-{name}-{}", std::process::id())))
        }

        fn lines(&self) -> usize {
            fs::read_to_string(&self.0).unwrap().lines().count()
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            drop(fs::remove_file(&self.0));
        }
    }

    #[test]
    fn lines_of_several_threads_arrive_whole() {
        let file = File::new("threads");
        let log = AccessLog::start(&AccessLogTarget::File(file.0.clone())).unwrap();
        thread::scope(|scope| {
            for _ in 0..4 {
                let log = log.clone();
                scope.spawn(move || {
                    for index in 0..500 {
                        write(&log, &format!("/{index}"));
                    }
                });
            }
        });
        assert!(log.flush(PATIENCE));
        assert_eq!(log.dropped(), 0);
        for line in fs::read_to_string(&file.0).unwrap().lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
        assert_eq!(file.lines(), 2_000);
        // A writer that went to sleep wakes up again.
        thread::sleep(Duration::from_millis(50));
        write(&log, "/late");
        log.finish(PATIENCE);
        assert_eq!(file.lines(), 2_001);
    }

    #[test]
    fn a_rotated_file_is_opened_again() {
        let (file, moved) = (File::new("rotate"), File::new("rotated"));
        let log = AccessLog::start(&AccessLogTarget::File(file.0.clone())).unwrap();
        write(&log, "/1");
        assert!(log.flush(PATIENCE));
        fs::rename(&file.0, &moved.0).unwrap();
        log.reopen();
        let start = Instant::now();
        while !file.0.exists() && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(2));
        }
        write(&log, "/2");
        log.finish(PATIENCE);
        assert_eq!((moved.lines(), file.lines()), (1, 1));
    }

    /// A disk that does nothing until it is told to.
    struct Stuck(Arc<AtomicBool>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            while self.0.load(Ordering::Acquire) {
                thread::sleep(Duration::from_millis(1));
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_disk_costs_lines_and_nothing_else() {
        let stuck = Arc::new(AtomicBool::new(true));
        let log = AccessLog::with(Sink::Test(Box::new(Stuck(Arc::clone(&stuck))))).unwrap();
        let path = "/x".repeat(1_000);
        // Were a worker to wait for the disk, this would not end.
        for _ in 0..limits::ACCESS_LOG_QUEUE_LINES * 2 {
            write(&log, &path);
            if log.dropped() > 10 {
                break;
            }
        }
        assert!(log.dropped() > 0);
        assert!(
            log.shared.as_ref().unwrap().bytes.load(Ordering::Relaxed)
                <= limits::ACCESS_LOG_QUEUE_BYTES
        );
        assert!(!log.flush(Duration::from_millis(20)));
        stuck.store(false, Ordering::Release);
        log.finish(PATIENCE);
        assert_eq!(
            log.shared.as_ref().unwrap().bytes.load(Ordering::Relaxed),
            0
        );
    }

    /// A disk with room for so many bytes, and what is on it.
    #[derive(Clone, Default)]
    struct Small(Arc<Mutex<(usize, Vec<u8>)>>);

    impl Write for Small {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().unwrap();
            let count = bytes.len().min(disk.0);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            disk.0 -= count;
            disk.1.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_costs_whole_lines_which_are_counted() {
        let disk = Small::default();
        let log = AccessLog::with(Sink::Test(Box::new(disk.clone()))).unwrap();
        for room in [1_000, 0, 10, 3_000, 1, 0, 100_000] {
            disk.0.lock().unwrap().0 += room;
            for index in 0..4 {
                write(&log, &format!("/{room}/{index}"));
            }
            assert!(log.flush(PATIENCE));
        }
        log.finish(PATIENCE);
        let text = String::from_utf8(disk.0.lock().unwrap().1.clone()).unwrap();
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
        assert!(log.dropped() > 0 && text.contains("/100000/3"), "{text}");
        assert_eq!(text.lines().count() as u64 + log.dropped(), 28);
    }

    #[test]
    fn a_sample_says_how_many_lines_it_stands_for() {
        let file = File::new("sample");
        let log = AccessLog::start(&AccessLogTarget::File(file.0.clone())).unwrap();
        let style = LogStyle {
            sample: 10,
            ..LogStyle::default()
        };
        let nobody = ClientAuth::none();
        let line = |index: usize, status: u16| {
            let id = format!("{index:032x}");
            let record = RequestRecord {
                request_id: &id,
                status,
                rule: None,
                logged: &[],
                ..request("/", &nobody)
            };
            log.write(&record, &style);
        };
        for index in 0..10_000 {
            line(index, 200);
            if index % 10 == 0 {
                line(index, 500);
            }
        }
        log.finish(PATIENCE);
        let (mut permitted, mut failed) = (0, 0);
        for line in fs::read_to_string(&file.0).unwrap().lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let stands_for = line["stands_for"].as_u64();
            if line["status"] == 500 {
                assert_eq!(stands_for, None);
                failed += 1;
            } else {
                permitted += stands_for.unwrap();
            }
        }
        assert_eq!(failed, 1_000);
        // Five standard deviations: one in two million runs is further away.
        assert!((8_500..=11_500).contains(&permitted), "{permitted}");
    }

    #[test]
    fn what_cannot_be_opened_is_told() {
        let error =
            AccessLog::start(&AccessLogTarget::File("/nowhere/at/all.log".into())).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("the access log /nowhere/at/all.log cannot be opened"),
            "{error}"
        );
        let off = AccessLog::start(&AccessLogTarget::Off).unwrap();
        write(&off, "/");
        assert!(!off.enabled() && off.flush(Duration::ZERO));
    }
}
