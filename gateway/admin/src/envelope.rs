//! The form of every answer: Cloudflare's envelope.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use super::query::Page;

/// Marks answers that already have the envelope; everything else that fails gets one.
#[derive(Clone, Copy)]
pub(super) struct Enveloped;

/// What a result is in.
#[derive(Serialize)]
struct Envelope<T> {
    success: bool,
    errors: [Value; 0],
    messages: [Value; 0],
    result: T,
}

/// A result.
pub(super) fn result(value: impl Serialize) -> Response {
    let envelope = Envelope {
        success: true,
        errors: [],
        messages: [],
        result: value,
    };
    finish(StatusCode::OK, envelope)
}

/// A page of a list with `total` items in all.
pub(super) fn list(items: Vec<Value>, page: &Page, total: usize) -> Response {
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
pub(super) fn cursor_list(items: Vec<Value>, after: Option<&str>) -> Response {
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
pub(super) fn failure(
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
