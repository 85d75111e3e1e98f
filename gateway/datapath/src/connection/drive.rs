//! Drives an HTTP/2 connection, and watches its clocks.
//!
//! Not a timer for each request: one timer per connection is re-armed only when it
//! fires, and looks at the marks that requests and sockets leave.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Instant;

use super::Connection;
use super::flood::Watch;
use super::stop::Stop;
use crate::clock;
use crate::limits::{FLOOD_FAREWELL, H2_GOODBYE};

/// Polls what serves the connection until it stops, for whichever reason comes first. Now and then it may
/// `rest`.
pub(super) async fn drive<S>(
    connection: &Connection,
    watch: &Watch,
    serving: &mut S,
    rest: impl Fn(Pin<&mut S>),
    retire: impl Fn(Pin<&mut S>),
) -> Stop
where
    S: Future<Output = Result<(), Stop>> + Unpin,
{
    let mut alarm = pin!(tokio::time::sleep_until(clock::now().into()));
    let mut drained = pin!(connection.local.drain.begun());
    let mut retiring = None;
    let mut goodbye_due = None;
    let mut idle_due: Option<Instant> = None;
    let mut flooded = None;
    // The first poll leaves our waker with the drain; after it the flag is enough.
    let _: Option<()> = poll_once(drained.as_mut()).await;
    std::future::poll_fn(|cx| {
        connection.closing.woken_by(cx.waker());
        loop {
            if let Poll::Ready(outcome) = Pin::new(&mut *serving).poll(cx) {
                return Poll::Ready(outcome.err().or(retiring).unwrap_or(Stop::Closed));
            }
            watch.settle();
            if watch.is_over() {
                if watch.may_end() {
                    return Poll::Ready(Stop::Flood);
                }
                if flooded.is_none() {
                    let due = clock::now() + FLOOD_FAREWELL;
                    flooded = Some(due);
                    alarm.as_mut().reset(due.into());
                }
            }
            let cut = connection.closing.cut_due();
            let wanted = if cut.is_some() {
                Some(Stop::CertificateLost)
            } else if connection.local.drain.has_begun() {
                Some(Stop::Drained)
            } else {
                connection.closing.is_retired().then_some(Stop::Closed)
            };
            if let (Some(stop), None) = (wanted, retiring) {
                retiring = Some(stop);
                retire(Pin::new(&mut *serving));
                goodbye_due = Some(clock::now() + H2_GOODBYE);
                continue;
            }
            if let Some(due) = cut.filter(|due| alarm.deadline() > (*due).into()) {
                retiring = Some(Stop::CertificateLost);
                alarm.as_mut().reset(due.into());
            }
            while alarm.as_mut().poll(cx).is_ready() {
                let now = clock::now();
                if flooded.is_some_and(|due| due <= now) {
                    return Poll::Ready(Stop::Flood);
                }
                if goodbye_due.is_some_and(|due| due <= now) {
                    // It has not heard of it, or does not want to.
                    goodbye_due = Some(now + H2_GOODBYE);
                    retire(Pin::new(&mut *serving));
                    cx.waker().wake_by_ref();
                }
                if let Some(due) = cut {
                    if due <= now {
                        return Poll::Ready(Stop::CertificateLost);
                    }
                    alarm.as_mut().reset(due.into());
                    continue;
                }
                rest(Pin::new(&mut *serving));
                match connection.due(true, now) {
                    Ok(due) => alarm.as_mut().reset(due.into()),
                    Err(Stop::IdleTimeout) if idle_due.is_some_and(|due| due > now) => {
                        alarm.as_mut().reset((now + H2_GOODBYE).into());
                    }
                    Err(Stop::IdleTimeout) if retiring.is_none() => {
                        // Politely first: a GOAWAY, so that no client takes the end for a fault.
                        retiring = Some(Stop::IdleTimeout);
                        retire(Pin::new(&mut *serving));
                        // Whoever says nothing more has as long as for a head.
                        let due = now + connection.tunables.header_timeout;
                        idle_due = Some(due);
                        goodbye_due = Some(now + H2_GOODBYE);
                        alarm.as_mut().reset(due.min(now + H2_GOODBYE).into());
                        cx.waker().wake_by_ref();
                    }
                    Err(stop) => return Poll::Ready(stop),
                }
            }
            return Poll::Pending;
        }
    })
    .await
}

async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|cx: &mut Context<'_>| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
