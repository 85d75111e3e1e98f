//! Compiles a host's CA set, with the revocations, lists and responders of each CA.

use std::collections::HashSet;
use std::sync::Arc;

use crate::compile::{CompileError, Parts};
use crate::model::id::Uuid;
use crate::model::lookup::Lookup;
use crate::model::revocation::{DeniedCertificate, OcspSettings};
use crate::model::{HostRecord, Model};
use tls::{Anchor, Answers, CrlPolicy, CrlSet, Responder, Trust};
use vocabulary::settings::MtlsMode;

/// Everything a [`Trust`] depends on: its CAs, the revision of each one's revocations, and the generation of
/// what holds of it on this edge alone.
pub(super) type TrustKey = Vec<(Uuid, u64, u64)>;

/// The CAs of a host with the revision of their revocations. A host that asks for no certificates
/// still gets its zone's managed CAs, so that a CA set is never empty by accident.
pub(super) fn anchors(model: &Model, lookup: &Lookup<'_>, host: &HostRecord) -> TrustKey {
    let believed = match host.mtls {
        MtlsMode::Off => lookup.managed(host.zone).to_vec(),
        MtlsMode::Request | MtlsMode::Require => lookup.believed(host),
    };
    let revision = |id| {
        let revoked = model.revoked.get(id).map_or(0, |revoked| revoked.revision);
        let crls = model.crls.get(id).map_or(0, |crls| crls.revision);
        revoked.max(crls)
    };
    believed
        .iter()
        .map(|ca| (ca.id, revision(&ca.id), model.alone.generation_of(ca.id)))
        .collect()
}

pub(super) fn trust(
    model: &Model,
    host: &HostRecord,
    key: TrustKey,
    last: &Parts,
    parts: &mut Parts,
) -> Result<Arc<Trust>, CompileError> {
    if let Some(trust) = parts
        .trusts
        .get(&key)
        .or_else(|| last.trusts.get(&key))
        .cloned()
    {
        parts.trusts.insert(key, trust.clone());
        return Ok(trust);
    }
    let mut set = Vec::with_capacity(key.len());
    for (id, ..) in &key {
        let unreadable = || CompileError::Authority(*id);
        let authority = model.authorities.get(id).ok_or_else(unreadable)?;
        let bundle = authority.certificates().map_err(|_not_pem| unreadable())?;
        let mut revoked = model
            .revoked
            .get(id)
            .map(|r| r.serials.clone())
            .unwrap_or_default();
        let mut alone = model.alone.revoked(*id).peekable();
        if alone.peek().is_some() {
            Arc::make_mut(&mut revoked).extend(alone);
        }
        let lists = crl_set(model, *id);
        let denied = authority.denied.iter().chain(model.alone.denied(*id));
        let denied = denied.map(DeniedCertificate::key);
        // A record that cannot be read back must not become one that is forgotten.
        let denied = denied.collect::<Option<HashSet<_>>>();
        let denied = Arc::new(denied.ok_or_else(unreadable)?);
        let responder = parts.responders.get(id).map(|(_, found)| found.clone());
        for certificate in bundle {
            set.push(Anchor {
                id: id.to_string().into(),
                der: certificate.to_der().map_err(|_not_der| unreadable())?,
                revoked: revoked.clone(),
                denied: denied.clone(),
                lists: lists.clone(),
                responder: responder.clone(),
            });
        }
    }
    let built = Trust::build(set).map_err(|why| CompileError::Trust {
        host: host.name.clone(),
        why,
    })?;
    let trust = Arc::new(built);
    parts.trusts.insert(key, trust.clone());
    Ok(trust)
}

/// A CA's lists as verification reads them; `None` when there are none and none is asked for.
fn crl_set(model: &Model, id: Uuid) -> Option<Arc<CrlSet>> {
    let record = model.crls.get(&id);
    let settings = &model.authorities.get(&id)?.crl;
    let has_lists = record.is_some_and(|record| !record.lists.is_empty());
    let policy = match settings.policy {
        Some(policy) => policy,
        None if has_lists => CrlPolicy::Hard,
        None => return None,
    };
    let lists = record.into_iter().flat_map(|record| record.lists.values());
    Some(Arc::new(CrlSet {
        policy,
        lists: lists.map(|held| held.crl.clone()).collect(),
    }))
}

/// A CA's responder as verification asks it, with the answers it has given before.
pub(super) fn responder(
    id: Uuid,
    settings: &OcspSettings,
    answers: Arc<Answers>,
) -> Arc<Responder> {
    Arc::new(Responder {
        ca: id.to_string().into(),
        url: settings.url.as_str().into(),
        policy: settings.policy,
        nonce: settings.nonce,
        answers,
    })
}
