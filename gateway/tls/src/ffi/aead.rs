//! XChaCha20-Poly1305, and the wiping of keys.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr;

use boring::error::ErrorStack;

/// Bytes of a key.
pub(crate) const KEY_BYTES: usize = 32;

/// Bytes of a nonce.
pub(crate) const NONCE_BYTES: usize = 24;

/// Bytes of a tag.
pub(crate) const TAG_BYTES: usize = 16;

/// Sealing and opening have one shape: context, result with its length and room, nonce, input, and
/// what is bound to it.
type Operation = unsafe extern "C" fn(
    *const boring_sys::EVP_AEAD_CTX,
    *mut u8,
    *mut usize,
    usize,
    *const u8,
    usize,
    *const u8,
    usize,
    *const u8,
    usize,
) -> c_int;

/// The cipher with a key. Its memory is wiped when it is dropped.
pub(crate) struct Aead(boring_sys::EVP_AEAD_CTX);

impl Aead {
    /// The cipher with this key; `None` when there is no memory for it.
    pub(crate) fn new(secret: &[u8; KEY_BYTES]) -> Option<Self> {
        let mut made = MaybeUninit::uninit();
        // SAFETY: it takes nothing, and answers a table that lives as long as the program.
        let cipher = unsafe { boring_sys::EVP_aead_xchacha20_poly1305() };
        // SAFETY: the place is one for a context, the key is read for the call and of this length.
        let done = unsafe {
            boring_sys::EVP_AEAD_CTX_init(
                made.as_mut_ptr(),
                cipher,
                secret.as_ptr(),
                secret.len(),
                TAG_BYTES,
                ptr::null_mut(),
            )
        };
        if done != 1 {
            forget_errors();
            return None;
        }
        // SAFETY: it was initialised just now. A context of this cipher holds its key in itself,
        // no pointer into itself, so that it may be moved.
        Some(Self(unsafe { made.assume_init() }))
    }

    /// Seals `from` into `to`, `bound` to it. How long that is; `None` when there is no room.
    pub(crate) fn seal(
        &self,
        nonce: &[u8; NONCE_BYTES],
        bound: &[u8],
        from: &[u8],
        to: &mut [u8],
    ) -> Option<usize> {
        self.run(boring_sys::EVP_AEAD_CTX_seal, (nonce, bound), from, to)
    }

    /// Opens what was sealed; `None` when it was not, with this key, nonce and `bound`.
    pub(crate) fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        bound: &[u8],
        from: &[u8],
        to: &mut [u8],
    ) -> Option<usize> {
        self.run(boring_sys::EVP_AEAD_CTX_open, (nonce, bound), from, to)
    }

    fn run(
        &self,
        operation: Operation,
        (nonce, bound): (&[u8; NONCE_BYTES], &[u8]),
        from: &[u8],
        to: &mut [u8],
    ) -> Option<usize> {
        let mut length = 0;
        // SAFETY: a live context; pointers and lengths are those of slices, of which `to` is
        // borrowed exclusively.
        let done = unsafe {
            operation(
                &raw const self.0,
                to.as_mut_ptr(),
                &raw mut length,
                to.len(),
                nonce.as_ptr(),
                nonce.len(),
                from.as_ptr(),
                from.len(),
                bound.as_ptr(),
                bound.len(),
            )
        };
        if done != 1 {
            forget_errors();
        }
        (done == 1).then_some(length)
    }
}

impl Drop for Aead {
    fn drop(&mut self) {
        // SAFETY: it was initialised, and is dropped once.
        unsafe {
            boring_sys::EVP_AEAD_CTX_cleanup(&raw mut self.0);
        }
        // SAFETY: the place of a context that nothing uses again; the key was copied into it.
        unsafe {
            boring_sys::OPENSSL_cleanse((&raw mut self.0).cast(), size_of_val(&self.0));
        }
    }
}

/// Overwrites a secret. An ordinary write that nothing reads afterwards is optimised away.
pub(crate) fn wipe(secret: &mut [u8]) {
    // SAFETY: the pointer and length are those of a slice that is borrowed exclusively.
    unsafe {
        boring_sys::OPENSSL_cleanse(secret.as_mut_ptr().cast(), secret.len());
    }
}

/// What does not open is no error of the connection: no caller is to find one.
fn forget_errors() {
    drop(ErrorStack::get());
}
