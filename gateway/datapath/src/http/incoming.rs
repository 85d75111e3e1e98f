//! A request's body as it comes from the client, whichever protocol it comes over.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

/// What of a request's body is to come.
pub enum Incoming {
    /// From hyper.
    Hyper(hyper::body::Incoming),
}

impl Incoming {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// The client broke it off, or what came is no body.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self {
            Self::Hyper(body) => Pin::new(body).poll_frame(cx),
        }
    }

    /// Whether nothing more comes, as far as that is known before it is asked for.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self {
            Self::Hyper(body) => body.is_end_stream(),
        }
    }

    /// How much is to come.
    #[must_use]
    pub fn size_hint(&self) -> SizeHint {
        match self {
            Self::Hyper(body) => body.size_hint(),
        }
    }
}
