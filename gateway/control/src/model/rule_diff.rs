//! The diff of two ordered rule sequences: which rules are out, which are in, and where.

use std::sync::Arc;

use crate::model::RuleRecord;
use chunked_list::ChunkedList;
pub(crate) use chunked_list::diff::Hunk;
use chunked_list::diff::hunks;

/// Whether it is the very same version of the very same rule.
pub(crate) fn same(one: &Arc<RuleRecord>, other: &Arc<RuleRecord>) -> bool {
    Arc::ptr_eq(one, other) || (one.id == other.id && one.version == other.version)
}

/// What is different, and the rules that are.
pub(crate) struct Difference<'r> {
    pub(crate) hunks: Vec<Hunk>,
    /// That are out, in order.
    pub(crate) out: Vec<&'r Arc<RuleRecord>>,
    /// That are in, in order.
    pub(crate) new: Vec<&'r Arc<RuleRecord>>,
}

impl<'r> Difference<'r> {
    pub(crate) fn between(
        old: &'r ChunkedList<Arc<RuleRecord>>,
        new: &'r ChunkedList<Arc<RuleRecord>>,
    ) -> Self {
        let (old, new) = (old.references(), new.references());
        let hunks = hunks(&old, &new, |one, other| same(one, other));
        let mut found = Self {
            hunks: Vec::new(),
            out: Vec::new(),
            new: Vec::new(),
        };
        for hunk in &hunks {
            found
                .out
                .extend(old.get(hunk.old.clone()).unwrap_or_default());
            found
                .new
                .extend(new.get(hunk.new.clone()).unwrap_or_default());
        }
        found.hunks = hunks;
        found
    }
}
