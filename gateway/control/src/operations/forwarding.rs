//! What origins are told of client certificates, as Cloudflare's API says it: for a whole zone by a
//! managed transform, for some hosts by the settings of Access.
//!
//! Owns the translation to hosts' groups of headers, all hosts in one change.

use std::sync::Arc;

use crate::change::error::{ChangeError, Noun};
use crate::change::{Changes, Control, Reads};
use crate::model::HostRecord;
use crate::model::id::Id;
use crate::operations::hosts::HostPatch;
use vocabulary::hostname::HostName;
use vocabulary::settings::{CertificateHeaders, ClientPatch};

/// The headers of `client_certificate_forwarding`: `Cf-Client-Cert-Der-Base64` and
/// `Cf-Client-Cert-Sha256`.
const FORWARDED: [CertificateHeaders; 2] = [CertificateHeaders::Der, CertificateHeaders::Sha256];

/// Whether a host forwards the client's certificate, as the settings of Access understand it.
#[must_use]
pub fn forwards_certificate(host: &HostRecord) -> bool {
    let groups = &host.client.certificate_headers;
    FORWARDED.iter().all(|group| groups.contains(group))
}

impl<A: Reads> Control<A> {
    /// Whether all hosts of a zone tell origins what the managed transform "Add TLS client auth
    /// headers" does.
    #[must_use]
    pub fn adds_client_auth_headers(&self, zone: Id) -> bool {
        let model = self.model();
        let mut hosts = model.hosts_of(zone).peekable();
        let transform = CertificateHeaders::Transform;
        hosts.peek().is_some()
            && hosts.all(|host| host.client.certificate_headers.contains(&transform))
    }
}

impl<A: Changes> Control<A> {
    /// Has all hosts that a zone has now tell it, or none, when it is said; whether they do then.
    ///
    /// # Errors
    /// The zone has no host that could.
    pub fn set_client_auth_headers(
        &self,
        zone: Id,
        adds: Option<bool>,
    ) -> Result<bool, ChangeError> {
        self.batch(|control| {
            let Some(adds) = adds else {
                return Ok(control.adds_client_auth_headers(zone));
            };
            let hosts: Vec<_> = control.model().hosts_of(zone).cloned().collect();
            if hosts.is_empty() && adds {
                let why = "the zone has no host yet; create one first, with a proxied dns_records \
                           entry or `postern host add`";
                return Err(ChangeError::invalid("managed_request_headers", why));
            }
            for host in hosts {
                set_groups(control, &host, &[CertificateHeaders::Transform], adds)?;
            }
            Ok(adds)
        })
    }

    /// Sets which hosts forward the client's certificate; those that are not named stay as they are.
    ///
    /// # Errors
    /// A host is not there, or is another zone's.
    pub fn set_certificate_forwarding(
        &self,
        zone: Id,
        wanted: &[(HostName, bool)],
    ) -> Result<(), ChangeError> {
        self.batch(|control| {
            for (place, (name, forwards)) in wanted.iter().enumerate() {
                let host = control.model().hosts.get(name).cloned();
                let host = host.filter(|host| host.zone == zone).ok_or_else(|| {
                    let missing = ChangeError::not_found(Noun::Host, name);
                    missing.at(format!("/settings/{place}/hostname"))
                })?;
                set_groups(control, &host, &FORWARDED, *forwards)?;
            }
            Ok(())
        })
    }
}

fn set_groups(
    control: &Control,
    host: &Arc<HostRecord>,
    groups: &[CertificateHeaders],
    are_told: bool,
) -> Result<(), ChangeError> {
    let mut told = host.client.certificate_headers.clone();
    for group in groups {
        if are_told {
            told.insert(*group);
        } else {
            told.remove(group);
        }
    }
    if told == host.client.certificate_headers {
        return Ok(());
    }
    let client = ClientPatch {
        certificate_headers: Some(told),
        ..ClientPatch::default()
    };
    let patch = HostPatch {
        client,
        ..HostPatch::default()
    };
    control.update_host(&host.name, patch).map(drop)
}
