//! Lists that expressions refer to as `$name`: addresses, host names, AS numbers.
//!
//! Immutable once built. Look-up is by binary search or hash.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::types::Kind;
use vocabulary::hostname::HostName;

/// What a list holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum List {
    /// Addresses and networks.
    Ip(IpList),
    /// Host names; `*.example.com` covers every name below `example.com`, at any depth.
    Hostname(HostnameList),
    /// AS numbers.
    Asn(HashSet<u32>),
}

/// Addresses as sorted ranges that do not touch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IpList(Box<[(IpAddr, IpAddr)]>);

/// Host names by hash.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostnameList {
    exact: HashSet<Box<str>>,
    /// Parents of wildcards.
    below: HashSet<Box<str>>,
}

/// Why an item cannot be in a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// Not an address or network.
    #[error("`{item}` is not an IP address or CIDR range: {why}")]
    Ip {
        /// As given.
        item: Box<str>,
        /// What is wrong.
        why: &'static str,
    },
    /// Not a host name.
    #[error(transparent)]
    Hostname(#[from] vocabulary::hostname::HostNameError),
    /// Not an AS number.
    #[error("`{0}` is not an AS number: 0 to 4294967295 is")]
    Asn(Box<str>),
    /// Not a list's name.
    #[error("`{0}` cannot name a list: 1 to 50 of a-z, 0-9 and `_` can")]
    Name(Box<str>),
}

impl List {
    /// A list of addresses and networks: IPv4 `/8`–`/32`, IPv6 `/4`–`/64`, and single addresses.
    ///
    /// # Errors
    /// The first item that is none.
    pub fn ip<'t>(items: impl IntoIterator<Item = &'t str>) -> Result<Self, ListError> {
        let mut ranges = Vec::new();
        for item in items {
            let refuse = |why| ListError::Ip {
                item: item.into(),
                why,
            };
            let found = super::literal::ip_item(item).map_err(|problem| refuse(problem.0))?;
            if let super::ast::IpItem::Network(address, bits) = found {
                let allowed = if address.is_ipv4() { 8..=32 } else { 4..=64 };
                if !allowed.contains(&bits) {
                    return Err(refuse(
                        "prefixes are /8 to /32 for IPv4 and /4 to /64 for IPv6",
                    ));
                }
            }
            ranges.push(found.bounds());
        }
        Ok(Self::Ip(IpList(merge(ranges))))
    }

    /// A list of host names, exact or `*.` wildcards.
    ///
    /// # Errors
    /// The first item that is none.
    pub fn hostname<'t>(items: impl IntoIterator<Item = &'t str>) -> Result<Self, ListError> {
        let mut list = HostnameList::default();
        for item in items {
            let name = HostName::parse(item)?;
            match name.wildcard_parent() {
                Some(parent) => list.below.insert(parent.into()),
                None => list.exact.insert(name.as_str().into()),
            };
        }
        Ok(Self::Hostname(list))
    }

    /// A list of AS numbers.
    ///
    /// # Errors
    /// The first item that is none.
    pub fn asn<'t>(items: impl IntoIterator<Item = &'t str>) -> Result<Self, ListError> {
        let number = |item: &str| {
            item.parse()
                .map_err(|_not_a_number| ListError::Asn(item.into()))
        };
        items
            .into_iter()
            .map(number)
            .collect::<Result<_, _>>()
            .map(Self::Asn)
    }

    /// The addresses it holds, as ranges with both ends included; none for another kind of list.
    pub(crate) fn ip_ranges(&self) -> &[(IpAddr, IpAddr)] {
        match self {
            Self::Ip(IpList(ranges)) => ranges,
            Self::Hostname(_) | Self::Asn(_) => &[],
        }
    }

    /// What it is called in messages.
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Self::Ip(_) => "IP list",
            Self::Hostname(_) => "hostname list",
            Self::Asn(_) => "ASN list",
        }
    }

    /// The kind of value that can be looked up.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Ip(_) => Kind::Ip,
            Self::Hostname(_) => Kind::String,
            Self::Asn(_) => Kind::Integer,
        }
    }

    /// Whether it has that address.
    pub(crate) fn has_ip(&self, address: IpAddr) -> bool {
        let Self::Ip(IpList(ranges)) = self else {
            return false;
        };
        let after = ranges.partition_point(|(first, _)| *first <= address);
        let range = after.checked_sub(1).and_then(|at| ranges.get(at));
        range.is_some_and(|(first, last)| first.is_ipv4() == address.is_ipv4() && address <= *last)
    }

    /// Whether it has that host name, in any case.
    pub(crate) fn has_hostname(&self, name: &[u8]) -> bool {
        let Self::Hostname(list) = self else {
            return false;
        };
        // Names longer than a host name may be are in no list.
        let mut lower = [0; vocabulary::hostname::NAME_BYTES_MAX];
        let Some(lower) = lower.get_mut(..name.len()) else {
            return false;
        };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let Ok(mut name) = std::str::from_utf8(lower) else {
            return false;
        };
        if list.exact.contains(name) {
            return true;
        }
        while let Some((_, parent)) = name.split_once('.') {
            if list.below.contains(parent) {
                return true;
            }
            name = parent;
        }
        false
    }

    /// Whether it has that AS number.
    pub(crate) fn has_int(&self, number: i64) -> bool {
        let Self::Asn(numbers) = self else {
            return false;
        };
        u32::try_from(number).is_ok_and(|number| numbers.contains(&number))
    }
}

/// Sorts ranges and joins those that overlap.
fn merge(mut ranges: Vec<(IpAddr, IpAddr)>) -> Box<[(IpAddr, IpAddr)]> {
    ranges.sort_unstable();
    let mut merged: Vec<(IpAddr, IpAddr)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(previous) if previous.1.is_ipv4() == first.is_ipv4() && first <= previous.1 => {
                previous.1 = previous.1.max(last);
            }
            _ => merged.push((first, last)),
        }
    }
    merged.into()
}

/// Lists by name.
///
/// ```
/// use rules::{List, Lists, check_with};
///
/// let mut lists = Lists::default();
/// lists.insert("office", List::ip(["203.0.113.0/24", "2001:db8::/32"])?)?;
/// assert!(check_with("ip.src in $office", &lists).is_ok());
///
/// let error = check_with("ip.src in $offce", &lists).unwrap_err();
/// assert!(error.to_string().contains("did you mean `$office`?"));
/// # Ok::<(), rules::ListError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Lists(BTreeMap<Box<str>, Arc<List>>);

impl Lists {
    /// Adds or replaces a list.
    ///
    /// # Errors
    /// The name cannot be written in an expression.
    pub fn insert(&mut self, name: &str, list: impl Into<Arc<List>>) -> Result<(), ListError> {
        if !is_list_name(name) {
            return Err(ListError::Name(name.into()));
        }
        self.0.insert(name.into(), list.into());
        Ok(())
    }

    /// The list of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<List>> {
        self.0.get(name)
    }

    /// Whether these are the very same lists.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self
                .0
                .iter()
                .zip(&other.0)
                .all(|(ours, theirs)| ours.0 == theirs.0 && Arc::ptr_eq(ours.1, theirs.1))
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|name| &**name)
    }
}

/// Whether a list can have this name.
#[must_use]
pub fn is_list_name(name: &str) -> bool {
    (1..=50).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let list = List::ip([
            "192.0.2.0/24",
            "192.0.2.9",
            "198.51.100.7",
            "2001:db8::/32",
            "2001:db9::1",
        ])
        .unwrap();
        for (address, expected) in [
            ("192.0.2.0", true),
            ("192.0.2.255", true),
            ("192.0.3.0", false),
            ("198.51.100.7", true),
            ("198.51.100.8", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", true),
            ("2001:db9::2", false),
            ("::1", false),
            ("0.0.0.0", false),
        ] {
            assert_eq!(list.has_ip(address.parse().unwrap()), expected, "{address}");
        }
        for item in [
            "10.0.0.0/7",
            "10.0.0.1/24",
            "2001:db8::/65",
            "x",
            "10.0.0.0/33",
            "",
        ] {
            assert!(List::ip([item]).is_err(), "{item}");
        }
    }

    #[test]
    fn hostnames() {
        let list = List::hostname(["A.example.com", "*.example.org"]).unwrap();
        for (name, expected) in [
            ("a.example.com", true),
            ("A.EXAMPLE.COM", true),
            ("b.example.com", false),
            ("x.example.org", true),
            ("y.x.example.org", true),
            ("example.org", false),
            ("", false),
        ] {
            assert_eq!(list.has_hostname(name.as_bytes()), expected, "{name}");
        }
        assert!(!list.has_hostname(&[b'a'; 1000]));
        assert!(!list.has_hostname(b"\xff"));
    }

    #[test]
    fn numbers_and_names() {
        let list = List::asn(["64496", "0"]).unwrap();
        assert!(list.has_int(64496) && !list.has_int(64497) && !list.has_int(-1));
        assert!(List::asn(["-1"]).is_err());
        let mut lists = Lists::default();
        assert!(lists.insert("office_1", list.clone()).is_ok());
        for name in ["", "Office", "a.b", "a-b"] {
            assert!(lists.insert(name, list.clone()).is_err(), "{name}");
        }
    }
}
