//! The client's certificate of a dry run: described by hand or by a log line, or the chain itself.
//!
//! Owns what a description leaves unknown. Does not verify a chain (`subject`).

use boring::x509::X509;

use control::limits::PEM_BYTES_MAX;
use rules::FieldSet;
use tls::pem::{self, PemError};
use vocabulary::client_auth::ClientAuth;
use vocabulary::verdict::{Reason, Verdict};

/// A client's certificate as far as it is known.
#[derive(Debug)]
pub(super) enum Certificate {
    /// What is known of it, and what is not.
    Described(Box<ClientAuth>, FieldSet),
    /// The chain itself, leaf first, and the verdict when another than the host's is wanted.
    Chain(Vec<X509>, Option<Verdict>),
}

impl Certificate {
    /// Whether the client shows one.
    pub(super) fn is_presented(&self) -> bool {
        match self {
            Self::Described(client, _) => client.verdict.presented,
            Self::Chain(..) => true,
        }
    }
}

/// Fields that a name belongs to: itself and what is below it.
pub(super) fn fields(prefixes: &[&str]) -> FieldSet {
    FieldSet::named(|name| {
        prefixes.iter().any(|prefix| {
            name.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '_']))
        })
    })
}

/// Fields of a certificate that is there, but for those named.
pub(super) fn certificate_fields_but(known: &[&str]) -> FieldSet {
    FieldSet::named(|name| {
        let field = name
            .strip_prefix("cf.tls_client_auth.")
            .or_else(|| name.strip_prefix("postern.tls_client_auth."));
        field.is_some_and(|field| !known.contains(&field))
    })
}

const fn verdict(presented: bool, verified: bool, revoked: bool, reason: Reason) -> Verdict {
    Verdict {
        presented,
        verified,
        revoked,
        reason,
    }
}

/// A verdict by its word, and what it leaves open.
pub(super) fn state(word: &str) -> Option<(Verdict, FieldSet)> {
    const FLAGS: [&str; 3] = ["cert_presented", "cert_verified", "cert_revoked"];
    let known = |more: &[&'static str]| {
        let mut known = FLAGS.to_vec();
        known.extend(more);
        certificate_fields_but(&known)
    };
    Some(match word {
        "none" => (Verdict::NONE, FieldSet::default()),
        // Which of many reasons it is was not said; no CA stands behind it.
        "invalid" => (
            verdict(true, false, false, Reason::Other),
            known(&["ca_id", "cert_issuer_serial"]),
        ),
        "valid" => (
            verdict(true, true, false, Reason::Verified),
            known(&["reason"]),
        ),
        "revoked" => (
            verdict(true, true, true, Reason::Revoked),
            known(&["reason"]),
        ),
        _ => return None,
    })
}

/// Why a text is no chain of certificates.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum NotAChain {
    #[error("the PEM has more than {PEM_BYTES_MAX} bytes")]
    TooLong,
    #[error(transparent)]
    Pem(#[from] PemError),
}

/// Reads a chain of PEM.
pub(super) fn chain(text: &str) -> Result<Vec<X509>, NotAChain> {
    if text.len() > PEM_BYTES_MAX {
        return Err(NotAChain::TooLong);
    }
    Ok(pem::certificates(text.as_bytes(), pem::Use::Chain)?)
}
