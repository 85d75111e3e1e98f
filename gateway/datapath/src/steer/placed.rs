//! Which connections the kernel brought to their worker: a map of the programs, in our memory.
//!
//! The socket lookup leaves a fingerprint of the connection at the place its hash says; the worker
//! that accepts it takes the fingerprint away. No system call, and nothing depends on the answer
//! but what is counted and logged: two connections at one place displace each other.

use std::fmt;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use ebpf::packet::Flow;
use ebpf::{HELD_MAX, PLACED_MAX, placed_mark};

const _: () = assert!(PLACED_MAX == HELD_MAX);

/// The map, or nothing when the kernel does not steer.
#[derive(Default)]
pub struct PlacedMap(Option<Mapping>);

struct Mapping(NonNull<AtomicU64>);

/// Bytes of the mapping: the kernel gives every element of an array eight.
const SIZE: usize = PLACED_MAX as usize * size_of::<AtomicU64>();

impl fmt::Debug for PlacedMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PlacedMap").field(&self.0.is_some()).finish()
    }
}

impl PlacedMap {
    /// Maps the programs' array.
    ///
    /// # Errors
    /// The kernel's reason.
    pub(super) fn map(map: BorrowedFd<'_>) -> std::io::Result<Self> {
        Mapping::new(map).map(|mapping| Self(Some(mapping)))
    }

    /// Whether the kernel brought this connection here. Answers `true` once.
    #[must_use]
    pub fn take(&self, flow: &Flow) -> bool {
        let Some(mapping) = &self.0 else { return false };
        let (place, mark) = placed_mark(flow);
        let mark = u64::from(mark);
        mapping.slots().get(place as usize).is_some_and(|slot| {
            slot.load(Ordering::Relaxed) == mark
                && slot
                    .compare_exchange(mark, 0, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
        })
    }
}

impl Mapping {
    fn new(map: BorrowedFd<'_>) -> std::io::Result<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let size = NonZeroUsize::new(SIZE).map_or(1, NonZeroUsize::get);
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: no address is asked for, so nothing of ours is mapped over; the array has `SIZE`
        // bytes, a multiple of the page's.
        let address =
            unsafe { mmap(std::ptr::null_mut(), size, access, MapFlags::SHARED, map, 0) }?;
        NonNull::new(address.cast())
            .map(Self)
            .ok_or_else(|| std::io::ErrorKind::OutOfMemory.into())
    }

    fn slots(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has `PLACED_MAX` aligned words, lives as long as `self`, and is only
        // ever touched atomically: by us, and by the kernel in whole words.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr(), PLACED_MAX as usize) }
    }
}

// SAFETY: the mapping belongs to the process, not to a thread.
unsafe impl Send for Mapping {}
// SAFETY: all access through `slots` is atomic.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, of this size, and nothing borrows from it any more.
        let unmapped = unsafe { rustix::mm::munmap(self.0.as_ptr().cast(), SIZE) };
        debug_assert!(unmapped.is_ok(), "what was mapped can be unmapped");
    }
}
