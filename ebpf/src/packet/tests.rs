//! Frames as tables, built by hand from their parts; then every truncation and every changed byte
//! of each.

use super::{ACK, Family, IPV6_EXTENSIONS_MAX, SYN, Unread, mapped, segment};
use proptest::prelude::*;

fn ethernet(tags: &[u16], kind: u16, rest: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x02; 12];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 7]);
    }
    frame.extend(kind.to_be_bytes());
    frame.extend(rest);
    frame
}

fn ipv4(options: &[u8], protocol: u8, fragment: u16, rest: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let mut packet = vec![0x40 | u8::try_from(header / 4).unwrap(), 0];
    packet.extend(u16::try_from(header + rest.len()).unwrap().to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 192, 0, 2, 1, 198, 51, 100, 7]);
    packet.extend(options);
    packet.extend(rest);
    packet
}

/// `next` is the first header's number; `rest` holds the extension headers as well.
fn ipv6(next: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    packet.extend([next, 64]);
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    packet.extend(rest);
    packet
}

fn ipv6_extension(next: u8, units: u8) -> Vec<u8> {
    let mut header = vec![next, units];
    header.resize((usize::from(units) + 1) * 8, 0);
    header
}

fn tcp(flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xc0, 0x01, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 2];
    bytes.push(u8::try_from((20 + options.len()) / 4).unwrap() << 4);
    bytes.push(flags);
    bytes.extend([0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend(options);
    bytes.extend(payload);
    bytes
}

/// The interesting part of a segment: family, where the payload is and how much, the flags.
type Seen = (Family, usize, usize, u8);

fn read(frame: &[u8]) -> Result<Seen, Unread> {
    segment(frame, frame.len()).map(|s| (s.family, s.payload_at, s.payload_size, s.flags))
}

fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(frame.len().max(60), 0);
    frame
}

#[test]
fn segments_are_found_below_every_kind_of_header() {
    let syn = tcp(SYN, &[2, 4, 5, 0xb4], b"");
    let data = tcp(ACK, &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2], b"hello");
    let table: Vec<(&str, Vec<u8>, Seen)> = vec![
        (
            "SYN",
            ethernet(&[], 0x0800, &ipv4(&[], 6, 0, &syn)),
            (Family::V4, 58, 0, SYN),
        ),
        (
            "padded to 60 bytes",
            padded(ethernet(&[], 0x0800, &ipv4(&[], 6, 0, &tcp(ACK, &[], b"")))),
            (Family::V4, 54, 0, ACK),
        ),
        (
            "data with timestamps",
            ethernet(&[], 0x0800, &ipv4(&[], 6, 0, &data)),
            (Family::V4, 66, 5, ACK),
        ),
        (
            "don't fragment",
            ethernet(&[], 0x0800, &ipv4(&[], 6, 0x4000, &data)),
            (Family::V4, 66, 5, ACK),
        ),
        (
            "IP options",
            ethernet(&[], 0x0800, &ipv4(&[1; 40], 6, 0, &data)),
            (Family::V4, 106, 5, ACK),
        ),
        (
            "VLAN",
            ethernet(&[0x8100], 0x0800, &ipv4(&[], 6, 0, &data)),
            (Family::V4, 70, 5, ACK),
        ),
        (
            "QinQ",
            ethernet(&[0x88a8, 0x8100], 0x86dd, &ipv6(6, &data)),
            (Family::V6, 94, 5, ACK),
        ),
        (
            "IPv6",
            ethernet(&[], 0x86dd, &ipv6(6, &data)),
            (Family::V6, 86, 5, ACK),
        ),
        (
            "IPv6 hop by hop",
            ethernet(
                &[],
                0x86dd,
                &ipv6(0, &[ipv6_extension(6, 0), data.clone()].concat()),
            ),
            (Family::V6, 94, 5, ACK),
        ),
        (
            "IPv6 two extensions",
            ethernet(
                &[],
                0x86dd,
                &ipv6(
                    60,
                    &[ipv6_extension(43, 1), ipv6_extension(6, 0), data.clone()].concat(),
                ),
            ),
            (Family::V6, 110, 5, ACK),
        ),
    ];
    for (description, frame, expected) in table {
        assert_eq!(read(&frame), Ok(expected), "{description}");
    }
}

#[test]
fn ends_are_kept_in_network_order() {
    let v4 = ethernet(&[], 0x0800, &ipv4(&[], 6, 0, &tcp(SYN, &[], b"")));
    let flow = segment(&v4[..], v4.len()).unwrap().flow;
    assert_eq!(flow.source_be, mapped(u32::from_ne_bytes([192, 0, 2, 1])));
    assert_eq!(
        flow.destination_be,
        mapped(u32::from_ne_bytes([198, 51, 100, 7]))
    );
    assert_eq!(flow.source_port_be.to_ne_bytes(), [0xc0, 0x01]);
    assert_eq!(flow.destination_port_be, 443u16.to_be());
    let octets = flow.destination_be.map(u32::to_ne_bytes).concat();
    let address = std::net::Ipv6Addr::from(<[u8; 16]>::try_from(octets).unwrap());
    assert_eq!(address.to_string(), "::ffff:198.51.100.7");
}

#[test]
fn what_is_not_a_whole_segment_has_a_reason() {
    let data = tcp(ACK, &[], b"hello");
    let good = ethernet(&[], 0x0800, &ipv4(&[], 6, 0, &data));
    let changed = |at: usize, byte: u8| {
        let mut frame = good.clone();
        frame[at] = byte;
        frame
    };
    let mut deep = data.clone();
    for _ in 0..=IPV6_EXTENSIONS_MAX {
        let next = if deep == data { 6 } else { 60 };
        deep = [ipv6_extension(next, 0), deep].concat();
    }
    let mut jumbogram = ethernet(&[], 0x86dd, &ipv6(6, &data));
    jumbogram[18..20].fill(0);
    let table: Vec<(&str, Vec<u8>, Unread)> = vec![
        ("ARP", ethernet(&[], 0x0806, &[0; 28]), Unread::NotIp),
        (
            "three tags",
            ethernet(&[0x8100; 3], 0x0800, &ipv4(&[], 6, 0, &data)),
            Unread::NotIp,
        ),
        (
            "a length instead of a type",
            ethernet(&[], 60, &[0; 60]),
            Unread::NotIp,
        ),
        (
            "UDP",
            ethernet(&[], 0x0800, &ipv4(&[], 17, 0, &data)),
            Unread::NotTcp,
        ),
        (
            "UDP over IPv6",
            ethernet(&[], 0x86dd, &ipv6(17, &data)),
            Unread::NotTcp,
        ),
        (
            "IPv6 authentication header",
            ethernet(&[], 0x86dd, &ipv6(51, &data)),
            Unread::NotTcp,
        ),
        (
            "first fragment",
            ethernet(&[], 0x0800, &ipv4(&[], 6, 0x2000, &data)),
            Unread::Fragment,
        ),
        (
            "later fragment",
            ethernet(&[], 0x0800, &ipv4(&[], 6, 100, &data)),
            Unread::Fragment,
        ),
        (
            "IPv6 fragment",
            ethernet(
                &[],
                0x86dd,
                &ipv6(44, &[ipv6_extension(6, 0), data.clone()].concat()),
            ),
            Unread::Fragment,
        ),
        (
            "too many extensions",
            ethernet(&[], 0x86dd, &ipv6(60, &deep)),
            Unread::TooDeep,
        ),
        ("a jumbogram", jumbogram, Unread::TooDeep),
        ("version 5", changed(14, 0x55), Unread::Inconsistent),
        (
            "IPv4 header of 16 bytes",
            changed(14, 0x44),
            Unread::Inconsistent,
        ),
        (
            "a datagram longer than its frame",
            changed(17, 200),
            Unread::Inconsistent,
        ),
        (
            "a datagram shorter than its header",
            changed(17, 19),
            Unread::Inconsistent,
        ),
        (
            "a datagram that ends in the TCP header",
            changed(17, 30),
            Unread::Inconsistent,
        ),
        (
            "TCP header of 16 bytes",
            changed(46, 0x40),
            Unread::Inconsistent,
        ),
        (
            "TCP header beyond the datagram",
            changed(46, 0xf0),
            Unread::Inconsistent,
        ),
        ("nothing", vec![], Unread::Truncated),
    ];
    for (description, frame, expected) in table {
        assert_eq!(read(&frame), Err(expected), "{description}");
    }
}

#[test]
fn a_frame_cut_anywhere_is_never_read_as_whole() {
    let data = tcp(ACK, &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2], b"hello");
    let frames = [
        ethernet(&[], 0x0800, &ipv4(&[1; 8], 6, 0, &data)),
        ethernet(
            &[0x88a8, 0x8100],
            0x86dd,
            &ipv6(0, &[ipv6_extension(6, 1), data].concat()),
        ),
    ];
    for frame in &frames {
        let whole = segment(&frame[..], frame.len()).unwrap();
        for size in 0..frame.len() {
            let cut = &frame[..size];
            assert!(
                matches!(
                    segment(cut, size),
                    Err(Unread::Truncated | Unread::Inconsistent)
                ),
                "{size} bytes of {}",
                frame.len()
            );
            // The same bytes as a window onto the whole frame: the headers suffice.
            let seen = segment(cut, frame.len());
            if size >= whole.payload_at {
                assert_eq!(seen, Ok(whole), "{size} bytes of {} in view", frame.len());
            }
        }
    }
}

proptest! {
    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), more in 0usize..2000) {
        let frame_size = bytes.len() + more;
        if let Ok(segment) = segment(&bytes[..], frame_size) {
            prop_assert!(segment.payload_at + segment.payload_size <= frame_size);
            prop_assert!(segment.ip_at < segment.tcp_at && segment.tcp_at < segment.payload_at);
        }
    }

    #[test]
    fn changed_bytes_never_panic(changes in prop::collection::vec((0usize..120, any::<u8>()), 1..4)) {
        let data = tcp(ACK, &[], b"hello");
        let mut frame = ethernet(&[0x8100], 0x86dd, &ipv6(0, &[ipv6_extension(6, 0), data].concat()));
        for (at, byte) in changes {
            let at = at % frame.len();
            frame[at] = byte;
        }
        if let Ok(segment) = segment(&frame[..], frame.len()) {
            prop_assert!(segment.payload_at + segment.payload_size <= frame.len());
        }
    }
}
