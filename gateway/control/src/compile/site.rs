//! Compiles a host's TLS: its certificates, and whether it asks clients for theirs.

use std::sync::Arc;

use crate::compile::CompileError;
use crate::model::id::Uuid;
use crate::model::secret::Secret;
use crate::model::{HostRecord, ServerCertificate};
use crate::store::seal::{Seal, server_certificate_purpose};
use tls::{ServerIdentity, Site, SiteSpec, Staple, Trust};
use vocabulary::settings::{MtlsMode, OnRevoked, TlsVersion};

/// Everything a [`Site`] depends on besides the host's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SiteKey {
    /// With their versions and what is stapled to them, in the order of preference.
    pub(super) certificates: Vec<(Uuid, u64, Option<Arc<Staple>>)>,
    pub(super) mtls: MtlsMode,
    pub(super) revoked: OnRevoked,
    pub(super) min_version: Option<TlsVersion>,
    pub(super) authorities: Vec<Uuid>,
}

/// A host's TLS, made anew.
pub(super) fn site(
    record: &HostRecord,
    certificates: &[&Arc<ServerCertificate>],
    key: &SiteKey,
    seal: &Seal,
    trust: &Arc<Trust>,
) -> Result<Site, CompileError> {
    let keys: Vec<Secret> = certificates
        .iter()
        .map(|one| seal.open_sealed(&server_certificate_purpose(one.id), &one.key))
        .collect::<Result<_, _>>()
        .map_err(|why| CompileError::Key {
            host: record.name.clone(),
            why,
        })?;
    let identities: Vec<ServerIdentity<'_>> = certificates
        .iter()
        .zip(&keys)
        .zip(&key.certificates)
        .map(|((one, key), (_, _, staple))| ServerIdentity {
            chain_pem: one.chain.as_bytes(),
            key_pem: key.reveal(),
            staple: staple.as_deref(),
        })
        .collect();
    Ok(Site::build(&SiteSpec {
        host: &record.name,
        certificates: &identities,
        mtls: record.mtls,
        revoked: record.client.revoked,
        min_version: record.tls_min_version.unwrap_or_default(),
        trust,
    })?)
}
