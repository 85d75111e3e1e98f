//! The real program in the real kernel: through the verifier, on single packets, on an interface.
//!
//! Without the object or the privileges these say `skipped:` and why, on the terminal, past the capture.

use super::{Attached, Steering, Unavailable, load, missing_capabilities};
use aya::programs::{TestRun as _, TestRunOptions};
use std::io::Write as _;
use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

const XDP_PASS: u32 = 2;

/// The loaded program, or the reason why this machine cannot have it.
fn loaded(test: &str) -> Option<Steering> {
    match load() {
        Ok(steering) => Some(steering),
        Err(
            reason @ (Unavailable::NoObject
            | Unavailable::Privilege { .. }
            | Unavailable::Kernel { .. }),
        ) => {
            skipped(test, &reason);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn skipped(test: &str, reason: &dyn std::fmt::Display) {
    writeln!(std::io::stderr(), "{test}: skipped: {reason}").unwrap();
}

#[test]
fn the_verifier_takes_the_program_and_it_passes_and_counts_every_packet() {
    let Some(mut steering) = loaded("steer::test_run") else {
        return;
    };
    let table: [(&str, Vec<u8>); 4] = [
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
    ];
    let mut packets = 0;
    let mut bytes = 0;
    for (description, frame) in &table {
        let program = super::xdp(&mut steering.kernel).unwrap();
        let run = program
            .test_run(TestRunOptions {
                data_in: Some(frame),
                ..TestRunOptions::new()
            })
            .unwrap();
        assert_eq!(run.return_value, XDP_PASS, "{description}");
        packets += 1;
        bytes += frame.len() as u64;
        let counters = steering.counters().unwrap();
        assert_eq!(
            (counters.packets, counters.bytes),
            (packets, bytes),
            "{description}"
        );
    }
}

#[test]
fn attached_to_an_interface_it_counts_what_arrives_there() {
    // A namespace belongs to its thread and ends with it, and the interfaces in it too.
    std::thread::spawn(|| {
        let Some(mut steering) = loaded("steer::attach") else {
            return;
        };
        if let Err(reason) = Command::new("ip")
            .arg("-V")
            .output()
            .and_then(|_| own_network())
        {
            return skipped(
                "steer::attach",
                &format!("needs iproute2 and CAP_SYS_ADMIN: {reason}"),
            );
        }
        ip("link add inside type veth peer name outside");
        ip("link set inside address 02:00:00:00:00:02 up");
        ip("link set outside up");
        ip("address add 192.0.2.1/24 dev outside");
        ip("neighbour add 192.0.2.2 lladdr 02:00:00:00:00:02 dev outside");

        assert_eq!(steering.attach("inside").unwrap(), Attached::Native);
        let before = steering.counters().unwrap();
        let socket = UdpSocket::bind("192.0.2.1:0").unwrap();
        for _ in 0..5 {
            socket.send_to(b"twelve bytes", "192.0.2.2:9").unwrap();
        }
        // Ethernet, IPv4, UDP and the payload, five times; the stack may have sent frames of its own as well.
        let expected = 5 * (14 + 20 + 8 + 12);
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let now = steering.counters().unwrap();
            if now.packets >= before.packets + 5 && now.bytes >= before.bytes + expected {
                break;
            }
            assert!(Instant::now() < deadline, "{before:?} became {now:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        let taken = steering.attach("inside").unwrap_err();
        assert!(matches!(taken, Unavailable::Attach { .. }), "{taken}");
        drop(steering);
        let mut again = load().unwrap();
        assert_eq!(
            again.attach("inside").unwrap(),
            Attached::Native,
            "the first program is gone"
        );
    })
    .join()
    .unwrap();
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    let Some(mut steering) = loaded("steer::interface") else {
        return;
    };
    for (name, shown) in [
        ("no-such-link", "no-such-link"),
        ("", ""),
        ("a\0b", "a\\u{0}b"),
    ] {
        let error = steering.attach(name).unwrap_err();
        assert!(
            matches!(&error, Unavailable::Interface(named) if named == shown),
            "{error}"
        );
    }
}

#[test]
fn missing_capabilities_are_named() {
    for (effective, expected) in [
        ("000001ffffffffff", vec![]),
        ("0000000000000000", vec!["CAP_NET_ADMIN", "CAP_BPF"]),
        ("0000000000001000", vec!["CAP_BPF"]),
        ("0000000000201000", vec![]),
        ("0000008000000000", vec!["CAP_NET_ADMIN"]),
        ("nonsense", vec![]),
    ] {
        let status = format!("Name:\tpostern\nCapEff:\t{effective}\n");
        assert_eq!(missing_capabilities(&status), expected, "{effective}");
    }
}

#[test]
fn every_reason_says_what_to_do() {
    let table = [
        (Unavailable::NoObject, "cargo xtask ebpf"),
        (Unavailable::Abi { found: 7 }, "version 7"),
        (
            Unavailable::Kernel {
                found: "4.19.0".into(),
            },
            "5.18.0 or later",
        ),
        (
            Unavailable::Privilege {
                missing: vec!["CAP_NET_ADMIN", "CAP_BPF"],
            },
            "needs CAP_NET_ADMIN and CAP_BPF: run as root",
        ),
        (Unavailable::Interface("eth7".into()), "`ip link`"),
    ];
    for (reason, part) in table {
        assert!(reason.to_string().contains(part), "{reason}");
    }
}

/// Moves this thread into a network namespace of its own.
#[expect(
    unsafe_code,
    reason = "unshare(2) has no safe wrapper among our dependencies"
)]
fn own_network() -> std::io::Result<()> {
    // SAFETY: unshare takes no pointers. It is undone by the thread's end and concerns no other thread, because
    // a network namespace is the property of a single one.
    match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip")
        .args(arguments.split(' '))
        .status()
        .unwrap();
    assert!(status.success(), "ip {arguments}");
}
