//! Revocation lists of uploaded CAs: taken in, removed, configured.
//!
//! Owns that a list never goes back to an older one, nor gives way to one that has expired, unless an
//! administrator forces it. What a list must be to be trusted is
//! [`tls::Crl`]'s; the last good one stays until a better one comes.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use crate::change::draft::Draft;
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
use crate::pki::uploaded_crl::{self, Incoming};
use crate::pki::x509::X509Error;
use tls::limits::CLOCK_SKEW;
use tls::{Crl, CrlPolicy};

/// What is to change of [`CrlSettings`], as the API is asked for it. Absent leaves as it is, `null`
/// takes away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CrlPatch {
    /// What is done when a list is wanting.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub policy: Option<Option<CrlPolicy>>,
    /// A file that is watched.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub file: Option<Option<PathBuf>>,
    /// Where lists are fetched from; replaces all.
    #[serde(deserialize_with = "all", skip_serializing_if = "Option::is_none")]
    pub urls: Option<Vec<String>>,
    /// How often at most, in seconds.
    #[serde(
        rename = "fetch_every",
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub fetch_every_sec: Option<Option<u32>>,
}

impl CrlPatch {
    /// Whether it changes something of these settings.
    pub(crate) fn changes(&self, settings: &CrlSettings) -> bool {
        let now = Self::from(settings);
        let wanted = self.clone();
        let after = Self {
            policy: wanted.policy.or(now.policy),
            file: wanted.file.or_else(|| now.file.clone()),
            urls: wanted.urls.or_else(|| now.urls.clone()),
            fetch_every_sec: wanted.fetch_every_sec.or(now.fetch_every_sec),
        };
        after != now
    }
}

/// Tells what is `null` from what is absent.
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
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

/// What became of the lists of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CrlsPut {
    /// Those that are in their places now, whether they are new or were there.
    pub lists: Vec<CrlStatus>,
    /// How many of them are new.
    pub taken: usize,
    /// What is wrong with others; always empty for [`CrlSource::Upload`].
    pub refused: Vec<String>,
}

/// One list, for people and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlStatus {
    /// Its CA.
    pub authority: Uuid,
    /// What it is told apart from the CA's other lists by: sixteen digits of hex.
    pub place: String,
    /// The CA that signed it: the uploaded one, or one below it.
    pub issuer: String,
    /// What should be known of it, in sentences.
    pub warnings: Vec<String>,
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

fn status(authority: Uuid, key: &[u8], crl: &Crl) -> CrlStatus {
    CrlStatus {
        authority,
        place: uploaded_crl::short(key),
        issuer: crl.issuer_name.to_string(),
        warnings: warnings(crl),
        number: uploaded_crl::number(crl),
        delta: crl.base.is_some(),
        this_update: crl.this_update_sec,
        next_update: crl.next_update_sec,
        entries: crl.len(),
        bytes: crl.bytes(),
    }
}

/// What is odd about a list that is believed all the same.
fn warnings(crl: &Crl) -> Vec<String> {
    let mut told = Vec::new();
    if crl.number.is_none() {
        told.push(
            "it has no number (RFC 5280 §5.2.3 asks its CA for one): newer lists are known by their \
             thisUpdate"
                .into(),
        );
    }
    if crl.odd_entries > 0 {
        told.push(format!(
            "{} of its entries have serial numbers with which no certificate is believed, and are \
             left out",
            crl.odd_entries
        ));
    }
    told
}

const FORCE: &str = "`postern crl put --force` takes it all the same";

/// Why a list does not take its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum NotTaken {
    #[error("it begins at {0}, which has not come")]
    NotBegun(String),
    #[error("it expired at {0}: get a newer one of its CA; {FORCE}")]
    Expired(String),
    #[error("its number {new} is not above {old}, the number of the list that is there; {FORCE}")]
    Number { new: String, old: String },
    #[error("its thisUpdate is not after that of the list that is there; {FORCE}")]
    NotNewer,
    #[error(
        "its number is above that of the list that is there, and its thisUpdate ({new}) before \
         that list's ({old}); {FORCE}"
    )]
    Older { new: String, old: String },
}

/// Whether a list takes its place, where `old` may be; `false` when it is there already.
///
/// A list that has expired takes the place of none that has not, and an older one that of none: the
/// first would refuse all clients, the second believe some that are revoked.
fn takes_place(new: &Crl, old: Option<&Crl>, now_sec: i64, force: bool) -> Result<bool, NotTaken> {
    let date = |sec| Moment::from_seconds(sec).to_second().to_string();
    if new.this_update_sec > now_sec + CLOCK_SKEW_SEC {
        return Err(NotTaken::NotBegun(date(new.this_update_sec)));
    }
    let is_there =
        |old: &Crl| new.number == old.number && new.this_update_sec == old.this_update_sec;
    if old.is_some_and(is_there) {
        return Ok(false);
    }
    let has_ended = |crl: &Crl| crl.next_update_sec < now_sec;
    if !force && has_ended(new) && !old.is_some_and(has_ended) {
        return Err(NotTaken::Expired(date(new.next_update_sec)));
    }
    if let Some(old) = old {
        if !force && !new.is_newer_than(old) {
            return Err(match (&new.number, &old.number) {
                (Some(new), Some(old)) => NotTaken::Number {
                    new: hex(new),
                    old: hex(old),
                },
                _ => NotTaken::NotNewer,
            });
        }
        if !force && new.this_update_sec < old.this_update_sec {
            return Err(NotTaken::Older {
                new: date(new.this_update_sec),
                old: date(old.this_update_sec),
            });
        }
    }
    Ok(true)
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

/// Puts one list of a file into its place: what is there now, and whether it is new. `None` when the
/// file has a newer one of that place.
fn put_one(
    draft: &mut Draft<'_>,
    id: Uuid,
    list: &Incoming,
    file: &[Incoming],
    force: bool,
) -> Result<Option<(CrlStatus, bool)>, ChangeError> {
    let crl = &list.held.crl;
    let is_passed = |other: &Incoming| {
        let other = &other.held.crl;
        other.is_of_the_place_of(crl) && other.is_newer_than(crl)
    };
    if file.iter().any(is_passed) {
        return Ok(None);
    }
    let known = draft.model.crls.get(&id);
    let mut lists = known.into_iter().flat_map(|known| &known.lists);
    let old = lists.find(|(_, old)| old.crl.is_of_the_place_of(crl));
    let key = match old {
        Some((key, _)) => key.clone(),
        None => uploaded_crl::key(crl)?,
    };
    let old = old.map(|(_, old)| old.crl.clone());
    let takes = takes_place(crl, old.as_deref(), draft.now.seconds(), force);
    let takes = takes.map_err(|why| {
        ChangeError::invalid("crl", format!("the list of {}: {why}", crl.issuer_name))
    })?;
    if !takes {
        let there = old.as_ref().unwrap_or(crl);
        return Ok(Some((status(id, &key, there), false)));
    }
    if old.is_none() && known.is_some_and(|known| known.lists.len() >= CRLS_OF_CA_MAX) {
        return Err(ChangeError::Full {
            what: "revocation lists of a CA",
            max: CRLS_OF_CA_MAX,
        });
    }
    draft.put_crl(id, key.clone(), list);
    Ok(Some((status(id, &key, crl), true)))
}

impl<A: Changes> Control<A> {
    /// Takes the lists of a file, DER or PEM, of an uploaded CA and of issuing CAs below it, whose
    /// certificates come along, when the CA still takes its lists from there. In effect when this
    /// returns. `force` takes lists that have expired, or are older than those in their places.
    ///
    /// Of an upload all lists are taken or none. Of a file or a URL that is read without anybody
    /// looking, what is wrong with one list costs no other.
    ///
    /// # Errors
    /// A list is not to be believed, is from the future, or, unless it is forced, has expired or is
    /// older than the one in its place; the CA's lists come from elsewhere now.
    pub fn put_crls(
        &self,
        id: Uuid,
        from: &CrlSource,
        bytes: &[u8],
        force: bool,
    ) -> Result<CrlsPut, ChangeError> {
        let each = *from != CrlSource::Upload;
        let basis = |model: &Model| {
            let held = model.crls.get(&id).into_iter();
            let held = held.flat_map(|held| held.lists.values());
            let known = held.flat_map(|one| &one.above).map(|one| one.to_der());
            let known = known.collect::<Result<Vec<_>, _>>();
            let known = known.map_err(X509Error::from)?;
            Ok((uploaded(model, id)?.certificate, known))
        };
        // Reading half a million entries holds up no other change.
        let read = |(certificate, known): &(String, Vec<Vec<u8>>)| {
            let mut refused = Vec::new();
            let mut lists: Vec<Incoming> = Vec::new();
            for list in uploaded_crl::read_file(certificate, known, bytes)? {
                match list {
                    Ok(list) => lists.push(list),
                    Err(why) if each => refused.push(why.to_string()),
                    Err(why) => return Err(why.into()),
                }
            }
            Ok((lists, refused))
        };
        self.change_prepared(basis, read, |draft, _, (lists, refused)| {
            from.check(&uploaded(&draft.model, id)?)?;
            let mut put = CrlsPut {
                refused,
                ..CrlsPut::default()
            };
            for list in &lists {
                match put_one(draft, id, list, &lists, force) {
                    Ok(None) => {}
                    Ok(Some((status, is_new))) => {
                        put.taken += usize::from(is_new);
                        put.lists.push(status);
                    }
                    Err(ChangeError::Invalid { why, .. }) if each => put.refused.push(why),
                    Err(error) => return Err(error),
                }
            }
            Ok(put)
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
            .flat_map(|(id, record)| {
                let lists = record.lists.iter();
                lists.map(|(key, held)| status(*id, key, &held.crl))
            })
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
