//! A server of a CA's: says what a test tells it to, and remembers what it was asked.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What it does with a request.
#[derive(Debug, Clone)]
pub enum Manner {
    /// Answers 200 with this body; 304 when the request has this ETag.
    Serve {
        /// Without quotes.
        etag: String,
        /// The body.
        body: Vec<u8>,
    },
    /// Sends these bytes, whatever they are.
    Raw(Vec<u8>),
    /// Closes at once.
    Close,
    /// Takes the request and never answers.
    Silent,
}

impl Manner {
    /// A body without an ETag.
    #[must_use]
    pub fn body(body: Vec<u8>) -> Self {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let mut bytes = head.into_bytes();
        bytes.extend(body);
        Self::Raw(bytes)
    }
}

/// It listens on loopback until it is dropped.
pub struct CaServer {
    address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    requests: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl CaServer {
    /// Starts one.
    #[must_use]
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let manner = Arc::new(Mutex::new(manner));
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let stop: Arc<AtomicBool> = Arc::default();
        let (says, notes, ends) = (manner.clone(), requests.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut silent = Vec::new();
            for stream in listener.incoming() {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                let Ok(mut stream) = stream else { continue };
                let manner = says.lock().unwrap().clone();
                let request = read_request(&mut stream);
                notes.lock().unwrap().push(request.clone());
                // The client may be gone by now.
                match manner {
                    Manner::Serve { etag, body } => {
                        drop(serve(&mut stream, &request, &etag, &body));
                    }
                    Manner::Raw(bytes) => drop(stream.write_all(&bytes)),
                    Manner::Close => {}
                    Manner::Silent => silent.push(stream),
                }
            }
        });
        Self {
            address,
            manner,
            requests,
            stop,
            thread: Some(thread),
        }
    }

    /// A URL of it.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on it does this.
    pub fn set(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// What it was asked so far, heads only.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for CaServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn read_request(stream: &mut TcpStream) -> String {
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    // All of it, or closing would cost the client its answer.
    while !is_whole(&bytes) {
        match stream.read(&mut piece) {
            Ok(count @ 1..) => bytes.extend_from_slice(&piece[..count]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&bytes).to_lowercase()
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length = length.map_or(0, |length| length.trim().parse().unwrap());
    bytes.len() >= end + 4 + length
}

fn serve(stream: &mut TcpStream, request: &str, etag: &str, body: &[u8]) -> std::io::Result<()> {
    if request.contains(&format!("if-none-match: \"{etag}\"")) {
        return write!(
            stream,
            "HTTP/1.1 304 Not Modified\r\nETag: \"{etag}\"\r\n\r\n"
        );
    }
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nETag: \"{etag}\"\r\nLast-Modified: Sat, 21 Nov 2026 00:00:00 GMT\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)
}
