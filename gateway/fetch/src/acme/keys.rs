//! Keys, requests and names of certificates, with BoringSSL.
//!
//! Owns what stands in a request: the one name, nothing else. Who signs it, and what the chain must be
//! like to serve, is decided elsewhere.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use boring::ec::{EcGroup, EcKey};
use boring::error::ErrorStack;
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::pkey::{PKey, Private};
use boring::stack::Stack;
use boring::x509::extension::SubjectAlternativeName;
use boring::x509::{X509Extension, X509NameBuilder, X509ReqBuilder};
use instant_acme::CertificateIdentifier;

use control::Secret;
use vocabulary::hostname::HostName;

/// A new ECDSA P-256 key with a request for a certificate of `name`.
pub(super) struct Request {
    key: PKey<Private>,
    /// PKCS#10.
    pub(super) der: Vec<u8>,
}

impl Request {
    pub(super) fn build(name: &HostName) -> Result<Self, ErrorStack> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
        let mut builder = X509ReqBuilder::new()?;
        builder.set_version(0)?;
        builder.set_pubkey(&key)?;
        // Servers take the names from subjectAltName; a common name has no room for long ones.
        let subject = X509NameBuilder::new()?.build();
        builder.set_subject_name(&subject)?;
        let mut names = SubjectAlternativeName::new();
        names.dns(name.as_str());
        let names = names.build(&builder.x509v3_context(None))?;
        let mut extensions = Stack::<X509Extension>::new()?;
        extensions.push(names)?;
        builder.add_extensions(&extensions)?;
        builder.sign(&key, MessageDigest::sha256())?;
        Ok(Self {
            der: builder.build().to_der()?,
            key,
        })
    }

    /// The key as PKCS#8 PEM.
    pub(super) fn key_pem(&self) -> Result<Secret, ErrorStack> {
        Ok(Secret::new(self.key.private_key_to_pem_pkcs8()?))
    }
}

/// What an ACME server calls a certificate of its own (RFC 9773 §4.1); `None` of one without a key
/// identifier of its issuer.
pub(super) fn renewal_id(chain_pem: &str) -> Option<CertificateIdentifier<'static>> {
    let leaf = tls::pem::certificate(chain_pem.as_bytes()).ok()?;
    let issuer = leaf.authority_key_id()?;
    let mut serial = leaf.serial_number().to_bn().ok()?.to_vec();
    // DER: a number whose first bit is set would be negative.
    if serial.first().is_none_or(|first| first & 0x80 != 0) {
        serial.insert(0, 0);
    }
    Some(CertificateIdentifier {
        authority_key_identifier: BASE64_URL_SAFE_NO_PAD.encode(issuer.as_slice()).into(),
        serial: BASE64_URL_SAFE_NO_PAD.encode(&serial).into(),
    })
}

#[cfg(test)]
mod tests {
    use boring::x509::X509Req;

    use super::*;

    #[test]
    fn a_request_names_the_host_and_is_signed_by_its_key() {
        let name = HostName::parse("api.example.com").unwrap();
        let made = Request::build(&name).unwrap();
        let read = X509Req::from_der(&made.der).unwrap();
        assert!(read.verify(&made.key).unwrap());
        let text = made.der.windows(15).any(|part| part == b"api.example.com");
        assert!(text);
        assert_eq!(read.subject_name().entries().count(), 0);
        let pem = made.key_pem().unwrap();
        assert!(pem.reveal_text().starts_with("-----BEGIN PRIVATE KEY-----"));
        let other = Request::build(&name).unwrap();
        assert_ne!(other.key_pem().unwrap().reveal(), pem.reveal());
    }

    /// RFC 9773 §4.1 has this certificate and its identifier.
    #[test]
    fn a_certificate_is_called_as_the_rfc_says() {
        let pem = "-----BEGIN CERTIFICATE-----
MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt
cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS
BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu
7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf
qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B
yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb
+FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK
-----END CERTIFICATE-----
";
        let id = renewal_id(pem).unwrap();
        assert_eq!(format!("{id}"), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
    }
}
