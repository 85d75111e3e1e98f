//! What `lib.rs` says of the rooms of this crate: the arrows between them go one way, and none of
//! them does I/O, reads a clock or takes a lock.

#![expect(clippy::unwrap_used, reason = "a test of files that are there")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What each folder may use; a file at the top of `src` may use any of them, and `testing` all.
const ARROWS: &[(&str, &[&str])] = &[
    ("matcher", &["limits"]),
    ("geo", &["limits"]),
    ("syntax", &["limits", "matcher"]),
    ("eval", &["facts", "geo", "limits", "matcher", "syntax"]),
    (
        "program",
        &[
            "action", "eval", "facts", "limits", "matcher", "rule", "syntax",
        ],
    ),
    (
        "analysis",
        &[
            "action", "decide", "eval", "facts", "limits", "matcher", "program", "rule", "syntax",
        ],
    ),
];

#[test]
fn each_room_uses_only_what_is_below_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let exported = exported(&std::fs::read_to_string(source.join("lib.rs")).unwrap());
    for (room, allowed) in ARROWS {
        let files = files(&source.join(room));
        assert!(!files.is_empty(), "there is no room `{room}`");
        for file in files {
            for module in used(&product(&file)) {
                let module = exported.get(&module).unwrap_or(&module);
                assert!(
                    module == room || allowed.contains(&module.as_str()),
                    "{}: `{room}` does not use `{module}`: move what both need below both",
                    file.display(),
                );
            }
        }
    }
}

/// What no room uses. Compiling in the background takes a thread, and nothing else of the system.
const NEVER: &[&str] = &[
    "std::fs",
    "std::process",
    "Condvar",
    "Instant",
    "Mutex",
    "RwLock",
    "SystemTime",
    "TcpStream",
    "UdpSocket",
    "sleep(",
];

#[test]
fn no_room_does_io_reads_a_clock_or_takes_a_lock() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in files(&source) {
        if file.starts_with(source.join("testing")) {
            continue;
        }
        let text = product(&file);
        for word in NEVER {
            assert!(!text.contains(word), "{}: `{word}`", file.display());
        }
    }
}

/// From an item that the root of the crate re-exports to the module that it comes from.
fn exported(root: &str) -> BTreeMap<String, String> {
    let statements = root
        .split(';')
        .filter_map(|text| text.trim().strip_prefix("pub use "));
    let mut found = BTreeMap::new();
    for statement in statements {
        let words: Vec<&str> = words(statement).collect();
        let [module, ..] = words.as_slice() else {
            panic!("{statement}: of nothing");
        };
        for item in &words {
            // The name of a module wins over an item that is called the same.
            if !root.contains(&format!("\nmod {item};")) {
                found.insert((*item).to_owned(), (*module).to_owned());
            }
        }
    }
    found
}

/// What follows `crate::`, in braces or not.
fn used(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in text.split("crate::").skip(1) {
        match path.strip_prefix('{') {
            None => found.extend(words(path).next().map(str::to_owned)),
            Some(group) => {
                let group = group.split('}').next().unwrap_or_default();
                let first = |item: &str| words(item).next().map(str::to_owned);
                found.extend(group.split(',').filter_map(first));
            }
        }
    }
    found
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

/// A file without comments and without its tests.
fn product(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    text.lines().filter(is_code).collect::<Vec<_>>().join("\n")
}

/// The files of a folder, those of tests left out.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_test = path.file_stem().is_some_and(|name| name == "tests");
        if path.is_dir() && !is_test {
            found.extend(files(&path));
        } else if path.is_file() && !is_test {
            found.push(path);
        }
    }
    found
}
