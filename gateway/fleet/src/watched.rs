//! A watch that notices when etcd falls silent: TCP tells of a cut only when something is sent.
//!
//! etcd is asked over the watch itself for a sign of life, which comes behind all that it had to tell. A
//! relay (`etcd grpc-proxy`) does not know this question; what it serves is asked where the log ends
//! instead, which etcd itself answers.

use etcd_client::{WatchOptions, WatchResponse, WatchStream};
use tokio::time::{Instant, sleep_until, timeout};

use crate::limits::{CONTACT, REQUEST_TIMEOUT, TRY_TIMEOUT};
use crate::log::{Log, LogError};
use crate::record::Head;

/// A watch.
pub(crate) struct Watched {
    log: Log,
    stream: WatchStream,
    /// Whether signs of life are not given over the watch.
    is_relayed: bool,
    /// When etcd is asked for a sign of life.
    ask: Instant,
    /// When it is given up, once it was asked.
    give_up: Option<Instant>,
}

/// What a watch tells.
pub(crate) enum Told {
    /// What has happened, be it nothing.
    Events(WatchResponse),
    /// Nothing has; the log ended here a moment ago.
    Head(Head),
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
            log: log.clone(),
            stream: begun.unwrap_or(Err(LogError::Late))?,
            is_relayed: false,
            ask: Instant::now() + CONTACT.0,
            give_up: None,
        })
    }

    /// What is told next.
    pub(crate) async fn next(&mut self) -> Result<Told, LogError> {
        loop {
            let told = tokio::select! {
                told = self.stream.message() => told,
                () = sleep_until(self.ask), if self.give_up.is_none() && !self.is_relayed => {
                    self.stream.request_progress().await?;
                    self.give_up = Some(Instant::now() + CONTACT.1);
                    continue;
                }
                () = sleep_until(self.give_up.unwrap_or(self.ask)) => {
                    let head = timeout(TRY_TIMEOUT, self.log.head()).await;
                    let head = head.unwrap_or(Err(LogError::Late))?;
                    self.is_relayed = true;
                    self.give_up = None;
                    self.ask = Instant::now() + CONTACT.0;
                    return Ok(Told::Head(head));
                }
            };
            let told = told?.ok_or_else(|| LogError::Ended("it has closed it".into()))?;
            if told.canceled() {
                // Compacted away, the token has expired, or the member has lost the others.
                return Err(LogError::Ended(told.cancel_reason().to_owned()));
            }
            (self.ask, self.give_up) = (Instant::now() + CONTACT.0, None);
            return Ok(Told::Events(told));
        }
    }
}
