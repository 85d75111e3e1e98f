//! The real programs in the real kernel: through the verifier, on single frames, between two
//! networks; and the ClientHello parser against BoringSSL.
//!
//! Without the object or the privileges these say `skipped:` and why, on the terminal, past the
//! capture.

mod answers;
mod frames;
mod hello;
mod network;
mod proven;
mod segments;

use super::{Steering, Unavailable, load, missing_capabilities};
use boring::ssl::{ConnectConfiguration, SslConnector, SslMethod};
use std::io::{self, Read, Write};
use std::process::Command;

/// The loaded programs, or the reason why this machine cannot have them.
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
    writeln!(io::stderr(), "{test}: skipped: {reason}").unwrap();
}

/// Runs `body` on a thread with a network namespace of its own, which ends with the thread,
/// interfaces and all. A panic in it is a panic here.
fn in_own_network(test: &'static str, body: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        let tools = Command::new("ip").arg("-V").output();
        if let Err(reason) = tools.and_then(|_| own_network()) {
            return skipped(test, &format!("needs iproute2 and CAP_SYS_ADMIN: {reason}"));
        }
        if !std::path::Path::new("/proc/sys/net/ipv6").exists() {
            return skipped(test, &"needs IPv6, which this kernel has switched off");
        }
        let veth = "link add probe type veth peer name probed";
        let veth = Command::new("ip").args(veth.split(' ')).status();
        if !veth.is_ok_and(|status| status.success()) {
            return skipped(
                test,
                &"needs veth interfaces, which this kernel does not make",
            );
        }
        ip("link delete probe");
        body();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Moves this thread into a network namespace of its own.
#[expect(
    unsafe_code,
    reason = "unshare(2) has no safe wrapper among our dependencies"
)]
fn own_network() -> io::Result<()> {
    // SAFETY: unshare takes no pointers. It is undone by the thread's end and concerns no other
    // thread, because a network namespace is the property of a single one.
    match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `ip`, in this thread's namespace.
fn ip(arguments: &str) {
    let status = Command::new("ip")
        .args(arguments.split(' '))
        .status()
        .unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// The next packet that a raw socket gets, with its IP header.
fn received(mut raw: &socket2::Socket) -> Vec<u8> {
    let mut buffer = [0; 256];
    let size = raw.read(&mut buffer).unwrap();
    buffer[..size].to_vec()
}

/// The first flight of a BoringSSL client: a whole ClientHello.
pub(crate) fn client_hello(
    name: Option<&str>,
    setup: impl FnOnce(&mut ConnectConfiguration),
) -> Vec<u8> {
    let connector = SslConnector::builder(SslMethod::tls()).unwrap().build();
    let mut client = connector
        .configure()
        .unwrap()
        .use_server_name_indication(false);
    client.set_verify_hostname(false);
    if let Some(name) = name {
        client.set_hostname(name).unwrap();
    }
    setup(&mut client);
    let stream = client.setup_connect("unused", Wire::default()).unwrap();
    let Err(interrupted) = stream.handshake() else {
        panic!("nobody answered and yet the handshake is over");
    };
    let wire = match interrupted {
        boring::ssl::HandshakeError::WouldBlock(stream) => stream.get_ref().sent.clone(),
        error => panic!("{error}"),
    };
    assert_eq!(wire.first(), Some(&22), "a ClientHello was sent");
    wire
}

/// Both directions of a connection, in memory.
#[derive(Debug, Default)]
struct Wire {
    arriving: io::Cursor<Vec<u8>>,
    sent: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.arriving.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sent.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
        (
            Unavailable::TooMany {
                what: "ports",
                max: 8,
            },
            "ports can be steered up to a number of 8",
        ),
    ];
    for (reason, part) in table {
        assert!(reason.to_string().contains(part), "{reason}");
    }
}
