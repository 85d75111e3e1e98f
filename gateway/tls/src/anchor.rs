//! Limits that an anchor's own certificate sets, so that an upload can warn of them.
//!
//! Enforces nothing: the verifier does ([`verify`](super::verify())).

use std::fmt;

use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::ffi::extension_facts;
use super::trust::{Anchor, TrustError, readable_issuer};

/// One thing that an anchor's certificate forbids or lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnchorLimit {
    /// Its validity has passed, at this second since the epoch: no client verifies.
    Expired(i64),
    /// Its validity begins at this second since the epoch: no client verifies before.
    NotYetValid(i64),
    /// extendedKeyUsage without clientAuth: no client verifies.
    NotForClients,
    /// Critical extensions that are not understood, as dotted OIDs: no client verifies.
    UnknownCritical(Vec<String>),
    /// So many issuers may stand between it and a client.
    PathLength(u32),
    /// Names of clients are constrained.
    NameConstraints,
    /// keyUsage without cRLSign: its revocation lists are not believed.
    SignsNoLists,
}

impl fmt::Display for AnchorLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = |second: i64| {
            let time = time::OffsetDateTime::from_unix_timestamp(second).ok();
            time.map_or_else(|| second.to_string(), |time| time.date().to_string())
        };
        match self {
            Self::Expired(at) => write!(
                f,
                "the CA's certificate expired on {}: all its clients are refused (expired); renew it",
                date(*at)
            ),
            Self::NotYetValid(at) => write!(
                f,
                "the CA's certificate begins on {}: its clients are refused until then \
                 (not_yet_valid)",
                date(*at)
            ),
            Self::NotForClients => f.write_str(
                "the CA's extendedKeyUsage lacks clientAuth: all its clients are refused \
                 (issuer_eku)",
            ),
            Self::UnknownCritical(oids) => write!(
                f,
                "the CA's certificate has critical extensions that are not understood ({}): all its \
                 clients are refused (unknown_critical_extension)",
                oids.join(", ")
            ),
            Self::PathLength(0) => f.write_str(
                "the CA's path length is 0: clients of CAs below it are refused (path_length)",
            ),
            Self::PathLength(most) => write!(
                f,
                "the CA's path length is {most}: clients with more CAs in between are refused \
                 (path_length)"
            ),
            Self::NameConstraints => f.write_str(
                "the CA's certificate constrains names: clients with others are refused \
                 (name_constraint)",
            ),
            Self::SignsNoLists => f.write_str(
                "the CA's keyUsage lacks cRLSign: its revocation lists are not believed",
            ),
        }
    }
}

impl Anchor {
    /// What the anchor's own certificate forbids at this time.
    ///
    /// # Errors
    /// It cannot be an anchor at all, as [`Trust::build`](super::Trust::build) would say.
    pub fn limits(&self, now_sec: i64) -> Result<Vec<AnchorLimit>, TrustError> {
        let x509 = readable_issuer(self)?;
        let unreadable = |why: &str| TrustError::Unreadable {
            id: self.id.clone(),
            why: why.into(),
        };
        let (_, parsed) =
            X509Certificate::from_der(&self.der).map_err(|error| unreadable(&error.to_string()))?;
        let facts =
            extension_facts(&x509).ok_or_else(|| unreadable("an extension is malformed"))?;
        let mut limits = Vec::new();
        let validity = parsed.validity();
        if validity.not_after.timestamp() <= now_sec {
            limits.push(AnchorLimit::Expired(validity.not_after.timestamp()));
        }
        if validity.not_before.timestamp() > now_sec {
            limits.push(AnchorLimit::NotYetValid(validity.not_before.timestamp()));
        }
        if !facts.issues_tls_clients {
            limits.push(AnchorLimit::NotForClients);
        }
        if facts.has_unknown_critical {
            let critical = parsed.extensions().iter().filter(|extension| {
                let unsupported = ParsedExtension::UnsupportedExtension {
                    oid: extension.oid.clone(),
                };
                extension.critical && *extension.parsed_extension() == unsupported
            });
            let oids = critical.map(|extension| extension.oid.to_id_string());
            limits.push(AnchorLimit::UnknownCritical(oids.collect()));
        }
        limits.extend(facts.path_length.map(AnchorLimit::PathLength));
        if matches!(parsed.name_constraints(), Ok(Some(_))) {
            limits.push(AnchorLimit::NameConstraints);
        }
        if matches!(parsed.key_usage(), Ok(Some(usage)) if !usage.value.crl_sign()) {
            limits.push(AnchorLimit::SignsNoLists);
        }
        Ok(limits)
    }
}
