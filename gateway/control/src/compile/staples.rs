//! The OCSP answers that are stapled to server certificates.
//!
//! Owns which answer is of which certificate. Kept in memory only: they are asked for again at a
//! start. `fetch` asks, `tls` says what may be stapled.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::ServerCertificate;
use crate::model::id::Uuid;
use tls::Staple;

/// Answers by certificate, each with the version of the certificate that it is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Staples(pub HashMap<Uuid, (u64, Arc<Staple>)>);

impl Staples {
    /// What is stapled to a certificate as it is now.
    pub(super) fn of(&self, certificate: &ServerCertificate) -> Option<Arc<Staple>> {
        let (version, staple) = self.0.get(&certificate.id)?;
        (*version == certificate.version).then(|| staple.clone())
    }
}
