//! OCSP responses of every kind: good ones, and ones that are wrong in exactly one way. Written
//! byte by byte (RFC 6960 §4.2.1), because no library makes wrong ones.

use boring::hash::{MessageDigest, hash};
use boring::pkey::{PKey, Private};
use boring::sign::Signer;
use boring::x509::X509;

use crate::crl::{element, generalized, integer};
use crate::pki::{Authority, Identity};

/// What a response says of the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Not revoked.
    Good,
    /// Revoked.
    Revoked,
    /// Never heard of it.
    Unknown,
}

/// What a response says. Every field has a sound default; tests break one at a time.
#[derive(Clone)]
pub struct OcspSpec {
    /// Of the certificate.
    pub status: Status,
    /// Seconds from now at which it begins.
    pub begins: i64,
    /// Seconds from now at which the next one is due.
    pub ends: Option<i64>,
    /// Who signs instead of the issuer, with the certificate that is sent along.
    pub signer: Option<Identity>,
    /// One bit of the signature is wrong.
    pub broken: bool,
}

impl OcspSpec {
    /// A sound one.
    #[must_use]
    pub fn new(status: Status) -> Self {
        Self {
            status,
            begins: -60,
            ends: Some(3600),
            signer: None,
            broken: false,
        }
    }

    /// The response about `of`, which `issuer` has signed, in DER.
    #[must_use]
    pub fn sign(&self, issuer: &Authority, of: &Identity) -> Vec<u8> {
        let algorithm = element(0x30, &element(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]));
        let serial = of.leaf().serial_number().to_bn().unwrap().to_vec();
        let sha1 = element(
            0x30,
            &[element(6, &[0x2b, 0x0e, 3, 2, 0x1a]), vec![5, 0]].concat(),
        );
        let name = issuer.certificate.subject_name().to_der().unwrap();
        let id = [
            sha1,
            element(4, &digest(&name)),
            element(4, &key_hash(&issuer.certificate)),
            integer(&serial),
        ];
        let mut single = vec![
            element(0x30, &id.concat()),
            match self.status {
                Status::Good => vec![0x80, 0],
                Status::Revoked => element(0xa1, &generalized(-30)),
                Status::Unknown => vec![0x82, 0],
            },
            generalized(self.begins),
        ];
        single.extend(self.ends.map(|ends| element(0xa0, &generalized(ends))));
        let responder = match &self.signer {
            // By the hash of its key.
            Some(signer) => element(0xa2, &element(4, &key_hash(signer.leaf()))),
            None => element(0xa1, &name),
        };
        let data = [
            responder,
            generalized(0),
            element(0x30, &element(0x30, &single.concat())),
        ];
        let data = element(0x30, &data.concat());
        let key: &PKey<Private> = self
            .signer
            .as_ref()
            .map_or(&issuer.key, |signer| &signer.key);
        let mut signer = Signer::new(MessageDigest::sha256(), key).unwrap();
        let mut signature = signer.sign_oneshot_to_vec(&data).unwrap();
        if self.broken {
            *signature.last_mut().unwrap() ^= 1;
        }
        let bits = [&[0], signature.as_slice()].concat();
        let mut basic = vec![data, algorithm, element(3, &bits)];
        if let Some(signer) = &self.signer {
            let certificate = signer.leaf().to_der().unwrap();
            basic.push(element(0xa0, &element(0x30, &certificate)));
        }
        let basic = element(0x30, &basic.concat());
        let kind = element(6, &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1]);
        let bytes = element(0x30, &[kind, element(4, &basic)].concat());
        element(0x30, &[vec![0x0a, 1, 0], element(0xa0, &bytes)].concat())
    }
}

fn digest(bytes: &[u8]) -> Vec<u8> {
    hash(MessageDigest::sha1(), bytes).unwrap().to_vec()
}

/// Of the key's own bits: those of a P-256 key are the last 65 of its SubjectPublicKeyInfo.
fn key_hash(certificate: &X509) -> Vec<u8> {
    let key = certificate
        .public_key()
        .unwrap()
        .public_key_to_der()
        .unwrap();
    digest(&key[key.len() - 65..])
}
