//! Listening sockets that the service manager keeps (the file descriptor store of systemd), so that clients
//! wait and are not refused when the gateway dies: from its end to the next start.
//!
//! Who serves keeps its sockets there, those of whoever served before it go. Who stops as it was told takes
//! them out first: nobody is to wait for what does not come back. Owns what is kept and under which names;
//! what becomes of a socket that was kept is [`Front`](super::front::Front)'s to say.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, getsockname, sendmsg, sockopt,
};

use super::front::{Gifts, Given};
use super::upgrade::Estate;
use crate::limits::KEEPING_PATIENCE;
use datapath::io::started_with;
use datapath::plain::Door;

/// What sockets are for, in the order of [`Gifts`].
const NAMES: [&str; 3] = ["listen", "listen.http", "health.listen"];

/// Descriptors of one message. The kernel takes 253.
const GROUP: usize = 64;

/// What the service manager has kept over the end of the process before this one.
pub(super) fn gifts() -> Gifts {
    let [tls, http, health] = sorted(started_with());
    let count = tls.len() + http.len() + health.len();
    if count > 0 {
        tracing::info!(
            sockets = count,
            "the process before this one ended without being told to; clients have waited since"
        );
    }
    Gifts {
        tls,
        http,
        health,
        ..Gifts::default()
    }
}

/// Listening sockets by what they are for, each with its address. What is nothing of ours, or does not
/// listen, is closed.
fn sorted(kept: Vec<(String, OwnedFd)>) -> [Vec<Given>; 3] {
    let mut all = [const { Vec::new() }; 3];
    for (name, socket) in kept {
        let at = NAMES.iter().position(|known| *known == name);
        let sockets = at.and_then(|at| all.get_mut(at));
        if let (Some(sockets), Ok(address)) = (sockets, listens_at(&socket)) {
            sockets.push((address, socket));
        }
    }
    all
}

fn listens_at(socket: &OwnedFd) -> io::Result<SocketAddr> {
    if !sockopt::socket_acceptconn(socket)? {
        return Err(io::ErrorKind::NotConnected.into());
    }
    Ok(getsockname(socket)?.try_into()?)
}

/// The listening sockets of a process that serves, to be kept.
pub(super) struct Kept([Vec<Given>; 3]);

impl Kept {
    /// # Errors
    /// The process is out of descriptors.
    pub(super) fn of(estate: &Estate) -> io::Result<Self> {
        let http = estate.redirects.as_ref();
        Ok(Self([
            estate.workers.listening(&estate.addresses)?,
            http.map_or(Ok(Vec::new()), Door::copies)?,
            estate.health.copies()?,
        ]))
    }

    fn given_to(&self, manager: &UnixDatagram) -> io::Result<()> {
        for (name, sockets) in NAMES.into_iter().zip(&self.0) {
            remove(manager, name)?;
            let sockets: Vec<BorrowedFd<'_>> =
                sockets.iter().map(|(_, socket)| socket.as_fd()).collect();
            for group in sockets.chunks(GROUP) {
                say(manager, &format!("FDSTORE=1\nFDNAME={name}\n"), group)?;
            }
        }
        Ok(())
    }
}

/// Has the sockets of this process kept, in the place of all others. It is to be the service by now, or nobody
/// listens.
pub(super) fn keep(kept: io::Result<Kept>) {
    let Some(manager) = manager() else { return };
    if let Err(error) = kept.and_then(|kept| kept.given_to(&manager)) {
        tracing::warn!(%error, "the service manager does not keep the sockets: a crash would refuse clients");
    }
}

/// Has nothing kept any more.
pub(super) fn forget() {
    let Some(manager) = manager() else { return };
    let forgotten = NAMES
        .into_iter()
        .try_for_each(|name| remove(&manager, name));
    if let Err(error) = forgotten {
        tracing::warn!(%error, "the service manager may keep sockets that nobody accepts from");
    }
}

fn remove(manager: &UnixDatagram, name: &str) -> io::Result<()> {
    say(manager, &format!("FDSTOREREMOVE=1\nFDNAME={name}\n"), &[])
}

/// The service manager, if there is one.
fn manager() -> Option<UnixDatagram> {
    let path = std::env::var_os("NOTIFY_SOCKET")?;
    let open = || -> io::Result<UnixDatagram> {
        let manager = UnixDatagram::unbound()?;
        manager.connect(path)?;
        manager.set_write_timeout(Some(KEEPING_PATIENCE))?;
        Ok(manager)
    };
    open()
        .inspect_err(|error| tracing::debug!(%error, "the service manager is not to be told"))
        .ok()
}

fn say(manager: &UnixDatagram, text: &str, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(GROUP))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let text = [IoSlice::new(text.as_bytes())];
    sendmsg(manager, &text, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn what_was_kept_is_known_by_its_name_and_address() {
        let listener = |host| TcpListener::bind((host, 0)).unwrap();
        let [one, two, three] = ["127.0.0.1", "0.0.0.0", "::1"].map(listener);
        let address = |listener: &TcpListener| listener.local_addr().unwrap();
        let wanted = [&one, &two, &three].map(address);
        let closed = listener("127.0.0.1");
        let mut bound = OwnedFd::from(closed);
        rustix::net::shutdown(&bound, rustix::net::Shutdown::Read).unwrap();
        let mut kept = Vec::new();
        let mut keep = |name: &str, socket: OwnedFd| kept.push((name.to_owned(), socket));
        keep("listen", one.into());
        keep("health.listen", two.into());
        keep("listen", std::mem::replace(&mut bound, tempfile()));
        keep("listen", bound);
        keep("another", listener("127.0.0.1").into());
        keep("listen.http", three.into());
        let sorted = sorted(kept).map(|sockets| -> Vec<SocketAddr> {
            sockets.iter().map(|(address, _)| *address).collect()
        });
        assert_eq!(sorted, [vec![wanted[0]], vec![wanted[2]], vec![wanted[1]]]);
    }

    fn tempfile() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }
}
