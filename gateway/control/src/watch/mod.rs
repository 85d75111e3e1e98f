//! What the daemon's maintenance calls periodically: expiry of certificates and lists, files read
//! and written. What runs on a timer belongs here.

pub(crate) mod crl_files;
pub(crate) mod crl_sources;
pub(crate) mod expiry;
