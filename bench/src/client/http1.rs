//! One connection that speaks HTTP/1.1, written for little cost per request.
//!
//! Reads answers with a Content-Length, in chunks, or up to the end, and throws the content away.
//! Pipelines nothing and follows nothing.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::net::SocketAddr;

use anyhow::{Context, Result, anyhow, bail};
use boring::ssl::{ErrorCode, SslStream};
use tokio::net::TcpStream;

use super::tls::Tls;
use super::wire::Wire;

/// Bytes taken from the socket at once: a whole TLS record.
const READ_BYTES: usize = 16 * 1024 + 512;
/// Bytes of a response head; a longer one is an error.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Content of uploads.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
/// Headers of a response; more are an error.
const HEADERS_MAX: usize = 128;

thread_local! {
    /// Where sockets and BoringSSL write to. Connections are many and take turns, so one buffer
    /// does for all of them, and none has to be zeroed for each read.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// A connection.
pub struct Connection {
    socket: TcpStream,
    tls: Option<Box<SslStream<Wire>>>,
    /// Plaintext that is not parsed yet.
    received: Vec<u8>,
    ended: bool,
}

/// An answer, without its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The connection may carry another request.
    pub reusable: bool,
}

impl Connection {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// Either does not succeed.
    pub async fn open(address: SocketAddr, tls: Option<&Tls>, resume: bool) -> Result<Self> {
        let socket = TcpStream::connect(address)
            .await
            .with_context(|| format!("connecting to {address}"))?;
        socket.set_nodelay(true)?;
        let tls = match tls {
            None => None,
            Some(tls) => Some(Box::new(SslStream::new(
                tls.start(resume)?,
                Wire::default(),
            )?)),
        };
        let mut connection = Self {
            socket,
            tls,
            received: Vec::new(),
            ended: false,
        };
        connection.handshake().await.context("TLS handshake")?;
        Ok(connection)
    }

    async fn handshake(&mut self) -> Result<()> {
        loop {
            let Some(tls) = &mut self.tls else {
                return Ok(());
            };
            let outcome = tls.connect();
            self.flush().await?;
            match outcome {
                Ok(()) => return Ok(()),
                Err(error) if error.code() == ErrorCode::WANT_READ => self.fill().await?,
                Err(error) => {
                    let verify = self
                        .tls
                        .as_ref()
                        .and_then(|tls| tls.ssl().verify_result().err());
                    return Err(match verify {
                        Some(verify) => anyhow!("{error}: {verify}"),
                        None if error.code() == ErrorCode::SYSCALL => anyhow!("the peer closed"),
                        None => anyhow!("{error}"),
                    });
                }
            }
        }
    }

    /// Whether the handshake was a resumption.
    #[must_use]
    pub fn resumed(&self) -> bool {
        self.tls
            .as_ref()
            .is_some_and(|tls| tls.ssl().session_reused())
    }

    /// Sends a request and reads its answer to the end.
    ///
    /// # Errors
    /// The connection or the answer is broken.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Answer> {
        self.send_all(request).await?;
        loop {
            if let Some((head, length)) = read_head(&self.received)? {
                self.received.drain(..length);
                // RFC 9110 §15.2: interim answers come before the real one.
                if head.status < 200 {
                    continue;
                }
                self.skip(head.content).await?;
                let reusable = !head.close && !self.ended;
                return Ok(Answer {
                    status: head.status,
                    reusable,
                });
            }
            self.receive().await?;
            if self.ended {
                bail!("the peer closed the connection instead of answering");
            }
        }
    }

    /// Sends a request whose content is `upload` bytes, and reads its answer to the end. `moved` hears
    /// of every part of either content and says whether to go on; `Ok(None)` when it did not.
    ///
    /// # Errors
    /// The connection or the answer is broken.
    pub async fn exchange_content(
        &mut self,
        head: &[u8],
        upload: u64,
        moved: &dyn Fn(u64) -> bool,
    ) -> Result<Option<Answer>> {
        self.send_all(head).await?;
        let mut left = upload;
        while left > 0 {
            let count = left.min(ZEROS.len() as u64);
            let count = usize::try_from(count).unwrap_or(ZEROS.len());
            self.send_all(ZEROS.get(..count).unwrap_or_default())
                .await?;
            left -= count as u64;
            if !moved(count as u64) {
                return Ok(None);
            }
        }
        let (head, length) = loop {
            if let Some(complete) = read_head(&self.received)? {
                break complete;
            }
            self.receive().await?;
            if self.ended {
                bail!("the peer closed the connection instead of answering");
            }
        };
        self.received.drain(..length);
        let Content::Length(mut left) = head.content else {
            bail!("the answer's length is not told");
        };
        loop {
            let here = self.received.len() as u64;
            if here > left {
                bail!("the answer is longer than it says");
            }
            self.received.clear();
            left -= here;
            if !moved(if upload == 0 { here } else { 0 }) {
                return Ok(None);
            }
            if left == 0 {
                let reusable = !head.close && !self.ended;
                return Ok(Some(Answer {
                    status: head.status,
                    reusable,
                }));
            }
            self.receive().await?;
            if self.ended {
                bail!("the peer closed the connection {left} bytes before the answer's end");
            }
        }
    }

    async fn send_all(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.tls {
            None => self.send(bytes).await,
            Some(tls) => {
                tls.ssl_write(bytes).map_err(|error| anyhow!("{error}"))?;
                self.flush().await
            }
        }
    }

    /// Says goodbye and closes.
    pub async fn close(mut self) {
        if let Some(tls) = &mut self.tls {
            // A peer that is gone already does not hear it.
            drop(tls.shutdown());
        }
        drop(self.flush().await);
    }

    async fn skip(&mut self, content: Content) -> Result<()> {
        match content {
            Content::Length(mut left) => loop {
                let here = usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(self.received.len());
                self.received.drain(..here);
                left -= here as u64;
                if left == 0 {
                    return Ok(());
                }
                self.receive().await?;
                if self.ended {
                    bail!("the peer closed the connection {left} bytes before the answer's end");
                }
            },
            Content::Chunked => loop {
                while let Some((chunk, line)) = read_chunk_head(&self.received)? {
                    if chunk == 0 {
                        return self.skip_trailers(line).await;
                    }
                    self.received.drain(..line);
                    // The chunk and the line end after it.
                    Box::pin(self.skip(Content::Length(chunk + 2))).await?;
                }
                self.receive().await?;
                if self.ended {
                    bail!("the peer closed the connection before the last chunk");
                }
            },
            Content::UntilClose => {
                while !self.ended {
                    self.received.clear();
                    self.receive().await?;
                }
                Ok(())
            }
        }
    }

    /// Trailers end, like heads, with an empty line; `line` bytes of last chunk come before.
    async fn skip_trailers(&mut self, line: usize) -> Result<()> {
        let from = line.saturating_sub(2);
        loop {
            let rest = self.received.get(from..).unwrap_or_default();
            if let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") {
                self.received.drain(..from + end + 4);
                return Ok(());
            }
            self.receive().await?;
            if self.ended || self.received.len() > HEAD_BYTES_MAX {
                bail!("the answer's trailers do not end");
            }
        }
    }

    /// Waits for more plaintext, or for the end.
    async fn receive(&mut self) -> Result<()> {
        loop {
            let Some(tls) = &mut self.tls else {
                return self.fill().await;
            };
            let received = &mut self.received;
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let count = tls.ssl_read(scratch)?;
                received.extend_from_slice(scratch.get(..count).unwrap_or_default());
                Ok::<_, boring::ssl::Error>(())
            });
            match read {
                Ok(()) => return Ok(()),
                Err(error) => match error.code() {
                    ErrorCode::WANT_READ => {
                        self.flush().await?;
                        self.fill().await?;
                    }
                    ErrorCode::ZERO_RETURN => {
                        self.ended = true;
                        return Ok(());
                    }
                    ErrorCode::SYSCALL if error.ssl_error().is_none() => {
                        self.ended = true;
                        return Ok(());
                    }
                    _ => bail!("{error}"),
                },
            }
        }
    }

    /// Takes from the socket what is there, or waits for it.
    async fn fill(&mut self) -> Result<()> {
        loop {
            self.socket.readable().await?;
            match SCRATCH.with_borrow_mut(|scratch| self.take(scratch)) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take(&mut self, scratch: &mut [u8]) -> std::io::Result<()> {
        let count = self.socket.try_read(scratch)?;
        let bytes = scratch.get(..count).unwrap_or_default();
        match &mut self.tls {
            Some(tls) => tls.get_mut().give(bytes),
            None => {
                self.ended |= bytes.is_empty();
                self.received.extend_from_slice(bytes);
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        let Some(tls) = &mut self.tls else {
            return Ok(());
        };
        let outgoing = std::mem::take(&mut tls.get_mut().outgoing);
        let sent = self.send(&outgoing).await;
        if let Some(tls) = &mut self.tls {
            tls.get_mut().outgoing = outgoing;
            tls.get_mut().outgoing.clear();
        }
        sent
    }

    async fn send(&self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match self.socket.try_write(bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.socket.writable().await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Length(u64),
    Chunked,
    UntilClose,
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    content: Content,
    close: bool,
}

/// A response's head and its length, once all of it is there (RFC 9112 §6.3).
fn read_head(bytes: &[u8]) -> Result<Option<(Head, usize)>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes).context("the answer is not HTTP/1")? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial if bytes.len() > HEAD_BYTES_MAX => {
            bail!("the answer's head is longer than {HEAD_BYTES_MAX} bytes")
        }
        httparse::Status::Partial => return Ok(None),
    };
    let status = response.code.unwrap_or_default();
    let mut content = Content::UntilClose;
    let mut close = response.version == Some(0);
    for header in response.headers.iter() {
        let value = header.value.trim_ascii();
        if header.name.eq_ignore_ascii_case("content-length") && content != Content::Chunked {
            let text = std::str::from_utf8(value).unwrap_or_default();
            content = Content::Length(text.parse().context("the answer's Content-Length")?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            content = Content::Chunked;
        } else if header.name.eq_ignore_ascii_case("connection") {
            close |= value.eq_ignore_ascii_case(b"close");
        }
    }
    if status < 200 || status == 204 || status == 304 {
        content = Content::Length(0);
    }
    close |= content == Content::UntilClose;
    Ok(Some((
        Head {
            status,
            content,
            close,
        },
        length,
    )))
}

/// A chunk's length and the length of the line that says it.
fn read_chunk_head(bytes: &[u8]) -> Result<Option<(u64, usize)>> {
    match httparse::parse_chunk_size(bytes) {
        Ok(httparse::Status::Complete((line, chunk))) => Ok(Some((chunk, line))),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) => bail!("the answer has a broken chunk"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        type Case = (&'static str, Option<(u16, Content, bool)>);
        let cases: &[Case] = &[
            ("", None),
            ("HTTP/1.1 200 OK\r\ncontent-le", None),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                Some((200, Content::Length(5), false)),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                Some((200, Content::Chunked, false)),
            ),
            (
                "HTTP/1.1 200 OK\r\n\r\n",
                Some((200, Content::UntilClose, true)),
            ),
            (
                "HTTP/1.1 204 No Content\r\n\r\n",
                Some((204, Content::Length(0), false)),
            ),
            (
                "HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
                Some((403, Content::Length(0), true)),
            ),
        ];
        for (text, want) in cases {
            let head = read_head(text.as_bytes()).unwrap();
            let found = head.map(|(head, _)| (head.status, head.content, head.close));
            assert_eq!(found, *want, "{text:?}");
        }
        assert!(read_head(b"SSH-2.0-OpenSSH\r\n").is_err());
    }
}
