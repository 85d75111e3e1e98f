//! SYNs answered here, with a cookie of the kernel's, instead of in the stack: `steer.synproxy`,
//! off by default.
//!
//! The cookie is `bpf_tcp_gen_syncookie`'s, which the stack accepts like its own and which keeps
//! the listener's time of the last cookie fresh. Whatever is not plainly a SYN to one of our
//! addresses goes to the stack, which answers it itself.

use super::maps::{POSTERN_ADDRESSES, POSTERN_ANSWERING, POSTERN_REPLY, forgotten};
use super::socket;
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_TX};
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_xdp_adjust_tail, bpf_xdp_store_bytes};
use aya_ebpf::programs::XdpContext;
use ebpf::Counters;
use ebpf::cursor::{Cursor as _, Window};
use ebpf::packet::Segment;
use ebpf::reply::{OPTIONS_MAX, Options, REPLY_IP_AT, REPLY_WORDS, Reply};

/// Ethernet's least frame without its checksum; what is shorter is padded.
const FRAME_SIZE_MIN: usize = 60;
const TCP_SIZE_MIN: usize = 20;
const MACS_SIZE: u32 = 12;
/// A reply's bytes from the IP header on, as a mask: 84 at most, of 140.
const REPLY_SIZE_MASK: usize = 127;
const _: () = assert!((REPLY_WORDS - REPLY_IP_AT) * 4 >= REPLY_SIZE_MASK);

/// Whether SYNs are answered here.
#[inline(always)]
pub(super) fn is_on() -> bool {
    POSTERN_ANSWERING
        .get(0)
        .is_some_and(|answering| answering.on != 0)
}

/// Answers a SYN to the `listen`-th port; `None` leaves it to the stack, untouched.
#[inline(always)]
pub(super) fn syn(
    context: &XdpContext,
    frame_size: usize,
    counters: &mut Counters,
    headers: &Window<'_>,
    segment: &Segment,
    listen: u32,
) -> Option<u32> {
    let answering = POSTERN_ANSWERING.get(0)?;
    // To a group of machines, or to an address that is another's: a router sees such frames.
    if answering.on == 0 || headers.u8(0)? & 1 != 0 {
        return None;
    }
    // SAFETY: only whether it is there is asked.
    unsafe { POSTERN_ADDRESSES.get(segment.flow.destination_be) }?;
    let options = options(headers, segment)?;
    let sequence = u32::from_be(headers.raw32(segment.tcp_at + 4)?);
    let beyond = segment
        .payload_at
        .wrapping_sub(segment.tcp_at + TCP_SIZE_MIN);
    let [beyond, _, _, _] = forgotten([beyond, 0, 0, 0])?;
    // The mask shows the verifier what the parser has made sure of: there are at most 40 bytes of
    // options.
    let tcp_size = TCP_SIZE_MIN + (beyond & 63);
    let cookie = socket::cookie(context, headers.memory(), segment, listen, tcp_size as u32)?;
    let words = POSTERN_REPLY.get_ptr_mut(0)?;
    // SAFETY: this CPU's element, and no other code's while the program runs.
    let words = unsafe { &mut *words };
    let (destination, middle, source) = (headers.raw32(6)?, headers.be16(10)?, headers.raw32(2)?);
    let first = headers.be16(0)?;
    let reply = Reply {
        family: segment.family,
        flow: segment.flow,
        sequence,
        options,
        cookie,
        // SAFETY: the helper takes nothing and reads a clock.
        now_ns: unsafe { bpf_ktime_get_ns() },
    };
    let size = reply.write(words, answering);
    [words[0], words[1], words[2]] = [
        destination,
        (u32::from(middle) << 16 | u32::from(first)).to_be(),
        source,
    ];
    let verdict = send(context, frame_size, segment.ip_at, size, words)?;
    counters.answered += u64::from(verdict == XDP_TX);
    Some(verdict)
}

/// The SYN's options, one after the other.
#[inline(always)]
fn options(headers: &Window<'_>, segment: &Segment) -> Option<Options> {
    let end = segment.payload_at;
    let mut options = Options::NONE;
    let mut at = segment.tcp_at + TCP_SIZE_MIN;
    for _ in 0..OPTIONS_MAX {
        if at >= end {
            break;
        }
        (options, at) = options.next(headers, at, end);
        // Every turn looks alike to the verifier.
        let [found, timestamp_be, next, _] =
            forgotten([options.found as usize, options.timestamp_be as usize, at, 0])?;
        options = Options {
            found: found as u32,
            timestamp_be: timestamp_be as u32,
        };
        at = next;
    }
    Some(options)
}

/// Writes the reply over the SYN: addresses of the link in front, then, behind any VLAN tags, its
/// headers.
#[inline(always)]
fn send(
    context: &XdpContext,
    frame_size: usize,
    ip_at: usize,
    size: u32,
    words: &[u32; REPLY_WORDS],
) -> Option<u32> {
    let wanted = ip_at + size as usize;
    let wanted = if wanted < FRAME_SIZE_MIN {
        FRAME_SIZE_MIN
    } else {
        wanted
    };
    let change = wanted as i32 - frame_size as i32;
    // SAFETY: the helper asks for the program's own context, and refuses a size that cannot be.
    if unsafe { bpf_xdp_adjust_tail(context.ctx, change) } != 0 {
        return None;
    }
    let [size, ip_at, _, _] = forgotten([wanted - ip_at, ip_at, 0, 0])?;
    let size = (size & (REPLY_SIZE_MASK)) as u32;
    if size == 0 {
        return Some(XDP_DROP);
    }
    let bytes: *const u32 = words.as_ptr();
    let ip = bytes.wrapping_add(REPLY_IP_AT);
    // SAFETY: three words, of at least as many.
    let macs = unsafe { bpf_xdp_store_bytes(context.ctx, 0, bytes.cast_mut().cast(), MACS_SIZE) };
    // SAFETY: the mask leaves at most as many bytes as there are words behind the first three.
    let done = macs == 0
        && unsafe { bpf_xdp_store_bytes(context.ctx, ip_at as u32, ip.cast_mut().cast(), size) }
            == 0;
    // The frame is no SYN any more; the client will send another one.
    Some(if done { XDP_TX } else { XDP_DROP })
}
