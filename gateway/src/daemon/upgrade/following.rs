//! A replaced process follows the changes that its successor makes, for as long as it has connections.
//!
//! What it hears is in force here when the next is read. When nothing can be heard any more, or not be
//! put into force, following ends, and whoever follows has to end its connections: it would go on with
//! stale trust.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::time::MissedTickBehavior;

use super::channel::{Channel, HEAD, Head, Kind};
use crate::limits::FORMER_CAS_LOOK;
use control::{ChangeError, Control, FollowError, Transaction, TransactionError};

/// Why nothing more is heard.
#[derive(Debug, thiserror::Error)]
pub(in crate::daemon) enum FollowingEnd {
    /// The new process is gone, or the channel is.
    #[error("the new process is not to be heard any more: {0}")]
    Channel(#[from] io::Error),
    /// What came is not understood.
    #[error(transparent)]
    Unreadable(#[from] TransactionError),
    /// What came cannot be put into force.
    #[error("a change of the new process cannot be put into force here: {0}")]
    Change(#[from] FollowError),
}

/// Follows until that is no longer possible.
pub(in crate::daemon) async fn follow(channel: Channel, control: Arc<Control>) -> FollowingEnd {
    match run(channel, control).await {
        Ok(never) => match never {},
        Err(end) => end,
    }
}

/// Reads the system's CA bundle again and again: SIGHUP goes to the new process, which has no word for it.
/// Origins are reached by what it has now.
pub(in crate::daemon) async fn read_system_cas(control: Arc<Control>) -> Infallible {
    again_and_again(FORMER_CAS_LOOK, move || control.read_system_cas()).await
}

async fn again_and_again(
    pause: Duration,
    read: impl Fn() -> Result<bool, ChangeError> + Clone + Send + 'static,
) -> Infallible {
    let mut look = tokio::time::interval(pause);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut complained = false;
    loop {
        look.tick().await;
        let why = match tokio::task::spawn_blocking(read.clone()).await {
            Ok(Ok(has_changed)) => {
                if has_changed {
                    tracing::info!("origins are verified by what the system's CA bundle has now");
                }
                complained = false;
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        if !std::mem::replace(&mut complained, true) {
            tracing::error!(
                why,
                "origins are verified by the system's CA bundle as it was"
            );
        }
    }
}

async fn run(channel: Channel, control: Arc<Control>) -> Result<Infallible, FollowingEnd> {
    let stream = channel.into_inner();
    stream.set_nonblocking(true)?;
    let mut stream = tokio::net::UnixStream::from_std(stream)?;
    loop {
        let mut head = [0; HEAD];
        stream.read_exact(&mut head).await?;
        let head = Head::decode(head)?;
        if head.kind != Kind::Transaction || head.descriptors > 0 {
            let why = format!("{} instead of a change", head.kind.as_str());
            return Err(io::Error::new(ErrorKind::InvalidData, why).into());
        }
        let mut bytes = vec![0; head.bytes];
        stream.read_exact(&mut bytes).await?;
        let transaction = Transaction::decode(&bytes)?;
        let revision = transaction.revision;
        let of = control.clone();
        let followed = tokio::task::spawn_blocking(move || of.follow(&transaction)).await;
        followed.map_err(io::Error::other)??;
        tracing::debug!(revision, "a change of the new process is in force");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn the_bundle_is_read_again_whatever_came_of_it_before() {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let read = move || match counted.fetch_add(1, Ordering::SeqCst) {
            0 => Err(ChangeError::invalid("bundle", "it cannot be read")),
            1 => panic!("it is broken"),
            number => Ok(number == 2),
        };
        let reading = tokio::spawn(again_and_again(Duration::from_millis(1), read));
        while count.load(Ordering::SeqCst) < 5 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        reading.abort();
    }
}
