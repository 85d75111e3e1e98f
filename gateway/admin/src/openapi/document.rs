//! The OpenAPI 3.1 document of the table of routes
//! (<https://spec.openapis.org/oas/v3.1.1.html>).

use serde_json::{Map, Value, json};

use super::schema::{Schema, count, flag, list, named, object, text, words};
use super::schemas;
use crate::limits::{PER_PAGE_DEFAULT, PER_PAGE_MAX};
use crate::routes::{self, Answer, Body, Kind, Need, Parameter, Route};

const JSON: &str = "application/json";

/// What stands at the top.
const ABOUT: &str = "\
The admin API of Postern, a mutual-TLS gateway. What is under `/client/v4` has the shapes of \
Cloudflare's API, so that Cloudflare's published clients work; what is under `/postern/v1` has no \
counterpart there.

Over TCP, a request needs a token with the scope that its operation names, and a `Host` header \
that is `localhost`, a loopback address or a name of the API's own certificate. Requests from web \
pages are refused, but for the dashboard's own. A token that is for some zones is refused outside of them. Over the unix \
socket no token is needed: the socket's mode decides who may connect.

Every answer but those of health checks, metrics, downloads and this document is in one envelope. \
Members may be added to answers; members that a request body does not list are refused where its \
schema says so.";

/// The whole document.
pub(super) fn document() -> Value {
    let tags: Vec<Value> = routes::groups()
        .map(|group| json!({ "name": group.name, "description": group.about }))
        .collect();
    let schemas: Map<String, Value> = schemas::all()
        .into_iter()
        .map(|(name, schema)| (name.to_owned(), schema.into_value()))
        .collect();
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Postern admin API",
            "version": vocabulary::version(),
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "jsonSchemaDialect": "https://spec.openapis.org/oas/3.1/dialect/base",
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }, { "key": [] }],
        "tags": tags,
        "paths": paths(),
        "components": {
            "schemas": schemas,
            "responses": {
                "Failure": {
                    "description": "What is wrong",
                    "content": { JSON: { "schema": named("Failure").into_value() } },
                },
            },
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token, as `postern token create` makes it",
                },
                "key": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-Auth-Key",
                    "description": "The same token, as Cloudflare's older clients send it; \
                                    `X-Auth-Email` may stand beside it and means nothing",
                },
            },
        },
    })
}

fn paths() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for group in routes::groups() {
        for route in group.routes {
            let path = paths
                .entry(route.path)
                .or_insert_with(|| json!({ "parameters": in_path(route) }));
            if let Some(path) = path.as_object_mut() {
                let method = route.method.to_ascii_lowercase();
                path.insert(method, operation(route, group.name));
            }
        }
    }
    paths.into()
}

fn operation(route: &Route, tag: &str) -> Value {
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.summary,
        "tags": [tag],
        "security": security(route.needs),
        "responses": responses(route),
    });
    let query: Vec<Value> = query(route).iter().map(in_query).collect();
    let described = match route.needs {
        Need::Socket => Some("Taken over the unix socket only."),
        _ => None,
    };
    if let Some(fields) = operation.as_object_mut() {
        if !query.is_empty() {
            fields.insert("parameters".into(), query.into());
        }
        if let Some(body) = request_body(route) {
            fields.insert("requestBody".into(), body);
        }
        if let Some(text) = described {
            fields.insert("description".into(), text.into());
        }
    }
    operation
}

/// The scope stands where OpenAPI 3.1 has a place for it: as a role that is needed.
fn security(needs: Need) -> Value {
    match needs {
        Need::Nothing | Need::Socket => json!([]),
        _ => {
            let scopes = [needs.as_str()];
            json!([{ "token": scopes }, { "key": scopes }])
        }
    }
}

fn in_path(route: &Route) -> Vec<Value> {
    let parameters = route.path_parameters().map(|name| {
        json!({
            "name": name,
            "in": "path",
            "required": true,
            "schema": path_schema(name).into_value(),
        })
    });
    parameters.collect()
}

/// What stands in a path in the place of a name.
pub(super) fn path_schema(name: &str) -> Schema {
    match name {
        "certificate_id" | "ca_id" => named("Uuid"),
        "phase" => named("Phase"),
        "version" => count(),
        "host" => named("HostName"),
        "key" => text().about("A key of the configuration, such as `timeout.idle`"),
        _ => named("Id"),
    }
}

/// All parameters of a route's query: its own, and what comes with its answer.
pub(super) fn query(route: &Route) -> Vec<Parameter> {
    let mut all: Vec<Parameter> = route.query.to_vec();
    let (pages, cursor) = match route.answer {
        Answer::Page(_) => (true, false),
        Answer::Cursor(_) => (false, true),
        Answer::PageOrCursor(_) => (true, true),
        _ => (false, false),
    };
    if pages {
        all.push(Parameter::new(
            "page",
            Kind::AtLeast(1),
            "Which page, from 1",
        ));
    }
    if pages || cursor {
        all.push(Parameter::new("per_page", Kind::AtLeast(1), PER_PAGE));
        let limit = "The same as `per_page`; the smaller one counts";
        all.push(Parameter::new("limit", Kind::AtLeast(1), limit));
    }
    if pages {
        let offset = "How many items to leave out before the first page";
        all.push(Parameter::new("offset", Kind::AtLeast(0), offset));
    }
    if cursor {
        let about = "Where to go on: `result_info.cursors.after` of the answer before";
        all.push(Parameter::new("cursor", Kind::Text, about));
    }
    if route.dry_run {
        let about = "Only try it: what would be refused is refused, and nothing is changed";
        all.push(Parameter::new("dry_run", Kind::Flag, about));
    }
    all
}

const PER_PAGE: &str = "Items of a page, 20 by default and 1000 at most";
/// The text above says both.
const _: () = assert!(PER_PAGE_DEFAULT == 20 && PER_PAGE_MAX == 1000);

fn in_query(parameter: &Parameter) -> Value {
    let schema = match parameter.kind {
        Kind::Text => text(),
        Kind::Flag => flag(),
        Kind::Time => named("Time"),
        Kind::Uuid => named("Uuid"),
        Kind::AtLeast(least) => count().least(least),
        Kind::OneOf(all) => words(all.iter().copied()),
    };
    json!({
        "name": parameter.name,
        "in": "query",
        "description": parameter.about,
        "schema": schema.into_value(),
    })
}

fn request_body(route: &Route) -> Option<Value> {
    let json = |name| json!({ JSON: { "schema": named(name).into_value() } });
    let about = format!("At most {}.", bytes(route.body_max));
    Some(match route.body {
        Body::None => return None,
        Body::Json(name) => {
            json!({ "description": about, "required": true, "content": json(name) })
        }
        Body::MaybeJson(name) => json!({ "description": about, "content": json(name) }),
        Body::Crl(name) => json!({ "description": about, "required": true, "content": {
            "application/pkix-crl": {},
            "application/x-pem-file": { "schema": { "type": "string" } },
            JSON: { "schema": named(name).into_value() },
        } }),
    })
}

/// A size, in the largest unit that it is whole in.
pub(super) fn bytes(count: usize) -> String {
    match count {
        _ if count.is_multiple_of(1 << 20) => format!("{} MiB", count >> 20),
        _ if count.is_multiple_of(1 << 10) => format!("{} KiB", count >> 10),
        _ => format!("{count} bytes"),
    }
}

fn responses(route: &Route) -> Value {
    let failure = json!({ "$ref": "#/components/responses/Failure" });
    let mut responses = json!({ "4XX": failure, "5XX": failure });
    if let Some(fields) = responses.as_object_mut() {
        let (status, response) = success(route);
        fields.insert(status.into(), response);
        if let Answer::MediaOr503(kind) = route.answer {
            fields.insert("503".into(), media(kind, "It is not so now"));
        }
    }
    responses
}

fn success(route: &Route) -> (&'static str, Value) {
    const DONE: &str = "It is done";
    match route.answer {
        Answer::Nothing => ("204", json!({ "description": DONE })),
        Answer::Media(kind) | Answer::MediaOr503(kind) => ("200", media(kind, DONE)),
        answer => {
            let schema = enveloped(answer, route.is_silent_when_tried()).into_value();
            let content = json!({ JSON: { "schema": schema } });
            ("200", json!({ "description": DONE, "content": content }))
        }
    }
}

/// An answer without an envelope.
fn media(kind: &str, about: &str) -> Value {
    let content = if kind == JSON {
        json!({ "schema": { "type": "object" } })
    } else if kind.contains("charset=") {
        json!({ "schema": { "type": "string" } })
    } else {
        // Bytes: OpenAPI 3.1 describes them by the media type alone.
        json!({})
    };
    json!({ "description": about, "content": { kind: content } })
}

/// The envelope around a result.
fn enveloped(answer: Answer, may_be_tried: bool) -> Schema {
    let (result, info) = match answer {
        Answer::One(name) => (named(name), None),
        Answer::All(name) => (list(named(name)), None),
        Answer::Page(name) => (list(named(name)), Some("PageInfo")),
        Answer::Cursor(name) => (list(named(name)), Some("CursorInfo")),
        Answer::PageOrCursor(name) => (list(named(name)), Some("PageOrCursorInfo")),
        Answer::Nothing | Answer::Media(_) | Answer::MediaOr503(_) => {
            (super::schema::nothing(), None)
        }
    };
    let result = match may_be_tried {
        true => result.or_null().about("`null` after `dry_run=true`"),
        false => result,
    };
    let envelope = object()
        .has("success", flag().only(true))
        .has("errors", named("NoErrors"))
        .has("messages", named("Messages"))
        .has("result", result);
    match info {
        Some(info) => envelope.has("result_info", named(info)).into(),
        None => envelope.into(),
    }
}
