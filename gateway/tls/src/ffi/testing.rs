//! What tests ask of BoringSSL that nothing else does.

use boring::error::ErrorStack;
use boring::ssl::{SslContextBuilder, SslRef, SslSessionRef};
use foreign_types::ForeignTypeRef;

/// How many names of CAs a server has shown to this client.
pub(crate) fn shown_issuers(client: &SslRef) -> usize {
    // SAFETY: the `SSL` is borrowed here and so is alive; the list belongs to it.
    let list = unsafe { boring_sys::SSL_get_client_CA_list(client.as_ptr()) };
    if list.is_null() {
        return 0;
    }
    // SAFETY: not null, and from `SSL_get_client_CA_list` just now.
    unsafe { boring_sys::OPENSSL_sk_num(list.cast()) }
}

/// Makes a client offer this session. All contexts of these tests have the same settings.
pub(crate) fn set_session(client: &mut SslRef, session: &SslSessionRef) -> Result<(), ErrorStack> {
    // SAFETY: the session comes from a context with the same settings.
    unsafe { client.set_session(session) }
}

/// Whether there is a ticket in it.
pub(crate) fn has_ticket(session: &SslSessionRef) -> bool {
    // SAFETY: the session is alive, and only read.
    let has = unsafe { boring_sys::SSL_SESSION_has_ticket(session.as_ptr()) };
    has == 1
}

/// Whether it may be used for early data.
pub(crate) fn is_early_data_capable(session: &SslSessionRef) -> bool {
    // SAFETY: the session is alive, and only read.
    let capable = unsafe { boring_sys::SSL_SESSION_early_data_capable(session.as_ptr()) };
    capable == 1
}

/// Makes a client sign with this algorithm (RFC 8446 §4.2.3) and no other.
pub(crate) fn set_signing_algorithm(builder: &mut SslContextBuilder, algorithm: u16) {
    // SAFETY: the builder owns a live context; one number is read, and copied.
    let done = unsafe {
        boring_sys::SSL_CTX_set_signing_algorithm_prefs(builder.as_ptr(), &raw const algorithm, 1)
    };
    assert_eq!(done, 1, "{}", ErrorStack::get());
}

/// The error of a handshake that BoringSSL ends for this reason (`SSL_R_…`).
pub(crate) fn tls_error(reason: i32) -> boring::ssl::Error {
    let library = i32::try_from(boring_sys::ERR_LIB_SSL.0).unwrap();
    // SAFETY: plain numbers, and a text that lives as long as the program.
    unsafe { boring_sys::ERR_put_error(library, 0, reason, c"testing.rs".as_ptr(), 1) };
    ErrorStack::get().into()
}
