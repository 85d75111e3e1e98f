//! What OpenAPI asks of a document, and the page of routes.
//!
//! A second opinion is `openapi-spec-validator`'s, in the end-to-end tests.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;
use crate::openapi::page::page;

/// Calls `look` with every object of a tree, and where it is.
fn walk(value: &Value, at: &str, look: &mut impl FnMut(&str, &serde_json::Map<String, Value>)) {
    match value {
        Value::Object(fields) => {
            look(at, fields);
            for (key, value) in fields {
                walk(value, &format!("{at}/{key}"), look);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, at, look)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_used() {
    let mut used = BTreeSet::new();
    walk(&DOCUMENT, "", &mut |at, fields| {
        if let Some(Value::String(reference)) = fields.get("$ref") {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(DOCUMENT.pointer(pointer).is_some(), "{at}: {reference}");
            used.insert(pointer.to_owned());
        }
    });
    for name in DOCUMENT["components"]["schemas"]
        .as_object()
        .unwrap()
        .keys()
    {
        let pointer = format!("/components/schemas/{name}");
        assert!(used.contains(&pointer), "nothing uses {name}");
    }
    let names: Vec<&str> = super::super::schemas::all()
        .iter()
        .map(|(name, _)| *name)
        .collect();
    let distinct: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(names.len(), distinct.len(), "a schema is there twice");
}

#[test]
fn every_schema_is_one() {
    for (name, schema) in DOCUMENT["components"]["schemas"].as_object().unwrap() {
        assert!(jsonschema::draft202012::meta::is_valid(schema), "{name}");
        validator(&DOCUMENT, &format!("/components/schemas/{name}")).unwrap();
        validator(&STRICT, &format!("/components/schemas/{name}")).unwrap();
    }
    walk(&DOCUMENT, "", &mut |at, fields| {
        for name in fields
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let name = name.as_str().unwrap();
            assert!(fields["properties"].get(name).is_some(), "{at}: {name}");
        }
    });
}

#[test]
fn every_operation_is_whole() {
    let mut ids = BTreeSet::new();
    let tags: Vec<&Value> = DOCUMENT["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| &tag["name"])
        .collect();
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let operations: usize = paths
        .values()
        .map(|path| path.as_object().unwrap().len() - 1)
        .sum();
    assert_eq!(operations, routes::all().count(), "a row is there twice");
    for route in routes::all() {
        let what = format!("{} {}", route.method, route.path);
        let operation = DOCUMENT.pointer(&operation(route)).expect(&what);
        assert!(ids.insert(route.id), "{what}: {} is there twice", route.id);
        let is_plain = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(route.id.chars().all(is_plain), "{what}: {}", route.id);
        assert!(
            !route.summary.ends_with('.') && route.summary.len() < 100,
            "{what}"
        );
        assert!(tags.contains(&&operation["tags"][0]), "{what}");
        assert_eq!(
            operation["responses"]["4XX"]["$ref"],
            "#/components/responses/Failure"
        );
        let declared: Vec<&str> = paths[route.path]["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        let named: Vec<&str> = route.path_parameters().collect();
        assert_eq!(declared, named, "{what}");
        assert_eq!(route.path.matches('{').count(), named.len(), "{what}");
        let query = super::super::document::query(route);
        let distinct: BTreeSet<&str> = query.iter().map(|one| one.name).collect();
        assert_eq!(
            distinct.len(),
            query.len(),
            "{what}: a parameter is there twice"
        );
        assert!(route.method != "GET" || !route.dry_run, "{what}");
    }
}

const BEGIN: &str = "<!-- generated: routes -->";
const END: &str = "<!-- end -->";
/// Tells this test to write what it would find wanting.
const BLESS: &str = "POSTERN_BLESS";

/// The page, in the folder of the package or of one above it.
fn file() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all = package.ancestors().map(|folder| folder.join("docs/api.md"));
    all.into_iter()
        .find(|file| file.exists())
        .expect("docs/api.md is missing; it has to have the two lines of markers")
}

#[test]
fn the_page_lists_every_route() {
    let file = file();
    let text = std::fs::read_to_string(&file).unwrap();
    let begin = text.find(BEGIN).map(|at| at + BEGIN.len());
    let begin = begin.unwrap_or_else(|| panic!("{}: `{BEGIN}` is missing", file.display()));
    let end = text[begin..].find(END).map(|at| begin + at);
    let end = end.unwrap_or_else(|| panic!("{}: `{END}` is missing", file.display()));
    let wanted = format!("\n{}\n", page());
    if text[begin..end] == wanted {
        return;
    }
    if std::env::var_os(BLESS).is_some_and(|value| value == "1") {
        let whole = format!("{}{wanted}{}", &text[..begin], &text[end..]);
        std::fs::write(&file, whole).unwrap();
        return;
    }
    panic!(
        "{} is not what the table of routes says. Run this test with {BLESS}=1, or put between \
         the markers:\n{wanted}",
        file.display()
    );
}
