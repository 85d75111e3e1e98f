//! Certificates and CAs by host, indexed once for a whole model. With thousands of hosts, zones and
//! certificates, a search for each host would make every change slow.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::id::Id;
use crate::model::{
    Authority, AuthorityKind, AuthoritySet, HostRecord, Model, ServerCertificate, ServerKey,
};

/// Tables over one model.
pub(crate) struct Lookup<'m> {
    model: &'m Model,
    managed: HashMap<Id, Vec<&'m Arc<Authority>>>,
    sets: HashMap<(Id, &'m str), Vec<AuthoritySet>>,
    /// The newest certificate of this kind of key that has this very name among its names.
    certificates: HashMap<(Id, &'m str, ServerKey), &'m Arc<ServerCertificate>>,
}

fn newest_first(authorities: &mut [&Arc<Authority>]) {
    authorities.sort_by_key(|ca| std::cmp::Reverse((ca.created_on, ca.id)));
}

impl<'m> Lookup<'m> {
    pub(crate) fn new(model: &'m Model) -> Self {
        let mut managed: HashMap<Id, Vec<&Arc<Authority>>> = HashMap::new();
        for authority in model.authorities.values() {
            if let AuthorityKind::Managed { zone, .. } = &authority.kind {
                managed.entry(*zone).or_default().push(authority);
            }
        }
        managed
            .values_mut()
            .for_each(|authorities| newest_first(authorities));
        let mut sets: HashMap<(Id, &str), Vec<AuthoritySet>> = HashMap::new();
        for ((zone, set), names) in &*model.associations {
            for name in &**names {
                sets.entry((*zone, name.as_str())).or_default().push(*set);
            }
        }
        let mut certificates: HashMap<(Id, &str, ServerKey), &Arc<ServerCertificate>> =
            HashMap::new();
        for certificate in model.server_certificates.values() {
            let Some(kind) = certificate.key_type else {
                continue;
            };
            for name in &certificate.names {
                let found = certificates.entry((certificate.zone, name.as_str(), kind));
                let best = found.or_insert(certificate);
                if (best.modified_on, best.id) < (certificate.modified_on, certificate.id) {
                    *best = certificate;
                }
            }
        }
        Self {
            model,
            managed,
            sets,
            certificates,
        }
    }

    /// As [`Model::managed`].
    pub(crate) fn managed(&self, zone: Id) -> &[&'m Arc<Authority>] {
        self.managed
            .get(&zone)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// As [`Model::believed`].
    pub(crate) fn believed(&self, host: &HostRecord) -> Vec<&'m Arc<Authority>> {
        let mut found = Vec::new();
        for set in self
            .sets
            .get(&(host.zone, host.name.as_str()))
            .into_iter()
            .flatten()
        {
            match set {
                AuthoritySet::Managed => found.extend(self.managed(host.zone)),
                AuthoritySet::Uploaded(id) => found.extend(self.model.authorities.get(id)),
            }
        }
        newest_first(&mut found);
        found
    }

    /// As [`Model::presented`].
    pub(crate) fn presented(&self, host: &HostRecord) -> Vec<&'m Arc<ServerCertificate>> {
        if let Some(chosen) = self.model.chosen(host) {
            return chosen;
        }
        let name = host.name.as_str();
        let above = name.split_once('.').filter(|_| !host.name.is_wildcard());
        let wildcard = above.map(|(_, parent)| format!("*.{parent}"));
        let newest = |kind| {
            let of = |name: &str| self.certificates.get(&(host.zone, name, kind)).copied();
            let wildcard = wildcard.as_deref().and_then(of);
            let found = of(name).into_iter().chain(wildcard);
            found.max_by_key(|found| (found.modified_on, found.id))
        };
        [ServerKey::Elliptic, ServerKey::Rsa]
            .into_iter()
            .filter_map(newest)
            .collect()
    }
}
