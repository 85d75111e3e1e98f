//! Why an exchange with an origin failed.

use vocabulary::side::Side;

use crate::body::BodyError;
use crate::framing::FramingError;
use crate::head::HeadError;

/// Why no answer came, or no more of it. The connection is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ClientError {
    /// The connection ended before a byte of an answer. The origin may have read the request or not.
    #[error("the origin closed the connection before it answered")]
    Closed,
    /// The connection ended in the middle of a head, or behind an interim response.
    #[error("the origin closed the connection in the middle of a head")]
    HeadCut,
    /// The head of the answer.
    #[error("the head of the answer is refused: {0}")]
    Head(#[from] HeadError),
    /// Where its body ends.
    #[error("the answer is refused: {0}")]
    Framing(#[from] FramingError),
    /// Its body.
    #[error("the body of the answer is refused: {0}")]
    Body(#[from] BodyError),
    /// 101 to a request without `Upgrade`.
    #[error("the origin changes protocols without being asked to")]
    Unasked,
    /// `Limits::interim_max`.
    #[error("the origin sends more interim responses than it may")]
    InterimsTooMany,
}

impl ClientError {
    /// The stable word for logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HeadCut => "head_cut",
            Self::Head(error) => error.word(),
            Self::Framing(error) => error.word(),
            Self::Body(error) => error.word(),
            Self::Unasked => "upgrade_unasked",
            Self::InterimsTooMany => "interims_too_many",
        }
    }

    /// Whose fault it is: what the origin sent, always.
    #[must_use]
    pub fn side(self) -> Side {
        Side::Origin
    }
}
