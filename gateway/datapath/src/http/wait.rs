//! Waiting for something to move that may not stand still for ever.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::body::BodyObserver;
use crate::clock;

/// A wait with a patience.
pub(super) struct Wait {
    patience: Duration,
    /// Since when; `None` while nothing is waited for.
    since: Option<Instant>,
    /// Set at the first wait, and put off only when it goes off: most never wait.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Wait {
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            patience,
            since: None,
            alarm: None,
        }
    }

    /// What was waited for has come.
    pub(super) fn goes_on(&mut self) {
        self.since = None;
    }

    /// Nothing is there: whether that has been so for too long, counted from when it `moved` last.
    pub(super) fn is_over(
        &mut self,
        cx: &mut Context<'_>,
        moved: impl Fn() -> Option<Instant>,
    ) -> bool {
        let since = *self.since.get_or_insert_with(clock::now);
        let patience = self.patience;
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until((since + patience).into())));
        while alarm.as_mut().poll(cx).is_ready() {
            let due = moved().max(Some(since));
            match due.map(|last| last + patience) {
                Some(due) if due > clock::now() => alarm.as_mut().reset(due.into()),
                _ => return true,
            }
        }
        false
    }
}

/// Sends what is left of a request whose answer has begun first. Once the answer is over, it may
/// stand still no longer than `patience`, and twice that until it is noticed.
pub(super) async fn send_rest(rest: impl Future, exchange: &dyn BodyObserver, patience: Duration) {
    let mut rest = pin!(rest);
    let mut alarm = pin!(tokio::time::sleep(patience));
    std::future::poll_fn(|cx| {
        if rest.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        while alarm.as_mut().poll(cx).is_ready() {
            let (upload, now) = (exchange.upload(), clock::now());
            let moves = |last: Instant| last + patience > now;
            if upload.answered && !upload.last_progress.is_some_and(moves) {
                return Poll::Ready(());
            }
            alarm.as_mut().reset((now + patience).into());
        }
        Poll::Pending
    })
    .await;
}
