//! What happens to a frame: most pass at once; of a connection that has no socket yet, the bare ACK is held
//! back, and the ClientHello's host is looked up and noted.
//!
//! ```text
//!            to a port of ours, ACK only
//!     no payload                   payload
//!   socket exists → pass         neither like a hello nor held → pass
//!   cookie good   → hold         socket exists                 → pass
//!   held          → drop         cookie good                   → turn away at the door, or note the owner, pass
//!   else          → pass         cookie bad: held → drop (it comes again), else pass
//! ```
//!
//! Why hold the ACK: it would make a socket on a worker chosen by chance. The ClientHello carries the same
//! acknowledgement, so nothing is lost. Why drop a segment of a held connection whose cookie is bad: it is a
//! later one that overtook the first. On an ordinary listener there would be a socket to queue it; here the
//! kernel would answer it with a reset. An ACK of a held connection whose cookie is bad is a keepalive probe, for which the
//! same is true. Both only for as long as the cookie is believed: after that the reset is what the client has to know.

use super::maps::{
    POSTERN_DOOR, POSTERN_HELD, POSTERN_HOSTS, POSTERN_NOTES, POSTERN_PARTS, POSTERN_PORTS,
    POSTERN_WINDOW, count_host, counters, forgotten,
};
use super::socket::{self, Standing};
use super::{answer, door, quick};
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::helpers::generated::{
    bpf_ktime_get_coarse_ns, bpf_xdp_get_buff_len, bpf_xdp_load_bytes,
};
use aya_ebpf::programs::XdpContext;
use ebpf::cursor::{Cursor as _, Memory, WINDOW_SIZE, Window};
use ebpf::hello::{self, Extensions, Hello, NAMELESS_KEY};
use ebpf::packet::{self, ACK, FIN, RST, SYN, Segment};
use ebpf::{
    Counters, Decided, Door, OWNERS_MAX, PART_TAIL_SIZE, PARTS_MAX, Traced, begun, held, is_begun,
    is_held, is_held_still, listener_index, note, placed_mark,
};

/// Bytes copied of every frame. Headers with all their options are longer only in theory; then the frame passes.
const HEADERS_SIZE: usize = 192;

/// A TLS handshake record's first byte.
const RECORD_HANDSHAKE: u8 = 22;

/// What becomes of a frame; `None` when it is nothing to us.
#[inline(always)]
pub(super) fn frame(context: &XdpContext) -> Option<u32> {
    let counters = counters()?;
    counters.packets += 1;
    counters.bytes += (context.data_end() - context.data()) as u64;
    if quick::is_nothing(context) {
        return None;
    }
    let frame_size = size(context);
    let memory = POSTERN_WINDOW.get_ptr_mut(0)?;
    let headers = load(context, memory, frame_size, HEADERS_SIZE)?;
    let mut segment = packet::segment(&headers, frame_size).ok()?;
    [
        segment.ip_at,
        segment.tcp_at,
        segment.payload_at,
        segment.payload_size,
    ] = forgotten([
        segment.ip_at,
        segment.tcp_at,
        segment.payload_at,
        segment.payload_size,
    ])?;
    let port = u16::from_be(segment.flow.destination_port_be);
    let listen = *POSTERN_PORTS.get(u32::from(port))?;
    if listen == 0 {
        return None;
    }
    let flags = segment.flags & (SYN | FIN | RST | ACK);
    if flags == SYN {
        return answer::syn(
            context,
            frame_size,
            counters,
            &headers,
            &segment,
            listen - 1,
        );
    }
    if flags != ACK {
        return None;
    }
    let held = Held::of(&segment);
    if segment.payload_size == 0 {
        return Some(bare_ack(
            context,
            counters,
            &headers,
            &segment,
            listen - 1,
            held,
        ));
    }
    let like_hello = headers.u8(segment.payload_at) == Some(RECORD_HANDSHAKE);
    if !like_hello && !held.marked() && !held.begun() {
        return None;
    }
    let sequence = u32::from_be(headers.raw32(segment.tcp_at + 4)?);
    let resumed = match socket::standing(context, memory, &segment, listen - 1) {
        Standing::Connected => {
            held.clear();
            return None;
        }
        Standing::Stranger if held.marked() => {
            counters.overtaken += 1;
            return Some(XDP_DROP);
        }
        Standing::Stranger if held.begun() => true,
        Standing::Stranger => {
            counters.cookies_bad += 1;
            if let Some(door) = POSTERN_DOOR.get(0) {
                door::trace(door, door::event(segment.flow, Decided::BadCookie, false));
            }
            return None;
        }
        Standing::Proven => false,
    };
    let door = POSTERN_DOOR.get(0)?;
    let data = Data {
        context,
        memory,
        frame_size,
        segment: &segment,
        sequence,
        held,
    };
    let event = data.decide(counters, door, resumed)?;
    door::trace(door, event);
    if event.dropped != 0 {
        // It comes again, and until then nothing of its connection may reach the stack.
        held.mark();
        return Some(XDP_DROP);
    }
    let steered = event.decided == Decided::Steered as u32;
    if event.decided != Decided::Split as u32 {
        held.clear();
    }
    if let Some(slot) = POSTERN_NOTES.get_ptr_mut(held.place) {
        let index = listener_index(event.worker, listen - 1, segment.family);
        let value = note(held.fingerprint, index);
        if steered {
            // SAFETY: an element of an array map lives as long as the map; an aligned word is written whole.
            unsafe { slot.write_volatile(value) };
            counters.noted += 1;
        }
    }
    Some(XDP_PASS)
}

#[inline(always)]
fn bare_ack(
    context: &XdpContext,
    counters: &mut Counters,
    headers: &Window<'_>,
    segment: &Segment,
    listen: u32,
    held: Held,
) -> u32 {
    let memory = headers.memory();
    match socket::standing(context, memory, segment, listen) {
        Standing::Proven => {
            held.mark();
            counters.held += 1;
            XDP_DROP
        }
        Standing::Stranger if held.marked() => {
            counters.overtaken += 1;
            XDP_DROP
        }
        Standing::Connected | Standing::Stranger => XDP_PASS,
    }
}

/// Data of a connection that has no socket.
struct Data<'a> {
    context: &'a XdpContext,
    /// Holds the frame's headers.
    memory: *mut Memory,
    frame_size: usize,
    segment: &'a Segment,
    /// TCP's number of its first byte.
    sequence: u32,
    held: Held,
}

impl Data<'_> {
    /// Decides about the first data of a connection that has proven its address; counts the decision. `resumed`: about the
    /// next data after a part of a ClientHello, which has gone by: nothing is turned away any more, and `None` is no news.
    #[inline(always)]
    fn decide(&self, counters: &mut Counters, door: &Door, resumed: bool) -> Option<Traced> {
        let flow = self.segment.flow;
        let payload_end = self.segment.payload_at + self.segment.payload_size;
        let (extensions, size, end) = if resumed {
            let (extensions, size) = self.resume()?;
            (extensions, size, PART_TAIL_SIZE + self.segment.payload_size)
        } else {
            if !door::source_may(door, &flow, self.segment.family) {
                counters.source_budget += 1;
                return Some(door::event(flow, Decided::SourceBudget, true));
            }
            let frame = load(self.context, self.memory, self.frame_size, WINDOW_SIZE)?;
            match hello::start(&frame, self.segment.payload_at, payload_end) {
                Ok(extensions) => (extensions, frame.len(), payload_end),
                Err(Hello::Nameless) => (Extensions { at: 0, end: 0 }, frame.len(), payload_end),
                Err(Hello::Foreign) => {
                    counters.foreign += 1;
                    return Some(door::event(flow, Decided::ParseFailure, false));
                }
                Err(_) => {
                    counters.partial += 1;
                    self.held.clear();
                    return Some(door::event(flow, Decided::Split, false));
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
                return Some(door::event(flow, Decided::ParseFailure, false));
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
                return Some(door::event(flow, Decided::Split, false));
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
        // SAFETY: the map's elements are freed after a grace period that no running program outlasts, because it
        // is made without preallocation; what is read is one owner set or, at worst, half of its successor.
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
            ..door::event(flow, decided, dropped)
        };
        let Some(owners) = owners else {
            if resumed {
                return None;
            }
            if size == 0 {
                return Some(decided(Decided::NoSni, false));
            }
            counters.unknown += 1;
            let dropped = door.unknown_dropped != 0;
            counters.unknown_dropped += u64::from(dropped);
            return Some(decided(Decided::Unknown, dropped));
        };
        if !resumed && door::is_blocked(door, owners.zone, &flow) {
            counters.blocked += 1;
            // SAFETY: the field of a struct that the pointer points to.
            count_host(owners.counted_at, |counts| unsafe {
                &raw mut (*counts).blocked
            });
            return Some(decided(Decided::Blocked, true));
        }
        if !resumed && !door::host_may(door, exact) {
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

    /// Puts the tail of what has gone by and this segment behind it into the window; answers the extensions that are left,
    /// and how many bytes there are.
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
        // SAFETY: an element of an array map lives as long as the map. Two CPUs that write to it at once leave a
        // mixture, whose mark is one of the two: at worst a wrong owner is noted, who hands the connection over.
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

/// The mark that says a connection's bare ACK was held back.
#[derive(Clone, Copy)]
struct Held {
    place: u32,
    fingerprint: u32,
}

impl Held {
    #[inline(always)]
    fn of(segment: &Segment) -> Self {
        let (place, fingerprint) = placed_mark(&segment.flow);
        Self { place, fingerprint }
    }

    /// Whether it was, and not too long ago.
    #[inline(always)]
    fn marked(self) -> bool {
        let held = POSTERN_HELD.get(self.place);
        held.is_some_and(|held| {
            is_held(*held, self.fingerprint) && is_held_still(*held, self.fingerprint, second())
        })
    }

    /// Whether a part of the ClientHello was let through.
    #[inline(always)]
    fn begun(self) -> bool {
        let held = POSTERN_HELD.get(self.place);
        held.is_some_and(|held| is_begun(*held, self.fingerprint))
    }

    #[inline(always)]
    fn mark(self) {
        self.set(held(self.fingerprint, second()));
    }

    #[inline(always)]
    fn begin(self) {
        self.set(begun(self.fingerprint));
    }

    #[inline(always)]
    fn clear(self) {
        let held = POSTERN_HELD.get(self.place);
        if held.is_some_and(|held| is_held(*held, self.fingerprint)) {
            self.set(0);
        }
    }

    #[inline(always)]
    fn set(self, value: u64) {
        if let Some(place) = POSTERN_HELD.get_ptr_mut(self.place) {
            // SAFETY: an element of an array map lives as long as the map; an aligned word is written whole,
            // and of two CPUs' writes either may win.
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

/// The frame's bytes in all of its buffers.
#[inline(always)]
fn size(context: &XdpContext) -> usize {
    // SAFETY: the helper asks for the program's own context.
    let size = unsafe { bpf_xdp_get_buff_len(context.ctx) };
    size as usize
}

/// Copies the frame's first bytes, at most `limit`, into `memory`.
#[inline(always)]
fn load(
    context: &XdpContext,
    memory: *mut Memory,
    frame_size: usize,
    limit: usize,
) -> Option<Window<'static>> {
    let size = if frame_size > limit {
        limit
    } else {
        frame_size
    };
    if size == 0 {
        return None;
    }
    // SAFETY: `memory` is this CPU's window, WINDOW_SIZE bytes long, and `size` is at most that.
    let result = unsafe { bpf_xdp_load_bytes(context.ctx, 0, memory.cast(), size as u32) };
    if result != 0 {
        return None;
    }
    let [size, _, _, _] = forgotten([size, 0, 0, 0])?;
    // SAFETY: the window is a map's element: it stays, and it is ours until the program ends.
    Some(Window::new(unsafe { &*memory }, size))
}
