//! The origin: answers every request with the same few bytes, and costs next to nothing.
//!
//! One thread, one poll, one read and one write per request. It counts empty lines and believes the
//! proxies. Two kinds of request are more: `GET /bytes/N` is answered with N bytes, and the content
//! of `PUT` and `POST`, whose length has to be told, is taken and thrown away.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use crate::machine;

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 22\r\n\r\nhello from the origin\n";
/// What a request for bytes begins with.
const BYTES: &[u8] = b"GET /bytes/";
/// Bytes of a head; a client with a longer one is closed.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// Content that is sent.
static ZEROS: [u8; 256 * 1024] = [0; 256 * 1024];
const LISTENER: Token = Token(usize::MAX);
const STOP: Token = Token(usize::MAX - 1);
/// Connections at once; further ones are closed.
const CONNECTIONS_MAX: usize = 16_384;

/// An origin that runs until it is dropped.
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    connections: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Origin {
    /// Starts one on `cpu`. `gives_way`: everybody else there goes first.
    ///
    /// # Errors
    /// No port, no thread.
    pub fn start(cpu: Option<usize>, gives_way: bool) -> Result<Self> {
        let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = listener.local_addr()?;
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), STOP)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let connections = Arc::new(AtomicU64::new(0));
        let accepted = connections.clone();
        let body = move || {
            let pinned = cpu.map_or(Ok(()), machine::pin).and_then(|()| {
                if gives_way {
                    machine::give_way()
                } else {
                    Ok(())
                }
            });
            let served = pinned.and_then(|()| serve(poll, &listener, &stopped, &accepted));
            if let Err(error) = served {
                eprintln!("the origin stopped: {error:#}");
            }
        };
        let thread = std::thread::Builder::new()
            .name("origin".into())
            .spawn(body)?;
        Ok(Self {
            address,
            connections,
            stop,
            waker,
            thread: Some(thread),
        })
    }
}

impl Origin {
    /// Connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let woken = self.waker.wake();
        if let Some(thread) = self.thread.take().filter(|_| woken.is_ok()) {
            // A thread that panicked has said so already.
            drop(thread.join());
        }
    }
}

/// A client of the origin.
struct Client {
    socket: TcpStream,
    /// How much of an empty line its last bytes were.
    seen: usize,
    /// The head so far.
    head: Vec<u8>,
    state: State,
}

/// What comes next on a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The rest of a head.
    Head,
    /// So many bytes of content from it.
    Taking(u64),
    /// So many bytes of content to it.
    Sending(u64),
}

fn serve(
    mut poll: Poll,
    listener: &TcpListener,
    stop: &AtomicBool,
    accepted: &AtomicU64,
) -> Result<()> {
    let mut events = Events::with_capacity(256);
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut answers = Vec::new();
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other.context("polling")?,
        }
        for event in &events {
            match event.token() {
                STOP if stop.load(Ordering::Relaxed) => return Ok(()),
                STOP => {}
                LISTENER => accept(listener, &poll, &mut clients, &mut free, accepted)?,
                Token(index) => {
                    let Some(slot) = clients.get_mut(index) else {
                        continue;
                    };
                    let Some(client) = slot else { continue };
                    if answer(client, &mut buffer, &mut answers).is_err() {
                        *slot = None;
                        free.push(index);
                    }
                }
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    poll: &Poll,
    clients: &mut Vec<Option<Client>>,
    free: &mut Vec<usize>,
    accepted: &AtomicU64,
) -> Result<()> {
    loop {
        let mut socket = match listener.accept() {
            Ok((socket, _)) => socket,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            // A client that went away again, or a limit: the others are served on.
            Err(_) => continue,
        };
        if clients.len() - free.len() >= CONNECTIONS_MAX {
            continue;
        }
        accepted.fetch_add(1, Ordering::Relaxed);
        drop(socket.set_nodelay(true));
        let index = free.pop().unwrap_or_else(|| {
            clients.push(None);
            clients.len() - 1
        });
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut socket, Token(index), both)?;
        if let Some(slot) = clients.get_mut(index) {
            *slot = Some(Client {
                socket,
                seen: 0,
                head: Vec::new(),
                state: State::Head,
            });
        }
    }
}

/// Reads what is there and answers as many requests as end in it. An error ends the client.
fn answer(client: &mut Client, buffer: &mut [u8], answers: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        if !client.send()? {
            return Ok(());
        }
        let count = match client.socket.read(buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        answers.clear();
        let mut rest = buffer.get(..count).unwrap_or_default();
        while !rest.is_empty() {
            let taken = client.take(rest, answers)?;
            rest = rest.get(taken..).unwrap_or_default();
        }
        // So few bytes fit into any socket buffer; where they do not, the peer does not read.
        client.socket.write_all(answers)?;
        if count < buffer.len() && !matches!(client.state, State::Sending(_)) {
            // All that was there: the next bytes bring a new event.
            return Ok(());
        }
    }
}

impl Client {
    /// Takes bytes as far as one head or one content goes, and says how many.
    fn take(&mut self, bytes: &[u8], answers: &mut Vec<u8>) -> std::io::Result<usize> {
        if let State::Taking(left) = self.state {
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            self.state = State::Taking(left - count as u64);
            if left == count as u64 {
                self.state = State::Head;
                answers.extend_from_slice(ANSWER);
            }
            return Ok(count);
        }
        if matches!(self.state, State::Sending(_)) {
            // Nobody here asks again before the answer is there.
            return Err(ErrorKind::InvalidData.into());
        }
        let mut seen = self.seen;
        let mut end = None;
        for (byte, index) in bytes.iter().zip(1..) {
            seen = match (byte, seen) {
                (b'\r', 0 | 2) | (b'\n', 1 | 3) => seen + 1,
                (b'\r', _) => 1,
                _ => 0,
            };
            if seen == 4 {
                end = Some(index);
                break;
            }
        }
        let Some(end) = end else {
            self.seen = seen;
            self.head.extend_from_slice(bytes);
            return if self.head.len() > HEAD_BYTES_MAX {
                Err(ErrorKind::InvalidData.into())
            } else {
                Ok(bytes.len())
            };
        };
        self.seen = 0;
        let last = bytes.get(..end).unwrap_or_default();
        if self.head.is_empty() {
            self.state = after(last, answers)?;
        } else {
            self.head.extend_from_slice(last);
            self.state = after(&self.head, answers)?;
            self.head.clear();
        }
        Ok(end)
    }

    /// Sends what is to be sent; false when the socket takes no more now.
    fn send(&mut self) -> std::io::Result<bool> {
        while let State::Sending(left) = self.state {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
            match self.socket.write(ZEROS.get(..most).unwrap_or_default()) {
                Ok(count) if count as u64 == left => self.state = State::Head,
                Ok(count) => self.state = State::Sending(left - count as u64),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// Answers a head, or says what has to come before its answer or after it.
fn after(head: &[u8], answers: &mut Vec<u8>) -> std::io::Result<State> {
    if let Some(rest) = head.strip_prefix(BYTES) {
        let count = number(rest).ok_or(ErrorKind::InvalidData)?;
        write!(
            answers,
            "HTTP/1.1 200 OK\r\nContent-Length: {count}\r\n\r\n"
        )?;
        return Ok(if count == 0 {
            State::Head
        } else {
            State::Sending(count)
        });
    }
    if head.starts_with(b"PUT ") || head.starts_with(b"POST ") {
        match length(head).ok_or(ErrorKind::InvalidData)? {
            0 => {}
            count => return Ok(State::Taking(count)),
        }
    }
    answers.extend_from_slice(ANSWER);
    Ok(State::Head)
}

/// The digits that `text` begins with.
fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(text.get(..digits)?).ok()?.parse().ok()
}

/// What a head says of its content's length.
fn length(head: &[u8]) -> Option<u64> {
    let name = b"content-length:";
    let line = head.split(|byte| *byte == b'\n').find(|line| {
        line.get(..name.len())
            .is_some_and(|text| text.eq_ignore_ascii_case(name))
    })?;
    number(line.get(name.len()..)?.trim_ascii_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_whole_requests_only() {
        let origin = Origin::start(None, false).unwrap();
        let mut socket = std::net::TcpStream::connect(origin.address).unwrap();
        let mut read = vec![0; ANSWER.len()];
        // Two requests, the second one in two parts.
        socket
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n")
            .unwrap();
        socket.read_exact(&mut read).unwrap();
        assert_eq!(read, ANSWER);
        socket.write_all(b"Host: a\r\n\r\n").unwrap();
        socket.read_exact(&mut read).unwrap();
        assert_eq!(read, ANSWER);
    }
    #[test]
    fn sends_and_takes_content() {
        let origin = Origin::start(None, false).unwrap();
        let mut socket = std::net::TcpStream::connect(origin.address).unwrap();
        socket
            .write_all(b"GET /bytes/1000000 HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
        let mut read = vec![1; head.len() + 1_000_000];
        socket.read_exact(&mut read).unwrap();
        assert!(read.starts_with(head) && read[head.len()..].iter().all(|byte| *byte == 0));
        socket
            .write_all(b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 300000\r\n\r\n")
            .unwrap();
        // An empty line in it is content.
        socket.write_all(&b"\r\n\r\n".repeat(75_000)).unwrap();
        let mut read = vec![0; ANSWER.len()];
        socket.read_exact(&mut read).unwrap();
        assert_eq!(read, ANSWER);
        assert_eq!(origin.connections(), 1);
    }
}
