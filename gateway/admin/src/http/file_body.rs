//! A file as the body of an answer, read as it is sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use hyper::body::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

/// Bytes that are read at a time: a few of them are a socket's buffer.
const CHUNK_BYTES: usize = 64 * 1024;

/// What is left of a file.
#[derive(Debug)]
pub(crate) struct FileBody {
    file: tokio::fs::File,
    left: u64,
}

impl FileBody {
    /// The `size` bytes from where the file stands.
    pub(crate) fn new(file: std::fs::File, size: u64) -> Self {
        Self {
            file: file.into(),
            left: size,
        }
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(None);
        }
        let wanted = usize::try_from(this.left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        let mut chunk = vec![0; wanted];
        let mut read = ReadBuf::new(&mut chunk);
        if let Err(error) = ready!(Pin::new(&mut this.file).poll_read(cx, &mut read)) {
            return Poll::Ready(Some(Err(error)));
        }
        let count = read.filled().len();
        if count == 0 {
            let short = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Poll::Ready(Some(Err(short)));
        }
        chunk.truncate(count);
        this.left -= count as u64;
        Poll::Ready(Some(Ok(Frame::data(chunk.into()))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
