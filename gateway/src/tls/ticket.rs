//! The keys that session tickets are sealed with: ours, the same for all workers, in memory only.
//!
//! A new key is made every so often; the one before it still opens tickets, but makes none, until
//! no ticket of its time can be alive. Keys are wiped when they are dropped. Tickets are sealed as
//! RFC 5077 §4 recommends: AES-256-CBC, then HMAC-SHA-256 over everything, by BoringSSL. Does not
//! read a clock: whoever rotates says what time it is.

use std::ffi::c_int;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use boring::error::ErrorStack;
use boring::hash::MessageDigest;
use boring::hmac::HmacCtxRef;
use boring::rand::rand_bytes;
use boring::ssl::{SslContextBuilder, SslRef};
use boring::symm::{Cipher, CipherCtxRef};
use foreign_types::ForeignTypeRef;

use super::handshake::ticket_keys;
use crate::limits::TICKET_LIFETIME;

/// Bytes of a CBC block, and so of the initialisation vector.
const BLOCK: usize = 16;

/// One generation of keys.
struct Key {
    /// What tickets of it begin with.
    name: [u8; 16],
    cipher: [u8; 32],
    mac: [u8; 32],
    /// When it was made, seconds since the epoch.
    made_sec: i64,
}

impl Key {
    fn new(now_sec: i64) -> Result<Self, ErrorStack> {
        let mut key = Self {
            name: [0; 16],
            cipher: [0; 32],
            mac: [0; 32],
            made_sec: now_sec,
        };
        rand_bytes(&mut key.name)?;
        rand_bytes(&mut key.cipher)?;
        rand_bytes(&mut key.mac)?;
        Ok(key)
    }
}

impl Key {
    fn wipe(&mut self) {
        for secret in [&mut self.cipher, &mut self.mac] {
            #[expect(
                unsafe_code,
                reason = "an ordinary write that nobody reads is optimised away"
            )]
            // SAFETY: the pointer and length are those of an array that is borrowed exclusively.
            unsafe {
                boring_sys::OPENSSL_cleanse(secret.as_mut_ptr().cast(), secret.len());
            }
        }
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// What seals now, and what still opens.
struct Ring {
    current: Arc<Key>,
    previous: Option<Arc<Key>>,
}

/// The keys of session tickets.
pub struct TicketKeys {
    ring: ArcSwap<Ring>,
    /// Held by whoever rotates, never by a handshake.
    rotating: Mutex<()>,
}

impl TicketKeys {
    /// Keys made now. They count as made at the first [`Self::rotate`].
    pub(super) fn new() -> Result<Self, ErrorStack> {
        Ok(Self {
            ring: ArcSwap::from_pointee(Ring {
                current: Arc::new(Key::new(0)?),
                previous: None,
            }),
            rotating: Mutex::new(()),
        })
    }

    /// Makes a new key when the present one is `every` old, and forgets the one before it when no
    /// ticket of its can be alive. Answers whether there is a new key. To be called again and again.
    ///
    /// # Errors
    /// There is no randomness; then everything stays as it is.
    pub fn rotate(&self, now_sec: i64, every: Duration) -> Result<bool, ErrorStack> {
        let _alone = self.rotating.lock().unwrap_or_else(PoisonError::into_inner);
        let ring = self.ring.load();
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let age_sec = now_sec.saturating_sub(ring.current.made_sec);
        // A clock that went back makes a new key too: age is no longer known.
        if (0..seconds(every)).contains(&age_sec) {
            if ring.previous.is_some() && age_sec > seconds(TICKET_LIFETIME) {
                let current = ring.current.clone();
                self.ring.store(Arc::new(Ring {
                    current,
                    previous: None,
                }));
            }
            return Ok(false);
        }
        let first = ring.current.made_sec == 0;
        let previous = (age_sec <= seconds(every).saturating_add(seconds(TICKET_LIFETIME))
            || first)
            .then(|| ring.current.clone());
        let current = Arc::new(Key::new(now_sec)?);
        self.ring.store(Arc::new(Ring { current, previous }));
        Ok(true)
    }

    fn seal(
        &self,
        name: &mut [u8; 16],
        iv: &mut [u8; BLOCK],
        cipher: &mut CipherCtxRef,
        mac: &mut HmacCtxRef,
    ) -> Result<c_int, ErrorStack> {
        let ring = self.ring.load();
        let key = &ring.current;
        *name = key.name;
        rand_bytes(iv)?;
        cipher.init_encrypt(&Cipher::aes_256_cbc(), &key.cipher, iv)?;
        mac.init(&key.mac, &MessageDigest::sha256())?;
        Ok(1)
    }

    fn open(
        &self,
        name: &[u8; 16],
        iv: &[u8; BLOCK],
        cipher: &mut CipherCtxRef,
        mac: &mut HmacCtxRef,
    ) -> Result<c_int, ErrorStack> {
        let ring = self.ring.load();
        let (key, result) = if ring.current.name == *name {
            (&ring.current, 1)
        } else {
            match &ring.previous {
                Some(key) if key.name == *name => (key, 2),
                // Of another gateway, or too old: a full handshake.
                _ => return Ok(0),
            }
        };
        mac.init(&key.mac, &MessageDigest::sha256())?;
        cipher.init_decrypt(&Cipher::aes_256_cbc(), &key.cipher, iv)?;
        Ok(result)
    }
}

/// Makes a context ask for the keys of each connection's [`super::handshake`] state. Only the
/// context that connections start on is asked, whichever they switch to; boring's own callback
/// would look at the one they switched to.
pub(super) fn install(builder: &mut SslContextBuilder) {
    #[expect(
        unsafe_code,
        reason = "boring's safe call breaks once contexts are switched"
    )]
    // SAFETY: the builder owns a live context, and the callback is a function of the type asked
    // for that lives as long as the program.
    unsafe {
        boring_sys::SSL_CTX_set_tlsext_ticket_key_cb(builder.as_ptr(), Some(callback));
    }
}

/// BoringSSL's question: 1 goes on, 2 goes on and makes a new ticket, 0 makes a full handshake
/// instead, below it is an error.
#[expect(unsafe_code, reason = "BoringSSL calls it with plain pointers")]
unsafe extern "C" fn callback(
    ssl: *mut boring_sys::SSL,
    name: *mut u8,
    iv: *mut u8,
    cipher: *mut boring_sys::EVP_CIPHER_CTX,
    mac: *mut boring_sys::HMAC_CTX,
    encrypt: c_int,
) -> c_int {
    // SAFETY: BoringSSL passes the connection that it works on, which outlives the call.
    let ssl = unsafe { SslRef::from_ptr(ssl) };
    // SAFETY: `ssl.h` promises 16 bytes of name, to be written or to be read; they are
    // initialised in both cases as far as `u8` asks for it, being part of BoringSSL's own buffer.
    let name = unsafe { &mut *name.cast::<[u8; 16]>() };
    // SAFETY: as above; EVP_MAX_IV_LENGTH is 16.
    let iv = unsafe { &mut *iv.cast::<[u8; BLOCK]>() };
    // SAFETY: a live context that nobody else uses during the call.
    let cipher = unsafe { CipherCtxRef::from_ptr_mut(cipher) };
    // SAFETY: a live context that nobody else uses during the call.
    let mac = unsafe { HmacCtxRef::from_ptr_mut(mac) };
    let Some(keys) = ticket_keys(ssl) else {
        return -1;
    };
    let outcome = if encrypt == 1 {
        keys.seal(name, iv, cipher, mac)
    } else {
        keys.open(name, iv, cipher, mac)
    };
    outcome.unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(3600);

    fn names(keys: &TicketKeys) -> (Vec<u8>, Option<Vec<u8>>) {
        let ring = keys.ring.load();
        let previous = ring.previous.as_ref().map(|key| key.name.to_vec());
        (ring.current.name.to_vec(), previous)
    }

    #[test]
    fn keys_follow_one_another_and_are_forgotten() {
        let keys = TicketKeys::new().unwrap();
        let (first, none) = names(&keys);
        assert!(none.is_none());
        let start = 1_000_000;
        assert!(
            keys.rotate(start, EVERY).unwrap(),
            "the first one has no age"
        );
        let (second, previous) = names(&keys);
        assert_eq!(previous.as_ref(), Some(&first));
        assert!(!keys.rotate(start + 3599, EVERY).unwrap());
        assert!(keys.rotate(start + 3600, EVERY).unwrap());
        let (third, previous) = names(&keys);
        assert_eq!(previous.as_ref(), Some(&second));
        assert_ne!(third, second);
        // The clock went back.
        assert!(keys.rotate(start, EVERY).unwrap());
        // Nobody rotated for so long that no ticket can be alive.
        let late = start + 3601 + i64::try_from(TICKET_LIFETIME.as_secs()).unwrap();
        assert!(keys.rotate(late, EVERY).unwrap());
        assert!(names(&keys).1.is_none());
    }

    #[test]
    fn a_key_is_wiped_when_nobody_uses_it() {
        let mut key = Key::new(0).unwrap();
        assert!(key.cipher != [0; 32] && key.mac != [0; 32]);
        key.wipe();
        assert!(key.cipher == [0; 32] && key.mac == [0; 32]);
        // Nobody keeps one that was forgotten: the ring's share is the last.
        let keys = TicketKeys::new().unwrap();
        let first = Arc::downgrade(&keys.ring.load().current);
        assert!(keys.rotate(1_000_000, EVERY).unwrap());
        assert!(first.upgrade().is_some(), "it still opens tickets");
        assert!(keys.rotate(1_000_000 + 3600, EVERY).unwrap());
        assert!(first.upgrade().is_none(), "it is dropped, and so wiped");
    }

    #[test]
    fn a_previous_key_goes_when_its_tickets_are_dead() {
        let keys = TicketKeys::new().unwrap();
        let every = TICKET_LIFETIME * 3;
        assert!(keys.rotate(1_000_000, every).unwrap());
        let life = i64::try_from(TICKET_LIFETIME.as_secs()).unwrap();
        assert!(!keys.rotate(1_000_000 + life, every).unwrap());
        assert!(names(&keys).1.is_some());
        assert!(!keys.rotate(1_000_001 + life, every).unwrap());
        assert!(names(&keys).1.is_none());
    }
}
