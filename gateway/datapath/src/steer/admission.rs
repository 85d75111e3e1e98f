//! Admission: what the kernel programs turn away before there is a socket, and the trace of their
//! decisions.
//!
//! Owns the settings of admission, the blocked address blocks and the trace, both what the
//! controller wants and how it is written into the kernel's maps. Everything is off until it is
//! set.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, MapError, RingBuf};
use aya::programs::{TestRun as _, TestRunOptions};
use aya::{Ebpf, EbpfError};
use ebpf::hello::host_key;
use ebpf::packet::Flow;
use ebpf::{
    Admission, BLOCK_ZONE_BITS, BLOCKS_MAX, BlockKey, Decided, MAP_ADMISSION, MAP_BLOCKS,
    MAP_TRACE, Traced,
};

use super::controller::{Controller, SteeringState};
use super::ownership::{ends, words};
use super::{Steering, Unavailable, xdp};
use crate::clock;
use crate::limits::STEER_TRACE_LEFT;
use crate::observe::TracedConnection;
use config::Tunables;
use rules::Network;
use vocabulary::hostname::HostName;

/// Nanoseconds of a second.
const SECOND_NS: u64 = 1_000_000_000;

/// An address block of a zone: its number, an address, and the bits of it that count.
pub type Block = (u32, IpAddr, u8);

/// The settings that the configuration asks for. Budgets save up one second.
#[must_use]
pub fn settings(tunables: &Tunables, trace_every: u32) -> Admission {
    let cost = |rate: usize| SECOND_NS.checked_div(rate as u64).unwrap_or(0);
    let bits = |bits: usize| u32::try_from(bits).unwrap_or(u32::MAX);
    Admission {
        host_cost_ns: cost(tunables.steer_host_rate),
        host_burst_ns: SECOND_NS,
        source_cost_ns: cost(tunables.steer_source_rate),
        source_burst_ns: SECOND_NS,
        source_bits_ipv4: bits(tunables.steer_source_ipv4_bits),
        source_bits_ipv6: bits(tunables.steer_source_ipv6_bits),
        unknown_dropped: u32::from(tunables.steer_drop_unknown),
        blocks: u32::from(tunables.steer_drop_blocked),
        trace_every,
        reserved: 0,
    }
}

impl Controller {
    /// Whether the kernel steers, and so can turn clients away.
    #[must_use]
    pub fn admits(&self) -> bool {
        self.mode == "kernel"
    }

    /// Turns away what the configuration says. A trace that nobody asks for any more is over: who was
    /// interrupted does not say so.
    pub fn set_admission(&self, tunables: &Tunables) {
        let mut state = self.lock();
        if state.trace_is_left(clock::now()) {
            state.trace_every = 0;
            if let Some(kernel) = &mut state.kernel {
                // The next trace does not begin with these.
                drop(kernel.steering().traced());
            }
        }
        let mut wanted = settings(tunables, state.trace_every);
        // With hosts missing in the table, unknown would mean nothing.
        wanted.unknown_dropped &= u32::from(!state.complained);
        if state.admission == Some(wanted) {
            return;
        }
        let Some(kernel) = &mut state.kernel else {
            return;
        };
        match kernel.steering().set_admission(wanted) {
            Ok(()) => state.admission = Some(wanted),
            Err(error) => tracing::warn!(%error, "the kernel turns away what it did before"),
        }
    }

    /// Turns away these networks, by zone, from now on.
    pub fn set_blocks(&self, networks: &BTreeMap<String, Vec<Network>>) {
        let mut state = self.lock();
        let mut after = BTreeSet::new();
        for (zone, networks) in networks {
            let zone = state.zone_number(zone);
            after.extend(
                networks
                    .iter()
                    .map(|(address, bits)| (zone, *address, *bits)),
            );
        }
        let before = std::mem::take(&mut state.blocks);
        if let Some(kernel) = &mut state.kernel {
            match kernel.steering().set_blocks(&before, &after) {
                Ok(0) => {
                    tracing::info!(networks = after.len(), "the kernel drops blocked addresses")
                }
                Ok(left_out) => {
                    tracing::warn!(
                        left_out,
                        "the kernel has no room for all blocked addresses: rules block the others"
                    );
                }
                Err(error) => tracing::warn!(%error, "the kernel does not take blocked addresses"),
            }
        }
        state.blocks = after;
    }

    /// Decisions since the last call, one of `every`; 0 ends the tracing. `None` when the kernel
    /// does not steer.
    pub fn traced(&self, every: u32) -> Option<Vec<TracedConnection>> {
        let mut state = self.lock();
        let SteeringState {
            kernel,
            admission,
            hosts,
            trace_every,
            trace_asked,
            ..
        } = &mut *state;
        let steering = kernel.as_mut()?.steering();
        *trace_asked = Some(clock::now());
        if *trace_every != every {
            *trace_every = every;
            let mut wanted = admission.unwrap_or_default();
            wanted.trace_every = every;
            if steering.set_admission(wanted).is_ok() {
                *admission = Some(wanted);
            }
        }
        let events = steering.traced().ok()?;
        if events.is_empty() {
            return Some(Vec::new());
        }
        let names: HashMap<u64, &HostName> = hosts
            .iter()
            .map(|host| (host_key(host.as_str()), host))
            .collect();
        Some(events.iter().map(|event| named(event, &names)).collect())
    }
}

impl SteeringState {
    /// Whether a trace goes on that nobody has asked for in a while.
    fn trace_is_left(&self, now: Instant) -> bool {
        let is_left = |asked| now.saturating_duration_since(asked) > STEER_TRACE_LEFT;
        self.trace_every > 0 && self.trace_asked.is_none_or(is_left)
    }
}

/// An event in the names of this gateway.
fn named(event: &Traced, names: &HashMap<u64, &HostName>) -> TracedConnection {
    let host = names
        .get(&event.host)
        .or_else(|| names.get(&event.wildcard));
    let decided = usize::try_from(event.decided).ok();
    let decided = decided.and_then(|number| Decided::ALL.get(number).copied());
    let decided = decided.unwrap_or(Decided::ParseFailure);
    let (client, local) = ends(&event.flow);
    TracedConnection {
        client,
        local,
        host: host.map(|host| (*host).clone()),
        decided,
        worker: (decided == Decided::Steered).then_some(event.worker),
        dropped: event.dropped != 0,
    }
}

impl Steering {
    /// Changes what is turned away from now on.
    ///
    /// # Errors
    /// [`Unavailable::Refused`].
    pub fn set_admission(&mut self, wanted: Admission) -> Result<(), Unavailable> {
        let map = map(&mut self.kernel, MAP_ADMISSION)?;
        let set = Array::<_, Admission>::try_from(map).and_then(|mut map| map.set(0, wanted, 0));
        Ok(set.map_err(EbpfError::from)?)
    }

    /// Makes the address blocks `after` out of `before`. Answers how many found no room.
    ///
    /// # Errors
    /// [`Unavailable::Refused`].
    pub fn set_blocks(
        &mut self,
        before: &BTreeSet<Block>,
        after: &BTreeSet<Block>,
    ) -> Result<usize, Unavailable> {
        let map = map(&mut self.kernel, MAP_BLOCKS)?;
        let mut trie = LpmTrie::<_, BlockKey, u32>::try_from(map).map_err(EbpfError::from)?;
        for block in before.difference(after) {
            // One that had found no room is not there.
            trie.remove(&key(block)).ok();
        }
        let mut left_out = 0;
        for (count, block) in (1..).zip(after) {
            let inserted = count <= BLOCKS_MAX && trie.insert(&key(block), 1_u32, 0).is_ok();
            left_out += usize::from(!inserted);
        }
        Ok(left_out)
    }

    /// Decisions that were traced since the last call.
    ///
    /// # Errors
    /// [`Unavailable::Refused`].
    pub fn traced(&mut self) -> Result<Vec<Traced>, Unavailable> {
        if self.trace.is_none() {
            let map = self
                .kernel
                .take_map(MAP_TRACE)
                .ok_or(MapError::ElementNotFound);
            let ring = map.and_then(RingBuf::try_from).map_err(EbpfError::from)?;
            self.trace = Some(ring);
        }
        let mut all = Vec::new();
        while let Some(event) = self.trace.as_mut().and_then(RingBuf::next) {
            all.extend(read(&event));
        }
        Ok(all)
    }

    /// Runs the frame program on a frame that no network brought, `repeat` times
    /// (`BPF_PROG_TEST_RUN`). Answers its verdict (`XDP_PASS` is 2) and how long one run took on
    /// average. For figures and tests.
    ///
    /// # Errors
    /// [`Unavailable::Refused`].
    pub fn try_frame(&mut self, frame: &[u8], repeat: u32) -> Result<(u32, Duration), Unavailable> {
        let options = TestRunOptions {
            data_in: Some(frame),
            repeat,
            ..TestRunOptions::new()
        };
        let result = xdp(&mut self.kernel)?.test_run(options);
        let result = result.map_err(EbpfError::from)?;
        Ok((result.return_value, result.duration))
    }
}

impl Steering {
    /// As [`Self::try_frame`], once, with the frame as the program leaves it.
    ///
    /// # Errors
    /// [`Unavailable::Refused`].
    pub fn try_answer(&mut self, frame: &[u8]) -> Result<(u32, Vec<u8>), Unavailable> {
        let mut left = vec![0; 2_048];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut left),
            repeat: 1,
            ..TestRunOptions::new()
        };
        let result = xdp(&mut self.kernel)?.test_run(options);
        let result = result.map_err(EbpfError::from)?;
        left.truncate(result.data_size_out as usize);
        Ok((result.return_value, left))
    }
}

fn map<'k>(kernel: &'k mut Ebpf, name: &str) -> Result<&'k mut aya::maps::Map, Unavailable> {
    let map = kernel.map_mut(name).ok_or(MapError::ElementNotFound);
    Ok(map.map_err(EbpfError::from)?)
}

fn key((zone, address, bits): &Block) -> Key<BlockKey> {
    // An IPv4 network is the part of IPv6's space that maps it.
    let before = if address.is_ipv4() { 96 } else { 0 };
    let key = BlockKey {
        zone_be: zone.to_be(),
        address_be: words(*address),
    };
    Key::new(BLOCK_ZONE_BITS + before + u32::from(*bits), key)
}

/// One event as it lies in the ring: the fields in order, in this machine's byte order.
fn read(bytes: &[u8]) -> Option<Traced> {
    let (host, rest) = bytes.split_first_chunk::<8>()?;
    let (wildcard, rest) = rest.split_first_chunk::<8>()?;
    let mut rest = rest;
    let mut word = || {
        let (word, tail) = rest.split_first_chunk::<4>()?;
        rest = tail;
        Some(u32::from_ne_bytes(*word))
    };
    let source_be = [word()?, word()?, word()?, word()?];
    let destination_be = [word()?, word()?, word()?, word()?];
    let ports = word()?.to_ne_bytes();
    let [a, b, c, d] = ports;
    Some(Traced {
        host: u64::from_ne_bytes(*host),
        wildcard: u64::from_ne_bytes(*wildcard),
        flow: Flow {
            source_be,
            destination_be,
            source_port_be: u16::from_ne_bytes([a, b]),
            destination_port_be: u16::from_ne_bytes([c, d]),
        },
        decided: word()?,
        worker: word()?,
        dropped: word()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_that_nobody_asks_for_any_more_is_over() {
        let asked = clock::now();
        for (trace_every, trace_asked, after, is_left) in [
            (0, None, Duration::ZERO, false),
            (0, Some(asked), STEER_TRACE_LEFT * 2, false),
            (1, Some(asked), STEER_TRACE_LEFT, false),
            (
                1,
                Some(asked),
                STEER_TRACE_LEFT + Duration::from_millis(1),
                true,
            ),
            (100, None, Duration::ZERO, true),
        ] {
            let mut state = SteeringState::default();
            state.trace_every = trace_every;
            state.trace_asked = trace_asked;
            assert_eq!(
                state.trace_is_left(asked + after),
                is_left,
                "{trace_every} {after:?}"
            );
        }
    }
}
