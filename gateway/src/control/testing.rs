//! What the control plane's tests stand on: a directory of their own, removed when they end, and
//! certificates that the control plane itself would not make.

use std::path::{Path, PathBuf};

use boring::asn1::Asn1Time;
use boring::bn::{BigNum, MsbOption};
use boring::hash::MessageDigest;
use boring::pkey::{PKey, Private};
use boring::rsa::Rsa;
use boring::x509::extension::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
};
use boring::x509::{X509, X509Name};

use super::id::Id;
use super::{CaKey, Moment, x509};

/// What a certificate is to say.
#[derive(Clone)]
pub(crate) struct Wish {
    pub(crate) name: String,
    pub(crate) ca: bool,
    /// keyCertSign for CAs.
    pub(crate) may_sign: bool,
    /// clientAuth instead of serverAuth.
    pub(crate) client: bool,
    pub(crate) dns: Vec<String>,
    /// Seconds since the epoch.
    pub(crate) begins: i64,
    /// Seconds since the epoch.
    pub(crate) ends: i64,
    /// RSA of so many bits instead of P-256.
    pub(crate) rsa: Option<u32>,
}

impl Wish {
    pub(crate) fn server(names: &[&str], now: i64) -> Self {
        Self {
            name: names.first().copied().unwrap_or("nameless").into(),
            ca: false,
            may_sign: true,
            client: false,
            dns: names.iter().map(ToString::to_string).collect(),
            begins: now - 60,
            ends: now + 30 * 86_400,
            rsa: None,
        }
    }

    pub(crate) fn authority(name: &str, now: i64) -> Self {
        Self {
            name: name.into(),
            ca: true,
            dns: Vec::new(),
            ..Self::server(&[], now)
        }
    }
}

/// A certificate that was made, with its key.
pub(crate) struct Made {
    pub(crate) certificate: X509,
    pub(crate) key: PKey<Private>,
}

impl Made {
    pub(crate) fn new(wish: &Wish, issuer: Option<&Self>) -> Self {
        let key = match wish.rsa {
            Some(bits) => PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap(),
            None => x509::generate_key().unwrap(),
        };
        Self::with_key(wish, issuer, &key)
    }

    pub(crate) fn with_key(wish: &Wish, issuer: Option<&Self>, key: &PKey<Private>) -> Self {
        let mut subject = X509Name::builder().unwrap();
        subject.append_entry_by_text("CN", &wish.name).unwrap();
        let subject = subject.build();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        let mut serial = BigNum::new().unwrap();
        serial.rand(120, MsbOption::ONE, false).unwrap();
        let serial = serial.to_asn1_integer().unwrap();
        builder.set_serial_number(&serial).unwrap();
        builder.set_subject_name(&subject).unwrap();
        let above = issuer.map_or(&*subject, |issuer| issuer.certificate.subject_name());
        builder.set_issuer_name(above).unwrap();
        let at = |seconds| Asn1Time::from_unix(seconds).unwrap();
        builder.set_not_before(&at(wish.begins)).unwrap();
        builder.set_not_after(&at(wish.ends)).unwrap();
        builder.set_pubkey(key).unwrap();
        let mut usage = KeyUsage::new();
        if wish.ca {
            let constraints = BasicConstraints::new().critical().ca().build().unwrap();
            builder.append_extension(&constraints).unwrap();
            if wish.may_sign {
                usage.key_cert_sign();
            }
            usage.crl_sign();
        } else {
            usage.digital_signature();
            let mut purpose = ExtendedKeyUsage::new();
            let purpose = match wish.client {
                true => purpose.client_auth(),
                false => purpose.server_auth(),
            };
            builder.append_extension(&purpose.build().unwrap()).unwrap();
        }
        builder.append_extension(&usage.build().unwrap()).unwrap();
        if !wish.dns.is_empty() {
            let mut names = SubjectAlternativeName::new();
            for name in &wish.dns {
                names.dns(name);
            }
            let names = names.build(&builder.x509v3_context(None, None)).unwrap();
            builder.append_extension(&names).unwrap();
        }
        let signer = issuer.map_or(key, |issuer| &issuer.key);
        builder.sign(signer, MessageDigest::sha256()).unwrap();
        Self {
            certificate: builder.build(),
            key: key.clone(),
        }
    }

    pub(crate) fn pem(&self) -> String {
        x509::to_pem(&self.certificate).unwrap()
    }

    pub(crate) fn key_pem(&self) -> String {
        x509::key_pem(&self.key).unwrap().reveal_text().to_owned()
    }
}

/// The certificate of a CA that this gateway has not made.
pub(crate) fn foreign(name: &str) -> String {
    let made = x509::make_authority(name, "O", CaKey::default(), 30, Moment::now());
    let (certificate, _) = made.unwrap();
    x509::to_pem(&certificate).unwrap()
}

/// A directory that lives as long as the value.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("postern-test-{}", Id::random()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
