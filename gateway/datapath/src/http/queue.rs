//! The wait at an origin's gates: for its turn, and for a connection.
//!
//! Owns how long is waited, and what somebody is told who is not let in. Who is let in when is the
//! gate's ([`snapshot::origins::gate`]).

use std::cell::Cell;
use std::time::Duration;

use super::connect::OriginError;
use crate::clock;
use snapshot::origins::Limit;
use snapshot::origins::gate::{Arrival, Inside};

/// What is limited of an origin, and how long is waited for it.
#[derive(Debug, Clone, Copy)]
pub struct Gated<'o> {
    /// The limit.
    pub limit: &'o Limit,
    /// How long is waited.
    pub patience: Duration,
    /// Tells clients apart, who take turns.
    pub client: u64,
    /// Where the wait is added up.
    pub waited: Option<&'o Cell<Duration>>,
}

impl Gated<'_> {
    /// Whether one more would have to wait.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.limit.gate.is_full()
    }
}

/// Why somebody was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// As many wait as may, and none of them has more in the queue than this client.
    Queue,
    /// He has waited for as long as he may.
    Time,
}

impl Refusal {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Queue => "its queue is full",
            Self::Time => "nothing of that was over in the time that may be waited",
        }
    }
}

/// Waits until the gate lets somebody in.
///
/// # Errors
/// [`OriginError::Full`].
pub async fn at_the_gate(gated: Option<Gated<'_>>) -> Result<Option<Inside>, OriginError> {
    let Some(Gated {
        limit,
        patience,
        client,
        waited,
    }) = gated
    else {
        return Ok(None);
    };
    let refused = |why| OriginError::Full { why, patience };
    let mut waiting = match limit.gate.arrive(client) {
        Ok(Arrival::Inside(inside)) => return Ok(Some(inside)),
        Ok(Arrival::Waiting(waiting)) => waiting,
        Err(_full) => return Err(refused(Refusal::Queue)),
    };
    let since = clock::now();
    let outcome = match tokio::time::timeout(patience, &mut waiting).await {
        Ok(outcome) => Some(outcome),
        Err(_late) => waiting.give_up(),
    };
    if let Some(waited) = waited {
        waited.set(waited.get() + since.elapsed());
    }
    match outcome {
        Some(Ok(inside)) => {
            limit.gate.count_waited(since.elapsed());
            Ok(Some(inside))
        }
        Some(Err(_gave_way)) => Err(refused(Refusal::Queue)),
        None => Err(refused(Refusal::Time)),
    }
}
