//! The SYN-ACK with which a SYN is answered before the kernel's stack sees it.
//!
//! Reads a SYN's options (RFC 9293 §3.2, RFC 7323, RFC 2018) and writes an IP and a TCP header with
//! their checksums. As the kernel does for its own cookies (`cookie_init_timestamp`), options that
//! must be known again when the client answers are in the timestamp's low bits; without a timestamp
//! there are none. It finds no cookie, sends nothing and decides nothing.
//!
//! ```text
//! words  0        3                5 or 10 behind it                      at most 10 of TCP
//!        | macs   | ip header      | tcp: ports, seq, ack, flags, sum     | MSS | SACK TS … … | WS |
//! ```

use crate::Answering;
use crate::cursor::Cursor;
use crate::packet::{ACK, Family, Flow, SYN};

/// Words of a reply: two Ethernet addresses, the longer IP header, the longest TCP header; the rest
/// stays zero and pads.
pub const REPLY_WORDS: usize = 35;

/// Where in a reply the IP header begins, in words.
pub const REPLY_IP_AT: usize = 3;

/// Options of a SYN at most: one a byte.
pub const OPTIONS_MAX: usize = 40;

const IPV4_SIZE: u32 = 20;
const IPV6_SIZE: u32 = 40;
const PROTOCOL_TCP: u32 = 6;
/// What the kernel sends by default.
const HOPS: u32 = 64;

const KIND_END: u8 = 0;
const KIND_NOTHING: u8 = 1;
const KIND_WINDOW_SCALE: u8 = 3;
const KIND_SACK: u8 = 4;
const KIND_TIMESTAMP: u8 = 8;

/// In the low bits of our timestamp: the client's window scale, or this for none
/// (`TS_OPT_WSCALE_MASK`).
const SCALE_NONE: u32 = 0xf;
/// `TS_OPT_SACK`.
const SACK: u32 = 1 << 4;
/// Of the bits of [`Options::found`], one that is in no timestamp: the client sent one.
const TIMESTAMP: u32 = 1 << 8;
/// Low bits of the timestamp that are taken (`TSBITS`).
const TAKEN_BITS: u32 = 6;
/// RFC 7323 §2.3.
const SCALE_MAX: u32 = 14;

/// A SYN's options as far as they have been read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Options {
    /// Scale, SACK and whether there is a timestamp, as bits.
    pub found: u32,
    /// The client's timestamp, as it lies in the frame.
    pub timestamp_be: u32,
}

impl Options {
    /// None read yet.
    pub const NONE: Self = Self {
        found: SCALE_NONE,
        timestamp_be: 0,
    };

    /// Reads the option at `at`, of those that end at `end`, and answers where the next one is: at
    /// `end` when there is none.
    #[inline(always)]
    #[must_use]
    pub fn next<C: Cursor + ?Sized>(self, frame: &C, at: usize, end: usize) -> (Self, usize) {
        let kind = frame.u8(at).unwrap_or(KIND_END);
        if kind == KIND_NOTHING {
            return (self, at + 1);
        }
        let size = usize::from(frame.u8(at + 1).unwrap_or(0));
        if kind == KIND_END || size < 2 || at + size > end {
            return (self, end);
        }
        let read = match (kind, size) {
            (KIND_WINDOW_SCALE, 3) => {
                let scale = u32::from(frame.u8(at + 2).unwrap_or(0));
                let scale = if scale > SCALE_MAX { SCALE_MAX } else { scale };
                Self {
                    found: self.found & !SCALE_NONE | scale,
                    ..self
                }
            }
            (KIND_SACK, 2) => Self {
                found: self.found | SACK,
                ..self
            },
            (KIND_TIMESTAMP, 10) => Self {
                found: self.found | TIMESTAMP,
                timestamp_be: frame.raw32(at + 2).unwrap_or(0),
            },
            _ => self,
        };
        (read, at + size)
    }
}

/// What a SYN-ACK is made of.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    /// The Internet protocol.
    pub family: Family,
    /// The SYN's ends: the reply goes the other way.
    pub flow: Flow,
    /// The SYN's sequence number.
    pub sequence: u32,
    /// The SYN's options.
    pub options: Options,
    /// The cookie.
    pub cookie: u32,
    /// The kernel's monotonic clock, in nanoseconds.
    pub now_ns: u64,
}

impl Reply {
    /// Writes IP and TCP headers from [`REPLY_IP_AT`] on, zeros behind them, and answers how many
    /// bytes they are.
    #[inline(always)]
    pub fn write(&self, words: &mut [u32; REPLY_WORDS], answering: &Answering) -> u32 {
        let [_, _, _, rest @ ..] = words;
        let (tcp, tcp_size) = self.tcp(answering);
        let [p, q, r, s, t, u, v, w, x, y] = tcp;
        match self.family {
            Family::V4 => {
                let first = (0x4500_0000 | (IPV4_SIZE + tcp_size)).to_be();
                // Don't fragment.
                let second = 0x0000_4000_u32.to_be();
                let third = (HOPS << 24 | PROTOCOL_TCP << 16).to_be();
                let [_, _, _, from] = self.flow.destination_be;
                let [_, _, _, to] = self.flow.source_be;
                let sum = first as u64 + second as u64 + third as u64 + from as u64 + to as u64;
                let third = third | low(checksum(sum));
                *rest = [
                    first, second, third, from, to, p, q, r, s, t, u, v, w, x, y, 0, 0, 0, 0, 0, 0,
                    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                ];
                IPV4_SIZE + tcp_size
            }
            Family::V6 => {
                let first = 0x6000_0000_u32.to_be();
                let second = (tcp_size << 16 | PROTOCOL_TCP << 8 | HOPS).to_be();
                let [a, b, c, d] = self.flow.destination_be;
                let [e, f, g, h] = self.flow.source_be;
                *rest = [
                    first, second, a, b, c, d, e, f, g, h, p, q, r, s, t, u, v, w, x, y, 0, 0, 0,
                    0, 0, 0, 0, 0, 0, 0, 0, 0,
                ];
                IPV6_SIZE + tcp_size
            }
        }
    }

    /// The TCP header, zeros behind it, and its size in bytes.
    #[inline(always)]
    fn tcp(&self, answering: &Answering) -> ([u32; 10], u32) {
        let found = self.options.found & answering.options;
        let mss = match self.family {
            Family::V4 => answering.mss_ipv4,
            Family::V6 => answering.mss_ipv6,
        };
        // What the client offered and the kernel does not want is not remembered either.
        let scale = if answering.options & SCALE_NONE == 0 {
            SCALE_NONE
        } else {
            self.options.found & SCALE_NONE
        };
        let (size, sack, stamp, echo, shift) = if found & TIMESTAMP == 0 {
            (24, 0, 0, 0, 0)
        } else {
            let sack = if found & SACK == 0 {
                0x0101_080a_u32
            } else {
                0x0402_080a
            };
            let stamp = timestamp(self.now_ns, scale | found & SACK);
            let (size, shift) = if scale == SCALE_NONE {
                (36, 0)
            } else {
                (40, 0x0103_0300 | answering.window_scale & 0xff)
            };
            (size, sack, stamp, self.options.timestamp_be, shift)
        };
        let flags = (SYN | ACK) as u32;
        let ports = word(self.flow.destination_port_be, self.flow.source_port_be);
        let header = [
            ports,
            self.cookie.to_be(),
            self.sequence.wrapping_add(1).to_be(),
            (size << 26 | flags << 16 | answering.window & 0xffff).to_be(),
            0,
            (0x0204_0000 | mss & 0xffff).to_be(),
            sack.to_be(),
            stamp.to_be(),
            echo,
            shift.to_be(),
        ];
        let [a, b, c, d, _, f, g, h, i, j] = header;
        let sum = a as u64
            + b as u64
            + c as u64
            + d as u64
            + f as u64
            + g as u64
            + h as u64
            + i as u64
            + j as u64
            + (PROTOCOL_TCP << 16 | size).to_be() as u64
            + self.addresses();
        ([a, b, c, d, high(checksum(sum)), f, g, h, i, j], size)
    }

    /// The pseudo header's addresses, added up.
    #[inline(always)]
    fn addresses(&self) -> u64 {
        let [a, b, c, d] = self.flow.source_be;
        let [e, f, g, h] = self.flow.destination_be;
        let last = d as u64 + h as u64;
        match self.family {
            Family::V4 => last,
            Family::V6 => last + a as u64 + b as u64 + c as u64 + e as u64 + f as u64 + g as u64,
        }
    }
}

/// Two half words in memory's order.
#[inline(always)]
const fn word(first_be: u16, second_be: u16) -> u32 {
    let ([a, b], [c, d]) = (first_be.to_ne_bytes(), second_be.to_ne_bytes());
    u32::from_ne_bytes([a, b, c, d])
}

/// A half word as the first of a word in memory.
#[inline(always)]
const fn high(half_be: u16) -> u32 {
    word(half_be, 0)
}

/// A half word as the second of a word in memory.
#[inline(always)]
const fn low(half_be: u16) -> u32 {
    word(0, half_be)
}

/// The Internet checksum (RFC 1071) of words that were added up as they lie in memory, which it
/// does not mind.
#[inline(always)]
const fn checksum(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let [a, b, ..] = sum.to_le_bytes();
    !u16::from_le_bytes([a, b])
}

/// The latest millisecond, not in the future, whose low bits are these.
#[inline(always)]
const fn timestamp(now_ns: u64, bits: u32) -> u32 {
    let now = now_ns / 1_000_000;
    let stamp = now >> TAKEN_BITS << TAKEN_BITS | bits as u64;
    let past = if stamp > now { 1 << TAKEN_BITS } else { 0 };
    (stamp.wrapping_sub(past) & 0xffff_ffff) as u32
}

impl Answering {
    /// [`Answering::options`]: scaling, SACK, timestamps, as the kernel's sysctls have them.
    #[must_use]
    pub const fn wanted(scaling: bool, sack: bool, timestamps: bool) -> u32 {
        let mut bits = 0;
        if scaling {
            bits |= SCALE_NONE;
        }
        if sack {
            bits |= SACK;
        }
        if timestamps {
            bits |= TIMESTAMP;
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::{Options, SACK, SCALE_NONE, TIMESTAMP, checksum, timestamp};

    #[test]
    fn options_end_where_they_must_whatever_they_say() {
        for (bytes, found) in [
            (&[][..], SCALE_NONE),
            (&[4, 2, 3, 3, 9], SACK | 9),
            (&[3, 3, 255], 14),
            (&[3, 3], SCALE_NONE),
            (&[4, 0, 4, 2], SCALE_NONE),
            (&[0, 4, 2], SCALE_NONE),
            (&[1, 1, 4, 2], SACK | SCALE_NONE),
            (&[8, 10, 1, 2, 3, 4, 0, 0, 0, 0], TIMESTAMP | SCALE_NONE),
            (&[8, 10, 1, 2, 3], SCALE_NONE),
            (&[254, 255, 4, 2], SCALE_NONE),
        ] {
            let (mut options, mut at, mut turns) = (Options::NONE, 0, 0);
            while at < bytes.len() {
                (options, at) = options.next(bytes, at, bytes.len());
                turns += 1;
            }
            assert!(turns <= bytes.len());
            assert_eq!(options.found, found, "{bytes:?}");
        }
    }

    #[test]
    fn the_timestamp_is_never_in_the_future() {
        for (now_ms, bits, wanted) in [(128, 0, 128), (128, 1, 65), (191, 63, 191), (190, 63, 127)]
        {
            assert_eq!(timestamp(now_ms * 1_000_000, bits), wanted);
        }
    }

    #[test]
    fn sums_carry_over() {
        assert_eq!(checksum(0), 0xffff);
        assert_eq!(checksum(u64::from(u32::MAX) * 9), 0);
    }
}
