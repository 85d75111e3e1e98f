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
use bench::world::{Directory, GROUPS, OPEN_HOST, REQUIRE_HOST, Store, seed};
use boring::derive::Deriver;
use boring::ec::{EcGroup, EcKey};
use boring::ecdsa::EcdsaSig;
use boring::nid::Nid;
use boring::pkey::{Id, PKey, Private};
use criterion::{Criterion, criterion_group, criterion_main};
use gateway::control::Control;
use gateway::snapshot::{Published, Snapshot};
use gateway::tls::{AcceptSettings, Acceptor};

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

    fn client(&self, certificate: bool) -> Result<Tls> {
        let identity = Identity {
            chain_pem: std::fs::read(&self.store.client_chain)?,
            key_pem: std::fs::read(&self.store.client_key)?,
        };
        Tls::new(&TlsSettings {
            server_name: if certificate { REQUIRE_HOST } else { OPEN_HOST }.to_owned(),
            belief: Belief::Everybody,
            identity: certificate.then_some(identity),
            h2: false,
            groups: GROUPS.to_owned(),
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

    /// The server's time for so many handshakes.
    fn server_time(&self, client: &Tls, resume: bool, count: u64) -> Duration {
        let mut total = Duration::ZERO;
        for _ in 0..count {
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

fn handshakes(criterion: &mut Criterion) {
    let ground = Ground::make().expect("a server in memory");
    let (open, certified) = (ground.client(false), ground.client(true));
    let (open, certified) = (open.expect("a client"), certified.expect("a client"));
    let mut group = criterion.benchmark_group("handshake, server side");
    for (name, client) in [("full", &open), ("full mTLS", &certified)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| ground.server_time(client, false, count));
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
            bencher.iter_custom(|count| ground.server_time(client, true, count));
        });
    }
    group.finish();
}

fn primitives(criterion: &mut Criterion) {
    let primitives = Primitives::make().expect("keys");
    let mut group = criterion.benchmark_group("BoringSSL's part");
    // How many signatures are made and verified; one key exchange each.
    let sums = [("full", 1, 0), ("full mTLS", 1, 2), ("resumed", 0, 0)];
    for (name, signed, verified) in sums {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                let begun = Instant::now();
                for _ in 0..count {
                    primitives.exchange().expect("X25519");
                    (0..signed).for_each(|_| primitives.sign().expect("ECDSA signs"));
                    (0..verified).for_each(|_| primitives.verify().expect("ECDSA verifies"));
                }
                begun.elapsed()
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(4)).sample_size(40);
    targets = primitives, handshakes
}
criterion_main!(benches);
