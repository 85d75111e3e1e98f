//! Copies of the store: what they are called beside it, and that none of those handed out stays.
//!
//! Owns the names. What is in a copy is the backend's.

use std::fs;
use std::path::{Path, PathBuf};

use vocabulary::clock;

/// What is between a store's name and the rest of the name of a copy that is handed out. Such a copy
/// is removed as soon as it is open.
const COPYING: &str = ".copying-";

/// A name for a copy of the store at `path` that is handed out.
pub(crate) fn copy_of(path: &Path, unique: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(COPYING);
    name.push(unique);
    name.into()
}

/// A name for a copy that keeps a store of `format` as it was before a newer version opened it.
#[must_use]
pub fn copy_before_format(path: &Path, format: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".format-{format}-{}", clock::now_sec()));
    name.into()
}

/// Removes copies that a process left behind that was killed while it made them. What cannot be
/// removed is in nobody's way.
pub(super) fn forget_copies(path: &Path, directory: &Path) {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return;
    };
    let prefix = format!("{name}{COPYING}");
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(&prefix))
        {
            drop(fs::remove_file(entry.path()));
        }
    }
}
