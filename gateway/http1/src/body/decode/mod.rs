//! A body as it comes.

use std::ops::Range;

use http::StatusCode;

use crate::framing::BodyLength;
use crate::head::{Head, HeadError};
use crate::limits::{CHUNK_SIZE_DIGITS_MAX, Limits};

/// Why a body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BodyError {
    /// Not a hexadecimal digit where a chunk's size should begin.
    #[error("a chunk has no size")]
    ChunkSize,
    /// [`CHUNK_SIZE_DIGITS_MAX`].
    #[error("a chunk's size has more digits than any size needs")]
    ChunkSizeDigits,
    /// Something behind the size that is neither its end nor an extension.
    #[error("a chunk's size is followed by what is no extension")]
    ChunkSizeEnd,
    /// A control character, LF among them.
    #[error("a chunk extension has a control character")]
    ChunkExtension,
    /// `Limits::chunk_extension_bytes_max`.
    #[error("the chunk extensions of the body are larger than they may be")]
    ChunkExtensionsTooLarge,
    /// CR without LF behind a chunk's size, or neither behind its data.
    #[error("a chunk does not end with CR and LF")]
    ChunkEnd,
    /// What is wrong with the trailers.
    #[error("the trailers are refused: {0}")]
    Trailers(HeadError),
    /// The connection ended first.
    #[error("the connection ended in the middle of the body")]
    Cut,
}

impl BodyError {
    /// The stable word for logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::ChunkSize => "chunk_size_invalid",
            Self::ChunkSizeDigits => "chunk_size_digits",
            Self::ChunkSizeEnd => "chunk_size_end",
            Self::ChunkExtension => "chunk_extension_invalid",
            Self::ChunkExtensionsTooLarge => "chunk_extensions_too_large",
            Self::ChunkEnd => "chunk_end",
            Self::Trailers(error) => error.word(),
            Self::Cut => "body_cut",
        }
    }

    /// What a server answers, if it has not answered yet.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Trailers(error) => error.status(),
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// What was found next of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Nothing: more has to come.
    More,
    /// This part of what was given is data.
    Data(Range<usize>),
    /// The body ends with trailers, which were read into the head that was given.
    Trailers,
    /// The body is over.
    End,
}

/// What was found next, and how far that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes that were understood: they are not to be given again.
    pub consumed: usize,
    /// What they are.
    pub piece: Piece,
}

/// Reads one body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoder(State);

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClose,
    Chunked {
        at: At,
        extensions: usize,
    },
    /// The trailers were given; the end was not.
    Ending,
    Over,
}

/// Where in a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Size {
        size: u64,
        digits: u8,
    },
    /// White space behind the size.
    Blank {
        size: u64,
    },
    Extension {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    /// So many bytes are left of the chunk.
    Data(u64),
    DataCr,
    DataLf,
    /// In so many bytes of trailers no end was found.
    Trailers {
        seen: usize,
    },
}

impl At {
    const FIRST: Self = Self::Size { size: 0, digits: 0 };
}

impl Decoder {
    /// Reads a body of this length.
    #[must_use]
    pub fn new(length: BodyLength) -> Self {
        Self(match length {
            BodyLength::None | BodyLength::Exactly(0) => State::Over,
            BodyLength::Exactly(length) => State::Length(length),
            BodyLength::Chunked => State::Chunked {
                at: At::FIRST,
                extensions: 0,
            },
            BodyLength::UntilClose => State::UntilClose,
        })
    }

    /// Whether all of it was read.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0 == State::Over
    }

    /// Whether it ends where the connection does.
    #[must_use]
    pub fn is_until_close(&self) -> bool {
        self.0 == State::UntilClose
    }

    /// Bytes of data that are known to be left: of the whole body, or of the chunk that is coming.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        match self.0 {
            State::Length(left) => Some(left),
            State::Chunked {
                at: At::Data(left), ..
            } => Some(left),
            State::Over => Some(0),
            _ => None,
        }
    }

    /// Finds the next piece. `input` begins behind what was consumed before; trailers are consumed
    /// when they are whole. They are read into `trailers`, as parts of this `input`.
    ///
    /// # Errors
    /// See [`BodyError`].
    pub fn decode(
        &mut self,
        input: &[u8],
        limits: &Limits,
        trailers: &mut Head,
    ) -> Result<Decoded, BodyError> {
        match &mut self.0 {
            State::Over | State::Ending => {
                self.0 = State::Over;
                Ok(Decoded {
                    consumed: 0,
                    piece: Piece::End,
                })
            }
            State::UntilClose => Ok(data(0, input.len())),
            State::Length(left) => {
                let count = part(*left, input.len());
                *left -= count as u64;
                if *left == 0 {
                    self.0 = State::Over;
                }
                Ok(data(0, count))
            }
            State::Chunked { at, extensions } => {
                let decoded = chunks(at, extensions, input, limits, trailers)?;
                match decoded.piece {
                    Piece::End => self.0 = State::Over,
                    Piece::Trailers => self.0 = State::Ending,
                    Piece::More | Piece::Data(_) => {}
                }
                Ok(decoded)
            }
        }
    }

    /// The connection has ended: whether the body has, too.
    ///
    /// # Errors
    /// [`BodyError::Cut`]
    pub fn closed(&mut self) -> Result<(), BodyError> {
        match self.0 {
            State::Over | State::Ending | State::UntilClose => {
                self.0 = State::Over;
                Ok(())
            }
            State::Length(_) | State::Chunked { .. } => Err(BodyError::Cut),
        }
    }
}

fn data(from: usize, to: usize) -> Decoded {
    let piece = if from == to {
        Piece::More
    } else {
        Piece::Data(from..to)
    };
    Decoded {
        consumed: to,
        piece,
    }
}

/// How much of `left` is there.
fn part(left: u64, there: usize) -> usize {
    usize::try_from(left).map_or(there, |left| left.min(there))
}

fn chunks(
    at: &mut At,
    extensions: &mut usize,
    input: &[u8],
    limits: &Limits,
    trailers: &mut Head,
) -> Result<Decoded, BodyError> {
    let mut place = 0;
    while let Some(byte) = input.get(place) {
        *at = match (*at, *byte) {
            (At::Data(left), _) => {
                let end = place + part(left, input.len() - place);
                let left = left - (end - place) as u64;
                *at = if left == 0 {
                    At::DataCr
                } else {
                    At::Data(left)
                };
                return Ok(data(place, end));
            }
            (At::Trailers { seen }, _) => {
                let section = input.get(place..).unwrap_or_default();
                return end(at, seen, place, section, input, limits, trailers);
            }
            (At::Size { size, digits }, byte) => match (char::from(byte).to_digit(16), byte) {
                (Some(_), _) if digits == CHUNK_SIZE_DIGITS_MAX => {
                    return Err(BodyError::ChunkSizeDigits);
                }
                (Some(digit), _) => At::Size {
                    size: size << 4 | u64::from(digit),
                    digits: digits + 1,
                },
                _ if digits == 0 => return Err(BodyError::ChunkSize),
                (None, b'\r') => At::SizeLf { size },
                (None, b';') => At::Extension { size },
                (None, b' ' | b'\t') => {
                    count(extensions, limits)?;
                    At::Blank { size }
                }
                (None, _) => return Err(BodyError::ChunkSizeEnd),
            },
            (At::Blank { size }, b'\r') => At::SizeLf { size },
            (At::Blank { size }, b';') => At::Extension { size },
            (At::Blank { .. }, b' ' | b'\t') => {
                count(extensions, limits)?;
                *at
            }
            (At::Blank { .. }, _) => return Err(BodyError::ChunkSizeEnd),
            (At::Extension { size }, b'\r') => At::SizeLf { size },
            (At::Extension { .. }, b'\t' | b' '..=0x7e | 0x80..) => {
                count(extensions, limits)?;
                *at
            }
            (At::Extension { .. }, _) => return Err(BodyError::ChunkExtension),
            (At::SizeLf { size: 0 }, b'\n') => At::Trailers { seen: 0 },
            (At::SizeLf { size }, b'\n') => At::Data(size),
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::FIRST,
            (At::SizeLf { .. } | At::DataCr | At::DataLf, _) => return Err(BodyError::ChunkEnd),
        };
        place += 1;
    }
    Ok(Decoded {
        consumed: place,
        piece: Piece::More,
    })
}

fn count(extensions: &mut usize, limits: &Limits) -> Result<(), BodyError> {
    *extensions += 1;
    if *extensions > limits.chunk_extension_bytes_max {
        return Err(BodyError::ChunkExtensionsTooLarge);
    }
    Ok(())
}

/// The section behind the last chunk: trailers, if there are any, and an empty line. It begins at
/// `place` of `input`, and is tokenised when it is whole.
fn end(
    at: &mut At,
    seen: usize,
    place: usize,
    section: &[u8],
    input: &[u8],
    limits: &Limits,
    trailers: &mut Head,
) -> Result<Decoded, BodyError> {
    let window = section.get(..limits.trailer_bytes_max).unwrap_or(section);
    for lf in memchr::memchr_iter(b'\n', window.get(seen..).unwrap_or_default()) {
        let line = window.get(..seen + lf + 1).unwrap_or_default();
        let Some(line) = line.strip_suffix(b"\r\n") else {
            return Err(BodyError::Trailers(HeadError::BareLf));
        };
        let consumed = place + line.len() + 2;
        if line.is_empty() {
            let piece = Piece::End;
            return Ok(Decoded { consumed, piece });
        }
        if line.ends_with(b"\n") {
            let section = section.get(..line.len() + 2).unwrap_or_default();
            trailers
                .tokenise_trailers(input, section, limits.fields_max)
                .map_err(BodyError::Trailers)?;
            let piece = Piece::Trailers;
            return Ok(Decoded { consumed, piece });
        }
    }
    if window.len() >= limits.trailer_bytes_max {
        return Err(BodyError::Trailers(HeadError::TooLarge));
    }
    *at = At::Trailers { seen: window.len() };
    Ok(Decoded {
        consumed: place,
        piece: Piece::More,
    })
}

#[cfg(test)]
mod tests;
