//! Origin rules of tenants: confined as their origins are, see `control.private_origins`.

use std::collections::HashMap;
use std::sync::Arc;

use crate::change::draft::Draft;
use crate::change::error::ChangeError;
use crate::compile::phases;
use crate::model::RuleRecord;
use crate::model::id::Id;
use chunked_list::ChunkedList;

/// Confines the origin rules that a tenant is about to set, whoever set them before, and checks
/// those that are confined.
pub(crate) fn confine(
    draft: &Draft<'_>,
    zone: Id,
    old: &ChunkedList<Arc<RuleRecord>>,
    rules: &mut ChunkedList<Arc<RuleRecord>>,
) -> Result<(), ChangeError> {
    let reach = draft.shared().reach.load_full();
    let is_tenant = draft.intent().tenant;
    let known: HashMap<Id, &Arc<RuleRecord>> = old.iter().map(|rule| (rule.id, rule)).collect();
    for place in 0..rules.len() {
        let rule = &rules[place];
        if known.get(&rule.id).is_some_and(|known| *known == rule) {
            continue;
        }
        let mut rule = (**rule).clone();
        rule.confined |= is_tenant;
        phases::check_reach(&rule, &reach)?;
        let parameters = rule.action_parameters.as_ref();
        let name = parameters.and_then(|all| all.pointer("/origin/name")?.as_str());
        if let Some(name) = name.filter(|name| draft.model.origin(zone, name).is_none()) {
            let why = format!("the zone has no origin `{}`", name.escape_debug());
            return Err(ChangeError::invalid("action_parameters.origin.name", why));
        }
        rules.replace(place..place + 1, [Arc::new(rule)]);
    }
    Ok(())
}
