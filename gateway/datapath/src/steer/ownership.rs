//! Which worker owns which host, as workers read it: one immutable table, replaced whole.
//!
//! The kernel's tables say the same; where they cannot decide, a worker looks here, with the same
//! rules: the exact name before the wildcard, and the connection's own hash among several owners.
//! What should be in the table is [`super::balance`]'s and [`super::controller`]'s.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use ebpf::Owners;
use ebpf::packet::{Flow, mapped};

use vocabulary::hostname::{HostName, NAME_BYTES_MAX};

/// Owners by name.
#[derive(Debug, Default)]
pub struct Ownership {
    exact: HashMap<Box<str>, Owners, foldhash::fast::RandomState>,
    /// Keyed by the parent: `example.com` for `*.example.com`.
    wildcard: HashMap<Box<str>, Owners, foldhash::fast::RandomState>,
    /// Of connections that name no host: those of the default host.
    nameless: Option<Owners>,
}

impl Ownership {
    /// The table of these hosts; `default` is the one that answers for those who name none.
    pub fn new<'h>(
        hosts: impl Iterator<Item = (&'h HostName, Owners)>,
        default: Option<&HostName>,
    ) -> Self {
        let mut table = Self::default();
        for (name, owners) in hosts {
            if default == Some(name) {
                table.nameless = Some(owners);
            }
            let (names, key) = match name.wildcard_parent() {
                Some(parent) => (&mut table.wildcard, parent),
                None => (&mut table.exact, name.as_str()),
            };
            names.insert(key.into(), owners);
        }
        table
    }

    /// Whether there is nothing to bring anywhere: steering is off, or there is no host.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty()
    }

    /// The owners of a name as the client spelt it.
    #[must_use]
    pub fn of(&self, spelt: &[u8]) -> Option<Owners> {
        let spelt = spelt.strip_suffix(b".").unwrap_or(spelt);
        if spelt.len() > NAME_BYTES_MAX {
            return None;
        }
        let name = std::str::from_utf8(spelt).ok()?.to_ascii_lowercase();
        let wild = || {
            let (label, parent) = name.split_once('.')?;
            (!label.is_empty())
                .then(|| self.wildcard.get(parent))
                .flatten()
        };
        self.exact.get(name.as_str()).or_else(wild).copied()
    }

    /// The owners of connections that name no host.
    #[must_use]
    pub fn nameless(&self) -> Option<Owners> {
        self.nameless
    }
}

/// The one place where the current table is found; readers take no lock.
#[derive(Debug, Default)]
pub struct Owned(ArcSwap<Ownership>);

impl Owned {
    /// The table of now.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<Ownership>> {
        self.0.load()
    }

    /// Makes `table` the current one, whole.
    pub fn publish(&self, table: Ownership) {
        self.0.store(Arc::new(table));
    }
}

/// Both ends of a connection, as the kernel programs see them.
#[must_use]
pub fn flow(client: SocketAddr, local: SocketAddr) -> Flow {
    Flow {
        source_be: words(client.ip()),
        destination_be: words(local.ip()),
        source_port_be: client.port().to_be(),
        destination_port_be: local.port().to_be(),
    }
}

/// Client and own address of a connection that the kernel programs saw.
pub(super) fn ends(flow: &Flow) -> (SocketAddr, SocketAddr) {
    let address = |words: [u32; 4]| {
        let mut octets = [0; 16];
        for (octets, word) in octets.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *octets = word.to_ne_bytes();
        }
        std::net::Ipv6Addr::from(octets).to_canonical()
    };
    let port = u16::from_be;
    (
        (address(flow.source_be), port(flow.source_port_be)).into(),
        (address(flow.destination_be), port(flow.destination_port_be)).into(),
    )
}

pub(super) fn words(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(address) => mapped(u32::from_ne_bytes(address.octets())),
        IpAddr::V6(address) => {
            let mut words = [0; 4];
            for (word, bytes) in words.iter_mut().zip(address.octets().as_chunks::<4>().0) {
                *word = u32::from_ne_bytes(*bytes);
            }
            words
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(worker: u16) -> Owners {
        Owners::of(&[worker]).unwrap()
    }

    #[test]
    fn ends_are_what_they_were() {
        for (client, local) in [
            ("192.0.2.1:5000", "198.51.100.1:443"),
            ("[2001:db8::1]:1", "[2001:db8::2]:65535"),
        ] {
            let (client, local) = (client.parse().unwrap(), local.parse().unwrap());
            assert_eq!(ends(&flow(client, local)), (client, local));
        }
    }

    #[test]
    fn names_are_found_as_the_data_path_finds_hosts() {
        let names: Vec<HostName> = ["api.example.com", "*.example.com", "*.b.example.com"]
            .iter()
            .map(|name| HostName::parse(name).unwrap())
            .collect();
        let hosts = names
            .iter()
            .zip(1..)
            .map(|(name, worker)| (name, owners(worker)));
        let table = Ownership::new(hosts, names.get(1));
        for (spelt, worker) in [
            ("api.example.com", Some(1)),
            ("API.Example.COM.", Some(1)),
            ("other.example.com", Some(2)),
            ("a.b.example.com", Some(3)),
            ("a.a.example.com", None),
            ("example.com", None),
            (".example.com", None),
            ("", None),
            ("api.example.com..", None),
        ] {
            assert_eq!(table.of(spelt.as_bytes()), worker.map(owners), "{spelt}");
        }
        assert_eq!(table.of(&[0xff, b'.', b'x']), None);
        assert_eq!(table.of(&[b'a'; 300]), None);
        assert_eq!(table.nameless(), Some(owners(2)));
        assert!(!table.is_empty() && Ownership::default().is_empty());
    }
}
