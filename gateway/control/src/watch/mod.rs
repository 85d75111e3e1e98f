//! What the daemon's maintenance calls now and then: certificates and lists near their end, files
//! that are written and read. What looks at the clock again and again belongs here.

pub(crate) mod crl_files;
pub(crate) mod crl_sources;
pub(crate) mod expiry;
