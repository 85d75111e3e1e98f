//! What proxies stand on: an origin, certificates, a directory that goes away with them.

mod directory;
mod grpc;
mod origin;
mod pki;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub use directory::Directory;
pub use grpc::GrpcOrigin;
pub use origin::Origin;
pub use pki::{Addresses, Store, seed};

use crate::client::{Belief, Identity, Tls, TlsSettings};

/// The zone that everything here belongs to.
pub const ZONE: &str = "bench.test";
/// The host that asks for no certificate.
pub const OPEN_HOST: &str = "open.bench.test";
/// The host that asks for one and leaves it to rules what comes of it.
pub const REQUEST_HOST: &str = "request.bench.test";
/// The host that requires one.
pub const REQUIRE_HOST: &str = "require.bench.test";
/// The same with an origin of its own.
pub const QUIET_HOST: &str = "quiet.bench.test";
/// The host of gRPC calls that asks for no certificate.
pub const GRPC_HOST: &str = "grpc.bench.test";
/// The host of gRPC calls that requires one.
pub const GRPC_REQUIRE_HOST: &str = "grpc-require.bench.test";
/// What the paths of gRPC calls begin with, by which proxies other than Postern tell them.
pub const GRPC_PATH: &str = "/bench.Echo/";

/// Groups that the client offers. Debian's OpenSSL has no ML-KEM: a proxy that has it must not be
/// charged for it in a comparison.
pub const GROUPS: &str = "X25519";

/// An origin, certificates and a seeded store.
pub struct World {
    /// Where files are.
    pub directory: Directory,
    /// The origin.
    pub origin: Origin,
    /// The origin of [`QUIET_HOST`].
    pub quiet_origin: Origin,
    /// The origin of gRPC calls.
    pub grpc_origin: GrpcOrigin,
    /// Certificates, and Postern's store that holds them.
    pub store: Store,
}

impl World {
    /// Makes a world; the origins run on `cpu`.
    ///
    /// # Errors
    /// A port, a file or a certificate cannot be had.
    pub fn make(cpu: Option<usize>) -> Result<Self> {
        Self::with(cpu, false)
    }

    /// The same for attacks: what the origin does for the attacker gives way to everybody else, as it
    /// would on a machine of its own.
    ///
    /// # Errors
    /// As [`World::make`].
    pub fn for_attacks(cpu: Option<usize>) -> Result<Self> {
        Self::with(cpu, true)
    }

    fn with(cpu: Option<usize>, gives_way: bool) -> Result<Self> {
        let directory = Directory::make()?;
        let origin = Origin::start(cpu, gives_way)?;
        let quiet_origin = Origin::start(cpu, false)?;
        let grpc_origin = GrpcOrigin::start(cpu)?;
        let addresses = Addresses {
            usual: origin.address,
            quiet: quiet_origin.address,
            grpc: grpc_origin.address,
        };
        let store = seed(directory.path(), addresses)?;
        Ok(Self {
            directory,
            origin,
            quiet_origin,
            grpc_origin,
            store,
        })
    }

    /// A client of `host`, with its certificate or without.
    ///
    /// # Errors
    /// BoringSSL would not take the settings.
    pub fn client(&self, host: &str, certificate: bool, h2: bool) -> Result<Tls> {
        self.client_that(Belief::Everybody, host, certificate, h2)
    }

    /// As [`World::client`], and it believes only our own server certificate.
    ///
    /// # Errors
    /// BoringSSL would not take the settings.
    pub fn careful_client(&self, host: &str, certificate: bool, h2: bool) -> Result<Tls> {
        let ours = self.read(&self.store.server_chain)?;
        self.client_that(Belief::Authorities(ours), host, certificate, h2)
    }

    fn client_that(&self, belief: Belief, host: &str, certificate: bool, h2: bool) -> Result<Tls> {
        let identity = if certificate {
            Some(self.identity()?)
        } else {
            None
        };
        let server_name = host.to_owned();
        Tls::new(&TlsSettings {
            server_name,
            belief,
            identity,
            h2,
            groups: GROUPS.to_owned(),
        })
    }

    fn identity(&self) -> Result<Identity> {
        Ok(Identity {
            chain_pem: self.read(&self.store.client_chain)?,
            key_pem: self.read(&self.store.client_key)?,
        })
    }

    fn read(&self, path: &PathBuf) -> Result<Vec<u8>> {
        std::fs::read(path).with_context(|| format!("reading {}", path.display()))
    }

    /// A file of this world.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where this world's files are.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}
