//! The quick way for what is nearly all traffic: data of connections that have a socket.
//!
//! Looks at the packet where it lies, at fixed offsets: Ethernet without tags, IPv4 without options
//! or IPv6 without extension headers, TCP. Answers only that a segment is nothing to us; whatever
//! is not plainly so goes the long way, which copies the frame and reads it with the parser that
//! both sides share.

use super::answer;
use super::maps::{POSTERN_HELD, POSTERN_PORTS};
use aya_ebpf::programs::XdpContext;
use ebpf::packet::{ACK, FIN, Flow, RST, SYN, mapped};
use ebpf::{is_held, placed_mark};

const ETHERNET_SIZE: usize = 14;
const IPV4_SIZE: usize = 20;
const IPV6_SIZE: usize = 40;
const TCP_SIZE: usize = 20;

const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;
const PROTOCOL_TCP: u8 = 6;
const RECORD_HANDSHAKE: u8 = 22;

/// Reads a number at an offset of which the caller has checked that it lies in the packet.
macro_rules! read {
    ($data:ident, $at:expr, $kind:ty) => {{
        // SAFETY: `$at` and the number's bytes behind it are within what was compared with the
        // packet's end.
        unsafe {
            ($data as *const u8)
                .add($at)
                .cast::<$kind>()
                .read_unaligned()
        }
    }};
}

/// Whether the frame is a segment that is nothing to us.
#[inline(always)]
pub(super) fn is_nothing(context: &XdpContext) -> bool {
    let (data, end) = (context.data(), context.data_end());
    if data + ETHERNET_SIZE + IPV4_SIZE + TCP_SIZE > end {
        return false;
    }
    match u16::from_be(read!(data, 12, u16)) {
        TYPE_IPV4 => {
            let plain = read!(data, 14, u8) == 0x45
                && u16::from_be(read!(data, 20, u16)) & 0x3fff == 0
                && read!(data, 23, u8) == PROTOCOL_TCP;
            if !plain {
                return false;
            }
            let flow = || Flow {
                source_be: mapped(read!(data, 26, u32)),
                destination_be: mapped(read!(data, 30, u32)),
                source_port_be: read!(data, 34, u16),
                destination_port_be: read!(data, 36, u16),
            };
            let size = usize::from(u16::from_be(read!(data, 16, u16)));
            let (Some(size), flags) = (size.checked_sub(IPV4_SIZE), read!(data, 47, u8)) else {
                return false;
            };
            let options = usize::from(read!(data, 46, u8) >> 4) * 4;
            let payload = data + ETHERNET_SIZE + IPV4_SIZE + options;
            let first = || (payload < end).then(|| read!(payload, 0, u8));
            is_data(size, options, flags, first, read!(data, 36, u16), flow)
        }
        TYPE_IPV6 => {
            if data + ETHERNET_SIZE + IPV6_SIZE + TCP_SIZE > end
                || read!(data, 20, u8) != PROTOCOL_TCP
            {
                return false;
            }
            let words = |at: usize| {
                [
                    read!(data, at, u32),
                    read!(data, at + 4, u32),
                    read!(data, at + 8, u32),
                    read!(data, at + 12, u32),
                ]
            };
            let flow = || Flow {
                source_be: words(22),
                destination_be: words(38),
                source_port_be: read!(data, 54, u16),
                destination_port_be: read!(data, 56, u16),
            };
            let size = usize::from(u16::from_be(read!(data, 18, u16)));
            let options = usize::from(read!(data, 66, u8) >> 4) * 4;
            let flags = read!(data, 67, u8);
            let payload = data + ETHERNET_SIZE + IPV6_SIZE + options;
            let first = || (payload < end).then(|| read!(payload, 0, u8));
            is_data(size, options, flags, first, read!(data, 56, u16), flow)
        }
        _ => false,
    }
}

/// `size` bytes of TCP, `header` of them header, then a byte `first`, if it is there: is it to none
/// of our ports, or data that begins no ClientHello, of a connection whose ACK was not held back?
#[inline(always)]
fn is_data(
    size: usize,
    header: usize,
    flags: u8,
    first: impl FnOnce() -> Option<u8>,
    port_be: u16,
    flow: impl FnOnce() -> Flow,
) -> bool {
    let port = u32::from(u16::from_be(port_be));
    if POSTERN_PORTS.get(port).is_none_or(|listen| *listen == 0) {
        return true;
    }
    // Whatever begins or ends a connection passes on the long way as well, but for a SYN that is
    // answered here, and a FIN that overtook the first data.
    let flags = flags & (SYN | FIN | RST | ACK);
    if flags & !FIN != ACK {
        return flags != SYN || !answer::is_on();
    }
    if flags == ACK {
        if header < TCP_SIZE || size <= header {
            return false;
        }
        match first() {
            None | Some(RECORD_HANDSHAKE) => return false,
            Some(_) => {}
        }
    }
    let (place, mark) = placed_mark(&flow());
    POSTERN_HELD
        .get(place)
        .is_none_or(|held| !is_held(*held, mark))
}
