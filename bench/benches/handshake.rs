//! What a handshake costs the server, beside the sum of the asymmetric operations in it.
//!
//! Only the server's part is timed; the client's goes on in between. The sums are of BoringSSL's
//! own primitives, measured in the same run: what is above them is records, tickets, parsing,
//! callbacks, allocation, and the judgement of the chain. `cargo bench -p bench --bench handshake --
//! figures` puts both beside a server that is BoringSSL and nothing else, in turns, in CPU time.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use bench::client::{Belief, Identity, Plain, Shaken, Tls, TlsSettings, shake_hands, thread_time};
use bench::world::{Directory, OPEN_HOST, REQUIRE_HOST, Store, seed};
use boring::derive::Deriver;
use boring::ec::{EcGroup, EcKey};
use boring::ecdsa::EcdsaSig;
use boring::mlkem::{Algorithm, MlKemPrivateKey, MlKemPublicKey};
use boring::nid::Nid;
use boring::pkey::{Id, PKey, Private};
use criterion::{Criterion, criterion_group};
use gateway::control::Control;
use gateway::snapshot::{Published, Snapshot};
use gateway::tls::{AcceptSettings, Acceptor, forget_paths};

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
        let store = seed(directory.path(), ([127, 0, 0, 1], 9).into())?;
        let published = Arc::new(Published::default());
        let control = Control::open(&store.path, published.clone())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let settings = AcceptSettings {
            now_sec: i64::try_from(now)?,
            chain_bytes_max: 16 * 1024,
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
            self.exchange().expect("X25519");
            if groups == "X25519MLKEM768" {
                self.encapsulate().expect("ML-KEM");
            }
            (0..signed).for_each(|_| self.sign().expect("ECDSA signs"));
            (0..verified).for_each(|_| self.verify().expect("ECDSA verifies"));
        }
        thread_time() - begun
    }
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

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(4)).sample_size(40);
    targets = primitives, handshakes
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

/// Prints sum, BoringSSL alone and Postern, measured in turns.
fn figures() -> Result<()> {
    let ground = Ground::make()?;
    let primitives = Primitives::make()?;
    println!("CPU µs of the server for a handshake: least (median) of {ROUNDS} rounds");
    for groups in EXCHANGES {
        println!("\n{groups:42} sum         BoringSSL     Postern     sum of it  BoringSSL of it");
        for kind in &KINDS {
            let (ours, theirs) = (
                ground.client(kind.certificate, groups)?,
                ground.client(kind.certificate, groups)?,
            );
            let store = &ground.store;
            let clients = kind.certificate.then_some(&*store.client_authority);
            let plain = Plain::new(&store.server_chain, &store.server_key, clients, groups)?;
            plain.shake_hands(&theirs, false)?;
            let mut first = ground.shake(&ours, false)?;
            first
                .client
                .exchange(&mut first.server, b"request", b"answer")?;
            let mut rounds = [Vec::new(), Vec::new(), Vec::new()];
            for _ in 0..ROUNDS {
                let (signed, verified) = (kind.signed, kind.verified);
                rounds[0].push(primitives.time(groups, signed, verified, HANDSHAKES));
                let mut time = Duration::ZERO;
                for _ in 0..HANDSHAKES {
                    let (took, resumed) = plain.shake_hands(&theirs, kind.resume)?;
                    assert_eq!(resumed, kind.resume, "resumed or not, as asked");
                    time += took;
                }
                rounds[1].push(time);
                rounds[2].push(ground.server_time(&ours, kind.resume, kind.forget, HANDSHAKES));
            }
            let [sum, plain, postern] = rounds.map(least_and_median);
            println!(
                "{:38} {:6.1} ({:6.1}) {:6.1} ({:6.1}) {:6.1} ({:6.1})   {:3.0} %   {:3.0} %",
                kind.name,
                sum.0,
                sum.1,
                plain.0,
                plain.1,
                postern.0,
                postern.1,
                100.0 * sum.0 / postern.0,
                100.0 * plain.0 / postern.0
            );
        }
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
