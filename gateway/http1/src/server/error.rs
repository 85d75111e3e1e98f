//! Why a request is refused before anybody has seen it.

use http::StatusCode;
use vocabulary::side::Side;

use crate::framing::FramingError;
use crate::head::HeadError;

/// Why a request's head is refused. The connection can be answered, and is then closed: nobody knows
/// where the next request would begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ServerError {
    /// The head.
    #[error("the request's head is refused: {0}")]
    Head(#[from] HeadError),
    /// Where its body ends.
    #[error("the request is refused: {0}")]
    Framing(#[from] FramingError),
    /// A target in a form that its method does not have (RFC 9112 §3.2).
    #[error("the target is neither a path nor a URL, nor what the method takes for one")]
    TargetForm,
    /// HTTP/1.1 without `Host` (RFC 9112 §3.2).
    #[error("the request has no Host")]
    HostMissing,
    /// More than one `Host` (RFC 9112 §3.2).
    #[error("the request has more than one Host")]
    HostRepeated,
    /// The connection ended in the middle of a head.
    #[error("the client closed the connection in the middle of a head")]
    HeadCut,
}

impl ServerError {
    /// The stable word for logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Head(error) => error.word(),
            Self::Framing(error) => error.word(),
            Self::TargetForm => "target_form",
            Self::HostMissing => "host_missing",
            Self::HostRepeated => "host_repeated",
            Self::HeadCut => "head_cut",
        }
    }

    /// What is answered.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Head(error) => error.status(),
            Self::Framing(error) => error.status(),
            Self::TargetForm | Self::HostMissing | Self::HostRepeated | Self::HeadCut => {
                StatusCode::BAD_REQUEST
            }
        }
    }

    /// Whose fault it is: what the client sent, always.
    #[must_use]
    pub fn side(self) -> Side {
        Side::Client
    }
}
