//! What a handshake costs the server, beside the sum of the cryptography in it.
//!
//! Only the server's part is timed; the client's goes on in between. The sums are of BoringSSL's
//! own primitives, measured in the same run: the asymmetric ones, and with them what else of
//! cryptography TLS 1.3 prescribes ([`Rest`]). What is above them is messages read and written,
//! sessions, callbacks, allocation, and the verification of the chain. `cargo bench -p bench --bench
//! handshake -- figures` puts both beside a server that is BoringSSL and nothing else, in turns, in
//! CPU time, and says what each further ticket costs.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use bench::client::{Belief, Identity, Plain, Shaken, Tls, TlsSettings, shake_hands, thread_time};
use bench::world::{Addresses, Directory, OPEN_HOST, REQUIRE_HOST, Store, seed};
use boring::derive::Deriver;
use boring::ec::{EcGroup, EcKey};
use boring::ecdsa::EcdsaSig;
use boring::mlkem::{Algorithm, MlKemPrivateKey, MlKemPublicKey};
use boring::nid::Nid;
use boring::pkey::{Id, PKey, Private};
use control::Control;
use criterion::{Criterion, criterion_group};
use snapshot::{Published, Snapshot};
use tls::{AcceptSettings, Acceptor, forget_paths};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A server in memory.
struct Ground {
    /// Removed when the benchmark ends.
    _directory: Directory,
    store: Store,
    _control: Arc<Control>,
    acceptor: Acceptor,
    snapshot: Arc<Snapshot>,
    settings: AcceptSettings,
}

impl Ground {
    fn make() -> Result<Self> {
        let directory = Directory::make()?;
        // Nothing is forwarded.
        let [usual, quiet, grpc] = [9, 10, 11].map(|port| ([127, 0, 0, 1], port).into());
        let store = seed(directory.path(), Addresses { usual, quiet, grpc })?;
        let published = Arc::new(Published::default());
        let control = Control::open(&store.path, published.clone())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let settings = AcceptSettings {
            now_sec: i64::try_from(now)?,
            chain_bytes_max: 16 * 1024,
            tickets: 1,
        };
        Ok(Self {
            _directory: directory,
            store,
            _control: control,
            acceptor: Acceptor::new()?,
            snapshot: published.load(),
            settings,
        })
    }

    fn client(&self, certificate: bool, groups: &str) -> Result<Tls> {
        let identity = Identity {
            chain_pem: std::fs::read(&self.store.client_chain)?,
            key_pem: std::fs::read(&self.store.client_key)?,
        };
        Tls::new(&TlsSettings {
            server_name: if certificate { REQUIRE_HOST } else { OPEN_HOST }.to_owned(),
            belief: Belief::Everybody,
            identity: certificate.then_some(identity),
            h2: false,
            groups: groups.to_owned(),
        })
    }

    fn shake(&self, client: &Tls, resume: bool) -> Result<Shaken> {
        shake_hands(
            client,
            resume,
            &self.acceptor,
            &self.snapshot,
            self.settings,
        )
    }

    /// The server's time for so many handshakes, of clients whose chains it remembers or not.
    fn server_time(&self, client: &Tls, resume: bool, forget: bool, count: u64) -> Duration {
        let mut total = Duration::ZERO;
        for _ in 0..count {
            if forget {
                forget_paths();
            }
            let shaken = self
                .shake(client, resume)
                .expect("a handshake in memory succeeds");
            assert_eq!(
                shaken.established.resumed, resume,
                "resumed or not, as asked"
            );
            total += shaken.server_time;
        }
        total
    }
}

/// Keys for the primitives.
struct Primitives {
    ecdsa: EcKey<Private>,
    signature: EcdsaSig,
    peer: PKey<Private>,
    kem: MlKemPublicKey,
}

const DIGEST: [u8; 32] = [7; 32];

impl Primitives {
    fn make() -> Result<Self> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let ecdsa = EcKey::generate(&group)?;
        let signature = EcdsaSig::sign(&DIGEST, &ecdsa)?;
        Ok(Self {
            ecdsa,
            signature,
            peer: PKey::generate(Id::X25519)?,
            kem: MlKemPrivateKey::generate(Algorithm::MlKem768)?.0,
        })
    }

    /// Key exchange: what every TLS 1.3 handshake has.
    fn exchange(&self) -> Result<()> {
        let ours = PKey::generate(Id::X25519)?;
        let mut deriver = Deriver::new(&ours)?;
        deriver.set_peer(&self.peer)?;
        black_box(deriver.derive_to_vec()?);
        Ok(())
    }

    /// What X25519MLKEM768 adds: the client's key read, and a secret sealed for it.
    fn encapsulate(&self) -> Result<()> {
        let peer = MlKemPublicKey::from_slice(Algorithm::MlKem768, self.kem.as_bytes())?;
        black_box(peer.encapsulate()?);
        Ok(())
    }

    /// Our CertificateVerify.
    fn sign(&self) -> Result<()> {
        black_box(EcdsaSig::sign(&DIGEST, &self.ecdsa)?);
        Ok(())
    }

    /// The client's CertificateVerify, or one link of its chain.
    fn verify(&self) -> Result<()> {
        assert!(
            self.signature.verify(&DIGEST, &self.ecdsa)?,
            "the signature is good"
        );
        Ok(())
    }
}

impl Primitives {
    /// CPU time of so many sums.
    fn time(&self, groups: &str, signed: usize, verified: usize, count: u64) -> Duration {
        let begun = thread_time();
        for _ in 0..count {
            self.once(groups, signed, verified);
        }
        thread_time() - begun
    }

    fn once(&self, groups: &str, signed: usize, verified: usize) {
        self.exchange().expect("X25519");
        if groups == "X25519MLKEM768" {
            self.encapsulate().expect("ML-KEM");
        }
        (0..signed).for_each(|_| self.sign().expect("ECDSA signs"));
        (0..verified).for_each(|_| self.verify().expect("ECDSA verifies"));
    }
}

/// The symmetric cryptography that a server's handshake with TLS_AES_128_GCM_SHA256 and one ticket
/// cannot do without (RFC 8446 §7.1, §4.4.3, §4.6.1), and the reading of certificates. Sizes are
/// those of the messages in this bench.
struct Rest {
    /// Three extractions, eight secrets, a key and an IV for each of four directions and times, two
    /// `finished` keys and their two MACs, the ticket's key; for a resumed one also the binder's
    /// secret, key and MAC.
    hmacs: usize,
    /// Bytes of all messages of the handshake, which the transcript's hash goes over.
    transcript: usize,
    /// Bytes that are encrypted, in two records.
    sent: usize,
    /// Bytes that are decrypted, in one record.
    received: usize,
    /// Bytes of session in the ticket that is made, and in the one that is opened when resuming.
    ticket: usize,
    resumed: bool,
    /// Certificates that are parsed: the client's whole chain when it is new.
    parsed: usize,
}

/// Hashes that were drawn while one secret after the other is derived: the transcript so far.
const TRANSCRIPT_HASHES: usize = 8;

impl Rest {
    fn of(kind: &Kind, groups: &str) -> Self {
        // A ClientHello and a ServerHello, without their key shares the smaller ones.
        let hellos = if groups == "X25519MLKEM768" {
            2_700
        } else {
            400
        };
        let ours = if kind.resume { 100 } else { 700 };
        let theirs = match (kind.certificate, kind.resume) {
            (true, false) => 700,
            _ => 60,
        };
        let ticket = if kind.certificate { 750 } else { 150 };
        Self {
            hmacs: if kind.resume { 27 } else { 24 },
            transcript: hellos + ours + theirs,
            sent: ours + ticket + 100,
            received: theirs,
            ticket,
            resumed: kind.resume,
            parsed: usize::from(kind.verified == 2),
        }
    }

    /// Does all of it once.
    fn once(&self, client: &[u8]) -> Result<()> {
        let bytes = vec![0x5a; self.transcript.max(self.sent)];
        for _ in 0..self.hmacs {
            black_box(hmac(&DIGEST, bytes.get(..64).unwrap_or_default()));
        }
        let mut transcript = boring::sha::Sha256::new();
        transcript.update(bytes.get(..self.transcript).unwrap_or_default());
        for _ in 0..TRANSCRIPT_HASHES {
            black_box(transcript.clone().finish());
        }
        // Each record's key, and that of the application's data for the other direction.
        let key = [7; 16];
        let half = self.sent / 2;
        for part in [half, self.sent - half, self.received] {
            let mut tag = [0; 16];
            let part = bytes.get(..part).unwrap_or_default();
            let cipher = boring::symm::Cipher::aes_128_gcm();
            black_box(boring::symm::encrypt_aead(
                cipher,
                &key,
                Some(&[7; 12]),
                &[],
                part,
                &mut tag,
            )?);
        }
        for _ in 0..=usize::from(self.resumed) {
            let mut tag = [0; 16];
            let part = bytes.get(..self.ticket).unwrap_or_default();
            let cipher = boring::symm::Cipher::aes_256_gcm();
            let key = [7; 32];
            black_box(boring::symm::encrypt_aead(
                cipher,
                &key,
                Some(&[7; 12]),
                &[],
                part,
                &mut tag,
            )?);
        }
        for _ in 0..self.parsed {
            black_box(boring::x509::X509::from_der(client)?);
        }
        Ok(())
    }
}

fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = [0; 32];
    #[expect(
        unsafe_code,
        reason = "boring has HMACs behind a signer only, which costs more"
    )]
    // SAFETY: it takes nothing, and answers a table that lives as long as the program.
    let sha256 = unsafe { boring_sys::EVP_sha256() };
    #[expect(
        unsafe_code,
        reason = "boring has HMACs behind a signer only, which costs more"
    )]
    // SAFETY: pointers and lengths are those of slices; the result's is of SHA-256's length.
    let done = unsafe {
        boring_sys::HMAC(
            sha256,
            key.as_ptr().cast(),
            key.len(),
            data.as_ptr(),
            data.len(),
            mac.as_mut_ptr(),
            std::ptr::null_mut(),
        )
    };
    assert!(
        !done.is_null(),
        "an HMAC needs nothing that there might not be"
    );
    mac
}

/// The group of ordinary clients, and the hybrid one of browsers (post-quantum).
const EXCHANGES: [&str; 2] = ["X25519", "X25519MLKEM768"];

fn handshakes(criterion: &mut Criterion) {
    let ground = Ground::make().expect("a server in memory");
    for groups in EXCHANGES {
        let client = |certificate| ground.client(certificate, groups).expect("a client");
        let (open, certified) = (client(false), client(true));
        let name = format!("handshake, server side, {groups}");
        let mut group = criterion.benchmark_group(name);
        for (name, client, forget) in [
            ("full", &open, false),
            ("full mTLS, chain remembered", &certified, false),
            ("full mTLS, chain new", &certified, true),
        ] {
            group.bench_function(name, |bencher| {
                bencher.iter_custom(|count| ground.server_time(client, false, forget, count));
            });
        }
        for (name, client) in [("resumed", &open), ("resumed mTLS", &certified)] {
            // The first one brings a ticket, once the client has read it.
            let mut first = ground.shake(client, false).expect("a first handshake");
            first
                .client
                .exchange(&mut first.server, b"request", b"answer")
                .expect("an exchange");
            assert!(client.has_ticket(), "the server gave a ticket");
            group.bench_function(name, |bencher| {
                bencher.iter_custom(|count| ground.server_time(client, true, false, count));
            });
        }
        group.finish();
    }
}

fn primitives(criterion: &mut Criterion) {
    let primitives = Primitives::make().expect("keys");
    // How many signatures are made and verified; one key exchange each.
    let sums = [
        ("full", 1, 0),
        ("full mTLS, chain remembered", 1, 1),
        ("full mTLS, chain new", 1, 2),
        ("resumed", 0, 0),
    ];
    for groups in EXCHANGES {
        let mut group = criterion.benchmark_group(format!("BoringSSL's part, {groups}"));
        for (name, signed, verified) in sums {
            group.bench_function(name, |bencher| {
                bencher.iter_custom(|count| primitives.time(groups, signed, verified, count));
            });
        }
        group.finish();
    }
}

/// What one exchange of each group that may be configured costs a server: a key pair and a secret.
fn exchanges(criterion: &mut Criterion) {
    let elliptic = |curve| -> Result<PKey<Private>> {
        let group = EcGroup::from_curve_name(curve)?;
        Ok(PKey::from_ec_key(EcKey::generate(&group)?)?)
    };
    type Make<'m> = &'m dyn Fn() -> Result<PKey<Private>>;
    let kinds: [(&str, Make<'_>); 3] = [
        ("X25519", &|| Ok(PKey::generate(Id::X25519)?)),
        ("P-256", &|| elliptic(Nid::X9_62_PRIME256V1)),
        ("P-384", &|| elliptic(Nid::SECP384R1)),
    ];
    let mut group = criterion.benchmark_group("key exchange");
    for (name, make) in kinds {
        let peer = make().expect("a peer's key");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let ours = make().expect("a key");
                let mut deriver = Deriver::new(&ours).expect("a deriver");
                deriver.set_peer(&peer).expect("a peer");
                black_box(deriver.derive_to_vec().expect("a secret"))
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(4)).sample_size(40);
    targets = exchanges, primitives, handshakes
}

/// Rounds of figures, and handshakes of a kind in each.
const ROUNDS: usize = 15;
const HANDSHAKES: u64 = 60;

/// One kind of handshake: the operations in it, and how it is made.
struct Kind {
    name: &'static str,
    certificate: bool,
    resume: bool,
    forget: bool,
    signed: usize,
    verified: usize,
}

const KINDS: [Kind; 5] = [
    Kind::of("full", false, (false, false), (1, 0)),
    Kind::of("full mTLS, chain remembered", true, (false, false), (1, 1)),
    Kind::of("full mTLS, chain new", true, (false, true), (1, 2)),
    Kind::of("resumed", false, (true, false), (0, 0)),
    Kind::of("resumed mTLS", true, (true, false), (0, 0)),
];

impl Kind {
    const fn of(
        name: &'static str,
        certificate: bool,
        (resume, forget): (bool, bool),
        (signed, verified): (usize, usize),
    ) -> Self {
        Self {
            name,
            certificate,
            resume,
            forget,
            signed,
            verified,
        }
    }
}

/// Microseconds of CPU for one of them, least and median of rounds.
fn least_and_median(mut rounds: Vec<Duration>) -> (f64, f64) {
    rounds.sort_unstable();
    let each = |time: Option<&Duration>| {
        let whole = time.copied().unwrap_or_default().as_secs_f64();
        whole * 1e6 / f64::from(u32::try_from(HANDSHAKES).unwrap_or(u32::MAX))
    };
    (each(rounds.first()), each(rounds.get(rounds.len() / 2)))
}

/// A client and a server that have met, so that there is a ticket.
struct Pair<'g> {
    ground: &'g Ground,
    kind: &'g Kind,
    client: Tls,
}

impl<'g> Pair<'g> {
    fn make(ground: &'g Ground, kind: &'g Kind, groups: &str) -> Result<Self> {
        let client = ground.client(kind.certificate, groups)?;
        let mut first = ground.shake(&client, false)?;
        first
            .client
            .exchange(&mut first.server, b"request", b"answer")?;
        Ok(Self {
            ground,
            kind,
            client,
        })
    }

    fn time(&self) -> Duration {
        let Kind { resume, forget, .. } = *self.kind;
        self.ground
            .server_time(&self.client, resume, forget, HANDSHAKES)
    }
}

/// Prints sums, BoringSSL alone and Postern, measured in turns.
fn figures() -> Result<()> {
    let mut ground = Ground::make()?;
    let primitives = Primitives::make()?;
    let pem = std::fs::read(&ground.store.client_chain)?;
    let client = tls::pem::certificate(&pem)?.to_der()?;
    println!("CPU µs of the server for a handshake: least (median) of {ROUNDS} rounds");
    for groups in EXCHANGES {
        println!(
            "\n{groups:32} asymmetric, all crypto     BoringSSL       Postern         of it: asym., all, BoringSSL"
        );
        for kind in &KINDS {
            let ours = Pair::make(&ground, kind, groups)?;
            let theirs = ground.client(kind.certificate, groups)?;
            let store = &ground.store;
            let clients = kind.certificate.then_some(&*store.client_authority);
            let (chain, key) = (&store.server_chain, &store.server_key);
            let plain = Plain::new(chain, key, clients, groups, 1)?;
            plain.shake_hands(&theirs, false)?;
            let rest = Rest::of(kind, groups);
            let mut rounds = [const { Vec::new() }; 4];
            for _ in 0..ROUNDS {
                let (signed, verified) = (kind.signed, kind.verified);
                rounds[0].push(primitives.time(groups, signed, verified, HANDSHAKES));
                let begun = thread_time();
                for _ in 0..HANDSHAKES {
                    primitives.once(groups, signed, verified);
                    rest.once(&client)?;
                }
                rounds[1].push(thread_time() - begun);
                let mut time = Duration::ZERO;
                for _ in 0..HANDSHAKES {
                    let (took, resumed) = plain.shake_hands(&theirs, kind.resume)?;
                    assert_eq!(resumed, kind.resume, "resumed or not, as asked");
                    time += took;
                }
                rounds[2].push(time);
                rounds[3].push(ours.time());
            }
            let [asymmetric, all, plain, postern] = rounds.map(least_and_median);
            let of_it = |one: (f64, f64)| 100.0 * one.0 / postern.0;
            println!(
                "{:32} {:7.1} {:7.1} ({:6.1}) {:6.1} ({:6.1}) {:6.1} ({:6.1})   {:3.0} % {:3.0} % {:3.0} %",
                kind.name,
                asymmetric.0,
                all.0,
                all.1,
                plain.0,
                plain.1,
                postern.0,
                postern.1,
                of_it(asymmetric),
                of_it(all),
                of_it(plain),
            );
        }
    }
    println!("\n{:32}      0      1      2      4", "tickets, X25519");
    for kind in KINDS.iter().filter(|kind| !kind.forget && !kind.resume) {
        let mut rounds = [const { Vec::new() }; 4];
        for _ in 0..ROUNDS {
            for (times, tickets) in rounds.iter_mut().zip([0, 1, 2, 4]) {
                ground.settings.tickets = tickets;
                times.push(Pair::make(&ground, kind, EXCHANGES[0])?.time());
            }
        }
        let [none, one, two, four] = rounds.map(|times| least_and_median(times).0);
        println!("{:32} {none:6.1} {one:6.1} {two:6.1} {four:6.1}", kind.name);
    }
    Ok(())
}

fn main() {
    if std::env::args().any(|argument| argument == "figures") {
        return figures().expect("handshakes in memory succeed");
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
