//! The access log: lines from workers to a file, without a worker ever waiting.
//!
//! Owns the bounded queue, the writer thread, and opening the file again after it was rotated.
//! A line that does not fit is dropped and counted. What a line says is [`super::record`]'s.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;

use super::record::{CertificateRecord, ConnectionRecord, HandshakeRecord, RequestRecord};
use crate::clock;
use crate::limits;
use config::AccessLogTarget;

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
        });
        let writer = Writer {
            shared: Arc::clone(&shared),
            sink,
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

    /// Writes one request. Never waits.
    pub fn write(&self, record: &RequestRecord<'_>) {
        self.line(|out| record.write(out));
    }

    /// Writes one failed handshake. Never waits.
    pub fn handshake_failed(&self, record: &HandshakeRecord<'_>) {
        self.line(|out| record.write(out));
    }

    /// Writes one client certificate that is no good. Never waits.
    pub fn certificate(&self, record: &CertificateRecord<'_>) {
        self.line(|out| record.write(out));
    }

    /// Writes one connection that was ended for what its client did. Never waits.
    pub fn connection(&self, record: &ConnectionRecord<'_>) {
        self.line(|out| record.write(out));
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

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()
            }
            Self::Stderr => io::stderr().lock().write_all(bytes),
            Self::File(_, file) => file.write_all(bytes),
            #[cfg(test)]
            Self::Test(out) => out.write_all(bytes),
        }
    }
}

struct Writer {
    shared: Arc<Shared>,
    sink: Sink,
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
                if let Err(error) = self.sink.write(&batch) {
                    self.shared.dropped.fetch_add(lines, Ordering::Relaxed);
                    self.complain(&error);
                }
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

    fn reopen(&mut self) {
        if let Sink::File(path, _) = &self.sink {
            match Sink::open(&AccessLogTarget::File(path.clone())) {
                Ok(sink) => self.sink = sink,
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
                        log.write(&request(&format!("/{index}"), &ClientAuth::none()));
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
        log.write(&request("/late", &ClientAuth::none()));
        log.finish(PATIENCE);
        assert_eq!(file.lines(), 2_001);
    }

    #[test]
    fn a_rotated_file_is_opened_again() {
        let (file, moved) = (File::new("rotate"), File::new("rotated"));
        let log = AccessLog::start(&AccessLogTarget::File(file.0.clone())).unwrap();
        log.write(&request("/1", &ClientAuth::none()));
        assert!(log.flush(PATIENCE));
        fs::rename(&file.0, &moved.0).unwrap();
        log.reopen();
        let start = Instant::now();
        while !file.0.exists() && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(2));
        }
        log.write(&request("/2", &ClientAuth::none()));
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
            log.write(&request(&path, &ClientAuth::none()));
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
        off.write(&request("/", &ClientAuth::none()));
        assert!(!off.enabled() && off.flush(Duration::ZERO));
    }
}
