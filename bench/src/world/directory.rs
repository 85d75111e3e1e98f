//! A directory that is removed with everything in it when its owner goes.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

/// A temporary directory of ours alone: private keys are in it.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// Makes one below the system's directory for temporary files.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make() -> Result<Self> {
        Self::make_below(&std::env::temp_dir())
    }

    /// Makes one below another directory.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make_below(parent: &Path) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("postern-bench-{}-{count}", std::process::id());
            let path = parent.join(name);
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                // What a process with this number has left behind when it was killed.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                made => {
                    made.with_context(|| format!("making the directory {}", path.display()))?;
                    return Ok(Self(path));
                }
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} stays behind: {error}", self.0.display());
        }
    }
}
