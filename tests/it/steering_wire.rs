//! Segments as no well-behaved client sends them, to a gateway with the kernel steering and to one
//! without: what comes of them is the same.

use std::net::SocketAddrV4;
use std::sync::Arc;

use boring::ssl::{HandshakeError, SslConnector, SslMethod};
use tests::network::SERVER_IPV4;
use tests::wire::{ACK, ADDRESS, FIN, Heard, Peer, RST};
use tests::{Gateway, Network, Origin, Setup};

const HOST: &str = "wire.example.test";
/// Bytes of the hello's first segment.
const CUT: usize = 1_200;

/// A client's whole life after its SYN was answered; answers what it heard last.
type Scenario = fn(&mut Peer, &[u8]) -> Heard;

/// What comes of each on any listener.
const SCENARIOS: [(&str, Scenario, Heard); 13] = [
    (
        "an ACK and a hello",
        |peer, hello| {
            peer.send(ACK, 0, &[]);
            peer.until_answered(&[(ACK, 0, &hello[..CUT]), (ACK, at(CUT), &hello[CUT..])])
        },
        Heard::Handshake,
    ),
    (
        "no bare ACK",
        |peer, hello| {
            peer.until_answered(&[(ACK, 0, &hello[..CUT]), (ACK, at(CUT), &hello[CUT..])])
        },
        Heard::Handshake,
    ),
    (
        "the second segment first",
        |peer, hello| {
            peer.send(ACK, 0, &[]);
            peer.until_answered(&[(ACK, at(CUT), &hello[CUT..]), (ACK, 0, &hello[..CUT])])
        },
        Heard::Handshake,
    ),
    (
        "each segment twice, and overlapping",
        |peer, hello| {
            peer.send(ACK, 0, &[]);
            peer.send(ACK, 0, &hello[..CUT / 2]);
            peer.send(ACK, 0, &hello[..CUT / 2]);
            peer.send(ACK, 0, &hello[..CUT]);
            peer.until_answered(&[
                (ACK, at(CUT / 2), &hello[CUT / 2..CUT]),
                (ACK, at(CUT / 2), &hello[CUT / 2..]),
            ])
        },
        Heard::Handshake,
    ),
    (
        "the second and the third byte before the first",
        |peer, hello| {
            peer.send(ACK, 0, &[]);
            peer.send(ACK, at(1), &hello[1..2]);
            peer.send(ACK, at(2), &hello[2..3]);
            peer.send(ACK, 0, &hello[..1]);
            peer.until_answered(&[(ACK, at(1), &hello[1..CUT]), (ACK, at(CUT), &hello[CUT..])])
        },
        Heard::Handshake,
    ),
    (
        "the first segment long after the second",
        |peer, hello| {
            peer.send(ACK, 0, &[]);
            for _ in 0..3 {
                peer.send(ACK, at(CUT), &hello[CUT..]);
                std::thread::sleep(std::time::Duration::from_millis(200));
            }
            peer.until_answered(&[(ACK, 0, &hello[..CUT]), (ACK, at(CUT), &hello[CUT..])])
        },
        Heard::Handshake,
    ),
    (
        "a probe before the hello",
        |peer, hello| {
            peer.send(ACK, 0, &[]);
            for probe in [&[][..], &[0]] {
                peer.send(ACK, -1, probe);
            }
            peer.until_answered(&[(ACK, 0, &hello[..CUT]), (ACK, at(CUT), &hello[CUT..])])
        },
        Heard::Handshake,
    ),
    (
        "a window of nothing from the start, which opens when the server asks",
        |peer, hello| {
            peer.window = 0;
            peer.send(ACK, 0, &[]);
            let heard =
                peer.until_answered(&[(ACK, 0, &hello[..CUT]), (ACK, at(CUT), &hello[CUT..])]);
            assert_eq!(heard, Heard::Probe);
            assert_eq!(peer.hear(|_| ()), Heard::Probe, "it goes on asking");
            peer.window = 0xffff;
            peer.until_answered(&[(ACK, i32::try_from(hello.len()).unwrap(), &[])])
        },
        Heard::Handshake,
    ),
    (
        "a FIN before the hello that it ends",
        |peer, hello| {
            peer.send(ACK, 0, &[]);
            peer.until_answered(&[
                (FIN | ACK, at(hello.len()), &[]),
                (ACK, 0, &hello[..CUT]),
                (ACK, at(CUT), &hello[CUT..]),
            ])
        },
        Heard::Handshake,
    ),
    (
        "a FIN in place of the hello",
        |peer, _| {
            peer.send(ACK, 0, &[]);
            peer.until_answered(&[(FIN | ACK, 0, &[])])
        },
        Heard::End,
    ),
    (
        "a FIN behind half a hello",
        |peer, hello| {
            peer.send(ACK, 0, &[]);
            peer.until_answered(&[(ACK, 0, &hello[..CUT]), (FIN | ACK, at(CUT), &[])])
        },
        Heard::End,
    ),
    (
        "a FIN with the hello's end",
        |peer, hello| {
            peer.send(ACK, 0, &[]);
            peer.until_answered(&[(ACK, 0, &hello[..CUT]), (FIN | ACK, at(CUT), &hello[CUT..])])
        },
        Heard::Handshake,
    ),
    (
        "a reset in place of the hello, and then what is nobody's",
        |peer, hello| {
            peer.send(ACK, 0, &[]);
            peer.send(RST, 0, &[]);
            // Where there was a socket it has gone; where there was none the cookie is believed a
            // second time.
            match peer.until_answered(&[(ACK, 0, &hello[..CUT]), (ACK, at(CUT), &hello[CUT..])]) {
                Heard::Handshake => Heard::Reset,
                heard => heard,
            }
        },
        Heard::Reset,
    ),
];

fn at(offset: usize) -> i32 {
    i32::try_from(offset).unwrap()
}

/// A post-quantum ClientHello whose host is in its first or in its second segment.
fn hello(named_first: bool) -> Vec<u8> {
    let made = std::iter::repeat_with(|| {
        let connector = SslConnector::builder(SslMethod::tls()).unwrap().build();
        let mut client = connector.configure().unwrap();
        client.set_verify_hostname(false);
        client.set_curves_list("X25519MLKEM768:X25519").unwrap();
        client.set_permute_extensions(true);
        let stream = client.setup_connect(HOST, Sent::default()).unwrap();
        match stream.handshake() {
            Err(HandshakeError::WouldBlock(stream)) => stream.get_ref().0.clone(),
            _ => panic!("nobody answered"),
        }
    });
    let named = |bytes: &[u8]| {
        bytes
            .windows(HOST.len())
            .any(|part| part == HOST.as_bytes())
    };
    made.into_iter()
        .find(|bytes| bytes.len() > CUT && named(&bytes[..CUT]) == named_first && named(bytes))
        .unwrap()
}

/// What was sent; nothing is received.
#[derive(Debug, Default)]
struct Sent(Vec<u8>);

impl std::io::Read for Sent {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::WouldBlock.into())
    }
}

impl std::io::Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn suffer(mode: &'static str) {
    let Some(network) = Network::new("steering::wire") else {
        return;
    };
    drop(
        network
            .client
            .ip("link set outside address 02:00:00:00:00:77"),
    );
    let neighbour = "neighbour add 192.0.2.77 lladdr 02:00:00:00:00:77 dev inside";
    drop(network.server.ip(neighbour));
    assert_eq!(ADDRESS.to_string(), "192.0.2.77");
    let (origin, gateway): (Origin, Gateway) = network.server.run(move || {
        let origin = Origin::echo();
        let setup = Setup::new()
            .set("workers", "4")
            .set("steer.mode", mode)
            .listen(&[SERVER_IPV4])
            .host(HOST, "off", &origin.url());
        (origin, setup.start())
    });
    let server: SocketAddrV4 = SERVER_IPV4.parse().unwrap();
    let mut port = 40_000;
    for named_first in [true, false] {
        for (description, scenario, expected) in SCENARIOS {
            port += 1;
            let heard = network.client.run(move || {
                let mut peer = Peer::connect(server, port);
                let heard = scenario(&mut peer, &hello(named_first));
                // Whatever is left of it.
                peer.send(RST, 0, &[]);
                heard
            });
            assert_eq!(heard, expected, "{mode}, {named_first}: {description}");
        }
    }
    // And others are served.
    let gateway = Arc::new(gateway);
    let there = gateway.clone();
    network.client.block_on(move || async move {
        assert_eq!(there.client(HOST).get("/").await.unwrap().status, 200);
    });
    let mut gateway = Arc::into_inner(gateway).unwrap();
    assert!(gateway.stop().success(), "{}", gateway.stderr());
    drop(origin);
}

#[test]
fn odd_segments_end_with_a_plain_listener() {
    suffer("off");
}

#[test]
fn odd_segments_end_the_same_with_the_kernel_steering() {
    suffer("kernel");
}
