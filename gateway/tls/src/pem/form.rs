//! What a piece of DER is, by its outermost structure, whatever its label says.

use std::fmt;

use super::error::Problem;
use crate::der::{Reader, tag};

/// What a block, or a file, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// RFC 5280 §4.
    Certificate,
    /// RFC 5280 §5.
    List,
    /// RFC 2986.
    Request,
    /// PKCS#8, PKCS#1 or SEC 1.
    PrivateKey,
    /// PKCS#8, or RFC 1421 for older ones.
    EncryptedKey,
    /// What older tools write before a key.
    Parameters,
    /// SubjectPublicKeyInfo or PKCS#1.
    PublicKey,
    /// RFC 2315, RFC 5652.
    Pkcs7,
    /// RFC 7292.
    Pkcs12,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let article = match self {
            Self::EncryptedKey => "an ",
            Self::Parameters => "",
            _ => "a ",
        };
        write!(f, "{article}{}", self.name())
    }
}

impl Form {
    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::List => "revocation list",
            Self::Request => "certificate request",
            Self::PrivateKey => "private key",
            Self::EncryptedKey => "encrypted private key",
            Self::Parameters => "key parameters",
            Self::PublicKey => "public key",
            Self::Pkcs7 => "PKCS#7 container",
            Self::Pkcs12 => "PKCS#12 container",
        }
    }

    /// What makes PEM of it when it is not.
    pub(super) fn command(self) -> &'static str {
        match self {
            Self::Certificate => "openssl x509 -inform DER -in FILE -out FILE.pem",
            Self::List => "openssl crl -inform DER -in FILE -out FILE.pem",
            Self::Request => "openssl req -inform DER -in FILE -out FILE.pem",
            Self::PrivateKey | Self::EncryptedKey | Self::Parameters => {
                "openssl pkey -inform DER -in FILE -out FILE.pem"
            }
            Self::PublicKey => "openssl pkey -pubin -inform DER -in FILE -out FILE.pem",
            Self::Pkcs7 => "openssl pkcs7 -inform DER -print_certs -in FILE -out FILE.pem",
            Self::Pkcs12 => "openssl pkcs12 -nodes -in FILE -out FILE.pem",
        }
    }

    /// What a label says.
    pub(super) fn of_label(label: &str) -> Result<Self, Problem> {
        Ok(match label {
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => Self::Certificate,
            "X509 CRL" | "CRL" => Self::List,
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => Self::Request,
            "PRIVATE KEY" | "EC PRIVATE KEY" | "RSA PRIVATE KEY" | "DSA PRIVATE KEY"
            | "ANY PRIVATE KEY" => Self::PrivateKey,
            "ENCRYPTED PRIVATE KEY" => Self::EncryptedKey,
            "EC PARAMETERS" | "DH PARAMETERS" | "X9.42 DH PARAMETERS" | "DSA PARAMETERS" => {
                Self::Parameters
            }
            "PUBLIC KEY" | "RSA PUBLIC KEY" => Self::PublicKey,
            "PKCS7" | "PKCS #7 SIGNED DATA" | "CMS" => return Err(Problem::Container(Self::Pkcs7)),
            "OPENSSH PRIVATE KEY" => return Err(Problem::OpenSsh),
            _ => return Err(Problem::Label),
        })
    }

    /// Whether a block of this label may have that content.
    pub(super) fn may_be(self, content: Self) -> bool {
        let is_key = |form| matches!(form, Self::PrivateKey | Self::EncryptedKey);
        self == content || (is_key(self) && is_key(content))
    }
}

/// The content of PKCS#7: 1.2.840.113549.1.7.
const PKCS7: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07];

/// What these bytes are; `None` when they are nothing that is known.
pub(super) fn form_of(der: &[u8]) -> Option<Form> {
    let mut outer = Reader::new(der);
    let content = outer.expect(tag::SEQUENCE, "").ok()?;
    let mut reader = Reader::new(content);
    let mut next = || reader.any().ok();
    let (first, value) = next()?;
    match (first, next()) {
        (tag::INTEGER, Some((second, _))) => match (value, second) {
            ([3], tag::SEQUENCE) => Some(Form::Pkcs12),
            ([0 | 1], tag::SEQUENCE) | ([0], tag::INTEGER) | ([1], tag::OCTET_STRING) => {
                Some(Form::PrivateKey)
            }
            (_, tag::INTEGER) => Some(Form::PublicKey),
            _ => None,
        },
        (tag::OBJECT, _) if value.starts_with(PKCS7) => Some(Form::Pkcs7),
        (tag::SEQUENCE, Some((tag::OCTET_STRING, _))) => Some(Form::EncryptedKey),
        (tag::SEQUENCE, Some((tag::BIT_STRING, _))) => Some(Form::PublicKey),
        (tag::SEQUENCE, Some((tag::SEQUENCE, _))) => signed_form(value),
        _ => None,
    }
}

/// The label that a private key has, by its structure: SEC 1, PKCS#1 or PKCS#8.
pub(super) fn key_label(der: &[u8]) -> &'static str {
    let second = || {
        let mut outer = Reader::new(der);
        let mut reader = Reader::new(outer.expect(tag::SEQUENCE, "").ok()?);
        reader.any().ok()?;
        reader.any().ok().map(|(found, _)| found)
    };
    match second() {
        Some(tag::OCTET_STRING) => "EC PRIVATE KEY",
        Some(tag::INTEGER) => "RSA PRIVATE KEY",
        _ => "PRIVATE KEY",
    }
}

/// What was signed, by the elements that it begins with.
fn signed_form(content: &[u8]) -> Option<Form> {
    let mut reader = Reader::new(content);
    let mut tags = Vec::with_capacity(4);
    while tags.len() < 4
        && let Ok((found, _)) = reader.any()
    {
        tags.push(found);
    }
    const TIMES: [u8; 2] = [tag::UTC_TIME, tag::GENERALIZED_TIME];
    match tags.as_slice() {
        [tag::CONTEXT_0, ..] => Some(Form::Certificate),
        [tag::INTEGER, tag::SEQUENCE, tag::SEQUENCE, tag::SEQUENCE] => Some(Form::Certificate),
        [tag::INTEGER, tag::SEQUENCE, tag::SEQUENCE, time] if TIMES.contains(time) => {
            Some(Form::List)
        }
        [tag::SEQUENCE, tag::SEQUENCE, time, ..] if TIMES.contains(time) => Some(Form::List),
        [tag::INTEGER, tag::SEQUENCE, tag::SEQUENCE, tag::CONTEXT_0]
        | [tag::INTEGER, tag::SEQUENCE, tag::SEQUENCE] => Some(Form::Request),
        _ => None,
    }
}
