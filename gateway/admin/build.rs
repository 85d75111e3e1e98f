//! Embeds the dashboard when `cargo xtask dashboard` has built it, and nothing when it has not.
//!
//! Builds nothing itself: a plain `cargo build` needs no Node. The page says at run time what came
//! of it.

#[path = "../build/target_directory.rs"]
mod target_directory;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use target_directory::target_directory;

/// Media types by the end of a file's name. Other files are not served.
const MEDIA: [(&str, &str); 4] = [
    ("html", "text/html; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("svg", "image/svg+xml"),
];

fn main() {
    let directory = target_directory().join("dashboard");
    // The directory is watched, not its files: cargo takes a missing file for a changed one, every
    // time. When the directory cannot be made there is nothing to embed either.
    let made = fs::create_dir_all(&directory).is_ok();
    let watched = if made {
        directory.as_path()
    } else {
        Path::new("build.rs")
    };
    println!("cargo:rerun-if-changed={}", watched.display());

    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    // Copies: the files may be replaced while the compiler reads them.
    let copies = out.join("dashboard");
    drop(fs::remove_dir_all(&copies));
    let mut table = String::from("&[\n");
    if fs::create_dir_all(&copies).is_ok() {
        for (name, media) in names(&directory) {
            let forms = [name.clone(), format!("{name}.br"), format!("{name}.gz")];
            let copied = forms.iter().all(|form| {
                let copy = fs::copy(directory.join(form), copies.join(form));
                copy.is_ok()
            });
            if copied {
                let [plain, brotli, gzip] = forms.map(|form| copies.join(form));
                table.push_str(&format!(
                    "File {{ name: {name:?}, media: {media:?}, plain: include_bytes!({plain:?}), \
                     brotli: include_bytes!({brotli:?}), gzip: include_bytes!({gzip:?}) }},\n",
                ));
            }
        }
    }
    table.push_str("]\n");
    if let Err(why) = fs::write(out.join("dashboard.rs"), table) {
        println!("cargo:warning=the table of the dashboard's files cannot be written: {why}");
    }
}

/// The files that are served, in the order of their names.
fn names(directory: &Path) -> Vec<(String, &'static str)> {
    let listing = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut all: Vec<(String, &str)> = listing
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let (_, end) = name.rsplit_once('.')?;
            let (_, media) = *MEDIA.iter().find(|(known, _)| *known == end)?;
            Some((name, media))
        })
        .collect();
    all.sort();
    all
}
