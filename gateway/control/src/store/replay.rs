//! Replays a transaction on a model: the next model, as the one has it that made the change.
//!
//! Needs no more of a store than the orders of rulesets, so that a process follows another one's store
//! without a copy of it, and what it costs does not grow with what is stored. Client certificates are
//! not in the model, which has their revocations; what a transaction does to their index is told apart.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::model::id::{Id, Uuid};
use crate::model::list::ListRecord;
use crate::model::secret::Sealed;
use crate::model::token::Token;
use crate::model::{
    AcmeAccount, AcmeOrder, Authority, HostRecord, Model, OriginRecord, RuleRecord, Ruleset, Zone,
};
use crate::pki::uploaded_crl;
use crate::store::certificate_index::{self, CertificateEntry, IndexChange};
use crate::store::keys::{
    ACME_ACCOUNTS, ACME_ORDERS, TICKET_KEYS, TRUST_EPOCH_KEY, corrupt, decode, part,
};
use crate::store::transaction::Transaction;
use crate::store::{Store, StoreError, Table, Write, load, order};
use vocabulary::hostname::HostName;

/// What a transaction makes of a model.
pub(crate) struct Replayed {
    pub(crate) model: Model,
    /// Whether the data path has to see it.
    pub(crate) data_path: bool,
}

/// Replays `transaction`. `orders` are as they are after it.
pub(crate) fn replay(
    model: &Model,
    orders: &dyn Store,
    transaction: &Transaction,
) -> Result<Replayed, StoreError> {
    let mut model = model.clone();
    model.revision = transaction.revision;
    // What a list is read with may come in the same transaction.
    for table in Table::ALL {
        let writes = transaction.writes.iter().filter(|one| one.table == table);
        let writes: Vec<&Write> = writes.collect();
        if writes.is_empty() {
            continue;
        }
        apply(&mut model, table, &writes)?;
        if table == Table::Rulesets {
            rulesets(&mut model, orders, transaction, &writes)?;
        }
    }
    let data_path = transaction.writes.iter().any(|one| is_seen(one.table));
    Ok(Replayed { model, data_path })
}

/// What a transaction does to the index of client certificates.
pub(crate) fn index_changes(transaction: &Transaction) -> Result<Vec<IndexChange>, StoreError> {
    let mut removed: BTreeMap<Id, BTreeSet<u64>> = BTreeMap::new();
    let mut changes = Vec::new();
    for write in &transaction.writes {
        if write.table != Table::CertificateIndex {
            continue;
        }
        let (zone, sequence) = certificate_index::place(&write.key)?;
        match &write.value {
            Some(value) => {
                let entry = CertificateEntry::read(sequence, value)?;
                changes.push(IndexChange::Put(zone, entry));
            }
            None => drop(removed.entry(zone).or_default().insert(sequence)),
        }
    }
    let removed = removed.into_iter();
    changes.extend(removed.map(|(zone, sequences)| IndexChange::Remove(zone, sequences)));
    Ok(changes)
}

/// Whether the data path sees what is in a table.
fn is_seen(table: Table) -> bool {
    !matches!(
        table,
        Table::CertificateIndex
            | Table::CertificateBodies
            | Table::CertificateIds
            | Table::CertificateFinds
            | Table::Audit
            | Table::Tokens
    )
}

fn apply(model: &mut Model, table: Table, writes: &[&Write]) -> Result<(), StoreError> {
    for write in writes {
        let key = write.key.as_slice();
        match table {
            Table::Meta if key == TRUST_EPOCH_KEY => {
                let epoch = write
                    .value
                    .as_deref()
                    .and_then(|value| value.try_into().ok());
                let epoch = epoch.ok_or_else(|| corrupt(table, key, "it is no number"))?;
                model.trust_epoch = u64::from_be_bytes(epoch);
            }
            Table::Meta if key.starts_with(ACME_ACCOUNTS) => {
                let accounts = Arc::make_mut(&mut model.acme_accounts);
                match record::<AcmeAccount>(write)? {
                    Some(account) => {
                        drop(accounts.insert(account.directory.clone(), Arc::new(account)));
                    }
                    None => {
                        let directory = key.get(ACME_ACCOUNTS.len()..).unwrap_or_default();
                        drop(accounts.remove(text(table, key, directory)?));
                    }
                }
            }
            Table::Meta if key.starts_with(ACME_ORDERS) => {
                let orders = Arc::make_mut(&mut model.acme_orders);
                match record::<AcmeOrder>(write)? {
                    Some(order) => drop(orders.insert(order.host.clone(), Arc::new(order))),
                    None => {
                        let name = key.get(ACME_ORDERS.len()..).unwrap_or_default();
                        drop(orders.remove(&host_name(table, name)?));
                    }
                }
            }
            Table::Meta if key == TICKET_KEYS => {
                model.ticket_keys = record::<Sealed>(write)?.map(Arc::new);
            }
            Table::Zones => {
                let id = Id::from_bytes(part(table, key)?.0);
                let zones = Arc::make_mut(&mut model.zones);
                match record::<Zone>(write)? {
                    Some(zone) => drop(zones.insert(id, Arc::new(zone))),
                    None => drop(zones.remove(&id)),
                }
            }
            Table::Hosts => {
                let name = host_name(table, key)?;
                let hosts = Arc::make_mut(&mut model.hosts);
                match record::<HostRecord>(write)? {
                    Some(host) => drop(hosts.insert(name, Arc::new(host))),
                    None => drop(hosts.remove(&name)),
                }
            }
            Table::Origins => {
                let (zone, name) = part(table, key)?;
                let name = text(table, key, name)?.to_owned();
                let place = (Id::from_bytes(zone), name);
                let origins = Arc::make_mut(&mut model.origins);
                match record::<OriginRecord>(write)? {
                    Some(origin) => drop(origins.insert(place, Arc::new(origin))),
                    None => drop(origins.remove(&place)),
                }
            }
            Table::Authorities => authority(model, write)?,
            Table::Associations => {
                let place = load::association_place(key)?;
                let associations = Arc::make_mut(&mut model.associations);
                match &write.value {
                    Some(value) => {
                        let names = load::association_names(key, value)?;
                        drop(associations.insert(place, Arc::new(names)));
                    }
                    None => drop(associations.remove(&place)),
                }
            }
            Table::ServerCertificates => {
                let id = Uuid::from_bytes(part(table, key)?.0);
                let certificates = Arc::make_mut(&mut model.server_certificates);
                match record(write)? {
                    Some(certificate) => {
                        let certificate = load::with_key_type(certificate)?;
                        drop(certificates.insert(id, Arc::new(certificate)));
                    }
                    None => drop(certificates.remove(&id)),
                }
            }
            Table::Tokens => {
                let id = Id::from_bytes(part(table, key)?.0);
                let tokens = Arc::make_mut(&mut model.tokens);
                tokens.retain(|_, token| token.id != id);
                if let Some(token) = record::<Token>(write)? {
                    tokens.insert(token.digest.clone(), Arc::new(token));
                }
            }
            Table::Lists => {
                let id = Id::from_bytes(part(table, key)?.0);
                model.lists_revision = model.revision;
                let lists = Arc::make_mut(&mut model.lists);
                match record::<ListRecord>(write)? {
                    Some(list) => drop(lists.insert(id, Arc::new(list))),
                    None => drop(lists.remove(&id)),
                }
            }
            Table::Revoked => revoked(model, write)?,
            Table::Crls => crl(model, write)?,
            // What the order of rules says of them is read with the head of their ruleset.
            Table::Rulesets | Table::RulesetVersions | Table::RulesetPages | Table::Rules => {}
            Table::Meta
            | Table::Audit
            | Table::CertificateIndex
            | Table::CertificateBodies
            | Table::CertificateIds
            | Table::CertificateFinds => {}
        }
    }
    Ok(())
}

fn authority(model: &mut Model, write: &Write) -> Result<(), StoreError> {
    let id = Uuid::from_bytes(part(write.table, &write.key)?.0);
    let revision = model.revision;
    let authorities = Arc::make_mut(&mut model.authorities);
    let Some(authority) = record::<Authority>(write)? else {
        authorities.remove(&id);
        // Its revocations are its own records; what is left of them is nothing.
        Arc::make_mut(&mut model.revoked).remove(&id);
        Arc::make_mut(&mut model.crls).remove(&id);
        return Ok(());
    };
    let is_new = authorities.insert(id, Arc::new(authority)).is_none();
    // What is asked of its lists, or its deny list, may be another: its trust is built anew.
    if !is_new {
        let crls = Arc::make_mut(&mut model.crls);
        crls.entry(id).or_default().revision = revision;
    }
    Ok(())
}

fn revoked(model: &mut Model, write: &Write) -> Result<(), StoreError> {
    let (authority, serial) = part(write.table, &write.key)?;
    let id = Uuid::from_bytes(authority);
    if write.value.is_none() && !model.revoked.contains_key(&id) {
        return Ok(());
    }
    let revision = model.revision;
    let entry = Arc::make_mut(&mut model.revoked).entry(id).or_default();
    entry.revision = revision;
    let serials = Arc::make_mut(&mut entry.serials);
    match write.value {
        Some(_) => drop(serials.insert(serial.into())),
        None => drop(serials.remove(serial)),
    }
    Ok(())
}

fn crl(model: &mut Model, write: &Write) -> Result<(), StoreError> {
    let (table, key) = (write.table, write.key.as_slice());
    let (id, place) = part(table, key)?;
    let id = Uuid::from_bytes(id);
    let revision = model.revision;
    let authority = model.authorities.get(&id).cloned();
    let crls = Arc::make_mut(&mut model.crls);
    match (&write.value, authority) {
        (Some(der), Some(authority)) => {
            let list = uploaded_crl::read_record(&authority.certificate, der);
            let list = list.map_err(|why| corrupt(table, key, why))?;
            let record = crls.entry(id).or_default();
            record.revision = revision;
            record.lists.insert(place.into(), list);
        }
        (Some(_), None) => return Err(corrupt(table, key, "its CA is missing")),
        (None, Some(_)) => {
            let record = crls.entry(id).or_default();
            record.revision = revision;
            record.lists.remove(place);
        }
        (None, None) => {}
    }
    Ok(())
}

/// Reads the rulesets whose heads were written. Their rules are those of the version before, and
/// those that the transaction has.
fn rulesets(
    model: &mut Model,
    orders: &dyn Store,
    transaction: &Transaction,
    heads: &[&Write],
) -> Result<(), StoreError> {
    for head in heads {
        let id = Id::from_bytes(part(head.table, &head.key)?.0);
        let rulesets = Arc::make_mut(&mut model.rulesets);
        let before = rulesets.iter().find(|(_, ruleset)| ruleset.id == id);
        let before = before.map(|(place, ruleset)| (*place, ruleset.clone()));
        let Some(mut ruleset) = record::<Ruleset>(head)? else {
            if let Some((place, _)) = before {
                rulesets.remove(&place);
            }
            continue;
        };
        let version = order::record(orders, id, ruleset.version)?;
        let order = order::rules(orders, id, &version)?;
        let wanted: HashSet<order::Entry> = order.iter().copied().collect();
        let mut known: HashMap<order::Entry, Arc<RuleRecord>> = HashMap::new();
        for rule in before.iter().flat_map(|(_, before)| before.rules.iter()) {
            let place = (rule.id, rule.version);
            if wanted.contains(&place) {
                known.insert(place, rule.clone());
            }
        }
        let written = transaction.writes.iter();
        for write in written.filter(|one| one.table == Table::Rules && one.value.is_some()) {
            let (ruleset, place) = load::rule_place(&write.key)?;
            if ruleset == id
                && let Some(rule) = record::<RuleRecord>(write)?
            {
                known.insert(place, Arc::new(rule));
            }
        }
        let missing = || corrupt(head.table, &head.key, "a rule of it is missing");
        let rules = order
            .iter()
            .map(|place| known.get(place).cloned().ok_or_else(missing));
        ruleset.rules = rules.collect::<Result<Vec<_>, _>>()?.into();
        rulesets.insert((ruleset.zone, ruleset.phase), Arc::new(ruleset));
    }
    Ok(())
}

/// The record of a write; `None` when it removes one.
fn record<T: DeserializeOwned>(write: &Write) -> Result<Option<T>, StoreError> {
    let value = write.value.as_deref();
    value
        .map(|value| decode(write.table, &write.key, value))
        .transpose()
}

fn host_name(table: Table, key: &[u8]) -> Result<HostName, StoreError> {
    HostName::parse(text(table, key, key)?).map_err(|why| corrupt(table, key, why))
}

fn text<'k>(table: Table, key: &[u8], part: &'k [u8]) -> Result<&'k str, StoreError> {
    std::str::from_utf8(part).map_err(|why| corrupt(table, key, why))
}
