//! What the kernel programs and the gateway must agree on: map names, map values, the ABI number,
//! and the parsers both run.
//!
//! The crate is `no_std` and compiled twice: for the host as a library of the gateway, and for
//! `bpfel-unknown-none` as part of the programs in `main.rs`. It deliberately does no I/O, loads
//! nothing and decides nothing: loading is `datapath::steer`, and the gateway never believes the
//! kernel about a name.
//!
//! Everything that crosses the border is `repr(C)`, made of integers only, with its size asserted
//! here.

#![cfg_attr(not(test), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod counts;
pub mod cursor;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod hello;
pub mod packet;
mod pending;
pub mod reply;

pub use counts::{Counters, HostCounts};
use packet::Family;
pub use pending::{
    HELD_SECONDS_MAX, PART_TAIL_SIZE, PARTS_MAX, Part, begun, held, is_begun, is_held,
    is_held_still, is_next, is_noted_elsewhere, note, noted,
};

/// Moves whenever a map, its key, its value or the meaning of one of them changes.
///
/// The object carries it (see [`ABI_MARK`]); a gateway loads only an object of its own number.
pub const ABI_VERSION: u32 = 11;

/// What stands before the number in [`ABI_MARK`].
pub const ABI_MARK_PREFIX: [u8; 20] = *b"postern-steer-abi-v=";

/// Placed in the object file by the program and looked for by the loader.
///
/// A plain byte string is found without an ELF parser and cannot be dropped by a linker that keeps
/// the section.
pub const ABI_MARK: [u8; 24] = abi_mark(ABI_VERSION);

/// The XDP program's name in the object.
pub const PROGRAM_XDP: &str = "postern_xdp";

/// The socket lookup program's name in the object.
pub const PROGRAM_PLACE: &str = "postern_place";

/// The map of [`Counters`]: per CPU, one element.
pub const MAP_COUNTERS: &str = "POSTERN_COUNTERS";

/// Array from port to listen number plus one; 0 for a port that is not ours. An array, because
/// every packet asks.
pub const MAP_PORTS: &str = "POSTERN_PORTS";

/// Array from [`listening_index`] to [`Listening`].
pub const MAP_LISTENING: &str = "POSTERN_LISTENING";

/// Hash from [`hello::host_key`] to [`Owners`].
pub const MAP_HOSTS: &str = "POSTERN_HOSTS";

/// Array of [`HostCounts`], at the places that [`Owners::counted_at`] names.
pub const MAP_HOST_COUNTS: &str = "POSTERN_HOST_COUNTS";

/// Sockets: from [`listener_index`] to the listener.
pub const MAP_LISTENERS: &str = "POSTERN_LISTENERS";

/// Array that user space has in its own memory: at the place of [`placed_mark`] the mark of a
/// connection that was given to a noted listener, until its worker takes the mark away.
pub const MAP_PLACED: &str = "POSTERN_PLACED";

/// Array of one [`Admission`].
pub const MAP_ADMISSION: &str = "POSTERN_ADMISSION";

/// Budgets of hosts: hash from [`hello::host_key`] to the time at which the budget is whole again.
pub const MAP_HOST_BUDGETS: &str = "POSTERN_HOST_BUDGETS";

/// Budgets of clients: hash from [`Admission::source_prefix`] to the same.
pub const MAP_SOURCE_BUDGETS: &str = "POSTERN_SOURCE_BUDGETS";

/// Address blocks: trie of [`BlockKey`], whose first [`BLOCK_ZONE_BITS`] bits are the zone.
pub const MAP_BLOCKS: &str = "POSTERN_BLOCKS";

/// Ring buffer of [`Traced`].
pub const MAP_TRACE: &str = "POSTERN_TRACE";

/// Array of one [`Answering`].
pub const MAP_ANSWERING: &str = "POSTERN_ANSWERING";

/// Hash of this machine's addresses, as in [`packet::Flow`]: only SYNs to these are answered in the
/// program.
pub const MAP_ADDRESSES: &str = "POSTERN_ADDRESSES";

/// Elements of [`MAP_ADDRESSES`]. SYNs to addresses beyond it are answered by the stack.
pub const ADDRESSES_MAX: u32 = 1_024;

/// Elements of [`MAP_PORTS`]: all ports there are.
pub const PORTS_MAX: u32 = 1 << 16;

/// Hosts that can be steered. A host beyond it is served by whichever worker gets it. About 80
/// bytes each, when used.
pub const HOSTS_MAX: u32 = 1 << 16;

/// Elements of [`MAP_HOST_COUNTS`]: one for each host, one for connections without a name, and the
/// first, which counts for hosts that have none of their own. 1.5 MB.
pub const HOST_COUNTS_MAX: u32 = HOSTS_MAX + 2;

/// Workers that can be steered to: more than the threads of any machine this is meant for.
pub const WORKERS_MAX: u32 = 512;

/// Ports that can be listened on with steering.
pub const LISTENS_MAX: u32 = 8;

/// Elements of [`MAP_LISTENERS`]: a listener per worker, port and family.
pub const LISTENERS_MAX: u32 = WORKERS_MAX * LISTENS_MAX * 2;

/// Notes that wait for their socket lookup, which follows within microseconds. Two at the same
/// place displace each other, and the first connection is handed over instead. 512 KB.
pub const NOTES_MAX: u32 = PLACED_MAX;

/// Connections whose bare ACK is remembered as held back until their first data: at 20,000 new
/// connections a second, three seconds' worth. One that is forgotten merely loses its protection
/// against reordering. 512 KB.
pub const HELD_MAX: u32 = 1 << 16;

/// Elements of [`MAP_PLACED`]: marks live until the connection is accepted, which takes
/// milliseconds at worst.
pub const PLACED_MAX: u32 = HELD_MAX;

/// Hosts and client prefixes whose budgets are remembered at a time; the oldest are forgotten,
/// which gives them a whole budget again.
pub const BUDGETS_MAX: u32 = 1 << 16;

/// Address blocks of all zones. Rules beyond it are enforced by the rules alone.
pub const BLOCKS_MAX: u32 = 1 << 17;

/// Bits of a block's prefix that are taken by the zone.
pub const BLOCK_ZONE_BITS: u32 = 32;

/// Bytes of the trace's ring: about a thousand decisions wait for the reader; more are not told.
pub const TRACE_SIZE: u32 = 64 * 1024;

/// Workers that own one host, as slots: see [`Owners`].
pub const OWNERS_MAX: usize = 8;

/// Map flag of the kernel's `bpf.h`: memory for elements as they come, and a grace period before it
/// is reused.
pub const BPF_F_NO_PREALLOC: u32 = 1;

/// Map flag: user space may have the array in its memory.
pub const BPF_F_MMAPABLE: u32 = 1 << 10;

const _: () = assert!(HELD_MAX.is_power_of_two() && OWNERS_MAX.is_power_of_two());

/// The workers that own a host: each new connection goes to the slot its hash says.
///
/// All slots are filled; a host with fewer owners names them repeatedly.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Owners {
    /// Worker numbers, below [`WORKERS_MAX`].
    pub workers: [u16; OWNERS_MAX],
    /// The zone whose address blocks hold for the host; 0 for none.
    pub zone: u32,
    /// Where in [`MAP_HOST_COUNTS`] the host's connections are counted; 0 where they are not.
    pub counted_at: u32,
}

const _: () = assert!(size_of::<Owners>() == 24);

impl Owners {
    /// These workers, in turn; `None` for none, or for one that no listener can belong to.
    #[must_use]
    pub fn of(workers: &[u16]) -> Option<Self> {
        let known = workers
            .iter()
            .all(|worker| u32::from(*worker) < WORKERS_MAX);
        let mut turn = workers.iter().copied().cycle();
        let mut slots = [0; OWNERS_MAX];
        for slot in &mut slots {
            *slot = turn.next()?;
        }
        known.then_some(Self {
            workers: slots,
            zone: 0,
            counted_at: 0,
        })
    }

    /// The same in a zone.
    #[must_use]
    pub const fn in_zone(self, zone: u32) -> Self {
        Self { zone, ..self }
    }

    /// The same, counted at this place.
    #[must_use]
    pub const fn counted_at(self, counted_at: u32) -> Self {
        Self { counted_at, ..self }
    }

    /// The owner that a connection with this [`packet::Flow::hash`] goes to.
    #[inline(always)]
    #[must_use]
    pub const fn pick(&self, hash: u64) -> u16 {
        let [a, b, c, d, e, f, g, h] = self.workers;
        match hash % OWNERS_MAX as u64 {
            0 => a,
            1 => b,
            2 => c,
            3 => d,
            4 => e,
            5 => f,
            6 => g,
            _ => h,
        }
    }
}

/// What is turned away before there is a socket. All zeros turn nothing away.
///
/// Only connections whose cookie proves the client's address are looked at, and a segment that is
/// turned away comes again: a client that is over its budget for a moment waits, it is not refused.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Admission {
    /// Nanoseconds of budget that a new connection costs its host; 0 for no budget.
    pub host_cost_ns: u64,
    /// Nanoseconds of budget that a host saves up at most.
    pub host_burst_ns: u64,
    /// The same for clients of one prefix.
    pub source_cost_ns: u64,
    /// The same for clients of one prefix.
    pub source_burst_ns: u64,
    /// Bits of an IPv4 address that make a prefix, at most 32.
    pub source_bits_ipv4: u32,
    /// Bits of an IPv6 address that make a prefix, at most 64.
    pub source_bits_ipv6: u32,
    /// 1: ClientHellos for hosts without an owner are dropped; 0: they pass.
    pub unknown_dropped: u32,
    /// 1: addresses in [`MAP_BLOCKS`] are dropped; 0: the map is not read.
    pub blocks: u32,
    /// Of how many decisions one is traced, by chance; 0 for none.
    pub trace_every: u32,
    /// Keeps the size a multiple of eight.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Admission>() == 56);

impl Admission {
    /// What a client shares its budget by.
    #[inline(always)]
    #[must_use]
    pub const fn source_prefix(&self, flow: &packet::Flow, family: Family) -> u64 {
        let [a, b, _, d] = flow.source_be;
        match family {
            Family::V4 => {
                // Apart from every IPv6 prefix: no address begins with 0x0000_0001.
                1 << 32 | kept(u32::from_be(d) as u64, self.source_bits_ipv4, 32)
            }
            Family::V6 => {
                let upper = (u32::from_be(a) as u64) << 32 | u32::from_be(b) as u64;
                kept(upper, self.source_bits_ipv6, 64)
            }
        }
    }
}

/// The first `bits` of a number of `width` bits, the others zero.
#[inline(always)]
const fn kept(number: u64, bits: u32, width: u32) -> u64 {
    if bits == 0 {
        return 0;
    }
    if bits >= width {
        return number;
    }
    let cut = (width - bits) & 63;
    number >> cut << cut
}

/// A budget as the time at which it will be whole again (the generic cell rate algorithm): one word
/// says it all.
///
/// `Some` is what to write back: there was enough left for one more. Times in nanoseconds.
#[inline(always)]
#[must_use]
pub const fn spend(whole_at: u64, now: u64, cost: u64, burst: u64) -> Option<u64> {
    let whole_at = if whole_at > now { whole_at } else { now };
    if whole_at - now > burst {
        return None;
    }
    Some(whole_at + cost)
}

/// How SYNs are answered in the program. All zeros leave them to the stack.
///
/// The stack, which reads the cookie, works some of this out again: it must come to the same.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Answering {
    /// 1: SYNs are answered; 0: they pass.
    pub on: u32,
    /// Options that the stack lets be used: [`Self::wanted`].
    pub options: u32,
    /// Our window scale, 0 to 14.
    pub window_scale: u32,
    /// Our first window in bytes, at most 65,535.
    pub window: u32,
    /// Our maximum segment size for IPv4.
    pub mss_ipv4: u32,
    /// Our maximum segment size for IPv6.
    pub mss_ipv6: u32,
}

const _: () = assert!(size_of::<Answering>() == 24);

/// What stands behind the prefix length in a key of [`MAP_BLOCKS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BlockKey {
    /// [`Owners::zone`], in network order, because bits are compared from the first byte on.
    pub zone_be: u32,
    /// As in [`packet::Flow`].
    pub address_be: [u32; 4],
}

const _: () = assert!(size_of::<BlockKey>() == 20);

/// What was decided about a connection's first data.
#[repr(u32)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decided {
    /// It goes to the owner.
    Steered = 0,
    /// It passes: it names no host, and no host answers for those.
    NoSni = 1,
    /// The host has no owner.
    Unknown = 2,
    /// The name is not in this segment, or spread over records.
    Split = 3,
    /// It is no ClientHello.
    ParseFailure = 4,
    /// The cookie is not ours.
    BadCookie = 5,
    /// The host has used up its budget.
    HostBudget = 6,
    /// The client's prefix has used up its budget.
    SourceBudget = 7,
    /// The zone blocks the client's address.
    Blocked = 8,
}

impl Decided {
    /// All, at the place of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Steered,
        Self::NoSni,
        Self::Unknown,
        Self::Split,
        Self::ParseFailure,
        Self::BadCookie,
        Self::HostBudget,
        Self::SourceBudget,
        Self::Blocked,
    ];

    /// The word in metrics and in traces.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Steered => "steered",
            Self::NoSni => "no_sni",
            Self::Unknown => "unknown",
            Self::Split => "split",
            Self::ParseFailure => "parse_failure",
            Self::BadCookie => "bad_cookie",
            Self::HostBudget => "host_budget",
            Self::SourceBudget => "source_budget",
            Self::Blocked => "blocked",
        }
    }
}

/// One decision, as it happened.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Traced {
    /// [`hello::host_key`] of the name, when there is one; else 0.
    pub host: u64,
    /// The key of the wildcard that covers it; 0 when the name itself was found, or nothing can
    /// cover it.
    pub wildcard: u64,
    /// The connection.
    pub flow: packet::Flow,
    /// A number of [`Decided`].
    pub decided: u32,
    /// The worker, when it was steered.
    pub worker: u32,
    /// 1 when the segment was dropped.
    pub dropped: u32,
}

const _: () = assert!(size_of::<Traced>() == 64);

/// Where a steered port is listened on, by family.
///
/// A port says whose connections ours are only together with the address: another program may
/// listen on the same port of another address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Listening {
    /// The address, as in [`packet::Flow`]; meaningless unless `kind` is [`Self::ONE`].
    pub address_be: [u32; 4],
    /// [`Self::NOWHERE`], [`Self::EVERYWHERE`] or [`Self::ONE`].
    pub kind: u32,
}

const _: () = assert!(size_of::<Listening>() == 20);

impl Listening {
    /// Not in this family.
    pub const NOWHERE: u32 = 0;
    /// On all addresses.
    pub const EVERYWHERE: u32 = 1;
    /// On one address.
    pub const ONE: u32 = 2;

    /// Whether connections to this address are ours.
    #[inline(always)]
    #[must_use]
    pub fn covers(&self, address_be: &[u32; 4]) -> bool {
        self.kind == Self::EVERYWHERE || self.kind == Self::ONE && self.address_be == *address_be
    }
}

/// Where in [`MAP_LISTENING`] the `listen`-th port of this family is.
#[inline(always)]
#[must_use]
pub const fn listening_index(listen: u32, family: Family) -> u32 {
    listen * 2 + family.number()
}

/// Where in [`MAP_PLACED`] (and among notes) a connection's mark is, and the mark: never 0.
#[inline(always)]
#[must_use]
pub const fn placed_mark(flow: &packet::Flow) -> (u32, u32) {
    let hash = flow.hash();
    let place = (hash & 0xffff_ffff) as u32 % PLACED_MAX;
    // The lowest bit keeps it apart from an empty place.
    (place, (hash >> 32) as u32 | 1)
}

/// Where in [`MAP_LISTENERS`] the listener of `worker` for the `listen`-th port and this family is.
#[inline(always)]
#[must_use]
pub const fn listener_index(worker: u32, listen: u32, family: Family) -> u32 {
    (worker * LISTENS_MAX + listen) * 2 + family.number()
}

const _: () =
    assert!(listener_index(WORKERS_MAX - 1, LISTENS_MAX - 1, Family::V6) == LISTENERS_MAX - 1);

/// The claims `aya::Pod` asks for, beside the types they are about.
#[cfg(not(target_arch = "bpf"))]
mod pod {
    #![expect(
        unsafe_code,
        reason = "aya::Pod is an unsafe trait: it asserts a memory layout"
    )]

    // SAFETY: `Pod` asks that any bytes of the right size are a valid value and that copying them
    // is sound. `Counters` is `repr(C)`, has only `u64` fields, and its size assertion shows that
    // there is no padding.
    unsafe impl aya::Pod for super::Counters {}
    // SAFETY: the same: `repr(C)`, three `u64`, and its size is their sum.
    unsafe impl aya::Pod for super::HostCounts {}
    // SAFETY: the same: `repr(C)`, eight `u16` and two `u32`, and its size is their sum.
    unsafe impl aya::Pod for super::Owners {}
    // SAFETY: the same: `repr(C)`, four `u64` and six `u32`, and its size is their sum.
    unsafe impl aya::Pod for super::Admission {}
    // SAFETY: the same: `repr(C)`, six `u32`, and its size is their sum.
    unsafe impl aya::Pod for super::Answering {}
    // SAFETY: the same: `repr(C)`, five `u32`, and its size is their sum.
    unsafe impl aya::Pod for super::BlockKey {}
    // SAFETY: the same: `repr(C)`, five `u32`, and its size is their sum.
    unsafe impl aya::Pod for super::Listening {}
    // SAFETY: the same: `repr(C)`, eight `u32` and two `u16`, and its size is their sum.
    unsafe impl aya::Pod for super::packet::Flow {}
}

const fn abi_mark(version: u32) -> [u8; 24] {
    let mut mark = [0; 24];
    let (prefix, number) = mark.split_at_mut(ABI_MARK_PREFIX.len());
    prefix.copy_from_slice(&ABI_MARK_PREFIX);
    number.copy_from_slice(&version.to_le_bytes());
    mark
}

#[cfg(test)]
mod tests {
    use super::{LISTENERS_MAX, Listening, Owners, WORKERS_MAX, listener_index};
    use crate::packet::Family;
    use std::collections::HashSet;

    #[test]
    fn owners_take_turns() {
        assert_eq!(Owners::of(&[]), None);
        assert_eq!(Owners::of(&[512]), None);
        assert_eq!(Owners::of(&[7]).unwrap().workers, [7; 8]);
        assert_eq!(
            Owners::of(&[1, 2, 3]).unwrap().workers,
            [1, 2, 3, 1, 2, 3, 1, 2]
        );
        let owners = Owners::of(&[1, 2, 3]).unwrap();
        for hash in 0..24 {
            let slot = usize::try_from(hash % 8).unwrap();
            assert_eq!(owners.pick(hash), owners.workers[slot]);
        }
    }

    #[test]
    fn budgets_are_spent_and_come_back() {
        // Ten a second, three at once.
        let (cost, burst) = (100, 200);
        let mut whole_at = 0;
        for (now, wanted) in [
            (1_000, true),
            (1_000, true),
            (1_000, true),
            (1_000, false),
            (1_050, false),
            (1_100, true),
            (1_100, false),
            (9_000, true),
        ] {
            let left = super::spend(whole_at, now, cost, burst);
            assert_eq!(left.is_some(), wanted, "{now}");
            whole_at = left.unwrap_or(whole_at);
        }
    }

    #[test]
    fn clients_share_budgets_by_prefix() {
        let admission = super::Admission {
            source_bits_ipv4: 24,
            source_bits_ipv6: 56,
            ..super::Admission::default()
        };
        let of = |address: std::net::IpAddr| {
            let (source_be, family) = match address {
                std::net::IpAddr::V4(address) => (
                    crate::packet::mapped(u32::from_ne_bytes(address.octets())),
                    Family::V4,
                ),
                std::net::IpAddr::V6(address) => {
                    let mut words = [0; 4];
                    for (word, bytes) in words.iter_mut().zip(address.octets().chunks(4)) {
                        *word = u32::from_ne_bytes(bytes.try_into().unwrap());
                    }
                    (words, Family::V6)
                }
            };
            let flow = crate::packet::Flow {
                source_be,
                ..crate::packet::Flow::default()
            };
            admission.source_prefix(&flow, family)
        };
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.254", true),
            ("192.0.2.1", "192.0.3.1", false),
            ("2001:db8:1:200::1", "2001:db8:1:2ff::9", true),
            ("2001:db8:1:200::1", "2001:db8:1:300::1", false),
            ("192.0.2.1", "::ffff:192.0.2.1", false),
        ] {
            let (a, b) = (of(one.parse().unwrap()), of(other.parse().unwrap()));
            assert_eq!(a == b, same, "{one} {other}");
        }
        for (bits, width, wanted) in [
            (0, 32, 0),
            (32, 32, 0xffff_ffff),
            (8, 32, 0xff00_0000),
            (64, 64, 0xffff_ffff),
        ] {
            assert_eq!(super::kept(0xffff_ffff, bits, width), wanted);
        }
    }

    #[test]
    fn decisions_stand_at_their_numbers() {
        for (number, decided) in (0..).zip(super::Decided::ALL) {
            assert_eq!(decided as u32, number);
        }
    }

    #[test]
    fn a_port_is_ours_on_our_address() {
        let on = |kind| Listening {
            address_be: [1, 2, 3, 4],
            kind,
        };
        assert!(on(Listening::ONE).covers(&[1, 2, 3, 4]));
        assert!(!on(Listening::ONE).covers(&[1, 2, 3, 5]));
        assert!(on(Listening::EVERYWHERE).covers(&[0; 4]));
        assert!(!on(Listening::NOWHERE).covers(&[1, 2, 3, 4]));
    }

    #[test]
    fn no_two_listeners_share_a_place() {
        let mut places = HashSet::new();
        for worker in 0..WORKERS_MAX {
            for listen in 0..super::LISTENS_MAX {
                for family in [Family::V4, Family::V6] {
                    let index = listener_index(worker, listen, family);
                    assert!(index < LISTENERS_MAX && places.insert(index));
                }
            }
        }
    }
}
