//! Partial evaluation: what remains of a condition for a kind of client at a host, when nothing
//! else is known of the request.
//!
//! Parts that depend on known facts become true or false, and the condition is simplified; all
//! others stay. [`crate::analysis::enforcement`] and the lints read the remainder.

use std::sync::{Arc, LazyLock};

use http1::Headers;

use crate::analysis::explain::{self, Case, FieldSet};
use crate::facts::{ConnectionFacts, RequestFacts, RoundTrip};
use crate::limits::IMPLICATION_STEPS_MAX;
use crate::matcher::budget::Allowance;
use crate::program::ConnectionState;
use crate::syntax::ast::{Argument, Comparison, Condition, Literal, Part, Relation, Scalar, Set};
use crate::syntax::field::Field;
use crate::syntax::function::Function;
use vocabulary::client_auth::ClientAuth;
use vocabulary::hostname::HostName;
use vocabulary::verdict::{Reason, Verdict};

/// A kind of client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// It has shown no certificate.
    Bare,
    /// It has shown one that does not verify, with whatever it likes written into it.
    Unverified,
    /// Its certificate verifies and is not revoked.
    Verified,
    /// Its certificate verifies and is revoked.
    Revoked,
    /// Nothing is known of its certificate.
    Anyone,
}

/// What is known of a kind of client.
struct Known {
    /// One for each reason that there can be: what holds for all of them holds.
    connections: Vec<ConnectionFacts>,
    /// What nothing is known of when the host is known.
    unknown: FieldSet,
    /// And when it is not.
    unknown_with_host: FieldSet,
}

impl Known {
    fn new(client: Client) -> Self {
        let (presented, verified) = match client {
            Client::Bare | Client::Anyone => (false, false),
            Client::Unverified => (true, false),
            Client::Verified | Client::Revoked => (true, true),
        };
        let is_reason = |reason: &Reason| match client {
            Client::Bare | Client::Anyone => *reason == Reason::NotPresented,
            Client::Verified => *reason == Reason::Verified,
            Client::Revoked => *reason == Reason::Revoked,
            Client::Unverified => !matches!(
                reason,
                Reason::NotPresented | Reason::Verified | Reason::Revoked
            ),
        };
        let connection = |reason| ConnectionFacts {
            source: ([0, 0, 0, 0], 0).into(),
            local: ([0, 0, 0, 0], 0).into(),
            sni: "".into(),
            tls_version: "",
            tls_cipher: "",
            client_hello: bytes::Bytes::new(),
            geo: None,
            client: Arc::new(ClientAuth {
                verdict: Verdict {
                    presented,
                    verified,
                    revoked: client == Client::Revoked,
                    reason,
                },
                ..ClientAuth::none()
            }),
        };
        let is_known = |field: Field| match field {
            // Postern listens for TLS over TCP only, and truncates no headers.
            Field::Ssl | Field::ClientTcp | Field::ClientQuicRtt | Field::HeadersTruncated => true,
            Field::CertPresented | Field::CertVerified | Field::CertRevoked | Field::CertReason => {
                client != Client::Anyone
            }
            // Empty of what is not verified.
            Field::CertCaId => matches!(client, Client::Bare | Client::Unverified),
            field => client == Client::Bare && field.is_of_client_certificate(),
        };
        let named = |known: &dyn Fn(Field) -> bool| {
            FieldSet::named(|name| !Field::by_name(name).is_some_and(known))
        };
        Self {
            connections: Reason::ALL
                .into_iter()
                .filter(is_reason)
                .map(connection)
                .collect(),
            unknown: named(&|field| field == Field::Host || is_known(field)),
            unknown_with_host: named(&is_known),
        }
    }
}

impl Client {
    fn known(self) -> &'static Known {
        static BARE: LazyLock<Known> = LazyLock::new(|| Known::new(Client::Bare));
        static UNVERIFIED: LazyLock<Known> = LazyLock::new(|| Known::new(Client::Unverified));
        static VERIFIED: LazyLock<Known> = LazyLock::new(|| Known::new(Client::Verified));
        static REVOKED: LazyLock<Known> = LazyLock::new(|| Known::new(Client::Revoked));
        static ANYONE: LazyLock<Known> = LazyLock::new(|| Known::new(Client::Anyone));
        match self {
            Self::Bare => &BARE,
            Self::Unverified => &UNVERIFIED,
            Self::Verified => &VERIFIED,
            Self::Revoked => &REVOKED,
            Self::Anyone => &ANYONE,
        }
    }

    /// What is left of a condition for this client; without a host, at whichever.
    pub(crate) fn left_of(self, condition: &Condition, host: Option<&HostName>) -> Condition {
        let left = |part: &Condition| self.left_of(part, host);
        match condition {
            Condition::Not(inner) => negated(left(inner)),
            Condition::And(parts) => junction(parts.iter().map(left), true, Condition::and),
            Condition::Or(parts) => junction(parts.iter().map(left), false, Condition::or),
            Condition::Xor(parts) => parity(parts.iter().map(left)),
            leaf => match self.knows(leaf, host) {
                Some(holds) => Condition::Constant(holds),
                None => leaf.clone(),
            },
        }
    }

    /// Whether a condition holds for this client; `None` when that depends on what is not known.
    pub(crate) fn satisfies(self, condition: &Condition, host: Option<&HostName>) -> Option<bool> {
        match self.left_of(condition, host) {
            Condition::Constant(holds) => Some(holds),
            _ => None,
        }
    }

    /// Whether a comparison holds.
    fn knows(self, leaf: &Condition, host: Option<&HostName>) -> Option<bool> {
        if is_of_unknown_list(leaf) {
            return None;
        }
        if let Some(holds) = host
            .and_then(HostName::wildcard_parent)
            .and_then(|parent| holds_below(leaf, parent))
        {
            return Some(holds);
        }
        static NO_HEADERS: LazyLock<Headers> = LazyLock::new(Headers::new);
        let exact = host.filter(|host| !host.is_wildcard());
        let known = self.known();
        let request = RequestFacts {
            method: "",
            version: "",
            host: exact.map_or("", HostName::as_str),
            path: "",
            raw_path: "",
            query: "",
            headers: &NO_HEADERS,
            received_msec: 0,
            ray_id: "",
            authority: None,
            allowance: Allowance::default(),
            round_trip: RoundTrip::default(),
        };
        let state = ConnectionState::default();
        let mut answers = known.connections.iter().map(|connection| {
            let case = Case {
                connection,
                state: &state,
                request: &request,
                unknown: match exact {
                    Some(_) => known.unknown,
                    None => known.unknown_with_host,
                },
            };
            explain::holds(leaf, &case)
        });
        let first = answers.next().flatten()?;
        answers.all(|other| other == Some(first)).then_some(first)
    }
}

/// Whether it looks something up in a list that is only known by name.
fn is_of_unknown_list(leaf: &Condition) -> bool {
    let mut unknown = false;
    leaf.walk(&mut |part| {
        if let Part::Condition(Condition::Compare(_, Comparison::Listed(list))) = part {
            unknown |= list.list.is_none();
        }
    });
    unknown
}

/// Whether a comparison of `http.host` holds for every name with one label more than `parent`, or
/// for none of them.
fn holds_below(leaf: &Condition, parent: &str) -> Option<bool> {
    let may_be = |name: &[u8]| {
        name.strip_suffix(parent.as_bytes())
            .and_then(|rest| rest.strip_suffix(b"."))
            .is_some_and(|label| !label.is_empty() && !label.contains(&b'.') && label != b"*")
    };
    match leaf {
        Condition::Compare(Scalar::Field(Field::Host), test) => match test {
            Comparison::Order(Relation::Equal, Literal::Bytes(name)) if !may_be(name) => {
                Some(false)
            }
            Comparison::Order(Relation::NotEqual, Literal::Bytes(name)) if !may_be(name) => {
                Some(true)
            }
            Comparison::In(Set::Bytes(names)) if !names.iter().any(|name| may_be(name)) => {
                Some(false)
            }
            _ => None,
        },
        _ => None,
    }
    .or_else(|| {
        let suffix = host_suffix(leaf)?;
        let every = format!(".{parent}");
        if every.as_bytes().ends_with(suffix) {
            Some(true)
        } else if suffix.ends_with(every.as_bytes()) {
            None
        } else {
            Some(false)
        }
    })
}

/// What `http.host` has to end in, of `ends_with(http.host, "…")` and `http.host wildcard "*…"`.
pub(crate) fn host_suffix(leaf: &Condition) -> Option<&[u8]> {
    match leaf {
        Condition::Truth(Scalar::Call(call)) if call.function == Function::EndsWith => {
            match call.arguments.as_slice() {
                [
                    Argument::Scalar(Scalar::Field(Field::Host)),
                    Argument::Bytes(suffix),
                ] => Some(suffix),
                _ => None,
            }
        }
        Condition::Compare(Scalar::Field(Field::Host), Comparison::Wildcard(wildcard)) => {
            let stars = wildcard.source.iter().filter(|byte| **byte == b'*').count();
            let plain = stars == 1 && !wildcard.source.contains(&b'\\');
            (plain && wildcard.prefix().is_empty()).then_some(wildcard.suffix())
        }
        _ => None,
    }
}

fn negated(condition: Condition) -> Condition {
    match condition {
        Condition::Constant(holds) => Condition::Constant(!holds),
        other => Condition::Not(Box::new(other)),
    }
}

/// `and`, or `or`: `neutral` is what makes no difference to it, and its opposite decides it.
fn junction(
    parts: impl Iterator<Item = Condition>,
    neutral: bool,
    join: fn(Vec<Condition>) -> Condition,
) -> Condition {
    let mut open = Vec::new();
    for part in parts {
        match part {
            Condition::Constant(holds) if holds == neutral => {}
            decided @ Condition::Constant(_) => return decided,
            other => open.push(other),
        }
    }
    if open.is_empty() {
        return Condition::Constant(neutral);
    }
    join(open)
}

fn parity(parts: impl Iterator<Item = Condition>) -> Condition {
    let (mut odd, mut open) = (false, Vec::new());
    for part in parts {
        match part {
            Condition::Constant(holds) => odd ^= holds,
            other => open.push(other),
        }
    }
    match (open.is_empty(), odd) {
        (true, odd) => Condition::Constant(odd),
        (false, false) => Condition::xor(open),
        (false, true) => negated(Condition::xor(open)),
    }
}

/// Whether `one` is never true without `other`, as far as that shows in how they are built.
pub(crate) fn implies(one: &Condition, other: &Condition) -> bool {
    shows(one, other, &mut IMPLICATION_STEPS_MAX.clone())
}

fn shows(one: &Condition, other: &Condition, steps: &mut usize) -> bool {
    let Some(left) = steps.checked_sub(1) else {
        return false;
    };
    *steps = left;
    if one == other {
        return true;
    }
    match (one, other) {
        (Condition::Constant(false), _) | (_, Condition::Constant(true)) => return true,
        (Condition::Not(one), Condition::Not(other)) if shows(other, one, steps) => return true,
        _ => {}
    }
    // Whatever one of them is built of: each way of showing it is enough.
    if let Condition::Or(parts) = one {
        return parts.iter().all(|part| shows(part, other, steps));
    }
    if let Condition::And(parts) = other {
        return parts.iter().all(|part| shows(one, part, steps));
    }
    let of_one =
        matches!(one, Condition::And(parts) if parts.iter().any(|part| shows(part, other, steps)));
    of_one
        || matches!(other, Condition::Or(parts) if parts.iter().any(|part| shows(one, part, steps)))
}

#[cfg(test)]
mod tests;
