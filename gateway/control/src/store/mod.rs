//! What is on disk, and how it is opened: records as ordered keys to bytes in a few tables, changed
//! by whole transactions with ever-growing revisions. What knows the form of stored bytes belongs
//! here.
//!
//! [`Store`] is the contract with a backend, which does not know what the bytes mean. It asks for no
//! more than an embedded tree and a replicated engine with ordered revisions both give, so that a
//! fleet's store is another implementation of it and nothing else changes.

pub(crate) mod alone;
pub(crate) mod certificate_index;
pub(crate) mod copies;
pub(crate) mod keys;
pub(crate) mod ledger;
pub(crate) mod load;
pub(crate) mod membership;
pub(crate) mod migrate;
pub(crate) mod order;
pub(crate) mod orders;
mod redb;
pub(crate) mod replay;
pub(crate) mod seal;
pub(crate) mod sealed;
pub(crate) mod state;
pub(crate) mod transaction;
pub(crate) mod verify;

use std::path::{Path, PathBuf};

use self::ledger::LedgerError;
pub(crate) use self::redb::sync_directory;
pub use self::redb::{FORMAT, RedbStore};

/// The tables. A table's place in [`Table::ALL`] may change, its name may not: it is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// Single values: format, account, epoch, the seal's proof.
    Meta,
    /// Zone id → zone.
    Zones,
    /// Host name → host.
    Hosts,
    /// Zone id, name → origin.
    Origins,
    /// CA UUID → CA, its key sealed.
    Authorities,
    /// Zone id, CA UUID or zeros for the managed ones → host names.
    Associations,
    /// UUID → server certificate, its key sealed.
    ServerCertificates,
    /// Zone id, sequence → UUID, status, dates, CA of a client certificate.
    CertificateIndex,
    /// Zone id, sequence → the client certificate and its request.
    CertificateBodies,
    /// UUID → zone id, sequence.
    CertificateIds,
    /// Zone id, kind, value, sequence → nothing: look-up by serial, fingerprint, SKI, name.
    CertificateFinds,
    /// CA UUID, serial → time of revocation. All that a start has to read of the certificates.
    Revoked,
    /// Ruleset id → ruleset without its rules.
    Rulesets,
    /// Ruleset id, version → its name then, and the pages of its order.
    RulesetVersions,
    /// Ruleset id, version that wrote it, number → some hundred rules in their order, by id and
    /// version.
    RulesetPages,
    /// Ruleset id, rule id, rule version → rule.
    Rules,
    /// Revision, ordinal → who changed what.
    Audit,
    /// Token id → token, its secret hashed.
    Tokens,
    /// List id → list.
    Lists,
    /// CA UUID, digest of issuer and scope → revocation list in DER.
    Crls,
}

impl Table {
    /// Every table, as a backend creates them.
    pub const ALL: [Self; 20] = [
        Self::Meta,
        Self::Zones,
        Self::Hosts,
        Self::Origins,
        Self::Authorities,
        Self::Associations,
        Self::ServerCertificates,
        Self::CertificateIndex,
        Self::CertificateBodies,
        Self::CertificateIds,
        Self::CertificateFinds,
        Self::Revoked,
        Self::Rulesets,
        Self::RulesetVersions,
        Self::RulesetPages,
        Self::Rules,
        Self::Audit,
        Self::Tokens,
        Self::Lists,
        Self::Crls,
    ];

    /// Its name on disk.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Zones => "zones",
            Self::Hosts => "hosts",
            Self::Origins => "origins",
            Self::Authorities => "authorities",
            Self::Associations => "associations",
            Self::ServerCertificates => "server_certificates",
            Self::CertificateIndex => "certificate_index",
            Self::CertificateBodies => "certificate_bodies",
            Self::CertificateIds => "certificate_ids",
            Self::CertificateFinds => "certificate_finds",
            Self::Revoked => "revoked",
            Self::Rulesets => "rulesets",
            Self::RulesetVersions => "ruleset_versions",
            Self::RulesetPages => "ruleset_pages",
            Self::Rules => "rules",
            Self::Audit => "audit",
            Self::Tokens => "tokens",
            Self::Lists => "lists",
            Self::Crls => "crls",
        }
    }
}

/// One key set or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Where.
    pub table: Table,
    /// Which.
    pub key: Vec<u8>,
    /// The new bytes; `None` removes the key.
    pub value: Option<Vec<u8>>,
}

/// What a reader gets of one key.
pub type Visit<'v> = &'v mut dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError>;

/// Who looks at a store as it is at one moment.
pub type Look<'l> = &'l mut dyn FnMut(&dyn Store) -> Result<(), StoreError>;

/// A durable, ordered key-value store with one writer.
///
/// ```
/// use control::{RedbStore, Store, Table, Write};
///
/// let directory = fixtures::Directory::new();
/// let store = RedbStore::open(&directory.path().join("store.redb"))?;
/// let put = Write {
///     table: Table::Zones,
///     key: b"one".to_vec(),
///     value: Some(b"its record".to_vec()),
/// };
/// let revision = store.revision()?;
/// store.commit(revision, &[put.clone()])?;
/// assert_eq!(store.value(Table::Zones, b"one")?.as_deref(), Some(&b"its record"[..]));
/// assert!(store.commit(revision, &[put]).is_err(), "the store has moved on");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Store: Send + Sync {
    /// The number of the last change.
    ///
    /// # Errors
    /// The store cannot be read.
    fn revision(&self) -> Result<u64, StoreError>;

    /// Applies all `writes` as one change, or none of them, and returns when they would survive a
    /// loss of power. `expected` is the revision that the caller's picture of the store has; the
    /// new one is `expected + 1`.
    ///
    /// # Errors
    /// Nothing was changed, except after [`StoreError::Io`], when the change may or may not be
    /// found at the next start: it was not acknowledged.
    fn commit(&self, expected: u64, writes: &[Write]) -> Result<(), StoreError> {
        self.commit_as(expected, expected + 1, writes)
    }

    /// As [`Self::commit`], with `next` as the new revision: that of another store whose state this one
    /// takes over, or the same for what is no change.
    ///
    /// # Errors
    /// As [`Self::commit`].
    fn commit_as(&self, expected: u64, next: u64, writes: &[Write]) -> Result<(), StoreError>;

    /// One value.
    ///
    /// # Errors
    /// The store cannot be read.
    fn value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits the keys that begin with `prefix`, in their order.
    ///
    /// # Errors
    /// The store cannot be read, or `visit` says so.
    fn scan(&self, table: Table, prefix: &[u8], visit: Visit<'_>) -> Result<(), StoreError>;

    /// Has `look` see the store as it is at one moment. Changes go on meanwhile and are not seen; what they
    /// leave behind takes room until `look` is done.
    ///
    /// # Errors
    /// The store cannot be read, or `look` says so.
    fn at_once(&self, look: Look<'_>) -> Result<(), StoreError>;

    /// Writes a store equal to this one, as it is at one moment, to a new file at `to`. Changes go
    /// on meanwhile and are not in it.
    ///
    /// # Errors
    /// The store cannot be read, or the file not be written; there is none then.
    fn backup(&self, to: &Path) -> Result<(), StoreError>;

    /// Lets another process have it. Until [`Self::take_back`] everything else answers
    /// [`StoreError::HandedOver`].
    ///
    /// # Errors
    /// It is none that another process could open.
    fn hand_over(&self) -> Result<(), StoreError> {
        Err(StoreError::Io("it is in this process's memory only".into()))
    }

    /// Opens it again after [`Self::hand_over`].
    ///
    /// # Errors
    /// Another process still has it, or has made something of it that is not understood here.
    fn take_back(&self) -> Result<(), StoreOpenError> {
        Ok(())
    }

    /// Where it is kept, if that is a file.
    fn path(&self) -> Option<&Path> {
        None
    }
}

/// Why the store cannot be opened, each with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreOpenError {
    /// The directory cannot be made or written.
    #[error(
        "the store's directory {path} cannot be used: {why}. It must exist or be creatable, and be \
         writable by the user that runs postern (mode 0700 is set on a new one)"
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// The file itself cannot be opened.
    #[error(
        "the store {path} cannot be opened: {why}. It must be readable and writable by the user that runs postern"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// Another process has it.
    #[error(
        "the store {path} is in use by another process. One postern owns a store: stop the other one \
         (`fuser {path}` names it) or give this one its own `store.path`"
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The bytes are not a store, or were damaged.
    #[error(
        "the store {path} is damaged or not a store: {why}. Nothing was changed. Put a backup in its \
         place, or move the file away to start empty (certificates already issued would then be unknown)"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Written by an older postern, and there is no copy of it for the way back.
    #[error(
        "the store {path} has format {found}, which this postern brings to {known}; the copy {copy} that is \
         made before cannot be written: {why}. Nothing was changed: make room beside the store, or run the \
         version that wrote it"
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: u64,
        /// What this build writes.
        known: u64,
        /// What was to be written.
        copy: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// Written by a newer postern.
    #[error(
        "the store {path} has format {found}, this postern knows {known}: run the version that wrote it, or a newer one"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: u64,
        /// What this build reads.
        known: u64,
    },
}

/// Why a change or a reading failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused: disk full, read-only, I/O error.
    #[error(
        "the store cannot be written or read: {0}. The data path goes on with the last good state; free space or repair the disk, then try again"
    )]
    Io(String),
    /// A record cannot be read back.
    #[error("the store is damaged: {0}. Stop postern and put a backup in its place")]
    Corrupt(String),
    /// Another process changed the store since it was read.
    #[error("the store has moved to revision {found}, expected {expected}: read it again")]
    Moved {
        /// What the caller knew.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// An upgrade is going on, and the new process has it.
    #[error(
        "an upgrade is in progress, and the new process has the store: nothing was changed; try again in a moment"
    )]
    HandedOver,
    /// The log of the fleet does not do it.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}
