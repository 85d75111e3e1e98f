//! What the API says of itself: the OpenAPI 3.1 document that it serves, and the page of routes
//! for people.
//!
//! Owns the schemas and the two forms in which the table of routes ([`super::routes`]) is read.
//! The document is the same in every gateway of one version: nothing configured is in it.

mod document;
#[cfg(test)]
mod page;
mod schema;
mod schemas;
#[cfg(test)]
pub(super) mod tests;

use std::sync::LazyLock;

use axum::body::Bytes;

/// The document's text.
pub(super) fn text() -> Bytes {
    // It takes some milliseconds to make and never changes.
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| document::document().to_string().into());
    TEXT.clone()
}
