//! A server certificate's record.

use boring::pkey::Id as KeyId;
use serde::{Deserialize, Serialize};

use crate::model::host_names;
use crate::model::id::{Id, Uuid};
use crate::model::moment::Moment;
use crate::model::secret::Sealed;
use crate::model::source_url::SourceUrl;
use tls::{Stapling, StaplingError, pem};
use vocabulary::hostname::HostName;

vocabulary::words! {
    /// Where a server certificate came from.
    pub enum ServerCertificateSource("a source of server certificates") {
        /// Brought by the user.
        Uploaded = "uploaded",
        /// Brought by ACME. Records have it as a mark beside the source.
        Acme = "acme",
        /// Signed by the development CA.
        Development = "development",
    }
}

vocabulary::words! {
    /// Whether a server certificate's key is of RSA, by the API's words; the store has others. A
    /// host presents one of each kind at most.
    #[derive(PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum ServerKey("a kind of server key", without serde) {
        /// ECDSA, or Ed25519: smaller and faster, and presented to clients that understand it.
        Elliptic = "ecdsa",
        /// RSA, for the others.
        Rsa = "rsa",
    }
}

/// A server certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerCertificate {
    /// Its id.
    pub id: Uuid,
    /// Its zone.
    pub zone: Id,
    /// Leaf first.
    pub chain: String,
    /// Its key, sealed.
    pub key: Sealed,
    /// What key it has. Set whenever it is in memory: records of older versions do not have it,
    /// and get it when they are read.
    #[serde(default)]
    pub key_type: Option<ServerKey>,
    /// The names it is for.
    #[serde(with = "host_names::all")]
    pub names: Vec<HostName>,
    /// The leaf's issuer.
    pub issuer: String,
    /// The leaf's signature algorithm.
    pub signature: String,
    /// Lower-case hex.
    pub serial: String,
    /// Lower-case hex.
    pub fingerprint_sha256: String,
    /// Seconds since the epoch.
    pub not_before: i64,
    /// Seconds since the epoch.
    pub not_after: i64,
    /// Grows when chain and key are replaced.
    pub version: u64,
    /// Where it came from.
    pub source: ServerCertificateSource,
    /// It came with a host, and leaves with the last one that names it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_host: bool,
    /// ACME has brought it, and renews it. Beside the source, so that an older Postern still reads the
    /// record.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_acme: bool,
    /// When it came here.
    pub uploaded_on: Moment,
    /// When it was last changed.
    pub modified_on: Moment,
}

impl ServerCertificate {
    /// What clients will make of it that its owner may not expect.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let leaf = pem::certificate(self.chain.as_bytes()).ok();
        let key = leaf.and_then(|leaf| leaf.public_key().ok());
        if key.is_some_and(|key| key.id() == KeyId::ED25519) {
            let why = "its key is Ed25519: browsers cannot use such a certificate. Give the host one \
                       with an ECDSA P-256 or an RSA key for them";
            return vec![why.into()];
        }
        self.stapling_flaw().into_iter().collect()
    }

    /// Where it came from.
    #[must_use]
    pub fn came_from(&self) -> ServerCertificateSource {
        if self.of_acme {
            return ServerCertificateSource::Acme;
        }
        self.source
    }

    /// Why nothing can be stapled to a certificate that clients refuse then.
    fn stapling_flaw(&self) -> Option<String> {
        let stapling = Stapling::read(self.chain.as_bytes()).ok()?;
        let why = match (&stapling.certificate, &stapling.url) {
            _ if !stapling.is_must => return None,
            (Err(why), _) => why.to_string(),
            (_, None) => StaplingError::NoResponder.to_string(),
            (_, Some(url)) => format!("its responder: {}", SourceUrl::parse(url).err()?),
        };
        Some(format!(
            "clients may refuse it: it must be stapled (RFC 7633), and no OCSP answer can be had; {why}"
        ))
    }

    /// Whether a client that asked for `host` would accept it. A wildcard host needs the very
    /// same wildcard.
    #[must_use]
    pub fn covers(&self, host: &HostName) -> bool {
        self.names
            .iter()
            .any(|name| name == host || (!host.is_wildcard() && name.covers(host.as_str())))
    }
}
