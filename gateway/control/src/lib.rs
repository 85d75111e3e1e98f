//! The control plane: zones, hosts, CAs, certificates, revocations and rules, kept durably and
//! compiled to the snapshot that the data path runs on.
//!
//! Every change goes the same way, in `Control::change`: validate, compile a whole new snapshot,
//! commit durably, publish. What does not compile is refused and not stored; what cannot be stored
//! is refused and not published. Readers see one immutable [`Model`] at a time.
//!
//! Owns no socket and no wire format: [`admin`] speaks HTTP, [`gateway::cli`] speaks to people.
//! The operations are `impl Control` blocks, one file per noun.

mod addresses;
mod audit;
mod authorities;
mod batch;
mod ca_key;
mod certificate_index;
mod chain;
mod client_certificates;
mod compile;
mod crl;
mod crl_files;
mod details;
mod difference;
mod document;
mod draft;
mod error;
mod expiry;
mod hosts;
mod id;
pub mod limits;
mod lists;
mod load;
mod lookup;
mod model;
mod moment;
mod mtls_rule;
mod ocsp;
mod old_orders;
mod order;
mod phases;
mod pkcs12;
mod request;
mod revocation_lists;
mod ruleset_differences;
mod ruleset_versions;
mod rulesets;
mod seal;
mod server_certificates;
mod source_url;
mod store;
#[cfg(test)]
mod tests;
mod tokens;
mod trial;
mod verify;
mod x509;
mod zones;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use arc_swap::{ArcSwap, ArcSwapOption};

pub use self::audit::{AuditEntry, AuditPage, AuditQuery, Intent, Note};
pub use self::ca_key::CaKey;
pub use self::client_certificates::{
    CertificatePage, CertificateQuery, ClientCertificate, FindBy, FreshCertificate, Status,
};
pub use self::compile::CompileError;
pub use self::crl_files::CrlDirectory;
pub use self::details::Details;
pub use self::document::{Applied, ApplyOptions, Document, DocumentChange};
pub use self::error::{ChangeError, Noun, OpenError};
pub use self::expiry::{Expiring, ExpiryKind, ToldOfExpiry};
pub use self::hosts::{HostPatch, NewHost};
pub use self::id::{Id, IdError, Uuid};
pub use self::lists::{ItemsChange, ListItem, ListKind, ListRecord};
pub use self::model::{
    Associations, Authority, AuthorityKind, AuthoritySet, HostRecord, Model, OriginSpec, Phase,
    RuleRecord, Ruleset, ServerCertificate, ServerCertificateSource, ServerKey, Zone,
};
pub use self::moment::Moment;
pub use self::mtls_rule::MtlsRule;
pub use self::ocsp::{OcspPatch, OcspSettings};
pub use self::pkcs12::check_password;
pub use self::revocation_lists::{CrlFiles, CrlPatch, CrlRecord, CrlSettings, CrlStatus};
pub use self::ruleset_differences::{RuleDifference, RulesetDifference};
pub use self::ruleset_versions::VersionNote;
pub use self::rulesets::{NewRule, Position, RulePatch};
pub use self::seal::{Seal, SealError, Secret};
pub use self::source_url::SourceUrl;
pub use self::store::{RedbStore, Store, StoreError, StoreOpenError, Table, Visit, Write};
pub use self::tokens::{NewToken, Scope, Token};
pub use self::trial::{DraftRule, RuleTrial};
pub use self::verify::{RestoreError, Verified, restore, verify};
pub use self::x509::{Subject, X509Error};

use self::batch::Batch;
use self::certificate_index::Index;
use self::compile::{Parts, compile};
use self::draft::Draft;
use rules::Program;
use rules::geo::Geo;
use snapshot::{Published, Snapshot};
use vocabulary::hostname::HostName;

/// How a control plane is opened when the defaults do not fit.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The file with the key that seals private keys; `ca.key` beside the store when `None`.
    pub key_file: Option<PathBuf>,
    /// The host that answers handshakes without a server name.
    pub default_host: Option<HostName>,
}

/// What only the one writer touches.
struct Writer {
    parts: Parts,
    /// Programs that were replaced and that connections may still hold. They are let go here, at
    /// a later change: freeing one of 100,000 rules takes milliseconds, which no worker has.
    retired: Vec<Arc<Program>>,
    default_host: Option<HostName>,
    /// The store may have more than the model, after a write whose fate is unknown.
    stale: bool,
}

/// The control plane of one gateway.
pub struct Control {
    store: Arc<dyn Store>,
    seal: Arc<Seal>,
    model: ArcSwap<Model>,
    index: Arc<RwLock<Index>>,
    published: Arc<Published>,
    writer: Mutex<Writer>,
    /// Where addresses are, when rules can know it: for lints and dry runs.
    geo: ArcSwapOption<Geo>,
    /// Only in a shadow: gathers what its operations do instead of committing it.
    batch: Option<Batch>,
}

impl Control {
    /// Opens the store at `path` (or creates it), compiles what it holds and publishes it.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is published then.
    pub fn open(path: &Path, published: Arc<Published>) -> Result<Arc<Self>, OpenError> {
        Self::open_with(path, published, Options::default())
    }

    /// As [`Control::open`], with [`Options`].
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_with(
        path: &Path,
        published: Arc<Published>,
        options: Options,
    ) -> Result<Arc<Self>, OpenError> {
        let store = RedbStore::open(path)?;
        let key_file = options
            .key_file
            .unwrap_or_else(|| path.with_file_name("ca.key"));
        Self::start(Box::new(store), &key_file, options.default_host, published)
    }

    /// Starts on an opened store, whichever backend it is.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn start(
        store: Box<dyn Store>,
        key_file: &Path,
        default_host: Option<HostName>,
        published: Arc<Published>,
    ) -> Result<Arc<Self>, OpenError> {
        let seal = load::seal(store.as_ref(), key_file)?;
        old_orders::bring_to_pages(store.as_ref())?;
        let (model, index) = load::load(store.as_ref())?;
        let (snapshot, parts) = compile(&model, default_host.as_ref(), &seal, &Parts::default())?;
        published.publish(snapshot);
        Ok(Arc::new(Self {
            store: store.into(),
            seal: Arc::new(seal),
            model: ArcSwap::from_pointee(model),
            index: Arc::new(RwLock::new(index)),
            published,
            writer: Mutex::new(Writer {
                parts,
                retired: Vec::new(),
                default_host,
                stale: false,
            }),
            geo: ArcSwapOption::empty(),
            batch: None,
        }))
    }

    /// What there is now.
    #[must_use]
    pub fn model(&self) -> Arc<Model> {
        self.model.load_full()
    }

    /// Names the host that answers handshakes without a server name, or none. A name that is no
    /// host yet takes effect when it becomes one.
    ///
    /// # Errors
    /// The snapshot does not compile.
    pub fn set_default_host(&self, host: Option<HostName>) -> Result<(), ChangeError> {
        let mut writer = self.lock();
        let (snapshot, parts) =
            compile(&self.model.load(), host.as_ref(), &self.seal, &writer.parts)?;
        self.publish(&mut writer, snapshot, parts);
        writer.default_host = host;
        Ok(())
    }

    /// Gives it the GeoIP databases that the data path has, for lints and dry runs.
    pub fn set_geo(&self, geo: Option<Arc<Geo>>) {
        self.geo.store(geo);
    }

    /// The GeoIP databases.
    #[must_use]
    pub fn geo(&self) -> Option<Arc<Geo>> {
        self.geo.load_full()
    }

    /// Whether there is a GeoIP database.
    #[must_use]
    pub fn has_geo(&self) -> bool {
        self.geo.load().is_some()
    }

    /// Takes over what the store has.
    fn reload(&self, writer: &mut Writer) -> Result<(), ChangeError> {
        let (model, index) = load::load(self.store.as_ref())?;
        if model.revision != self.model.load().revision {
            let host = writer.default_host.as_ref();
            let fresh = Parts::with_responders_of(&writer.parts);
            let (snapshot, parts) = compile(&model, host, &self.seal, &fresh)?;
            self.publish(writer, snapshot, parts);
            *self.index.write().unwrap_or_else(PoisonError::into_inner) = index;
            self.model.store(Arc::new(model));
        }
        writer.stale = false;
        Ok(())
    }

    fn publish(&self, writer: &mut Writer, snapshot: Snapshot, parts: Parts) {
        self.published.publish(snapshot);
        let old = std::mem::replace(&mut writer.parts, parts);
        writer.retired.extend(old.programs_not_in(&writer.parts));
        drop(old);
        writer.parts.renew_if_due();
        writer
            .retired
            .retain(|program| Arc::strong_count(program) > 1);
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        // A panic in the middle of a change leaves everything as it was: the new state is
        // assigned only at its end.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one way in which anything changes. `work` validates and writes into the draft; an error
    /// from it, from compiling or from the store leaves everything as it was. When this returns
    /// `Ok`, the change is durable and, where it concerns the data path, published.
    fn change<T>(
        &self,
        work: impl FnOnce(&mut Draft<'_>) -> Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        if let Some(batch) = &self.batch {
            return batch.step(self, work);
        }
        let mut writer = self.lock();
        if writer.stale {
            self.reload(&mut writer)?;
        }
        let mut draft = Draft::new(self, &self.model.load());
        let answer = work(&mut draft)?;
        let intent = audit::current();
        let Some(done) = draft.finish(&intent) else {
            return Ok(answer);
        };
        let compiled = if done.data_path {
            let default_host = writer.default_host.as_ref();
            Some(compile(
                &done.model,
                default_host,
                &self.seal,
                &writer.parts,
            )?)
        } else {
            None
        };
        if intent.dry_run {
            return Ok(answer);
        }
        let stored = self.store.commit(done.model.revision - 1, &done.writes);
        if let Err(error) = stored {
            // Whether it is on the disk nobody knows: the next change looks.
            writer.stale = true;
            return Err(error.into());
        }
        if let Some((snapshot, parts)) = compiled {
            self.publish(&mut writer, snapshot, parts);
        }
        self.index
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .apply(done.index);
        tracing::info!(revision = done.model.revision, actor = %intent.actor, "changed");
        self.model.store(Arc::new(done.model));
        Ok(answer)
    }
}
