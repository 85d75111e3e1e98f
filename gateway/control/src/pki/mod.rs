//! Certificates, requests, keys and revocation lists, read and made with BoringSSL. What knows X.509
//! and nothing of the store belongs here.

pub(crate) mod ca_key;
pub(crate) mod chain;
pub(crate) mod crl;
pub(crate) mod csr;
pub(crate) mod details;
pub(crate) mod origin_chain;
pub(crate) mod uploaded_crl;
pub(crate) mod x509;
