//! Offline work on a store: verifying that it is whole, and restoring a copy.
//!
//! Owns the order that makes a restore safe: the copy is read whole before anything is touched, is
//! durable under another name before the old one goes, and takes its place by one rename.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::store::{FORMAT, RedbStore, Store, StoreOpenError, load, migrate, sync_directory};

/// What a store that is whole has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Of which format it is.
    pub format: u64,
    /// The number of its last change.
    pub revision: u64,
    /// Bytes of its file.
    pub size: u64,
    /// Zones.
    pub zones: usize,
    /// Hosts.
    pub hosts: usize,
    /// Client certificates.
    pub certificates: usize,
    /// Rules.
    pub rules: usize,
}

/// Why a copy did not take the place of a store.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The copy, or what is there, is not good.
    #[error(transparent)]
    Store(#[from] StoreOpenError),
    /// There is a store already.
    #[error("{path} is there already, revision {revision}; it stays unless you say --replace")]
    Exists {
        /// The store.
        path: PathBuf,
        /// Its revision.
        revision: String,
    },
    /// The system refused.
    #[error("{path}: {why}. The store is as it was")]
    File {
        /// What was written.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
}

/// Reads a store whole: pages against their checksums, records into what they mean. The file stays as it
/// is, of whichever format.
///
/// # Errors
/// It is in use, damaged, or not there; see [`StoreOpenError`].
pub fn verify(path: &Path) -> Result<Verified, StoreOpenError> {
    let (store, format) = RedbStore::picture(path)?;
    found(path, &store, format)
}

/// The same of a copy that nobody else has, which is brought to the format of this version.
fn verify_own(path: &Path) -> Result<Verified, StoreOpenError> {
    drop(RedbStore::check(path)?);
    // What it was made from stays as it is.
    let store = RedbStore::open_handed_over(path)?;
    found(path, &store, FORMAT)
}

fn found(path: &Path, store: &RedbStore, format: u64) -> Result<Verified, StoreOpenError> {
    let corrupt = |why: String| StoreOpenError::Corrupt {
        path: path.to_owned(),
        why,
    };
    let read = migrate::migrate_to_pages(store).and_then(|()| load::load(store));
    let (model, index) = read.map_err(|error| corrupt(error.to_string()))?;
    let revision = store
        .revision()
        .map_err(|error| corrupt(error.to_string()))?;
    let file = |why| StoreOpenError::File {
        path: path.to_owned(),
        why,
    };
    Ok(Verified {
        format,
        revision,
        size: fs::metadata(path).map_err(file)?.len(),
        zones: model.zones.len(),
        hosts: model.hosts.len(),
        certificates: index.0.values().map(Vec::len).sum(),
        rules: model
            .rulesets
            .values()
            .map(|ruleset| ruleset.rules.len())
            .sum(),
    })
}

/// Puts the copy at `from` in the place of the store at `to`, which no gateway may be running on.
/// With `replace` an old store is kept beside it as `NAME.replaced`.
///
/// # Errors
/// See [`RestoreError`]; the old store is untouched then.
pub fn restore(from: &Path, to: &Path, replace: bool) -> Result<Verified, RestoreError> {
    let named = |suffix: &str| {
        let mut name = to.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |why| RestoreError::File { path, why }
    };
    let draft = named(&format!(".{}.restoring", std::process::id()));
    let is_there = to.symlink_metadata().is_ok();
    // Held to the end: a gateway that starts meanwhile finds the store in use.
    let mut old = None;
    if is_there {
        old = match RedbStore::check(to) {
            Ok(store) => Some(store),
            Err(error @ StoreOpenError::InUse { .. }) => return Err(error.into()),
            // Replacing a damaged store is what a backup is for.
            Err(_damaged) => None,
        };
        if !replace {
            let revision = old.as_ref().and_then(|old| old.revision().ok());
            let revision =
                revision.map_or_else(|| "unreadable".into(), |number| number.to_string());
            let path = to.to_owned();
            return Err(RestoreError::Exists { path, revision });
        }
    }
    let done = (|| {
        let mut source = File::open(from).map_err(failed(from))?;
        let mut copy = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .map_err(failed(&draft))?;
        io::copy(&mut source, &mut copy).map_err(failed(&draft))?;
        copy.sync_all().map_err(failed(&draft))?;
        drop(copy);
        // The copy is what will run, so the copy is what is read.
        let verified = verify_own(&draft).map_err(|error| match error {
            StoreOpenError::Corrupt { why, .. } => StoreOpenError::Corrupt {
                path: from.to_owned(),
                why,
            },
            other => other,
        })?;
        File::open(&draft)
            .and_then(|file| file.sync_all())
            .map_err(failed(&draft))?;
        if is_there {
            let kept = named(".replaced");
            match fs::remove_file(&kept) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => {
                    return Err(failed(&kept)(why));
                }
                _ => {}
            }
            // A second name for the old one, so that at no moment there is none under the first.
            fs::hard_link(to, &kept).map_err(failed(&kept))?;
        }
        fs::rename(&draft, to).map_err(failed(to))?;
        sync_directory(to).map_err(failed(to))?;
        Ok(verified)
    })();
    drop(old);
    if done.is_err() {
        drop(fs::remove_file(&draft));
    }
    done
}
