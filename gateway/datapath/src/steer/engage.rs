//! The kernel programs put to work for one gateway: interfaces, ports, listeners, cookies.
//!
//! Either all of it or nothing: what was done before something failed is undone. Nothing is pinned;
//! links and maps belong to the process and end with it, however it ends, and then connections are
//! accepted by whichever worker the kernel chooses.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ebpf::packet::Family;
use ebpf::{Counters, HostCounts};

use super::cookies::Cookies;
use super::tables::family;
use super::{
    Attached, InheritedLinks, Listen, PlacedMap, Steering, Unavailable, answering, interfaces, load,
};
use crate::io;
use config::SteerInterfaces;
use vocabulary::hostname::HostName;

/// Programs at work.
#[derive(Debug)]
pub struct Engaged {
    // Fields end in this order: no frame is held back any more when cookies are no longer given out.
    pub(super) steering: Steering,
    pub(super) cookies: Cookies,
    pub(super) attached: Vec<(String, Attached)>,
    /// What is done when it takes over from another process.
    pub(super) waiting: Option<Waiting>,
    /// Sockets that did not listen yet: of which worker, at which place among its own.
    missing: Vec<(u16, usize, Listen, Family)>,
    ports: Vec<u16>,
    /// Why SYNs are answered by the stack; empty when the program does. `None` when it was not asked.
    synproxy: Option<String>,
}

/// What waits for the moment in which another process gives way.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Interfaces to attach to.
    pub(super) interfaces: Vec<String>,
    /// Sysctls that the other one has changed.
    pub(super) sysctls: Vec<(String, String)>,
    /// The file that remembers them.
    pub(super) state: PathBuf,
}

/// Loads and attaches the programs for the listeners of all workers: `listeners[worker]` are its
/// sockets, one for each of `addresses`; those that do not listen yet are left out. What is `inherited` waits for [`Controller::take_over`](super::controller::Controller::take_over). `synproxy`: SYNs are answered by the program where it can.
/// `state` is the file of [`Cookies::always_with`].
///
/// # Errors
/// See [`Unavailable`].
pub fn engage(
    listeners: &[Vec<OwnedFd>],
    addresses: &[SocketAddr],
    wanted: &SteerInterfaces,
    synproxy: bool,
    state: &Path,
    inherited: Option<InheritedLinks>,
) -> Result<Engaged, Unavailable> {
    let ports = ports(addresses)?;
    let interfaces = interfaces::choose(wanted, addresses)?;
    let mut steering = load()?;
    let mut missing = Vec::new();
    for (at, address) in addresses.iter().enumerate() {
        let listen = listen_of(&ports, address.port())?;
        steering.listening(listen, address.ip())?;
        for (worker, sockets) in (0..).zip(listeners) {
            match sockets.get(at) {
                Some(socket) if io::listens(socket) => {
                    steering.listener(worker, listen, family(address.ip()), socket)?;
                }
                // The kernel's table takes no other.
                Some(_) => missing.push((worker, at, listen, family(address.ip()))),
                None => {}
            }
        }
    }
    for port in &ports {
        steering.port(*port, listen_of(&ports, *port)?)?;
    }
    let mut engaged = Engaged {
        steering,
        cookies: Cookies::default(),
        attached: Vec::with_capacity(interfaces.len()),
        waiting: None,
        missing,
        ports,
        synproxy: None,
    };
    match inherited {
        // Nothing of the kernel's is touched yet: the other process is to go on when this one fails.
        Some(inherited) => {
            let sysctls = engaged.inherit(inherited, &interfaces);
            let is_there = |one: &&String| engaged.attached.iter().any(|(name, _)| name == *one);
            let missing = interfaces.iter().filter(|one| !is_there(one));
            engaged.waiting = Some(Waiting {
                interfaces: missing.cloned().collect(),
                sysctls,
                state: state.to_owned(),
            });
        }
        None => {
            engaged.steering.attach_lookup()?;
            for interface in interfaces {
                engaged.attach(interface)?;
            }
        }
    }
    let attached = &engaged.attached;
    let synproxy = synproxy.then(|| answering::obstacle(attached).unwrap_or_default());
    let answers = synproxy.as_deref() == Some("");
    if engaged.waiting.is_none() {
        engaged.cookies = Cookies::always_with(state, answers)?;
    }
    if answers {
        let addresses = interfaces::addresses();
        let answering = answering::answering(&engaged.attached);
        engaged.steering.answer(answering, &addresses)?;
    } else if let Some(reason) = &synproxy {
        tracing::warn!(reason, "SYNs are answered by the kernel's stack");
    }
    engaged.synproxy = synproxy;
    Ok(engaged)
}

/// The ports to steer, each once; one listener of a port and family.
fn ports(addresses: &[SocketAddr]) -> Result<Vec<u16>, Unavailable> {
    let mut ports: Vec<u16> = Vec::new();
    for (at, address) in addresses.iter().enumerate() {
        let (earlier, _) = addresses.split_at(at);
        let same = |other: &&SocketAddr| {
            other.port() == address.port() && other.is_ipv4() == address.is_ipv4()
        };
        let port = address.port();
        if port == 0 || earlier.iter().any(|other| same(&other)) {
            return Err(Unavailable::SeveralAddresses { port });
        }
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    Ok(ports)
}

fn listen_of(ports: &[u16], port: u16) -> Result<Listen, Unavailable> {
    let number = ports.iter().position(|other| *other == port);
    Listen::new(number.unwrap_or(usize::MAX))
}

impl Engaged {
    /// Steers to those of a worker's sockets that listen by now, too.
    pub(super) fn listening(
        &mut self,
        worker: usize,
        sockets: &[OwnedFd],
    ) -> Result<(), Unavailable> {
        let (due, rest) = std::mem::take(&mut self.missing)
            .into_iter()
            .partition(|(of, ..)| usize::from(*of) == worker);
        self.missing = rest;
        let due: Vec<(u16, usize, Listen, Family)> = due;
        let mut all = Ok(());
        for (worker, at, listen, family) in due {
            if let Some(socket) = sockets.get(at) {
                // One that does not listen keeps none of the others from being steered to.
                let one = self.steering.listener(worker, listen, family, socket);
                all = all.and(one);
            }
        }
        all
    }

    /// Attaches the frame program to one interface more.
    pub(super) fn attach(&mut self, interface: String) -> Result<(), Unavailable> {
        let place = self.steering.attach(&interface)?;
        if place == Attached::Generic {
            tracing::warn!(
                interface,
                "the driver does not run XDP programs: steering works in the generic hook, and saves less"
            );
        }
        self.attached.push((interface, place));
        Ok(())
    }

    /// Gives new connections for `host` to these workers; with none, to any worker again.
    ///
    /// # Errors
    /// As [`Steering::own`].
    pub fn own(&mut self, host: &HostName, workers: &[u16], zone: u32) -> Result<(), Unavailable> {
        if workers.is_empty() {
            return self.steering.disown(host);
        }
        self.steering.own_in_zone(host, workers, zone)
    }

    /// The programs themselves.
    pub fn steering(&mut self) -> &mut Steering {
        &mut self.steering
    }

    /// The same for connections that name no host.
    ///
    /// # Errors
    /// As [`Steering::own`].
    pub fn own_nameless(&mut self, workers: &[u16], zone: u32) -> Result<(), Unavailable> {
        self.steering.own_nameless(workers, zone)
    }

    /// As [`Steering::placed`].
    ///
    /// # Errors
    /// As [`Steering::placed`].
    pub fn placed(&self) -> Result<PlacedMap, Unavailable> {
        self.steering.placed()
    }

    /// As [`Steering::counters`].
    ///
    /// # Errors
    /// As [`Steering::counters`].
    pub fn counters(&self) -> Result<Counters, Unavailable> {
        self.steering.counters()
    }

    /// What was decided about a host's ClientHellos, with those that name no host when this one
    /// answers for them.
    #[must_use]
    pub fn counts(&self, host: &HostName, default_host: bool) -> Option<HostCounts> {
        let mut counts = self.steering.host_counts(host).ok()?;
        if default_host {
            let nameless = self.steering.nameless_counts().ok()?;
            counts.noted += nameless.noted;
            counts.host_budget += nameless.host_budget;
            counts.blocked += nameless.blocked;
        }
        Some(counts)
    }

    /// Where the frame program runs.
    #[must_use]
    pub fn attached(&self) -> &[(String, Attached)] {
        &self.attached
    }

    /// Why the stack answers SYNs although it was not to; empty when the program does, `None` when
    /// that was not asked for.
    #[must_use]
    pub fn synproxy(&self) -> Option<&str> {
        self.synproxy.as_deref()
    }

    /// The steered ports.
    #[must_use]
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_listener_of_a_port_and_family() {
        for (addresses, wanted) in [
            (&["0.0.0.0:443", "[::]:443"][..], Some(vec![443])),
            (&["192.0.2.1:443", "192.0.2.1:8443"], Some(vec![443, 8443])),
            (&["192.0.2.1:443", "192.0.2.2:443"], None),
            (&["192.0.2.1:0"], None),
        ] {
            let addresses: Vec<SocketAddr> =
                addresses.iter().map(|one| one.parse().unwrap()).collect();
            assert_eq!(ports(&addresses).ok(), wanted, "{addresses:?}");
        }
    }
}
