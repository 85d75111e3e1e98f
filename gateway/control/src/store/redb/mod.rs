//! The embedded store: one redb file, one process, one `fsync`ed transaction per change.
//!
//! Owns how the file is created (whole or not at all, mode 0600), opened, and opened again after
//! the disk refused a write. Does not know what the records mean.

mod view;

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Once, PoisonError, RwLock};

use redb::backends::InMemoryBackend;
use redb::{
    Builder, CommitError, Database, DatabaseError, Durability, ReadableDatabase, ReadableTable,
    StorageBackend as _, StorageError, TableDefinition, TableError, TransactionError,
};

use self::view::View;
use super::copies::{copy_before_format, copy_of, forget_copies};
use super::{Look, Store, StoreError, StoreOpenError, Table, Visit, Write};
use crate::limits::{PICTURE_PART_BYTES, STORE_CACHE_BYTES};

/// What this build writes. A reader refuses anything newer.
/// Raised whenever a table is added: an older Postern must not run on without what it does not
/// know of, such as revocation lists. And whenever a record gets a field that an older Postern refuses to
/// read, so that an upgrade says beforehand that there is no way back, and makes a copy.
///
/// 1: the first. 2: [`Table::Crls`]. 3: [`Table::RulesetPages`]. 4: [`Table::Origins`]. 5: origins with times,
/// limits, certificates of their own and the PROXY protocol; accounts of ACME without a URL yet; lists with
/// the certificate of their CA; what holds on one edge of a fleet alone.
pub const FORMAT: u64 = 5;
const FORMAT_KEY: &[u8] = b"format";
/// The tables that came with a later format than the first.
const YOUNGER_TABLES: [Table; 3] = [Table::Crls, Table::RulesetPages, Table::Origins];
const REVISION_KEY: &[u8] = b"revision";

type Bytes = TableDefinition<'static, &'static [u8], &'static [u8]>;

fn definition(table: Table) -> Bytes {
    TableDefinition::new(table.name())
}

/// A store in one file.
pub struct RedbStore {
    path: PathBuf,
    database: RwLock<Handle>,
}

/// The file, as far as this process has it.
#[derive(Default)]
struct Handle {
    /// `None` while a failed disk is tried again, and while another process has the file.
    database: Option<Database>,
    /// Another process has it.
    is_handed_over: bool,
}

impl From<Database> for Handle {
    fn from(database: Database) -> Self {
        Self {
            database: Some(database),
            is_handed_over: false,
        }
    }
}

/// What stops a single attempt: either an answer, or the advice to open the file again.
enum Attempt {
    Failed(StoreError),
    /// redb refuses all further work on a handle whose file once failed.
    Reopen(String),
}

impl RedbStore {
    /// Opens the store at `path`, or creates it. One of an older format is brought to this one, and before
    /// that a copy is kept beside it: the older version refuses it afterwards.
    ///
    /// # Errors
    /// See [`StoreOpenError`]; a damaged file is left as it is, and so is one that cannot be copied.
    pub fn open(path: &Path) -> Result<Self, StoreOpenError> {
        Self::open_or_create(path, true)
    }

    /// As [`RedbStore::open`], where the process that handed the store over has made that copy.
    ///
    /// # Errors
    /// See [`StoreOpenError`].
    pub fn open_handed_over(path: &Path) -> Result<Self, StoreOpenError> {
        Self::open_or_create(path, false)
    }

    fn open_or_create(path: &Path, keeps_older: bool) -> Result<Self, StoreOpenError> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let unusable = |why| StoreOpenError::Directory {
            path: directory.to_owned(),
            why,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(unusable)?;
        if !path.try_exists().map_err(unusable)? {
            create(path)?;
        }
        let store = Self::of(path, open_existing(path)?);
        let format = store.check_format()?;
        // Nobody else is making one, and those that a process has left may be why there is no room.
        forget_copies(path, directory);
        if format < FORMAT {
            if keeps_older {
                let copy = copy_before_format(path, format);
                keep(path, &copy).map_err(|why| StoreOpenError::Older {
                    path: path.to_owned(),
                    found: format,
                    known: FORMAT,
                    copy: copy.clone(),
                    why,
                })?;
                tracing::warn!(
                    from = format, to = FORMAT, backup = %copy.display(),
                    "the store is brought to a newer format, which the version before does not know: there \
                     is no way back but the backup that was made now"
                );
            }
            store.upgrade()?;
        }
        Ok(store)
    }

    fn of(path: &Path, database: Database) -> Self {
        Self {
            path: path.to_owned(),
            database: RwLock::new(database.into()),
        }
    }

    /// What the store at `path` is once this version has opened it, and the format that it has until then.
    /// The file stays as it is: all of it is read into memory, and what a start would write is written
    /// there.
    ///
    /// # Errors
    /// See [`StoreOpenError`].
    pub fn picture(path: &Path) -> Result<(Self, u64), StoreOpenError> {
        let file = |why| StoreOpenError::File {
            path: path.to_owned(),
            why,
        };
        let mut source = File::open(path).map_err(file)?;
        // As redb locks it, but that several may look.
        match source.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let path = path.to_owned();
                return Err(StoreOpenError::InUse { path });
            }
            Err(TryLockError::Error(why)) => return Err(file(why)),
        }
        let size = source.metadata().map_err(file)?.len();
        refuse_empty(path, size)?;
        let memory = in_memory(&mut source, size).map_err(file)?;
        // From here on another process may have the store.
        drop(source);
        let database = open_with(path, |builder| builder.create_with_backend(memory))?;
        let store = Self::whole(path, database)?;
        let format = store.check_format()?;
        if format < FORMAT {
            store.upgrade()?;
        }
        Ok((store, format))
    }

    /// Opens the store at `path` if there is one, and reads all of it: every page against its
    /// checksum, and every record.
    ///
    /// # Errors
    /// See [`StoreOpenError`].
    pub fn check(path: &Path) -> Result<Self, StoreOpenError> {
        Self::whole(path, open_existing(path)?)
    }

    fn whole(path: &Path, mut database: Database) -> Result<Self, StoreOpenError> {
        let corrupt = |why: String| StoreOpenError::Corrupt {
            path: path.to_owned(),
            why,
        };
        // `false` says that a crash had left something to tidy, which is done now.
        let checked = quietly(|| database.check_integrity())
            .map_err(|panic| corrupt(panic.unwrap_or_else(contradicts)))?;
        checked.map_err(|error| opened(path, error))?;
        let store = Self::of(path, database);
        store.check_format()?;
        for table in Table::ALL {
            let read = quietly(|| store.scan(table, b"", &mut |_, _| Ok(())));
            let read = read.map_err(|panic| corrupt(panic.unwrap_or_else(contradicts)))?;
            // A store of an older format has no table for what it did not know.
            if let (Err(error), true) = (read, !YOUNGER_TABLES.contains(&table)) {
                return Err(corrupt(error.to_string()));
            }
        }
        Ok(store)
    }

    /// Makes the tables that an older format lacks, all or none.
    fn upgrade(&self) -> Result<(), StoreOpenError> {
        let upgraded = self.run(|database| {
            let transaction = database.begin_write()?;
            // Only what is new: any other table that is missing is damage.
            for table in YOUNGER_TABLES {
                transaction.open_table(definition(table))?;
            }
            transaction
                .open_table(definition(Table::Meta))?
                .insert(FORMAT_KEY, FORMAT.to_be_bytes().as_slice())?;
            transaction.commit()?;
            Ok(())
        });
        upgraded.map_err(|error| StoreOpenError::File {
            path: self.path.clone(),
            why: io::Error::other(format!("bringing it to format {FORMAT}: {error}")),
        })
    }

    /// The format of a store that this Postern can read.
    fn check_format(&self) -> Result<u64, StoreOpenError> {
        let corrupt = |why: String| StoreOpenError::Corrupt {
            path: self.path.clone(),
            why,
        };
        let format = self
            .value(Table::Meta, FORMAT_KEY)
            .map_err(|error| corrupt(error.to_string()))?
            .as_deref()
            .and_then(number)
            .ok_or_else(|| corrupt("it does not say its format".into()))?;
        if format > FORMAT {
            let path = self.path.clone();
            return Err(StoreOpenError::Format {
                path,
                found: format,
                known: FORMAT,
            });
        }
        Ok(format)
    }

    /// Runs `work` on the database, and once more after opening the file again if redb gave up on
    /// the handle because of an earlier I/O error.
    fn run<T>(&self, work: impl Fn(&Database) -> Result<T, Attempt>) -> Result<T, StoreError> {
        {
            let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
            if guard.is_handed_over {
                return Err(StoreError::HandedOver);
            }
            if let Some(database) = &guard.database {
                match attempt(&work, database) {
                    Ok(value) => return Ok(value),
                    Err(Attempt::Failed(error)) => return Err(error),
                    Err(Attempt::Reopen(_)) => {}
                }
            }
        }
        let mut guard = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if guard.is_handed_over {
            return Err(StoreError::HandedOver);
        }
        // The lock on the file goes with the old handle.
        drop(guard.database.take());
        let database =
            open_existing(&self.path).map_err(|error| StoreError::Io(error.to_string()))?;
        match attempt(&work, guard.database.insert(database)) {
            Ok(value) => Ok(value),
            Err(Attempt::Failed(error)) => Err(error),
            Err(Attempt::Reopen(why)) => Err(StoreError::Io(why)),
        }
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        // redb tidies up when it is closed, and trips over damage there too.
        let database = self.database.get_mut();
        let handle = database.unwrap_or_else(PoisonError::into_inner);
        let database = handle.database.take();
        drop(quietly(|| drop(database)));
    }
}

/// One attempt. A page that lies about itself can trip an assertion of redb anywhere.
fn attempt<T>(
    work: impl Fn(&Database) -> Result<T, Attempt>,
    database: &Database,
) -> Result<T, Attempt> {
    quietly(|| work(database)).unwrap_or_else(|panic| {
        let why = panic.unwrap_or_else(contradicts);
        Err(Attempt::Failed(StoreError::Corrupt(why)))
    })
}

/// Makes an empty store whose file appears under its name only when it is complete: a crash in
/// between leaves nothing that a later start would trip over.
fn create(path: &Path) -> Result<(), StoreOpenError> {
    let failed = |why| StoreOpenError::File {
        path: path.to_owned(),
        why,
    };
    let mut draft = path.as_os_str().to_owned();
    // By process: another one that starts at the same time makes its own.
    draft.push(format!(".{}.new", std::process::id()));
    let draft = PathBuf::from(draft);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .map_err(failed)?;
    let database = Builder::new()
        .create_file(file)
        .map_err(|error| opened(path, error))?;
    let filled = (|| -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        for table in Table::ALL {
            transaction.open_table(definition(table))?;
        }
        {
            let mut meta = transaction.open_table(definition(Table::Meta))?;
            meta.insert(FORMAT_KEY, FORMAT.to_be_bytes().as_slice())?;
            meta.insert(REVISION_KEY, 0_u64.to_be_bytes().as_slice())?;
        }
        transaction.commit()?;
        Ok(())
    })();
    filled.map_err(|error| failed(io::Error::other(error)))?;
    drop(database);
    // A hard link, unlike a rename, never replaces a store that another process made meanwhile.
    match fs::hard_link(&draft, path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    fs::remove_file(&draft).map_err(failed)?;
    sync_directory(path).map_err(failed)
}

fn open_existing(path: &Path) -> Result<Database, StoreOpenError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|why| StoreOpenError::File {
            path: path.to_owned(),
            why,
        })?;
    let size = file
        .metadata()
        .map_err(|why| StoreOpenError::File {
            path: path.to_owned(),
            why,
        })?
        .len();
    refuse_empty(path, size)?;
    open_with(path, |builder| builder.create_file(file))
}

/// redb would take an empty file for a new store, and every certificate would be forgotten silently.
fn refuse_empty(path: &Path, size: u64) -> Result<(), StoreOpenError> {
    if size > 0 {
        return Ok(());
    }
    Err(StoreOpenError::Corrupt {
        path: path.to_owned(),
        why: "the file is empty".into(),
    })
}

fn open_with(
    path: &Path,
    open: impl FnOnce(&Builder) -> Result<Database, DatabaseError>,
) -> Result<Database, StoreOpenError> {
    let mut builder = Builder::new();
    builder.set_cache_size(STORE_CACHE_BYTES);
    // redb checks what it reads, yet a page that lies about itself can still trip an assertion.
    match quietly(|| open(&builder)) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(error)) => Err(opened(path, error)),
        Err(panic) => Err(StoreOpenError::Corrupt {
            path: path.to_owned(),
            why: panic.unwrap_or_else(contradicts),
        }),
    }
}

/// So many bytes of a file.
fn in_memory(source: &mut File, size: u64) -> io::Result<InMemoryBackend> {
    let memory = InMemoryBackend::new();
    memory.set_len(size)?;
    let mut part = vec![0; PICTURE_PART_BYTES];
    let mut at = 0;
    loop {
        let count = source.read(&mut part)?;
        let Some(read) = part.get(..count).filter(|read| !read.is_empty()) else {
            return Ok(memory);
        };
        memory.write(at, read)?;
        at += count as u64;
    }
}

fn contradicts() -> String {
    "its structure contradicts itself".into()
}

thread_local! {
    /// The message of a panic on this thread that was not to be printed.
    static HUSHED: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
}

/// Runs `work`; a panic in it becomes an error with its words, and is not printed: the words for
/// people are ours. Panics of other threads are told as ever.
fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, Option<String>> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let hushed = HUSHED.try_with(|hushed| match hushed.try_borrow_mut() {
                Ok(mut hushed) if hushed.is_some() => {
                    let words = panic.payload_as_str().unwrap_or_default();
                    let words: String = words.chars().take(200).collect();
                    *hushed = Some((!words.is_empty()).then_some(words));
                    true
                }
                _ => false,
            });
            if hushed != Ok(true) {
                told(panic);
            }
        }));
    });
    let outer = HUSHED.replace(Some(None));
    let done = catch_unwind(AssertUnwindSafe(work));
    let words = HUSHED.replace(outer).flatten();
    done.map_err(|_payload| words.map(|words| format!("{} ({words})", contradicts())))
}

fn opened(path: &Path, error: DatabaseError) -> StoreOpenError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreOpenError::InUse { path },
        DatabaseError::Storage(StorageError::Io(why))
            if !matches!(
                why.kind(),
                ErrorKind::InvalidData | ErrorKind::UnexpectedEof
            ) =>
        {
            StoreOpenError::File { path, why }
        }
        other => StoreOpenError::Corrupt {
            path,
            why: other.to_string(),
        },
    }
}

impl From<StorageError> for Attempt {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Corrupted(why) => Self::Failed(StoreError::Corrupt(why)),
            StorageError::PreviousIo | StorageError::DatabaseClosed => {
                Self::Reopen(error.to_string())
            }
            other => Self::Failed(StoreError::Io(other.to_string())),
        }
    }
}

impl From<TransactionError> for Attempt {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Storage(error) => error.into(),
            other => Self::Failed(StoreError::Io(other.to_string())),
        }
    }
}

impl From<TableError> for Attempt {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            other => Self::Failed(StoreError::Corrupt(other.to_string())),
        }
    }
}

impl From<CommitError> for Attempt {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Storage(error) => error.into(),
            other => Self::Failed(StoreError::Io(other.to_string())),
        }
    }
}

/// Keeps the file at `path`, which nobody writes meanwhile, as it is: durably, and under its name only when
/// it is whole.
fn keep(path: &Path, copy: &Path) -> io::Result<()> {
    let draft = copy_of(path, &std::process::id().to_string());
    let kept = (|| {
        let mut source = File::open(path)?;
        let mut target = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        io::copy(&mut source, &mut target)?;
        target.sync_all()?;
        fs::rename(&draft, copy)?;
        sync_directory(copy)
    })();
    if kept.is_err() {
        drop(fs::remove_file(&draft));
    }
    kept
}

/// Writes all that one moment of `database` holds to a new file, durably, in one transaction.
fn copy(database: &Database, to: &Path) -> Result<(), Attempt> {
    let io =
        |error: io::Error| Attempt::Failed(StoreError::Io(format!("{}: {error}", to.display())));
    let failed =
        |error: redb::Error| Attempt::Failed(StoreError::Io(format!("{}: {error}", to.display())));
    let from = database.begin_read()?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(io)?;
    let copied = (|| -> Result<(), Attempt> {
        let copy = Builder::new()
            .set_cache_size(STORE_CACHE_BYTES)
            .create_file(file)
            .map_err(|error| failed(error.into()))?;
        let mut transaction = copy.begin_write().map_err(|error| failed(error.into()))?;
        // The first open does not have to walk through all of it.
        transaction.set_quick_repair(true);
        for table in Table::ALL {
            let source = from.open_table(definition(table))?;
            let mut target = transaction
                .open_table(definition(table))
                .map_err(|error| failed(error.into()))?;
            for entry in source.iter()? {
                let (key, value) = entry?;
                let put = target.insert(key.value(), value.value());
                drop(put.map_err(|error| failed(error.into()))?);
            }
        }
        transaction.commit().map_err(|error| failed(error.into()))?;
        drop(copy);
        sync_directory(to).map_err(io)
    })();
    if copied.is_err() {
        // Half a backup is worse than none.
        drop(fs::remove_file(to));
    }
    copied
}

/// Makes what is in the directory of `path` survive a loss of power.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

fn found_revision(bytes: Option<&[u8]>) -> Result<u64, Attempt> {
    bytes.and_then(number).ok_or_else(|| {
        Attempt::Failed(StoreError::Corrupt(
            "the revision is missing or unreadable".into(),
        ))
    })
}

impl Store for RedbStore {
    fn revision(&self) -> Result<u64, StoreError> {
        self.run(|database| View::of(database)?.last())
    }

    fn commit_as(&self, expected: u64, next: u64, writes: &[Write]) -> Result<(), StoreError> {
        self.run(|database| {
            let mut transaction = database.begin_write()?;
            transaction
                .set_durability(Durability::Immediate)
                .map_err(|error| Attempt::Failed(StoreError::Io(error.to_string())))?;
            // Without it a start after a kill walks the whole file: seconds with many
            // certificates. It costs a second `fsync`, which changes can afford.
            transaction.set_quick_repair(true);
            {
                let mut meta = transaction.open_table(definition(Table::Meta))?;
                let found = {
                    let value = meta.get(REVISION_KEY)?;
                    found_revision(value.as_ref().map(redb::AccessGuard::value))?
                };
                if found != expected {
                    return Err(Attempt::Failed(StoreError::Moved { expected, found }));
                }
                meta.insert(REVISION_KEY, next.to_be_bytes().as_slice())?;
            }
            // Neighbours often go to one table, which is opened once for the run of them.
            for run in writes.chunk_by(|a, b| a.table == b.table) {
                let Some(first) = run.first() else { continue };
                let mut table = transaction.open_table(definition(first.table))?;
                for write in run {
                    match &write.value {
                        Some(value) => drop(table.insert(write.key.as_slice(), value.as_slice())?),
                        None => drop(table.remove(write.key.as_slice())?),
                    }
                }
            }
            transaction.commit()?;
            Ok(())
        })
    }

    fn value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.run(|database| View::of(database)?.get(table, key))
    }

    fn scan(&self, table: Table, prefix: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        // A visitor has effects, so a scan is not tried twice: it reads from a handle that a
        // harmless look-up has shown to work.
        self.revision()?;
        let visit = RefCell::new(visit);
        self.run(|database| View::of(database)?.range(table, prefix, &mut **visit.borrow_mut()))
    }

    fn at_once(&self, look: Look<'_>) -> Result<(), StoreError> {
        // As with a scan.
        self.revision()?;
        let look = RefCell::new(look);
        self.run(|database| {
            let view = View::of(database)?;
            (look.borrow_mut())(&view).map_err(Attempt::Failed)
        })
    }

    fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.run(|database| copy(database, to))
    }

    fn hand_over(&self) -> Result<(), StoreError> {
        let guard = self.database.write();
        let mut guard = guard.unwrap_or_else(PoisonError::into_inner);
        guard.is_handed_over = true;
        // The lock on the file goes with it.
        let database = guard.database.take();
        drop(quietly(|| drop(database)));
        Ok(())
    }

    fn take_back(&self) -> Result<(), StoreOpenError> {
        {
            let guard = self.database.write();
            let mut guard = guard.unwrap_or_else(PoisonError::into_inner);
            if guard.is_handed_over {
                *guard = open_existing(&self.path)?.into();
            }
        }
        if let Err(error) = self.check_format() {
            drop(self.hand_over());
            return Err(error);
        }
        Ok(())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }
}

#[cfg(test)]
mod tests;
