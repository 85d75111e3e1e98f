//! The certificate that is shown to an origin, with its key.
//!
//! Owns how it is said, kept and shown: a key that was brought is never written anywhere, and one that
//! is sealed is never shown. Sealing is the operations'.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::secret::{Sealed, Secret};

/// As it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OriginCertificate {
    /// Leaf first, in PEM.
    pub certificate: String,
    /// When it ends, in seconds since the epoch.
    pub not_after: i64,
    /// Tells its public key from others.
    pub public_key: String,
    /// The private one.
    pub key: Option<Sealed>,
    /// As it was brought, until it is sealed.
    #[serde(skip)]
    pub(crate) brought: Option<BroughtKey>,
}

impl Hash for OriginCertificate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.certificate.hash(state);
    }
}

/// As it is said, and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OriginCertificatePatch {
    /// In PEM, in any order.
    pub certificate: String,
    /// In PEM. Not needed as long as the origin has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<BroughtKey>,
}

impl OriginCertificatePatch {
    /// What comes of it at an origin that may have one.
    pub(crate) fn apply(self, to: Option<&OriginCertificate>) -> OriginCertificate {
        let same = to.filter(|known| known.certificate == self.certificate);
        OriginCertificate {
            not_after: same.map_or(0, |known| known.not_after),
            public_key: to.map(|known| known.public_key.clone()).unwrap_or_default(),
            key: to.and_then(|known| known.key.clone()),
            certificate: self.certificate,
            brought: self.private_key,
        }
    }
}

impl From<OriginCertificate> for OriginCertificatePatch {
    /// Without its key: who has the certificate already has that.
    fn from(one: OriginCertificate) -> Self {
        Self {
            certificate: one.certificate,
            private_key: one.brought,
        }
    }
}

/// A private key in PEM that came with a change.
#[derive(Clone)]
pub struct BroughtKey(Arc<Secret>);

impl BroughtKey {
    /// In PEM.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.reveal_text()
    }
}

impl From<Secret> for BroughtKey {
    fn from(secret: Secret) -> Self {
        Self(Arc::new(secret))
    }
}

impl PartialEq for BroughtKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.reveal() == other.0.reveal()
    }
}

impl Eq for BroughtKey {}

impl fmt::Debug for BroughtKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for BroughtKey {
    /// In what is sent to a gateway, and in an export with keys.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}

impl<'de> Deserialize<'de> for BroughtKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(Secret::new(text.into_bytes()).into())
    }
}
