//! OCSP responders of uploaded CAs (RFC 6960).
//!
//! Owns their settings. Asking is done by `fetch`; what an answer must be is [`tls`]'s.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::change::error::ChangeError;
use crate::change::{Changes, Control};
use crate::model::Authority;
use crate::model::id::Uuid;
use crate::model::revocation::OcspSettings;
use crate::model::source_url::SourceUrl;
use crate::operations::revocation_lists::{present, uploaded};
use tls::CrlPolicy;

/// What is to change of it. `None` leaves as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OcspPatch {
    /// `Some(None)` turns OCSP off.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub url: Option<Option<String>>,
    /// `hard` when nothing was ever said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<CrlPolicy>,
    /// Not when nothing was ever said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<bool>,
}

impl OcspPatch {
    /// Whether it changes something of these settings.
    pub(crate) fn changes(&self, settings: Option<&OcspSettings>) -> bool {
        let now = Self::from(settings);
        let wanted = self.clone();
        let after = Self {
            url: wanted.url.or_else(|| now.url.clone()),
            policy: wanted.policy.or(now.policy),
            nonce: wanted.nonce.or(now.nonce),
        };
        after != now
    }
}

impl From<Option<&OcspSettings>> for OcspPatch {
    /// Changes everything to these settings; `None` turns OCSP off.
    fn from(settings: Option<&OcspSettings>) -> Self {
        Self {
            url: Some(settings.map(|settings| settings.url.to_string())),
            policy: settings.map(|settings| settings.policy),
            nonce: settings.map(|settings| settings.nonce),
        }
    }
}

impl<A: Changes> Control<A> {
    /// Changes whom to ask about an uploaded CA's client certificates. What another responder has
    /// said is forgotten.
    ///
    /// # Errors
    /// There is no such CA, the URL is none that is asked, or there is none to change anything of.
    pub fn set_ocsp(&self, id: Uuid, patch: &OcspPatch) -> Result<Arc<Authority>, ChangeError> {
        self.change(|draft| {
            let mut authority = uploaded(&draft.model, id)?;
            let before = authority.ocsp.take();
            let url = match &patch.url {
                Some(Some(text)) => Some(
                    SourceUrl::parse(text)
                        .map_err(|why| ChangeError::invalid("url", why.to_string()))?,
                ),
                Some(None) => None,
                None => before.as_ref().map(|before| before.url.clone()),
            };
            if url.is_none() && (patch.policy.is_some() || patch.nonce.is_some()) {
                let why = "expected the URL of the CA's responder with it; there is none yet";
                return Err(ChangeError::invalid("url", why.to_string()));
            }
            // Turning OCSP off and on again changes nothing else.
            let before = before.or_else(|| authority.ocsp_before.take());
            let policy = before
                .as_ref()
                .map_or(CrlPolicy::Hard, |before| before.policy);
            let nonce = before.as_ref().is_some_and(|before| before.nonce);
            if url.is_none() {
                authority.ocsp_before = before;
            }
            authority.ocsp = url.map(|url| OcspSettings {
                url,
                policy: patch.policy.unwrap_or(policy),
                nonce: patch.nonce.unwrap_or(nonce),
            });
            draft.put_authority(authority.clone());
            draft.crl_changes(id);
            Ok(Arc::new(authority))
        })
    }
}

impl Control {
    /// Has every live connection of this process verified again, because a responder has revoked a client. What
    /// responders have answered is this process's own, so this is no change: it waits for no store and no fleet.
    ///
    /// # Errors
    /// The snapshot does not compile.
    pub fn move_trust(&self) -> Result<(), ChangeError> {
        self.shared.move_trust()
    }
}
