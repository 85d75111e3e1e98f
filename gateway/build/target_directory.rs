//! Where cargo builds: for build scripts that embed what `cargo xtask` has put there.
//!
//! A module of several build scripts, by its path. Makes and reads nothing.

use std::env;
use std::path::{Path, PathBuf};

/// Cargo's target directory, the same one that `xtask` finds.
pub(crate) fn target_directory() -> PathBuf {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    // Cargo writes this tag into the target directory's top and nowhere else.
    let tagged = out
        .ancestors()
        .find(|directory| directory.join("CACHEDIR.TAG").exists());
    tagged.map_or_else(
        || Path::new(&env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../../target"),
        Path::to_path_buf,
    )
}
