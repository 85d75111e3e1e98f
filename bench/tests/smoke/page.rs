//! The page of a report in headless Chromium.

use std::path::{Path, PathBuf};
use std::process::Command;

use tests::tool;

/// Opens it in a browser: it fetches nothing, complains of nothing, and all of its plots can be seen.
pub(crate) fn look_at(page: &Path) {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let modules = root.join("gateway/dashboard/node_modules/playwright-core");
    let browsers = ["/usr/bin/chromium", "/usr/bin/chromium-browser"];
    let browser = browsers.iter().any(|path| Path::new(path).exists());
    if !browser || !modules.is_dir() || !tool::has("node") {
        eprintln!("skipped: needs chromium and node, which `cargo xtask setup` brings");
        return;
    }
    let mut command = Command::new("node");
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/smoke/page.mjs"))
        .arg(modules)
        .arg(page);
    if let Some(pictures) = std::env::var_os("POSTERN_TEST_PICTURES") {
        command.arg(pictures);
    }
    let outcome = tool::run(&mut command);
    assert!(outcome.out.contains("all good"), "{outcome:?}");
}
