//! The tables the kernel programs work with: our ports, the workers' listeners, the owners of hosts.
//!
//! Only writes them. What should be in them, and when, is the caller's to say.

use super::ownership::words;
use super::{Steering, Unavailable};
use aya::maps::{Array, HashMap, MapError, SockMap};
use aya::{Ebpf, EbpfError};
use ebpf::hello::{NAMELESS_KEY, host_key};
use ebpf::packet::Family;
use ebpf::{
    HOSTS_MAX, LISTENS_MAX, Listening, MAP_HOSTS, MAP_LISTENERS, MAP_LISTENING, MAP_PORTS, Owners,
    WORKERS_MAX, listener_index, listening_index,
};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use vocabulary::hostname::HostName;

// Every worker that can be configured can be steered to.
const _: () = assert!(WORKERS_MAX as usize >= config::limits::WORKERS_MAX);
const _: () = assert!(ebpf::OWNERS_MAX == config::limits::PINNED_WORKERS_MAX);

/// Which of the steered ports a listener belongs to: the number that [`Steering::port`] was given.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Listen(u8);

impl Listen {
    /// The `number`-th port, from 0.
    ///
    /// # Errors
    /// [`Unavailable::TooMany`].
    pub fn new(number: usize) -> Result<Self, Unavailable> {
        let fits = u8::try_from(number)
            .ok()
            .filter(|number| u32::from(*number) < LISTENS_MAX);
        fits.map(Self).ok_or(Unavailable::TooMany {
            what: "ports",
            max: LISTENS_MAX,
        })
    }
}

impl Steering {
    /// Steers connections to `port` from now on.
    ///
    /// All listeners of one port and family must be in one SO_REUSEPORT group, which is where the
    /// kernel keeps the time of its last cookie: a port that is listened on at several addresses
    /// has several groups and cannot be steered.
    ///
    /// # Errors
    /// [`Unavailable::Refused`].
    pub fn port(&mut self, port: u16, listen: Listen) -> Result<(), Unavailable> {
        let value = u32::from(listen.0) + 1;
        table(&mut self.kernel, MAP_PORTS, |map| {
            Array::<_, u32>::try_from(map)?.set(u32::from(port), value, 0)
        })
    }

    /// Says on which addresses the port is ours: on `address`, or on all of its family when it is
    /// unspecified.
    ///
    /// # Errors
    /// [`Unavailable::Refused`].
    pub fn listening(&mut self, listen: Listen, address: IpAddr) -> Result<(), Unavailable> {
        let family = family(address);
        let value = Listening {
            address_be: words(address),
            kind: if address.is_unspecified() {
                Listening::EVERYWHERE
            } else {
                Listening::ONE
            },
        };
        let index = listening_index(u32::from(listen.0), family);
        table(&mut self.kernel, MAP_LISTENING, |map| {
            Array::<_, Listening>::try_from(map)?.set(index, value, 0)
        })
    }

    /// Names a worker's listening socket. The kernel forgets it when it is closed.
    ///
    /// # Errors
    /// [`Unavailable::TooMany`] and [`Unavailable::Refused`].
    pub fn listener(
        &mut self,
        worker: u16,
        listen: Listen,
        family: Family,
        socket: &impl AsRawFd,
    ) -> Result<(), Unavailable> {
        let worker = u32::from(worker);
        if worker >= WORKERS_MAX {
            return Err(Unavailable::TooMany {
                what: "workers",
                max: WORKERS_MAX,
            });
        }
        let index = listener_index(worker, u32::from(listen.0), family);
        table(&mut self.kernel, MAP_LISTENERS, |map| {
            SockMap::try_from(map)?.set(index, socket, 0)
        })
    }

    /// Gives new connections for `host` to these workers, in place of those that had them.
    ///
    /// # Errors
    /// [`Unavailable::TooMany`] when the table is full, no worker is given, or one is beyond the
    /// table.
    pub fn own(&mut self, host: &HostName, workers: &[u16]) -> Result<(), Unavailable> {
        self.own_in_zone(host, workers, 0)
    }

    /// The same for a host whose zone's address blocks hold for it.
    ///
    /// # Errors
    /// As [`Self::own`].
    pub fn own_in_zone(
        &mut self,
        host: &HostName,
        workers: &[u16],
        zone: u32,
    ) -> Result<(), Unavailable> {
        self.own_key(host_key(host.as_str()), workers, zone)
    }

    /// Gives new connections that name no host to these workers; with none, to any worker again.
    ///
    /// # Errors
    /// As [`Self::own`].
    pub fn own_nameless(&mut self, workers: &[u16], zone: u32) -> Result<(), Unavailable> {
        if workers.is_empty() {
            return self.disown_key(NAMELESS_KEY);
        }
        self.own_key(NAMELESS_KEY, workers, zone)
    }

    fn own_key(&mut self, key: u64, workers: &[u16], zone: u32) -> Result<(), Unavailable> {
        let counted_at = self.counted_at(key)?;
        let owners = Owners::of(workers).map(|owners| owners.in_zone(zone).counted_at(counted_at));
        let owners = owners.ok_or(Unavailable::TooMany {
            what: "workers",
            max: WORKERS_MAX,
        })?;
        table(&mut self.kernel, MAP_HOSTS, |map| {
            HashMap::<_, u64, Owners>::try_from(map)?.insert(key, owners, 0)
        })
        .map_err(|error| match error {
            Unavailable::Refused(reason) if full(&reason) => Unavailable::TooMany {
                what: "hosts",
                max: HOSTS_MAX,
            },
            other => other,
        })
    }

    /// Lets any worker have `host` again.
    ///
    /// # Errors
    /// [`Unavailable::Refused`].
    pub fn disown(&mut self, host: &HostName) -> Result<(), Unavailable> {
        self.disown_key(host_key(host.as_str()))
    }

    fn disown_key(&mut self, key: u64) -> Result<(), Unavailable> {
        self.places.give_back(key);
        table(&mut self.kernel, MAP_HOSTS, |map| {
            match HashMap::<_, u64, Owners>::try_from(map)?.remove(&key) {
                Err(error) if !absent(&error) => Err(error),
                _ => Ok(()),
            }
        })
    }
}

/// The Internet protocol of an address.
pub(super) fn family(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}

pub(super) fn table(
    kernel: &mut Ebpf,
    name: &str,
    change: impl FnOnce(&mut aya::maps::Map) -> Result<(), MapError>,
) -> Result<(), Unavailable> {
    let map = kernel.map_mut(name).ok_or(MapError::ElementNotFound);
    Ok(map.and_then(change).map_err(EbpfError::from)?)
}

/// Whether there was nothing to remove.
fn absent(reason: &MapError) -> bool {
    match reason {
        MapError::KeyNotFound => true,
        MapError::SyscallError(call) => call.io_error.raw_os_error() == Some(libc::ENOENT),
        _ => false,
    }
}

/// Whether the kernel's reason is that a table is full.
fn full(reason: &EbpfError) -> bool {
    let EbpfError::MapError(MapError::SyscallError(call)) = reason else {
        return false;
    };
    call.io_error.raw_os_error() == Some(libc::E2BIG)
}
