//! TLS-ALPN-01 (RFC 8737): what a host name shows to an ACME server that checks who answers for it.
//!
//! Owns the certificate with the digest that the server expects, and how a ClientHello asks for it:
//! by the one protocol `acme-tls/1` and no other. Such a handshake has no host, asks for no client
//! certificate and leads to no request: who has shaken hands goes away ([`Acceptor::is_challenge`]).
//! Which names have a challenge is [`Endpoints::challenge`]'s.
//!
//! [`Acceptor::is_challenge`]: crate::Acceptor::is_challenge
//! [`Endpoints::challenge`]: crate::Endpoints::challenge

use std::fmt;

use boring::asn1::Asn1Time;
use boring::bn::BigNum;
use boring::ec::{EcGroup, EcKey};
use boring::error::ErrorStack;
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::pkey::PKey;
use boring::ssl::{AlpnError, SslContext};
use boring::x509::extension::SubjectAlternativeName;
use boring::x509::{X509, X509Extension, X509NameBuilder};

use super::algorithms::{OWN_ALGORITHMS, Protocol};
use super::ffi::add_credential;
use super::ids::sha256;
use super::site::server_context;
use vocabulary::hostname::HostName;

/// The protocol of ACME servers (RFC 8737 §6.2).
const PROTOCOL: &[u8] = b"acme-tls/1";
/// As a list of one protocol (RFC 7301 §3.1): lengths of the list and of the name, the name.
const PROTOCOL_ALONE: &[u8] = b"\x00\x0b\x0aacme-tls/1";
/// `id-pe-acmeIdentifier` (RFC 8737 §6.1).
const ACME_IDENTIFIER: &str = "1.3.6.1.5.5.7.1.31";
/// The clock of an ACME server may be off by this, seconds.
const VALIDITY_SEC: i64 = 24 * 60 * 60;

/// The certificate that a name shows while an ACME server checks it.
pub struct Challenge {
    context: SslContext,
}

impl Challenge {
    /// Makes it, with a key that nothing else uses. `digest` is that of the key authorization
    /// (RFC 8737 §3).
    ///
    /// # Errors
    /// BoringSSL would not make it.
    pub fn build(name: &HostName, digest: &[u8; 32], now_sec: i64) -> Result<Self, ErrorStack> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
        let mut subject = X509NameBuilder::new()?;
        subject.append_entry_by_nid(Nid::COMMONNAME, "ACME challenge")?;
        let subject = subject.build();
        let mut builder = X509::builder()?;
        builder.set_version(2)?;
        let mut serial = [0x40; 16];
        if let Some((_, rest)) = serial.split_first_mut() {
            boring::rand::rand_bytes(rest)?;
        }
        let serial = BigNum::from_slice(&serial)?.to_asn1_integer()?;
        builder.set_serial_number(&serial)?;
        builder.set_subject_name(&subject)?;
        builder.set_issuer_name(&subject)?;
        builder.set_not_before(&*Asn1Time::from_unix(now_sec.saturating_sub(VALIDITY_SEC))?)?;
        builder.set_not_after(&*Asn1Time::from_unix(now_sec.saturating_add(VALIDITY_SEC))?)?;
        builder.set_pubkey(&key)?;
        let names = SubjectAlternativeName::new()
            .dns(name.as_str())
            .build(&builder.x509v3_context(None, None))?;
        builder.append_extension(&names)?;
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        // An OCTET STRING of 32 bytes.
        let identifier = format!("critical,DER:0420{hex}");
        let identifier = X509Extension::new(None, None, ACME_IDENTIFIER, &identifier)?;
        builder.append_extension(&identifier)?;
        builder.sign(&key, MessageDigest::sha256())?;
        let der = builder.build().to_der()?;

        let mut context = server_context(&Protocol::default())?;
        // In place of those of requests.
        context.set_alpn_select_callback(|_, offered| match offered.split_first() {
            Some((_, name)) if name == PROTOCOL => Ok(name),
            _ => Err(AlpnError::ALERT_FATAL),
        });
        // No ticket of a host opens it.
        context.set_session_id_context(&sha256(&der)?)?;
        add_credential(&mut context, &[der], &key, &OWN_ALGORITHMS, None)?;
        Ok(Self {
            context: context.build(),
        })
    }

    pub(super) fn context(&self) -> &SslContext {
        &self.context
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenge").finish_non_exhaustive()
    }
}

/// Whether a ClientHello with this ALPN extension is an ACME server's.
pub(super) fn is_asked_for(protocols: Option<&[u8]>) -> bool {
    protocols == Some(PROTOCOL_ALONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_protocol_alone_asks() {
        let list = |names: &[&[u8]]| -> Vec<u8> {
            let names: Vec<u8> = names
                .iter()
                .flat_map(|name| [&[u8::try_from(name.len()).unwrap()], *name].concat())
                .collect();
            let size = u16::try_from(names.len()).unwrap().to_be_bytes();
            [size.as_slice(), &names].concat()
        };
        assert!(is_asked_for(Some(&list(&[PROTOCOL]))));
        for other in [
            list(&[]),
            list(&[b"h2"]),
            list(&[PROTOCOL, b"h2"]),
            list(&[b"h2", PROTOCOL]),
            list(&[PROTOCOL, PROTOCOL]),
            list(&[b"acme-tls/2"]),
            list(&[b"ACME-TLS/1"]),
            [list(&[PROTOCOL]), vec![0]].concat(),
        ] {
            assert!(!is_asked_for(Some(&other)), "{other:?}");
        }
        let whole = list(&[PROTOCOL]);
        for end in 0..whole.len() {
            assert!(!is_asked_for(Some(&whole[..end])), "{end}");
        }
        assert!(!is_asked_for(None));
    }
}
