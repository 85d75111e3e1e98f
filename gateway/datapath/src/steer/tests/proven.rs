//! First segments of connections that proved their cookie, one by one through the loaded program:
//! what the kernel reads in them, what it turns away, what it tells. A raw socket gets a real
//! cookie of this kernel's, so no network is needed.

use super::super::cookies::Cookies;
use super::super::{Listen, Steering};
use super::hello::{encrypted, old};
use super::{client_hello, in_own_network, ip, loaded, received};
use boring::ssl::ConnectConfiguration;
use ebpf::hello::{Hello, find};
use ebpf::packet::{ACK, SYN};
use ebpf::{Admission, Counters, Decided, HostCounts, Traced};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;
use vocabulary::hostname::HostName;

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const SERVER: Ipv4Addr = Ipv4Addr::LOCALHOST;
const SEQUENCE: u32 = 1_000;

/// A client whose SYN was answered with a cookie, and that has said nothing since.
pub(super) struct Client {
    port: u16,
    cookie: u32,
}

impl Client {
    /// Sends a SYN from `port` to port 443 and keeps the cookie.
    pub(super) fn connects(port: u16) -> Self {
        let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP)).unwrap();
        raw.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        raw.bind(&SocketAddr::from((CLIENT, 0)).into()).unwrap();
        let syn = tcp(port, 443, SEQUENCE - 1, 0, SYN, &[], (CLIENT, SERVER));
        let to = SocketAddr::from((SERVER, 0));
        raw.send_to(&syn, &to.into()).unwrap();
        loop {
            let packet = received(&raw);
            let segment = &packet[20..];
            let ours = segment[0..2] == 443_u16.to_be_bytes()
                && segment[2..4] == port.to_be_bytes()
                && segment[13] == SYN | ACK;
            if ours {
                let cookie = u32::from_be_bytes(segment[4..8].try_into().unwrap());
                return Self { port, cookie };
            }
        }
    }

    /// The frame that brings its first data.
    pub(super) fn says(&self, payload: &[u8]) -> Vec<u8> {
        self.says_after(0, payload)
    }

    /// The frame that brings its data after so many bytes.
    pub(super) fn says_after(&self, before: usize, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend([0x08, 0, 0x45, 0]);
        let size = u16::try_from(40 + payload.len()).unwrap();
        frame.extend(size.to_be_bytes());
        frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
        frame.extend(CLIENT.octets());
        frame.extend(SERVER.octets());
        let acknowledged = self.cookie.wrapping_add(1);
        let ends = (CLIENT, SERVER);
        frame.extend(tcp(
            self.port,
            443,
            SEQUENCE + u32::try_from(before).unwrap(),
            acknowledged,
            ACK,
            payload,
            ends,
        ));
        frame
    }
}

fn tcp(
    from: u16,
    to: u16,
    sequence: u32,
    acknowledged: u32,
    flags: u8,
    payload: &[u8],
    (source, destination): (Ipv4Addr, Ipv4Addr),
) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(from.to_be_bytes());
    bytes.extend(to.to_be_bytes());
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(acknowledged.to_be_bytes());
    bytes.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend(payload);
    let mut pseudo = [source.octets(), destination.octets()].concat();
    pseudo.extend([0, 6]);
    pseudo.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
    pseudo.extend(&bytes);
    let mut sum: u32 = 0;
    for pair in pseudo.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair[0], low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let checksum = !u16::try_from(sum).unwrap();
    bytes[16..18].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

/// The loaded program with a listener on port 443 that accepts nothing, in a network of its own.
pub(super) fn with_listener(test: &'static str, body: impl FnOnce(&mut Steering) + Send + 'static) {
    in_own_network(test, move || {
        let Some(mut steering) = loaded(test) else {
            return;
        };
        ip("link set lo up");
        let _cookies = Cookies::always().unwrap();
        let _listener = TcpListener::bind((SERVER, 443)).unwrap();
        let listen = Listen::new(0).unwrap();
        steering.listening(listen, SERVER.into()).unwrap();
        steering.port(443, listen).unwrap();
        body(&mut steering);
    });
}

fn hello(name: Option<&str>, setup: impl FnOnce(&mut ConnectConfiguration)) -> Vec<u8> {
    client_hello(name, setup)
}

fn classical(client: &mut ConnectConfiguration) {
    client.set_curves_list("X25519:P-256").unwrap();
}

/// What the host build of the same parser says should happen, as the counter that moves.
fn expected(payload: &[u8], known: &str) -> fn(&mut Counters) {
    if payload.first() != Some(&22) {
        return |_| ();
    }
    match find(payload, 0, payload.len()) {
        Hello::Named { at, size }
            if payload[at..at + size].eq_ignore_ascii_case(known.as_bytes()) =>
        {
            |counters| counters.noted += 1
        }
        Hello::Named { .. } => |counters| counters.unknown += 1,
        Hello::Nameless => |counters| counters.nameless += 1,
        Hello::Partial | Hello::Unusual => |counters| counters.partial += 1,
        Hello::Foreign => |counters| counters.foreign += 1,
    }
}

#[test]
fn the_kernel_reads_what_user_space_reads() {
    const HOST: &str = "api.example.com";
    with_listener("steer::differential", |steering| {
        steering.own(&HostName::parse(HOST).unwrap(), &[0]).unwrap();
        let client = Client::connects(50_000);
        let good = hello(Some(HOST), classical);
        let mut inputs: Vec<(String, Vec<u8>)> = vec![
            ("a ClientHello".into(), good.clone()),
            (
                "upper case".into(),
                hello(Some("API.Example.COM"), classical),
            ),
            (
                "unknown".into(),
                hello(Some("other.example.com"), classical),
            ),
            ("no name".into(), hello(None, classical)),
            (
                "permuted".into(),
                hello(Some(HOST), |client| {
                    classical(client);
                    client.set_permute_extensions(true);
                }),
            ),
            ("ECH".into(), hello(Some(HOST), encrypted)),
            ("TLS 1.0".into(), hello(Some(HOST), old)),
            (
                "a hello from before extensions".into(),
                [
                    &[22, 3, 0, 0, 45, 1, 0, 0, 41, 3, 0][..],
                    &[7; 32],
                    &[0, 0, 2, 0, 10, 1, 0],
                ]
                .concat(),
            ),
            // The first record ends inside the name, and says that the second one began there.
            (
                "overlapping records".into(),
                [
                    &[22, 3, 1, 0, 100][..],
                    &good[5..],
                    &[22, 3, 1, 0, 200],
                    &good[60..],
                ]
                .concat(),
            ),
            (
                "two records".into(),
                [
                    &[22, 3, 1, 0, 10][..],
                    &good[5..15],
                    &[22, 3, 1],
                    &u16::try_from(good.len() - 15).unwrap().to_be_bytes(),
                    &good[15..],
                ]
                .concat(),
            ),
            (
                "SSLv2".into(),
                [&[0x80, 0x2e, 1, 0, 2][..], &[0; 40]].concat(),
            ),
            ("QUIC".into(), [&[0xc3, 0, 0, 0, 1][..], &[7; 600]].concat()),
            ("an alert".into(), vec![21, 3, 1, 0, 2, 2, 40]),
            ("a record of nothing".into(), vec![22, 3, 1, 0, 0]),
            (
                "a ServerHello".into(),
                [&[22, 3, 3, 0, 4, 2, 0, 0, 0][..], &[0; 40]].concat(),
            ),
            (
                "noise".into(),
                (0..1_400_u32)
                    .map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[3])
                    .collect(),
            ),
            ("a name of 255 bytes".into(), written(&[b'a'; 255], 1)),
            ("a name of 254 bytes".into(), written(&[b'a'; 254], 1)),
            ("a dot at the end".into(), written(b"api.example.com.", 1)),
            ("an address".into(), written(b"192.0.2.1", 1)),
            ("an empty name".into(), written(b"", 1)),
            ("a name twice".into(), written(HOST.as_bytes(), 2)),
            ("no extension".into(), written(HOST.as_bytes(), 0)),
            (
                "40 extensions before it".into(),
                written(HOST.as_bytes(), 40),
            ),
        ];
        inputs
            .extend((1..good.len()).map(|size| (format!("cut to {size}"), good[..size].to_vec())));
        // One byte changed anywhere, to several values; overlong lengths are among them.
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = good.clone();
                changed[at] = value;
                inputs.push((format!("byte {at} is {value}"), changed));
            }
        }
        for (description, payload) in &inputs {
            let frame = client.says(payload);
            let mut wanted = steering.counters().unwrap();
            wanted.packets += 1;
            wanted.bytes += frame.len() as u64;
            let dotted = payload
                .windows(16)
                .any(|window| window == b"api.example.com.");
            if dotted {
                wanted.noted += 1;
            } else {
                expected(payload, HOST)(&mut wanted);
            }
            let (verdict, _) = steering.try_frame(&frame, 1).unwrap();
            assert_eq!(verdict, XDP_PASS, "{description}");
            assert_eq!(steering.counters().unwrap(), wanted, "{description}");
        }
    });
}

/// A ClientHello by hand: `count` times a server name, or with 40 that many empty extensions and
/// one name.
fn written(name: &[u8], count: usize) -> Vec<u8> {
    let size = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    let entry = [&[0][..], &size(name), name].concat();
    let server_name = [&size(&entry)[..], &entry].concat();
    let server_name = [&[0, 0][..], &size(&server_name), &server_name].concat();
    let extensions = match count {
        40 => [&[0xff, 1, 0, 0].repeat(40)[..], &server_name].concat(),
        count => server_name.repeat(count),
    };
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    body.extend(size(&extensions));
    body.extend(&extensions);
    let message = [&[1, 0][..], &size(&body), &body].concat();
    [&[22, 3, 1][..], &size(&message), &message].concat()
}

#[test]
fn admission_turns_away_what_it_is_told_to() {
    with_listener("steer::admission", |steering| {
        let host = HostName::parse("api.example.com").unwrap();
        steering.own_in_zone(&host, &[3], 7).unwrap();
        let good = hello(Some("api.example.com"), classical);
        let other = hello(Some("other.example.com"), classical);
        let client = Client::connects(50_001);
        let verdicts = |steering: &mut Steering, payload: &[u8], count: usize| {
            let frame = client.says(payload);
            let each = (0..count).map(|_| steering.try_frame(&frame, 1).unwrap().0);
            each.collect::<Vec<_>>()
        };
        let passes = vec![XDP_PASS; 3];
        assert_eq!(verdicts(steering, &good, 3), passes, "nothing is off");

        let set =
            |steering: &mut Steering, wanted: Admission| steering.set_admission(wanted).unwrap();
        let unknown = Admission {
            unknown_dropped: 1,
            trace_every: 1,
            ..Admission::default()
        };
        set(steering, unknown);
        assert_eq!(verdicts(steering, &good, 3), passes);
        assert_eq!(verdicts(steering, &other, 2), [XDP_DROP; 2]);
        assert_eq!(steering.counters().unwrap().unknown_dropped, 2);
        let told = steering.traced().unwrap();
        let expected = |decided: Decided, dropped: u32| {
            move |event: &Traced| (event.decided, event.dropped) == (decided as u32, dropped)
        };
        assert_eq!(
            told.iter()
                .filter(|event| expected(Decided::Steered, 0)(event))
                .count(),
            3
        );
        assert_eq!(
            told.iter()
                .filter(|event| expected(Decided::Unknown, 1)(event))
                .count(),
            2
        );
        let steered = told.first().unwrap();
        assert_eq!(
            (steered.worker, steered.host),
            (3, ebpf::hello::host_key("api.example.com"))
        );
        let flow = super::super::flow((CLIENT, 50_001).into(), (SERVER, 443).into());
        assert_eq!(steered.flow, flow);

        // A budget of one an hour, and none saved up: the first is let through.
        let hour = 3_600_000_000_000;
        set(
            steering,
            Admission {
                host_cost_ns: hour,
                ..Admission::default()
            },
        );
        assert_eq!(verdicts(steering, &good, 3), [XDP_PASS, XDP_DROP, XDP_DROP]);
        set(
            steering,
            Admission {
                source_cost_ns: hour,
                source_bits_ipv4: 32,
                ..Admission::default()
            },
        );
        assert_eq!(verdicts(steering, &good, 3), [XDP_PASS, XDP_DROP, XDP_DROP]);
        let counted = steering.counters().unwrap();
        assert_eq!((counted.host_budget, counted.source_budget), (2, 2));
        assert!(
            steering.traced().unwrap().is_empty(),
            "nobody listens any more"
        );

        set(
            steering,
            Admission {
                blocks: 1,
                ..Admission::default()
            },
        );
        let nobody = std::collections::BTreeSet::new();
        for (zone, network, bits, wanted) in [
            (7, "127.0.0.9", 32, XDP_DROP),
            (7, "127.0.0.0", 24, XDP_DROP),
            (7, "127.0.0.8", 32, XDP_PASS),
            (8, "127.0.0.9", 32, XDP_PASS),
            (7, "0.0.0.0", 0, XDP_DROP),
            (7, "::", 0, XDP_DROP),
            (7, "2001:db8::", 32, XDP_PASS),
        ] {
            let blocks = [(zone, network.parse().unwrap(), bits)].into();
            assert_eq!(steering.set_blocks(&nobody, &blocks).unwrap(), 0);
            assert_eq!(
                verdicts(steering, &good, 1),
                [wanted],
                "{zone} {network}/{bits}"
            );
            steering.set_blocks(&blocks, &nobody).unwrap();
        }
        assert_eq!(verdicts(steering, &good, 1), [XDP_PASS]);
        assert_eq!(steering.counters().unwrap().blocked, 4);

        // All of it was about one host, which is counted for as long as it has owners.
        let counted = HostCounts {
            noted: 12,
            host_budget: 2,
            blocked: 4,
        };
        assert_eq!(steering.host_counts(&host).unwrap(), counted);
        steering.own(&host, &[1]).unwrap();
        assert_eq!(steering.host_counts(&host).unwrap(), counted);
        steering.disown(&host).unwrap();
        assert_eq!(steering.host_counts(&host).unwrap(), HostCounts::default());
        steering.own(&host, &[1]).unwrap();
        assert_eq!(steering.host_counts(&host).unwrap(), HostCounts::default());
        steering.own_nameless(&[2], 0).unwrap();
        let nameless = hello(None, classical);
        assert_eq!(verdicts(steering, &nameless, 2), [XDP_PASS; 2]);
        assert_eq!(steering.nameless_counts().unwrap().noted, 2);
    });
}

/// Not an assertion: figures for those who read them.
#[test]
fn nanoseconds_of_a_frame() {
    with_listener("steer::figures", |steering| {
        let host = HostName::parse("api.example.com").unwrap();
        steering.own(&host, &[0]).unwrap();
        let client = Client::connects(50_002);
        let good = client.says(&hello(Some("api.example.com"), classical));
        let mut syn = client.says(b"");
        syn[47] = SYN;
        let data = client.says(&[&[23, 3, 3, 4, 0][..], &[7; 1_024]].concat());
        for (name, frame) in [
            ("SYN", syn),
            ("bare ACK, held", client.says(b"")),
            ("ClientHello, noted", good),
            ("established data", data),
        ] {
            let mut times: Vec<u128> = (0..9)
                .map(|_| steering.try_frame(&frame, 200_000).unwrap().1.as_nanos())
                .collect();
            times.sort_unstable();
            println!(
                "{name}: {} ns (from {} to {})",
                times[4], times[0], times[8]
            );
        }
    });
}
