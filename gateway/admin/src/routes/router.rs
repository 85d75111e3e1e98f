//! The router: the table of routes with what surrounds every route.
//!
//! Owns the answers for unknown routes and methods, and puts failures that axum answers by itself
//! into the envelope. Does not own the table itself ([`super`]).

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};

use crate::api::description::Description;
use crate::http::context::Context;
use crate::http::fault::Fault;
use crate::http::{auth, envelope};

/// All routes of the table. `description` is the document that one of them serves.
pub(crate) fn router(context: Arc<Context>, description: Description) -> Router {
    super::of_the_table()
        .fallback(|uri: Uri| async move { Fault::no_route(uri.path()) })
        .method_not_allowed_fallback(|method: Method| async move {
            let message = format!("Method {method} not available for that URI");
            Fault::new(StatusCode::METHOD_NOT_ALLOWED, 7001, message)
        })
        .layer(Extension(description))
        .layer(from_fn_with_state(context.clone(), auth::admit))
        .layer(from_fn(wrap))
        .with_state(context)
}

/// Gives the envelope to failures that the framework answers by itself, and leaves the result out
/// of answers about what was only tried, as Cloudflare does, unless they count what would be lost.
async fn wrap(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let tried = path.starts_with("/client/v4/")
        && request.method() != Method::GET
        && request.uri().query().is_some_and(|query| {
            query
                .split('&')
                .any(|pair| matches!(pair, "dry_run=true" | "dry_run=1"))
        });
    let response = next.run(request).await;
    let status = response.status();
    let extensions = response.extensions();
    let tells_losses = extensions.get::<envelope::TellsLosses>().is_some();
    if tried && status == StatusCode::OK && !tells_losses {
        return envelope::result(serde_json::Value::Null);
    }
    let fails = status.is_client_error() || status.is_server_error();
    if !fails || response.extensions().get::<envelope::Enveloped>().is_some() {
        return response;
    }
    if status == StatusCode::BAD_REQUEST {
        // The only one that the framework makes by itself.
        return Fault::path().into_response();
    }
    let reason = status.canonical_reason().unwrap_or("the request failed");
    Fault::new(status, 1000, reason).into_response()
}
