//! Drives what speaks HTTP over an established connection, and watches its clocks.
//!
//! hyper's own timers are not used: they know one timeout for a request head and none for idle
//! connections, and cost a timer per request. One timer per connection is re-armed only when it
//! fires, and looks at the marks that requests and sockets leave.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use super::Connection;
use super::flood::Watch;
use super::stop::Stop;
use crate::clock;
use crate::limits::FLOOD_FAREWELL;

/// How driving hyper ended.
pub(super) enum Outcome {
    Stop(Stop),
    /// Between two HTTP/1.1 requests, and nothing is in flight.
    Idle,
}

/// Polls hyper until the connection stops, for whichever reason comes first.
pub(super) async fn drive<H, E>(
    connection: &Connection,
    http2: Option<&Watch>,
    hyper: &mut H,
    retire: impl Fn(Pin<&mut H>),
) -> Outcome
where
    H: Future<Output = Result<(), E>> + Unpin,
    E: Failure,
{
    let mut alarm = pin!(tokio::time::sleep_until(clock::now().into()));
    let mut drained = pin!(connection.local.drain.begun());
    let mut retiring = None;
    let mut flooded = None;
    // The first poll leaves our waker with the drain; after it the flag is enough.
    let _: Option<()> = poll_once(drained.as_mut()).await;
    std::future::poll_fn(|cx| {
        connection.closing.woken_by(cx.waker());
        loop {
            if let Poll::Ready(outcome) = Pin::new(&mut *hyper).poll(cx) {
                let failed = outcome.err().map(|failure| failure.stop(connection));
                let stop = failed.or(retiring).unwrap_or(Stop::Closed);
                return Poll::Ready(Outcome::Stop(stop));
            }
            if let Some(watch) = http2 {
                watch.settle();
            }
            if let Some(watch) = http2.filter(|watch| watch.is_over()) {
                if watch.may_end() {
                    return Poll::Ready(Outcome::Stop(Stop::Flood));
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
                retire(Pin::new(&mut *hyper));
                continue;
            }
            if let Some(due) = cut.filter(|due| alarm.deadline() > (*due).into()) {
                retiring = Some(Stop::CertificateLost);
                alarm.as_mut().reset(due.into());
            }
            while alarm.as_mut().poll(cx).is_ready() {
                let now = clock::now();
                if flooded.is_some_and(|due| due <= now) {
                    return Poll::Ready(Outcome::Stop(Stop::Flood));
                }
                if let Some(due) = cut {
                    if due <= now {
                        return Poll::Ready(Outcome::Stop(Stop::CertificateLost));
                    }
                    alarm.as_mut().reset(due.into());
                    continue;
                }
                if http2.is_none()
                    && retiring.is_none()
                    && !connection.remainder.has_body()
                    && connection.clocks.is_quiet(&connection.activity, now)
                {
                    return Poll::Ready(Outcome::Idle);
                }
                match connection.due(http2.is_some(), now) {
                    Ok(due) => alarm.as_mut().reset(due.into()),
                    Err(Stop::IdleTimeout) if retiring.is_none() => {
                        // Politely first: a close_notify or a GOAWAY, so that no client takes the
                        // end for a fault.
                        retiring = Some(Stop::IdleTimeout);
                        retire(Pin::new(&mut *hyper));
                        let due = clock::now() + connection.tunables.header_timeout;
                        alarm.as_mut().reset(due.into());
                        cx.waker().wake_by_ref();
                    }
                    Err(stop) => return Poll::Ready(Outcome::Stop(stop)),
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

/// Why a connection could not be driven on.
pub(super) trait Failure {
    /// What it is for the connection.
    fn stop(self, connection: &Connection) -> Stop;
}

impl Failure for Stop {
    fn stop(self, _: &Connection) -> Stop {
        self
    }
}
