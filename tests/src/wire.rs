//! TCP by hand, over IPv4: a client that sends which segments it likes, in the order it likes, from
//! an address that its own kernel knows nothing of and so says nothing for.
//!
//! It keeps just enough of a connection to be spoken to: numbers, acknowledgements, and what it
//! sends again.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// FIN, RST and the like, in the byte of flags.
pub const FIN: u8 = 0x01;
/// As above.
pub const SYN: u8 = 0x02;
/// As above.
pub const RST: u8 = 0x04;
/// As above.
pub const ACK: u8 = 0x10;

/// The client's address: on the wire's network, and no interface's.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
/// The first number of every connection.
const SEQUENCE: u32 = 0x0100_0000;
/// How often everything that has no answer is sent again.
const AGAIN: Duration = Duration::from_millis(300);
/// How long an answer is waited for. It ends only tests that fail.
const PATIENCE: Duration = Duration::from_secs(60);
/// IPPROTO_RAW: what is sent has its IP header.
const WITH_HEADER: i32 = 255;
const RECORD_HANDSHAKE: u8 = 22;
const ETHERNET_IPV4: u16 = 0x0800;

/// What came of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Heard {
    /// A TLS handshake record, or a part of one.
    Handshake,
    /// Other bytes.
    Data,
    /// The server's end of it.
    End,
    /// A reset.
    Reset,
    /// A probe: the server asks whether it may send, which the window has forbidden.
    Probe,
}

/// A connection whose SYN was answered.
pub struct Peer {
    out: Socket,
    inbox: Socket,
    server: SocketAddrV4,
    port: u16,
    /// The server's next byte.
    next: u32,
    /// How much of what was said the server has.
    acknowledged: i32,
    /// What it may send.
    pub window: u16,
}

impl Peer {
    /// Connects from `port`; to be run on the client's side. Only the SYN is sent.
    #[must_use]
    pub fn connect(server: SocketAddrV4, port: u16) -> Self {
        let every = Protocol::from(i32::from(ETHERNET_IPV4.to_be()));
        let inbox = Socket::new(Domain::PACKET, Type::DGRAM, Some(every)).unwrap();
        inbox.set_read_timeout(Some(AGAIN)).unwrap();
        let raw = Some(Protocol::from(WITH_HEADER));
        let mut peer = Self {
            out: Socket::new(Domain::IPV4, Type::RAW, raw).unwrap(),
            inbox,
            server,
            port,
            next: 0,
            acknowledged: 0,
            window: 0xffff,
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            peer.send(SYN, -1, &[]);
            if let Some(segment) = peer.receive()
                && segment.flags & (SYN | ACK) == SYN | ACK
            {
                peer.next = segment.sequence.wrapping_add(1);
                return peer;
            }
            assert!(Instant::now() < deadline, "nobody answers a SYN");
        }
    }

    /// Sends a segment whose bytes begin at `at` of all that is said.
    pub fn send(&self, flags: u8, at: i32, payload: &[u8]) {
        let acknowledged = if flags & ACK == 0 { 0 } else { self.next };
        let mut tcp = [self.port.to_be_bytes(), self.server.port().to_be_bytes()].concat();
        tcp.extend(SEQUENCE.wrapping_add_signed(at).to_be_bytes());
        tcp.extend(acknowledged.to_be_bytes());
        tcp.extend([0x50, flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(payload);
        let sum = checksum(&pseudo(*self.server.ip(), &tcp));
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        // Length and checksum of the IP header are filled in by the kernel.
        let mut packet = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0];
        packet.extend(ADDRESS.octets());
        packet.extend(self.server.ip().octets());
        packet.extend(tcp);
        let to = std::net::SocketAddr::from(self.server);
        self.out.send_to(&packet, &to.into()).unwrap();
    }

    /// Sends these segments, again and again as long as the server does not acknowledge them, until
    /// there is an answer. Probes are answered.
    #[must_use]
    pub fn until_answered(&mut self, segments: &[(u8, i32, &[u8])]) -> Heard {
        self.hear(|peer| {
            for (flags, at, payload) in segments {
                let end = *at + i32::try_from(payload.len()).unwrap();
                let end = end + i32::from(flags & FIN != 0);
                if end > peer.acknowledged || payload.is_empty() {
                    peer.send(*flags, *at, payload);
                }
            }
        })
    }

    /// Waits for an answer to what was sent; `again` is done whenever none has come for a while.
    #[must_use]
    pub fn hear(&mut self, again: impl Fn(&Self)) -> Heard {
        let deadline = Instant::now() + PATIENCE;
        again(self);
        let mut last = Instant::now();
        loop {
            if let Some(segment) = self.receive() {
                if segment.flags & ACK != 0 {
                    self.acknowledged = segment.acknowledged.wrapping_sub(SEQUENCE).cast_signed();
                }
                if segment.flags & RST != 0 {
                    return Heard::Reset;
                }
                if segment.sequence == self.next.wrapping_sub(1) && segment.flags & SYN == 0 {
                    self.send(ACK, 0, &[]);
                    return Heard::Probe;
                }
                if segment.sequence == self.next && segment.size > 0 {
                    self.next = self.next.wrapping_add(segment.size);
                    return match segment.first {
                        Some(RECORD_HANDSHAKE) => Heard::Handshake,
                        _ => Heard::Data,
                    };
                }
                if segment.sequence == self.next && segment.flags & FIN != 0 {
                    return Heard::End;
                }
            }
            if last.elapsed() >= AGAIN {
                again(self);
                last = Instant::now();
            }
            assert!(Instant::now() < deadline, "no answer on port {}", self.port);
        }
    }

    /// The next segment of this connection's, if one comes soon.
    fn receive(&self) -> Option<Received> {
        let deadline = Instant::now() + AGAIN;
        while Instant::now() < deadline {
            let mut packet = [0; 65_536];
            let Ok(size) = (&self.inbox).read(&mut packet) else {
                return None;
            };
            let packet = &packet[..size];
            if size < 40 || packet[9] != 6 || packet[16..20] != ADDRESS.octets() {
                continue;
            }
            let whole = usize::from(u16::from_be_bytes([packet[2], packet[3]])).min(size);
            let tcp = &packet[usize::from(packet[0] & 0xf) * 4..whole];
            let number = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().unwrap());
            if tcp[2..4] == self.port.to_be_bytes() {
                let header = usize::from(tcp[12] >> 4) * 4;
                return Some(Received {
                    flags: tcp[13],
                    sequence: number(4),
                    acknowledged: number(8),
                    first: tcp.get(header).copied(),
                    size: u32::try_from(tcp.len() - header).unwrap(),
                });
            }
        }
        None
    }
}

struct Received {
    flags: u8,
    sequence: u32,
    acknowledged: u32,
    first: Option<u8>,
    size: u32,
}

fn pseudo(server: Ipv4Addr, tcp: &[u8]) -> Vec<u8> {
    let size = u16::try_from(tcp.len()).unwrap().to_be_bytes();
    [&ADDRESS.octets()[..], &server.octets(), &[0, 6], &size, tcp].concat()
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let pairs = bytes.chunks(2);
    let all: u32 = pairs
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    let once = (all & 0xffff) + (all >> 16);
    !u16::try_from((once & 0xffff) + (once >> 16)).unwrap()
}
