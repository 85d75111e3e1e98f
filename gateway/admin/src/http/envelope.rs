//! The form of every answer: Cloudflare's envelope, and pages of lists.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

/// Marks answers that already have the envelope; everything else that fails gets one.
#[derive(Clone, Copy)]
pub(crate) struct Enveloped;

/// Marks answers that say what is lost for good. Whoever only tries the change asks for nothing else.
#[derive(Clone, Copy)]
pub(crate) struct TellsLosses;

/// What a result is in.
#[derive(Serialize)]
struct Envelope<T> {
    success: bool,
    errors: [Value; 0],
    messages: Vec<Value>,
    result: T,
}

/// The code of all messages. Cloudflare has none for what these are about.
const MESSAGE: u32 = 10_000;

/// A result.
pub(crate) fn result(value: impl Serialize) -> Response {
    result_with(value, Vec::new())
}

/// A result that says what is lost for good, before the change as well as after it.
pub(crate) fn losses(value: impl Serialize) -> Response {
    let mut response = result(value);
    response.extensions_mut().insert(TellsLosses);
    response
}

/// A result that is JSON already.
pub(crate) fn result_text(json: &str) -> Response {
    let whole = format!(r#"{{"success":true,"errors":[],"messages":[],"result":{json}}}"#);
    let kind = [(header::CONTENT_TYPE, "application/json")];
    let mut response = (StatusCode::OK, kind, whole).into_response();
    response.extensions_mut().insert(Enveloped);
    response
}

/// A result, and what else there is to say: with Cloudflare's code for it.
pub(crate) fn result_with(value: impl Serialize, messages: Vec<(u32, &str)>) -> Response {
    let message = |(code, message)| json!({ "code": code, "message": message });
    let envelope = Envelope {
        success: true,
        errors: [],
        messages: messages.into_iter().map(message).collect(),
        result: value,
    };
    finish(StatusCode::OK, envelope)
}

/// A result, with what a person should know of the change that was made.
pub(crate) fn told(value: impl Serialize, messages: Vec<String>) -> Response {
    let messages = messages.iter().map(|message| (MESSAGE, message.as_str()));
    result_with(value, messages.collect())
}

/// A part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    /// Its number, from 1.
    pub(crate) page: usize,
    /// How many items it has at most.
    pub(crate) size: usize,
    /// How many items come before it.
    pub(crate) start: usize,
}

impl Page {
    /// This part of `all`.
    pub(crate) fn of<T>(&self, all: impl Iterator<Item = T>) -> Vec<T> {
        all.skip(self.start).take(self.size).collect()
    }
}

/// A page of a list with `total` items in all.
pub(crate) fn list(items: Vec<Value>, page: &Page, total: usize) -> Response {
    let info = json!({
        "page": page.page,
        "per_page": page.size,
        "count": items.len(),
        "total_count": total,
        "total_pages": total.div_ceil(page.size.max(1)),
    });
    finish(
        StatusCode::OK,
        json!({
            "success": true, "errors": [], "messages": [], "result": items, "result_info": info,
        }),
    )
}

/// A part of a list with the cursor of the next one.
pub(crate) fn cursor_list(items: Vec<Value>, after: Option<&str>) -> Response {
    let info = json!({
        "count": items.len(),
        "per_page": items.len(),
        "cursors": { "after": after.unwrap_or_default() },
    });
    finish(
        StatusCode::OK,
        json!({
            "success": true, "errors": [], "messages": [], "result": items, "result_info": info,
        }),
    )
}

/// A failure.
pub(crate) fn failure(
    status: StatusCode,
    code: u32,
    message: &str,
    pointer: Option<&str>,
) -> Response {
    let mut error = json!({ "code": code, "message": message });
    if let (Some(pointer), Some(error)) = (pointer, error.as_object_mut()) {
        error.insert("source".into(), json!({ "pointer": pointer }));
    }
    finish(
        status,
        json!({
            "success": false, "errors": [error], "messages": [], "result": null,
        }),
    )
}

fn finish(status: StatusCode, body: impl Serialize) -> Response {
    let mut response = (status, Json(body)).into_response();
    response.extensions_mut().insert(Enveloped);
    response
}
