//! Which hosts of a zone believe a set of CAs, changed name by name.
//!
//! Owns that names that are added are hosts. Replacing the whole set, which Cloudflare's API does and
//! where names may come before their hosts, is in [`hosts`](super::hosts).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::hosts::{check_set, put_names, zone_of};
use crate::change::error::ChangeError;
use crate::change::{Changes, Control, Reads};
use crate::model::id::Id;
use crate::model::{AuthoritySet, Model};
use vocabulary::hostname::HostName;
use vocabulary::suggest::suggest;

/// What became of a set's hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssociationsChange {
    /// Those that believe it now.
    pub names: Arc<BTreeSet<HostName>>,
    /// Of them, those that did not before.
    pub added: Vec<HostName>,
    /// Those that do not any more.
    pub removed: Vec<HostName>,
}

/// Why a name is no host of a zone, and which was probably meant; `None` when it is one. With
/// `covered`, a wildcard host answers for the names that it covers, and a wildcard for hosts that
/// are below it.
pub(crate) fn absent(model: &Model, zone: Id, name: &HostName, covered: bool) -> Option<String> {
    let below = |host: &HostName| {
        let parent = name.wildcard_parent();
        parent.is_some_and(|parent| {
            let rest = host.as_str().strip_suffix(parent);
            rest.is_some_and(|rest| rest.ends_with('.'))
        })
    };
    let mut hosts = model.hosts_of(zone).map(|host| &host.name);
    if hosts.any(|host| host == name || covered && (host.covers(name.as_str()) || below(host))) {
        return None;
    }
    let names = model.hosts_of(zone).map(|host| host.name.as_str());
    let meant = match suggest(name.as_str(), names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`postern host list` shows all".to_owned(),
    };
    let of = model.zones.get(&zone).map_or("", |zone| zone.name.as_str());
    Some(format!("`{name}` is no host of the zone {of}; {meant}"))
}

impl<A: Changes> Control<A> {
    /// Adds hosts to those that believe the zone's managed CAs, or an uploaded one, and takes others
    /// away.
    ///
    /// # Errors
    /// A name to add is no host of the zone, one to take away is not among those that are there, or
    /// a host that requires certificates would be left without anybody to believe.
    pub fn change_associations(
        &self,
        zone: Id,
        set: AuthoritySet,
        add: &BTreeSet<HostName>,
        remove: &BTreeSet<HostName>,
    ) -> Result<AssociationsChange, ChangeError> {
        self.change(|draft| {
            zone_of(&draft.model, zone)?;
            check_set(&draft.model, set)?;
            if let Some(why) = add
                .iter()
                .find_map(|name| absent(&draft.model, zone, name, false))
            {
                return Err(ChangeError::invalid("add", why));
            }
            let known = draft.model.associations.get(&(zone, set));
            let known = known.cloned().unwrap_or_default();
            if let Some(name) = remove.iter().find(|name| !known.contains(*name)) {
                let near = suggest(name.as_str(), known.iter().map(HostName::as_str));
                let near =
                    near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                let why = format!("`{name}` does not trust this CA{near}");
                return Err(ChangeError::invalid("remove", why));
            }
            let names: BTreeSet<HostName> = known
                .union(add)
                .filter(|name| !remove.contains(*name))
                .cloned()
                .collect();
            Ok(AssociationsChange {
                added: names.difference(&known).cloned().collect(),
                removed: known.difference(&names).cloned().collect(),
                names: put_names(draft, zone, set, names)?,
            })
        })
    }
}

impl<A: Reads> Control<A> {
    /// What is to be said of names that are no host of the zone, or none that a host answers for.
    ///
    /// # Errors
    /// There is no such zone.
    pub fn absent_hosts<'n>(
        &self,
        zone: Id,
        names: impl IntoIterator<Item = &'n HostName>,
    ) -> Result<Vec<String>, ChangeError> {
        let model = self.model();
        zone_of(&model, zone)?;
        let names = names.into_iter();
        Ok(names
            .filter_map(|name| absent(&model, zone, name, false))
            .collect())
    }
}

/// Refuses names of a rule that no host of the zone answers for: it would protect nothing.
pub(crate) fn check_rule_hosts(
    model: &Model,
    zone: Id,
    names: &[HostName],
) -> Result<(), ChangeError> {
    for (place, name) in names.iter().enumerate() {
        if let Some(why) = absent(model, zone, name, true) {
            let why = format!("a rule for it would protect nothing: {why}");
            return Err(ChangeError::invalid("hosts", why).at(format!("/hosts/{place}")));
        }
    }
    Ok(())
}
