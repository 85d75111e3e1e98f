//! Whether a segment's connection has a socket, and if it has none, whether its cookie is one we
//! gave.

use super::maps::POSTERN_LISTENING;
use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{
    bpf_sock, bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1,
    bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
};
use aya_ebpf::helpers::generated::{
    bpf_sk_release, bpf_skc_lookup_tcp, bpf_tcp_check_syncookie, bpf_tcp_gen_syncookie,
};
use aya_ebpf::programs::XdpContext;
use ebpf::cursor::{Memory, WINDOW_SIZE};
use ebpf::listening_index;
use ebpf::packet::{Family, Flow, Segment};

/// TCP_LISTEN in the kernel's `enum`.
const STATE_LISTEN: u32 = 10;
/// `BPF_F_CURRENT_NETNS`: the namespace of the interface.
const NAMESPACE_CURRENT: u64 = u64::MAX;

const IPV4_SIZE: u32 = 20;
const IPV6_SIZE: u32 = 40;
const TCP_SIZE: u32 = 20;

/// What the kernel knows about a segment's connection.
#[derive(Clone, Copy)]
pub(super) enum Standing {
    /// It has a socket, or nothing of ours listens: none of our business.
    Connected,
    /// It has no socket, and its acknowledgement is a cookie that this kernel gave out.
    Proven,
    /// It has no socket, and proves nothing.
    Stranger,
}

/// `memory` holds the frame's headers; the segment is to the `listen`-th port.
#[inline(always)]
pub(super) fn standing(
    context: &XdpContext,
    memory: *const Memory,
    segment: &Segment,
    listen: u32,
) -> Standing {
    let socket = lookup(context, segment);
    if socket.is_null() {
        return Standing::Connected;
    }
    // SAFETY: not null, so it is a socket that we hold a reference to until it is released below.
    let state = unsafe { (*socket).state };
    let standing = if state != STATE_LISTEN || !ours(segment, listen) {
        Standing::Connected
    } else if cookie_is_ours(socket, memory, segment) {
        Standing::Proven
    } else {
        Standing::Stranger
    };
    // SAFETY: the reference taken above, given back once.
    unsafe { bpf_sk_release(socket.cast()) };
    standing
}

/// The cookie that answers a SYN to one of our listeners; none when it belongs to a socket of its
/// own (TIME_WAIT, say), or the kernel would not give one. `tcp_size`: 20 to 83 bytes of header
/// with options, a range the verifier sees.
#[inline(always)]
pub(super) fn cookie(
    context: &XdpContext,
    memory: *const Memory,
    segment: &Segment,
    listen: u32,
    tcp_size: u32,
) -> Option<u32> {
    let socket = lookup(context, segment);
    if socket.is_null() {
        return None;
    }
    // SAFETY: not null, so it is a socket that we hold a reference to until it is released below.
    let state = unsafe { (*socket).state };
    let (ip, ip_size, tcp) = headers(memory, segment);
    let cookie = if state != STATE_LISTEN || !ours(segment, listen) {
        -1
    } else {
        // SAFETY: `ip` and `tcp` point into the window with more than the given sizes behind them;
        // the helper only reads, and itself checks that the size is the one that the header says.
        unsafe { bpf_tcp_gen_syncookie(socket.cast(), ip.cast(), ip_size, tcp.cast(), tcp_size) }
    };
    // SAFETY: the reference taken above, given back once.
    unsafe { bpf_sk_release(socket.cast()) };
    // The cookie, and above it the MSS that it stands for.
    (cookie > 0).then_some(cookie as u32)
}

/// The socket that segments of this connection belong to, with a reference: its own, or a listener,
/// or null.
#[inline(always)]
fn lookup(context: &XdpContext, segment: &Segment) -> *mut bpf_sock {
    let (mut tuple, tuple_size) = tuple(&segment.flow, segment.family);
    // SAFETY: the helper asks for the program's context and a tuple of the family that the size
    // names.
    unsafe {
        bpf_skc_lookup_tcp(
            context.as_ptr(),
            &raw mut tuple,
            tuple_size,
            NAMESPACE_CURRENT,
            0,
        )
    }
}

/// Where IP and TCP header are, and the size of the first.
#[inline(always)]
fn headers(memory: *const Memory, segment: &Segment) -> (*mut u8, u32, *mut u8) {
    let ip_size = match segment.family {
        Family::V4 => IPV4_SIZE,
        Family::V6 => IPV6_SIZE,
    };
    let memory: *const u8 = memory.cast();
    // Headers lie in the window's first half. The masks show it to the verifier, which lost the
    // offsets' bounds.
    let ip = memory.wrapping_add(segment.ip_at & (WINDOW_SIZE / 2 - 1));
    let tcp = memory.wrapping_add(segment.tcp_at & (WINDOW_SIZE / 2 - 1));
    (ip.cast_mut(), ip_size, tcp.cast_mut())
}

/// Whether the listener is one of ours: another program may have the same port on another address.
#[inline(always)]
fn ours(segment: &Segment, listen: u32) -> bool {
    POSTERN_LISTENING
        .get(listening_index(listen, segment.family))
        .is_some_and(|listening| listening.covers(&segment.flow.destination_be))
}

#[inline(always)]
fn cookie_is_ours(listener: *mut bpf_sock, memory: *const Memory, segment: &Segment) -> bool {
    let (ip, ip_size, tcp) = headers(memory, segment);
    // SAFETY: `ip` and `tcp` point into the window with more than the given sizes behind them; the
    // helper only reads. Options need not be shown: the cookie is made of the fixed headers.
    let result = unsafe {
        bpf_tcp_check_syncookie(listener.cast(), ip.cast(), ip_size, tcp.cast(), TCP_SIZE)
    };
    result == 0
}

/// The tuple in the family's own layout, and that layout's size.
///
/// Every byte is written, also those that IPv4 does not have: LLVM would store whatever a register
/// holds there, and the verifier refuses it when that is a pointer.
#[inline(always)]
fn tuple(flow: &Flow, family: Family) -> (bpf_sock_tuple, u32) {
    let mut ipv6 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
        saddr: flow.source_be,
        daddr: flow.destination_be,
        sport: flow.source_port_be,
        dport: flow.destination_port_be,
    };
    let size = match family {
        Family::V4 => {
            let ports = u32::from(flow.source_port_be) | u32::from(flow.destination_port_be) << 16;
            ipv6.saddr = [flow.source_be[3], flow.destination_be[3], ports, 0];
            size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1>()
        }
        Family::V6 => size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2>(),
    };
    let tuple = bpf_sock_tuple {
        __bindgen_anon_1: bpf_sock_tuple__bindgen_ty_1 { ipv6 },
    };
    (tuple, size as u32)
}
