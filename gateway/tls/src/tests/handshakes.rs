//! Whole handshakes in memory: a BoringSSL client on one end, [`Acceptor`] on the other.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use boring::ssl::{
    SslConnector, SslContext, SslMethod, SslSession, SslSessionCacheMode, SslSignatureAlgorithm,
    SslStream, SslVerifyMode, SslVersion,
};

use foreign_types::ForeignType as _;

use super::pki::{Identity, NOW, Wish, issue};
use crate::ffi::testing::{set_session, set_signing_algorithm, shown_issuers};
use crate::{
    AcceptSettings, Acceptor, Anchor, Endpoint, Endpoints, Established, HandshakeError,
    HandshakeFailure, Refusal, ServerIdentity, Session, Site, SiteSpec, Staple, Trust, Wire,
};
use vocabulary::hostname::HostName;
use vocabulary::settings::{MtlsMode, OnRevoked, TlsVersion};
use vocabulary::verdict::Reason;

/// A world of two CAs and hosts in every mode.
pub(super) struct World {
    pub(super) acceptor: Acceptor,
    /// That a client gets.
    pub(super) tickets: usize,
    /// Of every host.
    pub(super) min_version: TlsVersion,
    server: Identity,
    pub(super) ca: Identity,
    other_ca: Identity,
    pub(super) client: Identity,
}

const NAMES: [&str; 5] = [
    "off.test",
    "request.test",
    "require.test",
    "other.test",
    "*.wild.test",
];

impl World {
    pub(super) fn new() -> Self {
        let ca = issue(&Wish::ca("clients"), None);
        let client = issue(&Wish::default(), Some(&ca));
        Self {
            acceptor: Acceptor::new().unwrap(),
            tickets: 2,
            min_version: TlsVersion::Tls12,
            server: issue(
                &Wish {
                    dns: &NAMES,
                    client_auth: Some(false),
                    ..Wish::default()
                },
                None,
            ),
            other_ca: issue(&Wish::ca("others"), None),
            ca,
            client,
        }
    }

    pub(super) fn snapshot(&self, revoked: &[u8], default_host: Option<&str>) -> Arc<Hosts> {
        let set = |ca: &Identity| {
            let revoked: HashSet<Box<[u8]>> = [Box::from(revoked)].into();
            let der = ca.x509.to_der().unwrap();
            let anchor = Anchor {
                id: "ca".into(),
                der,
                revoked: Arc::new(revoked),
                lists: None,
                denied: Arc::default(),
                responder: None,
            };
            Arc::new(Trust::build(vec![anchor]).unwrap())
        };
        let nobody = Arc::new(Trust::build(Vec::new()).unwrap());
        let hosts = vec![
            self.host("off.test", MtlsMode::Off, &nobody),
            self.host("request.test", MtlsMode::Request, &set(&self.ca)),
            self.host("require.test", MtlsMode::Require, &set(&self.ca)),
            self.host("other.test", MtlsMode::Require, &set(&self.other_ca)),
            self.host("*.wild.test", MtlsMode::Off, &nobody),
        ];
        let all: Vec<Arc<Endpoint>> = hosts.into_iter().map(Arc::new).collect();
        let default = default_host.and_then(|name| {
            let found = all.iter().find(|host| host.name.as_str() == name);
            found.cloned()
        });
        Arc::new(Hosts { all, default })
    }

    fn host(&self, name: &str, mtls: MtlsMode, trust: &Arc<Trust>) -> Endpoint {
        let name = HostName::parse(name).unwrap();
        let site = Site::build(&SiteSpec {
            host: &name,
            certificates: &[ServerIdentity {
                chain_pem: &self.server.x509.to_pem().unwrap(),
                key_pem: &self.server.key.private_key_to_pem_pkcs8().unwrap(),
                staple: None,
            }],
            mtls,
            revoked: OnRevoked::Rule,
            min_version: self.min_version,
            trust,
        });
        Endpoint {
            zone: "example.com".into(),
            name,
            site: site.unwrap().into(),
            trust: trust.clone(),
            keeps_hello: false,
        }
    }
}

/// A few hosts by name.
pub(super) struct Hosts {
    all: Vec<Arc<Endpoint>>,
    default: Option<Arc<Endpoint>>,
}

impl Endpoints for Hosts {
    fn find(&self, sni: Option<&str>) -> Option<Arc<Endpoint>> {
        let Some(sni) = sni else {
            return self.default.clone();
        };
        let exact = |host: &&Arc<Endpoint>| host.name.as_str() == sni;
        let wildcard = |host: &&Arc<Endpoint>| {
            host.name.wildcard_parent() == sni.split_once('.').map(|(_, parent)| parent)
        };
        let found = self.all.iter().find(exact);
        found.or_else(|| self.all.iter().find(wildcard)).cloned()
    }
}

/// What a client comes with.
#[derive(Default)]
pub(super) struct Client<'a> {
    pub(super) sni: Option<&'a str>,
    pub(super) identity: Option<&'a Identity>,
    pub(super) session: Option<&'a SslSession>,
    pub(super) tls12: bool,
    /// What it signs with.
    pub(super) algorithm: Option<u16>,
    /// What it exchanges keys with.
    pub(super) groups: Option<&'a str>,
    /// The signatures that it knows.
    pub(super) knows: Option<&'a [SslSignatureAlgorithm]>,
}

pub(super) struct Outcome {
    pub(super) server: Result<Established, Box<HandshakeError>>,
    client: Result<(), String>,
    /// A session to resume with, the last one.
    pub(super) session: Option<SslSession>,
    /// How many there were.
    pub(super) sessions: usize,
    /// Names of CAs that the client was shown.
    shown: usize,
    /// The alert that the server sent in clear.
    alert: Option<u8>,
}

/// Runs a handshake and one byte from the client, and collects what came of it on both sides.
pub(super) fn shake(world: &World, snapshot: &Arc<Hosts>, client: &Client<'_>) -> Outcome {
    let mut builder = SslConnector::builder(SslMethod::tls()).unwrap();
    let shown = Arc::new(AtomicUsize::new(0));
    let seen = shown.clone();
    builder.set_custom_verify_callback(SslVerifyMode::PEER, move |ssl| {
        seen.store(shown_issuers(ssl), Ordering::Relaxed);
        Ok(())
    });
    builder.set_session_cache_mode(SslSessionCacheMode::CLIENT);
    if client.tls12 {
        builder
            .set_max_proto_version(Some(SslVersion::TLS1_2))
            .unwrap();
    }
    if let Some(identity) = client.identity {
        builder.set_certificate(&identity.x509).unwrap();
        builder.set_private_key(&identity.key).unwrap();
    }
    if let Some(algorithm) = client.algorithm {
        set_signing_algorithm(&mut builder, algorithm);
    }
    if let Some(known) = client.knows {
        builder.set_verify_algorithm_prefs(known).unwrap();
    }
    if let Some(groups) = client.groups {
        builder.set_curves_list(groups).unwrap();
    }
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = kept.clone();
    builder.set_new_session_callback(move |_, session| keep.lock().unwrap().push(session));
    let connector = builder.build();
    let mut configuration = connector.configure().unwrap().verify_hostname(false);
    configuration.set_use_server_name_indication(client.sni.is_some());
    let mut ssl = configuration
        .into_ssl(client.sni.unwrap_or("none.test"))
        .unwrap();
    if let Some(session) = client.session {
        set_session(&mut ssl, session).unwrap();
    }
    let mut theirs = SslStream::new(ssl, Wire::default()).unwrap();
    let settings = AcceptSettings {
        now_sec: NOW,
        chain_bytes_max: 32 * 1024,
        tickets: world.tickets,
    };
    let mut ours = world.acceptor.accept(snapshot.clone(), settings).unwrap();

    let mut client_outcome = Ok(());
    let (mut server_outcome, mut alert) = (None, None);
    for _ in 0..10 {
        if client_outcome.is_ok()
            && let Err(error) = theirs.connect()
            && !error.would_block()
        {
            client_outcome = Err(error.to_string());
        }
        carry(theirs.get_mut(), ours.wire());
        if server_outcome.is_none() {
            match ours.handshake() {
                Ok(false) => {}
                Ok(true) => server_outcome = Some(world.acceptor.establish(&mut ours)),
                Err(failure) => {
                    server_outcome = Some(Err(world.acceptor.failure(&ours, failure)));
                }
            }
        }
        let in_clear = carry(ours.wire(), theirs.get_mut());
        alert = alert.or(in_clear);
    }
    // BoringSSL sends its tickets along with the server's first bytes.
    if matches!(server_outcome, Some(Ok(_))) {
        ours.write(b"y").unwrap();
        carry(ours.wire(), theirs.get_mut());
    }
    // A TLS 1.3 client knows of a refusal, and has its ticket, only once it reads.
    if client_outcome.is_ok() && theirs.ssl().is_init_finished() {
        drop(theirs.write(b"x"));
        if let Err(error) = theirs.read(&mut [0; 1])
            && error.kind() != std::io::ErrorKind::WouldBlock
        {
            client_outcome = Err(error.to_string());
        }
    }
    let shown = shown.load(Ordering::Relaxed);
    let mut kept = std::mem::take(&mut *kept.lock().unwrap());
    let sessions = kept.len();
    Outcome {
        server: server_outcome.unwrap(),
        client: client_outcome,
        session: kept.pop(),
        sessions,
        shown,
        alert,
    }
}

/// Moves bytes, and answers the alert that is in them in clear (RFC 8446 §6, §5.1).
pub(super) fn carry(from: &mut Wire, to: &mut Wire) -> Option<u8> {
    let bytes = from.swap_outgoing(Vec::new());
    let alert = match bytes.as_slice() {
        [21, 3, _, 0, 2, 2, alert] => Some(*alert),
        _ => None,
    };
    if !bytes.is_empty() {
        // What was not read yet stays in front.
        let mut waiting = Vec::new();
        drop(to.read_to_end(&mut waiting));
        let _drained = to.take_incoming();
        waiting.extend(bytes);
        to.give_incoming(waiting);
    }
    alert
}

#[test]
fn modes_and_certificates() {
    let world = World::new();
    let stranger = issue(&Wish::default(), Some(&world.other_ca));
    let expired = issue(
        &Wish {
            from_days: -9,
            to_days: -1,
            ..Wish::default()
        },
        Some(&world.ca),
    );
    let snapshot = world.snapshot(&[], None);
    let clients: [(Option<&Identity>, Reason); 4] = [
        (None, Reason::NotPresented),
        (Some(&world.client), Reason::Verified),
        (Some(&stranger), Reason::UnknownCa),
        (Some(&expired), Reason::Expired),
    ];
    for tls12 in [false, true] {
        for (identity, reason) in &clients {
            let at = |sni| {
                shake(
                    &world,
                    &snapshot,
                    &Client {
                        sni: Some(sni),
                        identity: *identity,
                        tls12,
                        session: None,
                        ..Client::default()
                    },
                )
            };

            let off = at("off.test").server.unwrap();
            assert_eq!(
                off.client.verdict.reason,
                Reason::NotPresented,
                "{reason} {tls12}"
            );

            let outcome = at("request.test");
            assert!(
                outcome.client.is_ok(),
                "{reason} {tls12}: {:?}",
                outcome.client
            );
            let verdict = outcome.server.unwrap().client.verdict;
            assert_eq!(verdict.reason, *reason, "{tls12}");
            assert_eq!(verdict.verified, *reason == Reason::Verified);

            let outcome = at("require.test");
            if *reason == Reason::Verified {
                assert!(outcome.server.unwrap().client.verdict.verified);
                assert!(outcome.client.is_ok());
            } else {
                let error = outcome.server.unwrap_err();
                assert_eq!(
                    error.refusal,
                    Refusal::ClientCertificate(*reason),
                    "{tls12} {error:?}"
                );
                assert!(
                    outcome.client.is_err(),
                    "{reason} {tls12}: the client must be told"
                );
                assert_eq!(error.client.is_some(), identity.is_some());
                assert_eq!(error.sni.as_deref(), Some("require.test"));
            }
        }
    }
}

#[test]
fn names_find_their_host_or_are_refused() {
    let world = World::new();
    for (sni, default, expected) in [
        (Some("off.test"), None, Ok("off.test")),
        (Some("OFF.Test"), None, Ok("off.test")),
        (Some("a.wild.test"), None, Ok("*.wild.test")),
        (
            Some("a.b.wild.test"),
            None,
            Err((Refusal::UnknownHost, 112)),
        ),
        (Some("wild.test"), None, Err((Refusal::UnknownHost, 112))),
        (
            Some("nobody.test"),
            Some("off.test"),
            Err((Refusal::UnknownHost, 112)),
        ),
        (None, None, Err((Refusal::NoSni, 109))),
        (None, Some("off.test"), Ok("off.test")),
    ] {
        for tls12 in [false, true] {
            let snapshot = world.snapshot(&[], default);
            let outcome = shake(
                &world,
                &snapshot,
                &Client {
                    sni,
                    tls12,
                    ..Client::default()
                },
            );
            match expected {
                Ok(name) => {
                    assert_eq!(outcome.server.unwrap().host.name.as_str(), name, "{sni:?}");
                }
                Err((refusal, alert)) => {
                    assert_eq!(outcome.server.unwrap_err().refusal, refusal, "{sni:?}");
                    assert!(outcome.client.is_err());
                    assert_eq!(outcome.alert, Some(alert), "{sni:?}");
                }
            }
        }
    }
}

#[test]
fn a_host_shows_its_own_cas_only() {
    let world = World::new();
    let snapshot = world.snapshot(&[], None);
    for (sni, expected) in [("off.test", 0), ("request.test", 1), ("require.test", 1)] {
        let client = Client {
            sni: Some(sni),
            identity: Some(&world.client),
            ..Client::default()
        };
        assert_eq!(shake(&world, &snapshot, &client).shown, expected, "{sni}");
    }
}

/// The trap: a ticket taken anywhere must not open what it was not issued for.
#[test]
fn a_ticket_is_good_at_its_own_host_only() {
    let world = World::new();
    let snapshot = world.snapshot(&[], None);
    for tls12 in [false, true] {
        for (from, identity) in [
            ("off.test", None),
            ("a.wild.test", None),
            ("request.test", None),
            ("request.test", Some(&world.client)),
            ("require.test", Some(&world.client)),
        ] {
            let first = shake(
                &world,
                &snapshot,
                &Client {
                    sni: Some(from),
                    identity,
                    tls12,
                    session: None,
                    ..Client::default()
                },
            );
            assert!(first.client.is_ok(), "{from}");
            let session = first.session.expect("a ticket");
            for to in ["off.test", "request.test", "require.test", "other.test"] {
                let client = Client {
                    sni: Some(to),
                    identity: None,
                    session: Some(&session),
                    tls12,
                    ..Client::default()
                };
                let outcome = shake(&world, &snapshot, &client);
                let what = format!("{from} -> {to}, tls12 {tls12}, cert {}", identity.is_some());
                match outcome.server {
                    Ok(established) => {
                        assert_eq!(established.resumed, from == to, "{what}");
                        let believed = established.client.verdict.verified;
                        assert_eq!(believed, from == to && identity.is_some(), "{what}");
                        assert!(
                            believed || established.host.site.mtls != MtlsMode::Require,
                            "{what}"
                        );
                    }
                    Err(error) => {
                        assert_eq!(
                            error.refusal,
                            Refusal::ClientCertificate(Reason::NotPresented),
                            "{what}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_revoked_or_expired_client_does_not_resume() {
    let world = World::new();
    let before = world.snapshot(&[], None);
    let after = world.snapshot(&[0x12, 0x34], None);
    for tls12 in [false, true] {
        for (sni, mode) in [
            ("request.test", MtlsMode::Request),
            ("require.test", MtlsMode::Require),
        ] {
            let client = Client {
                sni: Some(sni),
                identity: Some(&world.client),
                tls12,
                session: None,
                ..Client::default()
            };
            let session = shake(&world, &before, &client).session.expect("a ticket");
            let client = Client {
                session: Some(&session),
                ..client
            };
            let outcome = shake(&world, &after, &client);
            match (mode, outcome.server) {
                (MtlsMode::Require, Err(error)) => {
                    assert_eq!(
                        error.refusal,
                        Refusal::ClientCertificate(Reason::Revoked),
                        "{tls12}"
                    );
                }
                // Revoked is verified; rules decide.
                (MtlsMode::Request, Ok(established)) => {
                    assert!(established.resumed, "{tls12}");
                    assert!(established.client.verdict.revoked, "{tls12}");
                }
                (mode, _) => panic!("{mode} {tls12}"),
            }

            // The same ticket when the CA is gone from the host's set.
            let mut world = World::new();
            std::mem::swap(&mut world.ca, &mut world.other_ca);
            let client = Client {
                sni: Some(sni),
                identity: None,
                tls12,
                session: Some(&session),
                ..Client::default()
            };
            match shake(&world, &world.snapshot(&[], None), &client).server {
                Ok(established) => assert!(!established.client.verdict.verified),
                Err(error) => assert!(matches!(error.refusal, Refusal::ClientCertificate(_))),
            }
        }
    }
}

#[test]
fn an_answer_that_has_ended_is_stapled_no_more() {
    let world = World::new();
    let (chain, key) = (
        world.server.x509.to_pem().unwrap(),
        world.server.key.private_key_to_pem_pkcs8().unwrap(),
    );
    let staple = Staple {
        der: [1, 2, 3].into(),
        this_update_sec: NOW - 10,
        until_sec: NOW + 10,
    };
    let name = HostName::parse("off.test").unwrap();
    let build = |staple| {
        let site = Site::build(&SiteSpec {
            host: &name,
            certificates: &[ServerIdentity {
                chain_pem: &chain,
                key_pem: &key,
                staple,
            }],
            mtls: MtlsMode::Off,
            revoked: OnRevoked::Rule,
            min_version: TlsVersion::default(),
            trust: &Arc::new(Trust::build(Vec::new()).unwrap()),
        });
        site.unwrap()
    };
    let is_same = |site: &Site, one: i64, other: i64| {
        let [one, other] = [one, other].map(|now| SslContext::as_ptr(site.context(now)));
        one == other
    };
    let stapled = build(Some(&staple));
    assert!(is_same(&stapled, NOW, NOW + 10));
    assert!(!is_same(&stapled, NOW, NOW + 11), "another context goes on");
    // A certificate that has ended is shown without an answer, as it would be without one.
    assert!(is_same(&stapled, NOW + 11, i64::MAX));
    assert!(is_same(&build(None), NOW, NOW + 11));
}

#[test]
fn a_chain_that_is_too_large_has_its_own_reason() {
    let world = World::new();
    let snapshot = world.snapshot(&[], None);
    let name = "a".repeat(200);
    let large = issue(
        &Wish {
            dns: &[name.as_str(); 200],
            ..Wish::default()
        },
        Some(&world.ca),
    );
    for tls12 in [false, true] {
        let client = Client {
            sni: Some("require.test"),
            identity: Some(&large),
            tls12,
            ..Client::default()
        };
        let error = shake(&world, &snapshot, &client).server.unwrap_err();
        let refusal = Refusal::ClientCertificate(Reason::ChainTooLarge);
        assert_eq!(error.refusal, refusal, "{tls12}: {}", error.failure);
        assert!(error.client.is_some_and(|client| client.verdict.presented));
    }
}

#[test]
fn every_prefix_and_every_flipped_byte_of_a_hello_is_survived() {
    let world = World::new();
    let snapshot = world.snapshot(&[], None);
    let mut builder = SslConnector::builder(SslMethod::tls()).unwrap();
    builder.set_verify(SslVerifyMode::NONE);
    let ssl = builder
        .build()
        .configure()
        .unwrap()
        .into_ssl("request.test")
        .unwrap();
    let mut client = SslStream::new(ssl, Wire::default()).unwrap();
    drop(client.connect());
    let hello = client.get_mut().swap_outgoing(Vec::new());
    let settings = AcceptSettings {
        now_sec: NOW,
        chain_bytes_max: 32 * 1024,
        tickets: 2,
    };
    let feed = |bytes: Vec<u8>, end: bool| {
        let mut session: Session = world.acceptor.accept(snapshot.clone(), settings).unwrap();
        session.wire().give_incoming(bytes);
        let outcome = session.handshake();
        if end && matches!(outcome, Ok(false)) {
            session.wire().take_incoming();
            session.wire().end();
            let failure = session.handshake().unwrap_err();
            assert!(matches!(failure, HandshakeFailure::Closed), "{failure}");
            assert_eq!(
                world.acceptor.failure(&session, failure).refusal,
                Refusal::Closed
            );
        }
        outcome
    };
    for length in 1..hello.len() {
        let outcome = feed(hello[..length].to_vec(), true);
        assert!(matches!(outcome, Ok(false)), "prefix of {length}");
    }
    for index in 0..hello.len() {
        let mut bent = hello.clone();
        bent[index] ^= 0x80;
        drop(feed(bent, false));
    }
    let failure = feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), false).unwrap_err();
    assert!(failure.to_string().contains("HTTP_REQUEST"), "{failure}");
    assert!(feed(vec![0; 64], false).is_err());
}
