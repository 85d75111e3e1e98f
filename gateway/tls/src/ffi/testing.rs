//! What tests ask of BoringSSL that nothing else does.

use boring::error::ErrorStack;
use boring::ssl::{SslRef, SslSessionRef};
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
