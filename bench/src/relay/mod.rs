//! `bench relay`: the peer `floor`. BoringSSL's records and bytes between two sockets, and no HTTP.
//!
//! One thread, one epoll, one read and one write for each direction of an exchange. It knows as much
//! of a request as ALPN says: which origin its bytes go to. So it costs what nobody who does more can
//! cost less than, and every report says how far from there a proxy is. A client's origin connection
//! is its own; when the client says goodbye, the next client gets it, as from a proxy's pool.

mod pair;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use boring::ssl::{
    AlpnError, Ssl, SslContext, SslFiletype, SslMethod, SslSessionCacheMode, SslVerifyMode,
    SslVersion, select_next_proto,
};
use boring::x509::X509;
use boring::x509::store::X509StoreBuilder;
use clap::Args;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use rustix::process::{Signal, set_parent_process_death_signal};

use pair::{Pair, Turn};

/// Bytes read at once: a record, or a few.
const SCRATCH_BYTES: usize = 64 * 1024;
/// Clients at once; further ones are closed.
const CLIENTS_MAX: usize = 16_384;
/// Unused connections to each origin that are kept.
const ORIGIN_IDLE_MAX: usize = 1_024;
/// What is spoken, the dearest first (ALPN's wire form).
const PROTOCOLS: &[u8] = b"\x02h2\x08http/1.1";

/// Arguments of `bench relay`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where clients come without a certificate
    #[arg(long)]
    open: SocketAddr,
    /// Where they come with one
    #[arg(long)]
    require: SocketAddr,
    /// Where bytes of `http/1.1` go
    #[arg(long)]
    origin: SocketAddr,
    /// Where bytes of `h2` go
    #[arg(long)]
    h2_origin: SocketAddr,
    /// The server's chain in PEM
    #[arg(long)]
    chain: PathBuf,
    /// Its key in PEM
    #[arg(long)]
    key: PathBuf,
    /// The CA of clients in PEM
    #[arg(long)]
    authority: PathBuf,
}

/// Runs it until it is ended.
///
/// # Errors
/// A file or an address cannot be had.
pub fn run(arguments: &Arguments) -> Result<()> {
    // Whoever started it may be killed.
    set_parent_process_death_signal(Some(Signal::TERM)).context("following the parent's end")?;
    let (chain, key) = (&arguments.chain, &arguments.key);
    let mut listeners = [
        Listener::new(arguments.open, context(chain, key, None)?)?,
        Listener::new(
            arguments.require,
            context(chain, key, Some(&arguments.authority))?,
        )?,
    ];
    let poll = Poll::new()?;
    for (listener, number) in listeners.iter_mut().zip(0..) {
        poll.registry().register(
            &mut listener.socket,
            token(Who::Listener(number)),
            Interest::READABLE,
        )?;
    }
    let origins = [arguments.origin, arguments.h2_origin];
    Relay {
        poll,
        listeners,
        origins,
        clients: Vec::new(),
        free: Vec::new(),
        connections: Vec::new(),
        connections_free: Vec::new(),
        idle: [Vec::new(), Vec::new()],
    }
    .serve()
}

struct Listener {
    socket: TcpListener,
    context: SslContext,
}

impl Listener {
    fn new(address: SocketAddr, context: SslContext) -> Result<Self> {
        let socket =
            TcpListener::bind(address).with_context(|| format!("listening on {address}"))?;
        Ok(Self { socket, context })
    }
}

/// The server's TLS: as Postern has it; certificates, where they are required, verified by BoringSSL.
fn context(chain: &Path, key: &Path, authority: Option<&Path>) -> Result<SslContext> {
    let mut builder = SslContext::builder(SslMethod::tls())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_certificate_chain_file(chain)?;
    builder.set_private_key_file(key, SslFiletype::PEM)?;
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_session_id_context(if authority.is_some() {
        b"require"
    } else {
        b"open"
    })?;
    builder.set_alpn_select_callback(|_, offered| {
        select_next_proto(PROTOCOLS, offered).ok_or(AlpnError::NOACK)
    });
    if let Some(authority) = authority {
        let authority = X509::from_pem(&std::fs::read(authority)?)?;
        let mut store = X509StoreBuilder::new()?;
        store.add_cert(&authority)?;
        builder.set_cert_store_builder(store);
        builder.add_client_ca(&authority)?;
        builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    }
    Ok(builder.build())
}

/// What a token of epoll stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Listener(usize),
    Client(usize),
    Origin(usize),
}

fn token(who: Who) -> Token {
    match who {
        Who::Listener(index) => Token(index * 4),
        Who::Client(index) => Token(index * 4 + 1),
        Who::Origin(index) => Token(index * 4 + 2),
    }
}

fn who(token: Token) -> Who {
    match token.0 % 4 {
        0 => Who::Listener(token.0 / 4),
        1 => Who::Client(token.0 / 4),
        _ => Who::Origin(token.0 / 4),
    }
}

/// A connection to an origin: a client's, or nobody's.
struct Connection {
    socket: TcpStream,
    owner: Option<usize>,
    /// Which of the origins it leads to.
    origin: usize,
}

struct Relay {
    poll: Poll,
    listeners: [Listener; 2],
    origins: [SocketAddr; 2],
    clients: Vec<Option<Pair>>,
    free: Vec<usize>,
    connections: Vec<Option<Connection>>,
    connections_free: Vec<usize>,
    idle: [Vec<usize>; 2],
}

impl Relay {
    fn serve(&mut self) -> Result<()> {
        let mut events = Events::with_capacity(256);
        let mut scratch = vec![0; SCRATCH_BYTES];
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other.context("polling")?,
            }
            for event in &events {
                match who(event.token()) {
                    Who::Listener(index) => self.accept(index)?,
                    Who::Client(index) => {
                        if let Some(Some(pair)) = self.clients.get_mut(index) {
                            pair.client_readable |= event.is_readable();
                            self.turn(index, &mut scratch)?;
                        }
                    }
                    Who::Origin(index) => {
                        let Some(Some(connection)) = self.connections.get(index) else {
                            continue;
                        };
                        match connection.owner {
                            Some(owner) => {
                                if let Some(Some(pair)) = self.clients.get_mut(owner) {
                                    pair.origin_readable |= event.is_readable();
                                    self.turn(owner, &mut scratch)?;
                                }
                            }
                            // An unused one that says something is over, or never was in order.
                            None if event.is_readable() => self.forget(index),
                            None => {}
                        }
                    }
                }
            }
        }
    }

    fn accept(&mut self, index: usize) -> Result<()> {
        let Some(listener) = self.listeners.get(index) else {
            return Ok(());
        };
        loop {
            let mut socket = match listener.socket.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // A client that went away again, or a limit: the others are served on.
                Err(_) => continue,
            };
            if self.clients.len() - self.free.len() >= CLIENTS_MAX {
                continue;
            }
            drop(socket.set_nodelay(true));
            let ssl = Ssl::new(&listener.context)?;
            let slot = take_slot(&mut self.clients, &mut self.free);
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(&mut socket, token(Who::Client(slot)), both)?;
            if let Some(place) = self.clients.get_mut(slot) {
                *place = Some(Pair::new(socket, ssl)?);
            }
        }
    }

    /// Moves what can be moved for a client.
    fn turn(&mut self, index: usize, scratch: &mut [u8]) -> Result<()> {
        loop {
            let Some(Some(pair)) = self.clients.get_mut(index) else {
                return Ok(());
            };
            let connection = pair
                .origin
                .and_then(|origin| self.connections.get(origin)?.as_ref());
            match pair.turn(connection.map(|connection| &connection.socket), scratch) {
                Ok(Turn::Waits) => return Ok(()),
                Ok(Turn::WantsOrigin) => {
                    let h2 = pair.is_h2();
                    let origin = self.origin(usize::from(h2), index)?;
                    if let Some(Some(pair)) = self.clients.get_mut(index) {
                        pair.origin = Some(origin);
                    }
                }
                Ok(Turn::Ended) => {
                    self.end(index, true);
                    return Ok(());
                }
                Err(_) => {
                    self.end(index, false);
                    return Ok(());
                }
            }
        }
    }

    /// A connection to an origin for a client: an unused one, or a new one.
    fn origin(&mut self, origin: usize, owner: usize) -> Result<usize> {
        while let Some(slot) = self.idle.get_mut(origin).and_then(Vec::pop) {
            if let Some(Some(connection)) = self.connections.get_mut(slot)
                && connection.owner.is_none()
                && connection.origin == origin
            {
                connection.owner = Some(owner);
                return Ok(slot);
            }
        }
        let address = self.origins.get(origin).context("one of two origins")?;
        let mut socket = TcpStream::connect(*address)?;
        drop(socket.set_nodelay(true));
        let slot = take_slot(&mut self.connections, &mut self.connections_free);
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut socket, token(Who::Origin(slot)), both)?;
        if let Some(place) = self.connections.get_mut(slot) {
            *place = Some(Connection {
                socket,
                owner: Some(owner),
                origin,
            });
        }
        Ok(slot)
    }

    /// A client is gone; its origin connection is kept when it is `whole` and HTTP/1.1's (what is
    /// known of the streams on an HTTP/2 one belonged to the client).
    fn end(&mut self, index: usize, whole: bool) {
        let Some(pair) = self.clients.get_mut(index).and_then(Option::take) else {
            return;
        };
        self.free.push(index);
        let Some(slot) = pair.origin else { return };
        let Some(Some(connection)) = self.connections.get_mut(slot) else {
            return;
        };
        connection.owner = None;
        let idle = self.idle.get_mut(connection.origin);
        match idle.filter(|idle| whole && !pair.is_h2() && idle.len() < ORIGIN_IDLE_MAX) {
            Some(idle) => idle.push(slot),
            None => self.forget(slot),
        }
    }

    fn forget(&mut self, slot: usize) {
        let gone = self.connections.get_mut(slot).and_then(Option::take);
        if let Some(gone) = gone {
            if let Some(idle) = self.idle.get_mut(gone.origin) {
                idle.retain(|other| *other != slot);
            }
            self.connections_free.push(slot);
        }
    }
}

fn take_slot<T>(slots: &mut Vec<Option<T>>, free: &mut Vec<usize>) -> usize {
    free.pop().unwrap_or_else(|| {
        slots.push(None);
        slots.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_told_apart() {
        for what in [
            Who::Listener(0),
            Who::Listener(1),
            Who::Client(0),
            Who::Client(1),
            Who::Origin(0),
            Who::Origin(16_383),
        ] {
            assert_eq!(who(token(what)), what);
        }
    }
}
