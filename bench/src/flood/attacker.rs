//! An attacker: a thread that sends what its attack says until the gateway or the clock ends it.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use foreign_types::ForeignTypeRef;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::LocalSet;
use tokio_boring::SslStream;

use super::attacks::{Attack, Layer};
use crate::client::{Belief, Tls, TlsSettings};
use crate::machine;
use crate::world::{GROUPS, OPEN_HOST};

/// Where attackers come from; visitors come from 127.0.0.1.
pub(super) const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// Requests for new keys in a batch: BoringSSL puts up with 32 in a row.
const NEW_KEYS: usize = 30;
/// How long an answer to an attacker's connection may take to come: attackers give way, and a machine may be busy.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);

/// What became of an attack.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Fate {
    /// Connections that were opened.
    pub opened: usize,
    /// Of these, ended by the gateway.
    pub closed: usize,
    /// Seconds until the last of them was ended.
    pub last_closed_s: f64,
    /// Bytes sent, before TLS.
    pub bytes: u64,
}

/// Starts an attack whose connections last for `duration` at most, each.
pub(super) fn start(
    attack: Attack,
    gateway: SocketAddr,
    duration: Duration,
    cpu: Option<usize>,
) -> Result<JoinHandle<Result<Fate>>> {
    let body = move || {
        if let Some(cpu) = cpu {
            machine::pin(cpu)?;
        }
        machine::give_way()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        LocalSet::new().block_on(&runtime, conduct(Rc::new(attack), gateway, duration))
    };
    let builder = std::thread::Builder::new().name("attacker".into());
    builder.spawn(body).context("starting the attacker")
}

async fn conduct(attack: Rc<Attack>, gateway: SocketAddr, duration: Duration) -> Result<Fate> {
    let begun = Instant::now();
    let tls = Rc::new(Tls::new(&TlsSettings {
        server_name: OPEN_HOST.to_owned(),
        belief: Belief::Everybody,
        identity: None,
        h2: attack.layer == Layer::Http2,
        groups: GROUPS.to_owned(),
    })?);
    let bytes = Rc::new(Cell::new(0));
    let mut connections = Vec::new();
    for _ in 0..attack.connections {
        let (attack, tls, bytes) = (attack.clone(), tls.clone(), bytes.clone());
        connections.push(tokio::task::spawn_local(async move {
            let opening = open(&attack, &tls, gateway);
            let Ok(Ok(mut wire)) = tokio::time::timeout(CONNECT_PATIENCE, opening).await else {
                return (false, None);
            };
            // Not from the beginning: who gives way may need all of it for the handshake.
            let end = Instant::now() + duration;
            let attacking = async {
                wire.attack(&attack, &bytes).await;
                Instant::now()
            };
            let closed = tokio::time::timeout_at(end.into(), attacking).await.ok();
            (true, closed)
        }));
    }
    let mut fate = Fate::default();
    for connection in connections {
        let (opened, closed) = connection.await.unwrap_or_default();
        fate.opened += usize::from(opened);
        fate.closed += usize::from(closed.is_some());
        let seconds = closed.map(|closed| closed.duration_since(begun).as_secs_f64());
        fate.last_closed_s = fate.last_closed_s.max(seconds.unwrap_or_default());
    }
    fate.bytes = bytes.get();
    if fate.opened == 0 {
        return Err(anyhow!("no connection of the attacker was accepted"));
    }
    Ok(fate)
}

enum Wire {
    Plain(TcpStream),
    Tls(SslStream<TcpStream>),
}

async fn open(attack: &Attack, tls: &Tls, gateway: SocketAddr) -> Result<Wire> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(ATTACKER), 0))?;
    let socket = socket.connect(gateway).await?;
    socket.set_nodelay(true)?;
    if attack.layer == Layer::Tcp {
        return Ok(Wire::Plain(socket));
    }
    let builder = tokio_boring::SslStreamBuilder::new(tls.start(false)?, socket);
    let stream = builder
        .connect()
        .await
        .map_err(|error| anyhow!("{error}"))?;
    Ok(Wire::Tls(stream))
}

impl Wire {
    /// Attacks until the gateway ends the connection.
    async fn attack(&mut self, attack: &Attack, bytes: &Cell<u64>) {
        match self {
            Self::Plain(stream) => {
                let (reading, writing) = tokio::io::split(stream);
                fight(attack, reading, writing, bytes).await;
            }
            Self::Tls(stream) if attack.new_keys => change_keys(stream, bytes).await,
            Self::Tls(stream) => {
                let (reading, writing) = tokio::io::split(stream);
                fight(attack, reading, writing, bytes).await;
            }
        }
    }
}

async fn fight<S: AsyncRead + AsyncWrite>(
    attack: &Attack,
    mut reading: ReadHalf<S>,
    mut writing: WriteHalf<S>,
    bytes: &Cell<u64>,
) {
    let sent = |count: usize| bytes.set(bytes.get() + count as u64);
    let write = async {
        if writing.write_all(&attack.first).await.is_err() {
            return;
        }
        sent(attack.first.len());
        if let Some(again) = attack.again {
            for round in 0.. {
                let next = again(round);
                if writing.write_all(&next).await.is_err() {
                    return;
                }
                sent(next.len());
                match attack.pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => tokio::task::yield_now().await,
                }
            }
        }
        std::future::pending::<()>().await;
    };
    let read = async {
        let mut scratch = vec![0; 16 * 1024];
        if !attack.reads {
            std::future::pending::<()>().await;
        }
        while reading
            .read(&mut scratch)
            .await
            .is_ok_and(|count| count > 0)
        {}
    };
    tokio::select! {
        () = write => {}
        () = read => {}
    }
}

/// Changes keys without end, and asks for the gateway's to be changed.
async fn change_keys(stream: &mut SslStream<TcpStream>, bytes: &Cell<u64>) {
    loop {
        for _ in 0..NEW_KEYS {
            #[expect(unsafe_code, reason = "boring has no safe call for key updates")]
            // SAFETY: the call wants a live session, which the stream owns.
            let asked = unsafe {
                boring_sys::SSL_key_update(
                    stream.ssl().as_ptr(),
                    boring_sys::SSL_KEY_UPDATE_REQUESTED,
                )
            };
            if asked != 1 {
                return;
            }
        }
        // One byte of a request goes with them.
        if stream.write_all(b"\r\n").await.is_err() || stream.flush().await.is_err() {
            return;
        }
        bytes.set(bytes.get() + 2);
        let mut scratch = [0; 1024];
        let read = tokio::time::timeout(Duration::from_millis(1), stream.read(&mut scratch));
        if let Ok(Ok(0) | Err(_)) = read.await {
            return;
        }
    }
}
