//! The layout of keys in the store, and how records are encoded.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::AuthoritySet;
use crate::model::hex::hex;
use crate::model::id::{ID_BYTES, Id, Uuid};
use crate::store::{StoreError, Table};

pub(crate) const TRUST_EPOCH_KEY: &[u8] = b"trust_epoch";

pub(crate) const ACCOUNT_KEY: &[u8] = b"account";

pub(crate) const PROOF_KEY: &[u8] = b"seal_proof";

/// Accounts at ACME servers, by the URL of the directory. In the table of single values: an older
/// Postern reads the store all the same, and only does not renew.
pub(crate) const ACME_ACCOUNTS: &[u8] = b"acme_account/";

/// The last ACME order of each host, by its name.
pub(crate) const ACME_ORDERS: &[u8] = b"acme_order/";

/// The keys of session tickets of a fleet, sealed.
pub(crate) const TICKET_KEYS: &[u8] = b"ticket_keys";

pub(crate) fn acme_key(prefix: &[u8], name: &str) -> Vec<u8> {
    [prefix, name.as_bytes()].concat()
}

pub(crate) fn association_key(zone: Id, set: AuthoritySet) -> Vec<u8> {
    let authority = match set {
        AuthoritySet::Managed => [0; ID_BYTES],
        AuthoritySet::Uploaded(id) => *id.as_bytes(),
    };
    [zone.as_bytes().as_slice(), &authority].concat()
}

pub(crate) fn origin_key(zone: Id, name: &str) -> Vec<u8> {
    [zone.as_bytes().as_slice(), name.as_bytes()].concat()
}

pub(crate) fn rule_key(ruleset: Id, rule: Id, version: u32) -> Vec<u8> {
    [
        ruleset.as_bytes().as_slice(),
        rule.as_bytes(),
        &version.to_be_bytes(),
    ]
    .concat()
}

pub(crate) fn revoked_key(authority: Uuid, serial: &[u8]) -> Vec<u8> {
    [authority.as_bytes().as_slice(), serial].concat()
}

pub(crate) fn corrupt(table: Table, key: &[u8], why: impl std::fmt::Display) -> StoreError {
    let key = hex(key);
    StoreError::Corrupt(format!(
        "the record {key} of {} cannot be read: {why}",
        table.name()
    ))
}

/// Serialises a record. Records are plain data with text keys, for which JSON cannot fail.
pub(crate) fn encode(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("records are plain data")
}

pub(crate) fn decode<T: DeserializeOwned>(
    table: Table,
    key: &[u8],
    value: &[u8],
) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|why| corrupt(table, key, why))
}

/// Splits a 16-byte identifier off a key.
pub(crate) fn part(table: Table, key: &[u8]) -> Result<([u8; ID_BYTES], &[u8]), StoreError> {
    key.split_first_chunk()
        .map(|(id, rest)| (*id, rest))
        .ok_or_else(|| corrupt(table, key, "its key is too short"))
}

const _: () = assert!(ID_BYTES == 16, "keys are made of 16-byte parts");
