//! Single frames through the loaded program (BPF_PROG_TEST_RUN): frame in, verdict and counts out.

use super::super::Listen;
use super::super::{Steering, xdp};
use super::{client_hello, in_own_network, ip, loaded};
use aya::maps::Array;
use aya::programs::{TestRun as _, TestRunOptions};
use ebpf::packet::{ACK, FIN, RST, SYN, segment};
use ebpf::{Counters, HELD_SECONDS_MAX, begun, held, placed_mark};
use std::net::TcpListener;

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

/// A third of what the kernel allows a program before it refuses it for being too complex: room for
/// other kernels' ways of counting, and for growth.
const VERIFIED_MAX: u32 = 300_000;

fn run(steering: &mut Steering, frame: &[u8]) -> u32 {
    let options = TestRunOptions {
        data_in: Some(frame),
        ..TestRunOptions::new()
    };
    xdp(&mut steering.kernel)
        .unwrap()
        .test_run(options)
        .unwrap()
        .return_value
}

fn ipv4_frame(port: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([0x08, 0, 0x45, 0]);
    frame.extend(u16::try_from(40 + payload.len()).unwrap().to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 127, 0, 0, 9, 127, 0, 0, 1]);
    frame.extend(tcp(port, flags, payload));
    frame
}

fn ipv6_frame(port: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend(u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
    frame.extend([6, 64]);
    frame.extend([0; 15]);
    frame.push(1);
    frame.extend([0; 15]);
    frame.push(1);
    frame.extend(tcp(port, flags, payload));
    frame
}

fn tcp(port: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xc0, 1];
    bytes.extend(port.to_be_bytes());
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend(payload);
    bytes
}

#[test]
fn the_verifier_takes_the_programs_with_room_to_spare() {
    let Some(steering) = loaded("steer::verifier") else {
        return;
    };
    for (name, program) in steering.kernel.programs() {
        let steps = program
            .info()
            .unwrap()
            .verified_instruction_count()
            .unwrap();
        println!("{name}: {steps} steps of the verifier");
        assert!(steps <= VERIFIED_MAX, "{name}: {steps} steps");
    }
}

#[test]
fn what_is_not_for_us_passes_and_is_counted() {
    let Some(mut steering) = loaded("steer::frames") else {
        return;
    };
    let hello = client_hello(Some("api.example.com"), |_| ());
    let table: [(&str, Vec<u8>); 5] = [
        (
            "the shortest frame the kernel runs a program on",
            vec![0; 14],
        ),
        ("zeros", vec![0; 60]),
        (
            "noise",
            (0..1514u32)
                .map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[3])
                .collect(),
        ),
        ("ARP", [&[0xff; 12][..], &[0x08, 0x06], &[0; 46]].concat()),
        (
            "a ClientHello to somebody else's port",
            ipv4_frame(443, ACK, &hello),
        ),
    ];
    let mut expected = Counters::default();
    for (description, frame) in &table {
        assert_eq!(run(&mut steering, frame), XDP_PASS, "{description}");
        expected.packets += 1;
        expected.bytes += frame.len() as u64;
        assert_eq!(steering.counters().unwrap(), expected, "{description}");
    }
}

/// A row: what it is, the frame, whether its connection's ACK was held back, the verdict, the count
/// that moves.
type Row = (&'static str, Vec<u8>, bool, u32, fn(&mut Counters));

#[test]
fn segments_to_a_listener_without_a_cookie_of_ours() {
    in_own_network("steer::listener", || {
        let Some(mut steering) = loaded("steer::listener") else {
            return;
        };
        ip("link set lo up");
        let _ipv4 = TcpListener::bind("127.0.0.1:443").unwrap();
        let _ipv6 = TcpListener::bind("[::1]:443").unwrap();
        let listen = Listen::new(0).unwrap();
        steering.port(443, listen).unwrap();
        for address in ["127.0.0.1", "::1"] {
            steering
                .listening(listen, address.parse().unwrap())
                .unwrap();
        }
        let hello = client_hello(Some("api.example.com"), |_| ());
        let nothing: fn(&mut Counters) = |_| ();
        let stranger: fn(&mut Counters) = |counters| counters.cookies_bad += 1;
        let overtaken: fn(&mut Counters) = |counters| counters.overtaken += 1;
        let table: Vec<Row> = vec![
            ("SYN", ipv4_frame(443, SYN, b""), false, XDP_PASS, nothing),
            (
                "SYN and ACK",
                ipv4_frame(443, SYN | ACK, b""),
                false,
                XDP_PASS,
                nothing,
            ),
            ("RST", ipv4_frame(443, RST, b""), false, XDP_PASS, nothing),
            (
                "FIN",
                ipv4_frame(443, FIN | ACK, b""),
                false,
                XDP_PASS,
                nothing,
            ),
            (
                "a bare ACK",
                ipv4_frame(443, ACK, b""),
                false,
                XDP_PASS,
                nothing,
            ),
            (
                "a ClientHello",
                ipv4_frame(443, ACK, &hello),
                false,
                XDP_PASS,
                stranger,
            ),
            (
                "over IPv6",
                ipv6_frame(443, ACK, &hello),
                false,
                XDP_PASS,
                stranger,
            ),
            (
                "other data",
                ipv4_frame(443, ACK, b"GET / HTTP/1.1"),
                false,
                XDP_PASS,
                nothing,
            ),
            (
                "another port",
                ipv4_frame(444, ACK, &hello),
                false,
                XDP_PASS,
                nothing,
            ),
            (
                "of a held connection",
                ipv4_frame(443, ACK, &hello),
                true,
                XDP_DROP,
                overtaken,
            ),
            (
                "its keepalive probe",
                ipv4_frame(443, ACK, b""),
                true,
                XDP_DROP,
                overtaken,
            ),
            (
                "its FIN",
                ipv4_frame(443, FIN | ACK, b""),
                true,
                XDP_DROP,
                overtaken,
            ),
            (
                "its RST",
                ipv4_frame(443, RST, b""),
                true,
                XDP_PASS,
                nothing,
            ),
            (
                "its later data",
                ipv4_frame(443, ACK, &hello[700..]),
                true,
                XDP_DROP,
                overtaken,
            ),
            (
                "IPv6 later data",
                ipv6_frame(443, ACK, &hello[700..]),
                true,
                XDP_DROP,
                overtaken,
            ),
            (
                "its SYN again",
                ipv4_frame(443, SYN, b""),
                true,
                XDP_PASS,
                nothing,
            ),
        ];
        for (description, frame, held, verdict, count) in &table {
            mark(&mut steering, frame, held.then_some(1));
            let mut expected = steering.counters().unwrap();
            expected.packets += 1;
            expected.bytes += frame.len() as u64;
            count(&mut expected);
            assert_eq!(run(&mut steering, frame), *verdict, "{description}");
            assert_eq!(steering.counters().unwrap(), expected, "{description}");
            mark(&mut steering, frame, None);
        }
        // A part of the hello was let through: the others follow it, whatever they are.
        for payload in [&hello[..], &hello[700..], b""] {
            let frame = ipv4_frame(443, ACK, payload);
            let (place, fingerprint) = mark_of(&frame);
            set_mark(&mut steering, place, begun(fingerprint));
            let before = steering.counters().unwrap();
            assert_eq!(run(&mut steering, &frame), XDP_PASS, "{}", payload.len());
            let after = steering.counters().unwrap();
            assert_eq!(
                (after.overtaken, after.cookies_bad, after.joined),
                (before.overtaken, before.cookies_bad, 0)
            );
            set_mark(&mut steering, place, 0);
        }
        // The cookie has expired: the stack's reset tells the client.
        for payload in [&hello[..], b""] {
            let frame = ipv4_frame(443, ACK, payload);
            mark(&mut steering, &frame, Some(HELD_SECONDS_MAX));
            assert_eq!(run(&mut steering, &frame), XDP_PASS, "{}", payload.len());
            mark(&mut steering, &frame, None);
        }
        // Cut anywhere, the frame is passed and nothing but the frame is counted.
        let whole = ipv6_frame(443, ACK, &hello);
        for size in 14..whole.len() {
            let before = steering.counters().unwrap();
            assert_eq!(run(&mut steering, &whole[..size]), XDP_PASS, "{size} bytes");
            let expected = Counters {
                packets: before.packets + 1,
                bytes: before.bytes + size as u64,
                ..before
            };
            assert_eq!(steering.counters().unwrap(), expected, "{size} bytes");
        }
    });
}

/// Notes that the frame's connection had its ACK held back so many seconds ago, or that it had not.
fn mark(steering: &mut Steering, frame: &[u8], ago: Option<u32>) {
    let (place, fingerprint) = mark_of(frame);
    let now = monotonic_second();
    let value = ago.map_or(0, |ago| held(fingerprint, now.wrapping_sub(ago), 1));
    set_mark(steering, place, value);
}

fn mark_of(frame: &[u8]) -> (u32, u32) {
    placed_mark(&segment(frame, frame.len()).unwrap().flow)
}

fn set_mark(steering: &mut Steering, place: u32, value: u64) {
    let map = steering.kernel.map_mut("POSTERN_HELD").unwrap();
    let mut map = Array::<_, u64>::try_from(map).unwrap();
    map.set(place, value, 0).unwrap();
}

/// The second that the kernel program reads (`bpf_ktime_get_ns`).
#[expect(
    unsafe_code,
    reason = "the clock as a number, which the standard library does not give"
)]
fn monotonic_second() -> u32 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a place for the answer, which lives until the call is over.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    assert_eq!(result, 0);
    u32::try_from(now.tv_sec).unwrap()
}
