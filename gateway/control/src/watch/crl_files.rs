//! Writes the managed CAs' revocation lists to files, for other verifiers of their clients: nginx's
//! `ssl_crl`, `openssl verify -crl_check`, a web server that is a distribution point.
//!
//! | file in `crl.directory` | what it is |
//! |---|---|
//! | `CA-ID.crl` | one CA's list in DER (RFC 2585 §3) |
//! | `ZONE.crl.pem` | the lists of all managed CAs of a zone in PEM, the issuing one's first |
//!
//! A file is written anew when something was revoked or restored, and [`CRL_FILE_EVERY`] after the
//! last time, long before its list's next update. It is replaced whole. Owns when and how; what is
//! in a list is [`crate::pki::crl`]'s.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::change::Control;
use crate::change::error::ChangeError;
use crate::limits::{CRL_FILE_EVERY, CRL_FILE_RETRY};
use crate::model::Model;
use crate::model::id::{Id, Uuid};
use crate::model::moment::Moment;
use crate::store::sync_directory;
use tls::pem;

/// Why the files of a zone were not written.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error(transparent)]
    List(#[from] ChangeError),
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
}

/// A zone's managed CAs, the issuing one first, each with the revision of its revocations.
#[derive(Debug, PartialEq, Eq)]
struct Contents {
    lineage: u64,
    authorities: Vec<(Uuid, u64)>,
}

/// What was written of one zone.
#[derive(Debug)]
struct Written {
    /// `None` after a failure.
    contents: Option<Contents>,
    files: BTreeSet<PathBuf>,
    /// When it is written again although nothing has changed.
    due_sec: i64,
}

/// A directory of lists, and what is known to be in it.
#[derive(Debug)]
pub struct CrlDirectory {
    path: PathBuf,
    zones: BTreeMap<Id, Written>,
    /// The model's lineage and revision when it was last looked at, and when to look although they are the same.
    looked: Option<((u64, u64), i64)>,
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

fn contents(model: &Model, zone: Id) -> Contents {
    let revision = |id| model.revoked.get(id).map_or(0, |revoked| revoked.revision);
    let managed = model.managed(zone);
    Contents {
        lineage: model.lineage,
        authorities: managed.iter().map(|ca| (ca.id, revision(&ca.id))).collect(),
    }
}

/// Tells a model from every other one that this process has had.
fn version(model: &Model) -> (u64, u64) {
    (model.lineage, model.revision)
}

impl CrlDirectory {
    /// Nothing is written yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            zones: BTreeMap::new(),
            looked: None,
        }
    }

    /// Whether there may be something to write; cheap when there is not.
    #[must_use]
    pub fn is_due(&self, control: &Control, now: Moment) -> bool {
        let now_has = version(&control.model());
        self.looked
            .is_none_or(|(looked, due)| looked != now_has || due <= now.seconds())
    }

    /// Brings the files up to date. What cannot be written is told in the log and tried again after
    /// [`CRL_FILE_RETRY`]; the file that was there stays. Blocks on the disk: not for workers.
    pub fn publish(&mut self, control: &Control, now: Moment) {
        let model = control.model();
        let (every, retry) = (seconds(CRL_FILE_EVERY), seconds(CRL_FILE_RETRY));
        for zone in model.zones.values() {
            let wanted = contents(&model, zone.id);
            let known = self.zones.get(&zone.id);
            let is_current = known.is_some_and(|known| {
                let same = known.contents.as_ref() == Some(&wanted);
                (same || known.contents.is_none()) && now.seconds() < known.due_sec
            });
            if is_current {
                continue;
            }
            let before = self.zones.remove(&zone.id);
            let old = before.map(|known| known.files).unwrap_or_default();
            let done = self.write(control, zone.id, zone.name.as_str(), &wanted);
            let written = match done {
                Ok(files) => {
                    remove(old.difference(&files));
                    Written {
                        contents: Some(wanted),
                        files,
                        due_sec: now.seconds().saturating_add(every),
                    }
                }
                Err(error) => {
                    tracing::error!(zone = zone.name.as_str(), %error, "the managed CA's revocation list could not be written; the file that was there stays");
                    Written {
                        contents: None,
                        files: old,
                        due_sec: now.seconds().saturating_add(retry),
                    }
                }
            };
            self.zones.insert(zone.id, written);
        }
        let gone = |id: &Id| !model.zones.contains_key(id);
        let gone: Vec<Id> = self.zones.keys().copied().filter(gone).collect();
        for id in gone {
            if let Some(written) = self.zones.remove(&id) {
                remove(written.files.iter());
            }
        }
        let due = self.zones.values().map(|written| written.due_sec).min();
        self.looked = Some((version(&model), due.unwrap_or(i64::MAX)));
    }

    fn write(
        &self,
        control: &Control,
        zone: Id,
        name: &str,
        wanted: &Contents,
    ) -> Result<BTreeSet<PathBuf>, PublishError> {
        fs::create_dir_all(&self.path).map_err(|why| PublishError::File(self.path.clone(), why))?;
        let mut files = BTreeSet::new();
        let mut text = String::new();
        for (id, _) in &wanted.authorities {
            let list = control.revocation_list(zone, *id)?;
            text.push_str(&pem::write("X509 CRL", &list));
            files.insert(replace(self.path.join(format!("{id}.crl")), &list)?);
        }
        let together = self.path.join(format!("{name}.crl.pem"));
        files.insert(replace(together, text.as_bytes())?);
        Ok(files)
    }
}

/// Replaces a file by `bytes`: a reader sees the old ones or the new ones, whole.
fn replace(path: PathBuf, bytes: &[u8]) -> Result<PathBuf, PublishError> {
    let mut draft = path.clone().into_os_string();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let done = (|| {
        // Lists are public: they are signed, and every verifier that trusts the CA needs them.
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        sync_directory(&path)
    })();
    match done {
        Ok(()) => Ok(path),
        Err(why) => {
            drop(fs::remove_file(&draft));
            Err(PublishError::File(path, why))
        }
    }
}

/// A list that is no longer renewed would only grow old.
fn remove<'p>(files: impl Iterator<Item = &'p PathBuf>) {
    for file in files {
        if let Err(error) = fs::remove_file(file)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(file = %file.display(), %error, "an old revocation list could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use x509_parser::prelude::{CertificateRevocationList, FromDer};

    use super::*;
    use crate::pki::x509::Subject;
    use fixtures::Directory;
    use snapshot::Published;

    /// Number and entries of a list in DER.
    fn read(path: &Path) -> (Vec<u8>, usize) {
        let der = fs::read(path).unwrap();
        let (rest, list) = CertificateRevocationList::from_der(&der).unwrap();
        assert!(rest.is_empty());
        let number = list.crl_number().unwrap().to_bytes_be();
        (number, list.iter_revoked_certificates().count())
    }

    #[test]
    fn files_follow_revocations_zones_and_the_clock() {
        let home = Directory::new();
        let store = home.path().join("store.redb");
        let control = Control::open(&store, Arc::new(Published::default())).unwrap();
        let zone = control.create_zone("example.test").unwrap().id;
        let place = home.path().join("crl");
        let mut directory = CrlDirectory::new(place.clone());
        let now = Moment::now();
        assert!(directory.is_due(&control, now));
        directory.publish(&control, now);
        assert!(!directory.is_due(&control, now));
        let first = control.model().managed(zone)[0].id;
        let der = place.join(format!("{first}.crl"));
        let whole = place.join("example.test.crl.pem");
        assert_eq!(read(&der).1, 0);

        let subject = Subject::named("device");
        let made = control.create_certificate(zone, &subject, 1).unwrap();
        control
            .revoke_certificate(zone, made.certificate.id)
            .unwrap();
        assert!(directory.is_due(&control, now));
        directory.publish(&control, now);
        let (number, entries) = read(&der);
        assert_eq!(entries, 1);
        // Neither another change nor time alone writes it, until it is due.
        let marked = |mark: &str| {
            fs::write(&whole, mark).unwrap();
            move |whole: &Path, mark: &str| fs::read_to_string(whole).unwrap() == mark
        };
        let is_marked = marked("mark");
        control.create_certificate(zone, &subject, 1).unwrap();
        directory.publish(&control, now);
        assert!(is_marked(&whole, "mark"));
        let later = Moment::from_seconds(now.seconds() + seconds(CRL_FILE_EVERY));
        assert!(directory.is_due(&control, later));
        directory.publish(&control, later);
        assert!(!is_marked(&whole, "mark"));
        assert!(read(&der).0 >= number);

        // A second CA has a list of its own, and a retired one none any more.
        let second = control.roll_authority(zone, None).unwrap().id;
        directory.publish(&control, now);
        let text = fs::read_to_string(&whole).unwrap();
        assert_eq!(text.matches("BEGIN X509 CRL").count(), 2);
        assert!(place.join(format!("{second}.crl")).exists());
        control.retire_authority(zone, first).unwrap();
        directory.publish(&control, now);
        assert!(!der.exists());

        // What is in the way is told, nothing is lost, and it is tried again.
        let second = place.join(format!("{second}.crl"));
        let (_, entries) = read(&second);
        assert_eq!(entries, 0);
        let made = control.create_certificate(zone, &subject, 1).unwrap();
        control
            .revoke_certificate(zone, made.certificate.id)
            .unwrap();
        let mut obstacle = whole.clone().into_os_string();
        obstacle.push(".new");
        fs::create_dir(&obstacle).unwrap();
        directory.publish(&control, now);
        assert!(whole.exists());
        assert!(!directory.is_due(&control, now));
        fs::remove_dir(&obstacle).unwrap();
        let later = Moment::from_seconds(now.seconds() + seconds(CRL_FILE_RETRY));
        assert!(directory.is_due(&control, later));
        directory.publish(&control, later);
        assert_eq!(read(&second).1, 1);

        control.delete_zone(zone).unwrap();
        directory.publish(&control, now);
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    }
}
