//! What happens to a frame: most pass at once; of a connection that has no socket yet, the bare ACK
//! is held back, and the ClientHello's host is looked up and noted.
//!
//! ```text
//!            to a port of ours, ACK only
//!     no payload                   payload
//!   socket exists → pass         neither like a hello nor held → pass
//!   cookie good   → hold         socket exists                 → pass
//!   held          → drop         cookie good                   → refuse admission, or note the owner, pass
//!   else          → pass         cookie bad: held → drop (it comes again), else pass;
//!                                            begun → go on with the ClientHello where the last segment ended, pass
//! ```
//!
//! Why hold the ACK: it would make a socket on a worker chosen by chance. The ClientHello carries
//! the same acknowledgement, so nothing is lost. Why drop a segment of a held connection whose
//! cookie is bad: it is a later one, or the FIN, that overtook the first. On an ordinary listener
//! there would be a socket to queue it; here the kernel would answer it with a reset. An ACK of a
//! held connection whose cookie is bad is a keepalive probe, for which the same is true. A cookie
//! is also good for the numbers next to its own, because its lowest bits tell the MSS: data that
//! does not begin where the held ACK said, and is no ClientHello, is such a probe's byte, or
//! overtook the first one. All this only for as long as the cookie is believed: after that the
//! reset is what the client has to know.
//!
//! A ClientHello whose name has not arrived has begun: it is passed, and remembered. The stack gets
//! frames at the end of a receive batch, and the next segment is mostly in it: then the note stands
//! before the listener is looked for.

use super::data::Data;
use super::held::Held;
use super::maps::{
    POSTERN_ADMISSION, POSTERN_NOTES, POSTERN_PORTS, POSTERN_WINDOW, counters, forgotten,
};
use super::socket::{self, Standing};
use super::{admission, answer, quick};
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::helpers::generated::{bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::programs::XdpContext;
use ebpf::cursor::{Cursor as _, Memory, Window};
use ebpf::packet::{self, ACK, FIN, RST, SYN};
use ebpf::{Counters, Decided, is_noted_elsewhere, listener_index, note};

/// Bytes copied of every frame. Headers with all their options are longer only in theory; then the
/// frame passes.
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
    if flags & !FIN != ACK {
        return None;
    }
    let held = Held::of(&segment);
    let sequence = u32::from_be(headers.raw32(segment.tcp_at + 4)?);
    let like_hello = headers.u8(segment.payload_at) == Some(RECORD_HANDSHAKE);
    let marked = held.marked();
    let plain = flags == ACK && (segment.payload_size == 0 || like_hello || held.begun());
    if !plain && !marked {
        return None;
    }
    // The kernel would ask for the noted listener for our question as well, and the note, which is
    // used once, would be gone before its segment reaches the stack.
    let noted = POSTERN_NOTES.get(held.place).copied().unwrap_or(0);
    let noted = !marked && is_noted_elsewhere(noted, held.fingerprint, sequence);
    let [flags, like_hello, marked, noted] = forgotten([
        usize::from(flags),
        usize::from(like_hello),
        usize::from(marked),
        usize::from(noted),
    ])?;
    if noted != 0 {
        return None;
    }
    let (like_hello, marked) = (like_hello != 0, marked != 0);
    let standing = socket::standing(context, memory, &segment, listen - 1);
    if flags != usize::from(ACK) {
        if matches!(standing, Standing::Stranger) {
            counters.overtaken += 1;
            return Some(XDP_DROP);
        }
        return None;
    }
    if segment.payload_size == 0 {
        return Some(bare_ack(counters, standing, held, sequence, marked));
    }
    let resumed = match standing {
        Standing::Connected => {
            held.clear();
            return None;
        }
        Standing::Stranger if marked => {
            counters.overtaken += 1;
            return Some(XDP_DROP);
        }
        Standing::Stranger if held.begun() => true,
        Standing::Stranger => {
            counters.cookies_bad += 1;
            if let Some(admission) = POSTERN_ADMISSION.get(0) {
                admission::trace(
                    admission,
                    admission::event(segment.flow, Decided::BadCookie, false),
                );
            }
            return None;
        }
        Standing::Proven if !like_hello && marked && !held.is_next(sequence) => {
            counters.overtaken += 1;
            return Some(XDP_DROP);
        }
        Standing::Proven => false,
    };
    let admission = POSTERN_ADMISSION.get(0)?;
    let data = Data {
        context,
        memory,
        frame_size,
        segment: &segment,
        sequence,
        held,
    };
    let event = data.decide(counters, admission, resumed)?;
    admission::trace(admission, event);
    if event.dropped != 0 {
        // It comes again, and until then nothing of its connection may reach the stack.
        held.mark(sequence);
        return Some(XDP_DROP);
    }
    let steered = event.decided == Decided::Steered as u32;
    if event.decided != Decided::Split as u32 {
        held.clear();
    }
    if let Some(slot) = POSTERN_NOTES.get_ptr_mut(held.place) {
        let index = listener_index(event.worker, listen - 1, segment.family);
        let value = note(held.fingerprint, sequence, index);
        if steered {
            // SAFETY: an element of an array map lives as long as the map; an aligned word is
            // written whole.
            unsafe { slot.write_volatile(value) };
            counters.noted += 1;
        }
    }
    Some(XDP_PASS)
}

#[inline(always)]
fn bare_ack(
    counters: &mut Counters,
    standing: Standing,
    held: Held,
    sequence: u32,
    marked: bool,
) -> u32 {
    let probe = marked && held.is_next(sequence.wrapping_add(1));
    match standing {
        Standing::Proven if !probe => {
            held.mark(sequence);
            counters.held += 1;
            XDP_DROP
        }
        Standing::Proven | Standing::Stranger if marked => {
            counters.overtaken += 1;
            XDP_DROP
        }
        Standing::Connected | Standing::Proven | Standing::Stranger => XDP_PASS,
    }
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
pub(super) fn load(
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
