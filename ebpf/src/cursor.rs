//! How the parsers read bytes: at an offset, or not at all.
//!
//! The verifier refuses what a Rust programmer would write first (a slice and an index), so the
//! parsers ask a [`Cursor`]. On the host a slice is one; in the kernel a [`Window`] is, whose every
//! access is masked into an array of fixed size. This file knows nothing about packets.

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

    /// Four bytes in network order.
    #[inline(always)]
    fn be32(&self, at: usize) -> Option<u32> {
        self.raw32(at).map(u32::from_be)
    }

    /// `count` bytes, from 1 to 8, as a number whose lowest byte is the first; the others are zero.
    #[inline(always)]
    fn word(&self, at: usize, count: usize) -> Option<u64> {
        let mut word = 0;
        for index in 0..8 {
            if index < count {
                word |= u64::from(self.u8(at.wrapping_add(index))?) << (8 * index);
            }
        }
        Some(word)
    }

    /// Four bytes exactly as they lie in memory: addresses are compared and looked up, never
    /// computed with.
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
/// A power of two, so that a mask is a bound. It holds a whole Ethernet frame of MTU 1500 with two
/// VLAN tags; of a longer one the rest is not looked at, and the parsers answer that they need
/// more.
pub const WINDOW_SIZE: usize = 2048;

const _: () = assert!(WINDOW_SIZE.is_power_of_two() && WINDOW_SIZE >= 14 + 8 + 1500);

/// Bytes behind the window, so that a number that begins at its last byte can be read whole.
const SLACK: usize = 8;

/// What a window is made of.
pub type Memory = [u8; WINDOW_SIZE + SLACK];

/// The first bytes of a frame, in the program's own memory.
#[derive(Debug)]
pub struct Window<'a> {
    bytes: &'a Memory,
    len: usize,
}

impl<'a> Window<'a> {
    /// `bytes`, of which the first `len` are of this frame; what lies behind them is of an older one.
    #[inline(always)]
    #[must_use]
    pub const fn new(bytes: &'a Memory, len: usize) -> Self {
        Self { bytes, len }
    }

    /// The memory behind it, for the kernel's helpers.
    #[inline(always)]
    #[must_use]
    pub const fn memory(&self) -> &'a Memory {
        self.bytes
    }

    /// Whether so many bytes at `at` are of this frame.
    #[inline(always)]
    const fn holds(&self, at: usize, count: usize) -> bool {
        at < self.len && self.len - at >= count
    }
}

impl Cursor for Window<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    fn u8(&self, at: usize) -> Option<u8> {
        self.holds(at, 1).then(|| load(self.bytes, at))
    }

    // One question and one load each: what a hello costs is mostly reading numbers.

    #[inline(always)]
    fn be16(&self, at: usize) -> Option<u16> {
        self.holds(at, 2)
            .then(|| u16::from_be(load_u16(self.bytes, at)))
    }

    #[inline(always)]
    fn raw32(&self, at: usize) -> Option<u32> {
        self.holds(at, 4).then(|| load_u32(self.bytes, at))
    }

    #[inline(always)]
    fn word(&self, at: usize, count: usize) -> Option<u64> {
        let count = count.clamp(1, 8);
        let kept = u64::MAX >> (64 - 8 * count);
        self.holds(at, count)
            .then(|| u64::from_le(load_u64(self.bytes, at)) & kept)
    }
}

/// Reads of a number at `at`, which is cut to the window's size.
///
/// The mask is written in assembly because LLVM, which has seen the index checked, would leave it
/// out and turn base and index into one pointer, of which the verifier then knows no bound. So is
/// the load: of what may lie at any address LLVM would read every byte by itself, which the machine
/// does not ask for.
macro_rules! loads {
    ($($name:ident: $kind:ident),*) => { $(
        #[cfg(target_arch = "bpf")]
        #[inline(always)]
        #[expect(unsafe_code, reason = "assembly, and an index that only the assembly bounds")]
        #[allow(
            clippy::cast_possible_truncation,
            reason = "the load left the upper bytes empty; of a `u64` nothing is cut"
        )]
        fn $name(bytes: &Memory, mut at: usize) -> $kind {
            const MASK: usize = WINDOW_SIZE - 1;
            // SAFETY: one instruction on one register, which it declares.
            unsafe {
                core::arch::asm!("{0} &= {1}", inout(reg) at, const MASK, options(pure, nomem, nostack));
            }
            let place = bytes.as_ptr().wrapping_add(at);
            let value: u64;
            // SAFETY: the mask left at most `WINDOW_SIZE - 1`, and behind that there are `SLACK`
            // bytes more.
            unsafe {
                core::arch::asm!(
                    concat!("{0} = *(", stringify!($kind), " *)({1} + 0)"),
                    out(reg) value, in(reg) place, options(pure, readonly, nostack)
                );
            }
            value as $kind
        }

        #[cfg(not(target_arch = "bpf"))]
        #[inline(always)]
        fn $name(bytes: &Memory, at: usize) -> $kind {
            let (_, rest) = bytes.split_at(at & (WINDOW_SIZE - 1));
            rest.first_chunk().map_or(0, |bytes| $kind::from_ne_bytes(*bytes))
        }
    )* };
}

loads!(load: u8, load_u16: u16, load_u32: u32, load_u64: u64);

/// The same value, of which LLVM forgets all it knew, so that it does not turn arithmetic into
/// branches.
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
    fn a_window_reads_what_a_slice_reads() {
        let mut memory = [0; WINDOW_SIZE + super::SLACK];
        for (number, byte) in (0..=u8::MAX).cycle().zip(&mut memory) {
            *byte = number.wrapping_mul(167);
        }
        for len in [20, WINDOW_SIZE] {
            let (window, slice) = (Window::new(&memory, len), &memory[..len]);
            for at in (0..24)
                .chain(len - 9..len + 9)
                .chain([usize::MAX - 3, usize::MAX])
            {
                assert_eq!(window.u8(at), slice.u8(at), "{at}");
                assert_eq!(window.be16(at), slice.be16(at), "{at}");
                assert_eq!(window.be24(at), slice.be24(at), "{at}");
                assert_eq!(window.be32(at), slice.be32(at), "{at}");
                assert_eq!(window.raw32(at), slice.raw32(at), "{at}");
                for count in 1..=8 {
                    assert_eq!(
                        window.word(at, count),
                        slice.word(at, count),
                        "{at} {count}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_window_never_shows_what_an_older_frame_left() {
        let mut memory = [0xEE; WINDOW_SIZE + super::SLACK];
        memory[..3].copy_from_slice(&[7, 8, 9]);
        let window = Window::new(&memory, 3);
        assert_eq!(window.len(), 3);
        assert_eq!(window.be16(1), Some(0x0809));
        assert_eq!(window.word(0, 3), Some(0x0009_0807));
        assert_eq!(window.word(1, 3), None);
        assert_eq!(window.raw32(0), None);
        assert_eq!(window.u8(2), Some(9));
        assert_eq!(window.u8(3), None);
        assert_eq!(window.u8(WINDOW_SIZE + 1), None);
        assert_eq!(window.be16(2), None);
    }
}
