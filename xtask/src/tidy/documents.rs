//! Rules for documents: what they link to and the paths that they name are there.
//!
//! Addresses on other machines are not asked.

use super::Tree;
use super::markdown::Document;
use std::collections::BTreeMap;

/// Where the book's pages lie, and the page that lists them all.
const BOOK: &str = "gateway/docs/";
const SUMMARY: &str = "SUMMARY.md";

/// Tells of what was, so that paths in it may be gone.
const HISTORY: &str = "CHANGELOG.md";

/// What is wrong with the documents, one line each.
pub(super) fn complaints(tree: &Tree) -> Vec<String> {
    let documents: BTreeMap<&str, Document> = tree
        .texts
        .iter()
        .filter(|(name, _)| name.ends_with(".md"))
        .map(|(name, text)| (name.as_str(), Document::read(text)))
        .collect();
    let mut complaints = Vec::new();
    for (name, document) in &documents {
        for (line, target) in &document.links {
            let found = link(tree, &documents, name, target);
            complaints.extend(found.map(|wrong| format!("{name}:{line}: {wrong}")));
        }
        if *name == HISTORY {
            continue;
        }
        for (line, code) in &document.codes {
            if let Some(path) = path(tree, name, code)
                && !exists(tree, path)
            {
                complaints.push(format!("{name}:{line}: `{path}` does not exist"));
            }
        }
    }
    complaints.extend(unlisted(&documents));
    complaints
}

/// What is wrong with a link.
fn link(
    tree: &Tree,
    documents: &BTreeMap<&str, Document>,
    from: &str,
    target: &str,
) -> Option<String> {
    if elsewhere(target) {
        return None;
    }
    let (path, anchor) = match target.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (target, None),
    };
    if path.starts_with('/') {
        return Some(format!(
            "the link to `{target}` begins at the root of a site: write it from this page's place"
        ));
    }
    let place = match path {
        "" => Some(from.to_owned()),
        _ => joined(directory(from), path),
    };
    let Some(place) = place else {
        return Some(format!("the link to `{target}` leads out of the project"));
    };
    if !place.is_empty() && !tree.paths.contains(&place) {
        return Some(format!(
            "the link to `{target}` leads nowhere: there is no {place}"
        ));
    }
    let anchors = &documents.get(place.as_str())?.anchors;
    let anchor = anchor.filter(|anchor| !anchors.contains(*anchor))?;
    Some(format!(
        "the link to `{target}` leads nowhere: {place} has no heading `#{anchor}`"
    ))
}

/// An address with a scheme, or of another machine.
fn elsewhere(target: &str) -> bool {
    let scheme = target.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    });
    scheme || target.starts_with("//")
}

fn directory(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// A path from a directory, without `.` and `..`; nothing when it leads out of the tree.
fn joined(directory: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = directory
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The path of ours that a word in backquotes is, if it is one: it begins at our top level, it is a
/// Rust file or a document, or, on pages about the code, it ends with a slash.
fn path<'a>(tree: &Tree, document: &str, word: &'a str) -> Option<&'a str> {
    // `file.rs:12` names a line.
    let path = match word.rsplit_once(':') {
        Some((path, line)) if line.bytes().all(|byte| byte.is_ascii_digit()) => path,
        _ => word,
    };
    let plain = path
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
    if !plain || path.starts_with(['/', '-']) || path.contains("..") {
        return None;
    }
    let top = path
        .split_once('/')
        .is_some_and(|(first, _)| tree.paths.contains(first));
    let file = [".rs", ".md"]
        .iter()
        .any(|end| path.strip_suffix(end).is_some_and(|stem| !stem.is_empty()));
    let about_code = !document.contains('/') && document != "README.md"
        || document.starts_with("gateway/docs/internals");
    (top || file || about_code && path.ends_with('/')).then_some(path)
}

/// Whether the tree has a path, named as far as is needed to find it: `worker.rs`, `tls/verify.rs`
/// for `gateway/tls/src/verify.rs`. A part in capitals stands for a name.
fn exists(tree: &Tree, path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let end = format!("/{path}");
    let within = path.split_once('/').is_some_and(|(first, rest)| {
        let mut crates = tree.crates.iter().filter(|ours| ours.name == first);
        crates.any(|ours| {
            let place = format!("{}/src/{rest}", ours.directory);
            tree.paths.contains(&place)
        })
    });
    let placeholder = || {
        path.split('/').any(|part| {
            let stem = part.strip_suffix(".rs").unwrap_or(part);
            !stem.is_empty() && stem.chars().all(|c| c.is_ascii_uppercase() || c == '_')
        })
    };
    tree.paths.contains(path)
        || within
        || tree.paths.iter().any(|known| known.ends_with(&end))
        || placeholder()
}

/// Pages of the book that its summary does not list, so that readers do not find them.
fn unlisted(documents: &BTreeMap<&str, Document>) -> Vec<String> {
    let summary = format!("{BOOK}{SUMMARY}");
    let listed: Vec<String> = documents
        .get(summary.as_str())
        .into_iter()
        .flat_map(|document| &document.links)
        .filter_map(|(_, target)| joined(BOOK, target.split('#').next()?))
        .collect();
    documents
        .keys()
        .filter(|name| name.starts_with(BOOK) && **name != summary)
        .filter(|name| !listed.iter().any(|listed| listed == **name))
        .map(|name| format!("{name}: {summary} does not list this page"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::complaints;
    use crate::tidy::tests::tree;

    const CRATES: &[(&str, &str)] = &[("tls", "gateway/tls"), ("gateway", "gateway")];

    fn check(document: &str, text: &str) -> Vec<String> {
        let summary = "[Rules](rules.md)\n[Inside](internals/steering.md)\n";
        let files = [
            ("gateway/src/lib.rs", ""),
            ("gateway/tls/src/verify.rs", ""),
            ("gateway/tls/src/worker/drain.rs", ""),
            ("gateway/docs/SUMMARY.md", summary),
            ("gateway/docs/rules.md", "# Rules\n## Fields\n"),
            ("gateway/docs/internals/steering.md", "# Steering\n"),
            ("gateway/docs/life.svg", ""),
            ("xtask/src/main.rs", ""),
            (document, text),
        ];
        complaints(&tree(&files, CRATES))
    }

    #[test]
    fn a_link_has_to_lead_somewhere() {
        for (link, wrong) in [
            ("gateway/docs/rules.md", None),
            ("gateway/docs/rules.md#fields", None),
            ("./gateway/docs/life.svg", None),
            ("gateway/docs/", None),
            ("#postern", None),
            ("https://example.com/gone", None),
            ("mailto:security@example.com", None),
            (
                "gateway/docs/gone.md",
                Some("there is no gateway/docs/gone.md"),
            ),
            (
                "gateway/docs/rules.md#gone",
                Some("gateway/docs/rules.md has no heading `#gone`"),
            ),
            ("#gone", Some("README.md has no heading `#gone`")),
            ("../elsewhere.md", Some("leads out of the project")),
            ("/gateway/docs/rules.md", Some("root of a site")),
        ] {
            for text in [
                format!("[x]({link})"),
                format!("![x]({link})"),
                format!("[x]: {link}"),
            ] {
                let found = check("README.md", &format!("# Postern\n\n{text}\n"));
                match wrong {
                    None => assert!(found.is_empty(), "{text}: {found:?}"),
                    Some(wrong) => {
                        assert_eq!(found.len(), 1, "{text}: {found:?}");
                        assert!(found[0].starts_with("README.md:3: "), "{found:?}");
                        assert!(found[0].contains(wrong), "{text}: {found:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_link_begins_at_its_page() {
        for (link, sound) in [
            ("../rules.md", true),
            ("../../../README.md", false),
            ("../../src/lib.rs", true),
            ("steering.md#steering", true),
            ("rules.md", false),
        ] {
            let text = format!("# Steering\n[x]({link})\n");
            let found = check("gateway/docs/internals/steering.md", &text);
            assert_eq!(found.is_empty(), sound, "{link}: {found:?}");
        }
    }

    #[test]
    fn a_page_may_only_name_what_exists() {
        for (document, code, sound) in [
            ("ARCHITECTURE.md", "gateway/tls/src/verify.rs", true),
            ("ARCHITECTURE.md", "tls/verify.rs", true),
            ("ARCHITECTURE.md", "verify.rs:12", true),
            ("ARCHITECTURE.md", "worker/", true),
            ("ARCHITECTURE.md", "gone.rs", false),
            ("ARCHITECTURE.md", "tls/gone.rs", false),
            ("ARCHITECTURE.md", "gone/", false),
            ("ARCHITECTURE.md", "gateway/gone", false),
            ("ARCHITECTURE.md", "/etc/postern/", true),
            ("ARCHITECTURE.md", "cargo xtask", true),
            ("ARCHITECTURE.md", "a/b", true),
            ("ARCHITECTURE.md", "gateway/NAME/src", true),
            ("README.md", "rules.md", true),
            ("README.md", "GONE.md", false),
            // On a page for users this may be a directory of theirs.
            ("README.md", "certs/", true),
            ("README.md", "target/dist", true),
            ("README.md", "gateway/gone.service", false),
            ("gateway/docs/internals/steering.md", "gone/", false),
            ("CHANGELOG.md", "gateway/gone", true),
        ] {
            let found = check(document, &format!("x\n`{code}`\n"));
            assert_eq!(found.is_empty(), sound, "{document}: {code}: {found:?}");
        }
    }

    #[test]
    fn every_page_of_the_book_is_listed() {
        let found = check("gateway/docs/lost.md", "# Lost\n");
        assert_eq!(
            found,
            ["gateway/docs/lost.md: gateway/docs/SUMMARY.md does not list this page"]
        );
    }
}
