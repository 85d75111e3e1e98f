//! The queue of questions about client certificates, from the data path to the OCSP client.
//!
//! Bounded and lock-free on the worker's side. A question that finds no room is lost, and its
//! waiter learns that at once: `tls` says what that means.

use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use tokio::sync::{Notify, oneshot};

use crate::limits::{OCSP_QUESTIONS_MAX, OCSP_WAIT};
use tls::OcspQuestion;

/// A question, and who is to be told when it is answered.
pub struct OcspQuery {
    /// What is to be asked.
    pub question: OcspQuestion,
    /// Told when there is an answer, or when none is to be expected.
    pub told: Option<oneshot::Sender<()>>,
}

/// The questions of all workers.
pub struct OcspQueue {
    queue: ArrayQueue<OcspQuery>,
    bell: Notify,
}

impl Default for OcspQueue {
    fn default() -> Self {
        Self {
            queue: ArrayQueue::new(OCSP_QUESTIONS_MAX),
            bell: Notify::new(),
        }
    }
}

impl OcspQueue {
    /// Asks, and does not wait.
    pub fn ask(&self, question: OcspQuestion) {
        self.put(OcspQuery {
            question,
            told: None,
        });
    }

    /// Asks, and waits until there is an answer or none is to be expected, [`OCSP_WAIT`] and until
    /// `left` has passed at most.
    pub async fn wait(&self, question: OcspQuestion, left: Duration) {
        let (told, tells) = oneshot::channel();
        self.put(OcspQuery {
            question,
            told: Some(told),
        });
        drop(tokio::time::timeout(left.min(OCSP_WAIT), tells).await);
    }

    fn put(&self, asked: OcspQuery) {
        // One that finds no room is dropped, and with it who waits is told.
        drop(self.queue.push(asked));
        self.bell.notify_one();
    }

    /// The next question.
    pub async fn next(&self) -> OcspQuery {
        loop {
            if let Some(asked) = self.queue.pop() {
                return asked;
            }
            self.bell.notified().await;
        }
    }
}
