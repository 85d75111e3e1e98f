//! Networks by their prefix: `10.0.0.0/8`, `2001:db8::/32`, or one address.
//!
//! Owns reading, showing and asking whether an address is in one. A list of them is a plain value
//! that can be copied, as all tunables are.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::value::{ValueError, pieces};
use crate::limits::EXEMPT_NETWORKS_MAX;

/// The addresses that share a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// With zeros behind the prefix.
    address: IpAddr,
    bits: u8,
}

/// Some networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Networks {
    all: [Option<Network>; EXEMPT_NETWORKS_MAX],
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                own.to_bits() == other.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.bits))
                    .unwrap_or(0);
                own.to_bits() == other.to_bits() & mask
            }
            _ => false,
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_unspecific| format!("`{text}` is no address and no network"))?;
        if address != address.to_canonical() {
            // No client is seen so: it would never match.
            return Err(format!(
                "`{text}` is IPv4 mapped into IPv6; write the IPv4 network"
            ));
        }
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits
                .parse()
                .ok()
                .filter(|bits| *bits <= most)
                .ok_or_else(|| format!("the prefix of `{text}` is not of 0 to {most} bits"))?,
        };
        let network = Self { address, bits };
        if network.contains(address) {
            Ok(network)
        } else {
            Err(format!("`{text}` has bits behind its prefix"))
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.address.is_ipv4() { 32 } else { 128 };
        if self.bits == whole {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.bits)
        }
    }
}

impl Networks {
    /// Whether the address is in one of them. An IPv4 address that was mapped into IPv6 counts as
    /// what it is.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let mut all = self.all.iter().map_while(Option::as_ref);
        all.any(|network| network.contains(address))
    }

    /// Whether one of them has an address in common with the addresses that share the first `bits` of
    /// this one.
    #[must_use]
    pub fn meet(&self, address: IpAddr, bits: u8) -> bool {
        let asked = Network { address, bits };
        let mut all = self.all.iter().map_while(Option::as_ref);
        all.any(|own| own.contains(address) || asked.contains(own.address))
    }

    pub(super) fn parse(text: &str) -> Result<Self, ValueError> {
        const HELP: &str = "write networks as in `10.0.0.0/8, 2001:db8::/32`, or `none`";
        let mut found = Self::default();
        if text == "none" || text.is_empty() {
            return Ok(found);
        }
        let mut room = found.all.iter_mut();
        for (at, piece) in pieces(text) {
            let network = Network::parse(piece).map_err(|message| ValueError {
                at,
                ..ValueError::whole(text, message).help(HELP)
            })?;
            let Some(place) = room.next() else {
                let message = format!("more than {EXEMPT_NETWORKS_MAX} networks");
                return Err(ValueError::whole(text, message));
            };
            *place = Some(network);
        }
        Ok(found)
    }

    /// As they are written: `10.0.0.0/8, ::1`, or `none`.
    #[must_use]
    pub fn show(&self) -> String {
        let all = self.all.iter().map_while(Option::as_ref);
        let all: Vec<String> = all.map(Network::to_string).collect();
        if all.is_empty() {
            "none".into()
        } else {
            all.join(", ")
        }
    }
}

/// The prefix that clients are counted by: an IPv4 address, or the 64 bits of an IPv6 address that
/// one subscriber has.
#[must_use]
pub fn client_prefix(address: IpAddr) -> Network {
    match address.to_canonical() {
        IpAddr::V4(address) => Network {
            address: address.into(),
            bits: 32,
        },
        IpAddr::V6(address) => Network {
            address: Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
            bits: 64,
        },
    }
}

impl std::hash::Hash for Network {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.address.hash(state);
        self.bits.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_shown_and_asked() {
        let text = "10.0.0.0/8, 2001:db8::/32, 192.0.2.7";
        let networks = Networks::parse(text).unwrap();
        assert_eq!(networks.show(), text);
        for (address, inside) in [
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("::ffff:10.1.1.1", true),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
            ("::1", false),
        ] {
            assert_eq!(
                networks.contain(address.parse().unwrap()),
                inside,
                "{address}"
            );
        }
        let every = Networks::parse("0.0.0.0/0 ::/0").unwrap();
        assert!(every.contain("1.2.3.4".parse().unwrap()));
        assert!(every.contain("fe80::1".parse().unwrap()));
        assert!(
            !Networks::parse("none")
                .unwrap()
                .contain("1.2.3.4".parse().unwrap())
        );
        for wrong in ["10.0.0.1/8", "10.0.0.0/33", "x", "10.0.0.0/", "::1/64"] {
            assert!(Networks::parse(wrong).is_err(), "{wrong}");
        }
        let many = vec!["10.0.0.1"; EXEMPT_NETWORKS_MAX + 1].join(" ");
        assert!(Networks::parse(&many).is_err());
    }

    #[test]
    fn networks_meet_those_inside_and_those_around() {
        let networks = Networks::parse("10.1.0.0/16, 2001:db8::/32").unwrap();
        for (address, bits, meets) in [
            ("10.1.2.0", 24, true),
            ("10.0.0.0", 8, true),
            ("0.0.0.0", 0, true),
            ("10.2.0.0", 16, false),
            ("2001:db8:1::", 48, true),
            ("2001::", 16, true),
            ("2002::", 16, false),
            ("::", 0, true),
        ] {
            let found = networks.meet(address.parse().unwrap(), bits);
            assert_eq!(found, meets, "{address}/{bits}");
        }
        assert!(!Networks::default().meet("0.0.0.0".parse().unwrap(), 0));
    }

    #[test]
    fn clients_are_counted_by_address_or_subscriber() {
        for (address, prefix) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ] {
            let found = client_prefix(address.parse().unwrap());
            assert_eq!(found.to_string(), prefix);
        }
    }
}
