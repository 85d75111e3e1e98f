//! Revocation lists read from watched files, and the warning before a list expires.
//!
//! Owns which files are read again. The last good list stays until a better one comes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use crate::change::intent::Intent;
use crate::change::{Control, Reads};
use crate::limits::{CRL_ALARM, CRL_FILE_AGAIN, CRL_FILE_BYTES_MAX, FILE_DEADLINE, FILE_LOOK_WAIT};
use crate::model::id::Uuid;
use crate::model::moment::Moment;
use crate::model::revocation::{CrlFileOutcome, CrlFileStatus};
use crate::operations::revocation_lists::CrlSource;
use vocabulary::file::read_regular;

/// What a file looked like when it was last read, to read it again only when it changed.
pub(crate) type FileMark = (SystemTime, u64, u64);

/// What the last look found; `None` before the first.
pub(crate) type Known = Option<Option<FileMark>>;

/// What watching files remembers.
#[derive(Debug)]
pub struct CrlFiles {
    watched: BTreeMap<Uuid, Watched>,
    /// Of the model that their lists were put into.
    lineage: u64,
    look: LookAt,
    deadline: Duration,
    pub(crate) again_after: Duration,
}

pub(crate) type LookAt = fn(&Path, Known) -> Look;

impl Default for CrlFiles {
    fn default() -> Self {
        Self::with(look, FILE_DEADLINE)
    }
}

impl CrlFiles {
    pub(crate) fn with(look: LookAt, deadline: Duration) -> Self {
        Self {
            watched: BTreeMap::new(),
            lineage: 0,
            look,
            deadline,
            again_after: CRL_FILE_AGAIN,
        }
    }
}

/// A watched file with a thread of its own, which looks at it when it is asked to. It may hang, as
/// on a network file system whose server is gone: nothing else waits for it, and a process that
/// ends does not either.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    ask: Sender<Known>,
    answers: Receiver<Look>,
    known: Known,
    /// When it is read again although it is as it was: what was wrong may have been a clock, a
    /// permission or the store.
    again: Option<Instant>,
    /// Since when it has not answered.
    asked: Option<Instant>,
    is_late: bool,
}

/// What came of a look at a file.
#[derive(Debug)]
pub(crate) struct Look {
    /// `None` when there is no such file.
    mark: Option<FileMark>,
    /// What is in it, when it has changed.
    pub(crate) content: Option<std::io::Result<Vec<u8>>>,
}

impl Watched {
    fn start(path: PathBuf, look: LookAt) -> std::io::Result<Self> {
        let (ask, asked) = channel();
        let (answer, answers) = channel();
        let file = path.clone();
        std::thread::Builder::new()
            .name("watched-file".into())
            .spawn(move || {
                while let Ok(known) = asked.recv() {
                    if answer.send(look(&file, known)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            path,
            ask,
            answers,
            known: None,
            again: None,
            asked: None,
            is_late: false,
        })
    }

    /// Asks for a look, unless one is under way.
    fn ask(&mut self, now: Instant) {
        if self.asked.is_some() {
            return;
        }
        if self.again.is_some_and(|again| again <= now) {
            self.again = None;
            self.known = None;
        }
        if self.ask.send(self.known).is_ok() {
            self.asked = Some(now);
        }
    }

    fn answer(&mut self, until: Instant) -> Option<Look> {
        self.asked?;
        let left = until.saturating_duration_since(Instant::now());
        // A file that is late is not waited for.
        let left = if self.is_late { Duration::ZERO } else { left };
        let look = self.answers.recv_timeout(left).ok()?;
        self.asked = None;
        self.is_late = false;
        self.known = Some(look.mark);
        Some(look)
    }
}

pub(crate) fn look(file: &Path, known: Known) -> Look {
    let mark = mark(file);
    let is_new = known != Some(mark);
    Look {
        mark,
        content: is_new.then(|| read_regular(file, CRL_FILE_BYTES_MAX)),
    }
}

impl<A: Reads> Control<A> {
    /// What became of the files that are watched, each at its last reading.
    #[must_use]
    pub fn crl_files(&self) -> Vec<CrlFileStatus> {
        let model = self.model();
        let known = self
            .shared
            .crl_files
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_watched = |one: &&CrlFileStatus| {
            let authority = model.authorities.get(&one.authority);
            authority.is_some_and(|ca| ca.crl.file.as_ref() == Some(&one.file))
        };
        known.0.values().filter(is_watched).cloned().collect()
    }
}

impl Control {
    /// Whether any CA has a file that is watched.
    #[must_use]
    pub fn watches_crl_files(&self) -> bool {
        let model = self.model();
        model.authorities.values().any(|ca| ca.crl.file.is_some())
    }

    /// Reads the files that changed since they were last looked at, after [`CRL_FILE_AGAIN`] those that were not
    /// good, and all of them when another state has taken the place of what was here. What is wrong with one is
    /// logged once, and the list that was there stays. A file that does not answer holds up no other, and is told
    /// of after [`FILE_DEADLINE`].
    pub fn read_crl_files(&self, seen: &mut CrlFiles) {
        let model = self.model();
        let named = model.authorities.values().filter_map(|authority| {
            let file = authority.crl.file.clone()?;
            Some((authority.id, file))
        });
        let named: BTreeMap<Uuid, PathBuf> = named.collect();
        seen.watched
            .retain(|id, watched| named.get(id) == Some(&watched.path));
        let now = Instant::now();
        for (id, path) in named {
            if let Entry::Vacant(place) = seen.watched.entry(id) {
                match Watched::start(path, seen.look) {
                    Ok(watched) => {
                        place.insert(watched);
                    }
                    Err(error) => {
                        tracing::error!(%id, %error, "a revocation list's file cannot be watched");
                    }
                }
            }
        }
        // A state that took the place of what was there may lack the lists that were read.
        let is_another = std::mem::replace(&mut seen.lineage, model.lineage) != model.lineage;
        for watched in seen.watched.values_mut() {
            if is_another {
                watched.again = Some(now);
            }
            watched.ask(now);
        }
        let until = now + FILE_LOOK_WAIT;
        for (id, watched) in &mut seen.watched {
            if let Some(look) = watched.answer(until) {
                if let Some(content) = look.content {
                    let is_good = self.take_crl_file(*id, &watched.path, content);
                    watched.again = (!is_good).then(|| now + seen.again_after);
                }
                continue;
            }
            let is_over = watched
                .asked
                .is_some_and(|asked| asked.elapsed() > seen.deadline);
            if is_over && !watched.is_late {
                watched.is_late = true;
                tracing::error!(%id, file = %watched.path.display(), "a revocation list's file does not answer; the last list stays, and the file is waited for");
            }
        }
        let late = seen
            .watched
            .values()
            .filter(|watched| watched.is_late)
            .count();
        self.shared.files_late.store(late, Ordering::Relaxed);
    }

    /// Answers whether nothing was wrong with it.
    fn take_crl_file(&self, id: Uuid, file: &Path, content: std::io::Result<Vec<u8>>) -> bool {
        let bytes = match content {
            Ok(bytes) => bytes,
            Err(error) => {
                if self.note_crl_file(id, file, CrlFileOutcome::Failed(error.to_string())) {
                    tracing::error!(%id, file = %file.display(), %error, "a revocation list cannot be read; the last one stays");
                }
                return false;
            }
        };
        let control = self.acting(Intent::of("revocation list file"));
        let put = control.put_crls(id, &CrlSource::File(file.into()), &bytes, false);
        let (put, refused) = match put {
            Ok(put) => (put.lists, put.refused),
            Err(error) => (Vec::new(), vec![error.to_string()]),
        };
        let outcome = if refused.is_empty() {
            CrlFileOutcome::Taken
        } else {
            CrlFileOutcome::Refused(refused.join("; "))
        };
        let is_good = outcome == CrlFileOutcome::Taken;
        if !self.note_crl_file(id, file, outcome) && !is_good {
            return false;
        }
        for crl in &put {
            let (issuer, number) = (&crl.issuer, &crl.number);
            tracing::info!(%id, file = %file.display(), issuer, number, entries = crl.entries, "a revocation list was read");
            for warning in &crl.warnings {
                tracing::warn!(%id, file = %file.display(), issuer, warning, "a revocation list is odd");
            }
        }
        for error in &refused {
            tracing::error!(%id, file = %file.display(), error, "a revocation list is refused; the last one stays");
        }
        is_good
    }

    /// Answers whether it is another outcome than the last one of this file.
    fn note_crl_file(&self, id: Uuid, file: &Path, outcome: CrlFileOutcome) -> bool {
        let mut known = self
            .shared
            .crl_files
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let last = known.0.get(&id);
        let is_other = last.is_none_or(|last| last.file != *file || last.last != outcome);
        let entry = known.0.entry(id).or_insert_with(|| CrlFileStatus {
            authority: id,
            file: file.into(),
            last: outcome.clone(),
            counts: [0; 3],
        });
        let place = CrlFileOutcome::ALL
            .iter()
            .position(|name| *name == outcome.as_str());
        if let Some(count) = place.and_then(|place| entry.counts.get_mut(place)) {
            *count += 1;
        }
        entry.file = file.into();
        entry.last = outcome;
        is_other
    }

    /// Writes a warning for every list that is old, or will be within [`CRL_ALARM`], and for every
    /// CA whose policy asks for a list and that has none.
    pub fn warn_of_crls(&self, now: Moment) {
        let model = self.model();
        let soon = now.seconds() + i64::try_from(CRL_ALARM.as_secs()).unwrap_or(i64::MAX);
        for crl in self.crls() {
            let (id, issuer, number) = (crl.authority, &crl.issuer, &crl.number);
            let due = Moment::from_seconds(crl.next_update).to_second();
            if crl.next_update < now.seconds() {
                tracing::error!(%id, issuer, number, due, "a revocation list is old: its next update is overdue");
            } else if crl.next_update < soon {
                tracing::warn!(%id, issuer, number, due, "a revocation list needs its next update");
            }
        }
        for authority in model.authorities.values() {
            let none = model
                .crls
                .get(&authority.id)
                .is_none_or(|record| record.lists.is_empty());
            if authority.crl.policy.is_some() && none {
                let id = authority.id;
                tracing::error!(%id, "a CA whose policy asks for a revocation list has none");
            }
        }
    }
}

fn mark(file: &Path) -> Option<FileMark> {
    use std::os::unix::fs::MetadataExt as _;
    let found = std::fs::metadata(file).ok()?;
    Some((found.modified().ok()?, found.len(), found.ino()))
}
