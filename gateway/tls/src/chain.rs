//! Certificates as bytes: those that a client sent, and those that a host presents.
//!
//! Our server contexts keep certificates as BoringSSL buffers and make no X509 objects of them
//! (`TLS_with_buffers_method`): most clients have been here before, and a path that is remembered
//! is known by its bytes ([`super::path`]). Whoever needs to look inside parses, here. Shares
//! BoringSSL's own copy of the bytes; judges nothing.

use std::fmt;
use std::ptr::{self, NonNull};

use boring::error::ErrorStack;
use boring::ssl::{SslContextBuilder, SslRef};
use boring::x509::{X509, X509Ref};
use foreign_types::{ForeignType, ForeignTypeRef};

/// One share of bytes that BoringSSL counts the owners of, and that nobody changes.
pub(super) struct Buffer(NonNull<boring_sys::CRYPTO_BUFFER>);

#[expect(unsafe_code, reason = "nothing in it changes but an atomic count")]
// SAFETY: `pool.h` promises that a CRYPTO_BUFFER is immutable, and its count is atomic.
unsafe impl Send for Buffer {}

#[expect(unsafe_code, reason = "nothing in it changes but an atomic count")]
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// A copy of these bytes.
    pub(super) fn copy(bytes: &[u8]) -> Result<Self, ErrorStack> {
        #[expect(unsafe_code, reason = "boring has no safe call for it")]
        // SAFETY: the bytes are borrowed for the call, which copies them; no pool is allowed.
        let made =
            unsafe { boring_sys::CRYPTO_BUFFER_new(bytes.as_ptr(), bytes.len(), ptr::null_mut()) };
        NonNull::new(made).map(Self).ok_or_else(ErrorStack::get)
    }

    /// A further share of somebody else's.
    fn share(of: NonNull<boring_sys::CRYPTO_BUFFER>) -> Self {
        #[expect(unsafe_code, reason = "boring has no safe call for it")]
        // SAFETY: whoever calls has a live buffer; what is counted up here `drop` counts down.
        unsafe {
            boring_sys::CRYPTO_BUFFER_up_ref(of.as_ptr());
        }
        Self(of)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        #[expect(unsafe_code, reason = "boring has no safe call for it")]
        // SAFETY: our share keeps the buffer alive.
        let (start, length) = unsafe { buffer_parts(self.0.as_ptr()) };
        if length == 0 {
            return &[];
        }
        #[expect(unsafe_code, reason = "boring has no safe call for it")]
        // SAFETY: so many bytes begin there, which nobody changes, and which our share keeps alive.
        unsafe {
            std::slice::from_raw_parts(start, length)
        }
    }

    pub(super) fn as_ptr(&self) -> *mut boring_sys::CRYPTO_BUFFER {
        self.0.as_ptr()
    }

    fn parse(&self) -> Option<X509> {
        #[expect(unsafe_code, reason = "boring has no safe call for it")]
        // SAFETY: the buffer is live; what comes back is null or one reference for the caller.
        let parsed = unsafe { boring_sys::X509_parse_from_buffer(self.0.as_ptr()) };
        if parsed.is_null() {
            // What is wrong with it must not be found by the next who asks for errors.
            drop(ErrorStack::get());
            return None;
        }
        #[expect(unsafe_code, reason = "boring has no safe call for it")]
        // SAFETY: not null, and the reference is ours.
        Some(unsafe { X509::from_ptr(parsed) })
    }
}

/// Where the bytes of a buffer begin, and how many they are.
#[expect(unsafe_code, reason = "boring has no safe call for it")]
#[expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "two questions about one buffer"
)]
unsafe fn buffer_parts(buffer: *const boring_sys::CRYPTO_BUFFER) -> (*const u8, usize) {
    // SAFETY: the caller has a live buffer.
    unsafe {
        (
            boring_sys::CRYPTO_BUFFER_data(buffer),
            boring_sys::CRYPTO_BUFFER_len(buffer),
        )
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        Self::share(self.0)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "boring has no type for this")]
        // SAFETY: a value owns one share and is dropped once.
        unsafe {
            boring_sys::CRYPTO_BUFFER_free(self.0.as_ptr());
        }
    }
}

/// A client's certificates as it sent them, leaf first; empty when it sent none.
#[derive(Clone, Default)]
pub struct Chain(Box<[Buffer]>);

impl Chain {
    /// What the client of a connection has sent, now or when its session began.
    pub(super) fn of(ssl: &SslRef) -> Self {
        #[expect(unsafe_code, reason = "boring has no safe call for it")]
        // SAFETY: the reference is a live connection, which owns what comes back, if anything does.
        let stack = unsafe { boring_sys::SSL_get0_peer_certificates(ssl.as_ptr()) };
        let stack = stack.cast::<boring_sys::OPENSSL_STACK>();
        if stack.is_null() {
            return Self::default();
        }
        #[expect(unsafe_code, reason = "boring has no safe call for it")]
        // SAFETY: not null, and alive while the connection is borrowed; a stack of one type is the
        // general one (`stack.h`).
        let count = unsafe { boring_sys::OPENSSL_sk_num(stack) };
        let share = |index| {
            #[expect(unsafe_code, reason = "boring has no safe call for it")]
            // SAFETY: as above; beyond its end a stack answers null.
            let found = unsafe { boring_sys::OPENSSL_sk_value(stack, index) };
            NonNull::new(found.cast()).map(Buffer::share)
        };
        Self((0..count).filter_map(share).collect())
    }

    /// These certificates.
    ///
    /// # Errors
    /// There is no memory for them.
    pub fn of_x509(certificates: &[X509]) -> Result<Self, ErrorStack> {
        let buffers = certificates
            .iter()
            .map(|certificate| Buffer::copy(&certificate.to_der()?));
        Ok(Self(buffers.collect::<Result<_, _>>()?))
    }

    /// Whether there is no certificate.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many certificates there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Each one's bytes, in DER if the client was honest.
    pub(super) fn ders(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Buffer::bytes)
    }

    /// The certificates up to the first that is none.
    #[must_use]
    pub fn parse(&self) -> Vec<X509> {
        self.0.iter().map_while(Buffer::parse).collect()
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chain").field(&self.len()).finish()
    }
}

/// Tells a context which CAs clients are told that their certificates may come from.
///
/// # Errors
/// There is no memory for it.
pub(super) fn name_issuers<'c>(
    builder: &mut SslContextBuilder,
    issuers: impl Iterator<Item = &'c X509Ref>,
) -> Result<(), ErrorStack> {
    let names = issuers.map(|issuer| Buffer::copy(&issuer.subject_name().to_der()?));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    #[expect(unsafe_code, reason = "boring has no safe call for it")]
    // SAFETY: it takes nothing.
    let stack = unsafe { boring_sys::OPENSSL_sk_new_null() };
    if stack.is_null() {
        return Err(ErrorStack::get());
    }
    for name in names {
        #[expect(unsafe_code, reason = "boring has no safe call for it")]
        // SAFETY: a live stack, and a pointer that it takes as it is; 0 means that it did not.
        let taken = unsafe { boring_sys::OPENSSL_sk_push(stack, name.as_ptr().cast()) };
        if taken > 0 {
            // The share is the stack's.
            std::mem::forget(name);
        }
    }
    #[expect(unsafe_code, reason = "boring has no safe call for it")]
    // SAFETY: the builder owns a live context, which becomes the owner of the stack and of the
    // shares in it.
    unsafe {
        boring_sys::SSL_CTX_set0_client_CAs(builder.as_ptr(), stack.cast());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::pki::{Wish, issue};

    #[test]
    fn a_chain_is_the_bytes_that_were_sent() {
        let ca = issue(&Wish::default(), None);
        let client = issue(&Wish::default(), Some(&ca));
        let certificates = [client.x509, ca.x509];
        let chain = Chain::of_x509(&certificates).unwrap();
        let again = chain.clone();
        drop(chain);
        let ders: Vec<_> = certificates
            .iter()
            .map(|one| one.to_der().unwrap())
            .collect();
        assert!(again.ders().eq(ders.iter().map(Vec::as_slice)));
        assert_eq!(again.parse().len(), 2);
        assert!(!again.is_empty() && Chain::default().parse().is_empty());
    }

    #[test]
    fn what_is_no_certificate_ends_the_reading() {
        let der = issue(&Wish::default(), None).x509.to_der().unwrap();
        let long = [&der[..], &[0]].concat();
        for bad in [&[][..], &[0x30, 0x80], &der[..der.len() - 1], &long] {
            let parts = [&der[..], bad, &der].map(|part| Buffer::copy(part).unwrap());
            let chain = Chain(parts.into());
            assert_eq!((chain.len(), chain.parse().len()), (3, 1), "{bad:?}");
        }
    }
}
