//! A body as it is sent.

use std::ops::Deref;

use http::HeaderMap;

use crate::framing::BodyLength;
use crate::head::{Fields, Known, Writer};

/// Why a body cannot be sent as its head says. The connection is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SendError {
    /// There is more of it than its head said. Nothing of this piece was written.
    #[error("the body is longer than its head says")]
    Long,
    /// It ended before it was as long as its head said.
    #[error("the body is {left} bytes shorter than its head says")]
    Short {
        /// Bytes that are missing.
        left: u64,
    },
}

impl SendError {
    /// The stable word for logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Long => "body_long",
            Self::Short { .. } => "body_short",
        }
    }
}

/// Writes one body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoder(State);

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Length(u64),
    Chunked,
    UntilClose,
    Over,
}

/// What goes before and behind a piece of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Before the data.
    pub before: ChunkSize,
    /// Behind the data.
    pub behind: &'static [u8],
}

impl Frame {
    const NONE: Self = Self {
        before: ChunkSize {
            text: [0; CHUNK_SIZE_BYTES_MAX],
            from: CHUNK_SIZE_BYTES_MAX,
        },
        behind: b"",
    };
}

/// The line before a chunk's data, as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSize {
    text: [u8; CHUNK_SIZE_BYTES_MAX],
    from: usize,
}

/// Sixteen digits, CR and LF.
const CHUNK_SIZE_BYTES_MAX: usize = 18;

impl ChunkSize {
    fn of(mut size: usize) -> Self {
        let mut text = *b"0000000000000000\r\n";
        let mut from = CHUNK_SIZE_BYTES_MAX - 2;
        while size > 0 && from > 0 {
            from -= 1;
            if let Some(place) = text.get_mut(from) {
                *place = HEX.get(size & 15).copied().unwrap_or_default();
            }
            size >>= 4;
        }
        Self { text, from }
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

impl Deref for ChunkSize {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.text.get(self.from..).unwrap_or_default()
    }
}

impl Encoder {
    /// Writes a body of this length.
    #[must_use]
    pub fn new(length: BodyLength) -> Self {
        Self(match length {
            BodyLength::None => State::Over,
            BodyLength::Exactly(length) => State::Length(length),
            BodyLength::Chunked => State::Chunked,
            BodyLength::UntilClose => State::UntilClose,
        })
    }

    /// Whether its end was written: nothing more belongs to it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.0, State::Over | State::Length(0))
    }

    /// Whether trailers can be sent behind it.
    #[must_use]
    pub fn takes_trailers(&self) -> bool {
        self.0 == State::Chunked
    }

    /// What goes before and behind the next `size` bytes of data. The caller sends the three parts in
    /// order, without copying the data.
    ///
    /// # Errors
    /// [`SendError::Long`]
    pub fn frame(&mut self, size: usize) -> Result<Frame, SendError> {
        match &mut self.0 {
            // An empty chunk would be the end.
            _ if size == 0 => {}
            State::Over => return Err(SendError::Long),
            State::Length(left) => {
                *left = left.checked_sub(size as u64).ok_or(SendError::Long)?;
            }
            State::UntilClose => {}
            State::Chunked => {
                return Ok(Frame {
                    before: ChunkSize::of(size),
                    behind: b"\r\n",
                });
            }
        }
        Ok(Frame::NONE)
    }

    /// Writes a piece of data with what goes before and behind it.
    ///
    /// # Errors
    /// [`SendError::Long`]
    pub fn data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), SendError> {
        let Frame { before, behind } = self.frame(data.len())?;
        out.reserve(before.len() + data.len() + behind.len());
        out.extend_from_slice(&before);
        out.extend_from_slice(data);
        out.extend_from_slice(behind);
        Ok(())
    }

    /// Writes the end.
    ///
    /// # Errors
    /// [`SendError::Short`]
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), SendError> {
        self.end_with(out, |_| {})
    }

    /// Writes the end with trailers, where there is room for them ([`Encoder::takes_trailers`]).
    /// Fields that trailers may not say ([`Known::is_early`]) are left out.
    ///
    /// # Errors
    /// [`SendError::Short`]
    pub fn end_with_headers(
        &mut self,
        trailers: &HeaderMap,
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        self.end_with(out, |writer| {
            writer.headers(trailers, |name| {
                !Known::of(name.as_str().as_bytes()).is_early()
            });
        })
    }

    /// Writes the end with trailers as they came, like [`Encoder::end_with_headers`].
    ///
    /// # Errors
    /// [`SendError::Short`]
    pub fn end_with_fields(
        &mut self,
        trailers: Fields<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        self.end_with(out, |writer| {
            writer.copy(trailers, |field| !field.known.is_early());
        })
    }

    fn end_with(
        &mut self,
        out: &mut Vec<u8>,
        trailers: impl FnOnce(&mut Writer<'_>),
    ) -> Result<(), SendError> {
        match self.0 {
            State::Length(left) if left > 0 => return Err(SendError::Short { left }),
            State::Chunked => {
                out.extend_from_slice(b"0\r\n");
                let mut writer = Writer::lines(out);
                trailers(&mut writer);
                writer.end();
            }
            State::Length(_) | State::UntilClose | State::Over => {}
        }
        self.0 = State::Over;
        Ok(())
    }
}
