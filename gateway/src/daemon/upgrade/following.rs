//! A replaced process follows the changes that its successor makes, for as long as it has connections.
//!
//! What it hears is in force here when the next is read. When nothing can be heard any more, or not be
//! put into force, following ends, and whoever follows has to end its connections: it would go on with
//! stale trust.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use tokio::io::AsyncReadExt as _;

use super::channel::{Channel, HEAD, Head, Kind};
use control::{Control, FollowError, Transaction, TransactionError};

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

async fn run(
    channel: Channel,
    control: Arc<Control>,
) -> Result<std::convert::Infallible, FollowingEnd> {
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
