//! What BoringSSL calls to seal a session into a ticket, and to open one.

use std::ffi::c_int;
use std::marker::PhantomData;

use boring::ssl::{SslContextBuilder, SslRef};
use boring_sys::ssl_ticket_aead_result_t as Outcome;
use foreign_types::ForeignTypeRef;

/// Seals sessions into tickets.
pub(crate) trait TicketSealer {
    /// Bytes that a ticket has more than its session.
    const OVERHEAD: usize;

    /// Seals `session` into `ticket`: its length, 0 for no ticket, `None` to end the connection.
    fn seal(ssl: &SslRef, session: &[u8], ticket: &mut [u8]) -> Option<usize>;

    /// Opens `ticket` into `session`; `None` makes the handshake a full one.
    fn open(ssl: &SslRef, ticket: &[u8], session: &mut [u8]) -> Option<usize>;
}

/// Makes connections of a context seal their tickets with `S`. Only the context that connections
/// start on is asked, whichever they switch to.
pub(crate) fn seal_tickets<S: TicketSealer>(builder: &mut SslContextBuilder) {
    // SAFETY: the builder owns a live context, and the method lives as long as the program.
    unsafe {
        boring_sys::SSL_CTX_set_ticket_aead_method(builder.as_ptr(), Method::<S>::TABLE);
    }
}

/// The table of functions that are made from a type.
struct Method<S>(PhantomData<S>);

impl<S: TicketSealer> Method<S> {
    const TABLE: &'static boring_sys::SSL_TICKET_AEAD_METHOD =
        &boring_sys::SSL_TICKET_AEAD_METHOD {
            max_overhead: Some(overhead::<S>),
            seal: Some(seal::<S>),
            open: Some(open::<S>),
        };
}

unsafe extern "C" fn overhead<S: TicketSealer>(_: *mut boring_sys::SSL) -> usize {
    S::OVERHEAD
}

unsafe extern "C" fn seal<S: TicketSealer>(
    ssl: *mut boring_sys::SSL,
    ticket: *mut u8,
    ticket_length: *mut usize,
    room: usize,
    session: *const u8,
    session_length: usize,
) -> c_int {
    // SAFETY: BoringSSL passes the connection that it works on, which outlives the call.
    let ssl = unsafe { SslRef::from_ptr(ssl) };
    // SAFETY: `ssl.h` promises so many bytes of session; they are not those of the ticket, which
    // `ssl_encrypt_ticket` reserves apart.
    let session = unsafe { std::slice::from_raw_parts(session, session_length) };
    // SAFETY: `ssl.h` promises so much room, which BoringSSL's allocator has given and which is
    // only written to.
    let ticket = unsafe { std::slice::from_raw_parts_mut(ticket, room) };
    let Some(length) = S::seal(ssl, session, ticket) else {
        return 0;
    };
    // SAFETY: `ssl.h` promises a place for it.
    unsafe { ticket_length.write(length) };
    1
}

unsafe extern "C" fn open<S: TicketSealer>(
    ssl: *mut boring_sys::SSL,
    session: *mut u8,
    session_length: *mut usize,
    room: usize,
    ticket: *const u8,
    ticket_length: usize,
) -> Outcome {
    if ticket_length == 0 || room == 0 {
        return Outcome::ssl_ticket_aead_ignore_ticket;
    }
    // SAFETY: BoringSSL passes the connection that it works on, which outlives the call.
    let ssl = unsafe { SslRef::from_ptr(ssl) };
    // SAFETY: `ssl.h` promises so many bytes of ticket; they are not those of the session, which
    // `ssl_decrypt_ticket_with_method` allocates.
    let ticket = unsafe { std::slice::from_raw_parts(ticket, ticket_length) };
    // SAFETY: `ssl.h` promises so much room, which BoringSSL's allocator has given and which is
    // only written to.
    let session = unsafe { std::slice::from_raw_parts_mut(session, room) };
    // Whatever is wrong with it: a full handshake.
    let Some(length) = S::open(ssl, ticket, session) else {
        return Outcome::ssl_ticket_aead_ignore_ticket;
    };
    // SAFETY: `ssl.h` promises a place for it.
    unsafe { session_length.write(length) };
    Outcome::ssl_ticket_aead_success
}
