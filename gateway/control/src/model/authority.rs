//! A CA's record, and the sets of CAs that hosts believe.

use boring::x509::X509;
use serde::{Deserialize, Serialize};

use crate::model::id::{Id, Uuid};
use crate::model::moment::Moment;
use crate::model::revocation::{CrlSettings, DeniedCertificate, OcspSettings};
use crate::model::secret::Sealed;
use tls::pem::{self, PemError};

/// What a CA is to Postern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AuthorityKind {
    /// Made here, for the clients of one zone.
    Managed {
        /// The zone.
        zone: Id,
        /// Its key, sealed.
        key: Sealed,
    },
    /// Brought by the user, for clients.
    Uploaded,
    /// Made here, signs server certificates for development. Never believed for clients.
    Development {
        /// Its key, sealed.
        key: Sealed,
    },
}

/// A CA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// Its id.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// Its certificate in PEM.
    pub certificate: String,
    /// When it came here; the newest managed one of a zone issues.
    pub created_on: Moment,
    /// The last second of its life, since the epoch.
    pub not_after: i64,
    /// What is asked of its revocation lists.
    #[serde(default, skip_serializing_if = "CrlSettings::is_default")]
    pub crl: CrlSettings,
    /// Whom to ask about its clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ocsp: Option<OcspSettings>,
    /// How its responder was asked before OCSP was turned off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ocsp_before: Option<OcspSettings>,
    /// Certificates that are not believed below it, whatever it says of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<DeniedCertificate>,
    /// What it is for.
    #[serde(flatten)]
    pub kind: AuthorityKind,
}

impl Authority {
    /// Its certificates; a bundle has several.
    ///
    /// # Errors
    /// What is stored cannot be read.
    pub(crate) fn certificates(&self) -> Result<Vec<X509>, PemError> {
        pem::certificates(self.certificate.as_bytes(), pem::Use::Clients)
    }
}

/// Which CAs an association is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AuthoritySet {
    /// All managed CAs of the zone: one, or two while the CA is being replaced.
    Managed,
    /// One uploaded CA.
    Uploaded(Uuid),
}
