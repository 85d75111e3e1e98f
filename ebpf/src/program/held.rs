//! The mark at the place of a connection's hash: its bare ACK was held back, or a part of its
//! ClientHello has gone by.

use super::maps::POSTERN_HELD;
use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use ebpf::packet::Segment;
use ebpf::{begun, held, is_begun, is_held, is_held_still, is_next, placed_mark};

/// The mark that says a connection's bare ACK was held back.
#[derive(Clone, Copy)]
pub(super) struct Held {
    /// Where in the maps.
    pub(super) place: u32,
    /// Whose it is.
    pub(super) fingerprint: u32,
}

impl Held {
    #[inline(always)]
    pub(super) fn of(segment: &Segment) -> Self {
        let (place, fingerprint) = placed_mark(&segment.flow);
        Self { place, fingerprint }
    }

    /// Whether it was, and not too long ago.
    #[inline(always)]
    pub(super) fn marked(self) -> bool {
        let held = POSTERN_HELD.get(self.place);
        held.is_some_and(|held| {
            is_held(*held, self.fingerprint) && is_held_still(*held, self.fingerprint, second())
        })
    }

    /// Whether a part of the ClientHello was let through.
    #[inline(always)]
    pub(super) fn begun(self) -> bool {
        let held = POSTERN_HELD.get(self.place);
        held.is_some_and(|held| is_begun(*held, self.fingerprint))
    }

    /// Whether a segment begins where the held ACK said that the first byte would.
    #[inline(always)]
    pub(super) fn is_next(self, sequence: u32) -> bool {
        let held = POSTERN_HELD.get(self.place);
        held.is_some_and(|held| is_next(*held, sequence))
    }

    #[inline(always)]
    pub(super) fn mark(self, sequence: u32) {
        self.set(held(self.fingerprint, second(), sequence));
    }

    #[inline(always)]
    pub(super) fn begin(self) {
        self.set(begun(self.fingerprint));
    }

    #[inline(always)]
    pub(super) fn clear(self) {
        let held = POSTERN_HELD.get(self.place);
        if held.is_some_and(|held| is_held(*held, self.fingerprint)) {
            self.set(0);
        }
    }

    #[inline(always)]
    fn set(self, value: u64) {
        if let Some(place) = POSTERN_HELD.get_ptr_mut(self.place) {
            // SAFETY: an element of an array map lives as long as the map; an aligned word is
            // written whole, and of two CPUs' writes either may win.
            unsafe { place.write_volatile(value) };
        }
    }
}

/// Seconds of the monotonic clock.
#[inline(always)]
fn second() -> u32 {
    const NANOSECONDS: u64 = 1_000_000_000;
    // SAFETY: the helper takes nothing and reads a clock.
    (unsafe { bpf_ktime_get_coarse_ns() } / NANOSECONDS) as u32
}
