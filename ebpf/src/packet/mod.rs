//! A frame's headers, down to where the TCP payload begins.
//!
//! Ethernet II with up to two VLAN tags (802.1Q, 802.1ad), IPv4 (RFC 791) with options, IPv6
//! (RFC 8200) with extension headers, TCP (RFC 9293) with options. It reads and never decides:
//! checksums are the network stack's business, and what is not understood is an [`Unread`] with a
//! reason, for which the caller passes the frame on untouched.
//!
//! ```text
//!  0        6        12    14 (+4 per tag)      ip_at + header          tcp_at + header
//!  | to     | from   | type | ip header, options | tcp header, options  | payload …
//! ```

use crate::cursor::Cursor;

/// VLAN tags that are skipped: one customer tag in one service tag (QinQ).
pub const VLAN_TAGS_MAX: usize = 2;

/// IPv6 extension headers that are skipped. Real traffic has none or one; more is left to the stack.
pub const IPV6_EXTENSIONS_MAX: usize = 4;

const ETHERNET_SIZE: usize = 14;
const VLAN_SIZE: usize = 4;
const IPV4_SIZE_MIN: usize = 20;
const IPV6_SIZE: usize = 40;
const TCP_SIZE_MIN: usize = 20;

const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;
const TYPE_VLAN: u16 = 0x8100;
const TYPE_SERVICE_VLAN: u16 = 0x88a8;

const PROTOCOL_HOP_BY_HOP: u8 = 0;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_ROUTING: u8 = 43;
const PROTOCOL_FRAGMENT: u8 = 44;
const PROTOCOL_DESTINATION: u8 = 60;

/// TCP's FIN bit, in the byte of flags.
pub const FIN: u8 = 0x01;
/// TCP's SYN bit.
pub const SYN: u8 = 0x02;
/// TCP's RST bit.
pub const RST: u8 = 0x04;
/// TCP's ACK bit.
pub const ACK: u8 = 0x10;

/// Which Internet protocol carried a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// 0 for IPv4, 1 for IPv6: its place in tables.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::V4 => 0,
            Self::V6 => 1,
        }
    }
}

/// Both ends of a connection, as a key of maps.
///
/// Everything is in network order as it lay in the frame. An IPv4 address is the IPv6 address that
/// maps it (`::ffff:a.b.c.d`, RFC 4291 §2.5.5.2), so that one map serves both families.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Flow {
    /// The client's address.
    pub source_be: [u32; 4],
    /// Our address.
    pub destination_be: [u32; 4],
    /// The client's port.
    pub source_port_be: u16,
    /// Our port.
    pub destination_port_be: u16,
}

const _: () = assert!(size_of::<Flow>() == 36);

impl Flow {
    /// A hash for spreading connections over places and workers. Not a secret one: a client that
    /// chooses addresses and ports can choose it.
    #[inline(always)]
    #[must_use]
    pub const fn hash(&self) -> u64 {
        let [a, b, c, d] = self.source_be;
        let ports = (self.source_port_be as u64) << 16 | self.destination_port_be as u64;
        let mut hash = mixed(ports, (a as u64) << 32 | b as u64);
        hash = mixed(hash, (c as u64) << 32 | d as u64);
        // Neighbouring ports must differ in the low bits that choose a place and in the high ones
        // that name it.
        hash ^ hash >> 29
    }
}

/// One step of a multiplicative hash (the multiplier of SplitMix64).
#[inline(always)]
const fn mixed(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    product ^ product >> 32
}

/// An IPv4 address, given as it lies in memory, as the mapping IPv6 address.
#[inline(always)]
#[must_use]
pub const fn mapped(address_be: u32) -> [u32; 4] {
    [0, 0, 0x0000_ffff_u32.to_be(), address_be]
}

/// One TCP segment, located.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Segment {
    /// The Internet protocol.
    pub family: Family,
    /// Both ends.
    pub flow: Flow,
    /// The byte of TCP flags; compare with [`SYN`] and its like.
    pub flags: u8,
    /// Offset of the IP header in the frame.
    pub ip_at: usize,
    /// Offset of the TCP header.
    pub tcp_at: usize,
    /// Offset of the first byte of payload.
    pub payload_at: usize,
    /// Bytes of payload by the IP header's word, checked against the frame's size. Link padding is
    /// not counted.
    pub payload_size: usize,
}

/// Why a frame is not a segment we can read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unread {
    /// Neither IPv4 nor IPv6 below at most [`VLAN_TAGS_MAX`] tags.
    NotIp,
    /// IP, but not TCP.
    NotTcp,
    /// A part of a datagram; only the first one has ports.
    Fragment,
    /// The bytes end within a header.
    Truncated,
    /// A length that cannot be: a header shorter than its minimum, a datagram longer than its frame.
    Inconsistent,
    /// More than [`IPV6_EXTENSIONS_MAX`] extension headers, or a jumbogram.
    TooDeep,
}

/// Where TCP starts, and where the datagram that carries it ends.
struct Datagram {
    family: Family,
    source_be: [u32; 4],
    destination_be: [u32; 4],
    tcp_at: usize,
    end: usize,
}

/// Reads the headers of a frame of `frame_size` bytes, of which `frame` holds the first ones.
///
/// # Errors
/// [`Unread`], when this is not a whole TCP segment of a kind we know.
#[inline(always)]
pub fn segment<C: Cursor + ?Sized>(frame: &C, frame_size: usize) -> Result<Segment, Unread> {
    let (kind, ip_at) = link(frame)?;
    let datagram = match kind {
        TYPE_IPV4 => ipv4(frame, ip_at)?,
        TYPE_IPV6 => ipv6(frame, ip_at)?,
        _ => return Err(Unread::NotIp),
    };
    if datagram.end > frame_size {
        return Err(Unread::Inconsistent);
    }
    tcp(frame, ip_at, &datagram)
}

/// The type of what the link layer carries and its offset, below any VLAN tags.
#[inline(always)]
fn link<C: Cursor + ?Sized>(frame: &C) -> Result<(u16, usize), Unread> {
    let mut kind = frame.be16(ETHERNET_SIZE - 2).ok_or(Unread::Truncated)?;
    let mut at = ETHERNET_SIZE;
    for _ in 0..VLAN_TAGS_MAX {
        if kind != TYPE_VLAN && kind != TYPE_SERVICE_VLAN {
            break;
        }
        kind = frame.be16(at + 2).ok_or(Unread::Truncated)?;
        at += VLAN_SIZE;
    }
    Ok((kind, at))
}

#[inline(always)]
fn ipv4<C: Cursor + ?Sized>(frame: &C, at: usize) -> Result<Datagram, Unread> {
    let first = frame.u8(at).ok_or(Unread::Truncated)?;
    let header_size = usize::from(first & 0x0f) * 4;
    let total_size = usize::from(frame.be16(at + 2).ok_or(Unread::Truncated)?);
    let fragment = frame.be16(at + 6).ok_or(Unread::Truncated)?;
    let protocol = frame.u8(at + 9).ok_or(Unread::Truncated)?;
    let source = frame.raw32(at + 12).ok_or(Unread::Truncated)?;
    let destination = frame.raw32(at + 16).ok_or(Unread::Truncated)?;
    if first >> 4 != 4 || header_size < IPV4_SIZE_MIN || total_size < header_size {
        return Err(Unread::Inconsistent);
    }
    // More fragments follow, or this is not the first one. "Don't fragment" is neither.
    if fragment & 0x3fff != 0 {
        return Err(Unread::Fragment);
    }
    if protocol != PROTOCOL_TCP {
        return Err(Unread::NotTcp);
    }
    Ok(Datagram {
        family: Family::V4,
        source_be: mapped(source),
        destination_be: mapped(destination),
        tcp_at: at + header_size,
        end: at + total_size,
    })
}

#[inline(always)]
fn ipv6<C: Cursor + ?Sized>(frame: &C, at: usize) -> Result<Datagram, Unread> {
    let version = frame.u8(at).ok_or(Unread::Truncated)? >> 4;
    let payload_size = usize::from(frame.be16(at + 4).ok_or(Unread::Truncated)?);
    let mut next = frame.u8(at + 6).ok_or(Unread::Truncated)?;
    let source_be = raw128(frame, at + 8).ok_or(Unread::Truncated)?;
    let destination_be = raw128(frame, at + 24).ok_or(Unread::Truncated)?;
    if version != 6 {
        return Err(Unread::Inconsistent);
    }
    if payload_size == 0 {
        return Err(Unread::TooDeep);
    }
    let mut tcp_at = at + IPV6_SIZE;
    for _ in 0..IPV6_EXTENSIONS_MAX {
        match next {
            PROTOCOL_HOP_BY_HOP | PROTOCOL_ROUTING | PROTOCOL_DESTINATION => {
                next = frame.u8(tcp_at).ok_or(Unread::Truncated)?;
                let units = frame.u8(tcp_at + 1).ok_or(Unread::Truncated)?;
                // RFC 8200 §4.3: counted in eight bytes, the first eight not included.
                tcp_at += (usize::from(units) + 1) * 8;
            }
            _ => break,
        }
    }
    match next {
        PROTOCOL_TCP => Ok(Datagram {
            family: Family::V6,
            source_be,
            destination_be,
            tcp_at,
            end: at + IPV6_SIZE + payload_size,
        }),
        PROTOCOL_FRAGMENT => Err(Unread::Fragment),
        PROTOCOL_HOP_BY_HOP | PROTOCOL_ROUTING | PROTOCOL_DESTINATION => Err(Unread::TooDeep),
        _ => Err(Unread::NotTcp),
    }
}

#[inline(always)]
fn tcp<C: Cursor + ?Sized>(
    frame: &C,
    ip_at: usize,
    datagram: &Datagram,
) -> Result<Segment, Unread> {
    let at = datagram.tcp_at;
    let source_port = frame.be16(at).ok_or(Unread::Truncated)?;
    let destination_port = frame.be16(at + 2).ok_or(Unread::Truncated)?;
    let header_size = usize::from(frame.u8(at + 12).ok_or(Unread::Truncated)? >> 4) * 4;
    let flags = frame.u8(at + 13).ok_or(Unread::Truncated)?;
    let payload_at = at + header_size;
    if header_size < TCP_SIZE_MIN || payload_at > datagram.end {
        return Err(Unread::Inconsistent);
    }
    Ok(Segment {
        family: datagram.family,
        flow: Flow {
            source_be: datagram.source_be,
            destination_be: datagram.destination_be,
            source_port_be: source_port.to_be(),
            destination_port_be: destination_port.to_be(),
        },
        flags,
        ip_at,
        tcp_at: at,
        payload_at,
        payload_size: datagram.end - payload_at,
    })
}

#[inline(always)]
fn raw128<C: Cursor + ?Sized>(frame: &C, at: usize) -> Option<[u32; 4]> {
    Some([
        frame.raw32(at)?,
        frame.raw32(at + 4)?,
        frame.raw32(at + 8)?,
        frame.raw32(at + 12)?,
    ])
}

#[cfg(test)]
mod tests;
