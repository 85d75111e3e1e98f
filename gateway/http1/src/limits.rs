//! Bounds of this crate: value, unit, reason, and what happens at the limit.
//!
//! Owns the numbers and the relations between them, which the compiler checks. What an operator may
//! want to tune is in [`Limits`], which callers hand in; the rest are constants.

/// What a head and a body may take. Callers hand it in, so that it can be tuned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, from its first byte to its empty line. A larger one is refused: 431, or 414
    /// while the target still goes on.
    pub head_bytes_max: usize,
    /// Fields of a head, and of trailers. A head with more is refused: 431.
    pub fields_max: usize,
    /// Bytes of a request's target. A longer one is refused: 414.
    pub target_bytes_max: usize,
    /// Bytes of chunk extensions of one body, white space beside chunk sizes included. They are read
    /// and forgotten; a body with more is refused.
    pub chunk_extension_bytes_max: usize,
    /// Bytes of trailers, their empty line included. A body with more is refused.
    pub trailer_bytes_max: usize,
    /// Interim responses (1xx) before the final one. An origin that sends more is refused.
    pub interim_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: HEAD_BYTES_MAX,
            fields_max: FIELDS_MAX,
            target_bytes_max: TARGET_BYTES_MAX,
            chunk_extension_bytes_max: CHUNK_EXTENSION_BYTES_MAX,
            trailer_bytes_max: TRAILER_BYTES_MAX,
            interim_max: INTERIM_MAX,
        }
    }
}

/// Bytes of a head, unless the caller says otherwise: what browsers with many cookies send fits four
/// times.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Fields of a head, unless the caller says otherwise: three times what browsers send.
pub const FIELDS_MAX: usize = 100;
/// Bytes of a target, unless the caller says otherwise: beyond the 8,000 that RFC 9112 §3 asks
/// for, and what the type of URIs takes ([`http::Uri`]).
pub const TARGET_BYTES_MAX: usize = 65_534;
/// Bytes of chunk extensions of a body, unless the caller says otherwise. Nobody uses them; a
/// signature for each 64 KiB would fit for 10 MB.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 16 * 1024;
/// Bytes of trailers, unless the caller says otherwise: as a head.
pub const TRAILER_BYTES_MAX: usize = HEAD_BYTES_MAX;
/// Interim responses before a final one, unless the caller says otherwise: one 100, some 103, and a
/// 102 every few seconds of a long wait.
pub const INTERIM_MAX: usize = 100;
/// Bytes of empty lines before a start line: RFC 9112 §2.2 asks that one be passed over; sloppy
/// clients send one or two. More are refused, or a client could send them for ever.
pub const EMPTY_LINES_BYTES_MAX: usize = 8;
/// Digits of a chunk's size: as many as a u64 has. Leading zeros count, or they could go on for
/// ever.
pub const CHUNK_SIZE_DIGITS_MAX: u8 = 16;
/// Fields that are tokenised on the stack, 4 KiB of it. More, if the caller lets a head have them,
/// cost it one allocation.
pub const FIELDS_ON_STACK: usize = 128;
/// Largest Content-Length: lengths of files are signed 64-bit numbers everywhere, and nobody has a
/// longer one.
pub const CONTENT_LENGTH_MAX: u64 = i64::MAX.unsigned_abs();
/// Bytes of a field's name: what the type of names takes ([`http::HeaderName`]). A longer one is
/// refused.
pub const NAME_BYTES_MAX: usize = 65_535;
/// Names of fields that a worker keeps as it has seen them: some heads' of browsers and origins, 200 KiB at most
/// with their texts. One that is not kept is made anew.
pub const NAMES_KEPT: usize = 1024;
/// Names that may have one place: those that say the same again and again do not drive each other out.
pub const NAMES_OF_PLACE: usize = 4;
/// Bytes of a name that is kept: beyond the longest that are usual.
pub const NAME_KEPT_BYTES_MAX: usize = 64;

const _: () = assert!(NAMES_KEPT.is_power_of_two());
const _: () = assert!(NAMES_KEPT.is_multiple_of(NAMES_OF_PLACE));
const _: () = assert!(FIELDS_MAX <= FIELDS_ON_STACK);
const _: () = assert!(EMPTY_LINES_BYTES_MAX < HEAD_BYTES_MAX);
const _: () = assert!(TARGET_BYTES_MAX < HEAD_BYTES_MAX);
