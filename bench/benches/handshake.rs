//! What a handshake costs the server, beside the sum of the asymmetric operations in it.
//!
//! Only the server's part is timed; the client's goes on in between. The sums are of BoringSSL's
//! own primitives, measured in the same run: what is above them is records, tickets, parsing,
//! callbacks, allocation, and the judgement of the chain.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use bench::client::{Belief, Identity, Shaken, Tls, TlsSettings, shake_hands};
use bench::world::{Directory, OPEN_HOST, REQUIRE_HOST, Store, seed};
use boring::derive::Deriver;
use boring::ec::{EcGroup, EcKey};
use boring::ecdsa::EcdsaSig;
use boring::mlkem::{Algorithm, MlKemPrivateKey, MlKemPublicKey};
use boring::nid::Nid;
use boring::pkey::{Id, PKey, Private};
use criterion::{Criterion, criterion_group, criterion_main};
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
                bencher.iter_custom(|count| {
                    let begun = Instant::now();
                    for _ in 0..count {
                        primitives.exchange().expect("X25519");
                        if groups == "X25519MLKEM768" {
                            primitives.encapsulate().expect("ML-KEM");
                        }
                        (0..signed).for_each(|_| primitives.sign().expect("ECDSA signs"));
                        (0..verified).for_each(|_| primitives.verify().expect("ECDSA verifies"));
                    }
                    begun.elapsed()
                });
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
criterion_main!(benches);
