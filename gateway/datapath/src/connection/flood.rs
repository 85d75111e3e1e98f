//! What an HTTP/2 client may make us do for nothing.
//!
//! Frames that carry nothing cost a frame each, a request that its client takes back costs many.
//! Bodies and requests earn what they call for: windows to be opened, a PING now and then, an end.
//! Owns that budget, and the stream that frames are counted on. A client that is over it gets
//! ENHANCE_YOUR_CALM (RFC 9113 §10.5), if what was being written to it comes to a frame's end. Also
//! how much of answers is fetched for a client that does not take it.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Connection;
use super::refusals::Refusals;
use crate::clock;
use crate::http::frames::{Frame, Kind, Scanner};
use crate::http::response::Response;
use crate::io::TlsStream;
use crate::limits::{
    CLIENT_BUFFERED_MAX, FLOOD_FAREWELL, FLOOD_LINGER, H2_CANCELLED_FRAMES,
    H2_CONTROL_FRAMES_WINDOW, H2_EARNED_BYTES, H2_EARNED_FRAMES_ANSWER, H2_EARNED_FRAMES_HEAD,
    H2_FETCH_AHEAD,
};
use crate::shares::Account;

/// The budget of one connection, in halves of a frame.
struct Budget {
    /// What was spent of it and not earned back.
    spent: Cell<u32>,
    /// Since when time has given nothing back.
    since: Cell<Instant>,
    over: Cell<bool>,
}

impl Budget {
    /// Of a connection that begins now.
    fn new(now: Instant) -> Self {
        Self {
            spent: Cell::new(0),
            since: Cell::new(now),
            over: Cell::new(false),
        }
    }

    /// Whether the client has passed it.
    fn is_over(&self) -> bool {
        self.over.get()
    }

    fn earn(&self, halves: u32) {
        self.spent.set(self.spent.get().saturating_sub(halves));
    }

    fn spend(&self, halves: u32, frames_max: usize) {
        let most = u32::try_from(2 * frames_max).unwrap_or(u32::MAX - 1);
        let mut spent = self.spent.get().saturating_add(halves);
        if spent > most {
            // Only now is the time asked for: most connections never come here.
            spent = self.recover(spent, most, clock::now());
        }
        self.spent.set(spent);
        if spent > most {
            self.over.set(true);
        }
    }

    /// What is left of `spent` once time has given its part back: everything within a window.
    fn recover(&self, spent: u32, most: u32, now: Instant) -> u32 {
        let window = H2_CONTROL_FRAMES_WINDOW;
        let passed = now.duration_since(self.since.replace(now)).min(window);
        let part = u128::from(most) * passed.as_micros() / window.as_micros();
        spent.saturating_sub(u32::try_from(part).unwrap_or(u32::MAX))
    }

    /// The client sent a frame.
    fn received(&self, frame: Frame, frames_max: usize) {
        match (frame.kind, frame.content) {
            (Kind::Data, 1..) => self.earn(earned(frame.content)),
            (Kind::Headers, 1..) => self.earn(2 * H2_EARNED_FRAMES_HEAD),
            (Kind::Continuation, 1..) => {}
            _ => self.spend(2, frames_max),
        }
    }

    /// The client was sent a frame.
    fn sent(&self, frame: Frame) {
        if frame.body() > 0 {
            self.earn(earned(frame.body()));
        }
    }
}

/// What a piece of a body earns: half a frame, and one for each so many bytes.
fn earned(content: u32) -> u32 {
    1 + content / (H2_EARNED_BYTES / 2)
}

/// The client took a request back before it had anything of the answer.
pub(super) fn cancelled(connection: &Connection) {
    if let Some(watch) = connection.watch.get() {
        watch
            .budget
            .spend(2 * H2_CANCELLED_FRAMES, watch.frames_max);
        if watch.budget.is_over() {
            connection.closing.wake();
        }
    }
}

/// A request was answered to its end.
pub(super) fn answered(connection: &Connection) {
    if let Some(watch) = connection.watch.get() {
        watch.budget.earn(2 * H2_EARNED_FRAMES_ANSWER);
    }
}

/// What is known of the frames of one connection.
pub(super) struct Watch {
    budget: Budget,
    /// `limit.h2_control_frames`
    frames_max: usize,
    incoming: RefCell<Scanner>,
    outgoing: RefCell<Scanner>,
    /// The last stream that the client opened.
    last_stream: Cell<u32>,
    /// Interim responses to the request that is being polled.
    pub(super) interims: RefCell<Vec<Response<()>>>,
    /// Streams that h2 refuses by itself.
    pub(super) refusals: Refusals,
    /// What its client holds, if that is counted.
    account: Option<Arc<Account>>,
    /// Bytes of answers that were fetched and not written yet.
    held: Cell<usize>,
    /// Who waits until there are fewer.
    waiting: RefCell<Vec<Waker>>,
    /// All that h2 has given is written.
    flushed: Cell<bool>,
    /// More of an answer was not fetched.
    refused: Cell<bool>,
    /// The stream, once h2 has let go of it.
    returned: RefCell<Option<TlsStream>>,
}

impl Watch {
    /// Of a connection that begins now.
    pub(super) fn new(frames_max: usize, account: Option<Arc<Account>>, now: Instant) -> Rc<Self> {
        Rc::new(Self {
            budget: Budget::new(now),
            frames_max,
            incoming: RefCell::new(Scanner::of_client()),
            outgoing: RefCell::new(Scanner::of_server()),
            last_stream: Cell::new(0),
            interims: RefCell::default(),
            refusals: Refusals::default(),
            account,
            held: Cell::new(0),
            waiting: RefCell::default(),
            flushed: Cell::new(false),
            refused: Cell::new(false),
            returned: RefCell::default(),
        })
    }

    /// The stream for h2.
    pub(super) fn guard(self: &Rc<Self>, stream: TlsStream) -> Guarded {
        Guarded {
            stream: Some(stream),
            watch: self.clone(),
        }
    }

    /// The stream, once h2 has let go of it.
    pub(super) fn take_stream(&self) -> Option<TlsStream> {
        self.returned.take()
    }

    /// Whether the client is over its budget.
    pub(super) fn is_over(&self) -> bool {
        self.budget.is_over()
    }

    /// Whether the client is over its budget, and nothing stands half written before our last word.
    pub(super) fn may_end(&self) -> bool {
        self.budget.is_over() && self.outgoing.borrow().is_between()
    }

    /// Whether more of an answer may be fetched. If not, the caller is woken when it may.
    pub(super) fn may_fetch(&self, cx: &Context<'_>) -> bool {
        let held = self.held.get();
        let account = self.account.as_ref();
        let crowded = || account.is_some_and(|account| account.buffered() >= CLIENT_BUFFERED_MAX);
        // One piece is let through whatever others hold: what is written wakes for the next.
        if held == 0 || (held < H2_FETCH_AHEAD && !crowded()) {
            return true;
        }
        self.refused.set(true);
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|known| known.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        false
    }

    /// Whether more was not fetched since the last call. Then h2 has to have its turn: what it was given
    /// may wait for a window, and only h2 knows.
    pub(super) fn has_refused(&self) -> bool {
        self.refused.take()
    }

    /// So many bytes of an answer were fetched.
    pub(super) fn fetched(&self, bytes: usize) {
        self.flushed.set(false);
        self.held.set(self.held.get() + bytes);
        if let Some(account) = &self.account {
            account.buffer(bytes);
        }
    }

    /// So many bytes of answers were written.
    fn written(&self, bytes: usize) {
        let bytes = bytes.min(self.held.get());
        let left = self.held.get() - bytes;
        self.held.set(left);
        if let Some(account) = &self.account {
            account.unbuffer(bytes);
        }
        if left <= H2_FETCH_AHEAD / 2 {
            self.wake();
        }
    }

    /// h2 has done what it could. When nothing waits to be written, what was fetched and is
    /// still counted was dropped with its stream, or waits for the client to open a window.
    pub(super) fn settle(&self) {
        if self.flushed.get() && self.held.get() > 0 {
            self.written(self.held.get());
        }
    }

    fn wake(&self) {
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// Takes what was read; answers whether h2 gets it.
    fn received(&self, bytes: &[u8]) -> bool {
        let mut incoming = self.incoming.borrow_mut();
        self.refusals.reads(bytes, incoming.is_between());
        incoming.scan(bytes, |frame| {
            self.budget.received(frame, self.frames_max);
            self.refusals.received(frame);
            if frame.kind == Kind::Headers && !self.budget.is_over() {
                self.last_stream
                    .set(self.last_stream.get().max(frame.stream));
            }
        });
        !self.budget.is_over()
    }

    /// Tells the client why, if that can be done between two frames, and lets it read that.
    pub(super) async fn say_goodbye(&self, mut stream: TlsStream) {
        let word = self.outgoing.borrow().is_between().then(|| {
            // RFC 9113 §6.8: eight bytes on stream 0, the last stream and the code.
            let mut frame = vec![0, 0, 8, 7, 0, 0, 0, 0, 0];
            frame.extend(self.last_stream.get().to_be_bytes());
            frame.extend(u32::from(h2::Reason::ENHANCE_YOUR_CALM).to_be_bytes());
            frame
        });
        let said = async {
            if let Some(word) = word {
                std::future::poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, &word)).await?;
            }
            stream.close().await
        };
        // A client that does not take it does without.
        if let Ok(Ok(())) = tokio::time::timeout(FLOOD_FAREWELL, said).await {
            drop(tokio::time::timeout(FLOOD_LINGER, stream.linger()).await);
        }
    }
}

/// The stream that h2 serves HTTP/2 over.
pub(super) struct Guarded {
    /// There until this is dropped.
    stream: Option<TlsStream>,
    watch: Rc<Watch>,
}

impl Guarded {
    fn stream(&mut self) -> io::Result<&mut TlsStream> {
        self.stream
            .as_mut()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.written(self.held.get());
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.watch.returned.replace(self.stream.take());
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let watch = this.watch.clone();
        if watch.budget.is_over() {
            return Poll::Pending;
        }
        this.stream()?
            .poll_read_if(cx, into, |bytes| watch.received(bytes))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let watch = this.watch.clone();
        let from = if watch.budget.is_over() {
            // What has begun is written to its end, and nothing behind it.
            let rest = watch.outgoing.borrow().unfinished(from);
            match from.get(..rest) {
                Some(rest) if !rest.is_empty() => rest,
                _ => return Poll::Pending,
            }
        } else {
            from
        };
        watch.flushed.set(false);
        let corrected = watch.refusals.corrected(from, &watch.outgoing.borrow());
        let from = corrected.as_deref().unwrap_or(from);
        let count = ready!(Pin::new(this.stream()?).poll_write(cx, from))?;
        let written = from.get(..count).unwrap_or(from);
        let mut bytes = 0;
        watch.outgoing.borrow_mut().scan(written, |frame| {
            watch.budget.sent(frame);
            watch.refusals.sent(frame);
            bytes += usize::try_from(frame.body()).unwrap_or_default();
        });
        if bytes > 0 {
            watch.written(bytes);
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(this.stream()?).poll_flush(cx);
        this.watch.flushed.set(flushed.is_ready());
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().stream()?).poll_shutdown(cx)
    }
}

const _: () = assert!(H2_CONTROL_FRAMES_WINDOW.as_micros() > 0);
const _: () = assert!(FLOOD_LINGER.as_millis() >= FLOOD_FAREWELL.as_millis());

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: Kind, content: u32) -> Frame {
        Frame {
            kind,
            flags: 0,
            stream: 1,
            content,
        }
    }

    const MOST: usize = 1_000;

    /// How many rounds of these frames, received and sent, a client gets through.
    fn rounds(received: &[(Kind, u32)], sent: &[u32]) -> usize {
        let budget = Budget::new(clock::now());
        (0..100_000)
            .take_while(|_| {
                for (kind, content) in received {
                    budget.received(frame(*kind, *content), MOST);
                }
                for content in sent {
                    budget.sent(frame(Kind::Data, *content));
                }
                !budget.is_over()
            })
            .count()
    }

    #[test]
    fn who_carries_nothing_is_thrown_out_and_who_does_is_not() {
        use Kind::{Continuation, Data, Headers, Other, Ping};
        let window = (Other, 4);
        let ping = (Ping, 8);
        for (what, received, sent, endless) in [
            ("pings", &[ping][..], &[][..], false),
            ("empty data", &[(Data, 0)], &[], false),
            ("empty continuations", &[(Continuation, 0)], &[], false),
            ("empty heads", &[(Headers, 0)], &[], false),
            ("windows of a byte", &[window], &[1], false),
            ("a download", &[window, window], &[4_096], true),
            (
                "a download with pings",
                &[window, ping, ping],
                &[8_192],
                true,
            ),
            ("an upload", &[(Data, 1), (Data, 16_384)], &[], true),
            (
                "small requests",
                &[(Headers, 30), window, window, (Data, 0), ping],
                &[2],
                true,
            ),
        ] {
            let rounds = rounds(received, sent);
            assert_eq!(rounds == 100_000, endless, "{what}: {rounds}");
            // Time gives some back while this runs, and not more than a window's.
            assert!(
                endless || (MOST..10 * MOST).contains(&rounds),
                "{what}: {rounds}"
            );
        }
    }

    #[test]
    fn time_gives_everything_back_within_a_window() {
        let (most, begun) = (2_000, clock::now());
        let budget = Budget::new(begun);
        assert_eq!(budget.recover(2_002, most, begun), 2_002);
        let half = begun + H2_CONTROL_FRAMES_WINDOW / 2;
        assert_eq!(budget.recover(2_002, most, half), 1_002);
        let later = half + 7 * H2_CONTROL_FRAMES_WINDOW;
        assert_eq!(budget.recover(2_002, most, later), 2);
    }
}
