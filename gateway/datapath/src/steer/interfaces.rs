//! Which network interfaces connections to our addresses arrive on.
//!
//! Only Ethernet can be read by the kernel program. Loopback is never chosen by itself: there XDP
//! is generic only, connections of this machine to itself gain nothing from it, and a gateway
//! tried out on a laptop should change nothing about that laptop.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::net::{IpAddr, SocketAddr};

use super::Unavailable;
use config::SteerInterfaces;

/// One address of one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Local {
    interface: String,
    address: IpAddr,
}

/// The interfaces of this network namespace.
#[derive(Debug, Default)]
struct Links {
    /// Their kinds: ARPHRD_ETHER and its like.
    kinds: BTreeMap<String, u16>,
    /// Addresses of those that are up.
    addresses: Vec<Local>,
}

/// The interfaces to attach to, in the order of their names.
///
/// # Errors
/// [`Unavailable::Interface`], [`Unavailable::NotEthernet`], and [`Unavailable::OnlyLoopback`].
pub(super) fn choose(
    wanted: &SteerInterfaces,
    listen: &[SocketAddr],
) -> Result<Vec<String>, Unavailable> {
    let links = links();
    // Frames of loopback have an Ethernet header too.
    let readable = |name: &String| {
        let kind = links.kinds.get(name);
        kind.is_some_and(|kind| [libc::ARPHRD_ETHER, libc::ARPHRD_LOOPBACK].contains(kind))
    };
    match wanted {
        SteerInterfaces::Named(names) => {
            for name in names {
                if !links.kinds.contains_key(name) {
                    return Err(Unavailable::Interface(name.clone()));
                }
                if !readable(name) {
                    return Err(Unavailable::NotEthernet(name.clone()));
                }
            }
            Ok(names.clone())
        }
        SteerInterfaces::Auto => {
            let names = of_addresses(&links.addresses, listen);
            let names: Vec<String> = names.into_iter().filter(readable).collect();
            if names.is_empty() {
                return Err(Unavailable::OnlyLoopback);
            }
            Ok(names)
        }
    }
}

/// Those that have one of the addresses, or any address where all are listened on.
fn of_addresses(here: &[Local], listen: &[SocketAddr]) -> BTreeSet<String> {
    let reaches = |local: &Local| {
        listen.iter().any(|listen| {
            listen.ip() == local.address
                || listen.ip().is_unspecified() && listen.is_ipv4() == local.address.is_ipv4()
        })
    };
    here.iter()
        .filter(|local| !local.address.is_loopback() && local.interface != "lo")
        .filter(|local| reaches(local))
        .map(|local| local.interface.clone())
        .collect()
}

/// Asks the kernel (getifaddrs(3)); knows nothing when it does not answer.
fn links() -> Links {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: getifaddrs wants a place for a pointer, and fills it when it answers 0.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Links::default();
    }
    let mut found = Links::default();
    let mut next = first;
    // SAFETY: `next` is null or an element of the list, which lives until it is freed below.
    while let Some(entry) = unsafe { next.as_ref() } {
        next = entry.ifa_next;
        // SAFETY: the name of an element is a string that ends in a zero byte.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) };
        let interface = name.to_string_lossy().into_owned();
        let up = entry.ifa_flags & u32::try_from(libc::IFF_UP).unwrap_or(1) != 0;
        match end_of(entry) {
            Some(End::Link(kind)) => drop(found.kinds.insert(interface, kind)),
            Some(End::Internet(address)) if up => {
                found.addresses.push(Local { interface, address });
            }
            _ => {}
        }
    }
    // SAFETY: the list came from getifaddrs, is freed once, and nothing refers to it any more.
    unsafe { libc::freeifaddrs(first) };
    found
}

/// The addresses that this machine answers to, loopback's left out.
pub(super) fn addresses() -> Vec<IpAddr> {
    let here = links().addresses.into_iter().map(|local| local.address);
    here.filter(|address| !address.is_loopback()).collect()
}

/// Bytes of the largest packet that the interface sends (netdevice(7)).
pub(super) fn mtu(interface: &str) -> Option<u32> {
    use std::os::fd::AsRawFd as _;
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0)).ok()?;
    // SAFETY: zeros are an empty name and a request about nothing.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    let (_, name) = request.ifr_name.split_last_mut()?;
    for (place, byte) in name.iter_mut().zip(interface.bytes()) {
        *place = libc::c_char::from_ne_bytes([byte]);
    }
    // SAFETY: the request is about an interface by name, and gets a number written into it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU, &raw mut request) };
    // SAFETY: the kernel has written this one of the union's fields, and any bytes are a number.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    (result == 0).then(|| u32::try_from(mtu).ok())?
}

/// What an entry of the list is about.
enum End {
    Link(u16),
    Internet(IpAddr),
}

fn end_of(entry: &libc::ifaddrs) -> Option<End> {
    // SAFETY: null or the address of an element of the list, with its family in front.
    let address = unsafe { entry.ifa_addr.as_ref() }?;
    match i32::from(address.sa_family) {
        libc::AF_INET => {
            let address = entry.ifa_addr.cast::<libc::sockaddr_in>();
            // SAFETY: the family says that this is a `sockaddr_in`; it may stand at any address.
            let address = unsafe { address.read_unaligned() };
            Some(End::Internet(address.sin_addr.s_addr.to_ne_bytes().into()))
        }
        libc::AF_INET6 => {
            let address = entry.ifa_addr.cast::<libc::sockaddr_in6>();
            // SAFETY: the family says that this is a `sockaddr_in6`; it may stand at any address.
            let address = unsafe { address.read_unaligned() };
            Some(End::Internet(address.sin6_addr.s6_addr.into()))
        }
        libc::AF_PACKET => {
            let address = entry.ifa_addr.cast::<libc::sockaddr_ll>();
            // SAFETY: the family says that this is a `sockaddr_ll`; it may stand at any address.
            let address = unsafe { address.read_unaligned() };
            Some(End::Link(address.sll_hatype))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_those_of_the_addresses_and_never_loopback() {
        let local = |interface: &str, address: &str| Local {
            interface: interface.into(),
            address: address.parse().unwrap(),
        };
        let here = [
            local("lo", "127.0.0.1"),
            local("lo", "192.0.2.99"),
            local("eth0", "192.0.2.1"),
            local("eth0", "2001:db8::1"),
            local("eth1", "198.51.100.1"),
        ];
        for (listen, wanted) in [
            ("0.0.0.0:443", vec!["eth0", "eth1"]),
            ("[::]:443", vec!["eth0"]),
            ("198.51.100.1:443", vec!["eth1"]),
            ("127.0.0.1:443", vec![]),
            ("127.0.0.9:443", vec![]),
            ("192.0.2.99:443", vec![]),
            ("203.0.113.1:443", vec![]),
        ] {
            let found = of_addresses(&here, &[listen.parse().unwrap()]);
            assert_eq!(found.into_iter().collect::<Vec<_>>(), wanted, "{listen}");
        }
    }

    #[test]
    fn this_machine_has_a_loopback_address() {
        let links = links();
        assert!(
            links
                .addresses
                .iter()
                .any(|local| local.address.is_loopback())
        );
        assert_eq!(links.kinds.get("lo"), Some(&libc::ARPHRD_LOOPBACK));
        assert!(matches!(
            choose(&SteerInterfaces::Auto, &["127.0.0.1:1".parse().unwrap()]),
            Err(Unavailable::OnlyLoopback)
        ));
        assert!(matches!(
            choose(&SteerInterfaces::Named(vec!["nothing0".into()]), &[]),
            Err(Unavailable::Interface(_))
        ));
    }
}
