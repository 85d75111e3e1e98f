//! What clients cannot be asked for: keys and signatures outside the lists of `algorithms`, told where
//! a CA or a certificate comes in, before it bites a client.

use std::fmt;

use boring::nid::Nid;
use boring::pkey::{Id, PKeyRef, Public};
use boring::x509::X509Ref;

use crate::limits::{RSA_BITS_MAX, RSA_BITS_MIN};

/// One thing of a certificate that keeps clients, or some of them, from being let in with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unasked {
    /// An Ed25519 key: asked for, but not every client knows it.
    Ed25519,
    /// A key of a kind, or on a curve, that clients are not asked for.
    Key(String),
    /// An RSA key of so many bits.
    RsaBits(u32),
    /// Signed over SHA-1 or MD5.
    Digest(&'static str),
}

impl Unasked {
    /// Of a client's certificate.
    #[must_use]
    pub fn of_client(certificate: &X509Ref) -> Vec<Self> {
        let mut found = Self::of_key(certificate);
        found.extend(digest(certificate).map(Self::Digest));
        found
    }

    /// Of a CA's certificate. Who signed it is nobody's concern: it is an anchor.
    #[must_use]
    pub fn of_ca(certificate: &X509Ref) -> Vec<Self> {
        Self::of_key(certificate)
    }

    fn of_key(certificate: &X509Ref) -> Vec<Self> {
        let Ok(key) = certificate.public_key() else {
            return vec![Self::Key("not known".into())];
        };
        match key.id() {
            Id::RSA if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&key.bits()) => {
                vec![Self::RsaBits(key.bits())]
            }
            Id::RSA => Vec::new(),
            Id::ED25519 => vec![Self::Ed25519],
            Id::EC => curve(&key).into_iter().map(Self::Key).collect(),
            _ => vec![Self::Key("neither RSA nor ECDSA nor Ed25519".into())],
        }
    }

    /// What it means for a CA that clients are verified by.
    #[must_use]
    pub fn for_ca(&self) -> String {
        match self {
            Self::Ed25519 => "the CA's key is Ed25519: browsers and Java before 15 know no such \
                              signatures, and send none of its certificates (ca_unsupported)"
                .into(),
            Self::Key(kind) => format!(
                "the CA's key is {kind}, whose signatures clients are not asked for: many send none \
                 of its certificates (not_presented); issue from a CA with ECDSA P-256 or P-384, \
                 Ed25519 or RSA"
            ),
            Self::RsaBits(_) | Self::Digest(_) => {
                format!("the CA's certificate: {self}: its clients are refused (weak_key)")
            }
        }
    }

    /// What it means for a client that has the certificate.
    #[must_use]
    pub fn for_client(&self) -> String {
        match self {
            Self::Ed25519 => "its key is Ed25519, which browsers and Java before 15 do not know; \
                              other clients can use it"
                .into(),
            Self::Key(kind) => {
                format!("its key is {kind}, which clients are not asked for (unsupported_key)")
            }
            Self::RsaBits(_) | Self::Digest(_) => {
                format!("{self}: it is refused (weak_key)")
            }
        }
    }
}

impl fmt::Display for Unasked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ed25519 => f.write_str("its key is Ed25519"),
            Self::Key(kind) => write!(f, "its key is {kind}"),
            Self::RsaBits(bits) => write!(
                f,
                "its RSA key has {bits} bits, where {RSA_BITS_MIN} to {RSA_BITS_MAX} are taken"
            ),
            Self::Digest(digest) => write!(f, "it is signed over {digest}"),
        }
    }
}

/// The curve of an elliptic-curve key, when clients are not asked for it.
fn curve(key: &PKeyRef<Public>) -> Option<String> {
    let key = key.ec_key().ok()?;
    match key.group().curve_name() {
        Some(Nid::X9_62_PRIME256V1 | Nid::SECP384R1) => None,
        Some(other) => Some(format!(
            "on the curve {}",
            other.short_name().unwrap_or("?")
        )),
        None => Some("on a curve without a name".into()),
    }
}

fn digest(certificate: &X509Ref) -> Option<&'static str> {
    let algorithm = certificate.signature_algorithm().object().nid();
    match algorithm.signature_algorithms()?.digest {
        Nid::SHA1 => Some("SHA-1"),
        Nid::MD5 => Some("MD5"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::pki::{Wish, issue};
    use boring::ec::{EcGroup, EcKey};
    use boring::pkey::{PKey, Private};

    #[test]
    fn what_clients_cannot_be_asked_for_is_told() {
        let ca = issue(&Wish::ca("clients"), None);
        let curve = |nid| -> PKey<Private> {
            let group = EcGroup::from_curve_name(nid).unwrap();
            PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
        };
        let ed25519 = PKey::generate(Id::ED25519).unwrap();
        let (p384, p521) = (curve(Nid::SECP384R1), curve(Nid::SECP521R1));
        let told = |wish: Wish<'_>| Unasked::of_client(&issue(&wish, Some(&ca)).x509);
        let with = |key| Wish {
            key: Some(key),
            ..Wish::default()
        };
        let rsa = |bits| Wish {
            rsa_bits: Some(bits),
            ..Wish::default()
        };
        assert_eq!(told(Wish::default()), []);
        assert_eq!(told(with(&p384)), []);
        assert_eq!(told(rsa(2048)), []);
        assert_eq!(told(with(&ed25519)), [Unasked::Ed25519]);
        assert_eq!(told(rsa(1024)), [Unasked::RsaBits(1024)]);
        let found = told(with(&p521));
        assert_eq!(found, [Unasked::Key("on the curve secp521r1".into())]);
        assert!(found[0].for_client().contains("unsupported_key"));
        assert!(found[0].for_ca().contains("secp521r1"));
    }
}
