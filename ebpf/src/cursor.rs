//! How the parsers read bytes: at an offset, or not at all.
//!
//! The verifier refuses what a Rust programmer would write first (a slice and an index), so the parsers ask a
//! [`Cursor`]. On the host a slice is one; in the kernel a [`Window`] is, whose every access is masked into an
//! array of fixed size. This file knows nothing about packets.

/// Bytes that can be read at an offset.
pub trait Cursor {
    /// How many bytes there are.
    fn len(&self) -> usize;

    /// The byte at `at`, or nothing beyond the end.
    fn u8(&self, at: usize) -> Option<u8>;

    /// Whether there is nothing to read.
    #[inline(always)]
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Two bytes in network order.
    #[inline(always)]
    fn be16(&self, at: usize) -> Option<u16> {
        let high = self.u8(at)?;
        let low = self.u8(at.wrapping_add(1))?;
        Some(u16::from_be_bytes([high, low]))
    }

    /// Three bytes in network order, as lengths of TLS handshake messages are written.
    #[inline(always)]
    fn be24(&self, at: usize) -> Option<u32> {
        let high = self.u8(at)?;
        let low = self.be16(at.wrapping_add(1))?;
        Some(u32::from(high) << 16 | u32::from(low))
    }

    /// Four bytes exactly as they lie in memory: addresses are compared and looked up, never computed with.
    #[inline(always)]
    fn raw32(&self, at: usize) -> Option<u32> {
        let a = self.u8(at)?;
        let b = self.u8(at.wrapping_add(1))?;
        let c = self.u8(at.wrapping_add(2))?;
        let d = self.u8(at.wrapping_add(3))?;
        Some(u32::from_ne_bytes([a, b, c, d]))
    }
}

impl Cursor for [u8] {
    #[inline(always)]
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    #[inline(always)]
    fn u8(&self, at: usize) -> Option<u8> {
        self.get(at).copied()
    }
}

/// Bytes the kernel program copies out of a frame at most.
///
/// A power of two, so that a mask is a bound. It holds a whole Ethernet frame of MTU 1500 with two VLAN tags;
/// of a longer one the rest is not looked at, and the parsers answer that they need more.
pub const WINDOW_SIZE: usize = 2048;

const _: () = assert!(WINDOW_SIZE.is_power_of_two() && WINDOW_SIZE >= 14 + 8 + 1500);

/// The first bytes of a frame, in the program's own memory.
#[derive(Debug)]
pub struct Window<'a> {
    bytes: &'a [u8; WINDOW_SIZE],
    len: usize,
}

impl<'a> Window<'a> {
    /// `bytes`, of which the first `len` are of this frame; what lies behind them is of an older one.
    #[inline(always)]
    #[must_use]
    pub const fn new(bytes: &'a [u8; WINDOW_SIZE], len: usize) -> Self {
        Self { bytes, len }
    }

    /// The memory behind it, for the kernel's helpers.
    #[inline(always)]
    #[must_use]
    pub const fn memory(&self) -> &'a [u8; WINDOW_SIZE] {
        self.bytes
    }
}

impl Cursor for Window<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    fn u8(&self, at: usize) -> Option<u8> {
        if at >= self.len {
            return None;
        }
        Some(masked(self.bytes, at))
    }
}

/// The byte at `at`, which is cut to the array's size.
///
/// The mask is written in assembly because LLVM, which has seen the index checked, would leave it out and turn
/// base and index into one pointer, of which the verifier then knows no bound.
#[cfg(target_arch = "bpf")]
#[inline(always)]
#[expect(
    unsafe_code,
    reason = "assembly, and an index that only the assembly bounds"
)]
fn masked(bytes: &[u8; WINDOW_SIZE], mut at: usize) -> u8 {
    const MASK: usize = WINDOW_SIZE - 1;
    // SAFETY: one instruction on one register, which it declares.
    unsafe {
        core::arch::asm!("{0} &= {1}", inout(reg) at, const MASK, options(pure, nomem, nostack));
    }
    // SAFETY: the instruction above left at most `WINDOW_SIZE - 1`.
    unsafe { *bytes.get_unchecked(at) }
}

/// The byte at `at`, which is cut to the array's size.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
#[expect(
    clippy::indexing_slicing,
    reason = "the mask keeps the index inside the array"
)]
const fn masked(bytes: &[u8; WINDOW_SIZE], at: usize) -> u8 {
    bytes[at & (WINDOW_SIZE - 1)]
}

/// The same value, of which LLVM forgets all it knew, so that it does not turn arithmetic into branches.
#[cfg(target_arch = "bpf")]
#[inline(always)]
#[expect(unsafe_code, reason = "only assembly is opaque to LLVM")]
pub(crate) fn opaque(mut value: u64) -> u64 {
    // SAFETY: one instruction on one register, which it declares; it changes nothing.
    unsafe { core::arch::asm!("{0} |= 0", inout(reg) value, options(pure, nomem, nostack)) };
    value
}

/// The same value. On the host there is no verifier to write for.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
pub(crate) const fn opaque(value: u64) -> u64 {
    value
}

#[cfg(test)]
mod tests {
    use super::{Cursor, WINDOW_SIZE, Window};

    #[test]
    fn a_slice_reads_network_order_and_stops_at_its_end() {
        let bytes: &[u8] = &[1, 2, 3, 4];
        assert_eq!(bytes.be16(0), Some(0x0102));
        assert_eq!(bytes.be24(1), Some(0x0002_0304));
        assert_eq!(bytes.raw32(0), Some(u32::from_ne_bytes([1, 2, 3, 4])));
        assert_eq!(bytes.be16(3), None);
        assert_eq!(bytes.be24(2), None);
        assert_eq!(bytes.raw32(1), None);
        assert_eq!(bytes.be16(usize::MAX), None);
    }

    #[test]
    fn a_window_never_shows_what_an_older_frame_left() {
        let mut memory = [0xEE; WINDOW_SIZE];
        memory[..3].copy_from_slice(&[7, 8, 9]);
        let window = Window::new(&memory, 3);
        assert_eq!(window.len(), 3);
        assert_eq!(window.u8(2), Some(9));
        assert_eq!(window.u8(3), None);
        assert_eq!(window.u8(WINDOW_SIZE + 1), None);
        assert_eq!(window.be16(2), None);
    }
}
