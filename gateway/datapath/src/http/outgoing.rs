//! A body on its way onto an HTTP/2 stream (RFC 9113 §8.1), of either side.
//!
//! One piece is in hand, and it is given to h2 when the peer has opened its window at all: what one
//! stream makes us hold is a piece and `limits::H2_SEND_BUFFER`.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

use super::body::BodyError;
use super::connect::AnswerError;

/// Sends a body to its end. One that breaks off resets the stream, which must not end as if the body
/// were whole: with what the other side said, or `reason`. Answers whether all of it was given to h2.
pub async fn send<B>(body: B, mut stream: SendStream<Bytes>, reason: Reason) -> bool
where
    B: Body<Data = Bytes, Error = BodyError>,
{
    let mut body = pin!(body);
    let mut in_hand = None;
    let sent = poll_fn(|cx| poll_send(body.as_mut(), &mut stream, &mut in_hand, cx)).await;
    match sent {
        Ok(()) => true,
        Err(Undelivered::Refused) => false,
        Err(Undelivered::Broken(why)) => {
            stream.send_reset(reason_of(&why).unwrap_or(reason));
            false
        }
    }
}

/// With which code a peer broke its body off.
fn reason_of(why: &BodyError) -> Option<Reason> {
    match why {
        BodyError::Broken(AnswerError::Http2(error)) if error.is_reset() && error.is_remote() => {
            error.reason()
        }
        _ => None,
    }
}

/// Why a body did not go out whole.
enum Undelivered {
    /// The peer, or its connection, does not take it.
    Refused,
    /// It broke off itself; the stream is still open.
    Broken(BodyError),
}

impl From<h2::Error> for Undelivered {
    fn from(_: h2::Error) -> Self {
        Self::Refused
    }
}

/// A piece that waits for the peer's window, and whether it is the last one.
type InHand = Option<(Bytes, bool)>;

fn poll_send<B>(
    mut body: Pin<&mut B>,
    stream: &mut SendStream<Bytes>,
    in_hand: &mut InHand,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Undelivered>>
where
    B: Body<Data = Bytes, Error = BodyError>,
{
    loop {
        // Leaves our waker: a reset is heard of while we wait for anything else.
        if stream.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(Undelivered::Refused));
        }
        while in_hand.is_some() && stream.capacity() == 0 {
            match ready!(stream.poll_capacity(cx)) {
                Some(room) => drop(room?),
                None => return Poll::Ready(Err(Undelivered::Refused)),
            }
        }
        if let Some((data, is_last)) = in_hand.take() {
            stream.send_data(data, is_last)?;
            if is_last {
                return Poll::Ready(Ok(()));
            }
        }
        let frame = match ready!(body.as_mut().poll_frame(cx)).transpose() {
            Ok(frame) => frame,
            Err(error) => return Poll::Ready(Err(Undelivered::Broken(error))),
        };
        let Some(frame) = frame else {
            stream.send_data(Bytes::new(), true)?;
            return Poll::Ready(Ok(()));
        };
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                // One byte, because what is reserved is kept from other streams: h2 asks for the rest
                // once it has the piece.
                stream.reserve_capacity(1);
                *in_hand = Some((data, body.is_end_stream()));
            }
            Err(frame) => {
                stream.reserve_capacity(0);
                stream.send_trailers(frame.into_trailers().unwrap_or_default())?;
                return Poll::Ready(Ok(()));
            }
        }
    }
}
