//! An origin that does as it is told, in a process of its own: it can be killed and stopped for real.

use std::io::{BufRead, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use boring::ssl::{SslAcceptor, SslFiletype, SslMethod};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};

use crate::world::World;
use tests::pki::Authority;

/// The name that origins' certificates are for.
pub(super) const NAME: &str = "origin.bench.test";
/// Bytes of an answer's content.
const CONTENT: usize = 1024;
/// How long one may take to listen.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long a slow one takes.
const SLOW: Duration = Duration::from_secs(3);

/// What an origin does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Behaviour {
    Good = b'g',
    Slow = b's',
    Half = b'h',
    Resets = b'r',
    WrongCertificate = b'w',
}

/// Arguments of an origin's process. Behaviours come on its standard input, a letter each; at its end it
/// ends.
#[derive(Debug, Clone, Args)]
pub struct OriginArguments {
    /// Where it listens
    #[arg(long)]
    listen: SocketAddr,
    /// A directory with `good.pem`, `good.key`, `wrong.pem` and `wrong.key`, for TLS
    #[arg(long)]
    tls: Option<PathBuf>,
}

/// The process of an origin, from outside.
pub(super) struct Process {
    pub(super) address: SocketAddr,
    tls: Option<PathBuf>,
    child: Child,
    told: Option<ChildStdin>,
}

impl Process {
    pub(super) fn start(
        world: &World,
        address: SocketAddr,
        authority: Option<&Authority>,
    ) -> Result<Self> {
        let tls = match authority {
            None => None,
            Some(authority) => {
                let directory = world.file(&format!("origin-{}", address.port()));
                std::fs::create_dir_all(&directory)?;
                let other = Authority::root("Somebody else");
                for (name, by) in [("good", authority), ("wrong", &other)] {
                    let identity = by.server(&[NAME]);
                    let file = |ending: &str| directory.join(format!("{name}.{ending}"));
                    std::fs::write(file("pem"), identity.chain_pem())?;
                    std::fs::write(file("key"), identity.key_pem())?;
                }
                Some(directory)
            }
        };
        let (child, told) = spawn(address, tls.as_ref())?;
        Ok(Self {
            address,
            tls,
            child,
            told,
        })
    }

    pub(super) fn behave(&mut self, behaviour: Behaviour) -> Result<()> {
        let told = self.told.as_mut().context("an origin that runs")?;
        told.write_all(&[behaviour as u8, b'\n'])?;
        told.flush().context("telling an origin what to do")
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a process id")?, signal).context("a signal to an origin")
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again where it was.
    pub(super) fn again(&mut self) -> Result<()> {
        (self.child, self.told) = spawn(self.address, self.tls.as_ref())?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that was killed already is none of ours any more.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(address: SocketAddr, tls: Option<&PathBuf>) -> Result<(Child, Option<ChildStdin>)> {
    let program = std::env::current_exe().context("this program")?;
    let mut command = Command::new(program);
    command.args(["fault-origin", "--listen", &address.to_string()]);
    if let Some(tls) = tls {
        command.arg("--tls").arg(tls);
    }
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    let told = child.stdin.take();
    let deadline = std::time::Instant::now() + START_PATIENCE;
    while TcpStream::connect(address).is_err() {
        anyhow::ensure!(
            std::time::Instant::now() < deadline,
            "an origin does not listen on {address}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok((child, told))
}

/// What connections need.
struct Served {
    behaviour: AtomicU8,
    tls: Option<(SslAcceptor, SslAcceptor)>,
}

impl Served {
    fn does(&self, behaviour: Behaviour) -> bool {
        self.behaviour.load(Ordering::SeqCst) == behaviour as u8
    }
}

/// Runs an origin until its standard input ends.
///
/// # Errors
/// It cannot listen, or its certificates cannot be read.
pub fn serve(arguments: &OriginArguments) -> Result<()> {
    let tls = match &arguments.tls {
        None => None,
        Some(directory) => {
            let acceptor = |name: &str| -> Result<SslAcceptor> {
                let file = |ending: &str| directory.join(format!("{name}.{ending}"));
                let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls())?;
                builder.set_certificate_chain_file(file("pem"))?;
                builder.set_private_key_file(file("key"), SslFiletype::PEM)?;
                Ok(builder.build())
            };
            Some((acceptor("good")?, acceptor("wrong")?))
        }
    };
    let served = Arc::new(Served {
        behaviour: AtomicU8::new(Behaviour::Good as u8),
        tls,
    });
    let listener = TcpListener::bind(arguments.listen).context("listening")?;
    let shared = served.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let served = shared.clone();
            // What comes of a connection is the proxy's affair.
            std::thread::spawn(move || drop(connection(stream, &served)));
        }
    });
    for line in std::io::stdin().lock().lines() {
        if let Some(letter) = line?.bytes().next() {
            served.behaviour.store(letter, Ordering::SeqCst);
        }
    }
    Ok(())
}

fn connection(stream: TcpStream, served: &Served) -> Result<()> {
    stream.set_nodelay(true)?;
    let resets = stream.try_clone()?;
    let Some((good, wrong)) = &served.tls else {
        return answer(stream, &resets, served, false);
    };
    let is_wrong = served.does(Behaviour::WrongCertificate);
    let acceptor = if is_wrong { wrong } else { good };
    match acceptor.accept(stream) {
        Ok(stream) => answer(stream, &resets, served, is_wrong),
        Err(_refused) => Ok(()),
    }
}

fn answer(
    mut stream: impl Read + Write,
    socket: &TcpStream,
    served: &Served,
    is_wrong: bool,
) -> Result<()> {
    let mut head = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        while !head.ends_with(b"\r\n\r\n") {
            let count = stream.read(&mut bytes)?;
            if count == 0 {
                return Ok(());
            }
            head.extend_from_slice(bytes.get(..count).unwrap_or_default());
        }
        head.clear();
        if served.does(Behaviour::WrongCertificate) != is_wrong {
            // Whoever has the other certificate by now connects again.
            return Ok(());
        }
        if served.does(Behaviour::Resets) {
            rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO))?;
            return Ok(());
        }
        if served.does(Behaviour::Slow) {
            std::thread::sleep(SLOW);
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {CONTENT}\r\n\r\n");
        let content = [b'x'; CONTENT];
        let half = served.does(Behaviour::Half);
        let sent = if half { CONTENT / 2 } else { CONTENT };
        let answer = [head.as_bytes(), content.get(..sent).unwrap_or_default()].concat();
        stream.write_all(&answer)?;
        stream.flush()?;
        if half {
            return Ok(());
        }
    }
}
