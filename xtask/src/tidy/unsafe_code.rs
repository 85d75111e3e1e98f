//! Where `unsafe` may stand: nowhere but in a few modules, which SECURITY.md names.
//!
//! A crate outside the table forbids it to the compiler. In a crate of the table this reads the
//! lines, because a crate that forbids it cannot allow it in one module. Tests are not looked at:
//! what they do is not shipped.

use super::{Crate, Tree};

/// A crate that may hold `unsafe`.
struct Exception {
    name: &'static str,
    place: Place,
}

/// Which part of a crate.
enum Place {
    Modules(&'static [&'static str]),
    Whole,
    /// All of it, and nothing of it is shipped, so that SECURITY.md need not speak of it.
    Unshipped,
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        name: "datapath",
        place: Place::Modules(&["io", "memory", "steer"]),
    },
    Exception {
        name: "tls",
        place: Place::Modules(&["ffi"]),
    },
    Exception {
        name: "rules",
        place: Place::Modules(&["program::simd"]),
    },
    // The kernel's memory is pointers, and what both sides share is plain bytes.
    Exception {
        name: "ebpf",
        place: Place::Whole,
    },
    Exception {
        name: "bench",
        place: Place::Unshipped,
    },
    Exception {
        name: "tests",
        place: Place::Unshipped,
    },
];

/// Where the table is, for those who have to change it.
const TABLE: &str = "xtask/src/tidy/unsafe_code.rs";

/// The page that tells strangers.
const PAGE: &str = "SECURITY.md";

/// How a crate's root says that it holds none. The second leaves its tests out.
const FORBIDS: &[&str] = &[
    "#![forbid(unsafe_code)]",
    "#![cfg_attr(not(test), forbid(unsafe_code))]",
];

/// Everything that is wrong, one line each.
pub(super) fn complaints(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for ours in &tree.crates {
        let exception = EXCEPTIONS.iter().find(|other| other.name == ours.name);
        complaints.extend(match exception.map(|exception| &exception.place) {
            None => permissive(tree, ours),
            Some(Place::Modules(modules)) => outside(tree, ours, modules),
            Some(Place::Whole) => unnamed(tree, ours, None).into_iter().collect(),
            Some(Place::Unshipped) => Vec::new(),
        });
    }
    let gone = EXCEPTIONS
        .iter()
        .filter(|exception| tree.crates.iter().all(|ours| ours.name != exception.name));
    complaints.extend(gone.map(|exception| {
        let name = exception.name;
        format!("{TABLE}: the workspace has no crate `{name}`: mend the table")
    }));
    complaints
}

/// Roots that do not forbid `unsafe`.
fn permissive(tree: &Tree, ours: &Crate) -> Vec<String> {
    let open = ours.roots.iter().filter(|root| {
        let text = tree.texts.get(*root).map_or("", String::as_str);
        !text.lines().any(|line| FORBIDS.contains(&line.trim_end()))
    });
    open.map(|root| {
        format!(
            "{root}: `{}` is missing (exceptions stand in {TABLE})",
            FORBIDS.join("` or `")
        )
    })
    .collect()
}

/// What is wrong with a crate of which only these modules may hold `unsafe`.
fn outside(tree: &Tree, ours: &Crate, modules: &[&str]) -> Vec<String> {
    let sources = format!("{}/src/", ours.directory);
    let mut complaints = Vec::new();
    let mut used = vec![false; modules.len()];
    for (name, text) in &tree.texts {
        let Some(file) = name.strip_prefix(&sources).filter(|file| is_shipped(file)) else {
            continue;
        };
        let lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| has_unsafe(line));
        for (index, _) in lines {
            match modules.iter().position(|module| is_of(file, module)) {
                Some(place) => used
                    .iter_mut()
                    .skip(place)
                    .take(1)
                    .for_each(|used| *used = true),
                None => complaints.push(format!(
                    "{name}:{}: `unsafe` may stand in {} of `{}` only ({TABLE})",
                    index + 1,
                    modules.join(" and "),
                    ours.name
                )),
            }
        }
    }
    for (module, used) in modules.iter().zip(used) {
        if used {
            complaints.extend(unnamed(tree, ours, Some(module)));
        } else {
            complaints.push(format!(
                "{TABLE}: `{}::{module}` holds no `unsafe`: take it off the table",
                ours.name
            ));
        }
    }
    complaints
}

/// The complaint that the page does not name a place, by its name or by its path.
fn unnamed(tree: &Tree, ours: &Crate, module: Option<&str>) -> Option<String> {
    let (name, path) = match module {
        Some(module) => (
            format!("{}::{module}", ours.name),
            format!("{}/src/{}", ours.directory, module.replace("::", "/")),
        ),
        None => (format!("`{}`", ours.name), format!("`{}/", ours.directory)),
    };
    let page = tree.texts.get(PAGE).map_or("", String::as_str);
    (!page.contains(&name) && !page.contains(&path)).then(|| {
        let name = name.trim_matches('`');
        format!("{PAGE}: `{name}` holds `unsafe`, and this page does not name it")
    })
}

fn is_shipped(file: &str) -> bool {
    !file
        .split('/')
        .any(|part| matches!(part, "tests" | "tests.rs"))
}

/// Whether a file below `src/` belongs to a module.
fn is_of(file: &str, module: &str) -> bool {
    let path = module.replace("::", "/");
    let rest = file.strip_prefix(&path);
    rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// Whether a line begins something unsafe. Comments do not count, nor does the lint's name.
fn has_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.match_indices("unsafe").any(|(place, word)| {
        let part = |c: char| c.is_alphanumeric() || c == '_';
        let before = code.get(..place).unwrap_or_default();
        let after = code.get(place + word.len()..).unwrap_or_default();
        let next = after.trim_start();
        let begins = next.starts_with(['{', '('])
            || next.is_empty()
            || ["fn", "impl", "extern", "trait"].iter().any(|word| {
                next.strip_prefix(word)
                    .is_some_and(|rest| !rest.starts_with(part))
            });
        !before.ends_with(part) && !after.starts_with(part) && begins
    })
}

#[cfg(test)]
mod tests {
    use super::{complaints, has_unsafe};
    use crate::tidy::tests::tree;

    const CRATES: &[(&str, &str)] = &[
        ("rules", "gateway/rules"),
        ("tls", "gateway/tls"),
        ("datapath", "gateway/datapath"),
        ("admin", "gateway/admin"),
        ("ebpf", "ebpf"),
        ("bench", "bench"),
        ("tests", "tests"),
    ];

    const SOUND: &[(&str, &str)] = &[
        ("gateway/rules/src/lib.rs", "mod program;\n"),
        ("gateway/rules/src/program/simd.rs", "unsafe { fast() }\n"),
        (
            "gateway/tls/src/lib.rs",
            "// SAFETY: unsafe { } is not here\n",
        ),
        (
            "gateway/tls/src/ffi/ticket.rs",
            "unsafe extern \"C\" fn seal() {}\n",
        ),
        ("gateway/tls/src/tests/tickets.rs", "unsafe { look() }\n"),
        ("gateway/datapath/src/io/mod.rs", "unsafe { submit() }\n"),
        (
            "gateway/datapath/src/memory.rs",
            "unsafe { mi_collect(true) }\n",
        ),
        (
            "gateway/datapath/src/steer.rs",
            "unsafe impl Send for Map {}\n",
        ),
        (
            "gateway/datapath/src/steering.rs",
            "#![expect(unsafe_code)]\n",
        ),
        (
            "gateway/admin/src/lib.rs",
            "//! The API.\n\n#![forbid(unsafe_code)]\n",
        ),
        ("ebpf/src/lib.rs", "unsafe impl Pod for Key {}\n"),
        ("bench/src/lib.rs", "unsafe { measure() }\n"),
        (
            "SECURITY.md",
            "`unsafe`: `rules::program::simd`, `tls::ffi`, `gateway/datapath/src/io/`, \
             `datapath::steer`, `datapath::memory`, `ebpf`.\n",
        ),
    ];

    fn check(changed: &str, text: &str) -> Vec<String> {
        let mut files = SOUND.to_vec();
        files.retain(|(name, _)| *name != changed);
        files.push((changed, text));
        complaints(&tree(&files, CRATES))
    }

    #[test]
    fn unsafe_stands_where_it_may_and_nowhere_else() {
        assert_eq!(complaints(&tree(SOUND, CRATES)), [""; 0]);
        for (file, text, expected) in [
            (
                "gateway/admin/src/lib.rs",
                "#![deny(unsafe_code)]\n",
                "gateway/admin/src/lib.rs: `#![forbid(unsafe_code)]`",
            ),
            (
                "gateway/admin/src/lib.rs",
                "// #![forbid(unsafe_code)]\n",
                "gateway/admin/src/lib.rs: `#![forbid(unsafe_code)]`",
            ),
            (
                "gateway/tls/src/session.rs",
                "fn f() {\n    unsafe { alert() }\n}\n",
                "gateway/tls/src/session.rs:2: `unsafe` may stand in ffi of `tls` only",
            ),
            (
                "gateway/datapath/src/steering.rs",
                "unsafe fn f() {}\n",
                "gateway/datapath/src/steering.rs:1: `unsafe` may stand in io and memory and steer",
            ),
            (
                "gateway/rules/src/program/simd.rs",
                "fn slow() {}\n",
                "xtask/src/tidy/unsafe_code.rs: `rules::program::simd` holds no `unsafe`",
            ),
            (
                "SECURITY.md",
                "`rules::program::simd`, `tls::ffi`, `datapath::io`, `datapath::memory`, `datapath::steer`\n",
                "SECURITY.md: `ebpf` holds `unsafe`",
            ),
            (
                "SECURITY.md",
                "`rules::program::simd`, `tls`, `datapath::io`, `datapath::memory`, `datapath::steer`, \
                 `ebpf`\n",
                "SECURITY.md: `tls::ffi` holds `unsafe`",
            ),
        ] {
            let found = check(file, text);
            assert_eq!(found.len(), 1, "{file}: {text}: {found:?}");
            assert!(found[0].starts_with(expected), "{found:?}");
        }
    }

    #[test]
    fn tests_of_a_crate_may_be_left_out_of_what_it_forbids() {
        let text = "//! The API.\n\n#![cfg_attr(not(test), forbid(unsafe_code))]\n";
        assert_eq!(check("gateway/admin/src/lib.rs", text), [""; 0]);
    }

    #[test]
    fn an_exception_of_a_crate_that_is_gone_is_complained_about() {
        let found = complaints(&tree(SOUND, &CRATES[1..]));
        assert_eq!(
            found,
            ["xtask/src/tidy/unsafe_code.rs: the workspace has no crate `rules`: mend the table"]
        );
    }

    #[test]
    fn unsafe_is_told_from_what_only_looks_like_it() {
        for (line, expected) in [
            ("    let x = unsafe { f() };", true),
            ("unsafe fn f() {", true),
            ("pub unsafe extern \"C\" fn f() {", true),
            ("unsafe impl Send for X {}", true),
            ("unsafe trait T {}", true),
            ("#[unsafe(no_mangle)]", true),
            ("    unsafe", true),
            ("#[expect(unsafe_code, reason = \"unsafe is said\")]", false),
            ("// unsafe { }", false),
            ("let unsafe_fn = not_unsafe {", false),
            ("\"an unsafe function\"", false),
        ] {
            assert_eq!(has_unsafe(line), expected, "{line}");
        }
    }
}
