//! The OCSP client (RFC 6960): one question at a time for each certificate, however many connections
//! wait for its answer.
//!
//! Owns concurrency, timeouts and counters. What an answer must be is [`tls::CertId::read`]'s.
//! When a certificate turns out to be revoked, the trust epoch moves, and its live connections are
//! closed.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use boring::error::ErrorStack;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::sync::{Semaphore, oneshot};

use super::http::{AskError, Confined, Question, ask};
use crate::limits::{
    OCSP_AT_ONCE, OCSP_BYTES_MAX, OCSP_COMPLAINT_INTERVAL, OCSP_TIMEOUT, OCSP_UNDER_WAY_MAX,
};
use control::{Control, SourceUrl, SourceUrlError};
use snapshot::questions::{OcspQuery, OcspQueue};
use tls::limits::OCSP_RETRY;
use tls::{Answer, CertStatus, NONCE_BYTES, OcspError, OcspQuestion};
use vocabulary::clock::now_sec;
use vocabulary::side::Side;
use vocabulary::verdict::Reason;

/// Answers by CA and kind, for metrics.
pub type OcspCounts = BTreeMap<(String, &'static str), u64>;

/// Who waits for which certificate's answer, by CA.
type UnderWay = HashMap<(Arc<str>, [u8; 32]), Vec<oneshot::Sender<()>>>;

/// Asks responders.
pub struct OcspClient {
    control: Arc<Control>,
    questions: Arc<OcspQueue>,
    counts: Mutex<OcspCounts>,
    under_way: Mutex<UnderWay>,
    /// When a CA's responder was last complained of.
    complained: Mutex<HashMap<Arc<str>, Instant>>,
    at_once: Semaphore,
    /// How often trust was to move, and up to which of them it has.
    moves_wanted: AtomicU64,
    moved: tokio::sync::Mutex<u64>,
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is half changed when its holder panics: each change is one call.
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl OcspClient {
    /// One that has asked nothing yet.
    #[must_use]
    pub fn new(control: Arc<Control>, questions: Arc<OcspQueue>) -> Arc<Self> {
        Arc::new(Self {
            control,
            questions,
            counts: Mutex::default(),
            under_way: Mutex::default(),
            complained: Mutex::default(),
            at_once: Semaphore::new(OCSP_AT_ONCE),
            moves_wanted: AtomicU64::default(),
            moved: tokio::sync::Mutex::default(),
        })
    }

    /// Answers so far.
    #[must_use]
    pub fn counts(&self) -> OcspCounts {
        lock(&self.counts).clone()
    }

    /// Asks for as long as it is polled.
    pub async fn run(self: Arc<Self>) {
        loop {
            let OcspQuery { question, told } = self.questions.next().await;
            let key = (question.responder.ca.clone(), question.subject);
            {
                let mut under_way = lock(&self.under_way);
                if let Some(waiting) = under_way.get_mut(&key) {
                    waiting.extend(told);
                    continue;
                }
                // Dropping the sender tells the connection that waits.
                if under_way.len() >= OCSP_UNDER_WAY_MAX {
                    continue;
                }
                under_way.insert(key.clone(), told.into_iter().collect());
            }
            let responders = self.clone();
            tokio::spawn(async move {
                let is_news = match responders.at_once.acquire().await {
                    Ok(_one_of_some) => responders.settle(&question).await,
                    Err(_closed) => false,
                };
                // Dropping the senders wakes the connections that wait.
                lock(&responders.under_way).remove(&key);
                if is_news {
                    responders.trust_moves().await;
                }
            });
        }
    }

    /// Asks about one certificate and takes in what comes of it. Whether live connections are to be looked
    /// at again.
    async fn settle(&self, question: &OcspQuestion) -> bool {
        let outcome = attempt(question).await;
        let now_sec = now_sec();
        let ca = &question.responder.ca;
        let answer = outcome.unwrap_or_else(|error| {
            let reason = error.reason();
            let mut complained = lock(&self.complained);
            let last = complained.get(ca);
            // One line for a responder that is down, not one for each client.
            if last.is_none_or(|last| last.elapsed() >= OCSP_COMPLAINT_INTERVAL) {
                complained.insert(ca.clone(), Instant::now());
                let (url, reason) = (&question.responder.url, reason.as_str());
                let (side, why) = (error.side().as_str(), error.to_string());
                tracing::error!(id = %ca, url, reason, side, why, "an OCSP responder gave no answer that can be believed");
            }
            let until = now_sec.saturating_add(i64::try_from(OCSP_RETRY.as_secs()).unwrap_or(0));
            Answer {
                said: CertStatus::Failed(reason),
                this_update_sec: now_sec,
                until_sec: until,
                again_sec: until,
            }
        });
        let word = match answer.said {
            CertStatus::Good => "good",
            CertStatus::Revoked => "revoked",
            CertStatus::Unknown => "unknown",
            CertStatus::Failed(reason) => reason.as_str(),
        };
        *lock(&self.counts)
            .entry((ca.to_string(), word))
            .or_default() += 1;
        let answers = &question.responder.answers;
        answers.put(question.subject, answer, now_sec)
    }

    /// Lets every worker look at its live connections again.
    async fn trust_moves(&self) {
        let mine = self.moves_wanted.fetch_add(1, Ordering::SeqCst) + 1;
        // It compiles a snapshot, and waits for a change that is under way: once for all that wait meanwhile.
        let mut moved = self.moved.lock().await;
        if *moved >= mine {
            return;
        }
        *moved = self.moves_wanted.load(Ordering::SeqCst);
        let control = self.control.clone();
        let moved = tokio::task::spawn_blocking(move || control.move_trust());
        match moved.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "live connections were not looked at again"),
            Err(error) => tracing::error!(%error, "live connections were not looked at again"),
        }
    }
}

/// Why an attempt gave no answer that is believed.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    /// The responder's URL, which was read when it was configured.
    #[error(transparent)]
    Url(#[from] SourceUrlError),
    /// There is no randomness for a nonce.
    #[error(transparent)]
    Nonce(ErrorStack),
    /// The question cannot be written.
    #[error(transparent)]
    Question(OcspError),
    /// No answer came.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// What came is not to be believed, or says nothing.
    #[error(transparent)]
    Answer(#[from] OcspError),
}

impl AttemptError {
    /// What rules and logs are told of the client.
    fn reason(&self) -> Reason {
        match self {
            Self::Url(_) | Self::Nonce(_) | Self::Ask(_) => Reason::OcspUnreachable,
            Self::Question(_) => Reason::OcspInvalid,
            Self::Answer(error) => error.reason(),
        }
    }

    /// Whose side it is on.
    fn side(&self) -> Side {
        match self {
            Self::Url(_) => Side::Operator,
            Self::Nonce(_) | Self::Question(_) => Side::Us,
            Self::Ask(error) => error.side(),
            Self::Answer(_) => Side::Source,
        }
    }
}

/// One attempt: an answer that is believed, or why there is none.
async fn attempt(question: &OcspQuestion) -> Result<Answer, AttemptError> {
    let url = SourceUrl::parse(&question.responder.url)?;
    let mut nonce = None;
    if question.responder.nonce {
        let mut bytes = [0; NONCE_BYTES];
        boring::rand::rand_bytes(&mut bytes).map_err(AttemptError::Nonce)?;
        nonce = Some(bytes);
    }
    let body = question.certificate.der(nonce.as_ref());
    let body = body.map_err(AttemptError::Question)?;
    let answer = exchange(&url, body, None).await?;
    Ok(question
        .certificate
        .read(&answer, nonce.as_ref(), now_sec())?)
}

/// Sends a question in DER to a responder; what comes back is not looked at.
pub(super) async fn exchange(
    url: &SourceUrl,
    question: Vec<u8>,
    confined: Option<Confined>,
) -> Result<Vec<u8>, AskError> {
    let mut headers = HeaderMap::new();
    // RFC 6960 §A.1.
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/ocsp-request"),
    );
    headers.insert(
        header::ACCEPT,
        HeaderValue::from_static("application/ocsp-response"),
    );
    let asked = Question {
        method: Method::POST,
        headers,
        body: Bytes::from(question),
        bytes_max: OCSP_BYTES_MAX,
        within: OCSP_TIMEOUT,
        confined,
    };
    let answer = ask(url, &asked).await?;
    if answer.status != StatusCode::OK {
        return Err(AskError::Status(answer.status));
    }
    Ok(answer.body)
}
