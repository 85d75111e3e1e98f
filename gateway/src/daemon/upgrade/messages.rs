//! What the two processes say to each other, in this order:
//!
//! | the old one says | the new one answers | the old one could go on as before |
//! |---|---|---|
//! | [`Offer`]: who it is, what its store is | [`Reply::Checked`]: configuration and files are good | yes |
//! | [`Handed`] with descriptors, then ticket keys | [`Reply::Taken`]: it has the sockets | yes |
//! | [`Released`]: the store is closed | [`Reply::Ready`]: it has read the store, all parts stand | yes, with the store opened again |
//! | [`Begin`] | [`Reply::Begun`]: the kernel steers for it | yes, with its own programs put back |
//! | [`Serve`] | | no: the new one accepts |
//! | [`Main`], if it is awaited | | |
//!
//! Whatever fails, the new one says [`Reply::Refused`] if it can, and ends. From [`Serve`] on it
//! sends every change of the store to the old one, until that one's connections have ended.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::channel::{Channel, Frame, Kind};
use admin::Upgrade;

/// The version of what is said here. Another one is refused: such a binary is started anew, not
/// upgraded to.
pub(super) const PROTOCOL: u32 = 1;

/// The first words of the old process. They stay as they are in every version of the protocol.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) protocol: u32,
    pub(super) version: String,
    pub(super) store_format: u64,
    /// Where the store is: a new process with another one would know nobody.
    pub(super) store: PathBuf,
    /// The record of this upgrade, which goes on in the new process.
    pub(super) upgrade: Upgrade,
}

/// What the descriptors are that come with it, in this order.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Handed {
    /// `listen`: the address of each socket.
    pub(super) tls: Vec<SocketAddr>,
    /// `listen.http`.
    pub(super) http: Vec<SocketAddr>,
    /// `health.listen`.
    pub(super) health: Vec<SocketAddr>,
    /// `admin.socket`.
    pub(super) admin_socket: Option<PathBuf>,
    /// `admin.listen`.
    pub(super) admin_listen: Option<SocketAddr>,
    /// Channels to processes that were replaced before and have connections yet.
    pub(super) former: usize,
    /// Where the kernel's programs are attached, and what was changed for them.
    pub(super) steering: Option<datapath::steer::Inherited>,
    /// What names of origins mean: name servers may be silent now.
    #[serde(default)]
    pub(super) names: Vec<(Box<str>, Vec<IpAddr>)>,
}

/// The store is closed at this revision.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Released {
    pub(super) revision: u64,
}

/// Have the kernel steer for you.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Begin {}

/// Accept connections.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Serve {}

/// The service manager has been told that you are the service: it listens to nobody else.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Main {}

/// What the new process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// It can do what it is to do, as far as it has looked.
    Checked { version: String, store_format: u64 },
    /// It has the sockets. Whether the admin socket's name is one of them.
    Taken { admin_socket: bool },
    /// It could serve.
    Ready,
    /// It waits for the last word. Whether it has the kernel's programs replaced, and whether it takes the
    /// word that it is the service.
    Begun {
        steers: bool,
        #[serde(default)]
        awaits_main: bool,
    },
    /// It ends, and why.
    Refused { why: String },
}

/// Says one thing.
pub(super) fn say(
    channel: &mut Channel,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
    patience: Duration,
) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    channel.send(Kind::Message, &text, descriptors, patience)
}

/// Waits to be told one thing.
pub(super) fn hear<T: DeserializeOwned>(
    channel: &mut Channel,
    patience: Duration,
) -> io::Result<(T, Frame)> {
    let frame = channel.receive(patience)?;
    if frame.kind != Kind::Message {
        let why = format!("{} instead of a message", frame.kind.as_str());
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok((serde_json::from_slice(&frame.bytes)?, frame))
}
