//! Bodies: where they end, and how they are written so that the other side finds their end.
//!
//! Works on slices and copies nothing: reading says which part of what came is data, writing says what
//! belongs before and behind it. Owns chunks and trailers (RFC 9112 §7). Which of length, chunks and
//! end of connection it is says `framing`.

mod decode;
mod encode;

pub use decode::{BodyError, Decoded, Decoder, Piece};
pub use encode::{Encoder, Frame, SendError};
