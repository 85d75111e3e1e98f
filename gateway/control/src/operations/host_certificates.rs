//! Server certificates that come with a host and leave with it.
//!
//! Owns that a host and its certificates are one change: when the host is refused, no key is kept.
//! A certificate that was uploaded by itself belongs to whoever uploaded it, and stays.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::hosts::{HostPatch, NewHost};
use crate::change::draft::Draft;
use crate::change::error::ChangeError;
use crate::change::{Changes, Control};
use crate::model::id::{Id, Uuid};
use crate::model::lookup::Lookup;
use crate::model::moment::Moment;
use crate::model::{HostRecord, Model, ServerCertificate};
use crate::pki::chain::ServerChain;
use vocabulary::hostname::HostName;

/// What comes with a host.
#[derive(Clone, Default)]
pub enum HostCertificates {
    /// Nothing: it uses what there is.
    #[default]
    None,
    /// One of the development CA.
    Development,
    /// Chains with their keys, in PEM: one, or two of different kinds of key.
    Given(Vec<(String, String)>),
}

impl<A: Changes> Control<A> {
    /// As [`Control::create_host`], with certificates that come with it.
    ///
    /// # Errors
    /// As there, and a certificate is not acceptable.
    pub fn create_host_with(
        &self,
        zone: Id,
        mut new: NewHost,
        certificates: &HostCertificates,
    ) -> Result<Arc<HostRecord>, ChangeError> {
        self.batch(|control| {
            if let Some(ids) = control.bring(zone, &new.name, certificates)? {
                (new.certificate, new.other_certificate) = ids;
            }
            control.create_host(zone, new)
        })
    }

    /// As [`Control::update_host`], with certificates that come with it. Those that it named and
    /// that nothing uses any more leave.
    ///
    /// # Errors
    /// As there, and a certificate is not acceptable.
    pub fn update_host_with(
        &self,
        name: &HostName,
        mut patch: HostPatch,
        certificates: &HostCertificates,
    ) -> Result<Arc<HostRecord>, ChangeError> {
        self.batch(|control| {
            let zone = control.host(name)?.zone;
            if let Some((first, other)) = control.bring(zone, name, certificates)? {
                patch.certificate = Some(first);
                patch.other_certificate = Some(other);
            }
            control.update_host(name, patch)
        })
    }
}

/// The one or two server certificates that a host presents.
type Presented = (Option<Uuid>, Option<Uuid>);

impl Control {
    /// Takes over what comes with a host; the ids that it names then.
    fn bring(
        &self,
        zone: Id,
        name: &HostName,
        certificates: &HostCertificates,
    ) -> Result<Option<Presented>, ChangeError> {
        let ids = match certificates {
            HostCertificates::None => return Ok(None),
            HostCertificates::Development => {
                let made = self.develop_server_certificate(zone, std::slice::from_ref(name))?;
                vec![self.give_to_host(&made)?]
            }
            HostCertificates::Given(pairs) => {
                if pairs.len() > 2 {
                    let why = "a host presents two at most, of different kinds of key";
                    return Err(ChangeError::invalid("server_certificates", why));
                }
                let mut ids = Vec::new();
                for (place, (chain, key)) in pairs.iter().enumerate() {
                    let pointer = format!("/server_certificates/{place}");
                    let id = self.bring_one(zone, chain, key);
                    ids.push(id.map_err(|error| error.at(pointer))?);
                }
                ids
            }
        };
        let mut ids = ids.into_iter();
        Ok(Some((ids.next(), ids.next())))
    }

    /// One of them; the same one again is not kept twice.
    fn bring_one(&self, zone: Id, chain: &str, key: &str) -> Result<Uuid, ChangeError> {
        let read = ServerChain::parse(chain, key, Moment::now())?;
        let model = self.model();
        let known = model.server_certificates.values().find(|one| {
            one.zone == zone
                && one.fingerprint_sha256 == read.details.fingerprint_sha256
                && one.chain == read.chain_pem
        });
        if let Some(known) = known {
            return Ok(known.id);
        }
        let made = self.upload_server_certificate(zone, chain, key)?;
        self.give_to_host(&made)
    }

    fn give_to_host(&self, made: &ServerCertificate) -> Result<Uuid, ChangeError> {
        self.change(|draft| {
            let mut owned = made.clone();
            owned.of_host = true;
            draft.put_server_certificate(owned);
            Ok(made.id)
        })
    }
}

/// What a host uses, named or found, that came with a host.
pub(crate) fn used(model: &Model, host: &HostRecord) -> BTreeSet<Uuid> {
    let named = [host.certificate, host.other_certificate]
        .into_iter()
        .flatten();
    let found = model.presented(host).into_iter().map(|one| one.id);
    let came = |id: &Uuid| {
        model
            .server_certificates
            .get(id)
            .is_some_and(|one| one.of_host)
    };
    named.chain(found).filter(came).collect()
}

/// Removes those of `left` that no host uses any more; how many.
pub(crate) fn release(draft: &mut Draft<'_>, mut left: BTreeSet<Uuid>) -> usize {
    let model = draft.model.clone();
    if left.is_empty() {
        return 0;
    }
    let lookup = Lookup::new(&model);
    for host in model.hosts.values() {
        for id in [host.certificate, host.other_certificate]
            .into_iter()
            .flatten()
        {
            left.remove(&id);
        }
        for used in lookup.presented(host) {
            left.remove(&used.id);
        }
    }
    for id in &left {
        draft.remove_server_certificate(*id);
    }
    left.len()
}
