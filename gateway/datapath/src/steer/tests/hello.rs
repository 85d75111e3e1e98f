//! Our reading of a ClientHello against BoringSSL's: where both name a host it is the same one, and
//! we never wait or give up where BoringSSL has an answer.

use super::super::hello::{RequestedHost, wanted};
use super::{Wire, client_hello};
use boring::ssl::{
    ConnectConfiguration, NameType, SelectCertError, Ssl, SslContext, SslContextBuilder, SslMethod,
    SslVersion,
};
use std::sync::mpsc::{Receiver, channel};

/// BoringSSL as a server that stops where hosts are chosen.
struct Authority {
    context: SslContext,
    named: Receiver<Option<String>>,
}

impl Authority {
    fn new() -> Self {
        let (sender, named) = channel();
        let sender = std::sync::Mutex::new(sender);
        let mut builder = SslContextBuilder::new(SslMethod::tls()).unwrap();
        builder.set_select_certificate_callback(move |hello| {
            let name = hello.servername(NameType::HOST_NAME).map(str::to_owned);
            sender.lock().unwrap().send(name).unwrap();
            Err(SelectCertError::ERROR)
        });
        Self {
            context: builder.build(),
            named,
        }
    }

    /// The name it reads; nothing when it refuses the bytes or waits for more.
    fn reads(&self, bytes: &[u8]) -> Option<Option<String>> {
        let wire = Wire {
            arriving: std::io::Cursor::new(bytes.to_vec()),
            sent: Vec::new(),
        };
        let stream = Ssl::new(&self.context).unwrap().setup_accept(wire);
        assert!(
            stream.handshake().is_err(),
            "the callback refuses everybody"
        );
        self.named.try_recv().ok()
    }

    /// Compares the two readings of some bytes.
    fn agrees(&self, bytes: &[u8], description: &str) {
        let ours = wanted(bytes);
        let theirs = self.reads(bytes);
        let fine = match (&ours, &theirs) {
            // BoringSSL refuses or waits: the hint is never used, or used again with more bytes.
            (_, None) => true,
            (RequestedHost::Host(ours), Some(Some(theirs))) => **ours == *theirs.as_bytes(),
            // boring gives only names that are UTF-8.
            (RequestedHost::Host(ours), Some(None)) => std::str::from_utf8(ours).is_err(),
            (RequestedHost::Nobody, Some(theirs)) => theirs
                .as_ref()
                .is_none_or(|name| name.len() > ebpf::hello::NAME_SIZE_MAX),
            (RequestedHost::More, Some(_)) => false,
        };
        assert!(
            fine,
            "{description}: we read {ours:?}, BoringSSL {theirs:?}"
        );
    }
}

/// A client's way of writing a ClientHello.
type Setup = fn(&mut ConnectConfiguration);

const SETUPS: [(&str, Setup); 7] = [
    ("defaults", |_| ()),
    ("permuted", |client| client.set_permute_extensions(true)),
    ("classical groups", |client| {
        client.set_curves_list("X25519:P-256").unwrap()
    }),
    ("post-quantum groups and ALPN", |client| {
        client.set_curves_list("X25519MLKEM768:X25519").unwrap();
        client.set_alpn_protos(b"\x02h2\x08http/1.1").unwrap();
    }),
    ("an encrypted ClientHello (GREASE)", encrypted),
    ("TLS 1.2", |client| {
        client
            .set_max_proto_version(Some(SslVersion::TLS1_2))
            .unwrap()
    }),
    ("TLS 1.0", old),
];

/// As a browser writes it that does not know whether the server has keys for it.
pub(super) fn encrypted(client: &mut ConnectConfiguration) {
    client.set_enable_ech_grease(true);
}

/// The oldest that there is, with extensions.
pub(super) fn old(client: &mut ConnectConfiguration) {
    client
        .set_min_proto_version(Some(SslVersion::TLS1))
        .unwrap();
    client
        .set_max_proto_version(Some(SslVersion::TLS1))
        .unwrap();
}

#[test]
fn real_hellos_are_read_the_same() {
    let authority = Authority::new();
    let long = ["a"; 120].join(".");
    let names = [
        "api.example.com",
        "API.Example.COM",
        "x",
        "localhost",
        "under_score.example",
        &long,
    ];
    for (description, setup) in SETUPS {
        for name in names {
            let bytes = client_hello(Some(name), setup);
            let named = RequestedHost::Host(name.as_bytes().into());
            assert_eq!(wanted(&bytes), named, "{description}, {name}");
            assert_eq!(
                authority.reads(&bytes),
                Some(Some(name.to_owned())),
                "{description}, {name}"
            );
        }
        let bytes = client_hello(None, setup);
        assert_eq!(
            wanted(&bytes),
            RequestedHost::Nobody,
            "{description}, no name"
        );
        assert_eq!(
            authority.reads(&bytes),
            Some(None),
            "{description}, no name"
        );
    }
}

#[test]
fn every_prefix_is_waited_for_until_the_name_is_there() {
    let authority = Authority::new();
    let bytes = client_hello(Some("api.example.com"), |_| ());
    let known = bytes
        .windows(15)
        .position(|window| window == b"api.example.com")
        .unwrap()
        + 15;
    for end in 0..=bytes.len() {
        let expected = match end {
            end if end < known => RequestedHost::More,
            _ => RequestedHost::Host(b"api.example.com".into()),
        };
        assert_eq!(wanted(&bytes[..end]), expected, "{end} bytes");
    }
    for end in 0..=bytes.len() {
        authority.agrees(&bytes[..end], "a prefix");
    }
}

#[test]
fn every_changed_byte_is_read_the_same_or_refused() {
    let authority = Authority::new();
    for (description, setup) in SETUPS {
        let bytes = client_hello(Some("api.example.com"), setup);
        // A key share's or a random's own bytes say nothing; all others do.
        for at in (0..bytes.len().min(700)).filter(|at| !(11..43).contains(at)) {
            for change in [1, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                authority.agrees(&changed, &format!("{description}, byte {at} ^ {change}"));
            }
        }
    }
}

#[test]
fn a_hello_over_several_records_is_put_together() {
    let authority = Authority::new();
    let bytes = client_hello(Some("api.example.com"), |client| {
        client.set_permute_extensions(true)
    });
    let message = &bytes[5..];
    let record = |payload: &[u8]| {
        let size = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [&[22, 3, 1], &size[..], payload].concat()
    };
    for cut in 1..message.len() {
        let (first, second) = message.split_at(cut);
        let two = [record(first), record(second)].concat();
        assert_eq!(
            wanted(&two),
            RequestedHost::Host(b"api.example.com".into()),
            "cut at {cut}"
        );
        authority.agrees(&two, "two records");
        let waiting = wanted(&two[..two.len() - second.len()]);
        assert!(
            matches!(waiting, RequestedHost::More | RequestedHost::Host(_)),
            "cut at {cut}: {waiting:?}"
        );
    }
    let crumbs: Vec<u8> = message.chunks(7).flat_map(record).collect();
    assert_eq!(
        wanted(&crumbs),
        RequestedHost::Host(b"api.example.com".into())
    );
}

#[test]
fn what_is_no_hello_wants_nobody() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x80\x2e\x01\x03\x01",
        b"\x16\x03\x01\x00\x02\x01\x00\x17\x03\x03\x00\x01\x00",
        b"\xff",
    ] {
        assert_eq!(wanted(bytes), RequestedHost::Nobody, "{bytes:?}");
    }
    assert_eq!(wanted(b""), RequestedHost::More);
}
