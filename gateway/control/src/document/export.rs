//! Exports the configuration as a document.
//!
//! Owns the order of its parts, which depends on names and certificates only: two gateways with
//! equal configurations export the same text, whatever their ids.

use std::collections::HashMap;

use super::{
    AssociationDocument, AuthorityDocument, Document, HostDocument, ItemDocument, KeyedDocument,
    ListDocument, OriginDocument, RuleDocument, RulesetDocument, VERSION, ZoneDocument,
};
use crate::change::error::ChangeError;
use crate::change::{Control, Reads};
use crate::compile::origin::key_of_certificate;
use crate::model::id::{Id, Uuid};
use crate::model::list::ListRecord;
use crate::model::{
    Authority, AuthorityKind, AuthoritySet, HostRecord, Model, OriginPatch, OriginSpec, Phase,
    RuleRecord,
};
use crate::operations::ocsp::OcspPatch;
use crate::operations::revocation_lists::CrlPatch;
use crate::operations::rulesets::DEFAULT_NAME;
use crate::pki::x509::{Details, X509Error};
use crate::store::StoreError;
use crate::store::copies::copy_of;
use crate::store::seal::Seal;
use crate::store::seal::authority_purpose;
use crate::store::seal::server_certificate_purpose;
use crate::store::verify::verify;
use tls::pem;

/// What an association calls the CAs that the gateway keeps for the zone.
pub(super) const MANAGED: &str = "managed";

/// SHA-256 of each certificate in a PEM text, in lower-case hex.
pub(super) fn fingerprints(text: &str) -> Result<Vec<String>, X509Error> {
    let found = pem::certificates(text.as_bytes(), pem::Use::Chain)?;
    let prints = found
        .iter()
        .map(|one| Ok(Details::of(one)?.fingerprint_sha256));
    prints.collect()
}

/// The uploaded CAs, by name and then by certificate.
pub(super) fn uploaded(model: &Model) -> Vec<&Authority> {
    let all = model.authorities.values().map(|ca| &**ca);
    let mut found: Vec<&Authority> = all
        .filter(|ca| matches!(ca.kind, AuthorityKind::Uploaded))
        .collect();
    found.sort_by(|a, b| (&a.name, &a.certificate).cmp(&(&b.name, &b.certificate)));
    found
}

/// What associations call the uploaded CAs: their names where they tell them apart.
pub(super) fn labels(model: &Model) -> Result<HashMap<Uuid, String>, ChangeError> {
    let found = uploaded(model);
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for ca in &found {
        *counts.entry(&ca.name).or_default() += 1;
    }
    let mut labels = HashMap::new();
    for ca in &found {
        let told = !ca.name.is_empty() && ca.name != MANAGED && counts.get(&*ca.name) == Some(&1);
        let label = match fingerprints(&ca.certificate)?.into_iter().next() {
            Some(print) if !told => print,
            _ => ca.name.clone(),
        };
        labels.insert(ca.id, label);
    }
    Ok(labels)
}

pub(super) fn rule(rule: &RuleRecord) -> RuleDocument {
    let own = rule.reference != rule.id.to_string();
    RuleDocument {
        reference: own.then(|| rule.reference.clone()),
        description: rule.description.clone(),
        expression: rule.expression.clone(),
        action: rule.action.clone(),
        action_parameters: rule.action_parameters.clone(),
        ratelimit: rule.ratelimit.clone(),
        confined: rule.confined,
        logging: rule.logging,
        enabled: rule.enabled,
    }
}

/// An origin with everything that can be said of it, but that it is confined only where it is.
pub(super) fn origin(origin: &OriginSpec) -> OriginPatch {
    let all = OriginPatch::from(origin.clone());
    OriginPatch {
        confined: all.confined.filter(|confined| *confined),
        ..all
    }
}

/// The same with the key of the certificate that it is shown, when that can be opened.
fn origin_with_key(
    spec: &OriginSpec,
    zone: Id,
    keys: Option<&Seal>,
) -> Result<OriginPatch, ChangeError> {
    let mut patch = origin(spec);
    let shown = patch.client_certificate.as_mut().and_then(Option::as_mut);
    if let (Some(shown), Some(seal)) = (shown, keys) {
        let key = key_of_certificate(spec, zone, seal);
        let key = key.map_err(|why| ChangeError::invalid("origin", why.to_string()))?;
        shown.private_key = key.map(Into::into);
    }
    Ok(patch)
}

pub(super) fn host(model: &Model, host: &HostRecord) -> HostDocument {
    let print = |id: Option<Uuid>| {
        let found = model.server_certificates.get(&id?)?;
        Some(found.fingerprint_sha256.clone())
    };
    // What ACME has brought is another one tomorrow.
    let is_brought = |id: Option<Uuid>| {
        let found = id.and_then(|id| model.server_certificates.get(&id));
        found.is_some_and(|found| found.of_acme)
    };
    let own_choice = !(host.acme && is_brought(host.certificate));
    HostDocument {
        name: host.name.to_string(),
        origin: Some(origin(&host.origin)),
        mtls: Some(host.told_mode()),
        revoked: Some(host.client.revoked),
        certificate_headers: Some(host.client.certificate_headers.clone()),
        tell_reason: Some(host.client.tell_reason),
        tls_min_version: Some(host.tls_min_version),
        request_body_max: Some(host.request_body_max),
        acme: Some(host.acme),
        certificate: own_choice.then(|| print(host.certificate)),
        other_certificate: own_choice.then(|| print(host.other_certificate)),
    }
}

pub(super) fn items(list: &ListRecord) -> Vec<ItemDocument> {
    let items = list.items.iter().map(|item| ItemDocument {
        value: item.value.clone(),
        comment: item.comment.clone(),
    });
    items.collect()
}

fn zone(
    model: &Model,
    id: Id,
    name: &str,
    labels: &HashMap<Uuid, String>,
    keys: Option<&Seal>,
) -> Result<ZoneDocument, ChangeError> {
    let mut managed = None;
    if let Some(seal) = keys {
        let mut found = Vec::new();
        for ca in model.managed(id) {
            if let AuthorityKind::Managed { key, .. } = &ca.kind {
                let key = seal.open_sealed(&authority_purpose(ca.id), key)?;
                found.push(KeyedDocument {
                    certificate: ca.certificate.clone(),
                    key: Some(key.reveal_text().to_owned()),
                });
            }
        }
        managed = Some(found);
    }
    let certificates = model.server_certificates.values();
    let mut certificates: Vec<_> = certificates
        .filter(|found| found.zone == id && !found.of_acme)
        .collect();
    // The newest that covers a host is used: the last in the document is the newest.
    certificates.sort_by_key(|found| (found.modified_on, found.id));
    let mut server_certificates = Vec::new();
    for found in certificates {
        let key = match keys {
            Some(seal) => {
                let key = seal.open_sealed(&server_certificate_purpose(found.id), &found.key)?;
                Some(key.reveal_text().to_owned())
            }
            None => None,
        };
        server_certificates.push(KeyedDocument {
            certificate: found.chain.clone(),
            key,
        });
    }
    let mut associations = Vec::new();
    for ((_, set), names) in model.associations_of(id) {
        let authority = match set {
            AuthoritySet::Managed => MANAGED.to_owned(),
            AuthoritySet::Uploaded(id) => labels.get(id).cloned().unwrap_or_default(),
        };
        associations.push(AssociationDocument {
            authority,
            hosts: names.iter().map(ToString::to_string).collect(),
        });
    }
    associations.sort_by(|a, b| a.authority.cmp(&b.authority));
    let ruleset = model.rulesets.get(&(id, Phase::HttpRequestFirewallCustom));
    let rules = |phase| {
        let found = model.rulesets.get(&(id, phase));
        let rules = found.into_iter().flat_map(|found| &found.rules);
        Some(rules.map(|found| rule(found)).collect())
    };
    let origins = model.origins_of(id).map(|found| {
        Ok(OriginDocument {
            name: found.name.clone(),
            origin: Some(origin_with_key(&found.origin, id, keys)?),
        })
    });
    let origins = origins.collect::<Result<Vec<_>, ChangeError>>()?;
    let hosts = model.hosts_of(id).map(|found| {
        Ok(HostDocument {
            origin: Some(origin_with_key(&found.origin, id, keys)?),
            ..host(model, found)
        })
    });
    let hosts = hosts.collect::<Result<Vec<_>, ChangeError>>()?;
    Ok(ZoneDocument {
        name: name.to_owned(),
        managed_authorities: managed,
        server_certificates: Some(server_certificates),
        associations: Some(associations),
        origins: Some(origins),
        hosts: Some(hosts),
        ruleset: ruleset
            .filter(|found| found.name != DEFAULT_NAME || !found.description.is_empty())
            .map(|found| RulesetDocument {
                name: Some(found.name.clone()),
                description: Some(found.description.clone()),
            }),
        rules: rules(Phase::HttpRequestFirewallCustom),
        rate_limits: rules(Phase::HttpRatelimit),
        transforms: rules(Phase::HttpRequestLateTransform),
        redirects: rules(Phase::HttpRequestDynamicRedirect),
        origin_rules: rules(Phase::HttpRequestOrigin),
        response_transforms: rules(Phase::HttpResponseHeadersTransform),
    })
}

/// A model as a document; with private keys when they can be opened.
pub(super) fn export(model: &Model, keys: Option<&Seal>) -> Result<Document, ChangeError> {
    let mut lists: Vec<ListDocument> = model
        .lists
        .values()
        .map(|list| ListDocument {
            name: list.name.clone(),
            kind: list.kind,
            description: Some(list.description.clone()),
            items: Some(items(list)),
        })
        .collect();
    lists.sort_by(|a, b| a.name.cmp(&b.name));
    let authorities = uploaded(model).into_iter().map(|ca| AuthorityDocument {
        name: Some(ca.name.clone()),
        certificate: ca.certificate.clone(),
        crl: Some((!ca.crl.is_default()).then(|| CrlPatch::from(&ca.crl))),
        ocsp: Some(ca.ocsp.as_ref().map(|ocsp| OcspPatch::from(Some(ocsp)))),
        // None is left out, so that no older document believes one again.
        denied: Some(Some(ca.denied.clone()).filter(|denied| !denied.is_empty()))
            .filter(Option::is_some),
    });
    let labels = labels(model)?;
    let mut zones = Vec::new();
    for found in model.zones.values() {
        zones.push(zone(model, found.id, found.name.as_str(), &labels, keys)?);
    }
    zones.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Document {
        postern: VERSION,
        lists: Some(lists),
        authorities: Some(authorities.collect()),
        zones: Some(zones),
    })
}

/// A copy of the store that is handed out.
#[derive(Debug)]
pub struct BackupCopy {
    /// At its beginning.
    pub file: std::fs::File,
    /// The revision that it holds.
    pub revision: u64,
    /// Bytes.
    pub size: u64,
}

impl<A: Reads> Control<A> {
    /// Everything that is configured, as a document. `private_keys` puts the keys of managed CAs,
    /// server certificates and certificates for origins in, in clear: a reader of them can issue client
    /// certificates.
    ///
    /// # Errors
    /// A stored certificate or key cannot be read.
    pub fn export(&self, private_keys: bool) -> Result<Document, ChangeError> {
        export(&self.model(), private_keys.then_some(&*self.shared.seal))
    }

    /// Writes all that the store holds to a new file, and answers its revision and size in bytes.
    /// Changes go on meanwhile.
    ///
    /// # Errors
    /// The file is there already or cannot be written.
    pub fn backup(&self, to: &std::path::Path) -> Result<(u64, u64), ChangeError> {
        if to.symlink_metadata().is_ok() {
            let why = format!(
                "{} is there already; a backup never overwrites",
                to.display()
            );
            return Err(ChangeError::invalid("path", why));
        }
        self.shared.store.backup(to)?;
        let unread = |why: String| {
            ChangeError::invalid("path", format!("the backup does not read back: {why}"))
        };
        let copy = verify(to).map_err(|error| unread(error.to_string()))?;
        Ok((copy.revision, copy.size))
    }

    /// A copy of all that the store holds, verified, to be handed out: the file has no name any more.
    /// Changes go on meanwhile.
    ///
    /// # Errors
    /// The store is no file, or the copy cannot be written beside it or does not read back.
    pub fn backup_copy(&self) -> Result<BackupCopy, ChangeError> {
        let Some(store) = self.shared.store.path() else {
            return Err(StoreError::Io("the store is no file".into()).into());
        };
        let to = copy_of(store, &Uuid::random().to_string());
        let made = self.backup(&to).and_then(|(revision, _)| {
            let io = |why: std::io::Error| StoreError::Io(format!("{}: {why}", to.display()));
            let file = std::fs::File::open(&to).map_err(io)?;
            let size = file.metadata().map_err(io)?.len();
            Ok(BackupCopy {
                file,
                revision,
                size,
            })
        });
        // It is there by its descriptor, or was no good.
        drop(std::fs::remove_file(&to));
        made
    }
}
