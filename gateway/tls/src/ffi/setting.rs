//! Single settings that boring has no safe call for.

use std::time::Duration;

use boring::error::ErrorStack;
use boring::hash::MessageDigest;
use boring::pkey::{PKeyRef, Private};
use boring::ssl::{SslContextBuilder, SslMethod, SslRef};
use boring::x509::X509Builder;
use foreign_types::ForeignTypeRef;

/// The method of server contexts: they keep certificates as bytes and make no X509 objects.
pub(crate) fn buffered_method() -> SslMethod {
    // SAFETY: connections of these contexts are asked for their certificates by
    // `client_certificates` alone, in bytes; nothing makes BoringSSL verify a chain of theirs or
    // hands it an X509.
    unsafe { SslMethod::tls_with_buffer() }
}

/// How many tickets a full handshake gives.
pub(crate) fn set_ticket_count(builder: &mut SslContextBuilder, tickets: usize) {
    // SAFETY: `SSL_CTX_set_num_tickets` wants a live context; the builder owns one.
    unsafe {
        boring_sys::SSL_CTX_set_num_tickets(builder.as_ptr(), tickets);
    }
}

/// How long sessions of both versions live, and so chains of tickets resumed from tickets.
pub(crate) fn set_session_lifetimes(builder: &mut SslContextBuilder, lifetime: Duration) {
    let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
    // SAFETY: `SSL_CTX_set_timeout` wants a live context; the builder owns one.
    unsafe {
        boring_sys::SSL_CTX_set_timeout(builder.as_ptr(), seconds);
    }
    // SAFETY: as above, for sessions of TLS 1.3.
    unsafe {
        boring_sys::SSL_CTX_set_session_psk_dhe_timeout(builder.as_ptr(), seconds);
    }
}

/// How long the session that a handshake is making lives. boring shows it read-only.
pub(crate) fn set_session_lifetime(ssl: &mut SslRef, seconds: u32) {
    // SAFETY: `SSL_get_session` wants a live `SSL`; the reference is one, and what comes back is
    // null or lives as long as it does.
    let session = unsafe { boring_sys::SSL_get_session(ssl.as_ptr()) };
    if session.is_null() {
        return;
    }
    // SAFETY: not null, and during a handshake the session belongs to this connection alone,
    // which is borrowed exclusively.
    unsafe {
        boring_sys::SSL_SESSION_set_timeout(session, seconds);
    }
}

/// Bytes of certificates that the peer may send.
pub(crate) fn set_certificate_bytes_max(ssl: &mut SslRef, bytes: usize) {
    // SAFETY: `SSL_set_max_cert_list` wants a live `SSL`, which is borrowed exclusively, and the
    // value is plain data.
    unsafe {
        boring_sys::SSL_set_max_cert_list(ssl.as_ptr(), bytes);
    }
}

/// Puts a fatal alert into the wire. Nothing can be written after it.
pub(crate) fn send_fatal_alert(ssl: &mut SslRef, alert: u8) {
    // SAFETY: `SSL_send_fatal_alert` wants a live `SSL` that is not used elsewhere during the
    // call; the reference is one, borrowed exclusively.
    unsafe {
        boring_sys::SSL_send_fatal_alert(ssl.as_ptr(), alert);
    }
}

/// Signs a certificate with a key whose algorithm has no digest before it (Ed25519, RFC 8410 §3).
///
/// # Errors
/// BoringSSL refused: the key is of a kind that needs a digest, for one.
pub fn sign_without_digest(
    builder: &mut X509Builder,
    key: &PKeyRef<Private>,
) -> Result<(), ErrorStack> {
    // SAFETY: a null digest is what `X509_sign` documents for such keys, which `X509_sign` itself
    // checks, and the value is given to nothing else.
    let none = unsafe { MessageDigest::from_ptr(std::ptr::null()) };
    builder.sign(key, none)
}
