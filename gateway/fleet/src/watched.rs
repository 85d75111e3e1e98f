//! A watch that notices when etcd falls silent: TCP tells of a cut only when something is sent.

use etcd_client::{WatchOptions, WatchResponse, WatchStream};
use tokio::time::{Instant, sleep_until, timeout};

use crate::limits::{CONTACT, REQUEST_TIMEOUT};
use crate::log::{Log, LogError};

/// A watch.
pub(crate) struct Watched {
    stream: WatchStream,
    /// When etcd is asked for a sign of life.
    ask: Instant,
    /// When it is given up, once it was asked.
    give_up: Option<Instant>,
}

impl Watched {
    pub(crate) async fn begin(
        log: &Log,
        key: String,
        options: WatchOptions,
    ) -> Result<Self, LogError> {
        let begin = async {
            let mut watcher = log.watcher().await?;
            Ok(watcher.watch(key, Some(options)).await?)
        };
        let begun = timeout(REQUEST_TIMEOUT, begin).await;
        Ok(Self {
            stream: begun.unwrap_or(Err(LogError::Late))?,
            ask: Instant::now() + CONTACT.0,
            give_up: None,
        })
    }

    /// What is told next, be it only that nothing has happened.
    pub(crate) async fn next(&mut self) -> Result<WatchResponse, LogError> {
        loop {
            let told = tokio::select! {
                told = self.stream.message() => told,
                () = sleep_until(self.ask), if self.give_up.is_none() => {
                    // The answer comes behind all that was to be told before.
                    self.stream.request_progress().await?;
                    self.give_up = Some(Instant::now() + CONTACT.1);
                    continue;
                }
                () = sleep_until(self.give_up.unwrap_or(self.ask)), if self.give_up.is_some() => {
                    return Err(LogError::Late);
                }
            };
            let told = told?.ok_or_else(|| LogError::Ended("it has closed it".into()))?;
            if told.canceled() {
                // Compacted away, the token has expired, or the member has lost the others.
                return Err(LogError::Ended(told.cancel_reason().to_owned()));
            }
            (self.ask, self.give_up) = (Instant::now() + CONTACT.0, None);
            return Ok(told);
        }
    }
}
