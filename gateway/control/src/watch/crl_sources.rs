//! Revocation lists read from watched files, and the warning before a list expires.
//!
//! Owns which files are read again. The last good list stays until a better one comes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::change::Control;
use crate::change::intent::Intent;
use crate::limits::{CRL_ALARM, CRL_FILE_BYTES_MAX};
use crate::model::id::Uuid;
use crate::model::moment::Moment;
use crate::operations::revocation_lists::CrlSource;

/// What a file looked like when it was last read, to read it again only when it changed.
type FileMark = (SystemTime, u64, u64);

/// What watching files remembers.
#[derive(Debug, Default)]
pub struct CrlFiles(BTreeMap<Uuid, (PathBuf, Option<FileMark>)>);

impl Control {
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
        let control = self.acting(Intent::of("revocation list file"));
        match control.put_crl_from(id, &CrlSource::File(file.into()), &bytes) {
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
