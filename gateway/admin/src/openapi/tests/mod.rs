//! The document against OpenAPI's rules and against the API itself.
//!
//! [`check`] looks at every request and every answer of every test of the API, so that the
//! document cannot say something else than the handlers do.

mod everything;
mod structure;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::Validator;
use serde_json::{Value, json};

use super::document::document;
use crate::routes::{self, Answer, Body, Route};

static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

/// The document for answers: what is not in it must not be in them.
static STRICT: LazyLock<Value> = LazyLock::new(|| {
    let mut document = document();
    close(&mut document);
    document
});

fn close(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(close);
            if fields.contains_key("type") && fields.contains_key("properties") {
                fields
                    .entry("additionalProperties")
                    .or_insert_with(|| false.into());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// The validator of the schema at a JSON pointer. Made once.
fn validator(document: &'static LazyLock<Value>, pointer: &str) -> Option<Arc<Validator>> {
    type Key = (bool, String);
    static MADE: LazyLock<Mutex<HashMap<Key, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    let key = (
        std::ptr::eq(document, &raw const STRICT),
        pointer.to_owned(),
    );
    let known = MADE.lock().unwrap().get(&key).cloned();
    if known.is_some() {
        return known;
    }
    let mut schema = document.pointer(pointer)?.clone();
    schema["components"] = document["components"].clone();
    let made = jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .should_validate_formats(true)
        .build(&schema)
        .unwrap_or_else(|why| panic!("{pointer}: {why}"));
    let made = Arc::new(made);
    MADE.lock().unwrap().insert(key, made.clone());
    Some(made)
}

fn wrong(validator: &Validator, value: &Value) -> String {
    let all = validator.iter_errors(value);
    all.map(|why| format!("\n  at `{}`: {why}", why.instance_path()))
        .collect()
}

fn escaped(text: &str) -> String {
    text.replace('~', "~0").replace('/', "~1")
}

fn operation(route: &Route) -> String {
    let method = route.method.to_ascii_lowercase();
    format!("/paths/{}/{method}", escaped(route.path))
}

/// The route that answers a request: words go before names.
fn route(method: &str, path: &str) -> Option<&'static Route> {
    let path = path.split('?').next().unwrap_or_default();
    let fits = |route: &&Route| {
        let is_name = |segment: &str| segment.starts_with('{');
        route.method == method
            && route.path.split('/').count() == path.split('/').count()
            && route
                .path
                .split('/')
                .zip(path.split('/'))
                .all(|(ours, theirs)| {
                    if is_name(ours) {
                        !theirs.is_empty()
                    } else {
                        ours == theirs
                    }
                })
    };
    let mut all: Vec<_> = routes::all().filter(fits).collect();
    all.sort_by_key(|route| route.path_parameters().count());
    all.first().copied()
}

thread_local! {
    /// The operations that were answered as they should, in the test that runs on this thread.
    static ANSWERED: RefCell<BTreeSet<&'static str>> = RefCell::default();
}

/// Holds a request and its answer against the document.
///
/// # Panics
/// They are not as it says.
pub(crate) fn check(method: &str, path: &str, sent: &[u8], status: u16, text: &str) {
    let shown: String = text.chars().take(2_000).collect();
    let what = format!("{method} {path}: {status} {shown}");
    let is_wordless = method == "HEAD" || path == "/readyz";
    if status >= 400 {
        if !is_wordless {
            let value: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("{what}"));
            let failure = validator(&STRICT, "/components/schemas/Failure").unwrap();
            let wrong = wrong(&failure, &value);
            assert!(wrong.is_empty(), "{what}{wrong}");
        }
        return;
    }
    if method == "HEAD" {
        return;
    }
    let route = route(method, path).unwrap_or_else(|| panic!("{what}: it is in no row"));
    ANSWERED.with_borrow_mut(|answered| answered.insert(route.id));
    match route.answer {
        Answer::Nothing => assert_eq!((status, text), (204, ""), "{what}"),
        Answer::Media(_) | Answer::MediaOr503(_) => assert_eq!(status, 200, "{what}"),
        _ => {
            let value: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("{what}"));
            let schema = format!(
                "{}/responses/{status}/content/application~1json/schema",
                operation(route)
            );
            let schema = validator(&STRICT, &schema);
            let schema = schema.unwrap_or_else(|| panic!("{what}: no such answer is declared"));
            let wrong = wrong(&schema, &value);
            assert!(wrong.is_empty(), "{what}{wrong}");
        }
    }
    // Whatever was taken must be what the document allows.
    let sent: Option<Value> = serde_json::from_slice(sent).ok();
    if let (Some(sent), Body::Json(_) | Body::MaybeJson(_) | Body::Crl(_)) = (sent, route.body) {
        let schema = format!(
            "{}/requestBody/content/application~1json/schema",
            operation(route)
        );
        let wrong = wrong(&validator(&DOCUMENT, &schema).unwrap(), &sent);
        let sent: String = sent.to_string().chars().take(2_000).collect();
        assert!(wrong.is_empty(), "{what}: it was taken: {sent}{wrong}");
    }
}

#[test]
fn what_is_not_as_declared_is_found() {
    let zones = "/client/v4/zones";
    let envelope = |result: Value| {
        json!({"success": true, "errors": [], "messages": [], "result": result}).to_string()
    };
    let account = json!({"id": "0".repeat(32), "name": "postern", "type": "standard"});
    let info = json!({"page": 1, "per_page": 20, "count": 1, "total_count": 1, "total_pages": 1});
    let good = json!({"success": true, "errors": [], "messages": [], "result": [account],
        "result_info": info});
    check("GET", "/client/v4/accounts", b"", 200, &good.to_string());
    let mut more = good.clone();
    more["result"][0]["more"] = 1.into();
    let mut less = good.clone();
    less["result"][0].as_object_mut().unwrap().remove("name");
    let mut upper = good.clone();
    upper["result"][0]["id"] = "z".repeat(32).into();
    let mut bare = good;
    bare.as_object_mut().unwrap().remove("result_info");
    for (method, path, sent, status, text) in [
        ("GET", "/client/v4/accounts", "", 200, more.to_string()),
        ("GET", "/client/v4/accounts", "", 200, less.to_string()),
        ("GET", "/client/v4/accounts", "", 200, upper.to_string()),
        ("GET", "/client/v4/accounts", "", 200, bare.to_string()),
        ("GET", "/client/v4/accounts", "", 418, "teapot".to_owned()),
        ("GET", zones, "", 404, envelope(Value::Null)),
        ("PUT", zones, "", 200, envelope(Value::Null)),
        // Only a change that may be tried is answered without a result.
        ("GET", "/postern/v1/status", "", 200, envelope(Value::Null)),
        ("POST", zones, "{}", 200, envelope(Value::Null)),
        ("POST", zones, "{\"name\": 7}", 200, envelope(Value::Null)),
    ] {
        let found =
            std::panic::catch_unwind(|| check(method, path, sent.as_bytes(), status, &text));
        assert!(found.is_err(), "{method} {path} {status} {text}");
    }
    check(
        "POST",
        zones,
        b"{\"name\": \"a.test\"}",
        200,
        &envelope(Value::Null),
    );
}
