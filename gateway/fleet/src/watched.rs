//! A watch, and beside it a question that is asked so often that what is known is true.
//!
//! A watch alone does not tell: TCP tells of a cut only when something is sent, and a member that has lost the
//! others goes on for a while as if nothing had happened. The question is answered by a majority of the members.

use std::pin::Pin;

use etcd_client::{WatchOptions, WatchResponse, WatchStream};
use tokio::time::{Instant, sleep_until, timeout};

use crate::clock::Moment;
use crate::limits::{CONTACT, REQUEST_TIMEOUT};
use crate::log::{Log, LogError};

/// What is asked of etcd beside the watch.
pub(crate) type Question<A> = Pin<Box<dyn Future<Output = Result<A, LogError>> + Send>>;

/// A watch, and the question that is going on.
pub(crate) struct Watched<A> {
    stream: WatchStream,
    /// When etcd is asked next.
    ask: Instant,
    question: Option<(Moment, Question<A>)>,
}

/// What a watch tells.
pub(crate) enum Told<A> {
    /// What has happened, be it nothing.
    Events(WatchResponse),
    /// The answer to the question that was asked at this time.
    Answer(A, Moment),
}

impl<A> Watched<A> {
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
            question: None,
        })
    }

    /// What is told next; `ask` makes the question when it is its time.
    pub(crate) async fn next(
        &mut self,
        mut ask: impl FnMut() -> Question<A>,
    ) -> Result<Told<A>, LogError> {
        loop {
            let Some((at, question)) = &mut self.question else {
                tokio::select! {
                    biased;
                    told = self.stream.message() => return events(told),
                    () = sleep_until(self.ask) => {
                        self.question = Some((Moment::now(), ask()));
                        continue;
                    }
                }
            };
            let (at, end) = (*at, at.at + CONTACT.1);
            tokio::select! {
                biased;
                answer = question => {
                    self.question = None;
                    self.ask = at.at + CONTACT.0;
                    return Ok(Told::Answer(answer?, at));
                }
                told = self.stream.message() => return events(told),
                () = sleep_until(end) => return Err(LogError::Late),
            }
        }
    }
}

fn events<A>(told: Result<Option<WatchResponse>, etcd_client::Error>) -> Result<Told<A>, LogError> {
    let told = told?.ok_or_else(|| LogError::Ended("it has closed it".into()))?;
    if told.canceled() {
        // Compacted away, the token has expired, or the member has lost the others.
        return Err(LogError::Ended(told.cancel_reason().to_owned()));
    }
    Ok(Told::Events(told))
}
