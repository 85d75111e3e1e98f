//! What the kernel programs and the gateway must agree on: map names, map values, the ABI number, and the
//! parsers both run.
//!
//! The crate is `no_std` and compiled twice: for the host as a library of the gateway, and for
//! `bpfel-unknown-none` as part of the programs in `main.rs`. It deliberately does no I/O, loads nothing and
//! decides nothing: loading is `gateway::steer`, and the gateway never believes the kernel about a name.
//!
//! Everything that crosses the border is `repr(C)`, made of integers only, with its size asserted here.

#![cfg_attr(not(test), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod cursor;
pub mod hello;
pub mod packet;

use packet::Family;

/// Moves whenever a map, its key, its value or the meaning of one of them changes.
///
/// The object carries it (see [`ABI_MARK`]); a gateway loads only an object of its own number.
pub const ABI_VERSION: u32 = 3;

/// What stands before the number in [`ABI_MARK`].
pub const ABI_MARK_PREFIX: [u8; 20] = *b"postern-steer-abi-v=";

/// Placed in the object file by the program and looked for by the loader.
///
/// A plain byte string is found without an ELF parser and cannot be dropped by a linker that keeps the section.
pub const ABI_MARK: [u8; 24] = abi_mark(ABI_VERSION);

/// The XDP program's name in the object.
pub const PROGRAM_XDP: &str = "postern_xdp";

/// The socket lookup program's name in the object.
pub const PROGRAM_PLACE: &str = "postern_place";

/// The map of [`Counters`]: per CPU, one element.
pub const MAP_COUNTERS: &str = "POSTERN_COUNTERS";

/// Array from port to listen number plus one; 0 for a port that is not ours. An array, because every packet asks.
pub const MAP_PORTS: &str = "POSTERN_PORTS";

/// Array from [`listening_index`] to [`Listening`].
pub const MAP_LISTENING: &str = "POSTERN_LISTENING";

/// Hash from [`hello::host_key`] to [`Owners`].
pub const MAP_HOSTS: &str = "POSTERN_HOSTS";

/// Sockets: from [`listener_index`] to the listener.
pub const MAP_LISTENERS: &str = "POSTERN_LISTENERS";

/// Array that user space has in its own memory: at the place of [`placed_mark`] the mark of a connection that was
/// given to a noted listener, until its worker takes the mark away.
pub const MAP_PLACED: &str = "POSTERN_PLACED";

/// Elements of [`MAP_PORTS`]: all ports there are.
pub const PORTS_MAX: u32 = 1 << 16;

/// Hosts that can be steered. A host beyond it is served by whichever worker gets it. About 80 bytes each, when used.
pub const HOSTS_MAX: u32 = 1 << 16;

/// Workers that can be steered to: more than the threads of any machine this is meant for.
pub const WORKERS_MAX: u32 = 512;

/// Ports that can be listened on with steering.
pub const LISTENS_MAX: u32 = 8;

/// Elements of [`MAP_LISTENERS`]: a listener per worker, port and family.
pub const LISTENERS_MAX: u32 = WORKERS_MAX * LISTENS_MAX * 2;

/// Notes that wait for their socket lookup, which follows within microseconds. About 6 MB.
pub const NOTES_MAX: u32 = 1 << 16;

/// Connections whose bare ACK is remembered as held back until their first data: at 20,000 new connections a
/// second, three seconds' worth. One that is forgotten merely loses its protection against reordering. 512 KB.
pub const HELD_MAX: u32 = 1 << 16;

/// Elements of [`MAP_PLACED`]: marks live until the connection is accepted, which takes milliseconds at worst.
pub const PLACED_MAX: u32 = HELD_MAX;

/// Workers that own one host, as slots: see [`Owners`].
pub const OWNERS_MAX: usize = 8;

/// Map flag of the kernel's `bpf.h`: memory for elements as they come, and a grace period before it is reused.
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
}

const _: () = assert!(size_of::<Owners>() == 16);

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
        known.then_some(Self { workers: slots })
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

/// Where a steered port is listened on, by family.
///
/// A port says whose connections ours are only together with the address: another program may listen on the same
/// port of another address.
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

/// Where in [`MAP_PLACED`] a connection's mark is, and the mark: never 0.
#[inline(always)]
#[must_use]
pub const fn placed_mark(flow: &packet::Flow) -> (u32, u32) {
    let hash = flow.hash();
    // The lowest bit keeps it apart from an empty place.
    (hash as u32 % PLACED_MAX, (hash >> 32) as u32 | 1)
}

/// Where in [`MAP_LISTENERS`] the listener of `worker` for the `listen`-th port and this family is.
#[inline(always)]
#[must_use]
pub const fn listener_index(worker: u32, listen: u32, family: Family) -> u32 {
    (worker * LISTENS_MAX + listen) * 2 + family.number()
}

const _: () =
    assert!(listener_index(WORKERS_MAX - 1, LISTENS_MAX - 1, Family::V6) == LISTENERS_MAX - 1);

/// What the programs have seen and done, counted per CPU; the reader adds the CPUs up.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Frames that reached the XDP program.
    pub packets: u64,
    /// Their bytes, link-layer header included.
    pub bytes: u64,
    /// Bare ACKs held back for connections that proved their cookie.
    pub held: u64,
    /// Segments dropped because they overtook the first one of a held connection; they come again.
    pub overtaken: u64,
    /// First segments whose cookie was not ours; passed on.
    pub cookies_bad: u64,
    /// ClientHellos whose owner was noted.
    pub noted: u64,
    /// ClientHellos that named no host.
    pub nameless: u64,
    /// ClientHellos whose name had not arrived, or was spread over records.
    pub partial: u64,
    /// First segments that began like a ClientHello and were none.
    pub foreign: u64,
    /// ClientHellos for a host that nobody owns.
    pub unknown: u64,
    /// Connections given to the listener that was noted.
    pub placed: u64,
    /// Connections whose noted listener was gone.
    pub homeless: u64,
}

const _: () = assert!(size_of::<Counters>() == 12 * 8);

impl Counters {
    /// The sum of two counts.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            packets: self.packets.wrapping_add(other.packets),
            bytes: self.bytes.wrapping_add(other.bytes),
            held: self.held.wrapping_add(other.held),
            overtaken: self.overtaken.wrapping_add(other.overtaken),
            cookies_bad: self.cookies_bad.wrapping_add(other.cookies_bad),
            noted: self.noted.wrapping_add(other.noted),
            nameless: self.nameless.wrapping_add(other.nameless),
            partial: self.partial.wrapping_add(other.partial),
            foreign: self.foreign.wrapping_add(other.foreign),
            unknown: self.unknown.wrapping_add(other.unknown),
            placed: self.placed.wrapping_add(other.placed),
            homeless: self.homeless.wrapping_add(other.homeless),
        }
    }
}

/// The claims `aya::Pod` asks for, beside the types they are about.
#[cfg(not(target_arch = "bpf"))]
mod pod {
    #![expect(
        unsafe_code,
        reason = "aya::Pod is an unsafe trait: it asserts a memory layout"
    )]

    // SAFETY: `Pod` asks that any bytes of the right size are a valid value and that copying them is sound.
    // `Counters` is `repr(C)`, has only `u64` fields, and its size assertion shows that there is no padding.
    unsafe impl aya::Pod for super::Counters {}
    // SAFETY: the same: `repr(C)`, only an array of `u16`, and its size is the array's.
    unsafe impl aya::Pod for super::Owners {}
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
