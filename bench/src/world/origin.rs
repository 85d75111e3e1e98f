//! The origin: answers every request with the same few bytes, and costs next to nothing.
//!
//! One thread, one poll, one read and one write per request. It knows requests without content
//! only, which is what the client here sends; it counts empty lines and believes the proxies.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use crate::machine;

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 22\r\n\r\nhello from the origin\n";
const LISTENER: Token = Token(usize::MAX);
const STOP: Token = Token(usize::MAX - 1);
/// Connections at once; further ones are closed.
const CONNECTIONS_MAX: usize = 16_384;

/// An origin that runs until it is dropped.
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Origin {
    /// Starts one on `cpu`.
    ///
    /// # Errors
    /// No port, no thread.
    pub fn start(cpu: Option<usize>) -> Result<Self> {
        let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = listener.local_addr()?;
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), STOP)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let body = move || {
            let pinned = cpu.map_or(Ok(()), machine::pin);
            let served = pinned.and_then(|()| serve(poll, &listener, &stopped));
            if let Err(error) = served {
                eprintln!("the origin stopped: {error:#}");
            }
        };
        let thread = std::thread::Builder::new()
            .name("origin".into())
            .spawn(body)?;
        Ok(Self {
            address,
            stop,
            waker,
            thread: Some(thread),
        })
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

/// A client of the origin: the socket, and how much of an empty line its last bytes were.
struct Client {
    socket: TcpStream,
    seen: usize,
}

fn serve(mut poll: Poll, listener: &TcpListener, stop: &AtomicBool) -> Result<()> {
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
                LISTENER => accept(listener, &poll, &mut clients, &mut free)?,
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
        drop(socket.set_nodelay(true));
        let index = free.pop().unwrap_or_else(|| {
            clients.push(None);
            clients.len() - 1
        });
        poll.registry()
            .register(&mut socket, Token(index), Interest::READABLE)?;
        if let Some(slot) = clients.get_mut(index) {
            *slot = Some(Client { socket, seen: 0 });
        }
    }
}

/// Reads what is there and answers as many requests as end in it. An error ends the client.
fn answer(client: &mut Client, buffer: &mut [u8], answers: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        let count = match client.socket.read(buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        answers.clear();
        for byte in buffer.iter().take(count) {
            client.seen = match (byte, client.seen) {
                (b'\r', 0 | 2) | (b'\n', 1 | 3) => client.seen + 1,
                (b'\r', _) => 1,
                _ => 0,
            };
            if client.seen == 4 {
                client.seen = 0;
                answers.extend_from_slice(ANSWER);
            }
        }
        // So few bytes fit into any socket buffer; where they do not, the peer does not read.
        client.socket.write_all(answers)?;
        if count < buffer.len() {
            // All that was there: the next bytes bring a new event.
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_whole_requests_only() {
        let origin = Origin::start(None).unwrap();
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
}
