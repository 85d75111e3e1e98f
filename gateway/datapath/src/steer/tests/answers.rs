//! SYNs answered by the program, beside the kernel's own answers to the same SYNs: through raw
//! sockets and `BPF_PROG_TEST_RUN`, so that no network is needed.

use super::super::cookies::Cookies;
use super::super::{Listen, answering};
use super::{in_own_network, ip, loaded, received};
use ebpf::Answering;
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const SERVER: Ipv4Addr = Ipv4Addr::LOCALHOST;
const SEQUENCE: u32 = 0x0102_0304;
const LINK: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9];

/// A SYN from `port` with these options, and its checksum for these addresses.
fn syn(port: u16, options: &[u8], flags: u8, addresses: &[u8]) -> Vec<u8> {
    let mut bytes = [&port.to_be_bytes()[..], &443_u16.to_be_bytes()].concat();
    bytes.extend(SEQUENCE.to_be_bytes());
    bytes.extend([0; 4]);
    let words = u8::try_from(5 + options.len() / 4).unwrap();
    bytes.extend([words << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend(options);
    let sum = !sum(addresses, &bytes);
    bytes[16..18].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// The sum that a checksum makes 0xffff, pseudo header included.
fn sum(addresses: &[u8], tcp: &[u8]) -> u16 {
    let size = u16::try_from(tcp.len()).unwrap().to_be_bytes();
    added(&[addresses, &[0, 6], &size, tcp].concat())
}

fn added(bytes: &[u8]) -> u16 {
    let pairs = bytes.chunks(2);
    let all: u32 = pairs
        .map(|pair| {
            u32::from(u16::from_be_bytes([
                pair[0],
                pair.get(1).copied().unwrap_or(0),
            ]))
        })
        .sum();
    let once = (all & 0xffff) + (all >> 16);
    u16::try_from((once & 0xffff) + (once >> 16)).unwrap()
}

fn ipv4(tcp: &[u8]) -> Vec<u8> {
    let size = u16::try_from(20 + tcp.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x45, 0, size[0], size[1], 0, 1, 0x40, 0, 64, 6, 0, 0];
    packet.extend(CLIENT.octets());
    packet.extend(SERVER.octets());
    packet.extend(tcp);
    packet
}

/// What the stack answers to the SYN.
fn stack(tcp: &[u8]) -> Vec<u8> {
    let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP)).unwrap();
    raw.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    raw.bind(&SocketAddr::from((CLIENT, 0)).into()).unwrap();
    raw.send_to(tcp, &SocketAddr::from((SERVER, 0)).into())
        .unwrap();
    loop {
        let packet = received(&raw);
        if packet[20..22] == 443_u16.to_be_bytes() && packet[33] == 0x12 {
            return packet[20..].to_vec();
        }
    }
}

/// MSS, SACK, timestamp, window scale, as Linux sends them.
const LINUX: [u8; 20] = [
    2, 4, 5, 0xb4, 4, 2, 8, 10, 0xa, 0xb, 0xc, 0xd, 0, 0, 0, 0, 1, 3, 3, 9,
];

#[test]
fn the_program_answers_as_the_stack_does() {
    in_own_network("steer::answers", || {
        let Some(mut steering) = loaded("steer::answers") else {
            return;
        };
        ip("link set lo up");
        let state = std::env::temp_dir().join(format!("postern-answers-{}", std::process::id()));
        let cookies = Cookies::always_with(&state, true).unwrap();
        let _listener = TcpListener::bind((SERVER, 443)).unwrap();
        let _other = TcpListener::bind((Ipv6Addr::LOCALHOST, 443)).unwrap();
        let listen = Listen::new(0).unwrap();
        steering.listening(listen, SERVER.into()).unwrap();
        steering
            .listening(listen, Ipv6Addr::LOCALHOST.into())
            .unwrap();
        steering.port(443, listen).unwrap();
        let link = |kind: &[u8]| [&LINK[..], kind].concat();
        let plain = [2, 4, 5, 0xb4];
        let unanswered = [link(&[8, 0]), ipv4(&syn(40_000, &plain, 2, &ends()))].concat();
        assert_eq!(
            steering.try_answer(&unanswered).unwrap().0,
            XDP_PASS,
            "off until asked for"
        );

        let lo = [("lo".to_owned(), super::super::Attached::Native)];
        let wanted = answering::answering(&lo);
        let here = [SERVER.into(), Ipv6Addr::LOCALHOST.into()];
        steering.answer(wanted, &here).unwrap();
        for (at, options) in (0_u16..).zip([
            LINUX.to_vec(),
            plain.to_vec(),
            vec![],
            vec![2, 4, 5, 0xb4, 1, 3, 3, 9, 4, 2, 0, 0],
            vec![1, 1, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0],
            vec![4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0],
            vec![1, 1, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 15],
            vec![3, 0, 0, 0],
            vec![0; 40],
            vec![1; 40],
            vec![8, 40, 1, 1],
        ]) {
            let tcp = syn(41_000 + at, &options, 2, &ends());
            let theirs = stack(&tcp);
            for tags in [
                &[][..],
                &[0x81, 0, 0, 5],
                &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 5],
            ] {
                let frame = [link(tags), vec![8, 0], ipv4(&tcp)].concat();
                let (verdict, answer) = steering.try_answer(&frame).unwrap();
                assert_eq!(verdict, XDP_TX, "{options:?}");
                assert_eq!(answer[..6], LINK[6..], "{options:?}");
                assert_eq!(answer[6..12], LINK[..6], "{options:?}");
                assert_eq!(answer[12..12 + tags.len()], *tags);
                assert!(answer.len() >= 60, "{}", answer.len());
                let packet = &answer[14 + tags.len()..];
                let size = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
                let (header, ours) = packet[..size].split_at(20);
                assert!(packet[size..].iter().all(|byte| *byte == 0), "padding");
                assert_eq!(added(header), 0xffff, "the IP header's checksum");
                assert_eq!(sum(&ends(), ours), 0xffff, "the TCP header's checksum");
                assert_eq!(header[12..16], SERVER.octets());
                assert_eq!(header[16..20], CLIENT.octets());
                same(ours, &theirs, &options);
            }
        }

        // The same over IPv6.
        let local = Ipv6Addr::LOCALHOST.octets();
        let far = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2).octets();
        let ends6 = [far, local].concat();
        let tcp = syn(42_000, &LINUX, 2, &ends6);
        let size = u8::try_from(tcp.len()).unwrap();
        let head = [0x60, 0, 0, 0, 0, size, 6, 64];
        let frame = [link(&[0x86, 0xdd]), head.to_vec(), ends6.clone(), tcp].concat();
        let (verdict, answer) = steering.try_answer(&frame).unwrap();
        assert_eq!(verdict, XDP_TX);
        assert_eq!(answer[22..54], [local, far].concat());
        assert_eq!(usize::from(answer[19]), answer.len() - 54);
        assert_eq!(sum(&answer[22..54], &answer[54..]), 0xffff);

        // Not ours, not for us alone, or no SYN: the stack's, untouched.
        let tcp = syn(43_000, &LINUX, 2, &ends());
        let mut elsewhere = [link(&[8, 0]), ipv4(&tcp)].concat();
        elsewhere[33] = 2;
        let mut everybody = [link(&[8, 0]), ipv4(&tcp)].concat();
        everybody[..6].fill(0xff);
        let reset = [link(&[8, 0]), ipv4(&syn(43_001, &LINUX, 6, &ends()))].concat();
        for frame in [elsewhere, everybody, reset] {
            assert_eq!(steering.try_answer(&frame).unwrap(), (XDP_PASS, frame));
        }
        assert_eq!(steering.counters().unwrap().answered, 34);
        let good = [link(&[8, 0]), ipv4(&tcp)].concat();
        let (_, each) = steering.try_frame(&good, 1).unwrap();
        println!("a SYN answered, once: {} ns", each.as_nanos());
        steering.answer(Answering::default(), &[]).unwrap();
        assert_eq!(steering.try_answer(&good).unwrap().0, XDP_PASS);
        drop(cookies);
        assert!(!state.exists());
    });
}

fn ends() -> Vec<u8> {
    [CLIENT.octets(), SERVER.octets()].concat()
}

/// Whether two answers say the same: the cookie, what is acknowledged, the options; our clock may
/// be a little later.
fn same(ours: &[u8], theirs: &[u8], options: &[u8]) {
    assert_eq!(
        ours.len(),
        theirs.len(),
        "{options:?}: {ours:x?} {theirs:x?}"
    );
    // The cookie's low 24 bits hold its MSS and a count of minutes; the rest is its proof.
    assert_eq!(ours[..4], theirs[..4], "{options:?}: ports");
    assert_eq!(ours[4..14], theirs[4..14], "{options:?}: cookie, flags");
    // The MSS may differ: it is the route's there, the interface's here.
    assert_eq!(ours[20..22], theirs[20..22]);
    if ours.len() > 24 {
        assert_eq!(ours[24..28], theirs[24..28], "{options:?}: SACK or padding");
        let stamp = |bytes: &[u8]| u32::from_be_bytes(bytes[28..32].try_into().unwrap());
        assert_eq!(stamp(ours) & 63, stamp(theirs) & 63, "{options:?}: bits");
        assert!(
            stamp(ours).wrapping_sub(stamp(theirs)) < 60_000,
            "one clock"
        );
        assert_eq!(ours[32..], theirs[32..], "{options:?}: echo, scale");
    }
}
