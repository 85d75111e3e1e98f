//! Whom one edge of a fleet alone does not believe, because the fleet could not be asked.

use serde::{Deserialize, Serialize};

use crate::model::hex::unhex_any;
use crate::model::id::{Id, Uuid};
use crate::model::moment::Moment;
use crate::model::revocation::DeniedCertificate;
use crate::model::revocation_reason::RevocationReason;

/// What holds on this edge alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AloneEntry {
    /// Since when.
    pub at: Moment,
    /// Who has said so.
    pub actor: String,
    /// What.
    pub what: AloneWhat,
}

/// Whom this edge does not believe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AloneWhat {
    /// A client certificate of a managed CA.
    Revoked {
        /// Its zone.
        zone: Id,
        /// Its id.
        certificate: Uuid,
        /// Its CA.
        authority: Uuid,
        /// Its serial number, in hexadecimal digits.
        serial: String,
        /// What the CA's list will say.
        reason: RevocationReason,
    },
    /// A certificate of an uploaded CA.
    Denied {
        /// The CA.
        authority: Uuid,
        /// Which one.
        denied: DeniedCertificate,
    },
}

impl AloneWhat {
    /// Whether it means the same certificate.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Revoked { certificate, .. },
                Self::Revoked {
                    certificate: of, ..
                },
            ) => certificate == of,
            (
                Self::Denied { authority, denied },
                Self::Denied {
                    authority: of,
                    denied: other,
                },
            ) => authority == of && denied.key() == other.key(),
            _ => false,
        }
    }
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct Alone {
    /// The first one first.
    pub entries: Vec<AloneEntry>,
    /// Another one after each change; tells compiled trust whether it is current.
    generation: u64,
}

impl Alone {
    /// With these entries, as a store has them.
    pub(crate) fn of(entries: Vec<AloneEntry>) -> Self {
        Self {
            entries,
            generation: 1,
        }
    }

    /// Another one with these entries.
    pub(crate) fn with(&self, entries: Vec<AloneEntry>) -> Self {
        Self {
            entries,
            generation: self.generation + 1,
        }
    }

    /// What tells whether trust in a CA that was compiled before is current; 0 when nothing is said of it.
    pub(crate) fn generation_of(&self, authority: Uuid) -> u64 {
        let says = |entry: &AloneEntry| match &entry.what {
            AloneWhat::Revoked { authority: of, .. } | AloneWhat::Denied { authority: of, .. } => {
                *of == authority
            }
        };
        if self.entries.iter().any(says) {
            self.generation
        } else {
            0
        }
    }

    /// The serials of a managed CA's certificates that are revoked here.
    pub(crate) fn revoked(&self, authority: Uuid) -> impl Iterator<Item = Box<[u8]>> {
        self.entries
            .iter()
            .filter_map(move |entry| match &entry.what {
                AloneWhat::Revoked {
                    authority: of,
                    serial,
                    ..
                } if *of == authority => unhex_any(serial).map(Into::into),
                _ => None,
            })
    }

    /// The certificates of an uploaded CA that are denied here.
    pub(crate) fn denied(&self, authority: Uuid) -> impl Iterator<Item = &DeniedCertificate> {
        self.entries
            .iter()
            .filter_map(move |entry| match &entry.what {
                AloneWhat::Denied {
                    authority: of,
                    denied,
                } if *of == authority => Some(denied),
                _ => None,
            })
    }
}
