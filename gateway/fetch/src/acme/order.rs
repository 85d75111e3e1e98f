//! One order: from the name of a host to a chain with its key (RFC 8555 §7.4).
//!
//! Owns the order of the steps and their bounds. What the chain must be like is the control plane's,
//! which takes it over.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::Duration;

use boring::error::ErrorStack;
use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeStatus, ChallengeType, Error,
    Identifier, NewOrder, Order, OrderStatus, RetryPolicy,
};
use tokio::sync::watch;

use super::Leaving;
use super::challenges::{Board, ShowError};
use super::client::{ASKED_TO_WAIT, RequestError};
use super::keys::Request;
use crate::limits::{
    ACME_AUTHORIZATIONS_MAX, ACME_ORDER_TIMEOUT, ACME_POLL_FIRST, ACME_STEP_TIMEOUT,
};
use control::{AcmeProof, LeftOrder, Moment, Secret};
use vocabulary::hostname::HostName;
use vocabulary::settings::AcmeChallenge;

/// The server does not know the account.
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";
/// Something in a request makes no sense to the server: that it replaces another server's certificate, perhaps.
const MALFORMED: &str = "urn:ietf:params:acme:error:malformed";
/// The certificate that an order replaces has been replaced already (RFC 9773 §5).
const REPLACED: &str = "urn:ietf:params:acme:error:alreadyReplaced";

/// A chain with its key.
pub(super) struct Issued {
    pub(super) chain: String,
    pub(super) key: Secret,
}

/// What is ordered.
pub(super) struct Wish<'w> {
    pub(super) name: &'w HostName,
    /// When, as the store has it.
    pub(super) begun_on: Moment,
    pub(super) kind: AcmeChallenge,
    pub(super) replaces: Option<CertificateIdentifier<'static>>,
    /// Where the server has an order for it that another process has begun.
    pub(super) left_at: Option<String>,
    /// Becomes true when the next process is to go on with it.
    pub(super) leaving: watch::Receiver<Leaving>,
}

/// Why an order brought no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    /// The server has said no, or cannot be asked.
    #[error(transparent)]
    Server(#[from] Error),
    /// The server has looked, and has not found what it wanted.
    #[error("{name} was not found to be answered here ({kind}): {why}")]
    Refused {
        name: HostName,
        kind: &'static str,
        why: String,
    },
    /// The server checks names in other ways.
    #[error("the ACME server offers no {kind} for {name}: it offers {offered}")]
    NoChallenge {
        name: HostName,
        kind: &'static str,
        offered: String,
    },
    /// An order of one name has one authorization.
    #[error("the ACME server wants {0} authorizations for one name")]
    Authorizations(usize),
    /// An authorization that leads nowhere.
    #[error("the ACME server's authorization of {name} is {status}")]
    Authorization { name: HostName, status: String },
    /// The order did not come to its end.
    #[error("the order is {0}, not ready")]
    NotReady(String),
    #[error(transparent)]
    Show(#[from] ShowError),
    /// The key or the request cannot be made.
    #[error("the request cannot be made: {0}")]
    Request(#[from] ErrorStack),
    /// The next process goes on with it.
    #[error("the order is left for the next process")]
    Left(LeftOrder),
    /// Not all of it came in time.
    #[error("the order was not over within {} s", ACME_ORDER_TIMEOUT.as_secs())]
    Late,
}

impl OrderError {
    fn problem(&self) -> Option<&str> {
        match self {
            Self::Server(Error::Api(problem)) => problem.r#type.as_deref(),
            _ => None,
        }
    }

    /// The server does not know the account any more.
    pub(super) fn is_of_account(&self) -> bool {
        self.problem() == Some(NO_ACCOUNT)
    }

    /// The server could not be asked: that says nothing of the host.
    pub(super) fn is_of_transport(&self) -> bool {
        matches!(self, Self::Server(Error::Other(why)) if why.is::<RequestError>())
    }
}

/// Orders a certificate for a name. The second is for how long the server asks to be left alone. What is
/// shown to the server of an order that is left goes on being shown.
pub(super) async fn order(
    account: &Account,
    wish: Wish<'_>,
    board: &Board,
) -> (Result<Issued, OrderError>, Option<Duration>) {
    let name = wish.name;
    let ordering = ASKED_TO_WAIT.scope(Cell::new(None), async {
        let ordered = tokio::time::timeout(ACME_ORDER_TIMEOUT, steps(account, wish, board)).await;
        let ordered = ordered.unwrap_or(Err(OrderError::Late));
        (ordered, ASKED_TO_WAIT.with(Cell::get))
    });
    let ordered = ordering.await;
    if !matches!(ordered.0, Err(OrderError::Left(_))) {
        board.take_down(name).await;
    }
    ordered
}

/// How often the server is asked how it gets on.
fn patience() -> RetryPolicy {
    RetryPolicy::new()
        .initial_delay(ACME_POLL_FIRST)
        .timeout(ACME_STEP_TIMEOUT)
}

/// How far an order has come, for who goes on with it.
#[derive(Default)]
struct Progress {
    url: OnceLock<String>,
    proof: OnceLock<AcmeProof>,
}

async fn steps(account: &Account, mut wish: Wish<'_>, board: &Board) -> Result<Issued, OrderError> {
    let progress = Progress::default();
    let mut leaving = wish.leaving.clone();
    let mut order = tokio::select! {
        biased;
        _ = leaving.wait_for(|leaving| leaving.is_so()) => {
            return Err(OrderError::Left(LeftOrder {
                directory: None,
                url: progress.url.into_inner(),
                proof: progress.proof.into_inner(),
            }));
        }
        order = ready(account, &mut wish, board, &progress) => order?,
    };
    // From here on the key belongs to it, which no other process has.
    let request = Request::build(wish.name)?;
    order.finalize_csr(&request.der).await?;
    let chain = order.poll_certificate(&patience()).await?;
    Ok(Issued {
        chain,
        key: request.key_pem()?,
    })
}

/// An order whose name is proved.
async fn ready(
    account: &Account,
    wish: &mut Wish<'_>,
    board: &Board,
    progress: &Progress,
) -> Result<Order, OrderError> {
    let (name, kind) = (wish.name, wish.kind);
    let mut order = match wish.left_at.take() {
        Some(url) => go_on(account, url, wish).await?,
        None => begin(account, name, wish.replaces.take()).await?,
    };
    // It is set once.
    let _known = progress.url.set(order.url().to_owned());
    let count = order.state().authorizations.len();
    if count > ACME_AUTHORIZATIONS_MAX {
        return Err(OrderError::Authorizations(count));
    }
    if order.state().status == OrderStatus::Pending {
        prove(&mut order, wish, board, progress).await?;
        let ready = order.poll_ready(&patience()).await;
        if !matches!(ready, Ok(OrderStatus::Ready)) {
            return Err(match refusal(&mut order, name, kind).await {
                Some(refused) => refused,
                None => match ready {
                    Ok(status) => OrderError::NotReady(format!("{status:?}").to_ascii_lowercase()),
                    Err(error) => error.into(),
                },
            });
        }
    }
    Ok(order)
}

/// The order that another process has begun, if anything is to come of it; else a new one.
async fn go_on(account: &Account, url: String, wish: &mut Wish<'_>) -> Result<Order, OrderError> {
    if let Ok(mut order) = account.order(url).await
        && matches!(
            order.state().status,
            OrderStatus::Pending | OrderStatus::Ready
        )
    {
        return Ok(order);
    }
    Ok(begin(account, wish.name, wish.replaces.take()).await?)
}

/// Begins an order. That it replaces a certificate is told to servers that want to know.
async fn begin(
    account: &Account,
    name: &HostName,
    replaces: Option<CertificateIdentifier<'static>>,
) -> Result<Order, Error> {
    let names = [Identifier::Dns(name.as_str().to_owned())];
    let new = || NewOrder::new(&names);
    let Some(replaces) = replaces else {
        return account.new_order(&new()).await;
    };
    match account.new_order(&new().replaces(replaces)).await {
        // That it replaces one is a courtesy: whatever a server has against it, the name counts.
        Err(error) if is_about_replacing(&error) => account.new_order(&new()).await,
        ordered => ordered,
    }
}

/// RFC 9773 §5: `alreadyReplaced`; servers that do not know the certificate say `malformed`, and some
/// do not say what they were told.
fn is_about_replacing(error: &Error) -> bool {
    match error {
        Error::Unsupported(_) => true,
        Error::Api(problem) => {
            let detail = problem.detail.as_deref().unwrap_or_default();
            matches!(problem.r#type.as_deref(), Some(REPLACED | MALFORMED))
                || detail.contains("replace")
        }
        Error::Other(why) => !why.is::<RequestError>(),
        _ => false,
    }
}

/// Shows what the server wants to see, and tells it to look.
async fn prove(
    order: &mut Order,
    wish: &Wish<'_>,
    board: &Board,
    progress: &Progress,
) -> Result<(), OrderError> {
    let (name, kind) = (wish.name, wish.kind);
    let wanted = challenge_type(kind);
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            other => {
                let status = format!("{other:?}").to_ascii_lowercase();
                let name = name.clone();
                return Err(OrderError::Authorization { name, status });
            }
        }
        let offered: Vec<String> = authorization
            .challenges
            .iter()
            .map(|one| format!("{:?}", one.r#type))
            .collect();
        let Some(mut challenge) = authorization.challenge(wanted.clone()) else {
            return Err(OrderError::NoChallenge {
                name: name.clone(),
                kind: kind.as_str(),
                offered: offered.join(", "),
            });
        };
        let proof = AcmeProof {
            challenge: kind,
            token: challenge.token.clone(),
            key_authorization: challenge.key_authorization().as_str().to_owned(),
        };
        board.show(name, wish.begun_on, &proof).await?;
        // Of several the first: an order of one name has one.
        let _known = progress.proof.set(proof);
        // Whoever has begun the order may have told it.
        if challenge.status == ChallengeStatus::Pending {
            challenge.set_ready().await?;
        }
    }
    Ok(())
}

/// Why the server was not content, from the challenge that it looked at.
async fn refusal(order: &mut Order, name: &HostName, kind: AcmeChallenge) -> Option<OrderError> {
    let wanted = challenge_type(kind);
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.ok()?;
        let state = authorization.refresh().await.ok()?;
        let mut looked_at = state.challenges.iter().filter(|one| one.r#type == wanted);
        if let Some(problem) = looked_at.find_map(|one| one.error.as_ref()) {
            return Some(OrderError::Refused {
                name: name.clone(),
                kind: kind.as_str(),
                why: problem.to_string(),
            });
        }
    }
    None
}

fn challenge_type(kind: AcmeChallenge) -> ChallengeType {
    match kind {
        AcmeChallenge::Http01 => ChallengeType::Http01,
        AcmeChallenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
    }
}
