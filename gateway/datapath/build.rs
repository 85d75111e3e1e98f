//! Embeds the kernel program when `cargo xtask ebpf` has built it, and nothing when it has not.
//!
//! Builds nothing itself: a plain `cargo build` needs no kernel toolchain. `steer` says at run time
//! what came of it.

#[path = "../build/target_directory.rs"]
mod target_directory;

use std::env;
use std::fs;
use std::path::Path;

use target_directory::target_directory;

fn main() {
    println!("cargo:rustc-check-cfg=cfg(postern_steer_object)");
    let directory = target_directory().join("ebpf");
    // The directory is watched, not the file: cargo takes a missing file for a changed one, every
    // time. When the directory cannot be made there is nothing to embed either.
    let made = fs::create_dir_all(&directory).is_ok();
    let watched = if made {
        directory.as_path()
    } else {
        Path::new("build.rs")
    };
    println!("cargo:rerun-if-changed={}", watched.display());

    // A copy: the object may be replaced while the compiler reads it.
    let copy = Path::new(&env::var_os("OUT_DIR").unwrap_or_default()).join("postern-steer.o");
    if fs::copy(directory.join("postern-steer.o"), &copy).is_ok() {
        println!("cargo:rustc-env=POSTERN_STEER_OBJECT={}", copy.display());
        println!("cargo:rustc-cfg=postern_steer_object");
    }
}
