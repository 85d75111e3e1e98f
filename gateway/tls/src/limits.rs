//! Bounds of this crate: value, unit, reason, and what happens at the limit.
//!
//! Owns the numbers and the relations between them, which the compiler checks. Does not enforce
//! anything: the code that owns a queue, a loop or a buffer does.

use std::time::Duration;

/// Issuers between a client's certificate and its anchor. Longer paths do not verify
/// (`path_length`): real PKIs have two or three, and each costs a signature check.
pub const CHAIN_DEPTH_MAX: i32 = 5;
/// Paths of one chain that are verified when the first does not hold, a signature check or two
/// each. With more the best of these is reported: honest clients have two or three.
pub const PATHS_TRIED_MAX: usize = 8;
/// Pairs of certificates whose names are compared to list those paths, a microsecond each. Reached
/// by hostile chains of namesakes; the paths found until then are tried.
pub const ISSUERS_ASKED_MAX: usize = 4_096;
/// Smallest RSA key that is believed, in bits (NIST SP 800-131A). Smaller is `weak_key`.
pub const RSA_BITS_MIN: u32 = 2048;
/// Largest RSA key that is verified, in bits: cost grows with the square. Larger is `weak_key`.
pub const RSA_BITS_MAX: u32 = 4096;
/// Bytes of `cert_rfc9440`, as Cloudflare documents it; larger is empty and `…_too_large`.
pub const LEAF_RFC9440_BYTES_MAX: usize = 10 * 1024;
/// Bytes of `cert_chain_rfc9440`, likewise.
pub const CHAIN_RFC9440_BYTES_MAX: usize = 16 * 1024;
/// Names of each kind, and key purposes, that are read out of a certificate; the rest is not
/// seen by rules.
pub const SAN_COUNT_MAX: usize = 256;
/// Longest life of a session ticket: what RFC 8446 §4.6.1 allows is a week, but a chain of resumed
/// sessions is as old as its first one. A certificate that ends sooner ends its tickets with it.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// Largest session ticket. A session holds the client's whole chain; BoringSSL takes no ClientHello
/// larger than 16 KiB, so that a larger ticket would never come back, and one beyond 64 KiB has no
/// form (RFC 8446 §4.6.1). A client with such a chain shakes hands in full each time.
pub const TICKET_BYTES_MAX: usize = 14 * 1024;
/// Verified paths that a worker remembers, so that their signatures are not checked again; about
/// 1 KiB each. The oldest is forgotten first, which costs a client its next handshake's saving.
pub const PATHS_REMEMBERED_MAX: usize = 4_096;
/// Bytes of a serial number, of certificates, lists and answers alike. RFC 5280 §4.1.2.2 allows CAs
/// 20; some make longer ones, and those must be revocable too. A certificate with a longer one is
/// `bad_serial`, so that a list may leave such an entry out.
pub const SERIAL_BYTES_MAX: usize = 64;
/// Entries of one revocation list: twice what the largest public ones have, 20 MB of memory at 20
/// bytes each. A longer list is refused.
pub const CRL_ENTRIES_MAX: usize = 1_000_000;
/// OCSP answers that are kept for one CA's certificates, some 100 bytes each. Beyond it the one that
/// ends first is forgotten, and asked for again when its certificate comes again.
pub const OCSP_ANSWERS_MAX: usize = 65_536;
/// Certificates in an answer that are looked at for its signer.
pub const OCSP_SIGNERS_MAX: usize = 4;
/// How long an answer without nextUpdate holds after its thisUpdate.
pub const OCSP_UNDATED: Duration = Duration::from_secs(5 * 60);
/// Longest time between two questions about a certificate in use, however long its answer holds.
pub const OCSP_AGAIN: Duration = Duration::from_secs(3600);
/// Shortest time between two questions about a certificate after one went unanswered.
pub const OCSP_RETRY: Duration = Duration::from_secs(10);
/// Bytes of an OCSP answer that is stapled: sent with every full handshake that asks for it. A
/// signature, a responder's certificate or two. A larger one is not stapled.
pub const STAPLE_BYTES_MAX: usize = 16 * 1024;
/// Distribution points that are read out of a certificate; a list that is bound to a further one
/// does not speak for it.
pub const DISTRIBUTION_POINTS_MAX: usize = 8;
/// How far back a certificate's validity begins, so that a client whose clock is slow by no more
/// than this accepts it at once.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);
