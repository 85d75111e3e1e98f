//! What the kernel program and the gateway must agree on: map names, map values, the ABI number, and the
//! parsers both run.
//!
//! The crate is `no_std` and compiled twice: for the host as a library of the gateway, and for
//! `bpfel-unknown-none` as part of the program in `main.rs`. It deliberately does no I/O, loads nothing and
//! decides nothing: loading is `gateway::steer`, and the gateway never believes the kernel about a name.
//!
//! Everything that crosses the border is `repr(C)`, made of integers only, with its size asserted here.

#![cfg_attr(not(test), no_std)]

pub mod cursor;
pub mod hello;
pub mod packet;

/// Moves whenever a map, its key, its value or the meaning of one of them changes.
///
/// The object carries it (see [`ABI_MARK`]); a gateway loads only an object of its own number.
pub const ABI_VERSION: u32 = 1;

/// What stands before the number in [`ABI_MARK`].
pub const ABI_MARK_PREFIX: [u8; 20] = *b"postern-steer-abi-v=";

/// Placed in the object file by the program and looked for by the loader.
///
/// A plain byte string is found without an ELF parser and cannot be dropped by a linker that keeps the section.
pub const ABI_MARK: [u8; 24] = abi_mark(ABI_VERSION);

/// The XDP program's name in the object.
pub const PROGRAM_XDP: &str = "postern_xdp";

/// The map of [`Counters`]: per CPU, one element.
pub const MAP_COUNTERS: &str = "POSTERN_COUNTERS";

/// What the program has seen, counted per CPU; the reader adds the CPUs up.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Frames that reached the program.
    pub packets: u64,
    /// Their bytes, link-layer header included.
    pub bytes: u64,
}

const _: () = assert!(size_of::<Counters>() == 16);

impl Counters {
    /// The sum of two counts.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            packets: self.packets.wrapping_add(other.packets),
            bytes: self.bytes.wrapping_add(other.bytes),
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
}

const fn abi_mark(version: u32) -> [u8; 24] {
    let mut mark = [0; 24];
    let (prefix, number) = mark.split_at_mut(ABI_MARK_PREFIX.len());
    prefix.copy_from_slice(&ABI_MARK_PREFIX);
    number.copy_from_slice(&version.to_le_bytes());
    mark
}
