//! Bytes as they are: for messages that no HTTP library would write, and answers that are looked
//! at one by one.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wait::within;

/// A connection whose bytes are written and read by hand.
pub struct Raw<S> {
    stream: S,
    /// The address that it speaks from.
    pub local: SocketAddr,
    read: Vec<u8>,
}

/// One HTTP/1.1 message as it was on the wire, its body without framing.
#[derive(Debug)]
pub struct Message {
    /// The head, without the empty line.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
    /// Trailers as they stood.
    pub trailers: String,
}

impl Message {
    /// The status code of an answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head
            .split(' ')
            .nth(1)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    }

    /// A header's value; empty when it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let value = |line: &str| {
            line.split_once(':')
                .map(|(found, _)| found.eq_ignore_ascii_case(name))
        };
        let line = self
            .head
            .lines()
            .skip(1)
            .find(|line| value(line) == Some(true));
        line.and_then(|line| line.split_once(':'))
            .map_or("", |(_, value)| value.trim())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A plain TCP connection.
pub async fn tcp(address: SocketAddr) -> Raw<TcpStream> {
    let stream = within("a TCP connection", TcpStream::connect(address))
        .await
        .unwrap();
    stream.set_nodelay(true).unwrap();
    let local = stream.local_addr().unwrap();
    Raw::new(stream, local)
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    /// Takes a connection over.
    #[must_use]
    pub fn new(stream: S, local: SocketAddr) -> Self {
        Self {
            stream,
            local,
            read: Vec::new(),
        }
    }

    /// Writes. That the peer may have closed is not this side's problem.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let write = async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        };
        drop(within("bytes to be taken", write).await);
    }

    /// Says that nothing more will be written.
    pub async fn finish(&mut self) {
        drop(within("the end to be taken", self.stream.shutdown()).await);
    }

    /// Reads until the peer closes.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.read);
        // A reset is an end like any other here.
        drop(within("the peer to close", self.stream.read_to_end(&mut all)).await);
        all
    }

    /// Waits until the peer closes, for as long as it takes.
    pub async fn end(&mut self) {
        let mut rest = Vec::new();
        // A reset is an end like any other here.
        drop(self.stream.read_to_end(&mut rest).await);
    }

    /// Reads the rest as text.
    pub async fn rest_text(&mut self) -> String {
        String::from_utf8_lossy(&self.rest().await).into_owned()
    }

    /// Reads at least one byte more; `false` at the end.
    async fn more(&mut self) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        match within("bytes", self.stream.read(&mut buffer)).await {
            Ok(count) if count > 0 => {
                self.read.extend_from_slice(&buffer[..count]);
                true
            }
            _ => false,
        }
    }

    /// Reads exactly `count` bytes, or what there is.
    pub async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count && self.more().await {}
        let count = count.min(self.read.len());
        self.read.drain(..count).collect()
    }

    /// Reads up to and with `end`.
    async fn take_until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self
                .read
                .windows(end.len())
                .position(|window| window == end)
            {
                return Some(self.read.drain(..at + end.len()).collect());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Reads one message; `None` when the peer closed before its head was whole.
    pub async fn message(&mut self) -> Option<Message> {
        self.message_to("GET").await
    }

    /// Reads the answer to a request of `method`: one to `HEAD` has no body.
    pub async fn message_to(&mut self, method: &str) -> Option<Message> {
        let head = self.take_until(b"\r\n\r\n").await?;
        let head = String::from_utf8_lossy(&head).trim_end().to_owned();
        let mut message = Message {
            head,
            body: Vec::new(),
            trailers: String::new(),
        };
        let status = message.status();
        if method == "HEAD" || (100..200).contains(&status) || status == 204 || status == 304 {
            return Some(message);
        }
        if message
            .header("transfer-encoding")
            .eq_ignore_ascii_case("chunked")
        {
            loop {
                let size = self.take_until(b"\r\n").await?;
                let size = String::from_utf8_lossy(&size);
                let size = usize::from_str_radix(size.trim().split(';').next()?, 16).ok()?;
                if size == 0 {
                    break;
                }
                message.body.extend(self.take(size).await);
                drop(self.take(2).await);
            }
            loop {
                let line = self.take_until(b"\r\n").await?;
                if line == b"\r\n" {
                    break;
                }
                message.trailers.push_str(&String::from_utf8_lossy(&line));
            }
        } else if let Ok(length) = message.header("content-length").parse() {
            message.body = self.take(length).await;
        } else if message.head.starts_with("HTTP/") {
            message.body = self.rest().await;
        }
        Some(message)
    }
}
