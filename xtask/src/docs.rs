//! `cargo xtask docs`: what can be read in a browser.
//!
//! The API documents of our crates, and the book in `gateway/docs/` where mdBook is installed.

use crate::parts::Outcome;
use crate::setup::{self, Purpose};
use crate::shell;
use anyhow::Result;
use std::process::Command;

/// The book's pages.
const BOOK: &str = "gateway/docs";

/// `cargo xtask docs`.
pub(crate) fn command() -> Result<()> {
    setup::ensure(Purpose::Build)?;
    api()?;
    let target = shell::target();
    println!("API:  {}", target.join("doc/index.html").display());
    match book()? {
        Outcome::Done => println!("book: {}", target.join("book/index.html").display()),
        Outcome::Skipped(needs) => println!("book: skipped: {needs}"),
    }
    Ok(())
}

/// The documents of every crate of ours, with warnings denied.
pub(crate) fn api() -> Result<()> {
    shell::run(
        shell::cargo()
            .args(["doc", "--release", "--workspace", "--no-deps"])
            .arg("--document-private-items")
            // Private items are documented too, so links to them lead somewhere.
            .env(
                "RUSTDOCFLAGS",
                "--deny warnings --allow rustdoc::private-intra-doc-links",
            ),
    )
}

fn book() -> Result<Outcome> {
    let pages = shell::root().join(BOOK);
    if !pages.join("SUMMARY.md").exists() {
        return Ok(Outcome::Skipped("needs gateway/docs/SUMMARY.md"));
    }
    let Some(mdbook) = shell::find("mdbook") else {
        return Ok(Outcome::Skipped(
            "needs mdbook (cargo install mdbook --locked)",
        ));
    };
    let mut mdbook = Command::new(mdbook);
    mdbook.arg("build").arg(&pages);
    mdbook.arg("--dest-dir").arg(shell::target().join("book"));
    if !pages.join("book.toml").exists() {
        // The pages lie beside their summary; mdBook would look for them in `src`.
        mdbook.env("MDBOOK_BOOK__SRC", ".");
        mdbook.env("MDBOOK_BOOK__TITLE", "Postern");
        // A page that the summary lists and that is not there is a fault, and not to be made.
        mdbook.env("MDBOOK_BUILD__CREATE_MISSING", "false");
    }
    shell::run(&mut mdbook)?;
    Ok(Outcome::Done)
}
