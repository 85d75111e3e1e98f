//! A certificate of a context, with its chain and key: BoringSSL's `SSL_CREDENTIAL`.
//!
//! boring's own builder makes raw public keys only. Which certificates a host has, and in which
//! order, is decided by `site`.

use std::ptr::NonNull;

use boring::error::ErrorStack;
use boring::pkey::{PKey, Private};
use boring::ssl::SslContextBuilder;
use foreign_types::ForeignType;

use super::buffer::Buffer;

/// Frees what it holds when it goes.
struct Owned<T>(NonNull<T>, unsafe extern "C" fn(*mut T));

impl<T> Owned<T> {
    fn new(made: *mut T, free: unsafe extern "C" fn(*mut T)) -> Result<Self, ErrorStack> {
        NonNull::new(made)
            .map(|made| Self(made, free))
            .ok_or_else(ErrorStack::get)
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: `new` was given the function that frees what this owns one reference of, and a
        // value is dropped once.
        unsafe {
            (self.1)(self.0.as_ptr());
        }
    }
}

/// Adds a chain (DER, leaf first) with the leaf's key, which signs with one of `algorithms` (RFC 8446
/// §4.2.3), most wanted first; with an OCSP answer for clients that ask for one. Credentials are
/// tried in the order in which they were added.
///
/// # Errors
/// BoringSSL cannot read the leaf, or the key is not its.
pub(crate) fn add_credential(
    builder: &mut SslContextBuilder,
    chain: &[Vec<u8>],
    key: &PKey<Private>,
    algorithms: &[u16],
    staple: Option<&[u8]>,
) -> Result<(), ErrorStack> {
    // SAFETY: it takes nothing; what comes back is null or one reference for the caller.
    let made = unsafe { boring_sys::SSL_CREDENTIAL_new_x509() };
    let credential = Owned::new(made, boring_sys::SSL_CREDENTIAL_free)?;
    let buffers = chain.iter().map(|der| Buffer::copy(der));
    let buffers = buffers.collect::<Result<Vec<_>, _>>()?;
    let pointers: Vec<_> = buffers.iter().map(Buffer::as_ptr).collect();
    // SAFETY: the credential and the buffers are live and owned above, the length is the array's;
    // BoringSSL takes references of its own.
    done(unsafe {
        boring_sys::SSL_CREDENTIAL_set1_cert_chain(
            credential.0.as_ptr(),
            pointers.as_ptr(),
            pointers.len(),
        )
    })?;
    // SAFETY: both are live; BoringSSL takes a reference to the key, and refuses one that is not
    // the leaf's.
    done(unsafe {
        boring_sys::SSL_CREDENTIAL_set1_private_key(credential.0.as_ptr(), key.as_ptr())
    })?;
    // SAFETY: the credential is live, and the pointer and length are those of an array.
    done(unsafe {
        boring_sys::SSL_CREDENTIAL_set1_signing_algorithm_prefs(
            credential.0.as_ptr(),
            algorithms.as_ptr(),
            algorithms.len(),
        )
    })?;
    if let Some(staple) = staple {
        let staple = Buffer::copy(staple)?;
        // SAFETY: both are live; BoringSSL takes a reference of its own to the buffer.
        done(unsafe {
            boring_sys::SSL_CREDENTIAL_set1_ocsp_response(credential.0.as_ptr(), staple.as_ptr())
        })?;
    }
    // SAFETY: both are live, the builder is borrowed exclusively, and a reference is taken.
    done(unsafe { boring_sys::SSL_CTX_add1_credential(builder.as_ptr(), credential.0.as_ptr()) })
}

fn done(outcome: std::ffi::c_int) -> Result<(), ErrorStack> {
    if outcome == 1 {
        return Ok(());
    }
    Err(ErrorStack::get())
}
