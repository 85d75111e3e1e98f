//! What the control plane's tests stand on: a directory of their own, removed when they end.

use std::path::{Path, PathBuf};

use super::id::Id;
use super::{CaKey, Moment, x509};

/// The certificate of a CA that this gateway has not made.
pub(crate) fn foreign(name: &str) -> String {
    let made = x509::make_authority(name, "O", CaKey::default(), 30, Moment::now());
    let (certificate, _) = made.unwrap();
    x509::to_pem(&certificate).unwrap()
}

/// A directory that lives as long as the value.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("postern-test-{}", Id::random()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
