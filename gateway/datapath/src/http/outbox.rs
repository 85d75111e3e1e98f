//! What waits to go out on an HTTP/1.1 connection, of either side.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWrite;

/// Text, and a piece of a body behind it, which is not copied.
#[derive(Default)]
pub(super) struct Outbox {
    /// Heads, sizes of chunks and small pieces, of which so many bytes have gone.
    text: Vec<u8>,
    gone: usize,
    /// What goes behind them: a piece of a body, and the end of its chunk.
    data: Bytes,
    behind: &'static [u8],
}

impl Outbox {
    /// Where text is written, while no piece waits behind it.
    pub(super) fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Puts a piece behind the text, and `behind` after it.
    pub(super) fn put(&mut self, data: Bytes, behind: &'static [u8]) {
        self.data = data;
        self.behind = behind;
    }

    /// Whether a piece waits behind the text.
    pub(super) fn has_data(&self) -> bool {
        !self.data.is_empty()
    }

    /// Bytes that wait.
    pub(super) fn left(&self) -> usize {
        (self.text.len() - self.gone) + self.data.len() + self.behind.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.data.is_empty()
    }

    /// Ready when the stream has taken all of it, which does not mean that it went.
    pub(super) fn poll_write(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            while let Some(rest) = self.text.get(self.gone..).filter(|rest| !rest.is_empty()) {
                self.gone += ready!(Pin::new(&mut *stream).poll_write(cx, rest))?;
            }
            self.text.clear();
            self.gone = 0;
            while !self.data.is_empty() {
                let count = ready!(Pin::new(&mut *stream).poll_write(cx, &self.data))?;
                self.data.advance(count);
            }
            // What was the last of a buffer does not keep it.
            self.data = Bytes::new();
            if self.behind.is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.text
                .extend_from_slice(std::mem::take(&mut self.behind));
        }
    }
}
