//! SYNs answered by the frame program: what it must know to answer as the stack would, and where it
//! may.
//!
//! The stack reads window scale, SACK and timestamps out of a cookie's acknowledgement and works
//! its own part out again from sysctls (`tcp_select_initial_window`); the program gets the same
//! numbers from here, read once at the start. After a change of those sysctls the gateway has to be
//! restarted.

use std::fs;
use std::net::IpAddr;

use aya::EbpfError;
use aya::maps::{Array, HashMap, MapError};
use ebpf::{ADDRESSES_MAX, Answering, MAP_ADDRESSES, MAP_ANSWERING};

use super::ownership::words;
use super::{Attached, Steering, Unavailable, interfaces};

/// Bytes of IPv4 and TCP header, and of IPv6 and TCP header: what an MTU has beside the segment.
const HEADERS_IPV4: u32 = 40;
const HEADERS_IPV6: u32 = 60;
/// Ethernet's, when the interface does not say.
const MTU: u32 = 1_500;
/// A first window of 44 segments of 1,460 bytes, as the stack's with its default buffers.
const WINDOW: u32 = 64_240;
/// The largest buffer by default (`tcp_rmem`).
const BUFFER: u32 = 6 * 1024 * 1024;
/// RFC 7323 §2.3.
const SCALE_MAX: u32 = 14;

/// Why SYNs stay with the stack on these interfaces, if they must.
pub(super) fn obstacle(attached: &[(String, Attached)]) -> Option<String> {
    let vlans = fs::read_to_string("/proc/thread-self/net/vlan/config").unwrap_or_default();
    attached.iter().find_map(|(name, place)| {
        if *place == Attached::Generic {
            return Some(format!(
                "the driver of `{name}` does not run XDP programs, and the generic hook cannot answer"
            ));
        }
        carries_vlans(&vlans, name).then(|| {
            format!(
                "`{name}` carries VLANs, whose tags the driver may have taken away: an answer would go out without"
            )
        })
    })
}

/// Whether `/proc/net/vlan/config` names the interface as one below a VLAN's: "eth0.5 | 5 | eth0".
fn carries_vlans(config: &str, name: &str) -> bool {
    let parents = config.lines().filter_map(|line| line.rsplit('|').next());
    parents.map(str::trim).any(|parent| parent == name)
}

/// What the kernel's settings say the answers must be.
pub(super) fn answering(attached: &[(String, Attached)]) -> Answering {
    let mtus = attached
        .iter()
        .filter_map(|(name, _)| interfaces::mtu(name));
    let mtu = mtus.min().unwrap_or(MTU);
    let setting = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/net/{name}")).ok()?;
        let numbers = text.split_whitespace().map(str::parse);
        numbers.collect::<Result<Vec<u32>, _>>().ok()
    };
    let is_on = |name: &str| setting(name).is_none_or(|numbers| numbers != [0]);
    let buffers = setting("ipv4/tcp_rmem").unwrap_or_default();
    let largest = buffers.get(2).copied().unwrap_or(BUFFER);
    let limit = setting("core/rmem_max").and_then(|numbers| numbers.first().copied());
    let first = buffers.get(1).map_or(WINDOW, |usual| usual / 2);
    Answering {
        on: 1,
        options: Answering::wanted(
            is_on("ipv4/tcp_window_scaling"),
            is_on("ipv4/tcp_sack"),
            is_on("ipv4/tcp_timestamps"),
        ),
        window_scale: scale(largest.max(limit.unwrap_or(0))),
        window: first.min(WINDOW),
        mss_ipv4: mtu.saturating_sub(HEADERS_IPV4),
        mss_ipv6: mtu.saturating_sub(HEADERS_IPV6),
    }
}

/// The scale that lets a window of so many bytes be told.
fn scale(bytes: u32) -> u32 {
    bytes
        .checked_ilog2()
        .unwrap_or(0)
        .saturating_sub(15)
        .min(SCALE_MAX)
}

impl Steering {
    /// Answers SYNs to these addresses of this machine's from now on.
    ///
    /// # Errors
    /// [`Unavailable::Refused`].
    pub fn answer(
        &mut self,
        answering: Answering,
        addresses: &[IpAddr],
    ) -> Result<(), Unavailable> {
        let missing = || EbpfError::from(MapError::ElementNotFound);
        let map = self.kernel.map_mut(MAP_ADDRESSES).ok_or_else(missing)?;
        let mut known = HashMap::<_, [u32; 4], u32>::try_from(map).map_err(EbpfError::from)?;
        for address in addresses.iter().take(ADDRESSES_MAX as usize) {
            known
                .insert(words(*address), 1, 0)
                .map_err(EbpfError::from)?;
        }
        let map = self.kernel.map_mut(MAP_ANSWERING).ok_or_else(missing)?;
        let set = Array::<_, Answering>::try_from(map).and_then(|mut map| map.set(0, answering, 0));
        Ok(set.map_err(EbpfError::from)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_the_kernels() {
        for (bytes, wanted) in [
            (0, 0),
            (65_535, 0),
            (65_536, 1),
            (6_291_456, 7),
            (33_554_432, 10),
            (u32::MAX, 14),
        ] {
            assert_eq!(scale(bytes), wanted, "{bytes}");
        }
    }

    #[test]
    fn an_interface_below_vlans_is_known() {
        let config = "VLAN Dev name    | VLAN ID\nName-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\n\
                      eth0.5         | 5  | eth0\n";
        for (name, wanted) in [("eth0", true), ("eth0.5", false), ("eth", false)] {
            assert_eq!(carries_vlans(config, name), wanted, "{name}");
        }
        let generic = [("eth0".to_owned(), Attached::Generic)];
        assert!(obstacle(&generic).unwrap().contains("generic"));
    }
}
