//! An event stream: items as they come, in the format that browsers call server-sent events (HTML
//! §9.2.5).
//!
//! A task of its own reads the history and hands texts to the connection; a client that does not read
//! holds up nothing but its own stream, and is told when it has missed something. A stream ends after
//! a while, and its client asks again with the number of the last item that it had: so it is asked
//! again who it is, and a connection comes to its end in order.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use http_body::Frame;
use hyper::body::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::history::{Filter, History, Part, Position, Seat, What};
use crate::limits::{
    EVENT_COUNTS_EVERY, EVENT_HEARTBEAT, EVENT_STREAM_LIFETIME, EVENTS_IN_A_FRAME,
};
use datapath::observe::EventCounts;

/// What a client asks for.
pub(crate) struct Asked {
    pub(crate) filter: Filter,
    /// The last item that it had.
    pub(crate) position: Option<Position>,
    /// How many of the newest items it wants at first, when it had none.
    pub(crate) recent: usize,
    /// Who it is, for the number of its streams.
    pub(crate) holder: Arc<str>,
    /// Whether it may still hear.
    pub(crate) admitted: Box<dyn Fn() -> bool + Send>,
}

/// The body of a stream, or why there is none.
pub(crate) fn open(history: &Arc<History>, asked: Asked) -> Result<Body, &'static str> {
    let seat = history.seat(&asked.holder)?;
    // One text is written while the next one waits.
    let (texts, receiver) = mpsc::channel(1);
    tokio::spawn(run(history.clone(), asked, seat, texts));
    Ok(Body::new(Stream(receiver)))
}

/// The connection's end of a stream.
struct Stream(mpsc::Receiver<Bytes>);

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let text = self.0.poll_recv(cx);
        text.map(|text| text.map(|text| Ok(Frame::data(text))))
    }
}

/// Tells what comes until the client is gone, may hear no more, or has heard for long enough.
async fn run(history: Arc<History>, asked: Asked, _seat: Seat, texts: mpsc::Sender<Bytes>) {
    let mut moved = history.listen();
    let ends = Instant::now() + lifetime();
    let mut after = history.begin(asked.position, asked.recent, &asked.filter);
    let mut told: Option<(Instant, EventCounts)> = None;
    let mut text = format!("retry: 1000\nid: {}\n\n", history.position(after)).into_bytes();
    loop {
        // Marked before it is read: what comes meanwhile wakes again.
        moved.borrow_and_update();
        let part = history.part(after, EVENTS_IN_A_FRAME, &asked.filter);
        let full = part.items.len() == EVENTS_IN_A_FRAME;
        after = part.after;
        write(&mut text, &history, &part, &asked.filter);
        // What all zones did together is nobody's of one zone.
        let due = told
            .as_ref()
            .is_none_or(|(when, _)| when.elapsed() >= EVENT_COUNTS_EVERY);
        if asked.filter.zone.is_none() && due {
            let now = history.counts();
            if told.as_ref().is_none_or(|(_, before)| *before != now) {
                let counts = super::counts(&now);
                text.extend_from_slice(format!("event: counts\ndata: {counts}\n\n").as_bytes());
                told = Some((Instant::now(), now));
            }
        }
        if !(asked.admitted)() {
            return;
        }
        if !text.is_empty() && texts.send(std::mem::take(&mut text).into()).await.is_err() {
            return;
        }
        if full {
            continue;
        }
        tokio::select! {
            () = texts.closed() => return,
            () = tokio::time::sleep_until(ends) => return,
            _ = moved.changed() => {}
            () = tokio::time::sleep(EVENT_HEARTBEAT) => text.extend_from_slice(b": still here\n\n"),
        }
    }
}

fn lifetime() -> Duration {
    // The tests of all routes read every answer to its end.
    if cfg!(test) {
        Duration::from_millis(300)
    } else {
        EVENT_STREAM_LIFETIME
    }
}

fn write(out: &mut Vec<u8>, history: &History, part: &Part, filter: &Filter) {
    if part.gap {
        out.extend_from_slice(b"event: gap\ndata: {}\n\n");
    }
    for item in &part.items {
        let position = history.position(item.number);
        let kind = match item.what {
            What::Event(_) => "event",
            What::Change(_) => "change",
        };
        out.extend_from_slice(format!("id: {position}\nevent: {kind}\ndata: ").as_bytes());
        out.extend_from_slice(&filter.data(item));
        out.extend_from_slice(b"\n\n");
    }
}
