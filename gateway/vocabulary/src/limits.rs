//! Bounds of this crate: value, unit, reason, and what happens at the limit.
//!
//! Owns the numbers and the relations between them, which the compiler checks. Does not enforce
//! anything: the code that owns a queue, a loop or a buffer does.

/// One kibibyte in bytes.
pub const KIB: u64 = 1024;
/// One mebibyte in bytes.
pub const MIB: u64 = 1024 * KIB;
/// One gibibyte in bytes.
pub const GIB: u64 = 1024 * MIB;
/// Largest `trust.chain_bytes`: BoringSSL's own default bound for a handshake message sequence.
pub const CHAIN_BYTES_CEILING: u64 = 100 * KIB;
/// Smallest `trust.chain_bytes`: one certificate with an RSA-4096 key and a few names.
pub const CHAIN_BYTES_FLOOR: u64 = 4 * KIB;
/// Most `trust.tickets`: who opens more connections at once than it has tickets shakes hands in full
/// on the others, once, and each ticket costs every handshake its making and a kilobyte.
pub const TICKETS_MAX: usize = 4;

const _: () = assert!(CHAIN_BYTES_FLOOR < CHAIN_BYTES_CEILING);
