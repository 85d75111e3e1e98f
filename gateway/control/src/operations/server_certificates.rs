//! Server certificates: uploaded, or signed by a development CA that is made on first use.

use std::sync::Arc;

use crate::change::draft::Draft;
use crate::change::error::{ChangeError, Noun};
use crate::change::{Changes, Control, Reads};
use crate::limits::{
    AUTHORITY_DAYS, DEVELOPMENT_CERTIFICATE_DAYS, DEVELOPMENT_NAMES_MAX, SERVER_CERTIFICATES_MAX,
};
use crate::model::id::{Id, Uuid};
use crate::model::lookup::Lookup;
use crate::model::moment::Moment;
use crate::model::revocation::CrlSettings;
use crate::model::{
    Authority, AuthorityKind, HostRecord, Model, ServerCertificate, ServerCertificateSource,
    ServerKey,
};
use crate::operations::loss::Loss;
use crate::pki::ca_key::CaKey;
use crate::pki::chain::ServerChain;
use crate::pki::x509;
use crate::pki::x509::Signer;
use crate::store::seal::authority_purpose;
use crate::store::seal::server_certificate_purpose;
use vocabulary::hostname::HostName;

fn find(model: &Model, zone: Id, id: Uuid) -> Result<&Arc<ServerCertificate>, ChangeError> {
    let found = model
        .server_certificates
        .get(&id)
        .filter(|certificate| certificate.zone == zone);
    found.ok_or_else(|| ChangeError::not_found(Noun::ServerCertificate, id))
}

/// Every host that had a certificate must still have one, or it would vanish from the network;
/// and what a host must use must be there, for it, and of two kinds of keys.
pub(crate) fn check_covered(before: &Model, after: &Model, id: Uuid) -> Result<(), ChangeError> {
    let (old, new) = (Lookup::new(before), Lookup::new(after));
    let uses = |host: &&Arc<HostRecord>| old.presented(host).iter().any(|found| found.id == id);
    for host in after.hosts.values().filter(uses) {
        let left = new.presented(host);
        let covered = !left.is_empty() && left.iter().all(|found| found.covers(&host.name));
        let named =
            usize::from(host.certificate.is_some()) + usize::from(host.other_certificate.is_some());
        let by = if !covered || left.len() < named {
            format!(
                "the host {} would be left without a server certificate; upload another one that covers it first",
                host.name
            )
        } else if let [first, second] = left.as_slice()
            && first.key_type == second.key_type
        {
            format!(
                "the host {} would have two certificates of the same kind of key ({})",
                host.name,
                first.key_type.map_or("", ServerKey::as_str)
            )
        } else {
            continue;
        };
        return Err(ChangeError::InUse {
            noun: Noun::ServerCertificate,
            key: id.to_string(),
            by,
        });
    }
    Ok(())
}

pub(crate) fn fill(
    draft: &Draft<'_>,
    chain: &ServerChain,
    id: Uuid,
    zone: Id,
    source: ServerCertificateSource,
) -> Result<ServerCertificate, ChangeError> {
    Ok(ServerCertificate {
        id,
        zone,
        chain: chain.chain_pem.clone(),
        key: draft
            .seal()
            .seal(&server_certificate_purpose(id), chain.key_pem.reveal())?,
        key_type: Some(chain.key_type),
        names: chain.names.clone(),
        issuer: chain.details.issuer.clone(),
        signature: chain.details.signature.clone(),
        serial: chain.details.serial_hex.clone(),
        fingerprint_sha256: chain.details.fingerprint_sha256.clone(),
        not_before: chain.details.not_before,
        not_after: chain.details.not_after,
        version: 1,
        source,
        of_host: false,
        of_acme: false,
        uploaded_on: draft.now,
        modified_on: draft.now,
    })
}

impl<A: Reads> Control<A> {
    /// The server certificate with this id.
    ///
    /// # Errors
    /// The zone has none of this id.
    pub fn server_certificate(
        &self,
        zone: Id,
        id: Uuid,
    ) -> Result<Arc<ServerCertificate>, ChangeError> {
        find(&self.model(), zone, id).cloned()
    }

    /// The development CA, when there is one. Its certificate is what a client must be told to
    /// believe.
    ///
    /// # Errors
    /// No certificate for development was made yet.
    pub fn development_authority(&self) -> Result<Arc<Authority>, ChangeError> {
        let model = self.model();
        let found = model.authorities.values().find(|ca| is_development(ca));
        let none = || ChangeError::not_found(Noun::Authority, "development");
        found.cloned().ok_or_else(none)
    }
}

impl<A: Changes> Control<A> {
    /// Takes over a chain with its key. Hosts of the zone that it covers use it from now on,
    /// except those that name another one.
    ///
    /// # Errors
    /// See [`crate::pki::x509::X509Error`].
    pub fn upload_server_certificate(
        &self,
        zone: Id,
        chain_pem: &str,
        key_pem: &str,
    ) -> Result<Arc<ServerCertificate>, ChangeError> {
        let chain = ServerChain::parse(chain_pem, key_pem, Moment::now())?;
        self.change(|draft| add(draft, zone, &chain, ServerCertificateSource::Uploaded))
    }

    /// Replaces chain and key under the same id. Connections go on; new handshakes see the new one.
    ///
    /// # Errors
    /// See [`crate::pki::x509::X509Error`]; a host that uses it would no longer be covered.
    pub fn replace_server_certificate(
        &self,
        zone: Id,
        id: Uuid,
        chain_pem: &str,
        key_pem: &str,
    ) -> Result<Arc<ServerCertificate>, ChangeError> {
        let chain = ServerChain::parse(chain_pem, key_pem, Moment::now())?;
        self.change(|draft| {
            let before = draft.model.clone();
            let old = find(&before, zone, id)?;
            let mut new = fill(draft, &chain, id, zone, ServerCertificateSource::Uploaded)?;
            new.version = old.version + 1;
            new.uploaded_on = old.uploaded_on;
            new.of_host = old.of_host;
            draft.put_server_certificate(new.clone());
            check_covered(&before, &draft.model, id)?;
            Ok(Arc::new(new))
        })
    }

    /// Removes a server certificate.
    ///
    /// # Errors
    /// A host would be left without one.
    pub fn delete_server_certificate(&self, zone: Id, id: Uuid) -> Result<Loss, ChangeError> {
        self.change(|draft| {
            let before = draft.model.clone();
            let names: Vec<&str> = find(&before, zone, id)?
                .names
                .iter()
                .map(HostName::as_str)
                .collect();
            draft.remove_server_certificate(id);
            check_covered(&before, &draft.model, id)?;
            Ok(Loss {
                what: format!("server certificate of {}", names.join(", ")),
                server_keys: 1,
                ..Loss::default()
            })
        })
    }

    /// A server certificate for these names from the development CA, which is made when it is
    /// first needed. For trying things out: browsers and clients know nothing of this CA.
    ///
    /// # Errors
    /// No or too many names.
    pub fn develop_server_certificate(
        &self,
        zone: Id,
        names: &[HostName],
    ) -> Result<Arc<ServerCertificate>, ChangeError> {
        if names.is_empty() || names.len() > DEVELOPMENT_NAMES_MAX {
            let why = format!("between 1 and {DEVELOPMENT_NAMES_MAX} host names are needed");
            return Err(ChangeError::invalid("hosts", why));
        }
        self.change(|draft| {
            let authority = development(draft)?;
            let AuthorityKind::Development { key } = &authority.kind else {
                return Err(ChangeError::not_found(Noun::Authority, authority.id));
            };
            let key = draft
                .seal()
                .open_sealed(&authority_purpose(authority.id), key)?;
            let signer = Signer::open(authority.certificate.as_bytes(), &key)?;
            let now = draft.now;
            let (leaf, key) = signer.issue_server(names, DEVELOPMENT_CERTIFICATE_DAYS, now)?;
            let key = x509::key_pem(&key)?;
            let chain = ServerChain::parse(&x509::to_pem(&leaf)?, key.reveal_text(), now)?;
            add(draft, zone, &chain, ServerCertificateSource::Development)
        })
    }

    /// Makes the development CA when it is not there yet.
    ///
    /// # Errors
    /// It cannot be made or stored.
    pub fn make_development_authority(&self) -> Result<Arc<Authority>, ChangeError> {
        self.change(development)
    }
}

fn is_development(ca: &Authority) -> bool {
    matches!(ca.kind, AuthorityKind::Development { .. })
}

/// The development CA, made when it is not there yet.
fn development(draft: &mut Draft<'_>) -> Result<Arc<Authority>, ChangeError> {
    let mut all = draft.model.authorities.values();
    if let Some(found) = all.find(|ca| is_development(ca)) {
        return Ok(found.clone());
    }
    let name = "Postern development CA";
    let (certificate, key) =
        x509::make_authority(name, "Postern", CaKey::default(), AUTHORITY_DAYS, draft.now)?;
    let id = Uuid::random();
    let key = draft
        .seal()
        .seal(&authority_purpose(id), x509::key_pem(&key)?.reveal())?;
    let authority = Authority {
        id,
        name: name.into(),
        not_after: x509::Details::of(&certificate)?.not_after,
        certificate: x509::to_pem(&certificate)?,
        created_on: draft.now,
        crl: CrlSettings::default(),
        ocsp: None,
        ocsp_before: None,
        denied: Vec::new(),
        kind: AuthorityKind::Development { key },
    };
    draft.put_authority(authority.clone());
    Ok(Arc::new(authority))
}

pub(crate) fn add(
    draft: &mut Draft<'_>,
    zone: Id,
    chain: &ServerChain,
    source: ServerCertificateSource,
) -> Result<Arc<ServerCertificate>, ChangeError> {
    if !draft.model.zones.contains_key(&zone) {
        return Err(ChangeError::not_found(Noun::Zone, zone));
    }
    if draft.model.server_certificates.len() >= SERVER_CERTIFICATES_MAX {
        return Err(ChangeError::Full {
            what: "server certificates",
            max: SERVER_CERTIFICATES_MAX,
        });
    }
    let certificate = fill(draft, chain, Uuid::random(), zone, source)?;
    draft.put_server_certificate(certificate.clone());
    Ok(Arc::new(certificate))
}
