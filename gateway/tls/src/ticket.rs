//! The keys that session tickets are sealed with: ours, the same for all workers, in memory only.
//!
//! A new key is made every so often; the one before it still opens tickets, but makes none, until
//! no ticket of its time can be alive. Keys are wiped when they are dropped. Does not read a clock:
//! the caller that rotates says what time it is.
//!
//! A ticket is sealed with XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03): nonces of 192 bits may be
//! drawn at random for as many tickets as a key will ever see, which those of AES-GCM may not.
//!
//! ```text
//! name of the key (16) | nonce (24) | the session, sealed, and its tag (16); the name is bound to it
//! ```

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use boring::error::ErrorStack;
use boring::rand::rand_bytes;
use boring::ssl::SslRef;

use super::callbacks::{has_ticket_due, ticket_keys};
use super::ffi::{Aead, KEY_BYTES, NONCE_BYTES, TAG_BYTES, TicketSealer, wipe};
use crate::limits::{TICKET_BYTES_MAX, TICKET_LIFETIME};

/// Bytes of a key's name.
const NAME: usize = 16;

/// Bytes of a key in [`TicketSecrets`].
const KEPT: usize = NAME + KEY_BYTES + size_of::<i64>();

/// Bytes that a ticket has more than its session.
const OVERHEAD: usize = NAME + NONCE_BYTES + TAG_BYTES;

/// One generation of keys.
struct Key {
    /// What tickets of it begin with.
    name: [u8; NAME],
    secret: [u8; KEY_BYTES],
    /// When it was made, seconds since the epoch.
    made_sec: i64,
}

impl Key {
    fn new(now_sec: i64) -> Result<Self, ErrorStack> {
        let mut key = Self {
            name: [0; NAME],
            secret: [0; KEY_BYTES],
            made_sec: now_sec,
        };
        rand_bytes(&mut key.name)?;
        rand_bytes(&mut key.secret)?;
        Ok(key)
    }
}

impl Key {
    /// A key as [`TicketSecrets`] has it.
    fn kept(bytes: &[u8; KEPT]) -> Option<Self> {
        let (name, rest) = bytes.split_first_chunk()?;
        let (secret, made) = rest.split_first_chunk()?;
        Some(Self {
            name: *name,
            secret: *secret,
            made_sec: i64::from_be_bytes(made.try_into().ok()?),
        })
    }

    fn wipe(&mut self) {
        wipe(&mut self.secret);
    }

    /// Seals `session` into a ticket.
    fn seal(&self, session: &[u8], ticket: &mut [u8]) -> Option<usize> {
        let (name, rest) = ticket.split_first_chunk_mut::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk_mut::<NONCE_BYTES>()?;
        *name = self.name;
        rand_bytes(nonce).ok()?;
        let aead = Aead::new(&self.secret)?;
        let length = aead.seal(nonce, &self.name, session, sealed)?;
        Some(NAME + NONCE_BYTES + length)
    }

    /// Opens what follows the key's name in a ticket.
    fn open(&self, rest: &[u8], session: &mut [u8]) -> Option<usize> {
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
        Aead::new(&self.secret)?.open(nonce, &self.name, sealed, session)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// The keys as bytes, for another process that goes on with them. Wiped when it is dropped.
///
/// ```text
/// for the current key, and then for the one before it: name (16) | secret (32) | made (8)
/// ```
pub struct TicketSecrets(Vec<u8>);

impl TicketSecrets {
    /// The bytes.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for TicketSecrets {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Drop for TicketSecrets {
    fn drop(&mut self) {
        wipe(&mut self.0);
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
    /// Held while keys rotate, never by a handshake.
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

    /// The keys of now, for another process.
    #[must_use]
    pub fn secrets(&self) -> TicketSecrets {
        let ring = self.ring.load();
        // With room for both, so that no copy is left behind where it grew.
        let mut bytes = Vec::with_capacity(2 * KEPT);
        for key in std::iter::once(&ring.current).chain(&ring.previous) {
            bytes.extend(key.name);
            bytes.extend(key.secret);
            bytes.extend(key.made_sec.to_be_bytes());
        }
        TicketSecrets(bytes)
    }

    /// Goes on with the keys of another process. Answers whether they were keys; if not, everything
    /// stays as it is.
    #[must_use]
    pub fn take_over(&self, secrets: &TicketSecrets) -> bool {
        let _alone = self.rotating.lock().unwrap_or_else(PoisonError::into_inner);
        let (keys, rest) = secrets.0.as_chunks::<KEPT>();
        let mut keys = keys.iter().map(Key::kept);
        let (Some(Some(current)), true) = (keys.next(), rest.is_empty()) else {
            return false;
        };
        let previous = match (keys.next(), keys.next()) {
            (None, None) => None,
            (Some(Some(previous)), None) => Some(Arc::new(previous)),
            _ => return false,
        };
        self.ring.store(Arc::new(Ring {
            current: Arc::new(current),
            previous,
        }));
        true
    }

    /// A ticket for `session`, as long as `ticket` at the most.
    fn seal(&self, session: &[u8], ticket: &mut [u8]) -> Option<usize> {
        self.ring.load().current.seal(session, ticket)
    }

    /// What is in a ticket; `None` when it is of another gateway, too old, or not whole.
    fn open(&self, ticket: &[u8], session: &mut [u8]) -> Option<usize> {
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let ring = self.ring.load();
        let keys = std::iter::once(&ring.current).chain(&ring.previous);
        let key = keys.into_iter().find(|key| key.name == *name)?;
        key.open(rest, session)
    }
}

/// Seals and opens the tickets of a connection with the keys in its
/// [`HandshakeState`](super::callbacks::HandshakeState).
pub(super) struct Sealer;

impl TicketSealer for Sealer {
    const OVERHEAD: usize = OVERHEAD;

    fn seal(ssl: &SslRef, session: &[u8], ticket: &mut [u8]) -> Option<usize> {
        if session.len() > TICKET_BYTES_MAX || !has_ticket_due(ssl) {
            // No ticket, which is no error.
            return Some(0);
        }
        ticket_keys(ssl)?.seal(session, ticket)
    }

    fn open(ssl: &SslRef, ticket: &[u8], session: &mut [u8]) -> Option<usize> {
        ticket_keys(ssl)?.open(ticket, session)
    }
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
        // No rotation for so long that no ticket can be alive.
        let late = start + 3601 + i64::try_from(TICKET_LIFETIME.as_secs()).unwrap();
        assert!(keys.rotate(late, EVERY).unwrap());
        assert!(names(&keys).1.is_none());
    }

    #[test]
    fn a_key_is_wiped_when_nobody_uses_it() {
        let mut key = Key::new(0).unwrap();
        assert!(key.secret != [0; 32]);
        key.wipe();
        assert!(key.secret == [0; 32]);
        // A key that was rotated out has no other owner: the ring's share is the last.
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

    #[test]
    fn keys_that_were_taken_over_open_what_the_others_sealed() {
        let keys = TicketKeys::new().unwrap();
        let (session, mut opened) = (b"who it was", [0; 200]);
        let sealed = |keys: &TicketKeys| {
            let mut ticket = [0; 200];
            let length = keys.seal(session, &mut ticket).unwrap();
            ticket[..length].to_vec()
        };
        let mut tickets = vec![sealed(&keys)];
        assert!(keys.rotate(1_000_000, EVERY).unwrap());
        tickets.push(sealed(&keys));
        let others = TicketKeys::new().unwrap();
        let secrets = keys.secrets();
        for length in (0..secrets.reveal().len()).filter(|length| *length != KEPT) {
            let cut = TicketSecrets(secrets.reveal()[..length].to_vec());
            assert!(!others.take_over(&cut), "{length}");
        }
        assert!(!others.take_over(&TicketSecrets([0; 3 * KEPT].to_vec())));
        assert_eq!(others.open(&tickets[0], &mut opened), None);
        assert!(others.take_over(&secrets));
        for ticket in &tickets {
            assert_eq!(others.open(ticket, &mut opened), Some(session.len()));
        }
        assert_eq!(names(&others), names(&keys));
        assert!(
            !others.rotate(1_000_001, EVERY).unwrap(),
            "their age is known"
        );
    }

    #[test]
    fn a_ticket_opens_whole_and_with_its_key_only() {
        let keys = TicketKeys::new().unwrap();
        let session = b"who it was, and what was agreed on";
        let mut ticket = [0; 200];
        let length = keys.seal(session, &mut ticket).unwrap();
        assert_eq!(length, OVERHEAD + session.len());
        let ticket = &ticket[..length];
        let mut opened = [0; 200];
        assert_eq!(keys.open(ticket, &mut opened), Some(session.len()));
        assert_eq!(&opened[..session.len()], session);
        for length in 0..ticket.len() {
            assert_eq!(keys.open(&ticket[..length], &mut opened), None, "{length}");
        }
        for index in 0..ticket.len() {
            let mut bent = ticket.to_vec();
            bent[index] ^= 1;
            assert_eq!(keys.open(&bent, &mut opened), None, "byte {index}");
        }
        assert_eq!(keys.open(&[ticket, &[0]].concat(), &mut opened), None);
        assert_eq!(keys.open(ticket, &mut [0; 8]), None, "no room");
        let others = TicketKeys::new().unwrap();
        assert_eq!(others.open(ticket, &mut opened), None);
        // Another gateway that has the name has not the key.
        let (mut stolen, mut name) = (Key::new(0).unwrap(), [0; NAME]);
        name.copy_from_slice(&ticket[..NAME]);
        stolen.name = name;
        assert_eq!(stolen.open(&ticket[NAME..], &mut opened), None);
        // No two are alike, and one that has no room is none.
        let mut again = [0; 200];
        assert_eq!(keys.seal(session, &mut again), Some(length));
        assert_ne!(&again[..length], ticket);
        assert_eq!(keys.seal(session, &mut again[..length - 1]), None);
    }
}
