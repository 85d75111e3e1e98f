//! A page of the dashboard as the gateway sees it: the event stream over TCP, and every ten seconds
//! what Overview counts.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

/// As often as the dashboard asks for what counts by itself.
const COUNTED_EVERY: Duration = Duration::from_secs(10);
/// How long a read waits before it is looked whether that is enough.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the admin API is, and who asks.
#[derive(Debug, Clone)]
pub(super) struct Admin {
    pub(super) address: SocketAddr,
    pub(super) token: String,
    /// The id of the zone whose traffic is asked for.
    pub(super) zone: String,
}

/// What a page was told.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Heard {
    pub(super) events: u64,
    /// Times that events were lost to it.
    pub(super) gaps: u64,
    pub(super) bytes: u64,
}

impl Heard {
    fn line(&mut self, line: &[u8]) {
        match line {
            b"event: event" => self.events += 1,
            b"event: gap" => self.gaps += 1,
            _ => {}
        }
    }
}

/// Pages that are open until they are closed.
pub(super) struct Pages {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Heard>>>,
}

impl Pages {
    pub(super) fn open(count: usize, admin: &Admin) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let threads = (0..count).map(|_| {
            let (admin, over) = (admin.clone(), over.clone());
            std::thread::spawn(move || keep_open(&admin, &over))
        });
        Self {
            threads: threads.collect(),
            over,
        }
    }

    pub(super) fn close(self) -> Result<Vec<Heard>> {
        self.over.store(true, Ordering::Relaxed);
        let joined = self.threads.into_iter().map(|thread| {
            let outcome = thread.join();
            outcome.map_err(|_panic| anyhow!("a page panicked"))?
        });
        joined.collect()
    }
}

fn keep_open(admin: &Admin, over: &AtomicBool) -> Result<Heard> {
    let mut heard = Heard::default();
    // They end after a while, and the page asks again.
    while !over.load(Ordering::Relaxed) {
        stream(admin, over, &mut heard)?;
    }
    Ok(heard)
}

fn stream(admin: &Admin, over: &AtomicBool, heard: &mut Heard) -> Result<()> {
    let mut stream = connect(admin, "/postern/v1/events/stream")?;
    stream.set_read_timeout(Some(LOOK_EVERY))?;
    let mut counted: Option<Instant> = None;
    let (mut buffer, mut line) = ([0; 16 << 10], Vec::new());
    let mut first = true;
    while !over.load(Ordering::Relaxed) {
        if counted.is_none_or(|at| at.elapsed() >= COUNTED_EVERY) {
            counted = Some(Instant::now());
            for path in [
                "/postern/v1/status".to_owned(),
                format!("/postern/v1/zones/{}/traffic?minutes=60", admin.zone),
            ] {
                get(admin, &path)?;
            }
        }
        let count = match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(error) => return Err(error).context("reading the event stream"),
        };
        heard.bytes += count as u64;
        for byte in buffer.get(..count).unwrap_or_default() {
            match byte {
                b'\n' => {
                    if std::mem::take(&mut first) && !line.starts_with(b"HTTP/1.1 200") {
                        bail!("the stream: {}", String::from_utf8_lossy(&line));
                    }
                    heard.line(&line);
                    line.clear();
                }
                b'\r' => {}
                byte => line.push(*byte),
            }
        }
    }
    Ok(())
}

fn connect(admin: &Admin, path: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(admin.address).context("connecting to admin.listen")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        admin.address, admin.token
    )?;
    Ok(stream)
}

fn get(admin: &Admin, path: &str) -> Result<()> {
    let mut answer = Vec::new();
    connect(admin, path)?.read_to_end(&mut answer)?;
    if !answer.starts_with(b"HTTP/1.1 200") {
        bail!("{path}: {}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}
