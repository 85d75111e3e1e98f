//! What is offered and taken in handshakes: signature algorithms, key exchange groups, suites.
//!
//! Lists of ours, not the library's defaults: what a client can be asked for is a promise to the
//! CAs whose certificates it holds.

use std::fmt;
use std::str::FromStr;

use boring::pkey::Id;
use boring::ssl::{SslSignatureAlgorithm, SslVersion};
use boring::x509::X509Ref;

use vocabulary::settings::{KeyExchange, TlsVersion};

/// What a peer may prove its key with, most wanted first: a client in TLS 1.2 and 1.3, an origin.
/// No SHA-1 (RFC 9155, RFC 9325 §4.5). Ed25519 is here although browsers have none: it is devices
/// that hold such certificates.
pub(super) const PEER_ALGORITHMS: [SslSignatureAlgorithm; 9] = [
    SslSignatureAlgorithm::ECDSA_SECP256R1_SHA256,
    SslSignatureAlgorithm::ED25519,
    SslSignatureAlgorithm::RSA_PSS_RSAE_SHA256,
    SslSignatureAlgorithm::RSA_PKCS1_SHA256,
    SslSignatureAlgorithm::ECDSA_SECP384R1_SHA384,
    SslSignatureAlgorithm::RSA_PSS_RSAE_SHA384,
    SslSignatureAlgorithm::RSA_PKCS1_SHA384,
    SslSignatureAlgorithm::RSA_PSS_RSAE_SHA512,
    SslSignatureAlgorithm::RSA_PKCS1_SHA512,
];

/// What our own keys sign with, by their numbers in RFC 8446 §4.2.3. BoringSSL leaves out those that
/// a key is of no kind for. No SHA-1 here either.
pub(super) const OWN_ALGORITHMS: [u16; 10] = [
    0x0403, 0x0807, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0603, 0x0806, 0x0601,
];

/// TLS 1.2 suites: forward secrecy and AEAD only (RFC 9325 §4.2). TLS 1.3 has its own.
pub(super) const TLS12_CIPHERS: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
    ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:\
    ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384";

/// Which kinds of signatures a host's CAs make: what a client must know to have a certificate of
/// theirs. Clients compare (RFC 8446 §4.4.2.3), and send none when they do not know it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CaSignatures {
    rsa: bool,
    ecdsa: bool,
    ed25519: bool,
    other: bool,
}

impl CaSignatures {
    /// Of these certificates of CAs, in DER.
    pub(super) fn of<'a>(anchors: impl Iterator<Item = &'a X509Ref>) -> Self {
        let mut found = Self::default();
        for anchor in anchors {
            match anchor.public_key().map(|key| key.id()) {
                Ok(Id::RSA) => found.rsa = true,
                Ok(Id::EC) => found.ecdsa = true,
                Ok(Id::ED25519) => found.ed25519 = true,
                _ => found.other = true,
            }
        }
        found
    }

    /// Whether one of them is among a client's signature_algorithms (RFC 8446 §4.2.3). A client that
    /// does not say, and a CA of another kind, get the benefit of the doubt.
    pub(super) fn are_among(self, extension: &[u8]) -> bool {
        // A length of two bytes, then numbers of two.
        let Some(numbers) = extension.get(2..).filter(|numbers| !numbers.is_empty()) else {
            return true;
        };
        self == Self::default()
            || self.other
            || numbers.chunks_exact(2).any(|number| match number {
                [0x04..=0x06, 0x01] | [0x08, 0x04..=0x06 | 0x09..=0x0b] => self.rsa,
                [0x04..=0x06, 0x03] => self.ecdsa,
                [0x08, 0x07] => self.ed25519,
                _ => false,
            })
    }
}

/// What handshakes of all hosts have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Protocol {
    /// Key exchange groups.
    pub groups: Groups,
    /// The oldest version; a host may ask for a newer one, never for an older one.
    pub min_version: TlsVersion,
}

/// As boring has it.
pub(super) fn version(version: TlsVersion) -> SslVersion {
    match version {
        TlsVersion::Tls12 => SslVersion::TLS1_2,
        TlsVersion::Tls13 => SslVersion::TLS1_3,
    }
}

/// Key exchange groups of all hosts, most wanted first.
///
/// ```
/// use tls::Groups;
///
/// let groups: Groups = "X25519MLKEM768:X25519:P-256:P-384".parse()?;
/// assert_ne!(groups, Groups::default());
/// assert!("secp256k1".parse::<Groups>().is_err());
/// # Ok::<(), tls::GroupsError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups(Box<str>);

impl Groups {
    /// Those that hosts have when nothing is configured. P-384 costs a server many times what P-256
    /// does (see the key `tls.groups`), which a flood could ask for: it is added where clients need
    /// it.
    pub const DEFAULT: &str = "X25519MLKEM768:X25519:P-256";

    /// As it was configured.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Groups {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

/// Why a list of groups cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupsError {
    /// A name that is none.
    #[error("`{0}` is no key exchange group; there are {known}", known = KeyExchange::ALL.map(KeyExchange::as_str).join(", "))]
    Unknown(String),
    /// A name that is there before.
    #[error("`{0}` is there twice")]
    Twice(String),
}

impl FromStr for Groups {
    type Err = GroupsError;

    /// Names with a colon between them.
    fn from_str(text: &str) -> Result<Self, GroupsError> {
        let mut names: Vec<&str> = Vec::new();
        for name in text.split(':').map(str::trim) {
            if name.parse::<KeyExchange>().is_err() {
                return Err(GroupsError::Unknown(name.into()));
            }
            if names.contains(&name) {
                return Err(GroupsError::Twice(name.into()));
            }
            names.push(name);
        }
        Ok(Self(names.join(":").into()))
    }
}

impl From<&[KeyExchange]> for Groups {
    /// Most wanted first; none are the default ones.
    fn from(groups: &[KeyExchange]) -> Self {
        if groups.is_empty() {
            return Self::default();
        }
        let names: Vec<&str> = groups.iter().map(|group| group.as_str()).collect();
        Self(names.join(":").into())
    }
}

impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
