//! A client and Postern's own TLS in one process, with memory for a network.
//!
//! What a handshake costs and what a connection weighs, without sockets, rings or HTTP.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use boring::ssl::{ErrorCode, SslStream};
use snapshot::Snapshot;
use tls::{AcceptSettings, Acceptor, Established, Session};

use super::tls::Tls;
use super::wire::Wire;

/// Turns after which a handshake that is not over never will be; TLS needs three.
const TURNS_MAX: usize = 10;

/// A client's end in memory.
pub struct MemoryClient {
    stream: SslStream<Wire>,
}

/// A connection in memory after its handshake.
pub struct Shaken {
    /// The client's end.
    pub client: MemoryClient,
    /// The server's end.
    pub server: Session,
    /// What the server made of it.
    pub established: Established,
    /// CPU time of the server's part: connection made, handshake, verification.
    pub server_time: Duration,
}

/// CPU time of this thread, which other load on the machine does not count into.
#[must_use]
pub fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let (seconds, rest) = (time.tv_sec, time.tv_nsec);
    Duration::new(
        u64::try_from(seconds).unwrap_or_default(),
        u32::try_from(rest).unwrap_or_default(),
    )
}

/// Shakes hands with a new connection of `acceptor`, and has it verified as the gateway does.
///
/// # Errors
/// The handshake does not succeed.
pub fn shake_hands(
    client: &Tls,
    resume: bool,
    acceptor: &Acceptor,
    snapshot: &Arc<Snapshot>,
    settings: AcceptSettings,
) -> Result<Shaken> {
    let mut client = MemoryClient {
        stream: SslStream::new(client.start(resume)?, Wire::default())?,
    };
    let begun = thread_time();
    let mut server = acceptor.accept(snapshot.clone(), settings)?;
    let mut server_time = thread_time() - begun;
    for _ in 0..TURNS_MAX {
        let ready = client.go_on()?;
        client.deliver(&mut server);
        let begun = thread_time();
        let done = server
            .handshake()
            .map_err(|error| anyhow!("the server: {error}"))?;
        server_time += thread_time() - begun;
        client.take(&mut server);
        if ready && done {
            let begun = thread_time();
            let established = acceptor
                .establish(&mut server)
                .map_err(|error| anyhow!("{}", error.failure))?;
            server_time += thread_time() - begun;
            return Ok(Shaken {
                client,
                server,
                established,
                server_time,
            });
        }
    }
    bail!("the handshake does not end")
}

impl MemoryClient {
    fn go_on(&mut self) -> Result<bool> {
        match self.stream.connect() {
            Ok(()) => Ok(true),
            Err(error) if error.code() == ErrorCode::WANT_READ => Ok(false),
            Err(error) => Err(anyhow!("the client: {error}")),
        }
    }

    /// Our bytes to the server.
    fn deliver(&mut self, server: &mut Session) {
        let bytes = std::mem::take(&mut self.stream.get_mut().outgoing);
        if !bytes.is_empty() {
            server.wire().take_incoming();
            server.wire().give_incoming(bytes);
        }
    }

    /// The server's bytes to us.
    fn take(&mut self, server: &mut Session) {
        let bytes = server.wire().swap_outgoing(Vec::new());
        if !bytes.is_empty() {
            self.stream.get_mut().give(&bytes);
        }
    }

    /// Sends `request` to the server and `answer` back.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn exchange(&mut self, server: &mut Session, request: &[u8], answer: &[u8]) -> Result<()> {
        let mut buffer = vec![0; 16 * 1024];
        self.stream
            .ssl_write(request)
            .map_err(|error| anyhow!("{error}"))?;
        self.deliver(server);
        let mut received = Vec::with_capacity(16 * 1024);
        match server.read(received.spare_capacity_mut())? {
            Some(count) if count == request.len() => {}
            other => bail!(
                "the server read {other:?} instead of {} bytes",
                request.len()
            ),
        }
        // What the gateway does before it waits for the ring.
        if server.read(received.spare_capacity_mut())?.is_some() {
            bail!("the server read more than was sent");
        }
        drop(server.wire().take_incoming());
        server.write(answer)?;
        self.take(server);
        let count = self
            .stream
            .ssl_read(&mut buffer)
            .map_err(|error| anyhow!("{error}"))?;
        if count != answer.len() {
            bail!("the client read {count} bytes instead of {}", answer.len());
        }
        Ok(())
    }
}
