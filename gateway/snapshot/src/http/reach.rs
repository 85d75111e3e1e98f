//! Reach: which addresses the gateway does not connect to on behalf of a tenant.
//!
//! A token of one zone may name an origin, but not one that only this machine can reach: the admin
//! API on loopback, the cloud's metadata service, the gateway itself. Owns the list of such
//! addresses and their spellings. Does not resolve names and does not ask the system what this
//! machine's addresses are: the caller brings both.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a tenant's origin may not be, and the listeners that count as the gateway's own.
#[derive(Clone)]
pub struct Reach {
    /// `control.private_origins = allow`: nothing is refused.
    pub allows_private: bool,
    /// Where the gateway listens, for clients and for its own API.
    pub listeners: Vec<SocketAddr>,
    /// Whether an address is one of this machine's.
    pub is_here: fn(IpAddr) -> bool,
}

impl PartialEq for Reach {
    fn eq(&self, other: &Self) -> bool {
        self.allows_private == other.allows_private
            && self.listeners == other.listeners
            // One function may have two addresses: then what is the same is taken for another.
            && std::ptr::fn_addr_eq(self.is_here, other.is_here)
    }
}

impl Eq for Reach {}

impl Default for Reach {
    /// As strict as it can be without knowing the listeners.
    fn default() -> Self {
        Self {
            allows_private: false,
            listeners: Vec::new(),
            is_here: |_| true,
        }
    }
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reach")
            .field("allows_private", &self.allows_private)
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}

/// An address that is out of a tenant's reach.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{address} is {what}, which is out of reach for what a zone's token set (control.private_origins)"
)]
pub struct OutOfReach {
    /// The address, or a name that stands for one.
    pub address: String,
    /// What it is.
    pub what: &'static str,
}

/// Metadata services of clouds that are not at a link-local address: AWS over IPv6, Alibaba,
/// Azure's wire server, Oracle.
const METADATA_V6: [Ipv6Addr; 1] = [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)];
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// Names that mean this machine without any DNS: RFC 6761 §6.3, and what /etc/hosts of Debian and
/// Red Hat add.
const LOCAL_NAMES: [&str; 5] = [
    "localhost",
    "localhost.localdomain",
    "localhost6",
    "ip6-localhost",
    "ip6-loopback",
];

impl Reach {
    /// Whether a tenant's connection to this address is refused, and why.
    ///
    /// # Errors
    /// It is out of reach.
    pub fn check(&self, address: SocketAddr) -> Result<(), OutOfReach> {
        if self.allows_private {
            return Ok(());
        }
        let ip = meant(address.ip());
        let what = private(ip).or_else(|| {
            self.is_own(ip, address.port())
                .then_some("this gateway's own listener")
        });
        match what {
            None => Ok(()),
            Some(what) => Err(OutOfReach {
                address: address.ip().to_string(),
                what,
            }),
        }
    }

    /// Those of `addresses` that a tenant's connection may go to: asked when it is opened, as a name may
    /// mean another address than when it was set.
    ///
    /// # Errors
    /// There are some, and all of them are out of reach.
    pub fn within(&self, addresses: &[SocketAddr]) -> Result<Vec<SocketAddr>, OutOfReach> {
        let (mut within, mut refused) = (Vec::with_capacity(addresses.len()), None);
        for address in addresses {
            match self.check(*address) {
                Ok(()) => within.push(*address),
                Err(why) => refused = Some(why),
            }
        }
        match refused {
            Some(why) if within.is_empty() => Err(why),
            _ => Ok(within),
        }
    }

    /// The same of the host of a URL as it was written: an address in any spelling that resolvers
    /// take, or a name. What a name resolves to is checked when it is connected to.
    ///
    /// # Errors
    /// It is out of reach.
    pub fn check_text(&self, host: &str, port: u16) -> Result<(), OutOfReach> {
        if self.allows_private {
            return Ok(());
        }
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        if LOCAL_NAMES.contains(&host.as_str()) || host.ends_with(".localhost") {
            return Err(OutOfReach {
                address: host,
                what: "this machine",
            });
        }
        let address = host.parse().ok().or_else(|| spelt(&host).map(IpAddr::V4));
        let Some(address) = address else {
            return Ok(());
        };
        self.check(SocketAddr::new(address, port))
            .map_err(|refused| OutOfReach {
                address: host,
                ..refused
            })
    }

    fn is_own(&self, ip: IpAddr, port: u16) -> bool {
        let of_port = || self.listeners.iter().filter(|own| own.port() == port);
        of_port().any(|own| meant(own.ip()) == ip)
            || of_port().any(|own| own.ip().is_unspecified()) && (self.is_here)(ip)
    }
}

/// What is private about an address, if it is.
fn private(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => match ip.octets() {
            [127, ..] => Some("a loopback address"),
            // Linux takes 0.0.0.0 for loopback; the rest of 0.0.0.0/8 is no host (RFC 1122).
            [0, ..] => Some("an unspecified address"),
            [169, 254, ..] => Some("a link-local address"),
            [224..=239, ..] | [255, 255, 255, 255] => Some("no address of one host"),
            _ if METADATA_V4.contains(&ip) => Some("a cloud's metadata service"),
            _ => None,
        },
        IpAddr::V6(ip) => match ip.segments() {
            [0, 0, 0, 0, 0, 0, 0, 1] => Some("a loopback address"),
            [0, 0, 0, 0, 0, 0, 0, 0] => Some("an unspecified address"),
            [first, ..] if first & 0xffc0 == 0xfe80 => Some("a link-local address"),
            [first, ..] if first & 0xff00 == 0xff00 => Some("no address of one host"),
            _ if METADATA_V6.contains(&ip) => Some("a cloud's metadata service"),
            _ => None,
        },
    }
}

/// The IPv4 address that an IPv6 one leads to, where it does: mapped, translated and compatible
/// (RFC 4291 §2.5.5, RFC 2765), NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056).
fn meant(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = ip else { return ip };
    let four = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match six.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => ip,
        [0, 0, 0, 0, 0, 0xffff | 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0 | 1, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => four(high, low),
        _ => ip,
    }
}

/// An IPv4 address as `inet_aton` takes it: one to four parts, decimal, octal (`0177`) or
/// hexadecimal (`0x7f`), of which the last fills what is left.
fn spelt(host: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u64> = host
        .split('.')
        .map(|part| {
            let (digits, radix) = match part.strip_prefix("0x") {
                Some("") => ("0", 16),
                Some(digits) => (digits, 16),
                None if part.len() > 1 && part.starts_with('0') => (part, 8),
                None => (part, 10),
            };
            let digits_only = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
            u64::from_str_radix(digits, radix)
                .ok()
                .filter(|_| digits_only)
        })
        .collect::<Option<_>>()?;
    let (last, front) = parts.split_last()?;
    if front.len() > 3 || front.iter().any(|part| *part > 255) {
        return None;
    }
    let left = 4 - front.len();
    if *last >= 1 << (8 * left) {
        return None;
    }
    let mut bits = *last;
    for (place, part) in front.iter().enumerate() {
        bits |= part << (8 * (3 - place));
    }
    u32::try_from(bits).ok().map(Ipv4Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach() -> Reach {
        Reach {
            allows_private: false,
            listeners: ["0.0.0.0:443", "10.1.1.1:9443", "127.0.0.1:8080", "[::]:444"]
                .map(|text| text.parse().unwrap())
                .to_vec(),
            is_here: |ip| ip.to_string() == "10.0.0.5",
        }
    }

    #[test]
    fn what_a_tenant_does_not_reach_in_every_spelling() {
        for (host, what) in [
            ("127.0.0.1", "loopback"),
            ("127.255.0.9", "loopback"),
            ("2130706433", "loopback"),
            ("0x7f000001", "loopback"),
            ("0X7F.1", "loopback"),
            ("017700000001", "loopback"),
            ("0177.0.0.1", "loopback"),
            ("127.1", "loopback"),
            ("127.0.1", "loopback"),
            ("::1", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:7f00:1", "loopback"),
            ("::127.0.0.1", "loopback"),
            ("::ffff:0:127.0.0.1", "loopback"),
            ("64:ff9b::127.0.0.1", "loopback"),
            ("64:ff9b:1::7f00:1", "loopback"),
            ("2002:7f00:1::", "loopback"),
            ("localhost", "this machine"),
            ("LOCALHOST.", "this machine"),
            ("api.localhost", "this machine"),
            ("ip6-loopback", "this machine"),
            ("localhost.localdomain", "this machine"),
            ("0.0.0.0", "unspecified"),
            ("0", "unspecified"),
            ("0.1.2.3", "unspecified"),
            ("::", "unspecified"),
            ("::ffff:0.0.0.0", "unspecified"),
            ("169.254.169.254", "link-local"),
            ("2852039166", "link-local"),
            ("::ffff:169.254.169.254", "link-local"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("fd00:ec2::254", "metadata"),
            ("168.63.129.16", "metadata"),
            ("100.100.100.200", "metadata"),
            ("192.0.0.192", "metadata"),
            ("224.0.0.1", "one host"),
            ("255.255.255.255", "one host"),
            ("ff02::1", "one host"),
        ] {
            let refused = reach().check_text(host, 80).unwrap_err().to_string();
            assert!(refused.contains(what), "{host}: {refused}");
            let open = Reach {
                allows_private: true,
                ..reach()
            };
            assert_eq!(open.check_text(host, 80), Ok(()), "{host}");
        }
    }

    #[test]
    fn what_a_tenant_reaches() {
        for host in [
            "192.0.2.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "128.0.0.1",
            "169.253.0.1",
            "fd00::1",
            "fec0::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "origin.example.com",
            "localhost.example.com",
            "notlocalhost",
            "0xg.example",
            "256.256.256.256.256",
            "cafe",
        ] {
            assert_eq!(reach().check_text(host, 80), Ok(()), "{host}");
        }
    }

    #[test]
    fn of_several_addresses_those_within_reach_are_left() {
        let all = |text: &str| -> Vec<SocketAddr> {
            text.split_whitespace()
                .map(|one| one.parse().unwrap())
                .collect()
        };
        for (addresses, within) in [
            (
                "127.0.0.1:80 10.1.1.1:80 169.254.169.254:80",
                Some("10.1.1.1:80"),
            ),
            ("10.1.1.2:80 10.1.1.1:80", Some("10.1.1.2:80 10.1.1.1:80")),
            ("[::1]:80 127.0.0.1:80", None),
            ("", Some("")),
        ] {
            let found = reach().within(&all(addresses)).ok();
            assert_eq!(found, within.map(all), "{addresses}");
        }
    }

    #[test]
    fn the_gateways_own_listeners_are_out_of_reach() {
        for (address, own) in [
            // A wildcard listener is at every address of this machine.
            ("10.0.0.5:443", true),
            ("10.0.0.5:444", true),
            ("[::ffff:10.0.0.5]:443", true),
            ("10.0.0.5:445", false),
            ("10.0.0.6:443", false),
            ("10.1.1.1:9443", true),
            ("[::ffff:10.1.1.1]:9443", true),
            ("10.1.1.1:9444", false),
        ] {
            let found = reach().check(address.parse().unwrap());
            assert_eq!(found.is_err(), own, "{address}");
        }
    }
}
