//! A page of the dashboard as the gateway sees it: the event stream over TCP, and every ten seconds
//! what Overview counts.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
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
const PATIENCE: Duration = Duration::from_secs(60);

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
    /// One after the other: of clients that have not shown yet who they are the gateway has few.
    pub(super) fn open(count: usize, admin: &Admin) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for _page in 0..count {
            let (stream, counts) = (Connection::open(admin)?, Connection::open(admin)?);
            let (mut page, over) = (Page { stream, counts }, over.clone());
            page.ask_counts(admin)?;
            page.stream.send(admin, "/postern/v1/events/stream")?;
            page.stream.head()?;
            let admin = admin.clone();
            threads.push(std::thread::spawn(move || page.listen(&admin, &over)));
        }
        Ok(Self { over, threads })
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

/// Its two connections, as a browser has them.
struct Page {
    stream: Connection,
    counts: Connection,
}

impl Page {
    fn ask_counts(&mut self, admin: &Admin) -> Result<()> {
        for path in [
            "/postern/v1/status".to_owned(),
            format!("/postern/v1/zones/{}/traffic?minutes=60", admin.zone),
        ] {
            self.counts.send(admin, &path)?;
            let length = self
                .counts
                .head()?
                .context("an answer without its length")?;
            let mut body = vec![0; length];
            self.counts.0.read_exact(&mut body)?;
        }
        Ok(())
    }

    fn listen(mut self, admin: &Admin, over: &AtomicBool) -> Result<Heard> {
        let mut heard = Heard::default();
        let mut counted = Instant::now();
        self.stream.0.get_ref().set_read_timeout(Some(LOOK_EVERY))?;
        let mut line = Vec::new();
        while !over.load(Ordering::Relaxed) {
            if counted.elapsed() >= COUNTED_EVERY {
                counted = Instant::now();
                self.ask_counts(admin)?;
            }
            match self.stream.0.read_until(b'\n', &mut line) {
                Ok(0) => bail!("the event stream has ended"),
                Ok(_) => {
                    heard.bytes += line.len() as u64;
                    heard.line(line.trim_ascii_end());
                    line.clear();
                }
                // What was read of the line stays in it.
                Err(error) if is_pause(&error) => {}
                Err(error) => return Err(error).context("reading the event stream"),
            }
        }
        Ok(heard)
    }
}

fn is_pause(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// A connection to the admin API that stays.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(admin: &Admin) -> Result<Self> {
        let stream = TcpStream::connect(admin.address).context("connecting to admin.listen")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    fn send(&mut self, admin: &Admin, path: &str) -> Result<()> {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
            admin.address, admin.token
        );
        Ok(self.0.get_mut().write_all(head.as_bytes())?)
    }

    /// Reads the head of a good answer; the length of its content, where that is said.
    fn head(&mut self) -> Result<Option<usize>> {
        let (mut line, mut length) = (String::new(), None);
        self.0.read_line(&mut line)?;
        if !line.starts_with("HTTP/1.1 200") {
            bail!("the admin API: {line}");
        }
        loop {
            line.clear();
            self.0.read_line(&mut line)?;
            let field = line.trim_end().to_ascii_lowercase();
            if field.is_empty() {
                return Ok(length);
            }
            if let Some(text) = field.strip_prefix("content-length:") {
                length = Some(text.trim().parse()?);
            }
        }
    }
}
