//! Loads the store into a model at start.
//!
//! Reads every record once and refuses to start when one is unreadable: a gateway that forgot a
//! host, a rule or a revocation would fail open. Owns the proof that the key file belongs to the
//! store.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::model::id::{ID_BYTES, Id, Uuid};
use crate::model::list::ListRecord;
use crate::model::revocation::{CrlRecord, Revoked};
use crate::model::secret::Sealed;
use crate::model::token::Token;
use crate::model::{
    AcmeAccount, AcmeOrder, Authority, AuthoritySet, HostRecord, Model, OriginRecord, RuleRecord,
    Ruleset, ServerCertificate, Zone,
};
use crate::pki::chain;
use crate::pki::uploaded_crl;
use crate::store::certificate_index::Index;
use crate::store::keys::{
    ACCOUNT_KEY, ACME_ACCOUNTS, ACME_ORDERS, PROOF_KEY, TICKET_KEYS, TRUST_EPOCH_KEY, corrupt,
    decode, encode, part, rule_key,
};
use crate::store::seal::{Seal, SealError};
use crate::store::{Store, StoreError, Table, Write, alone, migrate, order};
use vocabulary::hostname::HostName;

const PROOF: &[u8] = b"postern";

/// Why the key that seals cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key file cannot be used.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// Whether the key that seals has been made for this store.
pub(crate) fn is_sealed(store: &dyn Store) -> Result<bool, StoreError> {
    Ok(store.value(Table::Meta, PROOF_KEY)?.is_some())
}

/// Finds the key that seals and the account, or makes both on the first start.
pub(crate) fn seal(store: &dyn Store, key_file: &Path) -> Result<Seal, KeyError> {
    let Some(proof) = store.value(Table::Meta, PROOF_KEY)? else {
        let (seal, made) = Seal::open(key_file, true)?;
        if made {
            tracing::warn!(
                file = %key_file.display(),
                "made the key that seals CA and server keys: back this file up, apart from the store; without it the CAs are lost"
            );
        }
        let proof = seal.seal("proof", PROOF)?;
        let put = |key: &[u8], value: Vec<u8>| Write {
            table: Table::Meta,
            key: key.to_vec(),
            value: Some(value),
        };
        store.commit(
            store.revision()?,
            &[
                put(PROOF_KEY, encode(&proof)),
                put(ACCOUNT_KEY, encode(&Id::random())),
                put(TRUST_EPOCH_KEY, 1_u64.to_be_bytes().to_vec()),
                put(migrate::DONE_KEY, migrate::DONE.to_vec()),
            ],
        )?;
        return Ok(seal);
    };
    let (seal, _) = Seal::open(key_file, false)?;
    let wrong = || SealError::WrongKey {
        path: key_file.to_owned(),
    };
    let sealed: Sealed = decode(Table::Meta, PROOF_KEY, &proof)?;
    let opened = seal
        .open_sealed("proof", &sealed)
        .map_err(|_other_key| wrong())?;
    if opened.reveal() != PROOF {
        return Err(wrong().into());
    }
    Ok(seal)
}

/// Reads everything that is kept in memory.
pub(crate) fn load(store: &dyn Store) -> Result<(Model, Index), StoreError> {
    let meta = |key: &[u8]| {
        let value = store.value(Table::Meta, key)?;
        value.ok_or_else(|| corrupt(Table::Meta, key, "it is missing"))
    };
    let epoch = meta(TRUST_EPOCH_KEY)?;
    let epoch = epoch.as_slice().try_into().map(u64::from_be_bytes);
    let mut model = Model::empty(decode(Table::Meta, ACCOUNT_KEY, &meta(ACCOUNT_KEY)?)?);
    model.trust_epoch = epoch.map_err(|why| corrupt(Table::Meta, TRUST_EPOCH_KEY, why))?;
    model.revision = store.revision()?;

    let zones: Vec<Zone> = records(store, Table::Zones)?;
    model.zones = Arc::new(
        zones
            .into_iter()
            .map(|zone| (zone.id, Arc::new(zone)))
            .collect(),
    );
    let hosts: Vec<HostRecord> = records(store, Table::Hosts)?;
    model.hosts = Arc::new(
        hosts
            .into_iter()
            .map(|h| (h.name.clone(), Arc::new(h)))
            .collect(),
    );
    let origins: Vec<OriginRecord> = records(store, Table::Origins)?;
    let keyed = |origin: OriginRecord| ((origin.zone, origin.name.clone()), Arc::new(origin));
    model.origins = Arc::new(origins.into_iter().map(keyed).collect());
    let authorities: Vec<Authority> = records(store, Table::Authorities)?;
    model.authorities = Arc::new(
        authorities
            .into_iter()
            .map(|a| (a.id, Arc::new(a)))
            .collect(),
    );
    let certificates: Vec<ServerCertificate> = records(store, Table::ServerCertificates)?;
    let certificates = certificates.into_iter().map(|certificate| {
        let certificate = with_key_type(certificate)?;
        Ok((certificate.id, Arc::new(certificate)))
    });
    model.server_certificates = Arc::new(certificates.collect::<Result<_, StoreError>>()?);

    let table = Table::Meta;
    let mut accounts = BTreeMap::new();
    store.scan(table, ACME_ACCOUNTS, &mut |key, value| {
        let account: AcmeAccount = decode(table, key, value)?;
        accounts.insert(account.directory.clone(), Arc::new(account));
        Ok(())
    })?;
    model.acme_accounts = Arc::new(accounts);
    let mut orders = BTreeMap::new();
    store.scan(table, ACME_ORDERS, &mut |key, value| {
        let order: AcmeOrder = decode(table, key, value)?;
        orders.insert(order.host.clone(), Arc::new(order));
        Ok(())
    })?;
    model.acme_orders = Arc::new(orders);

    let keys = store.value(table, TICKET_KEYS)?;
    let keys = keys.map(|keys| decode::<Sealed>(table, TICKET_KEYS, &keys));
    model.ticket_keys = keys.transpose()?.map(Arc::new);
    model.alone = Arc::new(alone::read(store)?);

    let mut associations = BTreeMap::new();
    store.scan(Table::Associations, b"", &mut |key, value| {
        let names = association_names(key, value)?;
        associations.insert(association_place(key)?, Arc::new(names));
        Ok(())
    })?;
    model.associations = Arc::new(associations);

    let tokens: Vec<Token> = records(store, Table::Tokens)?;
    model.tokens = Arc::new(
        tokens
            .into_iter()
            .map(|t| (t.digest.clone(), Arc::new(t)))
            .collect(),
    );
    let lists: Vec<ListRecord> = records(store, Table::Lists)?;
    model.lists = Arc::new(lists.into_iter().map(|l| (l.id, Arc::new(l))).collect());
    model.lists_revision = model.revision;
    model.rulesets = Arc::new(rulesets(store)?);
    model.revoked = Arc::new(revoked(store, model.revision)?);
    model.crls = Arc::new(crls(store, &model)?);
    let index = Index::load(store)?;
    Ok((model, index))
}

/// A server certificate, with the kind of its key when it was stored without.
pub(crate) fn with_key_type(
    mut certificate: ServerCertificate,
) -> Result<ServerCertificate, StoreError> {
    if certificate.key_type.is_none() {
        let kind = chain::key_type(&certificate.chain);
        let id = certificate.id;
        certificate.key_type =
            Some(kind.map_err(|why| corrupt(Table::ServerCertificates, id.as_bytes(), why))?);
    }
    Ok(certificate)
}

/// Zone and CA set of an association.
pub(crate) fn association_place(key: &[u8]) -> Result<(Id, AuthoritySet), StoreError> {
    let (zone, rest) = part(Table::Associations, key)?;
    let (authority, _) = part(Table::Associations, rest)?;
    let set = match authority {
        none if none == [0; ID_BYTES] => AuthoritySet::Managed,
        id => AuthoritySet::Uploaded(Uuid::from_bytes(id)),
    };
    Ok((Id::from_bytes(zone), set))
}

/// The hosts of an association.
pub(crate) fn association_names(
    key: &[u8],
    value: &[u8],
) -> Result<BTreeSet<HostName>, StoreError> {
    let table = Table::Associations;
    let texts: Vec<String> = decode(table, key, value)?;
    let names = texts.iter().map(|text| HostName::parse(text));
    let names = names.collect::<Result<_, _>>();
    names.map_err(|why| corrupt(table, key, why))
}

/// The ruleset of a rule, its id and its version.
pub(crate) fn rule_place(key: &[u8]) -> Result<(Id, order::Entry), StoreError> {
    let table = Table::Rules;
    let (ruleset, rest) = part(table, key)?;
    let (rule, rest) = part(table, rest)?;
    let version = rest.try_into().map(u32::from_be_bytes);
    let version = version.map_err(|why| corrupt(table, key, why))?;
    Ok((Id::from_bytes(ruleset), (Id::from_bytes(rule), version)))
}

fn records<T: DeserializeOwned>(store: &dyn Store, table: Table) -> Result<Vec<T>, StoreError> {
    let mut records = Vec::new();
    store.scan(table, b"", &mut |key, value| {
        records.push(decode(table, key, value)?);
        Ok(())
    })?;
    Ok(records)
}

type Rulesets = BTreeMap<(Id, crate::model::Phase), Arc<Ruleset>>;

fn rulesets(store: &dyn Store) -> Result<Rulesets, StoreError> {
    let mut found = BTreeMap::new();
    let heads: Vec<Ruleset> = records(store, Table::Rulesets)?;
    for mut ruleset in heads {
        ruleset.rules = version(store, ruleset.id, ruleset.version)?.1.into();
        found.insert((ruleset.zone, ruleset.phase), Arc::new(ruleset));
    }
    Ok(found)
}

/// One version of a ruleset with its rules.
pub(crate) fn version(
    store: &dyn Store,
    ruleset: Id,
    version: u32,
) -> Result<(order::VersionRecord, Vec<Arc<RuleRecord>>), StoreError> {
    let record = order::record(store, ruleset, version)?;
    let order = order::rules(store, ruleset, &record)?;
    let wanted: HashSet<(Id, u32)> = order.iter().copied().collect();
    let mut contents: HashMap<(Id, u32), Arc<RuleRecord>> = HashMap::with_capacity(wanted.len());
    let table = Table::Rules;
    store.scan(table, ruleset.as_bytes(), &mut |key, value| {
        let (_, place) = rule_place(key)?;
        if wanted.contains(&place) {
            contents.insert(place, Arc::new(decode(table, key, value)?));
        }
        Ok(())
    })?;
    let rules = order
        .iter()
        .map(|(rule, version)| {
            contents.get(&(*rule, *version)).cloned().ok_or_else(|| {
                corrupt(
                    table,
                    &rule_key(ruleset, *rule, *version),
                    "the rule is missing",
                )
            })
        })
        .collect::<Result<_, _>>()?;
    Ok((record, rules))
}

fn crls(store: &dyn Store, model: &Model) -> Result<BTreeMap<Uuid, CrlRecord>, StoreError> {
    let mut found: BTreeMap<Uuid, CrlRecord> = BTreeMap::new();
    let table = Table::Crls;
    store.scan(table, b"", &mut |key, der| {
        let (id, place) = part(table, key)?;
        let id = Uuid::from_bytes(id);
        let authority = model.authorities.get(&id);
        let authority = authority.ok_or_else(|| corrupt(table, key, "its CA is missing"))?;
        let crl = uploaded_crl::read_record(&authority.certificate, der);
        let crl = crl.map_err(|why| corrupt(table, key, why))?;
        let record = found.entry(id).or_default();
        record.revision = model.revision;
        record.lists.insert(place.into(), crl);
        Ok(())
    })?;
    Ok(found)
}

fn revoked(store: &dyn Store, revision: u64) -> Result<BTreeMap<Uuid, Revoked>, StoreError> {
    let mut serials: BTreeMap<Uuid, HashSet<Box<[u8]>>> = BTreeMap::new();
    store.scan(Table::Revoked, b"", &mut |key, _| {
        let (authority, serial) = part(Table::Revoked, key)?;
        serials
            .entry(Uuid::from_bytes(authority))
            .or_default()
            .insert(serial.into());
        Ok(())
    })?;
    Ok(serials
        .into_iter()
        .map(|(id, serials)| {
            (
                id,
                Revoked {
                    serials: Arc::new(serials),
                    revision,
                },
            )
        })
        .collect())
}
