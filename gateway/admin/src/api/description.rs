//! `GET /client/v4/openapi.json`: the API, as a document for tools.
//!
//! Serves what it is given; the document is made of the table of routes, which rests on this folder
//! ([`crate::openapi`]).

use axum::Extension;
use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};

/// Makes the document, or has it already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Description(pub(crate) fn() -> Bytes);

pub(crate) async fn serve(Extension(Description(text)): Extension<Description>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text()).into_response()
}
