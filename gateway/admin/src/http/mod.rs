//! Sockets, authentication and the wire format: what every resource of the API shares. Nothing
//! here knows a resource, but for the router.

pub(crate) mod auth;
pub(crate) mod context;
pub(crate) mod envelope;
pub(crate) mod fault;
pub(crate) mod listener;
pub(crate) mod query;
mod rates;
mod router;
pub(crate) mod scope;
pub(crate) mod server;
pub(crate) mod tls;
