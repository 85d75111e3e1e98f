//! What the programs remember of a connection that has no socket yet: that its ACK was held back,
//! the part of its ClientHello that has gone by, the listener that was noted for it.
//!
//! Only the values; the maps they lie in, at the place of [`crate::placed_mark`], are the programs'
//! own.

use crate::{LISTENERS_MAX, hello};

/// ClientHellos whose next segment is waited for, which comes within microseconds or too late. Two
/// at the same place displace each other, and the first connection is handed over instead. 290 KB.
pub const PARTS_MAX: u32 = 1_024;

/// Bytes kept of a segment: a whole `server_name` extension but for its last byte, whatever the
/// name, and some.
pub const PART_TAIL_SIZE: usize = 264;

/// How long a bare ACK counts as held back. The kernel believes a cookie for two minutes at most
/// (`MAX_SYNCOOKIE_AGE`); a client that says nothing for so long gets the stack's reset, because
/// there is no connection any more.
pub const HELD_SECONDS_MAX: u32 = 120;

/// Set in [`held`] once the first data has been let through.
const HELD_BEGUN: u64 = 1 << 31;

/// Bits of a second that are kept: nine hours' worth.
const HELD_SECOND_BITS: u32 = 15;

/// A note: whose it is, the lower half of the number of the first byte that it was read in, and the
/// listener. Never 0.
///
/// ```text
///  | mark 32 | sequence 16 | listener 16 |
/// ```
#[inline(always)]
#[must_use]
pub const fn note(mark: u32, sequence: u32, listener: u32) -> u64 {
    (mark as u64) << 32 | ((sequence & 0xffff) << 16) as u64 | (listener & 0xffff) as u64
}

const _: () = assert!(LISTENERS_MAX <= 1 << 16);

/// The listener that a note names, if it is this connection's.
#[inline(always)]
#[must_use]
pub const fn noted(note: u64, mark: u32) -> Option<u32> {
    if (note >> 32) as u32 == mark {
        Some((note & 0xffff) as u32)
    } else {
        None
    }
}

/// Whether the note is this connection's and was read in another segment than the one with this
/// number.
#[inline(always)]
#[must_use]
pub const fn is_noted_elsewhere(note: u64, mark: u32, sequence: u32) -> bool {
    (note >> 32) as u32 == mark && note >> 16 & 0xffff != (sequence & 0xffff) as u64
}

/// That the ACK of the connection with this mark was held back, at a time in seconds of the
/// monotonic clock.
///
/// `sequence` is TCP's number of the byte that comes next, of which the lower half is kept.
///
/// ```text
///  | mark 32 | begun 1 | second 15 | sequence 16 |
/// ```
#[inline(always)]
#[must_use]
pub const fn held(mark: u32, second: u32, sequence: u32) -> u64 {
    let second = second & ((1 << HELD_SECOND_BITS) - 1);
    (mark as u64) << 32 | (second << 16) as u64 | (sequence & 0xffff) as u64
}

/// That a part of the connection's ClientHello was let through: nothing of it is kept from the
/// stack any more.
#[inline(always)]
#[must_use]
pub const fn begun(mark: u32) -> u64 {
    (mark as u64) << 32 | HELD_BEGUN
}

/// Whether [`held`] or [`begun`] is about the connection with this mark, however long ago.
#[inline(always)]
#[must_use]
pub const fn is_held(held: u64, mark: u32) -> bool {
    (held >> 32) as u32 == mark
}

/// Whether it is about this connection, and [`begun`].
#[inline(always)]
#[must_use]
pub const fn is_begun(held: u64, mark: u32) -> bool {
    is_held(held, mark) && held & HELD_BEGUN != 0
}

/// Whether it was held back less than [`HELD_SECONDS_MAX`] before this second, and nothing was let
/// through since.
#[inline(always)]
#[must_use]
pub const fn is_held_still(held: u64, mark: u32, second: u32) -> bool {
    let since = (held >> 16 & 0xffff) as u32;
    is_held(held, mark)
        && held & HELD_BEGUN == 0
        && second.wrapping_sub(since) & ((1 << HELD_SECOND_BITS) - 1) < HELD_SECONDS_MAX
}

/// Whether a segment begins at the byte that comes next, as far as that is kept.
#[inline(always)]
#[must_use]
pub const fn is_next(held: u64, sequence: u32) -> bool {
    held & 0xffff == (sequence & 0xffff) as u64
}

/// A ClientHello of which a part has gone by: where to go on with the connection's next segment.
///
/// Offsets are counted in the tail with the next segment's payload behind it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The connection's [`placed_mark`](crate::placed_mark); 0 for none.
    pub mark: u32,
    /// TCP's number of the byte that comes next.
    pub sequence: u32,
    /// [`hello::Extensions::at`].
    pub at: u32,
    /// [`hello::Extensions::end`].
    pub end: u32,
    /// The last bytes that have gone by.
    pub tail: [u64; PART_TAIL_SIZE / 8],
}

const _: () = assert!(size_of::<Part>() == 16 + PART_TAIL_SIZE);
// A tail that is longer would always hold what is needed, one byte of the name missing.
const _: () =
    assert!(PART_TAIL_SIZE >= 4 + 5 + hello::NAME_SIZE_MAX && PART_TAIL_SIZE.is_multiple_of(8));

#[cfg(test)]
mod tests {
    #[test]
    fn a_note_is_its_connections_only() {
        const MARK: u32 = 0x8000_0001;
        let note = super::note(MARK, 0xabcd_1234, 8_191);
        assert_eq!(super::noted(note, MARK), Some(8_191));
        assert_eq!(super::noted(note, 0x8000_0003), None);
        assert_eq!(super::noted(0, 1), None);
        assert!(!super::is_noted_elsewhere(note, MARK, 0xabcd_1234));
        assert!(super::is_noted_elsewhere(note, MARK, 0xabcd_1235));
        assert!(!super::is_noted_elsewhere(note, 3, 0xabcd_1235));
        assert!(!super::is_noted_elsewhere(0, 1, 5));
    }

    #[test]
    fn an_ack_is_held_for_its_connection_and_its_time() {
        const MARK: u32 = 0x8000_0001;
        let held = super::held(MARK, 1_000, 0x1234_ffff);
        for (mark, second, wanted) in [
            (MARK, 1_000, true),
            (MARK, 1_119, true),
            (MARK, 1_120, false),
            (0x8000_0003, 1_000, false),
            // Another CPU's clock may be behind by a moment: an ACK from the future is held no
            // longer.
            (MARK, 999, false),
        ] {
            assert_eq!(
                super::is_held_still(held, mark, second),
                wanted,
                "{mark:x} {second}"
            );
        }
        assert!(!super::is_held(0, 1));
        let late = super::held(1, u32::MAX, 0);
        assert!(super::is_held_still(late, 1, 5), "the clock began anew");
        assert!(super::is_next(held, 0x1234_ffff) && !super::is_next(held, 0x1235_0000));
        assert!(!super::is_next(held, 0x1234_fffe));

        let begun = super::begun(MARK);
        assert!(super::is_held(begun, MARK) && super::is_begun(begun, MARK));
        assert!(!super::is_begun(begun, 3) && !super::is_begun(held, MARK));
        for second in [0, 1_000, u32::MAX] {
            assert!(!super::is_held_still(begun, MARK, second));
        }
    }
}
