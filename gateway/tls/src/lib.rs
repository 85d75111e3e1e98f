//! TLS: the host of a connection, its certificate, the client's identity, and whether to believe it.
//!
//! Bytes go in and out through [`Wire`], and the time of verification is an argument. This crate
//! does no I/O and reads no clock, so that all of it can be tested and fuzzed without a socket.
//! All `unsafe` is in `ffi`.
//!
//! | file | owns |
//! |---|---|
//! | `algorithms` | signature algorithms, key exchange groups and suites that are offered |
//! | `site` | one host's context: certificates, keys, protocol settings |
//! | `chain` | certificates as the bytes that were sent |
//! | `ffi` | the BoringSSL seam: all `unsafe` of the crate, behind safe functions |
//! | `endpoint` | what a handshake needs of a host |
//! | `handshake` | the handshake, from a connection's first byte to its host and its client |
//! | `challenge` | what a name shows to an ACME server that checks it (TLS-ALPN-01) |
//! | `callbacks` | what BoringSSL calls meanwhile: for the ClientHello, for client certificates |
//! | `refusal` | why a handshake did not succeed |
//! | `session`, `wire` | an established connection: plaintext on one side, [`Wire`] on the other |
//! | `trust`, `verify` | CA sets, and the verifier |
//! | `anchor` | the limits that an anchor's own certificate sets, for warnings at its upload |
//! | `candidates`, `constraints` | the paths that a chain may take; name constraints of every type |
//! | `ids` | identifiers of certificates and CAs: digests, names, serial numbers |
//! | `der` | the elements that lists and answers are made of |
//! | `pem` | the reader and the writer of PEM |
//! | `crl` | revocation lists: read, checked, kept small |
//! | `presented` | the leaf as it was sent, for records of handshakes that BoringSSL ends itself |
//! | `ocsp` | questions about certificates, and the answers that were believed |
//! | `path` | the memory of paths that were verified |
//! | `identity` | the client's certificate as rules, logs and origins see it |
//! | `ticket` | the keys of session tickets, shared by all workers and rotated |
//! | `origin` | TLS towards origins |

#![deny(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

mod algorithms;
mod anchor;
mod asked;
mod callbacks;
mod candidates;
mod chain;
mod challenge;
mod constraints;
mod crl;
mod der;
mod endpoint;
#[expect(
    unsafe_code,
    reason = "the BoringSSL seam: boring has no safe calls for it"
)]
mod ffi;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod handshake;
mod identity;
mod ids;
pub mod limits;
mod ocsp;
mod origin;
mod path;
pub mod pem;
mod presented;
mod refusal;
mod session;
mod site;
#[expect(
    clippy::disallowed_types,
    reason = "rotation is the control plane's, once in hours; handshakes only load"
)]
mod ticket;
mod trust;
mod verify;
mod wire;

#[cfg(test)]
mod tests;

pub use algorithms::{Groups, GroupsError, Protocol};
pub use anchor::AnchorLimit;
pub use asked::Unasked;
pub use chain::Chain;
pub use challenge::Challenge;
pub use crl::{
    Crl, CrlError, CrlPolicy, CrlSet, ListError, Scope, is_newer, read_lists, split_lists,
};
pub use endpoint::{Endpoint, Endpoints};
pub use ffi::sign_without_digest;
pub use handshake::{AcceptSettings, Acceptor, Established};
pub use identity::{read_client, with_verification};
pub use ids::{CaId, Denied, Serial, issuer_digest};
pub use ocsp::{
    Answer, Answers, CertId, CertStatus, NONCE_BYTES, OcspError, OcspQuestion, OcspSubject,
    Responder, Staple, Stapling, StaplingError,
};
pub use origin::{Alpn, ClientIdentity, OriginFlaw, OriginTls, OriginTlsError, OriginTlsSpec};
pub use path::forget_paths;
pub use refusal::{HandshakeError, Refusal};
pub use session::{HandshakeFailure, Session};
pub use site::{ServerIdentity, Site, SiteError, SiteSpec};
pub use ticket::{TicketKeys, TicketSecrets};
pub use trust::{Anchor, Trust, TrustError};
pub use verify::{Verification, verify, verify_afresh, verify_again};
pub use wire::Wire;
