//! Two network namespaces joined by a veth pair with Ethernet's MTU: real connections, steered by
//! real packets.

use super::super::Listen;
use super::super::cookies::Cookies;
use super::super::{Attached, Steering, Unavailable, load};
use super::{client_hello, in_own_network, ip, loaded, own_network};
use boring::ssl::ConnectConfiguration;
use ebpf::Counters;
use ebpf::packet::Family;
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use vocabulary::hostname::HostName;

pub(super) const SERVER_IPV4: &str = "192.0.2.1:443";
pub(super) const SERVER_IPV6: &str = "[2001:db8::1]:443";
const WORKERS: u16 = 4;

#[test]
fn attached_to_an_interface_it_counts_what_arrives_there() {
    in_own_network("steer::attach", || {
        let Some(mut steering) = loaded("steer::attach") else {
            return;
        };
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
        // Ethernet, IPv4, UDP and the payload, five times; the stack may have sent frames of its
        // own as well.
        let expected = 5 * (14 + 20 + 8 + 12);
        eventually(|| {
            let now = steering.counters().unwrap();
            now.packets >= before.packets + 5 && now.bytes >= before.bytes + expected
        });
        let taken = steering.attach("inside").unwrap_err();
        assert!(matches!(taken, Unavailable::Attach { .. }), "{taken}");
        drop(steering);
        let mut again = load().unwrap();
        assert_eq!(
            again.attach("inside").unwrap(),
            Attached::Native,
            "the first program is gone"
        );
    });
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
fn the_cookie_setting_is_put_back() {
    in_own_network("steer::cookies", || {
        let path = "/proc/sys/net/ipv4/tcp_syncookies";
        let now = || std::fs::read_to_string(path).unwrap().trim().to_owned();
        let before = now();
        let cookies = Cookies::always().unwrap();
        assert_eq!(now(), "2");
        drop(cookies);
        assert_eq!(now(), before);
        let cookies = Cookies::always().unwrap();
        std::fs::write(path, "0").unwrap();
        drop(cookies);
        assert_eq!(now(), "0", "a later choice stands");
    });
}

/// Two networks, the client's and that of a listener a worker, which `steering` steers to.
pub(super) fn with_workers(steering: &mut Steering, body: impl FnOnce(&mut Steering, &Client)) {
    let _cookies = Cookies::always().unwrap();
    let client = client_network();
    ip("address add 192.0.2.1/24 dev inside");
    ip("address add 2001:db8::1/64 dev inside nodad");
    assert_eq!(steering.attach("inside").unwrap(), Attached::Native);
    steering.attach_lookup().unwrap();

    let listen = Listen::new(0).unwrap();
    steering.port(443, listen).unwrap();
    let mut listeners = Vec::new();
    for worker in 0..WORKERS {
        for (family, address) in [(Family::V4, SERVER_IPV4), (Family::V6, SERVER_IPV6)] {
            let listener = listener(address.parse().unwrap());
            steering
                .listener(worker, listen, family, &listener)
                .unwrap();
            let address: SocketAddr = address.parse().unwrap();
            steering.listening(listen, address.ip()).unwrap();
            listeners.push((worker, listener));
        }
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (worker, listener) in &listeners {
            scope.spawn(|| serve(*worker, listener, &done));
        }
        // The workers end whatever happens.
        let outcome = catch_unwind(AssertUnwindSafe(|| body(steering, &client)));
        done.store(true, Ordering::Relaxed);
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
    });
}

#[test]
fn connections_are_born_on_the_worker_that_owns_their_host() {
    in_own_network("steer::network", || {
        let Some(mut steering) = loaded("steer::network") else {
            return;
        };
        with_workers(&mut steering, |steering, client| {
            for (host, workers) in [
                ("one.example.com", &[1][..]),
                ("two.example.com", &[2]),
                ("*.example.org", &[3]),
                ("spread.example.com", &[0, 2]),
            ] {
                steering
                    .own(&HostName::parse(host).unwrap(), workers)
                    .unwrap();
            }
            let start = steering.counters().unwrap();
            client.run(|| {
                for address in [SERVER_IPV4, SERVER_IPV6] {
                    for _ in 0..20 {
                        assert_eq!(visit(address, "one.example.com"), 1);
                        assert_eq!(visit(address, "TWO.example.com"), 2);
                        assert_eq!(visit(address, "any.example.org"), 3);
                        assert!([0, 2].contains(&visit(address, "spread.example.com")));
                    }
                }
            });
            let steered = steering.counters().unwrap();
            // A client that was kept waiting sends its hello again, which is noted again.
            assert!(moved(start, steered, |c| c.noted) >= 160, "{steered:?}");
            assert_eq!(moved(start, steered, |c| c.placed), 160, "{steered:?}");
            assert!(moved(start, steered, |c| c.held) >= 150, "{steered:?}");

            // What the kernel cannot decide is served all the same, by any worker.
            client.run(|| {
                for address in [SERVER_IPV4, SERVER_IPV6] {
                    visit(address, "unknown.example.net");
                    visit(address, "two.labels.example.org");
                    visit_with(address, &two_segments(), two_segments().len());
                    visit_with(address, &hello("one.example.com"), 1);
                    visit_with(address, b"GET / HTTP/1.1\r\n\r\n", 100);
                    silent(address);
                    by_bytes(address, &hello("one.example.com"));
                    probing(address, &hello("one.example.com"));
                }
            });
            let others = steering.counters().unwrap();
            assert_eq!(moved(steered, others, |c| c.unknown), 4, "{others:?}");
            assert!(moved(steered, others, |c| c.partial) >= 2, "{others:?}");
            assert_eq!(moved(steered, others, |c| c.homeless), 0, "{others:?}");
        });
    });
}

pub(super) fn moved(before: Counters, after: Counters, field: impl Fn(Counters) -> u64) -> u64 {
    field(after) - field(before)
}

/// A classical ClientHello: one segment.
fn hello(name: &str) -> Vec<u8> {
    client_hello(Some(name), |client: &mut ConnectConfiguration| {
        client.set_curves_list("X25519:P-256").unwrap();
    })
}

/// A post-quantum ClientHello: two segments on Ethernet.
fn two_segments() -> Vec<u8> {
    let bytes = client_hello(
        Some("one.example.com"),
        |client: &mut ConnectConfiguration| {
            client
                .set_curves_list("X25519MLKEM768:X25519:P-256")
                .unwrap();
        },
    );
    assert!(bytes.len() > 1460, "{} bytes fit one segment", bytes.len());
    bytes
}

/// Asks for a host and gives the worker that answered.
fn visit(address: &str, host: &str) -> u16 {
    visit_with(address, &hello(host), usize::MAX)
}

/// Sends `bytes`, the first `piece` of them by themselves, and gives the worker that answered.
pub(super) fn visit_with(address: &str, bytes: &[u8], piece: usize) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    for part in [
        &bytes[..piece.min(bytes.len())],
        &bytes[piece.min(bytes.len())..],
    ] {
        stream.write_all(part).unwrap();
        std::thread::sleep(Duration::from_millis(u64::from(piece < bytes.len())));
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = [0];
    stream.read_exact(&mut answer).unwrap();
    u16::from(answer[0])
}

/// A client that says nothing and leaves.
fn silent(address: &str) {
    let stream = TcpStream::connect(address).unwrap();
    std::thread::sleep(Duration::from_millis(5));
    drop(stream);
}

/// A client that sends one byte at a time, each in a segment of its own.
fn by_bytes(address: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in bytes {
        stream.write_all(&[*byte]).unwrap();
    }
    answered(stream);
}

/// A client that probes the silent connection before it says anything: its ACK was held back, so no
/// socket is there yet to answer the probe, and that must not end the connection.
fn probing(address: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    let second = Duration::from_secs(1);
    let keepalive = TcpKeepalive::new().with_time(second).with_interval(second);
    SockRef::from(&stream)
        .set_tcp_keepalive(&keepalive)
        .unwrap();
    std::thread::sleep(second * 5 / 2);
    stream.write_all(bytes).unwrap();
    answered(stream);
}

fn answered(mut stream: TcpStream) {
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    stream.read_exact(&mut [0]).unwrap();
}

/// A worker's part: accept, read to the client's end, answer with its own number.
fn serve(worker: u16, listener: &Socket, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((socket, _)) => {
                socket.set_nonblocking(false).unwrap();
                socket
                    .set_read_timeout(Some(Duration::from_secs(10)))
                    .unwrap();
                let mut stream = TcpStream::from(socket);
                let mut heard = Vec::new();
                let number = u8::try_from(worker).unwrap();
                // A silent client may reset; that is its own affair.
                if stream.read_to_end(&mut heard).is_ok() {
                    drop(stream.write_all(&[number]));
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn listener(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    if address.is_ipv6() {
        socket.set_only_v6(true).unwrap();
    }
    socket.set_reuse_port(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(128).unwrap();
    socket
}

fn eventually(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < deadline, "waited five seconds in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The other side of the wire: a thread in a namespace of its own that runs what it is given.
pub(super) struct Client {
    jobs: std::sync::mpsc::Sender<fn()>,
    outcomes: std::sync::mpsc::Receiver<std::thread::Result<()>>,
}

impl Client {
    /// Runs `job` on the client's side. A panic in it is a panic here.
    pub(super) fn run(&self, job: fn()) {
        self.jobs.send(job).unwrap();
        if let Err(panic) = self.outcomes.recv().unwrap() {
            resume_unwind(panic);
        }
    }
}

/// Joins this namespace's `inside` with the `outside` of a new one, and brings both up.
fn client_network() -> Client {
    let (jobs, inbox) = channel::<fn()>();
    let (outbox, outcomes) = channel();
    let (ready, started) = channel();
    std::thread::spawn(move || {
        own_network().unwrap();
        // "1234/task/1240": the last part is this thread.
        let path = std::fs::read_link("/proc/thread-self").unwrap();
        ready
            .send(path.file_name().unwrap().to_str().unwrap().to_owned())
            .unwrap();
        for job in inbox {
            outbox.send(catch_unwind(job)).unwrap();
        }
    });
    let thread = started.recv().unwrap();
    ip(&format!(
        "link add inside type veth peer name outside netns {thread}"
    ));
    ip("link set inside up");
    let client = Client { jobs, outcomes };
    client.run(|| {
        ip("link set outside up");
        ip("address add 192.0.2.2/24 dev outside");
        ip("address add 2001:db8::2/64 dev outside nodad");
    });
    client
}
