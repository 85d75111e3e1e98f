//! Revocation lists of uploaded CAs: taken in, kept, renewed from files, and watched for their end.
//!
//! Owns that a list never goes back to an older number, and what is said when one grows old. What
//! a list must be to be believed is [`tls::Crl`]'s to say; the last good one stays until a
//! better one comes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use boring::hash::{MessageDigest, hash};
use boring::x509::X509;
use serde::{Deserialize, Serialize};

use crate::change::Control;
use crate::change::draft::Draft;
use crate::change::error::{ChangeError, Noun};
use crate::limits::{
    CRL_ALARM, CRL_FETCH_EVERY_MAX_SEC, CRL_FILE_BYTES_MAX, CRL_FILE_PATH_BYTES_MAX, CRL_URLS_MAX,
    CRLS_OF_CA_MAX,
};
use crate::model::id::Uuid;
use crate::model::moment::Moment;
use crate::model::source_url::SourceUrl;
use crate::model::{Authority, AuthorityKind, Model};
use crate::pki::x509;
use crate::pki::x509::X509Error;
use crate::store::Table;
use tls::limits::CLOCK_SKEW;
use tls::{Crl, CrlPolicy, CrlSet, is_newer};

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

/// What is to change of them. `None` leaves as it is, `Some(None)` takes away.
#[derive(Debug, Clone, Default)]
pub struct CrlPatch {
    /// What is done when a list is wanting.
    pub policy: Option<Option<CrlPolicy>>,
    /// A file that is watched.
    pub file: Option<Option<PathBuf>>,
    /// Where lists are fetched from; `Some` replaces all.
    pub urls: Option<Vec<String>>,
    /// How often at most, in seconds.
    pub fetch_every_sec: Option<Option<u32>>,
}

/// The lists of one CA. A delta list and lists of other scopes stand beside the complete one.
#[derive(Debug, Clone, Default)]
pub struct CrlRecord {
    /// By their key in the store, behind the CA's id.
    pub lists: BTreeMap<Box<[u8]>, Arc<Crl>>,
    /// The revision that last changed them or what is asked of them.
    pub revision: u64,
}

/// What a file looked like when it was last read, to read it again only when it changed.
type FileMark = (SystemTime, u64, u64);

/// What watching files remembers.
#[derive(Debug, Default)]
pub struct CrlFiles(BTreeMap<Uuid, (PathBuf, Option<FileMark>)>);

/// One list, for people and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlStatus {
    /// Its CA.
    pub authority: Uuid,
    /// Its number in hex.
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

/// What is in a list's place: its issuer, scope, and whether it is a delta list.
pub(crate) fn key(crl: &Crl) -> Result<Box<[u8]>, ChangeError> {
    let text = format!("{:?} {}", crl.scope, crl.base.is_some());
    let bytes = [crl.issuer.as_slice(), text.as_bytes()].concat();
    let digest = hash(MessageDigest::sha256(), &bytes).map_err(X509Error::from)?;
    Ok(digest.as_ref().into())
}

/// Reads a list against the certificates of its CA.
pub(crate) fn read(authority: &Authority, der: &[u8]) -> Result<Crl, ChangeError> {
    let issuers =
        X509::stack_from_pem(authority.certificate.as_bytes()).map_err(X509Error::from)?;
    Crl::read(der, issuers.iter().map(|issuer| &**issuer))
        .map_err(|why| ChangeError::invalid("crl", why.to_string()))
}

/// The DER in what was given, which may be PEM.
fn der_of(bytes: &[u8]) -> Result<Vec<u8>, ChangeError> {
    let Some(text) = std::str::from_utf8(bytes)
        .ok()
        .filter(|text| text.contains("-----BEGIN"))
    else {
        return Ok(bytes.to_vec());
    };
    let wrong = || ChangeError::invalid("crl", "expected one PEM block `X509 CRL`, or DER");
    let (_, rest) = text
        .split_once("-----BEGIN X509 CRL-----")
        .ok_or_else(wrong)?;
    let (body, after) = rest
        .split_once("-----END X509 CRL-----")
        .ok_or_else(wrong)?;
    if after.contains("-----BEGIN") {
        return Err(wrong());
    }
    let digits: String = body.split_whitespace().collect();
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(digits)
        .map_err(|_not_base64| wrong())
}

fn status(authority: Uuid, crl: &Crl) -> CrlStatus {
    CrlStatus {
        authority,
        number: x509::hex(&crl.number),
        delta: crl.base.is_some(),
        this_update: crl.this_update_sec,
        next_update: crl.next_update_sec,
        entries: crl.len(),
        bytes: crl.bytes(),
    }
}

/// What the judge is given of a CA's lists; `None` when nobody asked for any.
pub(crate) fn compiled(model: &Model, id: Uuid) -> Option<Arc<CrlSet>> {
    let record = model.crls.get(&id);
    let settings = &model.authorities.get(&id)?.crl;
    let has_lists = record.is_some_and(|record| !record.lists.is_empty());
    let policy = match settings.policy {
        Some(policy) => policy,
        None if has_lists => CrlPolicy::Hard,
        None => return None,
    };
    let lists = record.into_iter().flat_map(|record| record.lists.values());
    Some(Arc::new(CrlSet {
        policy,
        lists: lists.cloned().collect(),
    }))
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
        let url = SourceUrl::parse(text).map_err(|why| ChangeError::invalid("urls", why))?;
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

impl Control {
    /// Takes a list, DER or PEM, of an uploaded CA. In effect when this returns.
    ///
    /// # Errors
    /// It is not to be believed, is from the future, or is older than the one in its place.
    pub fn put_crl(&self, id: Uuid, bytes: &[u8]) -> Result<CrlStatus, ChangeError> {
        let der = der_of(bytes)?;
        // Reading half a million entries holds up no other change.
        let crl = Arc::new(read(&uploaded(&self.model(), id)?, &der)?);
        let key = key(&crl)?;
        self.change(|draft| {
            uploaded(&draft.model, id)?;
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
                if !is_newer(&crl.number, &old.number) {
                    let why = format!(
                        "its number {} is not above {}, the number of the list that is there",
                        x509::hex(&crl.number),
                        x509::hex(&old.number)
                    );
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

    /// Every list that is kept.
    #[must_use]
    pub fn crls(&self) -> Vec<CrlStatus> {
        let model = self.model();
        let records = model.crls.iter();
        records
            .flat_map(|(id, record)| record.lists.values().map(|crl| status(*id, crl)))
            .collect()
    }

    /// Whether any CA has a file that is watched.
    #[must_use]
    pub fn watches_crl_files(&self) -> bool {
        let model = self.model();
        model.authorities.values().any(|ca| ca.crl.file.is_some())
    }

    /// Reads the files that changed since they were last looked at. What is wrong with one is
    /// logged once, and the list that was there stays. Blocks on files: not for workers.
    pub fn read_crl_files(&self, seen: &mut CrlFiles) {
        let model = self.model();
        let watched = model.authorities.values().filter_map(|authority| {
            let file = authority.crl.file.clone()?;
            Some((authority.id, file))
        });
        let mut now = BTreeMap::new();
        for (id, file) in watched {
            let mark = mark(&file);
            let before = seen.0.get(&id).filter(|(path, _)| *path == file);
            if before.is_none_or(|(_, known)| *known != mark) {
                self.read_crl_file(id, &file);
            }
            now.insert(id, (file, mark));
        }
        seen.0 = now;
    }

    fn read_crl_file(&self, id: Uuid, file: &std::path::Path) {
        let bytes = match read_bounded(file) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(%id, file = %file.display(), %error, "a revocation list cannot be read; the last one stays");
                return;
            }
        };
        let intent = crate::change::audit::Intent {
            actor: "revocation list file".into(),
            dry_run: false,
        };
        match self.with_intent(intent, |control| control.put_crl(id, &bytes)) {
            Ok(crl) => {
                tracing::info!(%id, file = %file.display(), number = crl.number, entries = crl.entries, "a revocation list was read");
            }
            Err(error) => {
                tracing::error!(%id, file = %file.display(), %error, "a revocation list is refused; the last one stays");
            }
        }
    }

    /// Writes a warning for every list that is old, or will be within [`CRL_ALARM`], and for every
    /// CA whose policy asks for a list and that has none.
    pub fn warn_of_crls(&self, now: Moment) {
        let model = self.model();
        let soon = now.seconds() + i64::try_from(CRL_ALARM.as_secs()).unwrap_or(i64::MAX);
        for crl in self.crls() {
            let (id, number) = (crl.authority, &crl.number);
            let due = Moment::from_seconds(crl.next_update).to_second();
            if crl.next_update < now.seconds() {
                tracing::error!(%id, number, due, "a revocation list is old: its next update is overdue");
            } else if crl.next_update < soon {
                tracing::warn!(%id, number, due, "a revocation list needs its next update");
            }
        }
        for authority in model.authorities.values() {
            let none = model
                .crls
                .get(&authority.id)
                .is_none_or(|record| record.lists.is_empty());
            if authority.crl.policy.is_some() && none {
                let id = authority.id;
                tracing::error!(%id, "a CA whose policy asks for a revocation list has none");
            }
        }
    }
}

/// Seconds by which a list may be ahead of this machine's clock.
#[expect(clippy::cast_possible_wrap, reason = "a minute")]
const CLOCK_SKEW_SEC: i64 = CLOCK_SKEW.as_secs() as i64;

fn mark(file: &std::path::Path) -> Option<FileMark> {
    use std::os::unix::fs::MetadataExt as _;
    let found = std::fs::metadata(file).ok()?;
    Some((found.modified().ok()?, found.len(), found.ino()))
}

fn read_bounded(file: &std::path::Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(file)?;
    file.take(CRL_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > CRL_FILE_BYTES_MAX {
        return Err(std::io::Error::other("it is larger than any list may be"));
    }
    Ok(bytes)
}

impl Draft<'_> {
    /// Puts a list into its place.
    fn put_crl(&mut self, id: Uuid, key: Box<[u8]>, der: &[u8], crl: Arc<Crl>) {
        self.write(
            Table::Crls,
            [id.as_bytes().as_slice(), &key].concat(),
            Some(der.to_vec()),
        );
        let told = serde_json::json!({
            "number": x509::hex(&crl.number), "delta": crl.base.is_some(), "entries": crl.len(),
        });
        self.note(
            Noun::Authority,
            format!("{id}: revocation list"),
            None,
            Some(&told),
        );
        let crls = Arc::make_mut(&mut self.model.crls);
        crls.entry(id).or_default().lists.insert(key, crl);
        self.crl_changes(id);
    }

    /// Removes all lists of a CA.
    pub(crate) fn remove_crls(&mut self, id: Uuid) -> Result<(), crate::store::StoreError> {
        if Arc::make_mut(&mut self.model.crls).remove(&id).is_some() {
            self.remove_all(Table::Crls, id.as_bytes())?;
            let told = serde_json::json!("all of them");
            let of = format!("{id}: revocation lists");
            self.note(Noun::Authority, of, Some(&told), None);
            self.crl_changes(id);
        }
        Ok(())
    }

    /// What is compiled of a CA's lists is no longer current.
    pub(crate) fn crl_changes(&mut self, id: Uuid) {
        self.trust_moves();
        let revision = self.model.revision;
        let crls = Arc::make_mut(&mut self.model.crls);
        crls.entry(id).or_default().revision = revision;
    }
}
