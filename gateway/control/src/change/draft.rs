//! A draft: the next model, and the writes that make the store equal to it.
//!
//! Owns the pairing of the two, so that no operation can change one and forget the other. Does not
//! validate: the operations do.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use crate::change::audit::{AuditEntry, Note, redacted};
use crate::change::collected::Collected;
use crate::change::control::Shared;
use crate::change::error::{ChangeError, Noun};
use crate::change::intent::Intent;
use crate::limits::{AUDIT_NOTES_MAX, AUDIT_REVISIONS_MAX, SEEN_REVISIONS_MAX};
use crate::model::acme::{AcmeAccount, AcmeOrder};
use crate::model::id::{Id, Uuid};
use crate::model::list::ListRecord;
use crate::model::moment::Moment;
use crate::model::revocation_reason::RevocationReason;
use crate::model::token::Token;
use crate::model::{
    Authority, AuthoritySet, HostRecord, Model, OriginRecord, ServerCertificate, Zone,
};
use crate::store::certificate_index::IndexChange;
use crate::store::keys::{self, TRUST_EPOCH_KEY, encode};
use crate::store::seal::Seal;
use crate::store::{Store, StoreError, Table, Write};
use vocabulary::hostname::HostName;

/// What a finished draft asks for.
pub(crate) struct Done {
    pub(crate) model: Model,
    pub(crate) writes: Vec<Write>,
    pub(crate) index: Vec<IndexChange>,
    /// Whether the data path has to see it.
    pub(crate) data_path: bool,
}

/// A change in the making.
pub(crate) struct Draft<'c> {
    shared: &'c Shared,
    /// Who makes the change.
    intent: &'c Intent,
    /// The model as it will be.
    pub(crate) model: Model,
    /// One time for everything in the change.
    pub(crate) now: Moment,
    writes: Vec<Write>,
    index: Vec<IndexChange>,
    pub(crate) data_path: bool,
    trust_moved: bool,
    notes: Vec<Note>,
    /// Notes beyond `AUDIT_NOTES_MAX`.
    notes_omitted: usize,
}

impl<'c> Draft<'c> {
    pub(crate) fn new(shared: &'c Shared, model: &Model, intent: &'c Intent) -> Self {
        let mut model = model.clone();
        model.revision += 1;
        Self {
            shared,
            intent,
            model,
            now: Moment::now(),
            writes: Vec::new(),
            index: Vec::new(),
            data_path: false,
            trust_moved: false,
            notes: Vec::new(),
            notes_omitted: 0,
        }
    }

    /// Refuses to change what others have changed since the revision that who asks has seen. That a
    /// ruleset changed is no matter: its rules are things of their own.
    pub(crate) fn check_seen(&self) -> Result<(), ChangeError> {
        let Some(seen) = self.intent.seen else {
            return Ok(());
        };
        let last = self.model.revision - 1;
        if let Some(mine) = self.notes.first().filter(|_| seen > last) {
            return Err(ChangeError::Changed {
                noun: mine.noun.clone(),
                key: mine.key.clone(),
                actor: "another state, which took the place of what was seen".into(),
                revision: last,
            });
        }
        // Who has seen nothing newer than what is looked at has to look again.
        let first = seen.max(last.saturating_sub(SEEN_REVISIONS_MAX));
        for revision in first + 1..=last {
            let key = revision.to_be_bytes();
            let Some(value) = self.shared.store.value(Table::Audit, &key)? else {
                continue;
            };
            let entry: AuditEntry = keys::decode(Table::Audit, &key, &value)?;
            let is_mine = |theirs: &&Note| {
                let mut mine = self.notes.iter();
                theirs.noun != Noun::Ruleset.to_string()
                    && mine.any(|mine| mine.noun == theirs.noun && mine.key == theirs.key)
            };
            let mut theirs = entry.changes.iter();
            let same = theirs.find(is_mine).or_else(|| {
                // Too much changed at once to tell, or too long ago.
                let unknown = entry.omitted > 0 || (seen < first && revision == first + 1);
                self.notes.first().filter(|_| unknown)
            });
            if let Some(same) = same {
                return Err(ChangeError::Changed {
                    noun: same.noun.clone(),
                    key: same.key.clone(),
                    actor: entry.actor,
                    revision,
                });
            }
        }
        Ok(())
    }

    /// `None` when nothing was changed.
    pub(crate) fn finish(mut self) -> Option<Done> {
        if self.trust_moved {
            self.model.trust_epoch += 1;
            let epoch = self.model.trust_epoch.to_be_bytes().to_vec();
            self.write(Table::Meta, TRUST_EPOCH_KEY.to_vec(), Some(epoch));
        }
        if self.writes.is_empty() {
            return None;
        }
        let revision = self.model.revision;
        let entry = AuditEntry {
            revision,
            at: self.now,
            actor: self.intent.actor.to_string(),
            changes: std::mem::take(&mut self.notes),
            omitted: self.notes_omitted,
        };
        self.write(
            Table::Audit,
            revision.to_be_bytes().to_vec(),
            Some(encode(&entry)),
        );
        if let Some(oldest) = revision.checked_sub(AUDIT_REVISIONS_MAX) {
            self.write(Table::Audit, oldest.to_be_bytes().to_vec(), None);
        }
        Some(Done {
            model: self.model,
            writes: self.writes,
            index: self.index,
            data_path: self.data_path,
        })
    }

    /// Hands over to a batch what this step of it did, and the model that it leads to.
    pub(crate) fn set_aside(self, to: &mut Collected) -> Model {
        to.writes.extend(self.writes);
        to.index.extend(self.index);
        to.notes_omitted += self.notes_omitted;
        for note in self.notes {
            if to.notes.len() < AUDIT_NOTES_MAX {
                to.notes.push(note);
            } else {
                to.notes_omitted += 1;
            }
        }
        to.data_path |= self.data_path;
        to.trust_moved |= self.trust_moved;
        self.model
    }

    /// Takes over what a batch did, and the model that it led to.
    pub(crate) fn absorb(&mut self, model: &Model, from: Collected) {
        let revision = self.model.revision;
        self.model = model.clone();
        self.model.revision = revision;
        self.writes.extend(from.writes);
        self.index.extend(from.index);
        self.notes.extend(from.notes);
        self.notes_omitted += from.notes_omitted;
        self.data_path |= from.data_path;
        self.trust_moved |= from.trust_moved;
    }

    pub(crate) fn store(&self) -> &'c dyn Store {
        self.shared.store.as_ref()
    }

    pub(crate) fn seal(&self) -> &'c Seal {
        &self.shared.seal
    }

    pub(crate) fn intent(&self) -> &'c Intent {
        self.intent
    }

    pub(crate) fn shared(&self) -> &'c Shared {
        self.shared
    }

    pub(crate) fn write(&mut self, table: Table, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.writes.push(Write { table, key, value });
    }

    /// Notes for the audit log what becomes of one thing.
    pub(crate) fn note<T: Serialize + ?Sized>(
        &mut self,
        noun: Noun,
        key: impl ToString,
        before: Option<&T>,
        after: Option<&T>,
    ) {
        if self.notes.len() >= AUDIT_NOTES_MAX {
            self.notes_omitted += 1;
            return;
        }
        self.notes.push(Note {
            noun: noun.to_string(),
            key: key.to_string(),
            before: before.and_then(redacted),
            after: after.and_then(redacted),
        });
    }

    pub(crate) fn index(&mut self, change: IndexChange) {
        self.index.push(change);
    }

    /// Verifications of clients made before this change are to be made again.
    pub(crate) fn trust_moves(&mut self) {
        self.trust_moved = true;
        self.data_path = true;
    }

    pub(crate) fn put_zone(&mut self, zone: Zone) {
        self.write(
            Table::Zones,
            zone.id.as_bytes().to_vec(),
            Some(encode(&zone)),
        );
        let old = self.model.zones.get(&zone.id).cloned();
        self.note(Noun::Zone, &zone.name, old.as_deref(), Some(&zone));
        Arc::make_mut(&mut self.model.zones).insert(zone.id, Arc::new(zone));
    }

    pub(crate) fn remove_zone(&mut self, id: Id) {
        if let Some(zone) = Arc::make_mut(&mut self.model.zones).remove(&id) {
            self.write(Table::Zones, id.as_bytes().to_vec(), None);
            self.note(Noun::Zone, &zone.name, Some(&*zone), None);
        }
    }

    pub(crate) fn put_host(&mut self, host: HostRecord) {
        self.data_path = true;
        if !host.acme {
            self.remove_acme_order(&host.name);
        }
        self.write(
            Table::Hosts,
            host.name.as_str().as_bytes().to_vec(),
            Some(encode(&host)),
        );
        let old = self.model.hosts.get(&host.name).cloned();
        self.note(Noun::Host, &host.name, old.as_deref(), Some(&host));
        Arc::make_mut(&mut self.model.hosts).insert(host.name.clone(), Arc::new(host));
    }

    pub(crate) fn remove_host(&mut self, name: &HostName) {
        if let Some(host) = Arc::make_mut(&mut self.model.hosts).remove(name) {
            self.data_path = true;
            self.write(Table::Hosts, name.as_str().as_bytes().to_vec(), None);
            self.remove_acme_order(name);
            self.note(Noun::Host, name, Some(&*host), None);
        }
    }

    pub(crate) fn put_acme_account(&mut self, account: AcmeAccount) {
        let directory = account.directory.clone();
        let key = keys::acme_key(keys::ACME_ACCOUNTS, &directory);
        self.write(Table::Meta, key, Some(encode(&account)));
        let old = self.model.acme_accounts.get(&directory).cloned();
        let noun = Noun::AcmeAccount;
        self.note(noun, &directory, old.as_deref(), Some(&account));
        Arc::make_mut(&mut self.model.acme_accounts).insert(directory, Arc::new(account));
    }

    pub(crate) fn put_acme_order(&mut self, order: AcmeOrder) {
        let host = order.host.clone();
        let key = keys::acme_key(keys::ACME_ORDERS, host.as_str());
        self.write(Table::Meta, key, Some(encode(&order)));
        let old = self.model.acme_orders.get(&host).cloned();
        self.note(Noun::AcmeOrder, &host, old.as_deref(), Some(&order));
        Arc::make_mut(&mut self.model.acme_orders).insert(host, Arc::new(order));
    }

    fn remove_acme_order(&mut self, host: &HostName) {
        if self.model.acme_orders.contains_key(host) {
            let key = keys::acme_key(keys::ACME_ORDERS, host.as_str());
            self.write(Table::Meta, key, None);
            Arc::make_mut(&mut self.model.acme_orders).remove(host);
        }
    }

    /// `ZONE/NAME`: zones may have origins of the same name.
    fn origin_path(&self, origin: &OriginRecord) -> String {
        let zone = self.model.zones.get(&origin.zone);
        let zone = zone.map_or("", |zone| zone.name.as_str());
        format!("{zone}/{}", origin.name)
    }

    pub(crate) fn put_origin(&mut self, origin: Arc<OriginRecord>) {
        self.data_path = true;
        let key = (origin.zone, origin.name.clone());
        self.write(
            Table::Origins,
            keys::origin_key(origin.zone, &origin.name),
            Some(encode(&*origin)),
        );
        let old = self.model.origins.get(&key).cloned();
        let path = self.origin_path(&origin);
        self.note(Noun::Origin, path, old.as_deref(), Some(&*origin));
        Arc::make_mut(&mut self.model.origins).insert(key, origin);
    }

    pub(crate) fn remove_origin(&mut self, origin: &OriginRecord) {
        self.data_path = true;
        let key = (origin.zone, origin.name.clone());
        self.write(
            Table::Origins,
            keys::origin_key(origin.zone, &origin.name),
            None,
        );
        let path = self.origin_path(origin);
        self.note(Noun::Origin, path, Some(origin), None);
        Arc::make_mut(&mut self.model.origins).remove(&key);
    }

    pub(crate) fn put_authority(&mut self, authority: Authority) {
        self.trust_moves();
        self.write(
            Table::Authorities,
            authority.id.as_bytes().to_vec(),
            Some(encode(&authority)),
        );
        let old = self.model.authorities.get(&authority.id).cloned();
        self.note(
            Noun::Authority,
            authority.id,
            old.as_deref(),
            Some(&authority),
        );
        Arc::make_mut(&mut self.model.authorities).insert(authority.id, Arc::new(authority));
    }

    /// Puts a CA of which only the deny list is another. Of that, the audit log has what changed.
    pub(crate) fn put_denied<T: Serialize>(
        &mut self,
        authority: Authority,
        before: Option<&T>,
        after: Option<&T>,
    ) {
        self.trust_moves();
        let key = authority.id.as_bytes().to_vec();
        self.write(Table::Authorities, key, Some(encode(&authority)));
        let of = format!("{}: denied certificates", authority.id);
        self.note(Noun::Authority, of, before, after);
        Arc::make_mut(&mut self.model.authorities).insert(authority.id, Arc::new(authority));
    }

    /// Removes a CA with its revocations.
    pub(crate) fn remove_authority(&mut self, id: Uuid) -> Result<(), StoreError> {
        self.trust_moves();
        self.write(Table::Authorities, id.as_bytes().to_vec(), None);
        if let Some(authority) = Arc::make_mut(&mut self.model.authorities).remove(&id) {
            self.note(Noun::Authority, id, Some(&*authority), None);
        }
        self.remove_crls(id)?;
        self.remove_all(Table::Revoked, id.as_bytes())?;
        Arc::make_mut(&mut self.model.revoked).remove(&id);
        Ok(())
    }

    /// Sets which hosts of a zone believe a set of CAs; an empty set removes the association.
    pub(crate) fn put_association(
        &mut self,
        zone: Id,
        set: AuthoritySet,
        names: BTreeSet<HostName>,
    ) {
        let texts = |names: &BTreeSet<HostName>| -> Vec<String> {
            names.iter().map(|name| name.as_str().to_owned()).collect()
        };
        let old = self
            .model
            .associations
            .get(&(zone, set))
            .map(|names| texts(names));
        let new = (!names.is_empty()).then(|| texts(&names));
        if old == new {
            return;
        }
        let associations = Arc::make_mut(&mut self.model.associations);
        match &new {
            Some(_) => associations.insert((zone, set), Arc::new(names)),
            None => associations.remove(&(zone, set)),
        };
        self.trust_moves();
        let key = keys::association_key(zone, set);
        self.write(Table::Associations, key, new.as_ref().map(encode));
        let of = match set {
            AuthoritySet::Managed => format!("managed CA of zone {zone}: host names"),
            AuthoritySet::Uploaded(id) => format!("{id} in zone {zone}: host names"),
        };
        self.note(Noun::Authority, of, old.as_ref(), new.as_ref());
    }

    pub(crate) fn put_server_certificate(&mut self, certificate: ServerCertificate) {
        self.data_path = true;
        let id = certificate.id;
        self.write(
            Table::ServerCertificates,
            id.as_bytes().to_vec(),
            Some(encode(&certificate)),
        );
        let old = self.model.server_certificates.get(&id).cloned();
        self.note(
            Noun::ServerCertificate,
            id,
            old.as_deref(),
            Some(&certificate),
        );
        Arc::make_mut(&mut self.model.server_certificates).insert(id, Arc::new(certificate));
    }

    pub(crate) fn remove_server_certificate(&mut self, id: Uuid) {
        let certificates = Arc::make_mut(&mut self.model.server_certificates);
        if let Some(certificate) = certificates.remove(&id) {
            self.data_path = true;
            self.write(Table::ServerCertificates, id.as_bytes().to_vec(), None);
            self.note(Noun::ServerCertificate, id, Some(&*certificate), None);
        }
    }

    pub(crate) fn put_token(&mut self, token: Arc<Token>) {
        self.write(
            Table::Tokens,
            token.id.as_bytes().to_vec(),
            Some(encode(&*token)),
        );
        self.note(Noun::Token, token.id, None, Some(&*token));
        Arc::make_mut(&mut self.model.tokens).insert(token.digest.clone(), token);
    }

    pub(crate) fn remove_token(&mut self, token: &Token) {
        self.write(Table::Tokens, token.id.as_bytes().to_vec(), None);
        self.note(Noun::Token, token.id, Some(token), None);
        Arc::make_mut(&mut self.model.tokens).remove(&token.digest);
    }

    pub(crate) fn put_list(&mut self, list: Arc<ListRecord>) {
        self.data_path = true;
        self.write(
            Table::Lists,
            list.id.as_bytes().to_vec(),
            Some(encode(&*list)),
        );
        let old = self.model.lists.get(&list.id).cloned();
        self.note(Noun::List, &list.name, old.as_deref(), Some(&*list));
        self.model.lists_revision = self.model.revision;
        Arc::make_mut(&mut self.model.lists).insert(list.id, list);
    }

    pub(crate) fn remove_list(&mut self, list: &ListRecord) {
        self.data_path = true;
        self.write(Table::Lists, list.id.as_bytes().to_vec(), None);
        self.note(Noun::List, &list.name, Some(list), None);
        self.model.lists_revision = self.model.revision;
        Arc::make_mut(&mut self.model.lists).remove(&list.id);
    }

    /// Marks a serial as revoked by its CA, or no longer.
    pub(crate) fn set_revoked(
        &mut self,
        authority: Uuid,
        serial: &[u8],
        revoked: Option<RevocationReason>,
    ) {
        self.trust_moves();
        let revision = self.model.revision;
        let entry = Arc::make_mut(&mut self.model.revoked)
            .entry(authority)
            .or_default();
        entry.revision = revision;
        let serials = Arc::make_mut(&mut entry.serials);
        let key = keys::revoked_key(authority, serial);
        if let Some(reason) = revoked {
            serials.insert(serial.into());
            let mut at = self.now.seconds().to_be_bytes().to_vec();
            at.push(reason.code());
            self.write(Table::Revoked, key, Some(at));
        } else {
            serials.remove(serial);
            self.write(Table::Revoked, key, None);
        }
    }

    /// Removes every key that begins with `prefix`.
    pub(crate) fn remove_all(&mut self, table: Table, prefix: &[u8]) -> Result<(), StoreError> {
        let mut keys = Vec::new();
        self.store().scan(table, prefix, &mut |key, _| {
            keys.push(key.to_vec());
            Ok(())
        })?;
        for key in keys {
            self.write(table, key, None);
        }
        Ok(())
    }
}
