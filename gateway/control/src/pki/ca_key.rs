//! The kinds of keys that a managed CA may have, and signing with them.
//!
//! Owns their names, generation and signature algorithms. Does not keep keys: the store has them
//! sealed.

use boring::hash::MessageDigest;
use boring::pkey::{Id as KeyId, PKey, PKeyRef, Private};
use boring::rsa::Rsa;
use boring::sign::Signer as Signature;
use boring::x509::X509Builder;

use crate::pki::x509::{X509Error, generate_key};
use tls::limits::RSA_BITS_MIN;
use vocabulary::words::NotAWord;

vocabulary::words! {
    /// What key a managed CA has. Every kind signs client certificates of every accepted kind.
    #[derive(Default)]
    pub enum CaKey("a kind of CA key", without serde) {
        /// Small, quick, and understood by all peers.
        #[default]
        EcdsaP256 = "ecdsa-p256",
        /// For peers that know nothing newer.
        Rsa2048 = "rsa-2048",
        /// RFC 8410.
        Ed25519 = "ed25519",
    }
}

impl CaKey {
    /// From its name.
    ///
    /// # Errors
    /// There is no such kind; the answer lists those there are.
    pub fn parse(text: &str) -> Result<Self, NotAWord> {
        text.parse()
    }

    /// The kind of a key, when it is one that a managed CA may have.
    pub(crate) fn of<T>(key: &PKeyRef<T>) -> Option<Self>
    where
        T: boring::pkey::HasPublic,
    {
        match key.id() {
            KeyId::EC => Some(Self::EcdsaP256),
            KeyId::RSA => Some(Self::Rsa2048),
            KeyId::ED25519 => Some(Self::Ed25519),
            _ => None,
        }
    }

    /// A new key of this kind.
    ///
    /// # Errors
    /// BoringSSL refused.
    pub(crate) fn generate(self) -> Result<PKey<Private>, X509Error> {
        match self {
            Self::EcdsaP256 => generate_key(),
            Self::Rsa2048 => Ok(PKey::from_rsa(Rsa::generate(RSA_BITS_MIN)?)?),
            Self::Ed25519 => Ok(PKey::generate(KeyId::ED25519)?),
        }
    }

    /// The DER of the object identifier of its signatures, and whether NULL follows it:
    /// ecdsa-with-SHA256 (RFC 5758 §3.2), sha256WithRSAEncryption (RFC 4055 §5), id-Ed25519
    /// (RFC 8410 §3).
    pub(crate) fn signature_object(self) -> (&'static [u8], bool) {
        match self {
            Self::EcdsaP256 => (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02], false),
            Self::Rsa2048 => (
                &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b],
                true,
            ),
            Self::Ed25519 => (&[0x2b, 0x65, 0x70], false),
        }
    }

    /// Signs `message` with `key`, which is of this kind.
    ///
    /// # Errors
    /// BoringSSL refused.
    pub(crate) fn sign(self, key: &PKeyRef<Private>, message: &[u8]) -> Result<Vec<u8>, X509Error> {
        if self == Self::Ed25519 {
            return Ok(Signature::new_without_digest(key)?.sign_oneshot_to_vec(message)?);
        }
        let mut signature = Signature::new(MessageDigest::sha256(), key)?;
        signature.update(message)?;
        Ok(signature.sign_to_vec()?)
    }
}

/// The kind of a CA's key.
///
/// # Errors
/// It is a key that no managed CA has.
pub(crate) fn kind_of(key: &PKeyRef<Private>) -> Result<CaKey, X509Error> {
    CaKey::of(key).ok_or_else(|| X509Error::Key("it is of another kind".into()))
}

/// Signs a certificate with a CA's key.
///
/// # Errors
/// BoringSSL refused, or the key is of another kind.
pub(crate) fn sign_certificate(
    builder: &mut X509Builder,
    key: &PKeyRef<Private>,
) -> Result<(), X509Error> {
    let signed = match kind_of(key)? {
        // Ed25519 signs the message itself, without a digest before it (RFC 8410 §3).
        CaKey::Ed25519 => tls::sign_without_digest(builder, key),
        CaKey::EcdsaP256 | CaKey::Rsa2048 => builder.sign(key, MessageDigest::sha256()),
    };
    Ok(signed?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for kind in CaKey::ALL {
            assert_eq!(CaKey::parse(kind.as_str()), Ok(kind));
            assert_eq!(CaKey::of(&kind.generate().unwrap()), Some(kind));
        }
        for wrong in ["", "ECDSA", "rsa-1024", "\u{1b}[2J"] {
            let error = CaKey::parse(wrong).unwrap_err().to_string();
            assert!(error.contains("rsa-2048") && !error.contains('\u{1b}'));
        }
    }
}
