//! Signature algorithms of signed structures (RFC 5280 §4.1.1.2): lists and answers.

use boring::error::ErrorStack;
use boring::hash::MessageDigest;
use boring::pkey::{Id, PKeyRef, Public};
use boring::sign::Verifier;

use super::{DerError, Reader, tag};

/// Those that are believed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Ecdsa(u16),
    Rsa(u16),
    Ed25519,
}

impl Algorithm {
    /// Reads an AlgorithmIdentifier; `None` when it is one that is not believed or not known.
    pub(crate) fn read(content: &[u8]) -> Result<Option<Self>, DerError> {
        let mut reader = Reader::new(content);
        let object = reader.expect(tag::OBJECT, "algorithm")?;
        match object {
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2] => Ok(Some(Self::Ecdsa(256))),
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3] => Ok(Some(Self::Ecdsa(384))),
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4] => Ok(Some(Self::Ecdsa(512))),
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11] => Ok(Some(Self::Rsa(256))),
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12] => Ok(Some(Self::Rsa(384))),
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13] => Ok(Some(Self::Rsa(512))),
            [0x2b, 0x65, 0x70] => Ok(Some(Self::Ed25519)),
            _ => Ok(None),
        }
    }

    /// Whether this key has made that signature.
    pub(crate) fn verifies(
        self,
        key: &PKeyRef<Public>,
        signed: &[u8],
        signature: &[u8],
    ) -> Result<bool, ErrorStack> {
        let digest = |bits| match bits {
            256 => MessageDigest::sha256(),
            384 => MessageDigest::sha384(),
            _ => MessageDigest::sha512(),
        };
        let mut verifier = match (self, key.id()) {
            (Self::Ecdsa(bits), Id::EC) | (Self::Rsa(bits), Id::RSA) => {
                Verifier::new(digest(bits), key)?
            }
            (Self::Ed25519, Id::ED25519) => Verifier::new_without_digest(key)?,
            _ => return Ok(false),
        };
        // A signature that cannot even be read does not verify.
        Ok(verifier.verify_oneshot(signature, signed).unwrap_or(false))
    }
}
