//! What is offered and taken in handshakes: signature algorithms, key exchange groups, suites.
//!
//! Lists of ours, not the library's defaults: what a client can be asked for is a promise to the
//! CAs whose certificates it holds.

use std::fmt;
use std::str::FromStr;

use boring::ssl::SslSignatureAlgorithm;

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

/// Key exchange groups that may be configured, by the names they have in TLS tools.
const KNOWN_GROUPS: [&str; 4] = ["X25519MLKEM768", "X25519", "P-256", "P-384"];

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
    /// Those that hosts have when nothing is configured. P-384 costs a server 6 to 19 times what
    /// P-256 does, which a flood could ask for: it is added where clients need it.
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
    #[error("`{0}` is no key exchange group; there are {known}", known = KNOWN_GROUPS.join(", "))]
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
            if !KNOWN_GROUPS.contains(&name) {
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

impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
