//! What ACME (RFC 8555) leaves in the store: accounts, the last order of each host, certificates.
//!
//! Owns that a certificate comes into its place as any other change does: checked, compiled,
//! durable, published. Asks nobody: when and whom to ask is `fetch`'s.

use std::sync::Arc;
use std::time::Duration;

use crate::change::draft::Draft;
use crate::change::error::{ChangeError, Noun};
use crate::change::{Changes, Control, Reads};
use crate::limits::ACME_ERROR_BYTES_MAX;
use crate::model::acme::{AcmeAccount, AcmeOrder, AcmeProof, LeftOrder};
use crate::model::id::Uuid;
use crate::model::moment::Moment;
use crate::model::secret::Secret;
use crate::model::{HostRecord, Model, ServerCertificate, ServerCertificateSource};
use crate::operations::host_certificates::{release, used};
use crate::operations::server_certificates::{add, check_covered, fill};
use crate::pki::chain::ServerChain;
use crate::store::seal::acme_account_purpose;
use vocabulary::hostname::HostName;

/// The certificate that ACME has brought for a host.
pub(crate) fn brought<'m>(model: &'m Model, host: &HostRecord) -> Option<&'m ServerCertificate> {
    // It is what the host presents for as long as there is one: another choice removes it.
    let named = model.server_certificates.get(&host.certificate?)?;
    named.of_acme.then_some(&**named)
}

/// Has a certificate that ACME has brought be one like any other: nobody renews it from now on, so that it is
/// exported, and warned of in time.
pub(crate) fn keep_brought(draft: &mut Draft<'_>, host: &HostRecord) {
    if let Some(brought) = brought(&draft.model, host).cloned() {
        draft.put_server_certificate(ServerCertificate {
            of_acme: false,
            ..brought
        });
    }
}

/// Keeps what is known of a host's last order beside it while it wants no certificate, and answers it when it
/// wants one again: pauses after failures outlive that.
pub(crate) fn known_before(
    model: &Model,
    found: &HostRecord,
    host: &mut HostRecord,
) -> Option<AcmeOrder> {
    match (found.acme, host.acme) {
        (true, false) => {
            let order = model.acme_orders.get(&host.name);
            host.acme_before = order.map(|order| Box::new((**order).clone()));
            None
        }
        (false, true) => host.acme_before.take().map(|order| *order),
        _ => None,
    }
}

/// The host, which is to have a certificate from ACME.
fn wanting(model: &Model, name: &HostName) -> Result<Arc<HostRecord>, ChangeError> {
    let host = model.hosts.get(name);
    let host = host.ok_or_else(|| ChangeError::not_found(Noun::Host, name))?;
    if !host.acme {
        let why = format!("the host {name} has no certificate from ACME; set `acme` of it first");
        return Err(ChangeError::invalid("acme", why));
    }
    Ok(host.clone())
}

/// The order of a host that was begun then, and no other: another edge of a fleet, or another process, may
/// have begun one since.
fn begun(model: &Model, name: &HostName, begun_on: Moment) -> Result<AcmeOrder, ChangeError> {
    wanting(model, name)?;
    let order = model.acme_orders.get(name);
    let order = order.filter(|order| order.begun_on == begun_on);
    let order = order.ok_or_else(|| {
        let why = format!("the order of {name} is another one by now");
        ChangeError::invalid("acme", why)
    })?;
    Ok((**order).clone())
}

/// No more of what an ACME server says is wrong than people read, and nothing that a terminal obeys.
#[must_use]
pub fn shortened_acme_error(why: &str) -> String {
    let printable = why.chars().map(|one| match one {
        one if one.is_control() => ' ',
        one => one,
    });
    let mut short: String = printable.take(ACME_ERROR_BYTES_MAX).collect();
    short.truncate(short.floor_char_boundary(ACME_ERROR_BYTES_MAX));
    short
}

impl<A: Reads> Control<A> {
    /// A host that has its certificate from ACME.
    ///
    /// # Errors
    /// There is no such host, or it has not.
    pub fn acme_host(&self, name: &HostName) -> Result<Arc<HostRecord>, ChangeError> {
        wanting(&self.model(), name)
    }

    /// The account at the server of this directory: its URL and its key in PKCS#8. The URL is empty while the
    /// server has not told it.
    ///
    /// # Errors
    /// The key cannot be opened.
    pub fn acme_account(&self, directory: &str) -> Result<Option<(String, Secret)>, ChangeError> {
        let model = self.model();
        let Some(account) = model.acme_accounts.get(directory) else {
            return Ok(None);
        };
        let purpose = acme_account_purpose(directory);
        let key = self.shared.seal.open_sealed(&purpose, &account.key)?;
        Ok(Some((account.url.clone(), key)))
    }
}

impl Model {
    /// The certificate that ACME has brought for a host, if it has.
    #[must_use]
    pub fn by_acme(&self, host: &HostRecord) -> Option<&ServerCertificate> {
        brought(self, host)
    }
}

impl<A: Changes> Control<A> {
    /// Keeps an account, or tells its URL to one that was there. The key of one that was there stays: a server may
    /// have made an account for it that it makes only once.
    ///
    /// # Errors
    /// There is one with another key; it cannot be sealed or stored.
    pub fn keep_acme_account(
        &self,
        directory: &str,
        url: &str,
        key: &Secret,
    ) -> Result<(), ChangeError> {
        self.change(|draft| {
            let purpose = acme_account_purpose(directory);
            if let Some(present) = draft.model.acme_accounts.get(directory) {
                let present = draft.seal().open_sealed(&purpose, &present.key)?;
                if present.reveal() != key.reveal() {
                    let why = format!("there is an account with {directory} by now");
                    return Err(ChangeError::invalid("acme", why));
                }
            }
            let key = draft.seal().seal(&purpose, key.reveal())?;
            draft.put_acme_account(AcmeAccount {
                directory: directory.to_owned(),
                url: url.to_owned(),
                key,
                created_on: draft.now,
            });
            Ok(())
        })
    }

    /// Notes that an order is begun, and answers when: that is what tells it from another one. Until it is said
    /// otherwise it counts as one that failed.
    ///
    /// # Errors
    /// There is no such host, or it wants no certificate from ACME.
    pub fn begin_acme_order(&self, name: &HostName) -> Result<Moment, ChangeError> {
        self.change(|draft| {
            wanting(&draft.model, name)?;
            let before = draft.model.acme_orders.get(name);
            let order = AcmeOrder::begin(name.clone(), before.map(|one| &**one), draft.now);
            draft.put_acme_order(order);
            Ok(draft.now)
        })
    }

    /// Has every edge of the fleet show the server this for a host whose order is under way.
    ///
    /// # Errors
    /// The host is gone, or wants none any more, or another order has begun since.
    pub fn show_acme_proof(
        &self,
        name: &HostName,
        begun_on: Moment,
        proof: &AcmeProof,
    ) -> Result<(), ChangeError> {
        self.change(|draft| {
            let before = begun(&draft.model, name, begun_on)?;
            draft.put_acme_order(AcmeOrder {
                shown: Some(proof.clone()),
                ..before
            });
            Ok(())
        })
    }

    /// Leaves an order that is under way for the next process to go on with: it does not count as failed.
    ///
    /// # Errors
    /// The host is gone, or wants none any more, or another order has begun since.
    pub fn leave_acme_order(
        &self,
        name: &HostName,
        begun_on: Moment,
        left: LeftOrder,
    ) -> Result<(), ChangeError> {
        self.change(|draft| {
            let before = begun(&draft.model, name, begun_on)?;
            draft.put_acme_order(AcmeOrder {
                failures: before.failures.saturating_sub(1),
                left: Some(left),
                ..before
            });
            Ok(())
        })
    }

    /// Notes why an order brought no certificate, and which server has asked to be left alone, for how long.
    ///
    /// # Errors
    /// The host is gone, or wants none any more, or another order has begun since.
    pub fn fail_acme_order(
        &self,
        name: &HostName,
        begun_on: Moment,
        why: &str,
        wait: Option<(&str, Duration)>,
    ) -> Result<(), ChangeError> {
        self.change(|draft| {
            let mut failed = begun(&draft.model, name, begun_on)?;
            if let Some((directory, wait)) = wait {
                let seconds = failed.age_sec(draft.now).saturating_add(wait.as_secs());
                failed.left_alone.insert(directory.to_owned(), seconds);
            }
            failed.error = Some(shortened_acme_error(why));
            failed.shown = None;
            draft.put_acme_order(failed);
            Ok(())
        })
    }

    /// Takes over the chain that ACME has brought for a host by the order that was begun then, with its key. The
    /// host presents it from now on; one from before is replaced under the same id. Another order that has begun
    /// since goes on.
    ///
    /// # Errors
    /// The host is gone or wants none any more, the chain is none that can serve it, or another order has brought
    /// one that lasts as long.
    pub fn install_acme_certificate(
        &self,
        name: &HostName,
        begun_on: Moment,
        chain_pem: &str,
        key_pem: &Secret,
    ) -> Result<Arc<ServerCertificate>, ChangeError> {
        let chain = ServerChain::parse(chain_pem, key_pem.reveal_text(), Moment::now())?;
        self.change(|draft| {
            let before = draft.model.clone();
            let host = wanting(&before, name)?;
            let order = before.acme_orders.get(name);
            let is_other = order.is_some_and(|order| order.begun_on != begun_on);
            let lasts = |old: &ServerCertificate| old.not_after >= chain.details.not_after;
            if is_other && brought(&before, &host).is_some_and(lasts) {
                let why = format!("{name} has a certificate of another order that lasts as long");
                return Err(ChangeError::invalid("acme", why));
            }
            let left = used(&before, &host);
            let certificate = put(draft, &before, &host, &chain)?;
            if !certificate.covers(name) {
                let names: Vec<&str> = certificate.names.iter().map(HostName::as_str).collect();
                let why = format!("it is for {}, not for {name}", names.join(", "));
                return Err(ChangeError::invalid("certificate", why));
            }
            check_covered(&before, &draft.model, certificate.id)?;
            if host.certificate != Some(certificate.id) || host.other_certificate.is_some() {
                let mut host = (*host).clone();
                host.certificate = Some(certificate.id);
                host.other_certificate = None;
                host.modified_on = draft.now;
                draft.put_host(host);
            }
            if !is_other {
                draft.put_acme_order(AcmeOrder {
                    failures: 0,
                    ..AcmeOrder::begin(name.clone(), order.map(|one| &**one), draft.now)
                });
            }
            release(draft, left);
            Ok(Arc::new(certificate))
        })
    }
}

/// Puts the certificate into its place, or into the place of the one from before.
fn put(
    draft: &mut Draft<'_>,
    before: &Model,
    host: &HostRecord,
    chain: &ServerChain,
) -> Result<ServerCertificate, ChangeError> {
    let source = ServerCertificateSource::Uploaded;
    let mut certificate = match brought(before, host) {
        Some(old) => {
            let mut new = fill(draft, chain, old.id, host.zone, source)?;
            new.version = old.version + 1;
            new.uploaded_on = old.uploaded_on;
            new
        }
        None => (*add(draft, host.zone, chain, source)?).clone(),
    };
    certificate.of_host = true;
    certificate.of_acme = true;
    draft.put_server_certificate(certificate.clone());
    Ok(certificate)
}

/// Whether a host may have its certificate from ACME.
pub(crate) fn check(host: &HostRecord) -> Result<(), ChangeError> {
    if host.acme && host.name.is_wildcard() {
        let why = "a certificate for a wildcard needs a challenge by DNS (DNS-01), which Postern does \
                   not answer: name the hosts one by one, or bring a wildcard certificate \
                   (server_certificates; `postern host set --cert FILE --key FILE`)";
        return Err(ChangeError::invalid("acme", why));
    }
    Ok(())
}

/// Whether a host that has its certificate from ACME is told to present another one.
pub(crate) fn check_choice(
    before: &HostRecord,
    after: &HostRecord,
    named: [Option<Option<Uuid>>; 2],
) -> Result<(), ChangeError> {
    let present = [before.certificate, before.other_certificate];
    let same = named
        .iter()
        .zip(present)
        .all(|(named, present)| named.is_none_or(|named| named == present));
    if !before.acme || !after.acme || same {
        return Ok(());
    }
    let why = "the host has its certificate from ACME: set `acme` to false along with it to have it \
               present another one";
    Err(ChangeError::invalid("certificate", why))
}
