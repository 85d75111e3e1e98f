//! Data of connections that have no socket: the ClientHello, whose host is looked up, and the
//! admission that it has to pass.
//!
//! A ClientHello that does not name its host in this segment is remembered ([`ebpf::Part`]) and
//! gone on with in the next.

use super::admission;
use super::held::Held;
use super::maps::{POSTERN_HOSTS, POSTERN_PARTS, count_host, forgotten};
use super::steer::load;
use aya_ebpf::helpers::generated::bpf_xdp_load_bytes;
use aya_ebpf::programs::XdpContext;
use ebpf::cursor::{Cursor as _, Memory, WINDOW_SIZE, Window};
use ebpf::hello::{self, Extensions, Hello, NAMELESS_KEY};
use ebpf::packet::Segment;
use ebpf::{Admission, Counters, Decided, OWNERS_MAX, PART_TAIL_SIZE, PARTS_MAX, Traced};

/// Data of a connection that has no socket.
pub(super) struct Data<'a> {
    pub(super) context: &'a XdpContext,
    /// Holds the frame's headers.
    pub(super) memory: *mut Memory,
    pub(super) frame_size: usize,
    pub(super) segment: &'a Segment,
    /// TCP's number of its first byte.
    pub(super) sequence: u32,
    pub(super) held: Held,
}

impl Data<'_> {
    /// Decides about the first data of a connection that has proven its address; counts the
    /// decision. `resumed`: about the next data after a part of a ClientHello, which has gone by:
    /// nothing is turned away any more, and `None` is no news.
    #[inline(always)]
    pub(super) fn decide(
        &self,
        counters: &mut Counters,
        admission: &Admission,
        resumed: bool,
    ) -> Option<Traced> {
        let flow = self.segment.flow;
        let payload_end = self.segment.payload_at + self.segment.payload_size;
        let (extensions, size, end) = if resumed {
            let (extensions, size) = self.resume()?;
            (extensions, size, PART_TAIL_SIZE + self.segment.payload_size)
        } else {
            if !admission::source_may(admission, &flow, self.segment.family) {
                counters.source_budget += 1;
                return Some(admission::event(flow, Decided::SourceBudget, true));
            }
            let frame = load(self.context, self.memory, self.frame_size, WINDOW_SIZE)?;
            match hello::start(&frame, self.segment.payload_at, payload_end) {
                Ok(extensions) => (extensions, frame.len(), payload_end),
                Err(Hello::Nameless) => (Extensions { at: 0, end: 0 }, frame.len(), payload_end),
                Err(Hello::Foreign) => {
                    counters.foreign += 1;
                    return Some(admission::event(flow, Decided::ParseFailure, false));
                }
                Err(_) => {
                    counters.partial += 1;
                    self.held.clear();
                    return Some(admission::event(flow, Decided::Split, false));
                }
            }
        };
        // From here on there is one way.
        let [at, list_end, size, end] = forgotten([extensions.at, extensions.end, size, end])?;
        let [resumed, _, _, _] = forgotten([usize::from(resumed), 0, 0, 0])?;
        let resumed = resumed != 0;
        let mut extensions = Extensions { at, end: list_end };
        // SAFETY: the window is a map's element: it stays, and it is ours until the program ends.
        let frame = Window::new(unsafe { &*self.memory }, size);
        let (at, size) = match hello::walk(&frame, &mut extensions, end) {
            Hello::Named { at, size } => (at, size),
            Hello::Nameless => {
                counters.nameless += u64::from(!resumed);
                (0, 0)
            }
            Hello::Foreign => {
                if resumed {
                    return None;
                }
                counters.foreign += 1;
                return Some(admission::event(flow, Decided::ParseFailure, false));
            }
            partial @ (Hello::Partial | Hello::Unusual) => {
                let kept = partial == Hello::Partial && self.keep(extensions, end);
                if kept {
                    self.held.begin();
                } else {
                    self.held.clear();
                }
                if resumed {
                    return None;
                }
                counters.partial += 1;
                return Some(admission::event(flow, Decided::Split, false));
            }
        };
        let [at, size, _, _] = forgotten([at, size, 0, 0])?;
        let exact = if size == 0 {
            NAMELESS_KEY
        } else {
            hello::exact_key(&frame, at, size)?
        };
        // However many words the name had, from here on there is one way.
        let [exact, at, size, _] = forgotten([exact as usize, at, size, 0])?;
        let exact = exact as u64;
        // SAFETY: the map's elements are freed after a grace period that no running program
        // outlasts, because it is made without preallocation; what is read is one owner set or, at
        // worst, half of its successor.
        let mut owners = unsafe { POSTERN_HOSTS.get(exact) };
        let mut wildcard = 0;
        // Most hosts are noted by their whole name; the wildcard's key is only made for the others.
        if owners.is_none()
            && size != 0
            && let Some(label) = hello::first_label(&frame, at, size)
        {
            let [label, _, _, _] = forgotten([label, 0, 0, 0])?;
            let [key, _, _, _] = forgotten([
                hello::wildcard_key(&frame, at, size, label).unwrap_or(0) as usize,
                0,
                0,
                0,
            ])?;
            wildcard = key as u64;
            // SAFETY: as above.
            owners = unsafe { POSTERN_HOSTS.get(wildcard) };
        }
        let decided = |decided, dropped| Traced {
            host: exact,
            wildcard,
            ..admission::event(flow, decided, dropped)
        };
        let Some(owners) = owners else {
            if resumed {
                return None;
            }
            if size == 0 {
                return Some(decided(Decided::NoSni, false));
            }
            counters.unknown += 1;
            let dropped = admission.unknown_dropped != 0;
            counters.unknown_dropped += u64::from(dropped);
            return Some(decided(Decided::Unknown, dropped));
        };
        if !resumed && admission::is_blocked(admission, owners.zone, &flow) {
            counters.blocked += 1;
            // SAFETY: the field of a struct that the pointer points to.
            count_host(owners.counted_at, |counts| unsafe {
                &raw mut (*counts).blocked
            });
            return Some(decided(Decided::Blocked, true));
        }
        if !resumed && !admission::host_may(admission, exact) {
            counters.host_budget += 1;
            // SAFETY: as above.
            count_host(owners.counted_at, |counts| unsafe {
                &raw mut (*counts).host_budget
            });
            return Some(decided(Decided::HostBudget, true));
        }
        counters.joined += u64::from(resumed);
        let worker = owners.workers.get(self.held.place as usize % OWNERS_MAX)?;
        // SAFETY: as above.
        count_host(owners.counted_at, |counts| unsafe {
            &raw mut (*counts).noted
        });
        Some(Traced {
            worker: u32::from(*worker),
            ..decided(Decided::Steered, false)
        })
    }

    /// Puts the tail of what has gone by and this segment behind it into the window; answers the
    /// extensions that are left, and how many bytes there are.
    #[inline(always)]
    fn resume(&self) -> Option<(Extensions, usize)> {
        const ROOM: usize = WINDOW_SIZE - PART_TAIL_SIZE;
        let part = POSTERN_PARTS.get(self.held.place % PARTS_MAX)?;
        if part.mark != self.held.fingerprint || part.sequence != self.sequence {
            return None;
        }
        let memory: *mut u8 = self.memory.cast();
        for (index, word) in part.tail.iter().enumerate() {
            let place = memory.wrapping_add(index * size_of::<u64>()).cast::<u64>();
            // SAFETY: the window, an element of a map's and so aligned, is longer than a tail.
            unsafe { place.write_volatile(*word) };
        }
        let size = if self.segment.payload_size > ROOM {
            ROOM
        } else {
            self.segment.payload_size
        };
        let at = self.segment.payload_at as u32;
        let payload = memory.wrapping_add(PART_TAIL_SIZE);
        if size == 0 {
            return None;
        }
        // SAFETY: behind the tail the window has room for as much.
        let result =
            unsafe { bpf_xdp_load_bytes(self.context.ctx, at, payload.cast(), size as u32) };
        let extensions = Extensions {
            at: part.at as usize,
            end: part.end as usize,
        };
        (result == 0).then_some((extensions, PART_TAIL_SIZE + size))
    }

    /// Keeps what the connection's next segment needs to be understood; `false` if that cannot be.
    ///
    /// `end` is where this segment's payload ends, counted as `extensions` are.
    #[inline(always)]
    fn keep(&self, extensions: Extensions, end: usize) -> bool {
        let payload_end = self.segment.payload_at + self.segment.payload_size;
        let lies_back = end.saturating_sub(extensions.at);
        if lies_back > PART_TAIL_SIZE
            || lies_back > self.segment.payload_size
            || payload_end < PART_TAIL_SIZE
        {
            return false;
        }
        let Some(part) = POSTERN_PARTS.get_ptr_mut(self.held.place % PARTS_MAX) else {
            return false;
        };
        // SAFETY: an element of an array map lives as long as the map. Two CPUs that write to it at
        // once leave a mixture, whose mark is one of the two: at worst a wrong owner is noted, who
        // hands the connection over.
        let part = unsafe { &mut *part };
        part.mark = self.held.fingerprint;
        part.sequence = self.sequence.wrapping_add(self.segment.payload_size as u32);
        part.at = (extensions.at + PART_TAIL_SIZE).wrapping_sub(end) as u32;
        part.end = (extensions.end + PART_TAIL_SIZE).wrapping_sub(end) as u32;
        let at = (payload_end - PART_TAIL_SIZE) as u32;
        let tail: *mut u8 = part.tail.as_mut_ptr().cast();
        // SAFETY: the tail has as many bytes.
        let result =
            unsafe { bpf_xdp_load_bytes(self.context.ctx, at, tail.cast(), PART_TAIL_SIZE as u32) };
        result == 0
    }
}
