//! The Online Certificate Status Protocol (RFC 6960): the question, and what an answer must be
//! before it is believed.
//!
//! An answer is believed when it is about the very certificate, of now, and signed by the
//! certificate's issuer or by a responder that the issuer itself has certified for that
//! (id-kp-OCSPSigning, §4.2.2.2). Sends nothing (`fetch` does), and reads no clock.

mod answers;
mod staple;

use std::sync::Arc;

use boring::error::ErrorStack;
use boring::hash::{MessageDigest, hash};
use boring::x509::{X509, X509Ref};
use x509_parser::prelude::{FromDer, X509Certificate};

pub use self::answers::{Answer, Answers, CertStatus};
pub use self::staple::{Staple, Stapling, StaplingError};
use super::crl::CrlPolicy;
use super::der::{Algorithm, DerError, Reader, canonical_name, element, extensions, tag};
use super::ids::{CaId, Serial, minimal};
use crate::limits::{CLOCK_SKEW, OCSP_AGAIN, OCSP_SIGNERS_MAX, OCSP_UNDATED};
use vocabulary::verdict::Reason;

/// Whom to ask about a CA's client certificates, and what has been answered.
#[derive(Debug)]
pub struct Responder {
    /// The CA.
    pub ca: CaId,
    /// Where it is.
    pub url: String,
    /// What is done with a client of whom nothing is known.
    pub policy: CrlPolicy,
    /// Whether an answer must be one to this very question.
    pub nonce: bool,
    /// What it has said.
    pub answers: Arc<Answers>,
}

/// What an answer is kept by: SHA-256 over the issuer's name and key and the serial number. Not the
/// certificate's bytes: the holder of an ECDSA key can write its signature in two ways, and a
/// revoked client must not pass as a new one.
pub type OcspSubject = [u8; 32];

/// A question about one certificate, whose path was verified.
#[derive(Debug, Clone)]
pub struct OcspQuestion {
    /// Whom to ask.
    pub responder: Arc<Responder>,
    /// What its answer is kept by.
    pub subject: OcspSubject,
    /// Which certificate.
    pub certificate: CertId,
}

/// Which certificate is asked about (§4.1.1), and by whom an answer must be signed.
#[derive(Debug, Clone)]
pub struct CertId {
    /// The name of its issuer, in DER, as the certificate has it.
    pub issuer_name: Box<[u8]>,
    /// Its serial number.
    pub serial: Serial,
    /// Who signed it.
    pub issuer: X509,
}

/// Bytes of a nonce (RFC 8954 §2.1 asks for 1 to 32).
pub const NONCE_BYTES: usize = 16;

/// Why an answer is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OcspError {
    /// Not DER, or not the structure of RFC 6960 §4.2.1.
    #[error("not an OCSP response: {0}")]
    Malformed(String),
    /// The responder gives no answer (§4.2.1: OCSPResponseStatus).
    #[error("the responder answers `{0}`")]
    Refused(&'static str),
    /// It says nothing of the certificate.
    #[error("the response is about other certificates")]
    Another,
    /// Neither the issuer nor a responder of the issuer's has signed it.
    #[error("the response is signed neither by the issuer nor by a responder of the issuer's")]
    Signer,
    /// The signature is wrong.
    #[error("the signature of the response does not verify")]
    Signature,
    /// Signed with something that is not believed or not known.
    #[error("the response's signature algorithm is none that is believed")]
    Algorithm,
    /// Something critical that is not understood.
    #[error("the response has a critical extension that is not understood here")]
    Critical,
    /// It is not to this question.
    #[error("the response lacks the nonce of the question")]
    Nonce,
    /// It is of the past.
    #[error("the response is old: its nextUpdate has passed")]
    Expired,
    /// It is of the future.
    #[error("the response begins in the future")]
    NotYetValid,
    /// BoringSSL failed.
    #[error("the response cannot be checked: {0}")]
    Failed(String),
}

impl OcspError {
    /// What the verifier calls it.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Expired => Reason::OcspExpired,
            _ => Reason::OcspInvalid,
        }
    }
}

impl From<DerError> for OcspError {
    fn from(error: DerError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl From<ErrorStack> for OcspError {
    fn from(error: ErrorStack) -> Self {
        Self::Failed(error.to_string())
    }
}

/// SHA-1 identifies the issuer here (§4.1.1) and protects nothing.
fn name_hash(name: &[u8]) -> Result<Vec<u8>, OcspError> {
    Ok(hash(MessageDigest::sha1(), name)?.to_vec())
}

fn key_hash(certificate: &[u8]) -> Result<Vec<u8>, OcspError> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|_unreadable| OcspError::Malformed("a certificate".into()))?;
    let key = &parsed.public_key().subject_public_key.data;
    Ok(hash(MessageDigest::sha1(), key)?.to_vec())
}

/// 1.3.14.3.2.26, SHA-1.
const SHA1: &[u8] = &[0x2b, 0x0e, 3, 2, 0x1a];
/// 1.3.6.1.5.5.7.48.1.1, a basic response.
const BASIC: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
/// 1.3.6.1.5.5.7.48.1.2, the nonce.
const NONCE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 2];

impl CertId {
    /// The question in DER (§4.1.1), unsigned.
    ///
    /// # Errors
    /// The issuer cannot be read.
    pub fn der(&self, nonce: Option<&[u8; NONCE_BYTES]>) -> Result<Vec<u8>, OcspError> {
        let name = name_hash(&self.issuer_name)?;
        let key = key_hash(&self.issuer.to_der()?)?;
        let algorithm = element(
            tag::SEQUENCE,
            &[element(tag::OBJECT, SHA1), vec![5, 0]].concat(),
        );
        let id = [
            algorithm,
            element(tag::OCTET_STRING, &name),
            element(tag::OCTET_STRING, &key),
            element(tag::INTEGER, self.serial.bytes()),
        ];
        let request = element(tag::SEQUENCE, &element(tag::SEQUENCE, &id.concat()));
        let mut content = element(tag::SEQUENCE, &request);
        if let Some(nonce) = nonce {
            let value = element(tag::OCTET_STRING, &element(tag::OCTET_STRING, nonce));
            let extension = element(
                tag::SEQUENCE,
                &[element(tag::OBJECT, NONCE), value].concat(),
            );
            content.extend(element(0xa2, &element(tag::SEQUENCE, &extension)));
        }
        Ok(element(tag::SEQUENCE, &element(tag::SEQUENCE, &content)))
    }

    /// Reads an answer in DER, at `now_sec` seconds since the epoch.
    ///
    /// # Errors
    /// It is not to be believed, see [`OcspError`].
    pub fn read(
        &self,
        der: &[u8],
        nonce: Option<&[u8; NONCE_BYTES]>,
        now_sec: i64,
    ) -> Result<Answer, OcspError> {
        let answer = Signed::read(der)?;
        let signer = self.signer(&answer.data, answer.certificates, now_sec)?;
        let key = signer.public_key()?;
        if !answer
            .algorithm
            .verifies(&key, answer.signed, answer.signature)?
        {
            return Err(OcspError::Signature);
        }
        if nonce.is_some_and(|nonce| answer.data.nonce != Some(nonce)) {
            return Err(OcspError::Nonce);
        }
        self.single(answer.data.responses, now_sec)
    }

    /// As [`Self::read`], with the signature left aside.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn read_unsigned(&self, der: &[u8], now_sec: i64) -> Result<Answer, OcspError> {
        self.single(Signed::read(der)?.data.responses, now_sec)
    }

    /// The signer that the answer names, if it may sign for this issuer.
    fn signer(
        &self,
        data: &Data<'_>,
        certificates: &[u8],
        now_sec: i64,
    ) -> Result<X509, OcspError> {
        if data.is_by(&self.issuer)? {
            return Ok(self.issuer.clone());
        }
        let mut outer = Reader::new(certificates);
        let mut list = Reader::new(outer.optional(tag::SEQUENCE)?.unwrap_or_default());
        for _ in 0..OCSP_SIGNERS_MAX {
            if list.is_empty() {
                break;
            }
            let (der, _) = list.whole(tag::SEQUENCE, "a certificate")?;
            let Ok(certificate) = X509::from_der(der) else {
                continue;
            };
            if data.is_by(&certificate)? && self.delegates(&certificate, der, now_sec)? {
                return Ok(certificate);
            }
        }
        Err(OcspError::Signer)
    }

    /// Whether the issuer itself has certified `to` as its responder (§4.2.2.2).
    fn delegates(&self, to: &X509Ref, der: &[u8], now_sec: i64) -> Result<bool, OcspError> {
        let Ok((_, parsed)) = X509Certificate::from_der(der) else {
            return Ok(false);
        };
        let for_this = matches!(
            parsed.extended_key_usage(),
            Ok(Some(usage)) if usage.value.ocsp_signing
        );
        let may_sign = match parsed.key_usage() {
            Ok(usage) => usage.is_none_or(|usage| usage.value.digital_signature()),
            Err(_unreadable) => false,
        };
        let validity = parsed.validity();
        let valid =
            (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now_sec);
        let by_issuer = canonical_name(&to.issuer_name().to_der()?)?
            == canonical_name(&self.issuer.subject_name().to_der()?)?
            && to.verify(&*self.issuer.public_key()?).unwrap_or(false);
        Ok(for_this && may_sign && valid && by_issuer)
    }

    /// What the response says of this certificate.
    fn single(&self, responses: &[u8], now_sec: i64) -> Result<Answer, OcspError> {
        // The issuer's own certificate may write its name in another string type.
        let own_name = self.issuer.subject_name().to_der()?;
        let names = [name_hash(&self.issuer_name)?, name_hash(&own_name)?];
        let key = key_hash(&self.issuer.to_der()?)?;
        let mut responses = Reader::new(responses);
        while !responses.is_empty() {
            let single = responses.expect(tag::SEQUENCE, "a SingleResponse")?;
            let mut single = Reader::new(single);
            let mut id = Reader::new(single.expect(tag::SEQUENCE, "certID")?);
            let mut algorithm = Reader::new(id.expect(tag::SEQUENCE, "hashAlgorithm")?);
            let is_sha1 = algorithm.expect(tag::OBJECT, "hashAlgorithm")? == SHA1;
            let name = id.expect(tag::OCTET_STRING, "issuerNameHash")?;
            let of_name = names.iter().any(|known| known == name);
            let of_key = id.expect(tag::OCTET_STRING, "issuerKeyHash")? == key;
            let serial = minimal(id.expect(tag::INTEGER, "serialNumber")?);
            let (status, _) = single.any()?;
            let this_update_sec = time(&mut single, "thisUpdate")?;
            let next_update_sec = match single.optional(tag::CONTEXT_0)? {
                Some(content) => Some(time(&mut Reader::new(content), "nextUpdate")?),
                None => None,
            };
            if let Some(content) = single.optional(0xa1)? {
                all_understood(content)?;
            }
            single.end("bytes follow a SingleResponse")?;
            if !(is_sha1 && of_name && of_key && serial == self.serial.bytes()) {
                continue;
            }
            let said = match status {
                0x80 => CertStatus::Good,
                0xa1 => CertStatus::Revoked,
                0x82 => CertStatus::Unknown,
                _ => return Err(OcspError::Malformed("certStatus".into())),
            };
            return dated(said, this_update_sec, next_update_sec, now_sec);
        }
        Err(OcspError::Another)
    }
}

fn time(reader: &mut Reader<'_>, what: &'static str) -> Result<i64, OcspError> {
    reader
        .time()?
        .ok_or_else(|| OcspError::Malformed(what.into()))
}

/// How long an answer holds (§3.2).
fn dated(
    said: CertStatus,
    this_update_sec: i64,
    next_update_sec: Option<i64>,
    now_sec: i64,
) -> Result<Answer, OcspError> {
    let seconds = |time: std::time::Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    if this_update_sec > now_sec.saturating_add(seconds(CLOCK_SKEW)) {
        return Err(OcspError::NotYetValid);
    }
    // Without nextUpdate newer answers are always to be had: it is one of this moment or none.
    let undated = this_update_sec.saturating_add(seconds(OCSP_UNDATED));
    let until_sec = next_update_sec.unwrap_or(undated);
    // What is revoked stays so, however old the answer that says it.
    if until_sec < now_sec && said != CertStatus::Revoked {
        return Err(OcspError::Expired);
    }
    let half = until_sec.saturating_sub(now_sec) / 2;
    let again = half.min(seconds(OCSP_AGAIN)).max(1);
    Ok(Answer {
        said,
        this_update_sec,
        until_sec,
        again_sec: now_sec.saturating_add(again),
    })
}

/// A BasicOCSPResponse (§4.2.1), before its signature is checked.
struct Signed<'d> {
    /// The bytes that were signed.
    signed: &'d [u8],
    signature: &'d [u8],
    algorithm: Algorithm,
    data: Data<'d>,
    certificates: &'d [u8],
}

impl<'d> Signed<'d> {
    fn read(der: &'d [u8]) -> Result<Self, OcspError> {
        let mut outer = Reader::new(basic(der)?);
        let content = outer.expect(tag::SEQUENCE, "BasicOCSPResponse")?;
        outer.end("bytes follow BasicOCSPResponse")?;
        let mut basic = Reader::new(content);
        let (signed, data) = basic.whole(tag::SEQUENCE, "tbsResponseData")?;
        let algorithm = Algorithm::read(basic.expect(tag::SEQUENCE, "signatureAlgorithm")?)?;
        let bits = basic.expect(tag::BIT_STRING, "signature")?;
        let certificates = basic.optional(tag::CONTEXT_0)?.unwrap_or_default();
        basic.end("bytes follow the certificates")?;
        let Some((0, signature)) = bits.split_first() else {
            return Err(OcspError::Malformed(
                "the signature is no whole bytes".into(),
            ));
        };
        Ok(Self {
            signed,
            signature,
            algorithm: algorithm.ok_or(OcspError::Algorithm)?,
            data: Data::read(data)?,
            certificates,
        })
    }
}

/// The BasicOCSPResponse in an OCSPResponse.
fn basic(der: &[u8]) -> Result<&[u8], OcspError> {
    let mut outer = Reader::new(der);
    let content = outer.expect(tag::SEQUENCE, "it is no SEQUENCE")?;
    outer.end("bytes follow it")?;
    let mut response = Reader::new(content);
    match response.expect(tag::ENUMERATED, "responseStatus")? {
        [0] => {}
        [1] => return Err(OcspError::Refused("malformedRequest")),
        [2] => return Err(OcspError::Refused("internalError")),
        [3] => return Err(OcspError::Refused("tryLater")),
        [5] => return Err(OcspError::Refused("sigRequired")),
        [6] => return Err(OcspError::Refused("unauthorized")),
        _ => return Err(OcspError::Malformed("responseStatus".into())),
    }
    let bytes = response.expect(tag::CONTEXT_0, "responseBytes")?;
    response.end("bytes follow responseBytes")?;
    let mut bytes = Reader::new(bytes);
    let mut bytes = Reader::new(bytes.expect(tag::SEQUENCE, "responseBytes")?);
    if bytes.expect(tag::OBJECT, "responseType")? != BASIC {
        return Err(OcspError::Malformed(
            "its type is not id-pkix-ocsp-basic".into(),
        ));
    }
    let basic = bytes.expect(tag::OCTET_STRING, "response")?;
    bytes.end("bytes follow the response")?;
    Ok(basic)
}

/// Refuses what is critical and not understood; nothing here is.
fn all_understood(content: &[u8]) -> Result<(), OcspError> {
    let mut outer = Reader::new(content);
    let list = outer.expect(tag::SEQUENCE, "extensions")?;
    extensions(list, |_, critical, _| {
        if critical {
            Err(OcspError::Critical)
        } else {
            Ok(())
        }
    })?;
    Ok(())
}

/// Who says when what of whom: ResponseData.
struct Data<'d> {
    /// The DER of a name, or the hash of a key.
    responder: Result<&'d [u8], &'d [u8]>,
    responses: &'d [u8],
    nonce: Option<&'d [u8]>,
}

impl<'d> Data<'d> {
    fn read(content: &'d [u8]) -> Result<Self, OcspError> {
        let mut data = Reader::new(content);
        if let Some(version) = data.optional(tag::CONTEXT_0)?
            && Reader::new(version).expect(tag::INTEGER, "version")? != [0]
        {
            return Err(OcspError::Malformed("version".into()));
        }
        let responder = match data.any()? {
            (0xa1, name) => Ok(name),
            (0xa2, key) => Err(Reader::new(key).expect(tag::OCTET_STRING, "responderID")?),
            _ => return Err(OcspError::Malformed("responderID".into())),
        };
        time(&mut data, "producedAt")?;
        let responses = data.expect(tag::SEQUENCE, "responses")?;
        let mut nonce = None;
        if let Some(content) = data.optional(0xa1)? {
            let mut outer = Reader::new(content);
            let list = outer.expect(tag::SEQUENCE, "extensions")?;
            extensions(list, |object, critical, value| match object {
                NONCE => {
                    nonce = Some(Reader::new(value).expect(tag::OCTET_STRING, "nonce")?);
                    Ok(())
                }
                _ if critical => Err(OcspError::Critical),
                _ => Ok(()),
            })?;
        }
        data.end("bytes follow responseExtensions")?;
        Ok(Self {
            responder,
            responses,
            nonce,
        })
    }

    /// Whether it says that this certificate's key has signed it.
    fn is_by(&self, certificate: &X509Ref) -> Result<bool, OcspError> {
        Ok(match self.responder {
            Ok(name) => {
                canonical_name(&certificate.subject_name().to_der()?)? == canonical_name(name)?
            }
            Err(key) => key_hash(&certificate.to_der()?)? == key,
        })
    }
}
