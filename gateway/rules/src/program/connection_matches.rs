//! Partial matches of a connection: what an index says that is the same for all its requests.

use std::sync::Arc;

use super::index::{Index, count};
use super::scan::ScanState;
use crate::eval::field_values::Facts;
use crate::limits;
use crate::syntax::field::Lifetime;
use vocabulary::client_auth::ClientAuth;

/// What an index says of a connection.
#[derive(Debug)]
pub(crate) struct ConnectionMatches {
    /// The identity of the index.
    identity: u64,
    /// The verified certificate it was made for; held, so that its address is not used again.
    client: Arc<ClientAuth>,
    /// The entries of the keys that the connection has.
    entries: Box<[u32]>,
    /// Groups whose connection columns are all satisfied, in the index's order.
    pub(super) live: Box<[Live]>,
}

/// A group that can match on this connection.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) group: u32,
    /// The terms that the connection's columns have in common, where they are few.
    pub(super) combined: Option<Box<[u32]>>,
}

impl ConnectionMatches {
    /// Makes it be of this index and certificate, and gives `run` the entries.
    pub(super) fn refresh<'a>(
        slot: &mut Option<Self>,
        index: &'a Index,
        run: &mut ScanState,
        facts: &Facts<'a>,
    ) {
        let client = &facts.connection.client;
        let known = slot
            .as_ref()
            .filter(|known| known.identity == index.identity && Arc::ptr_eq(&known.client, client));
        if let Some(known) = known {
            run.remember(index, &known.entries);
            return;
        }
        for (number, asked) in index.subjects.iter().enumerate() {
            if asked.lifetime == Lifetime::Connection {
                run.look_up(index, count(number), facts);
            }
        }
        let live = index
            .groups
            .iter()
            .enumerate()
            .filter_map(|(number, group)| {
                if !run.satisfies(group, Lifetime::Connection) {
                    return None;
                }
                let combined = run.combine(index, group, limits::CONNECTION_TERMS_MAX);
                if combined.as_ref().is_some_and(Vec::is_empty) {
                    return None;
                }
                Some(Live {
                    group: count(number),
                    combined: combined.map(Into::into),
                })
            });
        let live = live.collect();
        *slot = Some(Self {
            identity: index.identity,
            client: client.clone(),
            entries: run.slots.all().collect(),
            live,
        });
    }
}
