//! Revocation lists of uploaded CAs: taken in, removed, configured.
//!
//! Owns that a list never goes back to an older number. What a list must be to be trusted is
//! [`tls::Crl`]'s; the last good one stays until a better one comes.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use crate::change::error::{ChangeError, Noun};
use crate::change::{Changes, Control, Reads};
use crate::limits::{
    CRL_FETCH_EVERY_MAX_SEC, CRL_FILE_PATH_BYTES_MAX, CRL_URLS_MAX, CRLS_OF_CA_MAX,
};
use crate::model::hex::hex;
use crate::model::id::Uuid;
use crate::model::moment::Moment;
use crate::model::revocation::CrlSettings;
use crate::model::source_url::SourceUrl;
use crate::model::{Authority, AuthorityKind, Model};
use crate::pki::uploaded_crl::{self, der_of};
use tls::limits::CLOCK_SKEW;
use tls::{Crl, CrlPolicy};

/// What is to change of [`CrlSettings`], as the API is asked for it. Absent leaves as it is, `null`
/// takes away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CrlPatch {
    /// What is done when a list is wanting.
    #[serde(deserialize_with = "present")]
    pub policy: Option<Option<CrlPolicy>>,
    /// A file that is watched.
    #[serde(deserialize_with = "present")]
    pub file: Option<Option<PathBuf>>,
    /// Where lists are fetched from; replaces all.
    #[serde(deserialize_with = "all")]
    pub urls: Option<Vec<String>>,
    /// How often at most, in seconds.
    #[serde(rename = "fetch_every", deserialize_with = "present")]
    pub fetch_every_sec: Option<Option<u32>>,
}

/// Tells what is `null` from what is absent.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// `null` is an empty list, absent is none.
fn all<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    let given = Option::<Vec<String>>::deserialize(deserializer)?;
    Ok(Some(given.unwrap_or_default()))
}

impl From<&CrlSettings> for CrlPatch {
    /// Changes everything to these settings.
    fn from(settings: &CrlSettings) -> Self {
        Self {
            policy: Some(settings.policy),
            file: Some(settings.file.clone()),
            urls: Some(settings.urls.iter().map(SourceUrl::to_string).collect()),
            fetch_every_sec: Some(settings.fetch_every_sec),
        }
    }
}

/// One list, for people and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlStatus {
    /// Its CA.
    pub authority: Uuid,
    /// Its number in hex; empty when its issuer numbers none.
    pub number: String,
    /// Whether it is a delta list.
    pub delta: bool,
    /// Seconds since the epoch.
    pub this_update: i64,
    /// Seconds since the epoch.
    pub next_update: i64,
    /// Entries.
    pub entries: usize,
    /// Bytes of memory that they take.
    pub bytes: usize,
}

fn status(authority: Uuid, crl: &Crl) -> CrlStatus {
    CrlStatus {
        authority,
        number: uploaded_crl::number(crl),
        delta: crl.base.is_some(),
        this_update: crl.this_update_sec,
        next_update: crl.next_update_sec,
        entries: crl.len(),
        bytes: crl.bytes(),
    }
}

/// Reads the URLs of a CA, each once.
fn sources(texts: &[String]) -> Result<Vec<SourceUrl>, ChangeError> {
    if texts.len() > CRL_URLS_MAX {
        return Err(ChangeError::Full {
            what: "URLs of a CA's revocation lists",
            max: CRL_URLS_MAX,
        });
    }
    let mut urls = Vec::with_capacity(texts.len());
    for text in texts {
        let url =
            SourceUrl::parse(text).map_err(|why| ChangeError::invalid("urls", why.to_string()))?;
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    Ok(urls)
}

pub(crate) fn uploaded(model: &Model, id: Uuid) -> Result<Authority, ChangeError> {
    let found = model.authorities.get(&id).map(|found| (**found).clone());
    found
        .filter(|found| matches!(found.kind, AuthorityKind::Uploaded))
        .ok_or_else(|| ChangeError::not_found(Noun::Authority, id))
}

/// Where a list was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CrlSource {
    /// An administrator sent it.
    Upload,
    /// The file that the CA names.
    File(PathBuf),
    /// A URL that the CA names.
    Url(SourceUrl),
}

impl CrlSource {
    fn check(&self, authority: &Authority) -> Result<(), ChangeError> {
        let is_named = match self {
            Self::Upload => true,
            Self::File(file) => authority.crl.file.as_ref() == Some(file),
            Self::Url(url) => authority.crl.urls.contains(url),
        };
        if is_named {
            return Ok(());
        }
        let why = "the CA's lists were taken from elsewhere while this one was read";
        Err(ChangeError::invalid("crl", why))
    }
}

impl<A: Changes> Control<A> {
    /// Takes a list, DER or PEM, of an uploaded CA. In effect when this returns.
    ///
    /// # Errors
    /// It is not to be believed, is from the future, or is older than the one in its place.
    pub fn put_crl(&self, id: Uuid, bytes: &[u8]) -> Result<CrlStatus, ChangeError> {
        self.put_crl_from(id, &CrlSource::Upload, bytes)
    }

    /// As [`Control::put_crl`], when the CA still takes its lists from where this one was read.
    ///
    /// # Errors
    /// As there; the CA's lists come from elsewhere now.
    pub fn put_crl_from(
        &self,
        id: Uuid,
        from: &CrlSource,
        bytes: &[u8],
    ) -> Result<CrlStatus, ChangeError> {
        let der = der_of(bytes)?;
        let basis = |model: &Model| Ok(uploaded(model, id)?.certificate);
        // Reading half a million entries holds up no other change.
        let read = |certificate: &String| Ok(Arc::new(uploaded_crl::read(certificate, &der)?));
        self.change_prepared(basis, read, |draft, _, crl| {
            from.check(&uploaded(&draft.model, id)?)?;
            let key = uploaded_crl::key(&crl)?;
            if crl.this_update_sec > draft.now.seconds() + CLOCK_SKEW_SEC {
                let at = Moment::from_seconds(crl.this_update_sec).to_second();
                let why = format!("it begins at {at}, which has not come");
                return Err(ChangeError::invalid("crl", why));
            }
            let known = draft.model.crls.get(&id);
            if let Some(old) = known.and_then(|known| known.lists.get(&key)) {
                if old.number == crl.number && old.this_update_sec == crl.this_update_sec {
                    return Ok(status(id, old));
                }
                if !crl.is_newer_than(old) {
                    let why = match (&crl.number, &old.number) {
                        (Some(new), Some(old)) => format!(
                            "its number {} is not above {}, the number of the list that is there",
                            hex(new),
                            hex(old)
                        ),
                        _ => "its thisUpdate is not after that of the list that is there".into(),
                    };
                    return Err(ChangeError::invalid("crl", why));
                }
            } else if known.is_some_and(|known| known.lists.len() >= CRLS_OF_CA_MAX) {
                return Err(ChangeError::Full {
                    what: "revocation lists of a CA",
                    max: CRLS_OF_CA_MAX,
                });
            }
            draft.put_crl(id, key.clone(), &der, crl.clone());
            Ok(status(id, &crl))
        })
    }

    /// Removes all lists of an uploaded CA. What is asked of them stays.
    ///
    /// # Errors
    /// There is no such CA, or the store cannot be read.
    pub fn remove_crls(&self, id: Uuid) -> Result<(), ChangeError> {
        self.change(|draft| {
            uploaded(&draft.model, id)?;
            Ok(draft.remove_crls(id)?)
        })
    }

    /// Changes what is asked of an uploaded CA's lists.
    ///
    /// # Errors
    /// There is no such CA, the path of the file is not absolute, or a URL is none that is
    /// fetched from.
    pub fn set_crl(&self, id: Uuid, patch: CrlPatch) -> Result<Arc<Authority>, ChangeError> {
        self.change(|draft| {
            let mut authority = uploaded(&draft.model, id)?;
            if let Some(policy) = patch.policy {
                authority.crl.policy = policy;
            }
            if let Some(file) = patch.file {
                let wrong = file.as_ref().is_some_and(|file| {
                    !file.is_absolute() || file.as_os_str().len() > CRL_FILE_PATH_BYTES_MAX
                });
                if wrong {
                    let why = "expected an absolute path on the gateway's machine";
                    return Err(ChangeError::invalid("crl_file", why));
                }
                authority.crl.file = file;
            }
            if let Some(urls) = &patch.urls {
                authority.crl.urls = sources(urls)?;
            }
            if let Some(every) = patch.fetch_every_sec {
                if every.is_some_and(|every| !(1..=CRL_FETCH_EVERY_MAX_SEC).contains(&every)) {
                    let why = format!("expected 1 to {CRL_FETCH_EVERY_MAX_SEC} seconds");
                    return Err(ChangeError::invalid("fetch_every", why));
                }
                authority.crl.fetch_every_sec = every;
            }
            draft.put_authority(authority.clone());
            draft.crl_changes(id);
            Ok(Arc::new(authority))
        })
    }
}

impl<A: Reads> Control<A> {
    /// Every list that is kept.
    #[must_use]
    pub fn crls(&self) -> Vec<CrlStatus> {
        let model = self.model();
        let records = model.crls.iter();
        records
            .flat_map(|(id, record)| record.lists.values().map(|crl| status(*id, crl)))
            .collect()
    }
}

/// Seconds by which a list may be ahead of this machine's clock.
#[expect(clippy::cast_possible_wrap, reason = "a minute")]
const CLOCK_SKEW_SEC: i64 = CLOCK_SKEW.as_secs() as i64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_tells_null_from_absent() {
        let read = |text: &str| serde_json::from_str::<CrlPatch>(text);
        assert_eq!(read("{}").unwrap(), CrlPatch::default());
        let taken = CrlPatch {
            policy: Some(None),
            file: Some(None),
            urls: Some(Vec::new()),
            fetch_every_sec: Some(None),
        };
        let nulls = r#"{"policy":null,"file":null,"urls":null,"fetch_every":null}"#;
        assert_eq!(read(nulls).unwrap(), taken);
        let patch = read(r#"{"policy":"soft","fetch_every":60}"#).unwrap();
        assert_eq!(patch.policy, Some(Some(CrlPolicy::Soft)));
        assert_eq!(patch.fetch_every_sec, Some(Some(60)));
        assert!(read(r#"{"fetch_every_sec":60}"#).is_err());
    }
}
