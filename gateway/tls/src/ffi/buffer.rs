//! Certificates as bytes: BoringSSL's `CRYPTO_BUFFER`, and the stacks of them.

use std::ptr::{self, NonNull};

use boring::error::ErrorStack;
use boring::ssl::{SslContextBuilder, SslRef};
use boring::x509::X509;
use foreign_types::{ForeignType, ForeignTypeRef};

/// One share of bytes that BoringSSL counts the owners of, and that nothing changes.
pub(crate) struct Buffer(NonNull<boring_sys::CRYPTO_BUFFER>);

// SAFETY: `pool.h` promises that a CRYPTO_BUFFER is immutable, and its count is atomic.
unsafe impl Send for Buffer {}

// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// A copy of these bytes.
    pub(crate) fn copy(bytes: &[u8]) -> Result<Self, ErrorStack> {
        // SAFETY: the bytes are borrowed for the call, which copies them; no pool is allowed.
        let made =
            unsafe { boring_sys::CRYPTO_BUFFER_new(bytes.as_ptr(), bytes.len(), ptr::null_mut()) };
        NonNull::new(made).map(Self).ok_or_else(ErrorStack::get)
    }

    /// A further share of a buffer that has another owner.
    ///
    /// # Safety
    /// The buffer is live.
    unsafe fn share(of: NonNull<boring_sys::CRYPTO_BUFFER>) -> Self {
        // SAFETY: the caller has a live buffer; what is counted up here `drop` counts down.
        unsafe {
            boring_sys::CRYPTO_BUFFER_up_ref(of.as_ptr());
        }
        Self(of)
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: our share keeps the buffer alive.
        let start = unsafe { boring_sys::CRYPTO_BUFFER_data(self.0.as_ptr()) };
        // SAFETY: as above.
        let length = unsafe { boring_sys::CRYPTO_BUFFER_len(self.0.as_ptr()) };
        if length == 0 {
            return &[];
        }
        // SAFETY: so many bytes begin there, which nothing changes, and which our share keeps
        // alive for as long as it is borrowed.
        unsafe { std::slice::from_raw_parts(start, length) }
    }

    pub(super) fn as_ptr(&self) -> *mut boring_sys::CRYPTO_BUFFER {
        self.0.as_ptr()
    }

    /// The certificate in it, if it is one.
    pub(crate) fn parse(&self) -> Option<X509> {
        // SAFETY: the buffer is live; what comes back is null or one reference for the caller.
        let parsed = unsafe { boring_sys::X509_parse_from_buffer(self.0.as_ptr()) };
        if parsed.is_null() {
            // What is wrong with it must not be found by the next caller that asks for errors.
            drop(ErrorStack::get());
            return None;
        }
        // SAFETY: not null, and the reference is ours.
        Some(unsafe { X509::from_ptr(parsed) })
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        // SAFETY: our share keeps the buffer alive.
        unsafe { Self::share(self.0) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: a value owns one share and is dropped once.
        unsafe {
            boring_sys::CRYPTO_BUFFER_free(self.0.as_ptr());
        }
    }
}

/// What the client of a connection has sent, now or when its session began.
pub(crate) fn client_certificates(ssl: &SslRef) -> Box<[Buffer]> {
    // SAFETY: the reference is a live connection, which owns what comes back, if anything does.
    let stack = unsafe { boring_sys::SSL_get0_peer_certificates(ssl.as_ptr()) };
    let stack = stack.cast::<boring_sys::OPENSSL_STACK>();
    if stack.is_null() {
        return Box::default();
    }
    // SAFETY: not null, and alive while the connection is borrowed; a stack of one type is the
    // general one (`stack.h`).
    let count = unsafe { boring_sys::OPENSSL_sk_num(stack) };
    let share = |index| {
        // SAFETY: as above; beyond its end a stack answers null.
        let found = unsafe { boring_sys::OPENSSL_sk_value(stack, index) };
        // SAFETY: the stack holds buffers, and keeps them alive while the connection is borrowed.
        NonNull::new(found.cast()).map(|found| unsafe { Buffer::share(found) })
    };
    (0..count).filter_map(share).collect()
}

/// Tells a context which names (DER) it is to show clients as those of the CAs that it believes.
pub(crate) fn set_client_issuers(
    builder: &mut SslContextBuilder,
    names: Vec<Buffer>,
) -> Result<(), ErrorStack> {
    // SAFETY: it takes nothing.
    let stack = unsafe { boring_sys::OPENSSL_sk_new_null() };
    if stack.is_null() {
        return Err(ErrorStack::get());
    }
    for name in names {
        // SAFETY: a live stack, and a pointer that it takes as it is; 0 means that it did not.
        let taken = unsafe { boring_sys::OPENSSL_sk_push(stack, name.as_ptr().cast()) };
        if taken > 0 {
            // The share is the stack's.
            std::mem::forget(name);
        }
    }
    // SAFETY: the builder owns a live context, which becomes the owner of the stack and of the
    // shares in it.
    unsafe {
        boring_sys::SSL_CTX_set0_client_CAs(builder.as_ptr(), stack.cast());
    }
    Ok(())
}
