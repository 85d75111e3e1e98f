//! The whole API: the sockets, the routes and the document that describes them, put together.

use std::sync::Arc;

use axum::Extension;

use crate::api::description::Description;
use crate::api::doctor::Inside;
use crate::events;
use crate::http::context::{Context, State};
use crate::http::listener::{Bound, Listen, ServeError};
use crate::http::server::serve_router;
use crate::latency;
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
    let (events, reader) = (state.events.clone(), state.control.reader());
    let workers = state.workers.clone();
    let context = Arc::new(Context::new(state, &bound));
    let gathered = events::gather(context.history.clone(), events, reader);
    let timed = latency::gather(context.series.clone(), workers);
    let router = router(context, Description(openapi::text));
    let router = router.clone().layer(Extension(Inside(router)));
    tokio::select! {
        () = serve_router(bound, router) => {}
        () = gathered => {}
        () = timed => {}
    }
}
