//! How certificates of a CA are revoked: its revocation lists, its OCSP responder, and the serials
//! revoked here.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use boring::x509::X509;
use serde::{Deserialize, Serialize};

use crate::model::hex::unhex;
use crate::model::id::Uuid;
use crate::model::moment::Moment;
use crate::model::source_url::SourceUrl;
use tls::{Crl, CrlPolicy, Denied, Serial};

/// What is asked of an uploaded CA's revocation lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrlSettings {
    /// What is done when a list is wanting; `None` asks for none and uses those that are there as
    /// `hard`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<CrlPolicy>,
    /// A file on the gateway's machine that is watched for newer lists, DER or PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Where lists are fetched from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<SourceUrl>,
    /// How often at most, in seconds; [`crate::limits::CRL_FETCH_EVERY`] when nothing was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch_every_sec: Option<u32>,
}

impl CrlSettings {
    /// Whether nothing was asked.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A list, with what it takes to verify it again.
#[derive(Debug, Clone)]
pub struct HeldCrl {
    /// The list.
    pub crl: Arc<Crl>,
    /// Certificates that lead from its issuer up to the uploaded CA; none when that is its issuer.
    pub above: Vec<X509>,
}

/// The lists of one CA. A delta list and lists of other scopes stand beside the complete one.
#[derive(Debug, Clone, Default)]
pub struct CrlRecord {
    /// By their key in the store, behind the CA's id.
    pub lists: BTreeMap<Box<[u8]>, HeldCrl>,
    /// The revision that last changed them or what is asked of them.
    pub revision: u64,
}

/// What became of a file when it was last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CrlFileOutcome {
    /// All of its lists are in their places.
    Taken,
    /// What is wrong with one at least. The last good one stays.
    Refused(String),
    /// Why it cannot be read.
    Failed(String),
}

impl CrlFileOutcome {
    /// For metric labels, in the order of [`CrlFileStatus::counts`].
    pub const ALL: [&'static str; 3] = ["taken", "refused", "failed"];

    /// The stable text.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        let [taken, refused, failed] = Self::ALL;
        match self {
            Self::Taken => taken,
            Self::Refused(_) => refused,
            Self::Failed(_) => failed,
        }
    }

    /// What went wrong, in words.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Taken => None,
            Self::Refused(why) | Self::Failed(why) => Some(why),
        }
    }
}

/// One watched file, for people and metrics.
#[derive(Debug, Clone)]
pub struct CrlFileStatus {
    /// The CA.
    pub authority: Uuid,
    /// The file.
    pub file: PathBuf,
    /// What became of it when it was last read.
    pub last: CrlFileOutcome,
    /// Readings by outcome.
    pub counts: [u64; 3],
}

/// What became of each CA's file.
#[derive(Debug, Default)]
pub(crate) struct CrlFileOutcomes(pub(crate) BTreeMap<Uuid, CrlFileStatus>);

/// Whom to ask about a CA's client certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OcspSettings {
    /// The responder.
    pub url: SourceUrl,
    /// What is done with a client of whom it says nothing.
    pub policy: CrlPolicy,
    /// Whether answers must carry the nonce of their question, which no cached answer does.
    #[serde(default)]
    pub nonce: bool,
}

/// A certificate that is not believed, although its CA has published nothing: known by its issuer's
/// name and its serial number, which its holder cannot vary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeniedCertificate {
    /// Its issuer's name, for people.
    pub issuer: String,
    /// [`tls::issuer_digest`] of that name, in lower-case hex.
    pub issuer_sha256: String,
    /// Upper-case hex; `-` in front of a negative one.
    pub serial_number: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Since when.
    #[serde(with = "moment_text")]
    pub denied_on: Moment,
}

/// A time as documents write it.
mod moment_text {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::model::moment::Moment;

    pub(super) fn serialize<S: Serializer>(
        moment: &Moment,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(moment)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Moment, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wanted = "a time as in 2026-01-31T12:00:00Z is expected";
        Moment::parse(&text).ok_or_else(|| D::Error::custom(wanted))
    }
}

impl DeniedCertificate {
    /// As the verifier compares it; `None` when it is none.
    pub(crate) fn key(&self) -> Option<Denied> {
        Some(Denied {
            issuer: unhex(&self.issuer_sha256)?,
            serial: Serial::parse(&self.serial_number)?,
        })
    }

    /// What a URL calls it: the serial number, and the beginning of the issuer's digest.
    #[must_use]
    pub fn id(&self) -> String {
        let issuer = self.issuer_sha256.get(..16).unwrap_or_default();
        format!("{}.{issuer}", self.serial_number)
    }
}

/// The revoked serials of one CA.
#[derive(Debug, Clone, Default)]
pub struct Revoked {
    /// Big-endian, without leading zeros.
    pub serials: Arc<HashSet<Box<[u8]>>>,
    /// The revision that last changed them; tells compiled trust whether it is current.
    pub revision: u64,
}
