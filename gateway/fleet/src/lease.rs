//! A lease of etcd's: what is under it is there as long as we say often enough that we live.
//!
//! etcd counts from when it hears of us; we count from when we began to say it, which is earlier. So what we
//! believe ends before what etcd believes, as long as clocks run alike.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::limits::TRY_TIMEOUT;
use crate::log::{Log, LogError};

/// A lease that was granted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lease {
    pub(crate) id: i64,
    ttl: Duration,
    /// Until when etcd certainly keeps it.
    pub(crate) until: Instant,
}

/// What a sign of life has come to.
pub(crate) enum Signed {
    /// It is kept until later.
    Kept,
    /// etcd does not know it any more.
    Gone,
    /// It may be well the next time.
    Failed(LogError),
}

impl Lease {
    pub(crate) async fn grant(log: &Log, ttl_sec: i64) -> Result<Self, LogError> {
        let begun = Instant::now();
        let granted = async { Ok::<_, LogError>(log.leases().await?.grant(ttl_sec, None).await?) };
        let granted = timeout(TRY_TIMEOUT, granted).await;
        let granted = granted.unwrap_or(Err(LogError::Late))?;
        let ttl = Duration::from_secs(u64::try_from(granted.ttl()).unwrap_or_default());
        Ok(Self {
            id: granted.id(),
            ttl,
            until: begun + ttl,
        })
    }

    /// Says that we live. Never longer than until it would be too late anyway.
    pub(crate) async fn sign(&mut self, log: &Log) -> Signed {
        let begun = Instant::now();
        let left = self.until.saturating_duration_since(begun);
        let signed = async {
            // A stream for one question: whichever member is asked now, and whatever token there is.
            let mut leases = log.leases().await?;
            Ok(leases.keep_alive(self.id).await.map(drop))
        };
        let signed = timeout(left.min(TRY_TIMEOUT), signed).await;
        match signed.unwrap_or(Err(LogError::Late)) {
            Ok(Ok(())) => {
                self.until = begun + self.ttl;
                Signed::Kept
            }
            Ok(Err(etcd_client::Error::LeaseKeepAliveError(_))) => Signed::Gone,
            Ok(Err(error)) => Signed::Failed(error.into()),
            Err(error) => Signed::Failed(error),
        }
    }

    /// Ends it, and with it what is under it.
    pub(crate) async fn revoke(self, log: &Log) -> Result<(), LogError> {
        let revoked = async { Ok(log.leases().await?.revoke(self.id).await.map(drop)?) };
        timeout(TRY_TIMEOUT, revoked)
            .await
            .unwrap_or(Err(LogError::Late))
    }
}
