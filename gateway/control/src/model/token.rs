//! A token of the admin API, without its secret.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::id::Id;
use crate::model::moment::Moment;

vocabulary::words! {
    /// What a token may change. Every token may read.
    #[derive(PartialOrd, Ord)]
    pub enum Scope("a scope of a token") {
        /// Nothing.
        Read = "read",
        /// Client certificates: issue, revoke, restore.
        Certificates = "certificates",
        /// Rules and lists.
        Rules = "rules",
        /// Everything, tokens included.
        All = "all",
    }
}

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its id.
    pub id: Id,
    /// For people.
    pub name: String,
    /// SHA-256 of the secret, in hex.
    pub digest: String,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// The zones it is for; empty for all.
    #[serde(default)]
    pub zones: BTreeSet<Id>,
    /// When it ends, seconds since the epoch.
    pub expires: i64,
    /// When it was made.
    pub created_on: Moment,
}

impl Token {
    /// Whether it may do something that needs `scope`, in `zone` or (with `None`) outside of any.
    #[must_use]
    pub fn allows(&self, scope: Scope, zone: Option<Id>) -> bool {
        let place = self.zones.is_empty() || zone.is_some_and(|zone| self.zones.contains(&zone));
        let power = scope == Scope::Read
            || self.scopes.contains(&Scope::All)
            || self.scopes.contains(&scope);
        place && power
    }
}
