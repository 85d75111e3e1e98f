//! Enforcement: whether a zone's rules keep clients without a verified certificate from a host.
//!
//! Follows the rules twice, for a client without a certificate and for one whose certificate does
//! not verify, with nothing else known of the request. `postern doctor` and the API report the
//! result. Suspicions about single rules are lints: [`crate::lint`].

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::action::Action;
use crate::analysis::lint::fields;
use crate::analysis::partial_eval::{self, Client};
use crate::rule::Rule;
use crate::syntax::ast::{Comparison, Condition, Literal, Relation, Scalar, Set};
use crate::syntax::field::Field;
use crate::syntax::list::Lists;
use crate::syntax::parser;
use vocabulary::hostname::HostName;

/// What keeps clients without a certificate that verifies from a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enforcement {
    /// Nothing does: no rule blocks them for what they lack.
    Nothing {
        /// The `skip` rule that lets every client around all that comes after it.
        skip: Option<Arc<str>>,
    },
    /// A rule does, for some requests or some of these clients only.
    Partly {
        /// The rule.
        rule: Arc<str>,
        /// The `skip` rule before it that lets requests around it, if that is the reason.
        skip: Option<Arc<str>>,
    },
    /// A rule does, whatever is asked for.
    Fully {
        /// The rule.
        rule: Arc<str>,
        /// Whether a certificate that verifies and is revoked gets around the rules, if for some
        /// requests only.
        revoked_pass: bool,
    },
}

/// What keeps clients without a certificate that verifies from `host`. Rules that do not parse
/// are passed over; a list that is not among `lists` may hold anything.
#[must_use]
pub fn enforcement(rules: &[Rule], lists: &Lists, host: &HostName) -> Enforcement {
    let read: Vec<(&Rule, Condition)> = rules
        .iter()
        .filter(|rule| rule.enabled)
        .filter_map(|rule| read(rule, lists).map(|condition| (rule, condition)))
        .collect();
    let mut unlimited = usize::MAX;
    Enforcers::new(read.iter().map(|(rule, condition)| (*rule, condition)))
        .of(host, &mut unlimited)
        .unwrap_or(Enforcement::Nothing { skip: None })
}

/// A rule's condition, with what is known of the lists that it names.
pub(crate) fn read(rule: &Rule, lists: &Lists) -> Option<Condition> {
    parser::parse(&rule.expression, Some(lists))
        .or_else(|_unknown_list| parser::parse(&rule.expression, None))
        .ok()
}

/// Whether a condition holds for each of [`CLIENTS`]; `None` when that depends on the request.
type Holds = [Option<bool>; 3];

/// A client without a certificate, one whose does not verify, one whose is revoked.
const CLIENTS: [Client; 3] = [Client::Bare, Client::Unverified, Client::Revoked];

/// A rule that may end the evaluation.
struct Step<'r> {
    id: &'r Arc<str>,
    condition: &'r Condition,
    skips: bool,
    /// Whether it holds, when that is the same for all hosts.
    holds: Option<Holds>,
}

impl Step<'_> {
    fn holds_at(&self, host: Option<&HostName>) -> Holds {
        let left = CLIENTS.map(|client| client.left_of(self.condition, host));
        let mut holds = left.each_ref().map(|left| match left {
            Condition::Constant(holds) => Some(*holds),
            _ => None,
        });
        if !self.skips {
            // A rule that does the same to a good certificate is not about certificates.
            let good = Client::Verified.left_of(self.condition, host);
            let is_same = left
                .each_ref()
                .map(|left| partial_eval::implies(left, &good));
            let [bare, unverified, revoked] = &mut holds;
            let [same_bare, same_unverified, same_revoked] = is_same;
            if same_bare && same_unverified {
                (*bare, *unverified) = (Some(false), Some(false));
            }
            if same_revoked {
                *revoked = Some(false);
            }
        }
        holds
    }
}

/// The rules that matter to the question, prepared for asking it of many hosts.
pub(crate) struct Enforcers<'r> {
    steps: Vec<Step<'r>>,
    /// Those that may be about any host.
    anywhere: Vec<usize>,
    /// The others, by the names of hosts or, from a dot on, what names end in.
    named: HashMap<&'r [u8], Vec<usize>>,
}

impl<'r> Enforcers<'r> {
    /// Takes enabled rules in order.
    pub(crate) fn new(rules: impl Iterator<Item = (&'r Rule, &'r Condition)>) -> Self {
        let mut made = Self {
            steps: Vec::new(),
            anywhere: Vec::new(),
            named: HashMap::new(),
        };
        let mut seen = HashSet::new();
        for (rule, condition) in rules {
            let skips = matches!(rule.action, Action::Skip(_));
            let read = fields(condition);
            let on_certificates = || read.iter().any(|field| field.is_of_client_certificate());
            if !rule.action.is_terminating() || !(skips || on_certificates()) {
                continue;
            }
            let mut step = Step {
                id: &rule.id,
                condition,
                skips,
                holds: None,
            };
            let place = made.steps.len();
            if let Some(names) = limited_to(condition) {
                for name in names {
                    made.named.entry(name).or_default().push(place);
                }
            } else {
                if !read.contains(&Field::Host) {
                    let holds = step.holds_at(None);
                    // Of rules that do the same to every client at every host the first is enough.
                    if holds == [Some(false); 3] || !seen.insert((skips, holds)) {
                        continue;
                    }
                    step.holds = Some(holds);
                }
                made.anywhere.push(place);
            }
            made.steps.push(step);
        }
        made
    }

    /// What they do for a host; `None` when that takes more evaluations than are left.
    pub(crate) fn of(&self, host: &HostName, evaluations: &mut usize) -> Option<Enforcement> {
        let mut walks = CLIENTS.map(|_| Walk::default());
        for place in self.places(host).iter() {
            let Some(step) = self.steps.get(*place) else {
                continue;
            };
            let holds = match step.holds {
                Some(holds) => holds,
                None => {
                    *evaluations = evaluations.checked_sub(1)?;
                    step.holds_at(Some(host))
                }
            };
            for (walk, holds) in walks.iter_mut().zip(holds) {
                walk.meet(step, holds);
            }
            if walks.iter().all(|walk| walk.ended) {
                break;
            }
        }
        // A client without a certificate can make one: what keeps fewer out is what counts.
        let [bare, unverified, revoked] = walks.map(Walk::outcome);
        let rank = |outcome: &Enforcement| match outcome {
            Enforcement::Nothing { .. } => 0,
            Enforcement::Partly { .. } => 1,
            Enforcement::Fully { .. } => 2,
        };
        let least = if rank(&unverified) < rank(&bare) {
            unverified
        } else {
            bare
        };
        Some(match least {
            Enforcement::Fully { rule, .. } => Enforcement::Fully {
                rule,
                revoked_pass: rank(&revoked) < 2,
            },
            less => less,
        })
    }

    /// Places of the rules that may be about a host, in order.
    fn places(&self, host: &HostName) -> Cow<'_, [usize]> {
        let mut places: Vec<usize> = Vec::new();
        if self.named.is_empty() {
            return Cow::Borrowed(&self.anywhere);
        }
        if host.is_wildcard() {
            let named = self.named.iter();
            let of_host = named.filter(|(name, _)| covers(host, name));
            places.extend(of_host.flat_map(|(_, places)| places));
        } else {
            let name = host.as_str().as_bytes();
            let dots = name.iter().enumerate().filter(|(_, byte)| **byte == b'.');
            let tails = dots.filter_map(|(at, _)| name.get(at..));
            for key in std::iter::once(name).chain(tails) {
                places.extend(self.named.get(key).into_iter().flatten());
            }
        }
        if places.is_empty() {
            return Cow::Borrowed(&self.anywhere);
        }
        places.extend(&self.anywhere);
        places.sort_unstable();
        places.dedup();
        Cow::Owned(places)
    }
}

/// What has become of one kind of client so far.
#[derive(Default)]
struct Walk {
    /// The first `skip` rule that may let it around the rest.
    skip: Option<Arc<str>>,
    /// The rule that certainly blocks it.
    blocked: Option<Arc<str>>,
    /// The first rule that may block it.
    may_be_blocked: Option<Arc<str>>,
    ended: bool,
}

impl Walk {
    fn meet(&mut self, step: &Step<'_>, holds: Option<bool>) {
        if self.ended || holds == Some(false) {
            return;
        }
        let first = match (step.skips, holds) {
            (true, _) => &mut self.skip,
            (false, Some(_)) => &mut self.blocked,
            (false, None) => &mut self.may_be_blocked,
        };
        self.ended = holds.is_some();
        // Of `skip` rules the one that lets every client around is the one to name.
        if first.is_none() || self.ended {
            *first = Some(step.id.clone());
        }
    }

    fn outcome(self) -> Enforcement {
        let lets_all_around = self.ended && self.blocked.is_none();
        match (self.blocked, self.may_be_blocked, self.skip) {
            (Some(rule), _, None) => Enforcement::Fully {
                rule,
                revoked_pass: false,
            },
            (Some(rule), _, skip) => Enforcement::Partly { rule, skip },
            (None, Some(rule), skip) => Enforcement::Partly {
                rule,
                skip: skip.filter(|_| lets_all_around),
            },
            (None, None, skip) => Enforcement::Nothing {
                skip: skip.filter(|_| lets_all_around),
            },
        }
    }
}

/// The hosts that a condition is limited to: whole names and, from a dot on, what names end in.
/// `None` when it is not, or not in a way that can be listed.
pub(crate) fn limited_to(condition: &Condition) -> Option<Vec<&[u8]>> {
    match condition {
        Condition::Compare(
            Scalar::Field(Field::Host),
            Comparison::Order(Relation::Equal, Literal::Bytes(host)),
        ) => Some(vec![host]),
        Condition::Compare(Scalar::Field(Field::Host), Comparison::In(Set::Bytes(hosts))) => {
            Some(hosts.iter().map(|host| &**host).collect())
        }
        Condition::And(parts) => parts.iter().find_map(limited_to),
        Condition::Or(parts) => {
            let hosts: Option<Vec<_>> = parts.iter().map(limited_to).collect();
            hosts.map(|hosts| hosts.into_iter().flatten().collect())
        }
        leaf => partial_eval::host_suffix(leaf)
            .filter(|suffix| suffix.starts_with(b"."))
            .map(|suffix| vec![suffix]),
    }
}

/// Whether a host can have a name that [`limited_to`] speaks of.
pub(crate) fn covers(host: &HostName, limit: &[u8]) -> bool {
    let name = host.as_str().as_bytes();
    if !limit.starts_with(b".") {
        return std::str::from_utf8(limit).is_ok_and(|limit| host.covers(limit)) || name == limit;
    }
    match host.wildcard_parent() {
        // Either all names below it, or some.
        Some(_) => {
            name.ends_with(limit)
                || name
                    .strip_prefix(b"*")
                    .is_some_and(|tail| limit.ends_with(tail))
        }
        None => name.ends_with(limit),
    }
}

#[cfg(test)]
mod tests;
