//! Sockets, authentication and the wire format: what all resources of the API share. They know no
//! resource: the router takes them from the table ([`crate::routes`]).

pub(crate) mod auth;
pub(crate) mod context;
pub(crate) mod envelope;
pub(crate) mod fault;
pub(crate) mod file_body;
pub(crate) mod listener;
pub(crate) mod memory;
pub(crate) mod objects;
pub(crate) mod query;
mod rates;
pub(crate) mod scope;
pub(crate) mod seats;
pub(crate) mod server;
pub(crate) mod sessions;
pub(crate) mod tls;
