//! What BoringSSL calls during a handshake: with a client's certificates, and with each message.
//!
//! The functions that it calls are made from a type: the type's trait is the safe half.

use std::ffi::{c_int, c_void};

use boring::ssl::{SslRef, SslVerifyMode};
use boring_sys::ssl_verify_result_t;
use foreign_types::ForeignTypeRef;

/// RFC 8446 §5.1: the content type of handshake messages.
const HANDSHAKE: c_int = 22;

/// Whether a client may go on with the certificates that it has sent.
pub(crate) enum Answer {
    /// It may.
    Yes,
    /// The handshake stops here until the caller that drives it has asked.
    NotYet,
    /// It may not, and is told so with this alert.
    No(u8),
}

/// Answers BoringSSL's question about a client's certificates.
pub(crate) trait ClientVerifier {
    /// The answer for the client of this connection.
    fn verify(ssl: &mut SslRef) -> Answer;
}

/// Makes a connection ask `J` about its client. boring's safe call is for contexts that make X509
/// objects.
pub(crate) fn verify_clients<J: ClientVerifier>(ssl: &mut SslRef, mode: SslVerifyMode) {
    // SAFETY: the reference is a live connection, and the callback is a function of the type asked
    // for that lives as long as the program.
    unsafe {
        boring_sys::SSL_set_custom_verify(ssl.as_ptr(), mode.bits(), Some(verify_client::<J>));
    }
}

unsafe extern "C" fn verify_client<J: ClientVerifier>(
    ssl: *mut boring_sys::SSL,
    alert: *mut u8,
) -> ssl_verify_result_t {
    // SAFETY: BoringSSL passes the connection that it works on, which outlives the call; what is
    // reached through it here is our own state, of which nothing else is borrowed meanwhile.
    let ssl = unsafe { SslRef::from_ptr_mut(ssl) };
    match J::verify(ssl) {
        Answer::Yes => ssl_verify_result_t::ssl_verify_ok,
        Answer::NotYet => ssl_verify_result_t::ssl_verify_retry,
        Answer::No(why) => {
            // SAFETY: `ssl.h` promises a place for the alert that is sent.
            unsafe { alert.write(why) };
            ssl_verify_result_t::ssl_verify_invalid
        }
    }
}

/// Reads the handshake messages that a connection receives.
pub(crate) trait MessageReader {
    /// A whole message, header included.
    fn received(ssl: &mut SslRef, message: &[u8]);
}

/// Shows `R` each handshake message that this connection receives.
pub(crate) fn read_messages<R: MessageReader>(ssl: &mut SslRef) {
    // SAFETY: the reference is a live connection, and the callback is a function of the type asked
    // for that lives as long as the program.
    unsafe {
        boring_sys::SSL_set_msg_callback(ssl.as_ptr(), Some(message::<R>));
    }
}

unsafe extern "C" fn message<R: MessageReader>(
    is_write: c_int,
    _version: c_int,
    content: c_int,
    bytes: *const c_void,
    length: usize,
    ssl: *mut boring_sys::SSL,
    _argument: *mut c_void,
) {
    if is_write != 0 || content != HANDSHAKE || bytes.is_null() {
        return;
    }
    // SAFETY: `ssl.h` promises `length` bytes of the message, which outlive the call; not null.
    let message = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), length) };
    // SAFETY: BoringSSL passes the connection that it works on, which outlives the call; what is
    // reached through it here is our own state, of which nothing else is borrowed meanwhile.
    let ssl = unsafe { SslRef::from_ptr_mut(ssl) };
    R::received(ssl, message);
}
