//! The fields of a certificate that the API and listings show.

use boring::asn1::Asn1Time;
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::x509::{X509NameRef, X509Ref};

use crate::model::hex::hex;
use crate::pki::x509::{DAY_SECONDS, X509Error};

/// What the API and listings say about a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    /// CN.
    pub common_name: String,
    /// C.
    pub country: String,
    /// ST.
    pub state: String,
    /// L.
    pub location: String,
    /// O.
    pub organization: String,
    /// OU.
    pub organizational_unit: String,
    /// The issuer's CN, or its O.
    pub issuer: String,
    /// Lower-case hex.
    pub serial_hex: String,
    /// Big-endian, no leading zeros: as revocations are kept.
    pub serial: Box<[u8]>,
    /// SHA-256 of the DER, lower-case hex.
    pub fingerprint_sha256: String,
    /// Subject key identifier, lower-case hex; empty when absent.
    pub ski: String,
    /// Seconds since the epoch.
    pub not_before: i64,
    /// Seconds since the epoch.
    pub not_after: i64,
    /// The signature's algorithm, in the form that Cloudflare uses: `ECDSAWithSHA256`.
    pub signature: String,
    /// dNSName entries of subjectAltName, as they are written.
    pub dns_names: Vec<String>,
}

impl Details {
    /// Reads them out.
    ///
    /// # Errors
    /// The dates or the serial are beyond what BoringSSL can represent.
    pub fn of(certificate: &X509Ref) -> Result<Self, X509Error> {
        let subject = certificate.subject_name();
        let issuer = certificate.issuer_name();
        let serial = certificate.serial_number().to_bn()?.to_vec();
        let algorithm = certificate.signature_algorithm().object().nid();
        let issuer_name = Some(first(issuer, Nid::COMMONNAME)).filter(|name| !name.is_empty());
        Ok(Self {
            common_name: first(subject, Nid::COMMONNAME),
            country: first(subject, Nid::COUNTRYNAME),
            state: first(subject, Nid::STATEORPROVINCENAME),
            location: first(subject, Nid::LOCALITYNAME),
            organization: first(subject, Nid::ORGANIZATIONNAME),
            organizational_unit: first(subject, Nid::ORGANIZATIONALUNITNAME),
            issuer: issuer_name.unwrap_or_else(|| first(issuer, Nid::ORGANIZATIONNAME)),
            serial_hex: hex(&serial),
            serial: serial.into(),
            fingerprint_sha256: hex(&certificate.digest(MessageDigest::sha256())?),
            ski: certificate
                .subject_key_id()
                .map(|ski| hex(ski.as_slice()))
                .unwrap_or_default(),
            not_before: seconds(certificate.not_before())?,
            not_after: seconds(certificate.not_after())?,
            signature: signature_name(algorithm),
            dns_names: certificate
                .subject_alt_names()
                .map(|names| {
                    names
                        .iter()
                        .filter_map(|name| name.dnsname().map(str::to_owned))
                        .collect()
                })
                .unwrap_or_default(),
        })
    }
}

fn first(name: &X509NameRef, nid: Nid) -> String {
    let entry = name.entries_by_nid(nid).next();
    entry
        .and_then(|entry| entry.data().as_utf8().ok())
        .map(|text| text.to_string())
        .unwrap_or_default()
}

fn signature_name(algorithm: Nid) -> String {
    match algorithm {
        Nid::ECDSA_WITH_SHA256 => "ECDSAWithSHA256".into(),
        Nid::ECDSA_WITH_SHA384 => "ECDSAWithSHA384".into(),
        Nid::ECDSA_WITH_SHA512 => "ECDSAWithSHA512".into(),
        Nid::SHA256WITHRSAENCRYPTION => "SHA256WithRSA".into(),
        Nid::SHA384WITHRSAENCRYPTION => "SHA384WithRSA".into(),
        Nid::SHA512WITHRSAENCRYPTION => "SHA512WithRSA".into(),
        other => other.long_name().unwrap_or("unknown").into(),
    }
}

/// Seconds since the epoch of a certificate's time.
pub(crate) fn seconds(time: &boring::asn1::Asn1TimeRef) -> Result<i64, X509Error> {
    let difference = Asn1Time::from_unix(0)?.diff(time)?;
    Ok(i64::from(difference.days) * DAY_SECONDS + i64::from(difference.secs))
}

/// A certificate as PEM.
///
/// # Errors
/// BoringSSL refused.
pub(crate) fn to_pem(certificate: &X509Ref) -> Result<String, X509Error> {
    Ok(String::from_utf8_lossy(&certificate.to_pem()?).into_owned())
}
