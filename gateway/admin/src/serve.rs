//! The whole API: the sockets, the routes and the document that describes them, put together.

use std::sync::Arc;

use crate::api::description::Description;
use crate::http::context::{Context, State};
use crate::http::listener::{Bound, Listen, ServeError};
use crate::http::server::serve_router;
use crate::openapi;
use crate::routes::router::router;

/// Binds the sockets; the future that comes back serves the API until it is dropped.
///
/// # Errors
/// The sockets cannot be bound, see [`ServeError`].
pub async fn serve(
    listen: Listen,
    state: State,
) -> Result<impl Future<Output = ()> + Send + 'static, ServeError> {
    let bound = Bound::bind(&listen).await?;
    Ok(serve_bound(bound, state))
}

/// Serves the API on sockets that were bound before, until the future is dropped.
pub async fn serve_bound(bound: Bound, state: State) {
    let context = Arc::new(Context::new(state, &bound));
    let router = router(context, Description(openapi::text));
    serve_router(bound, router).await;
}
