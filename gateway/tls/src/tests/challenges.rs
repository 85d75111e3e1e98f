//! TLS-ALPN-01: who is shown the certificate of a challenge, and what comes of such a handshake.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use boring::ssl::{
    SslConnector, SslMethod, SslSession, SslSessionCacheMode, SslStream, SslVerifyMode, SslVersion,
};
use boring::x509::X509;

use super::handshakes::{Client, Hosts, World, carry, shake};
use super::pki::NOW;
use crate::ffi::testing::set_session;
use crate::{AcceptSettings, Challenge, Endpoint, Endpoints, Refusal, Wire};
use vocabulary::hostname::HostName;

const DIGEST: [u8; 32] = [0xa5; 32];

/// Hosts, and a name that an ACME server checks.
struct Checked {
    hosts: Arc<Hosts>,
    name: &'static str,
    challenge: Arc<Challenge>,
}

impl Endpoints for Checked {
    fn find(&self, sni: Option<&str>) -> Option<Arc<Endpoint>> {
        self.hosts.find(sni)
    }

    fn challenge(&self, name: &str) -> Option<Arc<Challenge>> {
        (name == self.name).then(|| self.challenge.clone())
    }
}

fn checked(world: &World, name: &'static str) -> Arc<Checked> {
    let host = HostName::parse(name).unwrap();
    Arc::new(Checked {
        hosts: world.snapshot(&[], None),
        name,
        challenge: Arc::new(Challenge::build(&host, &DIGEST, NOW).unwrap()),
    })
}

struct Outcome {
    /// Whether the server took it for an ACME server; `Err` when the handshake failed.
    server: Result<bool, Refusal>,
    /// What the client was shown, and the protocol that was agreed on.
    shown: Option<(X509, Option<Vec<u8>>)>,
    /// A host would have served it.
    established: bool,
    resumed: bool,
    /// How many tickets the client has.
    tickets: usize,
}

fn connect(
    world: &World,
    endpoints: &Arc<Checked>,
    (sni, alpn): (&str, &[u8]),
    old: bool,
    session: Option<&SslSession>,
) -> Outcome {
    let mut builder = SslConnector::builder(SslMethod::tls()).unwrap();
    builder.set_custom_verify_callback(SslVerifyMode::PEER, |_| Ok(()));
    builder.set_alpn_protos(alpn).unwrap();
    let tickets = Arc::new(AtomicUsize::new(0));
    let counted = tickets.clone();
    builder.set_session_cache_mode(SslSessionCacheMode::CLIENT);
    builder.set_new_session_callback(move |_, _| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    if old {
        let version = Some(SslVersion::TLS1_2);
        builder.set_max_proto_version(version).unwrap();
    }
    let configuration = builder.build().configure().unwrap().verify_hostname(false);
    let mut ssl = configuration.into_ssl(sni).unwrap();
    if let Some(session) = session {
        set_session(&mut ssl, session).unwrap();
    }
    let mut theirs = SslStream::new(ssl, Wire::default()).unwrap();
    let settings = AcceptSettings {
        now_sec: NOW,
        chain_bytes_max: 32 * 1024,
        tickets: 2,
    };
    let mut ours = world.acceptor.accept(endpoints.clone(), settings).unwrap();
    let mut server = None;
    for _ in 0..10 {
        drop(theirs.connect());
        carry(theirs.get_mut(), ours.wire());
        if server.is_none() {
            match ours.handshake() {
                Ok(false) => {}
                Ok(true) => server = Some(Ok(world.acceptor.is_challenge(&ours))),
                Err(failure) => {
                    server = Some(Err(world.acceptor.failure(&ours, failure).refusal));
                }
            }
        }
        carry(ours.wire(), theirs.get_mut());
    }
    let has_ended = matches!(server, Some(Ok(_)));
    // BoringSSL sends its tickets along with the server's first bytes.
    if has_ended {
        ours.write(b"y").unwrap();
        carry(ours.wire(), theirs.get_mut());
        drop(theirs.read(&mut [0; 1]));
    }
    let certificate = theirs.ssl().peer_certificate();
    let protocol = theirs.ssl().selected_alpn_protocol().map(<[u8]>::to_vec);
    Outcome {
        server: server.unwrap(),
        shown: certificate.map(|one| (one, protocol)),
        resumed: ours.ssl().session_reused(),
        tickets: tickets.load(Ordering::Relaxed),
        established: has_ended && world.acceptor.establish(&mut ours).is_ok(),
    }
}

const ALONE: &[u8] = b"\x0aacme-tls/1";

#[test]
fn an_acme_server_is_shown_its_certificate_and_nobody_else() {
    let world = World::new();
    // One that is no host yet, and one that asks its clients for certificates.
    for name in ["new.test", "require.test"] {
        let endpoints = checked(&world, name);
        for old in [false, true] {
            let outcome = connect(&world, &endpoints, (name, ALONE), old, None);
            assert_eq!(outcome.server, Ok(true), "{name} {old}");
            assert!(!outcome.established, "{name} {old}");
            assert_eq!(outcome.tickets, 0, "{name} {old}");
            let (certificate, protocol) = outcome.shown.unwrap();
            assert_eq!(protocol.as_deref(), Some(&b"acme-tls/1"[..]));
            let names = certificate.subject_alt_names().unwrap();
            let names: Vec<_> = names.iter().filter_map(|one| one.dnsname()).collect();
            assert_eq!(names, [name]);
            // critical, and an OCTET STRING in the extension's OCTET STRING (RFC 8737 §3).
            let extension = [
                b"\x06\x08\x2b\x06\x01\x05\x05\x07\x01\x1f\x01\x01\xff\x04\x22\x04\x20".as_slice(),
                &DIGEST,
            ]
            .concat();
            let der = certificate.to_der().unwrap();
            let has = der.windows(extension.len()).any(|part| part == extension);
            assert!(has, "{name} {old}");
        }
    }
}

#[test]
fn the_protocol_without_a_challenge_or_beside_others_opens_nothing() {
    let world = World::new();
    let endpoints = checked(&world, "off.test");
    let with_http = b"\x0aacme-tls/1\x02h2";
    for (sni, alpn, server) in [
        ("request.test", ALONE, Err(Refusal::Protocol)),
        ("new.test", ALONE, Err(Refusal::UnknownHost)),
        // An ordinary client of the host.
        ("off.test", with_http.as_slice(), Ok(false)),
        ("off.test", b"\x08http/1.1".as_slice(), Ok(false)),
    ] {
        let outcome = connect(&world, &endpoints, (sni, alpn), false, None);
        assert_eq!(outcome.server, server, "{sni}");
        if let Some((_, protocol)) = outcome.shown {
            assert_ne!(protocol.as_deref(), Some(&b"acme-tls/1"[..]), "{sni}");
        }
        assert_eq!(outcome.established, server.is_ok(), "{sni}");
        assert_eq!(outcome.tickets > 0, server.is_ok(), "{sni}");
    }
}

#[test]
fn no_ticket_leads_from_a_host_into_a_challenge() {
    let world = World::new();
    let endpoints = checked(&world, "off.test");
    let hosts = world.snapshot(&[], None);
    let client = Client {
        sni: Some("off.test"),
        ..Client::default()
    };
    let ticket = shake(&world, &hosts, &client).session.unwrap();
    let again = Client {
        session: Some(&ticket),
        ..client
    };
    assert!(shake(&world, &hosts, &again).server.unwrap().resumed);
    let asked = ("off.test", ALONE);
    let outcome = connect(&world, &endpoints, asked, false, Some(&ticket));
    assert_eq!((outcome.server, outcome.resumed), (Ok(true), false));
    assert!(outcome.shown.is_some());
}
