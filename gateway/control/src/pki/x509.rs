//! Certificates made with BoringSSL: of CAs, of clients (for a request or a fresh key), of servers.
//!
//! Owns what goes into a certificate (RFC 5280) and which keys are refused. Does not store anything
//! and does not read the clock: the time of issue is given.

use boring::asn1::Asn1Time;
use boring::bn::BigNum;
use boring::ec::{EcGroup, EcKey};
use boring::error::ErrorStack;
use boring::nid::Nid;
use boring::pkey::{HasPublic, Id as KeyId, PKey, PKeyRef, Private};
use boring::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use boring::x509::{X509, X509Extension, X509Name, X509NameRef};

use crate::model::hex::hex;
use crate::model::moment::Moment;
use crate::model::secret::Secret;
use crate::pki::ca_key::{CaKey, sign_certificate};
use crate::pki::csr::{Request, check_subject};
use crate::pki::details::seconds;
pub(crate) use crate::pki::details::{Details, to_pem};
use tls::limits::{CLOCK_SKEW, RSA_BITS_MAX, RSA_BITS_MIN};
use tls::pem::{self, PemError};
use vocabulary::hostname::HostName;

pub(crate) const DAY_SECONDS: i64 = 24 * 60 * 60;

/// Why a request, a key or a certificate is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum X509Error {
    /// Not PEM, not DER, or too large.
    #[error("the certificate signing request cannot be read: {0}")]
    Request(String),
    /// The requester does not hold the key.
    #[error("the certificate signing request is not signed by the key that it names")]
    RequestSignature,
    /// An algorithm or a size that is not accepted.
    #[error(
        "the key is not accepted: {0}. Accepted are ECDSA P-256 and P-384, RSA of 2048 to 4096 bits, Ed25519"
    )]
    Key(String),
    /// The subject is empty, too long, or has characters that no name has.
    #[error("the subject is not accepted: {0}")]
    Subject(String),
    /// A subjectAltName that no client certificate should have.
    #[error("the request's subjectAltName is not accepted: {0}")]
    AltName(String),
    /// A request for what only a CA may do.
    #[error(
        "the request asks for a CA certificate ({0}); clients get certificates that sign nothing: make the request without it"
    )]
    WantsCa(&'static str),
    /// The CA ends before the certificate would.
    #[error("the certificate would outlive its CA, which expires on {0}: choose fewer days")]
    OutlivesCa(String),
    /// A server certificate that cannot serve.
    #[error("the server certificate is refused: {0}")]
    Server(String),
    /// A certificate that cannot be shown to an origin.
    #[error("the certificate for the origin is refused: {0}")]
    Origin(String),
    /// A CA that cannot be believed.
    #[error("the CA certificate is refused: {0}")]
    Authority(String),
    /// A PEM text that is none, or has something else in it.
    #[error(transparent)]
    Pem(PemError),
    /// BoringSSL refused something that was expected to work.
    #[error("the certificate cannot be made: {0}")]
    Crypto(String),
}

impl From<PemError> for X509Error {
    fn from(error: PemError) -> Self {
        Self::Pem(error)
    }
}

impl From<ErrorStack> for X509Error {
    fn from(error: ErrorStack) -> Self {
        Self::Crypto(error.to_string())
    }
}

/// A new ECDSA P-256 key.
///
/// # Errors
/// BoringSSL refused.
pub(crate) fn generate_key() -> Result<PKey<Private>, X509Error> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    Ok(PKey::from_ec_key(EcKey::generate(&group)?)?)
}

/// A private key as PKCS#8 PEM.
///
/// # Errors
/// BoringSSL refused.
pub(crate) fn key_pem(key: &PKeyRef<Private>) -> Result<Secret, X509Error> {
    Ok(Secret::new(key.private_key_to_pem_pkcs8()?))
}

/// Refuses keys that are too weak, too expensive, or of a kind that not every peer can check.
pub(crate) fn check_strength<T: HasPublic>(key: &PKeyRef<T>) -> Result<(), X509Error> {
    let refused = |why: String| Err(X509Error::Key(why));
    match key.id() {
        KeyId::RSA if (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&key.bits()) => Ok(()),
        KeyId::RSA => refused(format!("it is RSA of {} bits", key.bits())),
        KeyId::EC => {
            let curve = key.ec_key()?.group().curve_name();
            match curve {
                Some(Nid::X9_62_PRIME256V1 | Nid::SECP384R1) => Ok(()),
                Some(other) => refused(format!(
                    "it is on the curve {}",
                    other.short_name().unwrap_or("that has no name")
                )),
                None => refused("its curve has no name".into()),
            }
        }
        KeyId::ED25519 => Ok(()),
        _ => refused("it is of another kind".into()),
    }
}

/// A serial with 128 random bits and more (CA/B Baseline Requirements §7.1 ask for 64), in 17 of
/// the 20 bytes that RFC 5280 §4.1.2.2 allows.
fn serial() -> Result<BigNum, X509Error> {
    let mut bytes = [0; 17];
    boring::rand::rand_bytes(&mut bytes)?;
    // Never negative and never shorter: equal lengths keep listings tidy.
    if let Some(first) = bytes.first_mut() {
        *first |= 0x40;
        *first &= 0x7f;
    }
    Ok(BigNum::from_slice(&bytes)?)
}

fn asn1_time(seconds: i64) -> Result<Asn1Time, X509Error> {
    Ok(Asn1Time::from_unix(seconds)?)
}

fn name(entries: &[(Nid, &str)]) -> Result<X509Name, X509Error> {
    let mut builder = X509Name::builder()?;
    for (nid, value) in entries {
        builder
            .append_entry_by_nid(*nid, value)
            .map_err(|_too_long_or_empty| {
                X509Error::Subject(format!(
                    "`{}` is too long, empty, or not of the form its field has",
                    value.escape_debug()
                ))
            })?;
    }
    Ok(builder.build())
}

/// A self-signed CA certificate that may sign leaves only (path length 0) and CRLs.
///
/// # Errors
/// BoringSSL refused.
pub(crate) fn make_authority(
    common_name: &str,
    organization: &str,
    kind: CaKey,
    days: u32,
    now: Moment,
) -> Result<(X509, PKey<Private>), X509Error> {
    let key = kind.generate()?;
    let name = name(&[
        (Nid::COMMONNAME, common_name),
        (Nid::ORGANIZATIONNAME, organization),
    ])?;
    let not_before = now.seconds() - seconds_of(CLOCK_SKEW);
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    let serial = serial()?.to_asn1_integer()?;
    builder.set_serial_number(&serial)?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    builder.set_not_before(asn1_time(not_before)?.as_ref())?;
    builder.set_not_after(asn1_time(not_before + i64::from(days) * DAY_SECONDS)?.as_ref())?;
    builder.set_pubkey(&key)?;
    builder.append_extension(
        BasicConstraints::new()
            .critical()
            .ca()
            .pathlen(0)
            .build()?
            .as_ref(),
    )?;
    let usage = KeyUsage::new()
        .critical()
        .key_cert_sign()
        .crl_sign()
        .build()?;
    builder.append_extension(usage.as_ref())?;
    let ski = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
    builder.append_extension(ski.as_ref())?;
    sign_certificate(&mut builder, &key)?;
    Ok((builder.build(), key))
}

/// The subject of a certificate whose key is made here. Empty parts are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Subject {
    /// CN, required.
    pub common_name: String,
    /// O.
    pub organization: String,
    /// OU.
    pub organizational_unit: String,
    /// L.
    pub location: String,
    /// ST.
    pub state: String,
    /// C, two letters.
    pub country: String,
}

impl Subject {
    /// Only a common name.
    #[must_use]
    pub fn named(common_name: &str) -> Self {
        Self {
            common_name: common_name.into(),
            ..Self::default()
        }
    }

    fn name(&self) -> Result<X509Name, X509Error> {
        let entries: Vec<(Nid, &str)> = [
            (Nid::COUNTRYNAME, &self.country),
            (Nid::STATEORPROVINCENAME, &self.state),
            (Nid::LOCALITYNAME, &self.location),
            (Nid::ORGANIZATIONNAME, &self.organization),
            (Nid::ORGANIZATIONALUNITNAME, &self.organizational_unit),
            (Nid::COMMONNAME, &self.common_name),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(nid, value)| (nid, value.as_str()))
        .collect();
        if self.common_name.trim().is_empty() {
            return Err(X509Error::Subject("it needs a common name (CN)".into()));
        }
        let name = name(&entries)?;
        check_subject(&name)?;
        Ok(name)
    }
}

/// What a leaf is for.
enum Purpose<'a> {
    /// With subjectAltName's content in DER.
    Client(Option<&'a [u8]>),
    Server(&'a [HostName]),
}

/// A CA that signs: its certificate and key.
pub(crate) struct Signer {
    /// Its certificate.
    pub certificate: X509,
    /// Its key.
    pub key: PKey<Private>,
}

impl Signer {
    /// From a stored CA.
    ///
    /// # Errors
    /// BoringSSL cannot read them.
    pub(crate) fn open(pem: &[u8], key_pem: &Secret) -> Result<Self, X509Error> {
        Ok(Self {
            certificate: pem::certificate(pem)?,
            key: pem::private_key(key_pem.reveal())?,
        })
    }

    /// A client certificate for a checked request: its key, its subject and its alternative names.
    ///
    /// # Errors
    /// See [`X509Error`].
    pub(crate) fn issue_requested(
        &self,
        request: &Request,
        days: u32,
        now: Moment,
    ) -> Result<X509, X509Error> {
        let purpose = Purpose::Client(request.names.as_deref());
        self.issue(request.subject(), &request.key, days, now, &purpose)
    }

    /// A client certificate for a fresh P-256 key.
    ///
    /// # Errors
    /// See [`X509Error`].
    pub(crate) fn issue_fresh(
        &self,
        subject: &Subject,
        days: u32,
        now: Moment,
    ) -> Result<(X509, PKey<Private>), X509Error> {
        let key = generate_key()?;
        let subject = subject.name()?;
        let certificate = self.issue(&subject, &key, days, now, &Purpose::Client(None))?;
        Ok((certificate, key))
    }

    /// A server certificate for these names, with a fresh P-256 key.
    ///
    /// # Errors
    /// See [`X509Error`].
    pub(crate) fn issue_server(
        &self,
        names: &[HostName],
        days: u32,
        now: Moment,
    ) -> Result<(X509, PKey<Private>), X509Error> {
        let first = names
            .first()
            .ok_or_else(|| X509Error::Server("it needs at least one host name".into()))?;
        // CN holds 64 characters at most (RFC 5280 ub-common-name); clients look at the SAN.
        let common_name = if first.as_str().len() <= 64 {
            first.as_str()
        } else {
            "postern"
        };
        let subject = name(&[(Nid::COMMONNAME, common_name)])?;
        let key = generate_key()?;
        let certificate = self.issue(&subject, &key, days, now, &Purpose::Server(names))?;
        Ok((certificate, key))
    }

    fn issue<T: HasPublic>(
        &self,
        subject: &X509NameRef,
        key: &PKeyRef<T>,
        days: u32,
        now: Moment,
        purpose: &Purpose<'_>,
    ) -> Result<X509, X509Error> {
        let not_before = now.seconds() - seconds_of(CLOCK_SKEW);
        let not_after = not_before + i64::from(days) * DAY_SECONDS;
        let end = seconds(self.certificate.not_after())?;
        if not_after > end {
            return Err(X509Error::OutlivesCa(Moment::from_seconds(end).to_second()));
        }
        let mut builder = X509::builder()?;
        builder.set_version(2)?;
        let serial = serial()?.to_asn1_integer()?;
        builder.set_serial_number(&serial)?;
        builder.set_subject_name(subject)?;
        builder.set_issuer_name(self.certificate.subject_name())?;
        builder.set_not_before(asn1_time(not_before)?.as_ref())?;
        builder.set_not_after(asn1_time(not_after)?.as_ref())?;
        builder.set_pubkey(key)?;
        builder.append_extension(BasicConstraints::new().critical().build()?.as_ref())?;
        let usage = KeyUsage::new().critical().digital_signature().build()?;
        builder.append_extension(usage.as_ref())?;
        let eku = match purpose {
            Purpose::Client(_) => ExtendedKeyUsage::new().client_auth().build()?,
            Purpose::Server(_) => ExtendedKeyUsage::new().server_auth().build()?,
        };
        builder.append_extension(eku.as_ref())?;
        let (ski, aki) = {
            let context = builder.x509v3_context(Some(&self.certificate), None);
            let ski = SubjectKeyIdentifier::new().build(&context)?;
            (
                ski,
                AuthorityKeyIdentifier::new().keyid(true).build(&context)?,
            )
        };
        builder.append_extension(ski.as_ref())?;
        builder.append_extension(aki.as_ref())?;
        if let Purpose::Client(Some(names)) = purpose {
            let value = format!("DER:{}", hex(names));
            let san = X509Extension::new(None, None, "subjectAltName", &value)?;
            builder.append_extension(san.as_ref())?;
        }
        if let Purpose::Server(names) = purpose {
            let mut san = SubjectAlternativeName::new();
            for name in *names {
                san.dns(name.as_str());
            }
            let san = san.build(&builder.x509v3_context(Some(&self.certificate), None))?;
            builder.append_extension(san.as_ref())?;
        }
        sign_certificate(&mut builder, &self.key)?;
        Ok(builder.build())
    }
}

fn seconds_of(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
