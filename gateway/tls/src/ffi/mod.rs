//! The BoringSSL seam: every call that `boring` has no safe function for, behind one that is safe.
//!
//! All `unsafe` of this crate is in this folder, and nothing else is: what is decided (which host,
//! who is believed, which key seals a ticket) is decided outside and reached through the traits of
//! the callbacks.
//!
//! | file | owns |
//! |---|---|
//! | `buffer` | certificates as bytes that BoringSSL counts the owners of |
//! | `credential` | a context's certificate chain and key |
//! | `callback` | what BoringSSL calls: for a client's certificates, for handshake messages |
//! | `ticket` | what BoringSSL calls to seal and to open session tickets |
//! | `aead` | the cipher that they are sealed with |
//! | `setting` | single settings of contexts, connections, sessions |
//! | `verification` | the purpose of a verification, and what a certificate's extensions say |

mod aead;
mod buffer;
mod callback;
mod credential;
mod setting;
#[cfg(test)]
pub(crate) mod testing;
mod ticket;
mod verification;

pub(crate) use self::aead::{Aead, KEY_BYTES, NONCE_BYTES, TAG_BYTES, wipe};
pub(crate) use self::buffer::{Buffer, client_certificates, set_client_issuers};
pub(crate) use self::callback::{
    Answer, ClientVerifier, MessageReader, read_messages, verify_clients,
};
pub(crate) use self::credential::add_credential;
pub use self::setting::sign_without_digest;
pub(crate) use self::setting::{
    buffered_method, send_fatal_alert, set_certificate_bytes_max, set_session_lifetime,
    set_session_lifetimes, set_ticket_count,
};
pub(crate) use self::ticket::{TicketSealer, seal_tickets};
pub(crate) use self::verification::{extension_facts, leave_constraints, set_purpose_tls_client};
