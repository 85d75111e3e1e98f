//! The control plane: zones, hosts, CAs, certificates, revocations and rules, kept durably and
//! compiled to the snapshot that the data path runs on.
//!
//! Every change goes the same way, in `Control::change`: validate, compile a whole new snapshot,
//! commit durably, publish. What does not compile is refused and not stored; what cannot be stored
//! is refused and not published. Readers see one immutable [`Model`] at a time.
//!
//! Owns no socket and no wire format: `admin` speaks HTTP, the command line speaks to people.
#![forbid(unsafe_code)]

mod change;
mod compile;
mod document;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod limits;
mod model;
mod operations;
mod pki;
mod store;
#[cfg(test)]
mod tests;
mod watch;

pub use self::change::access::{ChangeOnly, Changes, Full, ReadOnly, Reads};
pub use self::change::audit::{AuditEntry, AuditPage, AuditQuery, Note};
pub use self::change::error::{ChangeError, Noun, OpenError};
pub use self::change::following::{Fed, Feed, FollowError};
pub use self::change::intent::{Grant, Intent};
pub use self::change::member::FleetState;
pub use self::change::{Control, Options};
pub use self::compile::origin::names::Names;
pub use self::compile::origin::{OriginError, origins, system_bundle};
pub use self::compile::{CompileError, FieldError, Staples};
pub use self::document::{Applied, ApplyOptions, BackupCopy, Document, DocumentChange};
pub use self::model::alone::{Alone, AloneEntry, AloneWhat};
pub use self::model::client_certificate::Status;
pub use self::model::id::{Id, IdError, Uuid};
pub use self::model::list::{ListItem, ListKind, ListRecord};
pub use self::model::moment::Moment;
pub use self::model::revocation::{
    CrlFileOutcome, CrlFileStatus, CrlRecord, CrlSettings, DeniedCertificate, OcspSettings,
};
pub use self::model::revocation_reason::RevocationReason;
pub use self::model::secret::Secret;
pub use self::model::source_url::{RedirectError, SourceUrl, SourceUrlError};
pub use self::model::token::{Scope, Token};
pub use self::model::{
    AcmeAccount, AcmeOrder, AcmeProof, AddressSpec, Associations, Authority, AuthorityKind,
    AuthoritySet, BroughtKey, EjectionSpec, HealthKind, HealthSpec, HostRecord, LeftOrder,
    LimitsSpec, Model, OriginCertificate, OriginCertificatePatch, OriginPatch, OriginRecord,
    OriginSpec, Phase, RuleRecord, Ruleset, ServerCertificate, ServerCertificateSource, ServerKey,
    TimeoutsSpec, Zone,
};
pub use self::operations::acme::shortened_acme_error;
pub use self::operations::associations::AssociationsChange;
pub use self::operations::client_certificates::{
    CertificatePage, CertificateQuery, ClientCertificate, FindBy, FreshCertificate,
};
pub use self::operations::denied::{Deny, DenyWhat};
pub use self::operations::dns_records::{DnsRecord, RecordKind, RecordTarget};
pub use self::operations::dry_run::{DraftRule, RulesetDryRun};
pub use self::operations::forwarding::forwards_certificate;
pub use self::operations::host_certificates::HostCertificates;
pub use self::operations::hosts::{HostPatch, NewHost};
pub use self::operations::lists::ItemsChange;
pub use self::operations::loss::Loss;
pub use self::operations::mtls_rule::{MtlsPatch, MtlsRule, mtls_rule};
pub use self::operations::ocsp::OcspPatch;
pub use self::operations::pkcs12::{check_password, pkcs12};
pub use self::operations::revocation_lists::{CrlPatch, CrlSource, CrlStatus, CrlsPut};
pub use self::operations::ruleset_differences::{RuleDifference, RulesetDifference};
pub use self::operations::ruleset_versions::VersionNote;
pub use self::operations::rulesets::{NewRule, Position, RulePatch};
pub use self::operations::security_header::SecurityHeader;
pub use self::operations::tokens::NewToken;
pub use self::pki::ca_key::CaKey;
pub use self::pki::details::Details;
pub use self::pki::x509::{Subject, X509Error};
pub use self::store::copies::copy_before_format;
pub use self::store::ledger::{DIGEST_BYTES, Ledger, LedgerError, Mark, News};
pub use self::store::membership::Membership;
pub use self::store::seal::{Seal, SealError};
pub use self::store::transaction::{Transaction, TransactionError};
pub use self::store::verify::{RestoreError, Verified, restore, verify};
pub use self::store::{
    FORMAT as STORE_FORMAT, Look, RedbStore, Store, StoreError, StoreOpenError, Table, Visit, Write,
};
pub use self::watch::crl_files::CrlDirectory;
pub use self::watch::crl_sources::CrlFiles;
pub use self::watch::expiry::{Expiring, ExpiryKind, ToldOfExpiry};
