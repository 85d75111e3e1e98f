//! One timer for all that the requests of a connection wait for, one after the other.
//!
//! To register a timer and to take it back costs more than to be woken once by one that was set for an
//! earlier request: it is put off only when it goes off.

use std::cell::RefCell;
use std::future::Future as _;
use std::pin::Pin;
use std::task::Context;
use std::time::Instant;

use tokio::time::Sleep;

use crate::clock;

/// Goes off when something is due, or was for a request before.
#[derive(Default)]
pub(super) struct Alarm(RefCell<Option<Pin<Box<Sleep>>>>);

impl Alarm {
    /// Whether that moment has come. If not, the caller is woken when it has, or before.
    pub(super) fn is_due(&self, cx: &mut Context<'_>, due: Instant) -> bool {
        let mut alarm = self.0.borrow_mut();
        let alarm = alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due.into())));
        if alarm.deadline() > due.into() {
            alarm.as_mut().reset(due.into());
        }
        while alarm.as_mut().poll(cx).is_ready() {
            if due <= clock::now() {
                return true;
            }
            alarm.as_mut().reset(due.into());
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::task::Poll;
    use std::time::Duration;

    /// Longer than any test.
    const FAR: Duration = Duration::from_secs(3_600);
    const SOON: Duration = Duration::from_millis(20);

    /// Waits for that moment.
    async fn wait(alarm: &Alarm, due: Instant) {
        poll_fn(|cx| match alarm.is_due(cx, due) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
        assert!(due <= clock::now(), "before its moment");
    }

    /// Polled once: whether that moment has come.
    async fn is_due(alarm: &Alarm, due: Instant) -> bool {
        let is_due = poll_fn(|cx| Poll::Ready(alarm.is_due(cx, due))).await;
        assert!(!is_due || due <= clock::now(), "before its moment");
        is_due
    }

    #[tokio::test]
    async fn it_goes_off_for_each_request_in_its_moment_whatever_it_was_set_for_before() {
        let alarm = Alarm::default();
        let now = clock::now();
        assert!(!is_due(&alarm, now + FAR).await);
        // Earlier than it is set for.
        wait(&alarm, now + SOON).await;
        // It is over, and so is what is due.
        wait(&alarm, now).await;
        assert!(!is_due(&alarm, clock::now() + FAR).await);
        wait(&alarm, clock::now() + SOON).await;
    }

    #[tokio::test]
    async fn one_that_was_set_for_a_request_before_is_put_off() {
        let alarm = Alarm::default();
        let now = clock::now();
        // On a busy machine either may be over by now.
        is_due(&alarm, now + SOON).await;
        is_due(&alarm, now + SOON * 3).await;
        wait(&alarm, now + SOON * 3).await;
    }
}
